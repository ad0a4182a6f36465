//! A request in the form in which another model goes on with an answer.
//!
//! ```text
//!   user: "Tell me …"     ─ prefill ─────►  user, assistant: "Once upon"
//!   said: "Once upon "    ─ instruction ─►  user, assistant: "Once upon", user: "… go on …"
//! ```
//!
//! Source: mapping.md, 2 ("ends with assistant (prefill)"); Anthropic refuses a prefill that ends
//! in white space, and thinking with one; vLLM and llama.cpp go on from one with
//! `continue_final_message`.

use super::model::{
    Abilities, Block, Dialect, Effort, Extra, Format, Reasoning, Request, Role, ToolKind, Turn,
    Weight,
};
use super::route::Route;
use super::seam::Way;
use super::tokens;

/// Characters at the end of what was said that the model is asked to repeat, about.
const ANCHOR_CHARS: usize = 48;

/// What makes servers of Chat go on from a last message of the assistant's, at the end of a body.
const CHAT_PREFILL: &[u8] = b",\"continue_final_message\":true,\"add_generation_prompt\":false}";

/// Tokens that a model may still make at the least.
const TOKENS_MIN: u64 = 16;

/// Whether an answer to `request`, which came by `route`, may be gone on with: text, of one
/// choice, that no other dialect would answer in another way.
pub fn may_go_on(route: Route, request: &Request) -> bool {
    let changes_meaning = |extra: &Extra| extra.weight == Weight::Meaning;
    let is_foreign = |kind: &ToolKind| matches!(kind, ToolKind::Foreign { .. });
    route != Route::Completions
        && request.format == Format::Text
        && request.sampling.n.is_none_or(|n| n == 1)
        && request.sampling.logprobs.is_none()
        && !request.extras.iter().any(changes_meaning)
        && !request.tools.iter().any(|tool| is_foreign(&tool.kind))
}

/// How a model of `can` goes on at a provider that speaks `dialect`; `is_told`: what the
/// configuration itself says of prefills.
pub fn way(dialect: Dialect, can: &Abilities, is_told: Option<bool>) -> Way {
    let goes_on = match dialect {
        Dialect::Anthropic | Dialect::Gemini | Dialect::Bedrock => can.prefill,
        // Most servers take the beginning of an answer and then begin another one.
        Dialect::Chat => is_told == Some(true),
        Dialect::Responses | Dialect::Cohere => false,
    };
    if goes_on {
        Way::Prefill
    } else {
        Way::Instruction
    }
}

/// What a request was before it was made to go on.
#[derive(Debug)]
pub struct Before {
    turns: usize,
    last: Option<Turn>,
    max_tokens: Option<u64>,
    reasoning: Option<Reasoning>,
}

/// Makes `request` one for an answer that goes on behind `said`.
pub fn go_on(request: &mut Request, said: &str, way: Way) -> Before {
    let turns = &mut request.turns;
    let mut before = Before {
        turns: turns.len(),
        last: None,
        max_tokens: request.max_tokens,
        reasoning: request.reasoning.clone(),
    };
    let solid = said.trim_end();
    if solid.is_empty() {
        return before; // it may as well begin
    }
    match turns.last_mut() {
        // The client has begun the answer itself.
        Some(last) if last.role == Role::Assistant => {
            before.last = Some(last.clone());
            match last.blocks.last_mut() {
                Some(Block::Text { text, .. }) => text.push_str(solid),
                _ => last.blocks.push(Block::text(solid)),
            }
        }
        _ => turns.push(turn(Role::Assistant, solid.to_owned())),
    }
    match way {
        Way::Prefill => {
            if request.reasoning.is_some() {
                request.reasoning = Some(Reasoning {
                    effort: Some(Effort::None),
                    ..Reasoning::default()
                });
            }
        }
        Way::Instruction => turns.push(turn(Role::User, instruction(solid))),
    }
    // Who thinks again needs the room.
    if before.reasoning.is_none() || way == Way::Prefill {
        let made = tokens::of_bytes(said.len() as u64);
        let left = |max: u64| max.saturating_sub(made).max(TOKENS_MIN.min(max));
        request.max_tokens = request.max_tokens.map(left);
    }
    before
}

/// Makes `request` what it was.
pub fn take_back(request: &mut Request, before: Before) {
    request.turns.truncate(before.turns);
    if let (Some(last), Some(place)) = (before.last, request.turns.last_mut()) {
        *place = last;
    }
    request.max_tokens = before.max_tokens;
    request.reasoning = before.reasoning;
}

/// Makes a written `body` say what its dialect needs besides to go on in this `way`.
pub fn finish(dialect: Dialect, way: Way, body: &mut Vec<u8>) {
    if dialect == Dialect::Chat && way == Way::Prefill && body.pop_if(|end| *end == b'}').is_some()
    {
        body.extend_from_slice(CHAT_PREFILL);
    }
}

fn turn(role: Role, text: String) -> Turn {
    Turn {
        role,
        name: None,
        blocks: vec![Block::text(text)],
    }
}

/// What a model is told that does not go on from the beginning of an answer.
fn instruction(solid: &str) -> String {
    let anchor = anchor(solid);
    format!(
        "Your answer above was cut off by a failure of the connection. Go on with it exactly \
         where it stops, in the same language, form and tone, as if nothing had happened: no \
         introduction, no apology, nothing that was said already. Begin by repeating, letter by \
         letter, the last words of it, which follow behind this line, and go on from there.\n\
         {anchor}"
    )
}

/// The last words of a text.
fn anchor(solid: &str) -> &str {
    let starts = solid.char_indices().rev().map(|(at, _)| at);
    let at = starts.take(ANCHOR_CHARS).last().unwrap_or(0);
    let end = solid.get(at..).unwrap_or_default();
    if at == 0 {
        return end;
    }
    // From the beginning of a word on, where there is one.
    end.split_once(char::is_whitespace)
        .map_or(end, |(_, words)| words.trim_start())
}

#[cfg(test)]
#[path = "onward_tests.rs"]
mod tests;
