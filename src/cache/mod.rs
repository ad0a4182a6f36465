//! What was answered before: which texts are near each other, without asking anybody.
//!
//! ```text
//!   last user turn ─► embed ─► Vector ─► near ─► up to eight entries that may be the same question
//! ```
//!
//! Nearness finds candidates and decides nothing: "with" and "without" are near. What decides
//! is `guard`, from the words.

#![forbid(unsafe_code)]

mod dot;
pub mod embed;
pub mod guard;
pub mod near;
