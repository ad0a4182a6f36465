//! Reads one event of a stream: what it is, and where what it says stands. One pass, no copies.
//!
//! ```text
//!   {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"The"}}}}
//!           └ what                  └ index                          └ text ─┘
//! ```
//!
//! Invariants
//! - I1 Nothing is allocated; every string is the inside of one that obeys the grammar.
//! - I2 Members of the wrong kind count as missing; only broken JSON is an error.
//!
//! Source: `cohere` 7.3.1, `V2ChatStreamResponse`.

use super::usage;
use crate::dialect::openai::Usage;
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, Value, ValueKind};

/// What kind of event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum What {
    /// Nobody knows.
    #[default]
    Other,
    MessageStart,
    ContentStart,
    ContentDelta,
    ContentEnd,
    PlanDelta,
    CallStart,
    CallDelta,
    CallEnd,
    Citation,
    MessageEnd,
    /// No event at all but the body of an error.
    Refusal,
}

impl What {
    fn named(name: &[u8]) -> Self {
        match name {
            b"message-start" => Self::MessageStart,
            b"content-start" => Self::ContentStart,
            b"content-delta" => Self::ContentDelta,
            b"content-end" => Self::ContentEnd,
            b"tool-plan-delta" => Self::PlanDelta,
            b"tool-call-start" => Self::CallStart,
            b"tool-call-delta" => Self::CallDelta,
            b"tool-call-end" => Self::CallEnd,
            b"citation-start" => Self::Citation,
            b"message-end" => Self::MessageEnd,
            _ => Self::Other,
        }
    }
}

/// An event. Strings are the insides of JSON strings.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Event<'a> {
    pub what: What,
    pub index: u64,
    pub id: &'a [u8],
    /// `content.type` is `thinking`.
    pub is_thinking: bool,
    pub text: Option<&'a [u8]>,
    pub thinking: Option<&'a [u8]>,
    pub plan: &'a [u8],
    pub call_id: &'a [u8],
    pub call_name: &'a [u8],
    pub arguments: &'a [u8],
    /// One citation, or a list of them.
    pub citation: Option<&'a [u8]>,
    pub finish: &'a [u8],
    /// `delta.error`.
    pub error: Option<&'a [u8]>,
    pub usage: Option<Usage>,
}

/// Reads `data`, whose event has the name `event`.
pub(super) fn read<'a>(event: Option<&[u8]>, data: &'a [u8]) -> Result<Event<'a>, JsonError> {
    let mut found = Event::default();
    let (mut is_named, mut is_refusal) = (false, false);
    let mut cursor = Cursor::new(data, 0);
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"type" => {
                if let Some(name) = inside(data, cursor.skip()?) {
                    found.what = What::named(name);
                    is_named = true;
                }
            }
            b"index" => found.index = whole(data, cursor.skip()?),
            b"id" => found.id = inside(data, cursor.skip()?).unwrap_or_default(),
            b"delta" => within(cursor, |cursor, key| delta(data, cursor, key, &mut found))?,
            b"usage" => found.usage = usage::read(data, cursor)?,
            b"finish_reason" => found.finish = inside(data, cursor.skip()?).unwrap_or_default(),
            b"message" => is_refusal |= cursor.skip()?.kind == ValueKind::String,
            b"error" => is_refusal |= cursor.skip()?.kind != ValueKind::Null,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    cursor.end()?;
    if !is_named {
        found.what = What::named(event.unwrap_or_default());
    }
    if found.what == What::Other && is_refusal {
        found.what = What::Refusal;
    }
    Ok(found)
}

fn delta<'a>(
    data: &'a [u8],
    cursor: &mut Cursor<'a>,
    key: &[u8],
    found: &mut Event<'a>,
) -> Result<(), JsonError> {
    match key {
        b"message" => within(cursor, |cursor, key| message(data, cursor, key, found))?,
        b"finish_reason" => found.finish = inside(data, cursor.skip()?).unwrap_or_default(),
        b"error" => found.error = inside(data, cursor.skip()?),
        b"usage" => found.usage = usage::read(data, cursor)?,
        _ => _ = cursor.skip()?,
    }
    Ok(())
}

fn message<'a>(
    data: &'a [u8],
    cursor: &mut Cursor<'a>,
    key: &[u8],
    found: &mut Event<'a>,
) -> Result<(), JsonError> {
    match key {
        b"content" => within(cursor, |cursor, key| content(data, cursor, key, found))?,
        b"tool_plan" => found.plan = inside(data, cursor.skip()?).unwrap_or_default(),
        b"tool_calls" => within(cursor, |cursor, key| call(data, cursor, key, found))?,
        b"citations" => {
            let value = cursor.skip()?;
            let says = matches!(value.kind, ValueKind::Object | ValueKind::Array) && !value.empty;
            found.citation = says.then(|| value.span.bytes(data));
        }
        _ => _ = cursor.skip()?,
    }
    Ok(())
}

fn content<'a>(
    data: &'a [u8],
    cursor: &mut Cursor<'a>,
    key: &[u8],
    found: &mut Event<'a>,
) -> Result<(), JsonError> {
    match key {
        b"text" => found.text = inside(data, cursor.skip()?),
        b"thinking" => found.thinking = inside(data, cursor.skip()?),
        b"type" => found.is_thinking = inside(data, cursor.skip()?) == Some(b"thinking"),
        _ => _ = cursor.skip()?,
    }
    Ok(())
}

fn call<'a>(
    data: &'a [u8],
    cursor: &mut Cursor<'a>,
    key: &[u8],
    found: &mut Event<'a>,
) -> Result<(), JsonError> {
    match key {
        b"id" => found.call_id = inside(data, cursor.skip()?).unwrap_or_default(),
        b"function" => within(cursor, |cursor, key| {
            match key {
                b"name" => found.call_name = inside(data, cursor.skip()?).unwrap_or_default(),
                b"arguments" => found.arguments = inside(data, cursor.skip()?).unwrap_or_default(),
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })?,
        _ => _ = cursor.skip()?,
    }
    Ok(())
}

/// Goes through the members of the object under the cursor; steps over anything else (I2).
pub(super) fn within<'a, F>(cursor: &mut Cursor<'a>, mut each: F) -> Result<(), JsonError>
where
    F: FnMut(&mut Cursor<'a>, &[u8]) -> Result<(), JsonError>,
{
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(());
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| each(cursor, key.name(&mut room)))
}

/// The inside of a string.
pub(super) fn inside(data: &[u8], value: Value) -> Option<&[u8]> {
    let whole = value.span.bytes(data);
    (value.kind == ValueKind::String)
        .then(|| whole.strip_prefix(b"\"")?.strip_suffix(b"\""))
        .flatten()
}

fn whole(data: &[u8], value: Value) -> u64 {
    std::str::from_utf8(value.span.bytes(data))
        .ok()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}
