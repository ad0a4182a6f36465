//! Laws of the OpenAI dialect's readers: on recorded answers of many providers and on odd
//! ones, they say what a reader says that builds a tree.
//!
//! The recordings are found by the variable `SHARDGATE_SHARED`, else next to the repository;
//! the tests that need them fail without them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic, its helpers included"
)]

mod suites;

use serde_json::Value;
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::base::fault::Kind;
use shardgate::dialect::openai::Usage;
use shardgate::dialect::openai::answer::{Shape, answer};
use shardgate::dialect::openai::chunk::{ChunkFacts, look};
use shardgate::dialect::openai::{error, models};
use shardgate::wire::sse::{Splitter, frame};
use suites::shared;

fn count(value: &Value) -> Option<u64> {
    value.as_u64().filter(|&n| n <= 1 << 40)
}

fn usage_of(usage: &Value) -> Option<Usage> {
    let (input, output) = (
        count(&usage["prompt_tokens"]),
        count(&usage["completion_tokens"]),
    );
    input.or(output)?;
    Some(Usage {
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
        cached: count(&usage["prompt_tokens_details"]["cached_tokens"])
            .or_else(|| count(&usage["prompt_cache_hit_tokens"]))
            .or_else(|| count(&usage["cached_tokens"]))
            .unwrap_or(0),
        reasoning: count(&usage["completion_tokens_details"]["reasoning_tokens"]).unwrap_or(0),
    })
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
        _ => false,
    }
}

/// `look`, by way of a tree.
fn look_slowly(data: &[u8]) -> ChunkFacts {
    if data.trim_ascii() == b"[DONE]" {
        return ChunkFacts {
            done: true,
            ..ChunkFacts::default()
        };
    }
    let Ok(Value::Object(top)) = serde_json::from_slice::<Value>(data) else {
        return ChunkFacts::default();
    };
    let choices = top.get("choices").and_then(Value::as_array);
    let each = || choices.into_iter().flatten();
    ChunkFacts {
        is_json: true,
        done: false,
        error: top.get("error").is_some_and(|e| !e.is_null()),
        content: each().any(|choice| {
            let inner = ["delta", "message"].iter().any(|part| {
                [
                    "content",
                    "refusal",
                    "reasoning",
                    "reasoning_content",
                    "reasoning_details",
                    "tool_calls",
                    "function_call",
                    "audio",
                    "images",
                ]
                .iter()
                .any(|key| says_something(&choice[part][key]))
            });
            inner || says_something(&choice["text"])
        }),
        finished: each().any(|c| !c["finish_reason"].is_null() && c["finish_reason"] != ""),
        choices_empty: choices.is_some_and(Vec::is_empty),
        usage: (top.get("usage").and_then(usage_of))
            .or_else(|| usage_of(top.get("x_groq")?.get("usage")?)),
    }
}

fn events(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut ends, mut splitter) = (Vec::new(), Splitter::new());
    splitter.feed(stream, |end| ends.push(end));
    let (mut from, mut out, mut scratch) = (0, Vec::new(), Vec::new());
    for end in ends {
        if let Some(data) = frame(&stream[from..end]).data(&mut scratch) {
            out.push(data.to_vec());
        }
        from = end;
    }
    out
}

/// The recordings: path and, where the oracle knows it, usage.
fn recordings() -> Vec<(String, String, Value)> {
    let text = std::fs::read_to_string(shared("wire/oracle.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|row| {
            let get = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            (get("path"), get("protocol"), row["usage"].clone())
        })
        .collect()
}

/// The payloads of a recorded stream, whichever way it was kept.
fn payloads(path: &str, bytes: &[u8]) -> Vec<Vec<u8>> {
    if has_end(path, ".sse") {
        return events(bytes);
    }
    bytes
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

fn has_end(path: &str, end: &str) -> bool {
    path.ends_with(end)
}

/// Goal: on every recorded stream of any provider, `look` says what a tree says, and the
/// last usage of a chat stream is the one that the oracle knows.
#[test]
fn recorded_streams_are_read_as_a_tree_reads_them() {
    let folder = shared("wire/recorded");
    let (mut looked, mut with_usage) = (0, 0);
    for (path, protocol, usage) in recordings() {
        if !has_end(&path, ".sse") && !has_end(&path, ".chunks.txt") {
            continue;
        }
        let bytes = std::fs::read(folder.join(&path)).unwrap();
        let mut last = None;
        for data in payloads(&path, &bytes) {
            let facts = look(&data);
            assert_eq!(facts, look_slowly(&data), "{path}: {}", data.escape_ascii());
            last = facts.usage.or(last);
            looked += 1;
        }
        if protocol.starts_with("openai-c") {
            assert_eq!(last, usage_of(&usage), "{path}");
            with_usage += usize::from(last.is_some());
        }
    }
    assert!(looked > 5_000 && with_usage > 40, "{looked} {with_usage}");
}

/// Goal: on every recorded plain answer, `answer` says what a tree says.
#[test]
fn recorded_answers_are_read_as_a_tree_reads_them() {
    let folder = shared("wire/recorded");
    let mut looked = 0;
    for (path, protocol, usage) in recordings() {
        if !has_end(&path, ".json") {
            continue;
        }
        let bytes = std::fs::read(folder.join(&path)).unwrap();
        let facts = answer(&bytes);
        let Ok(tree) = serde_json::from_slice::<Value>(&bytes) else {
            assert_eq!(facts.shape, Shape::Broken, "{path}");
            continue;
        };
        looked += 1;
        let is_object = tree.is_object();
        assert_eq!(facts.is_json_object(), is_object, "{path}");
        assert_eq!(
            facts.has_error,
            is_object && !tree["error"].is_null(),
            "{path}"
        );
        let result = is_object && !(tree["choices"].is_null() && tree["data"].is_null());
        assert_eq!(facts.has_result, result, "{path}");
        assert_eq!(facts.usage, usage_of(&tree["usage"]), "{path}");
        if protocol.starts_with("openai-c") {
            assert_eq!(facts.usage, usage_of(&usage), "{path}");
        }
    }
    assert!(looked > 400, "{looked}");
}

/// Goal: the facts of chunks that were not recorded: hostile counts, odd shapes.
#[test]
fn odd_chunks_are_read_as_a_tree_reads_them() {
    let mut chunks: Vec<String> = [
        r#"{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}"#,
        r#"{"choices":[{"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
        r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[]}},{"delta":{"function_call":{"name":"f"}}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":""}]}"#,
        r#"{"choices":[{"text":"x","finish_reason":"stop"}]}"#,
        r#"{"choices":[{"d\u0065lta":{"conten\u0074":"x"}}]}"#,
        r#"{"choices":null,"error":null,"usage":null}"#,
        r#"{"choices":{},"error":{"message":"x"}}"#,
        r#"{"choices":[1,"x",null,[],{"delta":[]}],"error":""}"#,
        r#"{"choices":[{"delta":{"content":[ ]}}]} "#,
        r#"{"usage":{}}"#,
        r#"{"x_groq":{"id":"x","usage":{"prompt_tokens":1}},"usage":null}"#,
        r#"{"usage":{"prompt_tokens":2},"x_groq":{"usage":{"prompt_tokens":1}}}"#,
        r#"{"x_groq":[{"usage":{"prompt_tokens":1}}]}"#,
        "[DONE]",
        " [DONE]\t",
        "[DONE] x",
        "[1]",
        "\"{}\"",
        "",
        "{",
        "{}{}",
    ]
    .map(str::to_owned)
    .to_vec();
    for hostile in [
        "-1",
        "1.5",
        "\"7\"",
        "null",
        "1e9",
        "true",
        "[]",
        "{}",
        "1099511627776",
        "1099511627777",
        "18446744073709551616",
        "99999999999999999999999999",
    ] {
        chunks.push(format!(
            r#"{{"usage":{{"prompt_tokens":{hostile},"completion_tokens":3}}}}"#
        ));
        chunks.push(format!(
            r#"{{"usage":{{"prompt_tokens":5,"prompt_tokens_details":{{"cached_tokens":{hostile}}}}}}}"#
        ));
        chunks.push(format!(
            r#"{{"usage":{{"prompt_tokens":5,"prompt_tokens_details":{hostile}}}}}"#
        ));
        chunks.push(format!(r#"{{"usage":{hostile}}}"#));
    }
    for chunk in chunks {
        assert_eq!(
            look(chunk.as_bytes()),
            look_slowly(chunk.as_bytes()),
            "{chunk}"
        );
    }
}

fn written(put: impl FnOnce(&mut TxBuf)) -> Vec<u8> {
    let mut tx = TxBuf::new(&BufPool::new());
    put(&mut tx);
    tx.unsent().to_vec()
}

/// Goal: every kind of fault has a body and an event that the official SDKs understand: an
/// `error` object with a message and a code, whose type goes with the status.
#[test]
fn every_fault_has_an_error_body_and_an_error_event() {
    for &kind in Kind::ALL {
        let body = written(|tx| error::put_error_body(tx, kind));
        let tree: Value = serde_json::from_slice(&body).unwrap();
        let inner = tree["error"].as_object().unwrap();
        let keys: Vec<_> = inner.keys().map(String::as_str).collect();
        assert_eq!(keys, ["message", "type", "param", "code"]);
        assert_eq!(
            (&inner["message"], &inner["code"]),
            (&kind.text().into(), &kind.code().into())
        );
        let is_server = inner["type"] == "server_error";
        assert_eq!(is_server, kind.status() >= 500, "{kind:?}");
        assert!(answer(&body).has_error);

        let event = written(|tx| error::put_error_event(tx, kind));
        let data = events(&event);
        assert_eq!(data, [body]);
        assert!(look(&data[0]).error);
        let mut splitter = Splitter::new();
        splitter.feed(&event, |_| ());
        assert!(splitter.between_events(), "the event is complete");
    }
    let body = written(|tx| error::put_error(tx, "a \"b\"\n", "t", Some("p"), "c"));
    let want = r#"{"error":{"message":"a \"b\"\n","type":"t","param":"p","code":"c"}}"#;
    assert_eq!(body, want.as_bytes());
}

/// Goal: the list of models has OpenAI's form, empty or not, whatever the names hold.
#[test]
fn the_list_of_models_has_its_form() {
    assert_eq!(
        written(|tx| models::put_models(tx, [])),
        br#"{"object":"list","data":[]}"#
    );
    let list = written(|tx| models::put_models(tx, [("a\"", "x"), ("b", "y")]));
    let one = written(|tx| models::put_model(tx, "b", "y"));
    let one: Value = serde_json::from_slice(&one).unwrap();
    let list: Value = serde_json::from_slice(&list).unwrap();
    assert_eq!(list["data"][1], one);
    assert_eq!(list["data"][0]["id"], "a\"");
    let want = r#"{"id":"b","object":"model","created":0,"owned_by":"y"}"#;
    assert_eq!(one.to_string(), want);
}
