//! One request and its reply, from its head to its receipt.

#![forbid(unsafe_code)]
