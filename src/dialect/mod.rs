//! Provider languages: what their bodies and events say.

#![forbid(unsafe_code)]

pub mod openai;
