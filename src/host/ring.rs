//! The production host on an own completion ring per shard, inside glommio's executor.
//!
//! ```text
//!   task ── poll_read ──► recv ─┐                     ┌─► waker ──► task runs
//!   task ── poll_flush ─► send ─┤  submission   reap  │
//!                               └──► [ pump: enter ] ─┘
//!
//!   pump   settle: let tasks run until none asks for anything new
//!          enter:  submit, and wait for a first completion; the alarm is one
//!          alarm:  wake sleepers that are due; nothing came since the last one? park
//!          visit:  each VISIT, or when a message came, let glommio look at its channels
//!          park:   the ring's bell and the next sleeper's time are awaited in glommio
//! ```
//!
//! glommio keeps executor, channels and blocking pool; sockets live here, and sleepers: a
//! wait with a deadline of its own would set up and take down a kernel timer each time, so
//! one alarm in the ring serves all.
//!
//! Invariants
//! - I1 What is in flight is owned by the ring ([`sys::Ring`]); a link has keys only. So a
//!   future may be dropped at any step, and a link too.
//! - I2 A link that waits owns no memory: receives take a block when the bytes are there.
//! - I3 A parked pump is woken by every new operation and by every completion.
//! - I4 A sleeper is late by at most [`ALARM`]. A message of another executor is noticed at
//!   once (its sender rings the ring's doorbell), anything else of glommio's within [`VISIT`].
//! - I5 A pump that had nothing to do for two alarms is parked: an idle shard uses no CPU.

mod pump;
mod timers;

use super::bell::Bell;
use super::{Host, Link, clock, listen, mesh};
use crate::base::bufpool::{Block, BufPool};
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::time::Instant;
use crate::stats::counters::Latency;
use crate::sys::ring::{self as sys, Key, Landed};
use pump::Pump;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, Shutdown, sockopt};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use timers::{Sleep, Timers};

/// Time between two alarms while there is traffic. Deadlines are rounded to as much anyway
/// (`shard::deadline::GRAIN`).
const ALARM: Duration = Duration::from_millis(4);

/// Longest time between two looks of glommio at its channels and files while the pump runs.
/// A look costs three system calls and a memory barrier on every CPU (about 36 µs measured
/// on a busy box: each 4 ms they were 7 % of the CPU of 10,000 paced events a second).
const VISIT: Duration = Duration::from_millis(50);

/// Rounds that the pump gives other tasks to come to rest before it enters the ring.
const SETTLE_MAX: usize = 4;

/// Completions in one call from which on sends go through the ring, too, where the call is
/// shared. CPU per exchange against nginx's with this at 1, 4, 8 and never (medians of 3):
/// 1.11 0.99 1.02 1.37 at 2 connections, 0.81 0.89 0.95 0.97 at 8, 0.77 0.78 0.81 1.01 at 64,
/// 1.01 0.83 0.86 0.91 for paced events.
const CROWD: usize = 4;

/// Receives shorter than [`TRICKLE`] after which a link that received in bulk is taken for one
/// that brings its bytes little by little.
const BULK: u8 = 16;

/// Bytes below which a receive is short: more than a token's event, less than a page.
const TRICKLE: usize = 4 << 10;

/// Whether this machine lets us have such a ring.
///
/// # Errors
/// What is missing, to be logged once.
pub fn available() -> Result<(), String> {
    sys::Ring::new(&BufPool::new(), ALARM)
        .map(drop)
        .map_err(|error| {
            let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
            let setting = disabled.as_deref().map_or("absent", str::trim);
            format!("no completion ring: {error} (kernel.io_uring_disabled: {setting})")
        })
}

/// A shard's ring; clones share it.
#[derive(Clone, Debug)]
pub struct Ring(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    ring: RefCell<sys::Ring>,
    notices: Rc<Notices>,
    /// Where receives take their blocks from; apart from the shard's own pool, whose
    /// account is therefore zero at rest.
    pool: BufPool,
    /// Completions of the last call.
    crowd: Cell<usize>,
}

/// What the pump and the others tell each other.
#[derive(Default)]
struct Notices {
    /// Counts what tasks ask of the ring, so that the pump sees when they rest.
    asked: Cell<u64>,
    /// The pump, while it is parked.
    parked: Cell<Option<Waker>>,
    /// Tasks that let others run and have more to do: the pump must not wait.
    breathing: Cell<usize>,
    /// The ring is gone.
    over: Cell<bool>,
    /// Why the pump was woken, when it was not the bell.
    kicked: Cell<bool>,
    /// Who sleeps.
    timers: Rc<Timers>,
    /// When this turn of the tasks began; nothing while the pump waits, as then glommio may
    /// let tasks run of which the pump does not know.
    seen: Cell<Option<Instant>>,
    /// Turns that were too long.
    stalls: RefCell<Latency>,
}

impl std::fmt::Debug for Notices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notices")
            .field("asked", &self.asked.get())
            .finish_non_exhaustive()
    }
}

impl Notices {
    /// Some task does something.
    fn note(&self) {
        self.asked.set(self.asked.get().wrapping_add(1));
    }

    fn kick(&self) {
        if let Some(pump) = self.parked.take() {
            self.kicked.set(true);
            pump.wake();
        }
    }
}

/// A task between two pieces of its work.
struct Breath<'a>(&'a Notices);

impl<'a> Breath<'a> {
    fn new(notices: &'a Notices) -> Self {
        notices.breathing.set(notices.breathing.get() + 1);
        Self(notices)
    }
}

impl Drop for Breath<'_> {
    fn drop(&mut self) {
        self.0.breathing.set(self.0.breathing.get() - 1);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.notices.over.set(true);
        self.notices.kick();
    }
}

impl Shared {
    /// Asks the ring for something; the pump will see to it (I3).
    fn ask<T>(&self, what: impl FnOnce(&mut sys::Ring) -> T) -> T {
        let answer = what(&mut self.ring.borrow_mut());
        self.notices.note();
        self.notices.kick();
        answer
    }
}

impl Ring {
    /// Makes the ring of this thread's executor and starts its pump.
    ///
    /// # Errors
    /// As [`sys::Ring::new`].
    pub fn start() -> io::Result<Self> {
        let pool = BufPool::new();
        let ring = sys::Ring::new(&pool, ALARM)?;
        let bell = Bell::new(ring.bell()?);
        mesh::set_doorbell(&ring.doorbell());
        let notices = Rc::new(Notices::default());
        let shared = Rc::new(Shared {
            ring: RefCell::new(ring),
            notices: Rc::clone(&notices),
            pool,
            crowd: Cell::new(0),
        });
        let pump = Pump::new(&shared, notices, bell);
        drop(glommio::spawn_local(pump.run()).detach());
        Ok(Self(shared))
    }

    /// Operations in flight, those of dropped links included until the kernel is done.
    pub fn in_flight(&self) -> usize {
        self.0.ring.borrow().flying()
    }

    /// Bytes in blocks that arrived and are not consumed yet.
    pub fn lent(&self) -> usize {
        let stocked = self.0.ring.borrow().stocked();
        self.0.pool.lent().saturating_sub(stocked)
    }
}

/// A listening socket. One task at a time accepts on it.
#[derive(Debug)]
pub struct Listener {
    shared: Rc<Shared>,
    fd: Rc<OwnedFd>,
    accepting: Cell<Option<Key>>,
    /// Nothing more is accepted.
    is_retired: Cell<bool>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(key) = self.accepting.take() {
            self.shared.ask(|ring| ring.abandon(key));
        }
    }
}

/// A connected socket.
#[derive(Debug)]
pub struct Socket {
    shared: Rc<Shared>,
    fd: Rc<OwnedFd>,
    receiving: Option<Key>,
    /// Short receives until the bytes count as a trickle again; a full block sets it to
    /// [`BULK`]. Until then each block is asked for when somebody wants it, so that one block
    /// at most waits here for a slow reader.
    bulk: u8,
    sending: Option<(Key, usize)>,
    /// FIN is due when the last send is out.
    finishing: bool,
}

impl Host for Ring {
    type Stream = Socket;
    type Listener = Listener;

    fn now(&self) -> Instant {
        clock::now()
    }

    fn lately(&self) -> Instant {
        self.0.notices.seen.get().unwrap_or_else(clock::now)
    }

    fn wall_nanos(&self) -> u64 {
        clock::wall_nanos()
    }

    async fn sleep_until(&self, at: Instant) {
        let notices = &self.0.notices;
        notices.note();
        let is_first = notices.timers.next().is_none_or(|next| at < next);
        let sleep = Sleep::until(&notices.timers, at);
        if is_first {
            notices.kick(); // a parked pump waits for the one that was first until now
        }
        sleep.await;
    }

    fn listen(&self, at: SocketAddr) -> io::Result<Listener> {
        self.listen_on(listen::bind(at)?)
    }

    fn listen_on(&self, fd: OwnedFd) -> io::Result<Listener> {
        Ok(Listener {
            shared: Rc::clone(&self.0),
            fd: Rc::new(fd),
            accepting: Cell::new(None),
            is_retired: Cell::new(false),
        })
    }

    fn local_addr(&self, listener: &Listener) -> io::Result<SocketAddr> {
        let at = rustix::net::getsockname(&listener.fd)?;
        SocketAddr::try_from(at).map_err(|_| io::ErrorKind::AddrNotAvailable.into())
    }

    async fn accept(&self, on: &Listener) -> io::Result<Socket> {
        let fd = poll_fn(|cx| on.poll_accept(cx)).await?;
        Ok(Socket::new(&self.0, Rc::new(fd)))
    }

    async fn accept_last(&self, on: &Listener) -> Option<Socket> {
        let fd = poll_fn(|cx| on.poll_last(cx)).await;
        let fd = fd.or_else(|| listen::accept_queued(&on.fd));
        Some(Socket::new(&self.0, Rc::new(fd?)))
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<Socket> {
        let fd = Rc::new(listen::socket(to)?);
        let key = self.0.ask(|ring| ring.connect(&fd, to))?;
        let guard = Connecting(&self.0, key);
        poll_fn(|cx| self.0.ask(|ring| ring.poll(key, cx.waker()))).await?;
        drop(guard);
        Ok(Socket::new(&self.0, fd))
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.notices.note();
        drop(glommio::spawn_local(task).detach());
    }

    fn held_bytes(&self) -> usize {
        self.lent()
    }

    fn stalls(&self) -> Option<Latency> {
        Some(self.0.notices.stalls.borrow().clone())
    }

    async fn breathe(&self) {
        let _breath = Breath::new(&self.0.notices);
        glommio::executor().yield_task_queue_now().await;
    }
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<OwnedFd>> {
        loop {
            let key = match self.accepting.get() {
                Some(key) => key,
                None if self.is_retired.get() => {
                    return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
                }
                None => self.shared.ask(|ring| ring.accept(&self.fd))?,
            };
            self.accepting.set(Some(key));
            match std::task::ready!(self.shared.ask(|ring| ring.poll(key, cx.waker())))? {
                Landed::Accepted(fd) => return Poll::Ready(Ok(fd)),
                Landed::Paused => self.accepting.set(None),
                _ => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
        }
    }
}

impl Listener {
    /// What was accepted before the listener retired; none when that is all.
    fn poll_last(&self, cx: &mut Context<'_>) -> Poll<Option<OwnedFd>> {
        let is_new = !self.is_retired.replace(true);
        while let Some(key) = self.accepting.get() {
            if is_new {
                self.shared.ask(|ring| ring.stop(key));
            }
            match std::task::ready!(self.shared.ask(|ring| ring.poll(key, cx.waker()))) {
                Ok(Landed::Accepted(fd)) => return Poll::Ready(Some(fd)),
                Ok(_) => self.accepting.set(None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.accepting.set(None),
                Err(_) => {} // somebody who left the queue
            }
        }
        Poll::Ready(None)
    }
}

/// Cancels a connect whose future is dropped; a key that is used up is left alone.
struct Connecting<'a>(&'a Shared, Key);

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        self.0.ask(|ring| ring.abandon(self.1));
    }
}

impl Socket {
    fn new(shared: &Rc<Shared>, fd: Rc<OwnedFd>) -> Self {
        Self {
            shared: Rc::clone(shared),
            fd,
            receiving: None,
            bulk: 0,
            sending: None,
            finishing: false,
        }
    }

    /// Waits for the send in flight, if there is one.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((key, asked)) = self.sending else {
            return Poll::Ready(Ok(()));
        };
        let Poll::Ready(outcome) = self.shared.ask(|ring| ring.poll(key, cx.waker())) else {
            return Poll::Pending;
        };
        self.sending = None;
        match outcome? {
            Landed::Sent(sent) if sent == asked => {}
            _ => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
        if self.finishing {
            self.shut();
        }
        Poll::Ready(Ok(()))
    }

    /// Whether nothing is on its way out; nobody is told when that is so later.
    fn is_at_rest(&mut self) -> io::Result<bool> {
        match self.poll_sent(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => outcome.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    /// Sends what the socket takes at once; false when it is full.
    fn send_at_once(&self, tx: &mut TxBuf) -> io::Result<bool> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(&*self.fd, tx.unsent(), flags) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => {
                tx.sent(sent);
                Ok(true)
            }
            Err(Errno::INTR) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Gives the next block that arrived to `keep`, with how much of it.
    fn poll_received(
        &mut self,
        cx: &mut Context<'_>,
        rx: &mut RxBuf,
        keep: impl FnOnce(&mut RxBuf, Block, usize),
    ) -> Poll<io::Result<usize>> {
        loop {
            let key = if let Some(key) = self.receiving {
                key
            } else {
                let fd = &self.fd;
                let key = self.shared.ask(|ring| match self.bulk {
                    0 => ring.recv(fd),
                    _ => ring.recv_once(fd),
                })?;
                *self.receiving.insert(key)
            };
            let landed = std::task::ready!(self.shared.ask(|ring| ring.poll(key, cx.waker())))?;
            match landed {
                Landed::Received { block, len } => {
                    let len = len as usize;
                    if len == block.size() {
                        self.bulk = BULK;
                    } else if len < TRICKLE {
                        self.bulk = self.bulk.saturating_sub(1);
                    }
                    keep(rx, block, len);
                    return Poll::Ready(Ok(len));
                }
                Landed::Paused => self.receiving = None,
                _ => return Poll::Ready(Ok(0)),
            }
        }
    }

    /// A socket that is gone already needs no FIN, so its error says nothing.
    fn shut(&self) {
        if rustix::net::shutdown(&*self.fd, Shutdown::Write).is_err() {}
    }
}

impl Link for Socket {
    fn poll_read(&mut self, cx: &mut Context<'_>, rx: &mut RxBuf) -> Poll<io::Result<usize>> {
        self.poll_received(cx, rx, RxBuf::take_in)
    }

    fn poll_read_in_place(
        &mut self,
        cx: &mut Context<'_>,
        rx: &mut RxBuf,
    ) -> Poll<io::Result<usize>> {
        self.poll_received(cx, rx, RxBuf::adopt)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, tx: &mut TxBuf) -> Poll<io::Result<()>> {
        loop {
            if self.sending.is_some() {
                std::task::ready!(self.poll_sent(cx))?;
            }
            if tx.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.shared.crowd.get() < CROWD && self.send_at_once(tx)? {
                continue;
            }
            if let Some((block, start, end)) = tx.lend() {
                let fd = &self.fd;
                let key = self.shared.ask(|ring| ring.send(fd, block, start, end))?;
                self.sending = Some((key, end - start));
            }
        }
    }

    fn try_send(&mut self, parts: &[IoSlice<'_>]) -> usize {
        // A broken connection takes nothing below, either.
        if !self.is_at_rest().unwrap_or(true) {
            return 0;
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut none = SendAncillaryBuffer::default();
        rustix::net::sendmsg(&*self.fd, parts, &mut none, flags).unwrap_or(0)
    }

    fn hand_over(&mut self, tx: &mut TxBuf) -> io::Result<bool> {
        if !self.is_at_rest()? {
            return Ok(false);
        }
        if let Some((block, start, end)) = tx.lend() {
            let fd = &self.fd;
            let asked = self
                .shared
                .ask(|ring| ring.send_promptly(fd, block, start, end));
            self.sending = Some((asked?, end - start));
        }
        Ok(true)
    }

    fn finish(&mut self) {
        if self.is_at_rest().unwrap_or(true) {
            self.shut();
        } else {
            self.finishing = true;
        }
    }

    fn reset(&mut self) {
        // A socket that is gone already needs no reset, so its error says nothing.
        if sockopt::set_socket_linger(&*self.fd, Some(Duration::ZERO)).is_err() {}
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.receiving.is_none() && self.sending.is_none() {
            return;
        }
        let (receiving, sending) = (self.receiving.take(), self.sending.take());
        self.shared.ask(|ring| {
            for key in receiving.into_iter().chain(sending.map(|(key, _)| key)) {
                ring.abandon(key);
            }
        });
    }
}
