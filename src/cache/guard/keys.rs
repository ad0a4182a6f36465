//! What is read of every stored word, apart from the words themselves.
//!
//! ```text
//!  keys  k0 k1 k2 …  │ gists  g0 g1 g2 …  │ order  2 0 1 …      one piece of memory
//!        8 bytes each         2 bytes each         2 bytes each
//! ```
//!
//! Two prompts of 300 tokens that are near have nearly all of their words in common: of those the
//! guard reads keys and gists alone, 2.4 KB in a row, where keys in words would be 9 KB all over
//! the place. Entries are cold when they are compared: that is most of what it costs.
//!
//! Invariants
//! - I1 There are as many keys, gists and places as words, in one order; places are those of the
//!   keys, sorted, equal ones as they stand.

use super::cut::Kind;
use super::lexicon::mark;
use super::sketch::Word;

const KEY: usize = size_of::<u64>();
const GIST: usize = size_of::<Gist>();
const PLACE: usize = size_of::<u16>();

/// What is read of a word that has its like: marks and rarity, governor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Gist([u8; 2]);

impl Gist {
    /// [`Word::is_content`].
    const CONTENT: u8 = 1;
    /// [`mark::PAST`].
    const PAST: u8 = 1 << 1;
    /// It ends in `ing`.
    const ING: u8 = 1 << 2;
    /// [`Kind::Code`].
    const CODE: u8 = 1 << 3;
    /// From here on its rarity, 0 to 15.
    const RARITY: u32 = 4;

    /// Of a word that is written as `text` and governed by the binding word `governor`.
    pub(super) fn of(word: &Word, text: &str, governor: u8) -> Self {
        let flag = |is: bool, bit: u8| if is { bit } else { 0 };
        let marks = flag(word.is_content(), Self::CONTENT)
            | flag(word.has(mark::PAST), Self::PAST)
            | flag(text.ends_with("ing"), Self::ING)
            | flag(word.kind == Kind::Code, Self::CODE);
        Self([marks | word.rarity.min(15) << Self::RARITY, governor])
    }

    fn has(self, marks: u8) -> bool {
        let Self([own, _]) = self;
        own & marks != 0
    }

    /// Is it a word whose absence counts in full?
    pub(super) fn is_content(self) -> bool {
        self.has(Self::CONTENT)
    }

    /// Is it a past form of its verb?
    pub(super) fn is_past(self) -> bool {
        self.has(Self::PAST)
    }

    /// Is it an `ing` form?
    pub(super) fn is_ing(self) -> bool {
        self.has(Self::ING)
    }

    /// Is it an identifier?
    pub(super) fn is_code(self) -> bool {
        self.has(Self::CODE)
    }

    /// [`Word::weight`] times 16.
    pub(super) fn weight(self) -> u16 {
        let Self([own, _]) = self;
        u16::from(own >> Self::RARITY) + 1
    }

    /// The binding word that governs it, 0 for none.
    pub(super) fn governor(self) -> u8 {
        let Self([_, governor]) = self;
        governor
    }
}

/// Keys, gists and the order of the keys.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Keys {
    all: Box<[u8]>,
}

impl Keys {
    /// Of words, in order: at most as many as a `u16` counts.
    pub(super) fn of(words: &[(u64, Gist)]) -> Self {
        let keys = words.iter().map(|(key, _)| *key);
        let mut order: Vec<(u64, u16)> = keys.zip(0..).collect();
        order.sort_unstable();
        let mut all = Vec::with_capacity(words.len() * (KEY + GIST + PLACE));
        for (key, _) in words {
            all.extend_from_slice(&key.to_le_bytes());
        }
        for (_, Gist(bytes)) in words {
            all.extend_from_slice(bytes);
        }
        for (_, at) in order {
            all.extend_from_slice(&at.to_le_bytes());
        }
        Self {
            all: all.into_boxed_slice(),
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.all.len()
    }

    /// How many words there are.
    pub(super) fn len(&self) -> usize {
        self.all.len() / (KEY + GIST + PLACE)
    }

    fn part(&self, from: usize, to: usize) -> &[u8] {
        let len = self.len();
        self.all.get(from * len..to * len).unwrap_or_default()
    }

    /// The keys in the order of the words, to be told apart.
    pub(super) fn all(&self) -> &[[u8; KEY]] {
        self.part(0, KEY).as_chunks().0
    }

    /// The key of the word at `at`.
    pub(super) fn get(&self, at: u16) -> Option<u64> {
        let key = self.all().get(usize::from(at))?;
        Some(u64::from_le_bytes(*key))
    }

    fn gist_bytes(&self) -> &[[u8; GIST]] {
        self.part(KEY, KEY + GIST).as_chunks().0
    }

    /// The gists in the order of the words.
    pub(super) fn gists(&self) -> impl Iterator<Item = Gist> {
        self.gist_bytes().iter().map(|bytes| Gist(*bytes))
    }

    /// The gist of the word at `at`.
    pub(super) fn gist(&self, at: u16) -> Option<Gist> {
        self.gist_bytes().get(usize::from(at)).copied().map(Gist)
    }

    /// How many content words there are.
    pub(super) fn content(&self) -> usize {
        self.gists().filter(|gist| gist.is_content()).count()
    }

    fn places(&self) -> &[[u8; PLACE]] {
        self.part(KEY + GIST, KEY + GIST + PLACE).as_chunks().0
    }

    /// The places of the words from `first` on with their keys, in the order of those.
    pub(super) fn sorted(&self, first: usize) -> impl Iterator<Item = (u16, u64)> {
        let places = self.places().iter().map(|place| u16::from_le_bytes(*place));
        places
            .filter(move |at| usize::from(*at) >= first)
            .filter_map(|at| Some((at, self.get(at)?)))
    }

    /// Does the word at `at` occur again?
    pub(super) fn is_twice(&self, at: u16) -> bool {
        let Some(key) = self.get(at) else {
            return false;
        };
        let of = |place: &[u8; PLACE]| self.get(u16::from_le_bytes(*place));
        let places = self.places();
        let first = places.partition_point(|place| of(place) < Some(key));
        places
            .get(first + 1)
            .is_some_and(|place| of(place) == Some(key))
    }

    /// Reads a byte of each 64 of keys and gists, so that the rest is near when it is read: many
    /// such reads can be under way at a time.
    pub(super) fn touch(&self) -> u8 {
        let read = self.part(0, KEY + GIST).iter().step_by(64);
        read.fold(0, |all, byte| all | byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Goal: I1: keys, gists and places are those that were given, and a word that occurs
        /// twice is known.
        #[test]
        fn what_was_given_is_read(
            given in prop::collection::vec((0_u64..20, any::<[u8; 2]>()), 0..40),
        ) {
            let words = given.iter().map(|(key, gist)| (*key << 40, Gist(*gist)));
            let words: Vec<_> = words.collect();
            let keys = Keys::of(&words);
            prop_assert_eq!(keys.len(), words.len());
            prop_assert_eq!(keys.bytes(), 12 * words.len());
            for (at, (key, gist)) in (0..).zip(&words) {
                prop_assert_eq!((keys.get(at), keys.gist(at)), (Some(*key), Some(*gist)));
                let times = words.iter().filter(|(other, _)| other == key).count();
                prop_assert_eq!(keys.is_twice(at), times > 1);
            }
            let gists: Vec<_> = words.iter().map(|(_, gist)| *gist).collect();
            prop_assert_eq!(keys.gists().collect::<Vec<_>>(), gists);
            for first in [0, words.len() / 2] {
                let rest = (0_u16..).zip(&words).skip(first);
                let mut want: Vec<_> = rest.map(|(at, (key, _))| (at, *key)).collect();
                want.sort_by_key(|(_, key)| *key);
                prop_assert_eq!(keys.sorted(first).collect::<Vec<_>>(), want);
            }
        }
    }
}
