//! Names of providers to addresses, off the shards.
//!
//! A thread asks the system's resolver at start and then every [`REFRESH`]. When it fails
//! the addresses that are known stay in use.

use crate::config::Config;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// How often names are looked up again.
const REFRESH: Duration = Duration::from_secs(30);

/// Addresses of a name that are used, at most.
const ADDRESSES_MAX: usize = 16;

/// New addresses of the provider at an index.
pub type Update = (usize, Vec<SocketAddr>);

/// Looks up the addresses of every provider, in the order of the configuration; an empty
/// list where the name does not resolve.
pub fn all(config: &Config) -> Vec<Vec<SocketAddr>> {
    let providers = config.providers.iter();
    providers
        .map(|p| look_up(&p.base_url.host, p.base_url.port).unwrap_or_default())
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "this runs on its own thread, never on a shard"
)]
fn look_up(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    use std::net::ToSocketAddrs;
    if let Ok(literal) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(literal, port)]);
    }
    let mut addresses: Vec<_> = (host, port)
        .to_socket_addrs()?
        .take(ADDRESSES_MAX)
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// Starts the resolver's thread, if any provider has a name; `known` is what the shards have.
/// The thread ends when the other end of `stop` is dropped; it ends when `stop`'s other
/// end is dropped.
///
/// # Errors
/// When the thread cannot be started.
pub fn start(
    config: &Arc<Config>,
    known: Vec<Vec<SocketAddr>>,
    stop: Receiver<()>,
) -> io::Result<Receiver<Update>> {
    let (sender, receiver) = sync_channel(config.providers.len().max(1));
    let is_name = |host: &str| host.parse::<IpAddr>().is_err();
    if config
        .providers
        .iter()
        .any(|provider| is_name(&provider.base_url.host))
    {
        let config = Arc::clone(config);
        thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || refresh(&config, known, &sender, &stop))?;
    }
    Ok(receiver)
}

fn refresh(
    config: &Config,
    mut known: Vec<Vec<SocketAddr>>,
    sender: &SyncSender<Update>,
    stop: &Receiver<()>,
) {
    loop {
        for (index, provider) in config.providers.iter().enumerate() {
            let Ok(fresh) = look_up(&provider.base_url.host, provider.base_url.port) else {
                continue;
            };
            let Some(old) = known.get_mut(index) else {
                continue;
            };
            if *old != fresh && !fresh.is_empty() && sender.send((index, fresh.clone())).is_ok() {
                *old = fresh;
            }
        }
        if stop.recv_timeout(REFRESH) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}
