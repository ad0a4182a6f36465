//! Cohere v2 Chat.
//!
//! The oracle has no lines for it: what a right reader gets is taken here from the recordings
//! by plain means, field by field.

use super::recorded::{Recording, recordings};
use serde_json::{Value, json};
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::base::fault::Kind;
use shardgate::dialect::cohere::{answer, look, request, stream};
use shardgate::dialect::model::{Abilities, Answer, Block, Names, Notes, Open, Step, Stop, Tokens};
use shardgate::wire::sse::{Splitter, frame};

const NAMES: Names<'_> = Names {
    id: "n1",
    model: "m",
    created: 0,
    wants_usage: false,
};

/// No chat: the answer of another endpoint.
const NOT_CHAT: &str = "cohere/vercel__cohere-embedding.json";

/// What an exchange says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    text: String,
    thinking: String,
    /// Id, name, arguments.
    calls: Vec<(String, String, Value)>,
    citations: usize,
    stop: Option<Stop>,
    usage: Option<Tokens>,
    is_done: bool,
}

/// Gathers steps and checks that they are balanced.
#[derive(Default)]
struct Watch {
    said: Said,
    arguments: String,
    open: Option<char>,
    begun: bool,
    over: bool,
}

impl Watch {
    fn step(&mut self, step: &Step<'_>) {
        assert!(!self.over, "{step:?} after the end");
        let is_first = matches!(step, Step::Begin { .. } | Step::Error(_));
        assert!(self.begun || is_first, "{step:?} before the beginning");
        match step {
            Step::Begin { .. } => {
                assert!(!self.begun, "begins once");
                self.begun = true;
            }
            Step::Open(open) => {
                assert!(self.begun && self.open.is_none() && self.said.stop.is_none());
                self.open = Some(match open {
                    Open::Text | Open::Refusal => 't',
                    Open::Thinking => 'h',
                    Open::Call { id, name, .. } => {
                        let call = (id.to_text(), name.to_text(), Value::Null);
                        self.said.calls.push(call);
                        self.arguments.clear();
                        'c'
                    }
                });
            }
            Step::Text(text) => match self.open.expect("text in a block") {
                't' => text.say(&mut self.said.text),
                'h' => text.say(&mut self.said.thinking),
                _ => text.say(&mut self.arguments),
            },
            Step::Citation(..) => {
                assert!(self.open.is_some());
                self.said.citations += 1;
            }
            Step::Opaque(..) => assert!(self.open.is_some()),
            Step::Close => {
                if self.open.take().expect("closes what is open") == 'c' {
                    let arguments = serde_json::from_str(&self.arguments);
                    self.said.calls.last_mut().unwrap().2 =
                        arguments.unwrap_or_else(|_| json!(self.arguments));
                }
            }
            Step::Usage(usage) => self.said.usage = Some(*usage),
            Step::Stop(why, _) => {
                assert!(self.open.is_none() && self.said.stop.is_none());
                self.said.stop = Some(*why);
            }
            Step::Error(_) => self.over = true,
            Step::End => {
                assert!(self.open.is_none() && self.said.stop.is_some());
                (self.over, self.said.is_done) = (true, true);
            }
        }
    }
}

/// Reads a stream that arrives in these pieces.
fn read_stream(pieces: &[&[u8]]) -> (Said, Result<(), Kind>) {
    let (mut watch, mut reader) = (Watch::default(), stream::Reader::new());
    let (mut splitter, mut held) = (Splitter::new(), Vec::new());
    let mut scratch = Vec::new();
    for piece in pieces {
        let mut rest = *piece;
        while let Some(end) = splitter.next_end(rest) {
            held.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
            let event = frame(&held);
            if let Some(data) = event.data(&mut scratch) {
                let read = reader.read(event.event, data, &mut |step| watch.step(&step));
                if read.is_err() {
                    return (watch.said, read);
                }
            }
            held.clear();
        }
        held.extend_from_slice(rest);
    }
    let end = reader.end(&mut |step| watch.step(&step));
    (watch.said, end)
}

/// The stream as our own writer says it.
fn rewritten(body: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = (stream::Reader::new(), stream::Writer::new());
    let mut tx = TxBuf::new(&BufPool::new());
    for line in payloads(body) {
        let each = &mut |step: Step<'_>| writer.write(&step, &NAMES, &mut tx);
        reader.read(None, line, each).unwrap();
    }
    tx.unsent().to_vec()
}

fn payloads(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|&b| b == b'\n').filter(|line| !line.is_empty())
}

/// Payloads framed as they were sent.
fn framed(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for line in payloads(body) {
        let value: Value = serde_json::from_slice(line).unwrap();
        let name = value["type"].as_str().unwrap();
        out.extend_from_slice(format!("event: {name}\ndata: ").as_bytes());
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n\n");
    }
    out
}

fn arguments(text: &str) -> Value {
    match serde_json::from_str(if text.is_empty() { "{}" } else { text }).unwrap() {
        Value::Null => json!({}),
        value => value,
    }
}

fn tokens(usage: &Value) -> Option<Tokens> {
    let of = |path: &str| usage.pointer(path).and_then(Value::as_u64);
    let cached = of("/cached_tokens").unwrap_or(0);
    Some(Tokens {
        fresh: of("/tokens/input_tokens")? - cached,
        read: cached,
        output: of("/tokens/output_tokens")?,
        ..Tokens::default()
    })
}

fn stop(reason: &str) -> Option<Stop> {
    Some(match reason {
        "COMPLETE" => Stop::End,
        "MAX_TOKENS" => Stop::Length,
        "TOOL_CALL" => Stop::Tool,
        _ => return None,
    })
}

/// What a recorded stream says, by plain means.
fn expected_of_stream(body: &[u8]) -> Said {
    let mut said = Said::default();
    let mut texts: Vec<String> = Vec::new();
    for line in payloads(body) {
        let value: Value = serde_json::from_slice(line).unwrap();
        let at = |path: &str| value.pointer(&format!("/delta{path}"));
        let text = |path: &str| at(path).and_then(Value::as_str).unwrap_or_default();
        said.text += text("/message/tool_plan");
        said.text += text("/message/content/text");
        said.thinking += text("/message/content/thinking");
        if value["type"] == "tool-call-start" {
            let id = text("/message/tool_calls/id").to_owned();
            let name = text("/message/tool_calls/function/name").to_owned();
            said.calls.push((id, name, Value::Null));
            texts.push(String::new());
        }
        if let Some(last) = texts.last_mut() {
            *last += text("/message/tool_calls/function/arguments");
        }
        said.citations += usize::from(value["type"] == "citation-start");
        if value["type"] == "message-end" {
            said.stop = stop(text("/finish_reason"));
            said.usage = tokens(&value["delta"]["usage"]);
            said.is_done = true;
        }
    }
    for (call, text) in said.calls.iter_mut().zip(texts) {
        call.2 = arguments(&text);
    }
    said
}

/// What a recorded answer says, by plain means.
fn expected_of_answer(body: &Value) -> Said {
    let mut said = Said {
        stop: stop(body["finish_reason"].as_str().unwrap()),
        usage: tokens(&body["usage"]),
        citations: body["message"]["citations"].as_array().map_or(0, Vec::len),
        is_done: true,
        ..Said::default()
    };
    let message = &body["message"];
    for part in message["content"].as_array().into_iter().flatten() {
        said.text += part["text"].as_str().unwrap_or_default();
        said.thinking += part["thinking"].as_str().unwrap_or_default();
    }
    said.text += message["tool_plan"].as_str().unwrap_or_default();
    for call in message["tool_calls"].as_array().into_iter().flatten() {
        let text = |path: &str| call.pointer(path).unwrap().as_str().unwrap();
        let arguments = arguments(text("/function/arguments"));
        said.calls
            .push((text("/id").into(), text("/function/name").into(), arguments));
    }
    said
}

fn said_by(answer: &Answer) -> Said {
    let mut said = Said {
        stop: Some(answer.stop),
        usage: answer.usage,
        is_done: true,
        ..Said::default()
    };
    for block in &answer.blocks {
        match block {
            Block::Text {
                text, citations, ..
            } => {
                said.text += text;
                let list = citations.as_ref().and_then(Value::as_array);
                said.citations += list.map_or(0, Vec::len);
            }
            Block::Thinking { text, .. } => said.thinking += text,
            Block::Call(call) => {
                let arguments = arguments(&call.arguments);
                said.calls
                    .push((call.id.clone(), call.name.clone(), arguments));
            }
            other => panic!("{other:?}"),
        }
    }
    said
}

fn is_stream(recording: &Recording) -> bool {
    recording.path.ends_with(".chunks.txt")
}

fn chats() -> Vec<Recording> {
    let all = recordings(&["cohere-v2"]);
    all.into_iter()
        .filter(|recording| recording.path != NOT_CHAT)
        .collect()
}

/// Goal: every recorded answer is read as what it says, passes as what it is, and comes out of
/// our writer with the same content. Exception: one is an answer of the embeddings endpoint.
#[test]
fn recorded_answers_say_what_they_say() {
    let mut read = 0;
    for recording in chats().iter().filter(|recording| !is_stream(recording)) {
        let path = &recording.path;
        let body: Value = serde_json::from_slice(&recording.body).unwrap();
        let got = answer::read(&recording.body).unwrap();
        let want = expected_of_answer(&body);
        assert_eq!(said_by(&got), want, "{path}");
        let facts = look::answer(&recording.body);
        assert!(facts.has_result && !facts.has_error, "{path}");
        assert_eq!(
            facts.usage.unwrap().input,
            want.usage.unwrap().prompt(),
            "{path}"
        );
        let mut tx = TxBuf::new(&BufPool::new());
        answer::write(&got, &NAMES, &mut tx);
        assert_eq!(
            said_by(&answer::read(tx.unsent()).unwrap()),
            want,
            "{path}, written"
        );
        read += 1;
    }
    println!("{read} recorded answers read");
    let all = recordings(&["cohere-v2"]);
    for recording in all.iter().filter(|recording| recording.path == NOT_CHAT) {
        assert_eq!(
            answer::read(&recording.body).unwrap_err(),
            Kind::UpstreamGarbled
        );
    }
}

/// Goal: every recorded stream is read as what it says, however it is cut, and comes out of
/// our writer with the same content. Method: every place, and pairs of places 7 apart.
#[test]
fn recorded_streams_say_what_they_say_however_they_are_cut() {
    for recording in chats().iter().filter(|recording| is_stream(recording)) {
        let path = &recording.path;
        let body = framed(&recording.body);
        let want = (expected_of_stream(&recording.body), Ok(()));
        assert!(want.0.is_done && (!want.0.text.is_empty()), "{path}");
        for cut in 0..=body.len() {
            let second = (cut + 7).min(body.len());
            let pieces = [&body[..cut], &body[cut..second], &body[second..]];
            assert_eq!(read_stream(&pieces), want, "{path} cut at {cut}");
        }
        let again = rewritten(&recording.body);
        assert_eq!(read_stream(&[&again]), want, "{path}, written");
        let done = payloads(&recording.body).filter(|line| look::look(None, line).done);
        assert_eq!(done.count(), 1, "{path}");
        let short = &body[..body.len() - 2];
        assert_eq!(
            read_stream(&[short]).1,
            Err(Kind::UpstreamCut),
            "{path}, without its end"
        );
    }
}

/// Goal: what a hostile or broken provider sends never panics, never gives unbalanced steps
/// and never ends without `message-end`. Method: recordings, cut, flipped, their bytes and
/// events swapped, 4000 times from a seed; `Watch` checks the steps.
pub(super) fn broken_recordings(mut seed: u64) {
    let mut below = move |limit: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(limit.max(1)).unwrap()).unwrap()
    };
    for recording in chats() {
        for _ in 0..500 {
            let mut body = recording.body.clone();
            for _ in 0..=below(3) {
                let (at, other) = (below(body.len()), below(body.len()));
                match below(4) {
                    0 => body.truncate(at.max(1)),
                    1 => body[at] ^= 1 << below(8),
                    2 => body.swap(at, other),
                    _ => {
                        let mut lines: Vec<&[u8]> = body.split(|&b| b == b'\n').collect();
                        let (a, b) = (below(lines.len()), below(lines.len()));
                        lines.swap(a, b);
                        body = lines.join(&b'\n');
                    }
                }
            }
            drop(answer::read(&body));
            _ = look::answer(&body);
            drop(request::read(&body));
            let (mut watch, mut reader) = (Watch::default(), stream::Reader::new());
            let mut writer = stream::Writer::new();
            let mut tx = TxBuf::new(&BufPool::new());
            for line in payloads(&body) {
                _ = look::look(None, line);
                let each = &mut |step: Step<'_>| {
                    watch.step(&step);
                    writer.write(&step, &NAMES, &mut tx);
                };
                if reader.read(None, line, each).is_err() {
                    break;
                }
            }
            let end = reader.end(&mut |step| watch.step(&step));
            assert!(end.is_err() || watch.said.is_done);
            if watch.said.is_done {
                let (again, end) = read_stream(&[tx.unsent()]);
                assert_eq!(end, Ok(()));
                assert_eq!(again.text, watch.said.text);
            }
        }
    }
}

/// Requests in this dialect: none is recorded. From the API reference's examples and its list
/// of fields, in words of our own.
fn requests() -> Vec<Value> {
    let tool = json!({"type": "function", "function": {"name": "get_weather",
        "description": "Weather of a place",
        "parameters": {"type": "object", "properties": {"z": {"type": "string"},
            "a": {"type": "integer"}}, "required": ["z"]}}});
    let user = json!([{"role": "user", "content": "Weather in Rome and Oslo?"}]);
    let call = |id: &str, place: &str| {
        json!({"id": id, "type": "function", "function": {"name": "get_weather",
            "arguments": json!({"z": place, "a": 1}).to_string()}})
    };
    vec![
        json!({"model": "command-a-03-2025", "messages": user}),
        json!({"model": "command-a-03-2025", "messages": user, "stream": false, "logprobs": false}),
        json!({"model": "command-a-vision-07-2025", "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Look."}]},
            {"role": "user", "content": [{"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png", "detail": "high"}},
                {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/4A=="}}]}]}),
        json!({"model": "command-a-03-2025", "tools": [tool], "strict_tools": true, "stream": true,
            "tool_choice": "REQUIRED", "messages": [user[0],
            {"role": "assistant", "tool_plan": "Two look-ups.",
                "tool_calls": [call("w_1", "Rome"), call("w_2", "Oslo")]},
            {"role": "tool", "tool_call_id": "w_1", "content": "sun"},
            {"role": "tool", "tool_call_id": "w_2", "content": [
                {"type": "document", "document": {"id": "d", "data": {"sky": "grey", "c": 4}}},
                {"type": "text", "text": "cold"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Sun and grey."}],
                "citations": [{"start": 0, "end": 3, "text": "Sun", "sources": [{"type": "tool", "id": "w_1:0"}]}]},
            {"role": "user", "content": "And tomorrow?"}]}),
        json!({"model": "command-a-reasoning-08-2025", "messages": [user[0],
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."},
                {"type": "text", "text": "Fine."}]},
            {"role": "user", "content": "Sure?"}],
            "thinking": {"type": "enabled", "token_budget": 200}, "max_tokens": 1000,
            "temperature": 0.3, "p": 0.75, "k": 10, "seed": 1, "frequency_penalty": 0.1,
            "presence_penalty": 0, "stop_sequences": ["END"], "logprobs": true}),
        json!({"model": "command-r-plus", "messages": user, "thinking": {"type": "disabled"},
            "documents": ["Rome: sun", {"id": "o", "data": {"text": "Oslo: grey"}}],
            "citation_options": {"mode": "ACCURATE"}, "safety_mode": "CONTEXTUAL", "priority": 1}),
        json!({"model": "command-r", "messages": user, "response_format": {"type": "text"}}),
        json!({"model": "command-r", "messages": user, "response_format": {"type": "json_object",
            "json_schema": {"type": "object", "properties": {"b": {"type": "string"}, "a": {}}}}}),
        json!({"model": "command-r", "messages": user, "tools": [], "tool_choice": "NONE",
            "raw_prompting": false}),
    ]
}

/// The request without what says nothing: switches that are off, empty lists, the format
/// `text`, numbers as floats; a list with one text is that text.
fn canonical(mut request: Value) -> Value {
    let top = request.as_object_mut().unwrap();
    for off in ["stream", "logprobs"] {
        if top.get(off) == Some(&json!(false)) {
            top.shift_remove(off);
        }
    }
    if top.get("tools") == Some(&json!([])) {
        top.shift_remove("tools");
    }
    if top.get("response_format") == Some(&json!({"type": "text"})) {
        top.shift_remove("response_format");
    }
    for value in top.values_mut() {
        if let Some(number) = value.as_f64() {
            *value = number.into();
        }
    }
    for message in top["messages"].as_array_mut().unwrap() {
        let Some(content) = message.get_mut("content") else {
            continue;
        };
        if let Some([only]) = content.as_array().map(Vec::as_slice)
            && only["type"] == "text"
        {
            *content = only["text"].clone();
        }
    }
    request
}

/// Goal: a request that is read and written is the same request, by [`canonical`].
#[test]
fn a_request_comes_round_the_same() {
    for ask in requests() {
        let read = request::read(ask.to_string().as_bytes()).unwrap();
        let mut notes = Notes::default();
        let again = request::write(&read, &Abilities::default(), &mut notes).unwrap();
        let again: Value = serde_json::from_slice(&again).unwrap();
        assert_eq!(canonical(again.clone()), canonical(ask), "{again}");
        assert!(notes.dropped().is_empty());
        let twice = request::read(again.to_string().as_bytes()).unwrap();
        assert_eq!(twice, read, "what is written reads as what was read");
    }
}
