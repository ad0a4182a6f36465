//! JSON that follows a schema: what a model would write that has nothing to say.
//!
//! ```text
//!   {"city":{"type":"string"},"days":{"type":"integer","minimum":3}}  ─►  {"city":"city 1","days":3}
//! ```
//!
//! Strings are named after their property. The same schema and number give the same JSON.
//!
//! Invariants
//! - I1 Schemas that contain themselves end: below [`FULL_DEPTH`] only what is required is
//!   made, and nothing below [`DEPTH_MAX`] or beyond [`VALUES_MAX`] values.
//!
//! Source: JSON Schema 2020-12; `pattern` and conditions are not looked at.

use serde_json::{Map, Value, json};

/// Levels down to which properties are made that are not required.
const FULL_DEPTH: u32 = 6;

/// Most levels.
const DEPTH_MAX: u32 = 24;

/// Most values.
const VALUES_MAX: u32 = 2_000;

/// Most items of a list, characters that a string is filled up with.
const FILL_MAX: u64 = 1_000;

/// Example number `k` (from 0) of what `schema` allows.
pub fn value(schema: &Value, k: u32) -> Value {
    let mut maker = Maker {
        root: schema,
        k,
        left: VALUES_MAX,
    };
    maker.make(schema, "value", 0)
}

struct Maker<'s> {
    root: &'s Value,
    k: u32,
    left: u32,
}

impl<'s> Maker<'s> {
    fn make(&mut self, schema: &'s Value, name: &str, depth: u32) -> Value {
        let Some(left) = self.left.checked_sub(1).filter(|_| depth < DEPTH_MAX) else {
            return Value::Null; // I1
        };
        self.left = left;
        if let Some(fixed) = schema.get("const") {
            return fixed.clone();
        }
        if let Some(list) = schema.get("enum").and_then(Value::as_array) {
            let at = self.k as usize % list.len().max(1);
            return list.get(at).cloned().unwrap_or_default();
        }
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let found = target
                .strip_prefix('#')
                .and_then(|at| self.root.pointer(at));
            return found.map_or(Value::Null, |found| self.make(found, name, depth + 1));
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(list) = schema.get(key).and_then(Value::as_array) {
                let is_null = |one: &&Value| kind(one) != Some("null");
                let one = list.iter().find(is_null).or(list.first());
                return one.map_or(Value::Null, |one| self.make(one, name, depth + 1));
            }
        }
        if let Some(list) = schema.get("allOf").and_then(Value::as_array) {
            return self.all_of(schema, list, name, depth);
        }
        match kind(schema) {
            Some("object") => self.object(schema, depth),
            Some("array") => self.array(schema, name, depth),
            Some("string") => Value::from(string(schema, name, self.k)),
            Some("integer") => json!(integer(schema, self.k)),
            Some("number") => number(schema, self.k),
            Some("boolean") => Value::Bool(self.k.is_multiple_of(2)),
            Some("null") => Value::Null,
            _ if schema.get("properties").is_some() => self.object(schema, depth),
            _ if schema.get("items").is_some() => self.array(schema, name, depth),
            _ => Value::from(string(schema, name, self.k)),
        }
    }

    fn object(&mut self, schema: &'s Value, depth: u32) -> Value {
        let mut out = Map::new();
        let required = schema.get("required").and_then(Value::as_array);
        let is_required =
            |name: &str| required.is_some_and(|list| list.iter().any(|one| one == name));
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, inner) in properties.into_iter().flatten() {
            if depth < FULL_DEPTH || is_required(name) {
                out.insert(name.clone(), self.make(inner, name, depth + 1));
            }
        }
        Value::Object(out)
    }

    fn array(&mut self, schema: &'s Value, name: &str, depth: u32) -> Value {
        let number = |key| schema.get(key).and_then(Value::as_u64);
        let least = number("minItems").unwrap_or(0).min(FILL_MAX);
        let wanted = if depth < FULL_DEPTH {
            least.max(1)
        } else {
            least
        };
        let count = wanted.min(number("maxItems").unwrap_or(u64::MAX));
        let Some(items) = schema.get("items").filter(|items| items.is_object()) else {
            return Value::Array(vec![]);
        };
        let list = (0..count).map(|_| self.make(items, name, depth + 1));
        Value::Array(list.collect())
    }

    /// Objects that are told in parts; of anything else the first part.
    fn all_of(&mut self, schema: &'s Value, list: &'s [Value], name: &str, depth: u32) -> Value {
        let mut out = match self.object(schema, depth) {
            Value::Object(out) => out,
            _ => Map::new(),
        };
        for one in list {
            match self.make(one, name, depth + 1) {
                Value::Object(more) => out.extend(more),
                other if out.is_empty() => return other,
                _ => {}
            }
        }
        Value::Object(out)
    }
}

/// The type, of several the first that is not null; Gemini writes them in capitals.
fn kind(schema: &Value) -> Option<&'static str> {
    const KINDS: [&str; 7] = [
        "object", "array", "string", "integer", "number", "boolean", "null",
    ];
    let named = |value: &Value| {
        let text = value.as_str()?;
        KINDS
            .into_iter()
            .find(|kind| text.eq_ignore_ascii_case(kind))
    };
    match schema.get("type")? {
        Value::Array(list) => {
            let mut all = list.iter().filter_map(named);
            all.clone().find(|kind| *kind != "null").or(all.next())
        }
        one => named(one),
    }
}

fn string(schema: &Value, name: &str, k: u32) -> String {
    let format = schema.get("format").and_then(Value::as_str);
    let fixed = match format.unwrap_or_default() {
        "date-time" => "2026-01-02T03:04:05Z",
        "date" => "2026-01-02",
        "time" => "03:04:05Z",
        "duration" => "PT1S",
        "email" => "sim@example.com",
        "hostname" => "example.com",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "uri" | "url" => "https://example.com/",
        "uuid" => "00000000-0000-4000-8000-000000000000",
        _ => "",
    };
    if !fixed.is_empty() {
        return fixed.to_owned();
    }
    let mut text = format!("{name} {}", k + 1);
    let number = |key| schema.get(key).and_then(Value::as_u64);
    let least = number("minLength").unwrap_or(0).min(FILL_MAX);
    while (text.chars().count() as u64) < least {
        text.push('.');
    }
    let most = number("maxLength").and_then(|most| usize::try_from(most).ok());
    text.chars().take(most.unwrap_or(usize::MAX)).collect()
}

fn integer(schema: &Value, k: u32) -> i64 {
    let bound = |key| schema.get(key).and_then(Value::as_i64);
    let low = bound("minimum").or_else(|| bound("exclusiveMinimum")?.checked_add(1));
    let high = bound("maximum").or_else(|| bound("exclusiveMaximum")?.checked_sub(1));
    let mut number = i64::from(k) + 1;
    number = number.max(low.unwrap_or(i64::MIN));
    number = number.min(high.unwrap_or(i64::MAX));
    match bound("multipleOf") {
        Some(step) if step > 0 => {
            let over = number.rem_euclid(step);
            let up = if over == 0 { 0 } else { step - over };
            number.saturating_add(up)
        }
        _ => number,
    }
}

fn number(schema: &Value, k: u32) -> Value {
    let bound = |key| schema.get(key).and_then(Value::as_f64);
    let low = bound("minimum").or_else(|| bound("exclusiveMinimum").map(|low| low + 0.5));
    let high = bound("maximum").or_else(|| bound("exclusiveMaximum").map(|high| high - 0.5));
    let number = f64::from(k) + 0.5;
    let number = number.max(low.unwrap_or(f64::MIN));
    json!(number.min(high.unwrap_or(f64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each type, bound and way of putting schemas together gives what it allows.
    #[test]
    fn an_example_is_what_its_schema_allows() {
        for (schema, want) in [
            (json!({"type": "string"}), json!("value 1")),
            (json!({"type": "STRING", "maxLength": 3}), json!("val")),
            (
                json!({"type": "string", "minLength": 9}),
                json!("value 1.."),
            ),
            (json!({"type": "integer", "minimum": 7}), json!(7)),
            (json!({"type": "integer", "exclusiveMaximum": 1}), json!(0)),
            (json!({"type": "integer", "multipleOf": 5}), json!(5)),
            (json!({"type": "number", "minimum": 2}), json!(2.0)),
            (json!({"type": ["null", "boolean"]}), json!(true)),
            (json!({"enum": ["c", "f"]}), json!("c")),
            (json!({"const": 4}), json!(4)),
            (json!({"anyOf": [{"type": "null"}, {"const": 1}]}), json!(1)),
            (
                json!({"type": "array", "items": {"type": "string"}, "minItems": 2}),
                json!(["value 1", "value 1"]),
            ),
            (
                json!({"type": "object", "properties": {"city": {"type": "string"},
                    "unit": {"$ref": "#/$defs/unit"}}, "$defs": {"unit": {"enum": ["c"]}}}),
                json!({"city": "city 1", "unit": "c"}),
            ),
            (
                json!({"allOf": [{"properties": {"a": {"const": 1}}},
                    {"properties": {"b": {"const": 2}}}]}),
                json!({"a": 1, "b": 2}),
            ),
            (json!({}), json!("value 1")),
        ] {
            assert_eq!(value(&schema, 0), want, "{schema}");
        }
        assert_eq!(value(&json!({"enum": ["c", "f"]}), 1), json!("f"));
        assert_eq!(value(&json!({"type": "string"}), 1), json!("value 2"));
    }

    /// Goal: I1. Method: a tree that needs itself, and one that only may have itself.
    #[test]
    fn a_schema_that_contains_itself_ends() {
        let tree = |required: Value| {
            json!({"type": "object", "required": required, "properties": {
                "left": {"$ref": "#"}, "right": {"$ref": "#"}, "name": {"type": "string"}}})
        };
        let whole = value(&tree(json!(["left", "right", "name"])), 0).to_string();
        assert!(whole.len() < 100_000, "{}", whole.len());
        let free = value(&tree(json!(["name"])), 0);
        assert_eq!(free["left"]["right"]["name"], "name 1");
        assert!(free.to_string().len() < 100_000);
    }
}
