//! Plain answers of Responses.
//!
//! ```text
//!   {"id":"resp_…","status":"completed","output":[reasoning, message, function_call, …],"usage":{…}}
//!                                                 Thinking   Text     Call
//! ```
//!
//! Invariants
//! - I1 Items of tools that the provider runs are [`Block::Foreign`], as they came.
//! - I2 State of other providers travels in reasoning items ([`super::pack`]).
//!
//! Source: OpenAI API reference, "The response object".

use super::pack;
use super::shape::{self, Shape, Status};
use super::tokens;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{
    Answer, Block, Call, Dialect, MediaKind, Names, Opaque, Source, Stop, Tokens,
};
use crate::dialect::tree;
use crate::wire::json::cursor::Cursor;
use crate::wire::json::scan::BOM;
use serde_json::{Map, Value, json};

/// Reads an answer.
///
/// # Errors
/// [`Kind::UpstreamGarbled`]: it is none. [`Kind::UpstreamError`]: it says that there is none.
pub fn read(body: &[u8]) -> Result<Answer, Kind> {
    let body = body.strip_prefix(BOM).unwrap_or(body);
    let value: Value = serde_json::from_slice(body).map_err(|_| Kind::UpstreamGarbled)?;
    let top = value.as_object().ok_or(Kind::UpstreamGarbled)?;
    let status = tree::string(top, "status").unwrap_or("completed");
    if tree::some(top, "error").is_some() {
        return Err(Kind::UpstreamError);
    }
    if !matches!(status, "completed" | "incomplete" | "complete") {
        return Err(Kind::UpstreamError); // failed, cancelled, queued, in_progress
    }
    if !top.get("output").is_some_and(Value::is_array) {
        return Err(Kind::UpstreamGarbled);
    }
    let reason = tree::some(top, "incomplete_details")
        .and_then(|details| details.get("reason")?.as_str())
        .map(str::as_bytes);
    let blocks = blocks(&value);
    let has_called = blocks.iter().any(|block| matches!(block, Block::Call(_)));
    let has_refused = blocks
        .iter()
        .any(|block| matches!(block, Block::Refusal(_)));
    let text = |name: &str| tree::string(top, name).unwrap_or_default().to_owned();
    Ok(Answer {
        id: text("id"),
        model: text("model"),
        stop: stop_of(status == "incomplete", reason, has_called, has_refused),
        sequence: None,
        usage: tree::some(top, "usage").and_then(tokens_of),
        logprobs: logprobs_of(top),
        origin: Some(Dialect::Responses),
        blocks,
    })
}

/// Why an answer ended. Source: mapping.md, 8: a call means that a tool is to be run, unless
/// the answer was cut; a refusal is told by its part alone.
pub(super) fn stop_of(
    is_incomplete: bool,
    reason: Option<&[u8]>,
    has_called: bool,
    has_refused: bool,
) -> Stop {
    match reason {
        Some(b"max_output_tokens" | b"max_messages") => Stop::Length,
        Some(b"content_filter") => Stop::Filtered,
        None if is_incomplete => Stop::Length,
        _ if has_called => Stop::Tool,
        _ if has_refused => Stop::Filtered,
        _ => Stop::End,
    }
}

fn tokens_of(usage: &Value) -> Option<Tokens> {
    let text = usage.to_string();
    tokens::read(text.as_bytes(), &mut Cursor::new(text.as_bytes(), 0)).ok()?
}

/// The blocks of a response object.
pub(super) fn blocks(response: &Value) -> Vec<Block> {
    let items = response.get("output").and_then(Value::as_array);
    let mut blocks = Vec::new();
    for item in items.into_iter().flatten() {
        if let Some(item) = item.as_object() {
            read_item(item, &mut blocks);
        }
    }
    blocks
}

fn read_item(item: &Map<String, Value>, blocks: &mut Vec<Block>) {
    match tree::string(item, "type").unwrap_or_default() {
        "message" => {
            let parts = item.get("content").and_then(Value::as_array);
            for part in parts.into_iter().flatten().filter_map(Value::as_object) {
                blocks.extend(read_part(part));
            }
        }
        "reasoning" => {
            let text = thinking_of(item);
            let is_encrypted = item.get("encrypted_content").is_some_and(Value::is_string);
            let opaque = is_encrypted.then(|| Opaque {
                dialect: Dialect::Responses,
                value: Value::Object(item.clone()),
            });
            if opaque.is_some() || !text.is_empty() {
                blocks.push(Block::Thinking { text, opaque });
            }
        }
        "function_call" => blocks.push(Block::Call(call_of(item, false))),
        "custom_tool_call" => blocks.push(Block::Call(call_of(item, true))),
        _ => blocks.push(Block::Foreign {
            dialect: Dialect::Responses,
            value: Value::Object(item.clone()),
        }),
    }
}

fn read_part(part: &Map<String, Value>) -> Option<Block> {
    match tree::string(part, "type") {
        Some("output_text") => Some(Block::Text {
            text: tree::string(part, "text").unwrap_or_default().to_owned(),
            citations: part
                .get("annotations")
                .filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
                .cloned(),
            cache: None,
        }),
        Some("refusal") => {
            let text = tree::string(part, "refusal").unwrap_or_default();
            Some(Block::Refusal(text.to_owned()))
        }
        _ => None,
    }
}

/// The readable thoughts of a reasoning item: the summary, else the thoughts themselves.
pub(super) fn thinking_of(item: &Map<String, Value>) -> String {
    let texts = |name: &str| {
        let parts = item.get(name).and_then(Value::as_array);
        let texts: Vec<&str> = parts
            .into_iter()
            .flatten()
            .filter_map(|part| part.get("text")?.as_str())
            .filter(|text| !text.is_empty())
            .collect();
        texts.join("\n\n")
    };
    let summary = texts("summary");
    if summary.is_empty() {
        texts("content")
    } else {
        summary
    }
}

/// A call without what only its own dialect knows.
pub(super) fn call_of(item: &Map<String, Value>, is_custom: bool) -> Call {
    let text = |name: &str| tree::string(item, name).filter(|text| !text.is_empty());
    let arguments = if is_custom { "input" } else { "arguments" };
    Call {
        id: text("call_id")
            .or_else(|| text("id"))
            .unwrap_or_default()
            .to_owned(),
        name: text("name").unwrap_or_default().to_owned(),
        arguments: text(arguments).unwrap_or_default().to_owned(),
        is_custom,
        opaque: None,
    }
}

/// The probabilities of all texts, as Chat says them.
fn logprobs_of(top: &Map<String, Value>) -> Option<Value> {
    let mut tokens = Vec::new();
    for item in top.get("output")?.as_array()? {
        let parts = item.get("content").and_then(Value::as_array);
        for part in parts.into_iter().flatten() {
            let list = part.get("logprobs").and_then(Value::as_array);
            tokens.extend(list.into_iter().flatten().cloned());
        }
    }
    (!tokens.is_empty()).then(|| json!({"content": tokens, "refusal": null}))
}

/// Appends `answer`.
pub fn write(answer: &Answer, names: &Names<'_>, tx: &mut TxBuf) {
    let mut items = Items {
        names,
        list: Vec::new(),
        logprobs: answer
            .logprobs
            .as_ref()
            .and_then(|all| all.get("content"))
            .filter(|list| list.is_array())
            .cloned(),
    };
    for block in &answer.blocks {
        items.put(block);
    }
    let status = Status::of(answer.stop);
    if let (Status::Incomplete(_), Some(Value::Object(last))) = (status, items.list.last_mut())
        && last.get("status").is_some()
    {
        last.insert("status".to_owned(), json!("incomplete"));
    }
    let texts: Vec<String> = items.list.iter().map(Value::to_string).collect();
    let (id, texts) = (shape::id_of(&answer.id, names), texts.join(","));
    let shape = Shape {
        id: &id,
        status,
        output: texts.as_bytes(),
        usage: answer.usage.as_ref(),
    };
    shape::put(tx, &shape, names.created, names.model);
}

/// The items of an answer.
struct Items<'a> {
    names: &'a Names<'a>,
    list: Vec<Value>,
    /// Not yet said; the first text says them.
    logprobs: Option<Value>,
}

impl Items<'_> {
    fn id(&self, prefix: &str) -> String {
        format!("{prefix}_{}_{}", self.names.id, self.list.len())
    }

    fn put(&mut self, block: &Block) {
        match block {
            Block::Text {
                text, citations, ..
            } => {
                let own = citations.as_ref().filter(|list| is_annotations(list));
                let part = json!({
                    "type": "output_text",
                    "text": text,
                    "annotations": own.cloned().unwrap_or_else(|| json!([])),
                    "logprobs": self.logprobs.take().unwrap_or_else(|| json!([])),
                });
                self.put_part(part);
            }
            Block::Refusal(text) => self.put_part(json!({"type": "refusal", "refusal": text})),
            Block::Thinking { text, opaque } => self.put_thinking(text, opaque.as_ref()),
            Block::Call(call) => self.put_call(call),
            Block::Media(media) => {
                // An image that the model made; there is no place for other media.
                if let (MediaKind::Image, Source::Inline { data, .. }) = (media.kind, &media.source)
                {
                    let item = json!({
                        "id": self.id("ig"),
                        "type": "image_generation_call",
                        "status": "completed",
                        "result": data,
                    });
                    self.list.push(item);
                }
            }
            Block::Foreign {
                dialect: Dialect::Responses,
                value,
            } => self.list.push(value.clone()),
            Block::Foreign { .. } | Block::Result(_) => {}
        }
    }

    /// Puts a part into the message that the last item is, or into a new one.
    fn put_part(&mut self, part: Value) {
        if let Some(Value::Object(last)) = self.list.last_mut()
            && tree::string(last, "type") == Some("message")
            && let Some(Value::Array(parts)) = last.get_mut("content")
        {
            parts.push(part);
            return;
        }
        let item = json!({
            "id": self.id("msg"),
            "type": "message",
            "role": "assistant",
            "content": [part],
            "status": "completed",
        });
        self.list.push(item);
    }

    fn put_thinking(&mut self, text: &str, opaque: Option<&Opaque>) {
        let packed = match opaque {
            Some(own) if own.dialect == Dialect::Responses => {
                return self.list.push(own.value.clone());
            }
            Some(other) => Some(pack::pack(other, false)),
            None if text.is_empty() => return,
            None => None,
        };
        let summary = match text {
            "" => json!([]),
            text => json!([{"type": "summary_text", "text": text}]),
        };
        let mut item = Map::new();
        item.insert("id".to_owned(), json!(self.id("rs")));
        item.insert("type".to_owned(), json!("reasoning"));
        item.insert("summary".to_owned(), summary);
        if let Some(packed) = packed {
            item.insert("encrypted_content".to_owned(), json!(packed));
        }
        self.list.push(Value::Object(item));
    }

    fn put_call(&mut self, call: &Call) {
        let id = match call.id.as_str() {
            "" => self.id("call"),
            id => id.to_owned(),
        };
        let (kind, prefix, member) = if call.is_custom {
            ("custom_tool_call", "ctc", "input")
        } else {
            ("function_call", "fc", "arguments")
        };
        let arguments = match call.arguments.as_str() {
            "" if !call.is_custom => "{}",
            arguments => arguments,
        };
        let mut item = Map::new();
        item.insert("id".to_owned(), json!(self.id(prefix)));
        item.insert("type".to_owned(), json!(kind));
        item.insert("call_id".to_owned(), json!(id));
        item.insert("name".to_owned(), json!(call.name));
        item.insert(member.to_owned(), json!(arguments));
        item.insert("status".to_owned(), json!("completed"));
        self.list.push(Value::Object(item));
        if let Some(opaque) = &call.opaque
            && opaque.dialect != Dialect::Responses
        {
            let item = json!({
                "id": self.id("rs"),
                "type": "reasoning",
                "summary": [],
                "encrypted_content": pack::pack(opaque, true),
            });
            self.list.push(item);
        }
    }
}

/// Whether citations are annotations as `OpenAI` says them.
pub(super) fn is_annotations(citations: &Value) -> bool {
    const KINDS: [&str; 4] = [
        "url_citation",
        "file_citation",
        "container_file_citation",
        "file_path",
    ];
    citations.as_array().is_some_and(|list| {
        list.iter().all(|one| {
            let kind = one.get("type").and_then(Value::as_str).unwrap_or_default();
            // Chat's are nested: {"type":"url_citation","url_citation":{…}}.
            KINDS.contains(&kind) && one.get(kind).is_none()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;
    use crate::dialect::model::Media;

    const NAMES: Names<'_> = Names {
        id: "n1",
        model: "asked",
        created: 7,
        wants_usage: false,
    };

    fn written(answer: &Answer) -> Value {
        let mut tx = TxBuf::new(&BufPool::new());
        write(answer, &NAMES, &mut tx);
        serde_json::from_slice(tx.unsent()).unwrap()
    }

    fn of_another() -> Answer {
        let opaque = |dialect| {
            Some(Opaque {
                dialect,
                value: json!("sig"),
            })
        };
        let call = |id: &str, arguments: &str| Call {
            id: id.to_owned(),
            name: "f".to_owned(),
            arguments: arguments.to_owned(),
            is_custom: false,
            opaque: opaque(Dialect::Gemini),
        };
        Answer {
            id: "msg_1".to_owned(),
            blocks: vec![
                Block::Thinking {
                    text: "hm".to_owned(),
                    opaque: opaque(Dialect::Anthropic),
                },
                Block::Thinking {
                    text: String::new(),
                    opaque: None,
                },
                Block::text("a"),
                Block::Refusal("b".to_owned()),
                Block::Call(call("", "")),
                Block::Media(Media {
                    kind: MediaKind::Image,
                    source: Source::Inline {
                        media_type: "image/png".to_owned(),
                        data: "AAAA".to_owned(),
                    },
                    name: None,
                    detail: None,
                    cache: None,
                }),
                Block::Foreign {
                    dialect: Dialect::Anthropic,
                    value: json!({}),
                },
            ],
            stop: Stop::Length,
            ..Answer::default()
        }
    }

    /// Goal: an answer of another dialect has the form that the SDK needs, and its provider's
    /// state travels with it.
    #[test]
    fn an_answer_of_another_dialect_has_the_right_form() {
        let body = written(&of_another());
        assert_eq!(
            (&body["id"], &body["model"]),
            (&json!("resp_n1"), &json!("asked"))
        );
        assert_eq!(body["status"], "incomplete");
        assert_eq!(
            body["incomplete_details"],
            json!({"reason": "max_output_tokens"})
        );
        let output = json!([
            {"id": "rs_n1_0", "type": "reasoning",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": "shardgate/anthropic/\"sig\""},
            {"id": "msg_n1_1", "type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "a", "annotations": [], "logprobs": []},
                {"type": "refusal", "refusal": "b"}], "status": "completed"},
            {"id": "fc_n1_2", "type": "function_call", "call_id": "call_n1_2", "name": "f",
                "arguments": "{}", "status": "completed"},
            {"id": "rs_n1_3", "type": "reasoning", "summary": [],
                "encrypted_content": "shardgate/gemini/call/\"sig\""},
            {"id": "ig_n1_4", "type": "image_generation_call", "status": "incomplete",
                "result": "AAAA"},
        ]);
        assert_eq!(body["output"], output);
        assert_eq!(written(&Answer::default())["output"], json!([]));
    }

    /// Goal: probabilities of tokens pass in both directions.
    #[test]
    fn probabilities_pass() {
        let one = json!({"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []});
        let answer = Answer {
            blocks: vec![Block::text("a")],
            logprobs: Some(json!({"content": [one], "refusal": null})),
            ..Answer::default()
        };
        let body = written(&answer);
        assert_eq!(body["output"][0]["content"][0]["logprobs"], json!([one]));
        let back = read(body.to_string().as_bytes()).unwrap();
        assert_eq!(back.logprobs, answer.logprobs);
    }

    /// Goal: what is no answer is told apart from what says that there is none.
    #[test]
    fn what_is_no_answer_is_told_apart() {
        for (body, want) in [
            ("<html>", Kind::UpstreamGarbled),
            ("[]", Kind::UpstreamGarbled),
            ("{}", Kind::UpstreamGarbled),
            (r#"{"output":{}}"#, Kind::UpstreamGarbled),
            (r#"{"error":{"message":"x"}}"#, Kind::UpstreamError),
            (r#"{"status":"failed","output":[]}"#, Kind::UpstreamError),
            (r#"{"status":"queued","output":[]}"#, Kind::UpstreamError),
        ] {
            assert_eq!(read(body.as_bytes()).unwrap_err(), want, "{body}");
        }
        let malformed = Answer {
            stop: Stop::Malformed,
            ..Answer::default()
        };
        assert_eq!(written(&malformed)["status"], "failed");
    }

    /// Goal: why an answer ended: a cut wins over a call, a call over a refusal.
    #[test]
    fn a_cut_wins_over_a_call() {
        let limit = Some(&b"max_output_tokens"[..]);
        for (is_incomplete, reason, has_called, has_refused, want) in [
            (true, limit, true, true, Stop::Length),
            (true, Some(b"content_filter"), true, false, Stop::Filtered),
            (true, None, true, false, Stop::Length),
            (false, None, true, true, Stop::Tool),
            (false, None, false, true, Stop::Filtered),
            (false, None, false, false, Stop::End),
        ] {
            let stop = stop_of(is_incomplete, reason, has_called, has_refused);
            assert_eq!(stop, want);
        }
    }
}
