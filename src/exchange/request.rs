//! Reads a request: its head, then its whole body, under absolute timers.
//!
//! ```text
//!   rx  [ head | body, chunk framing taken out in place | what was sent ahead ]
//!              └──────────── Request.body ─────────────┘└ Request.used
//! ```
//!
//! Invariants
//! - I1 The head must be complete `timeouts.head` after its first byte; the body must
//!   arrive at `limits.body_rate_min` on average after `timeouts.body`. Trickling does not
//!   move these deadlines.
//! - I2 A declared length reserves no memory: the buffer grows with what has arrived.

use super::down::{Down, Wait};
use super::rewrite::Rewrite;
use super::seen::Seen;
use crate::base::bufpool::BLOCK;
use crate::base::fault::Kind;
use crate::base::span::Span;
use crate::base::time::Instant;
use crate::dialect::ask::Ask;
use crate::dialect::route::Route;
use crate::host::Host;
use crate::policy::plan::Plan;
use crate::policy::wishes::Wishes;
use crate::shard::Shard;
use crate::shard::snapshot::{Served, Snapshot};
use crate::stats::receipt::RequestId;
use crate::wire::http1::{Chunked, Framing, HeadLimits, Known, RequestHead, RequestReader};
use std::rc::Rc;
use std::time::Duration;

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The connection ended, or idled for too long: nobody to tell.
    Closed,
    /// It is answered with this error, and the connection ends.
    Refused(Kind),
}

/// A request: what is known of it beside its bytes.
///
/// It lives on the heap, since a connection outlives it by far: the place that it would
/// take in a task is taken from every stream that waits for its next event.
#[derive(Debug)]
pub struct Request {
    /// Its head; the spans point into `down.rx`.
    pub head: RequestHead,
    /// What it asks a model for, once its body was understood.
    pub wanted: Option<Wanted>,
    /// The stream that the attempt under way goes on with, until that takes it up.
    pub onward: Option<Box<Seen>>,
}

impl Request {
    /// What was left out for the target whose turn it is.
    pub fn dropped(&self) -> &str {
        let wanted = self.wanted.as_ref();
        let rewrite = wanted.and_then(|wanted| wanted.rewrite.as_deref());
        rewrite.map_or("", |rewrite| &rewrite.dropped)
    }
}

/// The model by the name that the client of `down` asked for.
pub fn asked<L>(down: &Down<L>) -> Box<str> {
    let data = down.rx.data();
    let name = down.request.as_ref().and_then(|request| {
        let wanted = request.wanted.as_ref()?;
        let (_, in_path) = Route::find(request.head.path.bytes(data))?;
        let mut scratch = Vec::new();
        let name = wanted
            .ask
            .model(wanted.body.bytes(data), in_path, &mut scratch);
        name.map(Box::from)
    });
    name.unwrap_or_default()
}

/// What a body asks for.
#[derive(Debug)]
pub struct Wanted {
    /// The route.
    pub route: Route,
    /// The body, understood; its spans count from the body's first byte.
    pub ask: Ask,
    /// Where the body is in `down.rx`.
    pub body: Span,
    /// Index of the model in the configuration.
    pub model: usize,
    /// What targets without a name of their own call the model; empty when all have one.
    pub forwarded: Box<str>,
    /// The targets that are left to try.
    pub plan: Plan,
    /// What the request wants for itself.
    pub wishes: Option<Box<Wishes>>,
    /// The exchange's name.
    pub id: RequestId,
    /// The request in the form of the target whose turn it is, when that speaks another
    /// dialect than the client.
    pub rewrite: Option<Box<Rewrite>>,
}

/// A body that was read.
#[derive(Clone, Copy, Debug)]
pub struct Body {
    /// Where it is.
    pub span: Span,
    /// Bytes of the buffer that belong to this request.
    pub used: usize,
}

/// Reads the next request's head; gives it with the time of its first byte and with the
/// snapshot that was in force then.
///
/// # Errors
/// [`Broken`].
pub async fn read_head<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &mut Down<H::Stream>,
    is_first: bool,
) -> Result<Begun<H::Stream>, Broken> {
    await_request(shard, down, is_first).await?;
    let snapshot = shard.snapshot(); // whatever comes into force later, this exchange keeps it
    let limits = &snapshot.config.limits;
    let mut reader = RequestReader::new(HeadLimits {
        head_max: limits.head_max,
        target_max: limits.target_max,
        fields_max: limits.fields_max,
    });
    let began = shard.host.now();
    down.timer.arm(began + snapshot.config.timeouts.head); // I1
    loop {
        match reader.push(down.rx.data()) {
            Ok(Some(head)) => {
                let request = Request {
                    head,
                    wanted: None,
                    onward: None,
                };
                return Ok((Box::new(request), began, snapshot));
            }
            Ok(None) => {}
            Err(error) => return Err(Broken::Refused(error.kind())),
        }
        match down.read_more().await {
            Wait::Done(Ok(1..)) => {}
            Wait::Late => return Err(Broken::Refused(too_slow(shard))),
            _ => return Err(Broken::Closed),
        }
    }
}

/// Waits for the first byte of a request. An idle connection holds no snapshot.
async fn await_request<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &mut Down<H::Stream>,
    is_first: bool,
) -> Result<(), Broken> {
    if down.rx.is_empty() {
        let timeouts = shard.snapshot().config.timeouts;
        let patience = if is_first {
            timeouts.head
        } else {
            timeouts.keep_alive
        };
        down.timer.arm(shard.host.lately() + patience);
    }
    while down.rx.is_empty() {
        // A connection that has served ends with the draining, a fresh one gets its answer.
        let is_over = || !is_first && shard.ends_idle();
        let Wait::Done(Ok(1..)) = down.read_unless(is_over).await else {
            return Err(Broken::Closed);
        };
    }
    Ok(())
}

/// Why a request is not waited for any longer.
fn too_slow<H: Host>(shard: &Shard<H>) -> Kind {
    if shard.is_over() {
        Kind::ShutDown
    } else {
        Kind::SlowClient
    }
}

/// A request's head, when its first byte came, and what it is served with.
type Begun<L> = (Box<Request>, Instant, Rc<Snapshot<L>>);

/// Whether the body is there already, without its being read: then an early answer need
/// not end the connection. Gives the bytes that belong to the request.
pub fn body_is_here(head: &RequestHead, buffered: usize) -> Option<usize> {
    match head.framing {
        Framing::None => Some(head.len),
        Framing::Length(length) => {
            let end = head.len.checked_add(usize::try_from(length).ok()?)?;
            (end <= buffered).then_some(end)
        }
        Framing::Chunked | Framing::UntilClose => None,
    }
}

/// Reads the whole body into `down.rx`, behind the head.
///
/// # Errors
/// [`Broken`]: too large, too slow, broken chunks, no memory left, or gone.
pub async fn read_body<H: Host>(
    (shard, snapshot): Served<'_, H>,
    down: &mut Down<H::Stream>,
    head: &RequestHead,
) -> Result<Body, Broken> {
    if let Framing::Length(length) = head.framing
        && length > snapshot.config.limits.body_max as u64
    {
        return Err(Broken::Refused(Kind::BodyTooLarge));
    }
    if let Some(used) = body_is_here(head, down.rx.len()) {
        return Ok(Body {
            span: Span::new(head.len, used),
            used,
        });
    }
    if head.expects_continue && down.rx.len() == head.len {
        down.tx.put(b"HTTP/1.1 100 Continue\r\n\r\n");
        down.timer
            .arm(shard.host.now() + snapshot.config.timeouts.stall);
        let Wait::Done(()) = down.flush().await else {
            return Err(Broken::Closed);
        };
    }
    let since = shard.host.now();
    match head.framing {
        Framing::Length(length) => {
            let used = head.len + usize::try_from(length).unwrap_or(usize::MAX - head.len);
            while down.rx.len() < used {
                read_some((shard, snapshot), down, since, used - down.rx.len()).await?;
            }
            Ok(Body {
                span: Span::new(head.len, used),
                used,
            })
        }
        _ => read_chunked((shard, snapshot), down, head, since).await,
    }
}

async fn read_chunked<H: Host>(
    (shard, snapshot): Served<'_, H>,
    down: &mut Down<H::Stream>,
    head: &RequestHead,
    since: Instant,
) -> Result<Body, Broken> {
    let mut chunked = match head.known(Known::Trailer) {
        Some(_) => Chunked::new(),
        None => Chunked::without_trailers(),
    };
    let mut end = head.len;
    loop {
        let raw = down.rx.data_mut().get_mut(end..).unwrap_or_default();
        let decoded = chunked
            .decode(raw)
            .map_err(|error| Broken::Refused(error.kind()))?;
        let follows = end + decoded.used;
        end += decoded.data;
        let announced = usize::try_from(chunked.announced()).unwrap_or(usize::MAX);
        if (end - head.len).saturating_add(announced) > snapshot.config.limits.body_max {
            return Err(Broken::Refused(Kind::BodyTooLarge));
        }
        let all = down.rx.len();
        if decoded.done {
            down.rx.data_mut().copy_within(follows..all, end);
            down.rx.truncate(end + (all - follows));
            return Ok(Body {
                span: Span::new(head.len, end),
                used: end,
            });
        }
        down.rx.truncate(end);
        read_some((shard, snapshot), down, since, BLOCK).await?;
    }
}

/// Reads once, with at least some of `want` bytes of room.
async fn read_some<H: Host>(
    (shard, snapshot): Served<'_, H>,
    down: &mut Down<H::Stream>,
    since: Instant,
    want: usize,
) -> Result<(), Broken> {
    let room = want.min(down.rx.len().max(4 * BLOCK)); // I2
    let held = shard.buffers.lent() + shard.host.held_bytes();
    if held.saturating_add(room) > snapshot.buffers_max {
        return Err(Broken::Refused(Kind::Overloaded));
    }
    down.rx.reserve(room);
    let rate = snapshot.config.limits.body_rate_min.max(1) as u64;
    let earned = Duration::from_millis((down.rx.len() as u64).saturating_mul(1000) / rate);
    down.timer
        .arm(since + snapshot.config.timeouts.body + earned); // I1
    match down.read_more().await {
        Wait::Done(Ok(1..)) => Ok(()),
        Wait::Late => Err(Broken::Refused(too_slow(shard))),
        _ => Err(Broken::Closed),
    }
}

/// Whether the body's type and coding are taken: JSON, as it is.
///
/// # Errors
/// [`Kind::BadMediaType`].
pub fn check_media(head: &RequestHead, data: &[u8]) -> Result<(), Kind> {
    let value = |known| head.known(known).map(|span| span.bytes(data));
    let coding = value(Known::ContentEncoding);
    if coding.is_some_and(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
    {
        return Err(Kind::BadMediaType);
    }
    let Some(media) = value(Known::ContentType) else {
        return Ok(());
    };
    let media = media
        .split(|&byte| byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii();
    let is_json = media.eq_ignore_ascii_case(b"application/json")
        || media.eq_ignore_ascii_case(b"text/json")
        || media
            .last_chunk::<5>()
            .is_some_and(|end| end.eq_ignore_ascii_case(b"+json"));
    if is_json {
        Ok(())
    } else {
        Err(Kind::BadMediaType)
    }
}
