//! Looks at a whole, plain answer: an object? an error? how many tokens?
//!
//! The body has passed or will pass as it is; only facts are drawn from it, leniently: the
//! grammar is checked, UTF-8 is not, and what is nested too deeply is unknown, not wrong.
//!
//! Source: OpenAI API reference, `chat.completion`, `text_completion`, embeddings `list`.

use super::usage::{self, Usage};
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};
use crate::wire::json::scan::BOM;
use crate::wire::json::{JsonError, JsonFault};

/// What the body is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// No JSON.
    #[default]
    Broken,
    /// JSON, but no object.
    Other,
    /// An object.
    Object,
    /// An object that is nested beyond the limit: the other facts come from the part before.
    TooDeep,
}

/// What a plain answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerFacts {
    /// What the body is.
    pub shape: Shape,
    /// It has a top-level `error` that is not null.
    pub has_error: bool,
    /// It has `choices` or `data` that are not null: what was asked for.
    pub has_result: bool,
    /// The token counts.
    pub usage: Option<Usage>,
}

impl AnswerFacts {
    /// Whether the body may pass as an object: it is one, or too deep to tell.
    pub fn is_json_object(&self) -> bool {
        matches!(self.shape, Shape::Object | Shape::TooDeep)
    }

    /// Whether nothing says that the body is anything but an answer.
    pub fn may_pass(&self) -> bool {
        self.is_json_object() && (self.has_result || !self.has_error)
    }
}

/// Looks at `body`.
pub fn answer(body: &[u8]) -> AnswerFacts {
    look_at(body, |facts, cursor, key| {
        match key {
            b"error" => facts.has_error = cursor.skip()?.kind != ValueKind::Null,
            b"choices" | b"data" => facts.has_result |= cursor.skip()?.kind != ValueKind::Null,
            b"usage" => facts.usage = usage::read(body, cursor)?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })
}

/// Looks at `body`, in any dialect: `member` gets the name of each member of its object, with
/// the cursor on the value, which it must step over.
pub fn look_at<'a>(
    body: &'a [u8],
    mut member: impl FnMut(&mut AnswerFacts, &mut Cursor<'a>, &[u8]) -> Result<(), JsonError>,
) -> AnswerFacts {
    let mut facts = AnswerFacts::default();
    facts.shape = match top(body, |cursor, key| member(&mut facts, cursor, key)) {
        Ok(shape) => shape,
        Err(error) if error.what == JsonFault::TooDeep => Shape::TooDeep,
        Err(_) => return AnswerFacts::default(),
    };
    facts
}

fn top<'a>(
    json: &'a [u8],
    mut member: impl FnMut(&mut Cursor<'a>, &[u8]) -> Result<(), JsonError>,
) -> Result<Shape, JsonError> {
    let start = if json.starts_with(BOM) { BOM.len() } else { 0 };
    let mut cursor = Cursor::new(json, start);
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        cursor.end()?;
        return Ok(Shape::Other);
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| member(cursor, key.name(&mut room)))?;
    cursor.end()?;
    Ok(Shape::Object)
}
