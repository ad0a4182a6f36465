//! What the client calls the fields that a target of this dialect may not honour.

use crate::dialect::model::Dialect;

/// A field, whatever the client calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Messages,
    ToolChoice,
    Format,
    Reasoning,
    MaxTokens,
    Stop,
    TopP,
    TopK,
}

impl Field {
    /// Its name in the client's dialect.
    pub(super) const fn name(self, origin: Option<Dialect>) -> &'static str {
        use Dialect::{Anthropic, Bedrock, Chat, Cohere, Gemini, Responses};
        match (self, origin) {
            (Self::Messages, Some(Gemini)) => "contents",
            (Self::Messages, Some(Responses)) => "input",
            (Self::Messages, _) => "messages",
            (Self::ToolChoice, Some(Gemini)) => "toolConfig",
            (Self::ToolChoice, Some(Bedrock)) => "toolConfig.toolChoice",
            (Self::ToolChoice, _) => "tool_choice",
            (Self::Format, Some(Anthropic)) => "output_config.format",
            (Self::Format, Some(Responses)) => "text.format",
            (Self::Format, Some(Gemini)) => "generationConfig.responseJsonSchema",
            (Self::Format, Some(Bedrock)) => "outputConfig.textFormat",
            (Self::Format, _) => "response_format",
            (Self::Reasoning, Some(Chat)) => "reasoning_effort",
            (Self::Reasoning, Some(Responses)) => "reasoning",
            (Self::Reasoning, Some(Gemini)) => "generationConfig.thinkingConfig",
            (Self::Reasoning, Some(Bedrock)) => "additionalModelRequestFields.thinking",
            (Self::Reasoning, Some(Anthropic | Cohere) | None) => "thinking",
            (Self::MaxTokens, Some(Gemini)) => "generationConfig.maxOutputTokens",
            (Self::MaxTokens, Some(Bedrock)) => "inferenceConfig.maxTokens",
            (Self::MaxTokens, Some(Responses)) => "max_output_tokens",
            (Self::MaxTokens, _) => "max_tokens",
            (Self::Stop, Some(Gemini)) => "generationConfig.stopSequences",
            (Self::Stop, Some(Bedrock)) => "inferenceConfig.stopSequences",
            (Self::Stop, Some(Anthropic | Cohere)) => "stop_sequences",
            (Self::Stop, _) => "stop",
            (Self::TopP, Some(Gemini)) => "generationConfig.topP",
            (Self::TopP, Some(Bedrock)) => "inferenceConfig.topP",
            (Self::TopP, Some(Cohere)) => "p",
            (Self::TopP, _) => "top_p",
            (Self::TopK, Some(Gemini)) => "generationConfig.topK",
            (Self::TopK, Some(Cohere)) => "k",
            (Self::TopK, _) => "top_k",
        }
    }
}
