//! Checks whole JSON documents and reports the members of the top-level object, in place.
//!
//! ```text
//!   EF BB BF   {"model": "m", "messages": [ … 200 KB … ], "stream": true}
//!   └ skipped   └ Member       └ Member                   └ Member
//! ```
//!
//! A leading byte order mark is skipped, as RFC 8259, section 8.1 allows; the span that
//! [`object`] returns begins behind it, so that whoever forwards the text can leave it out.
//!
//! Invariants
//! - I1 Read-only, no allocation, time linear in the number of bytes.
//! - I2 A document is accepted as a whole or not at all: members reported before an error
//!   was met must not be acted on.
//!
//! Source: RFC 8259; invalid UTF-8 is refused, not repaired (section 8.1).

use super::cursor::{Cursor, ValueKind};
use super::fault::{JsonError, JsonFault};
use super::text;
use crate::base::span::Span;

/// How many objects and arrays may be open at once. Chat bodies with tool schemas reach
/// about 20; `serde_json` and most servers stop at 128, so nothing beyond would be answered.
pub const DEPTH_MAX: usize = 128;

/// UTF-8's byte order mark.
pub const BOM: &[u8] = b"\xEF\xBB\xBF";

/// One member of the top-level object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The key, inside its quotes.
    pub key: Span,
    /// Whether the key holds an escape.
    pub key_escaped: bool,
    /// The value, with its quotes or brackets.
    pub value: Span,
    /// The kind of the value.
    pub kind: ValueKind,
    /// For a string value: whether it holds an escape.
    pub value_escaped: bool,
}

/// Whether `json` is one valid JSON value (of any kind) in UTF-8.
///
/// # Errors
/// The first fault, with its position.
pub fn validate(json: &[u8]) -> Result<(), JsonError> {
    whole(json, |cursor| cursor.skip().map(|_| ()))
}

/// Checks the whole of `json`, which must be an object in UTF-8, and reports each of its
/// members in the order in which they stand. Returns the object's span, braces included.
///
/// # Errors
/// The first fault, with its position; then what `each` was told is void (I2).
pub fn object<F: FnMut(&Member)>(json: &[u8], mut each: F) -> Result<Span, JsonError> {
    whole(json, |cursor| {
        cursor.peek()?;
        let from = cursor.at();
        cursor.object(|cursor, key| {
            let value = cursor.skip()?;
            each(&Member {
                key: key.span,
                key_escaped: key.escaped,
                value: value.span,
                kind: value.kind,
                value_escaped: value.escaped,
            });
            Ok(())
        })?;
        Ok(Span::new(from, cursor.at()))
    })
}

/// Whether a key, as it stands between its quotes, says `name`.
pub fn key_is(raw_key: &[u8], escaped: bool, name: &str) -> bool {
    if escaped {
        text::says(raw_key, name)
    } else {
        raw_key == name.as_bytes()
    }
}

/// Appends what a string says, its escapes resolved, to `out`. `raw` is the inside of a
/// string that passed [`validate`]. `false` when it holds a lone surrogate, which UTF-8
/// cannot say, or a broken escape; then `out` is as it was.
pub fn unescape_into(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let before = out.len();
    for piece in text::pieces(raw) {
        match piece {
            text::Piece::Plain(bytes) => out.extend_from_slice(bytes),
            text::Piece::Char(c) => {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            text::Piece::Broken => {
                out.truncate(before);
                return false;
            }
        }
    }
    true
}

/// Reads the whole text, behind a byte order mark, with `read`. Most texts are ASCII, which
/// the cursor sees on its way; others are looked at once more for their UTF-8. Broken UTF-8 is
/// told before broken grammar.
fn whole<T>(
    json: &[u8],
    read: impl FnOnce(&mut Cursor<'_>) -> Result<T, JsonError>,
) -> Result<T, JsonError> {
    let skipped = if json.starts_with(BOM) { BOM.len() } else { 0 };
    let mut cursor = Cursor::new(json, skipped);
    let outcome = read(&mut cursor).and_then(|read| cursor.end().map(|()| read));
    if outcome.is_err() || !cursor.is_ascii() {
        check_utf8(json)?;
    }
    outcome
}

fn check_utf8(json: &[u8]) -> Result<(), JsonError> {
    let Err(error) = simdutf8::basic::from_utf8(json) else {
        return Ok(());
    };
    // The fast check does not say where; this path is taken once a broken body.
    let _: simdutf8::basic::Utf8Error = error;
    let at = std::str::from_utf8(json).map_or_else(|e| e.valid_up_to(), str::len);
    Err(JsonError::new(JsonFault::BadUtf8, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a byte that is no UTF-8 is found wherever it stands, and nothing else is taken
    /// for one. Method: a broken byte and a whole character at every place of a short, a
    /// longer and a long string, behind escapes, in keys, and outside of strings.
    #[test]
    fn broken_utf8_is_found_wherever_it_stands() {
        let long = "x".repeat(40) + &"y".repeat(4200);
        for text in ["", "a", "abcdefghijklmnopqrstuvwxyz", r"a\n\u0041b", &long] {
            let json = format!("{{\"{text}\": [\"{text}\", 1]}}").into_bytes();
            assert_eq!(validate(&json), Ok(()));
            let step = if json.len() > 1000 { 31 } else { 1 };
            for at in (0..=json.len()).step_by(step) {
                let mut broken = json.clone();
                broken.insert(at, 0xc3);
                let error = validate(&broken).unwrap_err();
                assert_eq!(
                    (error.what, error.at),
                    (JsonFault::BadUtf8, at),
                    "{text} {at}"
                );
                let mut whole = json.clone();
                whole.splice(at..at, "é".bytes());
                let found = validate(&whole).map_err(|error| error.what);
                assert_ne!(found, Err(JsonFault::BadUtf8), "{text} {at}");
                let is_good = serde_json::from_slice::<serde_json::Value>(&whole).is_ok();
                assert_eq!(found.is_ok(), is_good, "{text} {at}");
            }
        }
    }
}
