//! Requests in one form, to be compared.

use serde_json::{Value, json};

/// A request in one form: texts as lists of blocks; what is absent by default, absent.
pub(super) fn canonical(value: &Value) -> Value {
    let mut body = value.clone();
    let top = body.as_object_mut().unwrap();
    top.retain(|key, value| !(value.is_null() || key == "stream" && *value == false));
    if let Some(system) = top.get_mut("system") {
        as_blocks(system);
    }
    for tool in list(top.get_mut("tools")) {
        let tool = tool.as_object_mut().unwrap();
        tool.retain(|key, value| !(value.is_null() || key == "type" && *value == "custom"));
    }
    for message in list(top.get_mut("messages")) {
        let content = message.get_mut("content").unwrap();
        as_blocks(content);
        for block in list(Some(content)) {
            let block = block.as_object_mut().unwrap();
            block.retain(|key, value| {
                let is_default = match key.as_str() {
                    "is_error" => *value == false,
                    "content" => *value == "" || *value == json!([]),
                    "citations" => *value == json!([]),
                    _ => false,
                };
                !is_default && !value.is_null()
            });
            if block["type"] == "tool_result"
                && let Some(content) = block.get_mut("content")
            {
                as_blocks(content);
            }
        }
    }
    numbers(&mut body);
    body
}

pub(super) fn list(value: Option<&mut Value>) -> impl Iterator<Item = &mut Value> {
    value.and_then(Value::as_array_mut).into_iter().flatten()
}

pub(super) fn as_blocks(value: &mut Value) {
    if let Value::String(text) = value {
        *value = json!([{"type": "text", "text": text}]);
    }
}

/// 1 and 1.0 are the same number.
pub(super) fn numbers(value: &mut Value) {
    match value {
        Value::Number(number) => *value = number.as_f64().into(),
        Value::Array(items) => items.iter_mut().for_each(numbers),
        Value::Object(object) => object.values_mut().for_each(numbers),
        _ => {}
    }
}
