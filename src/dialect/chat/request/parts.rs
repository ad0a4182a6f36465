//! Parts of messages: text, media, thinking, calls; to and from blocks.
//!
//! Source: OpenAI API reference, "Create chat completion"; protocols.md, 2.1; mapping.md, 3.

use super::super::kept;
use super::write::put;
use crate::dialect::model::{
    BadAsk, Block, CacheMark, Call, Dialect, Media, MediaKind, Opaque, Source, Unfit,
};
use crate::dialect::tree::{Path, some, string};
use serde_json::{Map, Value, json};

/// The members of an assistant's message that have a place in the model.
pub(in crate::dialect) const KNOWN: [&str; 10] = [
    "role",
    "content",
    "refusal",
    "tool_calls",
    "function_call",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "annotations",
    "name",
];

/// The value of a thinking block's opaque that says that its text stands in the field of this
/// name instead of `reasoning_content`.
pub(super) const REASONING: &str = "reasoning";

/// The id of the call that a message's `function_call` is, which has none.
pub(super) const FUNCTION_ID: &str = "call_function";

/// What an assistant's message says, in an answer or in a history. What is not understood is
/// kept in a block of its own, for Chat alone.
pub(in crate::dialect::chat) fn message_blocks(message: &Map<String, Value>) -> Vec<Block> {
    let mut blocks = Vec::new();
    thinking(message, &mut blocks);
    match message.get("content") {
        Some(Value::String(text)) if !text.is_empty() => blocks.push(Block::text(text)),
        Some(Value::Array(parts)) => parts.iter().for_each(|part| said(part, &mut blocks)),
        _ => {}
    }
    cite(message, &mut blocks);
    if let Some(refusal) = string(message, "refusal").filter(|text| !text.is_empty()) {
        blocks.push(Block::Refusal(refusal.to_owned()));
    }
    let calls = message.get("tool_calls").and_then(Value::as_array);
    blocks.extend(
        calls
            .into_iter()
            .flatten()
            .filter_map(call)
            .map(Block::Call),
    );
    if let Some(function) = message.get("function_call").and_then(Value::as_object)
        && let Some(name) = string(function, "name").filter(|name| !name.is_empty())
    {
        blocks.push(Block::Call(Call {
            id: FUNCTION_ID.to_owned(),
            name: name.to_owned(),
            arguments: arguments(function.get("arguments")),
            is_custom: false,
            opaque: None,
        }));
    }
    blocks.extend(rest(message));
    blocks
}

/// What the message says of thinking.
fn thinking(message: &Map<String, Value>, blocks: &mut Vec<Block>) {
    let details = message.get("reasoning_details").and_then(Value::as_array);
    let details = details.filter(|details| !details.is_empty());
    let written = string(message, "reasoning_content");
    let other = string(message, REASONING);
    let text = written
        .filter(|text| !text.is_empty())
        .or(other)
        .or(written);
    if let Some(kept) = details.and_then(|it| kept::blocks(it, text.unwrap_or_default())) {
        blocks.extend(kept);
        return;
    }
    let text = text.map(str::to_owned);
    let Some(text) = text.or_else(|| Some(details_text(details?))) else {
        return;
    };
    let opaque = match details {
        Some(details) => Some(Value::Array(details.clone())),
        None if written.is_none() => Some(Value::from(REASONING)),
        None => None,
    };
    blocks.push(Block::Thinking {
        text,
        opaque: opaque.map(|value| Opaque {
            dialect: Dialect::Chat,
            value,
        }),
    });
}

/// The text of `reasoning_details`.
pub(super) fn details_text(details: &[Value]) -> String {
    details.iter().filter_map(detail_text).collect()
}

fn detail_text(detail: &Value) -> Option<&str> {
    let text = detail.get("text").or_else(|| detail.get("summary"))?;
    text.as_str()
}

/// A part of an assistant's content.
fn said(part: &Value, blocks: &mut Vec<Block>) {
    let Some(object) = part.as_object() else {
        return;
    };
    match string(object, "type") {
        Some("text") => {
            if let Some(text) = string(object, "text").filter(|text| !text.is_empty()) {
                blocks.push(text_block(text, object));
            }
        }
        Some("refusal") => {
            let text = string(object, "refusal").unwrap_or_default();
            blocks.push(Block::Refusal(text.to_owned()));
        }
        Some("thinking") => blocks.push(Block::Thinking {
            text: match object.get("thinking") {
                Some(Value::Array(items)) => items.iter().filter_map(detail_text).collect(),
                Some(Value::String(text)) => text.clone(),
                _ => String::new(),
            },
            // Mistral wants it as the part that it was.
            opaque: Some(Opaque {
                dialect: Dialect::Chat,
                value: json!({"part": part}),
            }),
        }),
        _ => blocks.push(Block::Foreign {
            dialect: Dialect::Chat,
            value: json!({"part": part}),
        }),
    }
}

/// Puts the message's annotations to its first text.
fn cite(message: &Map<String, Value>, blocks: &mut [Block]) {
    let list = message.get("annotations").and_then(Value::as_array);
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return;
    };
    for block in blocks {
        if let Block::Text { citations, .. } = block {
            *citations = Some(Value::Array(list.clone()));
            return;
        }
    }
}

/// A call out of `tool_calls`.
fn call(item: &Value) -> Option<Call> {
    let item = item.as_object()?;
    let opaque = item.get("extra_content").filter(|extra| extra.is_object());
    let (tool, is_custom) = match item.get("function").and_then(Value::as_object) {
        Some(function) => (function, false),
        None => (item.get("custom")?.as_object()?, true),
    };
    let key = if is_custom { "input" } else { "arguments" };
    Some(Call {
        id: string(item, "id").unwrap_or_default().to_owned(),
        name: string(tool, "name")?.to_owned(),
        arguments: arguments(tool.get(key)),
        is_custom,
        opaque: opaque.map(|value| {
            kept::of_extra(value).unwrap_or_else(|| Opaque {
                dialect: Dialect::Chat,
                value: value.clone(),
            })
        }),
    })
}

/// Arguments; some engines give them as JSON, not as text.
fn arguments(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// The members that have no place in the model.
pub(super) fn rest(message: &Map<String, Value>) -> Option<Block> {
    let members: Map<String, Value> = message
        .iter()
        .filter(|(key, value)| !KNOWN.contains(&key.as_str()) && !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    (!members.is_empty()).then(|| Block::Foreign {
        dialect: Dialect::Chat,
        value: Value::Object(members),
    })
}

/// The text of a part, with its cache mark.
pub(super) fn text_block(text: &str, part: &Map<String, Value>) -> Block {
    Block::Text {
        text: text.to_owned(),
        citations: None,
        cache: cache(part),
    }
}

/// The cache mark of a part or a tool: `OpenRouter`'s (which is Anthropic's) or `OpenAI`'s,
/// whose times have other names (mapping.md, 7).
pub(super) fn cache(part: &Map<String, Value>) -> Option<CacheMark> {
    if let Some(Value::Object(mark)) = part.get("cache_control") {
        return Some(CacheMark {
            ttl: string(mark, "ttl").map(str::to_owned),
        });
    }
    let mark = some(part, "prompt_cache_breakpoint")?.as_object()?;
    Some(CacheMark {
        ttl: match string(mark, "ttl") {
            Some("30m") => Some("5m".to_owned()),
            Some("12h") => Some("1h".to_owned()),
            other => other.map(str::to_owned),
        },
    })
}

/// The texts at which to stop.
pub(in crate::dialect::chat) fn stops(
    path: &Path<'_>,
    value: &Value,
) -> Result<Vec<String>, BadAsk> {
    let bad = || path.bad("must be a string or an array of strings");
    if let Some(text) = value.as_str() {
        return Ok(vec![text.to_owned()]);
    }
    let texts = value.as_array().ok_or_else(bad)?.iter();
    texts
        .map(|text| text.as_str().map(str::to_owned).ok_or_else(bad))
        .collect()
}

/// The media of a part; `None`: it is none, or has not what it needs.
pub(super) fn media(part: &Map<String, Value>) -> Option<Media> {
    let cache = cache(part);
    let of = |key: &str| part.get(key).and_then(Value::as_object);
    let media = |kind, source| Media {
        kind,
        source,
        name: None,
        detail: None,
        cache: cache.clone(),
    };
    match string(part, "type")? {
        "image_url" => {
            let Some(image) = of("image_url") else {
                let url = string(part, "image_url")?;
                return Some(media(MediaKind::Image, at(url)));
            };
            Some(Media {
                detail: string(image, "detail").map(str::to_owned),
                ..media(MediaKind::Image, at(string(image, "url")?))
            })
        }
        "video_url" => {
            let url = string(of("video_url")?, "url")?;
            Some(media(MediaKind::Video, at(url)))
        }
        "input_audio" => {
            let audio = of("input_audio")?;
            let source = Source::Inline {
                media_type: format!("audio/{}", string(audio, "format")?),
                data: string(audio, "data")?.to_owned(),
            };
            Some(media(MediaKind::Audio, source))
        }
        "file" => {
            let file = of("file")?;
            let source = match string(file, "file_data") {
                Some(data) => at(data),
                None => Source::File {
                    dialect: Dialect::Chat,
                    id: string(file, "file_id")?.to_owned(),
                },
            };
            Some(Media {
                name: string(file, "filename").map(str::to_owned),
                ..media(MediaKind::Document, source)
            })
        }
        _ => None,
    }
}

/// What a URL points to: itself, if it is a data URL.
fn at(url: &str) -> Source {
    let inline = || {
        let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
        let head = head.strip_suffix(";base64")?;
        let media_type = head.split(';').next()?;
        Some(Source::Inline {
            media_type: media_type.to_owned(),
            data: data.to_owned(),
        })
    };
    inline().unwrap_or_else(|| Source::Url(url.to_owned()))
}

fn url(source: &Source) -> Option<String> {
    match source {
        Source::Inline { media_type, data } => Some(format!("data:{media_type};base64,{data}")),
        Source::Url(url) => Some(url.clone()),
        Source::Text(_) | Source::File { .. } => None,
    }
}

/// The part that says `media`. `is_own`: the request came in Chat, so that what only some
/// engines understand goes back as it came.
pub(super) fn media_part(media: &Media, is_own: bool) -> Result<Value, Unfit> {
    if let Source::File { dialect, id } = &media.source {
        if *dialect != Dialect::Chat || media.kind != MediaKind::Document {
            return Err(Unfit::new("file", "is kept at another provider"));
        }
        return Ok(json!({"type": "file", "file": {"file_id": id}}));
    }
    if let Source::Text(text) = &media.source {
        return Ok(json!({"type": "text", "text": text}));
    }
    let url = url(&media.source).unwrap_or_default();
    let is_url = matches!(media.source, Source::Url(_));
    match (media.kind, &media.source) {
        (MediaKind::Image, _) => {
            let mut image = Map::new();
            put(&mut image, "url", url);
            if let Some(detail) = &media.detail {
                put(&mut image, "detail", detail.as_str());
            }
            Ok(json!({"type": "image_url", "image_url": image}))
        }
        (MediaKind::Document, _) if is_own || !is_url => {
            let mut file = Map::new();
            put(&mut file, "file_data", url);
            match &media.name {
                Some(name) => put(&mut file, "filename", name.as_str()),
                None if !is_own => put(&mut file, "filename", "document.pdf"),
                None => {}
            }
            Ok(json!({"type": "file", "file": file}))
        }
        (MediaKind::Document, _) => Err(Unfit::new(
            "document",
            "cannot be given by its URL to this target",
        )),
        (MediaKind::Audio, Source::Inline { media_type, data }) => {
            let format = media_type.strip_prefix("audio/").unwrap_or(media_type);
            let format = match format {
                "mpeg" | "mpeg3" | "x-mpeg" => "mp3",
                "x-wav" | "wave" | "vnd.wave" => "wav",
                other => other,
            };
            if !is_own && !matches!(format, "mp3" | "wav") {
                return Err(Unfit::new("audio", "must be wav or mp3 for this target"));
            }
            let audio = json!({"data": data, "format": format});
            Ok(json!({"type": "input_audio", "input_audio": audio}))
        }
        (MediaKind::Audio, _) => Err(Unfit::new(
            "audio",
            "cannot be given by its URL to this target",
        )),
        (MediaKind::Video, _) if is_own => {
            Ok(json!({"type": "video_url", "video_url": {"url": url}}))
        }
        (MediaKind::Video, _) => Err(Unfit::new("video", "cannot be shown to this target")),
    }
}
