//! A whole answer: `chat.completion`.
//!
//! Read from any engine that speaks Chat; written as `OpenAI` itself writes it, with
//! `reasoning_content` for what the model thought.
//!
//! Invariants
//! - I1 Only the choice of index 0 counts.
//! - I2 `content` is null only beside calls or a refusal.
//!
//! Source: OpenAI API reference, `chat.completion`; `DeepSeek`, vLLM (`reasoning_content`),
//! `OpenRouter` (`reasoning`, `reasoning_details`), Mistral (content in parts); protocols.md,
//! 2.2, 9, 11.

use super::kept::{Stretch, chars, put_detail, put_extra};
use super::request::parts::message_blocks;
use super::stop::{self, Finish, Shown, finish, judge};
use super::stream::writer::{put_call_id, put_id};
use super::{ID_PREFIX, usage};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{Answer, Block, Call, Dialect, Names, Text};
use crate::dialect::tree::{some, string};
use crate::wire::json::write::{put_inside, put_string};
use serde_json::{Map, Value};

/// Reads an answer.
///
/// # Errors
/// [`Kind::UpstreamGarbled`]: it is none. [`Kind::UpstreamError`]: it is an error.
pub fn read(body: &[u8]) -> Result<Answer, Kind> {
    let value: Value = serde_json::from_slice(body).map_err(|_| Kind::UpstreamGarbled)?;
    let top = value.as_object().ok_or(Kind::UpstreamGarbled)?;
    if is_trouble(top) || string(top, "object") == Some("error") {
        return Err(Kind::UpstreamError);
    }
    let choices = top.get("choices").and_then(Value::as_array);
    let choice = choices
        .and_then(|choices| choices.iter().find_map(first))
        .ok_or(Kind::UpstreamGarbled)?;
    if is_trouble(choice) {
        return Err(Kind::UpstreamError);
    }
    let blocks = match choice.get("message").and_then(Value::as_object) {
        Some(message) => message_blocks(message),
        None => Vec::new(), // Azure: all of it was filtered
    };
    let said = match string(choice, "finish_reason").filter(|word| !word.is_empty()) {
        Some(word) => match finish(word.as_bytes()) {
            Finish::Stop(stop) => Some(stop),
            Finish::Failed(_) => return Err(Kind::UpstreamError),
        },
        None => None,
    };
    let sequence = ["stop_reason", "matched_stop"]
        .iter()
        .find_map(|key| string(choice, key).filter(|text| !text.is_empty()));
    let stop = judge(
        said,
        Shown {
            has_calls: blocks.iter().any(|block| matches!(block, Block::Call(_))),
            has_refusal: blocks
                .iter()
                .any(|block| matches!(block, Block::Refusal(_))),
            has_sequence: sequence.is_some(),
        },
    );
    let is_at_sequence = stop == crate::dialect::model::Stop::Sequence;
    Ok(Answer {
        id: string(top, "id").unwrap_or_default().to_owned(),
        model: string(top, "model").unwrap_or_default().to_owned(),
        blocks,
        stop,
        sequence: sequence.filter(|_| is_at_sequence).map(str::to_owned),
        usage: usage::find(body),
        logprobs: some(choice, "logprobs").cloned(),
        origin: Some(Dialect::Chat),
    })
}

/// The choice, if it is the first one (I1).
fn first(choice: &Value) -> Option<&Map<String, Value>> {
    let choice = choice.as_object()?;
    let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
    (index == 0).then_some(choice)
}

/// Whether there is an error that says something.
fn is_trouble(object: &Map<String, Value>) -> bool {
    match object.get("error") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Object(error)) => !error.is_empty(),
        Some(Value::String(error)) => !error.is_empty(),
        Some(_) => true,
    }
}

/// Appends an answer.
pub fn write(answer: &Answer, names: &Names<'_>, tx: &mut TxBuf) {
    tx.put(b"{\"id\":\"");
    put_id(tx, ID_PREFIX, Text::Plain(&answer.id), names);
    tx.put(b"\",\"object\":\"chat.completion\",\"created\":");
    tx.put_decimal(names.created);
    tx.put(b",\"model\":");
    put_string(tx, names.model);
    tx.put(b",\"choices\":[{\"index\":0,\"message\":");
    put_message(tx, &answer.blocks, names);
    tx.put(b",\"logprobs\":");
    match &answer.logprobs {
        Some(logprobs) => tx.put(logprobs.to_string().as_bytes()),
        None => tx.put(b"null"),
    }
    let has_calls = answer.blocks.iter().any(|b| matches!(b, Block::Call(_)));
    tx.put(b",\"finish_reason\":\"");
    tx.put(stop::word(answer.stop, has_calls).as_bytes());
    tx.put(b"\"}]");
    if let Some(tokens) = &answer.usage {
        tx.put(b",\"usage\":");
        usage::put(tx, tokens);
    }
    tx.put(b"}");
}

fn put_message(tx: &mut TxBuf, blocks: &[Block], names: &Names<'_>) {
    let text = |block: &Block| match block {
        Block::Text { text, .. } => Some(text.clone()),
        _ => None,
    };
    let refusal = |block: &Block| match block {
        Block::Refusal(text) => Some(text.clone()),
        _ => None,
    };
    let thinking = |block: &Block| match block {
        Block::Thinking { text, .. } => Some(text.clone()),
        _ => None,
    };
    let is_instead = |block: &Block| matches!(block, Block::Call(_) | Block::Refusal(_));
    let has_text = blocks.iter().any(|b| matches!(b, Block::Text { .. }));
    tx.put(b"{\"role\":\"assistant\",\"content\":");
    if has_text || !blocks.iter().any(is_instead) {
        put_joined(tx, blocks, text);
    } else {
        tx.put(b"null"); // I2
    }
    tx.put(b",\"refusal\":");
    if blocks.iter().any(|b| matches!(b, Block::Refusal(_))) {
        put_joined(tx, blocks, refusal);
    } else {
        tx.put(b"null");
    }
    if blocks
        .iter()
        .any(|b| matches!(b, Block::Thinking { text, .. } if !text.is_empty()))
    {
        tx.put(b",\"reasoning_content\":");
        put_joined(tx, blocks, thinking);
    }
    put_details(tx, blocks);
    put_list(tx, "annotations", blocks.iter().filter_map(citations));
    put_calls(tx, blocks, names);
    for block in blocks {
        if let Block::Foreign {
            dialect: Dialect::Chat,
            value: Value::Object(members),
        } = block
            && !members.contains_key("part")
        {
            for (key, value) in members {
                put_member(tx, key, value);
            }
        }
    }
    tx.put(b"}");
}

fn put_joined(tx: &mut TxBuf, blocks: &[Block], of: impl Fn(&Block) -> Option<String>) {
    tx.put(b"\"");
    for text in blocks.iter().filter_map(of) {
        put_inside(tx, &text);
    }
    tx.put(b"\"");
}

fn put_member(tx: &mut TxBuf, key: &str, value: &Value) {
    tx.put(b",");
    put_string(tx, key);
    tx.put(b":");
    tx.put(value.to_string().as_bytes());
}

/// The member `key` with the items of all `lists` in one, if there are any.
fn put_list<'v>(tx: &mut TxBuf, key: &str, lists: impl Iterator<Item = &'v Value>) {
    let mut all = Vec::new();
    for list in lists {
        match list {
            Value::Array(items) => all.extend(items.iter().cloned()),
            item => all.push(item.clone()),
        }
    }
    if !all.is_empty() {
        put_member(tx, key, &Value::Array(all));
    }
}

/// What providers want to see again with their thinking: Chat's own, or else.
fn put_details(tx: &mut TxBuf, blocks: &[Block]) {
    put_list(tx, "reasoning_details", blocks.iter().filter_map(opaque));
    if blocks.iter().any(|block| opaque(block).is_some()) {
        return;
    }
    let (mut index, mut stretch) = (0, Stretch::default());
    for block in blocks {
        let Block::Thinking { text, opaque } = block else {
            continue;
        };
        stretch.chars = chars(Text::Plain(text));
        if let Some(opaque) = opaque
            && opaque.dialect != Dialect::Chat
        {
            tx.put(if index == 0 {
                b",\"reasoning_details\":["
            } else {
                b","
            });
            let raw = opaque.value.to_string();
            put_detail(tx, opaque.dialect, raw.as_bytes(), index, stretch);
            index += 1;
        }
        stretch.start += stretch.chars;
    }
    if index > 0 {
        tx.put(b"]");
    }
}

/// What Chat's own provider wants to see again with its thinking.
fn opaque(block: &Block) -> Option<&Value> {
    let Block::Thinking {
        opaque: Some(opaque),
        ..
    } = block
    else {
        return None;
    };
    let value = &opaque.value;
    let is_details = value.is_array() || (value.is_object() && value.get("part").is_none());
    (opaque.dialect == Dialect::Chat && is_details).then_some(value)
}

/// Citations that Chat can say: its own, of URLs.
fn citations(block: &Block) -> Option<&Value> {
    match block {
        Block::Text { citations, .. } => citations.as_ref().filter(|list| is_annotations(list)),
        _ => None,
    }
}

fn is_annotations(list: &Value) -> bool {
    let is_one = |item: &Value| item.get("type").is_some_and(|kind| kind == "url_citation");
    let items = list.as_array();
    items.is_some_and(|items| !items.is_empty() && items.iter().all(is_one))
}

fn put_calls(tx: &mut TxBuf, blocks: &[Block], names: &Names<'_>) {
    let mut index = 0;
    for block in blocks {
        if let Block::Call(call) = block {
            tx.put(if index == 0 {
                b",\"tool_calls\":[{\"id\":\""
            } else {
                b",{\"id\":\""
            });
            put_call_id(tx, Text::Plain(&call.id), names, index);
            put_call(tx, call);
            index += 1;
        }
    }
    if index > 0 {
        tx.put(b"]");
    }
}

fn put_call(tx: &mut TxBuf, call: &Call) {
    if call.is_custom {
        tx.put(b"\",\"type\":\"custom\",\"custom\":{\"name\":");
        put_string(tx, &call.name);
        tx.put(b",\"input\":");
        put_string(tx, &call.arguments);
    } else {
        tx.put(b"\",\"type\":\"function\",\"function\":{\"name\":");
        put_string(tx, &call.name);
        tx.put(b",\"arguments\":");
        let is_empty = call.arguments.trim().is_empty();
        put_string(tx, if is_empty { "{}" } else { &call.arguments });
    }
    tx.put(b"}");
    if let Some(opaque) = &call.opaque {
        tx.put(b",\"extra_content\":");
        put_extra(tx, opaque.dialect, opaque.value.to_string().as_bytes());
    }
    tx.put(b"}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;
    use crate::dialect::model::{Stop, Tokens};
    use serde_json::json;

    const NAMES: Names<'_> = Names {
        id: "abc",
        model: "fast \"model\"",
        created: 7,
        wants_usage: false,
    };

    fn written(answer: &Answer) -> Value {
        let mut tx = TxBuf::new(&BufPool::new());
        write(answer, &NAMES, &mut tx);
        serde_json::from_slice(tx.unsent()).unwrap()
    }

    fn read_value(body: &Value) -> Result<Answer, Kind> {
        read(body.to_string().as_bytes())
    }

    /// Goal: everything that an answer can say is written as OpenAI writes it and read as it
    /// was.
    #[test]
    fn an_answer_reads_back() {
        let answer = Answer {
            id: "chatcmpl-1".to_owned(),
            model: "fast \"model\"".to_owned(),
            blocks: vec![
                Block::Thinking {
                    text: "hm \u{1F600}".to_owned(),
                    opaque: None,
                },
                Block::text("line\n\"quoted\""),
                Block::Call(Call {
                    id: "call_1".to_owned(),
                    name: "f".to_owned(),
                    arguments: "{\"b\":1,\"a\":2}".to_owned(),
                    is_custom: false,
                    opaque: None,
                }),
                Block::Call(Call {
                    id: "call_2".to_owned(),
                    name: "g".to_owned(),
                    arguments: "plain".to_owned(),
                    is_custom: true,
                    opaque: None,
                }),
            ],
            stop: Stop::Tool,
            sequence: None,
            usage: Some(Tokens {
                fresh: 3,
                output: 4,
                ..Tokens::default()
            }),
            logprobs: None,
            origin: Some(Dialect::Chat),
        };
        let body = written(&answer);
        assert_eq!(body["object"], "chat.completion");
        assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(read_value(&body).unwrap(), answer);
    }

    /// Goal: what has no id, no arguments, no text gets what clients need.
    #[test]
    fn what_is_missing_is_made_up() {
        let call = |arguments: &str| {
            Block::Call(Call {
                id: String::new(),
                name: "f".to_owned(),
                arguments: arguments.to_owned(),
                is_custom: false,
                opaque: None,
            })
        };
        let body = written(&Answer {
            blocks: vec![call(""), call("{}")],
            ..Answer::default()
        });
        assert_eq!(body["id"], "chatcmpl-abc");
        let message = &body["choices"][0]["message"];
        assert_eq!(message["content"], Value::Null);
        assert_eq!(message["tool_calls"][0]["function"]["arguments"], "{}");
        assert_eq!(message["tool_calls"][0]["id"], "call_abc_0");
        assert_eq!(message["tool_calls"][1]["id"], "call_abc_1");
        assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(body.get("usage"), None);
        let empty = written(&Answer::default());
        assert_eq!(empty["choices"][0]["message"]["content"], "");
        assert_eq!(empty["choices"][0]["finish_reason"], "stop");
    }

    /// Goal: a refusal is one, in the words of the client's dialect.
    #[test]
    fn a_refusal_is_one() {
        let answer = read_value(&json!({"choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": null, "refusal": "I cannot."}}]}))
        .unwrap();
        assert_eq!(answer.blocks, [Block::Refusal("I cannot.".to_owned())]);
        assert_eq!(answer.stop, Stop::Filtered);
        let body = written(&answer);
        assert_eq!(body["choices"][0]["message"]["refusal"], "I cannot.");
        assert_eq!(body["choices"][0]["message"]["content"], Value::Null);
    }

    /// Goal: what is no answer is told apart from an error within a 200, and from an answer
    /// that is odd.
    #[test]
    fn what_is_no_answer_is_told_apart() {
        for (body, want) in [
            (json!({"error": {"message": "busy"}}), Kind::UpstreamError),
            (
                json!({"object": "error", "message": "x"}),
                Kind::UpstreamError,
            ),
            (
                json!({"choices": [{"finish_reason": "error"}]}),
                Kind::UpstreamError,
            ),
            (
                json!({"choices": [{"error": {"code": 502}}]}),
                Kind::UpstreamError,
            ),
            (json!({"choices": []}), Kind::UpstreamGarbled),
            (json!({"detail": "x"}), Kind::UpstreamGarbled),
            (json!([]), Kind::UpstreamGarbled),
        ] {
            assert_eq!(read_value(&body), Err(want), "{body}");
        }
        assert_eq!(read(b"<html>"), Err(Kind::UpstreamGarbled));
        let filtered =
            read_value(&json!({"error": null, "choices": [{"finish_reason": "content_filter"}]}));
        assert_eq!(filtered.unwrap().stop, Stop::Filtered);
    }
}
