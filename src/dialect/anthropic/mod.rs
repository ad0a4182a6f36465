//! Anthropic Messages: to and from the model of [`super::model`].
//!
//! ```text
//!   request  /v1/messages               → Request     Request → body for a provider
//!   count    /v1/messages/count_tokens  → Request     tokens  → its answer
//!   answer   a plain answer             ⇄ Answer
//!   stream   its events                 ⇄ steps
//!   error    what a provider refuses    → Refused     Told    → body, event
//!   look     what passes as it is       → facts, nothing is copied
//!   cloud    what passes to a cloud     → the same in the cloud's form
//! ```
//!
//! Thinking that another provider signed travels through clients of this dialect in the
//! signature of a thinking block (`seal`), since that is the one field that they always
//! send back.
//!
//! Source: `anthropic` 2.12.0 (type definitions and stream accumulator), mapping.md,
//! protocols.md 6 and 7.

pub mod answer;
pub mod cloud;
pub mod count;
pub mod error;
pub mod look;
pub mod request;
mod seal;
pub mod stream;
mod usage;
