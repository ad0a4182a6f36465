//! Reads the events of a provider.
//!
//! Invariants
//! - I1 The steps are balanced: a block that begins before the last one has ended ends it.
//! - I2 `Stop` is held until `message_stop`, since a later `message_delta` counts.
//! - I3 What the provider runs itself (server tools, compaction) is no step: it is skipped,
//!   with its deltas.
//! - I4 No allocation for a delta of text.

use super::super::answer::{stop_of, with_calls};
use super::super::error;
use super::super::request::block_of;
use super::super::usage::Counts;
use super::event::{Event, Inner};
use crate::base::fault::Kind;
use crate::base::span::Span;
use crate::dialect::model::{Block as Whole, Dialect, Open, Step, Stop, Text};
use crate::wire::json::cursor::Cursor;
use serde_json::Value;

type Each<'e> = &'e mut dyn FnMut(Step<'_>);

/// How far the stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Fresh,
    Begun,
    /// Whole: `message_stop` was there.
    Ended,
    /// The provider gave up.
    Failed,
}

/// The block that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    /// A call; whether any of its arguments came.
    Call(bool),
    /// What is no step (I3).
    Skipped,
}

/// Reads events into steps.
#[derive(Debug, Default)]
pub struct Reader {
    phase: Phase,
    open: Option<(Option<u64>, Block)>,
    has_call: bool,
    counts: Counts,
    /// The arguments that the open call began with.
    input: Vec<u8>,
    stop: Option<Stop>,
    /// Inside of the string.
    sequence: Vec<u8>,
    /// Inside of the string: why the model declined.
    explanation: Vec<u8>,
}

impl Reader {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one whole event, its name and its data.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`]: it is no event of this dialect.
    pub fn read(
        &mut self,
        event: Option<&[u8]>,
        data: &[u8],
        each: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), Kind> {
        let is_over = matches!(self.phase, Phase::Ended | Phase::Failed);
        // Some proxies put the end marker of Chat behind the end.
        if is_over || matches!(data.trim_ascii(), b"" | b"[DONE]") {
            return Ok(());
        }
        let facts = Event::read(data).map_err(|_| Kind::UpstreamGarbled)?;
        let named = facts.kind.map(|kind| kind.bytes(data)).or(event);
        match named.unwrap_or_default() {
            b"error" => self.fail(data, each),
            _ if facts.kind.is_none() && facts.error.is_some() => self.fail(data, each),
            b"message_start" => self.begin(&facts, data, each),
            b"content_block_start" => self.open(&facts, data, each),
            b"content_block_delta" => return self.delta(&facts, data, each),
            b"content_block_stop" => self.stop_block(facts.index, each),
            b"message_delta" => self.message_delta(&facts, data, each),
            b"message_stop" => self.finish(each),
            b"" => return Err(Kind::UpstreamGarbled),
            _ => {}
        }
        Ok(())
    }

    /// Whether the provider has said why the answer ended, though the stream has not.
    pub fn has_stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// The body ended.
    ///
    /// # Errors
    /// [`Kind::UpstreamCut`]: before the answer did.
    pub fn end(&mut self, _each: &mut dyn FnMut(Step<'_>)) -> Result<(), Kind> {
        match self.phase {
            Phase::Ended => Ok(()),
            _ => Err(Kind::UpstreamCut),
        }
    }

    fn fail(&mut self, data: &[u8], each: Each<'_>) {
        self.phase = Phase::Failed;
        each(Step::Error(error::read(200, data)));
    }

    fn begin(&mut self, facts: &Event, data: &[u8], each: Each<'_>) {
        self.counts = facts.counts.over(self.counts);
        if self.phase == Phase::Fresh {
            self.phase = Phase::Begun;
            each(Step::Begin {
                id: text(facts.inner.id, data),
                model: text(facts.inner.model, data),
            });
            self.begun_with(facts.inner.content, data, each);
        }
        self.usage(each);
    }

    /// The blocks that the message begins with: calls that a tool of the provider makes, when
    /// it goes on after an earlier one.
    fn begun_with(&mut self, content: Option<Span>, data: &[u8], each: Each<'_>) {
        let Some(content) = content else { return };
        let Ok(Value::Array(blocks)) = serde_json::from_slice(content.bytes(data)) else {
            return;
        };
        for value in &blocks {
            let Ok(Whole::Call(call)) = block_of(value) else {
                continue; // what was said before
            };
            self.has_call = true;
            each(Step::Open(Open::Call {
                id: Text::Plain(&call.id),
                name: Text::Plain(&call.name),
                is_custom: false,
            }));
            each(Step::Text(Text::Plain(&call.arguments)));
            each(Step::Close);
        }
    }

    fn usage(&self, each: Each<'_>) {
        if let Some(tokens) = self.counts.tokens() {
            each(Step::Usage(tokens));
        }
    }

    fn open(&mut self, facts: &Event, data: &[u8], each: Each<'_>) {
        if self.phase == Phase::Fresh {
            self.begin(&Event::default(), data, each);
        }
        self.close(each); // I1
        let inner = &facts.inner;
        let kind = inner.kind.map_or(&b""[..], |kind| kind.bytes(data));
        let block = match kind {
            b"text" => {
                each(Step::Open(Open::Text));
                say(inner.text, data, each);
                citations(inner.citations, data, each);
                Block::Text
            }
            b"thinking" => {
                each(Step::Open(Open::Thinking));
                say(inner.thinking, data, each);
                sign(inner.signature, data, each);
                Block::Thinking
            }
            b"redacted_thinking" => {
                each(Step::Open(Open::Thinking));
                sign(facts.block, data, each);
                Block::Thinking
            }
            b"tool_use" => {
                self.has_call = true;
                self.input.clear();
                self.input
                    .extend_from_slice(inner.input.map_or(b"{}", |input| input.bytes(data)));
                each(Step::Open(Open::Call {
                    id: text(inner.id, data),
                    name: text(inner.name, data),
                    is_custom: false,
                }));
                Block::Call(false)
            }
            _ => Block::Skipped,
        };
        self.open = Some((facts.index, block));
    }

    fn delta(&mut self, facts: &Event, data: &[u8], each: Each<'_>) -> Result<(), Kind> {
        let Some((index, block)) = &mut self.open else {
            return Err(Kind::UpstreamGarbled);
        };
        if facts.index.is_some() && *index != facts.index {
            return Err(Kind::UpstreamGarbled);
        }
        let Inner {
            text,
            partial_json,
            thinking,
            signature,
            citation,
            ..
        } = facts.inner;
        match block {
            Block::Text => {
                say(text, data, each);
                if let Some(citation) = citation {
                    each(Step::Citation(Dialect::Anthropic, citation.bytes(data)));
                }
            }
            Block::Thinking => {
                say(thinking, data, each);
                sign(signature, data, each);
            }
            Block::Call(has_text) => {
                *has_text |= partial_json.is_some_and(|json| !json.is_empty());
                say(partial_json, data, each);
            }
            Block::Skipped => {}
        }
        Ok(())
    }

    fn stop_block(&mut self, index: Option<u64>, each: Each<'_>) {
        let is_open = self
            .open
            .is_some_and(|(open, _)| index.is_none() || open == index);
        if is_open {
            self.close(each);
        }
    }

    /// Ends the open block. A call whose arguments did not come in deltas has those that it
    /// began with.
    fn close(&mut self, each: Each<'_>) {
        let Some((_, block)) = self.open.take() else {
            return;
        };
        if block == Block::Call(false)
            && let Ok(input) = std::str::from_utf8(&self.input)
        {
            each(Step::Text(Text::Plain(input)));
        }
        if block != Block::Skipped {
            each(Step::Close);
        }
    }

    fn message_delta(&mut self, facts: &Event, data: &[u8], each: Each<'_>) {
        if self.phase == Phase::Fresh {
            self.begin(&Event::default(), data, each);
        }
        self.close(each);
        self.counts = facts.counts.over(self.counts);
        self.usage(each);
        if let Some(reason) = facts.inner.stop_reason {
            let reason = std::str::from_utf8(reason.bytes(data)).unwrap_or_default();
            self.stop = Some(stop_of(reason)); // I2
        }
        for (place, span) in [
            (&mut self.sequence, facts.inner.stop_sequence),
            (&mut self.explanation, facts.inner.explanation),
        ] {
            if let Some(span) = span {
                place.clear();
                place.extend_from_slice(span.bytes(data));
            }
        }
    }

    fn finish(&mut self, each: Each<'_>) {
        if self.phase == Phase::Fresh {
            self.begin(&Event::default(), b"", each);
        }
        self.close(each);
        self.phase = Phase::Ended;
        if !self.explanation.is_empty() {
            each(Step::Open(Open::Refusal));
            each(Step::Text(Text::Escaped(&self.explanation)));
            each(Step::Close);
        }
        let stop = with_calls(self.stop.unwrap_or_default(), self.has_call);
        let sequence = match stop {
            Stop::Sequence => Text::Escaped(&self.sequence),
            _ => Text::EMPTY,
        };
        each(Step::Stop(stop, sequence));
        each(Step::End);
    }
}

fn text(span: Option<Span>, data: &[u8]) -> Text<'_> {
    span.map_or(Text::EMPTY, |span| Text::Escaped(span.bytes(data)))
}

fn say(span: Option<Span>, data: &[u8], each: Each<'_>) {
    let text = text(span, data);
    if !text.is_empty() {
        each(Step::Text(text));
    }
}

/// What the provider wants to see again: a whole JSON value.
fn sign(span: Option<Span>, data: &[u8], each: Each<'_>) {
    if let Some(span) = span {
        each(Step::Opaque(Dialect::Anthropic, span.bytes(data)));
    }
}

/// The citations that a block of text begins with.
fn citations(span: Option<Span>, data: &[u8], each: Each<'_>) {
    let Some(list) = span.map(|span| span.bytes(data)) else {
        return;
    };
    // The list obeyed the grammar when the event was read.
    _ = Cursor::new(list, 0).array(|cursor| {
        let item = cursor.skip()?;
        each(Step::Citation(Dialect::Anthropic, item.span.bytes(list)));
        Ok(())
    });
}
