//! What one event of a stream says, borrowed from its payload.
//!
//! Source: Amazon Bedrock Runtime API, `ContentBlockStart`, `ContentBlockDelta`,
//! `MessageStopEvent`, `ConverseStreamMetadataEvent`.

use super::super::usage;
use crate::dialect::model::{Stop, Text, Tokens};
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};

/// An event.
#[derive(Debug)]
pub(super) enum Event<'a> {
    Begin,
    Start(u64, Start<'a>),
    Delta(u64, Delta<'a>),
    Close(u64),
    Stop(Stop, Text<'a>),
    Counts(Option<Tokens>),
    Unknown,
}

/// How a block begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start<'a> {
    Call {
        id: Text<'a>,
        name: Text<'a>,
    },
    /// A tool that the provider runs, what it gave, an image.
    Foreign,
    /// The first delta will tell.
    Nothing,
}

/// More of a block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Delta<'a> {
    Text(Text<'a>),
    Thinking(Text<'a>),
    /// A signature, or what is encrypted, as a JSON value.
    Opaque(&'a [u8]),
    Arguments(Text<'a>),
    Citation(&'a [u8]),
    Unknown,
}

/// The name and the payload of an event that comes as a union, `{"messageStop":{…}}`.
pub(super) fn member(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut found = None;
    let mut cursor = Cursor::new(data, 0);
    cursor
        .object(|cursor, key| {
            let value = cursor.skip()?;
            if value.kind == ValueKind::Object && found.is_none() {
                found = Some((key.raw, value.span.bytes(data)));
            }
            Ok(())
        })
        .ok()?;
    cursor.end().ok()?;
    // An empty object says nothing.
    Some(found.unwrap_or((b"", b"{}")))
}

/// Reads an event; `None`: it cannot be read. What the gateway does not know is
/// [`Event::Unknown`], whatever it holds.
pub(super) fn read<'a>(event: &[u8], data: &'a [u8]) -> Option<Event<'a>> {
    let known = matches!(
        event,
        b"messageStart"
            | b"contentBlockStart"
            | b"contentBlockDelta"
            | b"contentBlockStop"
            | b"messageStop"
            | b"metadata"
    );
    if !known {
        return Some(Event::Unknown);
    }
    simdutf8::basic::from_utf8(data).ok()?;
    let mut cursor = Cursor::new(data, 0);
    let read = match event {
        b"messageStart" => cursor.skip().map(|_| Event::Begin),
        b"messageStop" => stop(data, &mut cursor),
        b"metadata" => counts(data, &mut cursor),
        _ => block(event, data, &mut cursor),
    };
    let read = read.ok()?;
    cursor.end().ok()?;
    Some(read)
}

/// An event of a block.
fn block<'a>(
    event: &[u8],
    data: &'a [u8],
    cursor: &mut Cursor<'a>,
) -> Result<Event<'a>, JsonError> {
    let (mut index, mut begins, mut more) = (0, Start::Nothing, Delta::Unknown);
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"contentBlockIndex" => {
                let digits = cursor.skip()?.span.bytes(data);
                index = std::str::from_utf8(digits).map_or(0, |text| text.parse().unwrap_or(0));
            }
            b"start" => begins = start(data, cursor)?,
            b"delta" => more = delta(data, cursor)?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(match event {
        b"contentBlockStart" => Event::Start(index, begins),
        b"contentBlockDelta" => Event::Delta(index, more),
        _ => Event::Close(index),
    })
}

fn start<'a>(data: &'a [u8], cursor: &mut Cursor<'a>) -> Result<Start<'a>, JsonError> {
    let mut found = Start::Nothing;
    members(cursor, |cursor, name| {
        if name != b"toolUse" {
            if cursor.skip()?.kind != ValueKind::Null {
                found = Start::Foreign;
            }
            return Ok(());
        }
        let (mut id, mut tool, mut is_own) = (Text::EMPTY, Text::EMPTY, true);
        members(cursor, |cursor, name| {
            match name {
                b"toolUseId" => id = string(data, cursor)?.unwrap_or(Text::EMPTY),
                b"name" => tool = string(data, cursor)?.unwrap_or(Text::EMPTY),
                b"type" => is_own = cursor.skip()?.span.bytes(data) != b"\"server_tool_use\"",
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })?;
        found = if is_own {
            Start::Call { id, name: tool }
        } else {
            Start::Foreign
        };
        Ok(())
    })?;
    Ok(found)
}

fn delta<'a>(data: &'a [u8], cursor: &mut Cursor<'a>) -> Result<Delta<'a>, JsonError> {
    let mut found = Delta::Unknown;
    members(cursor, |cursor, name| {
        match name {
            b"text" => found = string(data, cursor)?.map_or(Delta::Unknown, Delta::Text),
            b"toolUse" => members(cursor, |cursor, name| {
                if name == b"input" {
                    found = string(data, cursor)?.map_or(Delta::Unknown, Delta::Arguments);
                } else {
                    cursor.skip()?;
                }
                Ok(())
            })?,
            b"reasoningContent" => {
                if let Some(thought) = reasoning(data, cursor)? {
                    found = thought;
                }
            }
            b"citation" => {
                let value = cursor.skip()?;
                if value.kind == ValueKind::Object {
                    found = Delta::Citation(value.span.bytes(data));
                }
            }
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(found)
}

fn reasoning<'a>(data: &'a [u8], cursor: &mut Cursor<'a>) -> Result<Option<Delta<'a>>, JsonError> {
    let from = cursor.at();
    let (mut found, mut is_sealed) = (None, false);
    members(cursor, |cursor, name| {
        match name {
            b"text" => found = string(data, cursor)?.map(Delta::Thinking).or(found),
            b"signature" => {
                let value = cursor.skip()?;
                if value.kind == ValueKind::String {
                    found = Some(Delta::Opaque(value.span.bytes(data)));
                }
            }
            b"redactedContent" => is_sealed = cursor.skip()?.kind == ValueKind::String,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    if is_sealed {
        // All of the object, so that it is told from a signature.
        let whole = data.get(from..cursor.at()).unwrap_or_default();
        found = Some(Delta::Opaque(whole.trim_ascii()));
    }
    Ok(found)
}

fn stop<'a>(data: &'a [u8], cursor: &mut Cursor<'a>) -> Result<Event<'a>, JsonError> {
    let (mut reason, mut sequence) = (Stop::End, Text::EMPTY);
    members(cursor, |cursor, name| {
        match name {
            b"stopReason" => {
                let value = cursor.skip()?;
                let raw = value.span.bytes(data);
                let inside = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
                reason = usage::stop(inside);
            }
            b"additionalModelResponseFields" => members(cursor, |cursor, name| {
                if name == b"stop_sequence" {
                    sequence = string(data, cursor)?.unwrap_or(Text::EMPTY);
                } else {
                    cursor.skip()?;
                }
                Ok(())
            })?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(Event::Stop(reason, sequence))
}

fn counts<'a>(data: &'a [u8], cursor: &mut Cursor<'a>) -> Result<Event<'a>, JsonError> {
    let mut tokens = None;
    members(cursor, |cursor, name| {
        if name == b"usage" {
            tokens = usage::read(data, cursor)?;
        } else {
            cursor.skip()?;
        }
        Ok(())
    })?;
    Ok(Event::Counts(tokens))
}

/// Goes through the object that comes next; anything else is stepped over.
fn members<'a>(
    cursor: &mut Cursor<'a>,
    mut each: impl FnMut(&mut Cursor<'a>, &[u8]) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(());
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| each(cursor, key.name(&mut room)))
}

/// The inside of the string that comes next; anything else is stepped over.
fn string<'a>(data: &'a [u8], cursor: &mut Cursor<'a>) -> Result<Option<Text<'a>>, JsonError> {
    let value = cursor.skip()?;
    if value.kind != ValueKind::String {
        return Ok(None);
    }
    let raw = value.span.bytes(data);
    let inside = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
    Ok(Some(Text::Escaped(inside)))
}
