//! A shard's part of the cache: its index, and what is needed to make entries.

use crate::cache::entry::{Account, Entry};
use crate::cache::index::{Index, share};
use crate::config::Config;
use crate::exchange::stored::Stored;
use std::sync::Arc;

/// What a shard has of stored answers.
#[derive(Debug)]
pub struct Cache {
    /// What it can give.
    pub index: Index<Stored>,
    /// What entries of the box hold.
    pub account: Arc<Account>,
}

/// A stored answer.
pub type Found = Arc<Entry<Stored>>;

impl Cache {
    /// Of the shard `index` of `shards`.
    pub fn new(config: &Config, (index, shards): (usize, usize), account: Arc<Account>) -> Self {
        Self {
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
        self.account.limit(config.cache.memory_max);
        self.index.resize(Self::share(config, shards));
    }
}
