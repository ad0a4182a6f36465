//! What decides whether an answer is worth storing: is it whole, why did it end, does it call.
//!
//! ```text
//!   stream ─► Cutter ─► event ─┬─ like the last one but for its text: Template, not looked at
//!                              └─ Look: a walk over the members that decide
//!   plain  ─► Look
//! ```
//!
//! Looked at when the answer has ended, over the body that is to be stored: nothing is gathered
//! while it passes.
//!
//! Invariants
//! - I1 What is cut anywhere is not complete. A stream is complete with the end marker of its
//!   dialect, where that has one (Gemini: with the reason of every candidate), and ends between
//!   two events; a provider that leaves the marker away is not believed.
//! - I2 A reason that nobody knows is [`Why::Other`]: no word is taken for a good one by default.
//! - I3 Any bytes give facts, nothing is an error. One allocation at most.
//!
//! Source: the dialects' own `look.rs` and `stop.rs`; mapping.md, 8.

mod look;
mod place;
mod words;

use super::events::{Cutter, Wire, event};
use super::model::Dialect;
use super::openai::template::Template;
use super::speak;
use crate::base::fault::Kind;
use crate::wire::sse::frame;
use look::{Look, Seen};

/// What is known of a stored body.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each of which decides"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Worth {
    /// It is whole: every choice has its reason to end, and the stream its end (I1).
    pub complete: bool,
    /// Why it ended; of several choices the one that speaks most against storing it. `None`: it
    /// does not say.
    pub stop: Option<Why>,
    /// It calls tools that the client is to run.
    pub has_calls: bool,
    /// It says something, or thinks, calls or declines.
    pub has_content: bool,
    /// It says that the provider failed.
    pub has_error: bool,
    /// How many choices it has.
    pub choices: u32,
}

/// Why an answer ended, the most welcome first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// The model was done, or came to one of the client's stop sequences.
    Stop,
    /// A tool is to be run.
    Tool,
    /// At the limit on the answer.
    Length,
    /// At the end of the model's context, whatever the request allows.
    Context,
    /// Anything else: a pause, a call that cannot be read, a word that nobody knows.
    Other,
    /// The model declines.
    Refusal,
    /// A filter cut it.
    Filtered,
}

/// Of the whole stream `body` of a provider that speaks `dialect`.
pub fn of_stream(dialect: Dialect, wire: Wire, body: &[u8]) -> Worth {
    let mut reading = Reading::new(dialect, wire);
    let len = reading.events(body);
    reading.end(body.get(len..).unwrap_or_default())
}

/// A stream that is looked at from one event to the next.
#[derive(Debug)]
pub struct Reading {
    dialect: Dialect,
    wire: Wire,
    look: Look,
    template: Template,
    scratch: Vec<u8>,
    cutter: Cutter,
    /// Bytes of the next event that the cutter has seen.
    split: usize,
    is_broken: bool,
    /// Nothing more can be read.
    is_lost: bool,
    /// The last event is the one that `template` learned, or fits it.
    is_text: bool,
}

impl Reading {
    /// At the beginning of one.
    pub fn new(dialect: Dialect, wire: Wire) -> Self {
        Self {
            dialect,
            wire,
            look: Look::new(dialect),
            template: Template::new(),
            scratch: Vec::new(),
            cutter: Cutter::new(wire, usize::MAX),
            split: 0,
            is_broken: false,
            is_lost: false,
            is_text: false,
        }
    }

    /// Looks at the whole events that `bytes` begin with, and gives how long they are together;
    /// next time `bytes` begin behind them.
    pub fn events(&mut self, bytes: &[u8]) -> usize {
        let (mut from, mut at) = (0, self.split);
        while let Some(fresh) = bytes.get(at..).filter(|_| !self.is_lost) {
            match self.cutter.next_end(fresh) {
                Ok(Some(end)) => at += end,
                Ok(None) => break,
                Err(_) => {
                    self.is_lost = true;
                    break;
                }
            }
            self.event(bytes.get(from..at).unwrap_or_default());
            if self.is_text && self.cutter.is_blank() {
                let rest = bytes.get(at..).unwrap_or_default();
                at += self.template.next_run(rest).0;
            }
            from = at;
        }
        self.split = bytes.len().saturating_sub(from);
        from
    }

    fn event(&mut self, bytes: &[u8]) {
        self.is_text = self.is_text && self.template.fits(bytes); // one that came in parts
        if self.is_text {
            return;
        }
        if can_skip(self.dialect, self.wire, bytes) {
            self.look.has_content = true;
            return;
        }
        let data = match event(self.wire, bytes, &mut self.scratch) {
            Ok(event) => event,
            Err(kind) => {
                self.look.has_error |= kind == Kind::UpstreamError;
                self.is_broken = true;
                return;
            }
        };
        let (name, is_plain) = (data.name, data.is_plain);
        let Some(data) = data.data else { return };
        match self.look.event(name, data) {
            // What is like one without a word may have some.
            Seen::Nothing if is_plain && self.look.has_content => {
                self.template.learn(bytes);
                self.is_text = true;
            }
            Seen::Nothing | Seen::Something => {}
            Seen::Broken => self.is_broken = true,
        }
    }

    /// Whether the last event is `before`, some of a text, and `behind`, and what is like it but
    /// for plain text in that place says nothing that decides.
    pub fn is_text(&self, before: &[u8], behind: &[u8]) -> bool {
        self.is_text && self.cutter.is_blank() && self.template.is_text_in(before, behind)
    }

    /// The stream ended, and `rest` was left of it.
    pub fn end(self, rest: &[u8]) -> Worth {
        let is_between = match self.wire {
            Wire::Lines => {
                let left = frame(rest);
                left.is_empty() || left.is_comment_only()
            }
            Wire::Frames | Wire::Wrapped => rest.is_empty(),
        };
        let is_whole = !self.is_broken && !self.is_lost && is_between && self.look.has_ended();
        self.look.worth(is_whole)
    }
}

/// Of the whole answer `body` to a request for the vectors of so many `inputs`; 0: some.
pub fn of_vectors(dialect: Dialect, body: &[u8], inputs: usize) -> Worth {
    let found = speak::count_vectors(dialect, body);
    let complete = found.is_some_and(|found| found == inputs || (inputs == 0 && found > 0));
    Worth {
        complete,
        stop: complete.then_some(Why::Stop),
        has_content: complete,
        ..Worth::default()
    }
}

/// Whether an event is known by its name to say nothing that decides.
fn can_skip(dialect: Dialect, wire: Wire, bytes: &[u8]) -> bool {
    const LINE: &[u8] = b"event: ";
    if wire != Wire::Lines || dialect != Dialect::Responses {
        return false;
    }
    let Some(name) = bytes.strip_prefix(LINE) else {
        return false;
    };
    let line = memchr::memchr2(b'\r', b'\n', name).and_then(|end| name.get(..end));
    line.is_some_and(|name| name.ends_with(b".delta"))
}

/// Of the plain `body` of a provider that speaks `dialect`.
pub fn of_plain(dialect: Dialect, body: &[u8]) -> Worth {
    let mut look = Look::new(dialect);
    let is_whole = look.plain(body) != Seen::Broken;
    look.worth(is_whole)
}

#[cfg(test)]
mod tests;
