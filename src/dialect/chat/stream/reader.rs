//! Reads a stream of Chat, of any engine that says it speaks it.
//!
//! ```text
//!   delta.reasoning_content ─► Thinking ┐
//!   delta.content           ─► Text     ├─ one block at a time
//!   delta.tool_calls[i]     ─► Call i   ┘  what comes while a call is not whole waits
//!   finish_reason, usage    ─► Usage at once, Stop with the end
//!   [DONE], or the end of the body after a finish reason ─► End
//! ```
//!
//! Invariants
//! - I1 Steps are balanced, whatever comes: a call is open until its arguments are whole, and
//!   what comes meanwhile (other calls, text) is held, [`HELD_MAX`] bytes at the most.
//! - I2 No allocation per delta of text or thinking, nor for the arguments of the call that is
//!   open.
//! - I3 A finish reason that comes twice, before, with or after usage, is one stop.
//! - I4 Nothing follows `End` or `Error`.
//!
//! Source: OpenAI API reference; protocols.md, 2.3, 9, 11, 12; pitfalls.md, A.

use super::super::error;
use super::super::stop::{Finish, Shown, finish, judge};
use super::calls::{Fragment, Phase, Slot, find, is_blank};
use super::chunk::{Chunk, Said, inside, look, string};
use crate::base::fault::Kind;
use crate::dialect::model::{Dialect, Open, Refused, Step, Stop, Text};
use crate::wire::json::cursor::{Cursor, Value, ValueKind};
use std::collections::VecDeque;

use super::super::usage::members;

/// Most calls of one answer.
const CALLS_MAX: usize = 256;

/// Most bytes that wait for a call to be whole.
const HELD_MAX: usize = 4 << 20;

/// How far the stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Fresh,
    Begun,
    /// After `End`.
    Over,
    /// After `Error`.
    Failed,
}

/// What kind of plain block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plain {
    Text,
    Thinking,
    Refusal,
}

impl Plain {
    const fn open(self) -> Open<'static> {
        match self {
            Self::Text => Open::Text,
            Self::Thinking => Open::Thinking,
            Self::Refusal => Open::Refusal,
        }
    }
}

/// The block that is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Now {
    #[default]
    Nothing,
    Plain(Plain),
    Call(usize),
}

/// What waits for its turn.
#[derive(Clone, Debug)]
enum Waiting {
    Plain(Plain, Vec<u8>),
    Call(usize),
}

/// Where steps go.
type Each<'e> = &'e mut dyn FnMut(Step<'_>);

/// Reads a stream.
#[derive(Debug, Default)]
pub struct Reader {
    phase: Stage,
    now: Now,
    slots: Vec<Slot>,
    waiting: VecDeque<Waiting>,
    held: usize,
    has_calls: bool,
    has_refusal: bool,
    /// Thinking stands in a field of its own: the details say it again.
    has_thought: bool,
    stop: Option<Stop>,
    sequence: Vec<u8>,
}

impl Reader {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one event: its name, if it has one, and its data. The value of an `error` field
    /// (llama.cpp) is the data of an event of the name `error`.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`]: this is no event of Chat.
    pub fn read(&mut self, event: Option<&[u8]>, data: &[u8], each: Each<'_>) -> Result<(), Kind> {
        if matches!(self.phase, Stage::Over | Stage::Failed) {
            return Ok(()); // I4
        }
        let data = data.trim_ascii();
        if data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            // A stream of nothing else is no answer.
            if self.phase == Stage::Fresh {
                return Err(Kind::UpstreamGarbled);
            }
            return self.finish(each);
        }
        if event == Some(b"error") {
            self.fail(error::read(200, data), each);
            return Ok(());
        }
        let chunk = look(data).map_err(|_| Kind::UpstreamGarbled)?;
        self.chunk(data, &chunk, each)
    }

    /// Whether the provider has said why the answer ended, though the stream has not.
    pub fn has_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// The body ended.
    ///
    /// # Errors
    /// [`Kind::UpstreamCut`]: before the answer did. [`Kind::UpstreamGarbled`]: what was held
    /// makes no sense.
    pub fn end(&mut self, each: Each<'_>) -> Result<(), Kind> {
        match self.phase {
            Stage::Over => Ok(()),
            Stage::Begun if self.stop.is_some() => self.finish(each),
            _ => Err(Kind::UpstreamCut),
        }
    }

    fn chunk(&mut self, json: &[u8], chunk: &Chunk, each: Each<'_>) -> Result<(), Kind> {
        let is_error = |object| inside(json, object) == b"error"; // vLLM
        let is_error = chunk.has_error || chunk.object.as_ref().is_some_and(is_error);
        // Azure's first chunk is notes of its own, without a choice.
        if self.phase == Stage::Fresh && (chunk.has_choices || chunk.usage.is_some()) {
            self.phase = Stage::Begun;
            let of = |value: &Option<Value>| value.map_or(&b""[..], |value| inside(json, &value));
            each(Step::Begin {
                id: Text::Escaped(of(&chunk.id)),
                model: Text::Escaped(of(&chunk.model)),
            });
        }
        if self.phase == Stage::Begun {
            self.said(json, &chunk.said, each)?;
            if let Some(tokens) = chunk.usage {
                each(Step::Usage(tokens));
            }
        }
        if is_error {
            self.fail(error::read(200, json), each);
        } else if let Some(word) = &chunk.said.finish {
            self.finished(inside(json, word), each);
        }
        Ok(())
    }

    /// What a choice says, in the order in which it was thought.
    fn said(&mut self, json: &[u8], said: &Said, each: Each<'_>) -> Result<(), Kind> {
        if let Some(reasoning) = &said.reasoning
            && reasoning.kind == ValueKind::String
        {
            self.has_thought |= !reasoning.empty;
            self.plain(Plain::Thinking, inside(json, reasoning), each)?;
        }
        if let Some(details) = &said.details {
            let wants_text = said.reasoning.is_none() && !self.has_thought;
            self.details(json, details, wants_text, each)?;
        }
        match &said.content {
            Some(content) if content.kind == ValueKind::String => {
                self.plain(Plain::Text, inside(json, content), each)?;
            }
            Some(content) if content.kind == ValueKind::Array => {
                self.parts(json, content, each)?;
            }
            _ => {}
        }
        if let Some(annotations) = &said.annotations {
            self.annotations(json, annotations, each)?;
        }
        if let Some(refusal) = &said.refusal
            && refusal.kind == ValueKind::String
        {
            self.has_refusal = true;
            self.plain(Plain::Refusal, inside(json, refusal), each)?;
        }
        if let Some(calls) = &said.calls {
            walk(json, calls, |cursor| {
                let fragment = Fragment::read(json, cursor)?;
                Ok(self.fragment(json, &fragment, each))
            })?;
        }
        if let Some(function) = &said.function {
            let mut fragment = Fragment {
                index: Some(u64::MAX), // one call, whose fragments have no index
                ..Fragment::default()
            };
            let mut cursor = Cursor::new(json, function.span.start as usize);
            fragment
                .tool(&mut cursor, false)
                .map_err(|_| Kind::UpstreamGarbled)?;
            self.fragment(json, &fragment, each)?;
        }
        if let Some(sequence) = &said.sequence {
            self.sequence = inside(json, sequence).to_vec();
        }
        Ok(())
    }

    /// Mistral's content: parts of text and thinking.
    fn parts(&mut self, json: &[u8], parts: &Value, each: Each<'_>) -> Result<(), Kind> {
        walk(json, parts, |cursor| {
            let (mut text, mut thinking) = (None, None);
            members(cursor, |cursor, name| {
                match name {
                    b"text" => text = string(cursor)?,
                    b"thinking" => thinking = Some(cursor.skip()?),
                    _ => _ = cursor.skip()?,
                }
                Ok(())
            })?;
            Ok(self.part(json, text, thinking, each))
        })
    }

    fn part(
        &mut self,
        json: &[u8],
        text: Option<Value>,
        thinking: Option<Value>,
        each: Each<'_>,
    ) -> Result<(), Kind> {
        if let Some(text) = text {
            self.plain(Plain::Text, inside(json, &text), each)?;
        }
        match thinking {
            Some(text) if text.kind == ValueKind::String => {
                self.plain(Plain::Thinking, inside(json, &text), each)
            }
            Some(parts) => walk(json, &parts, |cursor| {
                let mut text = None;
                members(cursor, |cursor, name| {
                    match name {
                        b"text" => text = string(cursor)?,
                        _ => _ = cursor.skip()?,
                    }
                    Ok(())
                })?;
                let raw = text.map_or(&b""[..], |text| inside(json, &text));
                Ok(self.plain(Plain::Thinking, raw, each))
            }),
            None => Ok(()),
        }
    }

    /// `OpenRouter`'s `reasoning_details`: the text, where it does not stand elsewhere, and
    /// what the provider behind it wants to see again.
    fn details(
        &mut self,
        json: &[u8],
        details: &Value,
        wants_text: bool,
        each: Each<'_>,
    ) -> Result<(), Kind> {
        walk(json, details, |cursor| {
            let start = cursor.at();
            let (mut text, mut is_opaque) = (None, false);
            members(cursor, |cursor, name| {
                match name {
                    b"text" | b"summary" => text = string(cursor)?,
                    b"signature" | b"data" => is_opaque |= string(cursor)?.is_some(),
                    _ => _ = cursor.skip()?,
                }
                Ok(())
            })?;
            let item = json.get(start..cursor.at()).unwrap_or_default();
            let raw = text.map_or(&b""[..], |text| inside(json, &text));
            Ok(self.detail(raw, wants_text, item, is_opaque, each))
        })
    }

    fn detail(
        &mut self,
        text: &[u8],
        wants_text: bool,
        item: &[u8],
        is_opaque: bool,
        each: Each<'_>,
    ) -> Result<(), Kind> {
        if wants_text {
            self.plain(Plain::Thinking, text, each)?;
        }
        // While a call is being made there is no place for it.
        if is_opaque && !self.must_wait() {
            self.turn_to(Plain::Thinking, each);
            each(Step::Opaque(Dialect::Chat, item.trim_ascii()));
        }
        Ok(())
    }

    fn annotations(&mut self, json: &[u8], items: &Value, each: Each<'_>) -> Result<(), Kind> {
        walk(json, items, |cursor| {
            let item = cursor.skip()?;
            if item.kind == ValueKind::Object && !self.must_wait() {
                self.turn_to(Plain::Text, each);
                each(Step::Citation(Dialect::Chat, item.span.bytes(json)));
            }
            Ok(Ok(()))
        })
    }

    /// More text, thinking or refusal.
    fn plain(&mut self, kind: Plain, raw: &[u8], each: Each<'_>) -> Result<(), Kind> {
        if raw.is_empty() {
            return Ok(());
        }
        if !self.must_wait() {
            self.turn_to(kind, each);
            each(Step::Text(Text::Escaped(raw)));
            return Ok(());
        }
        self.hold(raw.len())?;
        match self.waiting.back_mut() {
            Some(Waiting::Plain(last, held)) if *last == kind => held.extend_from_slice(raw),
            _ => self.waiting.push_back(Waiting::Plain(kind, raw.to_vec())),
        }
        Ok(())
    }

    /// A fragment of a call.
    fn fragment(&mut self, json: &[u8], part: &Fragment, each: Each<'_>) -> Result<(), Kind> {
        let at = match find(json, part, &self.slots) {
            Some(at) => at,
            None => self.slot(part.index)?,
        };
        let Some(slot) = self.slots.get_mut(at) else {
            return Ok(());
        };
        let of = |value: &Option<Value>| value.map_or(&b""[..], |value| inside(json, &value));
        let (id, name) = (of(&part.id), of(&part.name));
        let mut kept = 0;
        if slot.id.is_empty() {
            slot.id.extend_from_slice(id);
            kept += id.len();
        }
        if slot.name.is_empty() {
            slot.name.extend_from_slice(name);
            kept += name.len();
        }
        if slot.extra.is_empty()
            && let Some(extra) = &part.extra
        {
            slot.extra.extend_from_slice(extra.span.bytes(json));
            kept += slot.extra.len();
        }
        slot.is_custom |= part.is_custom;
        self.hold(kept)?;
        self.advance(false, each); // it may be its turn
        let Some(arguments) = &part.arguments else {
            return Ok(());
        };
        if arguments.kind == ValueKind::String {
            return self.arguments(at, inside(json, arguments), each);
        }
        let text = String::from_utf8_lossy(arguments.span.bytes(json));
        let quoted = serde_json::Value::from(text.into_owned()).to_string();
        let raw = quoted.as_bytes().get(1..quoted.len().saturating_sub(1));
        self.arguments(at, raw.unwrap_or_default(), each)
    }

    fn slot(&mut self, index: Option<u64>) -> Result<usize, Kind> {
        let at = self.slots.len();
        if at >= CALLS_MAX {
            return Err(Kind::UpstreamGarbled);
        }
        self.slots.push(Slot {
            index,
            ..Slot::default()
        });
        self.waiting.push_back(Waiting::Call(at));
        Ok(at)
    }

    /// More arguments of the call `at`.
    fn arguments(&mut self, at: usize, raw: &[u8], each: Each<'_>) -> Result<(), Kind> {
        let Some(slot) = self.slots.get_mut(at) else {
            return Ok(());
        };
        match slot.phase {
            Phase::Open => {
                slot.braces.feed(raw);
                each(Step::Text(Text::Escaped(raw)));
                self.advance(false, each);
                Ok(())
            }
            Phase::Waiting => {
                slot.held.extend_from_slice(raw);
                self.hold(raw.len())
            }
            Phase::Closed if is_blank(raw) => Ok(()),
            Phase::Closed => Err(Kind::UpstreamGarbled),
        }
    }

    /// `more` bytes are held.
    fn hold(&mut self, more: usize) -> Result<(), Kind> {
        self.held += more;
        if self.held > HELD_MAX {
            return Err(Kind::UpstreamGarbled); // I1
        }
        Ok(())
    }

    /// Whether what comes now has to wait for its turn.
    fn must_wait(&self) -> bool {
        !self.waiting.is_empty() || self.is_calling()
    }

    /// Whether a call is open that is not whole.
    fn is_calling(&self) -> bool {
        match self.now {
            Now::Call(at) => {
                let slot = self.slots.get(at);
                slot.is_some_and(|slot| slot.is_custom || !slot.braces.is_whole())
            }
            _ => false,
        }
    }

    /// Lets what waits take its turn; at the end, without waiting for a call to be whole.
    fn advance(&mut self, is_end: bool, each: Each<'_>) {
        while is_end || !self.is_calling() {
            match self.waiting.front() {
                Some(Waiting::Call(at)) if !is_end => {
                    let slot = self.slots.get(*at);
                    if slot.is_none_or(|slot| slot.name.is_empty()) {
                        return; // it cannot be opened yet
                    }
                }
                Some(_) => {}
                None => return,
            }
            match self.waiting.pop_front() {
                Some(Waiting::Plain(kind, raw)) => {
                    self.turn_to(kind, each);
                    each(Step::Text(Text::Escaped(&raw)));
                }
                Some(Waiting::Call(at)) => self.open_call(at, each),
                None => return,
            }
        }
    }

    fn open_call(&mut self, at: usize, each: Each<'_>) {
        self.close(each);
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        if slot.name.is_empty() && slot.held.is_empty() {
            slot.phase = Phase::Closed; // an entry that says nothing is no call
            return;
        }
        self.now = Now::Call(at);
        self.has_calls = true;
        slot.phase = Phase::Open;
        each(Step::Open(Open::Call {
            id: Text::Escaped(&slot.id),
            name: Text::Escaped(&slot.name),
            is_custom: slot.is_custom,
        }));
        if !slot.extra.is_empty() {
            each(Step::Opaque(Dialect::Chat, &slot.extra));
        }
        let held = std::mem::take(&mut slot.held);
        if !held.is_empty() {
            slot.braces.feed(&held);
            each(Step::Text(Text::Escaped(&held)));
        }
    }

    fn turn_to(&mut self, kind: Plain, each: Each<'_>) {
        if self.now != Now::Plain(kind) {
            self.close(each);
            self.now = Now::Plain(kind);
            each(Step::Open(kind.open()));
        }
    }

    fn close(&mut self, each: Each<'_>) {
        match std::mem::take(&mut self.now) {
            Now::Nothing => return,
            Now::Plain(_) => {}
            Now::Call(at) => {
                if let Some(slot) = self.slots.get_mut(at) {
                    slot.phase = Phase::Closed;
                }
            }
        }
        each(Step::Close);
    }

    fn finished(&mut self, word: &[u8], each: Each<'_>) {
        match finish(word) {
            Finish::Stop(stop) => {
                if matches!(self.stop, None | Some(Stop::End)) {
                    self.stop = Some(stop); // I3
                }
            }
            Finish::Failed(trouble) => self.fail(
                Refused {
                    trouble,
                    message: "The provider gave up in the middle of its answer.".to_owned(),
                    param: None,
                    retry_after: None,
                },
                each,
            ),
        }
    }

    fn fail(&mut self, refused: Refused, each: Each<'_>) {
        self.phase = Stage::Failed;
        each(Step::Error(refused));
    }

    /// The answer is whole.
    fn finish(&mut self, each: Each<'_>) -> Result<(), Kind> {
        let is_nameless = |slot: &Slot| slot.name.is_empty() && !slot.held.is_empty();
        if self.slots.iter().any(is_nameless) {
            return Err(Kind::UpstreamGarbled);
        }
        self.advance(true, each);
        self.close(each);
        let stop = judge(
            self.stop,
            Shown {
                has_calls: self.has_calls,
                has_refusal: self.has_refusal,
                has_sequence: !self.sequence.is_empty(),
            },
        );
        let sequence = match stop {
            Stop::Sequence => Text::Escaped(&self.sequence),
            _ => Text::EMPTY,
        };
        each(Step::Stop(stop, sequence));
        each(Step::End);
        self.phase = Stage::Over;
        Ok(())
    }
}

/// Goes through the items of the array `value`, or over what is none. `each` says first
/// whether the JSON is right, then whether its meaning is.
fn walk<F>(json: &[u8], value: &Value, mut each: F) -> Result<(), Kind>
where
    F: FnMut(&mut Cursor<'_>) -> Result<Result<(), Kind>, crate::wire::json::JsonError>,
{
    if value.kind != ValueKind::Array {
        return Ok(());
    }
    let mut meaning = Ok(());
    let mut cursor = Cursor::new(json, value.span.start as usize);
    let grammar = cursor.array(|cursor| {
        let kind = cursor.peek()?;
        if meaning.is_err() || kind == ValueKind::Null {
            cursor.skip()?;
            return Ok(());
        }
        meaning = each(cursor)?;
        Ok(())
    });
    grammar.map_err(|_| Kind::UpstreamGarbled)?;
    meaning
}
