//! Decisions: who may, which target, in what order. Verdicts are returned, never acted on.

#![forbid(unsafe_code)]

pub mod addresses;
pub mod auth;
pub mod breaker;
pub mod plan;
pub mod targets;
