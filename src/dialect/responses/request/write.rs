//! The model to a body of Responses.
//!
//! Invariants
//! - I1 What changes the meaning and cannot be said is [`Unfit`]; what only tunes is named in
//!   the notes. What came in this dialect goes back as it came.
//! - I2 Clients of other dialects keep their conversations themselves: nothing of theirs is
//!   stored at the provider (`store: false`).
//! - I3 A tool whose client did not ask for strictness is not strict: here, unlike elsewhere,
//!   strict is what holds without a word.
//!
//! Source: OpenAI API reference, "Create a model response"; mapping.md, 1 to 8 and 11.

use super::parts::Parts;
use super::put::Items;
use super::read::LOGPROBS;
use crate::dialect::model::{
    Abilities, Block, Choice, Dialect, Effort, Extra, Format, Notes, Request, Role, Thinking, Tool,
    ToolKind, Turn, Unfit, Weight,
};
use serde_json::{Map, Value, json};

/// The least that the API takes as a limit on the answer.
const OUTPUT_MIN: u64 = 16;

/// The longest name of a tool, in bytes.
const NAME_MAX: usize = 64;

/// Fields of Chat that mean the same here, by their names there and here.
const OF_CHAT: [(&str, &str); 6] = [
    ("verbosity", "text.verbosity"),
    ("store", "store"),
    ("safety_identifier", "safety_identifier"),
    ("prompt_cache_options", "prompt_cache_options"),
    ("prompt_cache_retention", "prompt_cache_retention"),
    ("moderation", "moderation"),
];

/// Writes a request for a model that can do `abilities`; what is left out is named in `notes`.
///
/// # Errors
/// The model or the API cannot honour it.
pub fn write(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Vec<u8>, Unfit> {
    let mut body = Body {
        request,
        abilities,
        is_own: request.origin == Some(Dialect::Responses),
        top: Map::new(),
    };
    body.set("model", json!(request.model));
    body.input(notes)?;
    body.tools(notes)?;
    body.limits(notes)?;
    body.format(notes)?;
    body.reasoning(notes);
    body.rest(notes);
    body.extras(notes)?;
    Ok(Value::Object(body.top).to_string().into_bytes())
}

struct Body<'a> {
    request: &'a Request,
    abilities: &'a Abilities,
    is_own: bool,
    top: Map<String, Value>,
}

impl Body<'_> {
    fn set(&mut self, name: &str, value: Value) {
        self.top.insert(name.to_owned(), value);
    }

    fn set_some<T: Into<Value>>(&mut self, name: &str, value: Option<T>) {
        if let Some(value) = value {
            self.top.insert(name.to_owned(), value.into());
        }
    }

    /// The object at `name`, made if need be.
    fn within(&mut self, name: &str) -> Option<&mut Map<String, Value>> {
        self.top
            .entry(name.to_owned())
            .or_insert_with(|| json!({}))
            .as_object_mut()
    }

    /// System text and the conversation.
    fn input(&mut self, notes: &mut Notes) -> Result<(), Unfit> {
        let request = self.request;
        let is_openai = matches!(request.origin, Some(Dialect::Responses | Dialect::Chat));
        let parts = Parts {
            abilities: self.abilities,
            notes,
            is_openai,
            is_own: self.is_own,
        };
        let system = if self.abilities.is_reasoner {
            "developer"
        } else {
            "system"
        };
        let mut items = Items::new(parts, system);
        let mut instructions = None;
        match request.system.as_slice() {
            [] => {}
            [Block::Text { text, cache, .. }] if cache.is_none() || !is_openai => {
                instructions = Some(text.clone());
                if cache.is_some() {
                    items.parts.notes.drop("cache_control");
                }
            }
            blocks => items.system(blocks)?,
        }
        for turn in &request.turns {
            items.turn(turn)?;
            if turn.name.is_some() {
                items.parts.notes.drop("name");
            }
        }
        let list = items.list;
        if let Some(Turn {
            role: Role::Assistant,
            blocks,
            ..
        }) = request.turns.last()
            && matches!(blocks.last(), Some(Block::Text { .. }))
            && !(self.is_own || self.abilities.prefill)
        {
            return Err(Unfit::new(
                "messages",
                "end with an answer that this model cannot go on with",
            ));
        }
        self.set_some("instructions", instructions);
        if !(list.is_empty() && self.is_own) {
            self.set("input", Value::Array(list));
        }
        Ok(())
    }

    fn tools(&mut self, notes: &mut Notes) -> Result<(), Unfit> {
        let request = self.request;
        if !request.tools.is_empty() && !self.abilities.tools {
            return Err(Unfit::new("tools", "cannot be used by this model"));
        }
        let mut list = Vec::with_capacity(request.tools.len());
        for (index, tool) in request.tools.iter().enumerate() {
            if tool.cache.is_some() {
                notes.drop("cache_control");
            }
            list.push(self.tool(index, tool)?);
        }
        let has_tools = !list.is_empty();
        if has_tools {
            self.set("tools", Value::Array(list));
        }
        if has_tools || self.is_own {
            self.choice()?;
            self.set_some("parallel_tool_calls", request.parallel);
        } else if matches!(request.choice, Some(Choice::Any | Choice::Named(_))) {
            return Err(Unfit::new(
                "tool_choice",
                "wants a tool, but there are none",
            ));
        }
        Ok(())
    }

    fn tool(&self, index: usize, tool: &Tool) -> Result<Value, Unfit> {
        let (mut out, description) = match &tool.kind {
            ToolKind::Function {
                name,
                description,
                schema,
                strict,
            } => {
                self.check_name(index, name)?;
                let schema = match schema {
                    Some(Value::Object(schema)) if schema.is_empty() && !self.is_own => no_schema(),
                    Some(schema) => schema.clone(),
                    None if self.is_own => Value::Null,
                    None => no_schema(),
                };
                let mut out = json!({"type": "function", "name": name, "parameters": schema});
                let strict = strict.or((!self.is_own).then_some(false)); // I3
                if let (Some(strict), Value::Object(out)) = (strict, &mut out) {
                    out.insert("strict".to_owned(), json!(strict));
                }
                (out, description)
            }
            ToolKind::Custom {
                name,
                description,
                format,
            } => {
                self.check_name(index, name)?;
                let mut out = json!({"type": "custom", "name": name});
                if let (Some(format), Value::Object(out)) = (format, &mut out) {
                    out.insert("format".to_owned(), flat_format(format));
                }
                (out, description)
            }
            ToolKind::Foreign {
                dialect: Dialect::Responses,
                value,
            } => return Ok(value.clone()),
            ToolKind::Foreign { .. } => {
                return Err(Unfit::new(
                    format!("tools[{index}].type"),
                    "is a tool that another provider runs",
                ));
            }
        };
        if let (Some(description), Value::Object(out)) = (description, &mut out) {
            out.insert("description".to_owned(), json!(description));
        }
        Ok(out)
    }

    /// Clients of this dialect know what their provider takes.
    fn check_name(&self, index: usize, name: &str) -> Result<(), Unfit> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if self.is_own || (name.len() <= NAME_MAX && name.bytes().all(is_word)) {
            return Ok(());
        }
        Err(Unfit::new(
            format!("tools[{index}].name"),
            "must be 1 to 64 letters, digits, _ and - for the Responses API",
        ))
    }

    fn choice(&mut self) -> Result<(), Unfit> {
        let request = self.request;
        let named = |name: &String| {
            let is_custom = request.tools.iter().any(|tool| {
                matches!(&tool.kind, ToolKind::Custom { name: custom, .. } if custom == name)
            });
            json!({"type": if is_custom { "custom" } else { "function" }, "name": name})
        };
        let (value, is_forced) = match &request.choice {
            None => return Ok(()),
            Some(Choice::Auto) => (json!("auto"), false),
            Some(Choice::Never) => (json!("none"), false),
            Some(Choice::Any) => (json!("required"), true),
            Some(Choice::Named(name)) => (named(name), true),
            Some(Choice::Allowed { names, must }) => {
                let tools: Vec<Value> = names.iter().map(named).collect();
                let mode = if *must { "required" } else { "auto" };
                (
                    json!({"type": "allowed_tools", "mode": mode, "tools": tools}),
                    *must,
                )
            }
        };
        if is_forced && !self.abilities.forced_tool {
            return Err(Unfit::new("tool_choice", "cannot be forced on this model"));
        }
        self.set("tool_choice", value);
        Ok(())
    }

    /// The limit on the answer and sampling.
    fn limits(&mut self, notes: &mut Notes) -> Result<(), Unfit> {
        let request = self.request;
        let most = self.abilities.output.unwrap_or(u64::MAX);
        let limit = request
            .max_tokens
            .map(|limit| limit.min(most).max(OUTPUT_MIN));
        self.set_some("max_output_tokens", limit);
        let sampling = &request.sampling;
        for (name, value) in [
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
        ] {
            if value.is_some() && !self.abilities.sampling {
                notes.drop(name);
            } else {
                self.set_some(name, value);
            }
        }
        for (name, is_there) in [
            ("top_k", sampling.top_k.is_some()),
            ("frequency_penalty", sampling.frequency_penalty.is_some()),
            ("presence_penalty", sampling.presence_penalty.is_some()),
            ("seed", sampling.seed.is_some()),
            ("logit_bias", sampling.logit_bias.is_some()),
        ] {
            if is_there {
                notes.drop(name);
            }
        }
        if !sampling.stop.is_empty() {
            return Err(Unfit::new("stop", "has no place in the Responses API"));
        }
        if sampling.n.is_some_and(|n| n > 1) {
            return Err(Unfit::new("n", "must be 1 for the Responses API"));
        }
        if sampling.logprobs.is_some() && request.stream && !self.is_own {
            return Err(Unfit::new(
                "logprobs",
                "cannot be told in a stream by this provider",
            ));
        }
        if let Some(most) = sampling.logprobs {
            if !self.abilities.logprobs {
                return Err(Unfit::new("logprobs", "cannot be told by this model"));
            }
            self.set("include", json!([LOGPROBS]));
            if most > 0 {
                self.set("top_logprobs", json!(most));
            }
        }
        Ok(())
    }

    fn format(&mut self, _: &mut Notes) -> Result<(), Unfit> {
        let format = match &self.request.format {
            Format::Text => return Ok(()),
            Format::Json => json!({"type": "json_object"}),
            Format::Schema {
                name,
                description,
                schema,
                strict,
            } => {
                if !self.abilities.schema {
                    let field = if self.is_own {
                        "text.format"
                    } else {
                        "response_format"
                    };
                    return Err(Unfit::new(field, "cannot be followed by this model"));
                }
                let mut format = Map::new();
                format.insert("type".to_owned(), json!("json_schema"));
                let name = name.as_deref().unwrap_or("response");
                format.insert("name".to_owned(), json!(name));
                if let Some(description) = description {
                    format.insert("description".to_owned(), json!(description));
                }
                format.insert("schema".to_owned(), schema.clone());
                if let Some(strict) = strict {
                    format.insert("strict".to_owned(), json!(strict));
                }
                Value::Object(format)
            }
        };
        self.set("text", json!({"format": format}));
        Ok(())
    }

    fn reasoning(&mut self, notes: &mut Notes) {
        let Some(reasoning) = &self.request.reasoning else {
            return;
        };
        let effort = reasoning.effort.or(reasoning.budget.map(Effort::of_budget));
        if self.abilities.thinking == Thinking::Never {
            if effort != Some(Effort::None) {
                notes.drop("reasoning");
            }
            return;
        }
        // What does not think by nature refuses the field.
        let effort = effort
            .filter(|&effort| effort != Effort::None || self.is_own || self.abilities.is_reasoner);
        let mut out = Map::new();
        if let Some(effort) = effort {
            out.insert("effort".to_owned(), json!(effort.name()));
        }
        if reasoning.visible == Some(true) {
            out.insert("summary".to_owned(), json!("auto"));
        }
        if self.is_own || !out.is_empty() {
            self.set("reasoning", Value::Object(out));
        }
    }

    /// What stands for itself.
    fn rest(&mut self, _: &mut Notes) {
        let request = self.request;
        if request.stream {
            self.set("stream", json!(true));
        }
        self.set_some("user", request.user.clone());
        self.set_some("metadata", request.metadata.clone());
        self.set_some("service_tier", request.service_tier.clone());
        self.set_some("prompt_cache_key", request.cache_key.clone());
        if !self.is_own {
            self.set("store", json!(false)); // I2
        }
    }

    fn extras(&mut self, notes: &mut Notes) -> Result<(), Unfit> {
        for extra in &self.request.extras {
            if self.is_own {
                self.own_extra(extra);
                continue;
            }
            let known = OF_CHAT
                .iter()
                .find(|(chat, _)| *chat == extra.field)
                .filter(|_| self.request.origin == Some(Dialect::Chat));
            match (known, extra.weight) {
                (Some((_, field)), _) => self.set_path(field, extra.value.clone()),
                (None, Weight::Meaning) => {
                    return Err(Unfit::new(
                        extra.field.clone(),
                        "has no place in the Responses API",
                    ));
                }
                (None, Weight::Tuning) => notes.drop(extra.field.clone()),
            }
        }
        Ok(())
    }

    fn own_extra(&mut self, extra: &Extra) {
        if extra.field.starts_with("input[") || extra.field.starts_with("instructions[") {
            return; // The item stands among the turns.
        }
        let of_tool = extra.field.strip_prefix("tools[").and_then(|rest| {
            let (index, name) = rest.split_once("].")?;
            Some((index.parse::<usize>().ok()?, name))
        });
        if let Some((index, name)) = of_tool {
            let tools = self.top.get_mut("tools").and_then(Value::as_array_mut);
            if let Some(Value::Object(tool)) = tools.and_then(|tools| tools.get_mut(index)) {
                tool.insert(name.to_owned(), extra.value.clone());
            }
            return;
        }
        if extra.field == "include" {
            let include = self.top.entry("include").or_insert_with(|| json!([]));
            if let (Value::Array(all), Value::Array(more)) = (include, &extra.value) {
                all.extend(more.iter().cloned());
            }
            return;
        }
        self.set_path(&extra.field, extra.value.clone());
    }

    /// Sets `a` or `a.b`.
    fn set_path(&mut self, path: &str, value: Value) {
        match path.split_once('.') {
            None => self.set(path, value),
            Some((outer, inner)) => {
                if let Some(outer) = self.within(outer) {
                    outer.insert(inner.to_owned(), value);
                }
            }
        }
    }
}

/// The schema of a tool that takes nothing.
fn no_schema() -> Value {
    json!({"type": "object", "properties": {}})
}

/// The format of a custom tool: flat here, nested in Chat.
fn flat_format(format: &Value) -> Value {
    let grammar = format.get("grammar").and_then(Value::as_object);
    let (Some(grammar), Some(kind)) = (grammar, format.get("type")) else {
        return format.clone();
    };
    let mut flat = Map::new();
    flat.insert("type".to_owned(), kind.clone());
    flat.extend(
        grammar
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    Value::Object(flat)
}
