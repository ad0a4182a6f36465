//! Streams: of every engine that is known to be odd, and as they are written.

use super::{Reader, Writer};
use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{Dialect, Names, Open, Step, Stop, Text, Tokens, Trouble};
use serde_json::{Value, json};

const NAMES: Names<'_> = Names {
    id: "abc",
    model: "m\"1\"",
    created: 7,
    wants_usage: true,
};

/// Steps as short words: `text(`, `hello`, `)`, `call c1 f(`, `stop Tool`, `end`.
fn word(step: &Step<'_>) -> String {
    match step {
        Step::Begin { id, model } => format!("begin {} {}", id.to_text(), model.to_text()),
        Step::Open(Open::Text) => "text(".to_owned(),
        Step::Open(Open::Thinking) => "thinking(".to_owned(),
        Step::Open(Open::Refusal) => "refusal(".to_owned(),
        Step::Open(Open::Call { id, name, .. }) => {
            format!("call {} {}(", id.to_text(), name.to_text())
        }
        Step::Text(text) => text.to_text(),
        Step::Opaque(_, raw) => format!("opaque {}", String::from_utf8_lossy(raw)),
        Step::Citation(_, raw) => format!("citation {}", String::from_utf8_lossy(raw)),
        Step::Close => ")".to_owned(),
        Step::Usage(tokens) => format!("usage {} {}", tokens.prompt(), tokens.answer()),
        Step::Stop(why, at) => format!("stop {why:?}{}", at.to_text()),
        Step::Error(refused) => format!("error {:?}", refused.trouble),
        Step::End => "end".to_owned(),
    }
}

/// Reads the events, then the end of the body if there is no `[DONE]`.
fn steps(events: &[&str]) -> Result<Vec<String>, Kind> {
    let (mut reader, mut out) = (Reader::new(), Vec::new());
    let mut each = |step: Step<'_>| out.push(word(&step));
    for event in events {
        reader.read(None, event.as_bytes(), &mut each)?;
    }
    if !events.contains(&"[DONE]") && !out.last().is_some_and(|last| last.starts_with("error")) {
        reader.end(&mut |step| out.push(word(&step)))?;
    }
    Ok(out)
}

/// A chunk with this delta.
fn delta(delta: &Value) -> String {
    json!({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta,
        "finish_reason": null}]})
    .to_string()
}

fn calls(fragments: &Value) -> String {
    delta(&json!({"tool_calls": fragments}))
}

fn finish(reason: &str) -> String {
    json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}).to_string()
}

fn read(events: &[String]) -> Result<String, Kind> {
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    steps(&events).map(|steps| steps.join(" "))
}

fn done() -> String {
    "[DONE]".to_owned()
}

/// Goal: calls whose fragments interleave come one after the other, as soon as they can.
#[test]
fn calls_that_interleave_are_made_sequential() {
    let got = read(&[
        calls(&json!([{"index": 0, "id": "a", "type": "function",
            "function": {"name": "f", "arguments": ""}}])),
        calls(&json!([{"index": 1, "id": "b", "type": "function",
            "function": {"name": "g", "arguments": "{\"y\""}}])),
        calls(&json!([{"index": 0, "function": {"arguments": "{\"x\":"}}])),
        calls(&json!([{"index": 1, "function": {"arguments": ":2}"}},
            {"index": 0, "function": {"arguments": "1}"}}])),
        delta(&json!({"content": "after"})),
        finish("tool_calls"),
        done(),
    ]);
    let want = r#"begin c m call a f( {"x": 1} ) call b g( {"y":2} ) text( after ) stop Tool end"#;
    assert_eq!(got.as_deref(), Ok(want));
}

/// Goal: the odd ways of naming calls are understood: every call with index 0 (Ollama), none
/// with an index, the name in every fragment (llama.cpp), arguments as an object, no id.
#[test]
fn odd_ways_of_naming_calls_are_understood() {
    let whole = |index: Value, id: &str, name: &str, arguments: Value| {
        let mut call = json!({"id": id, "function": {"name": name, "arguments": arguments}});
        if !index.is_null() {
            call["index"] = index;
        }
        calls(&json!([call]))
    };
    let two = "begin c m call a f( {} ) call b f( {} ) stop Tool end";
    for index in [json!(0), Value::Null] {
        let got = read(&[
            whole(index.clone(), "a", "f", json!("{}")),
            whole(index, "b", "f", json!("{}")),
            finish("stop"),
            done(),
        ]);
        assert_eq!(got.as_deref(), Ok(two));
    }
    let got = read(&[
        whole(json!(0), "a", "f", json!("{\"x\"")),
        calls(&json!([{"index": 0, "function": {"name": "f", "arguments": ":1}"}}])),
        finish("stop"),
        done(),
    ]);
    let one = "begin c m call a f( {\"x\" :1} ) stop Tool end";
    assert_eq!(got.as_deref(), Ok(one));
    let got = read(&[
        whole(Value::Null, "", "f", json!({"x": "\""})),
        whole(Value::Null, "", "f", json!({})),
        finish("stop"),
        done(),
    ]);
    let bare = "begin c m call  f( {\"x\":\"\\\"\"} ) call  f( {} ) stop Tool end";
    assert_eq!(got.as_deref(), Ok(bare));
    let legacy = |function: Value| delta(&json!({"function_call": function}));
    let got = read(&[
        legacy(json!({"name": "f", "arguments": ""})),
        legacy(json!({"arguments": "{}"})),
        finish("function_call"),
        done(),
    ]);
    assert_eq!(got.as_deref(), Ok("begin c m call  f( {} ) stop Tool end"));
}

/// Goal: a call without arguments does not hold up the end, and one that is cut says so.
#[test]
fn a_call_need_not_be_whole_at_the_end() {
    let call = |arguments: &str| {
        calls(&json!([{"index": 0, "id": "a",
            "function": {"name": "f", "arguments": arguments}}]))
    };
    let got = read(&[
        call(""),
        delta(&json!({"content": "t"})),
        finish("stop"),
        done(),
    ]);
    let want = "begin c m call a f( ) text( t ) stop Tool end";
    assert_eq!(got.as_deref(), Ok(want));
    let got = read(&[call("{\"x"), finish("length"), done()]);
    let want = "begin c m call a f( {\"x ) stop Length end";
    assert_eq!(got.as_deref(), Ok(want));
    // What comes after a call that is over is no part of it.
    let late = read(&[
        call("{}"),
        delta(&json!({"content": "t"})),
        call("{}"),
        done(),
    ]);
    assert_eq!(late, Err(Kind::UpstreamGarbled));
    let blank = read(&[
        call("{}"),
        delta(&json!({"content": "t"})),
        call(" \n"),
        done(),
    ]);
    assert!(blank.is_ok());
}

/// Goal: the finish reason may come twice, before, with or after usage, or never; `[DONE]` is
/// the end, and so is the end of the body after a finish reason.
#[test]
fn finish_and_usage_come_in_any_order() {
    let text = delta(&json!({"role": "assistant", "content": "t"}));
    let usage = json!({"id": "c", "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    .to_string();
    let both = json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    .to_string();
    let stop = finish("stop");
    for events in [
        vec![&text, &stop, &usage],
        vec![&text, &usage, &stop],
        vec![&text, &both],
        vec![&text, &stop, &both],
    ] {
        for tail in [None, Some(done())] {
            let mut events: Vec<String> = events.iter().map(|event| (*event).clone()).collect();
            events.extend(tail);
            let got = read(&events);
            let want = "begin c m text( t usage 3 2 ) stop End end";
            assert_eq!(got.as_deref(), Ok(want), "{events:?}");
        }
    }
    let got = read(&[text.clone(), usage.clone(), done()]);
    let want = "begin c m text( t usage 3 2 ) stop End end";
    assert_eq!(got.as_deref(), Ok(want));
    assert_eq!(read(&[text, usage]), Err(Kind::UpstreamCut));
    assert_eq!(read(&[]), Err(Kind::UpstreamCut));
    assert_eq!(read(&[done()]), Err(Kind::UpstreamGarbled));
}

/// Goal: thinking is thinking, by whatever name it goes, and is not told twice.
#[test]
fn thinking_goes_by_many_names() {
    let part =
        |text: &str| json!({"type": "thinking", "thinking": [{"type": "text", "text": text}]});
    for thought in [
        json!({"reasoning_content": "hm", "content": null}),
        json!({"reasoning": "hm"}),
        json!({"reasoning": "hm", "reasoning_content": "hm"}),
        json!({"reasoning_content": "", "reasoning": "hm"}),
        json!({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
        json!({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
        json!({"content": [part("hm")]}),
    ] {
        let text = delta(&json!({"content": "t"}));
        let got = read(&[delta(&thought), text, finish("stop"), done()]);
        let want = "begin c m thinking( hm ) text( t ) stop End end";
        assert_eq!(got.as_deref(), Ok(want), "{thought}");
    }
    let signed = json!({"reasoning_details": [{"signature": "s", "index": 0}]});
    let got = read(&[
        delta(&json!({"reasoning": "hm"})),
        delta(&signed),
        finish("stop"),
        done(),
    ]);
    let want = r#"begin c m thinking( hm opaque {"signature":"s","index":0} ) stop End end"#;
    assert_eq!(got.as_deref(), Ok(want));
}

/// Goal: errors in mid-stream, in every form, end it, and nothing follows.
#[test]
fn an_error_ends_the_stream() {
    let text = delta(&json!({"content": "t"}));
    for (error, trouble) in [
        (
            json!({"error": {"message": "busy", "code": 503}}),
            "Overloaded",
        ),
        (json!({"error": "busy"}), "Server"),
        (
            json!({"object": "error", "message": "prompt too long", "code": 400}),
            "ContextLength",
        ),
        (
            json!({"id": "c", "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}),
            "Server",
        ),
        (
            json!({"id": "c", "choices": [{"index": 0, "delta": {}, "error": {"code": 429}}]}),
            "RateLimit",
        ),
    ] {
        let got = read(&[text.clone(), error.to_string(), text.clone(), done()]);
        let want = format!("begin c m text( t error {trouble}");
        assert_eq!(got, Ok(want), "{error}");
    }
    let fine = json!({"error": null, "choices": [{"index": 0, "delta": {"content": "t"}}]});
    assert!(read(&[fine.to_string(), done()]).is_ok());
    let mut reader = Reader::new();
    let mut out = Vec::new();
    let data = br#"{"message":"failed to decode"}"#;
    let read = reader.read(Some(b"error"), data, &mut |step| out.push(word(&step)));
    assert_eq!((read, out.join(" ").as_str()), (Ok(()), "error Server"));
    assert_eq!(reader.end(&mut |_| ()), Err(Kind::UpstreamCut));
}

/// Goal: what is no event of Chat is told; what is an event that nobody knows is passed over,
/// and choices of other indices as well.
#[test]
fn what_is_no_event_is_told() {
    for garbage in ["{", "[]", "7", "hello", "{\"choices\":[{]}"] {
        assert_eq!(steps(&[garbage]), Err(Kind::UpstreamGarbled), "{garbage}");
    }
    let got = read(&[
        json!({"choices": [], "id": "", "prompt_filter_results": []}).to_string(), // Azure
        json!({"p": "x"}).to_string(),
        delta(&json!({"content": "t"})),
        json!({"choices": [{"index": 1, "delta": {"content": "other"}}]}).to_string(),
        json!({"choices": [{"index": 0, "content_filter_results": {}}]}).to_string(),
        finish("stop"),
        done(),
    ]);
    assert_eq!(got.as_deref(), Ok("begin c m text( t ) stop End end"));
}

/// Goal: the stop sequence that vLLM and `SGLang` name is told.
#[test]
fn a_stop_sequence_is_told() {
    for (key, value, want) in [
        ("stop_reason", json!("\n\n"), "Sequence\n\n"),
        ("matched_stop", json!("END"), "SequenceEND"),
        ("matched_stop", json!(151_645), "End"),
        ("stop_reason", Value::Null, "End"),
    ] {
        let mut choice = json!({"index": 0, "delta": {"content": "t"}, "finish_reason": "stop"});
        choice[key] = value;
        let got = read(&[json!({"id": "c", "choices": [choice]}).to_string(), done()]);
        assert_eq!(got, Ok(format!("begin c  text( t ) stop {want} end")));
    }
}

/// The events that `steps` are.
fn written(steps: &[Step<'_>], names: &Names<'_>) -> Vec<Value> {
    let mut tx = TxBuf::new(&BufPool::new());
    let mut writer = Writer::new();
    for step in steps {
        writer.write(step, names, &mut tx);
    }
    let out = String::from_utf8(tx.unsent().to_vec()).unwrap();
    out.split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").unwrap())
        .map(|data| serde_json::from_str(data).unwrap_or_else(|_| Value::from(data)))
        .collect()
}

const CALL: Step<'_> = Step::Open(Open::Call {
    id: Text::EMPTY,
    name: Text::Plain("f"),
    is_custom: false,
});

/// Goal: what is written is what the official SDK demands: the same id in every chunk, dense
/// indices, `type` with the first fragment, `{}` for no arguments, one finish reason, usage
/// last and only where it is wanted.
#[test]
#[expect(clippy::too_many_lines, reason = "one list of cases")]
fn a_stream_is_written_as_openai_writes_it() {
    let tokens = Tokens {
        fresh: 3,
        output: 2,
        ..Tokens::default()
    };
    let steps = [
        Step::Begin {
            id: Text::Plain("msg_1"),
            model: Text::Plain("theirs"),
        },
        Step::Open(Open::Thinking),
        Step::Text(Text::Escaped(br#"h\"m"#)),
        Step::Close,
        Step::Open(Open::Text),
        Step::Text(Text::Plain("a\nb")),
        Step::Close,
        CALL,
        Step::Text(Text::Escaped(br#"{\"x\":1}"#)),
        Step::Close,
        CALL,
        Step::Text(Text::EMPTY),
        Step::Close,
        Step::Open(Open::Text),
        Step::Text(Text::Plain("c")),
        Step::Close,
        Step::Usage(tokens),
        Step::Stop(Stop::Tool, Text::EMPTY),
        Step::Usage(tokens),
        Step::End,
    ];
    for wants_usage in [true, false] {
        let names = Names {
            wants_usage,
            ..NAMES
        };
        let mut events = written(&steps, &names);
        assert_eq!(events.pop(), Some(json!("[DONE]")));
        for event in &events {
            assert_eq!(event["id"], "chatcmpl-abc");
            assert_eq!(event["object"], "chat.completion.chunk");
            assert_eq!(
                (&event["model"], &event["created"]),
                (&json!("m\"1\""), &json!(7))
            );
        }
        if wants_usage {
            let last = events.pop().unwrap();
            assert_eq!(last["choices"], json!([]));
            assert_eq!(last["usage"]["total_tokens"], 5);
        }
        let choices: Vec<&Value> = events.iter().map(|event| &event["choices"][0]).collect();
        let deltas: Vec<&Value> = choices.iter().map(|choice| &choice["delta"]).collect();
        let call = |index: u64, id: &str| {
            json!({"tool_calls": [{"index": index, "id": id, "type": "function",
                "function": {"name": "f", "arguments": ""}}]})
        };
        let more = |index: u64, arguments: &str| json!({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]});
        let want = [
            json!({"role": "assistant", "content": ""}),
            json!({"reasoning_content": "h\"m"}),
            json!({"content": "a\nb"}),
            call(0, "call_abc_0"),
            more(0, "{\"x\":1}"),
            call(1, "call_abc_1"),
            more(1, "{}"),
            json!({"content": "c"}),
            json!({}),
        ];
        assert_eq!(deltas, want.iter().collect::<Vec<_>>());
        let reasons: Vec<&Value> = choices.iter().map(|c| &c["finish_reason"]).collect();
        assert_eq!(reasons.last(), Some(&&json!("tool_calls")));
        assert!(reasons.iter().rev().skip(1).all(|reason| reason.is_null()));
    }
}

/// Goal: odd steps make a right stream all the same: no beginning, no stop, nothing at all; an
/// error ends it without an end marker.
#[test]
fn odd_steps_make_a_right_stream() {
    let events = written(
        &[Step::Open(Open::Text), Step::Text("t".into()), Step::End],
        &NAMES,
    );
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events[1]["choices"][0]["delta"]["content"], "t");
    assert_eq!(events[2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[3..], [json!("[DONE]")]);
    assert_eq!(written(&[Step::End], &NAMES).len(), 3);
    let refused = super::super::error::read(529, b"");
    assert_eq!(refused.trouble, Trouble::Overloaded);
    let events = written(
        &[CALL, Step::Text("{".into()), Step::Error(refused)],
        &NAMES,
    );
    assert_eq!(events.len(), 4);
    assert_eq!(events[3]["error"]["type"], "server_error");
}

/// Goal: what an engine wants to see again is written where it was, in lists that the official
/// SDK can put together.
#[test]
fn what_an_engine_wants_to_see_again_is_written() {
    let events = written(
        &[
            Step::Open(Open::Thinking),
            Step::Opaque(Dialect::Chat, br#"{"signature":"s"}"#),
            Step::Opaque(Dialect::Chat, br#"{"index":4,"data":"d"}"#),
            Step::Close,
            Step::Open(Open::Text),
            Step::Citation(Dialect::Chat, br#"{"type":"url_citation"}"#),
            Step::Close,
            CALL,
            Step::Opaque(Dialect::Chat, br#"{"google":{}}"#),
            Step::Close,
            Step::End,
        ],
        &NAMES,
    );
    let deltas: Vec<&Value> = events.iter().map(|e| &e["choices"][0]["delta"]).collect();
    let first = json!({"reasoning_details": [{"index": 0, "signature": "s"}]});
    let second = json!({"reasoning_details": [{"index": 4, "data": "d"}]});
    let third = json!({"annotations": [{"index": 0, "type": "url_citation"}]});
    let extra = json!({"tool_calls": [{"index": 0, "function": {"arguments": ""},
        "extra_content": {"google": {}}}]});
    assert_eq!(deltas[1..4], [&first, &second, &third]);
    assert_eq!(deltas[5], &extra);
}
