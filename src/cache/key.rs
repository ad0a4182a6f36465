//! A key of 256 bits, and how one is made of typed parts.
//!
//! ```text
//!   Fold: tag · length · bytes, tag · number, …  ──SHA-256──► Key
//! ```
//!
//! Invariants
//! - K1 Different sequences of parts are different bytes: each part says its length, or has one
//!   that its kind fixes.
//! - K2 A key is never shortened: entries are compared by all of it.
//!
//! Source: FIPS 180-4 (SHA-256).

use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};
use std::fmt;
use std::hash::{Hash, Hasher};

/// What an entry is found by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key([u8; Self::LEN]);

impl Key {
    /// Its bytes.
    pub const LEN: usize = 32;

    /// The key of these bytes, as [`Key::bytes`] gave them.
    pub const fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// All of it.
    pub const fn bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// The shard of `shards` that decides what is kept under this key; 0 when there is none.
    pub fn home(&self, shards: usize) -> usize {
        let word = self.word(1);
        let shards = u64::try_from(shards).unwrap_or(u64::MAX).max(1);
        usize::try_from(word % shards).unwrap_or_default()
    }

    /// The `at`th eight bytes.
    pub(crate) fn word(&self, at: usize) -> u64 {
        let (words, _) = self.0.as_chunks::<8>();
        words.get(at).map_or(0, |word| u64::from_le_bytes(*word))
    }

    /// Its sixty-four digits.
    pub fn digits(&self) -> [u8; 2 * Self::LEN] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        let mut text = [b'0'; 2 * Self::LEN];
        let (pairs, _) = text.as_chunks_mut::<2>();
        for (pair, byte) in pairs.iter_mut().zip(self.0) {
            *pair = [digit(byte >> 4), digit(byte & 15)];
        }
        text
    }

    /// The same as a text.
    pub fn hex(&self) -> String {
        String::from_utf8_lossy(&self.digits()).into_owned()
    }

    /// The key that these digits say.
    pub fn from_hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut bytes = [0; Self::LEN];
        if pairs.len() != Self::LEN || !rest.is_empty() {
            return None;
        }
        let digit = |byte: u8| char::from(byte).to_digit(16);
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            let value = digit(*high)? * 16 + digit(*low)?;
            *byte = u8::try_from(value).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.hex())
    }
}

impl Hash for Key {
    /// Its bytes are spread evenly already: eight of them place it in a map (K2 holds, since
    /// maps compare the whole of it).
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.word(0));
    }
}

/// Makes a key, part by part.
#[derive(Clone, Debug)]
pub(crate) struct Fold(Sha256);

impl Fold {
    /// At the beginning, for `purpose`: keys of different purposes never meet.
    pub(crate) fn new(purpose: &str) -> Self {
        let mut fold = Self(Sha256::new());
        fold.text(purpose);
        fold
    }

    /// Says what comes next.
    pub(crate) fn tag(&mut self, tag: u8) {
        self.0.update([tag]);
    }

    /// A number.
    pub(crate) fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    /// How many parts follow.
    pub(crate) fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    /// Bytes with their length.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    /// Text.
    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// A part that may be missing, under `tag`. A missing one leaves nothing: what follows has
    /// another tag.
    pub(crate) fn maybe<T>(&mut self, tag: u8, part: Option<T>, each: impl FnOnce(&mut Self, T)) {
        if let Some(part) = part {
            self.tag(tag);
            each(self, part);
        }
    }

    /// A fraction, to the bit.
    pub(crate) fn float(&mut self, number: f64) {
        self.number(number.to_bits());
    }

    /// A key, as a part of another.
    pub(crate) fn key(&mut self, key: &Key) {
        self.0.update(key.0);
    }

    /// A JSON value: members sorted by name, whole numbers and fractions apart.
    pub(crate) fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.tag(0),
            Value::Bool(is) => self.tag(1 + u8::from(*is)),
            Value::Number(number) => self.json_number(number),
            Value::String(text) => {
                self.tag(6);
                self.text(text);
            }
            Value::Array(items) => {
                self.tag(7);
                self.count(items.len());
                for item in items {
                    self.value(item);
                }
            }
            Value::Object(object) => self.object(object),
        }
    }

    fn json_number(&mut self, number: &Number) {
        if let Some(whole) = number.as_u64() {
            self.tag(3);
            self.number(whole);
        } else if let Some(whole) = number.as_i64() {
            self.tag(4);
            self.number(whole.cast_unsigned());
        } else {
            self.tag(5);
            self.float(number.as_f64().unwrap_or(f64::NAN));
        }
    }

    fn object(&mut self, object: &Map<String, Value>) {
        self.tag(8);
        self.count(object.len());
        if object.keys().is_sorted() {
            for (name, value) in object {
                self.text(name);
                self.value(value);
            }
            return;
        }
        let mut members: Vec<_> = object.iter().collect();
        members.sort_unstable_by_key(|(name, _)| *name);
        for (name, value) in members {
            self.text(name);
            self.value(value);
        }
    }

    /// The key of all parts.
    pub(crate) fn finish(self) -> Key {
        Key(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(value: &Value) -> Key {
        let mut fold = Fold::new("test");
        fold.value(value);
        fold.finish()
    }

    /// Goal: K1. Method: values that look alike are different keys, and the order of members and
    /// the spelling of fractions is none of theirs.
    #[test]
    fn values_have_keys_of_their_own() {
        let all = [
            json!(null),
            json!(false),
            json!(true),
            json!(0),
            json!(0.0),
            json!(-1),
            json!(u64::MAX),
            json!(""),
            json!("0"),
            json!([]),
            json!([[]]),
            json!([[], []]),
            json!(["a", "b"]),
            json!(["ab"]),
            json!({}),
            json!({"a": null}),
            json!({"a": {"b": 1}}),
            json!({"a": {}, "b": 1}),
        ];
        for (at, one) in all.iter().enumerate() {
            for other in &all[at + 1..] {
                assert_ne!(key(one), key(other), "{one} {other}");
            }
        }
        let parsed = |text: &str| key(&serde_json::from_str(text).unwrap());
        assert_eq!(
            parsed(r#"{"b":[1,0.70],"a":{"d":1e1,"c":"\u0041"}}"#),
            parsed(r#"{ "a" : {"c":"A","d":10.0}, "b":[1, 7e-1] }"#)
        );
    }

    /// Goal: a key is read back from its digits, and from nothing else.
    #[test]
    fn digits_say_a_key() {
        let made = key(&json!(1));
        assert_eq!(Key::from_hex(&made.hex()), Some(made));
        assert_eq!(Key::from_hex(&made.hex().to_uppercase()), Some(made));
        for text in ["", "00", &made.hex()[1..], &made.hex().replace('a', "g")] {
            let is_whole = text.len() == 64 && !text.contains('g');
            assert_eq!(Key::from_hex(text).is_some(), is_whole, "{text}");
        }
        for (shards, most) in [(0, 0), (1, 0), (2, 1), (7, 6)] {
            assert!(made.home(shards) <= most);
        }
    }
}
