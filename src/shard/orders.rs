//! What the control executor asks of a shard, and what it gets back.

use super::Shard;
use crate::base::time::Instant;
use crate::host::Host;
use crate::stats::counters::{Counters, Latency};
use crate::stats::view::{Cell, View};
use std::net::SocketAddr;

/// An order from control.
#[derive(Debug)]
pub enum Order {
    /// Answer with a [`Report`] of this number.
    Report(u64),
    /// New addresses of the provider at this index.
    Addresses(usize, Vec<SocketAddr>),
    /// Stop accepting; end connections with their exchanges.
    Drain,
}

/// What a shard counts and holds.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which of control's questions it answers.
    pub number: u64,
    /// Which shard.
    pub shard: usize,
    /// Its counters.
    pub counters: Counters,
    /// By provider: idle and leased upstream connections.
    pub pools: Vec<(u64, u64)>,
    /// What it knows of targets.
    pub gossip: Gossiped,
    /// Turns of its tasks that were too long.
    pub stalls: Latency,
    /// Bytes of buffers that are lent out.
    pub buffers_lent: usize,
    /// CPU time of the shard's thread, in nanoseconds.
    pub cpu_nanos: u64,
}

/// What a shard knows of targets, and how it talks to the others.
#[derive(Clone, Debug)]
pub struct Gossiped {
    /// When this was put together.
    pub at: Instant,
    /// What it goes by itself, by target.
    pub own: Vec<(usize, Cell)>,
    /// What it heard.
    pub view: View,
    /// How often it opened a breaker, by target.
    pub trips: Vec<u64>,
    /// Digests that a peer took.
    pub sent: u64,
    /// Digests that found no room.
    pub dropped: u64,
}

fn gossiped<H: Host>(shard: &Shard<H>) -> Gossiped {
    let at = shard.host.now();
    let (sent, dropped) = shard.gossip.counts();
    shard.with_turn(at, |targets, turn| Gossiped {
        at,
        own: targets.cells(turn),
        view: targets.view.clone(),
        trips: targets.trips.clone(),
        sent,
        dropped,
    })
}

/// The report of `shard`.
pub fn report<H: Host>(shard: &Shard<H>, number: u64, cpu_nanos: u64) -> Report {
    let pools = shard
        .upstreams
        .iter()
        .map(|upstream| (upstream.pool.idle() as u64, upstream.pool.leased() as u64));
    Report {
        number,
        shard: shard.index,
        counters: shard.counters.borrow().clone(),
        pools: pools.collect(),
        gossip: gossiped(shard),
        stalls: shard
            .host
            .stalls()
            .unwrap_or_else(|| shard.stalls.borrow().clone()),
        buffers_lent: shard.buffers.lent() + shard.host.held_bytes(),
        cpu_nanos,
    }
}
