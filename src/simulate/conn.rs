//! One connection to a simulated provider: requests in, answers out, until somebody ends it.
//!
//! ```text
//!   read head ─► read body ─► plan ─► wait ─► answer ─┬─► next request
//!      ▲                               └ client gone? ┴─► close │ reset
//! ```
//!
//! Invariants
//! - I1 While an answer waits or is paced, the reading side is watched: a client that goes
//!   away is seen at once, counted and stamped.
//! - I2 Every request that was read adds to exactly one of the counters of its end.

use super::behave::{Behaviour, Close, Fate};
use super::plan::{Plan, Reply, Request};
use super::provider::{Frame, Head, Provider};
use super::refusal::Refusal;
use super::stats::Count;
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::time::Instant;
use crate::dialect::model::Dialect;
use crate::host::{Host, Link, flush, read};
use crate::wire::http1::{
    Chunked, END_OF_HEAD, Framing, HeadLimits, RequestHead, RequestReader, put_decimal_field,
    put_status_line,
};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Largest request body, in bytes.
pub(super) const BODY_MAX: usize = 64 << 20;

/// Longest silence of `stall`.
pub(super) const STALL_MAX: Duration = Duration::from_secs(3600);

/// Most bytes that are read ahead of an answer that is under way.
const AHEAD_MAX: usize = 64 << 10;

/// How long a closed connection is read on, so that what was sent last is not torn down by
/// a reset (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_millis(500);

/// The client went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Another request.
    Request,
    /// FIN.
    Close,
    /// RST.
    Reset,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn<H: Host> {
    pub(super) host: H,
    pub(super) provider: Rc<Provider>,
    pub(super) tx: TxBuf,
    link: H::Stream,
    rx: RxBuf,
}

/// Serves `link` until it ends.
pub(super) async fn run<H: Host>(host: H, provider: Rc<Provider>, link: H::Stream) {
    let row = provider.row();
    row.connections.add(1);
    let _open = Open::count(&row.connections_open);
    let mut conn = Conn {
        rx: RxBuf::new(&provider.pool),
        tx: TxBuf::new(&provider.pool),
        host,
        provider: Rc::clone(&provider),
        link,
    };
    loop {
        match conn.request().await {
            Ok(Next::Request) => {}
            Ok(Next::Close) => return conn.close().await,
            Ok(Next::Reset) => return conn.link.reset(),
            Err(Gone) => return,
        }
    }
}

/// Counts something while it is there.
pub(super) struct Open<'c>(&'c Count);

impl<'c> Open<'c> {
    pub(super) fn count(count: &'c Count) -> Self {
        count.add(1);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

impl<H: Host> Conn<H> {
    /// Reads one request and answers it.
    async fn request(&mut self) -> Result<Next, Gone> {
        let Some(head) = self.head().await? else {
            return self.refuse(400).await;
        };
        let plan = match head.framing {
            Framing::None => self.plan(&head, 0),
            Framing::Length(bytes) => {
                match usize::try_from(bytes).ok().filter(|n| *n <= BODY_MAX) {
                    Some(bytes) => {
                        self.body(&head, bytes).await?;
                        self.plan(&head, bytes)
                    }
                    None => return self.refuse(413).await,
                }
            }
            Framing::Chunked | Framing::UntilClose => {
                let bytes = self.rx.data().get(..head.len).unwrap_or_default().to_vec();
                self.welcome(&head).await?;
                self.rx.consume(head.len);
                match self.chunks().await? {
                    Some(body) => self.plan_of(&head, &bytes, &body),
                    None => return self.refuse(400).await,
                }
            }
        };
        let row = Rc::clone(&self.provider);
        let row = row.row();
        let outcome = self.answer(&plan).await;
        if plan.counts && outcome == Err(Gone) {
            // Before the count: who sees the count may ask when.
            row.last_cancelled_unix_ns.set(self.host.wall_nanos());
            row.cancelled.add(1); // I2
        }
        outcome
    }

    /// A head; `None` when what came is none.
    async fn head(&mut self) -> Result<Option<RequestHead>, Gone> {
        let mut reader = RequestReader::new(HeadLimits::REQUEST);
        loop {
            if !self.rx.is_empty() {
                match reader.push(self.rx.data()) {
                    Ok(Some(head)) => return Ok(Some(head)),
                    Ok(None) => {}
                    Err(_) => return Ok(None),
                }
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), Gone> {
        match read(&mut self.link, &mut self.rx).await {
            Ok(0) | Err(_) => Err(Gone),
            Ok(got) => {
                self.provider.row().bytes_in.add(got as u64);
                Ok(())
            }
        }
    }

    /// Waits until `bytes` bytes of body stand behind the head.
    async fn body(&mut self, head: &RequestHead, bytes: usize) -> Result<(), Gone> {
        let whole = head.len + bytes;
        if self.rx.len() < whole {
            self.welcome(head).await?;
            self.rx.reserve(whole - self.rx.len());
        }
        while self.rx.len() < whole {
            self.more().await?;
        }
        Ok(())
    }

    /// Says `100 Continue` to a client that waits for it.
    async fn welcome(&mut self, head: &RequestHead) -> Result<(), Gone> {
        if head.expects_continue && self.rx.len() == head.len {
            put_status_line(&mut self.tx, 100);
            self.tx.put(END_OF_HEAD);
            self.send(Duration::ZERO).await?;
        }
        Ok(())
    }

    /// A chunked body; `None` when it is broken or too large.
    async fn chunks(&mut self) -> Result<Option<Vec<u8>>, Gone> {
        let (mut chunked, mut body) = (Chunked::new(), Vec::new());
        loop {
            if self.rx.is_empty() {
                self.more().await?;
            }
            let Ok(decoded) = chunked.decode(self.rx.data_mut()) else {
                return Ok(None);
            };
            body.extend_from_slice(self.rx.data().get(..decoded.data).unwrap_or_default());
            self.rx.consume(decoded.used);
            if decoded.done {
                return Ok(Some(body));
            }
            if body.len() > BODY_MAX {
                return Ok(None);
            }
        }
    }

    /// The plan for the request at the start of what was read, which is then consumed.
    fn plan(&mut self, head: &RequestHead, body: usize) -> Plan {
        let data = self.rx.data();
        let bytes = data.get(..head.len).unwrap_or_default();
        let rest = data.get(head.len..head.len + body).unwrap_or_default();
        let plan = self.plan_of(head, bytes, rest);
        self.rx.consume(head.len + body);
        plan
    }

    fn plan_of(&self, head: &RequestHead, bytes: &[u8], body: &[u8]) -> Plan {
        let nanos = self.host.wall_nanos();
        let request = Request {
            head,
            bytes,
            body,
            seconds: nanos / 1_000_000_000,
        };
        let plan = Plan::of(&self.provider, request);
        if plan.counts {
            let row = self.provider.row();
            row.requests.add(1);
            if let Some(dialect) = plan.dialect {
                row.requests_in(dialect).add(1);
            }
            row.last_request_unix_ns.set(nanos);
        }
        plan
    }

    async fn answer(&mut self, plan: &Plan) -> Result<Next, Gone> {
        let begun = self.host.now();
        let how = &plan.how;
        self.pause(begun + how.delay).await?;
        match how.fate {
            Fate::Stall(None) => self.pause(self.host.now() + STALL_MAX).await?,
            Fate::BadHead => {
                self.tx.put(b"HTTP/1.1 2OO Okay\nthis is no head\n\n");
                self.send(how.drip).await?;
            }
            _ => {}
        }
        match how.fate {
            Fate::Stall(None) | Fate::BadHead | Fate::Cut(None) => Ok(self.broken(Next::Close)),
            Fate::Reset(None) => Ok(self.broken(Next::Reset)),
            _ => match &plan.reply {
                Reply::Stream(script) => self.stream(plan, script, begun).await,
                Reply::Speech(speech) => self.recite(plan, speech, begun).await,
                Reply::Plain { .. } => self.plain(plan, begun).await,
            },
        }
    }

    async fn plain(&mut self, plan: &Plan, begun: Instant) -> Result<Next, Gone> {
        let Reply::Plain { status, mime, body } = &plan.reply else {
            return Ok(Next::Close);
        };
        let how = &plan.how;
        if *status == 200 {
            self.pause(begun + how.ttft).await?;
        }
        let bad_chunk = matches!(how.fate, Fate::BadChunk(_));
        let framing = if bad_chunk {
            Frame::Chunked
        } else {
            Frame::Length(body.len())
        };
        self.put_head(plan, *status, mime, framing);
        if bad_chunk {
            self.tx.put(BAD_CHUNK);
            self.send(how.drip).await?;
            return Ok(self.broken(Next::Close));
        }
        if let Fate::Stall(_) | Fate::Cut(_) | Fate::Reset(_) = how.fate {
            let mut whole = TxBuf::new(&self.provider.pool);
            body.put(&mut whole, &self.provider.words);
            let half = whole.unsent().get(..whole.len() / 2).unwrap_or_default();
            self.tx.put(half);
            self.send(how.drip).await?;
            return self.strike(how).await;
        }
        body.put(&mut self.tx, &self.provider.words);
        self.send(how.drip).await?;
        if plan.counts {
            let row = self.provider.row(); // I2
            match how.fate {
                Fate::Malformed(_) | Fate::ErrorEvent(_) => row.broken.add(1),
                _ if *status >= 400 => row.failed.add(1),
                _ => row.answered.add(1),
            }
        }
        Ok(next(plan))
    }

    /// What a stall, cut or reset does once everything before it is sent.
    pub(super) async fn strike(&mut self, how: &Behaviour) -> Result<Next, Gone> {
        match how.fate {
            Fate::Reset(_) => Ok(self.broken(Next::Reset)),
            Fate::Stall(_) => {
                self.pause(self.host.now() + STALL_MAX).await?;
                Ok(self.broken(Next::Close))
            }
            _ => Ok(self.broken(Next::Close)),
        }
    }

    pub(super) fn broken(&self, next: Next) -> Next {
        self.provider.row().broken.add(1); // I2
        next
    }

    pub(super) fn put_head(&mut self, plan: &Plan, status: u16, mime: &'static str, frame: Frame) {
        let head = Head {
            status,
            dialect: plan.manners.unwrap_or(Dialect::Chat),
            mime,
            id: plan.id,
            framing: frame,
            close: plan.close,
            is_http10: plan.is_http10,
            retry_after: plan.how.retry_after,
            allow: plan.allow,
        };
        let wall = self.host.wall_nanos();
        self.provider.put_head(&mut self.tx, &head, wall);
    }

    /// Sends all of `tx`; byte by byte, `drip` apart, when that is not zero.
    pub(super) async fn send(&mut self, drip: Duration) -> Result<(), Gone> {
        self.provider.row().bytes_out.add(self.tx.len() as u64);
        if drip.is_zero() {
            return flush(&mut self.link, &mut self.tx).await.map_err(|_| Gone);
        }
        let bytes = self.tx.unsent().to_vec();
        self.tx.clear();
        for byte in bytes {
            self.tx.put(&[byte]);
            flush(&mut self.link, &mut self.tx)
                .await
                .map_err(|_| Gone)?;
            self.pause(self.host.now() + drip).await?;
        }
        Ok(())
    }

    /// Waits until `until`, watching for the client's end (I1).
    pub(super) async fn pause(&mut self, until: Instant) -> Result<(), Gone> {
        if self.host.now() >= until {
            return Ok(());
        }
        let mut timer = pin!(self.host.sleep_until(until));
        let (link, rx, row) = (&mut self.link, &mut self.rx, self.provider.row());
        poll_fn(|cx| {
            if timer.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            while rx.len() < AHEAD_MAX {
                match link.poll_read(cx, rx) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Gone)),
                    Poll::Ready(Ok(got)) => row.bytes_in.add(got as u64),
                    Poll::Pending => break,
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Answers what cannot be understood as a request; nothing can follow it.
    async fn refuse(&mut self, status: u16) -> Result<Next, Gone> {
        let body = Refusal::of(status).body("");
        put_status_line(&mut self.tx, status);
        self.tx
            .put(b"content-type: application/json\r\nconnection: close\r\n");
        put_decimal_field(&mut self.tx, "content-length", body.len() as u64);
        self.tx.put(END_OF_HEAD);
        self.tx.put(body.as_bytes());
        let row = self.provider.row();
        row.requests.add(1);
        row.failed.add(1); // I2
        self.send(Duration::ZERO).await?;
        Ok(Next::Close)
    }

    /// FIN, and then reading on for a while.
    async fn close(mut self) {
        self.link.finish();
        self.rx.clear();
        let until = self.host.now() + LINGER;
        for _ in 0..64 {
            if self.pause(until).await.is_err() || self.host.now() >= until {
                break;
            }
            self.rx.clear();
        }
    }
}

/// A chunk size that is none.
pub(super) const BAD_CHUNK: &[u8] = b"zz\r\nthis is no chunk\r\n";

/// What follows an answer that was given in full.
pub(super) fn next(plan: &Plan) -> Next {
    match plan.close {
        Close::Never => Next::Request,
        _ => Next::Close,
    }
}
