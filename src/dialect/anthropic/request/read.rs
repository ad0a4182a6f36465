//! Reads a request.

use super::blocks::{self, Side, cache, need};
use super::extras::Extras;
use crate::dialect::model::{
    BadAsk, Choice, Dialect, Effort, Format, Reasoning, Request, Role, Sampling, Tool, ToolKind,
    Turn, Weight,
};
use crate::dialect::tree::{self, Path};
use crate::wire::json::scan::BOM;
use serde_json::{Map, Value};

type Object = Map<String, Value>;

/// Reads the body of a request for an answer.
///
/// # Errors
/// It breaks the dialect; the fault names the field.
pub fn read(body: &[u8]) -> Result<Request, BadAsk> {
    let request = read_any(body)?;
    if request.max_tokens.is_none() {
        let field = Path::TOP.key("max_tokens").text();
        return Err(BadAsk {
            field,
            wanted: "must be there: the most tokens that the answer may take",
        });
    }
    Ok(request)
}

/// Reads the body of a request, whether or not it limits the answer.
pub(in crate::dialect::anthropic) fn read_any(body: &[u8]) -> Result<Request, BadAsk> {
    const KNOWN: &[&str] = &[
        "model",
        "messages",
        "max_tokens",
        "system",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "stream",
        "metadata",
        "service_tier",
        // Of clouds, where it is what a header is elsewhere.
        "anthropic_version",
    ];
    let body = body.strip_prefix(BOM).unwrap_or(body);
    let Ok(Value::Object(top)) = serde_json::from_slice(body) else {
        return Err(Path::TOP.key("body").bad("must be a JSON object"));
    };
    let path = Path::TOP;
    let mut extras = Extras::default();
    let mut request = Request {
        model: need(&top, &path, "model")?.to_owned(),
        origin: Some(Dialect::Anthropic),
        wants_usage: true,
        ..Request::default()
    };
    if let Some(system) = tree::some(&top, "system") {
        request.system = blocks::read(system, &path.key("system"), Side::Told, &mut extras)?;
    }
    request.turns = turns(&top, &mut extras)?;
    request.tools = tools(&top, &mut extras)?;
    choice(&top, &mut extras, &mut request)?;
    thinking(&top, &mut extras, &mut request)?;
    output_config(&top, &mut extras, &mut request)?;
    if let Some(max) = tree::some(&top, "max_tokens") {
        request.max_tokens = Some(path.key("max_tokens").whole(max)?);
    }
    request.sampling = sampling(&top)?;
    if let Some(stream) = tree::some(&top, "stream") {
        request.stream = path.key("stream").flag(stream)?;
    }
    if let Some(value) = tree::some(&top, "metadata") {
        let here = path.key("metadata");
        let metadata = here.object(value)?;
        request.user = match tree::some(metadata, "user_id") {
            Some(user) => Some(here.key("user_id").string(user)?.to_owned()),
            None => None,
        };
        extras.rest(metadata, &here, &["user_id"]);
    }
    if let Some(tier) = tree::some(&top, "service_tier") {
        let tier = path.key("service_tier").string(tier)?;
        let chat = if tier == "standard_only" {
            "default"
        } else {
            tier
        };
        request.service_tier = Some(chat.to_owned());
    }
    extras.rest(&top, &path, KNOWN);
    request.extras = extras.take();
    Ok(request)
}

fn turns(top: &Object, extras: &mut Extras) -> Result<Vec<Turn>, BadAsk> {
    let messages = Path::TOP.key("messages");
    let items = messages.array(top.get("messages").unwrap_or(&Value::Null))?;
    let mut turns = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let here = messages.index(index);
        let message = here.object(item)?;
        let (role, side) = match need(message, &here, "role")? {
            "user" => (Role::User, Side::Told),
            "assistant" => (Role::Assistant, Side::Assistant),
            "system" => (Role::System, Side::Told),
            _ => return Err(here.key("role").bad("must be user, assistant or system")),
        };
        extras.rest(message, &here, &["role", "content"]);
        let content = message.get("content").unwrap_or(&Value::Null);
        turns.push(Turn {
            role,
            name: None,
            blocks: blocks::read(content, &here.key("content"), side, extras)?,
        });
    }
    Ok(turns)
}

fn tools(top: &Object, extras: &mut Extras) -> Result<Vec<Tool>, BadAsk> {
    const KNOWN: &[&str] = &[
        "type",
        "name",
        "description",
        "input_schema",
        "strict",
        "cache_control",
    ];
    let tools = Path::TOP.key("tools");
    let Some(value) = tree::some(top, "tools") else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    for (index, item) in tools.array(value)?.iter().enumerate() {
        let here = tools.index(index);
        let tool = here.object(item)?;
        let kind = match tree::some(tool, "type") {
            Some(kind) => here.key("type").string(kind)?,
            None => "custom",
        };
        if kind != "custom" {
            out.push(Tool {
                kind: ToolKind::Foreign {
                    dialect: Dialect::Anthropic,
                    value: item.clone(),
                },
                cache: None,
            });
            continue;
        }
        let schema = tree::some(tool, "input_schema");
        if let Some(schema) = schema {
            here.key("input_schema").object(schema)?;
        }
        let strict = match tree::some(tool, "strict") {
            Some(strict) => Some(here.key("strict").flag(strict)?),
            None => None,
        };
        extras.rest(tool, &here, KNOWN);
        out.push(Tool {
            kind: ToolKind::Function {
                name: need(tool, &here, "name")?.to_owned(),
                description: tree::string(tool, "description").map(str::to_owned),
                schema: schema.cloned(),
                strict,
            },
            cache: cache(tool, &here, extras)?,
        });
    }
    Ok(out)
}

fn choice(top: &Object, extras: &mut Extras, request: &mut Request) -> Result<(), BadAsk> {
    let Some(value) = tree::some(top, "tool_choice") else {
        return Ok(());
    };
    let here = Path::TOP.key("tool_choice");
    let choice = here.object(value)?;
    request.choice = Some(match need(choice, &here, "type")? {
        "auto" => Choice::Auto,
        "any" => Choice::Any,
        "none" => Choice::Never,
        "tool" => Choice::Named(need(choice, &here, "name")?.to_owned()),
        _ => return Err(here.key("type").bad("must be auto, any, tool or none")),
    });
    if let Some(flag) = tree::some(choice, "disable_parallel_tool_use") {
        let is_off = here.key("disable_parallel_tool_use").flag(flag)?;
        request.parallel = Some(!is_off);
    }
    extras.rest(
        choice,
        &here,
        &["type", "name", "disable_parallel_tool_use"],
    );
    Ok(())
}

fn thinking(top: &Object, extras: &mut Extras, request: &mut Request) -> Result<(), BadAsk> {
    let Some(value) = tree::some(top, "thinking") else {
        return Ok(());
    };
    let here = Path::TOP.key("thinking");
    let thinking = here.object(value)?;
    let visible = match tree::string(thinking, "display") {
        Some("summarized") => Some(true),
        Some("omitted") => Some(false),
        _ => None,
    };
    let reasoning = match need(thinking, &here, "type")? {
        "enabled" => {
            let budget = thinking.get("budget_tokens").unwrap_or(&Value::Null);
            let budget = here.key("budget_tokens").whole(budget)?;
            if budget == 0 {
                return Err(here.key("budget_tokens").bad("must be 1024 or more"));
            }
            Reasoning {
                budget: Some(budget),
                visible,
                ..Reasoning::default()
            }
        }
        "adaptive" => Reasoning {
            adaptive: true,
            visible,
            ..Reasoning::default()
        },
        "disabled" => Reasoning {
            effort: Some(Effort::None),
            budget: Some(0),
            ..Reasoning::default()
        },
        // `between_tools` and what may come: for models that know it.
        _ => {
            extras.keep(&here, value.clone(), Weight::Tuning);
            return Ok(());
        }
    };
    let known = if visible.is_some() { "display" } else { "type" };
    extras.rest(thinking, &here, &["type", "budget_tokens", known]);
    request.reasoning = Some(reasoning);
    Ok(())
}

fn output_config(top: &Object, extras: &mut Extras, request: &mut Request) -> Result<(), BadAsk> {
    // The name that the beta of structured output had.
    if let Some(value) = tree::some(top, "output_format") {
        format(value, &Path::TOP.key("output_format"), extras, request)?;
    }
    let Some(value) = tree::some(top, "output_config") else {
        return Ok(());
    };
    let here = Path::TOP.key("output_config");
    let config = here.object(value)?;
    if let Some(value) = tree::some(config, "format") {
        format(value, &here.key("format"), extras, request)?;
    }
    let mut known = "effort";
    if let Some(value) = tree::some(config, "effort") {
        let effort = Effort::named(here.key("effort").string(value)?);
        let is_off = request
            .reasoning
            .as_ref()
            .is_some_and(|r| r.effort == Some(Effort::None));
        match effort {
            Some(Effort::None) | None => known = "format",
            // Thinking is off; effort is then about the length of the answer only.
            Some(_) if is_off => known = "format",
            effort => request.reasoning.get_or_insert_default().effort = effort,
        }
    }
    extras.rest(config, &here, &["format", known]);
    Ok(())
}

fn format(
    value: &Value,
    here: &Path<'_>,
    extras: &mut Extras,
    request: &mut Request,
) -> Result<(), BadAsk> {
    let format = here.object(value)?;
    if need(format, here, "type")? != "json_schema" {
        return Err(here.key("type").bad("must be json_schema"));
    }
    let schema = format.get("schema").unwrap_or(&Value::Null);
    here.key("schema").object(schema)?;
    extras.rest(format, here, &["type", "schema"]);
    request.format = Format::Schema {
        name: None,
        description: None,
        schema: schema.clone(),
        strict: None,
    };
    Ok(())
}

fn sampling(top: &Object) -> Result<Sampling, BadAsk> {
    let number = |key: &str| match tree::some(top, key) {
        Some(value) => Path::TOP.key(key).number(value).map(Some),
        None => Ok(None),
    };
    let top_k = match tree::some(top, "top_k") {
        Some(value) => Some(Path::TOP.key("top_k").whole(value)?),
        None => None,
    };
    let mut stop = Vec::new();
    if let Some(value) = tree::some(top, "stop_sequences") {
        let here = Path::TOP.key("stop_sequences");
        for (index, item) in here.array(value)?.iter().enumerate() {
            stop.push(here.index(index).string(item)?.to_owned());
        }
    }
    Ok(Sampling {
        temperature: number("temperature")?,
        top_p: number("top_p")?,
        top_k,
        stop,
        ..Sampling::default()
    })
}
