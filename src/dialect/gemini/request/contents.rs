//! Writes the conversation as `contents`.
//!
//! ```text
//!   assistant, assistant     → one content of the model
//!   tool results             → one content of the user: one functionResponse for each call of
//!                              the content before, in their order, and nothing else
//!   user, system, user       → one content of the user behind it
//! ```
//!
//! What came from Gemini goes back content by content and part by part, as it was arranged.
//!
//! Invariants
//! - I1 Arranged contents alternate but for the content of tool results, and begin with the
//!   user's.
//! - I2 Every call that is followed by anything has its answer; an answer without a call is
//!   told as text.
//!
//! Source: mapping.md, 2 and 6; Gemini API, "Thought signatures" (the filler for calls that
//! another model made).

use super::parts::{TEXT_MARK, is_at_provider, is_made_up, response_of, type_of};
use crate::dialect::model::{
    Abilities, Block, Call, Dialect, Media, MediaKind, Notes, Opaque, Request, Role, Source,
    Thinking, ToolResult, Turn, Unfit,
};
use serde_json::{Map, Value, json};

/// The signature for a call that another model made.
const FILLER: &str = "skip_thought_signature_validator";

/// What the user says when there is nothing to say.
const NOTHING: &str = ".";

/// What a call is answered with when the conversation has no answer.
const NO_RESULT: &str = "The tool gave no result.";

/// Writes parts and contents.
pub(super) struct Writer<'a> {
    request: &'a Request,
    abilities: &'a Abilities,
    notes: &'a mut Notes,
}

/// A content of `role`.
fn content(role: &'static str, parts: Vec<Value>) -> Value {
    let mut object = Map::new();
    object.insert("role".into(), role.into());
    object.insert("parts".into(), parts.into());
    Value::Object(object)
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        request: &'a Request,
        abilities: &'a Abilities,
        notes: &'a mut Notes,
    ) -> Self {
        Self {
            request,
            abilities,
            notes,
        }
    }

    fn is_ours(&self) -> bool {
        self.request.origin == Some(Dialect::Gemini)
    }

    /// Models that are told to think by a level: Gemini 3 and later. They check signatures,
    /// and take media with the answer of a tool.
    fn is_new(&self) -> bool {
        self.abilities.thinking == Thinking::Effort
    }

    /// The parts of the system instruction.
    pub(super) fn system(&mut self) -> Result<Vec<Value>, Unfit> {
        let request = self.request;
        let mut parts = Vec::new();
        self.put_all(&request.system, &mut parts)?;
        Ok(parts)
    }

    /// All contents.
    pub(super) fn contents(&mut self) -> Result<Vec<Value>, Unfit> {
        let turns = &self.request.turns;
        if turns
            .last()
            .is_some_and(|turn| turn.role == Role::Assistant)
            && !self.abilities.prefill
        {
            let why = "ends with a turn of the assistant, which this model cannot continue";
            return Err(Unfit::new("messages", why));
        }
        if !self.is_ours() {
            return self.arrange();
        }
        let mut contents = Vec::new();
        for turn in turns {
            let mut parts = Vec::new();
            self.put_all(&turn.blocks, &mut parts)?;
            let role = if turn.role == Role::Assistant {
                "model"
            } else {
                "user"
            };
            contents.push(content(role, parts));
        }
        Ok(contents)
    }

    fn arrange(&mut self) -> Result<Vec<Value>, Unfit> {
        let request = self.request;
        let mut contents = Vec::new();
        let mut left = request.turns.as_slice();
        while !left.is_empty() {
            let is_model = |turn: &Turn| turn.role == Role::Assistant;
            let (model, rest) = left.split_at(run(left, is_model));
            let (user, rest) = rest.split_at(run(rest, |turn| !is_model(turn)));
            left = rest;
            let mut parts = Vec::new();
            for turn in model {
                self.put_all(&turn.blocks, &mut parts)?;
            }
            if !parts.is_empty() {
                contents.push(content("model", parts));
            }
            self.put_user(model, user, &mut contents)?;
        }
        let begins = contents.first().and_then(|first| first.get("role"));
        if begins.is_none_or(|role| role != "user") {
            contents.insert(0, content("user", vec![json!({"text": NOTHING})])); // I1
        }
        Ok(contents)
    }

    /// What the user said behind what the model said: answers of tools, then the rest.
    fn put_user(
        &mut self,
        model: &[Turn],
        user: &[Turn],
        contents: &mut Vec<Value>,
    ) -> Result<(), Unfit> {
        let calls: Vec<&Call> = blocks(model)
            .filter_map(|block| match block {
                Block::Call(call) => Some(call),
                _ => None,
            })
            .collect();
        let results: Vec<&ToolResult> = blocks(user)
            .filter_map(|block| match block {
                Block::Result(result) => Some(result),
                _ => None,
            })
            .collect();
        let (mut answers, mut parts) = (Vec::new(), Vec::new());
        if !user.is_empty() {
            for call in &calls {
                let result = results.iter().find(|result| result.id == call.id);
                answers.push(match result {
                    Some(result) => self.response(result, &call.name, &mut parts)?,
                    None => json!({"functionResponse": response(
                        &call.id,
                        &call.name,
                        response_of(NO_RESULT, true),
                    )}), // I2
                });
            }
        }
        if !answers.is_empty() {
            contents.push(content("user", answers));
        }
        for turn in user {
            if turn.name.is_some() {
                self.notes.drop("messages.name");
            }
            for block in &turn.blocks {
                match block {
                    Block::Result(result) if calls.iter().any(|call| call.id == result.id) => {}
                    Block::Result(result) => self.put_orphan(result, &mut parts)?,
                    Block::Text { text, .. } if turn.role == Role::System => {
                        parts.push(json!({"text": format!("<system>\n{text}\n</system>")}));
                    }
                    block => self.put(block, &mut parts)?,
                }
            }
        }
        if !parts.is_empty() {
            contents.push(content("user", parts));
        }
        Ok(())
    }

    /// An answer to a call that is not there (I2).
    fn put_orphan(&mut self, result: &ToolResult, parts: &mut Vec<Value>) -> Result<(), Unfit> {
        let name = result.name.as_deref().unwrap_or("tool");
        let text = text_of(result);
        parts.push(json!({"text": format!("Result of {name}: {text}")}));
        for block in &result.content {
            if let Block::Media(media) = block {
                parts.push(self.media(media)?);
            }
        }
        Ok(())
    }

    fn put_all(&mut self, blocks: &[Block], parts: &mut Vec<Value>) -> Result<(), Unfit> {
        for block in blocks {
            self.put(block, parts)?;
        }
        Ok(())
    }

    fn put(&mut self, block: &Block, parts: &mut Vec<Value>) -> Result<(), Unfit> {
        match block {
            Block::Text { text, cache, .. } => {
                if cache.is_some() {
                    self.notes.drop("cache_control");
                }
                parts.push(json!({"text": text}));
            }
            Block::Refusal(text) => parts.push(json!({"text": text})),
            Block::Thinking { text, opaque } => self.put_thought(text, opaque.as_ref(), parts),
            Block::Call(call) => {
                let is_first = !parts.iter().any(|part| part.get("functionCall").is_some());
                parts.push(self.call(call, is_first));
            }
            Block::Result(result) => {
                let name = result.name.clone().unwrap_or_default();
                let mut media = Vec::new();
                let part = self.response(result, &name, &mut media)?;
                parts.push(part);
                parts.append(&mut media);
            }
            Block::Media(media) => parts.push(self.media(media)?),
            Block::Foreign { dialect, value } => {
                if *dialect == Dialect::Gemini {
                    parts.push(value.clone());
                }
            }
        }
        Ok(())
    }

    fn put_thought(&self, text: &str, opaque: Option<&Opaque>, parts: &mut Vec<Value>) {
        let ours = opaque.filter(|opaque| opaque.dialect == Dialect::Gemini);
        if let Some(mark) = ours.and_then(|opaque| opaque.value.get(TEXT_MARK)) {
            let is_bare = |part: &&mut Value| {
                part.get("text").is_some() && part.as_object().is_some_and(|part| part.len() == 1)
            };
            if let Some(Value::Object(part)) = parts.last_mut().filter(is_bare) {
                part.insert("thoughtSignature".into(), mark.clone());
            } else {
                parts.push(json!({"text": "", "thoughtSignature": mark}));
            }
        } else if let Some(signature) = signature(opaque) {
            parts.push(json!({"text": text, "thought": true, "thoughtSignature": signature}));
        } else if self.is_ours() {
            parts.push(json!({"text": text, "thought": true}));
        }
    }

    fn call(&self, call: &Call, is_first: bool) -> Value {
        let mut object = Map::new();
        if !is_made_up(&call.id) && !call.id.is_empty() {
            object.insert("id".into(), call.id.as_str().into());
        }
        object.insert("name".into(), call.name.as_str().into());
        object.insert("args".into(), args_of(&call.arguments, call.is_custom));
        let mut part = Map::new();
        part.insert("functionCall".into(), Value::Object(object));
        let signature = signature(call.opaque.as_ref());
        let needs_filler = is_first && self.is_new() && !self.is_ours();
        if let Some(signature) = signature.or(needs_filler.then_some(FILLER)) {
            part.insert("thoughtSignature".into(), signature.into());
        }
        Value::Object(part)
    }

    /// What a tool gave. Media that cannot stand with it go to `later`.
    fn response(
        &mut self,
        result: &ToolResult,
        name: &str,
        later: &mut Vec<Value>,
    ) -> Result<Value, Unfit> {
        if result.cache.is_some() {
            self.notes.drop("cache_control");
        }
        let mut media = Vec::new();
        for block in &result.content {
            if let Block::Media(one) = block {
                media.push(self.media(one)?);
            }
        }
        let said = response_of(&text_of(result), result.is_error);
        let mut object = response(&result.id, name, said);
        if !media.is_empty() && (self.is_new() || self.is_ours()) {
            object.insert("parts".into(), media.into());
        } else {
            later.append(&mut media);
        }
        Ok(json!({"functionResponse": object}))
    }

    fn media(&mut self, media: &Media) -> Result<Value, Unfit> {
        let (is_able, field) = match media.kind {
            MediaKind::Image => (self.abilities.images, "image_url"),
            MediaKind::Document => (self.abilities.documents, "file"),
            MediaKind::Audio => (self.abilities.audio, "input_audio"),
            MediaKind::Video => (true, "video"),
        };
        if let Source::Text(text) = &media.source {
            return Ok(json!({"text": text}));
        }
        if !is_able {
            return Err(Unfit::new(field, "cannot be read by this model"));
        }
        if media.cache.is_some() {
            self.notes.drop("cache_control");
        }
        if media
            .detail
            .as_deref()
            .is_some_and(|detail| detail != "auto")
        {
            self.notes.drop("detail");
        }
        let name = media.name.as_deref().filter(|_| self.is_ours());
        let (key, mut object) = match &media.source {
            Source::Inline { media_type, data } => (
                "inlineData",
                members([("mimeType", media_type), ("data", data)]),
            ),
            Source::Text(text) => return Ok(json!({"text": text})),
            Source::Url(url) => ("fileData", self.file_at(url, media.kind, field)?),
            Source::File { dialect, id } => match serde_json::from_str(id) {
                Ok(Value::Object(file)) if *dialect == Dialect::Gemini => ("fileData", file),
                _ if *dialect == Dialect::Gemini => ("fileData", members([("fileUri", id)])),
                _ => {
                    let why = "names a file at another provider";
                    return Err(Unfit::new("file_id", why));
                }
            },
        };
        if let Some(name) = name {
            object.insert("displayName".into(), name.into());
        }
        Ok(json!({key: object}))
    }

    /// A file at an address. Gemini fetches from its own stores and from `YouTube` only.
    fn file_at(
        &self,
        url: &str,
        kind: MediaKind,
        field: &'static str,
    ) -> Result<Map<String, Value>, Unfit> {
        let guess = type_of(url);
        let is_known = is_at_provider(url) || guess == Some("video/mp4") && url.contains("youtu");
        if !self.is_ours() && !is_known {
            let why = "is an address, which Gemini does not fetch; send the data itself";
            return Err(Unfit::new(field, why));
        }
        let by_kind = match kind {
            MediaKind::Image => "image/jpeg",
            MediaKind::Document => "application/pdf",
            MediaKind::Audio => "audio/mpeg",
            MediaKind::Video => "video/mp4",
        };
        let media_type = guess.unwrap_or(by_kind);
        Ok(members([("fileUri", url), ("mimeType", media_type)]))
    }
}

/// How many turns at the start of `turns` are so.
fn run(turns: &[Turn], is_so: impl Fn(&Turn) -> bool) -> usize {
    turns.iter().take_while(|turn| is_so(turn)).count()
}

fn blocks(turns: &[Turn]) -> impl Iterator<Item = &Block> {
    turns.iter().flat_map(|turn| &turn.blocks)
}

fn members<const N: usize>(members: [(&str, &str); N]) -> Map<String, Value> {
    members
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

fn signature(opaque: Option<&Opaque>) -> Option<&str> {
    let opaque = opaque.filter(|opaque| opaque.dialect == Dialect::Gemini)?;
    opaque
        .value
        .as_str()
        .or_else(|| opaque.value.get("thoughtSignature")?.as_str())
}

/// All text of a result.
fn text_of(result: &ToolResult) -> String {
    let mut out = String::new();
    for block in &result.content {
        if let Block::Text { text, .. } | Block::Refusal(text) = block {
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(text);
        }
    }
    out
}

fn response(id: &str, name: &str, said: Value) -> Map<String, Value> {
    let mut object = Map::new();
    if !is_made_up(id) && !id.is_empty() {
        object.insert("id".into(), id.into());
    }
    object.insert("name".into(), name.into());
    object.insert("response".into(), said);
    object
}

/// Arguments as Gemini wants them, an object. What is none (the model broke it, or it was cut)
/// stands under `_raw`.
pub(in crate::dialect::gemini) fn args_of(arguments: &str, is_custom: bool) -> Value {
    if is_custom {
        return json!({"input": arguments});
    }
    if arguments.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(object)) => Value::Object(object),
        _ => json!({"_raw": arguments}),
    }
}
