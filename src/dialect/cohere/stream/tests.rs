//! Events → steps → events, with events of our own.

use super::*;
use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{Dialect, Names, Open, Refused, Step, Stop, Text, Tokens, Trouble};
use crate::wire::sse::{Splitter, frame};

const NAMES: Names<'_> = Names {
    id: "n1",
    model: "m",
    created: 0,
    wants_usage: false,
};

/// Steps as short words: `[text ab] [think x] [call id f {}] <cite> usage stop end`.
#[derive(Default)]
struct Story(String);

impl Story {
    fn step(&mut self, step: &Step<'_>) {
        let word = match step {
            Step::Begin { id, .. } => format!("begin:{} ", id.to_text()),
            Step::Open(Open::Text) => "[text:".into(),
            Step::Open(Open::Thinking) => "[think:".into(),
            Step::Open(Open::Refusal) => "[refusal:".into(),
            Step::Open(Open::Call { id, name, .. }) => {
                format!("[call {} {}:", id.to_text(), name.to_text())
            }
            Step::Text(text) => text.to_text(),
            Step::Opaque(..) => "<opaque>".into(),
            Step::Citation(_, raw) => format!("<{}>", raw.escape_ascii()),
            Step::Close => "] ".into(),
            Step::Usage(t) => format!("usage:{}+{}/{} ", t.fresh, t.read, t.output),
            Step::Stop(why, _) => format!("{why:?} "),
            Step::Error(refused) => format!("error:{:?}:{} ", refused.trouble, refused.message),
            Step::End => "end".into(),
        };
        self.0.push_str(&word);
    }
}

fn read_all(events: &[&str]) -> (String, Result<(), Kind>) {
    let (mut reader, mut story) = (Reader::new(), Story::default());
    for data in events {
        let read = reader.read(None, data.as_bytes(), &mut |step| story.step(&step));
        if read.is_err() {
            return (story.0, read);
        }
    }
    let end = reader.end(&mut |step| story.step(&step));
    (story.0, end)
}

fn write_all(steps: &[Step<'_>]) -> String {
    let (mut writer, mut tx) = (Writer::new(), TxBuf::new(&BufPool::new()));
    for step in steps {
        writer.write(step, &NAMES, &mut tx);
    }
    String::from_utf8(tx.unsent().to_vec()).unwrap()
}

fn read_back(stream: &str) -> (String, Result<(), Kind>) {
    let (mut reader, mut story) = (Reader::new(), Story::default());
    let (mut from, mut read) = (0, Ok(()));
    Splitter::new().feed(stream.as_bytes(), |end| {
        let event = frame(&stream.as_bytes()[from..end]);
        from = end;
        if let Some(data) = event.data(&mut Vec::new()) {
            assert!(event.event.is_some(), "every event has a name");
            read = read.and(reader.read(event.event, data, &mut |step| story.step(&step)));
        }
    });
    assert_eq!(from, stream.len(), "nothing is left behind the last event");
    let end = read.and_then(|()| reader.end(&mut |step| story.step(&step)));
    (story.0, end)
}

const START: &str = r#"{"id":"i","type":"message-start","delta":{"message":{"role":"assistant","content":[],"tool_plan":"","tool_calls":[],"citations":[]}}}"#;
const END: &str = r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":5,"output_tokens":2},"cached_tokens":1}}}"#;

fn content(event: &str, index: u8, content: &str) -> String {
    format!(
        r#"{{"type":"content-{event}","index":{index},"delta":{{"message":{{"content":{content}}}}}}}"#
    )
}

fn call(event: &str, index: u8, id: &str, function: &str) -> String {
    format!(
        r#"{{"type":"tool-call-{event}","index":{index},"delta":{{"message":{{"tool_calls":{{"id":"{id}","type":"function","function":{function}}}}}}}}}"#
    )
}

/// Goal: thinking, text, a late citation, the plan, calls, usage and the end become balanced
/// steps.
#[test]
fn a_stream_of_everything_becomes_balanced_steps() {
    let cite =
        r#"{"type":"citation-start","index":0,"delta":{"message":{"citations":{"start":0}}}}"#;
    let plan = |text: &str| {
        format!(r#"{{"type":"tool-plan-delta","delta":{{"message":{{"tool_plan":"{text}"}}}}}}"#)
    };
    let events = [
        START.into(),
        content("start", 0, r#"{"type":"thinking","thinking":""}"#),
        content("delta", 0, r#"{"thinking":"hm\n"}"#),
        r#"{"type":"content-end","index":0}"#.into(),
        content("start", 1, r#"{"type":"text","text":"A"}"#),
        content("delta", 1, r#"{"text":"b"}"#),
        cite.into(),
        r#"{"type":"citation-end","index":0}"#.into(),
        r#"{"type":"content-end","index":1}"#.into(),
        cite.into(),
        r#"{"type":"debug","prompt":"x"}"#.into(),
        plan("I "),
        plan("will"),
        call("start", 0, "a", r#"{"name":"f","arguments":""}"#),
        call("delta", 0, "", r#"{"arguments":"{\"x\":"}"#),
        call("delta", 0, "", r#"{"arguments":"1}"}"#),
        r#"{"type":"tool-call-end","index":0}"#.into(),
        call("start", 1, "b", r#"{"name":"g","arguments":"null"}"#),
        r#"{"type":"tool-call-end","index":1}"#.into(),
        END.into(),
        "[DONE]".into(),
    ];
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    let want = "begin:i [think:hm\n] [text:Ab<{\"start\":0}><{\"start\":0}>] [text:I will] \
                [call a f:{\"x\":1}] [call b g:{}] usage:4+1/2 Tool end";
    let (story, end) = read_all(&events);
    assert_eq!((story.replace("\\\"", "\"").as_str(), end), (want, Ok(())));
}

/// Goal: I1 of the reader: blocks that overlap are put one after the other; too many are
/// refused.
#[test]
fn overlapping_calls_are_put_in_order() {
    let mut events = vec![START.to_owned()];
    for index in 0..3 {
        events.push(call("start", index, &index.to_string(), r#"{"name":"f"}"#));
    }
    for piece in ["{", "}"] {
        for index in [2, 0, 1] {
            events.push(call(
                "delta",
                index,
                "",
                &format!(r#"{{"arguments":"{piece}"}}"#),
            ));
        }
    }
    events.push(r#"{"type":"tool-call-end","index":1}"#.into());
    events.push(r#"{"type":"tool-call-end","index":0}"#.into());
    events.push(END.into());
    let refs: Vec<&str> = events.iter().map(String::as_str).collect();
    let want = "begin:i [call 0 f:{}] [call 1 f:{}] [call 2 f:{}] usage:4+1/2 Tool end";
    assert_eq!(read_all(&refs), (want.into(), Ok(())));
    let many: Vec<String> = (0..=u8::try_from(HELD_MAX + 1).unwrap())
        .map(|index| call("start", index, "x", r#"{"name":"f"}"#))
        .collect();
    let refs: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(read_all(&refs).1, Err(Kind::UpstreamGarbled));
    let big = call(
        "delta",
        1,
        "",
        &format!(r#"{{"arguments":"{}"}}"#, "x".repeat(HELD_BYTES_MAX)),
    );
    let refs = [
        many[0].as_str(),
        many[1].as_str(),
        big.as_str(),
        big.as_str(),
    ];
    assert_eq!(read_all(&refs).1, Err(Kind::UpstreamGarbled));
}

/// Goal: what ends without `message-end` is cut, a failure is an error and never an end, and
/// what is no JSON is garbled.
#[test]
fn what_is_not_complete_does_not_end() {
    assert_eq!(read_all(&[]).1, Err(Kind::UpstreamCut));
    let delta = content("delta", 0, r#"{"text":"b"}"#);
    assert_eq!(
        read_all(&[START, &delta, "[DONE]"]).1,
        Err(Kind::UpstreamCut)
    );
    assert_eq!(read_all(&[START, "{"]).1, Err(Kind::UpstreamGarbled));
    assert_eq!(read_all(&[r#"{"type":"tool-call-delta","index":7,"delta":{"message":{"tool_calls":{"function":{"arguments":"x"}}}}}"#]).1, Err(Kind::UpstreamGarbled));
    let failed = r#"{"type":"message-end","delta":{"finish_reason":"ERROR","error":"internal"}}"#;
    let (story, end) = read_all(&[START, &delta, failed, END]);
    assert_eq!(story, "begin:i [text:berror:Server:internal ");
    assert_eq!(end, Err(Kind::UpstreamError));
    let (story, _) = read_all(&[r#"{"message":"too many tokens: total"}"#]);
    assert_eq!(story, "error:ContextLength:too many tokens: total ");
    let (story, _) = read_all(&[r#"{"type":"message-end","delta":{"finish_reason":"TIMEOUT"}}"#]);
    assert_eq!(story, "begin: error:Timeout: ");
}

/// Writes `steps` and reads the stream again.
fn assert_written(steps: &[Step<'_>], want: &str) {
    let stream = write_all(steps);
    assert_eq!(read_back(&stream), (want.into(), Ok(())), "{stream}");
}

fn open_call<'a>(id: &'a str, name: &'a str, is_custom: bool) -> Step<'a> {
    let (id, name) = (Text::Plain(id), Text::Plain(name));
    Step::Open(Open::Call {
        id,
        name,
        is_custom,
    })
}

const USAGE: Step<'_> = Step::Usage(Tokens {
    fresh: 3,
    read: 2,
    write: 1,
    write_1h: 0,
    output: 4,
    thinking: 5,
});

/// Goal: a stream with little in it, or with nothing, is whole; names of others do not pass.
#[test]
fn short_streams_are_written_and_read_back() {
    let begin = |id| Step::Begin {
        id: Text::Plain(id),
        model: Text::Plain("m"),
    };
    assert_written(&[Step::End], "begin:n1 End end");
    assert_written(&[begin("chatcmpl-1"), Step::End], "begin:n1 End end");
    let own = "68475c80-574b-4c65-98a4-e81cebab5dce";
    assert_written(&[begin(own), Step::End], &format!("begin:{own} End end"));
    assert_written(
        &[
            begin("x"),
            USAGE,
            Step::Open(Open::Text),
            Step::Text(Text::Plain("a\"\n")),
            Step::Text(Text::Escaped(br"\u00e9")),
            Step::Citation(Dialect::Cohere, b"{}"),
            Step::Citation(Dialect::Anthropic, b"[]"),
            Step::Close,
            Step::Stop(Stop::Length, Text::EMPTY),
            Step::End,
        ],
        "begin:n1 [text:a\"\né] usage:4+2/9 Length end",
    );
    let cite = [
        Step::Open(Open::Text),
        Step::Citation(Dialect::Cohere, br#"{"end":1}"#),
        Step::End,
    ];
    assert_written(&cite, "begin:n1 [text:<{\\\"end\\\":1}>] End end");
}

/// Goal: blocks of every kind, in any order, are written and read back; calls without an id get
/// one, calls without arguments are given `{}`, plain text of a custom tool becomes JSON.
#[test]
fn blocks_of_every_kind_are_written_and_read_back() {
    let (text, raw) = (Text::Plain("a\"\n"), Text::Escaped(br"\u00e9"));
    assert_written(
        &[
            Step::Open(Open::Thinking),
            Step::Text(text),
            Step::Opaque(Dialect::Gemini, b"\"s\""),
            Step::Close,
            Step::Open(Open::Refusal),
            Step::Text(raw),
            Step::Close,
            open_call("", "f", false),
            Step::Close,
            open_call("x", "g", false),
            Step::Text(Text::Plain("{}")),
            Step::Close,
            Step::Open(Open::Text),
            Step::Text(raw),
            Step::Close,
            open_call("c", "h", true),
            Step::Text(text),
            Step::Text(Text::Escaped(br"\\")),
            Step::Close,
            Step::Stop(Stop::Tool, Text::EMPTY),
            USAGE,
            Step::End,
        ],
        "begin:n1 [think:a\"\n] [text:é] [call call_n1_0 f:{}] [call x g:{}] [text:é] \
         [call c h:{\"input\":\"a\\\"\\n\\\\\"}] usage:4+2/9 Tool end",
    );
}

/// Goal: an error ends the stream without an end that could be taken for a complete answer,
/// and nothing follows it.
#[test]
fn an_error_ends_a_stream_for_good() {
    let refused = |trouble| {
        Step::Error(Refused {
            trouble,
            message: "sk-secret".into(),
            param: None,
            retry_after: None,
        })
    };
    let steps = [
        Step::Open(Open::Text),
        Step::Text(Text::Plain("a")),
        refused(Trouble::Auth),
        Step::End,
    ];
    let stream = write_all(&steps);
    let (story, end) = read_back(&stream);
    assert!(story.starts_with("begin:n1 [text:aerror:"), "{story}");
    assert_eq!(end, Err(Kind::UpstreamError));
    assert!(!stream.contains("sk-secret") && !stream.contains("COMPLETE"));
    assert!(write_all(&[refused(Trouble::Timeout)]).contains("\"TIMEOUT\""));
}
