//! The process: launch, reload, drain, names, signals, the admin listener, the demo.
//!
//! ```text
//!   main thread ── launch ─┬─► shard 0 … n      one executor each, pinned
//!        │                 └─► control          one executor, not pinned: admin, names, signals
//!        └── waits for the end ◄── drained or past its limit ── control
//! ```

#![forbid(unsafe_code)]

pub mod admin;
pub mod demo;
pub mod drain;
pub mod gateway;
pub mod gossip;
pub mod handover;
pub mod listeners;
pub mod logger;
pub mod notify;
pub mod preflight;
pub mod purge;
pub mod reload;
pub mod resolve;
pub mod serve;
pub mod shards;
pub mod shared;
pub mod status;
pub mod succession;
pub mod tls;
pub mod watchdog;
