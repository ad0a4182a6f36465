//! Cohere's events → steps.
//!
//! ```text
//!   content-start ─► Open   content-delta ─► Text   content-end ─► (soft) ─► Close
//!                                     citation-start ─► Citation ┘   └ when anything else comes
//! ```
//!
//! A text block is closed only when something other than a citation follows its end, since
//! citations may come behind it. The plan has neither start nor end: it is a text block that
//! anything else closes.
//!
//! Invariants
//! - I1 Steps are balanced: blocks that begin while another is open are held, at most
//!   [`HELD_MAX`] of them and [`HELD_BYTES_MAX`] bytes, and follow when it ends.
//! - I2 Nothing is allocated for a delta of the open block.
//! - I3 The arguments of a call are never empty, never `null`: both are `{}`.
//! - I4 `End` comes with `message-end` and never without it.

use super::super::answer::stop;
use super::super::error;
use super::super::event::{self, Event, What};
use super::super::look::is_failure;
use super::super::usage::parts;
use crate::base::fault::Kind;
use crate::dialect::model::{Dialect, Open, Refused, Step, Text, Trouble};

/// The most blocks that are held while another is open.
pub const HELD_MAX: usize = 128;

/// The most bytes of text that are held, in bytes.
pub const HELD_BYTES_MAX: usize = 1 << 20;

/// Which block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Content(u64),
    Plan,
    Call(u64),
}

/// What kind of block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Text,
    Thinking,
    Call,
}

/// The block that is open.
#[derive(Debug)]
struct Live {
    key: Key,
    sort: Sort,
    /// It has ended, or has no end; whatever follows closes it.
    is_soft: bool,
    /// It has said something.
    has_said: bool,
    /// It has said `null` and nothing else, which is not passed on (I3).
    is_null: bool,
}

/// A block that waits for another to end.
#[derive(Debug)]
struct Held {
    key: Key,
    sort: Sort,
    id: Vec<u8>,
    name: Vec<u8>,
    text: Vec<u8>,
    has_ended: bool,
}

/// How far the stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Fresh,
    Begun,
    Complete,
    Failed,
}

/// Reads a stream.
#[derive(Debug, Default)]
pub struct Reader {
    phase: Phase,
    has_called: bool,
    open: Option<Live>,
    held: Vec<Held>,
    held_bytes: usize,
}

type Each<'e> = dyn FnMut(Step<'_>) + 'e;

impl Reader {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one whole event: its name and its data.
    ///
    /// # Errors
    /// The event cannot be understood, or more is open at once than is held.
    pub fn read(
        &mut self,
        event: Option<&[u8]>,
        data: &[u8],
        each: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), Kind> {
        let text = data.trim_ascii();
        let is_over = matches!(self.phase, Phase::Complete | Phase::Failed);
        if is_over || text.is_empty() || text == b"[DONE]" {
            return Ok(());
        }
        let found = event::read(event, data).map_err(|_| Kind::UpstreamGarbled)?;
        match found.what {
            What::Other => return Ok(()),
            What::Refusal => {
                self.phase = Phase::Failed;
                each(Step::Error(error::read(500, data)));
                return Ok(());
            }
            _ if self.phase == Phase::Fresh => {
                self.phase = Phase::Begun;
                each(Step::Begin {
                    id: Text::Escaped(found.id),
                    model: Text::EMPTY,
                });
            }
            _ => {}
        }
        self.take(&found, each)
    }

    fn take(&mut self, found: &Event<'_>, each: &mut Each<'_>) -> Result<(), Kind> {
        let (content, call) = (Key::Content(found.index), Key::Call(found.index));
        match found.what {
            What::ContentStart => {
                let is_thinking = found.is_thinking || found.thinking.is_some();
                let sort = if is_thinking {
                    Sort::Thinking
                } else {
                    Sort::Text
                };
                self.start(content, sort, found, each)?;
                let said = found.thinking.or(found.text).unwrap_or_default();
                self.say(content, sort, said, each)
            }
            What::ContentDelta => match (found.thinking, found.text) {
                (Some(said), _) if !said.is_empty() => {
                    self.say(content, Sort::Thinking, said, each)
                }
                (_, said) => self.say(content, Sort::Text, said.unwrap_or_default(), each),
            },
            What::ContentEnd => {
                self.finish(content, each);
                Ok(())
            }
            What::PlanDelta => self.say(Key::Plan, Sort::Text, found.plan, each),
            What::CallStart => {
                self.has_called = true;
                self.start(call, Sort::Call, found, each)?;
                self.say(call, Sort::Call, found.arguments, each)
            }
            What::CallDelta => self.say(call, Sort::Call, found.arguments, each),
            What::CallEnd => {
                self.finish(call, each);
                Ok(())
            }
            What::Citation => {
                let is_text = self
                    .open
                    .as_ref()
                    .is_some_and(|open| open.sort == Sort::Text);
                if let Some(citation) = found.citation.filter(|_| is_text) {
                    each(Step::Citation(Dialect::Cohere, citation));
                }
                Ok(())
            }
            What::MessageEnd => {
                self.conclude(found, each);
                Ok(())
            }
            What::Other | What::MessageStart | What::Refusal => Ok(()),
        }
    }

    /// The body ended.
    ///
    /// # Errors
    /// It did so before the answer was complete.
    pub fn end(&mut self, _each: &mut dyn FnMut(Step<'_>)) -> Result<(), Kind> {
        match self.phase {
            Phase::Complete => Ok(()), // I4: its steps came with `message-end`.
            Phase::Failed => Err(Kind::UpstreamError),
            Phase::Fresh | Phase::Begun => Err(Kind::UpstreamCut),
        }
    }

    /// A block begins; it is held while another is open (I1).
    fn start(
        &mut self,
        key: Key,
        sort: Sort,
        found: &Event<'_>,
        each: &mut Each<'_>,
    ) -> Result<(), Kind> {
        if self.open.as_ref().is_some_and(|open| open.is_soft) {
            self.close(each);
        }
        if self.open.is_none() {
            self.open = Some(begin(key, sort, found.call_id, found.call_name, each));
            return Ok(());
        }
        if self.held.len() >= HELD_MAX {
            return Err(Kind::UpstreamGarbled);
        }
        self.room(found.call_id.len() + found.call_name.len())?;
        self.held.push(Held {
            key,
            sort,
            id: found.call_id.to_vec(),
            name: found.call_name.to_vec(),
            text: Vec::new(),
            has_ended: false,
        });
        Ok(())
    }

    /// The block says more. A block of content, and the plan, may do without a start.
    fn say(&mut self, key: Key, sort: Sort, said: &[u8], each: &mut Each<'_>) -> Result<(), Kind> {
        if said.is_empty() {
            return Ok(());
        }
        if let Some(open) = self.open.as_mut().filter(|open| open.key == key) {
            if open.sort == sort {
                open.say(said, each);
                return Ok(());
            }
            self.close(each);
        } else if let Some(held) = self.held.iter_mut().rfind(|held| held.key == key) {
            held.text.extend_from_slice(said);
            return self.room(said.len());
        }
        if sort == Sort::Call {
            return Err(Kind::UpstreamGarbled);
        }
        self.start(key, sort, &Event::default(), each)?;
        self.say(key, sort, said, each)
    }

    /// Counts `bytes` that are held.
    fn room(&mut self, bytes: usize) -> Result<(), Kind> {
        self.held_bytes = self.held_bytes.saturating_add(bytes);
        if self.held_bytes > HELD_BYTES_MAX {
            return Err(Kind::UpstreamGarbled);
        }
        Ok(())
    }

    /// The block ends.
    fn finish(&mut self, key: Key, each: &mut Each<'_>) {
        if let Some(open) = self.open.as_mut().filter(|open| open.key == key) {
            if open.sort == Sort::Text && self.held.is_empty() {
                open.is_soft = true;
                return;
            }
            self.close(each);
            self.release(each);
        } else if let Some(held) = self.held.iter_mut().rfind(|held| held.key == key) {
            held.has_ended = true;
        }
    }

    /// Lets out what is held, until a block is open again.
    fn release(&mut self, each: &mut Each<'_>) {
        while self.open.is_none() && !self.held.is_empty() {
            let held = self.held.remove(0);
            let mut live = begin(held.key, held.sort, &held.id, &held.name, each);
            live.say(&held.text, each);
            self.open = Some(live);
            if held.has_ended {
                self.close(each);
            }
        }
        if self.held.is_empty() {
            self.held_bytes = 0;
        }
    }

    fn close(&mut self, each: &mut Each<'_>) {
        let Some(open) = self.open.take() else { return };
        if open.sort == Sort::Call && !open.has_said {
            each(Step::Text(Text::Plain("{}"))); // I3
        }
        each(Step::Close);
    }

    /// The answer is complete, or it failed.
    fn conclude(&mut self, found: &Event<'_>, each: &mut Each<'_>) {
        if is_failure(found.finish) || found.error.is_some() {
            self.phase = Phase::Failed;
            each(Step::Error(refused(found)));
            return;
        }
        loop {
            self.close(each);
            if self.held.is_empty() {
                break;
            }
            self.release(each);
        }
        self.phase = Phase::Complete;
        if let Some(usage) = found.usage {
            each(Step::Usage(parts(usage)));
        }
        each(Step::Stop(stop(found.finish, self.has_called), Text::EMPTY));
        each(Step::End);
    }
}

impl Live {
    fn say(&mut self, said: &[u8], each: &mut Each<'_>) {
        if said.is_empty() {
            return;
        }
        let is_first = self.sort == Sort::Call && !self.has_said && !self.is_null;
        if is_first && said == b"null" {
            self.is_null = true; // I3
            return;
        }
        if std::mem::take(&mut self.is_null) {
            each(Step::Text(Text::Plain("null")));
        }
        self.has_said = true;
        each(Step::Text(Text::Escaped(said)));
    }
}

fn begin(key: Key, sort: Sort, id: &[u8], name: &[u8], each: &mut Each<'_>) -> Live {
    each(Step::Open(match sort {
        Sort::Text => Open::Text,
        Sort::Thinking => Open::Thinking,
        Sort::Call => Open::Call {
            id: Text::Escaped(id),
            name: Text::Escaped(name),
            is_custom: false,
        },
    }));
    Live {
        key,
        sort,
        is_soft: key == Key::Plan,
        has_said: false,
        is_null: false,
    }
}

fn refused(found: &Event<'_>) -> Refused {
    let message = Text::Escaped(found.error.unwrap_or_default()).to_text();
    let body = serde_json::json!({ "message": message }).to_string();
    let mut refused = error::read(500, body.as_bytes());
    if found.finish == b"TIMEOUT" {
        refused.trouble = Trouble::Timeout;
    }
    refused
}
