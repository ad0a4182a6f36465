//! Writes requests.
//!
//! Source: Amazon Bedrock Runtime API, `ConverseRequest`; mapping.md, 1 to 7.

use super::block::{Writer, text_value};
use super::{history, tools};
use crate::dialect::model::{
    Abilities, Block, Dialect, Effort, Format, Notes, Reasoning, Request, Role, Thinking, Turn,
    Unfit, Weight,
};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// What the model is told when any JSON is wanted: the provider has no form for it.
const JSON_ONLY: &str =
    "Answer with one valid JSON object and nothing else: no prose, no code fence.";

/// The least that a model can be told to think, in tokens. Source: Anthropic, extended thinking.
const BUDGET_MIN: u64 = 1024;

/// Writes the body of `request` for a model of these abilities. What only tunes the answer and
/// has no place is named in `notes`.
///
/// # Errors
/// The model or the dialect cannot honour something that the answer depends on.
pub fn write(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Vec<u8>, Unfit> {
    let is_own = request.origin == Some(Dialect::Bedrock);
    let mut body = extras(request, is_own, notes)?;
    refuse(request, notes)?;
    let mut writer = Writer::new(abilities, is_own);
    let mut out = Map::new();
    let tool_config = tools::write(request, &mut writer, notes)?;
    let system = system(request, &mut writer, notes)?;
    let turns = history::said(request, is_own, tool_config.is_some());
    let messages = messages(&turns, &mut writer, notes)?;
    if !messages.is_empty() || !is_own {
        out.insert("messages".to_owned(), Value::Array(messages));
    }
    if !system.is_empty() {
        out.insert("system".to_owned(), Value::Array(system));
    }
    let mut additional = object(body.shift_remove("additionalModelRequestFields"));
    let mut output = object(body.shift_remove("outputConfig"));
    let thinks = thinking(request, abilities, &mut additional, &mut output, notes)?;
    let mut inference = object(body.shift_remove("inferenceConfig"));
    sampling(
        request,
        abilities,
        thinks,
        &mut inference,
        &mut additional,
        notes,
    );
    text_format(request, abilities, &mut output)?;
    let config = tool_config
        .map(|config| object(Some(config)))
        .unwrap_or_default();
    for (key, value) in [
        ("inferenceConfig", inference),
        ("toolConfig", config),
        ("additionalModelRequestFields", additional),
        ("outputConfig", output),
    ] {
        if !value.is_empty() {
            out.insert(key.to_owned(), Value::Object(value));
        }
    }
    about(request, is_own, &mut out, notes);
    for (key, value) in body {
        match key.strip_prefix("toolConfig.") {
            Some(key) => {
                if let Some(Value::Object(config)) = out.get_mut("toolConfig") {
                    config.insert(key.to_owned(), value);
                }
            }
            None => out.extend([(key, value)]),
        }
    }
    // A tree of strings and numbers is always written.
    Ok(serde_json::to_vec(&out).unwrap_or_default())
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// The fields that only the dialect of origin knows.
fn extras(request: &Request, is_own: bool, notes: &mut Notes) -> Result<Map<String, Value>, Unfit> {
    let mut body = Map::new();
    for extra in &request.extras {
        match extra.weight {
            // A null marks a block that stands in the conversation.
            _ if is_own && extra.value.is_null() => {}
            _ if is_own => body.extend([(extra.field.clone(), extra.value.clone())]),
            Weight::Meaning => {
                return Err(Unfit::new(
                    extra.field.clone(),
                    "has no form in Bedrock Converse",
                ));
            }
            Weight::Tuning => notes.drop(extra.field.clone()),
        }
    }
    Ok(body)
}

/// What the provider has no word for.
fn refuse(request: &Request, notes: &mut Notes) -> Result<(), Unfit> {
    let sampling = &request.sampling;
    if sampling.n.is_some_and(|n| n > 1) {
        return Err(Unfit::new("n", "must be 1 for this provider"));
    }
    if sampling.logprobs.is_some() {
        return Err(Unfit::new("logprobs", "cannot be had from this provider"));
    }
    for (name, is_there) in [
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
        ("presence_penalty", sampling.presence_penalty.is_some()),
        ("seed", sampling.seed.is_some()),
        ("logit_bias", sampling.logit_bias.is_some()),
        ("user", request.user.is_some()),
        ("prompt_cache_key", request.cache_key.is_some()),
    ] {
        if is_there {
            notes.drop(name);
        }
    }
    Ok(())
}

fn system(
    request: &Request,
    writer: &mut Writer<'_>,
    notes: &mut Notes,
) -> Result<Vec<Value>, Unfit> {
    let mut out = Vec::with_capacity(request.system.len() + 1);
    for block in &request.system {
        match block {
            Block::Text { text, cache, .. } => {
                if !text.trim().is_empty() {
                    out.push(text_value(text, None));
                    writer.put_mark(cache.as_ref(), &mut out, notes);
                }
            }
            Block::Foreign { dialect, value } => {
                if *dialect == Dialect::Bedrock {
                    out.push(value.clone());
                }
            }
            _ => return Err(Unfit::new("system", "can only be text for this provider")),
        }
    }
    if request.format == Format::Json {
        out.push(text_value(JSON_ONLY, None));
    }
    Ok(out)
}

fn messages(
    turns: &[history::Said<'_>],
    writer: &mut Writer<'_>,
    notes: &mut Notes,
) -> Result<Vec<Value>, Unfit> {
    if turns
        .last()
        .is_some_and(|last| last.role == Role::Assistant)
        && !writer.abilities.prefill
    {
        return Err(Unfit::new(
            "messages",
            "must not end with the assistant for this model",
        ));
    }
    let mut out = Vec::with_capacity(turns.len());
    for turn in turns {
        let role = match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => "system",
        };
        let mut content = Vec::with_capacity(turn.blocks.len());
        for block in &turn.blocks {
            writer.put(block, &mut content, notes)?;
        }
        let has = |key: &str| content.iter().any(|block| block.get(key).is_some());
        if !writer.is_own && has("document") && !has("text") {
            // A document alone is refused.
            content.push(text_value(".", None));
        }
        out.push(json!({ "role": role, "content": content }));
    }
    Ok(out)
}

/// Says how much to think; whether that leaves no room for a choice of tokens.
fn thinking(
    request: &Request,
    abilities: &Abilities,
    additional: &mut Map<String, Value>,
    output: &mut Map<String, Value>,
    notes: &mut Notes,
) -> Result<bool, Unfit> {
    let Some(reasoning) = &request.reasoning else {
        return Ok(false);
    };
    if request.origin == Some(Dialect::Bedrock) {
        own_thinking(reasoning, additional, output);
        return Ok(false);
    }
    let is_off = reasoning.budget == Some(0) || reasoning.effort == Some(Effort::None);
    let by_budget = reasoning.budget.map(Effort::of_budget);
    let effort = reasoning.effort.or(by_budget).filter(|_| !is_off);
    let is_forced = tools::is_forced(request);
    match abilities.thinking {
        Thinking::Never | Thinking::Budget if is_off => {}
        Thinking::Never => notes.drop("reasoning"),
        // No word for "not at all" is known of these.
        Thinking::Effort if is_off => notes.drop("reasoning"),
        Thinking::Effort => put_effort(effort, output),
        Thinking::Budget => {
            let wanted = reasoning.budget.or(reasoning.effort.map(Effort::budget));
            let wanted = wanted.unwrap_or(Effort::Medium.budget()).max(BUDGET_MIN);
            let limit = request.max_tokens.or(abilities.output).unwrap_or(u64::MAX);
            if is_forced || limit <= BUDGET_MIN || goes_on_thoughtless(request) {
                notes.drop("reasoning");
                return Ok(false);
            }
            let budget = wanted.min(limit - 1);
            let value = json!({ "type": "enabled", "budget_tokens": budget });
            additional.insert("thinking".to_owned(), value);
            return Ok(true);
        }
        Thinking::Adaptive { can_rest } => {
            if can_rest && (is_off || is_forced) {
                additional.insert("thinking".to_owned(), json!({ "type": "disabled" }));
                if !is_off {
                    notes.drop("reasoning");
                }
                return Ok(false);
            }
            if is_forced {
                return Err(Unfit::new(
                    "tool_choice",
                    "cannot be demanded of a model that always thinks",
                ));
            }
            let shown = reasoning.visible != Some(false);
            let display = if shown { "summarized" } else { "omitted" };
            let value = json!({ "type": "adaptive", "display": display });
            additional.insert("thinking".to_owned(), value);
            put_effort(if is_off { Some(Effort::Low) } else { effort }, output);
        }
    }
    Ok(false)
}

/// Whether the answer goes on from calls whose thinking is not there (another provider's): a
/// model with a budget then refuses to think. Source: Anthropic, extended thinking with tools.
fn goes_on_thoughtless(request: &Request) -> bool {
    let has_results = |turn: &Turn| {
        turn.role == Role::User && turn.blocks.iter().any(|b| matches!(b, Block::Result(_)))
    };
    let mut turns = request.turns.iter().rev();
    let last = turns.by_ref().find(|turn| turn.role != Role::System);
    if !last.is_some_and(has_results) {
        return false;
    }
    let calls = turns.find(|turn| turn.role == Role::Assistant);
    calls.is_some_and(|turn| {
        !turn.blocks.iter().any(|block| match block {
            Block::Thinking { opaque, .. } => opaque
                .as_ref()
                .is_some_and(|opaque| opaque.dialect == Dialect::Bedrock),
            _ => false,
        })
    })
}

fn put_effort(effort: Option<Effort>, output: &mut Map<String, Value>) {
    if let Some(effort) = effort {
        let effort = effort.max(Effort::Low);
        output.insert("effort".to_owned(), json!(effort.name()));
    }
}

/// As this dialect said it; what came as a field of the model itself is there already.
fn own_thinking(
    reasoning: &Reasoning,
    additional: &mut Map<String, Value>,
    output: &mut Map<String, Value>,
) {
    let keys = [
        "thinking",
        "reasoningConfig",
        "reasoning_config",
        "reasoning_effort",
    ];
    if keys.iter().any(|key| additional.contains_key(*key)) {
        return;
    }
    let mut thinking = match reasoning.budget {
        _ if reasoning.adaptive => json!({ "type": "adaptive" }),
        Some(0) => json!({ "type": "disabled" }),
        Some(budget) => json!({ "type": "enabled", "budget_tokens": budget }),
        None => Value::Null,
    };
    if let (Some(shown), Some(object)) = (reasoning.visible, thinking.as_object_mut()) {
        let display = if shown { "summarized" } else { "omitted" };
        object.insert("display".to_owned(), json!(display));
    }
    if !thinking.is_null() {
        additional.insert("thinking".to_owned(), thinking);
    }
    if let Some(effort) = reasoning.effort {
        output.insert("effort".to_owned(), json!(effort.name()));
    }
}

fn sampling(
    request: &Request,
    abilities: &Abilities,
    thinks: bool,
    inference: &mut Map<String, Value>,
    additional: &mut Map<String, Value>,
    notes: &mut Notes,
) {
    let is_own = request.origin == Some(Dialect::Bedrock);
    let wanted = &request.sampling;
    let mut put = |key: &str, value: Value| inference.extend([(key.to_owned(), value)]);
    if let Some(tokens) = request.max_tokens {
        put(
            "maxTokens",
            json!(abilities.output.map_or(tokens, |most| tokens.min(most))),
        );
    }
    let is_claude = matches!(
        abilities.thinking,
        Thinking::Budget | Thinking::Adaptive { .. }
    );
    let may = abilities.sampling && !thinks;
    if let Some(temperature) = wanted.temperature {
        if may {
            if temperature > 1.0 && !is_own {
                notes.drop("temperature"); // the part above 1
            }
            let most = if is_own { f64::MAX } else { 1.0 };
            put("temperature", json!(temperature.min(most)));
        } else {
            notes.drop("temperature");
        }
    }
    if let Some(top_p) = wanted.top_p {
        // Claude from 4.5 takes one of the two.
        if may && (is_own || !is_claude || wanted.temperature.is_none()) {
            put("topP", json!(top_p));
        } else {
            notes.drop("top_p");
        }
    }
    // A sequence of nothing but spaces is refused.
    let is_sent = |text: &&String| is_own || !text.trim().is_empty();
    let stop: Vec<_> = wanted.stop.iter().filter(is_sent).collect();
    if stop.len() < wanted.stop.len() {
        notes.drop("stop");
    }
    if !stop.is_empty() {
        put("stopSequences", json!(stop));
    }
    if let Some(top_k) = wanted.top_k {
        if is_own && additional.contains_key("inferenceConfig") {
            // Nova has it there.
        } else if is_own || may && is_claude {
            additional.insert("top_k".to_owned(), json!(top_k));
        } else {
            notes.drop("top_k");
        }
    }
}

fn text_format(
    request: &Request,
    abilities: &Abilities,
    output: &mut Map<String, Value>,
) -> Result<(), Unfit> {
    let Format::Schema {
        name,
        description,
        schema,
        ..
    } = &request.format
    else {
        return Ok(());
    };
    if !abilities.schema {
        return Err(Unfit::new(
            "response_format",
            "cannot be demanded of this model",
        ));
    }
    let is_own = request.origin == Some(Dialect::Bedrock);
    let schema = if is_own {
        Cow::Borrowed(schema)
    } else {
        Cow::Owned(closed(schema))
    };
    let mut inner = Map::new();
    inner.insert("schema".to_owned(), json!(schema.to_string()));
    for (key, text) in [("name", name), ("description", description)] {
        if let Some(text) = text {
            inner.insert(key.to_owned(), json!(text));
        }
    }
    let format = json!({ "type": "json_schema", "structure": { "jsonSchema": inner } });
    output.insert("textFormat".to_owned(), format);
    Ok(())
}

/// The schema with every object closed, which the provider demands.
fn closed(schema: &Value) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(closed).collect(),
        Value::Object(object) => {
            let mut out: Map<String, Value> = object
                .iter()
                .map(|(key, value)| (key.clone(), closed(value)))
                .collect();
            let is_object = object.get("type").is_some_and(|kind| kind == "object");
            let is_open = object
                .get("additionalProperties")
                .is_none_or(|more| *more == true);
            if is_object && is_open {
                out.insert("additionalProperties".to_owned(), json!(false));
            }
            Value::Object(out)
        }
        other => other.clone(),
    }
}

/// What is said about the request itself.
fn about(request: &Request, is_own: bool, out: &mut Map<String, Value>, notes: &mut Notes) {
    if let Some(metadata) = &request.metadata {
        if is_own || is_metadata(metadata) {
            out.insert("requestMetadata".to_owned(), metadata.clone());
        } else {
            notes.drop("metadata");
        }
    }
    match request.service_tier.as_deref() {
        None => {}
        Some("auto") if !is_own => {}
        Some(tier @ ("default" | "flex" | "priority")) => {
            out.insert("serviceTier".to_owned(), json!({ "type": tier }));
        }
        Some(tier) if is_own => {
            out.insert("serviceTier".to_owned(), json!({ "type": tier }));
        }
        Some(_) => notes.drop("service_tier"),
    }
}

/// 1 to 16 strings of 256 plain characters. Source: API model, `RequestMetadata`.
fn is_metadata(metadata: &Value) -> bool {
    let plain = |text: &str| {
        let ok = |c: char| {
            c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || ":_@$#=/+,-.".contains(c)
        };
        text.len() <= 256 && text.chars().all(ok)
    };
    metadata.as_object().is_some_and(|object| {
        (1..=16).contains(&object.len())
            && object.iter().all(|(key, value)| {
                !key.is_empty() && plain(key) && value.as_str().is_some_and(plain)
            })
    })
}
