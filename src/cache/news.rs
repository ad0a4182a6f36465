//! What boxes tell each other of entries that are found by meaning.
//!
//! ```text
//!   format │ kind │ key │ made │ until          kind: 1 stored, 2 demoted
//!   1        1      32    8      8              times: milliseconds since 1970
//! ```
//!
//! Nothing of a prompt or an answer is in it: what it is of stands on the server, under the key.
//!
//! Invariants
//! - W1 What was packed is read unchanged; anything else is `None`.
//! - W2 An entry that was demoted is known as such until it ends, on every box that has heard of
//!   it; one that was made later under the same key is another one.

use super::key::Key;
use ahash::AHashMap;

/// The format. Another one is not read.
const FORMAT: u8 = 1;

/// Bytes of it.
pub const LEN: usize = 2 + Key::LEN + 16;

/// How many entries are remembered as demoted.
pub const DEMOTED_MAX: usize = 4096;

/// How much later than it was made an entry may seem made elsewhere, in milliseconds.
const SLACK: u64 = 2000;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An entry was stored, and is on the server.
    Stored,
    /// An audit found another answer: it is not to be found by meaning any more.
    Demoted,
}

/// What is told of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// What happened.
    pub kind: Kind,
    /// To which entry.
    pub key: Key,
    /// When it was made, in milliseconds since 1970.
    pub made: u64,
    /// When it is over.
    pub until: u64,
}

impl News {
    /// As bytes.
    pub fn pack(&self) -> [u8; LEN] {
        let kind = match self.kind {
            Kind::Stored => 1,
            Kind::Demoted => 2,
        };
        let (made, until) = (self.made.to_le_bytes(), self.until.to_le_bytes());
        let parts = [&[FORMAT, kind][..], self.key.bytes(), &made, &until];
        let mut out = [0; LEN];
        for (to, from) in out.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        out
    }

    /// What was packed (W1).
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let ([format, kind], rest) = bytes.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (made, rest) = rest.split_first_chunk()?;
        let kind = match kind {
            1 => Kind::Stored,
            2 => Kind::Demoted,
            _ => return None,
        };
        (*format == FORMAT).then_some(Self {
            kind,
            key: Key::new(*key),
            made: u64::from_le_bytes(*made),
            until: u64::from_le_bytes(rest.try_into().ok()?),
        })
    }
}

/// The entries that are not to be found by meaning, whoever gives them (W2).
#[derive(Debug, Default)]
pub struct Demoted(AHashMap<Key, (u64, u64)>);

impl Demoted {
    /// The entry under `key`, made at `made`, is demoted until it ends. With too many, those that
    /// end first are forgotten: they are not on the server any more, either.
    pub fn note(&mut self, key: Key, (made, until): (u64, u64), wall: u64) {
        if self.0.len() >= DEMOTED_MAX && !self.0.contains_key(&key) {
            self.0.retain(|_, (_, until)| *until > wall);
            let first = self.0.iter().min_by_key(|(_, (_, until))| *until);
            let first = first.map(|(key, _)| *key);
            if let Some(key) = first.filter(|_| self.0.len() >= DEMOTED_MAX) {
                self.0.remove(&key);
            }
        }
        let (last, end) = self.0.entry(key).or_default();
        (*last, *end) = ((*last).max(made), (*end).max(until));
    }

    /// Whether the entry under `key` that was made at `made` is one of them.
    pub fn has(&self, key: &Key, made: u64) -> bool {
        let last = self.0.get(key).map(|(last, _)| *last);
        last.is_some_and(|last| is_of(made, last))
    }
}

/// Whether what was made at `made` is what somebody says was made at `last`, or older.
pub fn is_of(made: u64, last: u64) -> bool {
    made <= last.saturating_add(SLACK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(number: u64) -> Key {
        let mut bytes = [7; Key::LEN];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Key::new(bytes)
    }

    /// Goal: W2. Method: an entry, another one under its key, ends, and more than are remembered.
    #[test]
    fn what_was_demoted_is_known_until_it_ends() {
        let mut demoted = Demoted::default();
        demoted.note(key(1), (10_000, 90_000), 20_000);
        assert!(demoted.has(&key(1), 10_000) && demoted.has(&key(1), 9_000));
        assert!(demoted.has(&key(1), 10_001), "clocks and roundings");
        assert!(!demoted.has(&key(1), 15_000), "made later");
        assert!(!demoted.has(&key(2), 10_000));
        demoted.note(key(1), (30_000, 40_000), 31_000);
        assert!(demoted.has(&key(1), 30_000));
        for number in 2..=DEMOTED_MAX as u64 {
            demoted.note(key(number), (1, 100_000 + number), 50_000);
        }
        assert_eq!(demoted.0.len(), DEMOTED_MAX);
        demoted.note(key(9_998), (1, 500_000), 50_000);
        assert!(!demoted.has(&key(1), 1), "it ends first");
        demoted.note(key(9_999), (1, 500_000), 200_000);
        assert_eq!(demoted.0.len(), 2, "what is over is forgotten");
        demoted.note(key(9_999), (0, 0), u64::MAX);
        assert!(demoted.has(&key(9_999), 1));
    }

    proptest! {
        /// Goal: W1.
        #[test]
        fn what_was_packed_is_read(
            is_stored: bool, bytes: [u8; Key::LEN], made: u64, until: u64,
        ) {
            let kind = if is_stored { Kind::Stored } else { Kind::Demoted };
            let news = News { kind, key: Key::new(bytes), made, until };
            let packed = news.pack();
            prop_assert_eq!(News::read(&packed), Some(news));
            prop_assert_eq!(News::read(&packed[1..]), None);
            prop_assert_eq!(News::read(&[&packed[..], b"x"].concat()), None);
        }

        /// Goal: W1. Method: any bytes, and every first two of a good one.
        #[test]
        fn any_bytes_are_read_or_refused(
            any in proptest::collection::vec(any::<u8>(), 0..2 * LEN), front: [u8; 2],
        ) {
            if let Some(news) = News::read(&any) {
                prop_assert_eq!(news.pack().to_vec(), any);
            }
            let news = News { kind: Kind::Stored, key: key(3), made: 1, until: 2 };
            let mut packed = news.pack();
            packed[..2].copy_from_slice(&front);
            let is_one = front[0] == FORMAT && (1..=2).contains(&front[1]);
            prop_assert_eq!(News::read(&packed).is_some(), is_one);
        }
    }
}
