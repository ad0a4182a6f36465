//! A connection to a provider in use, and the answer that comes over it.
//!
//! Most leases are of one connection. One whose answer is kept for others, too, reads through a
//! [`Tape`]; one that replays what is stored has nothing to read from.

use super::tape::{Player, Tape};
use crate::base::alike::Alike;
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::time::Instant;
use crate::host::{Host, Link};
use crate::shard::Shard;
use crate::shard::pool::Pool;
use crate::wire::http1::ResponseHead;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::Poll;

/// A connection in use; closed when dropped, unless it is given back.
#[derive(Debug)]
pub struct Lease<H: Host> {
    shard: Rc<Shard<H>>,
    pool: Rc<Pool<H::Stream>>,
    source: Source<H>,
    opened: Instant,
}

/// What a reader does with what it reads.
#[derive(Clone, Copy, Debug)]
pub enum Reading {
    /// It stays until there is enough of it: small pieces leave the block that they came in.
    Collected,
    /// What came is consumed, or [`RxBuf::settle`]d, before the reader waits again.
    PassedOn,
}

/// Where the bytes of a [`Lease`] come from.
#[derive(Debug)]
enum Source<H: Host> {
    /// Nowhere: it is closed, or was given back.
    Nothing,
    /// The connection.
    Link(H::Stream),
    /// What somebody, perhaps this one, reads from a connection for all who listen.
    Tape(Player<H>),
}

impl<H: Host> Lease<H> {
    /// A connection that was opened then.
    pub fn new(
        shard: &Rc<Shard<H>>,
        pool: &Rc<Pool<H::Stream>>,
        link: H::Stream,
        opened: Instant,
    ) -> Self {
        pool.note_lease();
        Self {
            shard: Rc::clone(shard),
            pool: Rc::clone(pool),
            source: Source::Link(link),
            opened,
        }
    }

    /// What comes over this connection is kept from here on, where `first` came already, and
    /// others may listen to it; at most `longest` bytes are kept. Gives where.
    pub fn keep(&mut self, first: &[u8], longest: usize) -> Rc<Tape<H>> {
        let source = self.detach();
        let player = Tape::begin(source, &self.shard.buffers, first, longest);
        let tape = Rc::clone(player.tape());
        self.source = Source::Tape(player);
        tape
    }

    /// A lease of no connection: what is read is `player`'s, or nothing at all.
    pub fn of_tape(
        shard: &Rc<Shard<H>>,
        pool: &Rc<Pool<H::Stream>>,
        player: Option<Player<H>>,
    ) -> Self {
        Self {
            shard: Rc::clone(shard),
            pool: Rc::clone(pool),
            source: player.map_or(Source::Nothing, Source::Tape),
            opened: shard.host.now(),
        }
    }

    /// What is kept of what comes.
    pub fn tape(&self) -> Option<&Rc<Tape<H>>> {
        match &self.source {
            Source::Tape(player) => Some(player.tape()),
            _ => None,
        }
    }

    /// What has just been read, where a tape knows it for an event like one before
    /// ([`Player::take_alike`]).
    pub fn take_alike(&mut self) -> Option<Alike> {
        match &mut self.source {
            Source::Tape(player) => player.take_alike(),
            _ => None,
        }
    }

    /// The same, for somebody else; this one is closed from here on.
    fn detach(&mut self) -> Self {
        Self {
            shard: Rc::clone(&self.shard),
            pool: Rc::clone(&self.pool),
            source: std::mem::replace(&mut self.source, Source::Nothing),
            opened: self.opened,
        }
    }

    /// Reads more into `rx`.
    pub fn poll_read(
        &mut self,
        cx: &mut std::task::Context<'_>,
        rx: &mut RxBuf,
    ) -> Poll<io::Result<usize>> {
        self.poll_read_for(Reading::Collected, cx, rx)
    }

    /// Reads more into `rx`, which its reader treats so.
    pub fn poll_read_for(
        &mut self,
        reading: Reading,
        cx: &mut std::task::Context<'_>,
        rx: &mut RxBuf,
    ) -> Poll<io::Result<usize>> {
        match (&mut self.source, reading) {
            (Source::Link(link), Reading::Collected) => link.poll_read(cx, rx),
            (Source::Link(link), Reading::PassedOn) => link.poll_read_in_place(cx, rx),
            (Source::Tape(player), _) => player.poll_read(reading, cx, rx),
            (Source::Nothing, _) => Poll::Ready(Ok(0)),
        }
    }

    /// Reads what is here already, into the same, for somebody who then waits for something else
    /// first.
    pub fn poll_read_here(
        &mut self,
        reading: Reading,
        cx: &mut std::task::Context<'_>,
        rx: &mut RxBuf,
    ) -> Poll<io::Result<usize>> {
        match &self.source {
            Source::Tape(player) if !player.may_look() => Poll::Pending,
            _ => self.poll_read_for(reading, cx, rx),
        }
    }

    /// [`Link::try_send`].
    pub fn try_send(&mut self, parts: &[IoSlice<'_>]) -> usize {
        match &mut self.source {
            Source::Link(link) => link.try_send(parts),
            Source::Tape(_) | Source::Nothing => 0,
        }
    }

    /// [`Link::poll_flush`].
    pub fn poll_flush(
        &mut self,
        cx: &mut std::task::Context<'_>,
        tx: &mut TxBuf,
    ) -> Poll<io::Result<()>> {
        match &mut self.source {
            Source::Link(link) => link.poll_flush(cx, tx),
            Source::Tape(_) | Source::Nothing => {
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
        }
    }

    /// The exchange on it ended cleanly: it may be used again.
    pub fn give_back(&mut self) {
        let link = match std::mem::replace(&mut self.source, Source::Nothing) {
            Source::Link(link) => link,
            Source::Tape(mut player) => return player.give_back(),
            Source::Nothing => return,
        };
        let (shard, now) = (&self.shard, self.shard.host.lately());
        self.pool.note_return();
        self.pool.put(link, self.opened, now, &shard.buffers);
    }

    /// Closes it.
    pub fn close(&mut self) {
        if let Source::Link(_) = std::mem::replace(&mut self.source, Source::Nothing) {
            self.pool.note_return();
        }
    }
}

impl<H: Host> Drop for Lease<H> {
    fn drop(&mut self) {
        self.close();
    }
}

/// An answer whose head has arrived.
#[derive(Debug)]
pub struct Answer<H: Host> {
    /// The connection.
    pub lease: Lease<H>,
    /// What arrived: the head, then what came of the body.
    pub rx: RxBuf,
    /// Its head; spans point into `rx`.
    pub head: ResponseHead,
    /// When the request was sent.
    pub sent: Instant,
    /// Whether the connection may be used again once the body was read.
    pub is_reusable: bool,
}

impl<H: Host> Answer<H> {
    /// The connection and what has arrived, for somebody else to go on with; what is left
    /// here is closed and empty.
    pub fn detach(&mut self) -> (Lease<H>, RxBuf) {
        let lease = self.lease.detach();
        let nothing = RxBuf::new(&lease.shard.buffers);
        (lease, std::mem::replace(&mut self.rx, nothing))
    }

    /// Closes the connection and drops what has arrived.
    pub fn discard(&mut self) {
        self.lease.close();
        self.rx.clear();
    }
}
