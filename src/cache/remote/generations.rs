//! What was purged: counters that the boxes share, and what an entry remembers of them.
//!
//! ```text
//!   PREFIX:v1:gen   v  → 1764374400000000007     counts every purge
//!                   a  → 1764374400000000003     counts purges of everything
//!                   t… → 2                       counts purges of the tag …
//!                   k… → 1                       counts purges of the key …
//!
//!   get:   HGET gen v, GET entry, in one go ──► v is ours? ──no──► HGETALL gen first
//!   put:   the entry is stamped with the counters that its *request* saw
//! ```
//!
//! Every get asks for `v` before it asks for the entry, and `v` grows after the counter that it
//! stands for. So whoever gets the entry knows every purge that was over when it asked. An answer
//! that was under way while it was purged carries the counters from before: it is stored and
//! never served.
//!
//! Counters begin at the time in nanoseconds, so what a server forgets (a flush, a restart
//! without its data, an eviction) comes back higher: entries that survived it are misses.
//!
//! Invariants
//! - G1 An entry is admitted only when every counter that concerns it is what it was.
//! - G2 There are at most [`FIELDS_MAX`] counters; a purge beyond that purges everything.

use super::Key;
use ahash::AHashMap;

/// Counters, at most.
pub const FIELDS_MAX: usize = 4096;

/// Tags of an entry, at most.
pub const TAGS_MAX: usize = 8;

/// Bytes of a tag, at most.
pub const TAG_MAX: usize = 64;

/// The field that counts every purge.
pub const VERSION: &[u8] = b"v";

/// The field that counts purges of everything.
pub const ALL: &[u8] = b"a";

/// What a purge is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge<'a> {
    /// Everything.
    All,
    /// The entries with a tag.
    Tag(&'a [u8]),
    /// One entry.
    Key(&'a Key),
}

impl Purge<'_> {
    /// The field that counts it.
    pub fn field(self) -> Vec<u8> {
        match self {
            Self::All => ALL.to_vec(),
            Self::Tag(tag) => [b"t", tag].concat(),
            Self::Key(key) => [b"k".as_slice(), key].concat(),
        }
    }
}

/// What was purged between two moments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Everything, or it is not known what.
    All,
    /// The entries with this tag.
    Tag(Vec<u8>),
    /// One entry.
    Key(Key),
}

impl Change {
    /// What `field` counts.
    fn of(field: &[u8]) -> Self {
        match field.split_first() {
            Some((b't', tag)) => Self::Tag(tag.to_vec()),
            Some((b'k', key)) => key.try_into().map_or(Self::All, Self::Key),
            _ => Self::All,
        }
    }
}

/// The counters as they were at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Generations {
    version: i64,
    all: i64,
    others: AHashMap<Vec<u8>, i64>,
}

impl Generations {
    /// Out of a hash's fields and values; `None` when it has no [`VERSION`] or [`ALL`], so it was
    /// never made or was lost.
    pub fn read<'a>(pairs: impl Iterator<Item = (&'a [u8], i64)>) -> Option<Self> {
        let (mut version, mut all) = (None, None);
        let mut others = AHashMap::new();
        for (field, count) in pairs {
            match field {
                VERSION => version = Some(count),
                ALL => all = Some(count),
                other => drop(others.insert(other.to_vec(), count)),
            }
        }
        Some(Self {
            version: version?,
            all: all?,
            others,
        })
    }

    /// The count of every purge.
    pub fn version(&self) -> i64 {
        self.version
    }

    /// What was purged since they were as in `before`: entries from then that
    /// [`Generations::admits`] would refuse now belong to one of these.
    pub fn since(&self, before: &Self) -> Vec<Change> {
        if self.all != before.all {
            return vec![Change::All];
        }
        let count = |of: &Self, field: &Vec<u8>| of.others.get(field).copied().unwrap_or(0);
        let mut changes: Vec<_> = before
            .others
            .keys()
            .chain(self.others.keys())
            .filter(|field| count(self, field) != count(before, field))
            .map(|field| Change::of(field))
            .collect();
        changes.sort_unstable();
        changes.dedup();
        changes
    }

    /// Whether one more counter is too many (G2).
    pub fn is_full(&self, purge: Purge<'_>) -> bool {
        purge != Purge::All
            && self.others.len() >= FIELDS_MAX
            && !self.others.contains_key(&purge.field())
    }

    fn of(&self, purge: Purge<'_>) -> i64 {
        match purge {
            Purge::All => self.all,
            _ => self.others.get(&purge.field()).copied().unwrap_or(0),
        }
    }

    /// What an entry that is made now remembers. Tags beyond [`TAGS_MAX`] and longer than
    /// [`TAG_MAX`] do not fit: `None`, the entry could not be purged by them.
    pub fn stamp(&self, key: &Key, tags: &[&[u8]]) -> Option<Stamp> {
        let fits = tags.len() <= TAGS_MAX && tags.iter().all(|tag| tag.len() <= TAG_MAX);
        let with = |tag: &&[u8]| (tag.to_vec(), self.of(Purge::Tag(tag)));
        fits.then(|| Stamp {
            all: self.all,
            key: self.of(Purge::Key(key)),
            tags: tags.iter().map(with).collect(),
        })
    }

    /// Whether an entry was not purged since it was stamped (G1).
    pub fn admits(&self, key: &Key, stamp: &Stamp) -> bool {
        let mut tags = stamp.tags.iter();
        self.all == stamp.all
            && self.of(Purge::Key(key)) == stamp.key
            && tags.all(|(tag, count)| self.of(Purge::Tag(tag)) == *count)
    }
}

/// What an entry remembers of the counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Of [`Purge::All`].
    pub all: i64,
    /// Of its key.
    pub key: i64,
    /// Of its tags, at most [`TAGS_MAX`].
    pub tags: Vec<(Vec<u8>, i64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generations(pairs: &[(&[u8], i64)]) -> Generations {
        Generations::read(pairs.iter().copied()).unwrap()
    }

    /// Goal: G1. Method: an entry with two tags, then each counter moves by itself.
    #[test]
    fn an_entry_is_admitted_until_it_is_purged() {
        let (key, other) = ([7; 32], [8; 32]);
        let before = [(VERSION, 10), (ALL, 5), (b"tx".as_slice(), 1)];
        let now = generations(&before);
        let stamp = now.stamp(&key, &[b"x", b"y"]).unwrap();
        assert!(now.admits(&key, &stamp));
        let with = |field: &[u8], count| {
            let mut fields = before.to_vec();
            fields.retain(|(name, _)| *name != field);
            fields.push((field, count));
            generations(&fields).admits(&key, &stamp)
        };
        assert!(with(VERSION, 11) && with(b"tz", 1));
        assert!(with(&Purge::Key(&other).field(), 1));
        for (field, count) in [
            (ALL.to_vec(), 6),
            (Purge::Tag(b"x").field(), 2),
            (Purge::Tag(b"y").field(), 1),
            (Purge::Key(&key).field(), 1),
            (ALL.to_vec(), 4),
        ] {
            assert!(!with(&field, count), "{}", field.escape_ascii());
        }
    }

    /// Goal: what a box has to forget is what an entry would not be admitted for, and no more.
    #[test]
    fn changes_are_what_was_purged() {
        let key = [7; 32];
        let before = generations(&[(VERSION, 10), (ALL, 5), (b"tx", 1), (b"tz", 4)]);
        let with = |fields: &[(&[u8], i64)]| generations(fields).since(&before);
        assert_eq!(before.since(&before), []);
        let same = [(VERSION, 11), (ALL, 5), (b"tx".as_slice(), 1)];
        let gone = [Change::Tag(b"z".to_vec())];
        assert_eq!(with(&same), gone, "a counter that is lost has changed");
        let field = Purge::Key(&key).field();
        let more = [
            (VERSION, 11),
            (ALL, 5),
            (b"tx".as_slice(), 2),
            (b"tz", 4),
            (&*field, 1),
        ];
        let both = [Change::Tag(b"x".to_vec()), Change::Key(key)];
        assert_eq!(with(&more), both);
        let all = [(VERSION, 11), (ALL, 6), (b"tx".as_slice(), 2)];
        assert_eq!(with(&all), [Change::All]);
        let odd = [(VERSION, 11), (ALL, 5), (b"tx", 1), (b"tz", 4), (b"q", 1)];
        assert_eq!(with(&odd), [Change::All]);
    }

    /// Goal: what is lost or cannot be purged is told; G2.
    #[test]
    fn what_is_lost_or_too_much_is_told() {
        assert_eq!(Generations::read([(VERSION, 1)].into_iter()), None);
        assert_eq!(Generations::read(std::iter::empty()), None);
        let names: Vec<_> = (0..FIELDS_MAX).map(|n| format!("t{n}")).collect();
        let others = names.iter().map(|name| (name.as_bytes(), 1));
        let full = Generations::read(others.chain([(VERSION, 1), (ALL, 1)])).unwrap();
        assert!(full.is_full(Purge::Tag(b"new")) && full.is_full(Purge::Key(&[1; 32])));
        assert!(!full.is_full(Purge::Tag(b"7")) && !full.is_full(Purge::All));
        assert_eq!(full.stamp(&[0; 32], &[&[b'a'; TAG_MAX + 1]]), None);
        assert_eq!(full.stamp(&[0; 32], &[b"a".as_slice(); TAGS_MAX + 1]), None);
    }
}
