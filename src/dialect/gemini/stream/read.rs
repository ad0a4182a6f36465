//! Reads the events of a stream.
//!
//! ```text
//!   {"candidates":[{"content":{"parts":[{"text":"Hi"}]}}],"usageMetadata":{…}, …}
//!   {"candidates":[{"content":{"parts":[{"functionCall":{…}}]},"finishReason":"STOP"}], …}
//! ```
//!
//! Text parts are deltas of one open block, thoughts of another; each call is a block of its
//! own. There is no end marker: the stream is whole when a reason to finish (or to block the
//! prompt) came before the body ended.
//!
//! Invariants
//! - I1 An event is checked as a whole before anything of it is told.
//! - I2 A text delta costs no allocation: it is told as it stands in the event.
//! - I3 Reason and counts are held to the end; the last of each counts.
//!
//! Media that a model makes, code that the provider runs, and the signature of a text have no
//! step; they are left out. Of several candidates, the first is read.
//!
//! Source: Gemini API reference, `streamGenerateContent`; protocols.md, 8.

use super::super::answer::made_up;
use super::super::partial::Pending;
use super::super::{error, stop, usage};
use crate::base::fault::Kind;
use crate::base::span::Span;
use crate::dialect::model::{Dialect, Open, Step, Stop, Text, Tokens};
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, Value, ValueKind};
use crate::wire::json::scan::unescape_into;

/// Gets the steps.
type Each<'e> = &'e mut dyn FnMut(Step<'_>);

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
}

/// Reads a stream.
#[derive(Debug, Default)]
pub struct Reader {
    has_begun: bool,
    has_failed: bool,
    open: Option<Block>,
    /// What made-up names of calls begin with.
    prefix: String,
    calls: usize,
    pending: Option<Pending>,
    finish: Option<Stop>,
    usage: Option<Tokens>,
}

/// What an event says at its top level.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each of which is asked for by name"
)]
#[derive(Default)]
struct Top<'a> {
    candidate: Option<Span>,
    usage: Option<Tokens>,
    id: &'a [u8],
    model: &'a [u8],
    has_candidates: bool,
    has_feedback: bool,
    is_blocked: bool,
    has_error: bool,
}

/// What the first candidate says.
#[derive(Default)]
struct Candidate<'a> {
    parts: Option<Span>,
    finish: &'a [u8],
    citations: Option<Span>,
    grounding: Option<Span>,
}

/// What a part says.
#[derive(Default)]
struct Part<'a> {
    text: Option<&'a [u8]>,
    is_thought: bool,
    signature: Option<&'a [u8]>,
    call: Option<Span>,
}

/// What a call says.
#[derive(Default)]
struct Call<'a> {
    id: &'a [u8],
    name: Option<&'a [u8]>,
    args: Option<Span>,
    has_pieces: bool,
    will_continue: bool,
}

impl Reader {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one whole event.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`]: it cannot be read.
    pub fn read(&mut self, _event: Option<&[u8]>, data: &[u8], each: Each<'_>) -> Result<(), Kind> {
        let said = data.trim_ascii();
        if self.has_failed || said.is_empty() || said == b"[DONE]" {
            return Ok(());
        }
        // Without `alt=sse` a stream is one list; errors come in a list of one, too.
        if said.starts_with(b"[") {
            let mut chunks = Vec::new();
            let mut cursor = Cursor::new(data, 0);
            let read = cursor.array(|cursor| {
                chunks.push(cursor.skip()?.span);
                Ok(())
            });
            read.and_then(|()| cursor.end()).map_err(garbled)?;
            return chunks
                .into_iter()
                .try_for_each(|chunk| self.chunk(chunk.bytes(data), each));
        }
        self.chunk(data, each)
    }

    /// Whether the provider has said why the answer ended, though the stream has not.
    pub fn has_stopped(&self) -> bool {
        self.finish.is_some()
    }

    /// The body ended.
    ///
    /// # Errors
    /// [`Kind::UpstreamCut`]: before the answer did; the counts so far are told.
    pub fn end(&mut self, each: Each<'_>) -> Result<(), Kind> {
        if self.has_failed {
            return Err(Kind::UpstreamCut);
        }
        if self.finish.is_some() {
            self.finish_call(each);
            self.close(each);
        }
        if let Some(tokens) = self.usage {
            each(Step::Usage(tokens)); // What was used until it was cut is paid for, too.
        }
        let stop = self.finish.ok_or(Kind::UpstreamCut)?;
        let stop = if stop == Stop::End && self.calls > 0 {
            Stop::Tool
        } else {
            stop
        };
        each(Step::Stop(stop, Text::EMPTY));
        each(Step::End);
        Ok(())
    }

    fn chunk(&mut self, json: &[u8], each: Each<'_>) -> Result<(), Kind> {
        if self.has_failed {
            return Ok(());
        }
        let top = top(json).map_err(garbled)?; // I1
        if top.has_error {
            self.has_failed = true;
            self.close(each);
            each(Step::Error(error::read(200, json)));
            return Ok(());
        }
        if !self.has_begun && (top.has_candidates || top.has_feedback || top.usage.is_some()) {
            self.has_begun = true;
            self.prefix = made_up(&String::from_utf8_lossy(top.id));
            let (id, model) = (Text::Escaped(top.id), Text::Escaped(top.model));
            each(Step::Begin { id, model });
        }
        self.usage = top.usage.or(self.usage);
        // A prompt that is blocked has no candidate.
        if top.is_blocked || top.has_feedback && top.has_candidates && top.candidate.is_none() {
            self.finish = Some(Stop::Filtered);
        }
        let Some(at) = top.candidate else {
            return Ok(());
        };
        let candidate = candidate(json, at).map_err(garbled)?;
        if let Some(parts) = candidate.parts {
            self.parts(json, parts, each)?;
        }
        for place in [candidate.citations, candidate.grounding] {
            if let (Some(place), Some(Block::Text)) = (place, self.open) {
                each(Step::Citation(Dialect::Gemini, place.bytes(json)));
            }
        }
        self.finish = stop::read(candidate.finish, false).or(self.finish); // I3
        Ok(())
    }

    fn parts(&mut self, json: &[u8], at: Span, each: Each<'_>) -> Result<(), Kind> {
        let mut outcome = Ok(());
        let mut cursor = Cursor::new(json, at.start as usize);
        let read = cursor.array(|cursor| {
            let part = part(json, cursor)?;
            if outcome.is_ok() {
                outcome = self.part(json, &part, each);
            }
            Ok(())
        });
        read.map_err(garbled)?;
        outcome
    }

    fn part(&mut self, json: &[u8], part: &Part<'_>, each: Each<'_>) -> Result<(), Kind> {
        if let Some(call) = part.call {
            return self.call(json, call, part.signature, each);
        }
        let Some(text) = part.text else {
            return Ok(());
        };
        let signature = part.signature.filter(|_| part.is_thought);
        if text.is_empty() && signature.is_none() {
            return Ok(());
        }
        self.finish_call(each);
        let (block, open) = if part.is_thought {
            (Block::Thinking, Open::Thinking)
        } else {
            (Block::Text, Open::Text)
        };
        if self.open != Some(block) {
            self.close(each);
            each(Step::Open(open));
            self.open = Some(block);
        }
        if !text.is_empty() {
            each(Step::Text(Text::Escaped(text))); // I2
        }
        if let Some(signature) = signature {
            each(Step::Opaque(Dialect::Gemini, signature));
            self.close(each);
        }
        Ok(())
    }

    fn call(
        &mut self,
        json: &[u8],
        at: Span,
        signature: Option<&[u8]>,
        each: Each<'_>,
    ) -> Result<(), Kind> {
        let call = call(json, at).map_err(garbled)?;
        if call.name.is_some() {
            self.finish_call(each);
        }
        if let Some(name) = call.name
            && !call.has_pieces
            && !call.will_continue
        {
            let args = match call.args {
                Some(args) => std::str::from_utf8(args.bytes(json)),
                None => Ok("{}"),
            };
            let args = args.map_err(|_| Kind::UpstreamGarbled)?;
            self.put_call(
                Text::Escaped(call.id),
                Text::Escaped(name),
                args,
                signature,
                each,
            );
            return Ok(());
        }
        if let Some(name) = call.name {
            let mut pending = Pending::new(&said(call.id), &said(name));
            pending.signature = signature.unwrap_or_default().to_vec();
            self.pending = Some(pending);
        }
        match &mut self.pending {
            Some(pending) => {
                let value = serde_json::from_slice(at.bytes(json));
                pending.add(&value.map_err(|_| Kind::UpstreamGarbled)?)?;
            }
            None if call.has_pieces => return Err(Kind::UpstreamGarbled),
            None => {} // The end of a call that had ended.
        }
        if !call.will_continue {
            self.finish_call(each);
        }
        Ok(())
    }

    /// Tells the call that came in pieces, if there is one.
    fn finish_call(&mut self, each: Each<'_>) {
        if let Some(call) = self.pending.take() {
            let signature = Some(call.signature.as_slice()).filter(|raw| !raw.is_empty());
            let (id, name) = (Text::Plain(&call.id), Text::Plain(&call.name));
            self.put_call(id, name, &call.arguments(), signature, each);
        }
    }

    fn put_call(
        &mut self,
        id: Text<'_>,
        name: Text<'_>,
        args: &str,
        signature: Option<&[u8]>,
        each: Each<'_>,
    ) {
        self.close(each);
        let made_up = format!("{}{}", self.prefix, self.calls);
        self.calls += 1;
        let id = if id.is_empty() {
            Text::Plain(&made_up)
        } else {
            id
        };
        each(Step::Open(Open::Call {
            id,
            name,
            is_custom: false,
        }));
        each(Step::Text(Text::Plain(args)));
        if let Some(signature) = signature {
            each(Step::Opaque(Dialect::Gemini, signature));
        }
        each(Step::Close);
    }

    fn close(&mut self, each: Each<'_>) {
        if self.open.take().is_some() {
            each(Step::Close);
        }
    }
}

const fn garbled(_: JsonError) -> Kind {
    Kind::UpstreamGarbled
}

/// What the inside of a JSON string says.
fn said(raw: &[u8]) -> String {
    let mut out = Vec::with_capacity(raw.len());
    _ = unescape_into(raw, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The inside of a string; nothing for any other value.
fn inside<'a>(json: &'a [u8], value: &Value) -> Option<&'a [u8]> {
    let bytes = value.span.bytes(json);
    (value.kind == ValueKind::String).then(|| {
        bytes
            .get(1..bytes.len().saturating_sub(1))
            .unwrap_or_default()
    })
}

fn some(value: &Value) -> Option<Span> {
    matches!(value.kind, ValueKind::Object | ValueKind::Array).then_some(value.span)
}

fn top(json: &[u8]) -> Result<Top<'_>, JsonError> {
    let mut top = Top::default();
    let mut cursor = Cursor::new(json, 0);
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"candidates" if cursor.peek()? == ValueKind::Array => {
                top.has_candidates = true;
                cursor.array(|cursor| {
                    let item = cursor.skip()?;
                    if item.kind == ValueKind::Object {
                        top.candidate = top.candidate.or(Some(item.span));
                    }
                    Ok(())
                })?;
            }
            b"usageMetadata" => top.usage = usage::read(json, cursor)?,
            b"responseId" => top.id = inside(json, &cursor.skip()?).unwrap_or_default(),
            b"modelVersion" => top.model = inside(json, &cursor.skip()?).unwrap_or_default(),
            b"promptFeedback" if cursor.peek()? == ValueKind::Object => {
                top.has_feedback = true;
                let mut room = [0; NAME_MAX];
                cursor.object(|cursor, key| {
                    let value = cursor.skip()?;
                    top.is_blocked |= key.name(&mut room) == b"blockReason"
                        && value.kind == ValueKind::String
                        && !value.empty;
                    Ok(())
                })?;
            }
            b"error" => top.has_error = cursor.skip()?.kind != ValueKind::Null,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    cursor.end()?;
    Ok(top)
}

fn candidate(json: &[u8], at: Span) -> Result<Candidate<'_>, JsonError> {
    let mut found = Candidate::default();
    let mut room = [0; NAME_MAX];
    Cursor::new(json, at.start as usize).object(|cursor, key| {
        match key.name(&mut room) {
            b"content" if cursor.peek()? == ValueKind::Object => {
                let mut room = [0; NAME_MAX];
                cursor.object(|cursor, key| {
                    let value = cursor.skip()?;
                    if key.name(&mut room) == b"parts" && value.kind == ValueKind::Array {
                        found.parts = Some(value.span);
                    }
                    Ok(())
                })?;
            }
            b"finishReason" => {
                found.finish = inside(json, &cursor.skip()?).unwrap_or_default();
            }
            b"citationMetadata" => found.citations = some(&cursor.skip()?),
            b"groundingMetadata" => found.grounding = some(&cursor.skip()?),
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(found)
}

fn part<'a>(json: &'a [u8], cursor: &mut Cursor<'a>) -> Result<Part<'a>, JsonError> {
    let mut found = Part::default();
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(found);
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        let name = key.name(&mut room);
        let value = cursor.skip()?;
        match name {
            b"text" => found.text = inside(json, &value),
            b"thought" => found.is_thought = value.kind == ValueKind::True,
            b"thoughtSignature" if value.kind == ValueKind::String && !value.empty => {
                found.signature = Some(value.span.bytes(json));
            }
            b"functionCall" if value.kind == ValueKind::Object => found.call = Some(value.span),
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

fn call(json: &[u8], at: Span) -> Result<Call<'_>, JsonError> {
    let mut found = Call::default();
    let mut room = [0; NAME_MAX];
    Cursor::new(json, at.start as usize).object(|cursor, key| {
        let name = key.name(&mut room);
        let value = cursor.skip()?;
        match name {
            b"id" => found.id = inside(json, &value).unwrap_or_default(),
            b"name" => found.name = inside(json, &value).filter(|name| !name.is_empty()),
            b"args" if value.kind == ValueKind::Object => found.args = Some(value.span),
            b"partialArgs" => found.has_pieces = value.kind == ValueKind::Array,
            b"willContinue" => found.will_continue = value.kind == ValueKind::True,
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}
