//! Reads the parts of a conversation: text, thoughts, media, calls and what they gave.
//!
//! ```text
//!   functionCall{name}        no id: it gets call_0, call_1, … in the order of the conversation
//!   functionResponse{name}    no id: it answers the first call of this name that has no answer
//! ```
//!
//! A signature stands on any part. The model keeps it with a call and with a thought; the one
//! of a text part becomes an empty thought behind the text, whose state says so
//! ([`TEXT_MARK`]), and [`super::contents`] puts it back.

use super::read::extra;
use crate::dialect::gemini::keys::camel;
use crate::dialect::model::{
    BadAsk, Block, Call, Dialect, Extra, Media, MediaKind, Opaque, Source, ToolResult, Weight,
};
use crate::dialect::tree::Path;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// In the state of an empty thought: the signature belongs to the text before.
pub(super) const TEXT_MARK: &str = "textSignature";

/// What made-up names of calls begin with; digits follow.
const MADE_UP: &str = "call_";

/// Whether `id` was made up here, so that Gemini does not know it.
pub(super) fn is_made_up(id: &str) -> bool {
    id.strip_prefix(MADE_UP)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
}

/// A call that was read.
struct Called {
    id: String,
    name: String,
    is_answered: bool,
}

/// The calls of a conversation so far.
pub(super) struct Conversation<'v> {
    calls: Vec<Called>,
    given: BTreeSet<&'v str>,
    made: usize,
}

impl<'v> Conversation<'v> {
    /// At the start of `contents`.
    pub(super) fn new(contents: &'v [Value]) -> Self {
        let mut given = BTreeSet::new();
        for part in contents
            .iter()
            .filter_map(|content| content.get("parts")?.as_array())
            .flatten()
        {
            let call = ["functionCall", "function_call"]
                .iter()
                .find_map(|key| part.get(key));
            given.extend(call.and_then(|call| call.get("id")?.as_str()));
        }
        Self {
            calls: Vec::new(),
            given,
            made: 0,
        }
    }

    fn make_up(&mut self) -> String {
        loop {
            let id = format!("{MADE_UP}{}", self.made);
            self.made += 1;
            if !self.given.contains(id.as_str()) {
                return id;
            }
        }
    }

    /// Reads `part`, which stands at `at` (`place` in camelCase), to `blocks`.
    pub(super) fn read_part(
        &mut self,
        part: &Value,
        at: Path<'_>,
        place: &str,
        blocks: &mut Vec<Block>,
        extras: &mut Vec<Extra>,
    ) -> Result<(), BadAsk> {
        let object = at.object(part)?;
        let (mut data, mut is_thought, mut signature) = (None, false, None);
        let mut rest = Vec::new();
        for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            let at = at.key(key);
            match camel(key).as_ref() {
                "thought" => is_thought = at.flag(value)?,
                "thoughtSignature" => signature = Some(at.string(value)?),
                name @ ("text" | "inlineData" | "fileData" | "functionCall"
                | "functionResponse")
                    if data.is_none() =>
                {
                    data = Some((name.to_owned(), key, value));
                }
                name => rest.push((name.to_owned(), value)),
            }
        }
        let Some((name, key, value)) = data else {
            blocks.push(Block::Foreign {
                dialect: Dialect::Gemini,
                value: part.clone(),
            });
            return Ok(());
        };
        let at = at.key(key);
        let keep = |field: String, value: &Value| extra(field, value, Weight::Tuning);
        for (field, value) in rest {
            extras.push(keep(format!("{place}.{field}"), value));
        }
        let state = signature.map(|signature| Opaque {
            dialect: Dialect::Gemini,
            value: signature.into(),
        });
        match name.as_str() {
            "text" => read_text(at.string(value)?, is_thought, state, blocks),
            "functionCall" => blocks.push(Block::Call(self.read_call(value, at, state)?)),
            _ => {
                if let Some(signature) = signature {
                    let field = format!("{place}.thoughtSignature");
                    extras.push(keep(field, &signature.into()));
                }
                blocks.push(match name.as_str() {
                    "inlineData" => read_inline(value, at)?,
                    "fileData" => read_file(value, at, place, extras)?,
                    _ => Block::Result(self.read_result(value, at, place, extras)?),
                });
            }
        }
        Ok(())
    }

    fn read_call(
        &mut self,
        value: &Value,
        at: Path<'_>,
        opaque: Option<Opaque>,
    ) -> Result<Call, BadAsk> {
        let object = at.object(value)?;
        let name_at = at.key("name");
        let name = name_at.string(object.get("name").unwrap_or(&Value::Null))?;
        let id = match object.get("id").and_then(Value::as_str) {
            Some(id) if !id.is_empty() => id.to_owned(),
            _ => self.make_up(),
        };
        let arguments = match object.get("args") {
            None | Some(Value::Null) => "{}".to_owned(),
            Some(args) => {
                at.key("args").object(args)?;
                args.to_string()
            }
        };
        self.calls.push(Called {
            id: id.clone(),
            name: name.to_owned(),
            is_answered: false,
        });
        Ok(Call {
            id,
            name: name.to_owned(),
            arguments,
            is_custom: false,
            opaque,
        })
    }

    fn read_result(
        &mut self,
        value: &Value,
        at: Path<'_>,
        place: &str,
        extras: &mut Vec<Extra>,
    ) -> Result<ToolResult, BadAsk> {
        let (mut id, mut name, mut media) = (None, None, Vec::new());
        let empty = Value::Object(Map::new());
        let mut response = &empty;
        for (key, value) in at
            .object(value)?
            .iter()
            .filter(|(_, value)| !value.is_null())
        {
            let at = at.key(key);
            match camel(key).as_ref() {
                "id" => id = Some(at.string(value)?).filter(|id| !id.is_empty()),
                "name" => name = Some(at.string(value)?),
                "response" => {
                    at.object(value)?;
                    response = value;
                }
                "parts" => {
                    for (index, part) in at.array(value)?.iter().enumerate() {
                        let place = format!("{place}.functionResponse.parts[{index}]");
                        let at = at.index(index);
                        self.read_part(part, at, &place, &mut media, extras)?;
                    }
                }
                field => {
                    let field = format!("{place}.functionResponse.{field}");
                    extras.push(extra(field, value, Weight::Tuning));
                }
            }
        }
        let Some(name) = name else {
            return Err(at.key("name").bad("must be a string"));
        };
        let call = self.calls.iter_mut().find(|call| match id {
            Some(id) => call.id == id && !call.is_answered,
            None => call.name == name && !call.is_answered,
        });
        let id = match (call, id) {
            (Some(call), _) => {
                call.is_answered = true;
                call.id.clone()
            }
            (None, Some(id)) => id.to_owned(),
            (None, None) => self.make_up(),
        };
        let (text, is_error) = text_of(response);
        let mut content = vec![Block::text(text)];
        content.append(&mut media);
        Ok(ToolResult {
            id,
            name: Some(name.to_owned()),
            content,
            is_error,
            cache: None,
        })
    }
}

fn read_text(text: &str, is_thought: bool, state: Option<Opaque>, blocks: &mut Vec<Block>) {
    if is_thought {
        blocks.push(Block::Thinking {
            text: text.to_owned(),
            opaque: state,
        });
        return;
    }
    blocks.push(Block::text(text));
    if let Some(state) = state {
        blocks.push(Block::Thinking {
            text: String::new(),
            opaque: Some(Opaque {
                dialect: Dialect::Gemini,
                value: json!({TEXT_MARK: state.value}),
            }),
        });
    }
}

/// The text of a tool's answer, and whether the tool failed: the one from which
/// [`response_of`] makes the same answer again.
fn text_of(response: &Value) -> (String, bool) {
    for (key, is_error) in [("output", false), ("error", true)] {
        if let Some(text) = response.get(key).and_then(Value::as_str)
            && response_of(text, is_error) == *response
        {
            return (text.to_owned(), is_error);
        }
    }
    (response.to_string(), false)
}

/// What a tool gave as Gemini wants it, an object: what is one already stays, other text stands
/// under `output`, and what went wrong under `error`.
pub(super) fn response_of(text: &str, is_error: bool) -> Value {
    if is_error {
        return json!({"error": text});
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Value::Object(object),
        _ => json!({"output": text}),
    }
}

fn kind_of(media_type: &str) -> MediaKind {
    match media_type.split('/').next() {
        Some("image") => MediaKind::Image,
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        _ => MediaKind::Document,
    }
}

fn media(kind: MediaKind, source: Source, name: Option<&str>) -> Block {
    Block::Media(Media {
        kind,
        source,
        name: name.map(str::to_owned),
        detail: None,
        cache: None,
    })
}

/// `text` of the member `name`, whichever way it is spelt.
fn member<'v>(object: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    let (_, value) = object.iter().find(|(key, _)| camel(key) == name)?;
    value.as_str()
}

fn read_inline(value: &Value, at: Path<'_>) -> Result<Block, BadAsk> {
    let object = at.object(value)?;
    let wanted = "must be a string";
    let media_type = member(object, "mimeType").ok_or_else(|| at.key("mimeType").bad(wanted))?;
    let data = member(object, "data").ok_or_else(|| at.key("data").bad(wanted))?;
    let source = Source::Inline {
        media_type: media_type.to_owned(),
        data: standard_base64(data),
    };
    Ok(media(
        kind_of(media_type),
        source,
        member(object, "displayName"),
    ))
}

/// Base64 in the standard alphabet and padded: bytes in `ProtoJSON` come in the URL alphabet,
/// too, with and without padding.
fn standard_base64(data: &str) -> String {
    let mut out: String = data
        .chars()
        .map(|c| match c {
            '-' => '+',
            '_' => '/',
            same => same,
        })
        .collect();
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

fn read_file(
    value: &Value,
    at: Path<'_>,
    place: &str,
    extras: &mut Vec<Extra>,
) -> Result<Block, BadAsk> {
    let object = at.object(value)?;
    let wanted = "must be a string";
    let uri = member(object, "fileUri").ok_or_else(|| at.key("fileUri").bad(wanted))?;
    let media_type = member(object, "mimeType");
    let name = member(object, "displayName");
    let guess = type_of(uri);
    let kind = media_type.or(guess).map_or(MediaKind::Document, kind_of);
    if is_at_provider(uri) {
        let mut file = Map::new();
        file.insert("fileUri".into(), uri.into());
        if let Some(media_type) = media_type {
            file.insert("mimeType".into(), media_type.into());
        }
        let source = Source::File {
            dialect: Dialect::Gemini,
            id: Value::Object(file).to_string(),
        };
        return Ok(media(kind, source, name));
    }
    if let Some(media_type) = media_type
        && guess != Some(media_type)
    {
        let field = format!("{place}.fileData.mimeType");
        extras.push(extra(field, &media_type.into(), Weight::Tuning));
    }
    Ok(media(kind, Source::Url(uri.to_owned()), name))
}

/// Whether `uri` names a file in Google's stores, which nobody else can read.
pub(super) fn is_at_provider(uri: &str) -> bool {
    uri.starts_with("gs://")
        || uri.starts_with("files/")
        || uri.starts_with("https://generativelanguage.googleapis.com/")
}

/// The media type that the name of a file tells.
pub(super) fn type_of(uri: &str) -> Option<&'static str> {
    if uri.starts_with("https://www.youtube.com/") || uri.starts_with("https://youtu.be/") {
        return Some("video/mp4");
    }
    let path = uri.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        _ => return None,
    })
}
