//! Arguments of a call that come in pieces, each with its path (Vertex, when the client has set
//! `streamFunctionCallArguments`).
//!
//! ```text
//!   {name, willContinue}   {partialArgs: [{jsonPath: "$.a[0].b", stringValue: "x", …}], …}   {}
//!   └ begins                └ adds                                                    ends ┘
//! ```
//!
//! Invariants
//! - I1 Memory is bounded: [`ARGS_MAX`] bytes of text and pieces, [`DEPTH_MAX`] steps of a path,
//!   and a list grows by one item at a time.
//!
//! Source: Vertex AI API reference, `FunctionCall.partialArgs`.

use crate::base::fault::Kind;
use serde_json::{Map, Value};

/// The most bytes of all pieces of a call.
const ARGS_MAX: usize = 4 << 20;

/// The most steps of a path.
const DEPTH_MAX: usize = 32;

/// A call whose arguments are still coming.
#[derive(Debug)]
pub(super) struct Pending {
    /// Its name at the provider; may be empty.
    pub(super) id: String,
    /// The tool.
    pub(super) name: String,
    /// The signature, as a JSON value.
    pub(super) signature: Vec<u8>,
    args: Value,
    size: usize,
}

/// A step of a path.
#[derive(Clone, Copy)]
enum Hop<'a> {
    Key(&'a str),
    Index(usize),
}

impl Pending {
    pub(super) fn new(id: &str, name: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            signature: Vec::new(),
            args: Value::Object(Map::new()),
            size: 0,
        }
    }

    /// The arguments so far, as JSON text.
    pub(super) fn arguments(&self) -> String {
        self.args.to_string()
    }

    /// Adds what `call`, the value of a `functionCall`, says of the arguments.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`]: a piece has no place, or the limit is reached.
    pub(super) fn add(&mut self, call: &Value) -> Result<(), Kind> {
        if let Some(args) = call.get("args").filter(|args| args.is_object()) {
            self.args = args.clone();
        }
        let pieces = call.get("partialArgs").and_then(Value::as_array);
        for piece in pieces.into_iter().flatten() {
            self.add_piece(piece).ok_or(Kind::UpstreamGarbled)?;
        }
        Ok(())
    }

    fn add_piece(&mut self, piece: &Value) -> Option<()> {
        let path = piece.get("jsonPath")?.as_str()?;
        let text = piece.get("stringValue").and_then(Value::as_str);
        self.size += path.len() + text.map_or(8, str::len);
        if self.size > ARGS_MAX {
            return None; // I1
        }
        let place = find(&mut self.args, path)?;
        match (place, text) {
            (Value::String(before), Some(text)) => before.push_str(text),
            (place, Some(text)) => *place = text.into(),
            (place, None) => {
                *place = ["numberValue", "boolValue"]
                    .iter()
                    .find_map(|key| piece.get(key))
                    .cloned()
                    .unwrap_or(Value::Null);
            }
        }
        Some(())
    }
}

/// The place at `path`, made on the way.
fn find<'v>(root: &'v mut Value, path: &str) -> Option<&'v mut Value> {
    let mut here = root;
    let mut left = path.strip_prefix('$')?;
    for _ in 0..DEPTH_MAX {
        if left.is_empty() {
            return Some(here);
        }
        let (hop, rest) = hop(left)?;
        left = rest;
        here = match hop {
            Hop::Key(key) => {
                if here.is_null() {
                    *here = Value::Object(Map::new());
                }
                here.as_object_mut()?.entry(key).or_insert(Value::Null)
            }
            Hop::Index(index) => {
                if here.is_null() {
                    *here = Value::Array(Vec::new());
                }
                let items = here.as_array_mut()?;
                if index == items.len() {
                    items.push(Value::Null); // I1
                }
                items.get_mut(index)?
            }
        };
    }
    None
}

/// The first step of `path` and what is behind it.
fn hop(path: &str) -> Option<(Hop<'_>, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (key, rest) = rest.split_at_checked(end)?;
        return Some((Hop::Key(key), rest));
    }
    let rest = path.strip_prefix('[')?;
    if let Some(quote) = rest.chars().next().filter(|c| matches!(c, '\'' | '"')) {
        let (key, rest) = rest.strip_prefix(quote)?.split_once(quote)?;
        return Some((Hop::Key(key), rest.strip_prefix(']')?));
    }
    let (index, rest) = rest.split_once(']')?;
    Some((Hop::Index(index.parse().ok()?), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Goal: pieces come together; a piece without a place is garbled.
    #[test]
    fn pieces_come_together() {
        let mut call = Pending::new("", "f");
        for (path, key, value) in [
            ("$.a[0].b", "stringValue", json!("x")),
            ("$.a[0].b", "stringValue", json!("y")),
            ("$.a[1]", "numberValue", json!(0.5)),
            ("$['it.s']", "boolValue", json!(true)),
            ("$.n", "nullValue", json!("NULL_VALUE")),
        ] {
            let call_piece = json!({"partialArgs": [{"jsonPath": path, key: value}]});
            call.add(&call_piece).unwrap();
        }
        let want = r#"{"a":[{"b":"xy"},0.5],"it.s":true,"n":null}"#;
        assert_eq!(call.arguments(), want);
        for path in ["a", "$.a[7]", "$.a.b", "$[", "$['x", "$[0]", "$.it.s[x]"] {
            let piece = json!({"partialArgs": [{"jsonPath": path, "stringValue": ""}]});
            assert_eq!(call.add(&piece), Err(Kind::UpstreamGarbled), "{path}");
        }
    }
}
