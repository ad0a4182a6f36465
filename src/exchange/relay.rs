//! Relays a stream, event by event, as it arrives.
//!
//! ```text
//!   upstream rx ─► chunk framing off ─► whole events ─┬─► down.tx ─► client
//!                                                     └─► looked at: content? error? usage?
//!                └─ another dialect ─► Translator ─► chunks of the client's own
//!   held │ role chunk, comments, …          until the first content: then all at once
//!   end  │ [DONE]  ─► last chunk            cut, silence, garbage ─► error event, no [DONE]
//!                                            └ or another target goes on: [`super::onward`]
//! ```
//!
//! Only whole events are passed on, so an error event never lands inside half of one.
//!
//! Invariants
//! - I1 Before the first content nothing of the answer is sent (see [`super::pulse`] for what
//!   may be): any fault is another attempt.
//! - I2 After it, a stream that did not end with `[DONE]`, or cleanly after a finish reason,
//!   ends with an error event and without `[DONE]`.
//! - I3 The provider is read only when the client's link has taken everything, or while less
//!   than [`ROUND_MAX`] waits for it: a slow reader holds at most that, what was handed over
//!   before, and what one read brought.
//! - I4 No allocation per event: what is written goes into a pooled block.
//! - I5 A stream that waits holds no block, except for the half of an event.

use super::answer::{Incoming, put_answer_head, read_here, read_more};
use super::attempt::Failed;
use super::connection::{Next, push};
use super::course::{Course, first_token};
use super::down::Down;
use super::fallback;
use super::keep;
use super::lease::Answer;
use super::onward;
use super::pulse::put_stream_fields;
use super::request::{Request, asked};
use super::seen::{Form, Policy, Seen};
use super::settle::Settle;
use super::translator::{Naming, Translator};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::base::time::Instant;
use crate::config::model::Provider;
use crate::dialect::anthropic::request::Cloud;
use crate::dialect::events::Wire;
use crate::dialect::model::{About, Dialect, Told, Trouble};
use crate::dialect::speak;
use crate::dialect::trail::Trail;
use crate::host::{Host, Link};
use crate::policy::breaker::Outcome;
use crate::policy::plan::Step;
use crate::shard::Shard;
use crate::shard::serve::guarded;
use crate::stats::receipt::{AttemptEnd, Why};
use crate::wire::eventstream;
use crate::wire::http1::{Known, LAST_CHUNK};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Bytes that are held before the first content; beyond, the answer counts as begun.
pub const HELD_MAX: usize = 64 << 10;

/// Bytes for the client from which on they are sent before more is taken from the provider,
/// though it is there.
const ROUND_MAX: usize = 32 << 10;

/// How long a provider may take to end its body after `[DONE]` for its connection to be
/// used again.
const TAIL_WAIT: Duration = Duration::from_millis(500);

/// The frames that the events of `provider` are in.
pub fn wire(provider: &Provider) -> Wire {
    match (provider.dialect.speaks(), provider.cloud()) {
        (_, Some(Cloud::Bedrock)) => Wire::Wrapped,
        (Dialect::Bedrock, _) => Wire::Frames,
        _ => Wire::Lines,
    }
}

/// Whether an answer of `provider` is an event stream.
pub fn is_stream<H: Host>(answer: &Answer<H>, provider: &Provider) -> bool {
    let kind = match wire(provider) {
        Wire::Lines => b"text/event-stream".as_slice(),
        _ => eventstream::MEDIA_TYPE.as_bytes(),
    };
    let media = answer
        .head
        .known(Known::ContentType)
        .map(|span| span.bytes(answer.rx.data()));
    media
        .and_then(|media| media.get(..kind.len()))
        .is_some_and(|media| media.eq_ignore_ascii_case(kind))
}

/// Relays `answer`.
///
/// # Errors
/// A fault before anything went downstream; the attempt may be repeated elsewhere. Of an answer
/// with which others began, any fault: [`super::onward`] sees to it.
pub async fn relay<'a, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    answer: &mut Answer<H>,
) -> Result<Next, Failed<'a>> {
    let shard = course.shard;
    let before = settle.receipt.upstream;
    settle.receipt.upstream = before + shard.host.now().since(answer.sent);
    let mut seen = begin(course, down, settle, step, answer);
    let mut body = Incoming::passed_on(&answer.head);
    if let Err(fault) = body.absorb(&mut answer.rx) {
        onward::put_back(down, seen);
        return Err(fault.into());
    }
    let mut is_committed = false;
    let idle = step.timeouts().idle;
    let first = first_token(course, course.patience(down), step, answer.sent);
    let mut deadline = (first, Kind::FirstTokenTimeout);
    let mut events = seen.events;
    let fault = loop {
        seen.digest(&shard.scratch, &mut answer.rx, &mut body, &mut down.tx);
        let is_over = seen.fault.is_none() && (seen.has_done || body.is_done);
        let end = is_over.then(|| seen.end(&answer.rx, &mut down.tx));
        if !is_committed && !seen.goes_on() {
            fallback::leave_stream(course, down, step, &mut seen)?;
        }
        // Content that came together with a fault counts as content: what a client sees must
        // not depend on how the bytes were cut. Some say only at their end that there is none.
        let is_due = seen.has_content || down.tx.len() > HELD_MAX || end == Some(Ok(()));
        if !is_committed && is_due {
            is_committed = true;
            commit(course, down, settle, (answer.sent, before), &seen);
        }
        match (seen.fault, end) {
            (Some(fault), _) | (None, Some(Err(fault))) => break fault,
            (None, Some(Ok(()))) => {
                let end = (answer.head.status, &seen);
                let finished = finish(course, down, settle, step, end).await;
                keep::store(course, settle, step);
                give_back(shard, answer, body);
                return Ok(finished?);
            }
            (None, None) => {}
        }
        if is_committed && !down.tx.is_empty() {
            // What is here already goes along: one call instead of several.
            if down.tx.len() < ROUND_MAX {
                match read_here(answer, &mut body).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    Err(fault) => break fault,
                }
            }
            if let Err(gone) = pass_on(course, down).await {
                break gone;
            }
        }
        if is_committed && seen.events != events {
            events = seen.events;
            deadline = (down.rest(shard.host.lately()) + idle, Kind::IdleTimeout);
        }
        if let Err(fault) = read_more(course, down, answer, &mut body, deadline).await {
            break fault;
        }
    };
    let ended = (fault, is_committed);
    broke(down, settle, (course, step), (answer, &mut seen), ended)?;
    if seen.goes_on() {
        onward::put_back(down, seen);
        return Err(fault.into());
    }
    if seen.may_go_on(fault) {
        return Ok(onward::boxed(course, down, settle, (seen, fault), *step).await?);
    }
    Ok(cut(course, down, settle, &seen, fault).await?)
}

/// A stream broke with `fault`, after its client had content of it or before.
///
/// # Errors
/// Nothing of the answer has reached the client, or there is none any more.
fn broke<'a, L: Link, H: Host<Stream = L>>(
    down: &mut Down<L>,
    settle: &mut Settle<H>,
    (course, step): (&Course<'a, H>, &Step<'_>),
    (answer, seen): (&mut Answer<H>, &mut Seen),
    (fault, is_committed): (Kind, bool),
) -> Result<(), Failed<'a>> {
    settle.receipt.events = seen.events;
    settle.receipt.usage = seen.usage;
    answer.discard();
    keep::broke(settle, fault, is_committed);
    if seen.goes_on() {
        return Ok(());
    }
    if !is_committed && fault == Kind::UpstreamError {
        fallback::keep_words(course, down, settle, step, seen);
    }
    if !is_committed || fault == Kind::ClientGone {
        return Err(fault.into());
    }
    Ok(())
}

/// Sends what is in `down.tx` of an answer that goes on.
///
/// # Errors
/// As [`push`]; [`Kind::ShutDown`] when it is the gateway that ends.
async fn pass_on<H: Host>(course: &Course<'_, H>, down: &mut Down<H::Stream>) -> Result<(), Kind> {
    let pushed = match down.hand_over() {
        Ok(false) => push(course.served(), down).await,
        taken => taken.map(|_| ()),
    };
    pushed.map_err(|gone| shut_down_or(course.shard, gone))
}

/// Why a client took nothing.
fn shut_down_or<H: Host>(shard: &Shard<H>, gone: Kind) -> Kind {
    if shard.is_over() {
        Kind::ShutDown
    } else {
        gone
    }
}

/// Writes the head into `down.tx`, where it is held, and takes it off the upstream buffer. An
/// attempt that goes on with a stream has both behind it.
fn begin<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &Settle<H>,
    step: &Step<'_>,
    answer: &mut Answer<H>,
) -> Seen {
    if let Some(seen) = onward::take_up(down) {
        return *seen;
    }
    let is_chunked = !course.manner.is_http10;
    let from = step.provider.dialect.speaks();
    let front = course.route.dialect();
    let wire = wire(step.provider);
    let trail = onward::trail(course, down);
    let is_translated = course.is_translated(down, step);
    let translator = translator(course, step, (is_translated, trail), || {
        Naming::new(course, settle.receipt.id, &asked(down))
    });
    let Down { tx, request, .. } = &mut *down;
    let dropped = request.as_deref().map_or("", Request::dropped);
    tx.reserve(2048);
    let manner = course.manner.closing(!is_chunked);
    let data = answer.rx.data();
    let head = (answer.head.status, dropped, manner);
    put_answer_head(tx, course, settle, step, (answer, data), head);
    put_stream_fields(tx, front, is_chunked);
    answer.rx.consume(answer.head.len);
    let form = Form {
        wants_usage: course.wants_usage,
        is_chunked,
        is_single: course.is_single,
        policy: Policy::minded(course.minds_content(settle)),
    };
    Seen::new((from, wire), tx.len(), form, translator)
}

/// What translates the stream of the target of `step`, if its dialect or its frames are not
/// the client's.
pub fn translator<H: Host>(
    course: &Course<'_, H>,
    step: &Step<'_>,
    (is_translated, trail): (bool, Option<Box<Trail>>),
    naming: impl FnOnce() -> Naming,
) -> Option<Box<Translator>> {
    let from = step.provider.dialect.speaks();
    let is_wrapped = wire(step.provider) == Wire::Wrapped;
    (is_translated || is_wrapped || trail.is_some()).then(|| {
        let mut translator = Translator::new(from, course.route, naming(), &course.shard.buffers);
        let passes = is_wrapped && trail.is_none();
        translator.same = Some(from).filter(|from| passes && *from == course.route.dialect());
        translator.trail = trail;
        Box::new(translator)
    })
}

/// The first content is here: what is held is the client's. The answer was asked for at
/// `sent`, attempts before it took `before`. The request is kept as long as another target may
/// go on with the answer.
fn commit<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    (sent, before): (Instant, Duration),
    seen: &Seen,
) {
    let now = course.shard.host.now();
    let took = now.since(sent);
    settle.receipt.upstream = before + took;
    settle.content(took, now);
    keep::publish(settle);
    if seen.goes_on() {
        settle.receipt.continued = settle.receipt.continued.once_more();
        return;
    }
    settle.receipt.first_content = Some(now.since(settle.receipt.began));
    if down.has_begun() {
        down.tx.sent(seen.head as usize); // another one went out before
    } else if let Some(pulse) = &mut down.pulse {
        pulse.drop_head();
    }
    if !seen.has_trail() {
        down.end_request();
    }
}

/// The whole answer has arrived: tell the client first, then see about the connection.
async fn finish<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    (status, seen): (u16, &Seen),
) -> Result<Next, Kind> {
    settle.receipt.events = seen.events;
    settle.receipt.usage = seen.usage;
    if seen.goes_on() {
        onward::note_cost(course, settle, step, seen);
    }
    if seen.form.is_chunked {
        down.tx.put(LAST_CHUNK);
    }
    let pushed = push(course.served(), down).await;
    settle.end_attempt(AttemptEnd::Done, Why::Nothing, Outcome::Success);
    pushed?;
    settle.done(status);
    Ok(if seen.form.is_chunked && !course.manner.closes {
        Next::KeepAlive
    } else {
        Next::Linger
    })
}

/// The connection is used again once its body has ended, which some providers are slow to
/// do: that is waited for elsewhere, for [`TAIL_WAIT`] at the most.
fn give_back<H: Host>(shard: &Rc<Shard<H>>, answer: &mut Answer<H>, mut body: Incoming) {
    if !answer.is_reusable || body.has_surplus {
        return;
    }
    if body.is_done {
        return answer.lease.give_back();
    }
    let (mut lease, mut rx) = answer.detach();
    let timer = shard.deadlines.timer();
    timer.arm(shard.host.now() + TAIL_WAIT);
    guarded(shard, async move {
        while !body.is_done {
            let decoded = body.decoded;
            body.passed(&mut rx, decoded);
            let read = poll_fn(|cx| match timer.poll_fired(cx) {
                Poll::Ready(()) => Poll::Ready(Ok(0)),
                Poll::Pending => lease.poll_read(cx, &mut rx),
            });
            if !matches!(read.await, Ok(1..)) || body.absorb(&mut rx).is_err() {
                return;
            }
        }
        if !body.has_surplus {
            lease.give_back();
        }
    });
}

/// Ends a stream that cannot be completed: an error event, no `[DONE]` (I2).
pub(super) async fn cut<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    seen: &Seen,
    fault: Kind,
) -> Result<Next, Kind> {
    let said = Outcome::of_fault(fault, true);
    settle.end_attempt(AttemptEnd::Cut, Why::Fault(fault), said);
    // The provider's own error event was passed on: it needs no second one.
    if seen.told != Some(fault) {
        let mut event = TxBuf::new(&course.shard.buffers);
        let words = seen.translator.as_ref().and_then(|it| it.refused.as_ref());
        let mut told = Told::of(fault);
        if let Some(refused) = words.filter(|refused| refused.trouble != Trouble::Auth) {
            (told.trouble, told.message) = (refused.trouble, &refused.message);
        }
        let about = About {
            id: settle.receipt.id.bytes(),
            wait: words.and_then(|refused| refused.retry_after),
        };
        speak::put_error_event_about(course.route.dialect(), &told, about, &mut event);
        seen.put(&mut down.tx, event.unsent());
    }
    if seen.form.is_chunked {
        down.tx.put(LAST_CHUNK);
    }
    settle.fail(fault, 200);
    let pushed = push(course.served(), down).await;
    if fault == Kind::ShutDown && pushed.is_err() {
        return Ok(Next::Close); // a client that takes nothing was cut off all the same
    }
    pushed?;
    Ok(if seen.form.is_chunked && !course.manner.closes {
        Next::KeepAlive
    } else {
        Next::Linger
    })
}
