//! Parts of messages and of tools' results, to blocks and back.
//!
//! ```text
//!   {"type":"input_image","image_url":"data:image/png;base64,iVBO…","detail":"low"}
//!                                           └ media_type     └ data
//! ```
//!
//! Source: OpenAI API reference, "Create a model response", `input`; mapping.md, 3.

use crate::dialect::model::{
    Abilities, BadAsk, Block, CacheMark, Dialect, Media, MediaKind, Notes, Source, Unfit,
};
use crate::dialect::tree::{self, Path};
use serde_json::{Map, Value, json};

/// Reads `content` or `output`: a string, or a list of parts.
pub(super) fn read(value: &Value, path: &Path<'_>) -> Result<Vec<Block>, BadAsk> {
    if let Some(text) = value.as_str() {
        return Ok(vec![Block::text(text)]);
    }
    let Some(list) = value.as_array() else {
        return Err(path.bad("must be a string or an array of parts"));
    };
    let mut blocks = Vec::with_capacity(list.len());
    for (index, part) in list.iter().enumerate() {
        let path = path.index(index);
        blocks.push(read_part(path.object(part)?, &path)?);
    }
    Ok(blocks)
}

fn read_part(part: &Map<String, Value>, path: &Path<'_>) -> Result<Block, BadAsk> {
    let field = |name: &'static str| {
        let value = part.get(name).unwrap_or(&Value::Null);
        path.key(name).string(value).map(str::to_owned)
    };
    let cache = cache_of(part);
    match tree::string(part, "type") {
        Some("input_text" | "output_text" | "text") => Ok(Block::Text {
            text: field("text")?,
            citations: part
                .get("annotations")
                .filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
                .cloned(),
            cache,
        }),
        Some("refusal") => Ok(Block::Refusal(field("refusal")?)),
        Some("input_image") => Ok(Block::Media(Media {
            kind: MediaKind::Image,
            source: source_of(part, "image_url", path)?,
            name: None,
            detail: tree::string(part, "detail").map(str::to_owned),
            cache,
        })),
        Some("input_file") => {
            let source = match tree::some(part, "file_data") {
                Some(_) => source_of(part, "file_data", path)?,
                None => source_of(part, "file_url", path)?,
            };
            Ok(Block::Media(Media {
                kind: kind_of(&source),
                source,
                name: tree::string(part, "filename").map(str::to_owned),
                detail: tree::string(part, "detail").map(str::to_owned),
                cache,
            }))
        }
        Some("input_audio") => read_audio(part, path, cache),
        _ => Err(path.key("type").bad(
            "must be input_text, output_text, refusal, input_image, input_file or input_audio",
        )),
    }
}

fn read_audio(
    part: &Map<String, Value>,
    path: &Path<'_>,
    cache: Option<CacheMark>,
) -> Result<Block, BadAsk> {
    let path = path.key("input_audio");
    let audio = path.object(part.get("input_audio").unwrap_or(&Value::Null))?;
    let text = |name: &'static str| {
        let value = audio.get(name).unwrap_or(&Value::Null);
        path.key(name).string(value)
    };
    let media_type = match text("format")? {
        "mp3" => "audio/mpeg".to_owned(),
        other => format!("audio/{other}"),
    };
    Ok(Block::Media(Media {
        kind: MediaKind::Audio,
        source: Source::Inline {
            media_type,
            data: text("data")?.to_owned(),
        },
        name: None,
        detail: None,
        cache,
    }))
}

/// Where media is: at `url_field` (an address or a data URL), or `file_id`.
fn source_of(
    part: &Map<String, Value>,
    url_field: &'static str,
    path: &Path<'_>,
) -> Result<Source, BadAsk> {
    if let Some(value) = tree::some(part, url_field) {
        let url = path.key(url_field).string(value)?;
        return Ok(data_url(url).unwrap_or_else(|| Source::Url(url.to_owned())));
    }
    match tree::string(part, "file_id") {
        Some(id) => Ok(Source::File {
            dialect: Dialect::Responses,
            id: id.to_owned(),
        }),
        None => Err(path
            .key(url_field)
            .bad("must be a string, unless there is a file_id")),
    }
}

/// What a data URL in base64 holds (RFC 2397).
fn data_url(url: &str) -> Option<Source> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media_type = head.strip_suffix(";base64")?;
    Some(Source::Inline {
        media_type: media_type.to_owned(),
        data: data.to_owned(),
    })
}

/// What a file is, by its media type.
fn kind_of(source: &Source) -> MediaKind {
    let Source::Inline { media_type, .. } = source else {
        return MediaKind::Document;
    };
    match media_type.split('/').next() {
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        _ => MediaKind::Document,
    }
}

/// The cache mark of a part: `prompt_cache_breakpoint`.
fn cache_of(part: &Map<String, Value>) -> Option<CacheMark> {
    let mark = tree::some(part, "prompt_cache_breakpoint")?.as_object()?;
    let ttl = match tree::string(mark, "ttl") {
        Some("30m") => Some("5m"),
        Some("12h") => Some("1h"),
        other => other,
    };
    Some(CacheMark {
        ttl: ttl.map(str::to_owned),
    })
}

/// Writes blocks as parts, for one target.
pub(super) struct Parts<'a> {
    pub(super) abilities: &'a Abilities,
    pub(super) notes: &'a mut Notes,
    /// The client speaks a dialect of `OpenAI`, so that its cache marks are `OpenAI`'s.
    pub(super) is_openai: bool,
    /// The client speaks this dialect.
    pub(super) is_own: bool,
}

impl Parts<'_> {
    /// A part of the input, or of the model's own words (`is_output`). `None`: nothing that
    /// this dialect could say.
    pub(super) fn put(&mut self, block: &Block, is_output: bool) -> Result<Option<Value>, Unfit> {
        let (mut part, cache) = match block {
            Block::Text {
                text,
                citations,
                cache,
            } => {
                let kind = if is_output {
                    "output_text"
                } else {
                    "input_text"
                };
                let mut part = json!({"type": kind, "text": text});
                if is_output && let Value::Object(part) = &mut part {
                    let own = citations
                        .as_ref()
                        .filter(|c| super::super::answer::is_annotations(c));
                    let own = own.cloned().unwrap_or_else(|| json!([]));
                    part.insert("annotations".to_owned(), own);
                }
                (part, cache)
            }
            Block::Refusal(text) if is_output => {
                return Ok(Some(json!({"type": "refusal", "refusal": text})));
            }
            Block::Refusal(text) => {
                return Ok(Some(json!({"type": "input_text", "text": text})));
            }
            Block::Media(media) if is_output => {
                return Err(Unfit::new(
                    name_of(media.kind),
                    "cannot stand in a turn of the model in the Responses API",
                ));
            }
            Block::Media(media) => (self.media(media)?, &media.cache),
            _ => return Ok(None),
        };
        if let (Some(cache), Value::Object(part)) = (cache, &mut part) {
            self.mark(cache, part);
        }
        Ok(Some(part))
    }

    pub(super) fn mark(&mut self, cache: &CacheMark, part: &mut Map<String, Value>) {
        if !self.is_openai {
            // Only models from gpt-5.6 on take marks, and all cache by themselves.
            self.notes.drop("cache_control");
            return;
        }
        let mut mark = json!({"mode": "explicit"});
        let ttl = match cache.ttl.as_deref() {
            Some("5m") => Some("30m"),
            Some("1h") => Some("12h"),
            other => other,
        };
        if let (Some(ttl), Value::Object(mark)) = (ttl, &mut mark) {
            mark.insert("ttl".to_owned(), json!(ttl));
        }
        part.insert("prompt_cache_breakpoint".to_owned(), mark);
    }

    fn media(&self, media: &Media) -> Result<Value, Unfit> {
        let can = match media.kind {
            MediaKind::Image => self.abilities.images,
            MediaKind::Document => self.abilities.documents,
            MediaKind::Audio => self.abilities.audio,
            MediaKind::Video => self.is_own,
        };
        if !can {
            return Err(Unfit::new(
                name_of(media.kind),
                "cannot be shown to this model",
            ));
        }
        if let Source::Text(text) = &media.source {
            let text = match &media.name {
                Some(name) => format!("{name}\n\n{text}"),
                None => text.clone(),
            };
            return Ok(json!({"type": "input_text", "text": text}));
        }
        let mut part = Map::new();
        let kind = match (media.kind, &media.source, &media.name) {
            (MediaKind::Image, ..) => "input_image",
            (MediaKind::Audio, Source::Inline { media_type, data }, None) => {
                let format = match media_type.as_str() {
                    "audio/mpeg" | "audio/mp3" => "mp3",
                    "audio/wav" | "audio/x-wav" | "audio/wave" => "wav",
                    other => other.strip_prefix("audio/").unwrap_or(other),
                };
                return Ok(json!({
                    "type": "input_audio",
                    "input_audio": {"data": data, "format": format},
                }));
            }
            _ => "input_file",
        };
        part.insert("type".to_owned(), json!(kind));
        self.put_source(media, kind == "input_image", &mut part)?;
        if let Some(detail) = &media.detail {
            part.insert("detail".to_owned(), json!(detail));
        }
        Ok(Value::Object(part))
    }

    fn put_source(
        &self,
        media: &Media,
        is_image: bool,
        part: &mut Map<String, Value>,
    ) -> Result<(), Unfit> {
        let (field, value) = match &media.source {
            Source::Inline { media_type, data } => {
                let field = if is_image { "image_url" } else { "file_data" };
                (field, format!("data:{media_type};base64,{data}"))
            }
            Source::Url(url) if is_image => ("image_url", url.clone()),
            Source::Url(url) => ("file_url", url.clone()),
            Source::File {
                dialect: Dialect::Responses | Dialect::Chat,
                id,
            } => ("file_id", id.clone()),
            Source::File { .. } => {
                return Err(Unfit::new(
                    name_of(media.kind),
                    "is a file at another provider, which this one cannot read",
                ));
            }
            Source::Text(_) => return Ok(()),
        };
        if !is_image {
            let made_up = (field == "file_data" && !self.is_own).then(|| file_name(&value));
            if let Some(name) = media.name.clone().or(made_up) {
                part.insert("filename".to_owned(), json!(name));
            }
        }
        part.insert(field.to_owned(), json!(value));
        Ok(())
    }
}

/// A name for a file that has none: the provider wants one.
fn file_name(data_url: &str) -> String {
    let media_type = data_url.strip_prefix("data:").unwrap_or_default();
    let kind = media_type.split([';', ',']).next().unwrap_or_default();
    let end = match kind {
        "text/plain" => "txt",
        "text/markdown" => "md",
        other => other.rsplit('/').next().unwrap_or("pdf"),
    };
    format!("document.{end}")
}

/// What a client calls media.
const fn name_of(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "image",
        MediaKind::Document => "document",
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}
