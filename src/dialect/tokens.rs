//! How many tokens a request will come to, before a provider has counted them.
//!
//! ```text
//!   Request ── weigh ──► bytes · structure · media   structure + media + hidden + bytes / (bytes per token)
//!                                                               └────── learned per target ─────┘
//!   usage of the answer ── learn ──► Ratio
//! ```
//!
//! A target's own tokenizer is not asked for: most vocabularies are not public, and what a
//! provider counts holds more than the text (its templates, and a system prompt of its own
//! where there are tools: some 490 tokens with Claude, 300 with `DeepSeek`, none with
//! `OpenAI`). Both are learned from the usage that comes with answers: an error with a long
//! prompt is put down to the bytes per token, one with a short prompt to what is hidden.
//!
//! Measured against the usage in the recordings (`tests/dialects/tokens.rs`), relative error,
//! median and 90th percentile. Learned: from the second exchange with a target on; these are
//! tests of SDKs, with prompts of some 90 tokens (median), and three exchanges with a target.
//!
//! ```text
//!                             first with a target       learned
//!                           median   p90      n     median   p90      n
//!   openai-chat              42 %    85 %    56      27 %   71 %   116
//!   openai-responses          8 %    47 %    13      18 %   80 %    49
//!   anthropic-messages       29 %    58 %     7       6 %   40 %    16
//!   gemini                   20 %    37 %    10      50 %   88 %    32
//!   bedrock-converse         78 %   111 %    11      11 %   67 %     6
//!   all                      37 %    85 %    97      26 %   79 %   219
//!   400 tokens and more      29 %    91 %    18      12 %   61 %    48
//!   with images              97 %   275 %    10     149 % 1124 %    10
//! ```
//!
//! Invariants
//! - I1 The same request and ratio give the same estimate; nothing is sent or counted for it.
//! - I2 What is learned stays within bounds; a count that cannot be is ignored.

use super::model::{
    Block, Dialect, Format, Media, MediaKind, Opaque, Request, Source, Tool, ToolKind, ToolResult,
};
use super::openai::TOKENS_MAX;
use serde_json::{Map, Value};

/// Tokens of a message besides its text: its role and its bounds.
const MESSAGE: u64 = 4;

/// Tokens before and behind the conversation.
const CONVERSATION: u64 = 3;

/// Tokens of a call, and of a result, besides their text.
const CALL: u64 = 6;

/// Tokens of a tool besides its words.
const TOOL: u64 = 10;

/// Tokens of a property in a schema besides its words: type, punctuation. Providers write
/// schemas anew, some as JSON, some in a language of their own that takes a third of it.
const PROPERTY: u64 = 3;

/// Tokens of an image. `OpenAI`: 85 and 170 for each of up to 8 tiles, 765 for a square one;
/// Claude: pixels / 750, at most some 1600; Gemini: 258 for each tile, 1120 from Gemini 3 on.
const IMAGE: u64 = 1000;

/// Tokens of an image that is to be seen in low detail. `OpenAI`: 85.
const IMAGE_LOW: u64 = 85;

/// Tokens of a medium of which only the address is known.
const UNSEEN: u64 = 3000;

/// Bytes of a PDF for a token: a page of some 50 KB is some 1500 tokens.
const DOCUMENT_BYTES: u64 = 30;

/// Bytes of sound for a token: MP3 of 128 kbit/s, 32 tokens a second (Gemini).
const AUDIO_BYTES: u64 = 500;

/// Bytes of video for a token: 1 Mbit/s, some 300 tokens a second (Gemini).
const VIDEO_BYTES: u64 = 400;

/// The deepest that schemas are looked into.
const DEPTH_MAX: usize = 64;

/// Tokens of a text of so many bytes, when nothing is known of who counts.
pub const fn of_bytes(bytes: u64) -> u64 {
    bytes.saturating_mul(10).div_ceil(44) // as `Ratio::START`
}

/// What of a request becomes tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weight {
    /// Bytes of text: what is said, tools' names and descriptions, arguments.
    pub bytes: u64,
    /// Tokens of its structure: bounds of messages, calls, tools, properties.
    pub structure: u64,
    /// Tokens of its media.
    pub media: u64,
    /// There are tools.
    pub has_tools: bool,
}

/// Bytes per token, and what is hidden, of one target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    tokens_per_byte: f32,
    /// Hidden tokens of a request without tools, and of one with.
    hidden: [f32; 2],
    /// How much of the structure is counted: Gemini counts next to nothing but the text.
    structure: f32,
}

impl Ratio {
    /// Where a target begins: below the median of the recorded prompts of more than 400 bytes
    /// (4.8 of 25), since too many is safer than too few.
    pub const START: f32 = 4.4;
    /// The fewest bytes per token that are believed: text in scripts that the tokenizer has
    /// not learned.
    pub const MIN: f32 = 1.5;
    /// The most.
    pub const MAX: f32 = 8.0;
    /// The fewest hidden tokens that are believed: structure may be counted for less.
    pub const HIDDEN_MIN: f32 = -20.0;
    /// The most.
    pub const HIDDEN_MAX: f32 = 4000.0;
    /// How much of an error is learned from one exchange. High, since counts do not scatter:
    /// the same prompt always has the same number of tokens.
    const RATE: f32 = 0.5;
    /// How far the hidden tokens of a target are off at first, in tokens (deviation).
    const HIDDEN_OFF: f32 = 300.0;
    /// How far its tokens per byte are off at first (deviation).
    const PER_BYTE_OFF: f32 = 0.04;

    /// Where a target of this dialect begins.
    pub const fn of(dialect: Dialect) -> Self {
        Self {
            tokens_per_byte: 1.0 / Self::START,
            hidden: match dialect {
                Dialect::Anthropic | Dialect::Bedrock => [0.0, 450.0],
                Dialect::Cohere => [490.0, 1400.0],
                Dialect::Chat | Dialect::Responses | Dialect::Gemini => [0.0, 0.0],
            },
            structure: match dialect {
                Dialect::Gemini => 0.1,
                _ => 1.0,
            },
        }
    }

    /// Bytes per token.
    pub fn bytes_per_token(self) -> f32 {
        1.0 / self.tokens_per_byte
    }

    /// What a request of this weight comes to.
    pub fn tokens(self, weight: &Weight) -> u64 {
        let text = f64::from(self.tokens_per_byte) * float(weight.bytes);
        let structure = f64::from(self.structure) * float(weight.structure);
        let all = text + structure + f64::from(self.hidden_of(weight));
        whole(all.max(1.0)).saturating_add(weight.media)
    }

    fn hidden_of(self, weight: &Weight) -> f32 {
        let [without, with] = self.hidden;
        if weight.has_tools { with } else { without }
    }

    /// Learns that text of `bytes`, without anything else, came to `tokens`.
    pub fn learn(&mut self, bytes: u64, tokens: u64) {
        let weight = Weight {
            bytes,
            ..Weight::default()
        };
        self.learn_from(&weight, tokens);
    }

    /// Learns that a request of this weight came to `tokens` of prompt, what was read from a
    /// cache included. A count of nothing, or of more than anybody has, is ignored (I2).
    pub fn learn_from(&mut self, weight: &Weight, tokens: u64) {
        if tokens == 0 || weight.bytes == 0 || tokens > TOKENS_MAX || weight.bytes > TOKENS_MAX {
            return;
        }
        let off = float(tokens) - float(self.tokens(weight));
        // An error is shared as a filter would that knows how far each is off at first.
        let bytes = float(weight.bytes);
        let hidden = f64::from(Self::HIDDEN_OFF).powi(2);
        let per_byte = f64::from(Self::PER_BYTE_OFF).powi(2) * bytes;
        let share = f64::from(Self::RATE) * off / (hidden + per_byte * bytes);
        self.tokens_per_byte = narrow(f64::from(self.tokens_per_byte) + share * per_byte)
            .clamp(1.0 / Self::MAX, 1.0 / Self::MIN);
        let [without, with] = &mut self.hidden;
        let slot = if weight.has_tools { with } else { without };
        *slot = narrow(f64::from(*slot) + share * hidden).clamp(Self::HIDDEN_MIN, Self::HIDDEN_MAX);
        debug_assert!(self.tokens_per_byte.is_finite() && is_bounded(self.hidden)); // I2
    }
}

impl Default for Ratio {
    fn default() -> Self {
        Self::of(Dialect::Chat)
    }
}

fn is_bounded(hidden: [f32; 2]) -> bool {
    hidden
        .iter()
        .all(|slot| (Ratio::HIDDEN_MIN..=Ratio::HIDDEN_MAX).contains(slot))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "an estimate; counts stay below 2^53"
)]
fn float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_possible_truncation, reason = "clamped right after")]
fn narrow(value: f64) -> f32 {
    value as f32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "not negative, and a cast saturates"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// How many tokens the prompt of `request` will come to.
pub fn estimate(request: &Request, ratio: Ratio) -> u64 {
    ratio.tokens(&weigh(request))
}

/// What of `request` becomes tokens.
pub fn weigh(request: &Request) -> Weight {
    let mut weight = Weight {
        structure: CONVERSATION,
        has_tools: !request.tools.is_empty(),
        ..Weight::default()
    };
    if !request.system.is_empty() {
        weight.structure += MESSAGE;
        weight.blocks(&request.system);
    }
    for turn in &request.turns {
        weight.structure += MESSAGE;
        weight.text(turn.name.as_deref().unwrap_or_default());
        weight.blocks(&turn.blocks);
    }
    for tool in &request.tools {
        weight.tool(tool);
    }
    if let Format::Schema { schema, .. } = &request.format {
        weight.schema(schema, DEPTH_MAX);
    }
    weight
}

impl Weight {
    fn text(&mut self, text: &str) {
        self.bytes = self.bytes.saturating_add(text.len() as u64);
    }

    fn blocks(&mut self, blocks: &[Block]) {
        for block in blocks {
            match block {
                // Where there is a sealed form, it is what the provider reads.
                Block::Thinking {
                    opaque: Some(opaque),
                    ..
                } => self.opaque(opaque),
                Block::Text { text, .. } | Block::Refusal(text) | Block::Thinking { text, .. } => {
                    self.text(text);
                }
                Block::Call(call) => {
                    call.opaque.iter().for_each(|opaque| self.opaque(opaque));
                    self.structure += CALL;
                    self.text(&call.name);
                    self.text(&call.arguments);
                }
                Block::Result(ToolResult { content, .. }) => {
                    self.structure += CALL;
                    self.blocks(content);
                }
                Block::Media(media) => self.media(media),
                Block::Foreign { value, .. } => self.schema(value, DEPTH_MAX),
            }
        }
    }

    /// Sealed thinking: counted again when it is sent back, at some 8 to 9 bytes of its
    /// base64 for a token (recordings of Gemini and Responses).
    fn opaque(&mut self, opaque: &Opaque) {
        let before = self.bytes;
        self.schema(&opaque.value, DEPTH_MAX);
        self.bytes = before.saturating_add(self.bytes.saturating_sub(before) / 2);
    }

    fn media(&mut self, media: &Media) {
        let is_low = media.detail.as_deref() == Some("low");
        let tokens = match (media.kind, &media.source) {
            (_, Source::Text(text)) => return self.text(text),
            (MediaKind::Image, _) if is_low => IMAGE_LOW,
            (MediaKind::Image, _) => IMAGE,
            (_, Source::Url(_) | Source::File { .. }) => UNSEEN,
            (kind, Source::Inline { media_type, data }) => {
                let bytes = data.len() as u64 / 4 * 3;
                match kind {
                    // Text that only travels as base64.
                    MediaKind::Document if media_type.starts_with("text/") => {
                        self.bytes = self.bytes.saturating_add(bytes);
                        return;
                    }
                    MediaKind::Audio => bytes / AUDIO_BYTES,
                    MediaKind::Video => bytes / VIDEO_BYTES,
                    MediaKind::Document | MediaKind::Image => bytes / DOCUMENT_BYTES,
                }
            }
        };
        self.media = self.media.saturating_add(tokens);
    }

    fn tool(&mut self, tool: &Tool) {
        self.structure += TOOL;
        match &tool.kind {
            ToolKind::Function {
                name,
                description,
                schema,
                ..
            } => {
                self.text(name);
                self.text(description.as_deref().unwrap_or_default());
                if let Some(schema) = schema {
                    self.schema(schema, DEPTH_MAX);
                }
            }
            ToolKind::Custom {
                name,
                description,
                format,
            } => {
                self.text(name);
                self.text(description.as_deref().unwrap_or_default());
                if let Some(format) = format {
                    self.schema(format, DEPTH_MAX);
                }
            }
            ToolKind::Foreign { .. } => {}
        }
    }

    /// The words of a schema: names of properties, and every string but the titles that
    /// generators put in.
    fn schema(&mut self, value: &Value, depth: usize) {
        let Some(deeper) = depth.checked_sub(1) else {
            return;
        };
        match value {
            Value::String(text) => self.text(text),
            Value::Array(list) => list.iter().for_each(|value| self.schema(value, deeper)),
            Value::Object(object) => {
                for (key, value) in object {
                    match (key.as_str(), value) {
                        ("properties", Value::Object(properties)) => {
                            self.properties(properties, deeper);
                        }
                        ("title" | "$schema", Value::String(_)) => {}
                        _ => self.schema(value, deeper),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                self.bytes = self.bytes.saturating_add(2);
            }
        }
    }

    fn properties(&mut self, properties: &Map<String, Value>, depth: usize) {
        for (name, value) in properties {
            self.structure += PROPERTY;
            self.text(name);
            self.schema(value, depth);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::model::{Call, Role, Turn};
    use serde_json::json;

    fn asked(blocks: Vec<Block>) -> Request {
        Request {
            turns: vec![Turn {
                role: Role::User,
                name: None,
                blocks,
            }],
            ..Request::default()
        }
    }

    fn media(kind: MediaKind, source: Source) -> Block {
        Block::Media(Media {
            kind,
            source,
            name: None,
            detail: None,
            cache: None,
        })
    }

    /// Goal: everything that a provider counts has its weight.
    #[test]
    fn everything_that_is_counted_has_weight() {
        let text = asked(vec![Block::text("x".repeat(440))]);
        assert_eq!(
            estimate(&text, Ratio::default()),
            100 + MESSAGE + CONVERSATION
        );
        let mut more = text.clone();
        more.system = vec![Block::text("x".repeat(44))];
        more.turns[0].blocks.push(Block::Call(Call {
            id: "c".into(),
            name: "ff".into(),
            arguments: "{}".into(),
            is_custom: false,
            opaque: None,
        }));
        let weight = weigh(&more);
        assert_eq!(weight.bytes, 440 + 44 + 4);
        assert_eq!(weight.structure, 2 * MESSAGE + CONVERSATION + CALL);
        more.tools = vec![Tool {
            kind: ToolKind::Function {
                name: "abc".into(),
                description: Some("def".into()),
                schema: Some(json!({"type": "object", "title": "no", "properties":
                    {"k": {"type": "string", "enum": ["a", "b"]}}, "required": ["k"]})),
                strict: None,
            },
            cache: None,
        }];
        let with = weigh(&more);
        assert_eq!(with.bytes - weight.bytes, 6 + 6 + 1 + 6 + 2 + 1);
        assert_eq!(with.structure - weight.structure, TOOL + PROPERTY);
        assert!(with.has_tools);
        let claude = estimate(&more, Ratio::of(Dialect::Anthropic));
        assert_eq!(claude - estimate(&more, Ratio::default()), 450);
    }

    /// Goal: media cost what the constants say, not what their base64 weighs.
    #[test]
    fn media_cost_what_they_are_not_what_they_weigh() {
        let inline = |media_type: &str, bytes: usize| Source::Inline {
            media_type: media_type.into(),
            data: "A".repeat(bytes / 3 * 4),
        };
        let url = || Source::Url("https://e.x/".into());
        for (kind, source, want) in [
            (MediaKind::Image, inline("image/png", 3_000_000), IMAGE),
            (MediaKind::Image, url(), IMAGE),
            (MediaKind::Document, inline("application/pdf", 30_000), 1000),
            (MediaKind::Document, url(), UNSEEN),
            (MediaKind::Audio, inline("audio/mp3", 60_000), 120),
            (MediaKind::Video, inline("video/mp4", 60_000), 150),
        ] {
            let weight = weigh(&asked(vec![media(kind, source)]));
            assert_eq!(weight.media, want, "{kind:?}");
            assert_eq!(weight.bytes, 0);
        }
        for source in [inline("text/plain", 300), Source::Text("x".repeat(300))] {
            assert_eq!(
                weigh(&asked(vec![media(MediaKind::Document, source)])).bytes,
                300
            );
        }
    }

    /// Goal: what is learned comes near the truth, of long prompts and of short ones at once.
    #[test]
    fn a_ratio_comes_near_the_truth() {
        let truth = |weight: &Weight| {
            let hidden = if weight.has_tools { 500 } else { 60 };
            weight.bytes / 3 + hidden
        };
        let mut ratio = Ratio::default();
        let weights: Vec<Weight> = [(90, false), (90_000, true), (300, true), (30_000, false)]
            .into_iter()
            .map(|(bytes, has_tools)| Weight {
                bytes,
                has_tools,
                ..Weight::default()
            })
            .collect();
        for _ in 0..12 {
            for weight in &weights {
                ratio.learn_from(weight, truth(weight));
            }
        }
        for weight in &weights {
            let (got, want) = (ratio.tokens(weight), truth(weight));
            assert!(
                got.abs_diff(want) * 20 <= want,
                "{weight:?}: {got}, in truth {want}"
            );
        }
        assert!((ratio.bytes_per_token() - 3.0).abs() < 0.1, "{ratio:?}");
    }

    /// Goal: I2.
    #[test]
    fn hostile_counts_are_ignored_or_bounded() {
        let mut ratio = Ratio::default();
        for (bytes, tokens) in [
            (0, 5),
            (5, 0),
            (u64::MAX, 5),
            (5, u64::MAX),
            (5, TOKENS_MAX + 1),
        ] {
            ratio.learn(bytes, tokens);
            assert_eq!(ratio, Ratio::default());
        }
        for (bytes, tokens) in [
            (1, TOKENS_MAX),
            (TOKENS_MAX, 1),
            (1_000_000, TOKENS_MAX),
            (40, 1),
        ] {
            for _ in 0..100 {
                ratio.learn(bytes, tokens);
                let now = ratio.bytes_per_token();
                assert!(
                    (Ratio::MIN - 0.001..=Ratio::MAX + 0.001).contains(&now),
                    "{now}"
                );
                assert!(is_bounded(ratio.hidden));
            }
        }
        let huge = Weight {
            bytes: u64::MAX,
            structure: u64::MAX,
            media: u64::MAX,
            has_tools: true,
        };
        assert_eq!(ratio.tokens(&huge), u64::MAX);
        for _ in 0..20 {
            ratio.learn(88_000, 20_000);
        }
        assert!(
            (ratio.bytes_per_token() - 4.4).abs() < 0.2,
            "it recovers: {ratio:?}"
        );
    }
}
