//! Tests of streams: events to steps, steps to events.

use super::{Reader, Writer};
use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{Dialect, Names, Open, Refused, Step, Stop, Text, Tokens, Trouble};
use serde_json::{Value, json};

const NAMES: Names<'_> = Names {
    id: "abc123",
    model: "fast",
    created: 0,
    wants_usage: false,
};

/// The steps of these events, one line each, and how reading ended.
fn read(events: &[Value]) -> (Vec<String>, Result<(), Kind>) {
    let mut steps = Vec::new();
    let mut reader = Reader::new();
    let mut each = |step: Step<'_>| {
        steps.push(match step {
            Step::Begin { id, model } => format!("begin {} {}", id.to_text(), model.to_text()),
            Step::Open(Open::Call { id, name, .. }) => {
                format!("call {} {}", id.to_text(), name.to_text())
            }
            Step::Open(open) => format!("{open:?}").to_lowercase(),
            Step::Text(text) => format!("'{}'", text.to_text()),
            Step::Opaque(_, json) => format!("opaque {}", String::from_utf8_lossy(json)),
            Step::Citation(_, json) => format!("cite {}", String::from_utf8_lossy(json)),
            Step::Usage(t) => format!("usage {} {}", t.prompt(), t.answer()),
            Step::Stop(stop, at) => format!("{stop:?} '{}'", at.to_text()),
            Step::Error(refused) => format!("error {:?}", refused.trouble),
            Step::Close => "close".to_owned(),
            Step::End => "end".to_owned(),
        });
    };
    let mut result = Ok(());
    for event in events {
        result = result.and_then(|()| reader.read(None, event.to_string().as_bytes(), &mut each));
    }
    let result = result.and_then(|()| reader.end(&mut each));
    (steps, result)
}

fn start(index: u64, block: impl Into<Value>) -> Value {
    let block = block.into();
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, kind: &str, key: &str, value: impl Into<Value>) -> Value {
    let value = value.into();
    json!({"type": "content_block_delta", "index": index, "delta": {"type": kind, key: value}})
}

fn close(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn begin() -> Value {
    json!({"type": "message_start", "message": {"id": "msg_1", "model": "claude",
           "content": [], "usage": {"input_tokens": 7, "output_tokens": 1}}})
}

/// Goal: each kind of event becomes its steps; pings and what the provider runs are none.
#[test]
#[expect(clippy::too_many_lines, reason = "one stream with every kind of event")]
fn events_become_steps() {
    let (steps, result) = read(&[
        begin(),
        json!({"type": "ping"}),
        start(
            0,
            json!({"type": "thinking", "thinking": "", "signature": ""}),
        ),
        delta(0, "signature_delta", "signature", json!("c2ln")),
        close(0),
        start(1, json!({"type": "redacted_thinking", "data": "x"})),
        close(1),
        start(
            2,
            json!({"type": "server_tool_use", "id": "s", "name": "w", "input": {}}),
        ),
        delta(2, "input_json_delta", "partial_json", json!("{\"q\":1}")),
        close(2),
        start(3, json!({"type": "text", "text": "", "citations": []})),
        delta(3, "text_delta", "text", json!("a\n\"b\"")),
        delta(3, "citations_delta", "citation", json!({"type": "c"})),
        delta(3, "brand_new_delta", "x", json!(1)),
        close(3),
        start(
            4,
            json!({"type": "tool_use", "id": "t1", "name": "f", "input": {}}),
        ),
        delta(4, "input_json_delta", "partial_json", json!("")),
        delta(4, "input_json_delta", "partial_json", json!("{\"a\":")),
        delta(4, "input_json_delta", "partial_json", json!("1}")),
        close(4),
        start(
            5,
            json!({"type": "tool_use", "id": "t2", "name": "g", "input": {}}),
        ),
        close(5),
        start(
            6,
            json!({"type": "tool_use", "id": "t3", "name": "h", "input": {"z": 1}}),
        ),
        close(6),
        json!({"type": "brand_new_event"}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"},
               "usage": {"output_tokens": 50}}),
        json!({"type": "message_stop"}),
        json!({"type": "ping"}),
    ]);
    assert_eq!(result, Ok(()));
    let want = [
        "begin msg_1 claude",
        "usage 7 1",
        "thinking",
        "opaque \"c2ln\"",
        "close",
        "thinking",
        "opaque {\"type\":\"redacted_thinking\",\"data\":\"x\"}",
        "close",
        "text",
        "'a\n\"b\"'",
        "cite {\"type\":\"c\"}",
        "close",
        "call t1 f",
        "'{\"a\":'",
        "'1}'",
        "close",
        "call t2 g",
        "'{}'",
        "close",
        "call t3 h",
        "'{\"z\":1}'",
        "close",
        "usage 7 50",
        "Tool ''",
        "end",
    ];
    assert_eq!(steps, want);
}

/// Goal: a stream that is broken, cut or refused says so, and stays balanced.
#[test]
fn a_stream_that_fails_says_how() {
    let text = start(0, json!({"type": "text", "text": ""}));
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error",
                            "message": "Overloaded"}});
    let (steps, result) = read(&[begin(), text.clone(), overloaded, json!({"type": "ping"})]);
    assert_eq!(steps.last().unwrap(), "error Overloaded");
    assert_eq!(result, Err(Kind::UpstreamCut));
    let (steps, result) = read(&[json!({"error": {"message": "x"}})]);
    assert_eq!((steps.len(), result), (1, Err(Kind::UpstreamCut)));
    for garbled in [
        json!([1]),
        json!({}),
        delta(0, "text_delta", "text", json!("x")),
    ] {
        assert_eq!(read(&[begin(), garbled]).1, Err(Kind::UpstreamGarbled));
    }
    let other = delta(1, "text_delta", "text", json!("x"));
    assert_eq!(
        read(&[begin(), text.clone(), other]).1,
        Err(Kind::UpstreamGarbled)
    );
    // A block that begins before the last one has ended ends it; so does the stop.
    let again = start(1, json!({"type": "text", "text": "b"}));
    let stop = json!({"type": "message_delta", "delta": {"stop_reason": "stop_sequence",
                      "stop_sequence": "\n"}});
    let end = json!({"type": "message_stop"});
    let (steps, result) = read(&[text, again, close(0), stop, end]);
    let want = [
        "begin  ",
        "text",
        "close",
        "text",
        "'b'",
        "close",
        "Sequence '\n'",
        "end",
    ];
    assert_eq!((steps, result), (want.map(str::to_owned).to_vec(), Ok(())));
}

/// Goal: a refusal says why, if the provider does; a second start changes nothing; a message
/// may begin with calls.
#[test]
fn odd_beginnings_and_ends_are_read() {
    let refusal = json!({"type": "message_delta", "delta": {"stop_reason": "refusal",
        "stop_details": {"type": "refusal", "explanation": "No."}}});
    let end = json!({"type": "message_stop"});
    let (steps, _) = read(&[begin(), begin(), refusal, end.clone()]);
    let want = [
        "begin msg_1 claude",
        "usage 7 1",
        "usage 7 1",
        "usage 7 1",
        "refusal",
        "'No.'",
        "close",
        "Filtered ''",
        "end",
    ];
    assert_eq!(steps, want);
    let calls = json!({"type": "message_start", "message": {"id": "msg_2", "content": [
        {"type": "tool_use", "id": "t", "name": "f", "input": {"p": 2}}]}});
    let (steps, _) = read(&[calls, end]);
    let want = [
        "begin msg_2 ",
        "call t f",
        "'{\"p\":2}'",
        "close",
        "Tool ''",
        "end",
    ];
    assert_eq!(steps, want);
}

/// The data of the events that these steps make.
fn written(steps: &[Step<'_>]) -> Vec<Value> {
    let mut tx = TxBuf::new(&BufPool::new());
    let mut writer = Writer::new();
    for step in steps {
        writer.write(step, &NAMES, &mut tx);
    }
    let text = std::str::from_utf8(tx.unsent()).unwrap();
    let events = text.split_terminator("\n\n").map(|event| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    });
    events.collect()
}

fn call(id: &str, is_custom: bool) -> Step<'_> {
    Step::Open(Open::Call {
        id: id.into(),
        name: "f".into(),
        is_custom,
    })
}

/// Goal: thinking, text, calls and text again: indexes in order, arguments whole, the signature
/// before the stop, the numbers at the end.
#[test]
#[expect(clippy::too_many_lines, reason = "one stream with every kind of block")]
fn steps_become_events() {
    let tokens = Tokens {
        fresh: 5,
        output: 9,
        ..Tokens::default()
    };
    let text = |text| Step::Text(Text::Plain(text));
    let got = written(&[
        Step::Begin {
            id: "chatcmpl-1".into(),
            model: "gpt".into(),
        },
        Step::Open(Open::Thinking),
        text("hm"),
        Step::Close,
        Step::Open(Open::Text),
        Step::Text(Text::Escaped(br"a\u00e9\n")),
        Step::Close,
        Step::Open(Open::Text),
        Step::Close,
        call("call_1", false),
        text("{\"a\":"),
        text("\"b\"}"),
        Step::Close,
        call("", false),
        Step::Close,
        call("c3", true),
        text("say \"x\"\n"),
        Step::Text(Text::Escaped(br"\ty")),
        Step::Close,
        Step::Open(Open::Text),
        text("z"),
        Step::Close,
        Step::Stop(Stop::End, Text::EMPTY),
        Step::Usage(tokens),
        Step::End,
        Step::End,
    ]);
    let json_delta = |index, json: &str| delta(index, "input_json_delta", "partial_json", json);
    let tool = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let zero = json!({"input_tokens": 0, "cache_creation_input_tokens": 0,
                      "cache_read_input_tokens": 0, "output_tokens": 0});
    let usage = json!({"input_tokens": 5, "cache_creation_input_tokens": 0,
                       "cache_read_input_tokens": 0, "output_tokens": 9});
    let want = [
        json!({"type": "message_start", "message": {"id": "msg_abc123", "type": "message",
               "role": "assistant", "model": "fast", "content": [], "stop_reason": null,
               "stop_sequence": null, "usage": zero}}),
        start(
            0,
            json!({"type": "thinking", "thinking": "", "signature": ""}),
        ),
        delta(0, "thinking_delta", "thinking", json!("hm")),
        delta(0, "signature_delta", "signature", json!("sg1::")),
        close(0),
        start(1, json!({"type": "text", "text": ""})),
        delta(1, "text_delta", "text", json!("aé\n")),
        close(1),
        start(2, tool("call_1")),
        json_delta(2, "{\"a\":"),
        json_delta(2, "\"b\"}"),
        close(2),
        start(3, tool("call_abc123_3")),
        json_delta(3, "{}"),
        close(3),
        start(4, tool("c3")),
        json_delta(4, "{\"input\":\"say \\\"x\\\"\\n"),
        json_delta(4, "\\ty"),
        json_delta(4, "\"}"),
        close(4),
        start(5, json!({"type": "text", "text": ""})),
        delta(5, "text_delta", "text", json!("z")),
        close(5),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use",
               "stop_sequence": null}, "usage": usage}),
        json!({"type": "message_stop"}),
    ];
    assert_eq!(got, want);
}

/// Goal: signatures of this dialect and what others want to see again both have their place.
#[test]
fn opaque_state_goes_into_signatures() {
    let redacted = br#"{"type":"redacted_thinking","data":"x"}"#;
    let got = written(&[
        Step::Open(Open::Thinking),
        Step::Opaque(Dialect::Anthropic, b"\"c2ln\""),
        Step::Close,
        Step::Open(Open::Thinking),
        Step::Opaque(Dialect::Anthropic, redacted),
        Step::Close,
        Step::Open(Open::Thinking),
        Step::Opaque(Dialect::Responses, br#"{"e":"a\"b"}"#),
        Step::Close,
        call("c", false),
        Step::Opaque(Dialect::Gemini, b"\"s\""),
        Step::Close,
    ]);
    let thinking = json!({"type": "thinking", "thinking": "", "signature": ""});
    let sealed = r#"sg1:responses:{"e":"a\"b"}"#;
    let want = [
        start(0, thinking.clone()),
        delta(0, "signature_delta", "signature", json!("c2ln")),
        close(0),
        start(1, json!({"type": "redacted_thinking", "data": "x"})),
        close(1),
        start(2, thinking),
        delta(2, "signature_delta", "signature", json!(sealed)),
        close(2),
    ];
    assert_eq!(got[1..=want.len()], want);
    assert_eq!(got[0]["type"], "message_start");
}

/// Goal: an empty answer is one; an error ends without `message_stop`; a key that was refused
/// is not the client's.
#[test]
fn ends_are_written_as_they_are() {
    let kinds = |steps: &[Step<'_>]| {
        let events = written(steps);
        events
            .iter()
            .map(|e| e["type"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        kinds(&[Step::End]),
        ["message_start", "message_delta", "message_stop"]
    );
    let refused = Refused {
        trouble: Trouble::Auth,
        message: "key sk-1 is bad".into(),
        param: None,
        retry_after: None,
    };
    let got = written(&[Step::Open(Open::Text), Step::Error(refused), Step::End]);
    assert_eq!(got.len(), 2);
    assert_eq!(got[1]["error"]["type"], "api_error");
    assert!(!got[1].to_string().contains("sk-1"));
    for (stop, want) in [
        (Stop::Length, "max_tokens"),
        (Stop::Context, "model_context_window_exceeded"),
        (Stop::Filtered, "refusal"),
        (Stop::Pause, "pause_turn"),
        (Stop::Malformed, "end_turn"),
        (Stop::Tool, "end_turn"),
        (Stop::Sequence, "stop_sequence"),
    ] {
        let got = written(&[Step::Stop(stop, "x".into()), Step::End]);
        assert_eq!(got[1]["delta"]["stop_reason"], want);
        let at = &got[1]["delta"]["stop_sequence"];
        assert_eq!(*at == "x", stop == Stop::Sequence);
    }
}
