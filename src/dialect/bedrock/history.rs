//! The conversation in the order that the provider demands.
//!
//! ```text
//!   user ── assistant(calls a, b) ── user(results a, b; text) ── assistant …
//!    ▲                                     ▲
//!    first, never empty                    every call answered, and at once
//! ```
//!
//! What was said in this dialect keeps its order: the provider may judge it.
//!
//! Invariants
//! - I1 User and assistant alternate, and the user begins.
//! - I2 Each call has its result at the start of the turn behind it, in the order of the calls;
//!   a result without a call becomes text.
//! - I3 Without tools no block of a tool is left: they become text.
//!
//! Source: Amazon Bedrock User Guide, "Converse", message rules; mapping.md, 2.

use crate::dialect::model::{Block, Call, Dialect, Request, Role, ToolResult, Turn};
use std::borrow::Cow;
use std::fmt::Write as _;

/// What one side says.
#[derive(Debug)]
pub(super) struct Said<'a> {
    pub(super) role: Role,
    pub(super) blocks: Vec<Cow<'a, Block>>,
}

/// Stands in for what is empty: the provider takes no empty turn and no empty text.
const NOTHING: &str = ".";

/// The turns of `request`. `is_own`: they were said in this dialect.
pub(super) fn said(request: &Request, is_own: bool, has_tools: bool) -> Vec<Said<'_>> {
    let mut turns: Vec<Said<'_>> = Vec::with_capacity(request.turns.len());
    for turn in &request.turns {
        let Some(next) = one(turn, request, is_own, has_tools) else {
            continue;
        };
        match turns.last_mut() {
            Some(last) if last.role == next.role && !is_own => {
                last.blocks.extend(next.blocks); // I1
            }
            _ => turns.push(next),
        }
    }
    if !is_own {
        if has_tools {
            turns = paired(turns);
        }
        if turns
            .first()
            .is_none_or(|first| first.role == Role::Assistant)
        {
            turns.insert(0, user(vec![Cow::Owned(Block::text(NOTHING))]));
        }
        trim_prefill(&mut turns);
    }
    turns
}

fn user(blocks: Vec<Cow<'_, Block>>) -> Said<'_> {
    Said {
        role: Role::User,
        blocks,
    }
}

/// One turn; `None` when nothing is left of it.
fn one<'a>(
    turn: &'a Turn,
    request: &'a Request,
    is_own: bool,
    has_tools: bool,
) -> Option<Said<'a>> {
    let mut blocks: Vec<Cow<'a, Block>> = Vec::with_capacity(turn.blocks.len());
    for block in turn.blocks.iter().filter(|block| is_kept(block, is_own)) {
        match block {
            Block::Call(call) if !has_tools => {
                blocks.push(Cow::Owned(Block::text(call_text(call))));
            }
            Block::Result(result) if !has_tools => {
                let name = name_of(request, &result.id).or(result.name.as_deref());
                blocks.extend(result_blocks(result, name));
            }
            _ => blocks.push(Cow::Borrowed(block)),
        }
    }
    if let Some(name) = turn.name.as_deref().filter(|name| !name.is_empty()) {
        let first = blocks
            .iter_mut()
            .find(|b| matches!(b.as_ref(), Block::Text { .. }));
        if let Some(Block::Text { text, .. }) = first.map(Cow::to_mut) {
            text.insert_str(0, &format!("{name}: "));
        }
    }
    let role = match turn.role {
        Role::System if !is_own => {
            for block in &mut blocks {
                if let Block::Text { text, .. } = block.to_mut() {
                    *text = format!("<system>\n{text}\n</system>");
                }
            }
            Role::User
        }
        role => role,
    };
    if blocks.is_empty() {
        if role != Role::User || turn.role == Role::System {
            return None;
        }
        blocks.push(Cow::Owned(Block::text(NOTHING)));
    }
    Some(Said { role, blocks })
}

/// Whether the provider may and can be told of it.
fn is_kept(block: &Block, is_own: bool) -> bool {
    match block {
        Block::Text { text, .. } | Block::Refusal(text) => {
            !text.is_empty() && (is_own || !text.trim().is_empty())
        }
        Block::Thinking { opaque, .. } => match opaque {
            Some(opaque) => opaque.dialect == Dialect::Bedrock,
            None => is_own,
        },
        Block::Foreign { dialect, .. } => *dialect == Dialect::Bedrock,
        Block::Call(_) | Block::Result(_) | Block::Media(_) => true,
    }
}

fn name_of<'a>(request: &'a Request, id: &str) -> Option<&'a str> {
    let mut blocks = request.turns.iter().flat_map(|turn| &turn.blocks);
    blocks.find_map(|block| match block {
        Block::Call(call) if call.id == id => Some(call.name.as_str()),
        _ => None,
    })
}

fn call_text(call: &Call) -> String {
    let arguments = match call.arguments.trim() {
        "" => "{}",
        arguments => arguments,
    };
    format!("[Called the tool {} with {arguments}]", call.name)
}

/// A result as text, and what it holds that is none.
fn result_blocks<'a>(result: &'a ToolResult, name: Option<&str>) -> Vec<Cow<'a, Block>> {
    let mut text = String::from("[The tool");
    if let Some(name) = name {
        // Writing to a string does not fail.
        _ = write!(text, " {name}");
    }
    text.push_str(if result.is_error {
        " failed: "
    } else {
        " gave: "
    });
    let mut rest = Vec::new();
    for block in &result.content {
        match block {
            Block::Text { text: part, .. } | Block::Refusal(part) => text.push_str(part),
            Block::Media(_) => rest.push(Cow::Borrowed(block)),
            _ => {}
        }
    }
    text.push(']');
    let said = Block::Text {
        text,
        citations: None,
        cache: result.cache.clone(),
    };
    std::iter::once(Cow::Owned(said)).chain(rest).collect()
}

/// I2.
fn paired(turns: Vec<Said<'_>>) -> Vec<Said<'_>> {
    let mut out = Vec::with_capacity(turns.len());
    let mut turns = turns.into_iter().peekable();
    let mut nth = 0;
    while let Some(mut turn) = turns.next() {
        if turn.role != Role::Assistant {
            turn.blocks = without_orphans(turn.blocks);
            out.push(turn);
            continue;
        }
        let calls = name_calls(&mut turn, &mut nth);
        out.push(turn);
        if calls.is_empty() {
            continue;
        }
        let next = turns.next_if(|next| next.role == Role::User);
        let blocks = next.map(|next| next.blocks).unwrap_or_default();
        out.push(user(answered(&calls, blocks)));
    }
    out
}

/// The name of a call as it came, and as it is now: nameless ones get one.
type Named = (String, String);

fn name_calls(turn: &mut Said<'_>, nth: &mut usize) -> Vec<Named> {
    let mut calls = Vec::new();
    for block in &mut turn.blocks {
        let Block::Call(call) = block.as_ref() else {
            continue;
        };
        let came = call.id.clone();
        let mut now = came.clone();
        if came.is_empty() {
            *nth += 1;
            now = format!("call_{nth}");
            if let Block::Call(call) = block.to_mut() {
                call.id.clone_from(&now);
            }
        }
        calls.push((came, now));
    }
    calls
}

/// The turn behind calls: their results first, in order, then what else was said.
fn answered<'a>(calls: &[Named], blocks: Vec<Cow<'a, Block>>) -> Vec<Cow<'a, Block>> {
    let is_result = |block: &Cow<'_, Block>| matches!(block.as_ref(), Block::Result(_));
    let (mut results, rest): (Vec<_>, Vec<_>) = blocks.into_iter().partition(is_result);
    let mut out = Vec::with_capacity(calls.len() + rest.len());
    for (came, now) in calls {
        let at = results.iter().position(|block| id_of(block) == Some(came));
        let mut result = match at {
            Some(at) => results.remove(at),
            None => Cow::Owned(Block::Result(unanswered(now))),
        };
        if id_of(&result) != Some(now)
            && let Block::Result(result) = result.to_mut()
        {
            result.id.clone_from(now);
        }
        out.push(result);
    }
    out.extend(without_orphans(results));
    out.extend(rest);
    out
}

fn id_of(block: &Block) -> Option<&str> {
    match block {
        Block::Result(result) => Some(&result.id),
        _ => None,
    }
}

fn unanswered(id: &str) -> ToolResult {
    ToolResult {
        id: id.to_owned(),
        name: None,
        content: vec![Block::text("The tool gave no result.")],
        is_error: true,
        cache: None,
    }
}

/// Results that no call asked for become text.
fn without_orphans(blocks: Vec<Cow<'_, Block>>) -> Vec<Cow<'_, Block>> {
    let mut out = Vec::with_capacity(blocks.len());
    for block in blocks {
        match block {
            Cow::Borrowed(Block::Result(result)) => {
                out.extend(result_blocks(result, result.name.as_deref()));
            }
            other => out.push(other),
        }
    }
    out
}

/// The beginning of an answer must not end with a space.
fn trim_prefill(turns: &mut [Said<'_>]) {
    let Some(last) = turns.last_mut().filter(|last| last.role == Role::Assistant) else {
        return;
    };
    if let Some(block) = last.blocks.last_mut()
        && let Block::Text { text, .. } = block.as_ref()
        && text.trim_end().len() < text.len()
        && let Block::Text { text, .. } = block.to_mut()
    {
        text.truncate(text.trim_end().len());
    }
}
