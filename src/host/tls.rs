//! TLS over any host: [`Secure`] is a host whose streams may be started on TLS.
//!
//! ```text
//!   poll_read   rx ◄── plain ── Session ◄── raw ◄── link.poll_read
//!   poll_flush  tx ──► Session ── out ──► link.poll_flush
//! ```
//!
//! A stream without TLS costs one look at an `Option` a call. One flush of at most 16 KiB is
//! one record, so an event that is pushed alone travels in a record of its own.
//!
//! Invariants
//! - I1 What is in flight lives here (`raw`, `early`, `out`), never in a future.
//! - I2 A stream that waits holds no block: `raw` has part of a record or nothing, `out` is
//!   empty, `early` too once it was read.
//! - I3 An end of the connection without `close_notify` is an error, not an end.

use super::{Host, Link};
use crate::base::bufpool::BufPool;
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::time::Instant;
use crate::stats::counters::Latency;
use crate::wire::tls::fault::Broken;
use crate::wire::tls::{Buffers, Session};
use rustls::Error;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, Waker, ready};

/// A host whose streams may be started on TLS.
#[derive(Clone, Debug)]
pub struct Secure<H>(pub H);

impl<H: Host> Host for Secure<H> {
    type Stream = Stream<H::Stream>;
    type Listener = H::Listener;

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn lately(&self) -> Instant {
        self.0.lately()
    }

    fn wall_nanos(&self) -> u64 {
        self.0.wall_nanos()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        self.0.sleep_until(at)
    }

    fn listen(&self, at: SocketAddr) -> io::Result<H::Listener> {
        self.0.listen(at)
    }

    fn listen_on(&self, fd: OwnedFd) -> io::Result<H::Listener> {
        self.0.listen_on(fd)
    }

    fn local_addr(&self, listener: &H::Listener) -> io::Result<SocketAddr> {
        self.0.local_addr(listener)
    }

    async fn accept(&self, on: &H::Listener) -> io::Result<Self::Stream> {
        self.0.accept(on).await.map(Stream::new)
    }

    async fn accept_last(&self, on: &H::Listener) -> Option<Self::Stream> {
        self.0.accept_last(on).await.map(Stream::new)
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<Self::Stream> {
        self.0.connect(to).await.map(Stream::new)
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.spawn(task);
    }

    fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }

    fn stalls(&self) -> Option<Latency> {
        self.0.stalls()
    }

    fn breathe(&self) -> impl Future<Output = ()> {
        self.0.breathe()
    }
}

/// A byte stream, plain or inside of TLS.
#[derive(Debug)]
pub struct Stream<L> {
    link: L,
    tls: Option<Box<Tls>>,
}

/// What TLS adds to a stream.
#[derive(Debug)]
struct Tls {
    session: Session,
    /// Records that have arrived.
    raw: RxBuf,
    /// Plain bytes that came when nobody read.
    early: RxBuf,
    /// Records to be sent.
    out: TxBuf,
    /// Whether a first byte has arrived.
    has_begun: bool,
    /// Nothing can be read or written any more.
    is_broken: bool,
}

impl<L: Link> Stream<L> {
    /// Plain.
    pub fn new(link: L) -> Self {
        Self { link, tls: None }
    }
}

impl Tls {
    /// Takes in what has arrived; plain bytes go to `rx`, or are kept.
    fn take_in(&mut self, rx: Option<&mut RxBuf>) -> Result<(), Error> {
        let mut buffers = Buffers {
            raw: &mut self.raw,
            rx: rx.unwrap_or(&mut self.early),
            out: &mut self.out,
        };
        let outcome = self.session.take_in(&mut buffers);
        self.is_broken |= outcome.is_err();
        outcome
    }

    fn seal(&mut self, tx: &mut TxBuf) -> Result<(), Error> {
        let mut buffers = Buffers {
            raw: &mut self.raw,
            rx: &mut self.early,
            out: &mut self.out,
        };
        let outcome = self.session.seal(&mut buffers, tx);
        self.is_broken |= outcome.is_err();
        outcome
    }

    fn poll_read<L: Link>(
        &mut self,
        link: &mut L,
        cx: &mut Context<'_>,
        rx: &mut RxBuf,
    ) -> Poll<io::Result<usize>> {
        if !self.early.is_empty() {
            let len = self.early.len();
            rx.put(self.early.data());
            self.early.clear();
            return Poll::Ready(Ok(len));
        }
        loop {
            if self.session.has_ended() {
                return Poll::Ready(Ok(0));
            }
            if self.is_broken {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            // Tickets, key updates, alerts: they go when there is room for them.
            if !self.out.is_empty()
                && let Poll::Ready(Err(error)) = link.poll_flush(cx, &mut self.out)
            {
                return Poll::Ready(Err(error));
            }
            if ready!(link.poll_read(cx, &mut self.raw))? == 0 {
                self.is_broken = true; // I3
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let before = rx.len();
            let outcome = self.take_in(Some(rx));
            if rx.len() > before {
                return Poll::Ready(Ok(rx.len() - before)); // a fault comes at the next call
            }
            if let Err(error) = outcome {
                self.tell(link, cx);
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error)));
            }
        }
    }

    fn poll_flush<L: Link>(
        &mut self,
        link: &mut L,
        cx: &mut Context<'_>,
        tx: &mut TxBuf,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(link.poll_flush(cx, &mut self.out))?;
            if tx.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.is_broken || self.seal(tx).is_err() {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
    }

    fn poll_handshake<L: Link>(
        &mut self,
        link: &mut L,
        cx: &mut Context<'_>,
    ) -> Poll<Result<bool, Broken>> {
        loop {
            if let Err(error) = self.take_in(None) {
                self.tell(link, cx);
                return Poll::Ready(Err(Broken::Tls(error)));
            }
            if ready!(link.poll_flush(cx, &mut self.out)).is_err() {
                return Poll::Ready(Err(Broken::Closed));
            }
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(self.session.is_resumed()));
            }
            match ready!(link.poll_read(cx, &mut self.raw)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Closed)),
            }
            // No type of a record is a letter (RFC 8446, 5.1), every method begins with one.
            let is_first = !std::mem::replace(&mut self.has_begun, true);
            let first = self.raw.data().first();
            if is_first && self.session.is_server() && first.is_some_and(u8::is_ascii_alphabetic) {
                return Poll::Ready(Err(Broken::PlainHttp));
            }
        }
    }

    /// Sends what the peer takes at once of an alert; who is refused may well be gone.
    fn tell<L: Link>(&mut self, link: &mut L, cx: &mut Context<'_>) {
        if link.poll_flush(cx, &mut self.out).is_ready() {}
    }

    /// Sends `close_notify`, as far as it is taken at once: a peer that takes nothing finds
    /// its stream cut.
    fn finish<L: Link>(&mut self, link: &mut L) {
        if self.is_broken || self.session.is_handshaking() {
            return;
        }
        let mut buffers = Buffers {
            raw: &mut self.raw,
            rx: &mut self.early,
            out: &mut self.out,
        };
        if self.session.close(&mut buffers).is_ok() {
            self.tell(link, &mut Context::from_waker(Waker::noop()));
        }
    }
}

impl<L: Link> Link for Stream<L> {
    fn poll_read(&mut self, cx: &mut Context<'_>, rx: &mut RxBuf) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            None => self.link.poll_read(cx, rx),
            Some(tls) => tls.poll_read(&mut self.link, cx, rx),
        }
    }

    fn poll_read_in_place(
        &mut self,
        cx: &mut Context<'_>,
        rx: &mut RxBuf,
    ) -> Poll<io::Result<usize>> {
        match &mut self.tls {
            None => self.link.poll_read_in_place(cx, rx),
            Some(tls) => tls.poll_read(&mut self.link, cx, rx),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, tx: &mut TxBuf) -> Poll<io::Result<()>> {
        match &mut self.tls {
            None => self.link.poll_flush(cx, tx),
            Some(tls) => tls.poll_flush(&mut self.link, cx, tx),
        }
    }

    fn try_send(&mut self, parts: &[IoSlice<'_>]) -> usize {
        match &self.tls {
            None => self.link.try_send(parts),
            Some(_) => 0,
        }
    }

    fn hand_over(&mut self, tx: &mut TxBuf) -> io::Result<bool> {
        match &self.tls {
            None => self.link.hand_over(tx),
            Some(_) => Ok(false),
        }
    }

    fn finish(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.finish(&mut self.link);
        }
        self.link.finish();
    }

    fn reset(&mut self) {
        self.link.reset();
    }

    fn start_tls(&mut self, session: Session, pool: &BufPool) -> bool {
        self.tls = Some(Box::new(Tls {
            session,
            raw: RxBuf::new(pool),
            early: RxBuf::new(pool),
            out: TxBuf::new(pool),
            has_begun: false,
            is_broken: false,
        }));
        true
    }

    fn stop_tls(&mut self) {
        self.tls = None;
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        match &mut self.tls {
            None => Poll::Ready(Ok(false)),
            Some(tls) => tls.poll_handshake(&mut self.link, cx),
        }
    }

    fn holds_part(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.raw.is_empty())
    }
}
