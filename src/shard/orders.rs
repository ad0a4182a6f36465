//! What the control executor asks of a shard, and what it gets back.

use super::Shard;
use crate::host::Host;
use crate::stats::counters::Counters;
use std::net::SocketAddr;

/// An order from control.
#[derive(Debug)]
pub enum Order {
    /// Answer with a [`Report`] of this number.
    Report(u64),
    /// New addresses of the provider at this index.
    Addresses(usize, Vec<SocketAddr>),
    /// Another process accepts on the same sockets; followed by [`Order::Drain`].
    HandOver,
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
    /// How often it ticked.
    pub ticks: u64,
    /// How many sockets it accepts on.
    pub accepting: usize,
    /// Its counters.
    pub counters: Counters,
    /// By provider: idle and leased upstream connections.
    pub pools: Vec<(u64, u64)>,
    /// Bytes of buffers that are lent out.
    pub buffers_lent: usize,
    /// CPU time of the shard's thread, in nanoseconds.
    pub cpu_nanos: u64,
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
        ticks: shard.ticks(),
        accepting: shard.accepting(),
        counters: shard.counters.borrow().clone(),
        pools: pools.collect(),
        buffers_lent: shard.buffers.lent() + shard.host.held_bytes(),
        cpu_nanos,
    }
}
