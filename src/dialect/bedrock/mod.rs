//! Amazon Bedrock Converse: to and from the model of [`super::model`].
//!
//! ```text
//!   read, write   requests        block         the parts of turns and answers, both ways
//!   answer        answers         stream        events, in frames of wire/eventstream
//!   error         errors          look          facts of what passes
//!   embed         embeddings, by `invoke`; invoked: token counts in its answer's head
//!   history       calls and results side by side, as the provider demands
//! ```
//!
//! The model's name and whether the answer is streamed stand in the path, not in the body.
//!
//! Source: Amazon Bedrock Runtime API, `Converse` and `ConverseStream` (API model
//! `bedrock-runtime` 2023-09-30, as botocore has it).

pub mod answer;
mod block;
pub mod embed;
pub mod error;
mod history;
pub mod invoked;
pub mod look;
mod media;
mod read;
pub mod request;
pub mod stream;
mod tools;
mod usage;
mod write;

#[cfg(test)]
mod tests;
