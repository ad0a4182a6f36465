//! Reads content blocks.

use super::super::seal;
use super::extras::Extras;
use crate::dialect::model::{
    BadAsk, Block, CacheMark, Call, Dialect, Media, MediaKind, Opaque, Source, ToolResult, Weight,
};
use crate::dialect::tree::{self, Path};
use serde_json::{Map, Value};

/// Where blocks stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// With the model: what only this dialect knows is the provider's own work, which others
    /// can do without.
    Assistant,
    /// Anywhere else: it is what the model is told.
    Told,
}

type Object = Map<String, Value>;

/// Reads `value`: one text, or a list of blocks.
pub(super) fn read(
    value: &Value,
    path: &Path<'_>,
    side: Side,
    extras: &mut Extras,
) -> Result<Vec<Block>, BadAsk> {
    match value {
        Value::String(text) => Ok(vec![Block::text(text)]),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| block(item, &path.index(index), side, extras))
            .collect(),
        _ => Err(path.bad("must be a string or an array of content blocks")),
    }
}

/// What `value`, which is no answer to a client, says: a block of an answer.
pub(in crate::dialect::anthropic) fn answered(value: &Value) -> Result<Block, BadAsk> {
    block(value, &Path::TOP, Side::Assistant, &mut Extras::default())
}

fn block(value: &Value, path: &Path<'_>, side: Side, extras: &mut Extras) -> Result<Block, BadAsk> {
    let object = path.object(value)?;
    let kind = need(object, path, "type")?;
    match kind {
        "text" => text(object, path, extras),
        "image" if side == Side::Told => media(value, object, path, extras, MediaKind::Image),
        "document" if side == Side::Told => media(value, object, path, extras, MediaKind::Document),
        "thinking" => {
            extras.rest(object, path, &["type", "thinking", "signature"]);
            Ok(Block::Thinking {
                text: tree::string(object, "thinking")
                    .unwrap_or_default()
                    .to_owned(),
                opaque: tree::string(object, "signature").and_then(seal::open),
            })
        }
        "redacted_thinking" => Ok(Block::Thinking {
            text: String::new(),
            opaque: Some(Opaque {
                dialect: Dialect::Anthropic,
                value: value.clone(),
            }),
        }),
        "tool_use" => call(object, path, extras),
        "tool_result" if side == Side::Told => result(object, path, extras),
        _ => Ok(foreign(value, path, side, extras)),
    }
}

fn text(object: &Object, path: &Path<'_>, extras: &mut Extras) -> Result<Block, BadAsk> {
    extras.rest(
        object,
        path,
        &["type", "text", "citations", "cache_control"],
    );
    let citations = tree::some(object, "citations").cloned();
    Ok(Block::Text {
        text: need(object, path, "text")?.to_owned(),
        citations: citations.filter(|c| c.as_array().is_some_and(|c| !c.is_empty())),
        cache: cache(object, path, extras)?,
    })
}

fn call(object: &Object, path: &Path<'_>, extras: &mut Extras) -> Result<Block, BadAsk> {
    extras.rest(object, path, &["type", "id", "name", "input"]);
    let arguments = match tree::some(object, "input") {
        Some(input) => input.to_string(),
        None => "{}".to_owned(),
    };
    Ok(Block::Call(Call {
        id: need(object, path, "id")?.to_owned(),
        name: need(object, path, "name")?.to_owned(),
        arguments,
        is_custom: false,
        opaque: None,
    }))
}

fn result(object: &Object, path: &Path<'_>, extras: &mut Extras) -> Result<Block, BadAsk> {
    const KNOWN: &[&str] = &[
        "type",
        "tool_use_id",
        "content",
        "is_error",
        "cache_control",
    ];
    extras.rest(object, path, KNOWN);
    let content = match tree::some(object, "content") {
        Some(Value::String(text)) if text.is_empty() => Vec::new(),
        Some(content) => read(content, &path.key("content"), Side::Told, extras)?,
        None => Vec::new(),
    };
    let is_error = match tree::some(object, "is_error") {
        Some(flag) => path.key("is_error").flag(flag)?,
        None => false,
    };
    Ok(Block::Result(ToolResult {
        id: need(object, path, "tool_use_id")?.to_owned(),
        name: None,
        content,
        is_error,
        cache: cache(object, path, extras)?,
    }))
}

fn media(
    value: &Value,
    object: &Object,
    path: &Path<'_>,
    extras: &mut Extras,
    kind: MediaKind,
) -> Result<Block, BadAsk> {
    const SOURCE: &[&str] = &["type", "media_type", "data", "url", "file_id"];
    let here = path.key("source");
    let source = here.object(object.get("source").unwrap_or(&Value::Null))?;
    let of = |key: &str| need(source, &here, key).map(str::to_owned);
    let place = match (need(source, &here, "type")?, kind) {
        ("base64", _) => Source::Inline {
            media_type: of("media_type")?,
            data: of("data")?,
        },
        ("text", MediaKind::Document) => Source::Text(of("data")?),
        ("url", _) => Source::Url(of("url")?),
        ("file", _) => Source::File {
            dialect: Dialect::Anthropic,
            id: of("file_id")?,
        },
        _ => return Ok(foreign(value, path, Side::Told, extras)),
    };
    extras.rest(source, &here, SOURCE);
    let name = match kind {
        MediaKind::Document => tree::string(object, "title").map(str::to_owned),
        _ => None,
    };
    let titled = if name.is_some() { "title" } else { "type" };
    extras.rest(object, path, &["type", "source", titled, "cache_control"]);
    Ok(Block::Media(Media {
        kind,
        source: place,
        name,
        detail: None,
        cache: cache(object, path, extras)?,
    }))
}

/// What only this dialect understands. Where the model is told something, others must not
/// leave it out: its type is an extra that has a meaning.
fn foreign(value: &Value, path: &Path<'_>, side: Side, extras: &mut Extras) -> Block {
    if side == Side::Told {
        let kind = value.get("type").cloned().unwrap_or_default();
        extras.keep(&path.key("type"), kind, Weight::Meaning);
    }
    Block::Foreign {
        dialect: Dialect::Anthropic,
        value: value.clone(),
    }
}

/// The cache mark of `object`.
pub(super) fn cache(
    object: &Object,
    path: &Path<'_>,
    extras: &mut Extras,
) -> Result<Option<CacheMark>, BadAsk> {
    let Some(value) = tree::some(object, "cache_control") else {
        return Ok(None);
    };
    let here = path.key("cache_control");
    let mark = here.object(value)?;
    extras.rest(mark, &here, &["type", "ttl"]);
    let ttl = match tree::some(mark, "ttl") {
        Some(ttl) => Some(here.key("ttl").string(ttl)?.to_owned()),
        None => None,
    };
    Ok(Some(CacheMark { ttl }))
}

/// The string that `object` must have at `key`.
pub(super) fn need<'v>(object: &'v Object, path: &Path<'_>, key: &str) -> Result<&'v str, BadAsk> {
    path.key(key)
        .string(object.get(key).unwrap_or(&Value::Null))
}
