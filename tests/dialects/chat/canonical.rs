//! Requests in a form in which equal ones are equal.

use serde_json::{Value, json};

/// A request in the form in which equal ones are equal:
/// - null members of the body and of messages are absent, as are `stream: false`, `logprobs:
///   false`, no tools, and `response_format: text`;
/// - `max_completion_tokens` is `max_tokens`; `any` is `required`; `stop` is an array; numbers
///   are floats;
/// - a tool without a type is a function;
/// - usage is always asked for in a stream;
/// - content is an array of parts, those of all leading system messages in one; what an
///   assistant says of nothing is absent; arguments of nothing are `{}`;
/// - `reasoning` that `reasoning_content` or `reasoning_details` say again is absent;
/// - a bare `image_url` is an object with it;
/// - an `OpenAI` breakpoint is a `cache_control`.
pub(super) fn canonical(body: &Value) -> Value {
    let mut body = without_nulls(body);
    let top = body.as_object_mut().unwrap();
    for (key, idle) in [
        ("stream", json!(false)),
        ("logprobs", json!(false)),
        ("response_format", json!({"type": "text"})),
        ("tools", json!([])),
    ] {
        if top.get(key) == Some(&idle) {
            top.remove(key);
        }
    }
    if let Some(limit) = top.remove("max_completion_tokens") {
        top.insert("max_tokens".to_owned(), limit);
    }
    if let Some(choice) = top
        .get_mut("tool_choice")
        .filter(|choice| **choice == "any")
    {
        *choice = json!("required"); // Mistral knows both
    }
    if let Some(stop) = top.get_mut("stop").filter(|stop| stop.is_string()) {
        *stop = json!([stop]);
    }
    for key in [
        "temperature",
        "top_p",
        "frequency_penalty",
        "presence_penalty",
    ] {
        if let Some(number) = top.get_mut(key) {
            *number = json!(number.as_f64().unwrap());
        }
    }
    canonical_options(top);
    let messages = top["messages"].as_array_mut().unwrap();
    messages.iter_mut().for_each(canonical_message);
    let leading = messages
        .iter()
        .take_while(|message| message["role"] == "system");
    let leading = leading.count();
    if leading > 1 {
        let parts: Vec<Value> = messages
            .drain(..leading)
            .flat_map(|message| message["content"].as_array().unwrap().clone())
            .collect();
        messages.insert(0, json!({"role": "system", "content": parts}));
    }
    // Comparing must not depend on the order of members; `Value` sees to that.
    body
}

fn canonical_message(message: &mut Value) {
    let message = message.as_object_mut().unwrap();
    if message["role"] == "developer" {
        message.insert("role".to_owned(), json!("system"));
    }
    let is_assistant = message["role"] == "assistant";
    let parts = match message.get("content") {
        Some(Value::String(text)) => vec![json!({"type": "text", "text": text})],
        Some(Value::Array(parts)) => parts.clone(),
        _ => Vec::new(),
    };
    let is_said = |part: &Value| !is_assistant || part.get("text") != Some(&json!(""));
    let mut parts: Vec<Value> = parts.into_iter().filter(is_said).collect();
    for part in &mut parts {
        let part = part.as_object_mut().unwrap();
        if let Some(image) = part.get_mut("image_url").filter(|image| image.is_string()) {
            *image = json!({"url": image});
        }
        if let Some(mark) = part.remove("prompt_cache_breakpoint") {
            let mut control = json!({"type": "ephemeral"});
            match mark["ttl"].as_str() {
                Some("30m") => control["ttl"] = json!("5m"),
                Some("12h") => control["ttl"] = json!("1h"),
                _ => {}
            }
            part.insert("cache_control".to_owned(), control);
        }
    }
    message.insert("content".to_owned(), Value::Array(parts));
    if message.get("tool_calls") == Some(&json!([])) {
        message.remove("tool_calls");
    }
    if message.get("reasoning") == message.get("reasoning_content") {
        message.remove("reasoning");
    }
    if let Some(details) = message.get("reasoning_details").and_then(Value::as_array) {
        let texts = details.iter().filter_map(|detail| detail["text"].as_str());
        if message.get("reasoning") == Some(&json!(texts.collect::<String>())) {
            message.remove("reasoning");
        }
    }
    for call in message
        .get_mut("tool_calls")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        call.as_object_mut().unwrap().remove("index");
        let call = call.as_object_mut().unwrap();
        call.entry("type").or_insert(json!("function"));
        if call["function"]["arguments"] == "" {
            call["function"]["arguments"] = json!("{}");
        }
    }
}

/// Without the null members of the body, its messages and their parts.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| {
                (
                    key.clone(),
                    if key == "tools" {
                        value.clone()
                    } else {
                        without_nulls(value)
                    },
                )
            })
            .collect(),
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

fn canonical_options(top: &mut serde_json::Map<String, Value>) {
    if let Some(options) = top.get_mut("stream_options") {
        options.as_object_mut().unwrap().remove("include_usage");
    }
    if top
        .get("stream_options")
        .is_none_or(|options| *options == json!({}))
    {
        top.remove("stream_options");
    }
    if let Some(effort) = top
        .get("reasoning")
        .and_then(|it| it.get("effort"))
        .cloned()
        && top["reasoning"].as_object().unwrap().len() == 1
    {
        top.remove("reasoning");
        top.insert("reasoning_effort".to_owned(), effort);
    }
    for tool in top
        .get_mut("tools")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let tool = tool.as_object_mut().unwrap();
        tool.entry("type").or_insert(json!("function"));
        if let Some(function) = tool.get_mut("function").and_then(Value::as_object_mut) {
            function.remove("type"); // as if it were a tool itself
            function.retain(|_, value| !value.is_null());
        }
    }
}
