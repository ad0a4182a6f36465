//! Schemas as the provider's native structured output and strict tools want them.
//!
//! ```text
//!   {"type":"object","properties":{"n":{"type":"integer","minimum":3}}}
//!   {"type":"object","properties":{"n":{"type":"integer","description":"{minimum: 3}"}},
//!    "additionalProperties":false}
//! ```
//!
//! Invariants
//! - I1 What satisfies the new schema and heeds its descriptions satisfies the old one.
//!
//! Source: mapping.md 5; the official SDK's `transform_schema`.

use serde_json::{Map, Value};

/// The schema asks for an object of any keys, which cannot be closed without emptying it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IsOpen;

const FORMATS: &[&str] = &[
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "uri",
    "ipv4",
    "ipv6",
    "uuid",
];

/// `schema`, repaired.
pub(super) fn repair(schema: &Value) -> Result<Value, IsOpen> {
    let Value::Object(object) = schema else {
        return Ok(schema.clone());
    };
    let mut out = Map::new();
    let mut told = Vec::new();
    let is_object = is_object(object);
    if is_object && is_open(object) {
        return Err(IsOpen);
    }
    for (key, value) in object {
        match key.as_str() {
            "properties" | "$defs" | "definitions" => {
                out.insert(key.clone(), repair_members(value)?);
            }
            "items" => {
                out.insert(key.clone(), repair(value)?);
            }
            "anyOf" | "allOf" => {
                out.insert(key.clone(), repair_items(value)?);
            }
            "oneOf" if !object.contains_key("anyOf") => {
                out.insert("anyOf".into(), repair_items(value)?);
            }
            "type" | "required" | "$ref" | "enum" | "const" | "description" | "title"
            | "default" => {
                out.insert(key.clone(), value.clone());
            }
            "minItems" if matches!(value.as_u64(), Some(0 | 1)) => {
                out.insert(key.clone(), value.clone());
            }
            "format" if value.as_str().is_some_and(|f| FORMATS.contains(&f)) => {
                out.insert(key.clone(), value.clone());
            }
            "additionalProperties" if is_object => {}
            "$schema" | "$id" | "$comment" | "examples" | "nullable" => {}
            _ => told.push(format!("{key}: {value}")),
        }
    }
    if is_object {
        out.insert("additionalProperties".into(), false.into());
    }
    if object.get("nullable") == Some(&Value::Bool(true)) {
        admit_null(&mut out);
    }
    if !told.is_empty() {
        let said = out.get("description").and_then(Value::as_str);
        let mut text = said.map(|said| format!("{said}\n\n")).unwrap_or_default();
        text.push('{');
        text.push_str(&told.join(", "));
        text.push('}');
        out.insert("description".into(), text.into());
    }
    Ok(Value::Object(out))
}

fn repair_members(value: &Value) -> Result<Value, IsOpen> {
    let Value::Object(members) = value else {
        return Ok(value.clone());
    };
    let mut out = Map::new();
    for (name, member) in members {
        out.insert(name.clone(), repair(member)?);
    }
    Ok(Value::Object(out))
}

fn repair_items(value: &Value) -> Result<Value, IsOpen> {
    let Value::Array(items) = value else {
        return Ok(value.clone());
    };
    Ok(Value::Array(
        items.iter().map(repair).collect::<Result<_, _>>()?,
    ))
}

fn is_object(object: &Map<String, Value>) -> bool {
    let is = |value: &Value| value.as_str() == Some("object");
    match object.get("type") {
        Some(Value::Array(types)) => types.iter().any(is),
        Some(kind) => is(kind),
        None => object.contains_key("properties"),
    }
}

/// An object of any keys: none is named, and others are not forbidden.
fn is_open(object: &Map<String, Value>) -> bool {
    let named = object.get("properties").and_then(Value::as_object);
    let composed = ["$ref", "anyOf", "oneOf", "allOf", "enum", "const"];
    named.is_none_or(Map::is_empty)
        && object.get("additionalProperties") != Some(&Value::Bool(false))
        && !composed.iter().any(|key| object.contains_key(*key))
}

/// `OpenAPI`'s `nullable`: the type may also be null.
fn admit_null(out: &mut Map<String, Value>) {
    if let Some(Value::String(kind)) = out.get("type") {
        let both = Value::from(vec![kind.clone(), "null".to_owned()]);
        out.insert("type".into(), both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Goal: objects are closed at every depth, `oneOf` is `anyOf`, what cannot be said as a
    /// rule is said in words.
    #[test]
    fn a_schema_is_closed_and_its_rules_are_told() {
        let schema = json!({
            "$schema": "x",
            "type": "object",
            "properties": {
                "z": {"type": "integer", "minimum": 3, "description": "Size."},
                "a": {"oneOf": [{"type": "object", "properties": {"b": {"$ref": "#/$defs/c"}}}]},
                "d": {"type": "string", "format": "date"},
                "e": {"type": "string", "format": "odd", "maxLength": 5},
                "f": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            },
            "required": ["z"],
            "$defs": {"c": {"type": "object", "properties": {"x": {}},
                            "additionalProperties": true}},
        });
        let want = json!({
            "type": "object",
            "properties": {
                "z": {"type": "integer", "description": "Size.\n\n{minimum: 3}"},
                "a": {"anyOf": [{"type": "object", "properties": {"b": {"$ref": "#/$defs/c"}},
                                 "additionalProperties": false}]},
                "d": {"type": "string", "format": "date"},
                "e": {"type": "string", "description": "{format: \"odd\", maxLength: 5}"},
                "f": {"type": "array", "items": {"type": "string"},
                      "description": "{minItems: 2}"},
            },
            "required": ["z"],
            "$defs": {"c": {"type": "object", "properties": {"x": {}},
                            "additionalProperties": false}},
            "additionalProperties": false,
        });
        let got = repair(&schema).unwrap();
        assert_eq!(got.to_string(), want.to_string());
        assert_eq!(repair(&got).unwrap(), got);
    }

    /// Goal: an object of any keys is not emptied in silence.
    #[test]
    fn an_object_of_any_keys_is_refused() {
        for open in [
            json!({"type": "object"}),
            json!({"type": "object", "additionalProperties": {"type": "string"}}),
            json!({"type": "array", "items": {"type": "object", "properties": {}}}),
        ] {
            assert_eq!(repair(&open), Err(IsOpen), "{open}");
        }
        assert!(repair(&json!({"type": "object", "additionalProperties": false})).is_ok());
    }
}
