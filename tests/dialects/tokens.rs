//! How far estimates of tokens are off, against the usage that providers reported.
//!
//! Requests are read here by rough means, the same for all dialects: what counts is the text,
//! not the form. Left out are requests whose prompt holds what the request does not: state at
//! the provider, tools that it runs, searches; and those with media, which are counted apart.

use super::recorded::{Recording, recordings};
use serde_json::{Map, Value};
use shardgate::dialect::model::{
    Block, Call, Dialect, Format, Media, MediaKind, Opaque, Request, Role, Source, Tool, ToolKind,
    ToolResult, Turn,
};
use shardgate::dialect::tokens::{Ratio, weigh};
use std::collections::BTreeMap;

/// Protocols, with their dialects.
const PROTOCOLS: [(&str, Dialect); 7] = [
    ("openai-chat", Dialect::Chat),
    ("openai-responses", Dialect::Responses),
    ("anthropic-messages", Dialect::Anthropic),
    ("gemini", Dialect::Gemini),
    ("gemini-stream", Dialect::Gemini),
    ("bedrock-converse", Dialect::Bedrock),
    ("bedrock-converse-stream", Dialect::Bedrock),
];

/// The tokens of the prompt, those of caches included.
fn prompt(usage: &Value) -> Option<u64> {
    let of = |key: &str| usage[key].as_u64();
    let caches = [
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "cacheReadInputTokens",
        "cacheWriteInputTokens",
    ];
    let sum: u64 = caches.into_iter().filter_map(of).sum();
    of("prompt_tokens")
        .or_else(|| of("promptTokenCount"))
        .or_else(|| Some(of("input_tokens").or_else(|| of("inputTokens"))? + sum))
        .filter(|&tokens| tokens > 0)
}

/// A request with what it is that speaks against it.
#[derive(Default)]
struct Rough {
    request: Request,
    has_media: bool,
    is_odd: bool,
}

impl Rough {
    fn of(body: &Value) -> Self {
        let mut rough = Self::default();
        let state = [
            "previous_response_id",
            "conversation",
            "prompt",
            "cachedContent",
            "plugins",
            "mcp_servers",
            "container",
            "web_search_options",
        ];
        let searches = body["model"]
            .as_str()
            .is_some_and(|m| m.contains("search") || m.contains("compound"));
        rough.is_odd = searches || state.iter().any(|key| !body[*key].is_null());
        for key in [
            "system",
            "instructions",
            "systemInstruction",
            "system_instruction",
        ] {
            let system = body[key].get("parts").unwrap_or(&body[key]);
            rough.request.system.extend(rough_blocks(
                system,
                &mut rough.has_media,
                &mut rough.is_odd,
            ));
        }
        for key in ["messages", "input", "contents"] {
            match &body[key] {
                text @ Value::String(_) => rough.turn(text),
                Value::Array(list) => list.iter().for_each(|item| rough.turn(item)),
                _ => {}
            }
        }
        let tools = body["toolConfig"].get("tools").unwrap_or(&body["tools"]);
        for tool in tools.as_array().into_iter().flatten() {
            let many = tool
                .get("functionDeclarations")
                .or(tool.get("function_declarations"));
            match many.and_then(Value::as_array) {
                Some(many) => many.iter().for_each(|tool| rough.tool(tool)),
                None => rough.tool(tool),
            }
        }
        let schemas = [
            "/response_format/json_schema/schema",
            "/text/format/schema",
            "/output_config/format/schema",
            "/generationConfig/responseSchema",
            "/generationConfig/responseJsonSchema",
        ];
        if let Some(schema) = schemas.iter().find_map(|path| body.pointer(path)) {
            let (name, description, strict) = (None, None, None);
            let schema = schema.clone();
            rough.request.format = Format::Schema {
                name,
                description,
                schema,
                strict,
            };
        }
        rough
    }

    fn turn(&mut self, item: &Value) {
        let mut blocks = Vec::new();
        let (media, odd) = (&mut self.has_media, &mut self.is_odd);
        match item["type"].as_str() {
            Some("function_call") => blocks.push(call(item)),
            Some("function_call_output") => {
                blocks.push(result(rough_blocks(&item["output"], media, odd)));
            }
            Some("reasoning") => blocks.extend(sealed(item)),
            Some("message") | None => {
                let content = item.get("content").or(item.get("parts")).unwrap_or(item);
                blocks = rough_blocks(content, media, odd);
                if item["role"] == "tool" {
                    blocks = vec![result(blocks)];
                }
            }
            Some(_) => *odd = true,
        }
        for detail in item["reasoning_details"].as_array().into_iter().flatten() {
            blocks.extend(sealed(detail));
        }
        for made in item["tool_calls"].as_array().into_iter().flatten() {
            blocks.push(call(
                made.get("function").or(made.get("custom")).unwrap_or(made),
            ));
        }
        let (role, name) = (Role::User, None);
        self.request.turns.push(Turn { role, name, blocks });
    }

    fn tool(&mut self, tool: &Value) {
        if tool.get("cachePoint").is_some() {
            return;
        }
        let inner = tool
            .get("function")
            .or(tool.get("toolSpec"))
            .unwrap_or(tool);
        let schemas = [
            "/parameters",
            "/input_schema",
            "/inputSchema/json",
            "/parametersJsonSchema",
            "/parameters_json_schema",
        ];
        let schema = schemas.iter().find_map(|path| inner.pointer(path)).cloned();
        let kind = tool["type"].as_str();
        self.is_odd |=
            inner["name"].is_null() || !matches!(kind, None | Some("function" | "custom"));
        let kind = ToolKind::Function {
            name: inner["name"].as_str().unwrap_or_default().into(),
            description: inner["description"].as_str().map(str::to_owned),
            schema,
            strict: None,
        };
        self.request.tools.push(Tool { kind, cache: None });
    }
}

fn call(function: &Value) -> Block {
    let given = ["arguments", "args", "input"]
        .iter()
        .find_map(|key| function.get(*key));
    Block::Call(Call {
        id: String::new(),
        name: function["name"].as_str().unwrap_or_default().into(),
        arguments: match given {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        },
        is_custom: false,
        opaque: None,
    })
}

/// Thinking that is sent back.
fn sealed(part: &Value) -> Option<Block> {
    let keys = [
        "thoughtSignature",
        "thought_signature",
        "encrypted_content",
        "signature",
    ];
    let value = keys.iter().find_map(|key| part.get(*key))?.clone();
    let opaque = Some(Opaque {
        dialect: Dialect::Gemini,
        value,
    });
    Some(Block::Thinking {
        text: String::new(),
        opaque,
    })
}

fn result(content: Vec<Block>) -> Block {
    let (id, name, is_error, cache) = (String::new(), None, false, None);
    Block::Result(ToolResult {
        id,
        name,
        content,
        is_error,
        cache,
    })
}

fn image() -> Block {
    Block::Media(Media {
        kind: MediaKind::Image,
        source: Source::Url(String::new()),
        name: None,
        detail: None,
        cache: None,
    })
}

fn rough_blocks(content: &Value, media: &mut bool, odd: &mut bool) -> Vec<Block> {
    match content {
        Value::String(text) => vec![Block::text(text)],
        Value::Array(parts) => parts
            .iter()
            .flat_map(|part| match part {
                Value::String(text) => vec![Block::text(text)],
                Value::Object(object) => {
                    let mut blocks = rough_part(part, object, media, odd);
                    blocks.extend(sealed(part));
                    blocks
                }
                _ => Vec::new(),
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn rough_part(
    part: &Value,
    object: &Map<String, Value>,
    media: &mut bool,
    odd: &mut bool,
) -> Vec<Block> {
    let inner = |keys: &[&str]| keys.iter().find_map(|key| object.get(*key));
    let kind = part["type"].as_str().unwrap_or_default();
    if let (Some(text), true) = (part["text"].as_str(), part["thought"] != true) {
        return vec![Block::text(text)];
    }
    if kind == "tool_use" {
        return vec![call(part)];
    }
    if let Some(made) = inner(&["functionCall", "toolUse"]) {
        return vec![call(made)];
    }
    if kind == "tool_result" {
        return vec![result(rough_blocks(&part["content"], media, odd))];
    }
    if let Some(gave) = inner(&["functionResponse", "toolResult"]) {
        let text = match gave.get("response") {
            Some(response) => vec![Block::text(response.to_string())],
            None => rough_blocks(&gave["content"], media, odd),
        };
        return vec![result(text)];
    }
    if let Some(json) = inner(&["json"]) {
        return vec![Block::text(json.to_string())];
    }
    if inner(&["image_url", "image"]).is_some() || ["image", "input_image"].contains(&kind) {
        *media = true;
        return vec![image()];
    }
    let data = inner(&["inlineData", "inline_data"]).unwrap_or(&Value::Null);
    let media_type = data["mimeType"].as_str().or(data["mime_type"].as_str());
    if media_type.is_some_and(|media_type| media_type.starts_with("image/")) {
        *media = true;
        return vec![image()];
    }
    *odd |= !["thinking", "redacted_thinking"].contains(&kind)
        && inner(&[
            "thought",
            "cachePoint",
            "reasoningContent",
            "thoughtSignature",
        ])
        .is_none();
    Vec::new()
}

/// Who answered: what has a ratio of its own.
fn target(recording: &Recording, ask: &Value) -> String {
    let text = String::from_utf8_lossy(&recording.body);
    let said = text
        .split("\"modelVersion\":")
        .nth(1)
        .and_then(|rest| rest.split('"').nth(1));
    let url = recording.manifest["url"].as_str().unwrap_or_default();
    let model = ask["model"].as_str().or(said).unwrap_or(url);
    format!("{}/{model}", recording.path.split('/').next().unwrap())
}

/// Relative errors.
#[derive(Default)]
struct Errors(Vec<f64>);

impl Errors {
    #[expect(clippy::cast_precision_loss, reason = "counts of tokens are small")]
    fn add(&mut self, got: u64, want: u64) {
        self.0.push(got.abs_diff(want) as f64 / want as f64);
    }

    /// The error that `percent` of them do not exceed, in percent.
    fn at(&self, percent: usize) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = (sorted.len().max(1) - 1) * percent / 100;
        sorted.get(at).map_or(0.0, |error| error * 100.0)
    }
}

/// Goal: the error that the header of `dialect/tokens.rs` states is the error. Method: every
/// recorded request with usage, in the order of the manifest, estimated before its usage is
/// learned; a ratio for each provider and model.
#[test]
fn estimates_are_off_by_what_is_stated() {
    let mut errors: BTreeMap<String, Errors> = BTreeMap::new();
    let mut ratios: BTreeMap<String, Ratio> = BTreeMap::new();
    for (protocol, dialect) in PROTOCOLS {
        for recording in recordings(&[protocol]) {
            let usage = prompt(&recording.oracle["usage"]);
            let body = recording
                .request
                .as_deref()
                .and_then(|body| serde_json::from_slice(body).ok());
            let (Some(want), Some(ask), 200) =
                (usage, body, recording.manifest["status"].as_u64().unwrap())
            else {
                continue;
            };
            let rough = Rough::of(&ask);
            if rough.is_odd || rough.request.turns.is_empty() {
                continue;
            }
            let name = target(&recording, &ask);
            let is_first = !ratios.contains_key(&name);
            let ratio = ratios.entry(name).or_insert_with(|| Ratio::of(dialect));
            let weight = weigh(&rough.request);
            let got = ratio.tokens(&weight);
            let when = if is_first { "first" } else { "learned" };
            let protocol = protocol.trim_end_matches("-stream");
            let mut add = |key: String| errors.entry(key).or_default().add(got, want);
            if rough.has_media {
                add(format!("with images, {when}"));
                continue;
            }
            add(format!("{protocol}, {when}"));
            add(format!("all, {when}"));
            if want >= 400 {
                add(format!("400 tokens and more, {when}"));
            }
            ratio.learn_from(&weight, want);
        }
    }
    if errors.is_empty() {
        return; // No recordings, as `recordings` has said.
    }
    for (what, errors) in &errors {
        let (half, most) = (errors.at(50), errors.at(90));
        println!(
            "{what:36} {:4} exchanges: median {half:3.0} %, p90 {most:3.0} %",
            errors.0.len()
        );
    }
    let median = |what: &str| errors[what].at(50);
    assert!(
        errors["all, learned"].0.len() > 150,
        "most of the recordings are read"
    );
    assert!(median("all, first") <= 60.0);
    assert!(median("all, learned") <= 35.0);
    assert!(median("400 tokens and more, learned") <= 20.0);
    assert!(errors["400 tokens and more, learned"].at(90) <= 70.0);
}
