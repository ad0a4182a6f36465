//! A stored body, a stream or a plain one, as the answer that it tells.
//!
//! ```text
//!   stream ─► Cutter ─► event ─┬─► Reader ─► Step ─► Fold ─► Answer
//!                              └─► beside: what the steps do not carry is added, or refused
//!   events that differ from the last one in their text only: Template ─► Text ─► Fold
//!   plain  ─► the dialect's reader of answers, and the same look at what it leaves out
//! ```
//!
//! Invariants
//! - I1 The answer of a stream says what the provider's plain answer would have said: text,
//!   thinking and its state, calls, refusals, citations, what the provider ran itself, the stop
//!   and the counts. Else there is none.
//! - I2 What has several choices or tells probabilities gives no answer: a model of one choice
//!   would lose them in silence.
//!
//! What neither is carried nor refused is named in [`super::retell`].

use super::beside::Beside;
use super::events::{Cutter, Event, Wire, event};
use super::fold::{Fold, Unfoldable};
use super::model::{Answer, Dialect, Names, Step, Text, Tokens};
use super::openai::template::Template;
use super::retell::says_something;
use super::route::Route;
use super::speak::{self, Reader};
use super::{beside, responses};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::wire::sse::frame;

/// The answer that the whole stream `body` tells, of a provider that speaks `dialect`.
///
/// # Errors
/// It is not whole, or not all of it can be told as an answer.
pub fn of_stream(dialect: Dialect, wire: Wire, body: &[u8]) -> Result<Answer, Unfoldable> {
    if dialect == Dialect::Responses
        && let Some(whole) = own_plain(wire, body)
    {
        return of_plain(dialect, whole);
    }
    let mut gather = Gather {
        dialect,
        reader: Reader::new(dialect),
        fold: Fold::new(Some(dialect)),
        beside: Beside::new(dialect),
        template: Template::new(),
    };
    let mut scratch = Vec::new();
    each_event(wire, body, &mut |bytes, rest| {
        let event = event(wire, bytes, &mut scratch).map_err(fault)?;
        gather.event(bytes, &event)?;
        Ok(gather.run(rest))
    })?;
    gather.end()
}

/// Appends the plain body that answers a client of `route`, out of the whole stream `body` of a
/// provider that speaks `dialect`; its token counts.
///
/// # Errors
/// As [`of_stream`]; nothing was appended.
pub fn put_plain(
    (route, names): (Route, &Names<'_>),
    (dialect, wire, body): (Dialect, Wire, &[u8]),
    tx: &mut TxBuf,
) -> Result<Option<Tokens>, Unfoldable> {
    if (dialect, route.dialect()) == (Dialect::Responses, Dialect::Responses)
        && let Some(own) = own_plain(wire, body)
    {
        let answer = speak::answer(dialect, own).map_err(fault)?;
        tx.put(own);
        return Ok(answer.usage);
    }
    let answer = of_stream(dialect, wire, body)?;
    speak::put_answer(route, &answer, names, tx);
    Ok(answer.usage)
}

/// The answer that the plain `body` is, of a provider that speaks `dialect`.
///
/// # Errors
/// It is none, or the model has no place for something that it says.
pub fn of_plain(dialect: Dialect, body: &[u8]) -> Result<Answer, Unfoldable> {
    let mut answer = speak::answer(dialect, body).map_err(fault)?;
    beside::of_plain(dialect, body, &mut answer)?;
    if answer.logprobs.take().as_ref().is_some_and(says_something) {
        return Err(Unfoldable::Probabilities); // I2
    }
    Ok(answer)
}

/// The plain body that is part of the stream `body`, word for word: Responses say all of the
/// answer again in the last event. `None`: there is none.
pub fn own_plain(wire: Wire, body: &[u8]) -> Option<&[u8]> {
    if wire != Wire::Lines {
        return None;
    }
    let (mut whole, mut ends) = (None, 0);
    let read = each_event(wire, body, &mut |bytes, _| {
        let frame = frame(bytes);
        let is_delta = frame.event.is_some_and(|name| name.ends_with(b".delta"));
        if !is_delta && frame.data_lines() == 1 {
            let data = frame.data(&mut Vec::new()).and_then(|data| {
                // Of one line, it is a part of the body.
                let at = memchr::memmem::find(bytes, data)?;
                bytes.get(at..at + data.len())
            });
            let found = data.and_then(|data| responses::look::own_answer(frame.event, data));
            ends += usize::from(found.is_some());
            whole = found.or(whole);
        }
        Ok(0)
    });
    read.ok()?;
    whole.filter(|_| ends == 1)
}

/// Gives each whole event of `body` to `each`, with what follows it; `each` says how many bytes
/// of that it has seen to itself.
fn each_event<'b>(
    wire: Wire,
    body: &'b [u8],
    each: &mut dyn FnMut(&'b [u8], &'b [u8]) -> Result<usize, Unfoldable>,
) -> Result<(), Unfoldable> {
    let mut cutter = Cutter::new(wire, body.len());
    let mut rest = body;
    while let Some(end) = cutter.next_end(rest).map_err(fault)? {
        let (event, behind) = rest.split_at_checked(end).ok_or(Unfoldable::Garbled)?;
        let is_blank = cutter.is_blank();
        let seen = each(event, if is_blank { behind } else { &[] })?;
        rest = behind.get(seen..).unwrap_or_default();
    }
    // Some providers leave the last blank line away.
    match wire {
        Wire::Lines if frame(rest).data_lines() > 0 => each(rest, &[]).map(drop),
        Wire::Lines if frame(rest).error.is_some() => Err(Unfoldable::Failed),
        Wire::Lines => Ok(()),
        Wire::Frames | Wire::Wrapped if rest.is_empty() => Ok(()),
        Wire::Frames | Wire::Wrapped => Err(Unfoldable::Cut),
    }
}

/// Reads one stream.
struct Gather {
    dialect: Dialect,
    reader: Reader,
    fold: Fold,
    beside: Beside,
    template: Template,
}

impl Gather {
    fn event(&mut self, bytes: &[u8], event: &Event<'_>) -> Result<(), Unfoldable> {
        let Some(data) = event.data else {
            return Ok(()); // a comment
        };
        if self.fold.is_over() {
            let facts = speak::look(self.dialect, event.name, data);
            let is_more = facts.content || facts.finished || facts.error;
            return if is_more {
                Err(Unfoldable::Garbled)
            } else {
                Ok(())
            };
        }
        let is_all = self.beside.before(event.name, data, &mut self.fold)?;
        let text = Template::candidate(bytes).filter(|_| event.is_plain);
        let (mut steps, mut is_text) = (0, false);
        let fold = &mut self.fold;
        let read = self.reader.read(event.name, data, &mut |step| {
            steps += 1;
            is_text |= text.is_some_and(|text| step == Step::Text(Text::Escaped(text)));
            fold.take(&step);
        });
        read.map_err(fault)?;
        if is_all && steps == 1 && is_text && text.is_some_and(|text| !text.is_empty()) {
            self.template.learn(bytes);
        } else {
            self.template.forget();
        }
        Ok(())
    }

    /// Takes the events at the front of `rest` that are like the last one but for their text;
    /// how long they are together.
    fn run(&mut self, rest: &[u8]) -> usize {
        let mut at = 0;
        while let Some((len, text)) = rest
            .get(at..)
            .and_then(|rest| self.template.next_text(rest))
        {
            self.fold.take(&Step::Text(Text::Escaped(text)));
            at += len;
        }
        at
    }

    fn end(mut self) -> Result<Answer, Unfoldable> {
        let fold = &mut self.fold;
        let end = self.reader.end(&mut |step| fold.take(&step));
        end.map_err(fault)?;
        let mut answer = self.fold.finish()?;
        self.beside.end(&mut answer)?;
        Ok(answer)
    }
}

const fn fault(kind: Kind) -> Unfoldable {
    match kind {
        Kind::UpstreamCut => Unfoldable::Cut,
        Kind::UpstreamError => Unfoldable::Failed,
        _ => Unfoldable::Garbled,
    }
}
