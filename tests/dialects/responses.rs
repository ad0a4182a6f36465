//! Responses against the recordings.
//!
//! Invariants
//! - I1 What a reader gets from a recording is what the oracle got.
//! - I2 Steps are balanced, whatever bytes come.

pub(crate) mod broken;
mod gather;
mod requests;

use crate::recorded::{Recording, recordings};
use gather::{Content, Gather, content, of_answer, read_pieces};
use serde_json::{Value, json};
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::base::fault::Kind;
use shardgate::dialect::model::{Answer, Names, Stop, Trouble};
use shardgate::dialect::responses::stream::Writer;
use shardgate::dialect::responses::{answer, error, look};
use shardgate::wire::sse::{Splitter, frame};

const NAMES: Names<'_> = Names {
    id: "abc123",
    model: "asked",
    created: 1_700_000_000,
    wants_usage: false,
};

/// Recordings of which the oracle says something else than a reader should.
const EXCEPTIONS: [(&str, &str); 4] = [
    (
        "openai/vercel__openai-shell-container.1.chunks.txt",
        "its deltas were made shorter than the whole text by hand: a stream cannot be taken back",
    ),
    (
        "openai/vercel__parallel-tool-call-wrapper.1.chunks.txt",
        "two of its events are cut off in the file: the stream is garbled",
    ),
    (
        "openai/pydanticai__test_background_mode_with_tool_vcr__2.json",
        "queued: no answer yet, so an error here",
    ),
    (
        "openai/pydanticai__test_background_mode_reasoning_vcr__0.json",
        "queued: no answer yet, so an error here",
    ),
];

/// Answers without `"object":"response"`, of which the oracle tells nothing.
const UNTOLD: [&str; 2] = [
    "openai/agentgateway__responses_custom-tool.json",
    "openai/agentgateway__responses_truncated_tool_call.json",
];

impl Recording {
    /// A plain answer, no stream.
    fn is_plain(&self) -> bool {
        self.has_end("json")
    }

    fn has_end(&self, end: &str) -> bool {
        self.path.rsplit('.').next() == Some(end)
    }
}

/// A whole number; 0 where there is none.
fn position(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap_or(0)).unwrap()
}

fn is_exception(path: &str) -> bool {
    EXCEPTIONS.iter().any(|(name, _)| *name == path)
}

/// The streams of a recording as bytes on the wire; some files hold one after the other.
fn streams(recording: &Recording) -> Vec<Vec<u8>> {
    if !recording.has_end("txt") {
        return vec![recording.body.clone()];
    }
    let mut all = Vec::<Vec<u8>>::new();
    for line in recording
        .body
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
    {
        let is_first = line.starts_with(b"{\"type\":\"response.created\"");
        if is_first || all.is_empty() {
            all.push(Vec::new());
        }
        let last = all.last_mut().unwrap();
        last.extend_from_slice(b"data: ");
        last.extend_from_slice(line);
        last.extend_from_slice(b"\n\n");
    }
    all
}

/// All streams of the recordings with status 200, each with its recording's path.
fn all_streams() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for recording in answers().iter().filter(|r| !r.is_plain()) {
        let of_path = |wire| (recording.path.clone(), wire);
        all.extend(streams(recording).into_iter().map(of_path));
    }
    all
}

/// A recording's answer, whatever form it has.
fn got(recording: &Recording) -> Content {
    if recording.is_plain() {
        return of_answer(&answer::read(&recording.body).expect(&recording.path));
    }
    // Where a file holds several streams, the oracle tells of the last.
    let (read, got) = content(&streams(recording).pop().unwrap());
    assert_eq!(read, Ok(()), "{}", recording.path);
    got
}

fn answers() -> Vec<Recording> {
    let all = recordings(&["openai-responses"]).into_iter();
    all.filter(|r| r.manifest["status"] == 200 && !is_exception(&r.path))
        .collect()
}

/// I1 for text, thinking, calls, stop and usage.
fn compare(recording: &Recording, got: &Content) {
    let (path, want) = (&recording.path, &recording.oracle);
    if want["finish"] == "failed" {
        assert_eq!(got.error, Some(Trouble::Quota), "{path}");
        return;
    }
    assert!(got.is_whole, "{path}");
    let text = want["text"].as_str().unwrap_or_default();
    assert!(got.text.starts_with(text), "{path}: {}", got.text);
    assert_eq!(
        got.text.chars().count() as u64,
        want["text_len"].as_u64().unwrap(),
        "{path}"
    );
    assert_eq!(
        want["refusal"].as_str().unwrap_or_default(),
        got.refusal,
        "{path}"
    );
    // The oracle joins the parts of a summary with nothing between.
    let thinking = got.thinking.replace("\n\n", "").chars().count();
    let whole = got.thinking.chars().count();
    let wanted = position(&want["reasoning_len"]);
    assert!(
        (thinking..=whole).contains(&wanted),
        "{path}: {thinking} {whole} {wanted}"
    );
    let calls: Vec<Value> = got
        .calls
        .iter()
        .map(|(id, name, arguments)| {
            let parsed = serde_json::from_str(arguments).unwrap_or(json!(arguments));
            json!({"id": id, "name": name, "args": parsed})
        })
        .collect();
    let tools: Vec<Value> = want["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| json!({"id": tool["id"], "name": tool["name"], "args": tool["args"]}))
        .collect();
    // The oracle does not know custom tools.
    let calls = if got.custom == calls.len() {
        Vec::new()
    } else {
        calls
    };
    assert_eq!(calls, tools, "{path}");
    let usage = &want["usage"];
    let tokens = got.usage.unwrap_or_default();
    if usage.is_object() {
        let count = |value: &Value| value.as_u64().unwrap_or(0);
        assert_eq!(tokens.prompt(), count(&usage["input_tokens"]), "{path}");
        assert_eq!(tokens.answer(), count(&usage["output_tokens"]), "{path}");
        assert_eq!(
            tokens.read,
            count(&usage["input_tokens_details"]["cached_tokens"]),
            "{path}"
        );
        // One server counts more reasoning than output.
        let reasoning = count(&usage["output_tokens_details"]["reasoning_tokens"]);
        let reasoning = reasoning.min(count(&usage["output_tokens"]));
        assert_eq!(tokens.thinking, reasoning, "{path}");
    } else {
        assert_eq!(got.usage, None, "{path}");
    }
    let stop = match want["finish"].as_str() {
        Some("incomplete") => Stop::Length,
        _ if !got.calls.is_empty() => Stop::Tool,
        _ => Stop::End,
    };
    assert_eq!(got.stop, Some(stop), "{path}");
}

/// Goal: I1. Method: every recorded answer and stream with status 200.
#[test]
fn recordings_say_what_the_oracle_says() {
    let mut count = 0;
    for recording in answers() {
        let got = got(&recording);
        count += 1;
        if !UNTOLD.contains(&recording.path.as_str()) {
            compare(&recording, &got);
            continue;
        }
        let is_cut = recording.path.contains("truncated");
        let stop = if is_cut { Stop::Length } else { Stop::Tool };
        assert_eq!(
            (got.calls.len(), got.stop),
            (1, Some(stop)),
            "{}",
            recording.path
        );
        assert_eq!(
            (got.custom, got.usage.is_some()),
            (1 - usize::from(is_cut), !is_cut)
        );
    }
    println!("{count} answers and streams");
}

/// Goal: what is no answer is an error, and one that is known.
#[test]
fn what_is_no_answer_is_an_error() {
    for recording in recordings(&["openai-responses"]) {
        let path = &recording.path;
        if recording.manifest["status"] != 200 {
            let status = u16::try_from(recording.manifest["status"].as_u64().unwrap()).unwrap();
            let refused = error::read(status, &recording.body);
            let want = if path.contains("context_l") {
                Trouble::ContextLength
            } else {
                Trouble::Invalid
            };
            assert_eq!(refused.trouble, want, "{path}");
            assert_eq!(
                json!(refused.message),
                recording.oracle["error"]["message"],
                "{path}"
            );
            assert_eq!(
                json!(refused.param),
                recording.oracle["error"]["param"],
                "{path}"
            );
        } else if is_exception(path) && recording.is_plain() {
            assert_eq!(
                answer::read(&recording.body),
                Err(Kind::UpstreamError),
                "{path}"
            );
        } else if path.ends_with("parallel-tool-call-wrapper.1.chunks.txt") {
            let (read, _) = content(&streams(&recording)[0]);
            assert_eq!(read, Err(Kind::UpstreamGarbled), "{path}");
        }
    }
}

/// Goal: how a stream is cut into pieces changes nothing. Method: the short ones at every
/// place, all at some places, byte by byte.
#[test]
fn cutting_a_stream_changes_nothing() {
    for (path, wire) in all_streams() {
        let want = content(&wire).1;
        let step = if wire.len() < 3000 { 1 } else { wire.len() / 7 };
        for at in (0..wire.len()).step_by(step) {
            let mut gather = Gather::default();
            let (a, b) = wire.split_at(at);
            let read = read_pieces(&[a, b], &mut |step| gather.take(&step));
            assert_eq!((read, &gather.got), (Ok(()), &want), "{path} at {at}");
        }
        if wire.len() < 100_000 {
            let pieces: Vec<&[u8]> = wire.chunks(1).collect();
            let mut gather = Gather::default();
            let read = read_pieces(&pieces, &mut |step| gather.take(&step));
            assert_eq!((read, &gather.got), (Ok(()), &want), "{path}");
        }
    }
}

/// Reads a stream and writes it again.
fn rewritten(wire: &[u8]) -> Vec<u8> {
    let mut tx = TxBuf::new(&BufPool::new());
    let mut writer = Writer::new();
    read_pieces(&[wire], &mut |step| writer.write(&step, &NAMES, &mut tx)).unwrap();
    tx.unsent().to_vec()
}

/// What the official SDK's helpers need of a stream; gives the last response.
fn check_form(wire: &[u8]) -> Value {
    let (mut next, mut items, mut last) = (0, Vec::<Value>::new(), Value::Null);
    let (mut scratch, mut splitter, mut from) = (Vec::new(), Splitter::new(), 0);
    while let Some(end) = splitter.next_end(&wire[from..]) {
        let event = frame(&wire[from..from + end]);
        from += end;
        let data: Value = serde_json::from_slice(event.data(&mut scratch).unwrap()).unwrap();
        assert_eq!(
            event.event.unwrap(),
            data["type"].as_str().unwrap().as_bytes()
        );
        assert_eq!(data["sequence_number"], next);
        next += 1;
        let at = position(&data["output_index"]);
        if data["item_id"].is_string() {
            assert_eq!(data["item_id"], items[at]["id"]);
        }
        match data["type"].as_str().unwrap() {
            "response.output_item.added" => {
                assert_eq!(at, items.len());
                items.push(data["item"].clone());
            }
            "response.content_part.added" => {
                let parts = items[at]["content"].as_array_mut().unwrap();
                assert_eq!(data["content_index"], parts.len());
                parts.push(data["part"].clone());
            }
            "response.output_text.delta" => {
                let part = position(&data["content_index"]);
                let text = &mut items[at]["content"][part]["text"];
                *text = json!(format!(
                    "{}{}",
                    text.as_str().unwrap(),
                    data["delta"].as_str().unwrap()
                ));
            }
            "response.output_text.done" => {
                let part = position(&data["content_index"]);
                assert_eq!(items[at]["content"][part]["text"], data["text"]);
            }
            "response.function_call_arguments.delta" => {
                let text = &mut items[at]["arguments"];
                *text = json!(format!(
                    "{}{}",
                    text.as_str().unwrap(),
                    data["delta"].as_str().unwrap()
                ));
            }
            "response.function_call_arguments.done" => {
                assert_eq!(items[at]["arguments"], data["arguments"]);
            }
            "response.output_item.done" => {
                assert_eq!(items[at]["id"], data["item"]["id"]);
                assert_eq!(items[at]["call_id"], data["item"]["call_id"]);
                if items[at]["type"] == "function_call" {
                    assert_eq!(items[at]["arguments"], data["item"]["arguments"]);
                }
                items[at] = data["item"].clone();
            }
            _ => {}
        }
        if data["response"].is_object() {
            assert!(last.is_null() || last["id"] == data["response"]["id"]);
            last = data["response"].clone();
        }
    }
    assert_eq!(from, wire.len());
    assert_eq!(last["output"], Value::Array(items));
    last
}

/// Goal: what is written has the form that the SDK's helpers need, and says the same.
#[test]
fn a_stream_that_is_written_again_says_the_same() {
    for (path, wire) in all_streams() {
        let want = content(&wire).1;
        if want.error.is_some() {
            continue;
        }
        let again = rewritten(&wire);
        let last = check_form(&again);
        assert_eq!(last["model"], "asked");
        let (read, got) = content(&again);
        assert_eq!(read, Ok(()), "{path}");
        assert_eq!(with_arguments(got), with_arguments(want.clone()), "{path}");
        // The last event alone says it as well.
        let plain = answer::read(last.to_string().as_bytes()).unwrap();
        let plain = Content {
            opaque: want.opaque,
            ..of_answer(&plain)
        };
        let joined = |mut got: Content| {
            got.thinking = got.thinking.replace(['|', '\n'], "");
            with_arguments(got)
        };
        assert_eq!(joined(plain), joined(want), "{path}");
    }
}

/// A call without arguments is written with empty ones.
fn with_arguments(mut got: Content) -> Content {
    for (_, _, arguments) in &mut got.calls {
        if arguments.is_empty() {
            "{}".clone_into(arguments);
        }
    }
    got
}

/// Goal: a plain answer that is written again says the same.
#[test]
fn an_answer_that_is_written_again_says_the_same() {
    for recording in answers().iter().filter(|r| r.is_plain()) {
        let want = answer::read(&recording.body).unwrap();
        let mut tx = TxBuf::new(&BufPool::new());
        answer::write(&want, &NAMES, &mut tx);
        let got = answer::read(tx.unsent()).unwrap();
        let blocks = |answer: &Answer| answer.blocks.clone();
        assert_eq!(blocks(&got), blocks(&want), "{}", recording.path);
        assert_eq!(
            (got.stop, got.usage, &got.id),
            (want.stop, want.usage, &got.id)
        );
        assert_eq!(got.logprobs, want.logprobs, "{}", recording.path);
    }
}

/// Goal: what passes as bytes is looked at rightly.
#[test]
fn what_passes_is_looked_at_rightly() {
    for recording in answers() {
        let usage = got(&recording)
            .usage
            .map(|t| (t.prompt(), t.answer(), t.read, t.thinking));
        let told = if recording.is_plain() {
            let facts = look::answer(&recording.body);
            assert!(facts.is_json_object() && facts.has_result && !facts.has_error);
            facts.usage
        } else {
            let wire = streams(&recording).pop().unwrap();
            let (mut scratch, mut splitter, mut from) = (Vec::new(), Splitter::new(), 0);
            let (mut usage, mut ends) = (None, 0);
            while let Some(end) = splitter.next_end(&wire[from..]) {
                let event = frame(&wire[from..from + end]);
                from += end;
                if let Some(data) = event.data(&mut scratch) {
                    let facts = look::look(event.event, data);
                    ends += usize::from(facts.done && facts.is_json) + usize::from(facts.error);
                    usage = facts.usage.or(usage);
                }
            }
            assert!(ends >= 1, "{}", recording.path);
            usage
        };
        let told = told.map(|u| (u.input, u.output, u.cached, u.reasoning));
        assert_eq!(told, usage, "{}", recording.path);
    }
}
