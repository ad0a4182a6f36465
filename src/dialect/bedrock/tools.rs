//! What the model may call, and whether it must.
//!
//! Source: Amazon Bedrock Runtime API, `ToolConfiguration`; mapping.md, 4.

use super::block::Writer;
use super::media;
use crate::dialect::model::{
    BadAsk, Choice, Dialect, Extra, Notes, Request, Tool, ToolKind, Unfit, Weight,
};
use crate::dialect::tree::{Path, some, string};
use serde_json::{Map, Value, json};

/// Most characters of a tool's name. Source: API model, `ToolName`.
const NAME_MAX: usize = 64;

/// Reads `toolConfig`.
pub(super) fn read(value: &Value, path: &Path<'_>, request: &mut Request) -> Result<(), BadAsk> {
    let object = path.object(value)?;
    let here = path.key("tools");
    let tools = some(object, "tools").ok_or_else(|| here.bad("is missing"))?;
    for (i, value) in here.array(tools)?.iter().enumerate() {
        read_tool(value, &here.index(i), &mut request.tools)?;
    }
    if let Some(choice) = some(object, "toolChoice") {
        request.choice = Some(read_choice(choice, &path.key("toolChoice"))?);
    }
    let known = |key: &str| matches!(key, "tools" | "toolChoice");
    for (key, value) in object.iter().filter(|(key, _)| !known(key)) {
        request.extras.push(Extra {
            field: format!("toolConfig.{key}"),
            value: value.clone(),
            weight: Weight::Meaning,
        });
    }
    Ok(())
}

fn read_tool(value: &Value, path: &Path<'_>, tools: &mut Vec<Tool>) -> Result<(), BadAsk> {
    let object = path.object(value)?;
    if let Some(point) = some(object, "cachePoint")
        && let Some(last) = tools.last_mut()
    {
        last.cache = Some(media::cache_mark(point));
        return Ok(());
    }
    let kind = match some(object, "toolSpec") {
        Some(spec) => {
            let path = path.key("toolSpec");
            let spec = path.object(spec)?;
            let name = path.key("name");
            let schema =
                some(spec, "inputSchema").and_then(|schema| some(schema.as_object()?, "json"));
            ToolKind::Function {
                name: name
                    .string(some(spec, "name").ok_or_else(|| name.bad("is missing"))?)?
                    .to_owned(),
                description: string(spec, "description").map(str::to_owned),
                schema: schema.cloned(),
                strict: some(spec, "strict").and_then(Value::as_bool),
            }
        }
        None => ToolKind::Foreign {
            dialect: Dialect::Bedrock,
            value: value.clone(),
        },
    };
    tools.push(Tool { kind, cache: None });
    Ok(())
}

fn read_choice(value: &Value, path: &Path<'_>) -> Result<Choice, BadAsk> {
    let object = path.object(value)?;
    if let Some(tool) = some(object, "tool") {
        let (tool_path, object) = (path.key("tool"), tool.as_object());
        let path = tool_path.key("name");
        let name = object.and_then(|tool| some(tool, "name"));
        let name = name.ok_or_else(|| path.bad("is missing"))?;
        return Ok(Choice::Named(path.string(name)?.to_owned()));
    }
    if some(object, "any").is_some() {
        return Ok(Choice::Any);
    }
    if some(object, "auto").is_some() {
        return Ok(Choice::Auto);
    }
    Err(path.bad("must be one of auto, any and tool"))
}

/// The tools that the request leaves to the model. There is no word for "none": then they are
/// not sent.
pub(super) fn sent(request: &Request) -> Vec<(usize, &Tool)> {
    let is_sent = |tool: &Tool| match &request.choice {
        Some(Choice::Never) => false,
        Some(Choice::Allowed { names, .. }) => {
            name(&tool.kind).is_none_or(|name| names.iter().any(|allowed| allowed == name))
        }
        _ => true,
    };
    let all = request.tools.iter().enumerate();
    all.filter(|(_, tool)| is_sent(tool)).collect()
}

fn name(kind: &ToolKind) -> Option<&str> {
    match kind {
        ToolKind::Function { name, .. } | ToolKind::Custom { name, .. } => Some(name),
        ToolKind::Foreign { .. } => None,
    }
}

/// Whether the request wants a call in any case.
pub(super) fn is_forced(request: &Request) -> bool {
    match &request.choice {
        Some(Choice::Any | Choice::Named(_)) => true,
        Some(Choice::Allowed { must, .. }) => *must,
        _ => false,
    }
}

/// Writes `toolConfig`; `None` when there is nothing to call.
pub(super) fn write(
    request: &Request,
    writer: &mut Writer<'_>,
    notes: &mut Notes,
) -> Result<Option<Value>, Unfit> {
    let tools = sent(request);
    if tools.is_empty() {
        if is_forced(request) {
            return Err(Unfit::new(
                "tool_choice",
                "demands a call, but there is no tool to call",
            ));
        }
        return Ok(None);
    }
    if !writer.abilities.tools {
        return Err(Unfit::new("tools", "cannot be called by this model"));
    }
    let mut out = Vec::with_capacity(tools.len());
    for (i, tool) in tools {
        out.push(write_tool(i, &tool.kind, writer.is_own)?);
        writer.put_mark(tool.cache.as_ref(), &mut out, notes);
    }
    let choice = match &request.choice {
        None | Some(Choice::Never | Choice::Allowed { must: false, .. }) => None,
        Some(Choice::Auto) => Some(json!({ "auto": {} })),
        Some(Choice::Any | Choice::Allowed { must: true, .. }) => Some(json!({ "any": {} })),
        Some(Choice::Named(name)) => Some(json!({ "tool": { "name": name } })),
    };
    if is_forced(request) && !writer.abilities.forced_tool {
        return Err(Unfit::new(
            "tool_choice",
            "cannot be demanded of this model",
        ));
    }
    if request.parallel == Some(false) {
        notes.drop("parallel_tool_calls");
    }
    let mut config = Map::new();
    config.insert("tools".to_owned(), Value::Array(out));
    config.extend(choice.map(|choice| ("toolChoice".to_owned(), choice)));
    Ok(Some(Value::Object(config)))
}

fn write_tool(i: usize, kind: &ToolKind, is_own: bool) -> Result<Value, Unfit> {
    let (name, description, schema, strict) = match kind {
        ToolKind::Function {
            name,
            description,
            schema,
            strict,
        } => (
            name,
            description,
            object_schema(schema.as_ref(), is_own),
            *strict,
        ),
        ToolKind::Custom {
            name, description, ..
        } => (name, description, text_schema(), None),
        ToolKind::Foreign { dialect, value } if *dialect == Dialect::Bedrock => {
            return Ok(value.clone());
        }
        ToolKind::Foreign { .. } => {
            let field = format!("tools[{i}].type");
            return Err(Unfit::new(
                field,
                "is a tool that only another provider runs",
            ));
        }
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if !(1..=NAME_MAX).contains(&name.len()) || !name.bytes().all(plain) {
        return Err(Unfit::new(
            format!("tools[{i}].name"),
            "must be 1 to 64 letters, digits, _ and - for this provider",
        ));
    }
    let mut spec = Map::new();
    spec.insert("name".to_owned(), json!(name));
    // An empty description is refused.
    if let Some(text) = description
        .as_deref()
        .filter(|text| !text.trim().is_empty())
    {
        spec.insert("description".to_owned(), json!(text));
    }
    spec.insert("inputSchema".to_owned(), json!({ "json": schema }));
    if let Some(strict) = strict.filter(|strict| *strict || is_own) {
        spec.insert("strict".to_owned(), json!(strict));
    }
    Ok(json!({ "toolSpec": spec }))
}

/// The provider wants an object, whatever else the schema says.
fn object_schema(schema: Option<&Value>, is_own: bool) -> Value {
    match schema {
        Some(schema) if is_own => schema.clone(),
        Some(Value::Object(schema)) if schema.contains_key("type") => Value::Object(schema.clone()),
        Some(Value::Object(schema)) if !schema.is_empty() => {
            let mut typed = Map::new();
            typed.insert("type".to_owned(), json!("object"));
            typed.extend(schema.clone());
            Value::Object(typed)
        }
        _ => json!({ "type": "object", "properties": {} }),
    }
}

/// A tool that takes plain text gets it in a field.
fn text_schema() -> Value {
    json!({
        "type": "object",
        "properties": { "input": { "type": "string" } },
        "required": ["input"]
    })
}
