//! Images, documents, sound and video: formats and media types, both ways.
//!
//! What stands at Amazon (`s3Location`) and documents with citations mean something to this
//! dialect only: they travel as they came, as a file of this dialect whose name is the JSON
//! text of the whole block. So nothing of them is lost on the way back, and other dialects say
//! that they cannot have them.
//!
//! Source: Amazon Bedrock Runtime API, `ImageBlock`, `DocumentBlock`, `VideoBlock`,
//! `AudioBlock`; mapping.md, 3.

use crate::dialect::model::{
    Abilities, BadAsk, CacheMark, Dialect, Media, MediaKind, Source, Unfit,
};
use crate::dialect::tree::{Path, some, string};
use serde_json::{Map, Value, json};

/// The kind of media of a block's key.
pub(super) fn kind(key: &str) -> Option<MediaKind> {
    Some(match key {
        "image" => MediaKind::Image,
        "document" => MediaKind::Document,
        "audio" => MediaKind::Audio,
        "video" => MediaKind::Video,
        _ => return None,
    })
}

const fn key(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "image",
        MediaKind::Document => "document",
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

/// Formats by their names here and their media types; the first of a type is the one written.
#[rustfmt::skip]
const FORMATS: &[(MediaKind, &str, &str)] = &[
    (MediaKind::Image, "png", "image/png"),
    (MediaKind::Image, "jpeg", "image/jpeg"),
    (MediaKind::Image, "jpeg", "image/jpg"),
    (MediaKind::Image, "gif", "image/gif"),
    (MediaKind::Image, "webp", "image/webp"),
    (MediaKind::Document, "pdf", "application/pdf"),
    (MediaKind::Document, "csv", "text/csv"),
    (MediaKind::Document, "doc", "application/msword"),
    (MediaKind::Document, "docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    (MediaKind::Document, "xls", "application/vnd.ms-excel"),
    (MediaKind::Document, "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
    (MediaKind::Document, "html", "text/html"),
    (MediaKind::Document, "txt", "text/plain"),
    (MediaKind::Document, "md", "text/markdown"),
    (MediaKind::Audio, "mp3", "audio/mpeg"),
    (MediaKind::Audio, "mp3", "audio/mp3"),
    (MediaKind::Audio, "wav", "audio/wav"),
    (MediaKind::Audio, "wav", "audio/x-wav"),
    (MediaKind::Audio, "opus", "audio/opus"),
    (MediaKind::Audio, "aac", "audio/aac"),
    (MediaKind::Audio, "flac", "audio/flac"),
    (MediaKind::Audio, "ogg", "audio/ogg"),
    (MediaKind::Audio, "m4a", "audio/m4a"),
    (MediaKind::Audio, "mp4", "audio/mp4"),
    (MediaKind::Audio, "webm", "audio/webm"),
    (MediaKind::Audio, "pcm", "audio/pcm"),
    (MediaKind::Video, "mp4", "video/mp4"),
    (MediaKind::Video, "mov", "video/quicktime"),
    (MediaKind::Video, "mkv", "video/x-matroska"),
    (MediaKind::Video, "webm", "video/webm"),
    (MediaKind::Video, "flv", "video/x-flv"),
    (MediaKind::Video, "mpeg", "video/mpeg"),
    (MediaKind::Video, "wmv", "video/x-ms-wmv"),
    (MediaKind::Video, "three_gp", "video/3gpp"),
];

fn media_type(kind: MediaKind, format: &str) -> Option<&'static str> {
    let is_it = |row: &&(MediaKind, &str, &str)| row.0 == kind && row.1 == format;
    FORMATS.iter().find(is_it).map(|row| row.2)
}

fn format(kind: MediaKind, media_type: &str) -> Option<&'static str> {
    // Parameters (`text/plain; charset=utf-8`) do not count.
    let plain = media_type.split(';').next().unwrap_or("").trim();
    let is_it = |row: &&(MediaKind, &str, &str)| row.0 == kind && plain.eq_ignore_ascii_case(row.2);
    FORMATS.iter().find(is_it).map(|row| row.1)
}

/// Reads the value of a media block.
pub(super) fn read(kind: MediaKind, value: &Value, path: &Path<'_>) -> Result<Media, BadAsk> {
    let object = path.object(value)?;
    let source_path = path.key("source");
    let source = some(object, "source").ok_or_else(|| source_path.bad("is missing"))?;
    let source = source_path.object(source)?;
    let source = match simple(kind, object, source) {
        Some(source) => source,
        None => Source::File {
            dialect: Dialect::Bedrock,
            id: value.to_string(),
        },
    };
    Ok(Media {
        kind,
        source,
        name: string(object, "name").map(str::to_owned),
        detail: None,
        cache: None,
    })
}

/// A source that every dialect understands: bytes of a known format, or plain text, and
/// nothing else in the block that would be lost.
fn simple(
    kind: MediaKind,
    object: &Map<String, Value>,
    source: &Map<String, Value>,
) -> Option<Source> {
    let known = |key: &String| matches!(key.as_str(), "format" | "source" | "name");
    if !object.keys().all(known) || source.len() != 1 {
        return None;
    }
    let format = string(object, "format");
    if let Some(text) = string(source, "text") {
        let is_plain = kind == MediaKind::Document && format.is_none_or(|f| f == "txt");
        return is_plain.then(|| Source::Text(text.to_owned()));
    }
    let media_type = media_type(kind, format?)?;
    Some(Source::Inline {
        media_type: media_type.to_owned(),
        data: string(source, "bytes")?.to_owned(),
    })
}

/// Writes a media block. `names` are those of the documents before it: each has one of its own.
pub(super) fn write(
    media: &Media,
    abilities: &Abilities,
    names: &mut Vec<String>,
) -> Result<Value, Unfit> {
    let kind = media.kind;
    let key = key(kind);
    if let Source::File {
        dialect: Dialect::Bedrock,
        id,
    } = &media.source
    {
        let value: Value = serde_json::from_str(id)
            .map_err(|_| Unfit::new(key, "names a file that is not at this provider"))?;
        return Ok(json!({ key: value }));
    }
    let able = match kind {
        MediaKind::Image => abilities.images,
        MediaKind::Document => abilities.documents,
        MediaKind::Audio => abilities.audio,
        MediaKind::Video => true,
    };
    if !able {
        return Err(Unfit::new(
            key,
            "is of a kind that this model does not read",
        ));
    }
    let (format, source) = match &media.source {
        Source::Inline { media_type, data } => {
            let format = format(kind, media_type).ok_or_else(|| {
                Unfit::new(key, "is of a format that this provider does not read")
            })?;
            (format, json!({ "bytes": data }))
        }
        Source::Text(text) if kind == MediaKind::Document => ("txt", json!({ "text": text })),
        Source::Text(_) => return Err(Unfit::new(key, "cannot be plain text")),
        Source::Url(_) => {
            return Err(Unfit::new(
                key,
                "must be sent inline: this provider fetches no URL",
            ));
        }
        Source::File { .. } => {
            return Err(Unfit::new(key, "names a file that is at another provider"));
        }
    };
    let mut block = json!({ "format": format });
    if kind == MediaKind::Document {
        let name = own_name(media.name.as_deref(), names);
        put(&mut block, "name", json!(name));
        names.push(name);
    }
    put(&mut block, "source", source);
    Ok(json!({ key: block }))
}

/// A name that no document before has.
fn own_name(name: Option<&str>, names: &[String]) -> String {
    let nth = names.len() + 1;
    match name.map(clean_name) {
        Some(name) if name.is_empty() => format!("Document {nth}"),
        Some(name) if names.contains(&name) => format!("{name} {nth}"),
        Some(name) => name,
        None => format!("Document {nth}"),
    }
}

fn put(block: &mut Value, key: &str, value: Value) {
    if let Some(object) = block.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// A name as the provider takes it: letters, digits, single spaces, hyphens, brackets; 200
/// characters at most. Source: Amazon Bedrock API reference, `DocumentBlock`.
fn clean_name(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars().take(200) {
        let keep = c.is_ascii_alphanumeric() || matches!(c, '-' | '(' | ')' | '[' | ']');
        if keep {
            out.push(c);
        } else if !out.ends_with(' ') && !out.is_empty() {
            out.push(' ');
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// What stands behind the block: the prompt may be cached up to here.
pub(super) fn cache_point(mark: &CacheMark) -> Value {
    match &mark.ttl {
        Some(ttl) => json!({ "cachePoint": { "type": "default", "ttl": ttl } }),
        None => json!({ "cachePoint": { "type": "default" } }),
    }
}

/// Reads the value of a cache point.
pub(super) fn cache_mark(value: &Value) -> CacheMark {
    let ttl = value.get("ttl").and_then(Value::as_str);
    CacheMark {
        ttl: ttl.map(str::to_owned),
    }
}
