//! The OpenAI dialect: Chat Completions, Completions, Embeddings, models.
//!
//! ```text
//!   ask      request body    → Ask (spans), and the upstream body as pieces of it
//!   chunk    one event       → facts: content? finished? error? usage
//!   answer   a plain body    → facts: object? error? usage
//!   usage    "usage":{…}     → token counts
//!   error    Kind            → error body, error event
//!   template one event       → whether the next one says the same, but for its text
//!   models   names           → /v1/models
//! ```

pub mod answer;
pub mod ask;
pub mod chunk;
pub mod error;
pub mod models;
mod pieces;
pub mod template;
mod usage;

pub use pieces::{PIECES_MAX, Pieces};
pub use usage::{TOKENS_MAX, Usage};
