//! One CPU: its listener, pools, deadlines and counters, owned by one struct, [`Shard`].
//!
//! A shard shares nothing that changes with another. What it needs from outside (addresses
//! of providers) and what is asked of it (a copy of its counters) comes as orders
//! ([`orders`]).

#![forbid(unsafe_code)]

pub mod deadline;
pub mod gossip;
pub mod log;
pub mod orders;
pub mod pool;
pub mod serve;

use crate::base::bufpool::BufPool;
use crate::base::time::Instant;
use crate::config::Config;
use crate::exchange::upstream::Template;
use crate::host::Host;
use crate::policy::plan::Rotations;
use crate::policy::targets::Targets;
use crate::stats::counters::{Counters, Latency};
use crate::stats::receipt::{Receipt, RequestId};
use deadline::Deadlines;
use gossip::Gossip;
use log::Log;
use pool::Pool;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long a line of the log waits at most before it is handed over.
pub const TICK: Duration = Duration::from_millis(100);

/// How often a shard ticks that has nothing to hand over.
pub const IDLE_TICK: Duration = Duration::from_secs(1);

/// How often pools are swept.
const SWEEP: Duration = Duration::from_secs(1);

/// What a shard knows of a provider.
#[derive(Debug)]
pub struct Upstream<L> {
    /// Its idle connections.
    pub pool: Pool<L>,
    /// The parts of a request head that never change.
    pub template: Template,
    addresses: RefCell<Rc<[SocketAddr]>>,
    /// Which address to try first: the last one that worked.
    preferred: Cell<usize>,
}

impl<L> Upstream<L> {
    /// The addresses, newest resolution; empty when the name never resolved.
    pub fn addresses(&self) -> Rc<[SocketAddr]> {
        Rc::clone(&self.addresses.borrow())
    }

    /// Replaces the addresses.
    pub fn set_addresses(&self, addresses: &[SocketAddr]) {
        if **self.addresses.borrow() != *addresses {
            *self.addresses.borrow_mut() = addresses.into();
            self.preferred.set(0);
        }
    }

    /// The index of the address to try first.
    pub fn preferred(&self) -> usize {
        self.preferred.get()
    }

    /// The address at `index` worked, or the one before it failed: try it first from here on.
    pub fn prefer(&self, index: usize) {
        self.preferred.set(index);
    }
}

/// What a shard is made from.
#[derive(Debug)]
pub struct Setup {
    /// Which shard this is, from 0.
    pub index: usize,
    /// How many there are.
    pub shards: usize,
    /// The checked configuration.
    pub config: Arc<Config>,
    /// Addresses of each provider, in the order of the configuration.
    pub addresses: Vec<Vec<SocketAddr>>,
    /// Seed of request ids; must differ from shard to shard.
    pub seed: u64,
    /// Where access-log lines go.
    pub log: Log,
}

/// Everything that one CPU owns.
#[derive(Debug)]
pub struct Shard<H: Host> {
    /// The world outside.
    pub host: H,
    /// Which shard this is, from 0.
    pub index: usize,
    /// The checked configuration.
    pub config: Arc<Config>,
    /// The store of buffers.
    pub buffers: BufPool,
    /// The timers of its connections.
    pub deadlines: Deadlines,
    /// What it counts.
    pub counters: RefCell<Counters>,
    /// Whose turn it is among the targets of each model.
    pub rotations: RefCell<Rotations>,
    /// What it knows of each target.
    pub targets: RefCell<Targets>,
    /// How it tells the other shards.
    pub gossip: Gossip,
    /// How late the ticker was, beyond what a timer may be.
    pub stalls: RefCell<Latency>,
    /// By provider, in the order of the configuration.
    pub upstreams: Vec<Upstream<H::Stream>>,
    /// Where receipts are written.
    pub log: Log,
    /// Scratch for what must be joined or unescaped; empty between uses.
    pub scratch: RefCell<Vec<u8>>,
    /// This shard's share of `limits.streams_max`.
    pub exchanges_max: u64,
    /// This shard's share of `limits.connections_max`.
    pub connections_max: u64,
    /// This shard's share of `limits.bodies_max`, in bytes.
    pub buffers_max: usize,
    random: Cell<u64>,
    date: RefCell<(u64, String)>,
    is_draining: Cell<bool>,
    next_sweep: Cell<Instant>,
    /// When the ticker does its regular work.
    next_tick: Cell<Instant>,
}

impl<H: Host> Shard<H> {
    /// A shard of its own.
    pub fn new(host: H, setup: Setup) -> Rc<Self> {
        let Setup {
            index,
            shards,
            config,
            addresses,
            seed,
            log,
        } = setup;
        let share = |all: usize| all.div_ceil(shards.max(1));
        let upstreams = config
            .providers
            .iter()
            .enumerate()
            .map(|(at, provider)| Upstream {
                pool: Pool::new(provider.pool),
                template: Template::new(provider),
                addresses: RefCell::new(
                    addresses
                        .get(at)
                        .map(Vec::as_slice)
                        .unwrap_or_default()
                        .into(),
                ),
                preferred: Cell::new(0),
            });
        Rc::new(Self {
            index,
            buffers: BufPool::new(),
            deadlines: Deadlines::new(),
            counters: RefCell::default(),
            rotations: RefCell::new(Rotations::new(&config, index)),
            targets: RefCell::new(Targets::new(&config, shards)),
            gossip: Gossip::default(),
            stalls: RefCell::default(),
            upstreams: upstreams.collect(),
            log,
            scratch: RefCell::default(),
            exchanges_max: share(config.limits.streams_max) as u64,
            connections_max: share(config.limits.connections_max) as u64,
            buffers_max: share(config.limits.bodies_max),
            random: Cell::new(seed | 1),
            date: RefCell::default(),
            is_draining: Cell::new(false),
            next_sweep: Cell::default(),
            next_tick: Cell::default(),
            config,
            host,
        })
    }

    /// The next random word (xorshift64*, Vigna 2016); for names, never for secrets.
    pub fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A name for an exchange.
    pub fn request_id(&self) -> RequestId {
        RequestId::new(self.random(), self.random())
    }

    /// Calls `with` with the `Date` field's value, made once a second (RFC 9110, 5.6.7).
    pub fn with_date<T>(&self, with: impl FnOnce(&[u8]) -> T) -> T {
        let seconds = self.host.wall_nanos() / 1_000_000_000;
        let mut date = self.date.borrow_mut();
        if date.0 != seconds {
            let at = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
            *date = (seconds, httpdate::fmt_http_date(at));
        }
        with(date.1.as_bytes())
    }

    /// From here on, connections end with their exchange.
    pub fn drain(&self) {
        self.is_draining.set(true);
    }

    /// Whether the shard is going down.
    pub fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Whether the exchanges under way are more than this shard's share of the limit.
    pub fn is_full(&self) -> bool {
        self.counters.borrow().exchanges_open > self.exchanges_max
    }

    /// Writes an exchange into the access log. Lines are handed over together, [`TICK`] after
    /// the first of them, so that a shard without exchanges sleeps.
    pub fn note(&self, receipt: &Receipt) {
        if self.log.receipt(self, receipt) {
            let due = self.host.now() + TICK;
            self.next_tick.set(self.next_tick.get().min(due));
            self.deadlines.hurry(due);
        }
    }

    /// Regular work: closes stale pooled connections, hands the log over, gives the other
    /// shards a sign of life.
    pub fn tick(&self, now: Instant) {
        if now >= self.next_sweep.get() {
            self.next_sweep.set(now + SWEEP);
            for upstream in &self.upstreams {
                upstream.pool.sweep(now, &self.buffers);
            }
        }
        let dropped = self.log.hand_over();
        self.counters.borrow_mut().log_dropped += dropped;
        self.beat(now);
    }
}
