//! Plain values that every floor uses: time, spans, buffers, faults. No clock, no I/O.

#![forbid(unsafe_code)]

pub mod alike;
pub mod bufpool;
pub mod bytes;
pub mod fault;
pub mod reel;
pub mod span;
pub mod time;
