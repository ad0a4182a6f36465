//! The names of what is kept on the server.
//!
//! Entries carry no hash tag, so a cluster spreads them. Another format has another version in
//! every name, so boxes of two versions do not meet.

use super::Key;

/// The version of names and values.
const VERSION: &[u8] = b":v1:";

/// Names under an operator's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    front: Vec<u8>,
    /// The hash of generations.
    pub generations: Vec<u8>,
    /// The stream of what is announced.
    pub news: Vec<u8>,
}

impl Names {
    /// The names under `prefix`.
    pub fn new(prefix: &str) -> Self {
        let front = [prefix.as_bytes(), VERSION].concat();
        let with = |name: &[u8]| [front.as_slice(), name].concat();
        Self {
            generations: with(b"gen"),
            news: with(b"news"),
            front,
        }
    }

    /// The name of an entry.
    pub fn entry(&self, key: &Key) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.front.len() + 65);
        name.extend_from_slice(&self.front);
        name.push(b'e');
        for byte in key {
            for digit in [byte >> 4, byte & 15] {
                let digit = b"0123456789abcdef".get(usize::from(digit));
                name.push(digit.copied().unwrap_or(b'0'));
            }
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: names differ as their keys do, under their prefix.
    #[test]
    fn names_stand_under_their_prefix() {
        let names = Names::new("team");
        assert_eq!(names.generations, b"team:v1:gen");
        assert_eq!(names.news, b"team:v1:news");
        let mut key = [0; 32];
        key[31] = 0xaf;
        let entry = names.entry(&key);
        assert_eq!(entry, format!("team:v1:e{}af", "00".repeat(31)).as_bytes());
    }
}
