//! What a request asks of a model.

use super::Dialect;
use serde_json::Value;

/// A request, out of any dialect.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The name of the model. The writer writes this one: the router has put the target's own
    /// name here. Dialects that have it in the path leave it out of the body.
    pub model: String,
    /// What stands before the conversation: system and developer text, one block for each part.
    pub system: Vec<Block>,
    /// The conversation.
    pub turns: Vec<Turn>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it must.
    pub choice: Option<Choice>,
    /// Whether it may call several at once; `None` leaves that to the provider.
    pub parallel: Option<bool>,
    /// The form of the answer's text.
    pub format: Format,
    /// How much it should think.
    pub reasoning: Option<Reasoning>,
    /// The limit on the answer, in tokens, thinking included.
    pub max_tokens: Option<u64>,
    /// How tokens are chosen, and when to stop.
    pub sampling: Sampling,
    /// Whether the answer is streamed.
    pub stream: bool,
    /// Whether the client itself asked for usage in a stream (Chat only; elsewhere it always
    /// comes).
    pub wants_usage: bool,
    /// An opaque name of the end user.
    pub user: Option<String>,
    /// The client's own notes about the request; an object of strings.
    pub metadata: Option<Value>,
    /// `auto`, `default`, `flex`, `priority`: as Chat says it.
    pub service_tier: Option<String>,
    /// What the provider's prompt cache may go by.
    pub cache_key: Option<String>,
    /// Fields that only the dialect of origin knows.
    pub extras: Vec<Extra>,
    /// The dialect that it came in.
    pub origin: Option<Dialect>,
}

/// A field that has no place in the model.
#[derive(Clone, Debug, PartialEq)]
pub struct Extra {
    /// Its name at the top level of the body of origin.
    pub field: String,
    /// Its value.
    pub value: Value,
    /// What leaving it out would do.
    pub weight: Weight,
}

/// What leaving a field out would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Change what is answered: another dialect is [`super::Unfit`] for it.
    Meaning,
    /// Tune it at most: dropped and noted.
    Tuning,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The person or program that asks; also where tool results stand.
    User,
    /// The model.
    Assistant,
    /// The operator, in the middle of the conversation.
    System,
}

/// One turn: everything that one side said before the other spoke again. Readers merge
/// neighbours of the same role only where their own dialect does.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// Who speaks.
    pub role: Role,
    /// A participant's name (Chat's `name`).
    pub name: Option<String>,
    /// What is said, in order.
    pub blocks: Vec<Block>,
}

/// A part of a turn or of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Text.
    Text {
        /// The text.
        text: String,
        /// Where it comes from, as its own dialect says it; `None` without.
        citations: Option<Value>,
        /// The prompt may be cached up to here.
        cache: Option<CacheMark>,
    },
    /// Thinking.
    Thinking {
        /// What is readable of it; may be empty.
        text: String,
        /// What its provider wants to see again.
        opaque: Option<Opaque>,
    },
    /// A call of a tool.
    Call(Call),
    /// What a tool gave.
    Result(ToolResult),
    /// An image, a document, sound, video.
    Media(Media),
    /// The model declines.
    Refusal(String),
    /// Something that only its own dialect understands: a tool that the provider runs, and what
    /// it gave. For other dialects it is left out of a history and of an answer.
    Foreign {
        /// Whose.
        dialect: Dialect,
        /// As it came.
        value: Value,
    },
}

impl Block {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text {
            text: text.into(),
            citations: None,
            cache: None,
        }
    }
}

/// State that belongs to a provider and that nobody else can read: a signature, encrypted
/// thinking. Given back to its own dialect only.
#[derive(Clone, Debug, PartialEq)]
pub struct Opaque {
    /// Whose.
    pub dialect: Dialect,
    /// As it came: a string (a signature), or an object with all that there is.
    pub value: Value,
}

/// The prompt may be cached up to the block that has this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMark {
    /// How long: `5m`, `1h`, as Anthropic says it; `None` leaves that to the provider.
    pub ttl: Option<String>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its name in this conversation, as the provider gave it.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments, as JSON text; may be broken, if the model broke it. For a custom tool,
    /// plain text.
    pub arguments: String,
    /// The tool takes plain text instead of JSON.
    pub is_custom: bool,
    /// What its provider wants to see again with it (Gemini's `thoughtSignature`).
    pub opaque: Option<Opaque>,
}

/// What a tool gave.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// The [`Call::id`] that it answers.
    pub id: String,
    /// The tool's name, where the dialect says it (Gemini).
    pub name: Option<String>,
    /// Text and media.
    pub content: Vec<Block>,
    /// The tool failed.
    pub is_error: bool,
    /// The prompt may be cached up to here.
    pub cache: Option<CacheMark>,
}

/// An image, a document, sound, video.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// What it is.
    pub kind: MediaKind,
    /// Where it is.
    pub source: Source,
    /// The name of the file.
    pub name: Option<String>,
    /// How closely to look (`OpenAI`'s `detail`).
    pub detail: Option<String>,
    /// The prompt may be cached up to here.
    pub cache: Option<CacheMark>,
}

/// Kinds of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaKind {
    /// A still image.
    Image,
    /// PDF, text, office formats.
    Document,
    /// Sound.
    Audio,
    /// Moving images.
    Video,
}

/// Where media is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the request.
    Inline {
        /// Its media type: `image/png`.
        media_type: String,
        /// Base64, as it came.
        data: String,
    },
    /// A plain text document, in the request.
    Text(String),
    /// At this address; the provider fetches it.
    Url(String),
    /// At the provider, under this name; means nothing to another one.
    File {
        /// Whose.
        dialect: Dialect,
        /// The name.
        id: String,
    },
}

/// What a model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// What kind of tool.
    pub kind: ToolKind,
    /// The prompt may be cached up to here.
    pub cache: Option<CacheMark>,
}

/// Kinds of tools.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolKind {
    /// The client runs it; arguments are JSON.
    Function {
        /// Its name.
        name: String,
        /// What it does.
        description: Option<String>,
        /// JSON schema of the arguments; `None`: it takes none.
        schema: Option<Value>,
        /// The arguments must follow the schema to the letter.
        strict: Option<bool>,
    },
    /// The client runs it; it takes plain text (`OpenAI`'s custom tools).
    Custom {
        /// Its name.
        name: String,
        /// What it does.
        description: Option<String>,
        /// The grammar, as `OpenAI` says it.
        format: Option<Value>,
    },
    /// The provider runs it; other dialects are [`super::Unfit`].
    Foreign {
        /// Whose.
        dialect: Dialect,
        /// As it came.
        value: Value,
    },
}

/// Whether a tool must be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// As the model sees fit.
    Auto,
    /// None.
    Never,
    /// At least one.
    Any,
    /// This one.
    Named(String),
    /// One of these; `must`: at least one call, else as the model sees fit.
    Allowed {
        /// Their names.
        names: Vec<String>,
        /// At least one call.
        must: bool,
    },
}

/// The form of the answer's text.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// As the model sees fit.
    #[default]
    Text,
    /// Some JSON.
    Json,
    /// JSON that follows a schema.
    Schema {
        /// A name for it (`OpenAI` wants one).
        name: Option<String>,
        /// What it is for.
        description: Option<String>,
        /// The schema.
        schema: Value,
        /// To the letter.
        strict: Option<bool>,
    },
}

/// How much a model should think: by effort, by a budget, or both. Everything absent means
/// that the client named the field and left it open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasoning {
    /// By effort.
    pub effort: Option<Effort>,
    /// By tokens (Anthropic's `budget_tokens`, Gemini's `thinkingBudget`); 0: not at all.
    pub budget: Option<u64>,
    /// The model decides how much (Anthropic's `adaptive`, Gemini's budget of -1).
    pub adaptive: bool,
    /// Whether the readable thoughts are wanted in the answer.
    pub visible: Option<bool>,
}

/// Effort, from the least to the most. Source: mapping.md, 6.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effort {
    /// Not at all.
    None,
    /// As little as it can.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// More.
    XHigh,
    /// All it can.
    Max,
}

impl Effort {
    /// Its name in Chat and Responses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// The effort of this name.
    pub fn named(name: &str) -> Option<Self> {
        use Effort::{High, Low, Max, Medium, Minimal, None, XHigh};
        [None, Minimal, Low, Medium, High, XHigh, Max]
            .into_iter()
            .find(|effort| effort.name() == name)
    }

    /// The effort that a budget of so many tokens comes to.
    pub const fn of_budget(tokens: u64) -> Self {
        match tokens {
            0 => Self::None,
            1..=1024 => Self::Low,
            1025..=8192 => Self::Medium,
            _ => Self::High,
        }
    }

    /// The budget in tokens that an effort comes to.
    pub const fn budget(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 1024,
            Self::Low => 4096,
            Self::Medium => 8192,
            Self::High => 16_384,
            Self::XHigh => 24_576,
            Self::Max => 32_768,
        }
    }
}

/// How tokens are chosen, and when to stop. `None`: as the provider sees fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// At least 1.
    pub top_k: Option<u64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// For answers that repeat.
    pub seed: Option<i64>,
    /// How many answers.
    pub n: Option<u64>,
    /// Whether the probabilities of the tokens are wanted, and of how many others at each place.
    pub logprobs: Option<u64>,
    /// Token ids to bias, as Chat says it.
    pub logit_bias: Option<Value>,
    /// Texts at which to stop.
    pub stop: Vec<String>,
}
