//! What requests came to that are the same to the byte: no need to read them again.
//!
//! ```text
//!   route, key, model, fields that count, body ── equal to the byte? ──► what was found out
//!                                               └─ else ──► read, walk, hash ──► noted
//! ```
//!
//! Applications that ask the same again mostly send the same bytes. Comparing them costs a fraction
//! of reading them and of a cryptographic hash.
//!
//! Invariants
//! - M1 What is given was found out for equal bytes under the same configuration.
//! - M2 At most [`BYTES_MAX`] are held; beyond, everything is forgotten and begins anew.
//! - M3 The bytes of a request are a prompt: who notes them lets them go with the answer that is
//!   stored for them ([`Memo::retain`]).

use crate::dialect::route::Route;
use ahash::{AHashMap, RandomState};

/// Bytes of requests that a shard holds.
pub const BYTES_MAX: usize = 1 << 20;

/// The longest body that is held.
const BODY_MAX: usize = 64 << 10;

/// Bytes of a request beside its parts.
const FIXED: usize = 256;

/// A request, as far as its bytes decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bytes<'a> {
    /// The configuration that it is asked under.
    pub epoch: u64,
    /// The client key, by its place.
    pub key: Option<usize>,
    /// By which route.
    pub route: Route,
    /// The model that is asked for.
    pub model: &'a str,
    /// The fields of the head that count.
    pub fields: &'a [(&'a [u8], &'a [u8])],
    /// The body.
    pub body: &'a [u8],
}

/// Name and value.
type Field = (Box<[u8]>, Box<[u8]>);

#[derive(Debug)]
struct Known<K> {
    epoch: u64,
    key: Option<usize>,
    route: Route,
    model: Box<str>,
    fields: Box<[Field]>,
    body: Box<[u8]>,
    came_to: K,
}

impl<K> Known<K> {
    fn bytes(&self) -> usize {
        let fields = self.fields.iter();
        let fields: usize = fields
            .map(|(name, value)| name.len() + value.len() + FIXED)
            .sum();
        self.body.len() + fields + self.model.len() + FIXED + size_of::<Self>()
    }

    fn has_fields(&self, fields: &[(&[u8], &[u8])]) -> bool {
        let own = self.fields.iter().map(|(name, value)| (&**name, &**value));
        own.eq(fields.iter().copied())
    }
}

/// What was found out of requests.
#[derive(Debug)]
pub struct Memo<K> {
    known: AHashMap<u64, Known<K>>,
    bytes: usize,
    hasher: RandomState,
}

impl<K> Default for Memo<K> {
    fn default() -> Self {
        Self {
            known: AHashMap::new(),
            bytes: 0,
            hasher: RandomState::new(),
        }
    }
}

impl<K> Memo<K> {
    /// What `asked` came to, if it was asked before (M1).
    pub fn recall(&self, asked: &Bytes<'_>) -> Option<&K> {
        let known = self.known.get(&self.hasher.hash_one(asked))?;
        let is_same = known.body[..] == *asked.body
            && known.has_fields(asked.fields)
            && *known.model == *asked.model
            && (known.epoch, known.key, known.route) == (asked.epoch, asked.key, asked.route);
        is_same.then_some(&known.came_to)
    }

    /// Forgets what is not worth keeping any more.
    pub fn retain(&mut self, is_kept: impl Fn(&K) -> bool) {
        let bytes = &mut self.bytes;
        self.known.retain(|_, known| {
            let stays = is_kept(&known.came_to);
            if !stays {
                *bytes = bytes.saturating_sub(known.bytes());
            }
            stays
        });
    }

    /// `asked` came to this.
    pub fn note(&mut self, asked: &Bytes<'_>, came_to: K) {
        if asked.body.len() > BODY_MAX {
            return;
        }
        let known = Known {
            epoch: asked.epoch,
            key: asked.key,
            route: asked.route,
            model: asked.model.into(),
            fields: asked
                .fields
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            body: asked.body.into(),
            came_to,
        };
        if self.bytes + known.bytes() > BYTES_MAX {
            self.known.clear(); // M2
            self.bytes = 0;
        }
        self.bytes += known.bytes();
        if let Some(before) = self.known.insert(self.hasher.hash_one(asked), known) {
            self.bytes = self.bytes.saturating_sub(before.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(body: &[u8]) -> Bytes<'_> {
        Bytes {
            epoch: 1,
            key: Some(0),
            route: Route::Chat,
            model: "m",
            fields: &[],
            body,
        }
    }

    /// Goal: M1: each part decides.
    #[test]
    fn each_part_decides() {
        let mut memo = Memo::default();
        let one = asked(b"{}");
        memo.note(&one, 7);
        assert_eq!(memo.recall(&one), Some(&7));
        for other in [
            Bytes { epoch: 2, ..one },
            Bytes {
                key: Some(1),
                ..one
            },
            Bytes { key: None, ..one },
            Bytes {
                route: Route::Messages,
                ..one
            },
            Bytes { model: "n", ..one },
            Bytes {
                fields: &[(b"openai-beta", b"x")],
                ..one
            },
            asked(b"{} "),
        ] {
            assert_eq!(memo.recall(&other), None, "{other:?}");
        }
    }

    proptest! {
        /// Goal: M1 and M2 for any requests.
        #[test]
        fn what_is_given_was_noted(bodies in proptest::collection::vec(0_usize..50_000, 1..80)) {
            let mut memo = Memo::default();
            for (number, len) in bodies.iter().enumerate() {
                let body = vec![b'x'; *len];
                memo.note(&asked(&body), number);
                prop_assert_eq!(memo.recall(&asked(&body)), Some(&number));
                let held: usize = memo.known.values().map(Known::bytes).sum();
                prop_assert!(held <= BYTES_MAX && held == memo.bytes);
            }
            memo.retain(|number| number % 2 == 0);
            let held: usize = memo.known.values().map(Known::bytes).sum();
            prop_assert_eq!(held, memo.bytes);
            memo.retain(|_| false);
            prop_assert_eq!(memo.bytes, 0);
        }
    }
}
