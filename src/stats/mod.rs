//! What is counted, and how it is shown.
//!
//! Each shard counts for itself ([`counters::Counters`], plain cells, no atomics); a
//! scrape asks every shard for a copy and adds them up ([`exposition`]).

#![forbid(unsafe_code)]

pub mod cached;
pub mod counters;
pub mod exposition;
pub mod handshakes;
pub mod queued;
pub mod receipt;
pub mod reloads;
pub mod remote;
pub mod text;
pub mod vectors;
pub mod view;
