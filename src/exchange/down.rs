//! The client's side of a connection.
//!
//! Invariants
//! - I1 While an exchange waits for its provider the client's side is read, so that its
//!   going away is seen at once; what it sends ahead (pipelined requests) is kept, at most
//!   [`AHEAD_MAX`] bytes plus one read.
//! - I2 At rest no block is held, and nothing of a request.

use super::request::Request;
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::time::Instant;
use crate::host::{Host, Link};
use crate::shard::Shard;
use crate::shard::deadline::Timer;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

/// Bytes that a client may send ahead of the answer before they are left in the socket.
pub const AHEAD_MAX: usize = 16 << 10;

/// What a wait came to.
#[derive(Debug)]
pub enum Wait<T> {
    /// What was waited for.
    Done(T),
    /// The client went away.
    Gone,
    /// The deadline passed.
    Late,
}

/// The client's side of a connection.
#[derive(Debug)]
pub struct Down<L> {
    /// Its byte stream.
    pub link: L,
    /// What arrived: the request that is being served, from its first byte.
    pub rx: RxBuf,
    /// What arrived while the exchange was under way.
    ahead: RxBuf,
    /// What goes out.
    pub tx: TxBuf,
    /// The one timer of this connection.
    pub timer: Timer,
    /// The request that a model is asked with, until nothing of it can be needed again.
    pub request: Option<Box<Request>>,
    /// Bytes of `rx` that belong to the request being served.
    used: usize,
    is_gone: bool,
}

impl<L: Link> Down<L> {
    /// A fresh connection of `shard`.
    pub fn new<H: Host<Stream = L>>(shard: &Rc<Shard<H>>, link: L) -> Self {
        Self {
            link,
            rx: RxBuf::new(&shard.buffers),
            ahead: RxBuf::new(&shard.buffers),
            tx: TxBuf::new(&shard.buffers),
            timer: shard.deadlines.timer(),
            request: None,
            used: 0,
            is_gone: false,
        }
    }

    /// Reads more of a request into `rx`; `Late` at the timer's deadline.
    pub async fn read_more(&mut self) -> Wait<io::Result<usize>> {
        self.read_unless(|| false).await
    }

    /// The same; `Late` also when nothing is there and `is_over`.
    pub async fn read_unless(&mut self, is_over: impl Fn() -> bool) -> Wait<io::Result<usize>> {
        let Self {
            link, rx, timer, ..
        } = self;
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = link.poll_read(cx, rx) {
                return Poll::Ready(Wait::Done(outcome));
            }
            if is_over() {
                return Poll::Ready(Wait::Late);
            }
            timer.poll_fired(cx).map(|()| Wait::Late)
        })
        .await
    }

    /// Waits for `poll`, for the client to go away, or for the timer.
    pub async fn wait<T>(&mut self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Wait<T> {
        poll_fn(|cx| {
            if let Poll::Ready(value) = poll(cx) {
                return Poll::Ready(Wait::Done(value));
            }
            if self.poll_gone(cx).is_ready() {
                return Poll::Ready(Wait::Gone);
            }
            self.timer.poll_fired(cx).map(|()| Wait::Late)
        })
        .await
    }

    /// Sends all of `tx`; `Gone` when the client does not take it.
    pub async fn flush(&mut self) -> Wait<()> {
        let Self {
            link,
            tx,
            timer,
            is_gone,
            ..
        } = self;
        poll_fn(|cx| match link.poll_flush(cx, tx) {
            Poll::Ready(Ok(())) => Poll::Ready(Wait::Done(())),
            Poll::Ready(Err(_)) => {
                *is_gone = true;
                Poll::Ready(Wait::Gone)
            }
            Poll::Pending => timer.poll_fired(cx).map(|()| Wait::Late),
        })
        .await
    }

    /// Ready when the client is gone: FIN or an error. A client that sends FIN after its
    /// request is taken to have left, since nothing tells the two apart, and a provider
    /// that generates for nobody costs money.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_gone {
            if self.ahead.len() >= AHEAD_MAX {
                return Poll::Pending; // I1
            }
            match self.link.poll_read(cx, &mut self.ahead) {
                Poll::Ready(Ok(0) | Err(_)) => self.is_gone = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }

    /// Whether the client went away.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// The first `used` bytes of `rx` are the request that is served now.
    pub fn begin_request(&mut self, used: usize) {
        self.used = used;
    }

    /// The request is not needed any more: it and its bytes are dropped, and what came ahead
    /// takes their place. May be called again.
    pub fn end_request(&mut self) {
        self.request = None;
        self.rx.consume(std::mem::take(&mut self.used));
        if !self.ahead.is_empty() {
            self.rx.put(self.ahead.data());
            self.ahead.clear();
        }
    }

    /// Sends FIN and swallows what still comes until the client closes or `until`, so that
    /// the last answer is not destroyed by a reset (RFC 9112, 9.6).
    pub async fn linger(&mut self, until: Instant) {
        self.link.finish();
        self.timer.arm(until);
        self.rx.clear();
        self.ahead.clear();
        while let Wait::Done(Ok(1..)) = self.read_more().await {
            self.rx.clear();
        }
    }
}
