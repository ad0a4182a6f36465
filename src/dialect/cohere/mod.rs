//! Cohere v2 Chat: to and from the model of [`super::model`].
//!
//! ```text
//!   request  POST /v2/chat         ⇄ Request
//!   answer   a whole answer        ⇄ Answer
//!   stream   its events            ⇄ Step …
//!   embed    POST /v2/embed        ⇄ Embed, Vectors
//!   error    any body              → Refused;  Told → body, last event
//!   look     bytes that pass       → facts: content? finished? error? usage
//! ```
//!
//! What is particular here
//! - The plan that a model makes before it calls tools (`tool_plan`) is text before the calls:
//!   other dialects have no other place from which it would come back in the next request.
//! - Token counts come twice; `tokens` is what the model took (`billed_units` leaves out what
//!   Cohere puts into the prompt itself), and `cached_tokens` is part of it.
//!
//! Source: Cohere API reference, `POST /v2/chat`; the types of `cohere` 7.3.1 (`PyPI`);
//! recordings.

pub mod answer;
pub mod embed;
pub mod error;
mod event;
pub mod look;
mod read;
pub mod request;
pub mod stream;
mod usage;
mod write;
