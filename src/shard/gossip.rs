//! A shard tells the others what it knows of targets, and hears what they know.
//!
//! ```text
//!   an attempt begins or ends ──► due in `gossip.tick` ──► digest of what changed ──► peers
//!   a breaker changes ──► at once                          (one copy, shared by all)
//!   nothing for HEARTBEAT ──► whole digest
//! ```
//!
//! Never awaited: a peer that has no room misses the digest, which is counted, and the next
//! one is a whole one. A shard on which nothing happens sends one each [`HEARTBEAT`], on a
//! tick that it makes anyway.
//!
//! Invariants
//! - G1 At most one digest per `gossip.tick`, but for changes of a breaker.
//! - G2 What was not taken by a peer is told again.

use super::Shard;
use crate::base::time::Instant;
use crate::host::Host;
use crate::policy::breaker::Turn;
use crate::policy::targets::Targets;
use crate::stats::view::Digest;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::time::Duration;

/// The longest silence towards the other shards.
pub const HEARTBEAT: Duration = Duration::from_secs(5);

/// Gives a digest to another shard; false when it has no room.
pub type Peer = Box<dyn Fn(Digest) -> bool>;

/// What a shard needs to talk.
#[derive(Default)]
pub struct Gossip {
    peers: RefCell<Vec<Peer>>,
    /// When to tell what changed; `None` = nothing did.
    due: Cell<Option<Instant>>,
    /// The next digest is a whole one.
    owes_whole: Cell<bool>,
    last_whole: Cell<Instant>,
    seq: Cell<u64>,
    sent: Cell<u64>,
    dropped: Cell<u64>,
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip")
            .field("peers", &self.peers.borrow().len())
            .field("due", &self.due)
            .field("seq", &self.seq)
            .finish_non_exhaustive()
    }
}

impl Gossip {
    /// Digests that were sent, and those that found no room.
    pub fn counts(&self) -> (u64, u64) {
        (self.sent.get(), self.dropped.get())
    }

    /// When the ticker is to call [`Shard::gossip`].
    pub(super) fn due(&self) -> Instant {
        self.due.get().unwrap_or(Instant::FAR)
    }
}

impl<H: Host> Shard<H> {
    /// From here on `peer` is told, too; with everything first.
    pub fn add_peer(&self, peer: Peer) {
        self.gossip.peers.borrow_mut().push(peer);
        self.gossip.owes_whole.set(true);
        self.gossip_soon();
    }

    /// Calls `with` with the targets and what a step of a breaker is taken with.
    pub fn with_turn<T>(&self, now: Instant, with: impl FnOnce(&mut Targets, &Turn<'_>) -> T) -> T {
        let current = self.current.borrow();
        let turn = Turn {
            settings: &current.config.breaker,
            me: u32::try_from(self.index).unwrap_or(u32::MAX),
            now,
            random: self.random(),
        };
        with(&mut self.targets.borrow_mut(), &turn)
    }

    /// Something happened: it is told within `gossip.tick`.
    pub fn gossip_soon(&self) {
        let gossip = &self.gossip;
        if gossip.due.get().is_none() && !gossip.peers.borrow().is_empty() {
            let due = self.host.now() + self.current.borrow().config.gossip.tick;
            gossip.due.set(Some(due));
            self.deadlines.hurry(due);
        }
    }

    /// A breaker changed: it is told at once.
    pub fn gossip_now(&self) {
        self.gossip(self.host.now());
    }

    /// Tells the others what changed.
    pub(super) fn gossip(&self, now: Instant) {
        let gossip = &self.gossip;
        gossip.due.set(None);
        let peers = gossip.peers.borrow();
        if peers.is_empty() {
            return;
        }
        let is_whole = gossip.owes_whole.take();
        if is_whole {
            gossip.last_whole.set(now);
        }
        let cells = self.with_turn(now, |targets, turn| targets.tell(is_whole, turn));
        gossip.seq.set(gossip.seq.get() + 1);
        let digest = Digest {
            from: self.index,
            seq: gossip.seq.get(),
            at: now,
            is_whole,
            cells: cells.into(),
        };
        let taken = peers.iter().filter(|peer| peer(digest.clone())).count();
        let dropped = peers.len() - taken;
        drop(peers);
        gossip.sent.set(gossip.sent.get() + taken as u64);
        gossip.dropped.set(gossip.dropped.get() + dropped as u64);
        if dropped > 0 {
            gossip.owes_whole.set(true); // G2
            self.gossip_soon();
        }
    }

    /// Regular work: a sign of life after [`HEARTBEAT`].
    pub(super) fn beat(&self, now: Instant) {
        if now.since(self.gossip.last_whole.get()) >= HEARTBEAT {
            self.gossip.owes_whole.set(true);
            self.gossip(now);
        }
    }

    /// Another shard said something.
    pub fn hear(&self, digest: &Digest) {
        self.targets.borrow_mut().hear(digest);
    }
}
