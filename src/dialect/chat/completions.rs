//! `/v1/completions`, in front of providers that only chat.
//!
//! ```text
//!   {"prompt":"Once upon"}  ─►  one turn of the user
//!   {"choices":[{"text":"a time","index":0,"finish_reason":"stop"}]}  ◄─  its text
//! ```
//!
//! What a chat cannot do (go on from tokens, several prompts or answers, `suffix`, `echo`) is an
//! extra that no target fits. The request has no dialect of origin: its extras go to nobody.
//!
//! Source: OpenAI API reference, "Create completion".

use super::request::parts::stops;
use super::stream::writer::put_id;
use super::{error, stop, usage};
use crate::base::bytes::TxBuf;
use crate::dialect::model::{
    Answer, BadAsk, Block, Extra, Names, Open, Request, Role, Step, Stop, Text, Tokens, Turn,
    Weight,
};
use crate::dialect::tree::{Path, some};
use crate::wire::json::write::{put_inside, put_string};
use serde_json::{Map, Value};

/// What the names of answers begin with.
const ID_PREFIX: &str = "cmpl-";

/// The limit where the client sets none, by the reference.
const MAX_TOKENS: u64 = 16;

/// Reads the body of a request.
///
/// # Errors
/// It breaks the dialect; the path says where.
pub fn read(body: &[u8]) -> Result<Request, BadAsk> {
    let bad = |wanted| BadAsk {
        field: "body".to_owned(),
        wanted,
    };
    let value: Value = serde_json::from_slice(body).map_err(|_| bad("must be JSON in UTF-8"))?;
    let object = value.as_object().ok_or_else(|| bad("must be an object"))?;
    let mut request = Request {
        max_tokens: Some(MAX_TOKENS),
        ..Request::default()
    };
    let top = Path::TOP;
    let path = top.key("model");
    let model = object.get("model").unwrap_or(&Value::Null);
    path.string(model)?.clone_into(&mut request.model);
    prompt(object, &mut request)?;
    for (key, value) in object {
        if !value.is_null() {
            field(key, value, &mut request)?;
        }
    }
    Ok(request)
}

fn prompt(object: &Map<String, Value>, request: &mut Request) -> Result<(), BadAsk> {
    let top = Path::TOP;
    let path = top.key("prompt");
    let prompt = some(object, "prompt")
        .ok_or_else(|| path.bad("must be a string or an array of strings or tokens"))?;
    let text = match prompt {
        Value::String(text) => Some(text),
        Value::Array(items) => match items.as_slice() {
            [] => return Err(path.bad("must not be empty")),
            [Value::String(text)] => Some(text),
            _ => None,
        },
        _ => return Err(path.bad("must be a string or an array of strings or tokens")),
    };
    match text {
        Some(text) => request.turns.push(Turn {
            role: Role::User,
            name: None,
            blocks: vec![Block::text(text)],
        }),
        None => extra("prompt", prompt, Weight::Meaning, request),
    }
    Ok(())
}

fn extra(key: &str, value: &Value, weight: Weight, request: &mut Request) {
    request.extras.push(Extra {
        field: key.to_owned(),
        value: value.clone(),
        weight,
    });
}

fn field(key: &str, value: &Value, request: &mut Request) -> Result<(), BadAsk> {
    let top = Path::TOP;
    let path = top.key(key);
    let sampling = &mut request.sampling;
    match key {
        "model" | "prompt" | "fallbacks" | "cache" => {} // the last two are the gateway's
        "max_tokens" => request.max_tokens = Some(path.whole(value)?),
        "temperature" => sampling.temperature = Some(path.number(value)?),
        "top_p" => sampling.top_p = Some(path.number(value)?),
        "frequency_penalty" => sampling.frequency_penalty = Some(path.number(value)?),
        "presence_penalty" => sampling.presence_penalty = Some(path.number(value)?),
        "seed" => {
            let seed = value.as_i64();
            sampling.seed = Some(seed.ok_or_else(|| path.bad("must be a whole number"))?);
        }
        "stop" => sampling.stop = stops(&path, value)?,
        "stream" => request.stream = path.flag(value)?,
        "stream_options" => {
            if let Some(wish) = some(path.object(value)?, "include_usage") {
                request.wants_usage = path.key("include_usage").flag(wish)?;
            }
        }
        "user" => request.user = Some(path.string(value)?.to_owned()),
        // One is what there is; more has no place in a chat.
        "n" | "best_of" => {
            if path.whole(value)? != 1 {
                extra(key, value, Weight::Meaning, request);
            }
        }
        "echo" => {
            if path.flag(value)? {
                extra(key, value, Weight::Meaning, request);
            }
        }
        "suffix" if value == "" => {}
        "suffix" | "logprobs" => extra(key, value, Weight::Meaning, request),
        // Tokens of a vocabulary that the target need not have.
        _ => extra(key, value, Weight::Tuning, request),
    }
    Ok(())
}

/// The text that a block is here.
fn text_of(block: &Block) -> Option<&str> {
    match block {
        Block::Text { text, .. } | Block::Refusal(text) => Some(text),
        _ => None,
    }
}

/// Appends an answer.
pub fn write(answer: &Answer, names: &Names<'_>, tx: &mut TxBuf) {
    tx.put(b"{");
    put_head(tx, Text::Plain(&answer.id), names);
    tx.put(b"{\"text\":\"");
    for text in answer.blocks.iter().filter_map(text_of) {
        put_inside(tx, text);
    }
    tx.put(b"\",\"index\":0,\"logprobs\":null,\"finish_reason\":\"");
    tx.put(stop::word(answer.stop, false).as_bytes());
    tx.put(b"\"}]");
    if let Some(tokens) = &answer.usage {
        tx.put(b",\"usage\":");
        usage::put(tx, tokens);
    }
    tx.put(b"}");
}

fn put_head(tx: &mut TxBuf, id: Text<'_>, names: &Names<'_>) {
    tx.put(b"\"id\":\"");
    put_id(tx, ID_PREFIX, id, names);
    tx.put(b"\",\"object\":\"text_completion\",\"created\":");
    tx.put_decimal(names.created);
    tx.put(b",\"model\":");
    put_string(tx, names.model);
    tx.put(b",\"choices\":[");
}

/// Writes a stream. No allocation per step, but for the one that begins.
#[derive(Debug, Default)]
pub struct Writer {
    /// The beginning of every event, up to its choices; empty before the first.
    head: Vec<u8>,
    /// The block that is open is text here.
    is_text: bool,
    has_finish: bool,
    usage: Option<Tokens>,
}

impl Writer {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends what `step` is here.
    pub fn write(&mut self, step: &Step<'_>, names: &Names<'_>, tx: &mut TxBuf) {
        if self.head.is_empty() {
            let id = match step {
                Step::Begin { id, .. } => *id,
                _ => Text::EMPTY,
            };
            let mut head = TxBuf::new(tx.pool());
            head.put(b"data: {");
            put_head(&mut head, id, names);
            self.head = head.unsent().to_vec();
        }
        match step {
            Step::Open(open) => self.is_text = matches!(open, Open::Text | Open::Refusal),
            Step::Text(text) if self.is_text && !text.is_empty() => {
                self.event(*text, None, names, tx);
            }
            Step::Close => self.is_text = false,
            Step::Usage(tokens) => self.usage = Some(*tokens),
            Step::Stop(why, _) => self.finish(*why, names, tx),
            Step::Error(refused) => error::put_event(tx, &error::told(refused)),
            Step::End => self.end(names, tx),
            Step::Begin { .. } | Step::Text(_) | Step::Opaque(..) | Step::Citation(..) => {}
        }
    }

    fn event(&self, text: Text<'_>, stop: Option<Stop>, names: &Names<'_>, tx: &mut TxBuf) {
        tx.put(&self.head);
        tx.put(b"{\"text\":\"");
        text.put_inside(tx);
        tx.put(b"\",\"index\":0,\"logprobs\":null,\"finish_reason\":");
        match stop {
            Some(stop) => put_string(tx, stop::word(stop, false)),
            None => tx.put(b"null"),
        }
        tx.put(if names.wants_usage {
            b"}],\"usage\":null}\n\n"
        } else {
            b"}]}\n\n"
        });
    }

    fn finish(&mut self, stop: Stop, names: &Names<'_>, tx: &mut TxBuf) {
        if !self.has_finish {
            self.has_finish = true;
            self.event(Text::EMPTY, Some(stop), names, tx);
        }
    }

    fn end(&mut self, names: &Names<'_>, tx: &mut TxBuf) {
        self.finish(Stop::End, names, tx);
        if names.wants_usage
            && let Some(tokens) = &self.usage
        {
            tx.put(&self.head);
            tx.put(b"],\"usage\":");
            usage::put(tx, tokens);
            tx.put(b"}\n\n");
        }
        tx.put(b"data: [DONE]\n\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;
    use serde_json::json;

    const NAMES: Names<'_> = Names {
        id: "abc",
        model: "m",
        created: 7,
        wants_usage: true,
    };

    fn read_value(body: &Value) -> Result<Request, BadAsk> {
        read(body.to_string().as_bytes())
    }

    /// Goal: a prompt is one turn of the user, with the limit that the reference names.
    #[test]
    fn a_prompt_is_one_turn() {
        for prompt in [json!("Once"), json!(["Once"])] {
            let request = read_value(&json!({"model": "m", "prompt": prompt, "stop": "\n",
                "best_of": 1, "echo": false, "suffix": null}))
            .unwrap();
            assert_eq!(request.turns.len(), 1);
            assert_eq!(request.turns[0].blocks, [Block::text("Once")]);
            assert_eq!(request.max_tokens, Some(16));
            assert_eq!(request.sampling.stop, ["\n"]);
            assert_eq!(request.extras, []);
            assert_eq!(request.origin, None);
        }
    }

    /// Goal: what a chat cannot do is kept as what no target fits.
    #[test]
    fn what_a_chat_cannot_do_fits_no_target() {
        for (field, value) in [
            ("prompt", json!(["a", "b"])),
            ("prompt", json!([1, 2, 3])),
            ("suffix", json!("end")),
            ("echo", json!(true)),
            ("best_of", json!(2)),
            ("n", json!(2)),
            ("logprobs", json!(3)),
        ] {
            let mut body = json!({"model": "m", "prompt": "x"});
            body[field] = value;
            let request = read_value(&body).unwrap();
            assert_eq!(request.extras.len(), 1, "{body}");
            assert_eq!(request.extras[0].field, field);
            assert_eq!(request.extras[0].weight, Weight::Meaning);
        }
        for (body, field) in [
            (json!({"model": "m"}), "prompt"),
            (json!({"model": "m", "prompt": []}), "prompt"),
            (json!({"prompt": "x"}), "model"),
            (
                json!({"model": "m", "prompt": "x", "max_tokens": -1}),
                "max_tokens",
            ),
        ] {
            assert_eq!(read_value(&body).unwrap_err().field, field);
        }
    }

    /// Goal: only text is told, in the form of `text_completion`, plain and streamed alike.
    #[test]
    fn only_text_is_told() {
        let mut tx = TxBuf::new(&BufPool::new());
        let answer = Answer {
            blocks: vec![
                Block::Thinking {
                    text: "hm".to_owned(),
                    opaque: None,
                },
                Block::text("a\n"),
                Block::text("b"),
            ],
            stop: Stop::Length,
            usage: Some(Tokens::default()),
            ..Answer::default()
        };
        write(&answer, &NAMES, &mut tx);
        let body: Value = serde_json::from_slice(tx.unsent()).unwrap();
        assert_eq!(body["object"], "text_completion");
        assert_eq!(body["id"], "cmpl-abc");
        assert_eq!(body["choices"][0]["text"], "a\nb");
        assert_eq!(body["choices"][0]["finish_reason"], "length");
        tx.clear();
        let mut writer = Writer::new();
        for step in [
            Step::Open(Open::Thinking),
            Step::Text(Text::Plain("hm")),
            Step::Close,
            Step::Open(Open::Text),
            Step::Text(Text::Escaped(br"a\n")),
            Step::Text(Text::Plain("b")),
            Step::Close,
            Step::Usage(Tokens::default()),
            Step::Stop(Stop::Length, Text::EMPTY),
            Step::End,
        ] {
            writer.write(&step, &NAMES, &mut tx);
        }
        let out = String::from_utf8(tx.unsent().to_vec()).unwrap();
        let events: Vec<&str> = out
            .split_terminator("\n\n")
            .map(|event| event.strip_prefix("data: ").unwrap())
            .collect();
        assert_eq!(events.last(), Some(&"[DONE]"));
        let events: Vec<Value> = events[..events.len() - 1]
            .iter()
            .map(|event| serde_json::from_str(event).unwrap())
            .collect();
        let text: String = events
            .iter()
            .filter_map(|event| event["choices"][0]["text"].as_str())
            .collect();
        assert_eq!(text, "a\nb");
        assert_eq!(events[2]["choices"][0]["finish_reason"], "length");
        assert!(events[3]["usage"].is_object());
    }
}
