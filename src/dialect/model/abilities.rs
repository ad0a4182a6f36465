//! What a model can do, as far as writers must know, and what it costs.

use super::Effort;

/// What a model can do. Everything is as the safe default says unless the table of models or
/// the configuration knows better. Source: mapping.md, 0.3.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts out of a table, each of which writers ask for by name"
)]
#[derive(Clone, Debug, PartialEq)]
pub struct Abilities {
    /// Most tokens of prompt and answer together; `None` unknown.
    pub context: Option<u64>,
    /// Most tokens of an answer; `None` unknown.
    pub output: Option<u64>,
    /// It sees images.
    pub images: bool,
    /// It reads PDF and the like.
    pub documents: bool,
    /// It hears.
    pub audio: bool,
    /// It calls tools.
    pub tools: bool,
    /// It can be made to call a tool.
    pub forced_tool: bool,
    /// Its answers follow a JSON schema by themselves.
    pub schema: bool,
    /// It takes temperature, `top_p` and `top_k`.
    pub sampling: bool,
    /// It goes on from the beginning of an answer.
    pub prefill: bool,
    /// It goes on from a text: `OpenAI`'s `/v1/completions`.
    pub completions: bool,
    /// It takes `n` above 1.
    pub several: bool,
    /// It tells the probabilities of tokens.
    pub logprobs: bool,
    /// How it is told to think.
    pub thinking: Thinking,
    /// Which efforts of thinking it knows.
    pub efforts: Efforts,
    /// Chat: it wants `max_completion_tokens`, not `max_tokens`, and a `developer` message.
    pub is_reasoner: bool,
    /// Claude: it takes system messages in the middle of a conversation.
    pub late_system: bool,
    /// What it costs.
    pub price: Price,
}

/// What tokens of a model cost, in US dollars for a million; `None` unknown. List prices for
/// short prompts and the standard tier.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Price {
    /// Of the prompt.
    pub input: Option<f64>,
    /// Of the answer.
    pub output: Option<f64>,
    /// Of the prompt, read from the provider's cache.
    pub cache_read: Option<f64>,
    /// Of the prompt, written to the cache.
    pub cache_write: Option<f64>,
    /// Of thinking; `None`: as the rest of the answer.
    pub thinking: Option<f64>,
}

/// Which efforts of thinking a model knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Efforts(u8);

impl Efforts {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// All of them, also when nobody knows.
    pub const ALL: Self = Self(0b111_1111);

    /// These and `effort`.
    #[must_use]
    pub const fn with(self, effort: Effort) -> Self {
        Self(self.0 | (1 << effort as u8))
    }

    /// Whether `effort` is among them.
    pub const fn has(self, effort: Effort) -> bool {
        self.0 & (1 << effort as u8) != 0
    }

    /// The nearest that there is: `effort` itself, else the next one below that makes the model
    /// think at all, else the next above. [`Effort::None`] becomes the least there is.
    pub fn nearest(self, effort: Effort) -> Option<Effort> {
        use Effort::{High, Low, Max, Medium, Minimal, None, XHigh};
        let upward = [Minimal, Low, Medium, High, XHigh, Max];
        let known = |other: &Effort| self.has(*other);
        if self.has(effort) {
            return Some(effort);
        }
        let below = upward.into_iter().rev().filter(|other| *other < effort);
        let above = upward.into_iter().filter(|other| *other > effort);
        below
            .chain(above)
            .find(known)
            .or(self.has(None).then_some(None))
    }
}

impl Default for Efforts {
    fn default() -> Self {
        Self::ALL
    }
}

/// How a model is told to think. Source: mapping.md, 6.1 and 6.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thinking {
    /// It does not, or nobody knows.
    Never,
    /// By effort (`OpenAI`), a level (Gemini 3), or what the engine makes of it.
    Effort,
    /// By a budget of tokens (Claude up to 4.5, Gemini 2.5).
    Budget,
    /// Claude from 4.6: adaptive, with effort.
    Adaptive {
        /// It can be switched off.
        can_rest: bool,
    },
}

impl Default for Abilities {
    /// What is safe to assume of a model that nobody knows: that the client knows what it asks
    /// for.
    fn default() -> Self {
        Self {
            context: None,
            output: None,
            images: true,
            documents: true,
            audio: true,
            tools: true,
            forced_tool: true,
            schema: true,
            sampling: true,
            prefill: true,
            completions: true,
            several: true,
            logprobs: true,
            thinking: Thinking::Effort,
            efforts: Efforts::ALL,
            is_reasoner: false,
            late_system: false,
            price: Price::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an effort that a model does not know becomes the nearest that it does.
    #[test]
    fn an_effort_becomes_the_nearest_that_there_is() {
        use Effort::{High, Low, Max, Medium, Minimal, None, XHigh};
        let some = Efforts::NONE.with(None).with(Low).with(High);
        for (asked, want) in [
            (None, None),
            (Minimal, Low),
            (Low, Low),
            (Medium, Low),
            (High, High),
            (XHigh, High),
            (Max, High),
        ] {
            assert_eq!(some.nearest(asked), Some(want), "{asked:?}");
        }
        assert_eq!(
            Efforts::NONE.with(Low).nearest(None),
            Some(Low),
            "it cannot rest"
        );
        assert_eq!(Efforts::NONE.nearest(High), Option::None);
        assert_eq!(Efforts::ALL.nearest(Max), Some(Max));
    }
}
