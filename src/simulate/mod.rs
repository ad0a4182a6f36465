//! The simulated provider.

#![forbid(unsafe_code)]
