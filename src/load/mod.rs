//! The load generator.

#![forbid(unsafe_code)]
pub mod args;
pub mod ask;
pub mod drive;
mod events;
mod pace;
pub mod reply;
pub mod schedule;
pub mod tally;
pub mod target;
