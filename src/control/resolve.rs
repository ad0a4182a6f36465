//! Names of providers to addresses, off the shards.
//!
//! ```text
//!   names ──► thread: look up what is due, at most 8 at once ──► changed? ──► control ──► shards
//!    ▲                 30 s after an answer, 5 s after a failure
//!    └── a reload gives other names
//! ```
//!
//! The system's resolver (`getaddrinfo`: hosts file, DNS, whatever nsswitch says) tells no time
//! to live, so an answer is looked up again after a fixed time, [`REFRESH`]. All its addresses
//! are used, IPv6 and IPv4, in its order (RFC 6724).
//!
//! Invariants
//! - I1 When a look-up fails, the addresses that are known stay in use, and it is repeated
//!   after [`RETRY`].
//! - I2 What has not changed is not told.

use crate::base::time::Instant;
use crate::config::Config;
use crate::host::bell::Ringer;
use crate::host::clock;
use crate::policy::addresses::ADDRESSES_MAX;
use crate::shard::orders::NewAddresses;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// When a name that resolved is looked up again.
pub const REFRESH: Duration = Duration::from_secs(30);

/// When a name that did not resolve is looked up again.
pub const RETRY: Duration = Duration::from_secs(5);

/// Look-ups at once: one dead name server must not hold up all names.
const AT_ONCE_MAX: usize = 8;

/// Updates on their way to control.
const UPDATES_MAX: usize = 64;

/// A name and a port.
pub type Name = (String, u16);

/// Looks a name up; may block.
pub type LookUp = fn(&str, u16) -> io::Result<Vec<SocketAddr>>;

/// The names that are watched from here on, with their addresses where they are known.
pub type Watch = Vec<(Name, Vec<SocketAddr>)>;

/// The resolver's thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Resolver {
    watch: SyncSender<Watch>,
    /// What has changed.
    pub updates: Receiver<NewAddresses>,
}

impl Resolver {
    /// Starts the thread. It rings `ringer` when there are updates.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(look_up: LookUp, watch: Watch, ringer: Ringer) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(1);
        let (update_end, updates) = sync_channel(UPDATES_MAX);
        let mut names = Names::default();
        names.watch(watch, clock::now());
        thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || run(look_up, names, &receiver, (&update_end, &ringer)))?;
        Ok(Self {
            watch: sender,
            updates,
        })
    }

    /// Watches these names from here on.
    pub fn watch(&self, watch: Watch) {
        drop(self.watch.try_send(watch)); // the last one is still on its way: a second later
    }
}

/// Every host and port of `config`: of the providers, in its order, then of the shared tier's
/// server, when there is one.
fn places(config: &Config) -> impl Iterator<Item = (&str, u16)> {
    let urls = config.providers.iter().map(|provider| &provider.base_url);
    let remote = config.cache.remote.iter().map(|remote| &remote.url);
    urls.map(|url| (url.host.as_str(), url.port))
        .chain(remote.map(|url| (url.host.as_str(), url.port)))
}

/// The names of `config` that are not addresses.
pub fn names(config: &Config) -> Vec<Name> {
    let is_name = |host: &str| host.parse::<IpAddr>().is_err();
    let mut names: Vec<_> = places(config)
        .filter(|(host, _)| is_name(host))
        .map(|(host, port)| (host.to_owned(), port))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// The addresses of every provider, in the order of the configuration, then those of the shared
/// tier's server, when there is one, out of `known`; an empty list where a name is not known.
pub fn addresses(config: &Config, known: &Watch) -> Vec<Vec<SocketAddr>> {
    let of = places(config).map(|(host, port)| {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return vec![SocketAddr::new(literal, port)];
        }
        let is_it = |((name, at), _): &&(Name, _)| name == host && *at == port;
        let found = known.iter().find(is_it);
        found.map(|(_, all)| all.clone()).unwrap_or_default()
    });
    of.collect()
}

/// Looks all of `names` up, at most [`AT_ONCE_MAX`] at once; an empty list where one fails.
pub fn look_all_up(look_up: LookUp, names: &[Name]) -> Watch {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            let addresses = look_up(&name.0, name.1).unwrap_or_default();
            found.push((name.clone(), addresses));
        }
        found
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..names.len().min(AT_ONCE_MAX))
            .map(|_| scope.spawn(work))
            .collect();
        // A worker that panicked found nothing: its names count as failed.
        let found = workers.into_iter().filter_map(|worker| worker.join().ok());
        found.flatten().collect()
    })
}

/// The system's resolver: the first [`ADDRESSES_MAX`] addresses, in its order.
///
/// # Errors
/// What it says.
#[expect(
    clippy::disallowed_methods,
    reason = "this runs on the resolver's threads, never on a shard"
)]
pub fn system(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    use std::net::ToSocketAddrs;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in (host, port).to_socket_addrs()? {
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

fn run(
    look_up: LookUp,
    mut names: Names,
    watch: &Receiver<Watch>,
    (updates, ringer): (&SyncSender<NewAddresses>, &Ringer),
) {
    loop {
        let due = names.due(clock::now());
        for (name, addresses) in look_all_up(look_up, &due) {
            let Some(update) = names.answered(&name, addresses, clock::now()) else {
                continue;
            };
            if updates.send(update).is_err() {
                return;
            }
            ringer.ring();
        }
        match watch.recv_timeout(names.next_due().since(clock::now())) {
            Ok(watch) => names.watch(watch, clock::now()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// A name that is watched.
#[derive(Debug)]
struct Watched {
    name: Name,
    addresses: Vec<SocketAddr>,
    due: Instant,
}

/// The names that are watched, and when each is looked up again.
#[derive(Debug, Default)]
struct Names(Vec<Watched>);

impl Names {
    /// These names from here on; what is known of a name stays.
    fn watch(&mut self, watch: Watch, now: Instant) {
        let mut before = std::mem::take(&mut self.0);
        for (name, addresses) in watch {
            let known = before.iter().position(|watched| watched.name == name);
            self.0.push(match known {
                Some(at) => before.swap_remove(at),
                None => Watched {
                    due: now + if addresses.is_empty() { RETRY } else { REFRESH },
                    name,
                    addresses,
                },
            });
        }
    }

    fn due(&self, now: Instant) -> Vec<Name> {
        let due = self.0.iter().filter(|watched| watched.due <= now);
        due.map(|watched| watched.name.clone()).collect()
    }

    fn next_due(&self) -> Instant {
        let due = self.0.iter().map(|watched| watched.due).min();
        due.unwrap_or(Instant::FAR)
    }

    /// A look-up of `name` gave `addresses`, none when it failed; what is to be told.
    fn answered(
        &mut self,
        name: &Name,
        addresses: Vec<SocketAddr>,
        now: Instant,
    ) -> Option<NewAddresses> {
        let watched = self.0.iter_mut().find(|watched| watched.name == *name)?;
        if addresses.is_empty() {
            watched.due = now + RETRY; // I1
            return None;
        }
        watched.due = now + REFRESH;
        // Name servers turn their answers about: another order is nothing new.
        let is_same = watched.addresses.len() == addresses.len()
            && addresses.iter().all(|at| watched.addresses.contains(at));
        if is_same {
            return None; // I2
        }
        watched.addresses.clone_from(&addresses);
        Some(NewAddresses {
            host: name.0.clone(),
            port: name.1,
            addresses,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos((1000 + seconds) * 1_000_000_000)
    }

    fn v4(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 80))
    }

    fn name(host: &str) -> Name {
        (host.to_owned(), 80)
    }

    /// Goal: I1 and I2, and the times. Method: a name that answers, fails, turns its answer
    /// about and moves.
    #[test]
    fn known_addresses_survive_a_failing_resolver() {
        let mut names = Names::default();
        names.watch(
            vec![(name("a"), vec![v4(1), v4(2)]), (name("b"), vec![])],
            at(0),
        );
        assert!(names.due(at(4)).is_empty());
        assert_eq!(names.due(at(5)), [name("b")], "it is not known: soon again");
        assert!(names.answered(&name("b"), vec![], at(5)).is_none());
        assert_eq!(names.due(at(10)), [name("b")]);
        let found = names.answered(&name("b"), vec![v4(9)], at(10)).unwrap();
        assert_eq!((found.host.as_str(), found.addresses), ("b", vec![v4(9)]));
        assert_eq!(names.due(at(30)), [name("a")]);
        assert!(names.answered(&name("a"), vec![], at(30)).is_none(), "I1");
        assert!(
            names
                .answered(&name("a"), vec![v4(2), v4(1)], at(35))
                .is_none(),
            "I2"
        );
        assert!(names.due(at(39)).is_empty());
        let six = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80));
        let moved = names
            .answered(&name("a"), vec![six, v4(3)], at(65))
            .unwrap();
        assert_eq!(moved.addresses, [six, v4(3)]);
        assert!(names.answered(&name("gone"), vec![v4(1)], at(65)).is_none());
    }

    /// Goal: a reload changes what is watched, and forgets nothing that stays.
    #[test]
    fn a_reload_keeps_what_is_known() {
        let mut names = Names::default();
        names.watch(
            vec![(name("a"), vec![v4(1)]), (name("b"), vec![v4(2)])],
            at(0),
        );
        names.watch(vec![(name("c"), vec![]), (name("b"), vec![])], at(20));
        assert_eq!(names.due(at(30)), [name("c"), name("b")]);
        assert!(
            names.answered(&name("b"), vec![v4(2)], at(30)).is_none(),
            "b was known"
        );
    }

    fn fake(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match host {
            "two" => Ok(vec![SocketAddr::new("::1".parse().unwrap(), port), v4(1)]),
            "late" => Ok(vec![v4(5)]),
            "panics" => panic!("a resolver that panics"),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Goal: many names are looked up, whatever becomes of single ones, and each provider gets
    /// its own. Method: a fake resolver; 20 names.
    #[test]
    fn every_provider_gets_the_addresses_of_its_name() {
        let mut all: Vec<_> = (0..20).map(|n| name(&format!("none-{n}"))).collect();
        all.push(name("two"));
        let known = look_all_up(fake, &all);
        assert_eq!(known.len(), 21);
        assert_eq!(known.iter().filter(|(_, all)| all.is_empty()).count(), 20);
        assert!(look_all_up(fake, &[name("panics")]).is_empty());
        let text = "[providers.a]\ndialect = \"openai\"\nbase_url = \"http://two\"\n\
                    [providers.b]\ndialect = \"openai\"\nbase_url = \"http://[::1]:7\"\n\
                    [providers.c]\ndialect = \"openai\"\nbase_url = \"http://none-3\"\n\
                    [cache.remote]\nurl = \"redis://none-4:7\"\n";
        let secrets = crate::config::FixedSecrets(&[]);
        let config = crate::config::check(text, &secrets).unwrap().config;
        let server = ("none-4".to_owned(), 7);
        assert_eq!(names(&config), [name("none-3"), server, name("two")]);
        let addresses = addresses(&config, &known);
        let literal: SocketAddr = "[::1]:7".parse().unwrap();
        let six = SocketAddr::new("::1".parse().unwrap(), 80);
        assert_eq!(addresses, [vec![six, v4(1)], vec![literal], vec![], vec![]]);
    }

    /// Goal: the thread looks a name up again that failed at first, tells what it found, rings,
    /// and ends with its owner. Method: the fake resolver; it takes [`RETRY`].
    #[test]
    fn a_name_that_failed_is_looked_up_again() {
        let ringer = Ringer::new().unwrap();
        let watch = vec![(name("late"), vec![]), (name("never"), vec![])];
        let resolver = Resolver::start(fake, watch, ringer).unwrap();
        let found = resolver.updates.recv_timeout(4 * RETRY).unwrap();
        assert_eq!(
            (found.host.as_str(), found.addresses),
            ("late", vec![v4(5)])
        );
        let Resolver { watch, updates } = resolver;
        drop(watch);
        let ended = updates.recv_timeout(4 * RETRY);
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected));
    }

    /// Goal: the system's resolver reads the hosts file, and fails on a name that cannot exist.
    #[test]
    fn localhost_is_an_address_of_this_machine() {
        let found = system("localhost", 7).unwrap();
        assert!(!found.is_empty() && found.iter().all(|at| at.ip().is_loopback()));
        assert!(found.iter().all(|at| at.port() == 7));
        assert!(system("name.invalid", 7).is_err(), "RFC 6761");
    }
}
