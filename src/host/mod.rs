//! What waits: clock, sockets, tasks. One production host, another in `tests/sim`.
//!
//! Everything above is generic over [`Host`] with static dispatch; nobody else knows which
//! host runs. Bytes land in buffers that the connection owns ([`RxBuf`], [`TxBuf`]), and
//! what is in flight lives in the [`Link`], never in a future: a future that is dropped
//! half way loses nothing and frees nothing that the kernel may still write to. So a
//! completion-based socket layer can stand behind the same seam.

#![forbid(unsafe_code)]

pub mod bell;
pub mod clock;
pub mod launch;
pub mod listen;
pub mod mesh;
pub mod ring;
pub mod tls;
pub mod uring;

use crate::base::bufpool::BufPool;
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::time::Instant;
use crate::stats::counters::Latency;
use crate::wire::tls::Session;
use crate::wire::tls::fault::Broken;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};
use std::time::Duration;

/// A task that keeps the others waiting for longer than this is worth knowing of.
pub const STALL_MIN: Duration = Duration::from_millis(10);

/// The world outside a shard.
pub trait Host: Clone + fmt::Debug + 'static {
    /// A connected byte stream.
    type Stream: Link;
    /// A bound, listening socket.
    type Listener: fmt::Debug + 'static;

    /// The monotonic time. Asking takes 24 ns where it was measured: 2 % of an exchange that asks
    /// at each of its 18 steps; hence [`Host::lately`].
    fn now(&self) -> Instant;

    /// The time as the shard last saw it, for deadlines and ages, where what one turn of the
    /// tasks takes is nothing: never ahead of [`Host::now`], and behind it by no more than that.
    fn lately(&self) -> Instant {
        self.now()
    }

    /// Nanoseconds since 1970-01-01 UTC, for logs, `Date` and signatures only.
    fn wall_nanos(&self) -> u64;

    /// Waits until `at`; may be late by the host's resolution, never early.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()>;

    /// Binds and listens with `SO_REUSEPORT`, so that each shard has its own listener.
    ///
    /// # Errors
    /// What the kernel says: address in use, permission, no descriptors.
    fn listen(&self, at: SocketAddr) -> io::Result<Self::Listener>;

    /// Accepts on a socket that listens already ([`listen::bind`], or from another process).
    ///
    /// # Errors
    /// What the kernel says; `Unsupported` where there are no descriptors.
    fn listen_on(&self, _fd: OwnedFd) -> io::Result<Self::Listener> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The address a listener got (port 0 is filled in).
    ///
    /// # Errors
    /// What the kernel says.
    fn local_addr(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// Waits for the next connection; `TCP_NODELAY` is set on it.
    fn accept(&self, on: &Self::Listener) -> impl Future<Output = io::Result<Self::Stream>>;

    /// Waits for no new connections any more; gives the next one that was accepted before or
    /// waits in the kernel's queue. None when that is all.
    fn accept_last(&self, _on: &Self::Listener) -> impl Future<Output = Option<Self::Stream>> {
        std::future::ready(None)
    }

    /// Connects to an address (never a name); `TCP_NODELAY` is set.
    fn connect(&self, to: SocketAddr) -> impl Future<Output = io::Result<Self::Stream>>;

    /// Runs `task` on this shard, detached.
    fn spawn(&self, task: impl Future<Output = ()> + 'static);

    /// Bytes that have arrived and are held in the host's own blocks, not the shard's.
    fn held_bytes(&self) -> usize {
        0
    }

    /// Turns in which tasks held the CPU for more than [`STALL_MIN`]; `None` where the host
    /// does not see them.
    fn stalls(&self) -> Option<Latency> {
        None
    }

    /// Lets other tasks run.
    fn breathe(&self) -> impl Future<Output = ()>;
}

/// A connected byte stream. Dropping it closes it.
pub trait Link: fmt::Debug + 'static {
    /// Reads what is there into `rx`, at most what fits into its room; `Ok(0)` is the end.
    /// While it is pending no block is held for it by `rx`.
    ///
    /// Dropping the caller's future half way loses no byte: call again later.
    ///
    /// # Errors
    /// What the kernel says, e.g. connection reset. The link is then unusable.
    fn poll_read(&mut self, cx: &mut Context<'_>, rx: &mut RxBuf) -> Poll<io::Result<usize>>;

    /// [`Link::poll_read`] for a reader that consumes what came before it waits again, or calls
    /// [`RxBuf::settle`]: `rx` may keep the block in which the bytes came ([`RxBuf::adopt`]).
    ///
    /// # Errors
    /// As there.
    fn poll_read_in_place(
        &mut self,
        cx: &mut Context<'_>,
        rx: &mut RxBuf,
    ) -> Poll<io::Result<usize>> {
        self.poll_read(cx, rx)
    }

    /// Writes all of `tx`; ready when it is empty. Progress is kept in `tx` or in the link,
    /// so the call may be repeated (with the same `tx`) after a dropped future.
    ///
    /// # Errors
    /// What the kernel says, e.g. broken pipe. The link is then unusable.
    fn poll_flush(&mut self, cx: &mut Context<'_>, tx: &mut TxBuf) -> Poll<io::Result<()>>;

    /// Sends what the kernel takes of `parts` at once, without a copy of our own; gives how
    /// many bytes it took. None when it has no room, when the connection is broken (the
    /// next [`Link::poll_flush`] tells), or when this host cannot do it. Nothing may be on
    /// its way: the last `poll_flush` was ready.
    fn try_send(&mut self, _parts: &[IoSlice<'_>]) -> usize {
        0
    }

    /// Takes all of `tx` and sends it when this turn of the shard's tasks ends, or as the peer
    /// takes it: for bytes that others follow, as nobody is woken when they are out. False when
    /// something is still on its way, or when this host cannot do it; then `tx` is as it was.
    /// [`Link::poll_flush`] waits for what was handed over, too, and tells what became of it.
    ///
    /// # Errors
    /// As [`Link::poll_flush`].
    fn hand_over(&mut self, _tx: &mut TxBuf) -> io::Result<bool> {
        Ok(false)
    }

    /// Sends FIN: nothing more will be written. Reading goes on.
    fn finish(&mut self);

    /// Breaks the connection: the peer is told by RST, at the latest when this is dropped.
    /// A host without such a thing sends FIN.
    fn reset(&mut self) {
        self.finish();
    }

    /// From here on the bytes travel inside of TLS. False where this host has none
    /// ([`tls::Secure`] has); `pool` is the shard's.
    fn start_tls(&mut self, _session: Session, _pool: &BufPool) -> bool {
        false
    }

    /// Back to bytes as they are; what has arrived so far is dropped.
    fn stop_tls(&mut self) {}

    /// Waits for the end of the TLS handshake; gives whether it went on from an earlier
    /// session. Nothing may be read or written before. Ready at once without TLS.
    ///
    /// # Errors
    /// Why there is no TLS connection; the peer was told, as far as it takes it at once.
    fn poll_handshake(&mut self, _cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        Poll::Ready(Ok(false))
    }

    /// Whether part of something has arrived that [`Link::poll_read`] cannot give yet.
    fn holds_part(&self) -> bool {
        false
    }
}

/// [`Link::poll_read`] as a future.
///
/// # Errors
/// As [`Link::poll_read`].
pub async fn read<L: Link>(link: &mut L, rx: &mut RxBuf) -> io::Result<usize> {
    poll_fn(|cx| link.poll_read(cx, rx)).await
}

/// [`Link::poll_flush`] as a future.
///
/// # Errors
/// As [`Link::poll_flush`].
pub async fn flush<L: Link>(link: &mut L, tx: &mut TxBuf) -> io::Result<()> {
    poll_fn(|cx| link.poll_flush(cx, tx)).await
}
