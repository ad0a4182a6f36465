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
use crate::cache::ledger::Ledger;
use crate::cache::meaning::{self, Partitions};
use crate::cache::message::Message;
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
        let Some((partition, meaning)) = entry.partition().zip(entry.payload.meaning.as_ref())
        else {
            return;
        };
        self.heed_gone(now); // what was under the key before may be in another partition
        let kept = self.index.peek(entry.key(), now);
        if kept.is_some_and(|kept| Arc::ptr_eq(kept, entry)) {
            self.partitions.add(*partition, *entry.key(), meaning);
        }
    }

    /// Takes out of the partitions what is not in the index any more (S1).
    pub fn heed_gone(&mut self, now: Instant) {
        let gone = self.index.take_gone();
        if gone.len() >= GONE_MAX {
            self.partitions.clear(); // some are not among them; hits are lost, and no memory
            return;
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

/// Reads what comparing by meaning needs, where a model of `config` does.
fn warm_up(config: &Config) {
    let mut models = config.models.iter();
    if models.any(|model| model.cache.mode == Mode::Semantic) {
        meaning::warm_up();
    }
}
