//! Events of our own, into steps and out of steps.

use super::*;
use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::dialect::model::{Names, Refused, Tokens, Trouble};
use crate::wire::eventstream::{Splitter, frame};
use serde_json::{Value, json};

const NAMES: Names<'_> = Names {
    id: "n1",
    model: "m",
    created: 0,
    wants_usage: true,
};

/// Steps in short: `B`, `[text`, `[thinking`, `[call id name`, texts in quotes, `]`, `U fresh
/// output`, `S stop`, `E`, `!`.
fn say(step: &Step<'_>) -> String {
    match step {
        Step::Begin { .. } => "B".into(),
        Step::Open(Open::Text) => "[text".into(),
        Step::Open(Open::Refusal) => "[refusal".into(),
        Step::Open(Open::Thinking) => "[thinking".into(),
        Step::Open(Open::Call { id, name, .. }) => {
            format!("[call {} {}", id.to_text(), name.to_text())
        }
        Step::Text(text) => format!("'{}'", text.to_text()),
        Step::Opaque(_, value) => format!("o{}", String::from_utf8_lossy(value)),
        Step::Citation(_, value) => format!("c{}", String::from_utf8_lossy(value)),
        Step::Close => "]".into(),
        Step::Usage(tokens) => format!("U{} {}", tokens.prompt(), tokens.answer()),
        Step::Stop(reason, sequence) => format!("S{reason:?}{}", sequence.to_text()),
        Step::Error(refused) => format!("!{:?} {}", refused.trouble, refused.message),
        Step::End => "E".into(),
    }
}

/// Reads unions, a line each, to the end; what failed is the last word.
fn steps(lines: &[&str]) -> String {
    let (mut reader, mut said) = (Reader::new(), Vec::new());
    let mut each = |step: Step<'_>| said.push(say(&step));
    let mut result = Ok(());
    for line in lines {
        result = result.and_then(|()| reader.read(None, line.as_bytes(), &mut each));
    }
    let result = result.and_then(|()| reader.end(&mut each));
    said.extend(result.err().map(|kind| format!("{kind:?}")));
    said.join(" ")
}

const START: &str = r#"{"messageStart":{"role":"assistant"}}"#;
const STOP: &str = r#"{"messageStop":{"stopReason":"end_turn"}}"#;
const COUNTS: &str = r#"{"metadata":{"usage":{"inputTokens":3,"outputTokens":5,"totalTokens":9,
    "cacheReadInputTokens":1},"metrics":{"latencyMs":1}}}"#;
const HI: &str = r#"{"contentBlockDelta":{"contentBlockIndex":0,"delta":{"text":"h\"i"},"p":"a"}}"#;
const CLOSE: &str = r#"{"contentBlockStop":{"contentBlockIndex":0}}"#;

/// Goal: an answer is whole behind both stop and counts, in whatever order, or at its end
/// behind the stop; else it is cut.
#[test]
fn an_answer_is_whole_behind_stop_and_counts() {
    let text = "B [text 'h\"i' ]";
    for (lines, want) in [
        (
            &[START, HI, CLOSE, STOP, COUNTS][..],
            format!("{text} SEnd U4 5 E"),
        ),
        (
            &[START, HI, CLOSE, COUNTS, STOP],
            format!("{text} U4 5 SEnd E"),
        ),
        (&[START, HI, CLOSE, STOP], format!("{text} SEnd E")),
        (&[HI, STOP], format!("{text} SEnd E")),
        (
            &[START, HI, CLOSE, STOP, COUNTS, COUNTS, HI],
            format!("{text} SEnd U4 5 E"),
        ),
        (&[START, STOP, r#"{"metadata":{}}"#], "B SEnd E".to_owned()),
        (&[START, HI, CLOSE], format!("{text} UpstreamCut")),
        (
            &[START, HI, COUNTS],
            "B [text 'h\"i' U4 5 UpstreamCut".to_owned(),
        ),
        (&[], "UpstreamCut".to_owned()),
        (&[START, STOP, HI], "B SEnd UpstreamGarbled".to_owned()),
    ] {
        assert_eq!(steps(lines), want, "{lines:?}");
    }
}

/// Goal: I1. Blocks that nobody closes are closed by what follows; kinds that change within an
/// index are blocks of their own; what is unknown is stepped over.
#[test]
fn steps_are_balanced_whatever_comes() {
    let delta = |index: u32, delta: Value| {
        json!({"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}}).to_string()
    };
    let call = json!({"contentBlockStart": {"contentBlockIndex": 3,
        "start": {"toolUse": {"toolUseId": "t1", "name": "f"}}}})
    .to_string();
    let server = json!({"contentBlockStart": {"contentBlockIndex": 5,
        "start": {"toolUse": {"toolUseId": "s", "name": "x", "type": "server_tool_use"}}}})
    .to_string();
    let lines = [
        delta(0, json!({"reasoningContent": {"text": "hm"}})),
        delta(0, json!({"reasoningContent": {"signature": "sig"}})),
        delta(
            1,
            json!({"reasoningContent": {"redactedContent": "c2VhbGVk"}}),
        ),
        delta(2, json!({"text": ""})),
        delta(2, json!({"text": "a"})),
        delta(2, json!({"citation": {"title": "t"}})),
        delta(2, json!({"unheard": 1})),
        r#"{"unheard":{"of":1}}"#.to_owned(),
        call,
        delta(3, json!({"toolUse": {"input": "{\"a\":"}})),
        delta(3, json!({"toolUse": {"input": "1}"}})),
        server,
        delta(5, json!({"toolUse": {"input": "{}"}})),
        r#"{"contentBlockStart":{"contentBlockIndex":6,"start":{}}}"#.to_owned(),
        delta(6, json!({"text": "b"})),
        STOP.to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(
        steps(&lines),
        "B [thinking 'hm' o\"sig\" ] [thinking o{\"redactedContent\":\"c2VhbGVk\"} ] \
         [text 'a' c{\"title\":\"t\"} ] [call t1 f '{\"a\":' '1}' ] [text 'b' ] STool E"
    );
    let lost = delta(4, json!({"toolUse": {"input": "{}"}}));
    assert_eq!(steps(&[START, &lost]), "B UpstreamGarbled");
    assert_eq!(steps(&[START, "{", STOP]), "B UpstreamGarbled");
    let mut reader = Reader::new();
    let broken = reader.read(
        Some(b"contentBlockDelta"),
        b"{\"delta\":{\"text\":\"\xff\"}}",
        &mut |_| {},
    );
    assert_eq!(broken, Err(Kind::UpstreamGarbled));
}

/// Goal: an exception is the provider's error and the last step, and no answer is whole
/// behind it.
#[test]
fn an_exception_is_the_last_step() {
    for (name, message, want) in [
        ("throttlingException", "slow", "!RateLimit slow"),
        ("modelStreamErrorException", "broke", "!Server broke"),
        ("internalServerException", "oops", "!Server oops"),
        ("serviceUnavailableException", "later", "!Overloaded later"),
        (
            "validationException",
            "Input is too long for requested model.",
            "!ContextLength Input \
         is too long for requested model.",
        ),
        (
            "InternalFailure",
            "",
            "!Server The provider reported an error without a message.",
        ),
    ] {
        let line = json!({name: {"message": message}}).to_string();
        let got = steps(&[START, HI, &line, CLOSE, STOP, COUNTS]);
        assert_eq!(got, format!("B [text 'h\"i' {want} UpstreamCut"), "{name}");
    }
}

/// Goal: the reason says what the table says, and a call that was made counts more than an end.
#[test]
fn reasons_are_told_apart() {
    for (reason, want) in [
        ("end_turn", "SEnd"),
        ("tool_use", "STool"),
        ("max_tokens", "SLength"),
        ("stop_sequence", "SSequence"),
        ("guardrail_intervened", "SFiltered"),
        ("content_filtered", "SFiltered"),
        ("model_context_window_exceeded", "SContext"),
        ("malformed_tool_use", "SMalformed"),
        ("something_new", "SEnd"),
    ] {
        let line = json!({"messageStop": {"stopReason": reason}}).to_string();
        assert_eq!(steps(&[START, &line]), format!("B {want} E"));
    }
    let line = r#"{"messageStop":{"stopReason":"stop_sequence",
        "additionalModelResponseFields":{"stop_sequence":"$$"}}}"#;
    assert_eq!(steps(&[START, line]), "B SSequence$$ E");
    let call = r#"{"contentBlockStart":{"start":{"toolUse":{"toolUseId":"t","name":"f"}}}}"#;
    assert_eq!(steps(&[call, STOP]), "B [call t f ] STool E");
}

/// What a writer makes of steps: names and payloads of its frames.
fn written(steps: &[Step<'_>]) -> Vec<(String, Value)> {
    let (mut writer, mut tx) = (Writer::new(), TxBuf::new(&BufPool::new()));
    for step in steps {
        writer.write(step, &NAMES, &mut tx);
    }
    let (mut splitter, mut from, mut out) = (Splitter::default(), 0, Vec::new());
    let bytes = tx.unsent();
    splitter
        .feed(bytes, |end| {
            let frame = frame(&bytes[from..end]).unwrap();
            let name = String::from_utf8_lossy(frame.name().unwrap()).into_owned();
            out.push((name, serde_json::from_slice(frame.payload).unwrap()));
            from = end;
        })
        .unwrap();
    assert_eq!(from, bytes.len());
    out
}

fn call<'a>(id: &'a str, name: &'a str, is_custom: bool) -> Step<'a> {
    Step::Open(Open::Call {
        id: id.into(),
        name: name.into(),
        is_custom,
    })
}

fn text(text: &str) -> Step<'_> {
    Step::Text(Text::Plain(text))
}

const BEGIN: Step<'_> = Step::Begin {
    id: Text::EMPTY,
    model: Text::EMPTY,
};

/// Thinking, nothing, text, a call without arguments, a custom call, a refusal.
fn everything() -> Vec<Step<'static>> {
    let tokens = Tokens {
        fresh: 1,
        read: 2,
        write: 3,
        write_1h: 4,
        output: 5,
        thinking: 6,
    };
    vec![
        BEGIN,
        Step::Open(Open::Thinking),
        text("hm"),
        Step::Opaque(Dialect::Bedrock, b"\"sig\""),
        Step::Opaque(Dialect::Anthropic, b"\"other\""),
        Step::Close,
        Step::Open(Open::Text),
        Step::Close,
        Step::Open(Open::Text),
        Step::Text(Text::Escaped(br#"a\"b"#)),
        text("\n"),
        Step::Close,
        Step::Usage(tokens),
        call("", "f", false),
        Step::Close,
        call("t2", "g", true),
        text("say \"x\""),
        Step::Close,
        Step::Open(Open::Refusal),
        text("no"),
        Step::Close,
        Step::Stop(Stop::Sequence, "##".into()),
        Step::End,
        Step::End,
    ]
}

/// Goal: a whole answer in the provider's events: thinking, text, calls, text; indices count
/// the blocks that say something, counts come last.
#[test]
fn a_whole_answer_is_written() {
    let got = written(&everything());
    let delta = |index: u32, delta: Value| {
        let payload = json!({"contentBlockIndex": index, "delta": delta});
        ("contentBlockDelta".to_owned(), payload)
    };
    let start = |index: u32, id: &str, name: &str| {
        let payload = json!({"contentBlockIndex": index,
            "start": {"toolUse": {"toolUseId": id, "name": name}}});
        ("contentBlockStart".to_owned(), payload)
    };
    let stop = |index: u32| {
        (
            "contentBlockStop".to_owned(),
            json!({"contentBlockIndex": index}),
        )
    };
    let input = |text: &str| json!({"toolUse": {"input": text}});
    assert_eq!(
        got,
        [
            ("messageStart".to_owned(), json!({"role": "assistant"})),
            delta(0, json!({"reasoningContent": {"text": "hm"}})),
            delta(0, json!({"reasoningContent": {"signature": "sig"}})),
            stop(0),
            delta(1, json!({"text": "a\"b"})),
            delta(1, json!({"text": "\n"})),
            stop(1),
            start(2, "call_n1_2", "f"),
            delta(2, input("{}")),
            stop(2),
            start(3, "t2", "g"),
            delta(3, input("{\"input\":\"")),
            delta(3, input("say \\\"x\\\"")),
            delta(3, input("\"}")),
            stop(3),
            delta(4, json!({"text": "no"})),
            stop(4),
            (
                "messageStop".to_owned(),
                json!({"stopReason": "stop_sequence",
                    "additionalModelResponseFields": {"stop_sequence": "##"}}),
            ),
            (
                "metadata".to_owned(),
                json!({"usage": {"inputTokens": 1, "outputTokens": 11, "totalTokens": 21,
                    "cacheReadInputTokens": 2, "cacheWriteInputTokens": 7,
                    "cacheDetails": [{"ttl": "1h", "inputTokens": 4}]},
                    "metrics": {"latencyMs": 0}}),
            ),
        ]
    );
}

/// Goal: an empty answer, a missing begin and counts behind the stop are whole streams; an
/// error ends the stream and no end follows.
#[test]
fn streams_of_any_shape_are_whole() {
    let names = |steps: &[Step<'_>]| {
        let names: Vec<String> = written(steps).into_iter().map(|(name, _)| name).collect();
        names.join(" ")
    };
    let tokens = Step::Usage(Tokens::default());
    assert_eq!(
        names(&[BEGIN, Step::End]),
        "messageStart messageStop metadata"
    );
    let stop = Step::Stop(Stop::End, Text::EMPTY);
    assert_eq!(
        names(&[text("a"), Step::Close, stop.clone(), tokens, Step::End]),
        "messageStart contentBlockDelta contentBlockStop messageStop metadata"
    );
    let refused = Refused {
        trouble: Trouble::RateLimit,
        message: "slow".to_owned(),
        param: None,
        retry_after: None,
    };
    let got = written(&[BEGIN, Step::Error(refused), stop, Step::End]);
    assert_eq!(
        got[1],
        ("throttlingException".to_owned(), json!({"message": "slow"}))
    );
    assert_eq!(got.len(), 2);
}
