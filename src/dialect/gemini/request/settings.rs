//! Reads `toolConfig` and `generationConfig`.

use super::read::extra;
use crate::dialect::gemini::keys::{camel, items};
use crate::dialect::gemini::schema::to_json_schema;
use crate::dialect::model::{BadAsk, Choice, Effort, Format, Reasoning, Request, Weight};
use crate::dialect::tree::Path;
use serde_json::Value;

/// The service tier, as Chat calls it.
pub(super) fn read_tier(tier: &str) -> String {
    match tier.to_ascii_lowercase().as_str() {
        "standard" => "default".to_owned(),
        other => other.to_owned(),
    }
}

pub(super) fn read_tool_config(
    request: &mut Request,
    value: &Value,
    at: Path<'_>,
) -> Result<(), BadAsk> {
    for (key, value) in at
        .object(value)?
        .iter()
        .filter(|(_, value)| !value.is_null())
    {
        let field = camel(key);
        if field == "functionCallingConfig" {
            read_choice(request, value, at.key(key))?;
        } else {
            let field = format!("toolConfig.{field}");
            request.extras.push(extra(field, value, Weight::Tuning));
        }
    }
    Ok(())
}

fn read_choice(request: &mut Request, value: &Value, at: Path<'_>) -> Result<(), BadAsk> {
    const PLACE: &str = "toolConfig.functionCallingConfig";
    let (mut mode, mut names) = ("", Vec::new());
    for (key, value) in at
        .object(value)?
        .iter()
        .filter(|(_, value)| !value.is_null())
    {
        let at = at.key(key);
        match camel(key).as_ref() {
            "mode" => mode = at.string(value)?,
            "allowedFunctionNames" => {
                for (index, name) in items(value).iter().enumerate() {
                    names.push(at.index(index).string(name)?.to_owned());
                }
            }
            field => {
                let field = format!("{PLACE}.{field}");
                request.extras.push(extra(field, value, Weight::Tuning));
            }
        }
    }
    let has_names = !names.is_empty();
    request.choice = match mode.to_ascii_uppercase().as_str() {
        "" | "MODE_UNSPECIFIED" => None,
        "AUTO" => Some(Choice::Auto),
        "NONE" => Some(Choice::Never),
        "ANY" if names.len() == 1 => names.pop().map(Choice::Named),
        "ANY" if has_names => Some(Choice::Allowed { names, must: true }),
        "ANY" => Some(Choice::Any),
        "VALIDATED" if has_names => Some(Choice::Allowed { names, must: false }),
        "VALIDATED" => {
            // As the model sees fit, and what it calls follows the schema.
            let mode = extra(format!("{PLACE}.mode"), &mode.into(), Weight::Tuning);
            request.extras.push(mode);
            Some(Choice::Auto)
        }
        _ => {
            let wanted = "must be AUTO, ANY, NONE or VALIDATED";
            return Err(at.key("mode").bad(wanted));
        }
    };
    Ok(())
}

/// What says the form of the answer, until all of it is known.
#[derive(Default)]
struct Form<'v> {
    media_type: Option<&'v str>,
    schema: Option<Value>,
    is_open_api: bool,
}

pub(super) fn read_generation(
    request: &mut Request,
    value: &Value,
    at: Path<'_>,
) -> Result<(), BadAsk> {
    let mut form = Form::default();
    let mut has_logprobs = None;
    for (key, value) in at
        .object(value)?
        .iter()
        .filter(|(_, value)| !value.is_null())
    {
        let at = at.key(key);
        let sampling = &mut request.sampling;
        match camel(key).as_ref() {
            "temperature" => sampling.temperature = Some(at.number(value)?),
            "topP" => sampling.top_p = Some(at.number(value)?),
            "topK" => sampling.top_k = Some(at.whole(value)?),
            "candidateCount" => sampling.n = Some(at.whole(value)?),
            "maxOutputTokens" => request.max_tokens = Some(at.whole(value)?),
            "presencePenalty" => sampling.presence_penalty = Some(at.number(value)?),
            "frequencyPenalty" => sampling.frequency_penalty = Some(at.number(value)?),
            "seed" => {
                let wanted = "must be a whole number";
                sampling.seed = Some(value.as_i64().ok_or_else(|| at.bad(wanted))?);
            }
            "stopSequences" => {
                for (index, text) in items(value).iter().enumerate() {
                    let text = at.index(index).string(text)?;
                    sampling.stop.push(text.to_owned());
                }
            }
            "responseLogprobs" => has_logprobs = Some(at.flag(value)?),
            "logprobs" => sampling.logprobs = Some(at.whole(value)?),
            "responseMimeType" => form.media_type = Some(at.string(value)?),
            "responseSchema" => {
                at.object(value)?;
                form.schema = Some(to_json_schema(value));
                form.is_open_api = true;
            }
            "responseJsonSchema" => form.schema = Some(value.clone()),
            "thinkingConfig" => request.reasoning = Some(read_thinking(value, at)?),
            field => {
                let weight = weight_of(field, value);
                let field = format!("generationConfig.{field}");
                request.extras.push(extra(field, value, weight));
            }
        }
    }
    match has_logprobs {
        Some(true) => request.sampling.logprobs = request.sampling.logprobs.or(Some(0)),
        _ => request.sampling.logprobs = None,
    }
    read_form(request, form);
    Ok(())
}

/// What leaving a field of `generationConfig` out would do.
fn weight_of(field: &str, value: &Value) -> Weight {
    match field {
        "mediaResolution"
        | "audioTimestamp"
        | "enableEnhancedCivicAnswers"
        | "routingConfig"
        | "modelSelectionConfig"
        | "enableAffectiveDialog" => Weight::Tuning,
        "responseModalities" if items(value).iter().all(|item| item == "TEXT") => Weight::Tuning,
        _ => Weight::Meaning,
    }
}

fn read_form(request: &mut Request, form: Form<'_>) {
    request.format = match (form.media_type, form.schema) {
        (Some("application/json") | None, Some(schema)) => Format::Schema {
            name: None,
            description: None,
            schema,
            strict: None,
        },
        (Some("application/json"), None) => Format::Json,
        (Some("text/plain") | None, None) => Format::Text,
        (Some(other), schema) => {
            // One word out of an enum, and what else may come.
            let key = if form.is_open_api {
                "generationConfig.responseSchema"
            } else {
                "generationConfig.responseJsonSchema"
            };
            let media_type = "generationConfig.responseMimeType";
            request
                .extras
                .push(extra(media_type, &other.into(), Weight::Meaning));
            if let Some(schema) = schema {
                request.extras.push(extra(key, &schema, Weight::Meaning));
            }
            Format::Text
        }
    };
}

fn read_thinking(value: &Value, at: Path<'_>) -> Result<Reasoning, BadAsk> {
    let mut reasoning = Reasoning::default();
    for (key, value) in at
        .object(value)?
        .iter()
        .filter(|(_, value)| !value.is_null())
    {
        let at = at.key(key);
        match camel(key).as_ref() {
            "includeThoughts" => reasoning.visible = Some(at.flag(value)?),
            "thinkingBudget" if value.as_i64() == Some(-1) => reasoning.adaptive = true,
            "thinkingBudget" => reasoning.budget = Some(at.whole(value)?),
            "thinkingLevel" => {
                let level = at.string(value)?.to_ascii_lowercase();
                if level != "thinking_level_unspecified" {
                    let wanted = "must be MINIMAL, LOW, MEDIUM, HIGH or XHIGH";
                    let effort = Effort::named(&level).ok_or_else(|| at.bad(wanted))?;
                    reasoning.effort = Some(effort);
                }
            }
            _ => {}
        }
    }
    Ok(reasoning)
}
