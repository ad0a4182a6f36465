//! What a model answered, or why it did not.

use super::{Block, Dialect};
use serde_json::Value;
use std::time::Duration;

/// A whole answer, out of any dialect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The provider's name for it; empty when the dialect has none.
    pub id: String,
    /// The model that answered, as the provider calls it; empty when it does not say.
    pub model: String,
    /// What it said, in order.
    pub blocks: Vec<Block>,
    /// Why it ended.
    pub stop: Stop,
    /// The text at which it stopped ([`Stop::Sequence`]), where the dialect tells.
    pub sequence: Option<String>,
    /// What it took; `None` when the provider does not say.
    pub usage: Option<Tokens>,
    /// The probabilities of its tokens, as Chat says them.
    pub logprobs: Option<Value>,
    /// The provider's own words that have no place in the model, for its own dialect only.
    pub origin: Option<Dialect>,
}

/// Why an answer ended. Source: mapping.md, 8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stop {
    /// The model was done; also what a provider says that nobody knows.
    #[default]
    End,
    /// At one of the client's stop sequences.
    Sequence,
    /// A tool is to be run by the client.
    Tool,
    /// At the limit on the answer.
    Length,
    /// The context was full.
    Context,
    /// A filter cut it, or the model declined.
    Filtered,
    /// The provider pauses a long turn; send it back to go on.
    Pause,
    /// The model made a call that cannot be read.
    Malformed,
}

/// Tokens of one exchange; the parts do not overlap. Source: mapping.md, 7.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt: neither read from a cache nor written to it.
    pub fresh: u64,
    /// Of the prompt: read from the provider's cache.
    pub read: u64,
    /// Of the prompt: written to the cache for some minutes, or for a time that is not told.
    pub write: u64,
    /// Of the prompt: written to the cache for an hour.
    pub write_1h: u64,
    /// Of the answer: all but thinking.
    pub output: u64,
    /// Of the answer: thinking, where the provider tells it apart.
    pub thinking: u64,
}

impl Tokens {
    /// All of the prompt.
    pub const fn prompt(&self) -> u64 {
        self.fresh
            .saturating_add(self.read)
            .saturating_add(self.write)
            .saturating_add(self.write_1h)
    }

    /// All of the answer.
    pub const fn answer(&self) -> u64 {
        self.output.saturating_add(self.thinking)
    }
}

/// Why there is no answer, or no more of it. Source: mapping.md, 10.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What kind of trouble.
    pub trouble: Trouble,
    /// The provider's own words; never shown for [`Trouble::Auth`].
    pub message: String,
    /// The field that the provider complains about.
    pub param: Option<String>,
    /// When to come back.
    pub retry_after: Option<Duration>,
}

/// Kinds of trouble with a provider, whatever status they came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The gateway's own credentials were refused.
    Auth,
    /// They do not reach this far.
    Permission,
    /// No such model, deployment or route.
    NotFound,
    /// The request is at fault.
    Invalid,
    /// The prompt does not fit the model's context.
    ContextLength,
    /// A content policy forbids it.
    ContentPolicy,
    /// The request is too large.
    TooLarge,
    /// Too many requests or tokens for now.
    RateLimit,
    /// Nothing is left of a quota or a balance.
    Quota,
    /// The provider has too much to do.
    Overloaded,
    /// The provider failed.
    Server,
    /// The provider took too long.
    Timeout,
}
