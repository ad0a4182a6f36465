//! One CPU: its listener, pools, deadlines and counters, owned by one struct, [`Shard`].
//!
//! A shard shares nothing that changes with another. What it needs from outside (addresses
//! of providers) and what is asked of it (a copy of its counters) comes as orders
//! ([`orders`]).

#![forbid(unsafe_code)]

pub mod cache;
pub mod deadline;
pub mod gate;
pub mod gossip;
pub mod log;
pub mod mail;
pub mod orders;
pub mod pool;
pub mod remote;
pub mod serve;
pub mod snapshot;
pub mod tls;

use crate::base::bufpool::BufPool;
use crate::base::time::Instant;
use crate::cache::entry::{Account, Entry};
use crate::cache::memo::Memo;
use crate::config::Config;
use crate::exchange::audits;
use crate::exchange::ferry::{self, Ferries};
use crate::exchange::flight::Flights;
use crate::exchange::keep::Print;
use crate::exchange::stored::Stored;
use crate::exchange::vectors::Vectors;
use crate::host::Host;
use crate::policy::budget::Budget;
use crate::policy::hedge::Hedging;
use crate::policy::queue::Queue;
use crate::policy::targets::Targets;
use crate::stats::cached::{Cached, Lost};
use crate::stats::counters::{Counters, Latency};
use crate::stats::receipt::{Receipt, RequestId};
use cache::Cache;
use deadline::Deadlines;
use gossip::Gossip;
use log::Log;
use mail::{Letter, Mail};
use remote::Remote;
use rustls::ServerConfig;
use snapshot::{Edition, Snapshot};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tls::TlsFiles;

/// How long a line of the log waits at most before it is handed over.
pub const TICK: Duration = Duration::from_millis(100);

/// How often a shard ticks that has nothing to hand over.
pub const IDLE_TICK: Duration = Duration::from_secs(1);

/// How often pools are swept.
const SWEEP: Duration = Duration::from_secs(1);

/// How long an exchange has to tell its client that it was cut off.
pub const LAST_WORD: Duration = Duration::from_secs(1);

/// What a shard is made from.
#[derive(Debug)]
pub struct Setup {
    /// Which shard this is, from 0.
    pub index: usize,
    /// How many there are.
    pub shards: usize,
    /// The checked configuration.
    pub config: Arc<Config>,
    /// Addresses of each provider, in the order of the configuration, then of the shared tier's
    /// server, when there is one.
    pub addresses: Vec<Vec<SocketAddr>>,
    /// What TLS needs; `None`: there is none.
    pub tls: Option<Arc<TlsFiles>>,
    /// Seed of request ids; must differ from shard to shard.
    pub seed: u64,
    /// Where access-log lines go.
    pub log: Log,
    /// What stored answers of the box hold; all shards have the same.
    pub account: Arc<Account>,
}

/// Everything that one CPU owns.
#[derive(Debug)]
pub struct Shard<H: Host> {
    /// The world outside.
    pub host: H,
    /// Which shard this is, from 0.
    pub index: usize,
    /// How many there are.
    pub shards: usize,
    /// The store of buffers.
    pub buffers: BufPool,
    /// The timers of its connections.
    pub deadlines: Deadlines,
    /// What it counts.
    pub counters: RefCell<Counters>,
    /// What it knows of each target.
    pub targets: RefCell<Targets>,
    /// How many further attempts it may make.
    pub budget: Cell<Budget>,
    /// What it knows of the models that hedge.
    pub hedging: RefCell<Hedging>,
    /// The exchanges that several clients may share.
    pub flights: Flights<H>,
    /// Those of other shards.
    pub ferries: Ferries<H>,
    /// What is stored of answers.
    pub cache: RefCell<Cache>,
    /// What providers said of texts, for the cache.
    pub vectors: RefCell<Vectors>,
    /// What requests came to that are the same to the byte.
    pub memo: RefCell<Memo<(Weak<Entry<Stored>>, Print)>>,
    /// What it has to tell the others.
    pub mail: Mail,
    /// How it tells the other shards.
    pub gossip: Gossip,
    /// How late the ticker was, beyond what a timer may be.
    pub stalls: RefCell<Latency>,
    /// Where receipts are written.
    pub log: Log,
    /// Who waits for room for an exchange.
    pub queue: RefCell<Queue<Waker>>,
    /// Scratch for what must be joined or unescaped; empty between uses.
    pub scratch: RefCell<Vec<u8>>,
    /// The snapshot that new exchanges begin with.
    current: RefCell<Rc<Snapshot<H::Stream>>>,
    /// What a prepared reload will put in its place.
    prepared: RefCell<Option<Rc<Snapshot<H::Stream>>>>,
    server_tls: RefCell<Option<Arc<ServerConfig>>>,
    /// The shared tier; `None`: there is none, or nothing is cached.
    remote: RefCell<Option<Rc<Remote<H>>>>,
    random: Cell<u64>,
    date: RefCell<(u64, String)>,
    is_draining: Cell<bool>,
    /// The time of exchanges is over: all that is left is the last word.
    is_over: Cell<bool>,
    /// Who waits for the draining to begin.
    drain_wakers: RefCell<Vec<Waker>>,
    /// Another process accepts on the same sockets.
    is_handed_over: Cell<bool>,
    /// Accept loops that have not come to their end.
    accepting: Cell<usize>,
    /// How often it ticked.
    ticks: Cell<u64>,
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
            tls,
            seed,
            log,
            account,
        } = setup;
        let cache = Cache::new(&config, (index, shards), account);
        let server_tls = tls.as_ref().and_then(|files| files.server.clone());
        let first = Edition::first(config, addresses, tls);
        let snapshot = Snapshot::new(&first, None, (index, shards));
        let mut targets = Targets::new(shards);
        targets.enter(first.places.targets());
        let shard = Rc::new(Self {
            index,
            shards,
            buffers: BufPool::new(),
            deadlines: Deadlines::new(),
            counters: RefCell::default(),
            targets: RefCell::new(targets),
            budget: Cell::default(),
            hedging: RefCell::default(),
            flights: Flights::default(),
            ferries: Ferries::default(),
            cache: RefCell::new(cache),
            vectors: RefCell::default(),
            memo: RefCell::default(),
            mail: Mail::new(shards),
            gossip: Gossip::default(),
            stalls: RefCell::default(),
            log,
            queue: RefCell::default(),
            scratch: RefCell::default(),
            current: RefCell::new(Rc::new(snapshot)),
            prepared: RefCell::default(),
            server_tls: RefCell::new(server_tls),
            random: Cell::new(seed | 1),
            date: RefCell::default(),
            is_draining: Cell::new(false),
            is_over: Cell::new(false),
            drain_wakers: RefCell::default(),
            is_handed_over: Cell::new(false),
            accepting: Cell::new(0),
            ticks: Cell::new(0),
            next_sweep: Cell::default(),
            next_tick: Cell::default(),
            remote: RefCell::default(),
            host,
        });
        shard.renew_remote(None);
        shard
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

    /// What its listeners' TLS needs; `None`: they speak plain HTTP.
    pub fn server_tls(&self) -> Option<Arc<ServerConfig>> {
        self.server_tls.borrow().clone()
    }

    /// From here on, fresh client connections go by `config`.
    pub fn set_server_tls(&self, config: Option<Arc<ServerConfig>>) {
        *self.server_tls.borrow_mut() = config;
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

    /// The snapshot that an exchange which begins now keeps to its end.
    pub fn snapshot(&self) -> Rc<Snapshot<H::Stream>> {
        Rc::clone(&self.current.borrow())
    }

    /// From here on, connections end with their exchange, idle ones at once, and listeners are
    /// closed when their queue is empty.
    pub fn drain(&self) {
        self.is_draining.set(true);
        for waker in self.drain_wakers.take() {
            waker.wake();
        }
        self.deadlines.wake_all();
    }

    /// Another process accepts on the same sockets from now on; the drain follows. Clients
    /// that were not told to come anew are not closed under: they may be sending already.
    pub fn hand_over(&self) {
        self.is_handed_over.set(true);
    }

    /// Whether another process accepts on the same sockets.
    pub fn is_handed_over(&self) -> bool {
        self.is_handed_over.get()
    }

    /// Whether connections without an exchange end.
    pub fn ends_idle(&self) -> bool {
        self.is_draining.get() && !self.is_handed_over.get()
    }

    /// How many of its sockets it accepts on.
    pub fn accepting(&self) -> usize {
        self.accepting.get()
    }

    /// How often it ticked: a shard that hangs does not.
    pub fn ticks(&self) -> u64 {
        self.ticks.get()
    }

    /// Whether the shard is going down.
    pub fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Ready once the shard goes down.
    pub fn poll_draining(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_draining.get() {
            return Poll::Ready(());
        }
        let mut wakers = self.drain_wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The time is over: whatever waits stops waiting, and has [`LAST_WORD`] to say so to its
    /// client.
    pub fn end(&self) {
        if !self.is_draining.get() {
            self.drain();
        }
        if !self.is_over.replace(true) {
            self.deadlines.end(self.host.now() + LAST_WORD);
        }
    }

    /// Whether the time of exchanges is over.
    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Whether the exchanges under way are more than this shard's share of the limit; those that
    /// wait for room are not under way.
    pub fn is_full(&self, exchanges_max: u64) -> bool {
        self.running() > exchanges_max
    }

    fn running(&self) -> u64 {
        let waiting = self.queue.borrow().len() as u64;
        let open = self.counters.borrow().exchanges_open;
        open.saturating_sub(waiting)
    }

    /// An exchange ended: whoever's turn it is to have its room is woken.
    pub fn let_in(&self, exchanges_max: u64, wait: Duration) {
        while !self.queue.borrow().is_empty() && self.running() < exchanges_max {
            let next = self.queue.borrow_mut().next(self.host.now(), wait);
            if let Some(waker) = next {
                waker.wake();
            }
        }
    }

    /// Writes an exchange into the access log. Lines are handed over together, [`TICK`] after
    /// the first of them, so that a shard without exchanges sleeps.
    pub fn note(&self, config: &Config, receipt: &Receipt) {
        if self.log.receipt(self, config, receipt) {
            let due = self.host.now() + TICK;
            self.next_tick.set(self.next_tick.get().min(due));
            self.deadlines.hurry(due);
        }
    }

    /// Regular work: closes stale pooled connections, hands the log over, gives the other
    /// shards a sign of life.
    pub fn tick(&self, now: Instant) {
        self.ticks.set(self.ticks.get() + 1);
        if now >= self.next_sweep.get() {
            self.next_sweep.set(now + SWEEP);
            self.flights.sweep();
            let mut memo = self.memo.borrow_mut();
            memo.retain(|(entry, _)| entry.strong_count() > 0);
            drop(memo);
            for upstream in &self.snapshot().upstreams {
                upstream.pool.sweep(now, &self.buffers);
            }
        }
        let dropped = self.log.hand_over();
        self.counters.borrow_mut().log_dropped += dropped;
        self.beat(now);
        let mut cache = self.cache.borrow_mut();
        cache.index.tick(now);
        cache.heed_gone(now);
        drop(cache);
        self.note_lost();
        self.mail.ring();
    }

    /// Counts the entries that are not kept any more.
    fn note_lost(&self) {
        let events = self.cache.borrow_mut().index.take_events();
        let mut counters = self.counters.borrow_mut();
        let cached = &mut counters.cached;
        cached.lose(Lost::Evicted, events.evicted);
        cached.lose(Lost::Expired, events.expired);
        cached.lose(Lost::Purged, events.purged);
        cached.forgotten += events.forgotten;
    }

    /// What it counts of its cache, and what that holds now.
    fn cached(&self) -> Cached {
        self.note_lost();
        let cache = self.cache.borrow();
        let mut cached = self.counters.borrow().cached;
        cached.bytes = cache.index.bytes() as u64;
        cached.entries = cache.index.len() as u64;
        cached
    }

    /// Shard `from` has written.
    pub fn receive(self: &Rc<Self>, from: usize, letter: Letter) {
        match letter {
            Letter::Cache(message) => {
                let now = self.host.now();
                self.cache.borrow_mut().hear(from, message, now);
                self.mail.ring();
            }
            Letter::Hail(hail) => ferry::hear(self, from, hail),
            Letter::Audit(audit) => audits::hear(self, audit),
        }
    }
}
