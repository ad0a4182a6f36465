//! Events of Responses to steps.
//!
//! ```text
//!   output_item.added ─► output_text.delta … ─► content_part.done ─► output_item.done
//!        Open(Call)          Open(Text) Text        Close              what never came as deltas
//!
//!   two calls at once:   a b a b a·done b·done   →   Open(a) a a a Close Open(b) b b Close
//!                          └──┴── held until a is done
//! ```
//!
//! Invariants
//! - I1 Steps are balanced whatever comes: one block at a time, `Begin` first and once.
//! - I2 Only calls are held, and at most [`HELD_MAX`] bytes of them. Text and thinking end
//!   when something else begins.
//! - I3 Text that came as deltas is not said again when the whole of it comes; text that
//!   came only as a whole is said then.
//! - I4 A text delta costs one pass over its event and no allocation.
//! - I5 `End` follows `response.completed` and `response.incomplete`, nothing else.
//!
//! Source: OpenAI API reference, "Streaming events"; recorded oddities in protocols.md, 4.3.

use super::event::{Event, Item, inside, members};
use crate::base::fault::Kind;
use crate::dialect::model::{Block, Dialect, Open, Refused, Step, Text, Tokens};
use crate::dialect::responses::{answer, error, tokens};
use crate::wire::json::cursor::{Cursor, ValueKind};

/// The most bytes of calls that are held while another call is open.
pub(super) const HELD_MAX: usize = 1 << 20;

/// The most items of an answer.
const ITEMS_MAX: usize = 4096;

/// Reads a stream.
#[derive(Debug, Default)]
pub struct Reader {
    pub(super) progress: Progress,
    pub(super) has_called: bool,
    pub(super) has_refused: bool,
    pub(super) has_spoken: bool,
    pub(super) seen: Vec<Seen>,
    pub(super) open: Option<Current>,
    pub(super) held: usize,
}

/// How far a stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing has been said.
    #[default]
    Nothing,
    /// `Begin` has.
    Begun,
    /// The end, or an error.
    Over,
}

/// An item that has come.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) at: u64,
    pub(super) kind: ItemKind,
    /// The call's id and tool, as they stand in their strings.
    pub(super) id: Vec<u8>,
    pub(super) name: Vec<u8>,
    /// Arguments that wait for another call to be done.
    pub(super) held: Vec<u8>,
    /// Messages: parts below this one have been said.
    pub(super) parts: u64,
    pub(super) has_opened: bool,
    pub(super) has_said: bool,
    pub(super) is_done: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ItemKind {
    Message,
    Reasoning,
    Call,
    Custom,
    #[default]
    Other,
}

impl ItemKind {
    pub(super) const fn of(kind: &[u8]) -> Self {
        match kind {
            b"message" => Self::Message,
            b"reasoning" => Self::Reasoning,
            b"function_call" => Self::Call,
            b"custom_tool_call" => Self::Custom,
            _ => Self::Other,
        }
    }

    pub(super) const fn is_call(self) -> bool {
        matches!(self, Self::Call | Self::Custom)
    }
}

/// The block that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    /// Its item, as a position in `seen`.
    pub(super) item: usize,
    pub(super) what: What,
    pub(super) part: u64,
    pub(super) has_said: bool,
    pub(super) has_cited: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Text,
    Refusal,
    Summary,
    Thought,
    Call,
}

pub(super) type Each<'e> = dyn FnMut(Step<'_>) + 'e;

impl Reader {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one event: its name, if it has one, and its data.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`]: it is no event of this dialect, or too much would have to be
    /// held.
    pub fn read(
        &mut self,
        event: Option<&[u8]>,
        data: &[u8],
        each: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), Kind> {
        let trimmed = data.trim_ascii();
        if self.progress == Progress::Over || trimmed.is_empty() || trimmed == b"[DONE]" {
            return Ok(());
        }
        if simdutf8::basic::from_utf8(data).is_err() {
            return Err(Kind::UpstreamGarbled);
        }
        let event = Event::read(event, data)?;
        if event.kind == b"error" || (event.has_error && event.response.is_none()) {
            let value = serde_json::from_slice(data).map_err(|_| Kind::UpstreamGarbled)?;
            self.fail(error::of_value(500, &value), each);
            return Ok(());
        }
        self.take(&event, each)
    }

    /// The body ended.
    ///
    /// # Errors
    /// [`Kind::UpstreamCut`]: before the answer did.
    pub fn end(&mut self, each: &mut dyn FnMut(Step<'_>)) -> Result<(), Kind> {
        let _: &mut Each<'_> = each;
        if self.progress == Progress::Over {
            Ok(())
        } else {
            Err(Kind::UpstreamCut)
        }
    }

    fn take(&mut self, event: &Event<'_>, each: &mut Each<'_>) -> Result<(), Kind> {
        match event.kind {
            b"response.created" | b"response.in_progress" | b"response.queued" => {
                self.begin(event.response, each)
            }
            b"response.output_item.added" => self.added(event, each),
            b"response.output_text.delta" => self.say(event, What::Text, each),
            b"response.refusal.delta" => self.say(event, What::Refusal, each),
            b"response.reasoning_summary_text.delta" => self.say(event, What::Summary, each),
            b"response.reasoning_text.delta" => self.say(event, What::Thought, each),
            b"response.output_text.done" => self.said(event, What::Text, each),
            b"response.refusal.done" => self.said(event, What::Refusal, each),
            b"response.reasoning_summary_text.done" => self.said(event, What::Summary, each),
            b"response.reasoning_text.done" => self.said(event, What::Thought, each),
            b"response.content_part.done" => self.part_done(event, each),
            b"response.output_text.annotation.added" => {
                self.cite(event, each);
                Ok(())
            }
            b"response.function_call_arguments.delta"
            | b"response.custom_tool_call_input.delta" => {
                let item = self.call_at(event.item_at)?;
                self.begin(None, each)?;
                self.argue(item, event.delta.unwrap_or_default(), each)
            }
            b"response.function_call_arguments.done" | b"response.custom_tool_call_input.done" => {
                let item = self.call_at(event.item_at)?;
                self.begin(None, each)?;
                self.call_done(item, event.text, each)
            }
            b"response.output_item.done" => self.item_done(event, each),
            b"response.completed" | b"response.incomplete" | b"response.failed" => {
                self.finish(event, each)
            }
            _ => Ok(()),
        }
    }

    /// Gives `Begin`, once.
    pub(super) fn begin(
        &mut self,
        response: Option<&[u8]>,
        each: &mut Each<'_>,
    ) -> Result<(), Kind> {
        if self.progress != Progress::Nothing {
            return Ok(());
        }
        self.progress = Progress::Begun;
        let (mut id, mut model) = (&b""[..], &b""[..]);
        if let Some(response) = response {
            members(response, |name, value, whole| match name {
                b"id" => id = inside(&value, whole).unwrap_or_default(),
                b"model" => model = inside(&value, whole).unwrap_or_default(),
                _ => {}
            })
            .map_err(|_| Kind::UpstreamGarbled)?;
        }
        each(Step::Begin {
            id: Text::Escaped(id),
            model: Text::Escaped(model),
        });
        Ok(())
    }

    fn fail(&mut self, refused: Refused, each: &mut Each<'_>) {
        self.progress = Progress::Over;
        each(Step::Error(refused));
    }

    fn added(&mut self, event: &Event<'_>, each: &mut Each<'_>) -> Result<(), Kind> {
        self.begin(None, each)?;
        let Some(raw) = event.item else {
            return Ok(());
        };
        let item = Item::read(raw)?;
        let at = self.see(event.item_at, ItemKind::of(item.kind), Some(&item))?;
        if self.seen.get(at).is_some_and(|seen| seen.kind.is_call()) {
            self.has_called = true;
            if !self.is_calling() {
                self.open_call(at, each);
            }
        }
        Ok(())
    }

    /// Notes a new item; its position.
    pub(super) fn see(
        &mut self,
        at: Option<u64>,
        kind: ItemKind,
        item: Option<&Item<'_>>,
    ) -> Result<usize, Kind> {
        if self.seen.len() >= ITEMS_MAX {
            return Err(Kind::UpstreamGarbled);
        }
        let position = self.seen.len();
        let text = |raw: Option<&[u8]>| raw.map(<[u8]>::to_vec).unwrap_or_default();
        let is_call = kind.is_call();
        self.seen.push(Seen {
            at: at.unwrap_or(position as u64),
            kind,
            id: text(item.filter(|_| is_call).and_then(|item| item.call_id)),
            name: text(item.filter(|_| is_call).map(|item| item.name)),
            ..Seen::default()
        });
        Ok(position)
    }

    /// The last item that has this index; without one, the last item.
    pub(super) fn find(&self, at: Option<u64>) -> Option<usize> {
        match at {
            Some(at) => self.seen.iter().rposition(|seen| seen.at == at),
            None => self.seen.len().checked_sub(1),
        }
    }

    pub(super) fn close(&mut self, each: &mut Each<'_>) {
        if self.open.take().is_some() {
            each(Step::Close);
        }
    }

    /// The event that ends the answer.
    fn finish(&mut self, event: &Event<'_>, each: &mut Each<'_>) -> Result<(), Kind> {
        let Some(raw) = event.response else {
            return Err(Kind::UpstreamGarbled);
        };
        let end = Ending::read(raw)?;
        if event.kind == b"response.failed" || end.status == b"failed" || end.has_error {
            let value: serde_json::Value =
                serde_json::from_slice(raw).map_err(|_| Kind::UpstreamGarbled)?;
            self.fail(error::of_value(500, &value), each);
            return Ok(());
        }
        self.begin(event.response, each)?;
        self.drain(each);
        self.close(each);
        if !self.has_spoken {
            self.tell(raw, each)?;
        }
        if let Some(usage) = end.usage {
            each(Step::Usage(usage));
        }
        let is_incomplete = event.kind == b"response.incomplete" || end.status == b"incomplete";
        let (called, refused) = (self.has_called, self.has_refused);
        let stop = answer::stop_of(is_incomplete, end.reason, called, refused);
        each(Step::Stop(stop, Text::EMPTY));
        each(Step::End);
        self.progress = Progress::Over;
        Ok(())
    }

    /// An answer that came only as a whole, in the last event.
    fn tell(&mut self, raw: &[u8], each: &mut Each<'_>) -> Result<(), Kind> {
        let value = serde_json::from_slice(raw).map_err(|_| Kind::UpstreamGarbled)?;
        for block in answer::blocks(&value) {
            let (open, text, opaque, citations) = match &block {
                Block::Text {
                    text, citations, ..
                } => (Open::Text, text, None, citations.as_ref()),
                Block::Refusal(text) => {
                    self.has_refused = true;
                    (Open::Refusal, text, None, None)
                }
                Block::Thinking { text, opaque } => (Open::Thinking, text, opaque.as_ref(), None),
                Block::Call(call) => {
                    self.has_called = true;
                    let open = Open::Call {
                        id: Text::Plain(&call.id),
                        name: Text::Plain(&call.name),
                        is_custom: call.is_custom,
                    };
                    (open, &call.arguments, None, None)
                }
                _ => continue,
            };
            each(Step::Open(open));
            if !text.is_empty() {
                each(Step::Text(Text::Plain(text)));
            }
            for citation in citations.and_then(|c| c.as_array()).into_iter().flatten() {
                let raw = citation.to_string();
                each(Step::Citation(Dialect::Responses, raw.as_bytes()));
            }
            if let Some(opaque) = opaque {
                let raw = opaque.value.to_string();
                each(Step::Opaque(opaque.dialect, raw.as_bytes()));
            }
            each(Step::Close);
        }
        Ok(())
    }
}

/// What the response object of the last event says.
#[derive(Default)]
struct Ending<'a> {
    status: &'a [u8],
    reason: Option<&'a [u8]>,
    has_error: bool,
    usage: Option<Tokens>,
}

impl<'a> Ending<'a> {
    fn read(raw: &'a [u8]) -> Result<Self, Kind> {
        let mut end = Self::default();
        let mut details = None;
        members(raw, |name, value, whole| match name {
            b"status" => end.status = inside(&value, whole).unwrap_or_default(),
            b"error" => end.has_error = value.kind != ValueKind::Null,
            b"incomplete_details" if value.kind == ValueKind::Object => details = Some(whole),
            b"usage" => {
                end.usage = tokens::read(whole, &mut Cursor::new(whole, 0)).unwrap_or_default();
            }
            _ => {}
        })
        .map_err(|_| Kind::UpstreamGarbled)?;
        if let Some(details) = details {
            members(details, |name, value, whole| {
                if name == b"reason" {
                    end.reason = inside(&value, whole);
                }
            })
            .map_err(|_| Kind::UpstreamGarbled)?;
        }
        Ok(end)
    }
}
