//! Sends a request to its provider: the head, then the body from where it arrived.
//!
//! ```text
//!   tx   [ head ]             ┐ one call, as far as the kernel takes them at once
//!   rx   [ body in pieces ]   ┘
//!   tx   [ the next 64 KiB ]    what it had no room for waits as a copy, then again
//! ```
//!
//! Invariants
//! - I1 Every byte of head and body goes out once, in order, whatever the kernel takes.
//! - I2 The body stays in the client's buffer: it can be sent again to another target.

use super::asker::Asker;
use super::course::{AS_ASKED, Course, first_token};
use super::down::{Down, Wait};
use super::lease::Lease;
use super::upstream::{Outgoing, Template, put_head};
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::fault::Kind;
use crate::dialect::pieces::{PIECES_MAX, Pieces};
use crate::host::Host;
use crate::policy::plan::Step;
use std::io::IoSlice;
use std::task::Poll;

/// Bytes of a request that are copied for the kernel at once.
pub const SEND_ROUND: usize = 64 << 10;

/// Longest body that is copied for an attempt of a race.
pub const COPY_MAX: usize = 4 << 20;

/// Length of a body from which on it is not copied behind its head but sent from where it is.
const GATHER_MIN: usize = 4 << 10;

/// Sends head and body. A provider that answers before it has read everything (an early
/// 4xx) ends the sending: false; the connection is then not used again.
///
/// # Errors
/// [`Kind::ClientGone`]; a timeout of the course. What breaks is told by reading.
pub async fn send<H: Host>(
    course: &Course<'_, H>,
    asker: &mut impl Asker<H>,
    step: &Step<'_>,
    lease: &mut Lease<H>,
    rx: &mut RxBuf,
) -> Result<bool, Kind> {
    let shard = course.shard;
    let mut tx = TxBuf::new(&shard.buffers);
    let patience = asker.patience(course);
    let begins = first_token(course, patience, step, shard.host.lately());
    asker.arm(begins);
    let mut done = 0;
    loop {
        let filled = asker.fill((course, step), lease, &mut tx, done);
        if tx.is_empty() {
            return Ok(true);
        }
        let flushed = asker
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

/// Puts the next round of the request of `down` into `tx`, behind the first `done` bytes of its
/// body (with the head before them when nothing was sent); gives the new `done`. Of a large body
/// the kernel gets what it takes at once straight from where it arrived.
pub fn fill<H: Host>(
    course: &Course<'_, H>,
    down: &Down<H::Stream>,
    step: &Step<'_>,
    lease: &mut Lease<H>,
    tx: &mut TxBuf,
    mut done: usize,
) -> usize {
    let filled = with_request(course, down, step, |body, out, template| {
        let all = body.len();
        if done == 0 {
            let is_large = all >= GATHER_MIN;
            tx.reserve(1024 + if is_large { 0 } else { all });
            put_head(tx, template, out);
        }
        if all - done >= GATHER_MIN {
            done += gather(lease, tx, body, done);
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
    });
    filled.unwrap_or(done)
}

/// The whole request of `down` as the target of `step` is to get it; `None` when its body is
/// longer than [`COPY_MAX`].
pub fn copy<H: Host>(
    course: &Course<'_, H>,
    down: &Down<H::Stream>,
    step: &Step<'_>,
) -> Option<Vec<u8>> {
    let copied = with_request(course, down, step, |body, out, template| {
        let length = body.len();
        (length <= COPY_MAX).then(|| {
            let mut head = TxBuf::new(&course.shard.buffers);
            put_head(&mut head, template, out);
            let mut all = Vec::with_capacity(head.len() + length);
            all.extend_from_slice(head.unsent());
            body.iter().for_each(|piece| all.extend_from_slice(piece));
            all
        })
    });
    copied.flatten()
}

/// Calls `with` with the body for the target of `step`, what its head says, and the provider's
/// template for that.
fn with_request<H: Host, T>(
    course: &Course<'_, H>,
    down: &Down<H::Stream>,
    step: &Step<'_>,
    with: impl FnOnce(&Pieces<'_>, &Outgoing<'_>, &Template) -> T,
) -> Option<T> {
    let request = down.request.as_deref()?;
    let wanted = request.wanted.as_ref()?;
    let upstream = course.snapshot.upstreams.get(step.provider_index)?;
    let model = match step.upstream_model {
        AS_ASKED => &*wanted.forwarded,
        model => model,
    };
    let data = down.rx.data();
    let ask = &wanted.ask;
    let asks_usage = ask.stream && !ask.wants_usage;
    let body = match &wanted.rewrite {
        Some(rewrite) if !rewrite.body.is_empty() => Pieces::whole(&rewrite.body),
        _ => ask.pieces(wanted.body.bytes(data), Some(model), asks_usage),
    };
    let out = Outgoing {
        head: Some(&request.head),
        data,
        route: wanted.route,
        is_translated: course.is_translated(down, step),
        model,
        body: &body,
        stream: ask.stream,
        id: wanted.id,
        now: course.shard.host.wall_nanos() / 1_000_000_000,
    };
    Some(with(&body, &out, &upstream.template))
}

/// Sends what is in `tx` and the body behind its first `done` bytes in one call, as far as the
/// kernel takes them; gives how much of the body went, and leaves in `tx` what did not of it.
fn gather<H: Host>(lease: &mut Lease<H>, tx: &mut TxBuf, body: &Pieces<'_>, done: usize) -> usize {
    let before = tx.len();
    let mut parts = [IoSlice::new(&[]); 1 + PIECES_MAX];
    let mut at = 0;
    let rest = body.iter().map(|piece| {
        let from = done.saturating_sub(at).min(piece.len());
        at += piece.len();
        piece.get(from..).unwrap_or_default()
    });
    for (part, bytes) in parts
        .iter_mut()
        .zip(std::iter::once(tx.unsent()).chain(rest))
    {
        *part = IoSlice::new(bytes);
    }
    let sent = lease.try_send(&parts);
    tx.sent(sent.min(before));
    sent.saturating_sub(before)
}
