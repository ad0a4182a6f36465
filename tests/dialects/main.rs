//! Every dialect against what real providers have said.
//!
//! The recordings are in the folder of the suites (`SHARDGATE_SHARED`, else `../shared`), with
//! what a right reader gets from each in `wire/oracle.jsonl`. Without that folder these tests
//! say so and pass: the same rules are tested beside the code with events of our own.
//!
//! `DIALECT_SECONDS=600 cargo test --test dialects fresh` hunts with broken recordings, from
//! fresh seeds.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![expect(clippy::indexing_slicing, clippy::panic, reason = "a test may panic")]

mod anthropic;
mod bedrock;
mod chat;
mod cohere;
mod embeddings;
mod gemini;
mod hunt;
mod recorded;
mod responses;
mod shapes;
mod tokens;
mod worth;
