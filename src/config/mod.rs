//! What an operator writes: the file's shape, its checks, its defaults.

#![forbid(unsafe_code)]

pub mod model;

pub use model::Config;
