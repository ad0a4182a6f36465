//! Reads certificates for all shards, and reads them again when their files change.
//!
//! ```text
//!   load(config) ──► TlsFiles ──Arc──► every shard at its start
//!   Watch: files changed, and at rest since one look? ──► ServerConfig ──order──► every shard
//! ```
//!
//! Invariants
//! - I1 Files that are wrong change nothing: the certificate before goes on.
//! - I2 Tickets go on over a new certificate, unless clients need certificates: then an
//!   authority that is trusted no more must not live on in old tickets.

use crate::base::time::Instant;
use crate::config::Config;
use crate::config::model::Scheme;
use crate::config::tls::{PEM_MAX, ServerTls};
use crate::shard::tls::TlsFiles;
use crate::wire::tls::files::{self, Part, Texts};
use rustls::server::ProducesTickets;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

/// How often the files are looked at. A change is taken up after two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Everything that the shards of `config` need for TLS; a reload gives what is in force.
///
/// # Errors
/// What is wrong, with the path of the file.
pub fn load(config: &Config, before: Option<&TlsFiles>) -> Result<TlsFiles, String> {
    let has_client_ca = |tls: &ServerTls| tls.client_ca.is_some();
    let asks_clients = config.server.tls.as_ref().is_some_and(has_client_ca);
    let tickets = match before {
        Some(before) if !asks_clients => Arc::clone(&before.tickets), // I2
        _ => files::tickets().map_err(|error| error.to_string())?,
    };
    let server = match &config.server.tls {
        Some(tls) => Some(load_server(tls, &tickets)?),
        None => None,
    };
    Ok(TlsFiles {
        server,
        clients: clients(config)?,
        remote: remote(config)?,
        tickets,
    })
}

/// The listeners' part of it.
///
/// # Errors
/// As [`load`].
pub fn load_server(
    tls: &ServerTls,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, String> {
    let (cert, key) = (read(&tls.cert)?, read(&tls.key)?);
    let client_ca = tls.client_ca.as_deref().map(read).transpose()?;
    let texts = Texts {
        cert: &cert,
        key: &key,
        client_ca: client_ca.as_deref(),
    };
    files::server(texts, tickets).map_err(|wrong| {
        let path = match wrong.part {
            Part::Cert => &tls.cert,
            Part::Key => &tls.key,
            Part::ClientCa => tls.client_ca.as_ref().unwrap_or(&tls.cert),
        };
        format!("the file {path} {}", wrong.what)
    })
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let failed = |why: String| format!("the file {path} cannot be read: {why}");
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(PEM_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(error.to_string()))?;
    if bytes.len() > PEM_MAX {
        return Err(failed(format!("it is larger than {PEM_MAX} bytes")));
    }
    Ok(bytes)
}

/// By provider: what its connections need. The system's authorities are read once.
fn clients(config: &Config) -> Result<Vec<Option<Arc<ClientConfig>>>, String> {
    let mut system: Option<Arc<RootCertStore>> = None;
    let mut plain: Option<Arc<ClientConfig>> = None;
    let mut clients = Vec::with_capacity(config.providers.len());
    for provider in &config.providers {
        if provider.base_url.scheme == Scheme::Http {
            clients.push(None);
            continue;
        }
        let roots = Arc::clone(system.get_or_insert_with(|| Arc::new(system_roots())));
        let failed = |why: String| {
            let name = &provider.name;
            format!("providers.{name}: no TLS: {why}; install ca-certificates or name tls.ca")
        };
        let client = match (&provider.tls.ca, &plain) {
            (None, Some(client)) => Arc::clone(client),
            (None, None) => {
                let client = Arc::new(files::client(&roots).map_err(failed)?);
                Arc::clone(plain.insert(client))
            }
            (Some(ca), _) => {
                let mut roots = RootCertStore::clone(&roots);
                roots.add_parsable_certificates(ca.certs.iter().cloned());
                Arc::new(files::client(&Arc::new(roots)).map_err(failed)?)
            }
        };
        clients.push(Some(client));
    }
    Ok(clients)
}

/// What connections to the shared tier's server need.
fn remote(config: &Config) -> Result<Option<Arc<ClientConfig>>, String> {
    let Some(remote) = config.cache.remote.as_ref().filter(|it| it.url.is_tls) else {
        return Ok(None);
    };
    let mut roots = system_roots();
    if let Some(ca) = &remote.ca {
        roots.add_parsable_certificates(ca.certs.iter().cloned());
    }
    let client = files::client(&Arc::new(roots));
    let client = client.map_err(|why| {
        format!("cache.remote: no TLS: {why}; install ca-certificates or name tls.ca")
    });
    client.map(|client| Some(Arc::new(client)))
}

/// The system's authorities; those that cannot be read are left out.
fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// What tells one state of a file from another: device, inode, length, times.
type Look = [i64; 5];

fn look_at(metadata: &Metadata) -> Look {
    [
        i64::from_ne_bytes(metadata.ino().to_ne_bytes()),
        i64::from_ne_bytes(metadata.len().to_ne_bytes()),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime_nsec(),
    ]
}

/// Watches the listeners' files.
#[derive(Debug)]
pub struct Watch {
    tls: Option<ServerTls>,
    tickets: Arc<dyn ProducesTickets>,
    /// What the files looked like when they were read.
    read: Vec<Option<Look>>,
    /// What they looked like the last time.
    seen: Vec<Option<Look>>,
    next: Instant,
}

impl Watch {
    /// Begins with the files as they are at `now`.
    pub fn new(config: &Config, files: &TlsFiles, now: Instant) -> Self {
        let mut watch = Self {
            tls: config.server.tls.clone(),
            tickets: Arc::clone(&files.tickets),
            read: Vec::new(),
            seen: Vec::new(),
            next: now + LOOK,
        };
        watch.read = watch.looks();
        watch.seen.clone_from(&watch.read);
        watch
    }

    /// What came of a look, when the files have changed and are at rest.
    pub fn look(&mut self, now: Instant) -> Option<Result<Arc<ServerConfig>, String>> {
        let tls = self.tls.as_ref().filter(|_| now >= self.next)?;
        self.next = now + LOOK;
        let looks = self.looks();
        let is_at_rest = looks == self.seen;
        self.seen.clone_from(&looks);
        if !is_at_rest || looks == self.read {
            return None;
        }
        self.read = looks;
        if tls.client_ca.is_some() {
            match files::tickets() {
                Ok(tickets) => self.tickets = tickets, // I2
                Err(error) => return Some(Err(error.to_string())),
            }
        }
        Some(load_server(tls, &self.tickets))
    }

    fn looks(&self) -> Vec<Option<Look>> {
        let Some(tls) = &self.tls else {
            return Vec::new();
        };
        let paths = [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()];
        let looks = paths.into_iter().flatten();
        looks
            .map(|path| std::fs::metadata(path).ok().as_ref().map(look_at))
            .collect()
    }
}
