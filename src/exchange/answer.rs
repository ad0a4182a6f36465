//! The body of an upstream answer: framing taken off as it arrives, and what of its head
//! reaches the client.
//!
//! ```text
//!   rx  [ decoded, not yet passed on | raw, just read ]
//!        └──────── decoded ─────────┘
//! ```
//!
//! Invariants
//! - I1 Bytes beyond the end of the body make the connection unusable: what nobody asked
//!   for must not become the next answer.
//! - I2 An end of the connection before the end of the body is a cut, never an end; a body
//!   that only the close delimits ends there.
//! - I3 No header field of an answer reaches the client unless it is on the list.

use super::asker::Asker;
use super::course::{Course, first_token};
use super::down::{Down, Wait};
use super::lease::{Answer, Reading};
use super::limits;
use super::reply::{self, Manner};
use super::settle::Settle;
use crate::base::alike::{Alike, END_OF_CHUNK, Shape};
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::fault::Kind;
use crate::base::time::Instant;
use crate::dialect::model::Dialect;
use crate::host::Host;
use crate::policy::plan::Step;
use crate::wire::http1::{
    Chunked, Framing, Known, ResponseHead, put_decimal_field, put_field, put_own_field,
    put_status_line,
};
use std::borrow::Cow;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// Bytes of a plain answer that are held until it is whole; beyond, it is passed on as it
/// comes.
pub const HOLD_MAX: usize = 1 << 20;

/// Longest wait that a provider may ask of a client, in seconds (one day).
const RETRY_AFTER_MAX: u64 = 86_400;

#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    /// The framing broke behind what is decoded: no more can be read.
    Broken,
}

/// Takes the framing off an upstream body.
#[derive(Debug)]
pub struct Incoming {
    rest: Rest,
    /// Bytes at the front of the buffer that are body.
    pub decoded: usize,
    /// Whether the body is complete.
    pub is_done: bool,
    /// Whether bytes came that do not belong to it (I1).
    pub has_surplus: bool,
    reading: Reading,
    /// Whether all that came is one chunk, which is not decoded yet.
    is_closed: bool,
    /// What is here, where that is one event and a tape knows it for one like another.
    alike: Option<Alike>,
    /// A chunk with an event of this shape was decoded, and its end is behind the gap, where the
    /// tape compares it: what the decoder said of it is true of all of them. No event has the
    /// default one, which has nothing before its gap.
    sound: Shape,
}

impl Incoming {
    /// The body behind `head`. Call [`Incoming::absorb`] at once: bytes may be there.
    pub fn new(head: &ResponseHead) -> Self {
        let rest = match head.framing {
            Framing::None => Rest::Length(0),
            Framing::Length(length) => Rest::Length(length),
            Framing::Chunked => Rest::Chunked(Chunked::new()),
            Framing::UntilClose => Rest::UntilClose,
        };
        Self {
            rest,
            decoded: 0,
            is_done: false,
            has_surplus: false,
            reading: Reading::Collected,
            is_closed: false,
            alike: None,
            sound: Shape::default(),
        }
    }

    /// The same for a reader that consumes what came, or settles it, before it waits again: it may
    /// stay in the block in which it came.
    pub fn passed_on(head: &ResponseHead) -> Self {
        Self {
            reading: Reading::PassedOn,
            ..Self::new(head)
        }
    }

    /// Decodes what is behind the first `decoded` bytes of `rx`; gives how many bytes of the
    /// body are new. What came before a break in the framing counts, however the bytes were
    /// cut; reading on is what fails then.
    ///
    /// # Errors
    /// [`Kind::UpstreamCut`] when the chunk framing is broken and nothing is new.
    pub fn absorb(&mut self, rx: &mut RxBuf) -> Result<usize, Kind> {
        debug_assert!(!self.is_closed, "a chunk that came was not taken");
        self.alike = None;
        let before = self.decoded;
        let all = rx.len();
        let raw = all.saturating_sub(before);
        match &mut self.rest {
            Rest::UntilClose => self.decoded = all,
            Rest::Length(left) => {
                let mine = raw.min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= mine as u64;
                self.decoded += mine;
                self.is_done = *left == 0;
                self.has_surplus |= mine < raw;
            }
            Rest::Chunked(chunked) if !self.is_done => {
                let bytes = rx.data_mut().get_mut(before..).unwrap_or_default();
                match chunked.decode(bytes) {
                    Ok(decoded) => {
                        self.decoded += decoded.data;
                        self.is_done = decoded.done;
                        self.has_surplus |= decoded.used < raw;
                    }
                    Err(_) if chunked.sound() > 0 => {
                        self.decoded += chunked.sound();
                        self.rest = Rest::Broken;
                    }
                    Err(_) => return Err(Kind::UpstreamCut),
                }
            }
            Rest::Chunked(_) => self.has_surplus |= raw > 0,
            Rest::Broken => return Err(Kind::UpstreamCut),
        }
        rx.truncate(self.decoded);
        Ok(self.decoded - before)
    }

    /// As [`Incoming::absorb`], of what was read at once and may be `alike`. For a reader that
    /// passes on what comes, a chunk of a shape that was decoded before stays as it is:
    /// [`Incoming::take_chunk`] is to be called before anything else then.
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub(super) fn absorb_alike(
        &mut self,
        rx: &mut RxBuf,
        alike: Option<Alike>,
    ) -> Result<usize, Kind> {
        let Some(alike) = alike else {
            return self.absorb(rx);
        };
        let is_alone = alike.bytes() == rx.len();
        // Where a chunk begins, the short line is its size.
        let is_between = match &self.rest {
            Rest::Chunked(chunked) => chunked.is_between(),
            _ => false,
        };
        let framing = if is_between {
            usize::from(u16::from(alike.line) + END_OF_CHUNK)
        } else {
            0
        };
        if is_between && is_alone && alike.is_chunk && self.sound == alike.shape {
            (self.is_closed, self.alike) = (true, Some(alike));
            return Ok(rx.len() - framing);
        }
        self.absorb_first(rx, (alike, is_alone, framing))
    }

    /// Decodes what may be an event of a shape that is not known to be [`Incoming::sound`].
    #[inline(never)]
    fn absorb_first(
        &mut self,
        rx: &mut RxBuf,
        (alike, is_alone, framing): (Alike, bool, usize),
    ) -> Result<usize, Kind> {
        let decoded = self.absorb(rx)?;
        // Two bytes more than the line that are taken off are the chunk's end and the last ones:
        // behind them is a size, of three bytes at least.
        let is_whole = is_alone && decoded + framing == alike.bytes();
        if is_whole && (alike.line == 0) == (framing == 0) {
            self.alike = Some(alike);
            // What is in the gap the tape compares with nothing.
            let has_end = framing > 0 && alike.shape.behind >= END_OF_CHUNK;
            if has_end && matches!(self.reading, Reading::PassedOn) {
                self.sound = alike.shape;
            }
        }
        Ok(decoded)
    }

    /// What is here, where that is one event and the tape knows it for one like another. The
    /// last two bytes of its shape may be the end of its chunk, which is not there any more.
    pub fn take_alike(&mut self) -> Option<Alike> {
        self.alike.take()
    }

    /// The same, where that is a chunk of its own with its framing. Who does not pass it on
    /// [`Incoming::open`]s it.
    pub fn take_chunk(&mut self) -> Option<Alike> {
        let alike = self.alike.take_if(|_| self.is_closed)?;
        self.is_closed = false;
        Some(alike)
    }

    /// Takes its framing off what [`Incoming::take_chunk`] has given.
    pub fn open(&mut self, rx: &mut RxBuf, chunk: Alike) {
        rx.consume(chunk.line.into());
        rx.truncate(rx.len().saturating_sub(END_OF_CHUNK.into()));
        (self.decoded, self.alike) = (rx.len(), Some(chunk));
    }

    /// The connection ended.
    ///
    /// # Errors
    /// [`Kind::UpstreamCut`] when the body was not complete (I2).
    pub fn end(&mut self) -> Result<(), Kind> {
        self.has_surplus = true; // nothing more can come over this connection
        self.is_done |= matches!(self.rest, Rest::UntilClose);
        if self.is_done {
            Ok(())
        } else {
            Err(Kind::UpstreamCut)
        }
    }

    /// Whether no more can be read.
    pub fn is_broken(&self) -> bool {
        matches!(self.rest, Rest::Broken)
    }

    /// The first `n` bytes of the body were passed on.
    pub fn passed(&mut self, rx: &mut RxBuf, n: usize) {
        rx.consume(n);
        self.decoded = self.decoded.saturating_sub(n);
    }
}

/// Until when more must have come of an answer that is held: then it has not begun, however
/// steadily it drips.
pub fn patience<H: Host>(
    course: &Course<'_, H>,
    asker: &impl Asker<H>,
    step: &Step<'_>,
    sent: Instant,
) -> (Instant, Kind) {
    let idle = course.shard.host.lately() + step.timeouts().idle;
    let begins = first_token(course, asker.patience(course), step, sent);
    if begins < idle {
        (begins, Kind::FirstTokenTimeout)
    } else {
        (idle, Kind::IdleTimeout)
    }
}

/// Reads once more of the body; new bytes, or `Ok(0)` when it is complete.
///
/// # Errors
/// The fault, also for silence beyond `until`.
pub async fn read_more<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    answer: &mut Answer<H>,
    body: &mut Incoming,
    (until, late): (Instant, Kind),
) -> Result<usize, Kind> {
    if body.is_broken() {
        return Err(Kind::UpstreamCut);
    }
    down.arm(until.min(course.total));
    loop {
        let (Answer { lease, rx, .. }, reading) = (&mut *answer, body.reading);
        let read = down.wait(move |cx| lease.poll_read_for(reading, cx, rx));
        match read.await {
            Wait::Done(Ok(1..)) => {
                let new = body.absorb_alike(&mut answer.rx, answer.lease.take_alike())?;
                if new > 0 || body.is_done {
                    return Ok(new);
                }
            }
            Wait::Done(Ok(_)) => return body.end().map(|()| 0),
            Wait::Done(Err(_)) => return Err(Kind::UpstreamCut),
            Wait::Gone => return Err(Kind::ClientGone),
            Wait::Late => return Err(course.late(late)),
        }
    }
}

/// Reads what has arrived already, without waiting; whether there was anything. An end is left
/// to [`read_more`].
///
/// # Errors
/// What arrived breaks the framing.
pub async fn read_here<H: Host>(answer: &mut Answer<H>, body: &mut Incoming) -> Result<bool, Kind> {
    let Answer { lease, rx, .. } = answer;
    if body.is_broken() {
        return Ok(false);
    }
    match poll_fn(|cx| Poll::Ready(lease.poll_read_here(body.reading, cx, rx))).await {
        Poll::Ready(Ok(1..)) => body.absorb_alike(rx, lease.take_alike()).map(|_| true),
        _ => Ok(false),
    }
}

/// What has come of the body of an answer of which nothing is consumed yet, without its framing,
/// and whether that is certainly all of it. The answer stays as it is.
pub fn body_so_far<H: Host>(answer: &Answer<H>) -> (Cow<'_, [u8]>, bool) {
    let raw = answer.rx.data().get(answer.head.len..).unwrap_or_default();
    match answer.head.framing {
        Framing::Length(length) => (raw.into(), length == raw.len() as u64),
        Framing::Chunked => {
            let mut chunks = raw.to_vec();
            let decoded = Chunked::new().decode(&mut chunks);
            let (length, is_done) = decoded.map_or((0, false), |it| (it.data, it.done));
            chunks.truncate(length);
            (chunks.into(), is_done)
        }
        _ => (raw.into(), false),
    }
}

/// What a waiting time means to a client: whole seconds from now. `value` is what a
/// provider sent as `Retry-After`: seconds, with or without a fraction, or a date
/// (RFC 9110, 10.2.3). Negative and senseless values are dropped, long ones cut to a day.
pub fn retry_after(value: &[u8], wall_seconds: u64) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?.trim();
    let seconds = if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        let seconds: f64 = text.parse().ok()?;
        Duration::try_from_secs_f64(seconds.ceil()).ok()?.as_secs()
    } else {
        let at = httpdate::parse_http_date(text).ok()?;
        at.duration_since(std::time::UNIX_EPOCH)
            .ok()?
            .as_secs()
            .saturating_sub(wall_seconds)
    };
    Some(seconds.min(RETRY_AFTER_MAX))
}

/// Whether a field of an answer reaches the client as it is (I3).
fn passes(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 4] = [
        b"openai-processing-ms",
        b"openai-version",
        b"retry-after-ms",
        b"content-language",
    ];
    const LIMITS: [&[u8]; 2] = [b"x-ratelimit-", b"anthropic-ratelimit-"];
    let starts = |limits: &&[u8]| {
        name.get(..limits.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(limits))
    };
    LIMITS.iter().any(starts) || NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// Writes the head of a delivered answer, up to the fields that frame its body.
pub fn put_answer_head<H: Host>(
    tx: &mut TxBuf,
    course: &Course<'_, H>,
    settle: &Settle<H>,
    step: &Step<'_>,
    (answer, data): (&Answer<H>, &[u8]),
    (status, dropped, manner): (u16, &str, Manner),
) {
    put_own_head(tx, course, settle, step, (status, dropped, manner));
    let head = &answer.head;
    // Limits and versions of another API would mean something else to this client.
    let is_own = step.provider.dialect.speaks() == course.route.dialect();
    let mut heeds = status >= 400;
    for (name, value) in head.fields(data) {
        if !passes(name) {
            continue;
        }
        heeds |= limits::may_matter(name, value);
        if is_own && !head.connection_lists(data, name) {
            put_field(tx, name, value);
        }
    }
    if heeds {
        limits::heed(course, step, (head, data));
    }
    let id = head.known(Known::XRequestId);
    if let Some(id) = id.or_else(|| head.known(Known::RequestId)) {
        put_own_field(tx, "x-upstream-request-id", id.bytes(data));
    }
    let wait = head.known(Known::RetryAfter).map(|span| span.bytes(data));
    let wall_seconds = course.shard.host.wall_nanos() / 1_000_000_000;
    if let Some(seconds) = wait.and_then(|value| retry_after(value, wall_seconds)) {
        put_decimal_field(tx, "retry-after", seconds);
    }
    if status >= 400 && settle.receipt.attempts > 1 {
        tx.put(b"x-should-retry: false\r\n");
    }
}

/// The part of it that is the gateway's own.
pub fn put_own_head<H: Host>(
    tx: &mut TxBuf,
    course: &Course<'_, H>,
    settle: &Settle<H>,
    step: &Step<'_>,
    (status, dropped, manner): (u16, &str, Manner),
) {
    put_status_line(tx, status);
    reply::put_common(tx, course.shard, settle.receipt.id, manner);
    let name = match course.route.dialect() {
        Dialect::Anthropic => "request-id",
        Dialect::Bedrock => "x-amzn-requestid",
        _ => "",
    };
    if !name.is_empty() {
        put_own_field(tx, name, settle.receipt.id.bytes());
    }
    put_own_field(tx, "x-shardgate-model", step.model.name.as_bytes());
    put_own_field(tx, "x-shardgate-target", step.provider.name.as_bytes());
    put_decimal_field(
        tx,
        "x-shardgate-attempts",
        u64::from(settle.receipt.attempts),
    );
    if let Some(cache) = settle.receipt.cache {
        put_own_field(tx, "x-shardgate-cache", cache.name().as_bytes());
        if let Some(told) = settle.cached.as_ref().and_then(|cached| cached.told) {
            put_decimal_field(tx, "age", told.age.as_secs());
            if let Some(similarity) = told.similarity {
                let text = format!("{similarity:.3}");
                put_own_field(tx, "x-shardgate-cache-similarity", text.as_bytes());
            }
        }
        if let Some(cached) = &settle.cached {
            put_own_field(tx, "x-shardgate-cache-key", &cached.print.key.digits());
        }
    }
    if let Some(fallback) = step.fallback {
        put_own_field(tx, "x-shardgate-fallbacks", fallback.as_bytes());
    }
    if !dropped.is_empty() {
        put_own_field(tx, "x-shardgate-dropped", dropped.as_bytes());
    }
    put_times(tx, course, settle);
}

/// The gateway's own time, and the provider's.
fn put_times<H: Host>(tx: &mut TxBuf, course: &Course<'_, H>, settle: &Settle<H>) {
    let took = course.shard.host.now().since(settle.receipt.began);
    let upstream = settle.receipt.upstream;
    let own = u64::try_from(took.saturating_sub(upstream).as_micros()).unwrap_or(u64::MAX);
    put_decimal_field(tx, "x-shardgate-overhead-us", own);
    let upstream = u64::try_from(upstream.as_micros()).unwrap_or(u64::MAX);
    let mut digits = [itoa::Buffer::new(); 4];
    let [a, b, c, d] = &mut digits;
    tx.put_all([
        b"server-timing: gateway;dur=",
        a.format(own / 1000).as_bytes(),
        point(own),
        b.format(own % 1000).as_bytes(),
        b", upstream;dur=",
        c.format(upstream / 1000).as_bytes(),
        point(upstream),
        d.format(upstream % 1000).as_bytes(),
        b"\r\n",
    ]);
}

/// What stands between the milliseconds and the rest of the microseconds, which has three
/// digits behind a point.
fn point(micros: u64) -> &'static [u8] {
    match micros % 1000 {
        0..10 => b".00",
        10..100 => b".0",
        _ => b".",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;
    use crate::wire::http1::{HeadLimits, Method, ResponseReader};

    /// Goal: every form of Retry-After becomes whole seconds or nothing.
    #[test]
    fn every_form_of_retry_after_becomes_seconds_or_nothing() {
        let now = 784_111_777; // Sun, 06 Nov 1994 08:49:37 GMT
        for (value, want) in [
            ("7", Some(7)),
            ("1.5", Some(2)),
            ("0", Some(0)),
            ("99999999999", Some(86_400)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("-3", None),
            ("soon", None),
            ("", None),
            ("1.2.3", None),
        ] {
            assert_eq!(retry_after(value.as_bytes(), now), want, "{value}");
        }
    }

    /// Goal: what came before a break in the framing counts, however the bytes were cut.
    /// Method: a broken body cut at every place; what was decoded is the same.
    #[test]
    fn what_came_before_a_break_counts_however_it_was_cut() {
        let wire =
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\nZZ\r\n";
        let mut reader = ResponseReader::new(HeadLimits::RESPONSE, Method::Post);
        let head = reader.push(wire).unwrap().unwrap();
        let raw = &wire[head.len..];
        for cut in 0..=raw.len() {
            let mut rx = RxBuf::new(&BufPool::new());
            let mut body = Incoming::new(&head);
            for piece in [&raw[..cut], &raw[cut..]] {
                rx.put(piece);
                if body.is_broken() || body.absorb(&mut rx).is_err() {
                    break;
                }
            }
            rx.truncate(body.decoded);
            assert_eq!(rx.data(), b"abcde", "cut at {cut}");
            rx.put(b"more");
            assert!(
                body.absorb(&mut rx).is_err(),
                "nothing is read behind a break"
            );
        }
    }

    /// Goal: I3.
    #[test]
    fn only_listed_fields_pass() {
        for name in [
            "x-ratelimit-remaining-tokens",
            "X-RateLimit-Reset-Requests",
            "openai-version",
        ] {
            assert!(passes(name.as_bytes()), "{name}");
        }
        for name in [
            "set-cookie",
            "openai-organization",
            "x-rate",
            "connection",
            "location",
        ] {
            assert!(!passes(name.as_bytes()), "{name}");
        }
    }
}
