//! What a shard has for its TLS connections, and how control gives it.

use super::gate::Gate;
use crate::config::model::Provider;
use crate::wire::tls::Session;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::ProducesTickets;
use rustls::{ClientConfig, ServerConfig};
use std::sync::Arc;

/// Sessions that a shard remembers of each provider.
const SESSIONS: usize = 64;

/// What all shards share: made by control, never changed.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Of the listeners; `None`: they speak plain HTTP.
    pub server: Option<Arc<ServerConfig>>,
    /// By provider, in the order of the configuration; `None`: plain HTTP.
    pub clients: Vec<Option<Arc<ClientConfig>>>,
    /// Of the shared tier's server; `None`: clear text, or there is none.
    pub remote: Option<Arc<ClientConfig>>,
    /// The keys of tickets, so that a client may come back to another shard.
    pub tickets: Arc<dyn ProducesTickets>,
}

impl TlsFiles {
    /// What connections of the provider at this index need.
    pub fn client(&self, provider: usize) -> Option<&Arc<ClientConfig>> {
        self.clients.get(provider)?.as_ref()
    }
}

/// A provider's side of it.
#[derive(Debug)]
pub struct UpstreamTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    /// Handshakes at once.
    pub gate: Gate,
}

impl UpstreamTls {
    /// For `provider`, on one of `shards`; sessions are remembered here alone. `None` when no
    /// certificate can be for its host, which the configuration refuses.
    pub fn new(provider: &Provider, config: &ClientConfig, shards: usize) -> Option<Self> {
        let mut config = config.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Some(Self {
            config: Arc::new(config),
            name: ServerName::try_from(provider.base_url.host.clone()).ok()?,
            gate: Gate::new(provider.tls.handshakes_max.div_ceil(shards.max(1))),
        })
    }

    /// A fresh connection's session. `None` when rustls refuses the configuration.
    pub fn session(&self) -> Option<Session> {
        Session::client(&self.config, &self.name).ok()
    }
}
