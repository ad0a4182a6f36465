//! Names of calls and tools in a form that this dialect takes.
//!
//! Invariants
//! - I1 The same conversation gives the same names, so that prompt caches go on working.
//! - I2 Within a conversation no name is given to two calls.
//!
//! Source: protocols.md, 6.1: tool ids are `^[a-zA-Z0-9_-]+$`.

use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// The longest id that goes as it is; what carries state inside can be kilobytes long.
const ID_MAX: usize = 128;

/// The longest name of a tool in a definition.
const NAME_MAX: usize = 128;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The names that are given out.
#[derive(Debug, Default)]
pub(super) struct Ids {
    used: BTreeSet<String>,
}

impl Ids {
    /// A name for the next call that its own provider calls `id`.
    pub(super) fn next(&mut self, id: &str) -> String {
        let mut name = plain(id);
        let mut again = 1_u64;
        while self.used.contains(&name) {
            again += 1;
            name = hashed(&format!("{id} {again}"));
        }
        self.used.insert(name.clone());
        name
    }
}

/// `id` if this dialect takes it, else a name made of it.
pub(super) fn plain(id: &str) -> String {
    if is_word(id, ID_MAX) {
        id.to_owned()
    } else {
        hashed(id)
    }
}

/// Whether this dialect takes `name` as the name of a tool.
pub(super) fn is_tool_name(name: &str) -> bool {
    is_word(name, NAME_MAX)
}

/// The name of a tool in a history: whatever it was, it is only read.
pub(super) fn tool_name(name: &str) -> String {
    let word: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c
            } else {
                '_'
            }
        })
        .take(NAME_MAX)
        .collect();
    if word.is_empty() {
        "tool".to_owned()
    } else {
        word
    }
}

fn is_word(text: &str, max: usize) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    !text.is_empty() && text.len() <= max && text.bytes().all(is_part)
}

/// 24 letters and digits out of the hash of `text`: 142 bits.
fn hashed(text: &str) -> String {
    let mut out = "toolu_".to_owned();
    for byte in Sha256::digest(text.as_bytes()).into_iter().take(24) {
        let letter = ALPHABET.get(usize::from(byte) % ALPHABET.len());
        out.push(char::from(letter.copied().unwrap_or(b'0')));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: I1 and I2, and what goes as it is.
    #[test]
    fn ids_are_kept_or_made_the_same_way_each_time() {
        assert_eq!(plain("call_abc-1"), "call_abc-1");
        let made = plain("functions.get_weather:0");
        assert_eq!(made, plain("functions.get_weather:0"));
        assert_eq!(made.len(), 30);
        assert!(is_word(&made, ID_MAX));
        assert_ne!(made, plain("functions.get_weather:1"));
        assert!(is_word(&plain(&"x".repeat(3000)), 64));
        let mut ids = Ids::default();
        let all = [
            ids.next("a"),
            ids.next("a"),
            ids.next("a"),
            ids.next(""),
            ids.next(""),
        ];
        assert_eq!(all[0], "a");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(tool_name("a.b c"), "a_b_c");
    }
}
