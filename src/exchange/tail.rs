//! The last bytes of embeddings that are too long to be held, where the usage stands.
//!
//! ```text
//!   {"data":[{"embedding":[…]}, … 3 MiB …],"model":"m","usage":{"prompt_tokens":…}}
//!                                    └───────────────── kept ────────────────────┘
//! ```
//!
//! Invariants
//! - I1 The bytes pass whatever is found here, and no more than [`TAIL_MAX`] of them are kept.
//! - I2 What is found is a member of the whole object: a quote inside a string has a backslash
//!   before it, and behind a member of something inside, brackets remain that close nothing.

use crate::dialect::model::Dialect;
use crate::dialect::openai::Usage;
use crate::dialect::speak;
use memchr::memmem;

/// The bytes that are kept: ten times what any recorded usage with what follows takes.
const TAIL_MAX: usize = 4096;

/// What is kept.
#[derive(Debug, Default)]
pub struct Tail {
    bytes: Vec<u8>,
}

impl Tail {
    /// `data` passes.
    pub fn keep(&mut self, data: &[u8]) {
        let fresh = data
            .get(data.len().saturating_sub(TAIL_MAX)..)
            .unwrap_or(data);
        let surplus = (self.bytes.len() + fresh.len()).saturating_sub(TAIL_MAX);
        self.bytes.drain(..surplus.min(self.bytes.len()));
        self.bytes.extend_from_slice(fresh);
    }

    /// The usage that `dialect` has there.
    pub fn usage(&self, dialect: Dialect) -> Option<Usage> {
        let key: &[u8] = match dialect {
            Dialect::Gemini => b"\"usageMetadata\"",
            Dialect::Cohere => b"\"meta\"",
            _ => b"\"usage\"",
        };
        let at = memmem::rfind(&self.bytes, key)?;
        let mut object = vec![b'{'];
        object.extend_from_slice(self.bytes.get(at..)?);
        speak::look_at_answer(dialect, &object).usage // I2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the usage is found however the body was cut, in each dialect; nowhere else (I2).
    #[test]
    fn the_usage_at_the_end_is_found() {
        let long = "0.25,".repeat(TAIL_MAX / 4);
        for (dialect, end, want) in [
            (
                Dialect::Chat,
                r#"],"usage":{"prompt_tokens":7,"total_tokens":7}}"#,
                Some(7),
            ),
            (
                Dialect::Chat,
                r#"],"usage" : {"prompt_tokens":7},"x":[1]} "#,
                Some(7),
            ),
            (
                Dialect::Gemini,
                r#"],"usageMetadata":{"promptTokenCount":7}}"#,
                Some(7),
            ),
            (
                Dialect::Cohere,
                r#"],"meta":{"billed_units":{"input_tokens":7}}}"#,
                Some(7),
            ),
            (
                Dialect::Cohere,
                r#"],"texts":["\"meta\":{\"billed_units\":{}}}"]}"#,
                None,
            ),
            (Dialect::Chat, r#"{"usage":{"prompt_tokens":7}}]}"#, None),
            (Dialect::Chat, "]}", None),
        ] {
            let body = format!("{{\"data\":[{long}0{end}");
            for cut in [1, 7, 100, TAIL_MAX, body.len()] {
                let mut tail = Tail::default();
                for piece in body.as_bytes().chunks(cut) {
                    tail.keep(piece);
                    assert!(tail.bytes.len() <= TAIL_MAX, "I1");
                }
                let found = tail.usage(dialect).map(|usage| usage.input);
                assert_eq!(found, want, "{end} in pieces of {cut}");
            }
        }
    }
}
