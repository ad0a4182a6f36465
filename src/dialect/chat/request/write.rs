//! Writes a request in Chat.
//!
//! Invariants
//! - I1 What the target cannot be told is [`Unfit`] or noted; see the model's I1.
//! - I2 The same request gives the same bytes: members always come in this file's order.
//! - I3 Fields that only some engines know (`top_k`, `cache_control`, `metadata`, …) are written
//!   for clients of Chat alone, who know what they ask for: others answer 400 to them.
//! - I4 Usage is always asked for in a stream; the client sees it only if it asked.
//!
//! Source: OpenAI API reference, "Create chat completion"; mapping.md, 1 to 6 and 11.

use super::messages::messages;
use crate::dialect::model::{
    Abilities, Choice, Dialect, Effort, Format, Notes, Request, Thinking, Tool, ToolKind, Unfit,
    Weight,
};
use serde_json::{Map, Value, json};

/// A request as it is being written.
pub(super) struct Target<'a> {
    pub(super) request: &'a Request,
    pub(super) abilities: &'a Abilities,
    /// The request came in Chat.
    pub(super) is_own: bool,
}

/// Writes the body of a request for a model with these abilities.
///
/// # Errors
/// The model cannot be asked this.
pub fn write(
    request: &Request,
    abilities: &Abilities,
    notes: &mut Notes,
) -> Result<Vec<u8>, Unfit> {
    let target = Target {
        request,
        abilities,
        is_own: request.origin == Some(Dialect::Chat),
    };
    let mut body = Map::new();
    put(&mut body, "model", request.model.as_str());
    put(&mut body, "messages", messages(&target, notes)?);
    target.limits(&mut body, notes)?;
    target.sampling(&mut body, notes);
    target.tools(&mut body, notes)?;
    target.format(&mut body)?;
    target.reasoning(&mut body, notes);
    target.names(&mut body, notes);
    if request.stream {
        put(&mut body, "stream", true);
        put(&mut body, "stream_options", json!({"include_usage": true})); // I4
    }
    target.extras(&mut body, notes)?;
    serde_json::to_vec(&Value::Object(body)).map_err(|_| Unfit::new("body", "cannot be written"))
}

/// Puts the member `key`.
pub(super) fn put(object: &mut Map<String, Value>, key: &str, value: impl Into<Value>) {
    object.insert(key.to_owned(), value.into());
}

fn put_some(object: &mut Map<String, Value>, key: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        put(object, key, value);
    }
}

impl Target<'_> {
    fn limits(&self, body: &mut Map<String, Value>, notes: &mut Notes) -> Result<(), Unfit> {
        if let Some(wanted) = self.request.max_tokens {
            let most = self.abilities.output.unwrap_or(wanted);
            let key = if self.abilities.is_reasoner {
                "max_completion_tokens"
            } else {
                "max_tokens"
            };
            put(body, key, wanted.min(most));
        }
        let sampling = &self.request.sampling;
        if let Some(n) = sampling.n {
            // Several answers have no place in the model: only a client of Chat gets them, and
            // then from bytes that pass.
            if n > 1 && !(self.abilities.several && self.is_own) {
                return Err(Unfit::new("n", "must be 1 for this model"));
            }
            put(body, "n", n);
        }
        if let Some(others) = sampling.logprobs {
            if !self.abilities.logprobs {
                return Err(Unfit::new("logprobs", "are not told by this model"));
            }
            put(body, "logprobs", true);
            if others > 0 {
                put(body, "top_logprobs", others);
            }
        }
        if let Some(bias) = &sampling.logit_bias {
            if self.is_own {
                put(body, "logit_bias", bias.clone());
            } else {
                notes.drop("logit_bias"); // token ids of another vocabulary
            }
        }
        Ok(())
    }

    fn sampling(&self, body: &mut Map<String, Value>, notes: &mut Notes) {
        let sampling = &self.request.sampling;
        let numbers = [
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
            ("frequency_penalty", sampling.frequency_penalty),
            ("presence_penalty", sampling.presence_penalty),
        ];
        for (key, number) in numbers {
            match number {
                Some(_) if !self.abilities.sampling => notes.drop(key),
                Some(number) => put(body, key, number),
                None => {}
            }
        }
        match sampling.top_k {
            Some(number) if self.is_own && self.abilities.sampling => put(body, "top_k", number),
            Some(_) => notes.drop("top_k"), // I3
            None => {}
        }
        put_some(body, "seed", sampling.seed);
        if !sampling.stop.is_empty() {
            put(body, "stop", sampling.stop.clone());
        }
    }

    fn tools(&self, body: &mut Map<String, Value>, notes: &mut Notes) -> Result<(), Unfit> {
        let request = self.request;
        if !request.tools.is_empty() && !self.abilities.tools {
            return Err(Unfit::new("tools", "cannot be called by this model"));
        }
        let allowed = match &request.choice {
            // Not every engine knows `allowed_tools`: what may not be called is not told.
            Some(Choice::Allowed { names, .. }) if !self.is_own => Some(names),
            _ => None,
        };
        let mut tools = Vec::new();
        for (at, tool) in request.tools.iter().enumerate() {
            let is_allowed = allowed.is_none_or(|names| {
                let name = name_of(&tool.kind);
                name.is_some_and(|name| names.iter().any(|allowed| allowed == name))
            });
            if is_allowed {
                tools.push(self.tool(at, tool, notes)?);
            }
        }
        let has_tools = !tools.is_empty();
        if has_tools {
            put(body, "tools", tools);
        }
        if let Some(choice) = &request.choice {
            let is_forced = match choice {
                Choice::Any | Choice::Named(_) => true,
                Choice::Allowed { must, .. } => *must,
                Choice::Auto | Choice::Never => false,
            };
            if is_forced && !self.abilities.forced_tool {
                return Err(Unfit::new("tool_choice", "cannot be forced on this model"));
            }
            if has_tools || self.is_own {
                put(body, "tool_choice", self.choice(choice));
            }
        }
        // OpenAI refuses it without tools.
        if has_tools || self.is_own {
            put_some(body, "parallel_tool_calls", request.parallel);
        }
        Ok(())
    }

    fn tool(&self, at: usize, tool: &Tool, notes: &mut Notes) -> Result<Value, Unfit> {
        let mut inner = Map::new();
        let kind = match &tool.kind {
            ToolKind::Function {
                name,
                description,
                schema,
                strict,
            } => {
                put(&mut inner, "name", name.as_str());
                put_some(&mut inner, "description", description.as_deref());
                put_some(&mut inner, "parameters", schema.clone());
                put_some(&mut inner, "strict", *strict);
                "function"
            }
            ToolKind::Custom {
                name,
                description,
                format,
            } => {
                put(&mut inner, "name", name.as_str());
                put_some(&mut inner, "description", description.as_deref());
                put_some(&mut inner, "format", format.clone());
                "custom"
            }
            ToolKind::Foreign {
                dialect: Dialect::Chat,
                value,
            } => return Ok(value.clone()),
            ToolKind::Foreign { .. } => {
                let field = format!("tools[{at}].type");
                return Err(Unfit::new(field, "is a tool of another provider"));
            }
        };
        let mut outer = Map::new();
        put(&mut outer, "type", kind);
        put(&mut outer, kind, inner);
        self.mark(&mut outer, tool.cache.as_ref(), notes);
        Ok(Value::Object(outer))
    }

    /// Puts a cache mark to a part or a tool (I3).
    pub(super) fn mark(
        &self,
        part: &mut Map<String, Value>,
        mark: Option<&crate::dialect::model::CacheMark>,
        notes: &mut Notes,
    ) {
        let Some(mark) = mark else { return };
        if !self.is_own {
            notes.drop("cache_control");
            return;
        }
        let mut control = Map::new();
        put(&mut control, "type", "ephemeral");
        put_some(&mut control, "ttl", mark.ttl.as_deref());
        put(part, "cache_control", control);
    }

    fn choice(&self, choice: &Choice) -> Value {
        match choice {
            Choice::Auto => Value::from("auto"),
            Choice::Never => Value::from("none"),
            Choice::Any => Value::from("required"),
            Choice::Named(name) => self.named(name),
            Choice::Allowed { must, .. } if !self.is_own => {
                Value::from(if *must { "required" } else { "auto" })
            }
            Choice::Allowed { names, must } => {
                let tools: Vec<Value> = names.iter().map(|name| self.named(name)).collect();
                let mode = if *must { "required" } else { "auto" };
                let allowed = json!({"mode": mode, "tools": tools});
                json!({"type": "allowed_tools", "allowed_tools": allowed})
            }
        }
    }

    fn named(&self, name: &str) -> Value {
        let is_custom = self.request.tools.iter().any(
            |tool| matches!(&tool.kind, ToolKind::Custom { name: custom, .. } if custom == name),
        );
        if is_custom {
            json!({"type": "custom", "custom": {"name": name}})
        } else {
            json!({"type": "function", "function": {"name": name}})
        }
    }

    fn format(&self, body: &mut Map<String, Value>) -> Result<(), Unfit> {
        match &self.request.format {
            Format::Text => {}
            Format::Json => put(body, "response_format", json!({"type": "json_object"})),
            Format::Schema {
                name,
                description,
                schema,
                strict,
            } => {
                if !self.abilities.schema {
                    return Err(Unfit::new(
                        "response_format",
                        "has a schema, which this model does not follow",
                    ));
                }
                let mut inner = Map::new();
                put(&mut inner, "name", name.as_deref().unwrap_or("answer"));
                put_some(&mut inner, "description", description.as_deref());
                put(&mut inner, "schema", schema.clone());
                put_some(&mut inner, "strict", *strict);
                let format = json!({"type": "json_schema", "json_schema": inner});
                put(body, "response_format", format);
            }
        }
        Ok(())
    }

    fn reasoning(&self, body: &mut Map<String, Value>, notes: &mut Notes) {
        let Some(reasoning) = &self.request.reasoning else {
            return;
        };
        let is_wide = reasoning.budget.is_some() || reasoning.visible.is_some();
        if self.is_own && (is_wide || reasoning.adaptive) {
            // OpenRouter's own form.
            let mut object = Map::new();
            put_some(&mut object, "effort", reasoning.effort.map(Effort::name));
            put_some(&mut object, "max_tokens", reasoning.budget);
            put_some(&mut object, "exclude", reasoning.visible.map(|is| !is));
            if reasoning.adaptive {
                put(&mut object, "enabled", true);
            }
            put(body, "reasoning", object);
            return;
        }
        let budget = reasoning.budget.map(Effort::of_budget);
        let Some(effort) = reasoning.effort.or(budget) else {
            return; // thinking by default: nothing to say
        };
        if self.abilities.thinking == Thinking::Never {
            if effort != Effort::None {
                notes.drop("reasoning_effort");
            }
            return;
        }
        put(body, "reasoning_effort", effort.name());
    }

    fn names(&self, body: &mut Map<String, Value>, notes: &mut Notes) {
        let request = self.request;
        put_some(body, "user", request.user.as_deref());
        // OpenAI takes metadata only for what it stores.
        match &request.metadata {
            Some(metadata) if self.is_own => put(body, "metadata", metadata.clone()),
            Some(_) => notes.drop("metadata"),
            None => {}
        }
        let is_openai = self.is_own || request.origin == Some(Dialect::Responses);
        for (key, value) in [
            ("service_tier", &request.service_tier),
            ("prompt_cache_key", &request.cache_key),
        ] {
            match value {
                Some(value) if is_openai => put(body, key, value.as_str()),
                Some(_) => notes.drop(key),
                None => {}
            }
        }
    }

    fn extras(&self, body: &mut Map<String, Value>, notes: &mut Notes) -> Result<(), Unfit> {
        for extra in &self.request.extras {
            if !self.is_own {
                if extra.weight == Weight::Meaning {
                    let why = "cannot be asked of this target";
                    return Err(Unfit::new(extra.field.clone(), why));
                }
                notes.drop(extra.field.clone());
                continue;
            }
            if let Some((tool, key)) = of_tool(body, &extra.field) {
                put(tool, key, extra.value.clone());
                continue;
            }
            match (body.get_mut(&extra.field), &extra.value) {
                (None, value) => put(body, &extra.field, value.clone()),
                (Some(Value::Object(there)), Value::Object(more)) => {
                    for (key, value) in more {
                        put(there, key, value.clone());
                    }
                }
                (Some(_), _) => {}
            }
        }
        Ok(())
    }
}

/// The tool and the member that a field `tools[2].member` means.
fn of_tool<'b, 'f>(
    body: &'b mut Map<String, Value>,
    field: &'f str,
) -> Option<(&'b mut Map<String, Value>, &'f str)> {
    let (at, key) = field.strip_prefix("tools[")?.split_once("].")?;
    let tools = body.get_mut("tools")?.as_array_mut()?;
    let tool = tools.get_mut(at.parse::<usize>().ok()?)?;
    Some((tool.as_object_mut()?, key))
}

fn name_of(kind: &ToolKind) -> Option<&str> {
    match kind {
        ToolKind::Function { name, .. } | ToolKind::Custom { name, .. } => Some(name),
        ToolKind::Foreign { .. } => None,
    }
}
