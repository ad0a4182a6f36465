//! How a conversation begins, as a number: the same for all its turns, in any dialect.
//!
//! ```text
//!   "messages":[ system, user, assistant, user ]     first turn: [ system, user ]
//!               └── texts ───┘  the rest is not looked at
//! ```
//!
//! Of a list of messages the texts up to the first one of the user's count: what else stands
//! in a message (marks for a cache, ids) may change from turn to turn. Of a bare prompt its
//! first bytes count, so that one that grows stays itself.
//!
//! Invariants
//! - O1 What stands behind the first message of the user changes nothing.
//! - O2 Every body has a key; one that says nothing has that of all such bodies.
//! - O3 Nothing is allocated, and the messages are read up to that one, or [`READ_MAX`], at most;
//!   where they stand is known from the one pass over the body.

use crate::base::span::Span;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};
use crate::wire::json::{JsonError, JsonFault};
use memchr::{memchr, memchr2};

/// Bytes of the messages that are read for the key, at most.
pub const READ_MAX: usize = 256 << 10;

/// Bytes of one text that count.
const TEXT_MAX: usize = 512;

/// The key of what says nothing.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a text's bytes are laid over before they are multiplied.
const ODD: u64 = 0x9fb2_1c65_1e98_df25;

/// The longest role that is looked for, with what may follow it.
const ROLE_MAX: usize = 24;

/// Lists and objects that a text may stand in, inside its message.
const DEPTH_MAX: usize = 4;

/// The key of the conversation that `body` goes on with, a request of any dialect whose messages
/// stand at `messages` ([`Ask::messages`](super::ask::Ask::messages)).
pub fn key(body: &[u8], messages: Option<Span>) -> u64 {
    let mut fold = Fold {
        json: body,
        key: SEED,
    };
    if let Some(messages) = messages {
        let start = messages.start as usize;
        fold.json = body.get(..start + READ_MAX).unwrap_or(body);
        if fold.plain(start).is_none() {
            fold.key = SEED;
            // It ends with an error where enough was read.
            let _read = fold.messages(&mut Cursor::new(fold.json, start));
        }
    }
    fold.key
}

/// The key of whatever a client calls its session.
pub fn session(name: &[u8]) -> u64 {
    let mut fold = Fold { json: &[], key: 1 };
    fold.add(name);
    fold.key
}

/// Ends the reading.
fn enough(cursor: &Cursor<'_>) -> JsonError {
    JsonError {
        what: JsonFault::TooDeep,
        at: cursor.at(),
    }
}

struct Fold<'j> {
    json: &'j [u8],
    key: u64,
}

impl Fold<'_> {
    fn add(&mut self, bytes: &[u8]) {
        let (pairs, rest) = bytes.as_chunks::<16>();
        for pair in pairs {
            self.pair(u128::from_le_bytes(*pair));
        }
        let mut last = [0; 16];
        if let Some(room) = last.get_mut(..rest.len()) {
            room.copy_from_slice(rest);
        }
        self.pair(u128::from_le_bytes(last));
        self.pair(bytes.len() as u128);
    }

    /// Sixteen bytes at once, with one multiplication whose halves are laid over each other.
    fn pair(&mut self, pair: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        let (low, high) = (pair as u64, (pair >> 64) as u64);
        let product = u128::from(low ^ self.key) * u128::from(high ^ ODD);
        #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
        let (low, high) = (product as u64, (product >> 64) as u64);
        self.key = (low ^ high).wrapping_add(SEED);
    }

    /// A list of messages as SDKs write it, without white space, with the role before a bare
    /// text, up to the first of the user's. `None`: it is written otherwise, and the key is void.
    fn plain(&mut self, start: usize) -> Option<()> {
        let mut rest = self.json.get(start..)?.strip_prefix(b"[")?;
        loop {
            rest = rest.strip_prefix(b"{\"role\":\"")?;
            let (role, behind) = rest.split_at_checked(memchr(b'"', rest.get(..ROLE_MAX)?)?)?;
            let text = behind.strip_prefix(b"\",\"content\":\"")?;
            let is_users = role == b"user";
            let looked = if is_users {
                text.get(..TEXT_MAX).unwrap_or(text)
            } else {
                text
            };
            let end = match memchr2(b'"', b'\\', looked) {
                Some(end) if looked.get(end) == Some(&b'"') => end,
                None if is_users && looked.len() == TEXT_MAX => TEXT_MAX,
                _ => return None,
            };
            self.add(text.get(..end.min(TEXT_MAX))?);
            let behind = text.get(end..)?;
            if is_users && (end == TEXT_MAX || behind.starts_with(b"\"}")) {
                return Some(());
            }
            rest = behind.strip_prefix(b"\"},")?;
        }
    }

    /// A list of messages up to the first of the user's, or a bare text.
    fn messages(&mut self, cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if cursor.peek()? != ValueKind::Array {
            return self.texts(cursor, 0);
        }
        cursor.array(|cursor| {
            if cursor.peek()? != ValueKind::Object {
                return self.texts(cursor, 0);
            }
            let mut is_users = false;
            cursor.object(|cursor, key| {
                let mut room = [0; NAME_MAX];
                match key.name(&mut room) {
                    b"role" => {
                        let role = cursor.skip()?;
                        is_users = role.span.bytes(self.json) == b"\"user\"";
                        Ok(())
                    }
                    b"content" | b"parts" | b"text" => self.texts(cursor, 0),
                    _ => cursor.skip().map(|_| ()),
                }
            })?;
            if is_users {
                Err(enough(cursor))
            } else {
                Ok(())
            }
        })
    }

    /// The texts of what comes next.
    fn texts(&mut self, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), JsonError> {
        match cursor.peek()? {
            ValueKind::String => {
                let inside = cursor.at() + 1;
                let stepped = cursor.skip();
                // Without an end: it reaches beyond what is read.
                let end = stepped.map_or(usize::MAX, |text| (text.span.end as usize) - 1);
                let end = end.min(inside + TEXT_MAX).min(self.json.len());
                self.add(self.json.get(inside..end).unwrap_or_default());
                stepped.map(|_| ())
            }
            ValueKind::Array if depth < DEPTH_MAX => {
                cursor.array(|cursor| self.texts(cursor, depth + 1))
            }
            ValueKind::Object if depth < DEPTH_MAX => cursor.object(|cursor, key| {
                let mut room = [0; NAME_MAX];
                match key.name(&mut room) {
                    b"content" | b"parts" | b"text" => self.texts(cursor, depth + 1),
                    _ => cursor.skip().map(|_| ()),
                }
            }),
            _ => cursor.skip().map(|_| ()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::ask::ask;
    use crate::dialect::route::Route;
    use proptest::prelude::*;

    /// The key of a body whose messages are found as in every request.
    fn key(body: &[u8]) -> u64 {
        let asked = ask(Route::Generate, body).unwrap();
        super::key(body, asked.messages())
    }

    /// Goal: O1: all turns of a conversation have one key, in every dialect, whatever stands
    /// around the texts; another first message or another system prompt has another.
    #[test]
    fn the_turns_of_a_conversation_have_one_key() {
        let same = [
            [
                r#"{"model":"m","messages":[{"role":"system","content":"S"},{"role":"user","content":"U"}]}"#,
                r#"{"tools":[{"text":"x"}],"messages":[{"content":"S","role":"system","name":"n"},{"role":"user","content":"U"},{"role":"assistant","content":"A"},{"role":"user","content":"V"}],"n":1}"#,
            ],
            [
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"U","cache_control":{"type":"ephemeral"}}]}]}"#,
                r#"{"messages":[{"role":"user","content":[{"type":"text","text":"U"}]},{"role":"assistant","content":"A"}],"system":"S"}"#,
            ],
            [
                r#"{"contents":[{"role":"user","parts":[{"text":"U"}]}]}"#,
                r#"{"contents":[{"parts":[{"text":"U"}],"role":"user"},{"role":"model","parts":[{"text":"A"}]}]}"#,
            ],
            [
                r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"U"}]}]}"#,
                r#"{"input":[{"role":"user","content":[{"type":"input_text","text":"U"}]},{"type":"reasoning","id":"rs"}]}"#,
            ],
        ];
        for [first, later] in same {
            assert_eq!(key(first.as_bytes()), key(later.as_bytes()), "{first}");
            for (from, to) in [("\"U\"", "\"W\""), ("\"S\"", "\"T\"")] {
                let other = first.replace(from, to);
                assert_eq!(
                    key(other.as_bytes()) == key(first.as_bytes()),
                    other == first
                );
            }
        }
        let prompt = |text: &str| key(format!("{{\"prompt\":\"{text}\"}}").as_bytes());
        let long = "word ".repeat(200);
        assert_eq!(prompt(&long), prompt(&format!("{long} and more")));
        assert_ne!(prompt("a"), prompt("b"));
        assert_ne!(session(b"a"), session(b"b"));
    }

    /// Goal: a long system prompt does not hide the user's first message.
    #[test]
    fn a_long_system_prompt_hides_nothing() {
        let ask = |user: &str| {
            let system = "s".repeat(50_000);
            key(format!(
                "{{\"messages\":[{{\"role\":\"system\",\"content\":\"{system}\"}},{{\"role\":\"user\",\"content\":\"{user}\"}}]}}"
            )
            .as_bytes())
        };
        assert_ne!(ask("a"), ask("b"));
    }

    proptest! {
        /// Goal: O2: no body panics, wherever its messages are said to stand.
        #[test]
        fn every_body_has_a_key(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            at in 0_usize..300,
        ) {
            super::key(&body, None);
            super::key(&body, Some(Span::new(at, at)));
        }

        /// Goal: O1 and O2 for bodies that are cut anywhere. Method: a body, cut; what was not
        /// reached changes nothing.
        #[test]
        fn a_cut_body_has_a_key(cut in 0_usize..200) {
            let body = r#"{"messages":[{"role":"system","content":"S"},{"role":"user","content":"Uu"},{"role":"assistant","content":[{"text":"A"}]}]}"#;
            let messages = Some(Span::new(12, 12));
            let at = cut.min(body.len());
            let first = body.find("Uu\"}").unwrap() + 4;
            let (cut, whole) = (&body.as_bytes()[..at], body.as_bytes());
            let is_same = super::key(cut, messages) == super::key(whole, messages);
            prop_assert_eq!(is_same, at >= first - 2);
        }

        /// Goal: how a list of messages is written makes no other key. Method: messages of any
        /// roles and texts, written closely and with white space.
        #[test]
        fn the_way_of_writing_makes_no_other_key(
            list in proptest::collection::vec(
                ("(system|user|assistant|tool)", "([a-z\"\\\\{},é]|word )*(x{600})?"),
                0..4,
            ),
        ) {
            let messages: Vec<_> = list
                .iter()
                .map(|(role, content)| serde_json::json!({ "role": role, "content": content }))
                .collect();
            let close = format!("{{\"messages\":{}}}", serde_json::to_string(&messages).unwrap());
            let wide = format!("{{\"messages\": {}}}", serde_json::to_string_pretty(&messages).unwrap());
            prop_assert_eq!(key(close.as_bytes()), key(wide.as_bytes()));
        }

        /// Goal: any byte of a text that counts makes another key.
        #[test]
        fn every_byte_counts(text in proptest::collection::vec(any::<u8>(), 1..600), at: usize) {
            let at = at % text.len();
            let mut other = text.clone();
            other[at] ^= 1;
            prop_assert_ne!(session(&text), session(&other));
        }
    }
}
