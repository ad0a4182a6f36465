//! The one model between all dialects: what a request asks, what an answer says, and the steps
//! of an answer that is being made.
//!
//! ```text
//!   client's dialect                                             provider's dialect
//!   request ──reader──► Request ──writer(Abilities, Notes)──────► request
//!   answer  ◄─writer──  Answer  ◄────────────────────────reader── answer
//!   events  ◄─writer──  Step …  ◄────────────────────────reader── events
//!   error   ◄─writer──  Refused ◄────────────────────────reader── error
//! ```
//!
//! Embeddings have a smaller one of their own: [`embed`].
//!
//! It is richer than any dialect: blocks in the order in which they were made, each with what
//! its provider wants to see again. One reader and one writer for each dialect, no machine for
//! a pair. Where both sides speak the same dialect none of this runs: the bytes pass.
//!
//! Invariants
//! - I1 What a target cannot be told and what changes the meaning of the answer is
//!   [`Unfit`]; what only tunes it is left out and named in [`Notes`]. Nothing disappears in
//!   silence.
//! - I2 Translation is a function of its input: the same request gives the same bytes, so
//!   that prompt caches of providers go on working.
//! - I3 A [`Step`] stream is balanced: blocks do not overlap, every `Open` has its `Close`,
//!   `Stop` comes once and after the last block, nothing follows `End`.

mod abilities;
mod answer;
pub mod embed;
mod request;
mod step;
mod told;
mod unfit;

pub use abilities::{Abilities, Efforts, Price, Thinking};
pub use answer::{Answer, Refused, Stop, Tokens, Trouble};
pub use request::{
    Block, CacheMark, Call, Choice, Effort, Extra, Format, Media, MediaKind, Opaque, Reasoning,
    Request, Role, Sampling, Source, Tool, ToolKind, ToolResult, Turn, Weight,
};
pub use step::{Open, Step, Text};
pub use told::{About, Names, Told};
pub use unfit::{BadAsk, Notes, Unfit};

/// A language of providers and of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// `OpenAI` Chat Completions.
    Chat,
    /// `OpenAI` Responses.
    Responses,
    /// Anthropic Messages.
    Anthropic,
    /// Gemini `generateContent`.
    Gemini,
    /// Cohere v2 Chat.
    Cohere,
    /// Amazon Bedrock Converse.
    Bedrock,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Chat,
        Self::Responses,
        Self::Anthropic,
        Self::Gemini,
        Self::Cohere,
        Self::Bedrock,
    ];

    /// Its name in configurations, metrics and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "openai",
            Self::Responses => "responses",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
            Self::Cohere => "cohere",
            Self::Bedrock => "bedrock",
        }
    }
}
