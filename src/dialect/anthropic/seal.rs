//! Signatures that carry what belongs to another dialect.
//!
//! ```text
//!   "sg1:gemini:{\"thoughtSignature\":…}"     what Gemini wants to see again
//!   "sg1::"                                   nothing: the thinking was never signed
//! ```
//!
//! A client of this dialect keeps thinking blocks and sends them back as they are; their
//! `signature` is the only place in which foreign state survives the way there and back.

use crate::dialect::model::{Dialect, Opaque};
use serde_json::Value;

/// How a signature of this gateway's own begins; no provider's does: theirs are base64.
pub(super) const MARK: &str = "sg1:";

/// The signature of thinking that nobody signed.
pub(super) const UNSIGNED: &str = "sg1::";

/// What the signature of a thinking block stands for.
pub(super) fn open(signature: &str) -> Option<Opaque> {
    let Some(sealed) = signature.strip_prefix(MARK) else {
        return Some(Opaque {
            dialect: Dialect::Anthropic,
            value: Value::from(signature),
        });
    };
    let (name, json) = sealed.split_once(':')?;
    let dialect = Dialect::ALL.into_iter().find(|d| d.name() == name)?;
    let value = serde_json::from_str(json).ok()?;
    Some(Opaque { dialect, value })
}

/// Whether `signature` is this gateway's own, so that no provider knows it.
pub(super) fn is_ours(signature: &str) -> bool {
    signature.starts_with(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: signatures of this dialect are its own, sealed ones are somebody else's, broken
    /// ones nobody's.
    #[test]
    fn a_signature_says_whose_it_is() {
        let own = open("EqQBCgIYAg==").unwrap();
        assert_eq!(own.dialect, Dialect::Anthropic);
        let other = open("sg1:gemini:{\"a\":[1]}").unwrap();
        assert_eq!(other.dialect, Dialect::Gemini);
        assert_eq!(other.value, serde_json::json!({"a": [1]}));
        for nobody in [UNSIGNED, "sg1:", "sg1:nobody:1", "sg1:gemini:{"] {
            assert_eq!(open(nobody), None, "{nobody}");
            assert!(is_ours(nobody));
        }
    }
}
