//! What is known of a stream while it is relayed, and what becomes of each of its events.
//!
//! ```text
//!   rx ─► Cutter ─► whole event ─┬─ same dialect ─► look ─► Pass, Withhold, Last, Broken
//!                                └─ another one ──► Translator ─► Withhold, Over, Broken
//! ```
//!
//! Events that pass form runs, and a run is one chunk of HTTP; so is what the translator wrote
//! of all events that were there. A chunk that a tape knows for an event like one before goes on
//! as it came.

use super::answer::Incoming;
use super::translator::{Heard, Translator};
use crate::base::alike::{Alike, END_OF_CHUNK, Shape};
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::fault::Kind;
use crate::dialect::events::{Cutter, Wire, event};
use crate::dialect::filtered;
use crate::dialect::model::{Dialect, Refused};
use crate::dialect::openai::Usage;
use crate::dialect::openai::template::Template;
use crate::dialect::speak::{look, refusal};
use crate::wire::http1::put_chunk;
use crate::wire::json::plain_run;
use crate::wire::sse::frame;
use std::cell::RefCell;

/// Largest single event, in bytes (images travel as one).
pub const EVENT_MAX: usize = 16 << 20;

const DONE: &[u8] = b"data: [DONE]\n\n";

/// What is known of the stream so far.
#[derive(Debug)]
pub struct Seen {
    /// Bytes of the head, at the front of what is held.
    pub head: u32,
    cutter: Cutter,
    /// Bytes at the front of the buffer that the cutter has seen.
    split: u32,
    /// Something for the reader was among them, or the end of the answer.
    pub has_content: bool,
    has_finish: bool,
    /// The last event ended with a CR whose LF may come; whether it passed.
    lf_due: Option<bool>,
    /// The stream is whole.
    pub has_done: bool,
    /// What broke it.
    pub fault: Option<Kind>,
    /// The fault that the provider's own error event told the client.
    pub told: Option<Kind>,
    /// The token counts so far.
    pub usage: Option<Usage>,
    /// How many events there were.
    pub events: u64,
    /// How the client wants them.
    pub form: Form,
    template: Template,
    /// An event of this shape with so many bytes behind the gap and plain text in it fits what the
    /// template was, so it says no more than its text, whatever the template is by now.
    shape: Option<(Shape, u16)>,
    /// What the provider speaks.
    from: Dialect,
    /// In which frames.
    wire: Wire,
    /// For a client that speaks something else.
    pub translator: Option<Box<Translator>>,
}

/// How the client wants the stream.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// It asked for the usage event itself.
    pub wants_usage: bool,
    /// It understands chunks; else the close ends the body.
    pub is_chunked: bool,
    /// It asked for one choice.
    pub is_single: bool,
    /// Whether it is to be seen when an answer is ended for its content.
    pub policy: Policy,
}

/// Whether an answer was ended for its content before there was any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nobody wants to know.
    Ignored,
    /// Not so far.
    Minded,
    /// Yes.
    Broken,
}

impl Policy {
    /// Whether somebody wants to know.
    pub const fn minded(is_minded: bool) -> Self {
        if is_minded {
            Self::Minded
        } else {
            Self::Ignored
        }
    }
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    Withhold,
    /// Passed, and the last one.
    Last,
    /// Not passed, nor is what follows: the stream is whole.
    Over,
    /// Not passed; the stream is broken.
    Broken(Kind),
}

impl Seen {
    /// At the beginning of a stream of `from`, behind `head` bytes that are held.
    pub fn new(
        (from, wire): (Dialect, Wire),
        head: usize,
        form: Form,
        translator: Option<Box<Translator>>,
    ) -> Self {
        Self {
            head: u32::try_from(head).unwrap_or(u32::MAX),
            cutter: Cutter::new(wire, EVENT_MAX),
            split: 0,
            has_content: false,
            has_finish: false,
            lf_due: None,
            has_done: false,
            fault: None,
            told: None,
            usage: None,
            events: 0,
            form,
            template: Template::new(),
            shape: None,
            from,
            wire,
            translator,
        }
    }

    /// The same for the stream of another target, in whose name `translator` speaks.
    #[must_use]
    pub fn following(&self, from: (Dialect, Wire), translator: Box<Translator>) -> Self {
        Self {
            events: self.events,
            ..Self::new(from, 0, self.form, Some(translator))
        }
    }

    /// Whether the answer may be gone on with.
    pub fn has_trail(&self) -> bool {
        let translator = self.translator.as_ref();
        translator.is_some_and(|translator| translator.trail.is_some())
    }

    /// Whether this stream goes on with an answer that others began.
    pub fn goes_on(&self) -> bool {
        let trail = self.translator.as_ref().and_then(|it| it.trail.as_ref());
        trail.is_some_and(|trail| trail.is_joined())
    }

    /// Whether another target may go on with this stream, which broke with `fault`.
    pub fn may_go_on(&self, fault: Kind) -> bool {
        let is_cut = match fault {
            Kind::UpstreamCut | Kind::UpstreamGarbled | Kind::IdleTimeout => true,
            Kind::UpstreamError => {
                let words = self.translator.as_ref().and_then(|it| it.refused.as_ref());
                words.is_some_and(|words| words.trouble.is_upstreams())
            }
            _ => false,
        };
        let translator = self.translator.as_ref();
        is_cut && translator.is_some_and(|translator| translator.may_go_on())
    }

    /// Looks at the whole events that have arrived, writes those that pass into `tx`, and
    /// drops them from the buffer; what is left does not keep a large block.
    #[inline]
    pub fn digest(
        &mut self,
        scratch: &RefCell<Vec<u8>>,
        rx: &mut RxBuf,
        body: &mut Incoming,
        tx: &mut TxBuf,
    ) {
        if let Some(chunk) = body.take_chunk() {
            if self.passes(rx.data(), chunk) {
                self.events += 1;
                tx.put(rx.data());
                return rx.clear();
            }
            body.open(rx, chunk);
        }
        self.digest_opened(scratch, rx, body, tx);
    }

    /// The same without the framing of chunks.
    #[inline(never)]
    fn digest_opened(
        &mut self,
        scratch: &RefCell<Vec<u8>>,
        rx: &mut RxBuf,
        body: &mut Incoming,
        tx: &mut TxBuf,
    ) {
        let data = rx.data().get(..body.decoded).unwrap_or_default();
        // Events that pass form runs; a run is one chunk.
        let (mut run, mut event, mut at) = (0, 0, self.split as usize);
        let mut is_over = self.has_done;
        if let Some(alike) = body.take_alike() {
            event = self.skip_alike(data, alike);
            at += event;
        }
        while let Some(fresh) = data.get(at..).filter(|fresh| !fresh.is_empty()) {
            // Events like the one before need not be split off first.
            if at == event && !is_over && self.cutter.is_blank() {
                let len = self.skip(fresh);
                if len > 0 {
                    at += len;
                    event = at;
                    if self.translator.is_some() {
                        run = at; // their text was translated: they do not pass themselves
                    }
                    continue;
                }
            }
            let len = match self.cutter.next_end(fresh) {
                Ok(Some(len)) => len,
                Ok(None) => break,
                Err(kind) => {
                    self.fault = self.fault.or(Some(kind));
                    break;
                }
            };
            at += len;
            if let Some(has_passed) = self.lf_due.take()
                && data.get(event) == Some(&b'\n')
            {
                event += 1; // it goes where its event went
                run = if has_passed { run } else { event };
            }
            let mut passes = false;
            if !is_over {
                let bytes = data.get(event..at).unwrap_or_default();
                let fate = self.judge(bytes, &mut scratch.borrow_mut());
                let pass = match fate {
                    Fate::Pass => None,
                    Fate::Withhold | Fate::Over | Fate::Broken(_) => Some(event),
                    Fate::Last => Some(at),
                };
                if let Some(until) = pass {
                    self.put(tx, data.get(run..until).unwrap_or_default());
                    run = at;
                }
                is_over = matches!(fate, Fate::Last | Fate::Over | Fate::Broken(_));
                passes = matches!(fate, Fate::Pass | Fate::Last);
            }
            if at.checked_sub(1).and_then(|last| data.get(last)) == Some(&b'\r') {
                self.lf_due = Some(passes);
            }
            event = at;
        }
        if is_over {
            run = event;
        }
        self.put(tx, data.get(run..event).unwrap_or_default());
        self.put_translated(tx);
        body.passed(rx, event);
        rx.settle();
        self.split = u32::try_from(body.decoded).unwrap_or(u32::MAX);
        if body.decoded > EVENT_MAX {
            self.fault = Some(Kind::UpstreamGarbled);
        }
    }

    /// Writes a run of whole events, as the client wants them framed.
    pub fn put(&self, tx: &mut TxBuf, run: &[u8]) {
        if self.form.is_chunked {
            put_chunk(tx, &[run]);
        } else {
            tx.put(run);
        }
    }

    /// How long the events are together that `fresh` begins with and that are like the one
    /// before but for their text; that is translated where they do not pass.
    fn skip(&mut self, fresh: &[u8]) -> usize {
        let Some(translator) = &mut self.translator else {
            let (len, events) = self.template.next_run(fresh);
            self.events += events;
            return len;
        };
        let mut at = 0;
        while let Some((len, text)) = fresh
            .get(at..)
            .and_then(|rest| self.template.next_text(rest))
        {
            translator.text(text);
            self.events += 1;
            at += len;
        }
        at
    }

    /// As [`Seen::skip`], where all of `data` is one event and `alike` to one before.
    #[inline(never)]
    fn skip_alike(&mut self, data: &[u8], alike: Alike) -> usize {
        if self.split > 0 || self.has_done || !self.knows(data, alike) {
            return 0;
        }
        self.events += 1;
        data.len()
    }

    /// Whether all of `bytes`, a chunk with an event like one before, is the client's as it came.
    fn passes(&self, bytes: &[u8], chunk: Alike) -> bool {
        let Shape { before, behind, .. } = chunk.shape;
        let is_known = self.form.is_chunked
            && self.shape == Some((chunk.shape, behind.saturating_sub(END_OF_CHUNK)))
            && !self.has_done
            && self.cutter.is_blank();
        debug_assert!(self.split == 0, "something came before what came alone");
        let start = usize::from(chunk.line) + usize::from(before);
        is_known && is_plain(bytes, start, chunk.fresh.into())
    }

    /// Whether `event` fits the template, as it is `alike` to one before: then neither of them is
    /// read.
    fn knows(&mut self, event: &[u8], alike: Alike) -> bool {
        let (start, text) = (alike.shape.before, usize::from(alike.fresh));
        let Some((before, rest)) = event.split_at_checked(usize::from(start)) else {
            return false;
        };
        let Some(behind) = rest.get(text..) else {
            return false;
        };
        let Ok(len) = u16::try_from(behind.len()) else {
            return false;
        };
        let shape = Some((alike.shape, len));
        if self.shape != shape {
            if self.translator.is_some() || !self.template.is_text_between(before, behind) {
                return false;
            }
            self.shape = shape;
        }
        self.cutter.is_blank() && is_plain(rest, 0, text)
    }

    /// Writes what the translator has written.
    fn put_translated(&mut self, tx: &mut TxBuf) {
        if let Some(translator) = &mut self.translator
            && !translator.tx.is_empty()
        {
            if self.form.is_chunked {
                put_chunk(tx, &[translator.tx.unsent()]);
            } else {
                tx.put(translator.tx.unsent());
            }
            translator.tx.clear();
        }
    }

    /// Sees whether an event ends the answer for its content, where somebody wants to know.
    fn mind(&mut self, data: &[u8]) {
        let is_minded = self.form.policy == Policy::Minded && !self.has_content;
        if is_minded && filtered::by_event(self.from, data) {
            self.form.policy = Policy::Broken;
        }
    }

    /// What one whole event says, and what becomes of it.
    fn judge(&mut self, bytes: &[u8], scratch: &mut Vec<u8>) -> Fate {
        if self.translator.is_none() && self.template.fits(bytes) {
            self.events += 1;
            return Fate::Pass;
        }
        let event = match event(self.wire, bytes, scratch) {
            Ok(event) => event,
            Err(kind) => {
                if let (Wire::Wrapped, Some(translator)) = (self.wire, &mut self.translator) {
                    translator.hear_exception(bytes);
                }
                return self.broken(kind);
            }
        };
        let Some(data) = event.data else {
            return if self.translator.is_some() {
                Fate::Withhold
            } else {
                Fate::Pass
            };
        };
        self.mind(data);
        if let Some(translator) = &mut self.translator {
            let text = Template::candidate(bytes).filter(|_| event.is_plain);
            let heard = translator.event(event.name, data, text);
            if matches!(&heard, Ok(heard) if heard.is_that_text) {
                self.template.learn(bytes);
            } else {
                self.template.forget(); // the next text may be another block's
            }
            return self.hear(heard);
        }
        let facts = look(self.from, event.name, data);
        self.note(facts.usage);
        // The counts of Bedrock come last; where they come before the reason for the end,
        // that is still to pass.
        let is_early = self.from == Dialect::Bedrock && !self.has_finish;
        if facts.done && !is_early {
            self.has_content |= facts.content || facts.finished;
            if !self.has_content {
                return self.broken(Kind::UpstreamGarbled);
            }
            self.has_finish = true;
            self.has_done = true;
            return Fate::Last;
        }
        if !facts.is_json {
            // Where the dialect's own events have no names, a named one may carry anything;
            // an unnamed one is a chunk.
            let is_foreign = match (self.from, event.name) {
                (_, None | Some(b"message")) => false,
                (Dialect::Chat | Dialect::Gemini, Some(_)) => true,
                (_, Some(name)) => name == b"ping",
            };
            return if is_foreign || data.is_empty() {
                Fate::Pass
            } else {
                self.broken(Kind::UpstreamGarbled)
            };
        }
        if facts.error {
            self.fault = Some(Kind::UpstreamError);
            self.told = self.fault;
            return Fate::Last; // the provider's own words
        }
        self.events += 1;
        self.has_content |= facts.content || facts.finished;
        self.has_finish |= facts.finished;
        if facts.content && !facts.finished && facts.usage.is_none() && event.is_plain {
            self.template.learn(bytes);
        }
        if facts.usage.is_some() && facts.choices_empty && !self.form.wants_usage {
            return Fate::Withhold; // the gateway asked for it, the client did not
        }
        Fate::Pass
    }

    /// What the translator made of an event; the event itself does not pass.
    fn hear(&mut self, heard: Result<Heard, Kind>) -> Fate {
        let heard = match heard {
            Ok(heard) => heard,
            Err(kind) => return self.broken(kind),
        };
        self.events += 1;
        self.has_content |= heard.content || heard.finished;
        self.has_finish |= heard.finished;
        self.note(heard.usage);
        if heard.done {
            if !self.has_content {
                return self.broken(Kind::UpstreamGarbled);
            }
            self.has_done = true;
            return Fate::Over;
        }
        Fate::Withhold
    }

    fn note(&mut self, usage: Option<Usage>) {
        if let Some(now) = usage {
            self.usage = Some(now.after(self.usage));
        }
    }

    fn broken(&mut self, kind: Kind) -> Fate {
        self.fault = Some(kind);
        Fate::Broken(kind)
    }

    /// What the provider said when it gave up; of a stream that passes it is the last event of
    /// what is `held`.
    pub fn take_refused(&mut self, held: &[u8]) -> Option<Refused> {
        if let Some(translator) = &mut self.translator {
            return translator.refused.take();
        }
        let last = memchr::memmem::rfind(held, b"\ndata:")?;
        let data = held.get(last + b"\ndata:".len()..)?;
        let end = data.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let data = data.get(..end?)?;
        self.told?;
        Some(refusal(self.from, 200, data.trim_ascii()))
    }

    /// The stream is over: with its end marker, or because its body ended.
    ///
    /// # Errors
    /// [`Kind::UpstreamCut`]: it is not complete.
    pub fn end(&mut self, rx: &RxBuf, tx: &mut TxBuf) -> Result<(), Kind> {
        if self.has_done {
            return Ok(());
        }
        if self.translator.is_some() {
            return self.end_translated(rx, tx);
        }
        // Some providers leave the last blank line away, some `[DONE]` itself. A clean end
        // of the body between two events, after the finish reason of the one choice, is an
        // end all the same. With several choices one may have finished and another not.
        let is_between = match self.from {
            Dialect::Bedrock => rx.is_empty(),
            _ => self.end_last(rx.data(), tx),
        };
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.has_done {
            return Ok(());
        }
        let is_finished = is_between && self.has_finish;
        match self.from {
            Dialect::Chat if is_finished && self.has_content && self.form.is_single => {
                self.put(tx, DONE);
                Ok(())
            }
            // No end marker: the finish reason is the last that is said.
            Dialect::Gemini if is_finished && self.form.is_single => Ok(()),
            Dialect::Bedrock if is_finished => Ok(()),
            _ => Err(Kind::UpstreamCut),
        }
    }

    /// What is left of a stream that passes: a last event without its blank line gets one, if
    /// it is whole. Whether nothing of an event is left.
    fn end_last(&mut self, bytes: &[u8], tx: &mut TxBuf) -> bool {
        let mut scratch = Vec::new();
        let tail = frame(bytes);
        let Some(data) = tail.data(&mut scratch) else {
            if self.lf_due == Some(true) && bytes.starts_with(b"\n") {
                self.put(tx, b"\n");
            }
            return tail.is_empty() || tail.is_comment_only();
        };
        let facts = look(self.from, tail.event, data);
        if !facts.is_json && !facts.done {
            return false;
        }
        let fate = self.judge(bytes, &mut Vec::new());
        if matches!(fate, Fate::Pass | Fate::Last) {
            let blank: &[u8] = match bytes {
                [.., b'\r', b'\n'] => b"\r\n",
                [.., b'\n'] => b"\n",
                _ => b"\n\n",
            };
            self.put(tx, bytes);
            self.put(tx, blank);
        }
        true
    }

    /// The same for a stream that is translated: what is left of it may be a last event
    /// without its blank line.
    fn end_translated(&mut self, rx: &RxBuf, tx: &mut TxBuf) -> Result<(), Kind> {
        let mut scratch = Vec::new();
        if self.wire == Wire::Lines && !rx.is_empty() {
            let last = self.judge(rx.data(), &mut scratch);
            if let (Fate::Broken(_), Some(kind)) = (last, self.fault) {
                return Err(kind);
            }
        }
        if !self.has_done {
            let translator = self.translator.as_mut().ok_or(Kind::Internal)?;
            let heard = translator.end()?;
            self.has_content |= heard.content || heard.finished;
            self.note(heard.usage);
            if !heard.done || !self.has_content {
                return Err(Kind::UpstreamCut);
            }
        }
        self.put_translated(tx);
        Ok(())
    }
}

/// Whether the `len` bytes from `start` on are text and nothing else. What is behind them is looked
/// at, too, as a short text is read sooner with it.
#[inline]
fn is_plain(bytes: &[u8], start: usize, len: usize) -> bool {
    plain_run(bytes, start) >= start + len
}

#[cfg(test)]
#[path = "seen_tests.rs"]
mod tests;
