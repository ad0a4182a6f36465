//! Reads requests.
//!
//! Source: Amazon Bedrock Runtime API, `ConverseRequest`; mapping.md, 1 to 7.

use super::{block, tools};
use crate::dialect::model::{
    BadAsk, Dialect, Effort, Extra, Format, Reasoning, Request, Role, Turn, Weight,
};
use crate::dialect::tree::{Path, some, string, whole};
use serde_json::{Map, Value};

/// Reads the body of a request for `model`; both `model` and `stream` stand in the path.
///
/// # Errors
/// The body is no Converse request; the field at fault is named.
pub fn read(body: &[u8], model: &str, stream: bool) -> Result<Request, BadAsk> {
    let top = Path::TOP;
    let value: Value = serde_json::from_slice(body).map_err(|_| BadAsk {
        field: "the body".to_owned(),
        wanted: "must be valid JSON",
    })?;
    let Some(object) = value.as_object() else {
        return Err(BadAsk {
            field: "the body".to_owned(),
            wanted: "must be an object",
        });
    };
    let mut request = Request {
        model: model.to_owned(),
        stream,
        wants_usage: true,
        origin: Some(Dialect::Bedrock),
        ..Request::default()
    };
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let path = top.key(key);
        match key.as_str() {
            "messages" => messages(value, &path, &mut request)?,
            "system" => {
                let values = path.array(value)?;
                request.system = block::read(values, &path, &mut request.extras)?;
            }
            "inferenceConfig" => inference(value, &path, &mut request)?,
            "toolConfig" => tools::read(value, &path, &mut request)?,
            "outputConfig" => output(value, &path, &mut request)?,
            "additionalModelRequestFields" => additional(value, &path, &mut request)?,
            "requestMetadata" => {
                path.object(value)?;
                request.metadata = Some(value.clone());
            }
            "serviceTier" => {
                let tier = path.object(value)?;
                request.service_tier = string(tier, "type").map(str::to_owned);
            }
            _ => extra(key, value.clone(), &mut request),
        }
    }
    Ok(request)
}

/// A field that only this dialect knows.
fn extra(key: &str, value: Value, request: &mut Request) {
    let tunes = matches!(
        key,
        "performanceConfig" | "additionalModelResponseFieldPaths" | "projectIdentifier"
    );
    request.extras.push(Extra {
        field: key.to_owned(),
        value,
        weight: if tunes {
            Weight::Tuning
        } else {
            Weight::Meaning
        },
    });
}

fn messages(value: &Value, path: &Path<'_>, request: &mut Request) -> Result<(), BadAsk> {
    for (i, value) in path.array(value)?.iter().enumerate() {
        let path = path.index(i);
        let object = path.object(value)?;
        let role_path = path.key("role");
        let role = some(object, "role").ok_or_else(|| role_path.bad("is missing"))?;
        let role = match role_path.string(role)? {
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "system" => Role::System,
            _ => return Err(role_path.bad("must be user, assistant or system")),
        };
        let content_path = path.key("content");
        let content = some(object, "content").ok_or_else(|| content_path.bad("is missing"))?;
        let content = content_path.array(content)?;
        request.turns.push(Turn {
            role,
            name: None,
            blocks: block::read(content, &content_path, &mut request.extras)?,
        });
    }
    Ok(())
}

fn inference(value: &Value, path: &Path<'_>, request: &mut Request) -> Result<(), BadAsk> {
    let mut rest = Map::new();
    let sampling = &mut request.sampling;
    for (key, value) in path.object(value)?.iter().filter(|(_, v)| !v.is_null()) {
        let path = path.key(key);
        match key.as_str() {
            "maxTokens" => request.max_tokens = Some(path.whole(value)?),
            "temperature" => sampling.temperature = Some(path.number(value)?),
            "topP" => sampling.top_p = Some(path.number(value)?),
            "stopSequences" => {
                for (i, value) in path.array(value)?.iter().enumerate() {
                    let text = path.index(i).string(value)?;
                    sampling.stop.push(text.to_owned());
                }
            }
            _ => rest.extend([(key.clone(), value.clone())]),
        }
    }
    if !rest.is_empty() {
        request.extras.push(Extra {
            field: "inferenceConfig".to_owned(),
            value: Value::Object(rest),
            weight: Weight::Tuning,
        });
    }
    Ok(())
}

fn output(value: &Value, path: &Path<'_>, request: &mut Request) -> Result<(), BadAsk> {
    let object = path.object(value)?;
    let mut rest = object.clone();
    if let Some(effort) = string(object, "effort").and_then(Effort::named) {
        request.reasoning.get_or_insert_default().effort = Some(effort);
        rest.shift_remove("effort");
    }
    if let Some(format) = some(object, "textFormat") {
        request.format = text_format(format, &path.key("textFormat"))?;
        rest.shift_remove("textFormat");
    }
    if !rest.is_empty() {
        request.extras.push(Extra {
            field: "outputConfig".to_owned(),
            value: Value::Object(rest),
            weight: Weight::Meaning,
        });
    }
    Ok(())
}

fn text_format(value: &Value, path: &Path<'_>) -> Result<Format, BadAsk> {
    let object = path.object(value)?;
    if string(object, "type") != Some("json_schema") {
        return Err(path.key("type").bad("must be json_schema"));
    }
    let path = path.key("structure");
    let structure = some(object, "structure").ok_or_else(|| path.bad("is missing"))?;
    let structure = path.object(structure)?;
    let path = path.key("jsonSchema");
    let inner = some(structure, "jsonSchema").ok_or_else(|| path.bad("is missing"))?;
    let inner = path.object(inner)?;
    let path = path.key("schema");
    let schema = some(inner, "schema").ok_or_else(|| path.bad("is missing"))?;
    let schema = serde_json::from_str(path.string(schema)?)
        .map_err(|_| path.bad("must be a JSON schema, as a string"))?;
    Ok(Format::Schema {
        name: string(inner, "name").map(str::to_owned),
        description: string(inner, "description").map(str::to_owned),
        schema,
        strict: None,
    })
}

/// Fields of the model itself, past the provider. What says how to think or how to choose goes
/// into the model of requests; what other dialects have no word for stays what it is.
fn additional(value: &Value, path: &Path<'_>, request: &mut Request) -> Result<(), BadAsk> {
    let mut rest = path.object(value)?.clone();
    let mut tunes = true;
    for (key, value) in path.object(value)? {
        let taken = match key.as_str() {
            "thinking" => thinking(value, request.reasoning.get_or_insert_default()),
            "top_k" => {
                request.sampling.top_k = whole(value);
                request.sampling.top_k.is_some()
            }
            "reasoning_effort" => {
                effort(value.as_str(), request);
                false
            }
            "reasoningConfig" | "reasoning_config" => {
                let level = value.get("maxReasoningEffort").and_then(Value::as_str);
                let budget = value.get("budget_tokens").and_then(whole);
                effort(level, request);
                if budget.is_some() {
                    request.reasoning.get_or_insert_default().budget = budget;
                }
                false
            }
            "inferenceConfig" => {
                request.sampling.top_k = value.get("topK").and_then(whole);
                false
            }
            "anthropic_beta" => false,
            _ => {
                tunes = false;
                false
            }
        };
        if taken {
            rest.shift_remove(key);
        }
    }
    if !rest.is_empty() {
        request.extras.push(Extra {
            field: "additionalModelRequestFields".to_owned(),
            value: Value::Object(rest),
            weight: if tunes {
                Weight::Tuning
            } else {
                Weight::Meaning
            },
        });
    }
    Ok(())
}

fn effort(name: Option<&str>, request: &mut Request) {
    if let Some(effort) = name.and_then(Effort::named) {
        request.reasoning.get_or_insert_default().effort = Some(effort);
    }
}

/// Claude's `thinking`; whether all of it could be taken.
fn thinking(value: &Value, reasoning: &mut Reasoning) -> bool {
    let Some(object) = value.as_object() else {
        return false;
    };
    reasoning.visible = match string(object, "display") {
        Some("summarized") => Some(true),
        Some("omitted") => Some(false),
        _ => None,
    };
    let display = usize::from(reasoning.visible.is_some());
    let budget = object.get("budget_tokens").and_then(whole);
    match string(object, "type") {
        Some("enabled") => {
            reasoning.budget = budget;
            budget.is_some() && object.len() == 2 + display
        }
        Some("disabled") => {
            reasoning.budget = Some(0);
            object.len() == 1
        }
        Some("adaptive") => {
            reasoning.adaptive = true;
            object.len() == 1 + display
        }
        _ => false,
    }
}
