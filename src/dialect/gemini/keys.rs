//! The keys of Gemini's requests, which come in camelCase and in `snake_case`.
//!
//! Source: protobuf, "`ProtoJSON` format": parsers accept both the lowerCamelCase name and the
//! name in the proto file; where a list is wanted, one item may stand alone.

use serde_json::Value;
use std::borrow::Cow;

/// `key` in camelCase.
pub fn camel(key: &str) -> Cow<'_, str> {
    if !key.contains('_') {
        return Cow::Borrowed(key);
    }
    let mut out = String::with_capacity(key.len());
    let mut is_upper = false;
    for c in key.chars() {
        if c == '_' && !out.is_empty() {
            is_upper = true;
        } else if std::mem::take(&mut is_upper) {
            out.push(c.to_ascii_uppercase());
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// The items of a list, or the one value that stands alone for a list of one.
pub(super) fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        one => std::slice::from_ref(one),
    }
}

/// Sets what stands at `path` (`generationConfig.seed`, `contents[2].parts[0].videoMetadata`)
/// below `root`. Objects are made on the way, items of lists are not: where there is no such
/// item, nothing is set.
pub(super) fn set(root: &mut Value, path: &str, value: &Value) {
    let mut here = root;
    for step in path.split('.') {
        let (key, index) = match step.split_once('[') {
            Some((key, rest)) => (key, rest.trim_end_matches(']').parse::<usize>().ok()),
            None => (step, None),
        };
        let Some(object) = here.as_object_mut() else {
            return;
        };
        here = match index {
            None => object
                .entry(key)
                .or_insert_with(|| Value::Object(serde_json::Map::new())),
            Some(index) => match object.get_mut(key).and_then(|list| list.get_mut(index)) {
                Some(item) => item,
                None => return,
            },
        };
    }
    *here = value.clone();
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Goal: both spellings of a key are one key.
    #[test]
    fn both_spellings_of_a_key_are_one() {
        for (key, want) in [
            ("system_instruction", "systemInstruction"),
            ("systemInstruction", "systemInstruction"),
            ("top_k", "topK"),
            ("parameters_json_schema", "parametersJsonSchema"),
            ("_x", "_x"),
            ("a_", "a"),
        ] {
            assert_eq!(camel(key), want);
        }
    }

    /// Goal: a value is set at a path; an item that is not there is not made up.
    #[test]
    fn a_value_is_set_at_a_path() {
        let mut root = json!({"contents": [{"parts": [{"text": "a"}]}]});
        set(&mut root, "generationConfig.seed", &json!(1));
        set(&mut root, "contents[0].parts[0].x.y", &json!(2));
        set(&mut root, "contents[0].parts[7].x", &json!(3));
        set(&mut root, "contents.x", &json!(4));
        assert_eq!(
            root,
            json!({
                "contents": [{"parts": [{"text": "a", "x": {"y": 2}}]}],
                "generationConfig": {"seed": 1},
            })
        );
    }
}
