//! Delivers an answer that was made before, or is being made for somebody else.
//!
//! ```text
//!   stored ─────────── plain, asked for plainly in its own dialect ────────────► client
//!   stored, or a tape ─► Answer ─┬─ as the client wants it: relay, plain ──────► client
//!                                ├─ a stream, for a plain request: read whole ─► one body
//!                                └─ a plain one, for a stream: read whole ─────► events
//! ```
//!
//! An [`Answer`] goes the way of a provider's answer, and so comes out in the client's dialect,
//! with its usage, and is checked again. No target is asked, and none is judged.
//!
//! Invariants
//! - R1 What cannot be told in the other shape without a loss is not told: the request goes
//!   upstream by itself.
//! - R2 Nothing of the answer's head is told that was for somebody else: limits, ids, cookies.
//! - R3 What is told unread is an answer: of a provider that was read here, or a copy of another
//!   box's that was ([`Stored::is_answer`]).

use super::answer::{HOLD_MAX, Incoming, put_answer_head, put_own_head, read_more};
use super::attempt::{self, Failed, Refusal};
use super::connection::{Next, push};
use super::course::Course;
use super::down::{Down, Wait};
use super::lease::{Answer, Lease};
use super::plain;
use super::pulse::put_stream_fields;
use super::relay;
use super::reply;
use super::request::{Request, asked};
use super::settle::Settle;
use super::stored::Stored;
use super::tape::{Player, Tape};
use super::translator::{Naming, usage};
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::fault::Kind;
use crate::cache::body::Body;
use crate::config::Config;
use crate::dialect::events::Cutter;
use crate::dialect::retell::Retell;
use crate::dialect::whole;
use crate::host::Host;
use crate::policy::breaker::Permits;
use crate::policy::plan::Step;
use crate::shard::Shard;
use crate::shard::cache::Found;
use crate::shard::serve::guarded;
use crate::wire::http1::{
    END_OF_HEAD, Framing, HeadLimits, LAST_CHUNK, Method, ResponseReader, put_chunk,
    put_decimal_field, put_own_field, put_status_line,
};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Bytes for the client from which on they are sent before more is told.
const ROUND_MAX: usize = 32 << 10;

/// The head of an answer as it concerns everybody (R2): status, media type, framing.
pub fn put_head(tx: &mut TxBuf, (status, media): (u16, &[u8]), framing: &Framing) {
    put_status_line(tx, status);
    put_own_field(tx, "content-type", media);
    match framing {
        Framing::None => put_decimal_field(tx, "content-length", 0),
        Framing::Length(length) => put_decimal_field(tx, "content-length", *length),
        Framing::Chunked => tx.put(b"transfer-encoding: chunked\r\n"),
        Framing::UntilClose => tx.put(b"connection: close\r\n"),
    }
    tx.put(END_OF_HEAD);
}

/// The step at the target at `place` of the model at `model_index`, of an exchange that asked
/// for the model at `asked`.
pub fn step_at(
    config: &Config,
    asked: usize,
    (model_index, place): (usize, usize),
) -> Option<Step<'_>> {
    let model = config.models.get(model_index)?;
    let target = model.targets.get(place)?;
    Some(Step {
        provider_index: target.provider,
        provider: config.provider(target)?,
        upstream_model: target.model.as_deref().unwrap_or_default(),
        model,
        model_index,
        target_index: place,
        fallback: (model_index != asked).then_some(&*model.name),
        permits: Permits::default(),
    })
}

/// An answer that comes over `lease`, of which this head is here already, and this body if any.
pub fn answer<H: Host>(
    shard: &Shard<H>,
    lease: Lease<H>,
    (head, body): (&[u8], Option<&Body>),
    is_reusable: bool,
) -> Option<Answer<H>> {
    let mut rx = RxBuf::new(&shard.buffers);
    rx.reserve(head.len() + body.map_or(0, Body::len));
    rx.put(head);
    if let Some(body) = body {
        body.tell(|piece| rx.put(piece));
    }
    let mut reader = ResponseReader::new(HeadLimits::RESPONSE, Method::Post);
    let head = reader.push(rx.data()).ok()??;
    Some(Answer {
        lease,
        rx,
        head,
        sent: shard.host.now(),
        is_reusable,
    })
}

/// What is stored of a stream, as a provider would send it: an event each `pace`. Ends when nobody
/// listens.
pub fn paced<H: Host>(shard: &Rc<Shard<H>>, entry: &Found, pace: Duration) -> Player<H> {
    let player = Tape::fed(&shard.buffers);
    let tape = Rc::clone(player.tape());
    let (mine, entry) = (Rc::clone(shard), Arc::clone(entry));
    guarded(shard, async move {
        let stored = &entry.payload;
        let mut cutter = Cutter::new(stored.wire, stored.body.len());
        let whole = stored.body.bytes();
        let mut rest = &*whole;
        while let Ok(Some(end)) = cutter.next_end(rest)
            && let Some((event, behind)) = rest.split_at_checked(end)
            && Rc::strong_count(&tape) > 1
        {
            tape.feed(event);
            rest = behind;
            mine.host.sleep_until(mine.host.now() + pace).await;
        }
        tape.feed(rest);
        tape.end_feed(None);
    });
    player
}

/// Delivers the plain answer that is `stored` in the client's own dialect to a client that wants
/// a plain one, as it is: it was looked at when it was stored (R3).
///
/// # Errors
/// The gateway is shut down.
pub async fn verbatim<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    stored: &Stored,
) -> Result<Next, Kind> {
    settle.receipt.usage = stored.usage;
    let Down { tx, request, .. } = &mut *down;
    let dropped = request.as_deref().map_or("", Request::dropped);
    tx.reserve(1024 + stored.body.len());
    put_own_head(tx, course, settle, step, (200, dropped, course.manner));
    put_own_field(tx, "content-type", stored.media.as_bytes());
    put_decimal_field(tx, "content-length", stored.body.len() as u64);
    tx.put(END_OF_HEAD);
    stored.body.tell(|piece| tx.put(piece));
    plain::finish(course, down, settle, (200, 200)).await
}

/// Delivers `answer`; `pace` is the time between two events, where they are told one by one.
///
/// # Errors
/// Nothing of it has reached the client.
pub async fn deliver<'a, H: Host>(
    course: &Course<'a, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    (answer, pace): (&mut Answer<H>, Duration),
) -> Result<Next, Failed<'a>> {
    course.be_last(); // whatever it says is the client's
    let refusal = attempt::refusal(answer.head.status);
    let is_stream = relay::is_stream(answer, step.provider);
    if refusal != Refusal::None || is_stream == course.is_stream {
        return attempt::deliver(course, down, settle, step, (answer, refusal)).await;
    }
    // Rare and large: not a part of every connection's task.
    Ok(Box::pin(reshaped(
        course,
        down,
        settle,
        step,
        (answer, is_stream, pace),
    ))
    .await?)
}

/// The same for an answer in the other shape.
async fn reshaped<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    (answer, is_stream, pace): (&mut Answer<H>, bool, Duration),
) -> Result<Next, Kind> {
    let mut head = TxBuf::new(&course.shard.buffers);
    head.put(answer.rx.data().get(..answer.head.len).unwrap_or_default());
    answer.rx.consume(answer.head.len);
    let mut body = Incoming::new(&answer.head);
    body.absorb(&mut answer.rx)?;
    while !body.is_done {
        if body.decoded > HOLD_MAX {
            return Err(Kind::UpstreamGarbled);
        }
        let idle = (
            course.shard.host.now() + step.timeouts().idle,
            Kind::IdleTimeout,
        );
        read_more(course, down, answer, &mut body, idle).await?;
    }
    let data = answer.rx.data();
    let spoken = step.provider.dialect.speaks();
    let naming = Naming::new(course, settle.receipt.id, &asked(down));
    if !is_stream {
        let retell = Retell::of_body(course.route, spoken, data);
        let told = (retell.map_err(|_| Kind::UpstreamGarbled)?, naming, pace); // R1
        return stream(course, down, settle, step, (answer, head.unsent(), told)).await;
    }
    let mut whole_body = TxBuf::new(&course.shard.buffers);
    let (to, from) = (
        (course.route, &naming.names()),
        (spoken, relay::wire(step.provider), data),
    );
    let tokens = whole::put_plain(to, from, &mut whole_body);
    let tokens = tokens.map_err(|_| Kind::UpstreamGarbled)?; // R1
    settle.receipt.usage = tokens.as_ref().map(usage);
    let Down { tx, request, .. } = &mut *down;
    let dropped = request.as_deref().map_or("", Request::dropped);
    let manner = (answer.head.status, dropped, course.manner);
    put_answer_head(tx, course, settle, step, (answer, head.unsent()), manner);
    tx.put(b"content-type: application/json\r\n");
    put_decimal_field(tx, "content-length", whole_body.len() as u64);
    tx.put(END_OF_HEAD);
    tx.put(whole_body.unsent());
    plain::finish(course, down, settle, (200, 200)).await
}

/// Tells a whole answer as a stream.
async fn stream<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    (answer, head, (mut retell, naming, pace)): (&mut Answer<H>, &[u8], (Retell, Naming, Duration)),
) -> Result<Next, Kind> {
    let shard = course.shard;
    let is_chunked = !course.manner.is_http10;
    let manner = course.manner.closing(!is_chunked);
    if !down.has_begun() {
        let Down { tx, request, .. } = &mut *down;
        let dropped = request.as_deref().map_or("", Request::dropped);
        let about = (answer.head.status, dropped, manner);
        put_answer_head(tx, course, settle, step, (answer, head), about);
        put_stream_fields(tx, course.route.dialect(), is_chunked);
    }
    if let Some(pulse) = &mut down.pulse {
        pulse.drop_head();
    }
    settle.receipt.first_content = Some(shard.host.now().since(settle.receipt.began));
    let mut piece = TxBuf::new(&shard.buffers);
    while retell.next(&naming.names(), &mut piece).is_some() {
        settle.receipt.events += 1;
        if is_chunked {
            put_chunk(&mut down.tx, &[piece.unsent()]);
        } else {
            down.tx.put(piece.unsent());
        }
        piece.clear();
        if pace > Duration::ZERO {
            push(course.served(), down).await?;
            if let Err(kind) = rest(course, down, pace).await {
                return reply::cut_short(course, down, settle, kind).await;
            }
        } else if down.tx.len() > ROUND_MAX {
            push(course.served(), down).await?;
        }
    }
    if is_chunked {
        down.tx.put(LAST_CHUNK);
    }
    push(course.served(), down).await?;
    settle.done(200);
    Ok(if manner.closes {
        Next::Linger
    } else {
        Next::KeepAlive
    })
}

/// Lets `pace` pass, while the client is there.
async fn rest<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    pace: Duration,
) -> Result<(), Kind> {
    down.arm(course.shard.host.now() + pace);
    match down.wait(|_| Poll::<()>::Pending).await {
        Wait::Gone => Err(Kind::ClientGone),
        _ if course.shard.is_over() => Err(Kind::ShutDown),
        _ => Ok(()),
    }
}
