//! The process: launch, names, signals, the admin listener.

#![forbid(unsafe_code)]
