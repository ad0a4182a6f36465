//! Plain answers: `GenerateContentResponse`.
//!
//! A signature on a text part is not kept: it is no duty to send it back, and an empty thought
//! behind the text would be the last thing that clients of other dialects read. One on a call is
//! a duty and is kept.
//!
//! Source: Gemini API reference, `GenerateContentResponse`; "Thought signatures".

use super::request::args_of;
use super::{places, stop, usage};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{
    Answer, Block, Call, Dialect, Media, MediaKind, Names, Opaque, Source, Stop,
};
use crate::dialect::tree::{some, string};
use crate::wire::json::cursor::Cursor;
use crate::wire::json::write::put_string;
use serde_json::{Map, Value, json};

/// Reads the body of an answer.
///
/// # Errors
/// [`Kind::UpstreamError`] when it is an error; [`Kind::UpstreamGarbled`] when it is no answer.
pub fn read(body: &[u8]) -> Result<Answer, Kind> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Kind::UpstreamGarbled)?;
    let top = match &body {
        Value::Array(items) => items.first(),
        one => Some(one),
    };
    let top = top
        .and_then(Value::as_object)
        .ok_or(Kind::UpstreamGarbled)?;
    if some(top, "error").is_some() {
        return Err(Kind::UpstreamError);
    }
    let candidates = some(top, "candidates").and_then(Value::as_array);
    let candidate = candidates
        .and_then(|all| all.first())
        .and_then(Value::as_object);
    if candidates.is_none() && some(top, "promptFeedback").is_none() {
        return Err(Kind::UpstreamGarbled);
    }
    let id = string(top, "responseId").unwrap_or_default();
    let mut answer = Answer {
        id: id.to_owned(),
        model: string(top, "modelVersion").unwrap_or_default().to_owned(),
        stop: Stop::Filtered, // A prompt that is blocked has no candidate.
        usage: some(top, "usageMetadata").and_then(read_usage),
        origin: Some(Dialect::Gemini),
        ..Answer::default()
    };
    let Some(candidate) = candidate else {
        return Ok(answer);
    };
    let content = some(candidate, "content").and_then(Value::as_object);
    let parts = content.and_then(|content| content.get("parts")?.as_array());
    let mut calls = 0;
    for part in parts.into_iter().flatten().filter_map(Value::as_object) {
        read_part(part, &made_up(id), &mut calls, &mut answer.blocks);
    }
    let reason = string(candidate, "finishReason").unwrap_or_default();
    answer.stop = stop::read(reason.as_bytes(), calls > 0).unwrap_or(if calls > 0 {
        Stop::Tool
    } else {
        Stop::End
    });
    answer.logprobs = some(candidate, "logprobsResult").and_then(read_logprobs);
    cite(candidate, &mut answer.blocks);
    Ok(answer)
}

fn read_usage(value: &Value) -> Option<crate::dialect::model::Tokens> {
    let text = value.to_string();
    let mut cursor = Cursor::new(text.as_bytes(), 0);
    usage::read(text.as_bytes(), &mut cursor).ok().flatten()
}

/// What the names of calls without one begin with: `call_` and the letters and digits of the
/// answer's own name, so that they are unique in a conversation.
pub(super) fn made_up(response_id: &str) -> String {
    const ID_MAX: usize = 40;
    let mut out = String::from("call_");
    out.extend(
        response_id
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
            .take(ID_MAX),
    );
    if !out.ends_with('_') {
        out.push('_');
    }
    out
}

fn read_part(part: &Map<String, Value>, prefix: &str, calls: &mut u64, out: &mut Vec<Block>) {
    let opaque = string(part, "thoughtSignature").map(|signature| Opaque {
        dialect: Dialect::Gemini,
        value: signature.into(),
    });
    if let Some(text) = string(part, "text") {
        if part.get("thought").and_then(Value::as_bool) == Some(true) {
            if !text.is_empty() || opaque.is_some() {
                let text = text.to_owned();
                out.push(Block::Thinking { text, opaque });
            }
        } else if !text.is_empty() {
            out.push(Block::text(text));
        }
    } else if let Some(call) = some(part, "functionCall").and_then(Value::as_object) {
        let id = match string(call, "id") {
            Some(id) if !id.is_empty() => id.to_owned(),
            _ => format!("{prefix}{calls}"),
        };
        *calls += 1;
        out.push(Block::Call(Call {
            id,
            name: string(call, "name").unwrap_or_default().to_owned(),
            arguments: some(call, "args").map_or_else(|| "{}".to_owned(), Value::to_string),
            is_custom: false,
            opaque,
        }));
    } else if !part.is_empty() {
        out.push(block_of(part));
    }
}

/// What a part of an answer is that is neither text nor a call.
pub(in crate::dialect) fn block_of(part: &Map<String, Value>) -> Block {
    match some(part, "inlineData").and_then(Value::as_object) {
        Some(inline) => read_media(inline),
        None => Block::Foreign {
            dialect: Dialect::Gemini,
            value: Value::Object(part.clone()),
        },
    }
}

fn read_media(inline: &Map<String, Value>) -> Block {
    let media_type = string(inline, "mimeType").unwrap_or_default();
    let kind = match media_type.split('/').next() {
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        Some("image") => MediaKind::Image,
        _ => MediaKind::Document,
    };
    Block::Media(Media {
        kind,
        source: Source::Inline {
            media_type: media_type.to_owned(),
            data: string(inline, "data").unwrap_or_default().to_owned(),
        },
        name: None,
        detail: None,
        cache: None,
    })
}

/// Where the text comes from stands beside it; the last text gets it.
fn cite(candidate: &Map<String, Value>, blocks: &mut [Block]) {
    let mut found = Map::new();
    for key in ["citationMetadata", "groundingMetadata"] {
        if let Some(value) = some(candidate, key) {
            found.insert(key.into(), value.clone());
        }
    }
    let text = blocks.iter_mut().rev().find_map(|block| match block {
        Block::Text { citations, .. } => Some(citations),
        _ => None,
    });
    if let Some(citations) = text.filter(|_| !found.is_empty()) {
        *citations = Some(Value::Object(found));
    }
}

/// `logprobsResult` as Chat says it.
fn read_logprobs(result: &Value) -> Option<Value> {
    let one = |token: &Value| {
        json!({
            "token": token.get("token").cloned().unwrap_or_else(|| "".into()),
            "logprob": token.get("logProbability").cloned().unwrap_or_else(|| 0.into()),
            "bytes": null,
        })
    };
    let others = result.get("topCandidates").and_then(Value::as_array);
    let chosen = result.get("chosenCandidates")?.as_array()?;
    let content: Vec<Value> = chosen
        .iter()
        .enumerate()
        .map(|(index, token)| {
            let others = others
                .and_then(|all| all.get(index)?.get("candidates")?.as_array())
                .map(|all| all.iter().map(one).collect::<Vec<_>>());
            let mut said = one(token);
            if let Some(said) = said.as_object_mut() {
                said.insert("top_logprobs".into(), others.unwrap_or_default().into());
            }
            said
        })
        .collect();
    Some(json!({"content": content}))
}

/// Chat's `logprobs` as `logprobsResult`.
fn logprobs_of(logprobs: &Value) -> Option<Value> {
    let one = |token: &Value| {
        json!({
            "token": token.get("token"),
            "logProbability": token.get("logprob"),
        })
    };
    let content = logprobs.get("content")?.as_array()?;
    let chosen: Vec<Value> = content.iter().map(one).collect();
    let others: Vec<Value> = content
        .iter()
        .map(|token| {
            let others = token.get("top_logprobs").and_then(Value::as_array);
            let others: Vec<Value> = others.into_iter().flatten().map(one).collect();
            json!({"candidates": others})
        })
        .collect();
    Some(json!({"topCandidates": others, "chosenCandidates": chosen}))
}

/// Writes `answer`.
pub fn write(answer: &Answer, names: &Names<'_>, tx: &mut TxBuf) {
    let mut parts: Vec<Value> = Vec::new();
    let mut calls = 0;
    for block in &answer.blocks {
        let part = part_of(block, names, calls);
        calls += usize::from(matches!(block, Block::Call(_)));
        parts.extend(part);
    }
    if parts.is_empty() {
        parts.push(json!({"text": ""}));
    }
    tx.put(b"{\"candidates\":[{\"content\":{\"parts\":");
    tx.put(Value::Array(parts).to_string().as_bytes());
    tx.put(b",\"role\":\"model\"},\"finishReason\":\"");
    tx.put(stop::word(answer.stop).as_bytes());
    tx.put(b"\",\"index\":0");
    if let Some(logprobs) = answer.logprobs.as_ref().and_then(logprobs_of) {
        tx.put(b",\"logprobsResult\":");
        tx.put(logprobs.to_string().as_bytes());
    }
    for (name, place) in places::of_answer(answer).into_iter().flatten() {
        tx.put(b",");
        put_string(tx, name);
        tx.put(b":");
        tx.put(place.to_string().as_bytes());
    }
    tx.put(b"}]");
    if let Some(tokens) = &answer.usage {
        tx.put(b",\"usageMetadata\":");
        usage::put(tx, tokens);
    }
    put_names(tx, names);
    tx.put(b"}");
}

/// Appends the model and the answer's own name, as members after others.
pub(super) fn put_names(tx: &mut TxBuf, names: &Names<'_>) {
    tx.put(b",\"modelVersion\":");
    put_string(tx, names.model);
    tx.put(b",\"responseId\":");
    put_string(tx, names.id);
}

fn part_of(block: &Block, names: &Names<'_>, calls: usize) -> Option<Value> {
    let signature = |opaque: &Option<Opaque>| {
        let opaque = opaque.as_ref()?;
        (opaque.dialect == Dialect::Gemini && opaque.value.is_string())
            .then(|| opaque.value.clone())
    };
    let (part, signature) = match block {
        Block::Text { text, .. } | Block::Refusal(text) if !text.is_empty() => {
            (json!({"text": text}), None)
        }
        Block::Thinking { text, opaque } => {
            let signature = signature(opaque);
            if text.is_empty() && signature.is_none() {
                return None;
            }
            (json!({"text": text, "thought": true}), signature)
        }
        Block::Call(call) => {
            let id = if call.id.is_empty() {
                format!("call_{}_{calls}", names.id)
            } else {
                call.id.clone()
            };
            let args = args_of(&call.arguments, call.is_custom);
            let call_part = json!({"functionCall": {"id": id, "name": call.name, "args": args}});
            (call_part, signature(&call.opaque))
        }
        Block::Media(Media {
            source: Source::Inline { media_type, data },
            ..
        }) => (
            json!({"inlineData": {"mimeType": media_type, "data": data}}),
            None,
        ),
        Block::Foreign {
            dialect: Dialect::Gemini,
            value,
        } => (value.clone(), None),
        _ => return None,
    };
    let mut part = part;
    if let (Some(object), Some(signature)) = (part.as_object_mut(), signature) {
        object.insert("thoughtSignature".into(), signature);
    }
    Some(part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;
    use crate::dialect::model::Tokens;

    const NAMES: Names<'_> = Names {
        id: "x7",
        model: "m",
        created: 1,
        wants_usage: false,
    };

    fn written(answer: &Answer) -> Value {
        let mut tx = TxBuf::new(&BufPool::new());
        write(answer, &NAMES, &mut tx);
        serde_json::from_slice(tx.unsent()).unwrap()
    }

    /// Goal: all kinds of parts, the counts, the probabilities and the citations are read, and
    /// come back when the answer is written.
    #[test]
    fn an_answer_round_trips() {
        let body = json!({
            "candidates": [{"content": {"role": "model", "parts": [
                {"text": "h", "thought": true},
                {"text": ""},
                {"text": "a", "thoughtSignature": "lost"},
                {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
                {"executableCode": {"code": "1"}},
                {"functionCall": {"name": "f", "args": {"k": 1}}, "thoughtSignature": "s"},
            ]}, "finishReason": "STOP", "groundingMetadata": {"x": 1}, "logprobsResult": {
                "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
                "topCandidates": [{"candidates": [{"token": "b", "logProbability": -1.5}]}]}}],
            "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2,
                "totalTokenCount": 5},
            "modelVersion": "g", "responseId": "r",
        });
        let answer = read(body.to_string().as_bytes()).unwrap();
        assert_eq!((answer.id.as_str(), answer.stop), ("r", Stop::Tool));
        assert_eq!(answer.blocks.len(), 5);
        let Block::Text { citations, .. } = &answer.blocks[1] else {
            panic!()
        };
        assert_eq!(*citations, Some(json!({"groundingMetadata": {"x": 1}})));
        let Block::Call(call) = &answer.blocks[4] else {
            panic!()
        };
        assert_eq!(
            (call.id.as_str(), call.arguments.as_str()),
            ("call_r_0", "{\"k\":1}")
        );
        let logprobs = answer.logprobs.as_ref().unwrap();
        assert_eq!(logprobs["content"][0]["top_logprobs"][0]["logprob"], -1.5);
        let again = written(&answer);
        let content = &again["candidates"][0]["content"];
        assert_eq!(
            content["parts"],
            json!([
                {"text": "h", "thought": true},
                {"text": "a"},
                {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
                {"executableCode": {"code": "1"}},
                {"functionCall": {"id": "call_r_0", "name": "f", "args": {"k": 1}},
                 "thoughtSignature": "s"},
            ])
        );
        assert_eq!(
            again["candidates"][0]["logprobsResult"],
            body["candidates"][0]["logprobsResult"]
        );
        assert_eq!(again["usageMetadata"], body["usageMetadata"]);
        assert_eq!(
            (&again["modelVersion"], &again["responseId"]),
            (&json!("m"), &json!("x7"))
        );
    }

    /// Goal: what is no answer is told; a blocked prompt is one.
    #[test]
    fn what_is_no_answer_is_told() {
        for (body, want) in [
            ("", Err(Kind::UpstreamGarbled)),
            ("7", Err(Kind::UpstreamGarbled)),
            (r#"{"totalTokens":3}"#, Err(Kind::UpstreamGarbled)),
            (r#"[{"error":{"code":500}}]"#, Err(Kind::UpstreamError)),
            (
                r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#,
                Ok(Stop::Filtered),
            ),
            (
                r#"{"candidates":[{"finishReason":"RECITATION"}]}"#,
                Ok(Stop::Filtered),
            ),
            (
                r#"{"candidates":[{"finishReason":"MAX_TOKENS"}]}"#,
                Ok(Stop::Length),
            ),
            (
                r#"{"candidates":[{"finishReason":"NEW_ONE"}]}"#,
                Ok(Stop::End),
            ),
            (r#"{"candidates":[{}]}"#, Ok(Stop::End)),
        ] {
            assert_eq!(
                read(body.as_bytes()).map(|answer| answer.stop),
                want,
                "{body}"
            );
        }
    }

    /// Goal: an answer of another dialect: no foreign state, a part at least, made-up names.
    #[test]
    fn an_answer_of_another_dialect_is_written() {
        let opaque = Opaque {
            dialect: Dialect::Anthropic,
            value: "x".into(),
        };
        let mut answer = Answer {
            blocks: vec![Block::Thinking {
                text: String::new(),
                opaque: Some(opaque),
            }],
            stop: Stop::Length,
            usage: Some(Tokens::default()),
            ..Answer::default()
        };
        let empty = written(&answer);
        assert_eq!(
            empty["candidates"][0]["content"]["parts"],
            json!([{"text": ""}])
        );
        assert_eq!(empty["candidates"][0]["finishReason"], "MAX_TOKENS");
        answer.blocks = vec![
            Block::Refusal("no".into()),
            Block::Call(Call {
                id: String::new(),
                name: "f".into(),
                arguments: "{".into(),
                is_custom: false,
                opaque: None,
            }),
        ];
        let call = json!({"id": "call_x7_0", "name": "f", "args": {"_raw": "{"}});
        assert_eq!(
            written(&answer)["candidates"][0]["content"]["parts"],
            json!([{"text": "no"}, {"functionCall": call}])
        );
    }
}
