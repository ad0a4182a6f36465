//! The simulated provider.

#![forbid(unsafe_code)]

pub mod behave;
pub mod config;
pub mod keys;
pub mod stats;
