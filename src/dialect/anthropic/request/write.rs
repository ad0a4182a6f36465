//! Writes a request for a provider of this dialect.

use super::fields::Field;
use super::put::Target;
use super::think::{self, Bounds, Plan};
use super::{extras, history, schema, tools};
use crate::dialect::model::{Abilities, Block, Dialect, Format, Notes, Request, Unfit, Weight};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// The limit on the answer when neither the client nor the table of models has one.
const OUTPUT_DEFAULT: u64 = 8192;

/// The most cache marks that the provider takes.
const MARKS_MAX: usize = 4;

/// The longest name of an end user that goes as it is.
const USER_MAX: usize = 256;

/// What is told of JSON that follows no schema: there is no field for it.
const JSON_ONLY: &str = "Answer with one JSON object and nothing else: no other text, no code \
                         fence.";

/// Who carries the dialect, when it is not Anthropic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    /// Bedrock's `InvokeModel`: model and stream are in the URL.
    Bedrock,
    /// Vertex AI's `rawPredict`: the model is in the URL.
    Vertex,
}

impl Cloud {
    /// The version of the dialect, as its bodies name it.
    pub const fn version(self) -> &'static str {
        match self {
            Self::Bedrock => "bedrock-2023-05-31",
            Self::Vertex => "vertex-2023-10-16",
        }
    }
}

/// The body that asks a model of `abilities` what `request` asks.
///
/// # Errors
/// The model or this dialect cannot be asked that.
pub fn write(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Vec<u8>, Unfit> {
    let body = body(request, abilities, notes)?;
    Ok(Value::Object(body).to_string().into_bytes())
}

/// The same, for `cloud`: without what is in the URL, with the version that Anthropic's own
/// API has in a header. Source: protocols.md 10; `anthropic` 2.12.0, `lib/vertex`.
///
/// # Errors
/// As [`write()`].
pub fn write_for(
    cloud: Cloud,
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Vec<u8>, Unfit> {
    let mut body = body(request, abilities, notes)?;
    body.shift_remove("model");
    if cloud == Cloud::Bedrock {
        body.shift_remove("stream");
    }
    body.insert("anthropic_version".into(), cloud.version().into());
    Ok(Value::Object(body).to_string().into_bytes())
}

fn body(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Map<String, Value>, Unfit> {
    let target = Target { request, abilities };
    let ours = target.is_ours();
    possible(request, abilities)?;
    let max_tokens = max_tokens(request, abilities, notes);
    let system = system(&target, notes)?;
    let mut messages = if ours {
        history::as_it_came(&target, notes)?
    } else {
        history::mended(&target, notes)?
    };
    let tool_list = tools::tools(request, abilities, notes)?;
    let bounds = Bounds {
        max_tokens,
        is_forced: tools::is_forced(request),
        goes_on: history::goes_on_without_thinking(&messages),
    };
    let plan = think::plan(request, abilities, bounds, notes)?;

    let mut body = Map::new();
    body.insert("model".into(), request.model.as_str().into());
    body.insert("max_tokens".into(), max_tokens.into());
    if !system.is_empty() {
        body.insert("system".into(), system.into());
    }
    if !tool_list.is_empty() {
        body.insert("tools".into(), tool_list.into());
    }
    if let Some(choice) = tools::choice(request, abilities)? {
        body.insert("tool_choice".into(), choice);
    }
    sampling(&mut body, &target, &plan, notes);
    output_config(&mut body, request, abilities, &plan)?;
    if let Some(thinking) = plan.thinking {
        body.insert("thinking".into(), thinking);
    }
    about(&mut body, request, notes);
    let messages_value = Value::Array(std::mem::take(&mut messages));
    body.insert("messages".into(), messages_value);
    if ours {
        for extra in &request.extras {
            extras::put_back(&mut body, extra);
        }
        if let Some(Value::Array(messages)) = body.get_mut("messages") {
            history::close_ranks(messages);
        }
    } else {
        foreign_extras(request, notes)?;
        limit_marks(&mut body, notes);
    }
    Ok(body)
}

/// What no model of this dialect can be asked.
fn possible(request: &Request, abilities: &Abilities) -> Result<(), Unfit> {
    if request.sampling.n.is_some_and(|n| n > 1) {
        return Err(Unfit::new("n", "must be 1: this provider gives one answer"));
    }
    if request.sampling.logprobs.is_some() {
        return Err(Unfit::new("logprobs", "are not told by this provider"));
    }
    let is_blank = |stop: &String| stop.trim().is_empty();
    let ours = request.origin == Some(Dialect::Anthropic);
    if !ours && request.sampling.stop.iter().any(is_blank) {
        return Err(Unfit::new(
            Field::Stop.name(request.origin),
            "hold a text of white space only, which this provider refuses",
        ));
    }
    if matches!(request.format, Format::Schema { .. }) && !abilities.schema {
        return Err(Unfit::new(
            Field::Format.name(request.origin),
            "cannot be held to a schema by this model",
        ));
    }
    Ok(())
}

/// The limit on the answer, which must be there, and within what the model can.
fn max_tokens(request: &Request, abilities: &Abilities, notes: &mut Notes) -> u64 {
    let most = abilities.output.unwrap_or(u64::MAX);
    match request.max_tokens {
        Some(asked) if asked > most => {
            notes.drop(Field::MaxTokens.name(request.origin));
            most
        }
        Some(asked) => asked,
        None => abilities.output.unwrap_or_else(|| {
            // Room for the answer behind the thinking.
            let thinking = request.reasoning.as_ref().map_or(0, |reasoning| {
                let effort = reasoning
                    .effort
                    .map_or(0, crate::dialect::model::Effort::budget);
                reasoning.budget.unwrap_or(effort)
            });
            OUTPUT_DEFAULT.saturating_add(thinking)
        }),
    }
}

fn system(target: &Target<'_>, notes: &mut Notes) -> Result<Vec<Value>, Unfit> {
    let mut out = Vec::with_capacity(target.request.system.len());
    for block in &target.request.system {
        out.extend(target.block(block, "", notes)?);
    }
    if target.request.format == Format::Json {
        out.extend(target.block(&Block::text(JSON_ONLY), "", notes)?);
        notes.drop(Field::Format.name(target.request.origin));
    }
    Ok(out)
}

/// How tokens are chosen. With thinking the provider insists on the defaults.
fn sampling(body: &mut Map<String, Value>, target: &Target<'_>, plan: &Plan, notes: &mut Notes) {
    let (request, ours) = (target.request, target.is_ours());
    let sampling = &request.sampling;
    let takes = target.abilities.sampling;
    let is_bound = plan.is_on() && !ours;
    let origin = request.origin;
    if let Some(temperature) = sampling.temperature {
        let told = if ours {
            temperature
        } else {
            temperature.clamp(0.0, 1.0)
        };
        let is_default = (temperature - 1.0).abs() < f64::EPSILON;
        if !takes || (is_bound && !is_default) {
            notes.drop("temperature");
        } else {
            if told.to_bits() != temperature.to_bits() {
                notes.drop("temperature");
            }
            body.insert("temperature".into(), told.into());
        }
    }
    if let Some(top_p) = sampling.top_p {
        // Newer models refuse both at once; the temperature is the one that counts.
        let is_second = !ours && body.contains_key("temperature");
        if !takes || is_second || (is_bound && top_p < 0.95) {
            notes.drop(Field::TopP.name(origin));
        } else {
            body.insert("top_p".into(), top_p.into());
        }
    }
    if let Some(top_k) = sampling.top_k {
        if !takes || is_bound {
            notes.drop(Field::TopK.name(origin));
        } else {
            body.insert("top_k".into(), top_k.into());
        }
    }
    if !sampling.stop.is_empty() {
        body.insert("stop_sequences".into(), sampling.stop.clone().into());
    }
    let is_set = |penalty: Option<f64>| penalty.is_some_and(|p| p != 0.0);
    for (is_there, field) in [
        (is_set(sampling.frequency_penalty), "frequency_penalty"),
        (is_set(sampling.presence_penalty), "presence_penalty"),
        (sampling.seed.is_some(), "seed"),
        (sampling.logit_bias.is_some(), "logit_bias"),
    ] {
        if is_there {
            notes.drop(field);
        }
    }
}

fn output_config(
    body: &mut Map<String, Value>,
    request: &Request,
    abilities: &Abilities,
    plan: &Plan,
) -> Result<(), Unfit> {
    let mut config = Map::new();
    if let Some(effort) = plan.effort {
        config.insert("effort".into(), effort.into());
    }
    if let Format::Schema { schema, .. } = &request.format {
        debug_assert!(abilities.schema);
        let schema = if request.origin == Some(Dialect::Anthropic) {
            schema.clone()
        } else {
            schema::repair(schema).map_err(|schema::IsOpen| {
                Unfit::new(
                    Field::Format.name(request.origin),
                    "holds an object of any keys, which this provider would empty",
                )
            })?
        };
        let format = json!({"type": "json_schema", "schema": schema});
        config.insert("format".into(), format);
    }
    if !config.is_empty() {
        body.insert("output_config".into(), Value::Object(config));
    }
    Ok(())
}

/// Who asks, how urgently, and whether in a stream.
fn about(body: &mut Map<String, Value>, request: &Request, notes: &mut Notes) {
    let ours = request.origin == Some(Dialect::Anthropic);
    if request.stream {
        body.insert("stream".into(), true.into());
    }
    if let Some(user) = &request.user {
        let is_opaque = user.len() <= USER_MAX && !user.contains(['@', ' ']);
        let user = if ours || is_opaque {
            user.clone()
        } else {
            hashed(user)
        };
        body.insert("metadata".into(), json!({"user_id": user}));
    }
    if request.metadata.is_some() {
        notes.drop("metadata");
    }
    if request.cache_key.is_some() {
        notes.drop("prompt_cache_key");
    }
    let tier = match request.service_tier.as_deref() {
        Some("default") => Some("standard_only"),
        Some("auto" | "priority") => Some("auto"),
        Some(tier) if ours => Some(tier),
        Some(_) => {
            notes.drop("service_tier");
            None
        }
        None => None,
    };
    if let Some(tier) = tier {
        body.insert("service_tier".into(), tier.into());
    }
}

/// A name of an end user that says nothing about them.
fn hashed(user: &str) -> String {
    let mut out = String::new();
    for byte in Sha256::digest(user.as_bytes()) {
        // Writing to a string does not fail.
        _ = write!(out, "{byte:02x}");
    }
    out
}

/// What only the client's dialect knows.
fn foreign_extras(request: &Request, notes: &mut Notes) -> Result<(), Unfit> {
    for extra in &request.extras {
        match extra.weight {
            Weight::Meaning => {
                return Err(Unfit::new(
                    extra.field.clone(),
                    "cannot be asked of this provider",
                ));
            }
            Weight::Tuning => notes.drop(extra.field.clone()),
        }
    }
    Ok(())
}

/// Keeps the last [`MARKS_MAX`] cache marks: each of them covers what the earlier ones do.
fn limit_marks(body: &mut Map<String, Value>, notes: &mut Notes) {
    const PLACES: [&str; 3] = ["tools", "system", "messages"];
    let mut total = 0_usize;
    for place in PLACES {
        if let Some(value) = body.get_mut(place) {
            each_marked(value, &mut |_| total += 1);
        }
    }
    let mut surplus = total.saturating_sub(MARKS_MAX);
    if surplus > 0 {
        notes.drop("cache_control");
    }
    for place in PLACES {
        if let Some(value) = body.get_mut(place) {
            each_marked(value, &mut |object| {
                if surplus > 0 {
                    surplus -= 1;
                    object.shift_remove("cache_control");
                }
            });
        }
    }
}

/// Calls `each` with the marked members of a list of tools, blocks or messages, in order.
fn each_marked(list: &mut Value, each: &mut dyn FnMut(&mut Map<String, Value>)) {
    let Value::Array(items) = list else { return };
    for item in items {
        let Value::Object(object) = item else {
            continue;
        };
        if let Some(content) = object.get_mut("content") {
            each_marked(content, each);
        }
        if object.contains_key("cache_control") {
            each(object);
        }
    }
}
