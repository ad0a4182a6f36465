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
//!   over all attempts. A plain answer comes when the last token is made, so only that
//!   deadline bounds it: less would abort long answers, and pay for them again elsewhere.

use super::connection::{Incoming, Next, Wanted};
use super::down::{Down, Wait};
use super::settle::Settle;
use super::upstream::{Outgoing, put_head};
use super::{plain, relay};
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::fault::{Kind, Retry};
use crate::base::time::Instant;
use crate::host::{Host, Link};
use crate::policy::plan::{Plan, Step};
use crate::shard::Shard;
use crate::stats::receipt::{AttemptEnd, RequestId};
use crate::wire::http1::{HeadLimits, Method, ResponseHead, ResponseReader};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// Interim answers (1xx) that are skipped before a provider counts as broken.
const INTERIM_MAX: usize = 16;

/// Bytes of a request that are handed to the kernel at once.
const SEND_ROUND: usize = 64 << 10;

/// A connection in use; closed when dropped, unless it is given back.
#[derive(Debug)]
pub struct Lease<H: Host> {
    shard: Rc<Shard<H>>,
    provider: usize,
    link: Option<H::Stream>,
    opened: Instant,
}

impl<H: Host> Lease<H> {
    fn new(shard: &Rc<Shard<H>>, provider: usize, link: H::Stream, opened: Instant) -> Self {
        if let Some(upstream) = shard.upstreams.get(provider) {
            upstream.pool.note_lease();
        }
        Self {
            shard: Rc::clone(shard),
            provider,
            link: Some(link),
            opened,
        }
    }

    /// Reads more into `rx`.
    pub fn poll_read(
        &mut self,
        cx: &mut std::task::Context<'_>,
        rx: &mut RxBuf,
    ) -> Poll<io::Result<usize>> {
        match &mut self.link {
            Some(link) => link.poll_read(cx, rx),
            None => Poll::Ready(Ok(0)),
        }
    }

    fn poll_flush(
        &mut self,
        cx: &mut std::task::Context<'_>,
        tx: &mut TxBuf,
    ) -> Poll<io::Result<()>> {
        match &mut self.link {
            Some(link) => link.poll_flush(cx, tx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// The exchange on it ended cleanly: it may be used again.
    pub fn give_back(mut self) {
        let Some(link) = self.link.take() else {
            return;
        };
        let (shard, now) = (&self.shard, self.shard.host.now());
        if let Some(upstream) = shard.upstreams.get(self.provider) {
            upstream.pool.put(link, self.opened, now, &shard.buffers);
        }
    }
}

impl<H: Host> Drop for Lease<H> {
    fn drop(&mut self) {
        if let Some(upstream) = self.shard.upstreams.get(self.provider) {
            upstream.pool.note_return();
        }
    }
}

/// An answer whose head has arrived.
#[derive(Debug)]
pub struct Answer<H: Host> {
    /// The connection.
    pub lease: Lease<H>,
    /// What arrived: the head, then what came of the body.
    pub rx: RxBuf,
    /// Its head; spans point into `rx`.
    pub head: ResponseHead,
    /// When the request was sent.
    pub sent: Instant,
    /// Whether the connection may be used again once the body was read.
    pub is_reusable: bool,
}

/// What stays the same over all attempts of an exchange.
#[derive(Debug)]
pub struct Course<'a, H: Host> {
    /// The shard.
    pub shard: &'a Rc<Shard<H>>,
    /// The client's request.
    pub incoming: &'a Incoming,
    /// What it asks for.
    pub wanted: &'a Wanted,
    /// The end of everything.
    pub total: Instant,
    /// The exchange's name.
    pub id: RequestId,
}

impl<H: Host> Course<'_, H> {
    /// What a passed deadline means: the one over everything, or `kind`.
    pub fn late(&self, kind: Kind) -> Kind {
        if self.shard.host.now() >= self.total {
            Kind::TotalTimeout
        } else {
            kind
        }
    }
}

/// Tries targets until one answers.
///
/// # Errors
/// The last fault, when nothing has reached the client.
pub async fn attempts<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    incoming: &Incoming,
    wanted: &Wanted,
) -> Result<Next, Kind> {
    let config = &shard.config;
    let found = config.find(&wanted.name).ok_or(Kind::NoSuchModel)?;
    let mut plan = Plan::new(&found, config.retry.attempts_max);
    let total = settle.receipt.began + found.model.timeouts.total;
    let course = Course {
        shard,
        incoming,
        wanted,
        total,
        id: settle.receipt.id,
    };
    let mut following = || plan.next(config, &mut shard.rotations.borrow_mut(), &found);
    let mut step = following().ok_or(Kind::Internal)?;
    loop {
        settle.begin_attempt(step.model_index, step.provider_index);
        let (began, spent) = (shard.host.now(), settle.receipt.upstream);
        let failed = match ask_target(&course, down, &step).await {
            Ok(answer) => {
                let refusal = refusal(answer.head.status);
                let another = if refusal == Refusal::Retriable {
                    following()
                } else {
                    None
                };
                if let Some(another) = another {
                    settle.receipt.upstream += shard.host.now().since(began);
                    settle.end_attempt(AttemptEnd::Refused);
                    step = another;
                    continue;
                }
                match deliver(&course, down, settle, &step, answer, refusal).await {
                    Ok(next) => return Ok(next),
                    Err(kind) => kind,
                }
            }
            Err(kind) => kind,
        };
        if failed == Kind::ClientGone {
            return Err(failed); // settles as cancelled
        }
        settle.end_attempt(AttemptEnd::Failed);
        settle.receipt.upstream = spent + shard.host.now().since(began);
        down.tx.clear();
        if failed.retry() == Retry::Never || shard.host.now() >= total {
            return Err(course.late(failed));
        }
        step = following().ok_or(failed)?;
    }
}

/// What a status says about trying elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// It is an answer.
    None,
    /// The request itself is at fault; every target would say so.
    Caller,
    /// Another target may do better; passed on as it is when there is none.
    Retriable,
    /// The gateway's own key was refused.
    Key,
    /// No answer to a request of this kind.
    Nonsense,
}

fn refusal(status: u16) -> Refusal {
    match status {
        200..=203 => Refusal::None,
        401 | 402 | 403 | 407 => Refusal::Key,
        408 | 409 | 425 | 429 | 500..=599 => Refusal::Retriable,
        400..=499 => Refusal::Caller,
        _ => Refusal::Nonsense,
    }
}

async fn deliver<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    answer: Answer<H>,
    refusal: Refusal,
) -> Result<Next, Kind> {
    match refusal {
        Refusal::Key => Err(Kind::UpstreamRefusedKey),
        Refusal::Nonsense => Err(Kind::UpstreamBadStatus),
        Refusal::None if course.wanted.ask.stream && relay::is_stream(&answer) => {
            relay::relay(course, down, settle, step, answer).await
        }
        Refusal::None | Refusal::Caller | Refusal::Retriable => {
            plain::deliver(course, down, settle, step, answer).await
        }
    }
}

/// One attempt, up to the answer's head; on a stale connection, one more (I1).
async fn ask_target<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    step: &Step<'_>,
) -> Result<Answer<H>, Kind> {
    let shard = course.shard;
    let upstream = shard
        .upstreams
        .get(step.provider_index)
        .ok_or(Kind::Internal)?;
    if let Some(pooled) = upstream.pool.take(shard.host.now(), &shard.buffers) {
        let lease = Lease::new(shard, step.provider_index, pooled.link, pooled.opened);
        match exchange_heads(course, down, step, lease).await {
            Err(Kind::UpstreamClosed) => shard.counters.borrow_mut().reconnects += 1,
            outcome => return outcome,
        }
    }
    let lease = connect(course, down, step).await?;
    exchange_heads(course, down, step, lease).await
}

/// A fresh connection: every address once, the last good one first.
async fn connect<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    step: &Step<'_>,
) -> Result<Lease<H>, Kind> {
    let shard = course.shard;
    let upstream = shard
        .upstreams
        .get(step.provider_index)
        .ok_or(Kind::Internal)?;
    let addresses = upstream.addresses();
    let mut failed = Kind::NoAddress;
    for turn in 0..addresses.len() {
        let index = (upstream.preferred() + turn) % addresses.len().max(1);
        let Some(&address) = addresses.get(index) else {
            break;
        };
        let began = shard.host.now();
        down.timer
            .arm((began + step.timeouts().connect).min(course.total));
        let mut connecting = pin!(shard.host.connect(address));
        match down.wait(|cx| connecting.as_mut().poll(cx)).await {
            Wait::Done(Ok(link)) => {
                upstream.prefer(index);
                return Ok(Lease::new(shard, step.provider_index, link, began));
            }
            Wait::Done(Err(_)) => failed = Kind::ConnectFailed,
            Wait::Late => failed = course.late(Kind::ConnectTimeout),
            Wait::Gone => return Err(Kind::ClientGone),
        }
        if failed == Kind::TotalTimeout {
            break;
        }
    }
    Err(failed)
}

/// Sends the request on `lease` and reads the head of its answer.
async fn exchange_heads<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    step: &Step<'_>,
    mut lease: Lease<H>,
) -> Result<Answer<H>, Kind> {
    let shard = course.shard;
    let mut rx = RxBuf::new(&shard.buffers);
    let was_sent = send(course, down, step, &mut lease, &mut rx).await?;
    let sent = shard.host.now();
    down.timer.arm(first_token(course, step, sent)); // I2
    let limits = HeadLimits::RESPONSE;
    let mut reader = ResponseReader::new(limits, Method::Post);
    let mut interim = 0;
    let mut is_untouched = true;
    loop {
        if !rx.is_empty() {
            if is_untouched {
                // A provider that has begun to answer is not thinking any more.
                let idle = shard.host.now() + step.timeouts().idle;
                down.timer.arm(idle.min(first_token(course, step, sent)));
            }
            is_untouched = false;
            match reader.push(rx.data()) {
                Ok(Some(head)) if head.is_interim() => {
                    rx.consume(head.len);
                    interim += 1;
                    if interim > INTERIM_MAX {
                        return Err(Kind::UpstreamBadHead);
                    }
                    reader = ResponseReader::new(limits, Method::Post);
                    continue;
                }
                Ok(Some(head)) => {
                    let is_reusable = was_sent && head.keep_alive;
                    return Ok(Answer {
                        lease,
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
        match down.wait(|cx| lease.poll_read(cx, &mut rx)).await {
            Wait::Done(Ok(1..)) => {}
            Wait::Done(_) if is_untouched => return Err(Kind::UpstreamClosed),
            Wait::Done(_) => return Err(Kind::UpstreamBadHead),
            Wait::Gone => return Err(Kind::ClientGone),
            Wait::Late => return Err(course.late(Kind::FirstTokenTimeout)),
        }
    }
}

/// When an answer that was asked for at `sent` must have begun (I2).
fn first_token<H: Host>(course: &Course<'_, H>, step: &Step<'_>, sent: Instant) -> Instant {
    if course.wanted.ask.stream {
        (sent + step.timeouts().first_token).min(course.total)
    } else {
        course.total
    }
}

/// Sends head and body. A provider that answers before it has read everything (an early
/// 4xx) ends the sending: false; the connection is then not used again.
async fn send<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    step: &Step<'_>,
    lease: &mut Lease<H>,
    rx: &mut RxBuf,
) -> Result<bool, Kind> {
    let shard = course.shard;
    let mut tx = TxBuf::new(&shard.buffers);
    down.timer.arm(first_token(course, step, shard.host.now()));
    let mut done = 0;
    loop {
        let filled = fill(course, down, step, &mut tx, done);
        if tx.is_empty() {
            return Ok(true);
        }
        let flushed = down
            .wait(|cx| match lease.poll_flush(cx, &mut tx) {
                Poll::Ready(outcome) => Poll::Ready(outcome.map(|()| true)),
                Poll::Pending => lease.poll_read(cx, rx).map_ok(|_| false),
            })
            .await;
        match flushed {
            Wait::Done(Ok(true)) => done = filled,
            // It answers, or closed after an answer: reading tells.
            Wait::Done(Ok(false) | Err(_)) => return Ok(false),
            Wait::Gone => return Err(Kind::ClientGone),
            Wait::Late => return Err(course.late(Kind::FirstTokenTimeout)),
        }
    }
}

/// Puts the next round of the request into `tx`, behind the first `done` bytes of its body
/// (with the head before them when nothing was sent); gives the new `done`.
fn fill<H: Host>(
    course: &Course<'_, H>,
    down: &Down<H::Stream>,
    step: &Step<'_>,
    tx: &mut TxBuf,
    done: usize,
) -> usize {
    let Course {
        shard,
        incoming,
        wanted,
        ..
    } = course;
    let Some(upstream) = shard.upstreams.get(step.provider_index) else {
        return done;
    };
    let data = down.rx.data();
    let asks_usage = wanted.ask.stream && !wanted.ask.wants_usage;
    let body = wanted.ask.pieces(
        wanted.body.bytes(data),
        Some(step.upstream_model),
        asks_usage,
    );
    let all = body.len();
    if done == 0 {
        tx.reserve(1024 + all.min(SEND_ROUND));
        let out = Outgoing {
            head: &incoming.head,
            data,
            route: wanted.route,
            model: step.upstream_model,
            body: &body,
            stream: wanted.ask.stream,
            id: course.id,
        };
        put_head(tx, &upstream.template, &out);
    }
    let end = all.min(done + SEND_ROUND);
    let mut at = 0;
    for piece in body.iter() {
        let from = done.saturating_sub(at).min(piece.len());
        let to = end.saturating_sub(at).min(piece.len());
        tx.put(piece.get(from..to).unwrap_or_default());
        at += piece.len();
    }
    end
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
