//! What an operator writes: the file's shape, its checks, its defaults.

#![forbid(unsafe_code)]
