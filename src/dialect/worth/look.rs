//! A walk over the members of an event, or of a plain body, that decide.
//!
//! Where a member stands is a [`Place`]; what it means there is a table, [`act`].

use super::place::{Act, Place, act};
use super::words::why;
use super::{Why, Worth};
use crate::dialect::model::Dialect;
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, Value, ValueKind};
use crate::wire::json::scan::BOM;

/// What an event, or a body, said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// An object, and nothing in it that decides.
    Nothing,
    /// Something.
    Something,
    /// It is no event of the dialect.
    Broken,
}

/// The choice that is walked over.
#[derive(Clone, Copy, Debug, Default)]
struct Choice {
    index: u64,
    why: Option<Why>,
}

/// What is known of a body so far.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each of which decides"
)]
#[derive(Debug)]
pub(super) struct Look {
    dialect: Dialect,
    /// Which choices have come, and which of them have ended; a bit each.
    came: u64,
    ended: u64,
    why: Option<Why>,
    has_calls: bool,
    pub(super) has_error: bool,
    has_refusal: bool,
    /// Something was said or thought, or is called.
    pub(super) has_content: bool,
    /// The end marker has come.
    has_mark: bool,
    /// What came behind it was more than a mark.
    has_more: bool,
    choice: Choice,
    /// Of a whole response.
    status: Option<Why>,
    is_answer: bool,
    has_words: bool,
}

impl Look {
    pub(super) const fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            came: 0,
            ended: 0,
            why: None,
            has_calls: false,
            has_error: false,
            has_refusal: false,
            has_content: false,
            has_mark: false,
            has_more: false,
            choice: Choice {
                index: 0,
                why: None,
            },
            status: None,
            is_answer: false,
            has_words: false,
        }
    }

    /// Whether the stream has come to its end.
    pub(super) const fn has_ended(&self) -> bool {
        match self.dialect {
            Dialect::Gemini => true, // there is no mark
            _ => self.has_mark && !self.has_more,
        }
    }

    /// The facts; `is_whole`: nothing of the body is missing.
    pub(super) fn worth(&self, is_whole: bool) -> Worth {
        let has_finished = self.came != 0 && self.came == self.ended;
        let refusal = self.has_refusal.then_some(Why::Refusal);
        let stop = self.why.max(refusal);
        let declines = stop == Some(Why::Refusal);
        Worth {
            complete: is_whole && has_finished && !self.has_error,
            stop,
            has_calls: self.has_calls,
            has_content: self.has_content || self.has_calls || declines,
            has_error: self.has_error,
            choices: self.came.count_ones(),
        }
    }

    /// Looks at a plain body.
    pub(super) fn plain(&mut self, body: &[u8]) -> Seen {
        let start = if body.starts_with(BOM) { BOM.len() } else { 0 };
        let place = match self.dialect {
            Dialect::Chat => Place::Chat,
            Dialect::Responses => Place::ResponsesWhole,
            Dialect::Anthropic => Place::Anthropic,
            Dialect::Gemini => Place::Gemini,
            Dialect::Cohere => Place::Cohere,
            Dialect::Bedrock => Place::Bedrock,
        };
        let seen = self.top(body, start, place);
        if self.dialect == Dialect::Responses {
            self.respond();
        }
        seen
    }

    /// Looks at an event of a stream.
    pub(super) fn event(&mut self, name: Option<&[u8]>, data: &[u8]) -> Seen {
        let said = data.trim_ascii();
        if said.is_empty() {
            return Seen::Something; // a name without data
        }
        if said == b"[DONE]" {
            if self.dialect == Dialect::Chat {
                self.has_more |= self.has_mark;
                self.has_mark = true;
            }
            return Seen::Something;
        }
        let was_over = self.has_mark;
        let seen = match self.dialect {
            Dialect::Chat => self.top(data, 0, Place::Chat),
            Dialect::Gemini => self.top(data, 0, Place::Gemini),
            Dialect::Bedrock => self.bedrock(name, data),
            _ => self.named(name, data),
        };
        self.has_more |= was_over && seen == Seen::Something;
        seen
    }

    /// An event of a dialect whose events say what they are.
    fn named(&mut self, name: Option<&[u8]>, data: &[u8]) -> Seen {
        let place = match self.dialect {
            Dialect::Responses => Place::Responses,
            Dialect::Cohere => Place::Cohere,
            _ => Place::Anthropic,
        };
        let kind = kind_of(data).or(name).unwrap_or_default();
        match (self.dialect, kind) {
            (_, b"error" | b"response.failed") => {
                self.has_error = true;
                return Seen::Something;
            }
            (Dialect::Anthropic, b"message_stop") | (Dialect::Cohere, b"message-end") => {
                self.has_more |= self.has_mark;
                self.has_mark = true;
                let seen = self.top(data, 0, place);
                return seen.max_with(Seen::Something);
            }
            (Dialect::Responses, b"response.completed" | b"response.incomplete") => {
                self.has_more |= self.has_mark;
                self.has_mark = true;
                let seen = self.top(data, 0, place);
                self.respond();
                return seen.max_with(Seen::Something);
            }
            // What they say is said again at the end.
            (Dialect::Responses, _) => {
                return if data.trim_ascii_start().starts_with(b"{") {
                    self.has_content |= kind.ends_with(b".delta");
                    Seen::Nothing
                } else {
                    Seen::Broken
                };
            }
            (_, b"message_start" | b"message-start") => self.came |= 1,
            (Dialect::Cohere, b"tool-call-start") => self.has_calls = true,
            _ => {}
        }
        self.top(data, 0, place)
    }

    fn bedrock(&mut self, name: Option<&[u8]>, data: &[u8]) -> Seen {
        let failed = [&b"Exception"[..], b"Error", b"Failure"];
        let (name, at) = match name {
            Some(name) => (name, 0),
            None => match only_member(data) {
                Some(found) => found,
                None => return Seen::Broken,
            },
        };
        if failed.iter().any(|end| name.ends_with(end)) {
            self.has_error = true;
            return Seen::Something;
        }
        match name {
            b"messageStart" => self.came |= 1,
            b"metadata" => {
                self.has_more |= self.has_mark;
                self.has_mark = true;
            }
            b"messageStop" | b"contentBlockStart" => {}
            b"contentBlockDelta" if !self.has_content => {}
            _ => return Seen::Nothing,
        }
        let mut cursor = Cursor::new(data, at);
        let read = self.object(data, &mut cursor, Place::Bedrock);
        if read.is_ok() {
            Seen::Something
        } else {
            Seen::Broken
        }
    }

    /// What the status of a whole response and its items say together.
    fn respond(&mut self) {
        let done = if self.has_calls { Why::Tool } else { Why::Stop };
        let (why, is_over) = match self.status {
            Some(Why::Stop) => (done, true),
            Some(Why::Length) => (self.choice.why.unwrap_or(Why::Length), true),
            _ => (Why::Other, false),
        };
        self.came |= 1;
        if is_over {
            self.end(0, why);
        }
    }

    fn end(&mut self, index: u64, why: Why) {
        // Of more choices than there are bits the last is never whole.
        self.came |= 1 << index.min(63);
        if index < 63 {
            self.ended |= 1 << index;
        }
        self.why = self.why.max(Some(why));
    }

    fn top(&mut self, json: &[u8], start: usize, place: Place) -> Seen {
        let before = self.facts();
        let mut cursor = Cursor::new(json, start);
        let read = match cursor.peek() {
            // Gemini's list of one, or of all chunks.
            Ok(ValueKind::Array) if place == Place::Gemini => {
                cursor.array(|cursor| self.object(json, cursor, place))
            }
            _ => self.object(json, &mut cursor, place),
        };
        if read.and_then(|()| cursor.end()).is_err() {
            return Seen::Broken;
        }
        self.has_error |= self.has_words && !self.is_answer;
        if self.facts() == before {
            Seen::Nothing
        } else {
            Seen::Something
        }
    }

    /// All that an event can change.
    const fn facts(&self) -> (u64, u64, Option<Why>, [bool; 4]) {
        let flags = [
            self.has_calls,
            self.has_error,
            self.has_refusal,
            self.has_content,
        ];
        (self.came, self.ended, self.why, flags)
    }

    fn object(
        &mut self,
        json: &[u8],
        cursor: &mut Cursor<'_>,
        place: Place,
    ) -> Result<(), JsonError> {
        let is_choice = matches!(place, Place::ChatChoice | Place::GeminiCandidate);
        if is_choice {
            self.choice = Choice::default();
        }
        let mut room = [0; NAME_MAX];
        cursor.object(|cursor, key| self.member(json, cursor, (place, key.name(&mut room))))?;
        if is_choice {
            let Choice { index, why } = self.choice;
            self.came |= 1 << index.min(63);
            if let Some(why) = why {
                self.end(index, why);
            }
        }
        Ok(())
    }

    fn member(
        &mut self,
        json: &[u8],
        cursor: &mut Cursor<'_>,
        (place, name): (Place, &[u8]),
    ) -> Result<(), JsonError> {
        let act = act(place, name);
        match (act, cursor.peek()?) {
            (Act::Into(inner) | Act::Said(inner), ValueKind::Object) => {
                return self.object(json, cursor, inner);
            }
            (Act::Answer(inner), ValueKind::Object) => {
                self.is_answer = true;
                return self.object(json, cursor, inner);
            }
            (Act::Each(inner) | Act::Said(inner), ValueKind::Array) => {
                return cursor.array(|cursor| {
                    if cursor.peek()? == ValueKind::Object {
                        return self.object(json, cursor, inner);
                    }
                    cursor.skip().map(drop)
                });
            }
            _ => {}
        }
        let value = cursor.skip()?;
        self.value(act, place, &value, value.span.bytes(json));
        Ok(())
    }

    fn value(&mut self, act: Act, place: Place, value: &Value, raw: &[u8]) {
        let is_there = value.kind != ValueKind::Null;
        let says = is_there && !value.empty;
        let is_text = value.kind == ValueKind::String;
        let text = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
        let text = if is_text { text } else { b"" };
        match act {
            Act::Index => {
                let digits = std::str::from_utf8(raw).ok();
                self.choice.index = digits.and_then(|it| it.parse().ok()).unwrap_or(63);
            }
            Act::Finish if !text.is_empty() => self.finish(place, text),
            Act::Call => self.has_calls |= says,
            Act::Text | Act::Said(_) => self.has_content |= says,
            Act::Refusal => self.has_refusal |= says && is_text,
            Act::Error => self.has_error |= is_there && value.kind != ValueKind::False,
            Act::Words | Act::Answer(_) => self.has_words |= is_text,
            Act::Blocked if says => self.end(0, Why::Filtered),
            Act::Kind => match (place, text) {
                (Place::AnthropicBlock, b"tool_use")
                | (Place::ResponsesItem, b"function_call" | b"custom_tool_call") => {
                    self.has_calls = true;
                }
                (Place::AnthropicBlock, b"text" | b"thinking")
                | (Place::ResponsesItem, b"message") => {}
                (Place::AnthropicBlock | Place::ResponsesItem, _) => self.has_content = true,
                (Place::Chat | Place::Anthropic | Place::Cohere, b"error") => {
                    self.has_error = true; // vLLM says it of an object
                }
                _ => {}
            },
            Act::Status => {
                self.status = match text {
                    b"completed" | b"complete" => Some(Why::Stop),
                    b"incomplete" => Some(Why::Length),
                    _ => Some(Why::Other),
                };
            }
            _ => {}
        }
    }

    /// A reason to end.
    fn finish(&mut self, place: Place, word: &[u8]) {
        if word == b"FINISH_REASON_UNSPECIFIED" {
            return; // Gemini: none yet
        }
        match why(self.dialect, word) {
            None => self.has_error = true,
            Some(why) => match place {
                Place::ChatChoice | Place::GeminiCandidate | Place::ResponsesDetails => {
                    self.choice.why = Some(why);
                }
                _ => self.end(0, why),
            },
        }
    }
}

impl Seen {
    fn max_with(self, least: Self) -> Self {
        if self == Self::Broken { self } else { least }
    }
}

/// What the `type` of an event says.
fn kind_of(json: &[u8]) -> Option<&[u8]> {
    let mut kind = None;
    let mut room = [0; NAME_MAX];
    let mut cursor = Cursor::new(json, 0);
    let read = cursor.object(|cursor, key| {
        let value = cursor.skip()?;
        if key.name(&mut room) == b"type" && value.kind == ValueKind::String {
            let raw = value.span.bytes(json);
            kind = raw.get(1..raw.len().saturating_sub(1));
        }
        Ok(())
    });
    kind.filter(|_| read.is_ok())
}

/// The one member of a union, `{"messageStop":{…}}`, and where its value begins.
fn only_member(json: &[u8]) -> Option<(&[u8], usize)> {
    let mut found = None;
    let mut cursor = Cursor::new(json, 0);
    let read = cursor.object(|cursor, key| {
        let value = cursor.skip()?;
        if value.kind == ValueKind::Object && found.is_none() {
            found = Some((key.raw, value.span.start as usize));
        }
        Ok(())
    });
    read.and_then(|()| cursor.end()).ok()?;
    found
}
