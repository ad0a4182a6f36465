//! The listening sockets of the process: one for each shard and address, made once and known
//! by name, so that they can outlive it.
//!
//! ```text
//!   socket unit ────────┐
//!   descriptor store ───┼─► matched by address and name ──► shard 0 … n
//!   running process ────┘          │ missing ones are bound      │
//!                                  └► not in server.listen: closed, and said
//! ```
//!
//! Invariants
//! - I1 Every socket that is kept is accepted on by exactly one shard, also when there are
//!   more of them than shards: nobody waits in a queue that is not served.
//! - I2 A socket keeps its name, so that the same shard gets it again.
//!
//! Source: `sd_pid_notify_with_fds(3)`; `SO_REUSEPORT` in socket(7).

use crate::config::model::defaults::SHARDS_MAX;
use crate::host::listen::{address, adopt, bind};
use crate::sys::inherit::Inherited;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the name of a listener begins with.
const PREFIX: &str = "shardgate-";

/// The name of the admin plane's listener.
const ADMIN: &str = "shardgate-admin";

/// A listening socket.
#[derive(Debug)]
struct Listener {
    /// Which of its address it is; the shard of the same number has it, as long as there is
    /// one.
    slot: usize,
    /// Which entry of `server.listen` it belongs to.
    entry: usize,
    /// It came from a socket unit, which keeps it.
    is_lent: bool,
    fd: OwnedFd,
}

impl Listener {
    fn name(&self) -> String {
        format!("{PREFIX}{}-{}", self.slot, self.entry)
    }
}

/// The listening sockets of this process.
#[derive(Debug, Default)]
pub struct Listeners {
    sockets: Vec<Listener>,
    /// The addresses of the data plane, as they were bound.
    pub addresses: Vec<SocketAddr>,
    /// The admin plane's socket and address.
    admin: Option<(OwnedFd, SocketAddr)>,
    shards: usize,
    /// Somebody keeps them for the next process: a service manager, or a socket unit.
    is_kept: bool,
    /// The sockets live on somewhere else, so they must not be hushed here.
    is_shared: Arc<AtomicBool>,
    /// What to tell the operator.
    pub notes: Vec<String>,
}

/// A socket from somewhere else, looked at.
struct Offer {
    name: Option<(usize, usize)>,
    is_admin: bool,
    at: SocketAddr,
    fd: OwnedFd,
    said: String,
}

impl Offer {
    fn new(from: Inherited) -> Result<Self, String> {
        let Inherited { name, fd } = from;
        let refused = |error: io::Error| {
            format!("the inherited socket {name:?} is no TCP socket to listen on: {error}")
        };
        let at = address(&fd).map_err(refused)?;
        let fd = adopt(fd).map_err(refused)?;
        let numbers = name.strip_prefix(PREFIX).and_then(|s| s.split_once('-'));
        let number = |text: &str| text.parse::<usize>().ok();
        Ok(Self {
            name: numbers.and_then(|(slot, entry)| Some((number(slot)?, number(entry)?))),
            is_admin: name == ADMIN,
            at,
            fd,
            said: name,
        })
    }

    /// Whether it is a socket for `at`, the entry number `entry`.
    fn fits(&self, at: SocketAddr, entry: usize) -> bool {
        let is_port = if at.port() == 0 {
            self.name.is_some_and(|(_, named)| named == entry)
        } else {
            self.at.port() == at.port()
        };
        !self.is_admin && is_port && self.at.ip() == at.ip()
    }
}

impl Listeners {
    /// The sockets for `listen` and `admin` on `shards` shards: those of `inherited` that fit,
    /// and new ones.
    ///
    /// # Errors
    /// What cannot be listened on.
    pub fn open(
        (listen, admin): (&[SocketAddr], Option<SocketAddr>),
        shards: usize,
        inherited: Vec<Inherited>,
    ) -> Result<Self, String> {
        let shards = shards.max(1);
        let mut offers = Vec::with_capacity(inherited.len());
        for from in inherited {
            offers.push(Offer::new(from)?);
        }
        let mut all = Self {
            shards,
            ..Self::default()
        };
        all.admin = admin.map(|at| open_admin(at, &mut offers)).transpose()?;
        for (entry, &at) in listen.iter().enumerate() {
            let (mine, others) = offers.into_iter().partition(|o: &Offer| o.fits(at, entry));
            offers = others;
            all.open_entry(entry, at, mine)?;
        }
        if all.sockets.iter().any(|one| one.is_lent) {
            all.keep();
        }
        all.notes.extend(offers.iter().map(|offer| {
            format!(
                "closed the inherited socket {:?} at {}: server.listen and server.admin do not name it",
                offer.said, offer.at
            )
        }));
        Ok(all)
    }

    /// The sockets of one address.
    fn open_entry(
        &mut self,
        entry: usize,
        at: SocketAddr,
        offers: Vec<Offer>,
    ) -> Result<(), String> {
        let mut bound = offers.first().map_or(at, |offer| offer.at);
        let mut slots = place(offers, entry, self.shards);
        for slot in 0..self.shards {
            if slots.get(slot).is_some_and(Option::is_some) {
                continue;
            }
            let (fd, is_lent) = match bind(bound) {
                Ok(fd) => (fd, false),
                // Its owner did not say SO_REUSEPORT, or is another user: then it is shared.
                Err(error) => {
                    let other = slots.iter().flatten().next();
                    let other = other.filter(|_| error.kind() == io::ErrorKind::AddrInUse);
                    let other = other.ok_or_else(|| failed(at, "listen", &error))?;
                    self.note_shared(bound);
                    let fd = other.fd.try_clone();
                    (
                        fd.map_err(|error| failed(at, "listen", &error))?,
                        other.is_lent,
                    )
                }
            };
            // The first shard's port is everybody's, also where the file says 0.
            bound = address(&fd).map_err(|error| failed(at, "listen", &error))?;
            let socket = Listener {
                slot,
                entry,
                is_lent,
                fd,
            };
            if let Some(place) = slots.get_mut(slot) {
                *place = Some(socket);
            }
        }
        self.addresses.push(bound);
        self.sockets.extend(slots.into_iter().flatten());
        Ok(())
    }

    /// A service manager keeps all of them.
    pub fn keep(&mut self) {
        self.is_kept = true;
        self.lend(false);
    }

    /// A successor may have them, or has failed to take them.
    pub fn lend(&self, is_lent: bool) {
        let is_shared = is_lent || self.is_kept;
        self.is_shared.store(is_shared, Ordering::Relaxed);
    }

    /// Whether the sockets live on somewhere else; changes.
    pub fn shared(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_shared)
    }

    fn note_shared(&mut self, at: SocketAddr) {
        let text = format!(
            "one socket at {at} serves several shards; with ReusePort=yes, a ListenStream= for \
             each shard and the gateway's user as its owner each has its own"
        );
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// The sockets that shard `index` accepts on (I1).
    ///
    /// # Errors
    /// No descriptor left.
    pub fn of(&self, index: usize) -> io::Result<Vec<OwnedFd>> {
        let mine = |one: &&Listener| one.slot % self.shards == index;
        let sockets = self.sockets.iter().filter(mine);
        sockets.map(|one| one.fd.try_clone()).collect()
    }

    /// The admin plane's socket and its address.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn admin(&self) -> io::Result<Option<(OwnedFd, SocketAddr)>> {
        let Some((fd, at)) = &self.admin else {
            return Ok(None);
        };
        Ok(Some((fd.try_clone()?, *at)))
    }

    /// What a successor needs, by name.
    pub fn named(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        let admin = self
            .admin
            .iter()
            .map(|(fd, _)| (ADMIN.to_owned(), fd.as_fd()));
        let data = self.sockets.iter().map(|one| (one.name(), one.fd.as_fd()));
        data.chain(admin)
    }

    /// What a service manager should keep for a restart: all but what it has already.
    pub fn to_store(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        let own = self.sockets.iter().filter(|one| !one.is_lent);
        own.map(|one| (one.name(), one.fd.as_fd()))
    }
}

/// Puts each socket into the slot of its name, the others into what is free (I2); at least
/// one slot for each shard.
fn place(offers: Vec<Offer>, entry: usize, shards: usize) -> Vec<Option<Listener>> {
    let mut slots: Vec<Option<Listener>> = Vec::new();
    let mut put = |slot: usize, offer: Offer| {
        slots.resize_with(slots.len().max(slot + 1), || None);
        match slots.get_mut(slot) {
            Some(place @ None) => {
                let is_lent = offer.name.is_none();
                *place = Some(Listener {
                    slot,
                    entry,
                    is_lent,
                    fd: offer.fd,
                });
                None
            }
            _ => Some(offer),
        }
    };
    let mut others = Vec::new();
    for offer in offers {
        match offer.name {
            Some((slot, _)) if slot < SHARDS_MAX => others.extend(put(slot, offer)),
            _ => others.push(offer),
        }
    }
    let mut slot = 0;
    for mut offer in others {
        while let Some(again) = put(slot, offer) {
            (offer, slot) = (again, slot + 1);
        }
    }
    slots.resize_with(slots.len().max(shards), || None);
    slots
}

fn open_admin(at: SocketAddr, offers: &mut Vec<Offer>) -> Result<(OwnedFd, SocketAddr), String> {
    let fits = |offer: &Offer| {
        let is_port = at.port() == offer.at.port() || (at.port() == 0 && offer.is_admin);
        is_port && offer.at.ip() == at.ip()
    };
    if let Some(index) = offers.iter().position(fits) {
        let offer = offers.swap_remove(index);
        return Ok((offer.fd, offer.at));
    }
    let failed = |error: io::Error| failed(at, "admin", &error);
    let fd = bind(at).map_err(failed)?;
    let at = address(&fd).map_err(failed)?;
    Ok((fd, at))
}

fn failed(at: SocketAddr, key: &str, error: &io::Error) -> String {
    format!("cannot listen on {at} (server.{key}): {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(listeners: &Listeners) -> Vec<Inherited> {
        let take = |(name, fd): (String, BorrowedFd<'_>)| Inherited {
            name,
            fd: fd.try_clone_to_owned().unwrap(),
        };
        listeners.named().map(take).collect()
    }

    fn any() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    /// The names that each shard serves.
    fn served(listeners: &Listeners) -> Vec<Vec<String>> {
        let of = |index| {
            let mine = |one: &&Listener| one.slot % listeners.shards == index;
            let mut names: Vec<_> = listeners
                .sockets
                .iter()
                .filter(mine)
                .map(Listener::name)
                .collect();
            names.sort();
            names
        };
        (0..listeners.shards).map(of).collect()
    }

    /// Goal: I1, I2. Method: two shards hand over to one, to two and to three; all addresses
    /// stay, every socket is served by one shard, and what is missing is bound.
    #[test]
    fn every_socket_is_served_whatever_the_number_of_shards() {
        let first = Listeners::open((&[any(), any()], Some(any())), 2, vec![]).unwrap();
        let want: [&[&[&str]]; 3] = [
            &[&[
                "shardgate-0-0",
                "shardgate-0-1",
                "shardgate-1-0",
                "shardgate-1-1",
            ]],
            &[
                &["shardgate-0-0", "shardgate-0-1"],
                &["shardgate-1-0", "shardgate-1-1"],
            ],
            &[
                &["shardgate-0-0", "shardgate-0-1"],
                &["shardgate-1-0", "shardgate-1-1"],
                &["shardgate-2-0", "shardgate-2-1"],
            ],
        ];
        for (shards, want) in (1..).zip(want) {
            let next =
                Listeners::open((&[any(), any()], Some(any())), shards, handed(&first)).unwrap();
            assert_eq!(next.addresses, first.addresses);
            assert_eq!(
                next.admin().unwrap().unwrap().1,
                first.admin().unwrap().unwrap().1
            );
            assert_eq!(served(&next), want);
            assert!(next.notes.is_empty(), "{:?}", next.notes);
        }
    }

    /// Goal: an address that is no longer in the file is given up, and said.
    #[test]
    fn what_the_file_does_not_name_is_closed() {
        let first = Listeners::open((&[any()], None), 1, vec![]).unwrap();
        let other: SocketAddr = "127.0.0.2:0".parse().unwrap();
        let next = Listeners::open((&[other], None), 1, handed(&first)).unwrap();
        assert_eq!(next.notes.len(), 1, "{:?}", next.notes);
        assert_ne!(next.addresses, first.addresses);
    }

    /// Goal: a socket that nobody may stand beside is shared by all shards, and not stored.
    #[test]
    fn a_socket_without_reuseport_is_shared() {
        let unit = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = unit.local_addr().unwrap();
        let from = Inherited {
            name: "shardgate.socket".to_owned(),
            fd: unit.into(),
        };
        let all = Listeners::open((&[at], None), 2, vec![from]).unwrap();
        assert_eq!(all.addresses, [at]);
        assert_eq!((all.of(0).unwrap().len(), all.of(1).unwrap().len()), (1, 1));
        assert_eq!(all.to_store().count(), 0);
        assert_eq!(all.notes.len(), 1);
    }
}
