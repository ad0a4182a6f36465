//! What was forgotten, and since when.
//!
//! ```text
//!   purge number   1        2 (all)       3 (model a)
//!   entries        born 0   born 1        born 2 of a      → gone
//!                                         born 2 of b      → stays
//!                                         born 3 of a      → stays: asked for after the purge
//! ```
//!
//! Control numbers purges for all shards. A purge is one number in a table: entries are compared
//! with it when they are looked at, and go then or when their place is needed.
//!
//! Invariants
//! - P1 An entry whose request began before a purge of what it belongs to is never given after
//!   it, wherever it was made and whenever it arrives.
//! - P2 A purge costs the same however much is stored.

use super::entry::{Entry, Tag};
use super::key::Key;
use ahash::AHashMap;

/// Tags that are told apart; with more of them everything before the last is forgotten.
const TAGS_MAX: usize = 4096;

/// What is to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Everything.
    All,
    /// What belongs to this.
    Tag(Tag),
    /// What is stored under this key.
    Key(Key),
}

/// The purges so far.
#[derive(Debug, Default)]
pub struct Purges {
    number: u64,
    /// The number of the last one of everything.
    all: u64,
    tags: AHashMap<Tag, u64>,
}

impl Purges {
    /// The number of the last purge.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Forgets `what`, as purge `number`, which is larger than those before; one that is not
    /// larger was heard of already.
    pub fn add(&mut self, what: &Purge, number: u64) {
        if number <= self.number {
            return;
        }
        self.number = number;
        let tag = match what {
            Purge::All => return self.forget(number),
            Purge::Tag(tag) => *tag,
            Purge::Key(key) => Tag::of_key(key),
        };
        if self.tags.len() >= TAGS_MAX && !self.tags.contains_key(&tag) {
            return self.forget(number);
        }
        self.tags.insert(tag, number);
    }

    fn forget(&mut self, number: u64) {
        self.all = number;
        self.tags.clear(); // everything that they told of is gone by this
    }

    /// Whether `entry` was forgotten (P1).
    pub fn has<P>(&self, entry: &Entry<P>) -> bool {
        let born = entry.born();
        if born >= self.number {
            return false; // as ever, after the last purge
        }
        let is_after = |tag: &Tag| self.tags.get(tag).is_some_and(|number| *number > born);
        self.all > born
            || !self.tags.is_empty()
                && (entry.tags().iter().any(is_after) || is_after(&Tag::of_key(entry.key())))
    }
}
