//! How one request is answered: a plain value, [`Behaviour`].
//!
//! [`super::keys`] fills it from config, model name, `user` field and header fields.

use std::time::Duration;

/// What happens to a request instead of, or within, a normal answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Answered in full.
    Answer,
    /// An error of this status in the dialect's shape.
    Status(u16),
    /// An HTML page of this status.
    Html(u16),
    /// Bytes that are no HTTP head.
    BadHead,
    /// Silence: before the head, or after that many content events.
    Stall(Option<u32>),
    /// FIN with the framing left open.
    Cut(Option<u32>),
    /// RST.
    Reset(Option<u32>),
    /// An error event, then a clean end without `[DONE]`.
    ErrorEvent(u32),
    /// Broken JSON in between; the rest follows.
    Malformed(u32),
    /// A broken chunk size, then FIN.
    BadChunk(u32),
}

impl Fate {
    /// After how many content events it strikes in mid-stream.
    pub const fn strikes_after(self) -> Option<u32> {
        match self {
            Self::Stall(after) | Self::Cut(after) | Self::Reset(after) => after,
            Self::ErrorEvent(after) | Self::Malformed(after) | Self::BadChunk(after) => Some(after),
            _ => None,
        }
    }
}

/// How the connection ends after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// It stays open.
    Never,
    /// With `Connection: close`.
    Announced,
    /// Without a word.
    Silent,
}

/// Why a model stopped, as it is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// Done.
    Stop,
    /// Token limit.
    Length,
    /// Filtered.
    ContentFilter,
    /// Wants a tool.
    ToolCalls,
}

impl Finish {
    /// As written in an answer.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::ToolCalls => "tool_calls",
        }
    }

    /// The reason of that name.
    pub fn named(name: &str) -> Option<Self> {
        [
            Self::Stop,
            Self::Length,
            Self::ContentFilter,
            Self::ToolCalls,
        ]
        .into_iter()
        .find(|f| f.name() == name)
    }
}

/// Usage numbers that are given instead of counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of the prompt.
    pub prompt: Option<u32>,
    /// Of the answer.
    pub completion: Option<u32>,
    /// Of the prompt, from a cache.
    pub cached: u32,
    /// Of the prompt, written to a cache.
    pub written: u32,
    /// Of the answer, hidden.
    pub reasoning: u32,
}

/// How one request is answered.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a key of its own, as in the table of keys"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// Before the head.
    pub delay: Duration,
    /// From request read to first content.
    pub ttft: Duration,
    /// Between content events; zero = back to back.
    pub gap: Duration,
    /// Content events of a stream, words of a plain answer.
    pub events: u32,
    /// Size of a plain body; 0 = natural.
    pub bytes: u32,
    /// Thoughts before the text.
    pub thinking: u32,
    /// Calls of the tools that are offered.
    pub tools: u32,
    /// The model declines.
    pub refusal: bool,
    /// A text that is always the same, by this seed, with which it goes on where it was cut off.
    pub recite: Option<u32>,
    /// Words that it repeats then.
    pub overlap: u32,
    /// It begins again then.
    pub again: bool,
    /// The fault happens then, too.
    pub relapse: bool,
    /// It refuses to go on from the beginning of an answer.
    pub no_prefill: bool,
    /// Numbers of an embedding.
    pub dims: u32,
    /// They say what the text says.
    pub by_text: bool,
    /// Between single bytes; zero = not dripped.
    pub drip: Duration,
    /// The fault, if any.
    pub fate: Fate,
    /// In how many of a million requests the fault happens; `None` = in all.
    pub fail_ppm: Option<u32>,
    /// Of error answers.
    pub retry_after: Option<Duration>,
    /// How the connection ends.
    pub close: Close,
    /// No `[DONE]`.
    pub no_done: bool,
    /// No opening chunk.
    pub no_role: bool,
    /// No usage.
    pub no_usage: bool,
    /// Why the model stopped.
    pub finish: Finish,
    /// Usage numbers.
    pub tokens: Tokens,
}

impl Behaviour {
    /// Whether more is asked for than words and their count.
    pub const fn is_rich(&self) -> bool {
        let says_more = self.thinking > 0 || self.tools > 0 || self.refusal;
        says_more || self.recite.is_some() || self.no_prefill || self.tokens.written > 0
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            ttft: Duration::ZERO,
            gap: Duration::ZERO,
            events: 16,
            bytes: 0,
            thinking: 0,
            tools: 0,
            refusal: false,
            recite: None,
            overlap: 0,
            again: false,
            relapse: false,
            no_prefill: false,
            dims: 1536,
            by_text: false,
            drip: Duration::ZERO,
            fate: Fate::Answer,
            fail_ppm: None,
            retry_after: None,
            close: Close::Never,
            no_done: false,
            no_role: false,
            no_usage: false,
            finish: Finish::Stop,
            tokens: Tokens::default(),
        }
    }
}
