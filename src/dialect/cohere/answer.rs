//! Whole answers.
//!
//! ```text
//!   {"id":…,"message":{"role":"assistant","content":[thinking, text],"tool_plan":…,
//!    "tool_calls":[…],"citations":[…]},"finish_reason":"COMPLETE","usage":{…},"logprobs":[…]}
//! ```
//!
//! Invariants
//! - I1 The order of blocks is: thinking and text, the plan, the calls. Written the other way,
//!   the last text before the first call is the plan.
//! - I2 Arguments of a call are never empty and never `null`, which Cohere says for a tool
//!   without parameters: both are `{}`.
//!
//! Source: `cohere` 7.3.1, `V2ChatResponse`, `AssistantMessageResponse`; recordings.

use super::look;
use super::usage;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{Answer, Block, Call, Dialect, Names, Stop};
use crate::dialect::tree::{some, string};
use crate::wire::json::scan::BOM;
use crate::wire::json::write::put_string;
use serde_json::{Map, Value, json};

/// Why an answer ended, by Cohere's finish reason; `calls`: it calls tools.
pub(super) fn stop(finish: &[u8], calls: bool) -> Stop {
    match finish {
        b"MAX_TOKENS" => Stop::Length,
        b"ERROR_LIMIT" => Stop::Context,
        b"ERROR_TOXIC" => Stop::Filtered,
        _ if calls => Stop::Tool,
        b"STOP_SEQUENCE" => Stop::Sequence,
        _ => Stop::End,
    }
}

/// Cohere's finish reason. It has none of its own in v2 for an answer that a filter cut; v1's
/// says it without claiming that the answer is whole, and the SDK takes any.
pub(super) const fn finish(stop: Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Pause | Stop::Malformed => "COMPLETE",
        Stop::Sequence => "STOP_SEQUENCE",
        Stop::Tool => "TOOL_CALL",
        Stop::Length | Stop::Context => "MAX_TOKENS",
        Stop::Filtered => "ERROR_TOXIC",
    }
}

/// Whether a name has the form of Cohere's own: a UUID.
pub(super) fn is_own_id(id: &[u8]) -> bool {
    id.len() == 36
        && id.iter().enumerate().all(|(at, &b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Reads a plain answer.
///
/// # Errors
/// It is none ([`Kind::UpstreamGarbled`]), or an error inside a 200.
pub fn read(body: &[u8]) -> Result<Answer, Kind> {
    let facts = look::answer(body);
    let body = body.strip_prefix(BOM).unwrap_or(body);
    let value: Value = serde_json::from_slice(body).map_err(|_| Kind::UpstreamGarbled)?;
    if facts.has_error {
        return Err(Kind::UpstreamError);
    }
    let top = value.as_object().ok_or(Kind::UpstreamGarbled)?;
    let message = top.get("message").and_then(Value::as_object);
    let message = message.ok_or(Kind::UpstreamGarbled)?;
    let blocks = blocks(message);
    let calls = blocks.iter().any(|block| matches!(block, Block::Call(_)));
    let finish = string(top, "finish_reason").unwrap_or_default();
    Ok(Answer {
        id: string(top, "id").unwrap_or_default().to_owned(),
        model: string(top, "model").unwrap_or_default().to_owned(),
        stop: stop(finish.as_bytes(), calls),
        blocks,
        sequence: None,
        usage: facts.usage.map(usage::parts),
        logprobs: some(top, "logprobs").and_then(chat_logprobs),
        origin: Some(Dialect::Cohere),
    })
}

/// What an assistant's message says, in order (I1); leniently.
pub(super) fn blocks(message: &Map<String, Value>) -> Vec<Block> {
    let mut blocks = Vec::new();
    match message.get("content") {
        Some(Value::String(text)) if !text.is_empty() => blocks.push(Block::text(text)),
        Some(Value::Array(parts)) => {
            for part in parts.iter().filter_map(Value::as_object) {
                if let Some(text) = string(part, "thinking") {
                    let (text, opaque) = (text.to_owned(), None);
                    blocks.push(Block::Thinking { text, opaque });
                } else if let Some(text) = string(part, "text").filter(|text| !text.is_empty()) {
                    blocks.push(Block::text(text));
                }
            }
        }
        _ => {}
    }
    if let Some(plan) = string(message, "tool_plan").filter(|plan| !plan.is_empty()) {
        blocks.push(Block::text(plan));
    }
    cite(&mut blocks, message);
    let calls = message.get("tool_calls").and_then(Value::as_array);
    blocks.extend(
        calls
            .into_iter()
            .flatten()
            .filter_map(call)
            .map(Block::Call),
    );
    blocks
}

/// Gives the message's citations to the text that they are of: by `content_index`, else the
/// first.
fn cite(blocks: &mut [Block], message: &Map<String, Value>) {
    let list = message.get("citations").and_then(Value::as_array);
    let Some(first) = blocks.iter().position(|b| matches!(b, Block::Text { .. })) else {
        return;
    };
    for citation in list.into_iter().flatten() {
        let index = citation.get("content_index").and_then(Value::as_u64);
        let at = index.and_then(|index| usize::try_from(index).ok());
        let at = at
            .filter(|&at| matches!(blocks.get(at), Some(Block::Text { .. })))
            .unwrap_or(first);
        if let Some(Block::Text { citations, .. }) = blocks.get_mut(at)
            && let Value::Array(list) = citations.get_or_insert_with(|| json!([]))
        {
            list.push(citation.clone());
        }
    }
}

fn call(value: &Value) -> Option<Call> {
    let function = value.get("function")?.as_object()?;
    let arguments = match function.get("arguments") {
        Some(Value::String(text)) => text.clone(),
        Some(object @ Value::Object(_)) => object.to_string(),
        _ => String::new(),
    };
    Some(Call {
        id: string(value.as_object()?, "id")
            .unwrap_or_default()
            .to_owned(),
        name: string(function, "name").unwrap_or_default().to_owned(),
        arguments: match arguments.trim() {
            "" | "null" => "{}".to_owned(), // I2
            _ => arguments,
        },
        is_custom: false,
        opaque: None,
    })
}

/// Cohere's probabilities as Chat says them; a piece of several tokens has their sum.
fn chat_logprobs(list: &Value) -> Option<Value> {
    let content: Vec<Value> = list
        .as_array()?
        .iter()
        .map(|item| {
            let parts = item.get("logprobs").and_then(Value::as_array);
            let sum: f64 = parts.into_iter().flatten().filter_map(Value::as_f64).sum();
            let text = item.get("text").and_then(Value::as_str).unwrap_or_default();
            json!({"token": text, "logprob": sum, "bytes": text.as_bytes(), "top_logprobs": []})
        })
        .collect();
    Some(json!({"content": content, "refusal": null}))
}

/// Chat's probabilities as Cohere says them; the token's number is not known here.
fn own_logprobs(logprobs: &Value) -> Option<Value> {
    let items = logprobs.get("content")?.as_array()?.iter().map(|item| {
        json!({
            "text": item.get("token").and_then(Value::as_str).unwrap_or_default(),
            "token_ids": [],
            "logprobs": [item.get("logprob").and_then(Value::as_f64).unwrap_or(0.0)],
        })
    });
    Some(items.collect())
}

/// Appends a plain answer.
pub fn write(answer: &Answer, names: &Names<'_>, tx: &mut TxBuf) {
    tx.put(b"{\"id\":");
    let is_own = is_own_id(answer.id.as_bytes());
    put_string(tx, if is_own { &answer.id } else { names.id });
    tx.put(b",\"message\":");
    let keeps = answer.origin == Some(Dialect::Cohere);
    let mut message = message(&answer.blocks, keeps, true);
    if let Some(calls) = message.get_mut("tool_calls").and_then(Value::as_array_mut) {
        for (at, call) in calls.iter_mut().enumerate() {
            if call.get("id").and_then(Value::as_str) == Some("") {
                call["id"] = format!("call_{}_{at}", names.id).into();
            }
        }
    } else if !message.contains_key("content") {
        // Applications take `content[0].text` for granted where no tool is called.
        message.insert("content".into(), json!([{"type": "text", "text": ""}]));
    }
    tx.put(Value::Object(message).to_string().as_bytes());
    tx.put(b",\"finish_reason\":");
    put_string(tx, finish(answer.stop));
    if let Some(tokens) = &answer.usage {
        tx.put(b",\"usage\":");
        usage::put(tx, tokens);
    }
    if let Some(list) = answer.logprobs.as_ref().and_then(own_logprobs) {
        tx.put(b",\"logprobs\":");
        tx.put(list.to_string().as_bytes());
    }
    tx.put(b"}");
}

/// An assistant's message that says `blocks` (I1). `is_own`: their citations are Cohere's.
/// `thinks`: their thinking is told.
pub(super) fn message(blocks: &[Block], is_own: bool, thinks: bool) -> Map<String, Value> {
    let is_call = |block: &Block| matches!(block, Block::Call(_));
    let first_call = blocks.iter().position(is_call);
    let plan_at = first_call.and_then(|first| {
        let before = blocks.get(..first)?;
        before
            .iter()
            .rposition(|block| matches!(block, Block::Text { .. }))
    });
    let (mut content, mut calls, mut citations) = (Vec::new(), Vec::new(), Vec::new());
    let mut plan = None;
    for (at, block) in blocks.iter().enumerate() {
        match block {
            Block::Text {
                text,
                citations: cited,
                ..
            } => {
                if let Some(list) = cited.as_ref().and_then(Value::as_array).filter(|_| is_own) {
                    citations.extend(list.iter().cloned());
                }
                if plan_at == Some(at) {
                    plan = Some(text);
                } else if !text.is_empty() {
                    content.push(json!({"type": "text", "text": text}));
                }
            }
            Block::Refusal(text) => content.push(json!({"type": "text", "text": text})),
            Block::Thinking { text, .. } if thinks && !text.is_empty() => {
                content.push(json!({"type": "thinking", "thinking": text}));
            }
            Block::Call(call) => calls.push(said_call(call)),
            // What only another dialect understands; results and media are no part of this.
            Block::Thinking { .. } | Block::Foreign { .. } | Block::Result(_) | Block::Media(_) => {
            }
        }
    }
    let mut message = Map::new();
    message.insert("role".into(), "assistant".into());
    let mut put = |key: &str, list: Vec<Value>| {
        if !list.is_empty() {
            message.insert(key.into(), list.into());
        }
    };
    put("content", content);
    put("citations", citations);
    put("tool_calls", calls);
    if let Some(plan) = plan.filter(|plan| !plan.is_empty()) {
        message.insert("tool_plan".into(), plan.as_str().into());
    }
    message
}

fn said_call(call: &Call) -> Value {
    let arguments = if call.is_custom {
        json!({ "input": call.arguments }).to_string()
    } else if call.arguments.trim().is_empty() {
        "{}".to_owned()
    } else {
        call.arguments.clone()
    };
    json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": arguments},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;
    use crate::dialect::model::Tokens;

    const NAMES: Names<'_> = Names {
        id: "n1",
        model: "m",
        created: 0,
        wants_usage: false,
    };

    fn written(answer: &Answer) -> Value {
        let mut tx = TxBuf::new(&BufPool::new());
        write(answer, &NAMES, &mut tx);
        serde_json::from_slice(tx.unsent()).unwrap()
    }

    /// Goal: everything that an answer of Cohere says is read, and said again.
    #[test]
    fn an_answer_reads_and_is_written_again() {
        let body = json!({
            "id": "68475c80-574b-4c65-98a4-e81cebab5dce",
            "message": {"role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "T"}],
                "citations": [{"start": 0, "end": 1, "text": "T", "content_index": 1, "sources": []}],
                "tool_calls": [{"id": "a_1", "type": "function",
                    "function": {"name": "a", "arguments": "{\"z\":1,\"a\":2}"}}],
                "tool_plan": "I will."},
            "finish_reason": "TOOL_CALL",
            "usage": {"billed_units": {"input_tokens": 9, "output_tokens": 5},
                "tokens": {"input_tokens": 9, "output_tokens": 5}, "cached_tokens": 4},
            "logprobs": [{"text": "T", "token_ids": [], "logprobs": [-0.5]}],
        });
        let answer = read(body.to_string().as_bytes()).unwrap();
        assert_eq!(answer.stop, Stop::Tool);
        assert_eq!(
            answer.usage,
            Some(Tokens {
                fresh: 5,
                read: 4,
                output: 5,
                ..Tokens::default()
            })
        );
        assert_eq!(written(&answer), body);
    }

    /// Goal: I2, and what stands for an answer but is none.
    #[test]
    fn odd_answers_are_read_or_refused() {
        let null = br#"{"message":{"tool_calls":[{"id":"x","function":{"name":"f","arguments":"null"}}]},"finish_reason":"COMPLETE"}"#;
        let answer = read(null).unwrap();
        assert!(matches!(&answer.blocks[..], [Block::Call(c)] if c.arguments == "{}"));
        assert_eq!(
            answer.stop,
            Stop::Tool,
            "a call was made, whatever the reason says"
        );
        for (body, want) in [
            ("<html>", Kind::UpstreamGarbled),
            ("[]", Kind::UpstreamGarbled),
            ("{}", Kind::UpstreamGarbled),
            (r#"{"message":"no"}"#, Kind::UpstreamError),
            (
                r#"{"message":{"content":[]},"finish_reason":"ERROR"}"#,
                Kind::UpstreamError,
            ),
        ] {
            assert_eq!(read(body.as_bytes()).unwrap_err(), want, "{body}");
        }
    }

    /// Goal: what other dialects say has a place: refusals, foreign ids, calls without ids,
    /// custom tools, nothing at all.
    #[test]
    fn answers_of_others_have_a_place() {
        let call = |id: &str, is_custom| {
            Block::Call(Call {
                id: id.into(),
                name: "f".into(),
                arguments: if is_custom { "a\"b" } else { "" }.into(),
                is_custom,
                opaque: None,
            })
        };
        let answer = Answer {
            id: "chatcmpl-1".into(),
            blocks: vec![
                Block::Refusal("no".into()),
                call("", false),
                call("c", true),
            ],
            stop: Stop::Tool,
            ..Answer::default()
        };
        let out = written(&answer);
        assert_eq!(out["id"], "n1");
        assert_eq!(out["message"]["content"][0]["text"], "no");
        let calls = &out["message"]["tool_calls"];
        assert_eq!(calls[0]["id"], "call_n1_0");
        assert_eq!(calls[0]["function"]["arguments"], "{}");
        assert_eq!(calls[1]["function"]["arguments"], r#"{"input":"a\"b"}"#);
        let empty = written(&Answer {
            stop: Stop::Filtered,
            ..Answer::default()
        });
        assert_eq!(empty["message"]["content"][0]["text"], "");
        assert_eq!(empty["finish_reason"], "ERROR_TOXIC");
    }
}
