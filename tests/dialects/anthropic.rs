//! Anthropic Messages against its recordings.

use crate::recorded::{Recording, recordings};
use serde_json::{Map, Value, json};
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::base::fault::Kind;
use shardgate::dialect::anthropic::{answer, count, error, look, request, stream};
use shardgate::dialect::model::{
    Abilities, Answer, Block, Names, Notes, Open, Request, Step, Stop, Tokens, Trouble,
};
use shardgate::dialect::openai::Usage;
use shardgate::wire::sse::{Splitter, frame};

const NAMES: Names<'_> = Names {
    id: "abc123",
    model: "fast",
    created: 1,
    wants_usage: true,
};

/// What an answer says, from whatever form it came in.
#[derive(Debug, Default, PartialEq)]
struct Said {
    text: String,
    thinking: String,
    signatures: Vec<Value>,
    citations: usize,
    calls: Vec<(String, String, String)>,
    stop: Option<(Stop, String)>,
    tokens: Option<Tokens>,
    is_whole: bool,
    error: Option<Trouble>,
}

/// Gathers steps, and panics when they are not balanced.
#[derive(Debug, Default)]
struct Gather {
    said: Said,
    open: Option<&'static str>,
    count: usize,
    is_over: bool,
}

impl Gather {
    fn take(&mut self, step: &Step<'_>) {
        assert!(!self.is_over, "{step:?} after the end");
        let is_begin = matches!(step, Step::Begin { .. });
        assert_eq!(is_begin, self.count == 0, "{step:?} at {}", self.count);
        self.count += 1;
        let said = &mut self.said;
        match step {
            Step::Begin { .. } => {}
            Step::Open(open) => {
                assert!(self.open.is_none() && said.stop.is_none(), "{step:?}");
                self.open = Some(match open {
                    Open::Text | Open::Refusal => "text",
                    Open::Thinking => "thinking",
                    Open::Call { id, name, .. } => {
                        said.calls
                            .push((id.to_text(), name.to_text(), String::new()));
                        "call"
                    }
                });
            }
            Step::Text(text) => match self.open.expect("text within a block") {
                "text" => text.say(&mut said.text),
                "thinking" => text.say(&mut said.thinking),
                _ => text.say(&mut said.calls.last_mut().unwrap().2),
            },
            Step::Opaque(_, json) => {
                assert!(self.open.is_some());
                let value = serde_json::from_slice(json).unwrap_or(Value::Null);
                said.signatures.push(value);
            }
            Step::Citation(..) => {
                assert_eq!(self.open, Some("text"));
                said.citations += 1;
            }
            Step::Close => assert!(self.open.take().is_some()),
            Step::Usage(tokens) => said.tokens = Some(*tokens),
            Step::Stop(stop, sequence) => {
                assert!(self.open.is_none() && said.stop.is_none());
                said.stop = Some((*stop, sequence.to_text()));
            }
            Step::Error(refused) => {
                said.error = Some(refused.trouble);
                self.is_over = true;
            }
            Step::End => {
                assert!(self.open.is_none() && said.stop.is_some());
                said.is_whole = true;
                self.is_over = true;
            }
        }
    }
}

/// The events of `body` when it arrives cut at `cuts`; `each` gets name and data.
fn events(body: &[u8], cuts: &[usize], each: &mut dyn FnMut(Option<&[u8]>, &[u8])) {
    let mut splitter = Splitter::new();
    let (mut held, mut from) = (Vec::new(), 0);
    for &cut in cuts.iter().chain([&body.len()]) {
        let cut = cut.clamp(from, body.len());
        let piece = &body[from..cut];
        from = cut;
        let mut start = 0;
        splitter.feed(piece, |end| {
            held.extend_from_slice(&piece[start..end]);
            start = end;
            let event = frame(&held);
            let mut scratch = Vec::new();
            if let Some(data) = event.data(&mut scratch) {
                each(event.event, data);
            }
            held.clear();
        });
        held.extend_from_slice(&piece[start..]);
    }
}

/// Reads a stream into what it says, and its steps through the writer into events again.
fn hear(body: &[u8], cuts: &[usize]) -> (Said, Result<(), Kind>, Vec<u8>) {
    let mut reader = stream::Reader::new();
    let mut writer = stream::Writer::new();
    let mut tx = TxBuf::new(&BufPool::new());
    let mut gather = Gather::default();
    let mut result = Ok(());
    let mut each = |step: Step<'_>| {
        gather.take(&step);
        writer.write(&step, &NAMES, &mut tx);
    };
    events(body, cuts, &mut |event, data| {
        if result.is_ok() {
            result = reader.read(event, data, &mut each);
        }
    });
    let result = result.and_then(|()| reader.end(&mut each));
    let written = tx.unsent().to_vec();
    (gather.said, result, written)
}

/// What a plain answer says.
fn said_by(answer: &Answer) -> Said {
    let mut said = Said {
        stop: Some((answer.stop, answer.sequence.clone().unwrap_or_default())),
        tokens: answer.usage,
        is_whole: true,
        ..Said::default()
    };
    for block in &answer.blocks {
        match block {
            Block::Text {
                text, citations, ..
            } => {
                said.text.push_str(text);
                let count = citations.as_ref().and_then(|c| c.as_array().map(Vec::len));
                said.citations += count.unwrap_or(0);
            }
            Block::Refusal(text) => said.text.push_str(text),
            Block::Thinking { text, opaque } => {
                said.thinking.push_str(text);
                said.signatures
                    .extend(opaque.iter().map(|o| o.value.clone()));
            }
            Block::Call(call) => {
                said.calls
                    .push((call.id.clone(), call.name.clone(), call.arguments.clone()))
            }
            _ => {}
        }
    }
    said
}

/// The bodies of the streams of a recording: one, or several behind each other.
fn streams(recording: &Recording) -> Vec<Vec<u8>> {
    if !recording.path.ends_with(".chunks.txt") {
        let mut body = recording.body.clone();
        if !body.ends_with(b"\n\n") {
            body.extend_from_slice(b"\n\n"); // a fixture whose last blank line is missing
        }
        return vec![body];
    }
    let mut out = vec![Vec::new()];
    let text = std::str::from_utf8(&recording.body).unwrap();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let data: Value = serde_json::from_str(line).unwrap();
        let kind = data["type"].as_str().unwrap();
        let event = format!("event: {kind}\ndata: {line}\n\n");
        out.last_mut().unwrap().extend_from_slice(event.as_bytes());
        if kind == "message_stop" {
            out.push(Vec::new());
        }
    }
    out.retain(|stream| !stream.is_empty());
    out
}

fn is_stream(recording: &Recording) -> bool {
    recording.path.ends_with(".sse") || recording.path.ends_with(".chunks.txt")
}

fn answers() -> Vec<Recording> {
    let mut all = recordings(&["anthropic-messages"]);
    all.retain(|recording| recording.manifest["status"] == 200);
    all
}

/// Where the oracle is not what the protocol says.
///
/// The stream: calls that a provider's tool makes stand in `message_start`, or whole in
/// `content_block_start`; the oracle reads deltas only. The plain one: several answers that
/// the recorder merged; its calls are answered within it, so that it ends without a call,
/// which no single answer does.
const MERGED: &[&str] = &[
    "anthropic/vercel__anthropic-programmatic-tool-calling.1.chunks.txt",
    "anthropic/vercel__anthropic-programmatic-tool-calling.1.json",
];

/// Compares what was read with the oracle.
fn check(recording: &Recording, said: &Said) {
    let (path, oracle) = (&recording.path, &recording.oracle);
    let length = oracle["text_len"].as_u64().unwrap();
    if said
        .stop
        .as_ref()
        .is_some_and(|(stop, _)| *stop == Stop::Filtered)
    {
        // The oracle does not count the explanation of a refusal as text; here it is what the
        // client is shown.
        let why = said.text.chars().count() as u64 - length;
        let has_why = path.contains("vercel__anthropic-refusal.");
        assert!(why == 0 || has_why, "{path}");
    } else {
        assert_eq!(said.text.chars().count() as u64, length, "{path}");
    }
    assert!(
        said.text.starts_with(oracle["text"].as_str().unwrap()),
        "{path}"
    );
    let thinking = said.thinking.chars().count() as u64;
    assert_eq!(
        thinking,
        oracle["reasoning_len"].as_u64().unwrap(),
        "{path}"
    );
    if MERGED.contains(&path.as_str()) {
        let names = said.calls.iter().map(|(_, name, _)| name.as_str());
        let parsed = |json: &String| serde_json::from_str::<Value>(json).unwrap();
        assert!(
            said.calls
                .iter()
                .all(|call| parsed(&call.2)["player"].is_string())
        );
        assert!(names.clone().all(|name| name == "rollDie") && names.count() >= 4);
        return;
    }
    let tools = oracle["tools"].as_array().unwrap();
    assert_eq!(said.calls.len(), tools.len(), "{path}");
    for ((id, name, arguments), tool) in said.calls.iter().zip(tools) {
        assert_eq!(
            (id.as_str(), name.as_str()),
            (tool["id"].as_str().unwrap(), tool["name"].as_str().unwrap())
        );
        if tool["args_json_ok"] == false {
            assert_eq!(arguments, tool["args"].as_str().unwrap(), "{path}");
        } else {
            let parsed: Value = serde_json::from_str(arguments).unwrap();
            assert_eq!(parsed, tool["args"], "{path}");
        }
    }
    let stop = match oracle["finish"].as_str() {
        Some("stop_sequence") => Stop::Sequence,
        Some("tool_use") => Stop::Tool,
        Some("max_tokens") => Stop::Length,
        Some("refusal") => Stop::Filtered,
        Some("pause_turn") => Stop::Pause,
        Some("model_context_window_exceeded") => Stop::Context,
        Some("end_turn" | "compaction") | None => Stop::End,
        Some(other) => panic!("{path}: {other}"),
    };
    assert_eq!(said.stop.as_ref().unwrap().0, stop, "{path}");
    let usage = &oracle["usage"];
    let tokens = said.tokens.unwrap_or_default();
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    assert_eq!(tokens.fresh, number(&usage["input_tokens"]), "{path}");
    assert_eq!(
        tokens.read,
        number(&usage["cache_read_input_tokens"]),
        "{path}"
    );
    let write = number(&usage["cache_creation_input_tokens"]);
    assert_eq!(tokens.write + tokens.write_1h, write, "{path}");
    assert_eq!(tokens.answer(), number(&usage["output_tokens"]), "{path}");
    let thinking = number(&usage["output_tokens_details"]["thinking_tokens"]);
    assert_eq!(tokens.thinking, thinking, "{path}");
}

/// Puts what several streams of one recording say behind each other; the last one's stop and
/// counts are those that the oracle has.
fn join(parts: Vec<Said>) -> Said {
    let mut all = Said::default();
    for part in parts {
        all.text.push_str(&part.text);
        all.thinking.push_str(&part.thinking);
        all.signatures.extend(part.signatures);
        all.calls.extend(part.calls);
        all.citations += part.citations;
        (all.stop, all.tokens, all.is_whole) = (part.stop, part.tokens, part.is_whole);
    }
    all
}

/// Goal: every recorded stream is read, says what the oracle says, and comes out of the
/// writer saying the same.
#[test]
fn recorded_streams_say_what_the_oracle_says() {
    let mut count = 0;
    for recording in answers().iter().filter(|r| is_stream(r)) {
        let mut parts = Vec::new();
        for body in streams(recording) {
            let (said, result, written) = hear(&body, &[]);
            assert_eq!(result, Ok(()), "{}", recording.path);
            assert!(said.is_whole);
            accept(&written, &recording.path);
            let (again, result, _) = hear(&written, &[]);
            assert_eq!(result, Ok(()), "{}", recording.path);
            assert_eq!(
                again.tokens.unwrap_or_default(),
                said.tokens.unwrap_or_default()
            );
            let again = Said {
                tokens: said.tokens,
                ..again
            };
            assert_eq!(again, said, "{}", recording.path);
            parts.push(said);
        }
        check(recording, &join(parts));
        count += 1;
    }
    println!("{count} recorded streams");
}

/// Goal: every recorded plain answer is read, says what the oracle says, and comes out of the
/// writer as the same blocks.
#[test]
fn recorded_answers_say_what_the_oracle_says() {
    let mut count = 0;
    for recording in answers().iter().filter(|r| !is_stream(r)) {
        let read = answer::read(&recording.body);
        if recording.oracle["error"].is_object() {
            assert_eq!(read, Err(Kind::UpstreamError), "{}", recording.path);
            continue;
        }
        let got = read.unwrap_or_else(|kind| panic!("{}: {kind:?}", recording.path));
        check(recording, &said_by(&got));
        let mut tx = TxBuf::new(&BufPool::new());
        answer::write(&got, &NAMES, &mut tx);
        let again = answer::read(tx.unsent()).unwrap();
        assert_eq!(said_by(&again), said_by(&got), "{}", recording.path);
        let facts = look::answer(&recording.body);
        assert!(facts.has_result && !facts.has_error && facts.is_json_object());
        let input = facts.usage.unwrap_or_default().input;
        assert_eq!(input, got.usage.unwrap_or_default().prompt());
        count += 1;
    }
    println!("{count} recorded answers");
}

/// Goal: how a stream is cut into packets changes nothing, also within a character.
#[test]
fn cutting_a_stream_changes_nothing() {
    for recording in answers().iter().filter(|r| is_stream(r)) {
        for body in streams(recording) {
            let whole = hear(&body, &[]);
            let step = (body.len() / 7).max(1);
            let mut cuts: Vec<Vec<usize>> = (0..7).map(|i| vec![i * step + i]).collect();
            cuts.push((0..body.len()).collect());
            if body.len() < 1500 {
                cuts.extend((0..body.len()).map(|at| vec![at]));
            }
            for cuts in cuts {
                assert_eq!(hear(&body, &cuts), whole, "{}", recording.path);
            }
        }
    }
}

/// Goal: a stream without its end is cut, wherever it ends, and the writer does not end it.
#[test]
fn a_stream_without_its_end_is_cut() {
    for recording in answers().iter().filter(|r| is_stream(r)) {
        for body in streams(recording) {
            let stop = b"event: message_stop";
            let Some(end) = body.windows(stop.len()).rposition(|w| w == stop) else {
                continue;
            };
            for end in [end, end / 2, end / 3, 0] {
                let (said, result, written) = hear(&body[..end], &[]);
                assert_eq!(result, Err(Kind::UpstreamCut), "{}", recording.path);
                assert!(!said.is_whole);
                assert!(!String::from_utf8_lossy(&written).contains("message_stop"));
            }
        }
    }
}

/// Goal: recorded errors are told apart.
#[test]
fn recorded_errors_are_told_apart() {
    let mut count = 0;
    for recording in recordings(&["anthropic-messages"]) {
        let status = recording.manifest["status"].as_u64().unwrap();
        if status < 400 {
            continue;
        }
        let refused = error::read(u16::try_from(status).unwrap(), &recording.body);
        let want = match (status, refused.message.as_str()) {
            (401, _) => Trouble::Auth,
            (404, _) => Trouble::NotFound,
            (400, text) if text.starts_with("prompt is too long") => Trouble::ContextLength,
            _ => Trouble::Invalid,
        };
        assert_eq!(refused.trouble, want, "{}", recording.path);
        assert_eq!(refused.message, recording.oracle["error"]["message"]);
        count += 1;
    }
    println!("{count} recorded errors");
}

/// A request in one form: texts as lists of blocks; what is absent by default, absent.
fn canonical(value: &Value) -> Value {
    let mut body = value.clone();
    let top = body.as_object_mut().unwrap();
    top.retain(|key, value| !value.is_null() && !(key == "stream" && *value == false));
    if let Some(system) = top.get_mut("system") {
        as_blocks(system);
    }
    for tool in list(top.get_mut("tools")) {
        let tool = tool.as_object_mut().unwrap();
        tool.retain(|key, value| !(key == "type" && *value == "custom") && !value.is_null());
    }
    for message in list(top.get_mut("messages")) {
        let content = message.get_mut("content").unwrap();
        as_blocks(content);
        for block in list(Some(content)) {
            let block = block.as_object_mut().unwrap();
            block.retain(|key, value| {
                let is_default = match key.as_str() {
                    "is_error" => *value == false,
                    "content" => *value == "" || *value == json!([]),
                    "citations" => *value == json!([]),
                    _ => false,
                };
                !is_default && !value.is_null()
            });
            if block["type"] == "tool_result"
                && let Some(content) = block.get_mut("content")
            {
                as_blocks(content);
            }
        }
    }
    numbers(&mut body);
    body
}

fn list(value: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    value.and_then(Value::as_array_mut).into_iter().flatten()
}

fn as_blocks(value: &mut Value) {
    if let Value::String(text) = value {
        *value = json!([{"type": "text", "text": text}]);
    }
}

/// 1 and 1.0 are the same number.
fn numbers(value: &mut Value) {
    match value {
        Value::Number(number) => *value = number.as_f64().into(),
        Value::Array(items) => items.iter_mut().for_each(numbers),
        Value::Object(object) => object.values_mut().for_each(numbers),
        _ => {}
    }
}

fn written(request: &Request) -> Value {
    let mut notes = Notes::default();
    let body = request::write(request, &Abilities::default(), &mut notes).unwrap();
    assert_eq!(notes.dropped().len(), 0, "{:?}", notes.dropped());
    serde_json::from_slice(&body).unwrap()
}

/// Goal: a recorded request is the same after reading and writing; schemas and arguments keep
/// the order of their keys. Canonical: see [`canonical`].
#[test]
fn recorded_requests_are_the_same_after_reading_and_writing() {
    let mut seen = 0;
    for recording in recordings(&["anthropic-messages", "anthropic-count"]) {
        let Some(body) = &recording.request else {
            continue;
        };
        let original: Value = serde_json::from_slice(body).unwrap();
        let read = if original.get("max_tokens").is_some() {
            request::read(body)
        } else {
            count::read(body)
        };
        let request = read.unwrap_or_else(|bad| panic!("{}: {bad:?}", recording.path));
        let mut want = canonical(&original);
        let mut got = canonical(&written(&request));
        if request.max_tokens.is_none() {
            let default = got.as_object_mut().unwrap().remove("max_tokens");
            assert_eq!(default, Some(json!(8192.0)));
        }
        assert_eq!(got, want, "{}", recording.path);
        let tools = |body: &mut Value| {
            let tools = list(body.get_mut("tools"));
            tools
                .map(|t| t["input_schema"].to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(tools(&mut got), tools(&mut want), "{}", recording.path);
        seen += 1;
    }
    println!("{seen} recorded requests");
}

/// Goal: the facts of the events that pass are those of the reader.
#[test]
fn facts_of_passing_events_are_those_of_the_reader() {
    for recording in answers().iter().filter(|r| is_stream(r)) {
        for body in streams(recording) {
            let (said, ..) = hear(&body, &[]);
            let (mut usage, mut done, mut content): (Option<Usage>, _, _) = (None, 0, false);
            events(&body, &[], &mut |event, data| {
                let facts = look::look(event, data);
                assert!(facts.is_json && !facts.error, "{}", recording.path);
                content |= facts.content;
                done += usize::from(facts.done);
                usage = facts.usage.map(|now| look::later(usage, now)).or(usage);
            });
            let tokens = said.tokens.unwrap_or_default();
            let usage = usage.unwrap_or_default();
            assert_eq!(done, 1, "{}", recording.path);
            assert_eq!(
                (usage.input, usage.output),
                (tokens.prompt(), tokens.answer())
            );
            let is_refused = said.stop.is_some_and(|(stop, _)| stop == Stop::Filtered);
            let is_silent = said.text.is_empty() && said.calls.is_empty();
            assert!(content || is_refused || is_silent, "{}", recording.path);
        }
    }
}

/// What the official SDK insists on: names on events, a start first, indexes in order, deltas
/// that fit their block, arguments that are JSON objects, and the end.
fn accept(body: &[u8], path: &str) {
    let (mut next, mut open, mut ended) = (0, None::<(u64, String)>, 0);
    let mut is_first = true;
    events(body, &[], &mut |event, data| {
        let data: Value = serde_json::from_slice(data).unwrap();
        let kind = data["type"].as_str().unwrap();
        assert_eq!(event, Some(kind.as_bytes()), "{path}");
        assert_eq!(kind == "message_start", is_first, "{path}");
        is_first = false;
        match kind {
            "message_start" => {
                let message = &data["message"];
                assert!(message["id"].as_str().unwrap().starts_with("msg_"));
                assert!(message["usage"]["input_tokens"].is_u64());
                assert_eq!(message["model"], "fast");
            }
            "content_block_start" => {
                assert!(open.is_none(), "{path}");
                assert_eq!(data["index"], next, "{path}");
                let kind = data["content_block"]["type"].as_str().unwrap();
                open = Some((next, kind.to_owned()));
            }
            "content_block_delta" => {
                let (index, block) = open.as_ref().unwrap();
                assert_eq!(data["index"], *index);
                let delta = data["delta"]["type"].as_str().unwrap();
                let fits: &[&str] = match block.as_str() {
                    "text" => &["text_delta", "citations_delta"],
                    "thinking" => &["thinking_delta", "signature_delta"],
                    "tool_use" => &["input_json_delta"],
                    _ => &[],
                };
                assert!(fits.contains(&delta), "{path}: {delta} in {block}");
            }
            "content_block_stop" => {
                let (index, _) = open.take().unwrap();
                assert_eq!(data["index"], index);
                next += 1;
            }
            "message_delta" => {
                assert!(open.is_none());
                assert!(data["usage"]["output_tokens"].is_u64());
                assert!(data["delta"]["stop_reason"].is_string());
            }
            "message_stop" => ended += 1,
            other => panic!("{path}: {other}"),
        }
    });
    assert_eq!(ended, 1, "{path}");
}

/// A small generator of numbers (xorshift), so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (n.max(1) as u64)).unwrap()
    }
}

/// Goal: broken streams, answers, requests and errors never panic and never give steps that
/// are not balanced; what the writer makes of them is a prefix that a client can read.
/// Method: cut, flip, double and swap parts of the recordings.
#[test]
fn broken_recordings_are_survived() {
    let mut dice = Dice(0x5eed_0005);
    for recording in recordings(&["anthropic-messages"]) {
        let bodies = if is_stream(&recording) {
            streams(&recording)
        } else {
            vec![recording.body.clone()]
        };
        for body in bodies.into_iter().chain(recording.request.clone()) {
            let rounds = if body.len() > 50_000 { 4 } else { 40 };
            for _ in 0..rounds {
                survive(&broken(&body, &mut dice));
            }
        }
    }
}

fn broken(body: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = body.to_vec();
    for _ in 0..=dice.below(3) {
        let (a, b) = (dice.below(bytes.len()), dice.below(bytes.len()));
        match dice.below(5) {
            0 => bytes.truncate(a),
            1 => {
                if let Some(byte) = bytes.get_mut(a) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            2 if !bytes.is_empty() => bytes.swap(a, b),
            3 => drop(bytes.drain(a.min(b)..a.max(b).min(a.min(b) + 300))),
            _ => {
                // Swaps or doubles events.
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let mut parts: Vec<&str> = text.split("\n\n").collect();
                let (a, b) = (dice.below(parts.len()), dice.below(parts.len()));
                if dice.below(2) == 0 {
                    parts.swap(a, b);
                } else {
                    parts.insert(a, parts[b]);
                }
                bytes = parts.join("\n\n").into_bytes();
            }
        }
    }
    bytes
}

fn is_all_json(events_body: &[u8]) -> bool {
    let mut is_all = true;
    events(events_body, &[], &mut |_, data| {
        is_all &= serde_json::from_slice::<Value>(data).is_ok();
    });
    is_all
}

fn survive(body: &[u8]) {
    let (said, result, written) = hear(body, &[]);
    if said.is_whole {
        // Half of a character in an escape, which the provider wrote, stays what it is.
        if is_all_json(&written) {
            accept(&written, "broken");
        }
        assert_eq!(result, Ok(()));
    } else {
        assert!(!String::from_utf8_lossy(&written).contains("event: message_stop"));
    }
    _ = look::look(None, body);
    _ = look::answer(body);
    _ = error::read(500, body);
    if let Ok(got) = answer::read(body) {
        let mut tx = TxBuf::new(&BufPool::new());
        answer::write(&got, &NAMES, &mut tx);
        assert!(serde_json::from_slice::<Map<String, Value>>(tx.unsent()).is_ok());
    }
    if let Ok(mut request) = request::read(body) {
        for origin in [request.origin, None] {
            request.origin = origin;
            let mut notes = Notes::default();
            if let Ok(body) = request::write(&request, &Abilities::default(), &mut notes) {
                assert!(count::read(&body).is_ok());
            }
        }
    }
}
