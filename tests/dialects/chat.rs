//! `OpenAI` Chat Completions.
