//! Stored answers: what they are kept under and what is known of them. Indexes and verdicts; what
//! waits for a server is in `shard::remote`.

#![forbid(unsafe_code)]

pub mod remote;
