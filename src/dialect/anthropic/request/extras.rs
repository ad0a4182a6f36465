//! Fields that only this dialect knows: collected while a body is read, put back in place
//! when it is written.

use crate::dialect::model::{Extra, Weight};
use crate::dialect::tree::Path;
use serde_json::{Map, Value};

/// What leaving the field `name` out would do.
///
/// Stored state, data at the provider, where the data may be, and what a document is read
/// with change the answer; the rest are hints, also `context_management`, which only takes
/// out of a history what no longer matters.
fn weight(name: &str, value: &Value) -> Weight {
    match name {
        "container" | "mcp_servers" | "thread" | "inference_geo" | "context" => Weight::Meaning,
        "citations" if value.get("enabled") == Some(&Value::Bool(true)) => Weight::Meaning,
        _ => Weight::Tuning,
    }
}

/// The extras of a body.
#[derive(Debug, Default)]
pub(super) struct Extras(Vec<Extra>);

impl Extras {
    /// Keeps the members of `object` that are not among the `known` ones.
    pub(super) fn rest(&mut self, object: &Map<String, Value>, path: &Path<'_>, known: &[&str]) {
        for (name, value) in object {
            if !known.contains(&name.as_str()) && !value.is_null() {
                self.keep(&path.key(name), value.clone(), weight(name, value));
            }
        }
    }

    /// Keeps `value`, which stands at `path`.
    pub(super) fn keep(&mut self, path: &Path<'_>, value: Value, weight: Weight) {
        self.0.push(Extra {
            field: path.text(),
            value,
            weight,
        });
    }

    /// All of them.
    pub(super) fn take(self) -> Vec<Extra> {
        self.0
    }
}

/// Puts `extra` into `body` at its path. What is there already stays; a place that does not
/// exist any more takes nothing.
pub(super) fn put_back(body: &mut Map<String, Value>, extra: &Extra) {
    let mut steps = steps(&extra.field);
    let Some(Step::Key(first)) = steps.next() else {
        return;
    };
    let mut steps = steps.peekable();
    if steps.peek().is_none() {
        body.entry(first).or_insert_with(|| extra.value.clone());
        return;
    }
    let is_list = matches!(steps.peek(), Some(Step::Index(_)));
    if !body.contains_key(first) && is_list {
        return;
    }
    let mut here = body
        .entry(first)
        .or_insert_with(|| Value::Object(Map::new()));
    while let Some(step) = steps.next() {
        let next = match (step, here) {
            (Step::Key(key), Value::Object(object)) => {
                if steps.peek().is_none() {
                    object.entry(key).or_insert_with(|| extra.value.clone());
                    return;
                }
                object.get_mut(key)
            }
            (Step::Index(index), Value::Array(items)) => items.get_mut(index),
            _ => None,
        };
        let Some(next) = next else { return };
        here = next;
    }
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The steps of a path: `messages[0].content` → `messages`, 0, `content`.
fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    path.split(['.', '['])
        .map(|part| match part.strip_suffix(']') {
            Some(index) => index.parse().map_or(Step::Key(part), Step::Index),
            None => Step::Key(part),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn put(mut body: Value, field: &str) -> Value {
        let extra = Extra {
            field: field.to_owned(),
            value: json!(1),
            weight: Weight::Tuning,
        };
        put_back(body.as_object_mut().unwrap(), &extra);
        body
    }

    /// Goal: an extra goes back to where it was, and nowhere else.
    #[test]
    fn an_extra_goes_back_to_its_place() {
        assert_eq!(put(json!({}), "speed"), json!({"speed": 1}));
        assert_eq!(put(json!({"speed": 2}), "speed"), json!({"speed": 2}));
        assert_eq!(put(json!({}), "a.b"), json!({"a": {"b": 1}}));
        assert_eq!(
            put(json!({"m": [{}, {"c": [{}]}]}), "m[1].c[0].caller"),
            json!({"m": [{}, {"c": [{"caller": 1}]}]})
        );
        for nowhere in ["m[2].x", "m[0][0]", "x[0].y", "m.x"] {
            assert_eq!(put(json!({"m": [{}]}), nowhere), json!({"m": [{}]}));
        }
    }
}
