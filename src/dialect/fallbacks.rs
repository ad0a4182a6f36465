//! The body field `fallbacks` of `LiteLLM`: models to ask when the one that is asked for fails.
//!
//! ```text
//!   "fallbacks": ["b", {"model": "c", …}]  ─►  b, c      null  ─►  as if it were not there
//! ```
//!
//! It is for the gateway alone and is cut out of what goes upstream ([`super::ask`]).
//!
//! Source: the proxy of `LiteLLM`, "Fallbacks", client side.

use serde_json::Value;

/// Bytes of a list, at most: eight names and what objects may say besides.
const LIST_MAX: usize = 64 << 10;

/// The names that the field's value lists, in order; `Some(None)` for null. `None`: it is no such
/// list. Of objects only the name is used.
pub fn names(value: &[u8]) -> Option<Option<Vec<String>>> {
    if value.len() > LIST_MAX {
        return None;
    }
    let list = match serde_json::from_slice(value).ok()? {
        Value::Null => return Some(None),
        Value::Array(list) => list,
        _ => return None,
    };
    let name = |entry: Value| match entry {
        Value::String(name) => Some(name),
        Value::Object(object) => object.get("model")?.as_str().map(str::to_owned),
        _ => None,
    };
    let names: Option<Vec<_>> = list.into_iter().map(name).collect();
    names.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: both forms are read, in order; everything else is no list.
    #[test]
    fn both_forms_are_read() {
        let some = |names: &[&str]| Some(Some(names.iter().map(|it| (*it).to_owned()).collect()));
        for (value, want) in [
            (
                r#"["a", {"model": "b", "messages": []}]"#,
                some(&["a", "b"]),
            ),
            ("[]", some(&[])),
            ("null", Some(None)),
            (r#""a""#, None),
            (r#"[{"gpt": ["a"]}]"#, None),
            ("[1]", None),
            ("{}", None),
            ("[", None),
        ] {
            assert_eq!(names(value.as_bytes()), want, "{value}");
        }
        assert_eq!(names(&vec![b' '; LIST_MAX + 1]), None);
    }
}
