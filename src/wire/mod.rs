//! What bytes mean: HTTP/1.1, server-sent events, Amazon event streams and
//! signatures, JSON, TLS.
//!
//! Bytes in, positions and verdicts out; no I/O.

#![forbid(unsafe_code)]

pub mod eventstream;
pub mod http1;
pub mod json;
pub mod lanes;
pub mod sigv4;
pub mod sse;
pub mod tls;
