//! Every `unsafe` line of the program, each with its invariant and a test.
//!
//! Nothing outside this folder may hold `unsafe`; `tests/tidy.rs` checks it.

pub mod adopt;
pub mod inherit;
pub mod linger;
pub mod ring;
pub mod room;
mod stock;
