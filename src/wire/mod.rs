//! What bytes mean: HTTP/1.1, server-sent events, JSON, TLS.
//!
//! Bytes in, positions and verdicts out; no I/O.

#![forbid(unsafe_code)]

pub mod http1;
pub mod json;
pub mod sse;
pub mod tls;
