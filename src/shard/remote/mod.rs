//! The tier that boxes share, on Valkey or Redis: what a shard asks of it and how.
//!
//! ```text
//!   get   ─┐                    ┌─ Node ─┬─ Line: reads    pipelined, replies matched in order
//!   put   ─┼─► Remote ── route ─┤        └─ Line: writes   and what nobody waits for
//!   fetch ─┘     │              └─ Node (of a cluster: by slot, MOVED and ASK followed)
//!                └─ keeper: the generations and the cluster's map, once a second
//!   news ──► a connection of its own: XREAD of what other boxes announce
//! ```
//!
//! Reads and writes have connections of their own, so that a look-up never waits behind the
//! bytes of an entry that is stored. Nothing here waits to be connected: without a connection a
//! call fails at once, and the line's task makes one in the background.
//!
//! Invariants
//! - T1 A look-up ends at its deadline at the latest (and the host's resolution), whatever the
//!   server does; its reply is thrown away when it comes, and those behind it stay in order.
//! - T2 A server that is slow or gone costs nothing but the calls that were on their way when it
//!   began: while it owes a reply, has been slow often, or has no connection, nothing is sent.
//! - T3 A purged entry is not served by a look-up that began after the purge had ended
//!   ([`crate::cache::remote::generations`]).
//! - T4 What waits is bounded, in calls and in bytes; what finds no room is dropped and counted.
//! - T5 When a [`Remote`] is dropped its tasks end, each at its next step.

mod calls;
mod line;
pub mod news;
mod nodes;
mod of_shard;
mod wire;

use crate::base::bufpool::BufPool;
use crate::cache::remote::Key;
use crate::cache::remote::generations::{Generations, Purge, Stamp};
use crate::cache::remote::names::Names;
use crate::cache::remote::slots::Map;
use crate::config::model::Breaker;
use crate::config::remote::Remote as Settings;
use crate::host::Host;
use crate::policy::addresses::Addresses;
use crate::stats::remote::{Counts, Event, Get, Put, Total};
use crate::stats::view::State;
use line::Place;
use nodes::{Node, Way};
pub use of_shard::{setup, wanted};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// How long an entry, a purge or an announcement may take: nobody's answer waits for it.
pub const WRITE_MAX: Duration = Duration::from_secs(1);

/// How often the generations are asked for, and the cluster's map where it is in doubt.
pub const KEEP: Duration = Duration::from_secs(1);

/// Bytes of entries and announcements that are on their way, at most, per shard.
pub const HELD_MAX: usize = 16 << 20;

/// Announcements that the server keeps, about.
pub const NEWS_KEPT: &str = "10000";

/// Bytes of an announcement, at most.
pub const NEWS_MAX: usize = 64 << 10;

/// Sessions that a shard remembers.
const SESSIONS: usize = 16;

/// When a line is left alone: short, as what is lost is a hit and a probe costs a deadline.
const BREAKER: Breaker = Breaker {
    is_on: true,
    window: Duration::from_secs(10),
    error_percent: 50,
    requests_min: 20,
    consecutive: 5,
    open: Duration::from_millis(500),
    open_max: Duration::from_secs(5),
    ramp: Duration::ZERO,
};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// None within the deadline.
    Late,
    /// The server refused.
    Refused,
    /// No connection, or it was lost.
    Down,
    /// The server is left alone: it owes a reply, or the breaker is open.
    Open,
    /// Too much waits already.
    Full,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Late => "the cache server did not answer in time",
            Self::Refused => "the cache server refused",
            Self::Down => "there is no connection to the cache server",
            Self::Open => "the cache server is left alone, as it was slow or failed",
            Self::Full => "too much waits for the cache server",
        })
    }
}

impl std::error::Error for Why {}

impl Why {
    fn of_get(self) -> Get {
        match self {
            Self::Late => Get::Late,
            Self::Refused => Get::Refused,
            Self::Down => Get::Down,
            Self::Open => Get::Open,
            Self::Full => Get::Full,
        }
    }

    fn of_put(self) -> Put {
        match self {
            Self::Late => Put::Late,
            Self::Refused => Put::Refused,
            Self::Down => Put::Down,
            Self::Open => Put::Open,
            Self::Full => Put::Full,
        }
    }
}

/// What a shard's [`Remote`] is made from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// `[cache.remote]`.
    pub settings: Settings,
    /// Addresses of the host in its url.
    pub addresses: Vec<SocketAddr>,
    /// What its TLS needs; `None` with a `redis://` url.
    pub tls: Option<Arc<ClientConfig>>,
    /// The shard's store of buffers.
    pub buffers: BufPool,
    /// Which shard.
    pub shard: usize,
    /// Seed of jitter and of the name under which this shard announces; must differ from shard
    /// to shard and from box to box.
    pub seed: u64,
}

/// What all parts share.
struct Common<H: Host> {
    host: H,
    buffers: BufPool,
    settings: Settings,
    names: Names,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    shard: u32,
    origin: u64,
    random: Cell<u64>,
    addresses: RefCell<Addresses>,
    counts: RefCell<Counts>,
    trouble: RefCell<Option<String>>,
    is_retired: Cell<bool>,
    /// Whoever waits for a line to come up, or for the end.
    keeper: Cell<Option<Waker>>,
    /// The keeper has something to do at once.
    is_hurried: Cell<bool>,
}

impl<H: Host> Common<H> {
    fn note(&self, what: Event) {
        self.counts.borrow_mut().note(what, 1);
    }

    /// The next random word (xorshift64*, Vigna 2016).
    fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Lets the keeper look at once.
    fn hurry(&self) {
        self.is_hurried.set(true);
        if let Some(keeper) = self.keeper.take() {
            keeper.wake();
        }
    }

    fn wall_millis(&self) -> u64 {
        self.host.wall_nanos() / 1_000_000
    }
}

/// An entry that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What was stored.
    pub payload: Vec<u8>,
    /// How old it is.
    pub age: Duration,
    /// How long it may be served from now on.
    pub left: Duration,
    /// The generations it was made in, for a copy that is kept elsewhere.
    pub stamp: Stamp,
}

/// How it stands.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// For metrics.
    pub total: Total,
    /// Calls whose reply has not come.
    pub in_flight: usize,
    /// Bytes of entries and announcements that are on their way.
    pub held: usize,
    /// Why the last connection could not be made or was lost; never a secret.
    pub trouble: Option<String>,
}

/// The shared tier of one shard. Its tasks end when it is dropped.
pub struct Remote<H: Host>(Rc<Inner<H>>);

impl<H: Host> fmt::Debug for Remote<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote")
            .field("url", &self.0.common.settings.url)
            .finish_non_exhaustive()
    }
}

impl<H: Host> Drop for Remote<H> {
    fn drop(&mut self) {
        self.0.retire();
    }
}

struct Inner<H: Host> {
    common: Rc<Common<H>>,
    seed: Node<H>,
    nodes: RefCell<Vec<Node<H>>>,
    map: RefCell<Map>,
    /// The map is in doubt.
    wants_map: Cell<bool>,
    generations: RefCell<Option<Rc<Generations>>>,
    /// Who waits for other ones.
    learner: Cell<Option<Waker>>,
    /// A look-up reads them.
    is_learning: Cell<bool>,
    held: Cell<usize>,
    /// Announcements so far.
    told: Cell<u64>,
    /// The last of the generations that the box has heeded; what others announce may be learnt
    /// from the first one on.
    heeded: Cell<Option<i64>>,
    /// Somebody listens to what they announce.
    is_heard: Cell<bool>,
}

impl<H: Host> Remote<H> {
    /// Starts to connect, in the background.
    ///
    /// # Errors
    /// When no certificate can be for the host in the url, which the configuration refuses.
    pub fn start(host: &H, setup: Setup) -> Result<Self, String> {
        let name = ServerName::try_from(setup.settings.url.host.clone());
        let name = name.map_err(|error| error.to_string());
        let tls = match setup.tls {
            None => None,
            Some(config) => {
                let mut config = ClientConfig::clone(&config);
                config.alpn_protocols.clear(); // it is not HTTP
                config.resumption = Resumption::in_memory_sessions(SESSIONS);
                Some((Arc::new(config), name?))
            }
        };
        let common = Rc::new(Common {
            host: host.clone(),
            buffers: setup.buffers,
            names: Names::new(&setup.settings.prefix),
            settings: setup.settings,
            tls,
            shard: u32::try_from(setup.shard).unwrap_or(u32::MAX),
            origin: setup.seed,
            random: Cell::new(setup.seed | 1),
            addresses: RefCell::new(Addresses::new(&setup.addresses)),
            counts: RefCell::default(),
            trouble: RefCell::default(),
            is_retired: Cell::new(false),
            keeper: Cell::default(),
            is_hurried: Cell::new(false),
        });
        let inner = Rc::new(Inner {
            seed: Node::start(&common, Place::Configured),
            common,
            nodes: RefCell::default(),
            map: RefCell::default(),
            wants_map: Cell::new(false),
            generations: RefCell::default(),
            learner: Cell::default(),
            is_learning: Cell::new(false),
            held: Cell::new(0),
            told: Cell::new(0),
            heeded: Cell::default(),
            is_heard: Cell::default(),
        });
        host.spawn(nodes::keep(Rc::clone(&inner)));
        Ok(Self(inner))
    }

    /// New addresses of the name `host` with `port`, where that is the one in its url.
    pub fn set_addresses(&self, (host, port): (&str, u16), addresses: &[SocketAddr]) {
        let url = &self.0.common.settings.url;
        if url.host == host && url.port == port {
            self.0.common.addresses.borrow_mut().replace(addresses);
        }
    }

    /// The addresses of the host in its url.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.common.addresses.borrow().iter().collect()
    }

    /// The generations as they were last read; `None`: not yet. Take them before a request goes
    /// upstream and give them to [`Remote::put`] with its answer. [`Generations::admits`] judges
    /// copies that are kept elsewhere; they are a second old at most while the server answers.
    pub fn generations(&self) -> Option<Rc<Generations>> {
        self.0.generations.borrow().clone()
    }

    /// The generations, once they are read and not `known`. One task at a time may wait for them.
    pub async fn newer(&self, known: Option<&Rc<Generations>>) -> Rc<Generations> {
        poll_fn(|cx| {
            self.0.learner.set(Some(cx.waker().clone()));
            let now = self.0.generations.borrow();
            let is_new = |now: &&Rc<Generations>| known.is_none_or(|it| !Rc::ptr_eq(it, now));
            now.as_ref()
                .filter(is_new)
                .map_or(Poll::Pending, |now| Poll::Ready(Rc::clone(now)))
        })
        .await
    }

    /// The entry under `key`, within the deadline; `None` for whatever reason, which is counted.
    pub async fn get(&self, key: &Key) -> Option<Found> {
        self.look(key).await.ok()
    }

    /// The entry under `key`, within the deadline.
    ///
    /// # Errors
    /// Why there is none; it is counted.
    pub async fn look(&self, key: &Key) -> Result<Found, Get> {
        let deadline = self.0.common.settings.deadline;
        let outcome = self.0.get(Way::Read, key, deadline).await;
        let what = match &outcome {
            Ok(_) => Get::Hit,
            Err(what) => *what,
        };
        self.0.common.counts.borrow_mut().note_get(what);
        outcome
    }

    /// The entry under `key`, which nobody waits for: within [`WRITE_MAX`], and on the connection
    /// for what may take longer. It is not counted as a look-up.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn fetch(&self, key: &Key) -> Result<Found, Get> {
        self.0.get(Way::Write, key, WRITE_MAX).await
    }

    /// Stores `payload` under `key` for `ttl`, in the background. `before` is what
    /// [`Remote::generations`] gave before the answer was asked for.
    pub fn put(
        &self,
        key: &Key,
        payload: &[u8],
        about: (&[&[u8]], Duration),
        before: Option<&Generations>,
    ) {
        self.put_and_tell(key, payload, about, (before, None));
    }

    /// The same, and then tells the other boxes `news` of it, if the server has taken it.
    pub fn put_and_tell(
        &self,
        key: &Key,
        payload: &[u8],
        (tags, ttl): (&[&[u8]], Duration),
        (before, news): (Option<&Generations>, Option<&[u8]>),
    ) {
        if let Err(what) = self.0.put(key, payload, (tags, ttl), (before, news)) {
            self.0.common.counts.borrow_mut().note_put(what);
        }
    }

    /// Takes the entry under `key` from the server and tells the other boxes `news` of it, in the
    /// background.
    pub fn withdraw(&self, key: &Key, news: &[u8]) {
        self.0.withdraw(key, news);
    }

    /// Purges for all boxes. When this ends well, no look-up that begins later, on any box,
    /// gives what was purged.
    ///
    /// # Errors
    /// Why it is not certain that it was done; it may have been.
    pub async fn purge(&self, what: Purge<'_>) -> Result<(), Why> {
        self.0.purge(what).await
    }

    /// Tells the other boxes of an entry, in the background: they get `news` as it is
    /// ([`news::listen`]). At most [`NEWS_MAX`] bytes.
    pub fn announce(&self, news: &[u8]) {
        self.0.announce(news);
    }

    /// The box has forgotten what was purged up to this version of the generations.
    pub fn heed(&self, version: i64) {
        self.0.heeded.set(Some(version));
    }

    /// The last version that the box has heeded, if it has one.
    pub fn heeded(&self) -> Option<i64> {
        self.0.heeded.get()
    }

    /// Whether somebody is to listen now: the box has heeded what was purged before, and nobody was
    /// told so yet.
    pub fn begins_to_listen(&self) -> bool {
        self.heeded().is_some() && !self.0.is_heard.replace(true)
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        self.0.status()
    }
}

impl<H: Host> Inner<H> {
    fn status(&self) -> Status {
        let nodes = self.nodes.borrow();
        let all = nodes.iter().chain([&self.seed]);
        let mut status = Status {
            held: self.held.get(),
            trouble: self.common.trouble.borrow().clone(),
            ..Status::default()
        };
        let total = &mut status.total;
        total.counts = *self.common.counts.borrow();
        for line in all.flat_map(|node| &node.lines) {
            total.lines.0 += u64::from(line.is_up());
            total.lines.1 += 1;
            total.open += u64::from(line.breaker() != State::Closed);
            status.in_flight += line.in_flight();
        }
        status
    }
}
