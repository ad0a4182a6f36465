//! Tools, and whether one must be called.

use super::fields::Field;
use super::put::mark;
use super::{ids, schema};
use crate::dialect::model::{Abilities, Choice, Dialect, Notes, Request, Tool, ToolKind, Unfit};
use serde_json::{Map, Value, json};

/// The tools of `request` that are to be offered.
pub(super) fn tools(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Vec<Value>, Unfit> {
    if !abilities.tools && !request.tools.is_empty() {
        return Err(Unfit::new("tools", "cannot be called by this model"));
    }
    let allowed = match &request.choice {
        Some(Choice::Allowed { names, .. }) => Some(names),
        _ => None,
    };
    let mut out = Vec::with_capacity(request.tools.len());
    for (index, tool) in request.tools.iter().enumerate() {
        if allowed.is_none_or(|names| name(tool).is_some_and(|n| names.iter().any(|a| a == n))) {
            out.push(one(request.origin, tool, index, notes)?);
        }
    }
    Ok(out)
}

fn name(tool: &Tool) -> Option<&str> {
    match &tool.kind {
        ToolKind::Function { name, .. } | ToolKind::Custom { name, .. } => Some(name),
        ToolKind::Foreign { value, .. } => value.get("name")?.as_str(),
    }
}

fn one(
    origin: Option<Dialect>,
    tool: &Tool,
    index: usize,
    notes: &mut Notes,
) -> Result<Value, Unfit> {
    let ours = origin == Some(Dialect::Anthropic);
    let mut out = Map::new();
    let (name, description) = match &tool.kind {
        ToolKind::Foreign { dialect, value } if *dialect == Dialect::Anthropic => {
            return Ok(value.clone());
        }
        ToolKind::Foreign { .. } => {
            return Err(Unfit::new(
                format!("tools[{index}].type"),
                "is a tool that another provider runs",
            ));
        }
        ToolKind::Function {
            name, description, ..
        }
        | ToolKind::Custom {
            name, description, ..
        } => (name, description),
    };
    if !ours && !ids::is_tool_name(name) {
        return Err(Unfit::new(
            format!("tools[{index}].name"),
            "must be 1 to 128 letters, digits, _ and - for this provider",
        ));
    }
    out.insert("name".into(), name.as_str().into());
    if let Some(description) = description.as_ref().filter(|d| ours || !d.is_empty()) {
        out.insert("description".into(), description.as_str().into());
    }
    input_schema(&mut out, ours, &tool.kind, index, notes)?;
    mark(&mut out, tool.cache.as_ref());
    Ok(Value::Object(out))
}

/// Puts the schema of the arguments, and whether it is to be followed to the letter.
fn input_schema(
    out: &mut Map<String, Value>,
    ours: bool,
    kind: &ToolKind,
    index: usize,
    notes: &mut Notes,
) -> Result<(), Unfit> {
    match kind {
        ToolKind::Function { schema, strict, .. } if ours => {
            if let Some(schema) = schema {
                out.insert("input_schema".into(), schema.clone());
            }
            if let Some(strict) = strict {
                out.insert("strict".into(), (*strict).into());
            }
        }
        ToolKind::Function { schema, strict, .. } => {
            let mut input = with_type(schema.as_ref());
            if *strict == Some(true) {
                match schema::repair(&input) {
                    Ok(closed) => {
                        input = closed;
                        out.insert("strict".into(), true.into());
                    }
                    Err(schema::IsOpen) => notes.drop(format!("tools[{index}].strict")),
                }
            }
            out.insert("input_schema".into(), input);
        }
        ToolKind::Custom { format, .. } => {
            if format
                .as_ref()
                .is_some_and(|f| f.get("type") != Some(&"text".into()))
            {
                return Err(Unfit::new(
                    format!("tools[{index}].format"),
                    "is a grammar, which this provider does not follow",
                ));
            }
            let input = json!({
                "type": "object",
                "properties": {"input": {"type": "string"}},
                "required": ["input"],
            });
            out.insert("input_schema".into(), input);
        }
        ToolKind::Foreign { .. } => {}
    }
    Ok(())
}

/// The schema of arguments, which must say that they are an object.
fn with_type(schema: Option<&Value>) -> Value {
    let Some(Value::Object(schema)) =
        schema.filter(|s| s.as_object().is_some_and(|s| !s.is_empty()))
    else {
        return json!({"type": "object", "properties": {}});
    };
    if schema.get("type").and_then(Value::as_str) == Some("object") {
        return Value::Object(schema.clone());
    }
    let mut out = Map::new();
    out.insert("type".into(), "object".into());
    for (key, value) in schema.iter().filter(|(key, _)| *key != "type") {
        out.insert(key.clone(), value.clone());
    }
    Value::Object(out)
}

/// Whether `request` makes the model call a tool.
pub(super) fn is_forced(request: &Request) -> bool {
    match &request.choice {
        Some(Choice::Any | Choice::Named(_)) => true,
        Some(Choice::Allowed { must, .. }) => *must,
        Some(Choice::Auto | Choice::Never) | None => false,
    }
}

/// The field `tool_choice`.
pub(super) fn choice(request: &Request, abilities: &Abilities) -> Result<Option<Value>, Unfit> {
    if is_forced(request) && !abilities.forced_tool {
        return Err(Unfit::new(
            Field::ToolChoice.name(request.origin),
            "cannot force a call of this model",
        ));
    }
    let ours = request.origin == Some(Dialect::Anthropic);
    if request.tools.is_empty() && !ours && !is_forced(request) {
        return Ok(None);
    }
    let one_at_a_time = request.parallel == Some(false);
    let mut out = match &request.choice {
        None if one_at_a_time => json!({"type": "auto"}),
        None => return Ok(None),
        Some(Choice::Auto | Choice::Allowed { must: false, .. }) => json!({"type": "auto"}),
        Some(Choice::Any | Choice::Allowed { must: true, .. }) => json!({"type": "any"}),
        Some(Choice::Named(name)) => json!({"type": "tool", "name": name}),
        Some(Choice::Never) => return Ok(Some(json!({"type": "none"}))),
    };
    if let Value::Object(out) = &mut out
        && one_at_a_time
    {
        out.insert("disable_parallel_tool_use".into(), true.into());
    }
    Ok(Some(out))
}
