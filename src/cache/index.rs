//! One shard's index of stored answers, and its part of what the box keeps.
//!
//! ```text
//!              get            store (own answer)
//!               │                │
//!   ┌───────────▼────────────────▼──────────┐   Message    ┌──────────────┐
//!   │ slots: Key → entry · Home | Mirror    │◄────────────►│ other shards │
//!   │ queues: of the keys whose home it is  │   (gossip)   └──────────────┘
//!   └───────────────────────────────────────┘
//! ```
//!
//! Every shard has every entry: one `Arc`, a place in each index, and a hit waits for nobody. What
//! is kept is decided once for the box: each key has a home, the shard that its bits name, which
//! gives it a place within its share of `memory_max` and tells the others what is kept and what is
//! not. How often something was asked for elsewhere is told to the home in batches.
//!
//! A shard gives its own new entry at once, before its home has answered; unless the home says
//! within [`OFFER_WAIT`] that it is kept, it is forgotten.
//!
//! Invariants
//! - X1 What is given is stored under the very key that was asked for, is not over, and was not
//!   purged.
//! - X2 Loss, delay, doubling and another order of messages cost hits, and nothing else.
//! - X3 What all shards keep is within `memory_max`, indexes included: see [`Account`]; the shares
//!   of the homes leave room for entries on their way.
//!
//! [`Account`]: super::entry::Account

use super::entry::{Entry, Making};
use super::key::Key;
use super::message::{Message, Peer};
use super::purge::{Purge, Purges};
use super::queue::{Place, Queues, Table};
use crate::base::time::Instant;
use ahash::AHashMap;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a shard keeps what its home has not confirmed.
pub const OFFER_WAIT: Duration = Duration::from_secs(2);

/// Keys that are told to have been asked for, at a time and peer.
const HITS_MAX: usize = 1024;

/// Places that are looked at in each tick for what is over.
const SWEEP: usize = 128;

/// Entries that went and that nobody has fetched yet ([`Index::take_gone`]), at most.
pub const GONE_MAX: usize = 8192;

/// Why an entry is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unkept {
    /// It was asked for before a purge.
    Purged,
    /// There is a newer one.
    Older,
    /// It is larger than the share of a shard.
    TooLarge,
    /// Its home takes no more for now.
    Busy,
}

/// What happened to entries since it was last asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Entries that gave way to others, of which this shard is the home.
    pub evicted: u64,
    /// Entries that were over.
    pub expired: u64,
    /// Entries that were purged.
    pub purged: u64,
    /// Times that a peer was told to forget, as it did not listen.
    pub forgotten: u64,
}

/// An entry that is not kept any more and that may stand in an index by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Where.
    pub partition: Key,
    /// Which.
    pub key: Key,
    /// When it was made: under its key there may be another one by now.
    pub made: Instant,
}

/// What an index knows of an entry.
struct Slot<P> {
    entry: Arc<Entry<P>>,
    role: Role,
}

#[derive(Clone, Copy)]
enum Role {
    /// This shard decides.
    Home(Place),
    /// Another one does, and was not yet told of this many times that it was asked for.
    Mirror { heat: u8, is_offered: bool },
}

/// What entries are in, apart from the queues.
struct Shelf<P> {
    slots: AHashMap<Key, Slot<P>>,
    peers: Box<[Peer<P>]>,
    own: usize,
    gone: Vec<Gone>,
    events: Events,
}

/// One shard's index.
pub struct Index<P> {
    shelf: Shelf<P>,
    queues: Queues,
    purges: Purges,
    /// Bytes that this home may keep.
    share: usize,
    /// What homes have not confirmed: until when, which.
    offered: VecDeque<(Instant, Key, Instant)>,
}

impl<P> fmt::Debug for Index<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("entries", &self.len())
            .field("bytes", &self.queues.bytes())
            .finish_non_exhaustive()
    }
}

/// How much of `memory_max` each of `shards` homes may keep: the rest is for entries of at most
/// `entry_max` bytes that are being made, or that somebody still has.
pub fn share(memory_max: usize, entry_max: usize, shards: usize) -> usize {
    let loose = (memory_max / 16).max(entry_max.saturating_mul(2).min(memory_max / 4));
    (memory_max - loose) / shards.max(1)
}

impl<P> Shelf<P> {
    /// Takes the entry from under `key`.
    fn take(&mut self, key: &Key) -> Option<Slot<P>> {
        let slot = self.slots.remove(key)?;
        if let Some(partition) = slot.entry.partition()
            && self.gone.len() < GONE_MAX
        {
            let (partition, key, made) = (*partition, *key, slot.entry.made());
            self.gone.push(Gone {
                partition,
                key,
                made,
            });
        }
        Some(slot)
    }

    /// Tells all peers.
    fn tell(&mut self, say: impl Fn(&mut Peer<P>) -> bool) {
        for (at, peer) in self.peers.iter_mut().enumerate() {
            if at != self.own && !say(peer) {
                self.events.forgotten += 1;
            }
        }
    }

    fn tell_drop(&mut self, entry: &Entry<P>) {
        let which = (*entry.key(), entry.made());
        self.tell(|peer| peer.drop(which));
    }
}

impl<P> Table for Shelf<P> {
    fn place(&mut self, key: &Key) -> Option<(&mut Place, usize)> {
        let Slot { entry, role } = self.slots.get_mut(key)?;
        match role {
            Role::Home(place) => Some((place, entry.bytes())),
            Role::Mirror { .. } => None,
        }
    }

    fn out(&mut self, key: &Key) {
        if let Some(slot) = self.take(key) {
            self.events.evicted += 1;
            self.tell_drop(&slot.entry);
        }
    }
}

impl<P> Index<P> {
    /// The index of shard `own` of `shards`, whose homes may keep `share` bytes ([`share`]).
    pub fn new(own: usize, shards: usize, share: usize) -> Self {
        let peers = (0..shards.max(1)).map(|_| Peer::default()).collect();
        Self {
            shelf: Shelf {
                slots: AHashMap::new(),
                peers,
                own,
                gone: Vec::new(),
                events: Events::default(),
            },
            queues: Queues::default(),
            purges: Purges::default(),
            share,
            offered: VecDeque::new(),
        }
    }

    /// Entries that this shard can give.
    pub fn len(&self) -> usize {
        self.shelf.slots.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.shelf.slots.is_empty()
    }

    /// What it has, in no order; some of it may be over or purged.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry<P>>> {
        self.shelf.slots.values().map(|slot| &slot.entry)
    }

    /// Bytes of the entries of which this shard is the home.
    pub const fn bytes(&self) -> usize {
        self.queues.bytes()
    }

    /// The purges so far: what a request takes along for the entry that may come of it.
    pub const fn generation(&self) -> u64 {
        self.purges.number()
    }

    /// The entry under `key`; that it was asked for counts.
    pub fn get(&mut self, key: &Key, now: Instant) -> Option<&Arc<Entry<P>>> {
        if !self.is_good(key, now) {
            self.lose(key, now);
            return None;
        }
        let home = key.home(self.shelf.peers.len());
        let slot = self.shelf.slots.get_mut(key)?;
        match &mut slot.role {
            Role::Home(place) => place.warm(1),
            Role::Mirror { heat, .. } => {
                let touched = &mut self.shelf.peers.get_mut(home)?.touched;
                if *heat == 0 && touched.len() < HITS_MAX {
                    touched.push(*key);
                    *heat = 1;
                } else if *heat > 0 {
                    *heat = heat.saturating_add(1);
                }
            }
        }
        Some(&slot.entry)
    }

    /// The entry under `key`, which is not counted as asked for.
    pub fn peek(&self, key: &Key, now: Instant) -> Option<&Arc<Entry<P>>> {
        let slot = self.shelf.slots.get(key)?;
        self.is_good(key, now).then_some(&slot.entry)
    }

    /// X1.
    fn is_good(&self, key: &Key, now: Instant) -> bool {
        let slot = self.shelf.slots.get(key);
        slot.is_some_and(|slot| !slot.entry.left(now).is_zero() && !self.purges.has(&slot.entry))
    }

    /// Takes what is under `key` away, if it is over or purged.
    fn lose(&mut self, key: &Key, now: Instant) {
        if self.is_good(key, now) {
            return;
        }
        let Some(slot) = self.remove(key) else {
            return;
        };
        let events = &mut self.shelf.events;
        match slot.role {
            Role::Mirror { .. } => {} // its home counts it
            Role::Home(_) if self.purges.has(&slot.entry) => events.purged += 1,
            Role::Home(_) => events.expired += 1,
        }
    }

    /// Takes what is under `key` away; as its home for everybody.
    fn remove(&mut self, key: &Key) -> Option<Slot<P>> {
        let slot = self.shelf.take(key)?;
        if let Role::Home(place) = slot.role {
            self.queues.remove(place, slot.entry.bytes());
            self.shelf.tell_drop(&slot.entry);
        }
        Some(slot)
    }

    /// Makes room for the entry that is to be made of `making`, with all that it takes, so that it
    /// can be made: the account has room for it then, if this is its home. For one that is larger
    /// than the share, and so will not be stored, nothing has to go.
    pub fn make_room(&mut self, making: &Making) {
        let shards = self.shelf.peers.len();
        if making.key.home(shards) == self.shelf.own
            && let Some(limit) = self.share.checked_sub(Entry::<P>::bytes_of(shards, making))
        {
            self.queues.shrink(limit, &mut self.shelf);
        }
    }

    /// Stores an entry that this shard has made.
    ///
    /// # Errors
    /// It is not kept.
    pub fn store(&mut self, entry: Arc<Entry<P>>, now: Instant) -> Result<(), Unkept> {
        self.judge(&entry)?;
        let (key, made) = (*entry.key(), entry.made());
        let home = key.home(self.shelf.peers.len());
        if home == self.shelf.own {
            self.keep(entry);
            return Ok(());
        }
        let peer = self.shelf.peers.get_mut(home).ok_or(Unkept::Busy)?;
        if !peer.has_room() {
            return Err(Unkept::Busy);
        }
        peer.say(Message::Offer(Arc::clone(&entry)));
        self.mirror(entry, true);
        self.offered.push_back((now + OFFER_WAIT, key, made));
        Ok(())
    }

    /// Whether `entry` may be kept.
    fn judge(&self, entry: &Entry<P>) -> Result<(), Unkept> {
        let before = self.shelf.slots.get(entry.key());
        if self.purges.has(entry) {
            Err(Unkept::Purged)
        } else if entry.bytes() > self.share {
            Err(Unkept::TooLarge)
        } else if before.is_some_and(|slot| slot.entry.made() > entry.made()) {
            Err(Unkept::Older)
        } else {
            Ok(())
        }
    }

    /// Keeps `entry` as its home.
    fn keep(&mut self, entry: Arc<Entry<P>>) {
        let key = *entry.key();
        let _before = self.remove(&key);
        let place = self.queues.add(key, entry.bytes());
        self.shelf.tell(|peer| peer.insert(&entry));
        let role = Role::Home(place);
        self.shelf.slots.insert(key, Slot { entry, role });
        self.queues.shrink(self.share, &mut self.shelf);
        self.queues.sweep(&mut self.shelf);
    }

    /// Has `entry`, which another shard keeps.
    fn mirror(&mut self, entry: Arc<Entry<P>>, is_offered: bool) {
        let key = *entry.key();
        let before = self.shelf.slots.get(&key);
        let heat = before.map_or(0, |slot| match slot.role {
            Role::Mirror { heat, .. } => heat,
            Role::Home(_) => 0,
        });
        if before.is_some_and(|slot| slot.entry.made() != entry.made()) {
            let _gone = self.shelf.take(&key);
        }
        let role = Role::Mirror { heat, is_offered };
        self.shelf.slots.insert(key, Slot { entry, role });
    }

    /// Hears what shard `from` tells.
    pub fn hear(&mut self, from: usize, message: Message<P>, now: Instant) {
        let shards = self.shelf.peers.len();
        if from == self.shelf.own || from >= shards {
            debug_assert!(false, "a message of nobody else");
            return;
        }
        match message {
            Message::Offer(entry) => self.hear_offer(from, entry, now),
            Message::Insert { entry, told } => {
                let is_its = entry.key().home(shards) == from;
                if self.follow(from, told) && is_its {
                    self.hear_insert(entry, now);
                }
            }
            Message::Drop { which, told } => {
                self.follow(from, told.saturating_sub(which.len() as u64));
                self.heard(from, told);
                for (key, made) in which {
                    self.forget(&key, |entry| entry.made() == made);
                }
            }
            Message::Forget { told } => {
                self.forget_home(from);
                self.heard(from, told);
            }
            Message::Hits(hits) => {
                for (key, times) in hits {
                    if let Some((place, _)) = self.shelf.place(&key) {
                        place.warm(times);
                    }
                }
            }
        }
    }

    /// So many drops of shard `from` were heard.
    fn heard(&mut self, from: usize, told: u64) {
        if let Some(peer) = self.shelf.peers.get_mut(from) {
            peer.heard = peer.heard.max(told);
        }
    }

    /// Whether a message of `from`, told after `told` drops, still says something; where drops
    /// are missing between, what that shard has told is forgotten first.
    fn follow(&mut self, from: usize, told: u64) -> bool {
        let Some(peer) = self.shelf.peers.get_mut(from) else {
            return false;
        };
        match peer.follows(told) {
            None => false,
            Some(is_missing) => {
                if is_missing {
                    self.forget_home(from);
                }
                true
            }
        }
    }

    fn hear_offer(&mut self, from: usize, entry: Arc<Entry<P>>, now: Instant) {
        if entry.key().home(self.shelf.peers.len()) != self.shelf.own {
            return;
        }
        if self.judge(&entry).is_ok() && !entry.left(now).is_zero() {
            return self.keep(entry);
        }
        let which = (*entry.key(), entry.made());
        let is_kept = self
            .peek(entry.key(), now)
            .is_some_and(|it| it.made() == entry.made());
        if let Some(peer) = self.shelf.peers.get_mut(from).filter(|_| !is_kept) {
            peer.drop(which);
        }
    }

    fn hear_insert(&mut self, entry: Arc<Entry<P>>, now: Instant) {
        let is_newer = |slot: &Slot<P>| slot.entry.made() > entry.made();
        let before = self.shelf.slots.get(entry.key());
        let is_over = entry.left(now).is_zero() || self.purges.has(&entry);
        if !is_over && !before.is_some_and(is_newer) {
            self.mirror(entry, false);
        }
    }

    /// Forgets what another shard keeps under `key`, if it `is` that.
    fn forget(&mut self, key: &Key, is: impl Fn(&Entry<P>) -> bool) {
        let slot = self.shelf.slots.get(key);
        let is_mirror =
            slot.is_some_and(|slot| matches!(slot.role, Role::Mirror { .. }) && is(&slot.entry));
        if is_mirror {
            let _gone = self.shelf.take(key);
        }
    }

    /// Forgets everything of which shard `home` is the home.
    fn forget_home(&mut self, home: usize) {
        let shards = self.shelf.peers.len();
        let of_home = |key: &&Key| key.home(shards) == home;
        let keys: Vec<Key> = self.shelf.slots.keys().filter(of_home).copied().collect();
        for key in keys {
            self.forget(&key, |_| true);
        }
    }

    /// What shard `peer` is to be told next.
    pub fn next(&mut self, peer: usize) -> Option<Message<P>> {
        self.shelf.peers.get_mut(peer)?.next()
    }

    /// The channel to shard `peer` took no more: `message`, the last of [`Index::next`], is told
    /// later.
    pub fn unsent(&mut self, peer: usize, message: Message<P>) {
        if let Some(peer) = self.shelf.peers.get_mut(peer) {
            peer.unsent(message);
        }
    }

    /// Forgets `what`, as purge `number` of the box.
    pub fn purge(&mut self, what: &Purge, number: u64) {
        self.purges.add(what, number);
    }

    /// This home may keep `share` bytes from now on.
    pub fn resize(&mut self, share: usize) {
        self.share = share;
        self.queues.shrink(share, &mut self.shelf);
    }

    /// Regular work: forgets what no home has confirmed and some of what is over, and says what
    /// was asked for.
    pub fn tick(&mut self, now: Instant) {
        while let Some((until, key, made)) = self.offered.front().copied() {
            if until > now {
                break;
            }
            self.offered.pop_front();
            let is_waiting = |slot: &Slot<P>| {
                let is_offered = matches!(slot.role, Role::Mirror { is_offered, .. } if is_offered);
                is_offered && slot.entry.made() == made
            };
            if self.shelf.slots.get(&key).is_some_and(is_waiting) {
                self.forget(&key, |_| true);
            }
        }
        for (key, turn) in self.queues.round(SWEEP) {
            if self
                .shelf
                .place(&key)
                .is_some_and(|(place, _)| place.turn == turn)
            {
                self.lose(&key, now);
            }
        }
        for at in 0..self.shelf.peers.len() {
            self.say_hits(at);
        }
    }

    fn say_hits(&mut self, at: usize) {
        let Shelf { slots, peers, .. } = &mut self.shelf;
        let Some(peer) = peers.get_mut(at).filter(|peer| !peer.touched.is_empty()) else {
            return;
        };
        let mut hits = Vec::with_capacity(peer.touched.len());
        for key in peer.touched.drain(..) {
            if let Some(Role::Mirror { heat, .. }) = slots.get_mut(&key).map(|it| &mut it.role) {
                hits.push((key, std::mem::take(heat)));
            }
        }
        // Where nobody listens, heat is the first to be lost.
        if peer.has_room() {
            peer.say(Message::Hits(hits));
        }
    }

    /// The entries that went and stood in an index by meaning. When there are very many since the
    /// last call, some are not in it: look before you give.
    pub fn take_gone(&mut self) -> Vec<Gone> {
        std::mem::take(&mut self.shelf.gone)
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> Events {
        std::mem::take(&mut self.shelf.events)
    }
}
