//! Rules of streams, with events of our own.

use super::{Reader, Writer};
use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{Dialect, Names, Open, Refused, Step, Stop, Text, Tokens, Trouble};
use serde_json::{Value, json};

const NAMES: Names<'_> = Names {
    id: "x7",
    model: "m",
    created: 1,
    wants_usage: false,
};

/// A step in one line.
fn line(step: &Step<'_>) -> String {
    match step {
        Step::Begin { id, model } => format!("begin {} {}", id.to_text(), model.to_text()),
        Step::Open(Open::Call { id, name, .. }) => {
            format!("call {} {}", id.to_text(), name.to_text())
        }
        Step::Open(open) => format!("{open:?}").to_lowercase(),
        Step::Text(text) => format!("+{}", text.to_text()),
        Step::Opaque(_, raw) => format!("opaque {}", raw.escape_ascii()),
        Step::Citation(_, raw) => format!("cite {}", raw.escape_ascii()),
        Step::Close => "close".into(),
        Step::Usage(tokens) => format!("usage {} {}", tokens.prompt(), tokens.answer()),
        Step::Stop(why, _) => format!("stop {why:?}"),
        Step::Error(refused) => format!("error {:?}", refused.trouble),
        Step::End => "end".into(),
    }
}

/// The steps of `events`, and how the stream ends.
fn steps(events: &[&str]) -> (Vec<String>, Result<(), Kind>) {
    let mut reader = Reader::new();
    let mut lines = Vec::new();
    for event in events {
        let read = reader.read(None, event.as_bytes(), &mut |step| lines.push(line(&step)));
        if read.is_err() {
            return (lines, read);
        }
    }
    let end = reader.end(&mut |step| lines.push(line(&step)));
    (lines, end)
}

fn parts(parts: &Value) -> String {
    json!({"candidates": [{"content": {"parts": parts}}]}).to_string()
}

/// Goal: thoughts, text, calls and text again are blocks one after the other; the reason and
/// the counts come at the end.
#[test]
fn parts_become_blocks() {
    let first = r#"{"responseId":"r-1","modelVersion":"g","candidates":[{"content":{"parts":[
        {"thought":true,"text":"h"}]}}],"usageMetadata":{"promptTokenCount":1}}"#;
    let (got, end) = steps(&[
        first,
        &parts(&json!([{"text": "m", "thought": true}, {"text": "a"}])),
        &parts(&json!([{"text": ""}, {"text": "b\n", "thoughtSignature": "lost"}])),
        &parts(&json!([
            {"functionCall": {"name": "f", "args": {"k": [1]}}, "thoughtSignature": "s"},
            {"functionCall": {"name": "f", "id": "own"}},
        ])),
        &parts(&json!([{"text": "c"}])),
        r#"{"candidates":[{"finishReason":"STOP","groundingMetadata":{"a":1}}],
            "usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,
            "thoughtsTokenCount":5}}"#,
        r#"{"candidates":[],"usageMetadata":{"trafficType":"ON_DEMAND"}}"#,
    ]);
    assert_eq!(end, Ok(()));
    let want = [
        "begin r-1 g",
        "thinking",
        "+h",
        "+m",
        "close",
        "text",
        "+a",
        "+b\n",
        "close",
        "call call_r-1_0 f",
        "+{\"k\":[1]}",
        "opaque \\\"s\\\"",
        "close",
        "call own f",
        "+{}",
        "close",
        "text",
        "+c",
        "cite {\\\"a\\\":1}",
        "close",
        "usage 3 7",
        "stop Tool",
        "end",
    ];
    assert_eq!(got, want);
}

/// Goal: without a reason to finish the stream was cut; a blocked prompt is whole.
#[test]
fn without_a_reason_it_was_cut() {
    let text = parts(&json!([{"text": "a"}]));
    for (events, want) in [
        (vec![], Err(Kind::UpstreamCut)),
        (vec![text.as_str()], Err(Kind::UpstreamCut)),
        (vec![r#"{"this":1}"#], Err(Kind::UpstreamCut)),
        (
            vec![r#"{"candidates":[{"finishReason":"FINISH_REASON_UNSPECIFIED"}]}"#],
            Err(Kind::UpstreamCut),
        ),
        (
            vec![&text, r#"{"candidates":[{"finishReason":"NEW"}]}"#],
            Ok(()),
        ),
        (
            vec![r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#],
            Ok(()),
        ),
        (vec![&text, "{"], Err(Kind::UpstreamGarbled)),
        (vec![&text, "7"], Err(Kind::UpstreamGarbled)),
    ] {
        let (lines, end) = steps(&events);
        assert_eq!(end, want, "{events:?}");
        assert_eq!(lines.last().is_some_and(|line| line == "end"), end.is_ok());
    }
    let (lines, _) = steps(&[r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#]);
    assert_eq!(lines, ["begin  ", "stop Filtered", "end"]);
    // What was used is told, though.
    let (lines, end) = steps(&[r#"{"candidates":[],"usageMetadata":{"promptTokenCount":3}}"#]);
    assert_eq!(
        (lines.last().unwrap().as_str(), end.is_err()),
        ("usage 3 0", true)
    );
    // Length wins over the tool.
    let cut = r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},
        "finishReason":"MAX_TOKENS"}]}"#;
    let (lines, _) = steps(&[cut]);
    assert_eq!(lines[lines.len() - 2], "stop Length");
}

/// Goal: an error ends it, whatever follows; also within a list.
#[test]
fn an_error_ends_it() {
    let error = r#"[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]"#;
    let text = parts(&json!([{"text": "a"}]));
    let (lines, end) = steps(&[&text, error, &text]);
    assert_eq!(
        lines,
        ["begin  ", "text", "+a", "close", "error Overloaded"]
    );
    assert_eq!(end, Err(Kind::UpstreamCut));
}

/// Goal: arguments in pieces become one call, whichever way it ends.
#[test]
fn arguments_in_pieces_become_one_call() {
    let begin = parts(
        &json!([{"functionCall": {"name": "f", "willContinue": true},
        "thoughtSignature": "s"}]),
    );
    let piece = |will_continue: bool| {
        parts(&json!([{"functionCall": {
            "partialArgs": [{"jsonPath": "$.a", "stringValue": "x"}],
            "willContinue": will_continue,
        }}]))
    };
    let stop = r#"{"candidates":[{"finishReason":"STOP"}]}"#;
    let empty = parts(&json!([{"functionCall": {}}]));
    let want = |args: &str| {
        let lines = [
            "begin  ",
            "call call_0 f",
            args,
            "opaque \\\"s\\\"",
            "close",
            "stop Tool",
            "end",
        ];
        lines.map(str::to_owned).to_vec()
    };
    for (events, args) in [
        (
            vec![begin.as_str(), &piece(true), &piece(true), &empty, stop],
            "+{\"a\":\"xx\"}",
        ),
        (vec![&begin, &piece(false), stop], "+{\"a\":\"x\"}"),
        (vec![&begin, stop], "+{}"),
    ] {
        assert_eq!(steps(&events), (want(args), Ok(())));
    }
    let (_, end) = steps(&[&piece(true)]);
    assert_eq!(end, Err(Kind::UpstreamGarbled));
}

fn written(steps: &[Step<'_>]) -> String {
    let mut writer = Writer::new();
    let mut tx = TxBuf::new(&BufPool::new());
    for step in steps {
        writer.write(step, &NAMES, &mut tx);
    }
    String::from_utf8(tx.unsent().to_vec()).unwrap()
}

/// The data of each event, which must be framed and be JSON.
fn events(text: &str) -> Vec<Value> {
    assert!(text.is_empty() || text.ends_with("\n\n"));
    text.split_terminator("\n\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect()
}

fn call(id: &str, is_custom: bool) -> Step<'_> {
    Step::Open(Open::Call {
        id: id.into(),
        name: "f".into(),
        is_custom,
    })
}

/// Goal: every event is a whole response; calls come whole; the reason and the counts come with
/// the last event, whichever order they were told in.
#[test]
fn events_are_whole_responses() {
    let tokens = Tokens {
        fresh: 3,
        read: 2,
        output: 4,
        thinking: 1,
        ..Tokens::default()
    };
    let got = events(&written(&[
        Step::Begin {
            id: "chatcmpl-1".into(),
            model: "gpt".into(),
        },
        Step::Open(Open::Thinking),
        Step::Text("h".into()),
        Step::Opaque(Dialect::Gemini, b"\"s\""),
        Step::Opaque(Dialect::Anthropic, b"\"foreign\""),
        Step::Close,
        Step::Open(Open::Text),
        Step::Text(Text::EMPTY),
        Step::Text(Text::Escaped(br"a\n\u00e9")),
        Step::Close,
        call("", false),
        Step::Text("{\"k\":\n".into()),
        Step::Text("1}".into()),
        Step::Close,
        call("own", false),
        Step::Text("{\"k".into()),
        Step::Close,
        call("c", true),
        Step::Text("plain".into()),
        Step::Close,
        Step::Stop(Stop::Tool, Text::EMPTY),
        Step::Usage(tokens),
        Step::End,
    ]));
    let parts: Vec<&Value> = got
        .iter()
        .map(|event| &event["candidates"][0]["content"]["parts"][0])
        .collect();
    let want = json!([
        {"text": "h", "thought": true},
        {"text": "", "thought": true, "thoughtSignature": "s"},
        {"text": "a\né"},
        {"functionCall": {"id": "call_x7_0", "name": "f", "args": {"k": 1}}},
        {"functionCall": {"id": "own", "name": "f", "args": {"_raw": "{\"k"}}},
        {"functionCall": {"id": "c", "name": "f", "args": {"input": "plain"}}},
        {"text": ""},
    ]);
    assert_eq!(json!(parts), want);
    for (index, event) in got.iter().enumerate() {
        let is_last = index + 1 == got.len();
        assert_eq!(
            event["candidates"][0].get("finishReason").is_some(),
            is_last
        );
        assert_eq!(event["modelVersion"], "m");
        assert_eq!(event["responseId"], "x7");
    }
    let usage = json!({"promptTokenCount": 5, "cachedContentTokenCount": 2,
        "candidatesTokenCount": 4, "thoughtsTokenCount": 1, "totalTokenCount": 10});
    assert_eq!(got[6]["usageMetadata"], usage);
}

/// Goal: an empty answer, one without counts, one that breaks off and one that fails are told
/// as what they are.
#[test]
fn odd_streams_are_told_as_what_they_are() {
    let empty = events(&written(&[
        Step::Stop(Stop::Length, Text::EMPTY),
        Step::End,
    ]));
    assert_eq!(empty[0]["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!(empty[0].get("usageMetadata"), None);
    // Lenient: text without an open block.
    let cut = written(&[Step::Text("a".into()), Step::Stop(Stop::End, Text::EMPTY)]);
    assert_eq!(events(&cut).len(), 1);
    assert!(!cut.contains("finishReason"));
    let failed = written(&[
        Step::Error(Refused {
            trouble: Trouble::Auth,
            message: "key AIza is bad".into(),
            param: None,
            retry_after: None,
        }),
        Step::End,
    ]);
    assert_eq!(events(&failed)[0]["error"]["code"], 502);
    assert!(!failed.contains("AIza"));
}
