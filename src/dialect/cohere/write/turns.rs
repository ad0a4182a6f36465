//! System and turns → messages.
//!
//! ```text
//!   Assistant [Text, Call a, Call b]     assistant {tool_plan, tool_calls:[a, b]}
//!   User      [Result b, Result a, Text] tool b · tool a · user
//! ```

use crate::dialect::cohere::answer;
use crate::dialect::model::{
    Abilities, Block, Call, Dialect, Media, MediaKind, Notes, Request, Role, Source, ToolResult,
    Turn, Unfit,
};
use serde_json::{Map, Value, json};

/// Writes the messages.
pub(super) fn write(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Vec<Value>, Unfit> {
    let is_own = request.origin == Some(Dialect::Cohere);
    let last = request.turns.last().map(|turn| turn.role);
    if last == Some(Role::Assistant) && !abilities.prefill && !is_own {
        return Err(Unfit::new(
            "messages",
            "must not end with the assistant for this model",
        ));
    }
    let mut out = Out {
        is_own,
        sees: abilities.images,
        messages: Vec::new(),
        asked: Vec::new(),
    };
    let system = texts(&request.system);
    if !system.is_empty() {
        out.say("system", system);
    }
    for (at, turn) in request.turns.iter().enumerate() {
        match turn.role {
            Role::User => out.user(turn)?,
            Role::Assistant => out.assistant(turn, at + 1 == request.turns.len())?,
            Role::System => out.system(turn),
        }
    }
    if !is_own && is_marked(request) {
        notes.drop("cache_control");
    }
    Ok(out.messages)
}

/// Whether the client marks what may be cached.
fn is_marked(request: &Request) -> bool {
    let mut blocks = request
        .system
        .iter()
        .chain(request.turns.iter().flat_map(|t| &t.blocks));
    let marks = |block: &Block| match block {
        Block::Text { cache, .. } => cache.is_some(),
        Block::Result(result) => result.cache.is_some(),
        Block::Media(media) => media.cache.is_some(),
        _ => false,
    };
    blocks.any(marks) || request.tools.iter().any(|tool| tool.cache.is_some())
}

/// The texts among blocks, as parts; empty ones say nothing.
fn texts(blocks: &[Block]) -> Vec<Value> {
    blocks
        .iter()
        .filter_map(|block| match block {
            Block::Text { text, .. } | Block::Refusal(text) if !text.is_empty() => Some(part(text)),
            _ => None,
        })
        .collect()
}

fn part(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

struct Out<'r> {
    is_own: bool,
    sees: bool,
    messages: Vec<Value>,
    /// Calls of the last assistant that have no result yet.
    asked: Vec<&'r str>,
}

impl<'r> Out<'r> {
    /// A message of parts; a single text stands alone.
    fn say(&mut self, role: &str, mut parts: Vec<Value>) {
        let content = match &mut parts[..] {
            [only] if only.get("type") == Some(&"text".into()) => only["text"].take(),
            _ => parts.into(),
        };
        self.messages
            .push(json!({"role": role, "content": content}));
    }

    fn system(&mut self, turn: &Turn) {
        let parts = texts(&turn.blocks);
        if self.is_own {
            self.say("system", parts);
        } else if !parts.is_empty() {
            // "system turn must be the first in the list"
            let mut all = vec![part("<system>")];
            all.extend(parts);
            all.push(part("</system>"));
            self.say("user", all);
        }
    }

    fn assistant(&mut self, turn: &'r Turn, is_last: bool) -> Result<(), Unfit> {
        if turn
            .blocks
            .iter()
            .any(|block| matches!(block, Block::Media(_)))
        {
            return Err(Unfit::new(
                "messages",
                "hold media of the assistant, which it cannot read",
            ));
        }
        self.answer_the_rest();
        let mut message = answer::message(&turn.blocks, self.is_own, self.is_own);
        if !self.is_own {
            repair(&mut message);
            if !is_last {
                self.asked = turn.blocks.iter().filter_map(called).collect();
            }
        }
        if let Some(content) = message.get_mut("content")
            && let Some([only]) = content.as_array_mut().map(Vec::as_mut_slice)
            && only.get("type") == Some(&"text".into())
        {
            *content = only["text"].take();
        }
        // "message must not be empty in a turn": one that is left empty is left out.
        if message.len() > 1 || self.is_own {
            self.messages.push(message.into());
        }
        Ok(())
    }

    fn user(&mut self, turn: &Turn) -> Result<(), Unfit> {
        let mut parts = Vec::new();
        let mut later = Vec::new();
        for block in &turn.blocks {
            match block {
                Block::Result(result) => self.result(result, &mut later)?,
                Block::Text { text, .. } | Block::Refusal(text) => {
                    if !text.is_empty() || self.is_own {
                        parts.push(part(text));
                    }
                }
                Block::Media(media) => parts.push(self.media(media)?),
                Block::Thinking { .. } | Block::Call(_) | Block::Foreign { .. } => {}
            }
        }
        self.answer_the_rest();
        later.extend(parts);
        let has_results = turn
            .blocks
            .iter()
            .any(|block| matches!(block, Block::Result(_)));
        if later.is_empty() && !has_results {
            later.push(part(if self.is_own { "" } else { "." }));
        }
        if !later.is_empty() {
            self.say("user", later);
        }
        Ok(())
    }

    /// Writes a result; what a tool message cannot hold goes to `later`.
    fn result(&mut self, result: &ToolResult, later: &mut Vec<Value>) -> Result<(), Unfit> {
        let asked = self.asked.iter().position(|id| *id == result.id);
        if let Some(at) = asked {
            self.asked.remove(at);
        }
        let mut parts = Vec::new();
        if result.is_error {
            parts.push(part("Error: "));
        }
        let mut images = Vec::new();
        for block in &result.content {
            match block {
                Block::Text { text, .. } | Block::Refusal(text) => parts.push(part(text)),
                Block::Media(media) => match &media.source {
                    Source::Text(text) => parts.push(document(media, text)),
                    _ => images.push(self.media(media)?),
                },
                _ => {}
            }
        }
        if asked.is_none() && !self.is_own {
            // An answer to nothing: its text is kept.
            later.extend(parts.into_iter().filter(|part| part.get("text").is_some()));
            later.extend(images);
            return Ok(());
        }
        if !images.is_empty() {
            parts.push(part("The image is in the next message."));
            later.push(part(&format!("The image that {} gave:", result.id)));
            later.extend(images);
        }
        let is_text = parts.iter().all(|part| part.get("text").is_some());
        let content: Value = if is_text && (!self.is_own || parts.len() < 2) {
            let texts = parts.iter().filter_map(|part| part.get("text")?.as_str());
            texts.collect::<String>().into()
        } else {
            parts.into()
        };
        let message = json!({"role": "tool", "tool_call_id": result.id, "content": content});
        self.messages.push(message);
        Ok(())
    }

    /// Gives the calls that nobody answered an answer.
    fn answer_the_rest(&mut self) {
        for id in self.asked.drain(..) {
            let content = "Error: the tool gave no result.";
            let message = json!({"role": "tool", "tool_call_id": id, "content": content});
            self.messages.push(message);
        }
    }

    fn media(&self, media: &Media) -> Result<Value, Unfit> {
        let cannot = |why| Err(Unfit::new("messages", why));
        let url = match (media.kind, &media.source) {
            (MediaKind::Document, Source::Text(text)) => {
                let name = media.name.as_deref().unwrap_or("document");
                return Ok(part(&format!(
                    "<document name={name:?}>\n{text}\n</document>"
                )));
            }
            (MediaKind::Image, _) if !self.sees => {
                return cannot("hold an image, which this model cannot see");
            }
            (MediaKind::Image, Source::Url(url)) => url.clone(),
            (MediaKind::Image, Source::Inline { media_type, data }) => {
                format!("data:{media_type};base64,{data}")
            }
            (_, Source::File { .. }) => {
                return cannot("name a file that only another provider has");
            }
            (MediaKind::Image, Source::Text(_)) => return cannot("hold an image without data"),
            (MediaKind::Document, _) => {
                return cannot("hold a document that is no text, which this provider cannot read");
            }
            (MediaKind::Audio, _) => return cannot("hold sound, which this provider cannot hear"),
            (MediaKind::Video, _) => return cannot("hold video, which this provider cannot see"),
        };
        let mut image = Map::new();
        image.insert("url".into(), url.into());
        let known = |detail: &&String| self.is_own || ["auto", "low", "high"].contains(&&***detail);
        if let Some(detail) = media.detail.as_ref().filter(known) {
            image.insert("detail".into(), detail.as_str().into());
        }
        Ok(json!({"type": "image_url", "image_url": image}))
    }
}

fn called(block: &Block) -> Option<&str> {
    match block {
        Block::Call(Call { id, .. }) => Some(id),
        _ => None,
    }
}

/// Arguments that the model broke still have to be JSON.
fn repair(message: &mut Map<String, Value>) {
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else {
            continue;
        };
        let text = arguments.as_str().unwrap_or_default();
        if !serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object()) {
            *arguments = json!({ "_raw": text }).to_string().into();
        }
    }
}

/// A text document in a tool's result; JSON objects are its data.
fn document(media: &Media, text: &str) -> Value {
    let data = serde_json::from_str::<Value>(text)
        .ok()
        .filter(Value::is_object);
    let mut document = Map::new();
    document.insert(
        "data".into(),
        data.unwrap_or_else(|| json!({ "text": text })),
    );
    if let Some(name) = &media.name {
        document.insert("id".into(), name.as_str().into());
    }
    json!({"type": "document", "document": document})
}
