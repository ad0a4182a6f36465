//! A stored answer: made once, never changed, in memory once for all shards.
//!
//! ```text
//!   Account (one atomic number for the box)
//!     │ take: all bytes or none          Drop gives them back
//!     └──────────► Arc<Entry<P>> ◄── index of shard 0
//!                              ◄──── index of shard 1, an exchange that replays it, …
//! ```
//!
//! What is stored of the answer itself is the caller's: `P`.
//!
//! Invariants
//! - E1 The bytes of all entries that live anywhere are within the account's limit, indexes
//!   included: an entry that would go beyond it is not made.
//! - E2 An entry says for how long it lives and what it belongs to; both never change.

use super::key::{Fold, Key};
use crate::base::time::Instant;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Bytes of an entry beside its payload: itself with the counts of its `Arc` (176), what an
/// allocator adds for it, its tags and the parts of a payload (64), its home's queues and the
/// ghost that stays for a while (112).
const FIXED: usize = 352;

/// Bytes of a place in one shard's index: 32 of key, 16 of pointer and marks and one of the
/// table's, which is seven sixteenths full at worst.
pub const PLACE: usize = 112;

/// Bytes of a tag.
const TAG: usize = size_of::<Tag>();

/// What entries of the box hold together, in bytes: one number that all shards take from.
#[derive(Debug)]
pub struct Account {
    used: AtomicUsize,
    max: AtomicUsize,
}

impl Account {
    /// With a limit of `max` bytes.
    pub const fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
        }
    }

    /// Bytes that are taken.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The limit, in bytes.
    pub fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// Sets another limit. What is taken beyond a smaller one is given back as entries go.
    pub fn limit(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    /// Takes `bytes`, all or none (E1).
    fn take(&self, bytes: usize) -> bool {
        let max = self.max();
        let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= max);
        let order = Ordering::Relaxed; // a number alone: nothing else is told by it
        self.used.fetch_update(order, order, more).is_ok()
    }
}

/// What an entry belongs to, to be forgotten together: a hash of a kind and a name. That two
/// names may share one makes a purge take more, never less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u64);

impl Tag {
    /// The tag of `name`, which is a `kind` of thing: `model`, `key`, `tag`, …
    pub fn of(kind: &str, name: &str) -> Self {
        let mut fold = Fold::new("tag");
        fold.text(kind);
        fold.text(name);
        Self(fold.finish().word(0))
    }

    /// The shard of `shards` that keeps count for who has this tag; 0 when there is none.
    pub fn home(self, shards: usize) -> usize {
        let shards = u64::try_from(shards).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.0 % shards).unwrap_or_default()
    }

    /// As boxes tell each other; the same on all of them.
    pub const fn bytes(self) -> [u8; 8] {
        self.0.to_le_bytes()
    }

    /// The tag of which these are the [`Tag::bytes`].
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(u64::from_le_bytes(bytes))
    }

    /// The tag that a key is by itself.
    pub(super) fn of_key(key: &Key) -> Self {
        Self(key.word(2))
    }
}

/// What an entry is made of.
#[derive(Clone, Debug)]
pub struct Making {
    /// What it is found by.
    pub key: Key,
    /// Where it is found by meaning; `None`: it is not.
    pub partition: Option<Key>,
    /// What it belongs to.
    pub tags: Box<[Tag]>,
    /// When the answer was whole.
    pub made: Instant,
    /// How long it lives, before [`jittered`].
    pub ttl: Duration,
    /// The purges that the shard knew of when the request began
    /// ([`super::index::Index::generation`]): an answer from before a purge is not stored after it.
    pub born: u64,
    /// Bytes of the payload, with everything on the heap.
    pub payload: usize,
    /// Bytes that each shard holds for it beside its place in the index.
    pub beside: usize,
}

/// A stored answer.
pub struct Entry<P> {
    key: Key,
    partition: Option<Key>,
    tags: Box<[Tag]>,
    made: Instant,
    /// How old it was then: another box made it.
    before: Duration,
    until: Instant,
    born: u64,
    bytes: usize,
    account: Arc<Account>,
    /// What is stored of it.
    pub payload: P,
}

impl<P> Entry<P> {
    /// Makes an entry of a box with `shards` shards; `None`: there is no room for it.
    pub fn make(
        account: &Arc<Account>,
        shards: usize,
        making: Making,
        payload: P,
    ) -> Option<Arc<Self>> {
        let life = jittered(making.ttl, &making.key);
        Self::with_life((account, shards), making, (Duration::ZERO, life), payload)
    }

    /// The same of one that another box has made: it was `before` old when it came here
    /// (`making.made`), and lives for `making.ttl` from then on, no longer and no shorter.
    pub fn copy(
        account: &Arc<Account>,
        shards: usize,
        (making, before): (Making, Duration),
        payload: P,
    ) -> Option<Arc<Self>> {
        let life = making.ttl;
        Self::with_life((account, shards), making, (before, life), payload)
    }

    fn with_life(
        (account, shards): (&Arc<Account>, usize),
        making: Making,
        (before, life): (Duration, Duration),
        payload: P,
    ) -> Option<Arc<Self>> {
        let bytes = Self::bytes_of(shards, &making);
        account.take(bytes).then(|| {
            Arc::new(Self {
                key: making.key,
                partition: making.partition,
                tags: making.tags,
                made: making.made,
                before,
                until: making.made + life,
                born: making.born,
                bytes,
                account: Arc::clone(account),
                payload,
            })
        })
    }

    /// What an entry takes of the account, in bytes: see [`Entry::bytes`].
    pub(super) fn bytes_of(shards: usize, making: &Making) -> usize {
        let places = shards
            .max(1)
            .saturating_mul(PLACE.saturating_add(making.beside));
        let tags = making.tags.len().saturating_mul(TAG);
        [FIXED, size_of::<P>(), making.payload, tags, places]
            .into_iter()
            .fold(0, usize::saturating_add)
    }

    /// What it is found by.
    pub const fn key(&self) -> &Key {
        &self.key
    }

    /// Where it is found by meaning.
    pub const fn partition(&self) -> Option<&Key> {
        self.partition.as_ref()
    }

    /// What it belongs to.
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The purges that were known when its request began.
    pub const fn born(&self) -> u64 {
        self.born
    }

    /// Bytes that it takes, in all indexes together.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the answer was whole, or came from another box.
    pub const fn made(&self) -> Instant {
        self.made
    }

    /// How old it is.
    pub const fn age(&self, now: Instant) -> Duration {
        self.before.saturating_add(now.since(self.made))
    }

    /// How long it lives on; zero when it is over.
    pub const fn left(&self, now: Instant) -> Duration {
        self.until.since(now)
    }
}

impl<P> Drop for Entry<P> {
    fn drop(&mut self) {
        self.account.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl<P> fmt::Debug for Entry<P> {
    /// Without the payload: nothing of an answer is ever shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// `ttl`, up to a tenth longer or shorter: always the same for one key, so that all shards and
/// boxes agree, and spread evenly over keys, so that what was stored together does not end
/// together.
pub fn jittered(ttl: Duration, key: &Key) -> Duration {
    /// Parts of a fifth.
    const PARTS: u64 = 1 << 16;
    let part = key.word(3) % (PARTS + 1);
    let nanos = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
    let fifth = nanos / 5;
    let share = u128::from(fifth) * u128::from(part) / u128::from(PARTS);
    let share = u64::try_from(share).unwrap_or(fifth);
    Duration::from_nanos((nanos - nanos / 10).saturating_add(share))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u64) -> Key {
        let mut fold = Fold::new("test");
        fold.number(number);
        fold.finish()
    }

    fn making(payload: usize) -> Making {
        Making {
            key: key(1),
            partition: None,
            tags: Box::new([]),
            made: Instant::from_nanos(5),
            ttl: Duration::from_secs(100),
            born: 0,
            payload,
            beside: 0,
        }
    }

    /// Goal: E1. Method: entries are made until there is no room, one goes, another fits.
    #[test]
    fn what_does_not_fit_is_not_made() {
        let account = Arc::new(Account::new(10_000));
        let make = || Entry::make(&account, 2, making(2_000), ());
        let mut kept: Vec<_> = std::iter::from_fn(make).collect();
        assert_eq!(kept.len(), 3);
        let one = kept[0].bytes();
        assert!(one > 2_000 + 2 * PLACE && account.used() == 3 * one);
        kept.pop();
        assert_eq!(account.used(), 2 * one);
        assert!(make().is_some());
        account.limit(one);
        assert!(make().is_none() && account.used() == 2 * one);
        kept.clear();
        assert_eq!(account.used(), 0);
        let huge = Entry::make(&account, usize::MAX, making(usize::MAX), ());
        assert!(huge.is_none());
    }

    /// Goal: what another box made has its age and its end from there; tags survive the way.
    #[test]
    fn a_copy_is_as_old_as_it_was() {
        let account = Arc::new(Account::new(10_000));
        let before = Duration::from_secs(3_000);
        let copy = Entry::copy(&account, 2, (making(9), before), ()).unwrap();
        let later = Instant::from_nanos(5) + Duration::from_secs(40);
        assert_eq!(copy.age(later), Duration::from_secs(3_040));
        assert_eq!(copy.left(later), Duration::from_secs(60));
        let tag = Tag::of("model", "a");
        assert_eq!(Tag::from_bytes(tag.bytes()), tag);
    }

    /// Goal: lives are spread over a tenth more and less, evenly and always the same.
    #[test]
    fn lives_are_spread() {
        let ttl = Duration::from_secs(1000);
        let lives: Vec<_> = (0..2000)
            .map(|at| jittered(ttl, &key(at)).as_secs())
            .collect();
        assert!(lives.iter().all(|life| (900..=1100).contains(life)));
        for tenth in 0..10 {
            let part = 900 + tenth * 20..920 + tenth * 20;
            let count = lives.iter().filter(|life| part.contains(*life)).count();
            assert!((140..260).contains(&count), "{count} in {part:?}");
        }
        assert_eq!(jittered(ttl, &key(7)), jittered(ttl, &key(7)));
        assert!(jittered(Duration::MAX, &key(1)) > Duration::from_secs(1 << 30));
    }
}
