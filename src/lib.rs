//! Shardgate, an LLM gateway: one share-nothing shard per CPU, on `io_uring`.
//!
//! # Floors
//!
//! Imports go downward only; `tests/tidy.rs` checks it.
//!
//! ```text
//!  6  cli                              argv → what to run
//!  5  control  simulate  load          the process; the simulated provider; the load generator
//!  4  exchange  shard                  one request; one CPU
//!  3  host                             what waits: clock, sockets, tasks (glommio)
//!  2  policy  config  cache            decisions, settings, what is near  (no I/O, no clock)
//!  1  wire  dialect  stats             what bytes mean, what is counted   (no I/O, no clock)
//!  0  base  sys                        plain values; the unsafe lines
//! ```
//!
//! # The way of a request
//!
//! ```text
//!  1 accept    TcpStream       → connection task             shard/serve
//!  2 read      bytes           → RequestHead (spans)         wire/http1
//!  3 admit     head, keys      → tenant, route               exchange/admit, policy/auth
//!  4 ask       head, body      → Ask {model, stream, …}      exchange/ask, wire/json/scan
//!  5 plan      Ask, snapshot   → targets in order            policy/plan
//!  6 attempt   target          → first content | Fault       exchange/attempt
//!  7 relay     upstream bytes  → Outcome | Cut               exchange/relay
//!  8 settle    Outcome         → counted once, always        exchange/settle
//! ```
//!
//! The words used everywhere (downstream, upstream, target, exchange, attempt,
//! settle, …) are those of the glossary in ARCHITECTURE.md.

pub mod base;
pub mod cache;
pub mod cli;
pub mod config;
pub mod control;
pub mod dialect;
pub mod exchange;
pub mod host;
pub mod load;
pub mod policy;
pub mod shard;
pub mod simulate;
pub mod stats;
pub mod sys;
pub mod wire;
