//! A shard's part of the cache: its index, and what is needed to make entries.
//!
//! ```text
//!   store, hear ─► index ─ kept ─► partition, where it is found by meaning
//!                        ─ gone ─► out of it
//! ```
//!
//! Invariants
//! - S1 What stands in a partition is in the index, or is taken out before the next search or tick
//!   ends; what is found there is looked for in the index before it is given.

use crate::base::time::Instant;
use crate::cache::entry::{Account, Entry};
use crate::cache::index::{GONE_MAX, Index, Unkept, share};
use crate::cache::key::Key;
use crate::cache::ledger::Ledger;
use crate::cache::meaning::{self, Meaning, Partitions};
use crate::cache::message::Message;
use crate::cache::news::Demoted;
use crate::config::Config;
use crate::config::cache::Mode;
use crate::exchange::stored::Stored;
use std::sync::Arc;

/// What a shard has of stored answers.
#[derive(Debug)]
pub struct Cache {
    /// What it can give.
    pub index: Index<Stored>,
    /// What it finds by meaning.
    pub partitions: Partitions,
    /// What audits of that have found.
    pub ledger: Ledger,
    /// What it does not find by meaning, wherever it comes from.
    pub demoted: Demoted,
    /// What entries of the box hold.
    pub account: Arc<Account>,
}

/// A stored answer.
pub type Found = Arc<Entry<Stored>>;

impl Cache {
    /// Of the shard `index` of `shards`.
    pub fn new(config: &Config, (index, shards): (usize, usize), account: Arc<Account>) -> Self {
        warm_up(config);
        Self {
            partitions: Partitions::default(),
            ledger: Ledger::default(),
            demoted: Demoted::default(),
            index: Index::new(index, shards, Self::share(config, shards)),
            account,
        }
    }

    fn share(config: &Config, shards: usize) -> usize {
        let models = config.models.iter().map(|model| model.cache.entry_max);
        share(config.cache.memory_max, models.max().unwrap_or(0), shards)
    }

    /// `config` is in force from here on.
    pub fn heed(&mut self, config: &Config, shards: usize) {
        warm_up(config);
        self.account.limit(config.cache.memory_max);
        self.index.resize(Self::share(config, shards));
    }

    /// Stores an entry that this shard has made.
    ///
    /// # Errors
    /// As [`Index::store`].
    pub fn store(&mut self, entry: &Found, now: Instant) -> Result<(), Unkept> {
        self.index.store(Arc::clone(entry), now)?;
        self.stand(entry, now);
        Ok(())
    }

    /// Takes an entry of another box in, for which nobody has asked here; this shard is its home.
    ///
    /// # Errors
    /// As [`Index::take_in`].
    pub fn take_in(&mut self, entry: &Found, now: Instant) -> Result<(), Unkept> {
        self.index.take_in(Arc::clone(entry))?;
        self.stand(entry, now);
        Ok(())
    }

    /// Hears what shard `from` tells.
    pub fn hear(&mut self, from: usize, message: Message<Stored>, now: Instant) {
        let entry = match &message {
            Message::Offer(entry) | Message::Insert { entry, .. } => Some(entry),
            Message::Drop { .. } | Message::Forget { .. } | Message::Hits(_) => None,
        };
        let entry = entry.filter(|entry| entry.partition().is_some()).cloned();
        self.index.hear(from, message, now);
        if let Some(entry) = entry {
            self.stand(&entry, now);
        }
    }

    /// `entry` is found by meaning, where it is one for that and the index has it.
    fn stand(&mut self, entry: &Found, now: Instant) {
        let Some((partition, meaning)) = meant(entry) else {
            return;
        };
        self.heed_gone(now); // what was under the key before may be in another partition
        let kept = self.index.peek(entry.key(), now);
        if kept.is_some_and(|kept| Arc::ptr_eq(kept, entry)) {
            self.partitions.add(*partition, *entry.key(), meaning);
        }
    }

    /// Makes the partitions anew from what the index has.
    fn rebuild(&mut self) {
        self.partitions.clear();
        for entry in self.index.entries() {
            if let Some((partition, meaning)) = meant(entry) {
                self.partitions.add(*partition, *entry.key(), meaning);
            }
        }
    }

    /// Takes out of the partitions what is not in the index any more (S1).
    pub fn heed_gone(&mut self, now: Instant) {
        let gone = self.index.take_gone();
        if gone.len() >= GONE_MAX {
            return self.rebuild(); // some are not among them
        }
        for gone in gone {
            let kept = self.index.peek(&gone.key, now);
            let is_there = |kept: &Found| kept.partition() == Some(&gone.partition);
            if !kept.is_some_and(is_there) {
                self.partitions.remove(&gone.partition, &gone.key);
            }
        }
    }
}

/// Where an entry is found by meaning, and as what.
fn meant(entry: &Found) -> Option<(&Key, &Meaning)> {
    let meaning = entry.payload.meaning.as_deref();
    entry.partition().zip(meaning)
}

/// Reads what comparing by meaning needs, where a model of `config` does.
fn warm_up(config: &Config) {
    let mut models = config.models.iter();
    if models.any(|model| model.cache.mode == Mode::Semantic) {
        meaning::warm_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::body::Body;
    use crate::cache::embed::Scratch;
    use crate::cache::entry::Making;
    use crate::cache::key::Fold;
    use crate::config::{FixedSecrets, check};
    use crate::dialect::events::Wire;
    use crate::dialect::model::Dialect;
    use std::time::Duration;

    const HOUR: Duration = Duration::from_secs(3600);

    fn key(name: &str) -> Key {
        let mut fold = Fold::new("test");
        fold.text(name);
        fold.finish()
    }

    fn meaning(text: &str) -> Arc<Meaning> {
        Arc::new(Meaning::of(text, HOUR, &mut Scratch::default()).unwrap())
    }

    fn caches() -> [Cache; 2] {
        let text = "[cache]\nmode = \"semantic\"\n[providers.p]\ndialect = \"openai\"\n\
                    base_url = \"http://127.0.0.1:1\"\n";
        let config = check(text, &FixedSecrets::default()).unwrap().config;
        let account = Arc::new(Account::new(config.cache.memory_max));
        [0, 1].map(|index| Cache::new(&config, (index, 2), Arc::clone(&account)))
    }

    fn entry(cache: &Cache, (name, text): (&str, &str), ttl: Duration) -> Found {
        let stored = Stored {
            model: "m".into(),
            provider: "p".into(),
            upstream_model: "".into(),
            dialect: Dialect::Chat,
            wire: Wire::Lines,
            is_stream: false,
            media: "application/json".into(),
            body: Body::plain(*b"{}"),
            took: Duration::ZERO,
            events: 0,
            usage: None,
            meaning: Some(meaning(text)),
        };
        let making = Making {
            key: key(name),
            partition: Some(key("partition")),
            tags: [].into(),
            made: Instant::default(),
            ttl,
            born: 0,
            payload: stored.bytes(),
            beside: cache.partitions.beside(&key("partition")),
        };
        Entry::make(&cache.account, 2, making, stored).unwrap()
    }

    /// Tells each what the other has to say, until both are silent.
    fn talk(caches: &mut [Cache; 2], now: Instant) {
        loop {
            let told: Vec<_> = [(0, 1), (1, 0)]
                .into_iter()
                .filter_map(|(from, to)| Some((from, to, caches[from].index.next(to)?)))
                .collect();
            if told.is_empty() {
                return;
            }
            for (from, to, message) in told {
                caches[to].hear(from, message, now);
            }
        }
    }

    fn found(cache: &mut Cache, text: &str) -> usize {
        let partition = key("partition");
        cache.partitions.nearest(&partition, &meaning(text)).len()
    }

    /// Goal: what an audit demoted on one shard is demoted on all, its home among them, also where
    /// the partitions are made anew. Method: entries of both homes, demoted by the shard that made
    /// them and by the other one.
    #[test]
    fn what_is_demoted_is_so_everywhere() {
        let mut caches = caches();
        let now = Instant::default();
        let names = ["a", "b", "c", "d", "e", "f"];
        for (at, name) in names.iter().enumerate() {
            let text = format!("How do I boil {at} eggs?");
            let entry = entry(&caches[0], (name, &text), HOUR);
            caches[0].store(&entry, now).unwrap();
        }
        talk(&mut caches, now);
        let meaning = |cache: &Cache, name: &str| {
            let entry = cache.index.peek(&key(name), now).unwrap();
            entry.payload.meaning.clone().unwrap()
        };
        for (at, name) in names.iter().enumerate() {
            assert!(meaning(&caches[at % 2], name).demote());
            assert!(caches.iter().all(|it| meaning(it, name).is_demoted()));
        }
        for cache in &mut caches {
            cache.rebuild();
            assert_eq!(found(cache, "How do I boil an egg?"), 0);
        }
    }

    /// Goal: S1. Method: two shards, entries of both homes; they are found on both, and on none
    /// when their time is over; also after the partitions were made anew.
    #[test]
    fn entries_come_and_go_on_all_shards() {
        let mut caches = caches();
        let now = Instant::default();
        let names = ["a", "b", "c", "d", "e", "f"];
        let homes: Vec<_> = names.iter().map(|name| key(name).home(2)).collect();
        assert!(homes.contains(&0) && homes.contains(&1));
        for (at, name) in names.iter().enumerate() {
            let text = format!("How do I boil {at} eggs?");
            let ttl = if at < 4 { HOUR } else { HOUR * 9 };
            let entry = entry(&caches[0], (name, &text), ttl);
            caches[0].store(&entry, now).unwrap();
        }
        talk(&mut caches, now);
        for cache in &mut caches {
            assert_eq!(found(cache, "How do I boil an egg?"), names.len());
            cache.rebuild();
            assert_eq!(found(cache, "How do I boil an egg?"), names.len());
        }
        for hours in [2, 20] {
            let later = now + HOUR * hours;
            for _ in 0..8 {
                for cache in &mut caches {
                    cache.index.tick(later);
                    cache.heed_gone(later);
                }
                talk(&mut caches, later);
            }
            for cache in &mut caches {
                cache.heed_gone(later);
                let left = if hours == 2 { 2 } else { 0 };
                assert_eq!(found(cache, "How do I boil an egg?"), left);
                assert_eq!(cache.partitions.is_empty(), left == 0);
            }
        }
    }
}
