//! Decisions: who may, which target, in what order. Verdicts are returned, never acted on.

#![forbid(unsafe_code)]

pub mod addresses;
pub mod auth;
pub mod balance;
pub mod breaker;
pub mod budget;
pub mod hedge;
pub mod limits;
pub mod peak;
pub mod plan;
pub mod queue;
pub mod reason;
pub mod retry;
pub mod rotation;
pub mod targets;
pub mod wishes;
