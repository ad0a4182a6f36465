//! Streams of three dialects, written and read by the tests' own plain means: what a provider
//! says, and what a client understood of what it got.
//!
//! Source: the dialects' public references; Amazon's event stream encoding.

use super::http::events;
use super::rng::Rng;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tongue {
    Chat,
    Anthropic,
    Bedrock,
}

/// What an answer says: text, and perhaps a call with arguments, both in pieces.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) words: Vec<String>,
    pub(crate) call: Option<Vec<String>>,
}

impl Answer {
    /// A random one.
    pub(crate) fn random(rng: &Rng) -> Self {
        let of = [
            "a", "é", "\"", "\\", "\n", "data: ", "\r\n\r\n", "🦀", "</b>", "\u{7f}", "{", "]}",
        ];
        let word = |_| {
            let parts = 1 + rng.index(5);
            (0..parts).map(|_| rng.pick(&of)).collect::<String>()
        };
        let most = rng.pick(&[1, 6, 40]);
        let words = (0..=rng.index(most)).map(word).collect();
        let call = rng.chance(400).then(|| {
            let all = json!({"city": "Zürich", "n": [1, 2.5, null], "q": "\"}"}).to_string();
            let mut rest: &[char] = &all.chars().collect::<Vec<_>>();
            let mut pieces = Vec::new();
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(rng.cut(rest.len()));
                pieces.push(piece.iter().collect());
                rest = more;
            }
            pieces
        });
        Self { words, call }
    }
}

/// An answer as a provider writes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Played {
    pub(crate) body: Vec<u8>,
    /// Where each word's event ends.
    pub(crate) words_at: Vec<usize>,
    /// Where events begin that come before the end of the answer.
    pub(crate) starts: Vec<usize>,
    /// Where the event ends that says why the answer ended: from here on it may count as whole.
    pub(crate) finished_at: usize,
}

/// Writes events.
struct Pen(Tongue, Played);

impl Pen {
    fn put(&mut self, name: &str, data: &Value) {
        self.1.starts.push(self.1.body.len());
        let event = event(self.0, name, &data.to_string());
        self.1.body.extend_from_slice(&event);
    }

    /// A part of the answer's one choice.
    fn delta(&mut self, delta: &Value, finish: &Value) {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let data = json!({"id": "c", "object": "chat.completion.chunk", "created": 1,
                          "model": "up", "choices": [choice]});
        self.put("", &data);
    }

    /// An event of Anthropic's, whose type is its name.
    fn typed(&mut self, name: &str, mut data: Value) {
        data["type"] = name.into();
        self.put(name, &data);
    }

    fn word_ends(&mut self) {
        self.1.words_at.push(self.1.body.len());
    }

    fn finish_ends(&mut self) {
        self.1.finished_at = self.1.body.len();
    }
}

/// The bytes of one event.
pub(crate) fn event(tongue: Tongue, name: &str, data: &str) -> Vec<u8> {
    match tongue {
        Tongue::Chat => format!("data: {data}\n\n").into_bytes(),
        Tongue::Anthropic => format!("event: {name}\ndata: {data}\n\n").into_bytes(),
        Tongue::Bedrock => frame("event", name, data.as_bytes()),
    }
}

/// A frame of Amazon's event stream.
fn frame(sort: &str, name: &str, payload: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    let key = format!(":{sort}-type");
    for (key, value) in [(key.as_str(), name), (":message-type", sort)] {
        headers.push(u8::try_from(key.len()).unwrap());
        headers.extend_from_slice(key.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let total = u32::try_from(16 + headers.len() + payload.len()).unwrap();
    let mut all = total.to_be_bytes().to_vec();
    all.extend_from_slice(&u32::try_from(headers.len()).unwrap().to_be_bytes());
    all.extend_from_slice(&crc32fast::hash(&all).to_be_bytes());
    all.extend_from_slice(&headers);
    all.extend_from_slice(payload);
    let sum = crc32fast::hash(&all);
    all.extend_from_slice(&sum.to_be_bytes());
    all
}

/// How a provider says in the stream that it gives up, or nonsense.
pub(crate) fn broken(tongue: Tongue, is_error: bool) -> Vec<u8> {
    match (tongue, is_error) {
        (Tongue::Chat, true) => event(
            tongue,
            "",
            r#"{"error":{"message":"no","type":"server_error"}}"#,
        ),
        (Tongue::Anthropic, true) => event(
            tongue,
            "error",
            r#"{"type":"error","error":{"type":"overloaded_error","message":"no"}}"#,
        ),
        (Tongue::Bedrock, true) => {
            frame("exception", "throttlingException", br#"{"message":"no"}"#)
        }
        (Tongue::Chat, false) => event(tongue, "", "{\"choices\":["),
        (Tongue::Anthropic, false) => event(tongue, "content_block_delta", "{\"type\":"),
        (Tongue::Bedrock, false) => {
            let mut bytes = frame("event", "contentBlockDelta", b"{}");
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            bytes
        }
    }
}

/// What a provider of `tongue` writes to say `answer`, with 3 and 5 tokens.
pub(crate) fn play(tongue: Tongue, answer: &Answer) -> Played {
    let mut pen = Pen(tongue, Played::default());
    match tongue {
        Tongue::Chat => chat(&mut pen, answer),
        Tongue::Anthropic => anthropic(&mut pen, answer),
        Tongue::Bedrock => bedrock(&mut pen, answer),
    }
    let finished_at = pen.1.finished_at;
    pen.1.starts.retain(|start| *start < finished_at);
    pen.1
}

fn chat(pen: &mut Pen, answer: &Answer) {
    pen.delta(&json!({"role": "assistant", "content": ""}), &Value::Null);
    for word in &answer.words {
        pen.delta(&json!({"content": word}), &Value::Null);
        pen.word_ends();
    }
    if let Some(pieces) = &answer.call {
        let function = json!({"name": "f", "arguments": ""});
        let call = json!({"index": 0, "id": "t", "type": "function", "function": function});
        pen.delta(&json!({"tool_calls": [call]}), &Value::Null);
        for piece in pieces {
            let call = json!({"index": 0, "function": {"arguments": piece}});
            pen.delta(&json!({"tool_calls": [call]}), &Value::Null);
        }
    }
    let why = answer.call.as_ref().map_or("stop", |_| "tool_calls");
    pen.delta(&json!({}), &why.into());
    pen.finish_ends();
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8});
    let data = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "up",
                      "choices": [], "usage": usage});
    pen.put("", &data);
    pen.1.body.extend_from_slice(b"data: [DONE]\n\n");
}

fn anthropic(pen: &mut Pen, answer: &Answer) {
    let message = json!({"id": "m", "type": "message", "role": "assistant", "model": "up",
        "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 3, "output_tokens": 1}});
    pen.typed("message_start", json!({"message": message}));
    let block = json!({"type": "text", "text": ""});
    pen.typed(
        "content_block_start",
        json!({"index": 0, "content_block": block}),
    );
    pen.typed("ping", json!({}));
    for word in &answer.words {
        let delta = json!({"type": "text_delta", "text": word});
        pen.typed("content_block_delta", json!({"index": 0, "delta": delta}));
        pen.word_ends();
    }
    pen.typed("content_block_stop", json!({"index": 0}));
    if let Some(pieces) = &answer.call {
        let block = json!({"type": "tool_use", "id": "t", "name": "f", "input": {}});
        pen.typed(
            "content_block_start",
            json!({"index": 1, "content_block": block}),
        );
        for piece in pieces {
            let delta = json!({"type": "input_json_delta", "partial_json": piece});
            pen.typed("content_block_delta", json!({"index": 1, "delta": delta}));
        }
        pen.typed("content_block_stop", json!({"index": 1}));
    }
    let why = answer.call.as_ref().map_or("end_turn", |_| "tool_use");
    let delta = json!({"stop_reason": why, "stop_sequence": null});
    pen.typed(
        "message_delta",
        json!({"delta": delta, "usage": {"output_tokens": 5}}),
    );
    pen.finish_ends();
    pen.typed("message_stop", json!({}));
}

fn bedrock(pen: &mut Pen, answer: &Answer) {
    let at =
        |index: u32, name: &str, value: Value| json!({"contentBlockIndex": index, name: value});
    pen.put("messageStart", &json!({"role": "assistant"}));
    for word in &answer.words {
        pen.put("contentBlockDelta", &at(0, "delta", json!({"text": word})));
        pen.word_ends();
    }
    pen.put("contentBlockStop", &json!({"contentBlockIndex": 0}));
    if let Some(pieces) = &answer.call {
        let start = json!({"toolUse": {"toolUseId": "t", "name": "f"}});
        pen.put("contentBlockStart", &at(1, "start", start));
        for piece in pieces {
            let delta = json!({"toolUse": {"input": piece}});
            pen.put("contentBlockDelta", &at(1, "delta", delta));
        }
        pen.put("contentBlockStop", &json!({"contentBlockIndex": 1}));
    }
    let why = answer.call.as_ref().map_or("end_turn", |_| "tool_use");
    pen.put("messageStop", &json!({"stopReason": why}));
    pen.finish_ends();
    let usage = json!({"inputTokens": 3, "outputTokens": 5, "totalTokens": 8});
    pen.put(
        "metadata",
        &json!({"usage": usage, "metrics": {"latencyMs": 1}}),
    );
}

/// How a body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    Close,
}

/// A response with this body, and how many of its bytes bring so many of the body.
pub(crate) fn framed(
    rng: &Rng,
    tongue: Tongue,
    framing: Framing,
    body: &[u8],
) -> (Vec<u8>, Vec<usize>) {
    let media = match tongue {
        Tongue::Bedrock => "application/vnd.amazon.eventstream",
        _ => "text/event-stream; charset=utf-8",
    };
    let mut head = format!("HTTP/1.1 200 OK\r\nContent-Type: {media}\r\n");
    match framing {
        Framing::Length => write!(head, "Content-Length: {}\r\n\r\n", body.len()).unwrap(),
        Framing::Chunked => head += "Transfer-Encoding: chunked\r\n\r\n",
        Framing::Close => head += "Connection: close\r\n\r\n",
    }
    let (mut wire, mut at) = (head.into_bytes(), Vec::new());
    at.push(wire.len());
    let mut rest = body;
    while !rest.is_empty() {
        let most = rest.len().min(rng.pick(&[7, 200, 5000]));
        let (piece, more) = rest.split_at(rng.cut(most));
        rest = more;
        if framing == Framing::Chunked {
            wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        }
        at.extend((1..=piece.len()).map(|len| wire.len() + len));
        wire.extend_from_slice(piece);
        if framing == Framing::Chunked {
            wire.extend_from_slice(b"\r\n");
        }
    }
    if framing == Framing::Chunked {
        wire.extend_from_slice(b"0\r\n\r\n");
    }
    (wire, at)
}

/// What a client understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) text: String,
    pub(crate) calls: usize,
    pub(crate) arguments: String,
    /// The answer ended, and all that was opened is closed.
    pub(crate) is_complete: bool,
    /// The stream says that it broke.
    pub(crate) is_error: bool,
    /// Bytes behind the last whole event.
    pub(crate) rest: usize,
    read: usize,
    open: Option<u64>,
    blocks: u64,
    is_finished: bool,
    id: String,
}

/// Reads what a client of `front` has got of a stream's body.
pub(crate) fn hear(front: Tongue, body: &[u8]) -> Heard {
    let mut heard = Heard::default();
    heard.more(front, body);
    heard
}

impl Heard {
    /// Reads on: `body` is what there is so far.
    ///
    /// # Panics
    /// When it is not in order.
    pub(crate) fn more(&mut self, front: Tongue, body: &[u8]) {
        self.rest = 0;
        for event in events(&body[self.read..]) {
            let text = String::from_utf8_lossy(event);
            let Some(text) = text.strip_suffix("\n\n") else {
                self.rest = event.len();
                break;
            };
            self.read += event.len();
            assert!(
                !self.is_complete && !self.is_error,
                "behind the end: {text}"
            );
            match front {
                Tongue::Chat => hear_chat(self, text),
                _ => hear_anthropic(self, text),
            }
        }
    }
}

fn hear_chat(heard: &mut Heard, text: &str) {
    let data = text.strip_prefix("data: ").unwrap();
    if data == "[DONE]" {
        assert!(heard.is_finished, "[DONE] without a reason");
        heard.is_complete = true;
        return;
    }
    let data: Value = serde_json::from_str(data).unwrap();
    if data["error"].is_object() {
        heard.is_error = true;
        return;
    }
    let id = data["id"].as_str().unwrap();
    assert!(heard.id.is_empty() || heard.id == id, "one name: {data}");
    id.clone_into(&mut heard.id);
    let Some(choice) = data["choices"].get(0) else {
        return;
    };
    assert!(!heard.is_finished, "behind the reason: {data}");
    let delta = &choice["delta"];
    heard.text += delta["content"].as_str().unwrap_or_default();
    for call in delta["tool_calls"].as_array().into_iter().flatten() {
        assert_eq!(call["index"], 0);
        heard.calls += usize::from(call["id"].is_string());
        assert_eq!(heard.calls, 1, "a call has one beginning: {data}");
        heard.arguments += call["function"]["arguments"].as_str().unwrap_or_default();
    }
    heard.is_finished = choice["finish_reason"].is_string();
}

fn hear_anthropic(heard: &mut Heard, text: &str) {
    let (name, data) = text.split_once('\n').unwrap();
    let (name, data) = (name.strip_prefix("event: "), data.strip_prefix("data: "));
    let data: Value = serde_json::from_str(data.unwrap()).unwrap();
    let name = name.unwrap();
    assert_eq!(data["type"], name, "{text}");
    if name == "message_start" {
        assert!(heard.id.is_empty(), "two beginnings");
        data["message"]["id"]
            .as_str()
            .unwrap()
            .clone_into(&mut heard.id);
        return;
    }
    if name == "error" {
        heard.is_error = true;
        return;
    }
    assert!(!heard.id.is_empty(), "before the beginning: {text}");
    match name {
        "ping" => (),
        "content_block_start" => {
            assert!(heard.open.is_none() && !heard.is_finished, "{text}");
            assert_eq!(data["index"], heard.blocks, "{text}");
            heard.open = Some(heard.blocks);
            heard.blocks += 1;
            heard.calls += usize::from(data["content_block"]["type"] == "tool_use");
        }
        "content_block_delta" => {
            assert_eq!(data["index"].as_u64(), heard.open, "{text}");
            let delta = &data["delta"];
            heard.text += delta["text"].as_str().unwrap_or_default();
            heard.arguments += delta["partial_json"].as_str().unwrap_or_default();
        }
        "content_block_stop" => {
            assert_eq!(data["index"].as_u64(), heard.open.take(), "{text}");
        }
        "message_delta" => {
            assert!(heard.open.is_none() && !heard.is_finished, "{text}");
            heard.is_finished = data["delta"]["stop_reason"].is_string();
        }
        "message_stop" => {
            assert!(heard.is_finished, "an end without a reason");
            heard.is_complete = true;
        }
        other => panic!("what is {other}?"),
    }
}

/// Goal: the tests' own reader understands the tests' own writer, and sees no end before there
/// is one.
#[test]
fn what_is_played_is_heard() {
    for seed in 0..50 {
        let answer = Answer::random(&Rng::new(seed));
        for tongue in [Tongue::Chat, Tongue::Anthropic] {
            let played = play(tongue, &answer);
            for cut in [played.finished_at - 1, played.body.len()] {
                let heard = hear(tongue, &played.body[..cut]);
                assert_eq!(heard.text, answer.words.concat());
                assert_eq!(heard.is_complete, cut == played.body.len());
                let call = answer.call.as_ref().map(|pieces| pieces.concat());
                assert_eq!(heard.arguments, call.unwrap_or_default());
            }
        }
    }
}
