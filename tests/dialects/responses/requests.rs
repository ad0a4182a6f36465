//! Recorded requests, read and written again.

use crate::recorded::recordings;
use serde_json::{Map, Value, json};
use shardgate::dialect::model::{Abilities, Notes};
use shardgate::dialect::responses::request;

/// Goal: a request that is read and written is the same. Method: both are brought to one form:
/// text as parts, the operator's first words as `instructions`, no null, no server's ids and
/// states of messages, defaults left out.
#[test]
fn a_request_that_is_written_again_is_the_same() {
    let mut count = 0;
    for recording in recordings(&["openai-responses"]) {
        let Some(body) = &recording.request else {
            continue;
        };
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            continue;
        };
        let read = request::read(body).unwrap_or_else(|e| panic!("{}: {e:?}", recording.path));
        let mut notes = Notes::default();
        let again = request::write(&read, &Abilities::default(), &mut notes).unwrap();
        assert_eq!(notes.dropped(), &[] as &[&str], "{}", recording.path);
        let again_value: Value = serde_json::from_slice(&again).unwrap();
        assert_eq!(
            canonical(&again_value),
            canonical(&value),
            "{}",
            recording.path
        );
        assert_eq!(request::read(&again).unwrap(), read, "{}", recording.path);
        count += 1;
    }
    println!("{count} requests");
}

fn canonical(request: &Value) -> Value {
    let mut out = without_nulls(request);
    let top = out.as_object_mut().unwrap();
    top.remove("input");
    for (name, default) in [("background", json!(false)), ("stream", json!(false))] {
        if top.get(name) == Some(&default) {
            top.remove(name);
        }
    }
    if let Some(Value::Object(text)) = top.get_mut("text") {
        if text.get("format") == Some(&json!({"type": "text"})) {
            text.remove("format");
        }
        if text.is_empty() {
            top.remove("text");
        }
    }
    if let Some(Value::Array(tools)) = top.get("tools")
        && tools.is_empty()
    {
        top.remove("tools");
    }
    if let Some(Value::Array(include)) = top.get_mut("include") {
        include.sort_by_key(Value::to_string);
        if include.is_empty() {
            top.remove("include");
        }
    }
    let mut system: Vec<Value> = top
        .remove("instructions")
        .map(parts)
        .into_iter()
        .flatten()
        .collect();
    let mut items = Vec::new();
    let input = match &request["input"] {
        Value::String(text) => json!([{"role": "user", "content": text}]),
        other => other.clone(),
    };
    for item in input.as_array().into_iter().flatten() {
        let mut item = without_nulls(item);
        let role = item["role"].as_str().unwrap_or_default().to_owned();
        if !role.is_empty() {
            let content = parts(item["content"].take());
            if (role == "system" || role == "developer") && items.is_empty() {
                system.extend(content);
            } else if !content.is_empty() {
                items.push(json!({"role": role, "content": content}));
            }
            continue;
        }
        if let Some(output) = item.get_mut("output")
            && !output.is_object()
        {
            *output = json!(parts(output.take()));
        }
        items.push(item);
    }
    json!({"top": out, "system": system, "items": items})
}

/// Content as parts, each with its text or media only.
fn parts(content: Value) -> Vec<Value> {
    let list = match content {
        Value::String(text) => vec![json!({"type": "text", "text": text})],
        Value::Array(list) => list,
        _ => Vec::new(),
    };
    list.into_iter()
        .map(|mut part| {
            let object = part.as_object_mut().unwrap();
            if matches!(object["type"].as_str(), Some("input_text" | "output_text")) {
                object.insert("type".to_owned(), json!("text"));
            }
            object.remove("logprobs");
            if object.get("annotations") == Some(&json!([])) {
                object.remove("annotations");
            }
            part
        })
        .collect()
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let members = object.iter().filter(|(_, value)| !value.is_null());
            let members: Map<String, Value> = members
                .map(|(name, value)| (name.clone(), without_nulls(value)))
                .collect();
            Value::Object(members)
        }
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(list) => list.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
