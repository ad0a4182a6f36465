//! Vectors that a provider gave of late: the same text is not asked for again.
//!
//! Invariants
//! - K1 At most [`KNOWN_MAX`] are held, some 350 kB; the oldest goes first.
//! - K2 No text is held: a vector is found by a hash of it ([`super::asked::Maker::name`]).

use super::asked::Placed;
use crate::cache::key::Key;
use ahash::AHashMap;
use std::collections::VecDeque;

/// How many vectors a shard holds.
pub const KNOWN_MAX: usize = 1024;

/// Vectors by name.
#[derive(Debug, Default)]
pub struct Known {
    all: AHashMap<Key, Placed>,
    /// The names in the order in which they came.
    order: VecDeque<Key>,
}

impl Known {
    /// The vector of this name.
    pub fn get(&self, name: &Key) -> Option<&Placed> {
        self.all.get(name)
    }

    /// Notes it.
    pub fn note(&mut self, name: Key, placed: Placed) {
        if self.all.insert(name, placed).is_some() {
            return;
        }
        self.order.push_back(name);
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.all.remove(&oldest);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::embed::narrow::narrow;
    use proptest::prelude::*;

    proptest! {
        /// Goal: K1, and that what is given was noted last under its name. Method: names come
        /// again and again; a map that forgets nothing beside it.
        #[test]
        fn the_newest_are_known(names in proptest::collection::vec(0_u16..1500, 1..4000)) {
            let key = |name: u16| {
                let mut bytes = [0; Key::LEN];
                bytes[..2].copy_from_slice(&name.to_le_bytes());
                Key::new(bytes)
            };
            let vector = narrow(&[1.0]).unwrap();
            let (mut known, mut all) = (Known::default(), AHashMap::new());
            for (space, name) in (0_u64..).zip(&names) {
                known.note(key(*name), Placed { vector: vector.clone(), space });
                all.insert(key(*name), space);
                prop_assert_eq!(known.get(&key(*name)).map(|it| it.space), Some(space));
                prop_assert!(known.len() <= KNOWN_MAX && known.len() == known.order.len());
            }
            prop_assert_eq!(known.len(), all.len().min(KNOWN_MAX));
            for (name, space) in all {
                prop_assert!(known.get(&name).is_none_or(|it| it.space == space));
            }
        }
    }
}
