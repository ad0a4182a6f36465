//! `OpenAI` Responses: to and from the model of [`super::model`].
//!
//! ```text
//!   request   a body ⇄ Request: input items become turns, what only Responses knows, extras
//!   answer    a plain answer ⇄ Answer
//!   stream    events ⇄ steps; the writer numbers them and repeats everything at the end
//!   error     any error body → Refused; Told → a body, or the events that end a stream
//!   look      what a body or an event says that passes as it is
//!   pack      other providers' state, inside a reasoning item's `encrypted_content`
//!   tokens    "usage":{…} ⇄ Tokens
//!   shape     the response object around items
//! ```
//!
//! Source: OpenAI API reference, "Responses" and "Streaming events"; `openai-python`,
//! `types/responses`; protocols.md, 4.

pub mod answer;
pub mod error;
pub mod look;
mod pack;
pub mod recite;
pub mod request;
mod shape;
pub mod stream;
mod tokens;
