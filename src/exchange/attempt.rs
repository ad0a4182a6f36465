//! Attempts: a connection, the request, the answer's head; then whoever delivers it.
//!
//! ```text
//!   plan ─► lease ─► send ─► await head ─┬─ 2xx ────────► relay / plain ─► delivered
//!    ▲                                   ├─ retriable ──► next target, or passed on as it is
//!    └────────── a fault before ◄────────┴─ the caller's ► passed on as it is
//!                anything reached the client
//! ```
//!
//! Invariants
//! - I1 A request is sent again to the same target only when the connection was a reused one
//!   that gave no byte of an answer: then it was closed before the request was read
//!   (RFC 9112, 9.3.1). Once, on a fresh connection.
//! - I2 A stream's `first_token` counts from the request sent; every wait ends at the deadline
//!   over all attempts. A plain answer comes when the last token is made, so it has until that
//!   deadline: less would abort long answers, and pay for them again elsewhere. Only while there
//!   is a target that was not asked it must be there, or too long to be held, in half of the
//!   time that is left: a provider that never answers must not take all of it.

use super::asker::Asker;
use super::connection::Next;
use super::course::{Another, Course, first_token, weight};
use super::down::{Down, Wait};
use super::keep;
use super::lease::{Answer, Lease};
use super::reply::Manner;
use super::sending::send;
use super::settle::Settle;
use super::{count, fallback, limits, plain, pulse, race, relay, secure};
use crate::base::bytes::RxBuf;
use crate::base::fault::{Kind, Retry};
use crate::config::Reason;
use crate::host::Host;
use crate::policy::breaker::Outcome;
use crate::policy::plan::Step;
use crate::policy::reason;
use crate::policy::retry::Hope;
use crate::shard::snapshot::Served;
use crate::stats::receipt::{AttemptEnd, Why};
use crate::wire::http1::{HeadLimits, Method, ResponseReader};
use std::pin::pin;

/// Interim answers (1xx) that are skipped before a provider counts as broken.
const INTERIM_MAX: usize = 16;

/// Why an attempt gave nothing that could be delivered.
#[derive(Debug)]
pub enum Failed<'a> {
    /// A fault.
    Fault(Kind),
    /// The provider's refusal with this status; there is this other attempt to make.
    Refused(u16, Another<'a>),
}

impl From<Kind> for Failed<'_> {
    fn from(kind: Kind) -> Self {
        Self::Fault(kind)
    }
}

/// Tries targets until one answers.
///
/// # Errors
/// The last fault, when nothing has reached the client.
pub async fn attempts<H: Host>(
    served: Served<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    manner: Manner,
) -> Result<Next, Kind> {
    let (shard, began) = (served.0, settle.receipt.began);
    let course = Course::new(served, down, began, manner).ok_or(Kind::Internal)?;
    let mut step = course.following(down).ok_or(Kind::Internal)?;
    pulse::begin(&course, down, settle.receipt.id);
    let mut why = match step.fallback {
        Some(_) => course.passed_over(settle),
        None => "",
    };
    let mut standing_in = None;
    loop {
        match course.prepare(down, &step) {
            Ok(()) if count::is_ours(&course, &step) => {
                settle.pass_over(&step);
                return count::answer(&course, down, settle, &step).await;
            }
            Ok(()) => {
                settle.weight = weight(down);
                fallback::forget(down);
            }
            Err(Kind::Unfit) => {
                settle.pass_over(&step);
                fallback::note(down, &step, Reason::Error);
                step = course.following(down).ok_or_else(|| unfit(settle))?;
                why = Kind::Unfit.code();
                continue;
            }
            Err(kind) => {
                settle.pass_over(&step);
                return Err(kind);
            }
        }
        if step.fallback != standing_in {
            standing_in = step.fallback;
            course.count_fallback(settle, &step, why);
        }
        let (began, spent) = (shard.host.now(), settle.receipt.upstream);
        settle.begin_attempt(&step, course.tokens(&step), began);
        let outcome = match course.hedge(settle.receipt.model()) {
            None => attempt(&course, down, settle, &step).await,
            Some(hedge) => Box::pin(race::attempt(&course, down, settle, (&step, hedge))).await,
        };
        let kind = match outcome {
            Ok(next) => return Ok(next),
            Err(Failed::Refused(status, another)) => {
                settle.receipt.upstream = spent + shard.host.now().since(began);
                let said = Outcome::of_status(status);
                settle.end_attempt(AttemptEnd::Refused, Why::Status(status), said);
                why = fallback::why(down);
                step = course.turn_of(down, another).await?;
                settle.receipt.upstream = spent + shard.host.now().since(began); // and the pause
                continue;
            }
            Err(Failed::Fault(Kind::ClientGone)) => return Err(Kind::ClientGone),
            Err(Failed::Fault(kind)) => kind,
        };
        let said = Outcome::of_fault(kind, false);
        settle.end_attempt(end_of(kind), Why::Fault(kind), said);
        settle.receipt.upstream = spent + shard.host.now().since(began);
        down.tx.clear();
        if kind.retry() == Retry::Never || shard.is_over() || shard.host.now() >= course.total {
            return Err(course.late(kind));
        }
        let reason = fallback::reason_of(down, kind).ok_or(kind)?;
        let another = course.another(down, &step, (reason, Hope::after(kind)));
        step = course.turn_of(down, another.ok_or(kind)?).await?;
        settle.receipt.upstream = spent + shard.host.now().since(began); // and the pause
        why = kind.code();
    }
}

/// What an attempt came to that failed before any content.
pub const fn end_of(kind: Kind) -> AttemptEnd {
    match kind {
        Kind::UpstreamRefusedKey => AttemptEnd::Refused,
        _ => AttemptEnd::Failed,
    }
}

/// What the client is told when no other target can honour its request: that, or why the one
/// failed that could.
fn unfit<H: Host>(settle: &Settle<H>) -> Kind {
    match settle.receipt.last.map(|last| last.why) {
        Some(Why::Fault(kind)) => kind,
        Some(Why::Status(_)) => Kind::UpstreamError,
        _ => Kind::Unfit,
    }
}

/// One attempt, from a connection to the delivered answer. The answer is stored here and
/// nowhere else: whoever delivers it borrows it.
///
/// # Errors
/// Nothing of it has reached the client.
pub async fn attempt<'a, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
) -> Result<Next, Failed<'a>> {
    let mut answer = ask_target(course, down, step)
        .await
        .map_err(Failed::Fault)?;
    let hope = hear_out(course, down, step, &mut answer).await;
    let refusal = judge(course, down, step, (&answer, hope))?;
    deliver(course, down, settle, step, (&mut answer, refusal)).await
}

/// Heeds what a refusal says, where it is one that says something; whether it is worth asking
/// again.
pub async fn hear_out<H: Host>(
    course: &Course<'_, H>,
    asker: &mut impl Asker<H>,
    step: &Step<'_>,
    answer: &mut Answer<H>,
) -> Hope {
    let status = answer.head.status;
    if refusal(status) == Refusal::Retriable || status == 402 {
        limits::hear_out(course, asker, step, answer).await
    } else {
        Hope::None
    }
}

/// What an answer that was heard out says, when it is to be delivered.
///
/// # Errors
/// It is another target's turn.
pub fn judge<'a, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    step: &Step<'_>,
    (answer, hope): (&Answer<H>, Hope),
) -> Result<Refusal, Failed<'a>> {
    let status = answer.head.status;
    let refusal = refusal(status);
    if refusal == Refusal::Retriable {
        let reason = fallback::reason_so_far(answer, step);
        if let Some(another) = course.another(down, step, (reason, hope)) {
            return Err(Failed::Refused(status, another));
        }
    }
    Ok(refusal)
}

/// A function of its own, so that the answer lives over one await only: then the compiler
/// lets it share its place with what asking for it took.
///
/// # Errors
/// Nothing of it has reached the client.
pub async fn deliver<'a, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    (answer, refusal): (&mut Answer<H>, Refusal),
) -> Result<Next, Failed<'a>> {
    if settle.cached.is_some() {
        keep::begin(settle, step, answer);
    }
    match refusal {
        Refusal::Key => {
            limits::refused_key(course, step, answer.head.status);
            Err(Kind::UpstreamRefusedKey.into())
        }
        Refusal::Nonsense => Err(Kind::UpstreamBadStatus.into()),
        Refusal::None if course.is_stream && relay::is_stream(answer, step.provider) => {
            relay::relay(course, down, settle, step, answer).await
        }
        Refusal::None | Refusal::Caller | Refusal::Retriable => {
            plain::deliver(course, down, settle, step, answer).await
        }
    }
}

/// What a status says about trying elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is an answer.
    None,
    /// The request itself is at fault; every target would say so. What comes with it may say
    /// otherwise ([`plain::deliver`]).
    Caller,
    /// Another target may do better; passed on as it is when there is none.
    Retriable,
    /// The gateway's own key was refused.
    Key,
    /// No answer to a request of this kind.
    Nonsense,
}

/// What `status` says.
pub fn refusal(status: u16) -> Refusal {
    match status {
        200..=203 => Refusal::None,
        401 | 402 | 403 | 407 => Refusal::Key,
        status if reason::is_retriable(status) => Refusal::Retriable,
        400..=499 => Refusal::Caller,
        _ => Refusal::Nonsense,
    }
}

/// One attempt, up to the answer's head; on a stale connection, one more (I1).
///
/// # Errors
/// What went wrong.
pub async fn ask_target<H: Host>(
    course: &Course<'_, H>,
    asker: &mut impl Asker<H>,
    step: &Step<'_>,
) -> Result<Answer<H>, Kind> {
    let shard = course.shard;
    let upstreams = &course.snapshot.upstreams;
    let upstream = upstreams.get(step.provider_index).ok_or(Kind::Internal)?;
    let pool = &upstream.pool;
    let pooled = pool.take(shard.host.lately(), &shard.buffers);
    let mut is_reused = pooled.is_some();
    let mut lease = pooled.map(|pooled| Lease::new(shard, pool, pooled.link, pooled.opened));
    loop {
        if lease.is_none() {
            lease = Some(connect(course, asker, step).await?);
        }
        match exchange_heads(course, asker, step, &mut lease).await {
            Err(Kind::UpstreamClosed) if is_reused => {
                (is_reused, lease) = (false, None);
                shard.counters.borrow_mut().reconnects += 1;
            }
            outcome => {
                if is_reused && step.permits.host.is_probe() {
                    // A connection from better days: whoever answers on it is there.
                    let is_there = outcome.is_ok();
                    let said = if is_there {
                        Outcome::Success
                    } else {
                        Outcome::Neutral
                    };
                    course.connected(step, said);
                }
                return outcome;
            }
        }
    }
}

/// A fresh connection: every address once, those that failed lately last.
async fn connect<H: Host>(
    course: &Course<'_, H>,
    asker: &mut impl Asker<H>,
    step: &Step<'_>,
) -> Result<Lease<H>, Kind> {
    let shard = course.shard;
    let upstreams = &course.snapshot.upstreams;
    let upstream = upstreams.get(step.provider_index).ok_or(Kind::Internal)?;
    let mut tour = upstream.begin_tour();
    let mut failed = Kind::NoAddress;
    while let Some(address) = upstream.next_address(&mut tour, shard.host.now()) {
        let began = shard.host.now();
        asker.arm((began + step.timeouts().connect).min(course.total));
        let mut connecting = pin!(secure::connect(shard, upstream, address));
        match asker.wait(|cx| connecting.as_mut().poll(cx)).await {
            Wait::Done(Ok(link)) => {
                upstream.note_connected(address);
                course.connected(step, Outcome::Success);
                return Ok(Lease::new(shard, &upstream.pool, link, began));
            }
            Wait::Done(Err(kind)) => failed = kind,
            Wait::Late => failed = course.late(Kind::ConnectTimeout),
            Wait::Gone => {
                course.connected(step, Outcome::Neutral);
                return Err(Kind::ClientGone);
            }
        }
        if matches!(failed, Kind::TotalTimeout | Kind::ShutDown) {
            course.connected(step, Outcome::Neutral);
            return Err(failed); // not the address's fault
        }
        upstream.note_unreachable(address, shard.host.now());
    }
    course.connected(step, Outcome::Failure);
    Err(failed)
}

/// Sends the request on `lease` and reads the head of its answer, which takes the lease over.
async fn exchange_heads<H: Host>(
    course: &Course<'_, H>,
    asker: &mut impl Asker<H>,
    step: &Step<'_>,
    lease: &mut Option<Lease<H>>,
) -> Result<Answer<H>, Kind> {
    let shard = course.shard;
    let mut rx = RxBuf::new(&shard.buffers);
    let link = lease.as_mut().ok_or(Kind::Internal)?;
    let was_sent = send(course, asker, step, link, &mut rx).await?;
    let sent = shard.host.now();
    let patience = asker.patience(course);
    let begins = first_token(course, patience, step, sent); // I2
    asker.arm(begins);
    let mut reader = ResponseReader::new(HeadLimits::RESPONSE, Method::Post);
    let mut interim = 0;
    let mut is_untouched = true;
    loop {
        if !rx.is_empty() {
            if is_untouched {
                // A provider that has begun to answer is not thinking any more.
                let idle = shard.host.lately() + step.timeouts().idle;
                asker.arm(idle.min(begins));
            }
            is_untouched = false;
            match reader.push(rx.data()) {
                Ok(Some(head)) if head.is_interim() => {
                    rx.consume(head.len);
                    interim += 1;
                    if interim > INTERIM_MAX {
                        return Err(Kind::UpstreamBadHead);
                    }
                    reader = ResponseReader::new(HeadLimits::RESPONSE, Method::Post);
                    continue;
                }
                Ok(Some(head)) => {
                    let is_reusable = was_sent && head.keep_alive;
                    return Ok(Answer {
                        lease: lease.take().ok_or(Kind::Internal)?,
                        rx,
                        head,
                        sent,
                        is_reusable,
                    });
                }
                Ok(None) => {}
                Err(_) => return Err(Kind::UpstreamBadHead),
            }
        }
        match asker.wait(|cx| link.poll_read(cx, &mut rx)).await {
            Wait::Done(Ok(1..)) => {}
            Wait::Done(_) if is_untouched => return Err(Kind::UpstreamClosed),
            Wait::Done(_) => return Err(Kind::UpstreamBadHead),
            Wait::Gone => return Err(Kind::ClientGone),
            Wait::Late => return Err(course.late(Kind::FirstTokenTimeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: who is to blame decides; nothing that could be an answer is retried.
    #[test]
    fn statuses_are_told_apart() {
        assert_eq!(refusal(200), Refusal::None);
        assert_eq!(refusal(404), Refusal::Caller);
        assert_eq!(refusal(401), Refusal::Key);
        for status in [408, 429, 500, 503, 529, 599] {
            assert_eq!(refusal(status), Refusal::Retriable);
        }
        for status in [204, 205, 301, 304] {
            assert_eq!(refusal(status), Refusal::Nonsense);
        }
    }
}
