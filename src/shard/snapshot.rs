//! A configuration in force, and what a shard has made of it: an exchange keeps the one that
//! it began with.
//!
//! ```text
//!   Edition (control) ──prepare──► Snapshot ──commit──► Shard's current one
//!                                     │
//!     templates, rotations, shares ◄──┴──► pools and addresses, shared with the one before
//!     of its own                           where the provider's endpoint is the same
//! ```
//!
//! Invariants
//! - S1 A snapshot's configuration, templates and shares never change.
//! - S2 A pool that no current snapshot shares keeps nothing: what comes back is closed.

use super::Shard;
use super::pool::Pool;
use super::tls::{TlsFiles, UpstreamTls};
use crate::base::time::Instant;
use crate::config::Config;
use crate::config::diff::{Kept, Places, Roster};
use crate::config::model::Provider;
use crate::exchange::upstream::Template;
use crate::host::{Host, Link};
use crate::policy::addresses::{Addresses, Tour};
use crate::policy::rotation::Rotations;
use rustls::{ClientConfig, ServerConfig};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A configuration that control wants in force, for all shards alike.
#[derive(Clone, Debug)]
pub struct Edition {
    /// Its number: 1 at the start, one more with each reload.
    pub epoch: u64,
    /// The checked configuration.
    pub config: Arc<Config>,
    /// The numbers under which its names are counted.
    pub places: Places,
    /// What it keeps of the edition before.
    pub kept: Kept,
    /// What TLS needs; `None`: there is none.
    pub tls: Option<Arc<TlsFiles>>,
    /// Addresses of each provider, then of the shared tier's server, when there is one; of names
    /// that the edition before had, a shard knows more.
    pub addresses: Vec<Vec<SocketAddr>>,
}

impl Edition {
    /// The first one of a process.
    pub fn first(
        config: Arc<Config>,
        addresses: Vec<Vec<SocketAddr>>,
        tls: Option<Arc<TlsFiles>>,
    ) -> Self {
        Self {
            epoch: 1,
            places: Roster::default().enter(&config),
            config,
            kept: Kept::default(),
            tls,
            addresses,
        }
    }
}

/// What a shard knows of a provider.
#[derive(Debug)]
pub struct Upstream<L> {
    /// Its idle connections.
    pub pool: Rc<Pool<L>>,
    /// The parts of a request head that never change.
    pub template: Template,
    addresses: Rc<RefCell<Addresses>>,
    /// What its TLS needs; `None`: it is asked in clear text.
    tls: Option<Rc<UpstreamTls>>,
}

impl<L> Upstream<L> {
    /// What its TLS needs; `None`: it is asked in clear text.
    pub fn tls(&self) -> Option<Rc<UpstreamTls>> {
        self.tls.clone()
    }

    /// A new connection begins: its way through the addresses.
    pub fn begin_tour(&self) -> Tour {
        self.addresses.borrow_mut().begin()
    }

    /// The next address of `tour`.
    pub fn next_address(&self, tour: &mut Tour, now: Instant) -> Option<SocketAddr> {
        self.addresses.borrow().next(tour, now)
    }

    /// A connection to `at` was accepted.
    pub fn note_connected(&self, at: SocketAddr) {
        self.addresses.borrow_mut().worked(at);
    }

    /// `at` refused, or did not answer.
    pub fn note_unreachable(&self, at: SocketAddr, now: Instant) {
        self.addresses.borrow_mut().failed(at, now);
    }

    /// How many addresses there are, and how many of them are tried last at `now`.
    pub fn count_addresses(&self, now: Instant) -> (usize, usize) {
        let addresses = self.addresses.borrow();
        (addresses.iter().count(), addresses.failing(now))
    }
}

/// What a shard needs for the shared tier, beside its settings.
#[derive(Debug)]
pub struct RemoteNeeds {
    /// Addresses of the host in its url; none where the edition before had that name.
    pub addresses: Vec<SocketAddr>,
    /// What its TLS needs; `None`: clear text.
    pub tls: Option<Arc<ClientConfig>>,
}

impl RemoteNeeds {
    /// Those of `edition`; `None`: it has no shared tier.
    pub fn of(edition: &Edition) -> Option<Self> {
        edition.config.cache.remote.as_ref()?;
        let addresses = edition.addresses.get(edition.config.providers.len());
        Some(Self {
            addresses: addresses.cloned().unwrap_or_default(),
            tls: edition.tls.as_ref().and_then(|tls| tls.remote.clone()),
        })
    }
}

/// What a shard works with.
#[derive(Debug)]
pub struct Snapshot<L> {
    /// Its number.
    pub epoch: u64,
    /// The checked configuration.
    pub config: Arc<Config>,
    /// The numbers under which its names are counted.
    pub places: Places,
    /// What new connections of clients speak; `None`: plain HTTP.
    pub server_tls: Option<Arc<ServerConfig>>,
    /// By provider, in the order of the configuration.
    pub upstreams: Vec<Upstream<L>>,
    /// What the shared tier needs, when there is one.
    pub remote: Option<RemoteNeeds>,
    /// Whose turn it is among the targets of each model.
    pub rotations: RefCell<Rotations>,
    /// Models whose turn is where it was: their index in the snapshot before.
    kept_models: Vec<Option<usize>>,
    /// This shard's share of `limits.streams_max`.
    pub exchanges_max: u64,
    /// This shard's share of `limits.queue_max`.
    pub queue_max: usize,
    /// This shard's share of `limits.connections_max`.
    pub connections_max: u64,
    /// This shard's share of `limits.bodies_max`, in bytes.
    pub buffers_max: usize,
}

/// A shard, and the snapshot that an exchange on it began with.
pub type Served<'a, H> = (&'a Rc<Shard<H>>, &'a Rc<Snapshot<<H as Host>::Stream>>);

impl<L: Link> Snapshot<L> {
    /// What shard `index` of `shards` makes of `edition`, with what it has of the snapshot
    /// before. Nothing of that one is changed.
    pub fn new(edition: &Edition, before: Option<&Self>, (index, shards): (usize, usize)) -> Self {
        let config = &edition.config;
        let share = |all: usize| all.div_ceil(shards.max(1));
        let upstreams = config.providers.iter().enumerate().map(|(at, provider)| {
            let kept = edition.kept.providers.get(at).copied().flatten();
            let old = kept.and_then(|at| before?.upstreams.get(at));
            let pool = old.map_or_else(
                || Rc::new(Pool::new(provider.pool)),
                |old| Rc::clone(&old.pool),
            );
            let client = edition.tls.as_ref().and_then(|tls| tls.client(at));
            let tls = client.and_then(|client| UpstreamTls::new(provider, client, shards));
            let fresh = edition.addresses.get(at).map(Vec::as_slice);
            Upstream {
                pool,
                template: Template::new(provider),
                addresses: addresses(before, provider, fresh.unwrap_or_default()),
                tls: tls.map(Rc::new),
            }
        });
        Self {
            epoch: edition.epoch,
            places: edition.places.clone(),
            server_tls: edition.tls.as_ref().and_then(|tls| tls.server.clone()),
            upstreams: upstreams.collect(),
            remote: RemoteNeeds::of(edition),
            rotations: RefCell::new(Rotations::new(config, index)),
            kept_models: edition.kept.models.clone(),
            exchanges_max: share(config.limits.streams_max) as u64,
            queue_max: share(config.limits.queue_max),
            connections_max: share(config.limits.connections_max) as u64,
            buffers_max: share(config.limits.bodies_max),
            config: Arc::clone(config),
        }
    }

    /// It comes into force in place of `before`: the turns go on where they are now, pools take
    /// the new settings, and those that are not shared any more close what they keep (S2).
    pub fn go_on_from(&self, before: &Self) {
        let mut rotations = self.rotations.borrow_mut();
        rotations.take_over(&before.rotations.borrow(), &self.kept_models);
        for (upstream, provider) in self.upstreams.iter().zip(&self.config.providers) {
            upstream.pool.set(provider.pool);
        }
        for old in &before.upstreams {
            let is_shared = |new: &Upstream<L>| Rc::ptr_eq(&new.pool, &old.pool);
            if !self.upstreams.iter().any(is_shared) {
                old.pool.retire();
            }
        }
    }

    /// New addresses of a name.
    pub fn set_addresses(&self, host: &str, port: u16, addresses: &[SocketAddr]) {
        for (upstream, provider) in self.upstreams.iter().zip(&self.config.providers) {
            if is_at(provider, host, port) {
                upstream.addresses.borrow_mut().replace(addresses);
            }
        }
    }
}

fn is_at(provider: &Provider, host: &str, port: u16) -> bool {
    provider.base_url.host == host && provider.base_url.port == port
}

/// The addresses of `provider`: what the snapshot before knows of its name, else `fresh`.
fn addresses<L>(
    before: Option<&Snapshot<L>>,
    provider: &Provider,
    fresh: &[SocketAddr],
) -> Rc<RefCell<Addresses>> {
    let known = before.and_then(|before| {
        let mut pairs = before.upstreams.iter().zip(&before.config.providers);
        let (host, port) = (&provider.base_url.host, provider.base_url.port);
        pairs.find(|(_, old)| is_at(old, host, port))
    });
    match known {
        Some((old, _)) => Rc::clone(&old.addresses),
        None => Rc::new(RefCell::new(Addresses::new(fresh))),
    }
}
