//! What providers of other dialects want to see again, carried by clients of Chat, who give
//! back what they do not know.
//!
//! ```text
//!   thinking   reasoning_details: [{"index":0,"type":"reasoning.kept","format":"shardgate",
//!                 "of":"anthropic","start":0,"chars":120,"value":"EqQB…"}]
//!              it goes with characters `start` to `start + chars` of the message's thinking
//!   call       tool_calls[0].extra_content: {"shardgate":{"of":"gemini","value":"AVSo…"}}
//! ```
//!
//! A client that drops these fields loses the state, and nothing else.
//!
//! Source: mapping.md, 6.3; the fields are those of `OpenRouter` and of Gemini's own Chat.

use crate::base::bytes::TxBuf;
use crate::dialect::model::{Block, Dialect, Opaque, Text};
use crate::dialect::tree::{string, whole};
use crate::wire::json::text::{Piece, pieces};
use serde_json::Value;

/// The format of such a detail, and the name of such an extra.
const FORMAT: &str = "shardgate";

/// A part of the thinking of a message, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) start: u64,
    pub(super) chars: u64,
}

/// How many characters `text` says; a lone surrogate ends the count.
pub(super) fn chars(text: Text<'_>) -> u64 {
    let is_first = |b: &&u8| **b & 0xC0 != 0x80;
    let count = |bytes: &[u8]| bytes.iter().filter(is_first).count();
    let count = match text {
        Text::Plain(text) => count(text.as_bytes()),
        Text::Escaped(raw) => pieces(raw)
            .map(|piece| match piece {
                Piece::Plain(bytes) => count(bytes),
                Piece::Char(_) => 1,
                Piece::Broken => 0,
            })
            .sum(),
    };
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Appends the detail that carries `raw`, JSON of `dialect`, for a stretch of thinking.
pub(super) fn put_detail(
    tx: &mut TxBuf,
    dialect: Dialect,
    raw: &[u8],
    index: u64,
    stretch: Stretch,
) {
    tx.put(b"{\"index\":");
    tx.put_decimal(index);
    tx.put(b",\"type\":\"reasoning.kept\",\"format\":\"");
    tx.put(FORMAT.as_bytes());
    tx.put(b"\",\"of\":\"");
    tx.put(dialect.name().as_bytes());
    tx.put(b"\",\"start\":");
    tx.put_decimal(stretch.start);
    tx.put(b",\"chars\":");
    tx.put_decimal(stretch.chars);
    tx.put(b",\"value\":");
    tx.put(raw);
    tx.put(b"}");
}

/// Appends the `extra_content` that carries `raw`: as it is, if it is Chat's own.
pub(super) fn put_extra(tx: &mut TxBuf, dialect: Dialect, raw: &[u8]) {
    if dialect == Dialect::Chat {
        return tx.put(raw);
    }
    tx.put(b"{\"");
    tx.put(FORMAT.as_bytes());
    tx.put(b"\":{\"of\":\"");
    tx.put(dialect.name().as_bytes());
    tx.put(b"\",\"value\":");
    tx.put(raw);
    tx.put(b"}}");
}

/// The state that `object` carries.
fn opaque(object: &serde_json::Map<String, Value>) -> Option<Opaque> {
    let of = string(object, "of")?;
    let dialect = Dialect::ALL.into_iter().find(|it| it.name() == of)?;
    Some(Opaque {
        dialect,
        value: object.get("value")?.clone(),
    })
}

/// The state that an `extra_content` carries.
pub(super) fn of_extra(extra: &Value) -> Option<Opaque> {
    opaque(extra.get(FORMAT)?.as_object()?)
}

/// The thinking of a message whose details carry state, in the blocks in which it was made;
/// `None` where they carry none.
pub(super) fn blocks(details: &[Value], thinking: &str) -> Option<Vec<Block>> {
    let is_ours = |detail: &&Value| detail.get("format").is_some_and(|format| format == FORMAT);
    let mut ours = details.iter().filter(is_ours).peekable();
    ours.peek()?;
    Some(ours.filter_map(|detail| block(detail, thinking)).collect())
}

fn block(detail: &Value, thinking: &str) -> Option<Block> {
    let object = detail.as_object()?;
    let number = |key| usize::try_from(whole(object.get(key)?)?).ok();
    let (start, count) = (number("start")?, number("chars")?);
    let text: String = thinking.chars().skip(start).take(count).collect();
    // State without the very words that it is for is worth nothing, and refused.
    (text.chars().count() == count).then_some(())?;
    Some(Block::Thinking {
        text,
        opaque: Some(opaque(object)?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::stream::Writer;
    use super::super::{answer, request};
    use super::*;
    use crate::base::bufpool::BufPool;
    use crate::dialect::model::{Answer, Call, Names, Open, Step, Stop};
    use serde_json::json;

    const NAMES: Names<'_> = Names {
        id: "abc",
        model: "m",
        created: 7,
        wants_usage: false,
    };

    fn state(dialect: Dialect, value: Value) -> Opaque {
        Opaque { dialect, value }
    }

    fn thought() -> Vec<Block> {
        let thinking = |text: &str, value| Block::Thinking {
            text: text.to_owned(),
            opaque: Some(state(Dialect::Anthropic, value)),
        };
        vec![
            thinking("h\u{1F600}\"m", json!("sig\"1")),
            thinking("", json!({"redacted": "x"})),
            thinking("\u{e9}", json!("sig2")),
            Block::text("t"),
            Block::Call(Call {
                id: "c".to_owned(),
                name: "f".to_owned(),
                arguments: "{}".to_owned(),
                is_custom: false,
                opaque: Some(state(Dialect::Gemini, json!("thought"))),
            }),
        ]
    }

    /// What a client's next request says, whose history has `message`.
    fn given_back(message: &Value) -> Vec<Block> {
        let body = json!({"model": "m", "messages": [message]});
        let request = request::read(body.to_string().as_bytes()).unwrap();
        request.turns[0].blocks.clone()
    }

    /// Goal: what another dialect's provider wants to see again goes to the client with a whole
    /// answer and comes back to it with the words that it is for.
    #[test]
    fn state_goes_with_an_answer_and_comes_back() {
        let mut tx = TxBuf::new(&BufPool::new());
        let answer = Answer {
            blocks: thought(),
            ..Answer::default()
        };
        answer::write(&answer, &NAMES, &mut tx);
        let body: Value = serde_json::from_slice(tx.unsent()).unwrap();
        let mut message = body["choices"][0]["message"].clone();
        assert_eq!(given_back(&message), thought());
        message["reasoning_content"] = json!("h");
        let blocks = given_back(&message);
        let redacted = Some(&thought()[1]);
        assert_ne!(blocks.first(), Some(&thought()[0]));
        assert!(
            blocks
                .iter()
                .all(|block| !matches!(block, Block::Thinking { .. }) || Some(block) == redacted)
        );
    }

    /// Goal: the same for a stream, put together as `openai-python` does.
    #[test]
    fn state_goes_with_a_stream_and_comes_back() {
        let mut tx = TxBuf::new(&BufPool::new());
        let mut writer = Writer::new();
        let call = Open::Call {
            id: "c".into(),
            name: "f".into(),
            is_custom: false,
        };
        for step in [
            Step::Open(Open::Thinking),
            Step::Text(Text::Escaped(br"h\ud83d\ude00")),
            Step::Text(Text::Plain("\"m")),
            Step::Opaque(Dialect::Anthropic, br#""sig\"1""#),
            Step::Close,
            Step::Open(Open::Thinking),
            Step::Opaque(Dialect::Anthropic, br#"{"redacted":"x"}"#),
            Step::Close,
            Step::Open(Open::Thinking),
            Step::Text(Text::Plain("\u{e9}")),
            Step::Opaque(Dialect::Anthropic, br#""sig2""#),
            Step::Close,
            Step::Open(Open::Text),
            Step::Text(Text::Plain("t")),
            Step::Close,
            Step::Open(call),
            Step::Opaque(Dialect::Gemini, br#""thought""#),
            Step::Close,
            Step::Stop(Stop::Tool, Text::EMPTY),
            Step::End,
        ] {
            writer.write(&step, &NAMES, &mut tx);
        }
        let out = String::from_utf8(tx.unsent().to_vec()).unwrap();
        let (mut thinking, mut details, mut extra) = (String::new(), Vec::new(), Value::Null);
        for event in out.split_terminator("\n\n") {
            let data = event.strip_prefix("data: ").unwrap();
            let Ok(chunk) = serde_json::from_str::<Value>(data) else {
                continue;
            };
            let delta = &chunk["choices"][0]["delta"];
            thinking.push_str(delta["reasoning_content"].as_str().unwrap_or_default());
            if let Some(items) = delta["reasoning_details"].as_array() {
                assert_eq!(items[0]["index"], details.len());
                details.extend(items.iter().cloned());
            }
            if let Some(there) = delta["tool_calls"][0].get("extra_content") {
                // Without it the official helper for streams raises.
                assert_eq!(delta["tool_calls"][0]["function"]["arguments"], "");
                extra = there.clone();
            }
        }
        let message = json!({"role": "assistant", "content": "t", "reasoning_content": thinking,
            "reasoning_details": details, "tool_calls": [{"id": "c", "type": "function",
                "function": {"name": "f", "arguments": "{}"}, "extra_content": extra}]});
        assert_eq!(given_back(&message), thought());
    }
}
