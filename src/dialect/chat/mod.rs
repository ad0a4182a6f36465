//! `OpenAI` Chat Completions: to and from the model of [`super::model`].
//!
//! ```text
//!   request      what is asked; written for the model's abilities
//!   answer       a whole answer
//!   stream       an answer that is being made, event by event
//!   error        what went wrong, in anybody's words
//!   completions  the older `/v1/completions`, as a front of the same model
//!   embed        embeddings
//!   kept         what other dialects' providers want to see again
//!   stop, usage  finish reasons and token counts of all the engines that speak Chat
//! ```
//!
//! Many engines say that they speak Chat, and each does it in its own way; what is known of
//! them is read here, whoever sends it, and what is written is what `OpenAI` itself says.

pub mod answer;
pub mod completions;
pub mod embed;
pub mod error;
mod kept;
pub mod request;
mod stop;
pub mod stream;
mod usage;

/// What the names of answers begin with.
const ID_PREFIX: &str = "chatcmpl-";
