//! The model → requests.
//!
//! Invariants
//! - I1 What Cohere cannot be told is [`Unfit`] or a note; see mapping.md, 1 to 6.
//! - I2 A request that came in this dialect is written as it came: nothing is repaired that
//!   its client has chosen.
//! - I3 Every call in the history of another dialect has its result, right behind it, and every
//!   result its call: Cohere refuses others ("tool call id not found in previous tool calls").
//!
//! Limits that are not the model's but Cohere's: `temperature` 0 to 1, penalties 0 to 1 and
//! one of them only, `p` 0.01 to 0.99, `k` up to 500, five stop sequences, no
//! `response_format` with tools or documents, no image in a tool's result, system messages
//! first.
//!
//! Source: Cohere API reference, `POST /v2/chat` and "Errors"; `cohere` 7.3.1,
//! `v2/raw_client.py`.

mod turns;

use crate::dialect::model::{
    Abilities, Choice, Dialect, Effort, Extra, Format, Notes, Reasoning, Request, Sampling,
    Thinking, Tool, ToolKind, Unfit, Weight,
};
use serde_json::{Map, Value, json};

/// The most texts at which Cohere stops.
const STOP_MAX: usize = 5;

/// The largest `k`.
const TOP_K_MAX: u64 = 500;

/// Writes the body of a request.
///
/// # Errors
/// What Cohere, or this model, cannot be asked without changing the meaning.
pub fn write(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Vec<u8>, Unfit> {
    let is_own = request.origin == Some(Dialect::Cohere);
    let mut body = Map::new();
    body.insert("model".into(), request.model.as_str().into());
    let messages = turns::write(request, abilities, notes)?;
    body.insert("messages".into(), messages.into());
    let tools = tools(request, abilities, &mut body)?;
    format(request, abilities, tools > 0 && !is_own, &mut body)?;
    if let Some(max) = request.max_tokens {
        // Beyond the model's own limit some models refuse, others stop at it.
        let limit = abilities.output.filter(|_| !is_own).unwrap_or(u64::MAX);
        body.insert("max_tokens".into(), max.min(limit).into());
    }
    thinking(request, abilities, notes, &mut body);
    if is_own {
        sampling_as_it_came(&request.sampling, &mut body);
    } else {
        sampling(
            &request.sampling,
            request.stream,
            abilities,
            notes,
            &mut body,
        )?;
        drop_the_rest(request, notes);
    }
    for Extra {
        field,
        value,
        weight,
    } in &request.extras
    {
        match weight {
            _ if is_own => {
                body.insert(field.clone(), value.clone());
            }
            Weight::Meaning => {
                return Err(Unfit::new(
                    field.clone(),
                    "has no counterpart at this provider",
                ));
            }
            Weight::Tuning => notes.drop(field.clone()),
        }
    }
    if request.stream {
        body.insert("stream".into(), true.into());
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

/// A field by its name in the dialect that the request came in.
fn called(request: &Request, what: &'static str) -> &'static str {
    use Dialect::{Anthropic, Bedrock, Gemini, Responses};
    match (what, request.origin) {
        ("tool_choice", Some(Gemini)) => "toolConfig.functionCallingConfig",
        ("tool_choice", Some(Bedrock)) => "toolConfig.toolChoice",
        ("response_format", Some(Responses)) => "text.format",
        ("response_format", Some(Anthropic)) => "output_config.format",
        ("response_format", Some(Gemini)) => "generationConfig.responseJsonSchema",
        ("response_format", Some(Bedrock)) => "outputConfig.textFormat",
        ("thinking", Some(Dialect::Chat)) => "reasoning_effort",
        ("thinking", Some(Responses)) => "reasoning",
        ("thinking", Some(Gemini)) => "generationConfig.thinkingConfig",
        _ => what,
    }
}

/// Writes tools and choice; the number of tools.
fn tools(
    request: &Request,
    abilities: &Abilities,
    body: &mut Map<String, Value>,
) -> Result<usize, Unfit> {
    let only: Option<Vec<&str>> = match &request.choice {
        Some(Choice::Named(name)) => Some(vec![name]),
        Some(Choice::Allowed { names, .. }) => Some(names.iter().map(String::as_str).collect()),
        _ => None,
    };
    let is_forced = matches!(
        request.choice,
        Some(Choice::Any | Choice::Named(_) | Choice::Allowed { must: true, .. })
    );
    let mut list = Vec::new();
    let mut strict = None;
    for (at, tool) in request.tools.iter().enumerate() {
        let Some((name, value)) = one_tool(at, tool)? else {
            continue;
        };
        if only.as_ref().is_none_or(|only| only.contains(&name)) {
            if let ToolKind::Function {
                strict: Some(is_strict),
                ..
            } = tool.kind
            {
                strict = Some(is_strict || strict == Some(true));
            }
            list.push(value);
        }
    }
    if !list.is_empty() && !abilities.tools {
        return Err(Unfit::new("tools", "cannot be given to this model"));
    }
    let choice = called(request, "tool_choice");
    if is_forced && list.is_empty() {
        return Err(Unfit::new(
            choice,
            "asks for a tool that is not among the tools",
        ));
    }
    if is_forced && !abilities.forced_tool {
        return Err(Unfit::new(choice, "cannot be forced on this model"));
    }
    let count = list.len();
    if count > 0 {
        body.insert("tools".into(), list.into());
        if let Some(strict) = strict {
            body.insert("strict_tools".into(), strict.into());
        }
    }
    if is_forced {
        body.insert("tool_choice".into(), "REQUIRED".into());
    } else if request.choice == Some(Choice::Never)
        && (count > 0 || request.origin == Some(Dialect::Cohere))
    {
        body.insert("tool_choice".into(), "NONE".into());
    }
    Ok(count)
}

/// A tool and its name.
fn one_tool(at: usize, tool: &Tool) -> Result<Option<(&str, Value)>, Unfit> {
    let value = |name: &str, description: &Option<String>, schema: Value| {
        let mut function = Map::new();
        function.insert("name".into(), name.into());
        if let Some(text) = description.as_ref().filter(|text| !text.is_empty()) {
            function.insert("description".into(), text.as_str().into());
        }
        function.insert("parameters".into(), schema);
        json!({"type": "function", "function": function})
    };
    Ok(match &tool.kind {
        ToolKind::Function {
            name,
            description,
            schema,
            ..
        } => {
            let mut schema = schema.clone().unwrap_or_else(|| json!({}));
            if let Some(schema) = schema.as_object_mut().filter(|schema| schema.is_empty()) {
                schema.insert("type".into(), "object".into());
                schema.insert("properties".into(), json!({}));
            }
            Some((name, value(name, description, schema)))
        }
        ToolKind::Custom {
            name, description, ..
        } => {
            let schema = json!({
                "type": "object",
                "properties": {"input": {"type": "string"}},
                "required": ["input"],
            });
            Some((name, value(name, description, schema)))
        }
        ToolKind::Foreign {
            dialect: Dialect::Cohere,
            value,
        } => Some(("", value.clone())),
        ToolKind::Foreign { .. } => {
            let why = "is a tool that only another provider runs";
            return Err(Unfit::new(format!("tools[{at}].type"), why));
        }
    })
}

fn format(
    request: &Request,
    abilities: &Abilities,
    has_tools: bool,
    body: &mut Map<String, Value>,
) -> Result<(), Unfit> {
    let mut format = Map::new();
    format.insert("type".into(), "json_object".into());
    match &request.format {
        Format::Text => return Ok(()),
        Format::Json => {}
        Format::Schema {
            description,
            schema,
            ..
        } => {
            if !abilities.schema {
                let field = called(request, "response_format");
                return Err(Unfit::new(field, "cannot be followed by this model"));
            }
            let mut schema = schema.clone();
            if let (Some(text), Some(schema)) = (description, schema.as_object_mut()) {
                let absent = schema.entry("description");
                absent.or_insert_with(|| text.as_str().into());
            }
            format.insert("json_schema".into(), schema);
        }
    }
    if has_tools {
        let field = called(request, "response_format");
        return Err(Unfit::new(field, "cannot go with tools at this provider"));
    }
    body.insert("response_format".into(), format.into());
    Ok(())
}

fn thinking(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
    body: &mut Map<String, Value>,
) {
    let Some(reasoning) = &request.reasoning else {
        return;
    };
    let Reasoning { effort, budget, .. } = *reasoning;
    let is_off = budget == Some(0) || (effort == Some(Effort::None) && budget.is_none());
    if abilities.thinking == Thinking::Never && request.origin != Some(Dialect::Cohere) {
        if !is_off {
            notes.drop(called(request, "thinking"));
        }
        return;
    }
    if is_off {
        body.insert("thinking".into(), json!({"type": "disabled"}));
        return;
    }
    let mut thinking = json!({"type": "enabled"});
    let budget = budget.or_else(|| effort.map(Effort::budget));
    let budget = if request.origin == Some(Dialect::Cohere) {
        budget // I2
    } else {
        // What is left of the answer's limit after at least one token of text.
        let most = request
            .max_tokens
            .map_or(u64::MAX, |max| max.saturating_sub(1));
        budget
            .map(|budget| budget.min(most))
            .filter(|&budget| budget > 0)
    };
    if let (Some(budget), Some(thinking)) = (budget, thinking.as_object_mut()) {
        thinking.insert("token_budget".into(), budget.into());
    }
    body.insert("thinking".into(), thinking);
}

fn sampling_as_it_came(sampling: &Sampling, body: &mut Map<String, Value>) {
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(key.into(), value);
        }
    };
    put("temperature", sampling.temperature.map(Value::from));
    put("p", sampling.top_p.map(Value::from));
    put("k", sampling.top_k.map(Value::from));
    put(
        "frequency_penalty",
        sampling.frequency_penalty.map(Value::from),
    );
    put(
        "presence_penalty",
        sampling.presence_penalty.map(Value::from),
    );
    put("seed", sampling.seed.map(Value::from));
    put("logprobs", sampling.logprobs.map(|_| true.into()));
    let stop = (!sampling.stop.is_empty()).then(|| sampling.stop.clone().into());
    put("stop_sequences", stop);
}

fn sampling(
    sampling: &Sampling,
    stream: bool,
    abilities: &Abilities,
    notes: &mut Notes,
    body: &mut Map<String, Value>,
) -> Result<(), Unfit> {
    if sampling.n.is_some_and(|n| n > 1) {
        return Err(Unfit::new("n", "must be 1 at this provider"));
    }
    if sampling.logprobs.is_some() && (!abilities.logprobs || stream) {
        return Err(Unfit::new("logprobs", "cannot be had from this target"));
    }
    if sampling.logprobs.is_some_and(|others| others > 0) {
        return Err(Unfit::new("top_logprobs", "must be 0 at this provider"));
    }
    if sampling.stop.len() > STOP_MAX {
        return Err(Unfit::new(
            "stop",
            "must be at most 5 texts at this provider",
        ));
    }
    let mut own = Sampling {
        n: None,
        logit_bias: None,
        ..sampling.clone()
    };
    if sampling.logit_bias.is_some() {
        notes.drop("logit_bias");
    }
    if own.seed.is_some_and(|seed| seed < 0) {
        notes.drop("seed");
        own.seed = None;
    }
    if !abilities.sampling {
        own.temperature = dropped(own.temperature, "temperature", notes);
        own.top_p = dropped(own.top_p, "top_p", notes);
        own.top_k = dropped(own.top_k, "top_k", notes);
    }
    own.temperature = own.temperature.map(|value| value.clamp(0.0, 1.0));
    own.top_p = own.top_p.map(|value| value.clamp(0.01, 0.99));
    own.top_k = own.top_k.map(|value| value.min(TOP_K_MAX));
    own.frequency_penalty = penalty(own.frequency_penalty, "frequency_penalty", notes);
    own.presence_penalty = penalty(own.presence_penalty, "presence_penalty", notes);
    if own.frequency_penalty.is_some() {
        own.presence_penalty = dropped(own.presence_penalty, "presence_penalty", notes);
    }
    sampling_as_it_came(&own, body);
    Ok(())
}

/// A penalty from 0 to 1; 0 says nothing, and what is less cannot be said.
fn penalty(value: Option<f64>, name: &'static str, notes: &mut Notes) -> Option<f64> {
    let value = value?;
    if value < 0.0 {
        notes.drop(name);
    }
    (value > 0.0).then(|| value.min(1.0))
}

fn dropped<T: Copy>(value: Option<T>, name: &'static str, notes: &mut Notes) -> Option<T> {
    value.and_then(|_| {
        notes.drop(name);
        None
    })
}

/// What this dialect has no place for and what changes no answer.
fn drop_the_rest(request: &Request, notes: &mut Notes) {
    for (is_there, name) in [
        (request.parallel == Some(false), "parallel_tool_calls"),
        (request.user.is_some(), "user"),
        (request.metadata.is_some(), "metadata"),
        (request.service_tier.is_some(), "service_tier"),
        (request.cache_key.is_some(), "prompt_cache_key"),
        (request.turns.iter().any(|turn| turn.name.is_some()), "name"),
    ] {
        if is_there {
            notes.drop(name);
        }
    }
}

#[cfg(test)]
mod tests;
