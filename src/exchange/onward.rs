//! Goes on with a stream that was cut, at another target.
//!
//! ```text
//!   relay ─ cut ─► said? ─► next target ─► request + what was said ─► send ─► head ─► relay
//!     ▲             no │      none │         └ 400: told to go on instead       │       │ cut
//!     │                ▼           ▼                                      fault │       │
//!     │               the error event             next target ◄─────────────────┴───────┘
//!     └── one writer over all attempts; [`Trail`] lets pass what is new
//! ```
//!
//! Only where the model says `continuation = "prefill"`, and only text: never behind a call of a
//! tool, within thinking, for an answer that must follow a schema, or with several choices
//! ([`may_go_on`]). Such a stream is always translated, also between two sides of one dialect.
//!
//! Invariants
//! - I1 Attempts that go on are of the same purse and end at the same deadline as all others.
//! - I2 What was cut ends with the error event of today when nobody goes on with it; never like
//!   a whole answer.
//! - I3 Everything that passed is with the client before the next target is asked: what goes out
//!   meanwhile ([`super::pulse`]) stands between events.
//! - I4 Nothing of an attempt that goes on is seen before its first content.

use super::attempt::{self, Refusal, ask_target, end_of, refusal};
use super::connection::{Next, push};
use super::course::{AS_ASKED, Course};
use super::down::Down;
use super::fallback::reason_so_far;
use super::lease::Answer;
use super::limits;
use super::relay::{cut, is_stream, relay, wire};
use super::request::Wanted;
use super::seen::Seen;
use super::settle::Settle;
use super::translator::usage;
use crate::base::fault::{Kind, Retry};
use crate::config::{Overrides, Reason};
use crate::dialect::abilities;
use crate::dialect::model::Dialect;
use crate::dialect::onward::{may_go_on, way};
use crate::dialect::seam::Way;
use crate::dialect::trail::Trail;
use crate::host::Host;
use crate::policy::breaker::Outcome;
use crate::policy::plan::Step;
use crate::policy::reason;
use crate::policy::retry::Hope;
use crate::stats::receipt::{AttemptEnd, Why};
use std::pin::Pin;

/// What is kept of the answer to the request of `down`, if another target may go on with it.
pub fn trail<H: Host>(course: &Course<'_, H>, down: &mut Down<H::Stream>) -> Option<Box<Trail>> {
    let Down { request, rx, .. } = down;
    let wanted = request.as_deref_mut()?.wanted.as_mut()?;
    let model = course.snapshot.config.models.get(wanted.model)?;
    if !model.continues {
        return None;
    }
    let body = wanted.body.bytes(rx.data());
    let rewrite = wanted.rewrite.get_or_insert_default();
    let model = &*wanted.forwarded;
    // What only the provider understands passes as it is.
    rewrite
        .read(course.route, body, model, course.is_stream)
        .ok()?;
    let request = rewrite.request()?;
    may_go_on(course.route, request).then(Box::default)
}

/// Why an attempt that goes on came to nothing.
#[derive(Clone, Copy, Debug)]
enum Failed {
    /// For this reason; nothing of it was seen.
    Fault(Kind),
    /// The provider refused it with this status, for this reason; whether it may be asked again.
    Refused(u16, Reason, Hope),
    /// After something of it was seen.
    Cut(Kind),
}

/// The stream that an attempt is to go on with, once.
pub fn take_up<L>(down: &mut Down<L>) -> Option<Box<Seen>> {
    down.request.as_mut()?.onward.take()
}

/// The attempt is over that went on with `seen`, if others had begun that.
pub fn put_back<L>(down: &mut Down<L>, seen: Seen) {
    if let Some(request) = down.request.as_mut().filter(|_| seen.goes_on()) {
        request.onward = Some(Box::new(seen));
    }
}

/// Goes on with the stream `seen`, which broke with `fault` at the target of `step`. On the heap:
/// it is rare, and the relay that waits for it is what it relays with itself.
///
/// # Errors
/// [`Kind::ClientGone`].
pub fn boxed<'f, H: Host>(
    course: &'f Course<'_, H>,
    down: &'f mut Down<H::Stream>,
    settle: &'f mut Settle<H>,
    broken: (Seen, Kind),
    step: Step<'f>,
) -> Pin<Box<dyn Future<Output = Result<Next, Kind>> + 'f>> {
    Box::pin(go_on(course, down, settle, broken, step))
}

async fn go_on<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    (seen, mut fault): (Seen, Kind),
    mut step: Step<'_>,
) -> Result<Next, Kind> {
    let shard = course.shard;
    let mut seen = Box::new(seen);
    let (mut why, mut fallback) = (fault, step.fallback);
    let mut failed_of = (reason::of_fault(fault), Hope::after(fault));
    end_cut(course, settle, &step, (&mut seen, fault));
    push_all(course, down).await?;
    while may_try(course, why) {
        let trail = seen.translator.as_ref().and_then(|it| it.trail.as_ref());
        let Some(said) = trail.and_then(|trail| trail.said()) else {
            break;
        };
        note_cost(course, settle, &step, &seen);
        let (next, way) = match following(course, down, settle, &step, (&said, failed_of)).await {
            Ok(Some(next)) => next,
            Err(Kind::ClientGone) => return Err(Kind::ClientGone),
            Ok(None) | Err(_) => break,
        };
        step = next;
        if step.fallback != fallback {
            fallback = step.fallback;
            course.count_fallback(settle, &step, why.code());
        }
        let (began, spent) = (shard.host.now(), settle.receipt.upstream);
        settle.begin_attempt(&step, course.tokens(&step), began);
        let failed = match attempt(course, down, settle, &step, (&mut seen, said, way)).await {
            Ok(next) => return Ok(next),
            Err(failed) => failed,
        };
        let kind = match failed {
            Failed::Fault(kind) | Failed::Cut(kind) => kind,
            Failed::Refused(..) => Kind::UpstreamBadStatus,
        };
        why = kind;
        failed_of = (reason::of_fault(kind), Hope::after(kind));
        match failed {
            _ if kind == Kind::ClientGone => {
                note_cost(course, settle, &step, &seen);
                return Err(kind);
            }
            Failed::Cut(_) => {
                end_cut(course, settle, &step, (&mut seen, kind));
                push_all(course, down).await?;
                fault = kind;
                if !seen.may_go_on(kind) {
                    break;
                }
                continue;
            }
            Failed::Fault(_) => {
                let said = outcome(&seen, kind, false);
                settle.end_attempt(end_of(kind), Why::Fault(kind), said);
            }
            Failed::Refused(status, reason, hope) => {
                failed_of = (reason, hope);
                let said = Outcome::of_status(status);
                settle.end_attempt(AttemptEnd::Refused, Why::Status(status), said);
            }
        }
        settle.receipt.upstream = spent + shard.host.now().since(began);
    }
    if fault != Kind::UpstreamError
        && let Some(translator) = &mut seen.translator
    {
        translator.refused = None; // said of an attempt of which the client knows nothing
    }
    note_cost(course, settle, &step, &seen);
    cut(course, down, settle, &seen, course.late(fault)).await
}

/// Whether one more attempt makes sense after one that came to nothing for the reason `why`.
fn may_try<H: Host>(course: &Course<'_, H>, why: Kind) -> bool {
    let is_late = course.shard.host.now() >= course.total;
    why.retry() != Retry::Never && !course.shard.is_over() && !is_late
}

/// The attempt under way was cut.
fn end_cut<H: Host>(
    course: &Course<'_, H>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    (seen, fault): (&mut Seen, Kind),
) {
    let said = outcome(seen, fault, true);
    settle.end_attempt(AttemptEnd::Cut, Why::Fault(fault), said);
    if let Some(trail) = seen.translator.as_mut().and_then(|it| it.trail.as_mut()) {
        trail.end_attempt(course.prompt(step));
    }
}

/// What a fault says of a target. That its model began again is nothing that a breaker could
/// mend.
fn outcome(seen: &Seen, fault: Kind, has_content: bool) -> Outcome {
    let translator = seen.translator.as_ref();
    if translator.is_some_and(|translator| translator.has_diverged) {
        return Outcome::Neutral;
    }
    Outcome::of_fault(fault, has_content)
}

/// Writes into the receipt what all attempts cost that had a part in the answer `seen`.
pub fn note_cost<H: Host>(
    course: &Course<'_, H>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    seen: &Seen,
) {
    let trail = seen.translator.as_ref().and_then(|it| it.trail.as_ref());
    if let Some(trail) = trail.filter(|_| settle.receipt.continued.count() > 0) {
        let (tokens, is_estimated) = trail.cost(course.prompt(step));
        settle.receipt.usage = Some(usage(&tokens));
        settle.receipt.continued = settle.receipt.continued.estimated(is_estimated);
    }
}

/// Sends what has passed so far (I3). Who is shut down meanwhile is told later.
async fn push_all<H: Host>(course: &Course<'_, H>, down: &mut Down<H::Stream>) -> Result<(), Kind> {
    let pushed = push(course.served(), down).await;
    down.rest(course.shard.host.now());
    pushed.or_else(|gone| {
        if course.shard.is_over() {
            Ok(())
        } else {
            Err(gone)
        }
    })
}

/// The next target that can go on behind `said`, and how; the request is then in its form. The
/// attempt at `last` failed for this reason, and may be made again with this hope.
///
/// # Errors
/// [`Kind::ClientGone`], [`Kind::ShutDown`] while that is waited for.
async fn following<'a, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    settle: &Settle<H>,
    last: &Step<'_>,
    (said, failed_of): (&str, (Reason, Hope)),
) -> Result<Option<(Step<'a>, Way)>, Kind> {
    let Some(another) = course.another(down, last, failed_of) else {
        return Ok(None);
    };
    let mut step = course.turn_of(down, another).await?;
    loop {
        match prepare(course, down, &step, (said, None)) {
            Ok(way) => return Ok(Some((step, way))),
            Err(_) => settle.pass_over(&step),
        }
        match course.following(down) {
            Some(next) => step = next,
            None => return Ok(None),
        }
    }
}

/// Puts the request into the form in which the target of `step` goes on behind `said`, in this
/// way or the best that it knows.
fn prepare<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    step: &Step<'_>,
    (said, asked): (&str, Option<Way>),
) -> Result<Way, Kind> {
    let request = down.request.as_deref_mut().ok_or(Kind::Internal)?;
    let Wanted {
        rewrite, forwarded, ..
    } = request.wanted.as_mut().ok_or(Kind::Internal)?;
    let model = match step.upstream_model {
        AS_ASKED => forwarded,
        model => model,
    };
    let overrides = course.overrides(step);
    let mut can = abilities::of(model);
    if let Some(overrides) = overrides {
        overrides.correct(&mut can);
    }
    let spoken = step.provider.dialect.speaks();
    let known = match said.trim_end() {
        "" => Way::Instruction, // nothing is there to begin with
        _ => way(spoken, &can, overrides.and_then(Overrides::prefill)),
    };
    let way = asked.unwrap_or(known);
    let rewrite = rewrite.as_mut().ok_or(Kind::Internal)?;
    let place = (spoken, step.provider.cloud());
    rewrite.go_on(place, model, overrides, (said, way))?;
    Ok(way)
}

/// One attempt that goes on behind `said`, from a connection to the end of the answer.
async fn attempt<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    (seen, said, mut way): (&mut Box<Seen>, String, Way),
) -> Result<Next, Failed> {
    let asked = ask_target(course, down, step).await;
    let mut answer = asked.map_err(Failed::Fault)?;
    if way == Way::Prefill && matches!(answer.head.status, 400 | 422) {
        // It does not go on from a beginning after all.
        way = Way::Instruction;
        answer.discard();
        let prepared = prepare(course, down, step, (&said, Some(way)));
        prepared.map_err(Failed::Fault)?;
        let asked = ask_target(course, down, step).await;
        answer = asked.map_err(Failed::Fault)?;
    }
    let status = answer.head.status;
    match refusal(status) {
        Refusal::None if is_stream(&answer, step.provider) => {}
        Refusal::None => return Err(Failed::Fault(Kind::UpstreamGarbled)),
        Refusal::Nonsense => return Err(Failed::Fault(Kind::UpstreamBadStatus)),
        Refusal::Caller => return Err(Failed::Refused(status, Reason::Error, Hope::None)),
        Refusal::Retriable => {
            let hope = limits::hear_out(course, down, step, &mut answer).await;
            let reason = reason_so_far(&answer, step);
            return Err(Failed::Refused(status, reason, hope));
        }
        Refusal::Key => {
            if status == 402 {
                limits::hear_out(course, down, step, &mut answer).await;
            }
            limits::refused_key(course, step, status);
            return Err(Failed::Fault(Kind::UpstreamRefusedKey));
        }
    }
    heed(course, step, &answer);
    answer.rx.consume(answer.head.len);
    let from = step.provider.dialect.speaks();
    let mut translator = seen
        .translator
        .take()
        .ok_or(Failed::Fault(Kind::Internal))?;
    let is_estimated = translator.trail.as_ref().is_some_and(|it| it.cost(0).1);
    let notice = notice(course, settle, step, (way, is_estimated));
    translator.go_on(from, (said, way), notice);
    let next = Box::new(seen.following((from, wire(step.provider)), translator));
    let request = down.request.as_mut();
    request.ok_or(Failed::Fault(Kind::Internal))?.onward = Some(next);
    let before = settle.receipt.continued.count();
    let fault = match relay(course, down, settle, step, &mut answer).await {
        Ok(next) => return Ok(next),
        Err(attempt::Failed::Fault(fault)) => fault,
        // Nobody is asked anew while a stream goes on.
        Err(attempt::Failed::Refused(..)) => Kind::UpstreamError,
    };
    if let Some(broken) = take_up(down) {
        *seen = broken;
    }
    Err(if settle.receipt.continued.count() > before {
        Failed::Cut(fault)
    } else {
        Failed::Fault(fault)
    })
}

/// Heeds what a provider says of its limits with an answer.
fn heed<H: Host>(course: &Course<'_, H>, step: &Step<'_>, answer: &Answer<H>) {
    let (head, data) = (&answer.head, answer.rx.data());
    let mut fields = head.fields(data);
    if fields.any(|(name, value)| limits::may_matter(name, value)) {
        limits::heed(course, step, (head, data));
    }
}

/// The comment by which a stream says that another target goes on with it. A binary stream has
/// none, nor has Gemini's: the official SDK takes each line for data (google-genai 3.6,
/// `HttpResponse`).
fn notice<H: Host>(
    course: &Course<'_, H>,
    settle: &Settle<H>,
    step: &Step<'_>,
    (way, is_estimated): (Way, bool),
) -> Box<[u8]> {
    if matches!(course.route.dialect(), Dialect::Bedrock | Dialect::Gemini) {
        return Box::default();
    }
    let (target, attempt) = (&step.provider.name, settle.receipt.attempts);
    let way = way.name();
    let usage = if is_estimated {
        "estimated"
    } else {
        "reported"
    };
    let text = format!(
        ": shardgate continued target={target} attempt={attempt} way={way} usage={usage}\n\n"
    );
    text.into_bytes().into()
}
