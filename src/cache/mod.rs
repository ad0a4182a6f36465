//! Answers kept: what may be served again, and for whom. Indexes and verdicts, no I/O.

#![forbid(unsafe_code)]

pub mod guard;
