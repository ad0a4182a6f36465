//! Tells a whole answer as a stream of the client's dialect, event by event.
//!
//! ```text
//!   plain body ─► Answer, or Responses for Responses: Recite, which loses nothing
//!   Answer ─► Unfold ─► Step ─► Writer ─► tx      one call: the next events, or none any more
//! ```
//!
//! Who calls decides on the pace. What has been told of the answer is let go.
//!
//! Invariants
//! - I1 The events are those that the writer of the dialect makes of any stream, ended as it
//!   ends them, with usage where the client gets it.
//! - I2 What no event of the dialect can tell, though its plain answers can, gives no stream:
//!   [`Retell::new`] refuses.
//!
//! Of a plain body of the same dialect this is lost: members of the body that are no part of the
//! answer (`system_fingerprint`, `service_tier`, `created`, safety ratings, latencies), the
//! provider's own names of models (the client's own is told) and of answers where they have
//! another dialect's form, and in which field a Chat engine had put its thinking.

use super::fold::Unfoldable;
use super::model::{Answer, Block, Dialect, Names, Step};
use super::responses::recite::Recite;
use super::route::Route;
use super::speak::Writer;
use super::unfold::Unfold;
use super::whole;
use crate::base::bytes::TxBuf;
use serde_json::Value;

/// The most bytes of one answer, in a dialect whose events repeat what they said, or hold it:
/// with what is around it and escaped it stays below the limits of the writers.
pub const TOLD_MAX: usize = 2 << 20;

/// An answer on its way.
#[derive(Debug)]
pub struct Retell(Way);

#[derive(Debug)]
enum Way {
    /// By the steps of the answer.
    Steps(Box<Steps>),
    /// In the provider's own words.
    Own(Box<Recite>),
}

#[derive(Debug)]
struct Steps {
    answer: Answer,
    at: Unfold,
    writer: Writer,
}

impl Retell {
    /// Of the plain `body` of a provider that speaks `dialect`, for a client that came by
    /// `route`.
    ///
    /// # Errors
    /// It is no answer, or something of it has no event in the client's dialect.
    pub fn of_body(route: Route, dialect: Dialect, body: &[u8]) -> Result<Self, Unfoldable> {
        if (dialect, route.dialect()) == (Dialect::Responses, Dialect::Responses) {
            return Recite::new(body).map(|recite| Self(Way::Own(Box::new(recite))));
        }
        Self::new(route, whole::of_plain(dialect, body)?)
    }

    /// Of an answer, for a client that came by `route`.
    ///
    /// # Errors
    /// Something of it has no event in the client's dialect.
    pub fn new(route: Route, answer: Answer) -> Result<Self, Unfoldable> {
        fits(route, &answer)?;
        Ok(Self(Way::Steps(Box::new(Steps {
            answer,
            at: Unfold::new(route.dialect()),
            writer: Writer::new(route),
        }))))
    }

    /// Appends the next events to `tx`, whole; how many bytes of text, thinking or arguments
    /// they tell. `None`: the stream has ended, nothing was appended.
    pub fn next(&mut self, names: &Names<'_>, tx: &mut TxBuf) -> Option<usize> {
        match &mut self.0 {
            Way::Steps(steps) => steps.next(names, tx),
            Way::Own(recite) => recite.next(tx),
        }
    }
}

impl Steps {
    fn next(&mut self, names: &Names<'_>, tx: &mut TxBuf) -> Option<usize> {
        let Self { answer, at, writer } = self;
        let (before, block) = (tx.len(), at.block());
        let mut told = 0;
        // Some steps make no event by themselves.
        while tx.len() == before {
            let is_there = at.step(answer, &mut |step| {
                if let Step::Text(text) = step {
                    told += text.len();
                }
                writer.write(step, names, tx);
            });
            if !is_there {
                return None;
            }
        }
        let passed = answer.blocks.iter_mut().take(at.block()).skip(block);
        passed.for_each(|block| *block = Block::Refusal(String::new()));
        Some(told)
    }
}

/// Whether all of `answer` can be told in a stream to a client that came by `route`.
fn fits(route: Route, answer: &Answer) -> Result<(), Unfoldable> {
    let front = route.dialect();
    if answer.logprobs.as_ref().is_some_and(says_something) {
        return Err(Unfoldable::Probabilities);
    }
    let mut long = 0;
    for block in &answer.blocks {
        match block {
            Block::Media(_) => return Err(Unfoldable::Media),
            Block::Foreign { dialect, value } if *dialect == front && says_something(value) => {
                return Err(Unfoldable::Own);
            }
            Block::Result(_) => return Err(Unfoldable::Own),
            // A text that is no call is told as it comes where nothing is repeated.
            Block::Call(call) => long += call.arguments.len(),
            Block::Text { text, .. } | Block::Thinking { text, .. } | Block::Refusal(text)
                if front == Dialect::Responses =>
            {
                long += text.len();
            }
            _ => {}
        }
    }
    if long > TOLD_MAX {
        return Err(Unfoldable::TooLong { limit: TOLD_MAX });
    }
    Ok(())
}

/// Whether there is anything in `value` but nothing, no and zero.
pub(in crate::dialect) fn says_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Bool(true) => true,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => list.iter().any(says_something),
        Value::Object(members) => members.values().any(says_something),
    }
}
