//! A plain answer.
//!
//! ```text
//!   {"id":"msg_…","type":"message","role":"assistant","model":…,"content":[…],
//!    "stop_reason":"end_turn","stop_sequence":null,"usage":{…}}
//! ```
//!
//! Source: protocols.md 6.2, mapping.md 6.3, 7 and 8.

use super::request::{block_of, input};
use super::seal;
use super::usage::{self, Counts};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{Answer, Block, Call, Dialect, Names, Opaque, Stop};
use crate::dialect::tree;
use crate::wire::json::cursor::Cursor;
use crate::wire::json::write::{put_inside, put_string};
use serde_json::{Map, Value};

/// Reads the body of an answer.
///
/// # Errors
/// [`Kind::UpstreamError`] when it is an error all the same, [`Kind::UpstreamGarbled`] when
/// it is no answer.
pub fn read(body: &[u8]) -> Result<Answer, Kind> {
    let Ok(Value::Object(top)) = serde_json::from_slice(body) else {
        return Err(Kind::UpstreamGarbled);
    };
    if tree::string(&top, "type") == Some("error") || tree::some(&top, "error").is_some() {
        return Err(Kind::UpstreamError);
    }
    let Some(Value::Array(content)) = top.get("content") else {
        return Err(Kind::UpstreamGarbled);
    };
    let mut blocks = Vec::with_capacity(content.len());
    for value in content {
        blocks.push(block_of(value).map_err(|_| Kind::UpstreamGarbled)?);
    }
    let has_call = blocks.iter().any(|block| matches!(block, Block::Call(_)));
    let stop = stop_of(tree::string(&top, "stop_reason").unwrap_or_default());
    blocks.extend(refusal(&top));
    let text = |key: &str| tree::string(&top, key).unwrap_or_default().to_owned();
    Ok(Answer {
        id: text("id"),
        model: text("model"),
        blocks,
        stop: with_calls(stop, has_call),
        sequence: tree::string(&top, "stop_sequence").map(str::to_owned),
        usage: top.get("usage").and_then(|usage| {
            let json = usage.to_string();
            let counts = Counts::read(json.as_bytes(), &mut Cursor::new(json.as_bytes(), 0));
            counts.ok()?.tokens()
        }),
        logprobs: None,
        origin: Some(Dialect::Anthropic),
    })
}

/// Why the model declined: a refused answer often holds nothing else.
fn refusal(top: &Map<String, Value>) -> Option<Block> {
    let details = top.get("stop_details")?.as_object()?;
    let why = tree::string(details, "explanation")?;
    (!why.is_empty()).then(|| Block::Refusal(why.to_owned()))
}

/// The meaning of a `stop_reason`.
pub(super) fn stop_of(reason: &str) -> Stop {
    match reason {
        "stop_sequence" => Stop::Sequence,
        "tool_use" => Stop::Tool,
        "max_tokens" => Stop::Length,
        "model_context_window_exceeded" => Stop::Context,
        "refusal" => Stop::Filtered,
        "pause_turn" => Stop::Pause,
        _ => Stop::End,
    }
}

/// `stop`, given what was called: the calls say that a tool is to be run, not the reason.
pub(super) const fn with_calls(stop: Stop, has_call: bool) -> Stop {
    match stop {
        Stop::End | Stop::Tool if has_call => Stop::Tool,
        Stop::Tool => Stop::End,
        stop => stop,
    }
}

/// The `stop_reason` for `stop`.
pub(super) const fn reason_of(stop: Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Malformed => "end_turn",
        Stop::Sequence => "stop_sequence",
        Stop::Tool => "tool_use",
        Stop::Length => "max_tokens",
        Stop::Context => "model_context_window_exceeded",
        Stop::Filtered => "refusal",
        Stop::Pause => "pause_turn",
    }
}

/// Appends the body of `answer`.
pub fn write(answer: &Answer, names: &Names<'_>, tx: &mut TxBuf) {
    tx.put(b"{\"id\":\"");
    put_id(tx, &answer.id, names);
    tx.put(b"\",\"type\":\"message\",\"role\":\"assistant\",\"model\":");
    put_string(tx, names.model);
    tx.put(b",\"content\":[");
    let said = answer.blocks.iter().filter(|block| is_said(block));
    for (index, block) in said.enumerate() {
        if index > 0 {
            tx.put(b",");
        }
        put_block(tx, block, answer.origin, names, index);
    }
    let has_call = answer
        .blocks
        .iter()
        .any(|block| matches!(block, Block::Call(_)));
    tx.put(b"],\"stop_reason\":\"");
    let stop = with_calls(answer.stop, has_call);
    tx.put(reason_of(stop).as_bytes());
    tx.put(b"\",\"stop_sequence\":");
    match &answer.sequence {
        Some(sequence) if stop == Stop::Sequence => put_string(tx, sequence),
        _ => tx.put(b"null"),
    }
    if stop == Stop::Filtered {
        tx.put(REFUSED);
    }
    tx.put(b",\"usage\":");
    usage::put(tx, &answer.usage.unwrap_or_default());
    tx.put(b"}");
}

/// What goes with a refusal; why is said in the text.
pub(super) const REFUSED: &[u8] =
    b",\"stop_details\":{\"type\":\"refusal\",\"category\":null,\"explanation\":null}";

/// The name of the answer, inside its quotes: the provider's, if it is one of this dialect.
pub(super) fn put_id(tx: &mut TxBuf, id: &str, names: &Names<'_>) {
    if id.starts_with("msg_") {
        put_inside(tx, id);
    } else {
        tx.put(b"msg_");
        tx.put(names.id.as_bytes());
    }
}

/// Whether this dialect has a place for `block` in an answer.
fn is_said(block: &Block) -> bool {
    match block {
        Block::Text { text, .. } | Block::Refusal(text) => !text.is_empty(),
        Block::Thinking { text, opaque } => !text.is_empty() || opaque.is_some(),
        Block::Call(_) => true,
        Block::Foreign { dialect, .. } => *dialect == Dialect::Anthropic,
        Block::Result(_) | Block::Media(_) => false,
    }
}

fn put_block(
    tx: &mut TxBuf,
    block: &Block,
    origin: Option<Dialect>,
    names: &Names<'_>,
    index: usize,
) {
    match block {
        Block::Text {
            text, citations, ..
        } => {
            tx.put(b"{\"type\":\"text\",\"text\":");
            put_string(tx, text);
            let own = citations
                .as_ref()
                .filter(|_| origin == Some(Dialect::Anthropic));
            if let Some(citations) = own {
                tx.put(b",\"citations\":");
                tx.put(citations.to_string().as_bytes());
            }
            tx.put(b"}");
        }
        Block::Refusal(text) => {
            tx.put(b"{\"type\":\"text\",\"text\":");
            put_string(tx, text);
            tx.put(b"}");
        }
        Block::Thinking { text, opaque } => put_thinking(tx, text, opaque.as_ref()),
        Block::Call(call) => put_call(tx, call, names, index),
        Block::Foreign { value, .. } => tx.put(value.to_string().as_bytes()),
        Block::Result(_) | Block::Media(_) => debug_assert!(false, "not said"),
    }
}

fn put_thinking(tx: &mut TxBuf, text: &str, opaque: Option<&Opaque>) {
    let own = opaque.filter(|opaque| opaque.dialect == Dialect::Anthropic);
    if let Some(redacted) = own.map(|own| &own.value).filter(|value| value.is_object()) {
        tx.put(redacted.to_string().as_bytes());
        return;
    }
    tx.put(b"{\"type\":\"thinking\",\"thinking\":");
    put_string(tx, text);
    tx.put(b",\"signature\":\"");
    match opaque {
        None => tx.put(seal::UNSIGNED.as_bytes()),
        Some(opaque) => match &opaque.value {
            Value::String(signature) if own.is_some() => put_inside(tx, signature),
            value => put_seal(tx, opaque.dialect, &value.to_string()),
        },
    }
    tx.put(b"\"}");
}

/// Appends what `dialect` wants to see again, the JSON text `json`, as the inside of a
/// signature.
pub(super) fn put_seal(tx: &mut TxBuf, dialect: Dialect, json: &str) {
    tx.put(seal::MARK.as_bytes());
    tx.put(dialect.name().as_bytes());
    tx.put(b":");
    put_inside(tx, json);
}

fn put_call(tx: &mut TxBuf, call: &Call, names: &Names<'_>, index: usize) {
    tx.put(b"{\"type\":\"tool_use\",\"id\":\"");
    if call.id.is_empty() {
        put_made_up_id(tx, names, index as u64);
    } else {
        put_inside(tx, &call.id);
    }
    tx.put(b"\",\"name\":");
    put_string(tx, &call.name);
    tx.put(b",\"input\":");
    tx.put(input(call).to_string().as_bytes());
    tx.put(b"}");
}

/// Appends a name for the call in block `index` whose provider gave none.
pub(super) fn put_made_up_id(tx: &mut TxBuf, names: &Names<'_>, index: u64) {
    tx.put(b"call_");
    tx.put(names.id.as_bytes());
    tx.put(b"_");
    tx.put_decimal(index);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;
    use crate::dialect::model::Tokens;
    use serde_json::json;

    const NAMES: Names<'_> = Names {
        id: "abc123",
        model: "fast",
        created: 0,
        wants_usage: false,
    };

    fn written(answer: &Answer) -> Value {
        let mut tx = TxBuf::new(&BufPool::new());
        write(answer, &NAMES, &mut tx);
        serde_json::from_slice(tx.unsent()).unwrap()
    }

    /// Goal: an answer of this dialect comes out as it went in: signatures, redacted thinking,
    /// citations, what the provider ran, arguments in their order.
    #[test]
    fn an_answer_comes_out_as_it_went_in() {
        let content = json!([
            {"type": "thinking", "thinking": "", "signature": "c2ln"},
            {"type": "redacted_thinking", "data": "ZGF0YQ=="},
            {"type": "text", "text": "Hi \"you\"", "citations": [{"type": "char_location"}]},
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"z": 1, "a": [2]}},
            {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
        ]);
        let body = json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
            "content": content, "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 4, "cache_creation_input_tokens": 7,
                      "cache_read_input_tokens": 9, "output_tokens": 50,
                      "output_tokens_details": {"thinking_tokens": 20}},
        });
        let answer = read(body.to_string().as_bytes()).unwrap();
        let tokens = answer.usage.unwrap();
        assert_eq!(
            (tokens.prompt(), tokens.output, tokens.thinking),
            (20, 30, 20)
        );
        let mut want = body;
        want["model"] = "fast".into();
        assert_eq!(written(&answer).to_string(), want.to_string());
    }

    /// Goal: what another dialect said has the shape of this one: an id, a signature, objects
    /// as arguments, the stop that the calls demand.
    #[test]
    fn what_another_dialect_said_has_the_shape_of_this_one() {
        let call = |id: &str, arguments: &str| {
            Block::Call(Call {
                id: id.into(),
                name: "f".into(),
                arguments: arguments.into(),
                is_custom: false,
                opaque: None,
            })
        };
        let answer = Answer {
            id: "chatcmpl-9".into(),
            blocks: vec![
                Block::Thinking {
                    text: "hm".into(),
                    opaque: None,
                },
                Block::text(""),
                call("", ""),
                call("call_b", "{\"a\":1"),
                Block::Foreign {
                    dialect: Dialect::Gemini,
                    value: json!({}),
                },
            ],
            origin: Some(Dialect::Chat),
            usage: Some(Tokens::default()),
            ..Answer::default()
        };
        let got = written(&answer);
        assert_eq!(got["id"], "msg_abc123");
        assert_eq!(got["stop_reason"], "tool_use");
        let content = json!([
            {"type": "thinking", "thinking": "hm", "signature": "sg1::"},
            {"type": "tool_use", "id": "call_abc123_1", "name": "f", "input": {}},
            {"type": "tool_use", "id": "call_b", "name": "f", "input": {"_raw": "{\"a\":1"}},
        ]);
        assert_eq!(got["content"], content);
    }

    /// Goal: what other providers want to see again survives the way to the client and back.
    #[test]
    fn foreign_thinking_survives_the_client() {
        let opaque = Opaque {
            dialect: Dialect::Responses,
            value: json!({"encrypted_content": "x\"y"}),
        };
        let block = Block::Thinking {
            text: "sum".into(),
            opaque: Some(opaque),
        };
        let answer = Answer {
            blocks: vec![block.clone()],
            ..Answer::default()
        };
        let got = written(&answer);
        assert_eq!(block_of(&got["content"][0]).unwrap(), block);
    }

    /// Goal: a refusal without content says why; an error inside a 200 is one; what is no
    /// answer is none.
    #[test]
    fn a_refusal_says_why_and_an_error_is_one() {
        let body = json!({
            "type": "message", "content": [], "stop_reason": "refusal",
            "stop_details": {"type": "refusal", "category": "cyber", "explanation": "No."},
        });
        let answer = read(body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.blocks, [Block::Refusal("No.".into())]);
        assert_eq!((answer.stop, answer.usage), (Stop::Filtered, None));
        let got = written(&answer);
        assert_eq!(got["content"][0]["text"], "No.");
        assert_eq!(got["stop_details"]["type"], "refusal");
        let error = br#"{"type":"error","error":{"type":"overloaded_error","message":"x"}}"#;
        assert_eq!(read(error), Err(Kind::UpstreamError));
        for garbled in [&b"<html>"[..], b"{}", b"[]", br#"{"content":[{}]}"#] {
            assert_eq!(read(garbled), Err(Kind::UpstreamGarbled));
        }
    }
}
