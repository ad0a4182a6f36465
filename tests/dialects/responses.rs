//! `OpenAI` Responses.
