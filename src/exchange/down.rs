//! The client's side of a connection.
//!
//! Invariants
//! - I1 While an exchange waits for its provider the client's side is read, so that its
//!   going away is seen at once; what it sends ahead (pipelined requests) is kept, at most
//!   [`AHEAD_MAX`] bytes plus one read.
//! - I2 What fills the silence of a stream goes out before anything else.
//! - I3 At rest no block is held, and nothing of a request.
//! - I4 A client that is gone is no reason to call off what others wait for, too: until there is
//!   an answer, the exchange goes on without it while one of them waits.

use super::pulse::{Beat, Pulse};
use super::request::Request;
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::fault::Kind;
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
    /// What fills the silence of a stream.
    pub pulse: Option<Box<Pulse>>,
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
            pulse: None,
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

    /// The waits that follow end at `until`.
    pub fn arm(&mut self, until: Instant) {
        let at = match &mut self.pulse {
            Some(pulse) => pulse.wait_until(until),
            None => until,
        };
        self.timer.arm(at);
    }

    /// Waits for `poll`, for the client to go away if nobody else waits (I4), or for the end set by
    /// [`Down::arm`].
    pub async fn wait<T>(&mut self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Wait<T> {
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(value) = poll(cx) {
                    return Poll::Ready(Wait::Done(value));
                }
                if self.poll_gone(cx).is_ready() && !self.is_missed(cx) {
                    return Poll::Ready(Wait::Gone);
                }
                let is_due = self.timer.poll_fired(cx).is_ready();
                if self.pulse.is_some() && !self.beat(cx, is_due) {
                    continue; // gone
                }
                if !is_due {
                    return Poll::Pending;
                }
                if self.timer.poll_fired(cx).is_ready() {
                    return Poll::Ready(Wait::Late);
                }
            }
        })
        .await
    }

    /// Whether others wait for what comes of the exchange whose client is gone (I4).
    #[cold]
    fn is_missed(&mut self, cx: &Context<'_>) -> bool {
        let wanted = self.request.as_ref().and_then(|it| it.wanted.as_ref());
        let rewrite = wanted.and_then(|wanted| wanted.rewrite.as_deref());
        let crowd = rewrite.and_then(|rewrite| rewrite.crowd.as_deref());
        let is_missed = crowd.is_some_and(|crowd| crowd.poll_empty(cx).is_pending());
        if is_missed && let Some(pulse) = self.pulse.take() {
            self.timer.arm(pulse.until()); // nobody is told that it goes on
        }
        is_missed
    }

    /// Fills the silence when that is due, and arms the timer anew; false when the client is
    /// gone.
    fn beat(&mut self, cx: &mut Context<'_>, is_due: bool) -> bool {
        let Some(pulse) = &mut self.pulse else {
            return true;
        };
        if is_due {
            match pulse.beat() {
                Beat::End => return true,
                Beat::Next(next) => self.timer.arm(next),
                Beat::Gone => self.is_gone = true,
            }
        }
        if let Poll::Ready(Err(_)) = pulse.poll_flush(&mut self.link, cx) {
            self.is_gone = true;
        }
        !self.is_gone
    }

    /// Something was sent at `now`, so that silence begins anew; gives `now` back.
    pub fn rest(&mut self, now: Instant) -> Instant {
        if let Some(pulse) = &mut self.pulse {
            pulse.rest(now);
        }
        now
    }

    /// Whether the head of a stream went out before its content.
    pub fn has_begun(&self) -> bool {
        self.pulse.as_ref().is_some_and(|pulse| pulse.has_begun())
    }

    /// [`Link::hand_over`] of all of `tx`.
    ///
    /// # Errors
    /// [`Kind::ClientGone`].
    pub fn hand_over(&mut self) -> Result<bool, Kind> {
        if !self.is_free() {
            return Ok(false);
        }
        let taken = self.link.hand_over(&mut self.tx);
        self.is_gone |= taken.is_err();
        taken.map_err(|_| Kind::ClientGone)
    }

    /// Whether nothing of the pulse has to go out first.
    pub fn is_free(&self) -> bool {
        self.pulse.as_ref().is_none_or(|pulse| !pulse.is_busy())
    }

    /// Sends all of `tx`; `Gone` when the client does not take it.
    pub async fn flush(&mut self) -> Wait<()> {
        let Self {
            link,
            tx,
            timer,
            is_gone,
            pulse,
            ..
        } = self;
        poll_fn(|cx| {
            let before = match pulse {
                Some(pulse) => pulse.poll_flush(link, cx), // I2
                None => Poll::Ready(Ok(())),
            };
            let sent = match before {
                Poll::Ready(Ok(())) => link.poll_flush(cx, tx),
                other => other,
            };
            match sent {
                Poll::Ready(Ok(())) => Poll::Ready(Wait::Done(())),
                Poll::Ready(Err(_)) => {
                    *is_gone = true;
                    Poll::Ready(Wait::Gone)
                }
                Poll::Pending => timer.poll_fired(cx).map(|()| Wait::Late),
            }
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

    /// What came while something else was waited for goes behind what came before: the request
    /// goes on there.
    pub fn rejoin(&mut self) {
        if !self.ahead.is_empty() {
            self.rx.put(self.ahead.data());
            self.ahead.clear();
        }
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
        self.rejoin();
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
