//! Amazon Bedrock Converse.

use super::recorded::{Recording, recordings};
use serde_json::{Value, json};
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::base::fault::Kind;
use shardgate::dialect::bedrock::{answer, error, look, request, stream};
use shardgate::dialect::model::{
    Abilities, Answer, Block, Names, Notes, Open, Step, Stop, Tokens, Trouble,
};
use shardgate::wire::eventstream::{Splitter, frame, put_event};

/// A stream of another operation (`InvokeModelWithResponseStream`): its event is `chunk`, which
/// Converse does not have. The oracle reads it; a Converse reader must not.
const OTHER_OPERATION: &str = "misc/agentgateway__detect_bedrock-invoke.eventstream.bin";

/// The oracle leaves `citationsContent` out; what it holds is text of the answer.
const CITED: [&str; 2] = [
    "bedrock/rubyllm__chat_citations_with_bedrock_claude-haiku-4-5_cites_text_docum.json",
    "bedrock/rubyllm__chat_citations_with_bedrock_claude-haiku-4-5_cites_tool_resul.json",
];

/// Tools that the provider itself runs. The oracle counts their calls; no client answers them.
const SERVER_TOOLS: [&str; 1] = ["nova_code_interpreter"];

const NAMES: Names<'_> = Names {
    id: "abc123",
    model: "m",
    created: 1,
    wants_usage: true,
};

/// What an answer comes to, streamed or not.
#[derive(Clone, Debug, Default, PartialEq)]
struct Content {
    text: String,
    thinking: String,
    opaque: Vec<Value>,
    calls: Vec<(String, String, Value)>,
    stop: Option<Stop>,
    usage: Option<Tokens>,
}

/// Collects steps, and checks that they are balanced.
#[derive(Debug, Default)]
struct Balance {
    content: Content,
    begun: bool,
    open: Option<&'static str>,
    arguments: String,
    ended: bool,
    error: Option<Trouble>,
}

impl Balance {
    fn take(&mut self, step: &Step<'_>) {
        assert!(
            !self.ended && self.error.is_none(),
            "{step:?} after the end"
        );
        assert_eq!(
            self.begun,
            !matches!(step, Step::Begin { .. } | Step::Error(_)) || self.begun
        );
        match step {
            Step::Begin { .. } => {
                assert!(!self.begun, "begun twice");
                self.begun = true;
            }
            Step::Open(open) => {
                assert!(self.begun && self.open.is_none() && self.content.stop.is_none());
                self.open = Some(match open {
                    Open::Text | Open::Refusal => "text",
                    Open::Thinking => "thinking",
                    Open::Call { id, name, .. } => {
                        let call = (id.to_text(), name.to_text(), Value::Null);
                        self.content.calls.push(call);
                        "call"
                    }
                });
            }
            Step::Text(text) => text.say(match self.open.expect("text without a block") {
                "text" => &mut self.content.text,
                "thinking" => &mut self.content.thinking,
                _ => &mut self.arguments,
            }),
            Step::Opaque(_, value) => {
                assert_eq!(self.open, Some("thinking"));
                self.content
                    .opaque
                    .push(serde_json::from_slice(value).unwrap());
            }
            Step::Citation(_, value) => {
                assert_eq!(self.open, Some("text"));
                serde_json::from_slice::<Value>(value).unwrap();
            }
            Step::Close => {
                if self.open.take().expect("close without open") == "call" {
                    let call = self.content.calls.last_mut().unwrap();
                    call.2 = parsed(&self.arguments);
                    self.arguments.clear();
                }
            }
            Step::Usage(tokens) => {
                assert!(self.begun);
                self.content.usage = Some(*tokens);
            }
            Step::Stop(reason, _) => {
                assert!(self.begun && self.open.is_none() && self.content.stop.is_none());
                self.content.stop = Some(*reason);
            }
            Step::Error(refused) => self.error = Some(refused.trouble),
            Step::End => {
                assert!(self.content.stop.is_some(), "an end without a stop");
                self.ended = true;
            }
        }
    }
}

fn parsed(arguments: &str) -> Value {
    if arguments.is_empty() {
        return json!({});
    }
    serde_json::from_str(arguments).unwrap_or_else(|_| json!(arguments))
}

/// Frames of a body that comes in these pieces.
fn frames(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let (mut splitter, mut buffer, mut out) = (Splitter::default(), Vec::new(), Vec::new());
    for piece in pieces {
        let mut from = 0;
        splitter
            .feed(piece, |end| {
                buffer.extend_from_slice(&piece[from..end]);
                out.push(std::mem::take(&mut buffer));
                from = end;
            })
            .unwrap();
        buffer.extend_from_slice(&piece[from..]);
    }
    assert!(splitter.between_frames() && buffer.is_empty());
    out
}

/// Whether its framing is gone: a line an event.
fn is_lines(recording: &Recording) -> bool {
    recording.path.split('.').next_back() == Some("txt")
}

/// The body of a recorded stream, framed. Lines of `.chunks.txt` are the union of all events.
fn body(recording: &Recording) -> Vec<u8> {
    if !is_lines(recording) {
        return recording.body.clone();
    }
    let mut tx = TxBuf::new(&BufPool::new());
    for line in recording
        .body
        .split(|&b| b == b'\n')
        .filter(|line| !line.is_empty())
    {
        let union: Value = serde_json::from_slice(line).unwrap();
        let (event, payload) = union.as_object().unwrap().iter().next().unwrap();
        put_event(&mut tx, event, &[payload.to_string().as_bytes()]);
    }
    tx.unsent().to_vec()
}

/// Reads a whole body; `each` gets every step too.
fn read_to(frames: &[Vec<u8>], each: &mut dyn FnMut(&Step<'_>)) -> (Balance, Result<(), Kind>) {
    let (mut reader, mut balance) = (stream::Reader::new(), Balance::default());
    let mut take = |step: Step<'_>| {
        balance.take(&step);
        each(&step);
    };
    let mut result = Ok(());
    for bytes in frames {
        let frame = frame(bytes).unwrap();
        result = reader.read(frame.name(), frame.payload, &mut take);
        if result.is_err() {
            break;
        }
    }
    let result = result.and_then(|()| reader.end(&mut take));
    assert_eq!(balance.ended, result.is_ok());
    (balance, result)
}

fn read(frames: &[Vec<u8>]) -> Content {
    let (balance, result) = read_to(frames, &mut |_| {});
    assert_eq!(result, Ok(()));
    balance.content
}

fn content(answer: &Answer) -> Content {
    let mut out = Content {
        stop: Some(answer.stop),
        usage: answer.usage,
        ..Content::default()
    };
    for block in &answer.blocks {
        match block {
            Block::Text { text, .. } => out.text.push_str(text),
            Block::Thinking { text, opaque } => {
                out.thinking.push_str(text);
                out.opaque
                    .extend(opaque.as_ref().map(|opaque| opaque.value.clone()));
            }
            Block::Call(call) => {
                let arguments = parsed(&call.arguments);
                out.calls
                    .push((call.id.clone(), call.name.clone(), arguments));
            }
            Block::Foreign { .. } => {}
            other => panic!("{other:?} in an answer"),
        }
    }
    out
}

/// Compares with the oracle.
fn check(recording: &Recording, content: &Content) {
    let (path, oracle) = (&recording.path, &recording.oracle);
    let characters = content.text.chars().count();
    if CITED.contains(&path.as_str()) {
        assert!(characters > 0, "{path}");
    } else {
        let text = oracle["text"].as_str().unwrap();
        assert!(content.text.starts_with(text), "{path}: {:?}", content.text);
        assert_eq!(json!(characters), oracle["text_len"], "{path}");
    }
    let thinking = content.thinking.chars().count();
    assert_eq!(json!(thinking), oracle["reasoning_len"], "{path}");
    let is_ours = |tool: &&Value| !SERVER_TOOLS.contains(&tool["name"].as_str().unwrap());
    let tools: Vec<&Value> = oracle["tools"]
        .as_array()
        .unwrap()
        .iter()
        .filter(is_ours)
        .collect();
    assert_eq!(content.calls.len(), tools.len(), "{path}");
    for ((id, name, arguments), want) in content.calls.iter().zip(tools) {
        assert_eq!(&json!(id), &want["id"], "{path}");
        assert_eq!(&json!(name), &want["name"], "{path}");
        assert_eq!(arguments, &want["args"], "{path}");
    }
    let want = match oracle["finish"].as_str().unwrap() {
        "end_turn" => Stop::End,
        "tool_use" => Stop::Tool,
        "max_tokens" => Stop::Length,
        "guardrail_intervened" => Stop::Filtered,
        other => panic!("{path}: {other}"),
    };
    assert_eq!(content.stop, Some(want), "{path}");
    let usage = &oracle["usage"];
    assert_eq!(content.usage.is_some(), !usage.is_null(), "{path}");
    if let Some(tokens) = content.usage {
        let count = |key: &str| usage[key].as_u64().unwrap_or(0);
        assert_eq!(tokens.fresh, count("inputTokens"), "{path}");
        assert_eq!(tokens.output, count("outputTokens"), "{path}");
        assert_eq!(tokens.read, count("cacheReadInputTokens"), "{path}");
        let written = tokens.write + tokens.write_1h;
        assert_eq!(written, count("cacheWriteInputTokens"), "{path}");
        if let Some(total) = usage["totalTokens"].as_u64() {
            assert_eq!(tokens.prompt() + tokens.answer(), total, "{path}");
        }
    }
}

fn streams() -> Vec<Recording> {
    let mut all = recordings(&["bedrock-converse-stream"]);
    all.retain(|recording| recording.path != OTHER_OPERATION);
    all
}

/// Goal: every recorded stream is read as the oracle reads it, however it is cut. Method: cut
/// into pieces of several sizes.
#[test]
fn every_recorded_stream_is_read() {
    let streams = streams();
    assert!(streams.is_empty() || streams.len() >= 23);
    for recording in streams {
        let body = body(&recording);
        let whole = frames(&[&body]);
        let content = read(&whole);
        check(&recording, &content);
        for size in [1, 2, 3, 7, 11, 100, 1000] {
            let pieces: Vec<&[u8]> = body.chunks(size).collect();
            assert_eq!(frames(&pieces), whole, "{} by {size}", recording.path);
        }
    }
}

/// Goal: a stream of another operation is no Converse answer: it is cut, not empty.
#[test]
fn a_stream_of_another_operation_is_no_answer() {
    for recording in recordings(&["bedrock-converse-stream"]) {
        if recording.path == OTHER_OPERATION {
            let (balance, result) = read_to(&frames(&[&recording.body]), &mut |_| {});
            assert_eq!(result, Err(Kind::UpstreamCut));
            assert_eq!(balance.content, Content::default());
        }
    }
}

/// Goal: without types of frames, by the union alone, the same is read.
#[test]
fn unions_are_read_like_frames() {
    for recording in streams().iter().filter(|recording| is_lines(recording)) {
        let (mut reader, mut balance) = (stream::Reader::new(), Balance::default());
        let mut take = |step: Step<'_>| balance.take(&step);
        for line in recording.body.split(|&b| b == b'\n') {
            if !line.is_empty() {
                reader.read(None, line, &mut take).unwrap();
            }
        }
        reader.end(&mut take).unwrap();
        check(recording, &balance.content);
    }
}

/// Goal: what our own writer makes of a stream says the same.
#[test]
fn every_recorded_stream_survives_our_writer() {
    for recording in streams() {
        let (mut writer, mut tx) = (stream::Writer::new(), TxBuf::new(&BufPool::new()));
        let (balance, result) = read_to(&frames(&[&body(&recording)]), &mut |step| {
            writer.write(step, &NAMES, &mut tx);
        });
        assert_eq!(result, Ok(()));
        let mut want = balance.content;
        // A stream always tells counts; unknown ones are zeros.
        want.usage = want.usage.or(Some(Tokens::default()));
        let again = read(&frames(&[tx.unsent()]));
        assert_eq!(again, want, "{}", recording.path);
    }
}

/// Goal: every recorded stream that loses its end is cut, at whatever frame.
#[test]
fn a_recorded_stream_that_loses_its_end_is_cut() {
    for recording in streams() {
        let frames = frames(&[&body(&recording)]);
        let is_stop = |bytes: &Vec<u8>| frame(bytes).unwrap().name() == Some(b"messageStop");
        let stop = frames.iter().position(is_stop).unwrap();
        for end in 0..stop {
            let (_, result) = read_to(&frames[..end], &mut |_| {});
            assert_eq!(
                result,
                Err(Kind::UpstreamCut),
                "{} at {end}",
                recording.path
            );
        }
    }
}

/// Goal: every recorded answer is read as the oracle reads it, and survives our writer; errors
/// are told from answers and classified.
#[test]
fn every_recorded_answer_is_read() {
    for recording in recordings(&["bedrock-converse"]) {
        let path = &recording.path;
        if recording.manifest["status"] != 200 {
            assert_eq!(
                answer::read(&recording.body),
                Err(Kind::UpstreamError),
                "{path}"
            );
            continue;
        }
        let read = answer::read(&recording.body).unwrap();
        let mut want = content(&read);
        check(&recording, &want);
        let mut tx = TxBuf::new(&BufPool::new());
        answer::write(&read, &NAMES, &mut tx);
        let again = content(&answer::read(tx.unsent()).unwrap());
        want.usage = want.usage.or(Some(Tokens::default()));
        assert_eq!(again, want, "{path}");
        let facts = look::answer(&recording.body);
        assert!(facts.has_result && !facts.has_error, "{path}");
        let counts = facts.usage.map(|usage| (usage.input, usage.output));
        let tokens = read.usage.map(|tokens| (tokens.prompt(), tokens.answer()));
        assert_eq!(counts, tokens, "{path}");
    }
}

/// Goal: a look at each event finds the counts that the reader finds, the stop and the end.
#[test]
fn a_look_finds_what_the_reader_finds() {
    for recording in streams() {
        let frames = frames(&[&body(&recording)]);
        let (mut usage, mut finished, mut done, mut content) = (None, 0, 0, false);
        for bytes in &frames {
            let frame = frame(bytes).unwrap();
            let facts = look::look(frame.name(), frame.payload);
            assert!(facts.is_json && !facts.error, "{}", recording.path);
            usage = facts.usage.or(usage);
            finished += u32::from(facts.finished);
            done += u32::from(facts.done);
            content |= facts.content;
        }
        let want = read(&frames).usage;
        let want = want.map(|tokens| (tokens.prompt(), tokens.answer()));
        assert_eq!(
            usage.map(|usage| (usage.input, usage.output)),
            want,
            "{}",
            recording.path
        );
        assert_eq!((finished, content), (1, true), "{}", recording.path);
        assert_eq!(done == 1, usage.is_some(), "{}", recording.path);
    }
}

/// Goal: recorded errors are classified by what they say, not by their status alone.
#[test]
fn recorded_errors_are_classified() {
    for recording in recordings(&["bedrock-converse"]) {
        let status = u16::try_from(recording.manifest["status"].as_u64().unwrap()).unwrap();
        if status < 400 {
            continue;
        }
        let refused = error::read(status, &recording.body);
        let want = match status {
            403 => Trouble::Auth, // "The security token … is invalid."
            _ => Trouble::Invalid,
        };
        assert_eq!(refused.trouble, want, "{}", recording.path);
        let told = recording.oracle["error"]["message"].as_str().unwrap();
        // What is said about the gateway's own key is not passed on.
        assert_eq!(
            refused.message == told,
            want != Trouble::Auth,
            "{}",
            recording.path
        );
    }
}

/// The same request in the same words. Canonical means: an empty field at the top is none; a
/// result's `json` is the text of it; a status of `success` is none; a schema as text is the
/// schema; the order of fields does not matter (objects compare without it).
fn canonical(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(canonical).collect(),
        Value::Object(object) => {
            let mut out = serde_json::Map::new();
            for (key, value) in object {
                match (key.as_str(), value) {
                    ("status", value) if value == "success" => {}
                    ("schema", Value::String(text)) => {
                        let schema: Value = serde_json::from_str(text).unwrap();
                        out.insert(key.clone(), schema);
                    }
                    ("toolResult", value) => {
                        let mut value = canonical(value);
                        for part in value["content"].as_array_mut().into_iter().flatten() {
                            if let Some(json) = part.get("json") {
                                *part = json!({ "text": json.to_string() });
                            }
                        }
                        out.insert(key.clone(), value);
                    }
                    _ => out.extend([(key.clone(), canonical(value))]),
                }
            }
            Value::Object(out)
        }
        other => other.clone(),
    }
}

/// Goal: a request that is read and written is the same request. Method: every recorded one,
/// compared as [`canonical`] says.
#[test]
fn every_recorded_request_comes_back() {
    let mut seen = 0;
    for recording in recordings(&["bedrock-converse", "bedrock-converse-stream"]) {
        let Some(body) = &recording.request else {
            continue;
        };
        seen += 1;
        let read = request::read(body, "m", true).unwrap();
        let mut notes = Notes::default();
        let written = request::write(&read, &Abilities::default(), &mut notes).unwrap();
        assert_eq!(notes.dropped(), [] as [&str; 0], "{}", recording.path);
        let (mut was, is): (Value, Value) = (
            serde_json::from_slice(body).unwrap(),
            serde_json::from_slice(&written).unwrap(),
        );
        let full = |value: &Value| *value != json!({}) && *value != json!([]);
        was.as_object_mut().unwrap().retain(|_, value| full(value));
        assert_eq!(canonical(&is), canonical(&was), "{}", recording.path);
        let again = request::read(&written, "m", true).unwrap();
        assert_eq!(again.turns, read.turns, "{}", recording.path);
    }
    assert!(
        seen > 30 || recordings(&["bedrock-converse"]).is_empty(),
        "{seen}"
    );
}

/// A sequence of numbers from a seed. Source: Marsaglia, "Xorshift RNGs".
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(n.max(1)).unwrap()).unwrap()
    }
}

/// Bytes cut, flipped, doubled.
fn mutated(bytes: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=dice.below(3) {
        let at = dice.below(out.len());
        match dice.below(4) {
            0 => out.truncate(at),
            1 if !out.is_empty() => out[at] ^= 1 << dice.below(8),
            2 if !out.is_empty() => out[at] = b"\"{}[]:,\\0n"[dice.below(10)],
            _ => {
                let end = at + dice.below(out.len() - at);
                out.extend_from_within(at..end);
            }
        }
    }
    out
}

/// Goal: no bytes make a reader panic or its steps unbalanced. Method: recorded payloads and
/// bodies, broken from a seed; events lost, doubled and swapped.
pub(super) fn broken_recordings(seed: u64) {
    let mut dice = Dice(seed);
    for recording in streams() {
        let frames = frames(&[&body(&recording)]);
        for _ in 0..60 {
            let mut events: Vec<(Vec<u8>, Vec<u8>)> = frames
                .iter()
                .map(|bytes| frame(bytes).unwrap())
                .map(|frame| (frame.name().unwrap().to_vec(), frame.payload.to_vec()))
                .collect();
            for _ in 0..=dice.below(3) {
                let (a, b) = (dice.below(events.len()), dice.below(events.len()));
                match dice.below(5) {
                    0 => events.swap(a, b),
                    1 if events.len() > 1 => drop(events.remove(a)),
                    2 => events.insert(b, events[a].clone()),
                    3 => events[a].0 = events[b].0.as_slice().to_vec(),
                    _ => events[a].1 = mutated(&events[a].1, &mut dice),
                }
            }
            let (mut reader, mut balance) = (stream::Reader::new(), Balance::default());
            let (mut writer, mut tx) = (stream::Writer::new(), TxBuf::new(&BufPool::new()));
            let mut take = |step: Step<'_>| {
                balance.take(&step);
                writer.write(&step, &NAMES, &mut tx);
            };
            let mut good = true;
            for (event, data) in &events {
                look::look(Some(event), data);
                good = good && reader.read(Some(event), data, &mut take).is_ok();
            }
            good = good && reader.end(&mut take).is_ok();
            if good {
                let (want, again) = (balance.content, read(&self::frames(&[tx.unsent()])));
                assert_eq!((&again.text, again.stop), (&want.text, want.stop));
            }
        }
    }
    for recording in recordings(&["bedrock-converse"]) {
        for _ in 0..60 {
            let body = mutated(&recording.body, &mut dice);
            look::answer(&body);
            error::read(400, &body);
            if let Ok(read) = answer::read(&body) {
                answer::write(&read, &NAMES, &mut TxBuf::new(&BufPool::new()));
            }
            let asked = mutated(recording.request.as_deref().unwrap_or(b"{}"), &mut dice);
            if let Ok(mut read) = request::read(&asked, "m", false) {
                for origin in [read.origin, None] {
                    read.origin = origin;
                    let written =
                        request::write(&read, &Abilities::default(), &mut Notes::default());
                    if let Ok(written) = written {
                        serde_json::from_slice::<Value>(&written).unwrap();
                    }
                }
            }
        }
    }
}
