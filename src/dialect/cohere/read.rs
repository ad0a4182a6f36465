//! Requests → the model.
//!
//! ```text
//!   {"model":…,"messages":[system… , user, assistant, tool, tool, …],"tools":…,"documents":…}
//!                          └ system ┘                 └── one turn ┘         └ extras
//! ```
//!
//! Invariants
//! - I1 The first system messages are [`Request::system`]; later ones are turns.
//! - I2 Tool messages in a row are one turn of results.
//! - I3 An assistant's `tool_plan` is text before its calls. Where a message calls tools without
//!   one, the last text of its content stands for it, and is written as the plan again.
//! - I4 A document in a tool's result is a text document whose text is its `data` as JSON.
//!
//! Source: Cohere API reference, `POST /v2/chat`; `cohere` 7.3.1, `v2/raw_client.py` and its
//! types.

use super::answer::blocks;
use crate::dialect::model::{
    BadAsk, Block, Choice, Dialect, Effort, Extra, Format, Media, MediaKind, Reasoning, Request,
    Role, Source, Tool, ToolKind, ToolResult, Turn, Weight,
};
use crate::dialect::tree::{Path, some, string};
use serde_json::{Map, Value};

/// Reads the body of a request.
///
/// # Errors
/// The field that is not as the API wants it.
pub fn read(body: &[u8]) -> Result<Request, BadAsk> {
    let path = Path::TOP;
    let value: Value =
        serde_json::from_slice(body).map_err(|_| path.key("body").bad("must be a JSON object"))?;
    let top = value.as_object();
    let top = top.ok_or_else(|| path.key("body").bad("must be a JSON object"))?;
    let mut request = Request {
        origin: Some(Dialect::Cohere),
        ..Request::default()
    };
    let model = path.key("model");
    let name = some(top, "model").ok_or_else(|| model.bad("is missing"))?;
    model.string(name)?.clone_into(&mut request.model);
    messages(top, &mut request)?;
    for (key, value) in top.iter().filter(|(_, value)| !value.is_null()) {
        field(key, value, &mut request)?;
    }
    // The switch stands for all tools; without tools it is only a field to be given back.
    if let Some(switch) = some(top, "strict_tools") {
        strict(path.key("strict_tools").flag(switch)?, &mut request);
    }
    Ok(request)
}

fn field(key: &str, value: &Value, request: &mut Request) -> Result<(), BadAsk> {
    let top = Path::TOP;
    let path = top.key(key);
    let sampling = &mut request.sampling;
    match key {
        "model" | "messages" | "strict_tools" => {}
        "stream" => request.stream = path.flag(value)?,
        "max_tokens" => request.max_tokens = Some(path.whole(value)?),
        "temperature" => sampling.temperature = Some(path.number(value)?),
        "p" => sampling.top_p = Some(path.number(value)?),
        "k" => sampling.top_k = Some(path.whole(value)?),
        "frequency_penalty" => sampling.frequency_penalty = Some(path.number(value)?),
        "presence_penalty" => sampling.presence_penalty = Some(path.number(value)?),
        "seed" => match i64::try_from(path.whole(value)?) {
            Ok(seed) => sampling.seed = Some(seed),
            // Up to 2^64, which the model between the dialects does not hold.
            Err(_) => extra(key, value, Weight::Tuning, request),
        },
        "logprobs" => sampling.logprobs = path.flag(value)?.then_some(0),
        "stop_sequences" => {
            for (at, text) in path.array(value)?.iter().enumerate() {
                sampling.stop.push(path.index(at).string(text)?.to_owned());
            }
        }
        "tools" => {
            for (at, tool) in path.array(value)?.iter().enumerate() {
                request.tools.push(read_tool(&path.index(at), tool)?);
            }
        }
        "tool_choice" => {
            request.choice = Some(match path.string(value)? {
                "REQUIRED" => Choice::Any,
                "NONE" => Choice::Never,
                _ => return Err(path.bad("must be REQUIRED or NONE")),
            });
        }
        "response_format" => request.format = format(&path, value)?,
        "thinking" => request.reasoning = Some(thinking(&path, value)?),
        "documents" => match path.array(value)? {
            [] => {}
            _ => extra(key, value, Weight::Meaning, request),
        },
        "safety_mode" => {
            let is_strict = path.string(value)? == "STRICT";
            let weight = if is_strict {
                Weight::Meaning
            } else {
                Weight::Tuning
            };
            extra(key, value, weight, request);
        }
        _ => extra(key, value, Weight::Tuning, request),
    }
    Ok(())
}

fn extra(field: &str, value: &Value, weight: Weight, request: &mut Request) {
    request.extras.push(Extra {
        field: field.to_owned(),
        value: value.clone(),
        weight,
    });
}

fn strict(is_strict: bool, request: &mut Request) {
    let mut functions = 0;
    for tool in &mut request.tools {
        if let ToolKind::Function { strict, .. } = &mut tool.kind {
            *strict = Some(is_strict);
            functions += 1;
        }
    }
    if functions == 0 {
        extra("strict_tools", &is_strict.into(), Weight::Tuning, request);
    }
}

fn format(path: &Path<'_>, value: &Value) -> Result<Format, BadAsk> {
    let format = path.object(value)?;
    let kind = path.key("type");
    match string(format, "type") {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(
            match some(format, "json_schema").or(some(format, "schema")) {
                None => Format::Json,
                Some(schema) => {
                    path.key("json_schema").object(schema)?;
                    Format::Schema {
                        name: None,
                        description: None,
                        schema: schema.clone(),
                        strict: None,
                    }
                }
            },
        ),
        _ => Err(kind.bad("must be text or json_object")),
    }
}

fn thinking(path: &Path<'_>, value: &Value) -> Result<Reasoning, BadAsk> {
    let thinking = path.object(value)?;
    let budget = some(thinking, "token_budget")
        .map(|budget| path.key("token_budget").whole(budget))
        .transpose()?;
    match string(thinking, "type") {
        Some("enabled") => Ok(Reasoning {
            budget,
            ..Reasoning::default()
        }),
        Some("disabled") => Ok(Reasoning {
            effort: Some(Effort::None),
            ..Reasoning::default()
        }),
        _ => Err(path.key("type").bad("must be enabled or disabled")),
    }
}

fn read_tool(path: &Path<'_>, value: &Value) -> Result<Tool, BadAsk> {
    let tool = path.object(value)?;
    if string(tool, "type").is_some_and(|kind| kind != "function") {
        let (dialect, value) = (Dialect::Cohere, value.clone());
        let kind = ToolKind::Foreign { dialect, value };
        return Ok(Tool { kind, cache: None });
    }
    let place = path.key("function");
    let function = some(tool, "function").ok_or_else(|| place.bad("is missing"))?;
    let function = place.object(function)?;
    let name = place.key("name");
    let called = some(function, "name").ok_or_else(|| name.bad("is missing"))?;
    let described = some(function, "description");
    let schema = some(function, "parameters");
    if let Some(schema) = schema {
        place.key("parameters").object(schema)?;
    }
    Ok(Tool {
        kind: ToolKind::Function {
            name: name.string(called)?.to_owned(),
            description: described
                .map(|text| place.key("description").string(text).map(str::to_owned))
                .transpose()?,
            schema: schema.cloned(),
            strict: None,
        },
        cache: None,
    })
}

fn messages(top: &Map<String, Value>, request: &mut Request) -> Result<(), BadAsk> {
    let root = Path::TOP;
    let path = root.key("messages");
    let list = some(top, "messages").ok_or_else(|| path.bad("is missing"))?;
    let list = path.array(list)?;
    if list.is_empty() {
        return Err(path.bad("must hold at least one message"));
    }
    let mut last_is_tool = false;
    for (at, value) in list.iter().enumerate() {
        let path = path.index(at);
        let message = path.object(value)?;
        let role = string(message, "role").unwrap_or_default();
        match role {
            "system" if request.turns.is_empty() => {
                request.system.extend(content(&path, message, false)?); // I1
            }
            "system" => turn(Role::System, content(&path, message, false)?, request),
            "user" => turn(Role::User, content(&path, message, true)?, request),
            "assistant" => {
                check_assistant(&path, message)?;
                turn(Role::Assistant, blocks(message), request);
            }
            "tool" => {
                let result = Block::Result(result(&path, message)?);
                match request.turns.last_mut().filter(|_| last_is_tool) {
                    Some(turn) => turn.blocks.push(result), // I2
                    None => turn(Role::User, vec![result], request),
                }
            }
            _ => {
                return Err(path
                    .key("role")
                    .bad("must be system, user, assistant or tool"));
            }
        }
        last_is_tool = role == "tool";
    }
    Ok(())
}

fn turn(role: Role, blocks: Vec<Block>, request: &mut Request) {
    request.turns.push(Turn {
        role,
        name: None,
        blocks,
    });
}

/// Text, or a list of text and, from the user, images.
fn content(
    path: &Path<'_>,
    message: &Map<String, Value>,
    sees: bool,
) -> Result<Vec<Block>, BadAsk> {
    let path = path.key("content");
    let parts = match some(message, "content") {
        Some(Value::String(text)) => return Ok(vec![Block::text(text)]),
        Some(Value::Array(parts)) => parts,
        _ => return Err(path.bad("must be a string or an array of parts")),
    };
    let part = |(at, value): (usize, &Value)| {
        let path = path.index(at);
        let part = path.object(value)?;
        match string(part, "type") {
            Some("text") => text(&path, part),
            Some("image_url") if sees => image(&path, part),
            _ if sees => Err(path.key("type").bad("must be text or image_url")),
            _ => Err(path.key("type").bad("must be text")),
        }
    };
    parts.iter().enumerate().map(part).collect()
}

fn text(path: &Path<'_>, part: &Map<String, Value>) -> Result<Block, BadAsk> {
    let text = part.get("text").unwrap_or(&Value::Null);
    Ok(Block::text(path.key("text").string(text)?))
}

fn image(path: &Path<'_>, part: &Map<String, Value>) -> Result<Block, BadAsk> {
    let path = path.key("image_url");
    let value = part.get("image_url").unwrap_or(&Value::Null);
    let (url, detail) = if let Value::String(url) = value {
        (url.as_str(), None)
    } else {
        let image = path.object(value)?;
        let url = image.get("url").unwrap_or(&Value::Null);
        (path.key("url").string(url)?, string(image, "detail"))
    };
    let source = match inline(url) {
        Some((media_type, data)) => Source::Inline {
            media_type: media_type.to_owned(),
            data: data.to_owned(),
        },
        None if url.starts_with("data:") => {
            return Err(path
                .key("url")
                .bad("must be an address or a base64 data URL"));
        }
        None => Source::Url(url.to_owned()),
    };
    Ok(Block::Media(Media {
        kind: MediaKind::Image,
        source,
        name: None,
        detail: detail.map(str::to_owned),
        cache: None,
    }))
}

/// Media type and data of a base64 data URL.
fn inline(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((head.strip_suffix(";base64")?, data))
}

/// What [`blocks`] reads leniently must be right in a request.
fn check_assistant(path: &Path<'_>, message: &Map<String, Value>) -> Result<(), BadAsk> {
    match some(message, "content") {
        None | Some(Value::String(_)) => {}
        Some(Value::Array(parts)) => {
            let path = path.key("content");
            for (at, value) in parts.iter().enumerate() {
                let path = path.index(at);
                let part = path.object(value)?;
                let (key, kind) = match string(part, "type") {
                    Some(kind @ ("text" | "thinking")) => (kind, path.key(kind)),
                    _ => return Err(path.key("type").bad("must be text or thinking")),
                };
                kind.string(part.get(key).unwrap_or(&Value::Null))?;
            }
        }
        Some(_) => {
            return Err(path
                .key("content")
                .bad("must be a string or an array of parts"));
        }
    }
    if let Some(plan) = some(message, "tool_plan") {
        path.key("tool_plan").string(plan)?;
    }
    let path = path.key("tool_calls");
    let Some(calls) = some(message, "tool_calls") else {
        return Ok(());
    };
    for (at, value) in path.array(calls)?.iter().enumerate() {
        let path = path.index(at);
        let call = path.object(value)?;
        let place = path.key("function");
        path.key("id")
            .string(call.get("id").unwrap_or(&Value::Null))?;
        let function = place.object(call.get("function").unwrap_or(&Value::Null))?;
        let name = function.get("name").unwrap_or(&Value::Null);
        place.key("name").string(name)?;
    }
    Ok(())
}

fn result(path: &Path<'_>, message: &Map<String, Value>) -> Result<ToolResult, BadAsk> {
    let id = message.get("tool_call_id").unwrap_or(&Value::Null);
    let id = path.key("tool_call_id").string(id)?.to_owned();
    let place = path.key("content");
    let content = match some(message, "content") {
        Some(Value::String(text)) => vec![Block::text(text)],
        Some(Value::Array(parts)) => {
            let part = |(at, value): (usize, &Value)| {
                let path = place.index(at);
                let part = path.object(value)?;
                match string(part, "type") {
                    Some("text") => text(&path, part),
                    Some("document") => document(&path, part),
                    _ => Err(path.key("type").bad("must be text or document")),
                }
            };
            parts
                .iter()
                .enumerate()
                .map(part)
                .collect::<Result<_, _>>()?
        }
        _ => return Err(place.bad("must be a string or an array of parts")),
    };
    Ok(ToolResult {
        id,
        name: None,
        content,
        is_error: false,
        cache: None,
    })
}

/// A document in a tool's result (I4).
fn document(path: &Path<'_>, part: &Map<String, Value>) -> Result<Block, BadAsk> {
    let path = path.key("document");
    let value = part.get("document").unwrap_or(&Value::Null);
    let document = path.object(value)?;
    let text = match document.get("data") {
        Some(Value::String(text)) => text.clone(),
        Some(data @ Value::Object(_)) => data.to_string(),
        _ => return Err(path.key("data").bad("must be an object")),
    };
    Ok(Block::Media(Media {
        kind: MediaKind::Document,
        source: Source::Text(text),
        name: string(document, "id").map(str::to_owned),
        detail: None,
        cache: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a broken request names the field at fault and what would be right.
    #[test]
    fn a_broken_request_names_its_field() {
        for (body, field) in [
            ("x", "body"),
            ("[]", "body"),
            (r#"{"messages":[]}"#, "model"),
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"model":"m","messages":[]}"#, "messages"),
            (r#"{"model":"m","messages":[1]}"#, "messages[0]"),
            (
                r#"{"model":"m","messages":[{"role":"bot"}]}"#,
                "messages[0].role",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user"}]}"#,
                "messages[0].content",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"x"}]}]}"#,
                "messages[0].content[0].type",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:x"}}]}]}"#,
                "messages[0].content[0].image_url.url",
            ),
            (
                r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#,
                "messages[0].tool_call_id",
            ),
            (
                r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"i","function":{}}]}]}"#,
                "messages[0].tool_calls[0].function.name",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","content":"x"}],"tool_choice":"auto"}"#,
                "tool_choice",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","content":"x"}],"thinking":{"type":"on"}}"#,
                "thinking.type",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","content":"x"}],"stop_sequences":["a",1]}"#,
                "stop_sequences[1]",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":-1}"#,
                "max_tokens",
            ),
        ] {
            assert_eq!(read(body.as_bytes()).unwrap_err().field, field, "{body}");
        }
    }

    /// Goal: I1 and I2.
    #[test]
    fn messages_become_turns() {
        let body = r#"{"model":"m","messages":[
            {"role":"system","content":"a"},{"role":"system","content":[{"type":"text","text":"b"}]},
            {"role":"user","content":"q"},
            {"role":"assistant","tool_plan":"p","tool_calls":[{"id":"1","function":{"name":"f","arguments":"{}"}},{"id":"2","function":{"name":"f","arguments":"{}"}}]},
            {"role":"tool","tool_call_id":"1","content":"r"},{"role":"tool","tool_call_id":"2","content":[{"type":"document","document":{"data":{"k":1},"id":"d"}}]},
            {"role":"user","content":"and?"},{"role":"system","content":"s"}]}"#;
        let request = read(body.as_bytes()).unwrap();
        assert_eq!(request.system, [Block::text("a"), Block::text("b")]);
        let roles: Vec<Role> = request.turns.iter().map(|turn| turn.role).collect();
        assert_eq!(
            roles,
            [
                Role::User,
                Role::Assistant,
                Role::User,
                Role::User,
                Role::System
            ]
        );
        assert_eq!(request.turns[1].blocks[0], Block::text("p"));
        assert_eq!(request.turns[2].blocks.len(), 2);
    }
}
