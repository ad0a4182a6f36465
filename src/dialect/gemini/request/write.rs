//! Writes a `GenerateContentRequest`.
//!
//! Source: mapping.md, 1 to 6 and 11. Fields that Gemini does not know are a 400 for the whole
//! request, so nothing is passed on that is not written here.

use super::contents::Writer;
use crate::dialect::gemini::keys::set;
use crate::dialect::model::{
    Abilities, Choice, Dialect, Effort, Format, Notes, Reasoning, Request, Thinking, Tool,
    ToolKind, Unfit, Weight,
};
use serde_json::{Map, Value, json};

/// The most stop sequences. Source: Gemini API reference, `stopSequences`.
const STOP_MAX: usize = 5;

/// Writes the body; model and stream go to the path.
///
/// # Errors
/// The model cannot do what `request` asks, or Gemini cannot be told.
pub fn write(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Vec<u8>, Unfit> {
    let mut body = Map::new();
    let mut writer = Writer::new(request, abilities, notes);
    body.insert("contents".into(), writer.contents()?.into());
    let system = writer.system()?;
    if !system.is_empty() {
        body.insert("systemInstruction".into(), json!({"parts": system}));
    }
    let tools = write_tools(request, abilities, notes)?;
    if !tools.is_empty() {
        body.insert("tools".into(), tools.into());
    }
    if let Some(config) = write_choice(request, abilities)? {
        body.insert("toolConfig".into(), config);
    }
    let config = write_generation(request, abilities, notes)?;
    if !config.is_empty() {
        body.insert("generationConfig".into(), config.into());
    }
    let tier = match request.service_tier.as_deref() {
        Some("default" | "standard") => Some("standard"),
        Some(tier @ ("flex" | "priority")) => Some(tier),
        Some("auto") | None => None,
        Some(_) => {
            notes.drop("service_tier");
            None
        }
    };
    if let Some(tier) = tier {
        body.insert("serviceTier".into(), tier.into());
    }
    for (is_there, field) in [
        (request.user.is_some(), "user"),
        (request.metadata.is_some(), "metadata"),
        (request.cache_key.is_some(), "prompt_cache_key"),
        (request.parallel == Some(false), "parallel_tool_calls"),
    ] {
        if is_there {
            notes.drop(field);
        }
    }
    let mut body = Value::Object(body);
    for extra in &request.extras {
        if request.origin == Some(Dialect::Gemini) {
            set(&mut body, &extra.field, &extra.value);
        } else if extra.weight == Weight::Meaning {
            let why = "cannot be asked of Gemini";
            return Err(Unfit::new(extra.field.clone(), why));
        } else {
            notes.drop(extra.field.clone());
        }
    }
    Ok(body.to_string().into_bytes())
}

fn write_tools(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Vec<Value>, Unfit> {
    if !request.tools.is_empty() && !abilities.tools {
        return Err(Unfit::new("tools", "cannot be used by this model"));
    }
    let is_ours = request.origin == Some(Dialect::Gemini);
    let (mut tools, mut functions, mut place) = (Vec::new(), Vec::new(), None);
    for (index, Tool { kind, cache }) in request.tools.iter().enumerate() {
        if cache.is_some() {
            notes.drop("cache_control");
        }
        match kind {
            ToolKind::Function {
                name,
                description,
                schema,
                strict,
            } => {
                if *strict == Some(true) {
                    notes.drop("tools.strict");
                }
                place.get_or_insert(tools.len());
                let description = description.as_deref();
                let description = description.filter(|text| is_ours || !text.is_empty());
                functions.push(function(name, description, schema.as_ref()));
            }
            ToolKind::Foreign {
                dialect: Dialect::Gemini,
                value,
            } => tools.push(value.clone()),
            ToolKind::Custom { .. } | ToolKind::Foreign { .. } => {
                let why = "is a kind of tool that Gemini does not have";
                return Err(Unfit::new(format!("tools[{index}].type"), why));
            }
        }
    }
    if let Some(place) = place {
        tools.insert(place, json!({"functionDeclarations": functions}));
    }
    Ok(tools)
}

fn function(name: &str, description: Option<&str>, schema: Option<&Value>) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), name.into());
    if let Some(description) = description {
        object.insert("description".into(), description.into());
    }
    let schema = match schema {
        Some(Value::Object(schema)) if schema.is_empty() => {
            Some(json!({"type": "object", "properties": {}}))
        }
        schema => schema.cloned(),
    };
    if let Some(schema) = schema {
        object.insert("parametersJsonSchema".into(), schema);
    }
    Value::Object(object)
}

fn write_choice(request: &Request, abilities: &Abilities) -> Result<Option<Value>, Unfit> {
    let is_ours = request.origin == Some(Dialect::Gemini);
    let Some(choice) = &request.choice else {
        return Ok(None);
    };
    if request.tools.is_empty() && !is_ours {
        return Ok(None);
    }
    let is_forced = matches!(
        choice,
        Choice::Any | Choice::Named(_) | Choice::Allowed { must: true, .. }
    );
    if is_forced && !abilities.forced_tool {
        let why = "cannot be forced on this model";
        return Err(Unfit::new("tool_choice", why));
    }
    let config = match choice {
        Choice::Auto => json!({"mode": "AUTO"}),
        Choice::Never => json!({"mode": "NONE"}),
        Choice::Any => json!({"mode": "ANY"}),
        Choice::Named(name) => json!({"mode": "ANY", "allowedFunctionNames": [name]}),
        Choice::Allowed { names, must } => {
            let mode = if *must { "ANY" } else { "VALIDATED" };
            json!({"mode": mode, "allowedFunctionNames": names})
        }
    };
    Ok(Some(json!({"functionCallingConfig": config})))
}

fn write_generation(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Map<String, Value>, Unfit> {
    let mut config = write_sampling(request, abilities, notes)?;
    let mut put = |key: &str, value: Value| _ = config.insert(key.into(), value).is_some();
    if let Some(tokens) = request.max_tokens {
        let most = abilities.output.unwrap_or(u64::MAX);
        if tokens > most {
            notes.drop("max_tokens");
        }
        put("maxOutputTokens", tokens.min(most).into());
    }
    match &request.format {
        Format::Text => {}
        Format::Json => put("responseMimeType", "application/json".into()),
        Format::Schema { .. } if !abilities.schema => {
            let why = "cannot be held to by this model";
            return Err(Unfit::new("response_format", why));
        }
        Format::Schema { schema, .. } => {
            put("responseMimeType", "application/json".into());
            put("responseJsonSchema", schema.clone());
        }
    }
    let reasoning = request.reasoning.as_ref();
    let thinking = reasoning.and_then(|how| thinking(how, request, abilities, notes));
    if let Some(thinking) = thinking {
        put("thinkingConfig", thinking);
    }
    Ok(config)
}

/// How tokens are chosen, and when to stop.
fn write_sampling(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Map<String, Value>, Unfit> {
    check_answers(request, abilities)?;
    let how = &request.sampling;
    if how.stop.len() > STOP_MAX {
        let why = "has more sequences than Gemini takes, 5";
        return Err(Unfit::new("stop", why));
    }
    if how.logit_bias.is_some() {
        notes.drop("logit_bias");
    }
    let mut config = Map::new();
    let mut put = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(key.into(), value);
        }
    };
    for (key, field, value) in [
        (
            "temperature",
            "temperature",
            how.temperature.map(Value::from),
        ),
        ("topP", "top_p", how.top_p.map(Value::from)),
        ("topK", "top_k", how.top_k.map(Value::from)),
    ] {
        if value.is_some() && !abilities.sampling {
            notes.drop(field);
        } else {
            put(key, value);
        }
    }
    put("frequencyPenalty", how.frequency_penalty.map(Value::from));
    put("presencePenalty", how.presence_penalty.map(Value::from));
    put("seed", how.seed.map(Value::from));
    put(
        "stopSequences",
        (!how.stop.is_empty()).then(|| json!(how.stop)),
    );
    put("candidateCount", how.n.map(Value::from));
    put("responseLogprobs", how.logprobs.map(|_| true.into()));
    put(
        "logprobs",
        how.logprobs.filter(|&others| others > 0).map(Value::from),
    );
    Ok(config)
}

/// What an answer of this model cannot hold: several answers at once, since the model between
/// the dialects has one; probabilities in a stream, since its steps have none.
fn check_answers(request: &Request, abilities: &Abilities) -> Result<(), Unfit> {
    let is_ours = request.origin == Some(Dialect::Gemini);
    if request.sampling.n.is_some_and(|n| n > 1) && !(is_ours && abilities.several) {
        let why = "above 1 cannot be asked of Gemini";
        return Err(Unfit::new("n", why));
    }
    let is_lost = request.stream && !is_ours;
    if request.sampling.logprobs.is_some() && (is_lost || !abilities.logprobs) {
        let why = "cannot be asked of this model";
        return Err(Unfit::new("logprobs", why));
    }
    Ok(())
}

fn thinking(
    reasoning: &Reasoning,
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Option<Value> {
    let mut config = Map::new();
    match abilities.thinking {
        Thinking::Never => {
            let is_off = reasoning.budget == Some(0) || reasoning.effort == Some(Effort::None);
            if !is_off {
                notes.drop("reasoning_effort");
            }
            return None;
        }
        Thinking::Budget => {
            let budget = reasoning.budget.or(reasoning.effort.map(budget_of));
            if let Some(budget) = budget {
                config.insert("thinkingBudget".into(), budget.into());
            } else if reasoning.adaptive {
                config.insert("thinkingBudget".into(), (-1).into());
            }
        }
        Thinking::Effort | Thinking::Adaptive { .. } => {
            let effort = reasoning.effort.or(reasoning.budget.map(Effort::of_budget));
            let is_ours = request.origin == Some(Dialect::Gemini);
            if let Some(effort) = effort {
                config.insert("thinkingLevel".into(), level_of(effort, is_ours).into());
            } else if reasoning.adaptive && is_ours {
                config.insert("thinkingBudget".into(), (-1).into());
            }
        }
    }
    if let Some(is_visible) = reasoning.visible {
        config.insert("includeThoughts".into(), is_visible.into());
    }
    (!config.is_empty()).then_some(Value::Object(config))
}

/// The budget for an effort on Gemini 2.5. Source: mapping.md, 6.1.
const fn budget_of(effort: Effort) -> u64 {
    match effort {
        Effort::None => 0,
        Effort::Minimal => 512,
        Effort::Low => 1024,
        Effort::Medium => 8192,
        Effort::High | Effort::XHigh | Effort::Max => 24_576,
    }
}

/// The level for an effort on Gemini 3 and later; XHIGH only for who asked for it by this
/// name, since few models know it. Source: mapping.md, 6.1.
const fn level_of(effort: Effort, is_ours: bool) -> &'static str {
    match effort {
        Effort::None | Effort::Minimal => "MINIMAL",
        Effort::Low => "LOW",
        Effort::Medium => "MEDIUM",
        Effort::XHigh if is_ours => "XHIGH",
        Effort::High | Effort::XHigh | Effort::Max => "HIGH",
    }
}
