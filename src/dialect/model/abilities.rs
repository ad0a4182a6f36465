//! What a model can do, as far as writers must know.

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
    /// It takes `n` above 1.
    pub several: bool,
    /// It tells the probabilities of tokens.
    pub logprobs: bool,
    /// How it is told to think.
    pub thinking: Thinking,
    /// Chat: it wants `max_completion_tokens`, not `max_tokens`, and a `developer` message.
    pub is_reasoner: bool,
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
            several: true,
            logprobs: true,
            thinking: Thinking::Effort,
            is_reasoner: false,
        }
    }
}
