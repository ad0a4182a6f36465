//! The key of a request: the same for the same question, whatever dialect asks it.
//!
//! ```text
//!   version · tenant · namespace · kind · model · headers ┐
//!   Request: system, turns, tools, format, sampling, …    ├─► partition ─┐
//!   what the body says beyond it                          ┘              ├─► key
//!   the last text of the user ───────────────────────────────────────────┘
//! ```
//!
//! In the partition of a request stands everything but the last text of the user. So only
//! requests that differ in nothing else are ever compared by meaning.
//!
//! Of a [`Request`] are in the key: `system`, `turns`, `tools`, `choice`, `parallel`, `format`,
//! `reasoning`, `max_tokens`, `sampling`, `service_tier` (answers repeat it) and `extras`. Not in
//! it:
//! - `model`: what the client asked for is instead; targets have other names
//! - `stream`, `wants_usage`, `stream_options`: streams and plain answers share entries
//! - `user`, `metadata`, `cache_key`, marks for a provider's cache, `safety_identifier`: no model
//!   reads them
//! - `store`; a request that says `true` has no key, since a hit would store nothing
//! - `origin`, but with what is beyond the model
//!
//! Of the head the fields of [`counts`] are in it.
//!
//! Invariants
//! - F1 Requests whose answers may differ have different keys: what the model between the dialects
//!   does not carry is in the key too, or there is none.
//! - F2 A key is made in one pass; for a body that the model carries whole nothing is allocated
//!   but room for hashes.

use super::beyond;
use super::key::{Fold, Key};
use crate::dialect::model::{
    Block, Call, Choice, Dialect, Extra, Format, Media, MediaKind, Opaque, Reasoning, Request,
    Role, Sampling, Source, Tool, ToolKind, ToolResult, Turn,
};
use crate::dialect::route::Route;
use serde_json::Value;

/// The form of keys: it changes with everything that goes into one, so that entries of another
/// version are not found.
const VERSION: &str = "shardgate request 1";

/// The same of requests for vectors.
const VECTORS: &str = "shardgate embeddings 1";

/// Who may be given an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenant<'a> {
    /// Whoever asks: the gateway has no client keys.
    Open,
    /// The client key of this name alone.
    Key(&'a str),
    /// Everybody who may ask for the model.
    Shared,
}

/// A request, with what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// For whom.
    pub tenant: Tenant<'a>,
    /// A part of the tenant's entries, as the request names it.
    pub namespace: Option<&'a str>,
    /// By which route.
    pub route: Route,
    /// The model's name as it was asked for.
    pub model: &'a str,
    /// The head's fields; those that do not count are passed over.
    pub fields: &'a [(&'a [u8], &'a [u8])],
    /// The body as it came.
    pub body: &'a [u8],
    /// What [`crate::dialect::speak::ask`] read in it; not looked at where vectors are asked for.
    pub request: &'a Request,
}

/// What a request is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Print<'a> {
    /// The same request again.
    pub key: Key,
    /// One that may mean the same.
    pub near: Result<Near<'a>, Unlike>,
}

/// Where a request of the same meaning would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near<'a> {
    /// Everything but the last text.
    pub partition: Key,
    /// The last text of the user.
    pub text: &'a str,
}

/// Why a request has no key: its answer depends on more than what it says, or does more than
/// to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoKey {
    /// It asks for no answer in a conversation.
    Route,
    /// Its JSON may be understood in two ways.
    Odd,
    /// It goes on with what the provider keeps.
    State,
    /// The provider runs a tool of its own: searches, runs code.
    Tool,
    /// The provider is to keep the answer, or to work in the background.
    Effect,
}

/// Why a request is compared with no other by its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unlike {
    /// Its last turn is not a text of the user.
    NoText,
    /// A tool was called in the conversation.
    ToolTurn,
    /// It shows an image, a document, sound or video.
    Media,
    /// It wants several answers.
    Several,
    /// It wants the probabilities of tokens.
    Logprobs,
    /// It is no conversation but a text to go on with.
    Completion,
    /// It says something that only its own dialect knows.
    Foreign,
}

/// Whether the head's field `name` changes what is answered. The rest goes to no provider, or says
/// nothing to the model.
pub fn counts(name: &[u8]) -> bool {
    COUNTING
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// See [`counts`]. Accounts and projects are in it, as they decide which models there are.
const COUNTING: [&[u8]; 6] = [
    b"anthropic-beta",
    b"anthropic-version",
    b"openai-beta",
    b"openai-organization",
    b"openai-project",
    b"x-goog-user-project",
];

/// The versions of Anthropic's Messages that are read and written alike: what its SDKs have always
/// sent, and the gateway where a client does not, and what those of 2026 send.
const ANTHROPIC_VERSIONS: [&[u8]; 2] = [b"2023-06-01", b"2026-10-21"];

/// The key of what was asked, and where what may mean the same would be.
///
/// # Errors
/// It has none.
pub fn print<'a>(asked: &Asked<'a>) -> Result<Print<'a>, NoKey> {
    if asked.route == Route::Embeddings {
        return of_vectors(asked);
    }
    let request = asked.request;
    if !asked.route.is_chat() {
        return Err(NoKey::Route);
    }
    bound(request)?;
    let mut fold = Fold::new(VERSION);
    whom(&mut fold, asked);
    fold.tag(u8::from(asked.route == Route::Completions));
    fold.text(asked.model);
    fields(&mut fold, asked);
    let (before, last) = last_text(request);
    said(&mut fold, request, before, last.is_some());
    settings(&mut fold, request);
    beyond::fold_in(&mut fold, asked.route, asked.body, request.turns.len())
        .map_err(|_| NoKey::Odd)?;
    let partition = fold.finish();
    let mut fold = Fold::new("exact");
    fold.key(&partition);
    fold.maybe(1, last, Fold::text);
    Ok(Print {
        key: fold.finish(),
        near: near(asked, last).map(|text| Near { partition, text }),
    })
}

/// The same of a request for vectors: its body as a tree, whatever is in it, but for what no vector
/// differs by. Only requests in this dialect share entries.
fn of_vectors<'a>(asked: &Asked<'a>) -> Result<Print<'a>, NoKey> {
    let mut fold = Fold::new(VECTORS);
    whom(&mut fold, asked);
    fold.text(asked.model);
    fields(&mut fold, asked);
    beyond::fold_in(&mut fold, asked.route, asked.body, 0).map_err(|_| NoKey::Odd)?;
    Ok(Print {
        key: fold.finish(),
        near: Err(Unlike::NoText),
    })
}

/// What binds the answer to more than the request.
fn bound(request: &Request) -> Result<(), NoKey> {
    let is_foreign = |tool: &Tool| matches!(tool.kind, ToolKind::Foreign { .. });
    if request.tools.iter().any(is_foreign) {
        return Err(NoKey::Tool);
    }
    for Extra { field, value, .. } in &request.extras {
        let is_off = value == &Value::Bool(false) || value.is_null();
        match field.as_str() {
            "previous_response_id"
            | "conversation"
            | "prompt"
            | "container"
            | "thread"
            | "cachedContent"
                if request.origin.is_some() && !is_off =>
            {
                return Err(NoKey::State);
            }
            "web_search_options" | "search_parameters" | "plugins" | "mcp_servers"
            | "tool_choice"
                if !is_off =>
            {
                return Err(NoKey::Tool);
            }
            "store" | "background" if !is_off => return Err(NoKey::Effect),
            // Items that stand for something that is not in the request.
            field if field.starts_with("input[") && request.origin == Some(Dialect::Responses) => {
                return Err(NoKey::State);
            }
            _ => {}
        }
    }
    Ok(())
}

fn whom(fold: &mut Fold, asked: &Asked<'_>) {
    match asked.tenant {
        Tenant::Open => fold.tag(0),
        Tenant::Shared => fold.tag(1),
        Tenant::Key(name) => {
            fold.tag(2);
            fold.text(name);
        }
    }
    fold.tag(u8::from(asked.namespace.is_some()));
    fold.text(asked.namespace.unwrap_or_default());
}

/// The fields that count, in an order of their own; several of one name in theirs.
fn fields(fold: &mut Fold, asked: &Asked<'_>) {
    for (at, known) in (0..).zip(COUNTING) {
        for (name, value) in asked.fields {
            let is_default = known == b"anthropic-version" && ANTHROPIC_VERSIONS.contains(value);
            if name.eq_ignore_ascii_case(known) && !is_default {
                fold.tag(at);
                fold.bytes(value.trim_ascii());
            }
        }
    }
    fold.tag(u8::MAX);
}

/// The text that the user said last, and the turns before it with the blocks before it.
fn last_text(request: &Request) -> (&[Block], Option<&str>) {
    let last = request.turns.last();
    let turn = last.filter(|turn| turn.role == Role::User && turn.name.is_none());
    match turn.and_then(|turn| turn.blocks.split_last()) {
        Some((
            Block::Text {
                text,
                citations: None,
                ..
            },
            before,
        )) => (before, Some(text)),
        _ => (&[], None),
    }
}

/// Whether a request may be compared by the meaning of its last text.
fn near<'a>(asked: &Asked<'a>, last: Option<&'a str>) -> Result<&'a str, Unlike> {
    let Request {
        system,
        turns,
        sampling,
        extras,
        ..
    } = asked.request;
    let blocks = || turns.iter().flat_map(|turn| &turn.blocks).chain(system);
    let has = |what: fn(&Block) -> bool| blocks().any(what);
    if asked.route == Route::Completions {
        return Err(Unlike::Completion);
    }
    if has(|block| matches!(block, Block::Call(_) | Block::Result(_))) {
        return Err(Unlike::ToolTurn);
    }
    if has(|block| matches!(block, Block::Media(_))) {
        return Err(Unlike::Media);
    }
    let is_foreign = |extra: &Extra| extra.weight == crate::dialect::model::Weight::Meaning;
    if has(|block| matches!(block, Block::Foreign { .. })) || extras.iter().any(is_foreign) {
        return Err(Unlike::Foreign);
    }
    if sampling.n.is_some_and(|n| n > 1) {
        return Err(Unlike::Several);
    }
    if sampling.logprobs.is_some() {
        return Err(Unlike::Logprobs);
    }
    last.filter(|text| !text.trim().is_empty())
        .ok_or(Unlike::NoText)
}

/// What was said: without the last text, where there `is_last`, whose turn has the blocks `before`.
fn said(fold: &mut Fold, request: &Request, before: &[Block], is_last: bool) {
    all(fold, &request.system, block);
    let whole = request.turns.len() - usize::from(is_last);
    fold.count(whole);
    for Turn { role, name, blocks } in request.turns.iter().take(whole) {
        fold.tag(match role {
            Role::User => 0,
            Role::Assistant => 1,
            Role::System => 2,
        });
        fold.maybe(1, name.as_deref(), Fold::text);
        fold.tag(0);
        all(fold, blocks, block);
    }
    fold.tag(u8::from(is_last));
    all(fold, before, block);
}

/// All of a list, with their number.
fn all<T>(fold: &mut Fold, list: &[T], each: impl Fn(&mut Fold, &T)) {
    fold.count(list.len());
    for one in list {
        each(fold, one);
    }
}

fn block(fold: &mut Fold, block: &Block) {
    match block {
        Block::Text {
            text, citations, ..
        } => {
            fold.tag(1);
            fold.text(text);
            fold.maybe(1, citations.as_ref(), Fold::value);
            fold.tag(0);
        }
        Block::Thinking { text, opaque } => {
            fold.tag(2);
            fold.text(text);
            hidden(fold, opaque.as_ref());
        }
        Block::Call(call) => called(fold, call),
        Block::Result(result) => resulted(fold, result),
        Block::Media(media) => shown(fold, media),
        Block::Refusal(text) => {
            fold.tag(6);
            fold.text(text);
        }
        Block::Foreign { dialect, value } => {
            fold.tag(7);
            fold.text(dialect.name());
            fold.value(value);
        }
    }
}

fn hidden(fold: &mut Fold, opaque: Option<&Opaque>) {
    fold.tag(u8::from(opaque.is_some()));
    if let Some(Opaque { dialect, value }) = opaque {
        fold.text(dialect.name());
        fold.value(value);
    }
}

fn called(fold: &mut Fold, call: &Call) {
    fold.tag(3);
    fold.text(&call.id);
    fold.text(&call.name);
    fold.text(&call.arguments);
    fold.tag(u8::from(call.is_custom));
    hidden(fold, call.opaque.as_ref());
}

fn resulted(fold: &mut Fold, result: &ToolResult) {
    fold.tag(4);
    fold.text(&result.id);
    fold.tag(u8::from(result.name.is_some()));
    fold.text(result.name.as_deref().unwrap_or_default());
    fold.tag(u8::from(result.is_error));
    all(fold, &result.content, block);
}

fn shown(fold: &mut Fold, media: &Media) {
    fold.tag(5);
    fold.tag(match media.kind {
        MediaKind::Image => 0,
        MediaKind::Document => 1,
        MediaKind::Audio => 2,
        MediaKind::Video => 3,
    });
    match &media.source {
        Source::Inline { media_type, data } => {
            fold.tag(0);
            fold.text(media_type);
            fold.text(data);
        }
        Source::Text(text) => {
            fold.tag(1);
            fold.text(text);
        }
        Source::Url(url) => {
            fold.tag(2);
            fold.text(url);
        }
        Source::File { dialect, id } => {
            fold.tag(3);
            fold.text(dialect.name());
            fold.text(id);
        }
    }
    fold.maybe(1, media.name.as_deref(), Fold::text);
    fold.maybe(2, media.detail.as_deref(), Fold::text);
    fold.tag(0);
}

/// Everything but what was said.
fn settings(fold: &mut Fold, request: &Request) {
    fold.count(request.tools.len());
    for one in &request.tools {
        tool(fold, one, request.origin);
    }
    choice(fold, request.choice.as_ref());
    fold.maybe(1, request.parallel, |fold, is| fold.tag(u8::from(is)));
    format(fold, &request.format);
    fold.maybe(2, request.reasoning.as_ref(), reasoning);
    fold.maybe(3, request.max_tokens, Fold::number);
    fold.maybe(4, request.service_tier.as_deref(), Fold::text);
    sampling(fold, &request.sampling);
    let mut extras: Vec<&Extra> = request.extras.iter().filter(|one| tells(one)).collect();
    extras.sort_by(|a, b| a.field.cmp(&b.field));
    fold.count(extras.len());
    for Extra { field, value, .. } in extras {
        fold.text(field);
        fold.value(value);
    }
}

/// Whether an extra bears on the answer: not, if it is about how that is brought, by whom it was
/// asked for, or what the provider keeps. ([`bound`] has refused `store: true`.)
fn tells(extra: &Extra) -> bool {
    !SILENT.contains(&extra.field.as_str())
}

/// See [`tells`]; the tables of [`super::shapes`] pass over the same.
pub(super) const SILENT: [&str; 4] = [
    "store",
    "stream_options",
    "safety_identifier",
    "prompt_cache_retention",
];

fn tool(fold: &mut Fold, tool: &Tool, origin: Option<Dialect>) {
    // Without a word Responses makes tools strict where it can, the others make none so.
    let lax = (origin != Some(Dialect::Responses)).then_some(false);
    match &tool.kind {
        ToolKind::Function {
            name,
            description,
            schema,
            strict,
        } => {
            fold.tag(0);
            fold.text(name);
            fold.maybe(1, description.as_deref(), Fold::text);
            fold.maybe(2, schema.as_ref(), Fold::value);
            fold.maybe(3, strict.or(lax), |fold, is| fold.tag(u8::from(is)));
        }
        ToolKind::Custom {
            name,
            description,
            format,
        } => {
            fold.tag(1);
            fold.text(name);
            fold.maybe(1, description.as_deref(), Fold::text);
            fold.maybe(2, format.as_ref(), Fold::value);
        }
        ToolKind::Foreign { dialect, value } => {
            fold.tag(2);
            fold.text(dialect.name());
            fold.value(value);
        }
    }
    fold.tag(u8::MAX);
}

fn choice(fold: &mut Fold, choice: Option<&Choice>) {
    match choice {
        None => fold.tag(0),
        Some(Choice::Auto) => fold.tag(1),
        Some(Choice::Never) => fold.tag(2),
        Some(Choice::Any) => fold.tag(3),
        Some(Choice::Named(name)) => {
            fold.tag(4);
            fold.text(name);
        }
        Some(Choice::Allowed { names, must }) => {
            fold.tag(5 + u8::from(*must));
            all(fold, names, |fold, name| fold.text(name));
        }
    }
}

fn format(fold: &mut Fold, format: &Format) {
    match format {
        Format::Text => fold.tag(10),
        Format::Json => fold.tag(11),
        Format::Schema {
            name,
            description,
            schema,
            strict,
        } => {
            fold.tag(12);
            fold.maybe(1, name.as_deref(), Fold::text);
            fold.maybe(2, description.as_deref(), Fold::text);
            fold.maybe(3, *strict, |fold, is| fold.tag(u8::from(is)));
            fold.tag(0);
            fold.value(schema);
        }
    }
}

fn reasoning(fold: &mut Fold, reasoning: &Reasoning) {
    fold.maybe(1, reasoning.effort, |fold, effort| fold.text(effort.name()));
    fold.maybe(2, reasoning.budget, Fold::number);
    fold.tag(3 + u8::from(reasoning.adaptive));
    fold.maybe(5, reasoning.visible, |fold, is| fold.tag(u8::from(is)));
    fold.tag(0);
}

fn sampling(fold: &mut Fold, sampling: &Sampling) {
    fold.maybe(5, sampling.temperature, Fold::float);
    fold.maybe(6, sampling.top_p, Fold::float);
    fold.maybe(7, sampling.top_k, Fold::number);
    fold.maybe(8, sampling.frequency_penalty, Fold::float);
    fold.maybe(9, sampling.presence_penalty, Fold::float);
    fold.maybe(10, sampling.seed, |fold, seed| {
        fold.number(seed.cast_unsigned());
    });
    fold.maybe(11, sampling.n, Fold::number);
    fold.maybe(12, sampling.logprobs, Fold::number);
    fold.maybe(13, sampling.logit_bias.as_ref(), Fold::value);
    fold.tag(14);
    all(fold, &sampling.stop, |fold, text| fold.text(text));
}
