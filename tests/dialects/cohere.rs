//! Cohere v2 Chat.
