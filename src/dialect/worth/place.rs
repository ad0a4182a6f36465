//! What a member means where it stands: a table, a part for each dialect.
//!
//! Source: the dialects' own `look.rs` and answers; mapping.md, 6 to 8.

/// An object that is walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Chat,
    ChatChoice,
    ChatSaid,
    ChatFunction,
    Anthropic,
    AnthropicDelta,
    AnthropicBlock,
    Gemini,
    GeminiFeedback,
    GeminiCandidate,
    GeminiContent,
    GeminiPart,
    Cohere,
    CohereDelta,
    CohereMessage,
    CohereContent,
    Responses,
    ResponsesWhole,
    ResponsesItem,
    ResponsesPart,
    ResponsesDetails,
    Bedrock,
    BedrockStart,
    BedrockOutput,
    BedrockMessage,
    BedrockBlock,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Skip,
    /// An object that has more.
    Into(Place),
    /// A list of them.
    Each(Place),
    /// Of the choice.
    Index,
    /// The reason to end.
    Finish,
    /// There if it is not empty.
    Call,
    /// The same: something that is said, or thought.
    Text,
    /// Another object of it, or a list of them, or something that is said.
    Said(Place),
    Refusal,
    /// There if it is not null.
    Error,
    /// There if it is a string (in place of an answer).
    Words,
    /// The prompt was blocked.
    Blocked,
    /// What kind of event or part it is.
    Kind,
    /// How far a response is.
    Status,
    /// There was an answer, so that its words are none of an error.
    Answer(Place),
}

/// What the member `name` of an object at `place` is.
pub(super) fn act(place: Place, name: &[u8]) -> Act {
    match place {
        Place::Chat | Place::ChatChoice | Place::ChatSaid | Place::ChatFunction => {
            of_chat(place, name)
        }
        Place::Anthropic | Place::AnthropicDelta | Place::AnthropicBlock => {
            of_anthropic(place, name)
        }
        Place::Gemini
        | Place::GeminiFeedback
        | Place::GeminiCandidate
        | Place::GeminiContent
        | Place::GeminiPart => of_gemini(place, name),
        Place::Cohere | Place::CohereDelta | Place::CohereMessage | Place::CohereContent => {
            of_cohere(place, name)
        }
        Place::Responses
        | Place::ResponsesWhole
        | Place::ResponsesItem
        | Place::ResponsesPart
        | Place::ResponsesDetails => of_responses(place, name),
        Place::Bedrock
        | Place::BedrockStart
        | Place::BedrockOutput
        | Place::BedrockMessage
        | Place::BedrockBlock => of_bedrock(place, name),
    }
}

fn of_chat(place: Place, name: &[u8]) -> Act {
    match (place, name) {
        (Place::Chat, b"choices") => Act::Each(Place::ChatChoice),
        (Place::Chat, b"object") => Act::Kind,
        (Place::Chat | Place::ChatChoice, b"error") => Act::Error,
        (Place::ChatChoice, b"index") => Act::Index,
        (Place::ChatChoice, b"delta" | b"message") => Act::Into(Place::ChatSaid),
        (Place::ChatChoice, b"finish_reason") => Act::Finish,
        (Place::ChatSaid, b"tool_calls") | (Place::ChatFunction, b"name") => Act::Call,
        (Place::ChatSaid, b"function_call") => Act::Into(Place::ChatFunction),
        (Place::ChatSaid, b"refusal") => Act::Refusal,
        (Place::ChatChoice, b"text")
        | (
            Place::ChatSaid,
            b"content" | b"reasoning_content" | b"reasoning" | b"reasoning_details" | b"thinking"
            | b"thinking_blocks" | b"images" | b"audio",
        ) => Act::Text,
        _ => Act::Skip,
    }
}

fn of_anthropic(place: Place, name: &[u8]) -> Act {
    match (place, name) {
        (Place::Anthropic | Place::AnthropicBlock, b"type") => Act::Kind,
        (Place::Anthropic | Place::AnthropicDelta, b"content") => Act::Each(Place::AnthropicBlock),
        (Place::Anthropic, b"content_block") => Act::Into(Place::AnthropicBlock),
        (Place::Anthropic, b"delta" | b"message") => Act::Into(Place::AnthropicDelta),
        (Place::Anthropic | Place::AnthropicDelta, b"stop_reason") => Act::Finish,
        (Place::Anthropic, b"error") => Act::Error,
        (Place::AnthropicBlock | Place::AnthropicDelta, b"text" | b"thinking")
        | (Place::AnthropicDelta, b"partial_json") => Act::Text,
        _ => Act::Skip,
    }
}

fn of_gemini(place: Place, name: &[u8]) -> Act {
    match (place, name) {
        (Place::Gemini, b"candidates") => Act::Each(Place::GeminiCandidate),
        (Place::Gemini, b"promptFeedback") => Act::Into(Place::GeminiFeedback),
        (Place::Gemini, b"error") => Act::Error,
        (Place::GeminiFeedback, b"blockReason") => Act::Blocked,
        (Place::GeminiCandidate, b"index") => Act::Index,
        (Place::GeminiCandidate, b"finishReason") => Act::Finish,
        (Place::GeminiCandidate, b"content") => Act::Into(Place::GeminiContent),
        (Place::GeminiContent, b"parts") => Act::Each(Place::GeminiPart),
        (Place::GeminiPart, b"functionCall") => Act::Call,
        (
            Place::GeminiPart,
            b"text" | b"inlineData" | b"fileData" | b"executableCode" | b"codeExecutionResult",
        ) => Act::Text,
        _ => Act::Skip,
    }
}

fn of_cohere(place: Place, name: &[u8]) -> Act {
    match (place, name) {
        (Place::Cohere, b"type") => Act::Kind,
        (Place::Cohere, b"delta") => Act::Into(Place::CohereDelta),
        (Place::Cohere, b"message") => Act::Answer(Place::CohereMessage),
        (Place::CohereDelta, b"message") => Act::Into(Place::CohereMessage),
        (Place::Cohere | Place::CohereDelta, b"finish_reason") => Act::Finish,
        (Place::Cohere | Place::CohereDelta, b"error") => Act::Error,
        (Place::CohereMessage, b"tool_calls") => Act::Call,
        (Place::CohereMessage, b"content") => Act::Said(Place::CohereContent),
        (Place::CohereMessage, b"tool_plan")
        | (Place::CohereContent, b"text" | b"thinking" | b"image_url") => Act::Text,
        _ => Act::Skip,
    }
}

fn of_responses(place: Place, name: &[u8]) -> Act {
    match (place, name) {
        (Place::Responses | Place::ResponsesItem, b"type") => Act::Kind,
        (Place::Responses, b"response") => Act::Into(Place::ResponsesWhole),
        (Place::Responses | Place::ResponsesWhole, b"error") => Act::Error,
        (Place::ResponsesWhole, b"output") => Act::Each(Place::ResponsesItem),
        (Place::ResponsesWhole, b"incomplete_details") => Act::Into(Place::ResponsesDetails),
        (Place::ResponsesWhole, b"status") => Act::Status,
        (Place::ResponsesDetails, b"reason") => Act::Finish,
        (Place::ResponsesItem, b"content") => Act::Each(Place::ResponsesPart),
        (Place::ResponsesPart, b"refusal") => Act::Refusal,
        (Place::ResponsesPart, b"text") => Act::Text,
        _ => Act::Skip,
    }
}

fn of_bedrock(place: Place, name: &[u8]) -> Act {
    match (place, name) {
        (Place::Bedrock, b"stopReason") => Act::Finish,
        (Place::Bedrock, b"start") => Act::Into(Place::BedrockStart),
        (Place::Bedrock, b"delta") => Act::Into(Place::BedrockBlock),
        (Place::Bedrock, b"output") => Act::Answer(Place::BedrockOutput),
        (Place::Bedrock, b"message" | b"Message" | b"__type" | b"Output") => Act::Words,
        (Place::BedrockOutput, b"message") => Act::Into(Place::BedrockMessage),
        (Place::BedrockMessage, b"content") => Act::Each(Place::BedrockBlock),
        (Place::BedrockStart | Place::BedrockBlock, b"toolUse") => Act::Call,
        (Place::BedrockBlock, b"text" | b"reasoningContent" | b"image" | b"citationsContent") => {
            Act::Text
        }
        _ => Act::Skip,
    }
}
