//! Reads a `GenerateContentRequest`.
//!
//! Invariants
//! - I1 Both spellings of a key are read ([`camel`]); a fault names the key as it came.
//! - I2 What the model has no place for is kept as an [`Extra`] under its path in camelCase,
//!   also below the top level (`generationConfig.mediaResolution`).
//!
//! Source: Gemini API reference, `models.generateContent`; Vertex AI, the same (`labels`,
//! `modelArmorConfig`).

use super::parts::Conversation;
use super::settings;
use crate::dialect::gemini::keys::{camel, items};
use crate::dialect::gemini::schema::to_json_schema;
use crate::dialect::model::{
    BadAsk, Block, Dialect, Extra, Request, Role, Tool, ToolKind, Turn, Weight,
};
use crate::dialect::tree::{Path, some};
use serde_json::{Map, Value};

/// Reads the body of a request to `model`, as the path says, streamed or not.
///
/// # Errors
/// The body breaks the dialect; the fault names the field.
pub fn read(body: &[u8], model: &str, stream: bool) -> Result<Request, BadAsk> {
    let body: Value = serde_json::from_slice(body).map_err(|_| BadAsk {
        field: "body".into(),
        wanted: "must be a JSON object in UTF-8",
    })?;
    let top = Path::TOP;
    let Some(object) = body.as_object() else {
        return Err(BadAsk {
            field: "body".into(),
            wanted: "must be a JSON object in UTF-8",
        });
    };
    let mut request = Request {
        model: model.to_owned(),
        stream,
        origin: Some(Dialect::Gemini),
        ..Request::default()
    };
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let at = top.key(key);
        match camel(key).as_ref() {
            "contents" => read_contents(&mut request, value, at)?,
            "systemInstruction" => read_system(&mut request, value, at)?,
            "tools" => read_tools(&mut request, value, at)?,
            "toolConfig" => settings::read_tool_config(&mut request, value, at)?,
            "generationConfig" => settings::read_generation(&mut request, value, at)?,
            "serviceTier" => {
                request.service_tier = Some(settings::read_tier(at.string(value)?));
            }
            "model" => {} // It stands in the path.
            field @ ("safetySettings" | "labels") => {
                request.extras.push(extra(field, value, Weight::Tuning));
            }
            field => request.extras.push(extra(field, value, Weight::Meaning)),
        }
    }
    if request.turns.is_empty() {
        let wanted = "must be an array of at least one content";
        return Err(top.key("contents").bad(wanted));
    }
    Ok(request)
}

/// A field that stays as it is.
pub(super) fn extra(field: impl Into<String>, value: &Value, weight: Weight) -> Extra {
    Extra {
        field: field.into(),
        value: value.clone(),
        weight,
    }
}

/// Reads the conversation. Contents of the model that follow each other are one turn, and text
/// goes on across their border: the official SDK keeps a streamed answer in a content for each
/// event.
fn read_contents(request: &mut Request, value: &Value, at: Path<'_>) -> Result<(), BadAsk> {
    let contents = items(value);
    let mut talk = Conversation::new(contents);
    let mut written = 0; // Parts of the last turn, as they will be written.
    for (index, content) in contents.iter().enumerate() {
        let at = at.index(index);
        let object = at.object(content)?;
        let role = read_role(object, at)?;
        let goes_on = role == Role::Assistant
            && (request.turns.last()).is_some_and(|turn| turn.role == Role::Assistant);
        if !goes_on {
            written = 0;
            request.turns.push(Turn {
                role,
                name: None,
                blocks: Vec::new(),
            });
        }
        let place = format!("contents[{}]", request.turns.len().saturating_sub(1));
        let Some(Turn { blocks, .. }) = request.turns.last_mut() else {
            continue;
        };
        for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            let at = at.key(key);
            match camel(key).as_ref() {
                "role" => {}
                "parts" => {
                    for (number, part) in items(value).iter().enumerate() {
                        if goes_on && number == 0 && continue_text(blocks, part) {
                            continue;
                        }
                        let place = format!("{place}.parts[{written}]");
                        let at = at.index(number);
                        talk.read_part(part, at, &place, blocks, &mut request.extras)?;
                        written += 1;
                    }
                }
                field => {
                    let field = format!("{place}.{field}");
                    request.extras.push(extra(field, value, Weight::Tuning));
                }
            }
        }
    }
    Ok(())
}

fn read_role(content: &Map<String, Value>, at: Path<'_>) -> Result<Role, BadAsk> {
    let Some(role) = some(content, "role") else {
        return Ok(Role::User);
    };
    let at = at.key("role");
    match at.string(role)? {
        "user" | "function" | "" => Ok(Role::User),
        "model" => Ok(Role::Assistant),
        _ => Err(at.bad("must be user or model")),
    }
}

/// Appends `part` to the text before, when both are text and nothing else.
fn continue_text(blocks: &mut [Block], part: &Value) -> bool {
    let object = part.as_object().filter(|part| part.len() == 1);
    let more = object.and_then(|part| part.get("text")?.as_str());
    match (blocks.last_mut(), more) {
        (Some(Block::Text { text, .. }), Some(more)) => {
            text.push_str(more);
            true
        }
        _ => false,
    }
}

fn read_system(request: &mut Request, value: &Value, at: Path<'_>) -> Result<(), BadAsk> {
    let object = at.object(value)?;
    for (key, value) in object {
        if key != "parts" {
            continue; // Its role says nothing.
        }
        let at = at.key(key);
        let mut talk = Conversation::new(&[]);
        for (number, part) in items(value).iter().enumerate() {
            let place = format!("systemInstruction.parts[{number}]");
            let (blocks, extras) = (&mut request.system, &mut request.extras);
            talk.read_part(part, at.index(number), &place, blocks, extras)?;
        }
    }
    Ok(())
}

fn read_tools(request: &mut Request, value: &Value, at: Path<'_>) -> Result<(), BadAsk> {
    // The writer puts all functions into one tool, where the first of them stood.
    let mut functions = None;
    let mut count = 0;
    for (index, tool) in items(value).iter().enumerate() {
        let at = at.index(index);
        for (key, value) in at
            .object(tool)?
            .iter()
            .filter(|(_, value)| !value.is_null())
        {
            let at = at.key(key);
            let name = camel(key);
            if name != "functionDeclarations" {
                let mut object = Map::new();
                object.insert(name.into_owned(), value.clone());
                request.tools.push(foreign(Value::Object(object)));
                continue;
            }
            let place = *functions.get_or_insert(request.tools.len());
            for (number, function) in items(value).iter().enumerate() {
                let place = format!("tools[{place}].functionDeclarations[{count}]");
                let at = at.index(number);
                let tool = read_function(function, at, &place, &mut request.extras)?;
                request.tools.push(tool);
                count += 1;
            }
        }
    }
    Ok(())
}

fn foreign(value: Value) -> Tool {
    let kind = ToolKind::Foreign {
        dialect: Dialect::Gemini,
        value,
    };
    Tool { kind, cache: None }
}

fn read_function(
    value: &Value,
    at: Path<'_>,
    place: &str,
    extras: &mut Vec<Extra>,
) -> Result<Tool, BadAsk> {
    let (mut name, mut description, mut schema) = (None, None, None);
    for (key, value) in at
        .object(value)?
        .iter()
        .filter(|(_, value)| !value.is_null())
    {
        let at = at.key(key);
        match camel(key).as_ref() {
            "name" => name = Some(at.string(value)?.to_owned()),
            "description" => description = Some(at.string(value)?.to_owned()),
            "parameters" => {
                at.object(value)?;
                schema = Some(to_json_schema(value));
            }
            "parametersJsonSchema" => schema = Some(value.clone()),
            field => extras.push(extra(format!("{place}.{field}"), value, Weight::Tuning)),
        }
    }
    let Some(name) = name else {
        return Err(at.key("name").bad("must be a string"));
    };
    let kind = ToolKind::Function {
        name,
        description,
        schema,
        strict: None,
    };
    Ok(Tool { kind, cache: None })
}
