//! The pure part of the cache as its callers see it.
//!
//! Recordings are in the folder of the suites (`SHARDGATE_SHARED`, else `../shared`); without it
//! what needs them says so and passes.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![expect(clippy::indexing_slicing, reason = "a test may panic")]
#![expect(clippy::cast_precision_loss, reason = "shares of small numbers")]

mod fingerprint;
mod index;
mod rates;
#[path = "../dialects/recorded.rs"]
#[expect(dead_code, reason = "the suite of the dialects uses all of it")]
mod recorded;
mod recordings;
mod taken_in;
mod vectors;
