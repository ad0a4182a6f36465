//! A body of Responses to the model.
//!
//! ```text
//!   {"model":"m","instructions":"…","input":[…],"tools":[…],"reasoning":{"effort":"low"},…}
//!                └ system            └ turns    └ tools     └ reasoning
//! ```
//!
//! Invariants
//! - I1 Every member of the body is in the model or among its extras; only null, and what says
//!   what would hold without it (`background: false`), is left out.
//! - I2 A member inside another that has no place in the model is an extra whose field is its
//!   path: `text.verbosity`, `tools[2].defer_loading`.
//!
//! Source: OpenAI API reference, "Create a model response"; protocols.md, 4.1.

use super::items;
use crate::dialect::model::{
    BadAsk, Choice, Dialect, Effort, Extra, Format, Reasoning, Request, Tool, ToolKind, Weight,
};
use crate::dialect::tree::{self, Path};
use crate::wire::json::scan::BOM;
use serde_json::{Map, Value, json};

/// Members that change what is answered: other dialects cannot honour them.
const MEANING: [&str; 5] = [
    "previous_response_id",
    "conversation",
    "prompt",
    "background",
    "background_options",
];

/// What `include` says of the probabilities of tokens.
pub(super) const LOGPROBS: &str = "message.output_text.logprobs";

/// Reads a request.
///
/// # Errors
/// The body is no request of this dialect: which field, and what would be right.
pub fn read(body: &[u8]) -> Result<Request, BadAsk> {
    let body = body.strip_prefix(BOM).unwrap_or(body);
    let value: Value = serde_json::from_slice(body).map_err(|_| BadAsk {
        field: "body".to_owned(),
        wanted: "must be JSON in UTF-8",
    })?;
    let top = value.as_object().ok_or_else(|| BadAsk {
        field: "body".to_owned(),
        wanted: "must be an object",
    })?;
    let mut request = Request {
        origin: Some(Dialect::Responses),
        ..Request::default()
    };
    let mut input = items::Reader::default();
    if let Some(text) = tree::some(top, "instructions") {
        // Stored prompts give instructions as items; as text is what all others give.
        match text {
            Value::String(text) => input.system.push(crate::dialect::model::Block::text(text)),
            other => {
                input.read(other, &Path::TOP.key("instructions"))?;
            }
        }
    }
    match tree::some(top, "input") {
        Some(value) => input.read(value, &Path::TOP.key("input"))?,
        None if MEANING.iter().any(|name| tree::some(top, name).is_some()) => {}
        None => {
            return Err(Path::TOP
                .key("input")
                .bad("must be a string or an array of items"));
        }
    }
    (request.system, request.turns, request.extras) = (input.system, input.turns, input.extras);
    for (name, value) in top {
        if !value.is_null() {
            member(&mut request, name, value, &Path::TOP.key(name))?;
        }
    }
    logprobs(&mut request, top)?;
    Ok(request)
}

/// One member of the body that is not null.
fn member(request: &mut Request, name: &str, value: &Value, path: &Path<'_>) -> Result<(), BadAsk> {
    let owned = || path.string(value).map(str::to_owned);
    match name {
        "instructions" | "input" | "include" | "top_logprobs" | "fallbacks" | "cache" => {}
        "model" => request.model = owned()?,
        "stream" => request.stream = path.flag(value)?,
        "max_output_tokens" => request.max_tokens = Some(path.whole(value)?),
        "temperature" => request.sampling.temperature = Some(path.number(value)?),
        "top_p" => request.sampling.top_p = Some(path.number(value)?),
        "parallel_tool_calls" => request.parallel = Some(path.flag(value)?),
        "user" => request.user = Some(owned()?),
        "service_tier" => request.service_tier = Some(owned()?),
        "prompt_cache_key" => request.cache_key = Some(owned()?),
        "metadata" => {
            path.object(value)?;
            request.metadata = Some(value.clone());
        }
        "tools" => tools(request, value, path)?,
        "tool_choice" => choice(request, value, path)?,
        "text" => text(request, value, path)?,
        "reasoning" => reasoning(request, value, path)?,
        "background" if value == &Value::Bool(false) => {} // I1
        _ => extra(request, name, value),
    }
    Ok(())
}

fn extra(request: &mut Request, field: impl Into<String>, value: &Value) {
    let field = field.into();
    let weight = if MEANING.contains(&field.as_str()) {
        Weight::Meaning
    } else {
        Weight::Tuning
    };
    request.extras.push(Extra {
        field,
        value: value.clone(),
        weight,
    });
}

fn tools(request: &mut Request, value: &Value, path: &Path<'_>) -> Result<(), BadAsk> {
    for (index, value) in path.array(value)?.iter().enumerate() {
        let path = path.index(index);
        let tool = path.object(value)?;
        let text = |name: &'static str| match tree::some(tool, name) {
            Some(value) => path
                .key(name)
                .string(value)
                .map(|text| Some(text.to_owned())),
            None => Ok(None),
        };
        let need = |name: &'static str| {
            let value = tool.get(name).unwrap_or(&Value::Null);
            path.key(name).string(value).map(str::to_owned)
        };
        let known: &[&str];
        let kind = match need("type")?.as_str() {
            "function" => {
                known = &["type", "name", "description", "parameters", "strict"];
                let strict = tree::some(tool, "strict");
                ToolKind::Function {
                    name: need("name")?,
                    description: text("description")?,
                    schema: tree::some(tool, "parameters").cloned(),
                    strict: strict.map(|v| path.key("strict").flag(v)).transpose()?,
                }
            }
            "custom" => {
                known = &["type", "name", "description", "format"];
                ToolKind::Custom {
                    name: need("name")?,
                    description: text("description")?,
                    format: tree::some(tool, "format").cloned(),
                }
            }
            _ => {
                request.tools.push(Tool {
                    kind: ToolKind::Foreign {
                        dialect: Dialect::Responses,
                        value: value.clone(),
                    },
                    cache: None,
                });
                continue;
            }
        };
        request.tools.push(Tool { kind, cache: None });
        for (name, value) in tool {
            if !known.contains(&name.as_str()) && !value.is_null() {
                let field = path.key(name).text();
                extra(request, field, value); // I2
            }
        }
    }
    Ok(())
}

fn choice(request: &mut Request, value: &Value, path: &Path<'_>) -> Result<(), BadAsk> {
    const WANTED: &str = "must be auto, none, required or an object that names a tool";
    let choice = match value {
        Value::String(word) => match word.as_str() {
            "auto" => Choice::Auto,
            "none" => Choice::Never,
            "required" => Choice::Any,
            _ => return Err(path.bad(WANTED)),
        },
        Value::Object(object) => match tree::string(object, "type") {
            Some("function" | "custom") => {
                let name = object.get("name").unwrap_or(&Value::Null);
                Choice::Named(path.key("name").string(name)?.to_owned())
            }
            Some("allowed_tools") if allowed(object).is_some() => Choice::Allowed {
                names: allowed(object).unwrap_or_default(),
                must: tree::string(object, "mode") == Some("required"),
            },
            Some(_) => {
                // A tool that the provider runs.
                request.extras.push(Extra {
                    field: path.text(),
                    value: value.clone(),
                    weight: Weight::Meaning,
                });
                return Ok(());
            }
            None => return Err(path.bad(WANTED)),
        },
        _ => return Err(path.bad(WANTED)),
    };
    request.choice = Some(choice);
    Ok(())
}

/// The names of the tools that are allowed; `None` if one of them has none.
fn allowed(choice: &Map<String, Value>) -> Option<Vec<String>> {
    let tools = choice.get("tools")?.as_array()?;
    tools
        .iter()
        .map(|tool| {
            let kind = tool.get("type").and_then(Value::as_str)?;
            let name = tool.get("name").and_then(Value::as_str)?;
            matches!(kind, "function" | "custom").then(|| name.to_owned())
        })
        .collect()
}

fn text(request: &mut Request, value: &Value, path: &Path<'_>) -> Result<(), BadAsk> {
    for (name, value) in path.object(value)? {
        let path = path.key(name);
        match name.as_str() {
            _ if value.is_null() => {}
            "format" => request.format = format(value, &path)?,
            _ => extra(request, path.text(), value), // I2
        }
    }
    Ok(())
}

fn format(value: &Value, path: &Path<'_>) -> Result<Format, BadAsk> {
    let format = path.object(value)?;
    let text = |name: &'static str| match tree::some(format, name) {
        Some(value) => path
            .key(name)
            .string(value)
            .map(|text| Some(text.to_owned())),
        None => Ok(None),
    };
    match text("type")?.as_deref() {
        Some("text") => Ok(Format::Text),
        Some("json_object") => Ok(Format::Json),
        Some("json_schema") => {
            let schema = path.key("schema");
            let value = format.get("schema").unwrap_or(&Value::Null);
            schema.object(value)?;
            let strict = tree::some(format, "strict");
            Ok(Format::Schema {
                name: text("name")?,
                description: text("description")?,
                schema: value.clone(),
                strict: strict.map(|v| path.key("strict").flag(v)).transpose()?,
            })
        }
        _ => Err(path
            .key("type")
            .bad("must be text, json_object or json_schema")),
    }
}

fn reasoning(request: &mut Request, value: &Value, path: &Path<'_>) -> Result<(), BadAsk> {
    let mut reasoning = Reasoning::default();
    for (name, value) in path.object(value)? {
        let path = path.key(name);
        match name.as_str() {
            _ if value.is_null() => {}
            "effort" => {
                let effort = Effort::named(path.string(value)?).ok_or_else(|| {
                    path.bad("must be none, minimal, low, medium, high, xhigh or max")
                })?;
                reasoning.effort = Some(effort);
            }
            "summary" | "generate_summary" => {
                reasoning.visible = Some(true);
                if value != &json!("auto") {
                    path.string(value)?;
                    extra(request, "reasoning.summary", value);
                }
            }
            _ => extra(request, path.text(), value), // I2
        }
    }
    request.reasoning = Some(reasoning);
    Ok(())
}

/// `include` and `top_logprobs`: the probabilities of tokens, and what is left.
fn logprobs(request: &mut Request, top: &Map<String, Value>) -> Result<(), BadAsk> {
    let path = Path::TOP.key("top_logprobs");
    let count = tree::some(top, "top_logprobs");
    let most = count.map(|value| path.whole(value)).transpose()?;
    let mut rest = Vec::new();
    let mut is_wanted = false;
    if let Some(include) = tree::some(top, "include") {
        for one in Path::TOP.key("include").array(include)? {
            if one == &json!(LOGPROBS) {
                is_wanted = true;
            } else {
                rest.push(one.clone());
            }
        }
    }
    if is_wanted {
        request.sampling.logprobs = Some(most.unwrap_or(0));
    } else if let Some(value) = count {
        extra(request, "top_logprobs", value);
    }
    if !rest.is_empty() {
        extra(request, "include", &Value::Array(rest));
    }
    Ok(())
}
