//! What the control executor asks of a shard, and what it gets back.
//!
//! ```text
//!   control ── Order 7: Prepare(edition) ──► shard      builds the snapshot beside the current one
//!           ◄── Answer 7: Done ─────────────
//!           ── Order 8: Commit(epoch) ─────►            new exchanges begin with it
//!           ◄── Answer 8: Done ─────────────
//! ```
//!
//! Invariants
//! - O1 Every order has a number and is answered once, under that number.
//! - O2 A snapshot comes into force only by a commit of the very epoch that was prepared, and
//!   epochs follow one another without a gap.

use super::snapshot::{Edition, Snapshot};
use super::{Shard, remote};
use crate::base::time::Instant;
use crate::cache::purge::Purge;
use crate::exchange::heard;
use crate::host::Host;
use crate::stats::counters::{Counters, Latency};
use crate::stats::view::{Cell, View};
use rustls::ServerConfig;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A numbered order.
#[derive(Debug)]
pub struct Order {
    /// Its number; the answer has the same.
    pub number: u64,
    /// What is to be done.
    pub what: Task,
}

/// What control wants of a shard.
#[derive(Clone, Debug)]
pub enum Task {
    /// Answer with a [`Report`].
    Report,
    /// New addresses of a name.
    Addresses(Arc<NewAddresses>),
    /// The listeners' certificate was replaced.
    Certificate(Arc<ServerConfig>),
    /// Build the snapshot of this edition, beside the one in force.
    Prepare(Arc<Edition>),
    /// The snapshot that was prepared comes into force.
    Commit(u64),
    /// The snapshot that was prepared is dropped.
    Abort,
    /// Stored answers are forgotten, as the purge of this number.
    Purge(Arc<Purge>, u64),
    /// What other boxes purged is forgotten, up to this version of the generations: what they
    /// announce may be learnt.
    Heeded(i64),
    /// Another process accepts on the same sockets; followed by [`Task::Drain`].
    HandOver,
    /// Accept what is queued and no more; end connections with their exchanges.
    Drain,
    /// The time is over: exchanges end with an error.
    End,
}

/// What a name resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAddresses {
    /// The name.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Its addresses, at least one.
    pub addresses: Vec<SocketAddr>,
}

/// The answer to the order of the same number.
#[derive(Debug)]
pub struct Answer {
    /// Which order it answers.
    pub number: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an order.
#[derive(Debug)]
pub enum Outcome {
    /// It is done.
    Done,
    /// It cannot be done, and nothing has changed.
    Refused(String),
    /// What was asked for.
    Report(Box<Report>),
}

/// What a shard counts and holds.
#[derive(Clone, Debug)]
pub struct Report {
    /// Which shard.
    pub shard: usize,
    /// The epoch in force there.
    pub epoch: u64,
    /// How often it ticked.
    pub ticks: u64,
    /// How many sockets it accepts on.
    pub accepting: usize,
    /// Its counters.
    pub counters: Counters,
    /// By provider: idle and leased upstream connections.
    pub pools: Vec<(u64, u64)>,
    /// By provider: addresses, and how many of them are tried last since they failed.
    pub addresses: Vec<(usize, usize)>,
    /// How the shared tier stands, when there is one.
    pub remote: Option<remote::Status>,
    /// What it knows of targets.
    pub gossip: Gossiped,
    /// The 95th percentile of the time to the first content by target, of plain answers and of
    /// streams, for models that hedge.
    pub p95: Vec<(usize, [Option<Duration>; 2])>,
    /// Turns of its tasks that were too long.
    pub stalls: Latency,
    /// Bytes of buffers that are lent out.
    pub buffers_lent: usize,
    /// CPU time of the shard's thread, in nanoseconds.
    pub cpu_nanos: u64,
}

/// Carries out one order; `cpu_nanos` is the time that the shard's thread has used.
pub fn carry_out<H: Host>(shard: &Rc<Shard<H>>, what: &Task, cpu_nanos: u64) -> Outcome {
    let done = match what {
        Task::Report => return Outcome::Report(Box::new(report(shard, cpu_nanos))),
        Task::Addresses(new) => {
            let prepared = shard.prepared.borrow().clone();
            for snapshot in prepared.into_iter().chain([shard.snapshot()]) {
                snapshot.set_addresses(&new.host, new.port, &new.addresses);
            }
            if let Some(remote) = shard.remote() {
                remote.set_addresses((&new.host, new.port), &new.addresses);
            }
            Ok(())
        }
        Task::Certificate(config) => {
            shard.set_server_tls(Some(Arc::clone(config)));
            Ok(())
        }
        Task::Prepare(edition) => prepare(shard, edition),
        Task::Commit(epoch) => commit(shard, *epoch),
        Task::Abort => {
            drop(shard.prepared.take());
            Ok(())
        }
        Task::Purge(what, number) => {
            shard.cache.borrow_mut().index.purge(what, *number);
            shard.mail.ring();
            Ok(())
        }
        Task::Heeded(version) => {
            heard::join(shard, *version);
            Ok(())
        }
        Task::HandOver => {
            shard.hand_over();
            Ok(())
        }
        Task::Drain => {
            shard.drain();
            Ok(())
        }
        Task::End => {
            shard.end();
            Ok(())
        }
    };
    done.map_or_else(Outcome::Refused, |()| Outcome::Done)
}

fn prepare<H: Host>(shard: &Shard<H>, edition: &Edition) -> Result<(), String> {
    let current = shard.snapshot();
    if edition.epoch != current.epoch + 1 {
        let (wanted, is) = (edition.epoch, current.epoch);
        return Err(format!("epoch {wanted} does not follow epoch {is}")); // O2
    }
    if let Some(other) = &*shard.prepared.borrow() {
        return Err(format!("epoch {} is prepared already", other.epoch));
    }
    let place = (shard.index, shard.shards);
    let snapshot = Snapshot::new(edition, Some(&current), place);
    shard.prepared.replace(Some(Rc::new(snapshot)));
    Ok(())
}

fn commit<H: Host>(shard: &Rc<Shard<H>>, epoch: u64) -> Result<(), String> {
    let prepared = shard.prepared.borrow().clone();
    let Some(next) = prepared.filter(|next| next.epoch == epoch) else {
        return Err(format!("epoch {epoch} is not prepared")); // O2
    };
    drop(shard.prepared.take());
    let before = shard.current.replace(Rc::clone(&next));
    next.go_on_from(&before);
    shard.renew_remote(Some(&before.config));
    heard::hear(shard);
    shard.targets.borrow_mut().enter(next.places.targets());
    shard.set_server_tls(next.server_tls.clone());
    let mut cache = shard.cache.borrow_mut();
    cache.heed(&next.config, shard.shards);
    Ok(())
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
pub fn report<H: Host>(shard: &Shard<H>, cpu_nanos: u64) -> Report {
    let snapshot = shard.snapshot();
    let now = shard.host.now();
    let upstreams = snapshot.upstreams.iter();
    let pools = upstreams
        .clone()
        .map(|upstream| (upstream.pool.idle() as u64, upstream.pool.leased() as u64));
    let remote = shard.remote().map(|remote| remote.status());
    let mut tier = shard.counters.borrow().remote;
    tier.add(
        &remote
            .as_ref()
            .map(|remote| remote.total)
            .unwrap_or_default(),
    );
    Report {
        shard: shard.index,
        epoch: snapshot.epoch,
        ticks: shard.ticks(),
        accepting: shard.accepting(),
        counters: Counters {
            queue_depth: shard.queue.borrow().len() as u64,
            cached: shard.cached(),
            remote: tier,
            ..shard.counters.borrow().clone()
        },
        pools: pools.collect(),
        remote,
        addresses: upstreams.map(|up| up.count_addresses(now)).collect(),
        gossip: gossiped(shard),
        p95: shard.hedging.borrow().known(),
        stalls: shard
            .host
            .stalls()
            .unwrap_or_else(|| shard.stalls.borrow().clone()),
        buffers_lent: shard.buffers.lent() + shard.host.held_bytes(),
        cpu_nanos,
    }
}
