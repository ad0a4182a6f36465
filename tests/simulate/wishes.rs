//! The same request in every dialect.

use serde_json::{Value, json};
use shardgate::dialect::model::Dialect;

/// What a request for every dialect says.
#[derive(Clone, Default)]
pub(super) struct Wish {
    pub(super) model: String,
    pub(super) stream: bool,
    /// The tools on offer, and whether one must be called.
    pub(super) tools: bool,
    pub(super) forced: bool,
    /// The result of a call of the turn before.
    pub(super) result: bool,
    pub(super) schema: bool,
    pub(super) image: bool,
    pub(super) max: Option<u64>,
    pub(super) stop: Option<&'static str>,
}

pub(super) fn wish(keys: &str) -> Wish {
    Wish {
        model: format!("sim/{keys}"),
        ..Wish::default()
    }
}

/// The parameters of the tool, and the schema of the document.
fn schema() -> Value {
    json!({"type": "object", "properties": {"city": {"type": "string"}, "days":
        {"type": "integer", "minimum": 3}}, "required": ["city", "days"],
        "additionalProperties": false})
}

const PNG: &str = "iVBORw0KGgo=";

/// Path, further fields and body of `wish` in `dialect`.
pub(super) fn asking(dialect: Dialect, wish: &Wish) -> (String, &'static str, Value) {
    let request = match dialect {
        Dialect::Chat => chat(wish),
        Dialect::Responses => responses(wish),
        Dialect::Anthropic => anthropic(wish),
        Dialect::Gemini => gemini(wish),
        Dialect::Cohere => cohere(wish),
        Dialect::Bedrock => bedrock(wish),
    };
    let model = wish.model.replace('/', "%2F");
    let manner = |plain: &'static str, stream: &'static str| {
        if wish.stream { stream } else { plain }
    };
    let path = match dialect {
        Dialect::Chat => "/v1/chat/completions".to_owned(),
        Dialect::Responses => "/v1/responses".to_owned(),
        Dialect::Anthropic => "/v1/messages".to_owned(),
        Dialect::Gemini => {
            let manner = manner("generateContent", "streamGenerateContent?alt=sse");
            format!("/v1beta/models/{}:{manner}", wish.model)
        }
        Dialect::Cohere => "/v2/chat".to_owned(),
        Dialect::Bedrock => format!("/model/{model}/{}", manner("converse", "converse-stream")),
    };
    let fields = match dialect {
        Dialect::Anthropic => "anthropic-version: 2023-06-01\r\n",
        _ => "",
    };
    (path, fields, request)
}

fn chat(wish: &Wish) -> Value {
    let mut content = vec![json!({"type": "text", "text": "Hi"})];
    if wish.image {
        let url = format!("data:image/png;base64,{PNG}");
        content.push(json!({"type": "image_url", "image_url": {"url": url}}));
    }
    let mut messages = vec![json!({"role": "user", "content": content})];
    if wish.result {
        messages.push(
            json!({"role": "assistant", "content": null, "tool_calls": [{"id": "c1",
            "type": "function", "function": {"name": "weather", "arguments": "{}"}}]}),
        );
        messages.push(json!({"role": "tool", "tool_call_id": "c1", "content": "sunny"}));
    }
    let mut body = json!({"model": wish.model, "messages": messages, "stream": wish.stream});
    if wish.stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    if wish.tools {
        body["tools"] = json!([{"type": "function", "function": {"name": "weather",
            "parameters": schema()}}]);
    }
    if wish.forced {
        body["tool_choice"] = json!("required");
    }
    if wish.schema {
        body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "d",
            "strict": true, "schema": schema()}});
    }
    set(&mut body, "max_tokens", wish.max);
    set(&mut body, "stop", wish.stop.map(|stop| [stop]));
    body
}

fn responses(wish: &Wish) -> Value {
    let mut content = vec![json!({"type": "input_text", "text": "Hi"})];
    if wish.image {
        let url = format!("data:image/png;base64,{PNG}");
        content.push(json!({"type": "input_image", "image_url": url}));
    }
    let mut input = vec![json!({"role": "user", "content": content})];
    if wish.result {
        input.push(
            json!({"type": "function_call", "call_id": "c1", "name": "weather",
            "arguments": "{}"}),
        );
        input.push(json!({"type": "function_call_output", "call_id": "c1", "output": "sunny"}));
    }
    let mut body = json!({"model": wish.model, "input": input, "stream": wish.stream});
    if wish.tools {
        body["tools"] = json!([{"type": "function", "name": "weather", "parameters": schema(),
            "strict": true}]);
    }
    if wish.forced {
        body["tool_choice"] = json!("required");
    }
    if wish.schema {
        body["text"] = json!({"format": {"type": "json_schema", "name": "d",
            "schema": schema()}});
    }
    set(&mut body, "max_output_tokens", wish.max);
    body
}

fn anthropic(wish: &Wish) -> Value {
    let mut content = vec![json!({"type": "text", "text": "Hi"})];
    if wish.image {
        content.push(json!({"type": "image", "source": {"type": "base64",
            "media_type": "image/png", "data": PNG}}));
    }
    let mut messages = vec![json!({"role": "user", "content": content})];
    if wish.result {
        messages.push(
            json!({"role": "assistant", "content": [{"type": "tool_use", "id": "c1",
            "name": "weather", "input": {}}]}),
        );
        messages.push(json!({"role": "user", "content": [{"type": "tool_result",
            "tool_use_id": "c1", "content": "sunny"}]}));
    }
    let mut body = json!({"model": wish.model, "messages": messages, "stream": wish.stream,
        "max_tokens": wish.max.unwrap_or(1000)});
    if wish.tools {
        body["tools"] = json!([{"name": "weather", "input_schema": schema()}]);
    }
    if wish.forced {
        body["tool_choice"] = json!({"type": "any"});
    }
    if wish.schema {
        body["output_config"] = json!({"format": {"type": "json_schema", "schema": schema()}});
    }
    set(&mut body, "stop_sequences", wish.stop.map(|stop| [stop]));
    body
}

fn gemini(wish: &Wish) -> Value {
    let mut parts = vec![json!({"text": "Hi"})];
    if wish.image {
        parts.push(json!({"inlineData": {"mimeType": "image/png", "data": PNG}}));
    }
    let mut contents = vec![json!({"role": "user", "parts": parts})];
    if wish.result {
        contents.push(
            json!({"role": "model", "parts": [{"functionCall": {"name": "weather",
            "args": {}}}]}),
        );
        contents.push(json!({"role": "user", "parts": [{"functionResponse":
            {"name": "weather", "response": {"output": "sunny"}}}]}));
    }
    let mut settings = json!({});
    if wish.schema {
        settings = json!({"responseMimeType": "application/json",
            "responseJsonSchema": schema()});
    }
    set(&mut settings, "maxOutputTokens", wish.max);
    set(&mut settings, "stopSequences", wish.stop.map(|stop| [stop]));
    let mut body = json!({"contents": contents, "generationConfig": settings});
    if wish.tools {
        body["tools"] = json!([{"functionDeclarations": [{"name": "weather",
            "parametersJsonSchema": schema()}]}]);
    }
    if wish.forced {
        body["toolConfig"] = json!({"functionCallingConfig": {"mode": "ANY"}});
    }
    body
}

fn cohere(wish: &Wish) -> Value {
    let mut body = chat(wish);
    let object = body.as_object_mut().unwrap();
    object.remove("stream_options");
    let stop = object.remove("stop");
    if let Some(stop) = stop {
        body["stop_sequences"] = stop;
    }
    if wish.result {
        body["messages"][1]["content"] = json!([]);
    }
    if wish.forced {
        body["tool_choice"] = json!("REQUIRED");
    }
    if wish.schema {
        body["response_format"] = json!({"type": "json_object", "json_schema": schema()});
    }
    body
}

fn bedrock(wish: &Wish) -> Value {
    let mut content = vec![json!({"text": "Hi"})];
    if wish.image {
        content.push(json!({"image": {"format": "png", "source": {"bytes": PNG}}}));
    }
    let mut messages = vec![json!({"role": "user", "content": content})];
    if wish.result {
        messages.push(
            json!({"role": "assistant", "content": [{"toolUse": {"toolUseId": "c1",
            "name": "weather", "input": {}}}]}),
        );
        messages.push(
            json!({"role": "user", "content": [{"toolResult": {"toolUseId": "c1",
            "content": [{"text": "sunny"}]}}]}),
        );
    }
    let mut settings = json!({});
    set(&mut settings, "maxTokens", wish.max);
    set(&mut settings, "stopSequences", wish.stop.map(|stop| [stop]));
    let mut body = json!({"messages": messages, "inferenceConfig": settings});
    if wish.tools {
        body["toolConfig"] = json!({"tools": [{"toolSpec": {"name": "weather",
            "inputSchema": {"json": schema()}}}]});
    }
    if wish.forced {
        body["toolConfig"]["toolChoice"] = json!({"any": {}});
    }
    if wish.schema {
        body["outputConfig"] = json!({"textFormat": {"type": "json_schema", "structure":
            {"jsonSchema": {"name": "d", "schema": schema().to_string()}}}});
    }
    body
}

fn set(body: &mut Value, key: &str, value: Option<impl serde::Serialize>) {
    if let Some(value) = value {
        body[key] = json!(value);
    }
}
