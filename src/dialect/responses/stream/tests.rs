//! Streams of our own: what recordings do not have.

use super::writer::REPEAT_MAX;
use super::{Reader, Writer};
use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{Dialect, Names, Open, Refused, Step, Stop, Text, Tokens, Trouble};
use serde_json::{Value, json};

const NAMES: Names<'_> = Names {
    id: "n1",
    model: "m",
    created: 7,
    wants_usage: false,
};

/// Reads events and tells the steps as short words.
fn steps(events: &[Value]) -> (Result<(), Kind>, Vec<String>) {
    let mut reader = Reader::new();
    let mut words = Vec::new();
    let mut each = |step: Step<'_>| words.push(word(&step));
    let mut read = Ok(());
    for event in events {
        let data = event.to_string();
        read = reader.read(None, data.as_bytes(), &mut each);
        if read.is_err() {
            break;
        }
    }
    let read = read.and_then(|()| reader.end(&mut each));
    (read, words)
}

fn word(step: &Step<'_>) -> String {
    match step {
        Step::Begin { id, model } => format!("begin {} {}", id.to_text(), model.to_text()),
        Step::Open(Open::Text) => "text(".to_owned(),
        Step::Open(Open::Thinking) => "think(".to_owned(),
        Step::Open(Open::Refusal) => "refuse(".to_owned(),
        Step::Open(Open::Call { id, name, .. }) => {
            format!("call {} {}(", id.to_text(), name.to_text())
        }
        Step::Text(text) => text.to_text(),
        Step::Opaque(_, raw) => format!("opaque {}", String::from_utf8_lossy(raw)),
        Step::Citation(_, raw) => format!("cite {}", String::from_utf8_lossy(raw)),
        Step::Close => ")".to_owned(),
        Step::Usage(tokens) => format!("usage {} {}", tokens.prompt(), tokens.answer()),
        Step::Stop(why, _) => format!("stop {why:?}"),
        Step::Error(refused) => format!("error {:?} {}", refused.trouble, refused.message),
        Step::End => "end".to_owned(),
    }
}

fn added(at: u64, item: &Value) -> Value {
    json!({"type": "response.output_item.added", "output_index": at, "item": item})
}

fn done(at: u64, item: &Value) -> Value {
    json!({"type": "response.output_item.done", "output_index": at, "item": item})
}

fn arguments(at: u64, delta: &str) -> Value {
    json!({"type": "response.function_call_arguments.delta", "output_index": at, "delta": delta})
}

fn text(at: u64, delta: &str) -> Value {
    json!({"type": "response.output_text.delta", "output_index": at, "content_index": 0,
        "delta": delta})
}

fn completed() -> Value {
    json!({"type": "response.completed", "response": {"status": "completed"}})
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": "f",
        "arguments": arguments})
}

/// Goal: calls whose pieces are mixed come one after the other, each whole.
#[test]
fn calls_that_are_mixed_come_one_after_the_other() {
    let (read, words) = steps(&[
        json!({"type": "response.created", "response": {"id": "resp_1", "model": "x"}}),
        added(0, &call("a", "")),
        added(1, &call("b", "")),
        arguments(0, "{\"x\""),
        arguments(1, "{\"y\":"),
        arguments(0, ":1}"),
        arguments(1, "2}"),
        done(1, &call("b", "{\"y\":2}")),
        done(0, &call("a", "{\"x\":1}")),
        completed(),
    ]);
    assert_eq!(read, Ok(()));
    let want = [
        "begin resp_1 x",
        "call a f(",
        "{\"x\"",
        ":1}",
        ")",
        "call b f(",
        "{\"y\":2}",
        ")",
        "stop Tool",
        "end",
    ];
    assert_eq!(words, want);
}

/// Goal: what came only as a whole is said, and what came as deltas is not said twice.
#[test]
fn what_came_only_as_a_whole_is_said_once() {
    let message = json!({"type": "message", "content": [
        {"type": "output_text", "text": "Hi", "annotations": [{"type": "url_citation"}]},
        {"type": "refusal", "refusal": "No"}]});
    let want = [
        "begin  ",
        "text(",
        "Hi",
        "cite {\"type\":\"url_citation\"}",
        ")",
        "refuse(",
        "No",
        ")",
        "stop Filtered",
        "end",
    ];
    let (_, words) = steps(&[done(0, &message), completed()]);
    assert_eq!(words, want);
    let (_, words) = steps(&[text(0, "Hi"), done(0, &message), completed()]);
    assert_eq!(words, want);
    let mut last = completed();
    last["response"]["output"] = json!([message, call("a", "{}")]);
    let (_, words) = steps(&[last.clone()]);
    assert_eq!(words[..8], want[..8]);
    assert_eq!(words[8..], ["call a f(", "{}", ")", "stop Tool", "end"]);
    let whole = json!({"type": "response.function_call_arguments.done", "output_index": 0,
        "arguments": "{\"x\":1}"});
    let (_, words) = steps(&[
        added(0, &call("a", "")),
        whole,
        done(0, &call("a", "{}")),
        last,
    ]);
    assert_eq!(words[1..4], ["call a f(", "{\"x\":1}", ")"]);
}

/// Goal: text that is not told to be done ends where something else begins.
#[test]
fn text_ends_where_something_else_begins() {
    let thought = |delta: &str, part: u64| {
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0,
            "summary_index": part, "delta": delta})
    };
    let (read, words) = steps(&[
        thought("a", 0),
        thought("b", 1),
        text(1, "c"),
        added(2, &call("x", "")),
        text(3, "d"),
        completed(),
    ]);
    assert_eq!(read, Ok(()));
    let want = [
        "begin  ",
        "think(",
        "a",
        "\n\n",
        "b",
        ")",
        "text(",
        "c",
        ")",
        "call x f(",
        ")",
        "text(",
        "d",
        ")",
        "stop Tool",
        "end",
    ];
    assert_eq!(words, want);
}

/// Goal: a reasoning item that is encrypted comes as a whole, with and without a summary.
#[test]
fn encrypted_thinking_is_kept() {
    for summary in [json!([]), json!([{"type": "summary_text", "text": "hm"}])] {
        let item = json!({"type": "reasoning", "id": "rs_1", "summary": summary,
            "encrypted_content": "gAAA"});
        let (_, words) = steps(&[added(0, &item), done(0, &item), completed()]);
        assert_eq!(words[1], "think(");
        let opaque = format!("opaque {item}");
        assert!(words.contains(&opaque), "{words:?}");
        assert_eq!(words.len(), 6 + summary.as_array().unwrap().len());
    }
}

/// Goal: errors of every form end the steps, and an end without its event is no end.
#[test]
fn errors_end_the_steps() {
    for event in [
        json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow"}),
        json!({"type": "error", "error": {"code": "rate_limit_exceeded", "message": "slow"}}),
        json!({"error": {"type": "rate_limit_error", "message": "slow"}}),
        json!({"type": "response.failed", "response": {"status": "failed",
            "error": {"code": "rate_limit_exceeded", "message": "slow"}}}),
    ] {
        let (read, words) = steps(&[text(0, "x"), event.clone(), completed()]);
        assert_eq!(read, Ok(()), "{event}");
        assert_eq!(words.last().unwrap(), "error RateLimit slow", "{event}");
    }
    assert_eq!(steps(&[text(0, "x")]).0, Err(Kind::UpstreamCut));
    assert_eq!(steps(&[]).0, Err(Kind::UpstreamCut));
    let lost = steps(&[arguments(4, "{}"), completed()]);
    assert_eq!(lost.0, Err(Kind::UpstreamGarbled));
}

/// Goal: the reasons of an incomplete answer are told apart.
#[test]
fn reasons_are_told_apart() {
    for (reason, want) in [
        (json!("max_output_tokens"), "stop Length"),
        (json!("content_filter"), "stop Filtered"),
        (json!(null), "stop Length"),
        (json!("steered"), "stop End"),
    ] {
        let event = json!({"type": "response.incomplete", "response": {"status": "incomplete",
            "incomplete_details": {"reason": reason},
            "usage": {"input_tokens": 3, "output_tokens": 4}}});
        let (_, words) = steps(&[event]);
        assert_eq!(words, ["begin  ", "usage 3 4", want, "end"]);
    }
}

/// Goal: what is held for calls has a bound.
#[test]
fn what_is_held_has_a_bound() {
    let piece = "x".repeat(1 << 16);
    let mut events = vec![added(0, &call("a", "")), added(1, &call("b", ""))];
    events.extend((0..17).map(|_| arguments(1, &piece)));
    assert_eq!(steps(&events).0, Err(Kind::UpstreamGarbled));
}

/// Writes steps; gives the data of the events.
fn events(steps: &[Step<'_>]) -> Vec<Value> {
    let mut tx = TxBuf::new(&BufPool::new());
    let mut writer = Writer::new();
    for step in steps {
        writer.write(step, &NAMES, &mut tx);
    }
    let text = std::str::from_utf8(tx.unsent()).unwrap();
    let events: Vec<Value> = text
        .split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
            data
        })
        .collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    events
}

fn kinds(events: &[Value]) -> Vec<&str> {
    let kinds = events.iter().map(|event| event["type"].as_str().unwrap());
    kinds
        .map(|kind| kind.strip_prefix("response.").unwrap_or(kind))
        .collect()
}

const CALL: Step<'_> = Step::Open(Open::Call {
    id: Text::EMPTY,
    name: Text::Plain("f"),
    is_custom: false,
});

/// Goal: every event that the SDK's helpers need comes, in order, and the end repeats all.
#[test]
fn a_stream_has_all_its_events() {
    let events = events(&[
        Step::Open(Open::Thinking),
        Step::Text(Text::Plain("h\"m")),
        Step::Opaque(Dialect::Anthropic, b"\"sig\""),
        Step::Close,
        Step::Open(Open::Text),
        Step::Text(Text::Escaped(b"a\\n")),
        Step::Text(Text::Plain("b")),
        Step::Close,
        CALL,
        Step::Close,
        Step::Open(Open::Refusal),
        Step::Text(Text::Plain("no")),
        Step::Close,
        Step::Stop(Stop::Tool, Text::EMPTY),
        Step::Usage(Tokens {
            fresh: 1,
            output: 2,
            ..Tokens::default()
        }),
        Step::End,
        Step::Text(Text::Plain("after the end")),
    ]);
    let want = "created in_progress \
        output_item.added reasoning_summary_part.added reasoning_summary_text.delta \
        reasoning_summary_text.done reasoning_summary_part.done output_item.done \
        output_item.added content_part.added output_text.delta output_text.delta \
        output_text.done content_part.done output_item.done \
        output_item.added function_call_arguments.delta function_call_arguments.done \
        output_item.done \
        output_item.added content_part.added refusal.delta refusal.done \
        content_part.done output_item.done \
        completed";
    assert_eq!(kinds(&events).join(" "), want);
    let last = &events.last().unwrap()["response"];
    let dones: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "response.output_item.done")
        .map(|event| &event["item"])
        .collect();
    assert_eq!(json!(dones), last["output"]);
    let output = &last["output"];
    assert_eq!(
        output[0]["encrypted_content"],
        "shardgate/anthropic/\"sig\""
    );
    assert_eq!(output[0]["summary"][0]["text"], "h\"m");
    assert_eq!(output[1]["content"][0]["text"], "a\nb");
    assert_eq!(output[2]["arguments"], "{}");
    assert_eq!(output[2]["call_id"], "call_n1_2");
    assert_eq!(output[3]["content"][0]["refusal"], "no");
    assert_eq!(
        (&last["id"], &last["model"]),
        (&json!("resp_n1"), &json!("m"))
    );
    assert_eq!(last["usage"]["total_tokens"], 3);
}

/// Goal: texts next to each other are one message; a citation stands with its text.
#[test]
fn texts_next_to_each_other_are_one_message() {
    let events = events(&[
        Step::Begin {
            id: Text::Plain("resp_own"),
            model: Text::EMPTY,
        },
        Step::Open(Open::Text),
        Step::Text(Text::Plain("a")),
        Step::Citation(
            Dialect::Responses,
            b"{\"type\":\"url_citation\",\n\"url\":\"u\"}",
        ),
        Step::Citation(Dialect::Anthropic, b"{\"type\":\"page\"}"),
        Step::Citation(Dialect::Responses, b"{\"type\":\"file_path\"}"),
        Step::Close,
        Step::Open(Open::Text),
        Step::Text(Text::Plain("b")),
        Step::Close,
        Step::Stop(Stop::Length, Text::EMPTY),
        Step::End,
    ]);
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["id"], "resp_own");
    assert_eq!(
        last["response"]["incomplete_details"]["reason"],
        "max_output_tokens"
    );
    let item = &last["response"]["output"][0];
    assert_eq!(item["status"], "incomplete");
    let own = json!([{"type": "url_citation", "url": "u"}, {"type": "file_path"}]);
    assert_eq!(item["content"][0]["annotations"], own);
    assert_eq!(item["content"][1]["text"], "b");
}

/// Goal: state that belongs to a call follows it in an item of its own.
#[test]
fn state_of_a_call_follows_it() {
    let events = events(&[
        CALL,
        Step::Opaque(Dialect::Gemini, b"\"sig\""),
        Step::Close,
        Step::Stop(Stop::Tool, Text::EMPTY),
        Step::End,
    ]);
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!(output[0]["type"], "function_call");
    assert_eq!(
        output[1]["encrypted_content"],
        "shardgate/gemini/call/\"sig\""
    );
}

/// Goal: an empty answer, an error and an answer that is too long end as the SDK needs.
#[test]
fn streams_end_in_one_way() {
    let empty = events(&[Step::End]);
    assert_eq!(kinds(&empty), ["created", "in_progress", "completed"]);
    assert_eq!(empty[2]["response"]["output"], json!([]));
    let refused = Refused {
        trouble: Trouble::Auth,
        message: "key sk-123".to_owned(),
        param: None,
        retry_after: None,
    };
    let failed = events(&[
        Step::Open(Open::Text),
        Step::Text(Text::Plain("a")),
        Step::Error(refused),
        Step::End,
    ]);
    let (error, last) = (&failed[5], &failed[6]);
    assert_eq!((kinds(&failed).len(), &error["type"]), (7, &json!("error")));
    assert_eq!(error["error"]["code"], "server_error");
    assert!(!error["error"]["message"].as_str().unwrap().contains("sk-"));
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["error"]["code"], "server_error");
    let piece = "x".repeat(1 << 20);
    let mut steps = vec![Step::Open(Open::Text)];
    steps.extend((0..=REPEAT_MAX >> 20).map(|_| Step::Text(Text::Plain(&piece))));
    steps.extend([Step::Close, Step::Stop(Stop::End, Text::EMPTY), Step::End]);
    let long = events(&steps);
    assert_eq!(long.last().unwrap()["type"], "response.failed");
    assert_eq!(long.last().unwrap()["response"]["output"], json!([]));
}
