//! Reads a request of Chat.
//!
//! ```text
//!   system, developer … ─► system     (before the first other message, unless named)
//!   user, assistant     ─► a turn each
//!   tool, tool, tool    ─► one turn with their results
//!   the rest            ─► the model's own fields, or extras
//! ```
//!
//! Invariants
//! - I1 A field that is not understood is an extra; what would change the answer says so.
//! - I2 What breaks the dialect is named by its path.
//!
//! Source: OpenAI API reference, "Create chat completion"; protocols.md, 2.1; mapping.md, 1 to
//! 6; extensions of `OpenRouter` (`reasoning`, `cache_control`), vLLM, llama.cpp, Mistral.

use super::parts::{FUNCTION_ID, cache, media, message_blocks, rest, stops, text_block};
use crate::dialect::model::{
    BadAsk, Block, Choice, Dialect, Effort, Extra, Format, Reasoning, Request, Role, Tool,
    ToolKind, ToolResult, Turn, Weight,
};
use crate::dialect::tree::{Path, some, string};
use serde_json::{Map, Value};

/// Reads the body of a request.
///
/// # Errors
/// It breaks the dialect; the path says where.
pub fn read(body: &[u8]) -> Result<Request, BadAsk> {
    let value: Value = serde_json::from_slice(body).map_err(|_| BadAsk {
        field: "body".to_owned(),
        wanted: "must be JSON in UTF-8",
    })?;
    let top = Path::TOP;
    let object = value.as_object().ok_or_else(|| BadAsk {
        field: "body".to_owned(),
        wanted: "must be an object",
    })?;
    let mut request = Request {
        origin: Some(Dialect::Chat),
        ..Request::default()
    };
    let path = top.key("model");
    let model = object.get("model").unwrap_or(&Value::Null);
    path.string(model)?.clone_into(&mut request.model);
    let path = top.key("messages");
    let items = path.array(object.get("messages").unwrap_or(&Value::Null))?;
    if items.is_empty() {
        return Err(path.bad("must hold a message at least"));
    }
    for (at, item) in items.iter().enumerate() {
        message(&path.index(at), item, &mut request)?;
    }
    for (key, value) in object {
        if !value.is_null() {
            field(object, key, value, &mut request)?;
        }
    }
    Ok(request)
}

/// Reads the field `key` of the top level.
fn field(
    top: &Map<String, Value>,
    key: &str,
    value: &Value,
    request: &mut Request,
) -> Result<(), BadAsk> {
    if sampling(top, key, value, request)? {
        return Ok(());
    }
    let whole = Path::TOP;
    let path = whole.key(key);
    match key {
        "model" | "messages" | "fallbacks" | "cache" => {} // the last two are the gateway's
        "max_completion_tokens" => request.max_tokens = Some(path.whole(value)?),
        "max_tokens" => {
            if some(top, "max_completion_tokens").is_none() {
                request.max_tokens = Some(path.whole(value)?);
            }
        }
        "stream" => request.stream = path.flag(value)?,
        "stream_options" => stream_options(&path, value, request)?,
        "tools" => {
            for (at, item) in path.array(value)?.iter().enumerate() {
                request.tools.push(tool(&path.index(at), item)?);
                beside(at, item, request);
            }
        }
        "functions" => {
            for (at, item) in path.array(value)?.iter().enumerate() {
                let path = path.index(at);
                let kind = function(&path, path.object(item)?)?;
                request.tools.push(Tool { kind, cache: None });
            }
        }
        "tool_choice" | "function_call" => request.choice = Some(choice(&path, value)?),
        "parallel_tool_calls" => request.parallel = Some(path.flag(value)?),
        "response_format" => format(&path, value, request)?,
        "reasoning_effort" => match Effort::named(path.string(value)?) {
            Some(effort) => request.reasoning.get_or_insert_default().effort = Some(effort),
            None => extra(key, value, request),
        },
        "reasoning" => reasoning(&path, value, request)?,
        "user" => request.user = Some(path.string(value)?.to_owned()),
        "metadata" => {
            path.object(value)?;
            request.metadata = Some(value.clone());
        }
        "service_tier" => request.service_tier = Some(path.string(value)?.to_owned()),
        "prompt_cache_key" => request.cache_key = Some(path.string(value)?.to_owned()),
        _ => extra(key, value, request),
    }
    Ok(())
}

/// Reads `key` if it is about how tokens are chosen.
fn sampling(
    top: &Map<String, Value>,
    key: &str,
    value: &Value,
    request: &mut Request,
) -> Result<bool, BadAsk> {
    let whole = Path::TOP;
    let path = whole.key(key);
    let sampling = &mut request.sampling;
    match key {
        "temperature" => sampling.temperature = Some(path.number(value)?),
        "top_p" => sampling.top_p = Some(path.number(value)?),
        "top_k" => match path.whole(value) {
            Ok(number) => sampling.top_k = Some(number),
            Err(_) if value.as_i64() == Some(-1) => {} // vLLM: no limit
            Err(bad) => return Err(bad),
        },
        "frequency_penalty" => sampling.frequency_penalty = Some(path.number(value)?),
        "presence_penalty" => sampling.presence_penalty = Some(path.number(value)?),
        "seed" => {
            let seed = value.as_i64();
            sampling.seed = Some(seed.ok_or_else(|| path.bad("must be a whole number"))?);
        }
        "n" => sampling.n = Some(path.whole(value)?),
        "logprobs" => {
            let others = match some(top, "top_logprobs") {
                Some(others) => whole.key("top_logprobs").whole(others)?,
                None => 0,
            };
            sampling.logprobs = path.flag(value)?.then_some(others);
        }
        "top_logprobs" => {} // with logprobs
        "logit_bias" => {
            path.object(value)?;
            sampling.logit_bias = Some(value.clone());
        }
        "stop" => sampling.stop = stops(&path, value)?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn extra(key: &str, value: &Value, request: &mut Request) {
    /// Fields that decide what is answered; all others are taken to tune it.
    const MEANING: [&str; 16] = [
        "audio",
        "chat_template_kwargs",
        "continue_final_message",
        "echo",
        "grammar",
        "guided_choice",
        "guided_grammar",
        "guided_json",
        "guided_regex",
        "json_schema",
        "modalities",
        "moderation",
        "plugins",
        "search_parameters",
        "structured_outputs",
        "web_search_options",
    ];
    let is_text_only = key == "modalities" && *value == serde_json::json!(["text"]);
    let weight = if MEANING.contains(&key) && !is_text_only {
        Weight::Meaning
    } else {
        Weight::Tuning
    };
    request.extras.push(Extra {
        field: key.to_owned(),
        value: value.clone(),
        weight,
    });
}

fn stream_options(path: &Path<'_>, value: &Value, request: &mut Request) -> Result<(), BadAsk> {
    let mut options = path.object(value)?.clone();
    match options.shift_remove("include_usage") {
        None | Some(Value::Null) => {}
        Some(wish) => request.wants_usage = path.key("include_usage").flag(&wish)?,
    }
    if !options.is_empty() {
        extra("stream_options", &Value::Object(options), request);
    }
    Ok(())
}

/// `OpenRouter`'s `reasoning`.
fn reasoning(path: &Path<'_>, value: &Value, request: &mut Request) -> Result<(), BadAsk> {
    let object = path.object(value)?;
    let mut said = Reasoning::default();
    if let Some(effort) = some(object, "effort") {
        let path = path.key("effort");
        let effort = Effort::named(path.string(effort)?);
        let bad = || path.bad("must be none, minimal, low, medium, high, xhigh or max");
        said.effort = Some(effort.ok_or_else(bad)?);
    }
    if let Some(budget) = some(object, "max_tokens") {
        said.budget = Some(path.key("max_tokens").whole(budget)?);
    }
    if let Some(hidden) = some(object, "exclude") {
        said.visible = Some(!path.key("exclude").flag(hidden)?);
    }
    match some(object, "enabled") {
        Some(Value::Bool(true)) if said.effort.is_none() && said.budget.is_none() => {
            said.adaptive = true;
        }
        Some(Value::Bool(false)) => said.effort = Some(Effort::None),
        _ => {}
    }
    request.reasoning = Some(said);
    Ok(())
}

fn format(path: &Path<'_>, value: &Value, request: &mut Request) -> Result<(), BadAsk> {
    let object = path.object(value)?;
    match string(object, "type") {
        Some("text") => {}
        Some("json_object") => request.format = Format::Json,
        Some("json_schema") => {
            let path = path.key("json_schema");
            let wrapped = path.object(object.get("json_schema").unwrap_or(&Value::Null))?;
            let strict = match some(wrapped, "strict") {
                Some(strict) => Some(path.key("strict").flag(strict)?),
                None => None,
            };
            let Some(schema) = some(wrapped, "schema") else {
                return Err(path.key("schema").bad("must be an object"));
            };
            request.format = Format::Schema {
                name: string(wrapped, "name").map(str::to_owned),
                description: string(wrapped, "description").map(str::to_owned),
                schema: schema.clone(),
                strict,
            };
        }
        _ => request.extras.push(Extra {
            field: "response_format".to_owned(),
            value: value.clone(),
            weight: Weight::Meaning,
        }),
    }
    Ok(())
}

fn tool(path: &Path<'_>, value: &Value) -> Result<Tool, BadAsk> {
    let object = path.object(value)?;
    let kind_of = path.key("type");
    let kind = match kind_of.string(some(object, "type").unwrap_or(&Value::from("function")))? {
        "function" => {
            let path = path.key("function");
            let inner = path.object(object.get("function").unwrap_or(&Value::Null))?;
            function(&path, inner)?
        }
        "custom" => {
            let path = path.key("custom");
            let inner = path.object(object.get("custom").unwrap_or(&Value::Null))?;
            ToolKind::Custom {
                name: name(&path, inner)?,
                description: string(inner, "description").map(str::to_owned),
                format: some(inner, "format").cloned(),
            }
        }
        _ => ToolKind::Foreign {
            dialect: Dialect::Chat,
            value: value.clone(),
        },
    };
    let cache = match kind {
        ToolKind::Foreign { .. } => None, // it has its own within
        _ => cache(object),
    };
    Ok(Tool { kind, cache })
}

/// Members of a tool that only some engines know (`eager_input_streaming`).
fn beside(at: usize, item: &Value, request: &mut Request) {
    const KNOWN: [&str; 5] = [
        "type",
        "function",
        "custom",
        "cache_control",
        "prompt_cache_breakpoint",
    ];
    let is_foreign = |tool: &Tool| matches!(tool.kind, ToolKind::Foreign { .. });
    if request.tools.last().is_none_or(is_foreign) {
        return; // it is kept whole
    }
    for (key, value) in item.as_object().into_iter().flatten() {
        if !KNOWN.contains(&key.as_str()) && !value.is_null() {
            extra(&format!("tools[{at}].{key}"), value, request);
        }
    }
}

fn function(path: &Path<'_>, inner: &Map<String, Value>) -> Result<ToolKind, BadAsk> {
    let schema = match some(inner, "parameters") {
        Some(schema) => {
            path.key("parameters").object(schema)?;
            Some(schema.clone())
        }
        None => None,
    };
    let strict = match some(inner, "strict") {
        Some(strict) => Some(path.key("strict").flag(strict)?),
        None => None,
    };
    Ok(ToolKind::Function {
        name: name(path, inner)?,
        description: string(inner, "description").map(str::to_owned),
        schema,
        strict,
    })
}

fn name(path: &Path<'_>, inner: &Map<String, Value>) -> Result<String, BadAsk> {
    let name = path.key("name");
    let text = name.string(inner.get("name").unwrap_or(&Value::Null))?;
    Ok(text.to_owned())
}

fn choice(path: &Path<'_>, value: &Value) -> Result<Choice, BadAsk> {
    let bad = || path.bad("must be none, auto, required or name a tool");
    let object = match value {
        Value::String(word) => {
            return match word.as_str() {
                "none" => Ok(Choice::Never),
                "auto" => Ok(Choice::Auto),
                "required" | "any" => Ok(Choice::Any),
                _ => Err(bad()),
            };
        }
        other => other.as_object().ok_or_else(bad)?,
    };
    let named = |object: &Map<String, Value>| {
        let inner = ["function", "custom"]
            .iter()
            .find_map(|kind| object.get(*kind)?.as_object());
        string(inner.unwrap_or(object), "name").map(str::to_owned)
    };
    let Some(allowed) = object.get("allowed_tools").and_then(Value::as_object) else {
        return named(object).map(Choice::Named).ok_or_else(bad);
    };
    let tools = allowed.get("tools").and_then(Value::as_array);
    let list: Option<Vec<String>> = tools
        .ok_or_else(bad)?
        .iter()
        .map(|tool| named(tool.as_object()?))
        .collect();
    Ok(Choice::Allowed {
        names: list.ok_or_else(bad)?,
        must: string(allowed, "mode") == Some("required"),
    })
}

fn message(path: &Path<'_>, value: &Value, request: &mut Request) -> Result<(), BadAsk> {
    let object = path.object(value)?;
    let role = path.key("role");
    let name = some(object, "name").and_then(Value::as_str);
    let name = name.map(str::to_owned);
    let turn = |role, name, blocks| Turn { role, name, blocks };
    match role.string(object.get("role").unwrap_or(&Value::Null))? {
        "system" | "developer" => {
            let mut blocks = content(path, object)?;
            if request.turns.is_empty() && name.is_none() {
                request.system.append(&mut blocks);
            } else {
                request.turns.push(turn(Role::System, name, blocks));
            }
        }
        "user" => {
            let mut blocks = content(path, object)?;
            blocks.extend(rest(object));
            request.turns.push(turn(Role::User, name, blocks));
        }
        "assistant" => {
            let blocks = assistant(path, object)?;
            request.turns.push(turn(Role::Assistant, name, blocks));
        }
        "tool" => {
            let id = path.key("tool_call_id");
            let id = id.string(object.get("tool_call_id").unwrap_or(&Value::Null))?;
            result(path, object, id.to_owned(), name, request)?;
        }
        "function" => result(path, object, FUNCTION_ID.to_owned(), name, request)?,
        _ => return Err(role.bad("must be system, developer, user, assistant or tool")),
    }
    Ok(())
}

/// A result of a tool; it joins those just before it.
fn result(
    path: &Path<'_>,
    object: &Map<String, Value>,
    id: String,
    name: Option<String>,
    request: &mut Request,
) -> Result<(), BadAsk> {
    let block = Block::Result(ToolResult {
        id,
        name,
        content: content(path, object)?,
        is_error: false,
        cache: cache(object),
    });
    let is_results = |turn: &Turn| {
        let mut blocks = turn.blocks.iter();
        turn.role == Role::User && blocks.all(|block| matches!(block, Block::Result(_)))
    };
    match request.turns.last_mut() {
        Some(last) if is_results(last) && !last.blocks.is_empty() => last.blocks.push(block),
        _ => request.turns.push(Turn {
            role: Role::User,
            name: None,
            blocks: vec![block],
        }),
    }
    Ok(())
}

/// The content of a message that is not the model's.
fn content(path: &Path<'_>, object: &Map<String, Value>) -> Result<Vec<Block>, BadAsk> {
    let path = path.key("content");
    match object.get("content") {
        Some(Value::String(text)) => Ok(vec![text_block(text, object)]),
        Some(Value::Array(parts)) => {
            let part = |(at, value)| part(&path.index(at), value);
            parts.iter().enumerate().map(part).collect()
        }
        _ => Err(path.bad("must be a string or an array of parts")),
    }
}

fn part(path: &Path<'_>, value: &Value) -> Result<Block, BadAsk> {
    let object = path.object(value)?;
    let kind = path.key("type");
    match kind.string(object.get("type").unwrap_or(&Value::Null))? {
        "text" => {
            let text = path.key("text");
            let text = text.string(object.get("text").unwrap_or(&Value::Null))?;
            Ok(text_block(text, object))
        }
        "image_url" | "input_audio" | "file" | "video_url" => match media(object) {
            Some(media) => Ok(Block::Media(media)),
            None => Err(path.bad("must hold what its type names")),
        },
        _ => Err(kind.bad("must be text, image_url, input_audio or file")),
    }
}

/// The model's own message: checked first, then read as an answer's is.
fn assistant(path: &Path<'_>, object: &Map<String, Value>) -> Result<Vec<Block>, BadAsk> {
    let content = path.key("content");
    match object.get("content") {
        None | Some(Value::Null | Value::String(_)) => {}
        Some(Value::Array(parts)) => {
            for (at, part) in parts.iter().enumerate() {
                content.index(at).object(part)?;
            }
        }
        Some(_) => return Err(content.bad("must be a string, null or an array of parts")),
    }
    if let Some(calls) = some(object, "tool_calls") {
        let path = path.key("tool_calls");
        for (at, call) in path.array(calls)?.iter().enumerate() {
            let path = path.index(at);
            let call = path.object(call)?;
            let key = if call.contains_key("custom") {
                "custom"
            } else {
                "function"
            };
            let path = path.key(key);
            name(&path, path.object(call.get(key).unwrap_or(&Value::Null))?)?;
        }
    }
    let mut blocks = message_blocks(object);
    if blocks.is_empty() {
        blocks.push(Block::text("")); // a turn that says nothing is still a turn
    }
    Ok(blocks)
}
