//! Gemini's `Schema`, a subset of `OpenAPI` 3.0 with types in upper case, as a JSON schema.
//!
//! Nesting is bounded by the parser of the body.
//!
//! Source: Gemini API reference, `Schema`; `OpenAPI` 3.0.3, "Schema Object" (`nullable`).

use super::keys::camel;
use serde_json::{Map, Value, json};

/// The JSON schema that says what `schema` says.
pub(super) fn to_json_schema(schema: &Value) -> Value {
    let Some(object) = schema.as_object() else {
        return schema.clone();
    };
    let mut out = Map::new();
    let mut is_nullable = false;
    for (key, value) in object {
        let key = camel(key);
        let value = match key.as_ref() {
            "nullable" => {
                is_nullable = value.as_bool() == Some(true);
                continue;
            }
            "type" => match value.as_str() {
                Some("TYPE_UNSPECIFIED") => continue,
                Some(name) => Value::String(name.to_ascii_lowercase()),
                None => value.clone(),
            },
            // A mark of Gemini's own for `enum`; no format of JSON schema.
            "format" if value == "enum" => continue,
            "properties" | "$defs" | "defs" => match value.as_object() {
                Some(members) => members
                    .iter()
                    .map(|(name, member)| (name.clone(), to_json_schema(member)))
                    .collect::<Map<_, _>>()
                    .into(),
                None => value.clone(),
            },
            "items" | "additionalProperties" => to_json_schema(value),
            "anyOf" | "prefixItems" => match value.as_array() {
                Some(members) => members.iter().map(to_json_schema).collect(),
                None => value.clone(),
            },
            // ProtoJSON writes 64-bit numbers as strings.
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties"
            | "maxProperties" => match value.as_str().and_then(|text| text.parse::<u64>().ok()) {
                Some(number) => number.into(),
                None => value.clone(),
            },
            _ => value.clone(),
        };
        out.insert(key.into_owned(), value);
    }
    if is_nullable {
        make_nullable(&mut out);
    }
    Value::Object(out)
}

fn make_nullable(schema: &mut Map<String, Value>) {
    if let Some(kind) = schema.get_mut("type")
        && kind.is_string()
    {
        *kind = json!([kind.take(), "null"]);
    }
    if let Some(Value::Array(members)) = schema.get_mut("anyOf") {
        members.push(json!({"type": "null"}));
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: types, null, numbers in strings and names in `snake_case` become JSON schema;
    /// names of properties stay.
    #[test]
    fn a_schema_becomes_a_json_schema() {
        let schema = json!({
            "type": "OBJECT",
            "properties": {
                "any_of": {"type": "STRING", "nullable": true, "enum": ["a"], "format": "enum"},
                "list": {"type": "ARRAY", "items": {"type": "INTEGER"}, "min_items": "2"},
                "one": {"any_of": [{"type": "NUMBER"}, {"type": "BOOLEAN"}], "nullable": true},
            },
            "required": ["any_of"],
        });
        let want = json!({
            "type": "object",
            "properties": {
                "any_of": {"type": ["string", "null"], "enum": ["a", null]},
                "list": {"type": "array", "items": {"type": "integer"}, "minItems": 2},
                "one": {"anyOf": [{"type": "number"}, {"type": "boolean"}, {"type": "null"}]},
            },
            "required": ["any_of"],
        });
        assert_eq!(to_json_schema(&schema), want);
    }
}
