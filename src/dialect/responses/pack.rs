//! Other providers' state inside a reasoning item.
//!
//! ```text
//!   Anthropic's signature "EqQB…"   →   "encrypted_content":"shardgate/anthropic/\"EqQB…\""
//!   Gemini's, with a call           →   "encrypted_content":"shardgate/gemini/call/\"Cs…\""
//! ```
//!
//! Clients of Responses give reasoning items back as they came, and know nothing else that
//! they would give back. So a reasoning item is what carries the state of a provider of another
//! dialect to the client and home again; the item that belongs to a call follows the call.
//!
//! Source: mapping.md, 6.3.

use crate::dialect::model::{Dialect, Opaque};
use serde_json::Value;

/// What packed state begins with; no provider's own does.
const MARK: &str = "shardgate/";

/// Between the dialect's name and the state of a call.
const CALL: &str = "call/";

/// State that was packed.
#[derive(Debug, PartialEq)]
pub(super) struct Packed {
    pub(super) opaque: Opaque,
    /// It belongs to the call before it.
    pub(super) of_call: bool,
}

/// The beginning of the string that carries state of `dialect`; the JSON text of the state
/// follows.
pub(super) fn prefix(dialect: Dialect, of_call: bool) -> [&'static str; 4] {
    [MARK, dialect.name(), "/", if of_call { CALL } else { "" }]
}

/// The string that carries `opaque`.
pub(super) fn pack(opaque: &Opaque, of_call: bool) -> String {
    let mut out: String = prefix(opaque.dialect, of_call).concat();
    out.push_str(&opaque.value.to_string());
    out
}

/// What was packed into `text`; `None`: it is some provider's own.
pub(super) fn unpack(text: &str) -> Option<Packed> {
    let rest = text.strip_prefix(MARK)?;
    let (name, rest) = rest.split_once('/')?;
    let dialect = Dialect::ALL.into_iter().find(|d| d.name() == name)?;
    let (of_call, json) = match rest.strip_prefix(CALL) {
        Some(json) => (true, json),
        None => (false, rest),
    };
    let value: Value = serde_json::from_str(json).ok()?;
    Some(Packed {
        opaque: Opaque { dialect, value },
        of_call,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Goal: what is packed comes out as it was; what was not packed is left alone.
    #[test]
    fn what_is_packed_comes_out_as_it_was() {
        for dialect in Dialect::ALL {
            for value in [json!("a\"b\\c/é"), json!({"data": "x", "n": [1, null]})] {
                for of_call in [false, true] {
                    let opaque = Opaque {
                        dialect,
                        value: value.clone(),
                    };
                    let text = pack(&opaque, of_call);
                    assert_eq!(unpack(&text), Some(Packed { opaque, of_call }));
                }
            }
        }
        for text in [
            "",
            "gAAAAAB=",
            "shardgate/",
            "shardgate/x/1",
            "shardgate/gemini/{",
        ] {
            assert_eq!(unpack(text), None, "{text}");
        }
    }
}
