//! One event of a stream, as the places of what it says.
//!
//! ```text
//!   {"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"Hi",…}
//!    └ kind                              └ item           └ part            └ delta
//! ```
//!
//! Nothing is copied: strings are the bytes between their quotes, containers the bytes that
//! they are made of.
//!
//! Source: OpenAI API reference, "Streaming events".

use crate::base::fault::Kind;
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, Value, ValueKind};

/// An event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Event<'a> {
    pub(super) kind: &'a [u8],
    /// `delta`, if it is a string.
    pub(super) delta: Option<&'a [u8]>,
    /// The whole text at the end of a part: `text`, `arguments`, `input`, `refusal`.
    pub(super) text: Option<&'a [u8]>,
    /// `output_index`: which item.
    pub(super) item_at: Option<u64>,
    /// `content_index` or `summary_index`: which part of it.
    pub(super) part_at: u64,
    pub(super) item: Option<&'a [u8]>,
    pub(super) part: Option<&'a [u8]>,
    pub(super) annotation: Option<&'a [u8]>,
    pub(super) response: Option<&'a [u8]>,
    /// It has an `error` that is not null.
    pub(super) has_error: bool,
}

impl<'a> Event<'a> {
    /// Reads an event; `name` is what the framing called it.
    pub(super) fn read(name: Option<&'a [u8]>, data: &'a [u8]) -> Result<Self, Kind> {
        let mut event = Self {
            kind: name.unwrap_or_default(),
            ..Self::default()
        };
        members(data, |name, value, whole| {
            let text = inside(&value, whole);
            match name {
                b"type" => event.kind = text.unwrap_or(event.kind),
                b"delta" => event.delta = text,
                b"text" | b"arguments" | b"input" | b"refusal" => event.text = text,
                b"output_index" => event.item_at = number(whole),
                b"content_index" | b"summary_index" => {
                    event.part_at = number(whole).unwrap_or(0);
                }
                b"item" => event.item = object(&value, whole),
                b"part" => event.part = object(&value, whole),
                b"annotation" => event.annotation = object(&value, whole),
                b"response" => event.response = object(&value, whole),
                b"error" => event.has_error = value.kind != ValueKind::Null,
                _ => {}
            }
        })
        .map_err(|_| Kind::UpstreamGarbled)?;
        Ok(event)
    }
}

/// An item, as far as a stream's reader must know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Item<'a> {
    pub(super) kind: &'a [u8],
    /// `call_id`, else `id`.
    pub(super) call_id: Option<&'a [u8]>,
    pub(super) name: &'a [u8],
    /// `arguments` or `input`.
    pub(super) arguments: Option<&'a [u8]>,
    pub(super) content: Option<&'a [u8]>,
    pub(super) summary: Option<&'a [u8]>,
    /// It has an `encrypted_content` that is a string.
    pub(super) is_encrypted: bool,
}

impl<'a> Item<'a> {
    /// Reads an item that stood in an event that was read.
    pub(super) fn read(raw: &'a [u8]) -> Result<Self, Kind> {
        let mut item = Self::default();
        let mut id = None;
        members(raw, |name, value, whole| {
            let text = inside(&value, whole);
            match name {
                b"type" => item.kind = text.unwrap_or_default(),
                b"id" => id = text,
                b"call_id" => item.call_id = text.filter(|text| !text.is_empty()),
                b"name" => item.name = text.unwrap_or_default(),
                b"arguments" | b"input" => item.arguments = text,
                b"content" => item.content = array(&value, whole),
                b"summary" => item.summary = array(&value, whole),
                b"encrypted_content" => item.is_encrypted = text.is_some(),
                _ => {}
            }
        })
        .map_err(|_| Kind::UpstreamGarbled)?;
        item.call_id = item.call_id.or(id);
        Ok(item)
    }
}

/// A part of a message or of a reasoning item.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part<'a> {
    pub(super) is_refusal: bool,
    pub(super) text: &'a [u8],
    pub(super) annotations: Option<&'a [u8]>,
}

impl<'a> Part<'a> {
    pub(super) fn read(raw: &'a [u8]) -> Result<Self, Kind> {
        let mut part = Self::default();
        members(raw, |name, value, whole| match name {
            b"text" => part.text = inside(&value, whole).unwrap_or(part.text),
            b"refusal" => {
                part.is_refusal = value.kind == ValueKind::String;
                part.text = inside(&value, whole).unwrap_or(part.text);
            }
            b"annotations" => part.annotations = array(&value, whole),
            _ => {}
        })
        .map_err(|_| Kind::UpstreamGarbled)?;
        Ok(part)
    }
}

/// Gives `each` the objects in `array`, which stood in an event that was read.
pub(super) fn objects<'a>(
    array: Option<&'a [u8]>,
    mut each: impl FnMut(&'a [u8]) -> Result<(), Kind>,
) -> Result<(), Kind> {
    let Some(json) = array else {
        return Ok(());
    };
    let mut fault = None;
    let walked = Cursor::new(json, 0).array(|cursor| {
        let value = cursor.skip()?;
        if value.kind == ValueKind::Object && fault.is_none() {
            fault = each(value.span.bytes(json)).err();
        }
        Ok(())
    });
    match (walked, fault) {
        (_, Some(kind)) => Err(kind),
        (Err(_), None) => Err(Kind::UpstreamGarbled),
        (Ok(()), None) => Ok(()),
    }
}

/// Gives `each` the members of the object that `json` must be: name, value, and its bytes.
pub(super) fn members<'a>(
    json: &'a [u8],
    mut each: impl FnMut(&[u8], Value, &'a [u8]),
) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(json, 0);
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        let value = cursor.skip()?;
        each(key.name(&mut room), value, value.span.bytes(json));
        Ok(())
    })?;
    cursor.end()
}

/// The inside of a string.
pub(super) fn inside<'a>(value: &Value, whole: &'a [u8]) -> Option<&'a [u8]> {
    let inner = whole.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (value.kind == ValueKind::String).then_some(inner)
}

fn object<'a>(value: &Value, whole: &'a [u8]) -> Option<&'a [u8]> {
    (value.kind == ValueKind::Object).then_some(whole)
}

fn array<'a>(value: &Value, whole: &'a [u8]) -> Option<&'a [u8]> {
    (value.kind == ValueKind::Array).then_some(whole)
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
