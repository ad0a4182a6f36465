//! Recorded requests.

use super::super::recorded::recordings;
use serde_json::{Map, Value, json};
use shardgate::dialect::gemini::request;
use shardgate::dialect::model::{Abilities, Notes, Thinking};
use std::borrow::Cow;

/// Goal: recorded requests come out of the writer as the same request.
///
/// "The same" is: keys of the API in camelCase; lists of one with brackets; no role on the
/// system instruction, and a role on every content; all functions in one tool; schemas as JSON
/// schemas with types in lower case; base64 in the standard alphabet; numbers as floating point;
/// no empty `generationConfig` and no nulls.
#[test]
fn recorded_requests_round_trip() {
    let all = recordings(&["gemini", "gemini-stream"]);
    let mut count = 0;
    for recording in &all {
        let Some(body) = &recording.request else {
            continue;
        };
        let path = &recording.path;
        let want: Value = serde_json::from_slice(body).unwrap();
        let read = request::read(body, "m", true)
            .unwrap_or_else(|fault| panic!("{path}: {} {}", fault.field, fault.wanted));
        let mut abilities = Abilities::default();
        let config = canonical(&want);
        if config["generationConfig"]["thinkingConfig"]["thinkingBudget"].is_number() {
            abilities.thinking = Thinking::Budget;
        }
        let mut notes = Notes::default();
        let written = request::write(&read, &abilities, &mut notes).expect(path);
        assert!(notes.dropped().is_empty(), "{path}: {notes:?}");
        let again: Value = serde_json::from_slice(&written).unwrap();
        assert_eq!(canonical(&again), config, "{path}");
        let (mut read, mut more) = (read, request::read(&written, "m", true).unwrap());
        for request in [&mut read, &mut more] {
            request.extras.sort_by(|a, b| a.field.cmp(&b.field));
        }
        assert_eq!(more, read, "{path}");
        count += 1;
    }
    println!("{count} requests");
    assert!(all.is_empty() || count >= 68, "{count}");
}

fn camel(key: &str) -> Cow<'_, str> {
    if !key.contains('_') {
        return key.into();
    }
    let mut words = key.split('_');
    let mut out = words.next().unwrap().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        out.push_str(&first.to_uppercase());
        out.push_str(rest);
    }
    out.into()
}

/// Keys whose values are the client's own.
const CLIENTS: [&str; 5] = [
    "args",
    "response",
    "labels",
    "fileSearch",
    "modelArmorConfig",
];

fn canonical(value: &Value) -> Value {
    let mut value = spelt(value);
    for content in value["contents"].as_array_mut().unwrap() {
        let content = content.as_object_mut().unwrap();
        content.entry("role").or_insert(json!("user"));
    }
    if value["generationConfig"] == json!({}) {
        value.as_object_mut().unwrap().remove("generationConfig");
    }
    if let Some(system) = value.get_mut("systemInstruction") {
        system.as_object_mut().unwrap().remove("role");
    }
    if let Some(Value::Array(tools)) = value.get_mut("tools") {
        let (mut functions, mut others) = (Vec::new(), Vec::new());
        for tool in tools.iter_mut() {
            for (key, value) in tool.as_object_mut().unwrap() {
                match (key.as_str(), value) {
                    ("functionDeclarations", Value::Array(all)) => functions.append(all),
                    (_, other) => others.push(json!({key: other})),
                }
            }
        }
        value["tools"] = json!({"functions": functions, "others": others});
    }
    value
}

fn spelt(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(spelt).collect(),
        Value::Number(number) => json!(number.as_f64()),
        Value::Object(object) => {
            let mut out = Map::new();
            for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
                let key = camel(key);
                let (key, value) = match key.as_ref() {
                    own if CLIENTS.contains(&own) => (own, value.clone()),
                    "parameters" => ("parametersJsonSchema", lower(value)),
                    "responseSchema" => ("responseJsonSchema", lower(value)),
                    own @ ("parametersJsonSchema" | "responseJsonSchema") => (own, value.clone()),
                    own @ ("contents" | "parts" | "tools") if value.is_object() => {
                        (own, json!([spelt(value)]))
                    }
                    "data" => ("data", json!(standard(value.as_str().unwrap()))),
                    own => (own, spelt(value)),
                };
                out.insert(key.to_owned(), value);
            }
            if out.contains_key("functionCall") {
                let call = out["functionCall"].as_object_mut().unwrap();
                call.entry("args").or_insert(json!({}));
            }
            Value::Object(out)
        }
        other => other.clone(),
    }
}

fn standard(data: &str) -> String {
    let mut out = data.replace('-', "+").replace('_', "/");
    while !out.len().is_multiple_of(4) {
        out.push('=');
    }
    out
}

/// Types in lower case.
fn lower(schema: &Value) -> Value {
    match schema {
        Value::Object(object) => object
            .iter()
            .map(|(key, value)| match value.as_str() {
                Some(name) if key == "type" => (key.clone(), name.to_lowercase().into()),
                _ => (key.clone(), lower(value)),
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(lower).collect(),
        other => other.clone(),
    }
}
