//! `OpenAI`'s Chat Completions, Completions, Embeddings and models, where the bytes pass.
//!
//! ```text
//!   chunk    one event       → facts: content? finished? error? usage
//!   answer   a plain body    → facts: object? error? usage
//!   usage    "usage":{…}     → token counts
//!   error    Kind            → error body, error event
//!   template one event       → whether the next one says the same, but for its text
//!   models   names           → /v1/models
//! ```

pub mod answer;
pub mod chunk;
pub mod error;
pub mod models;
pub mod template;
pub(super) mod usage;

pub use usage::{TOKENS_MAX, Usage};
