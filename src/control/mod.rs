//! The process: launch, names, signals, the admin listener, the demo.
//!
//! ```text
//!   main thread ── launch ─┬─► shard 0 … n      one executor each, pinned
//!        │                 └─► control          one executor, not pinned: admin, names, signals
//!        └── waits for the end ◄── drained or past its limit ── control
//! ```

#![forbid(unsafe_code)]

pub mod admin;
pub mod demo;
pub mod gateway;
pub mod gossip;
pub mod logger;
pub mod resolve;
pub mod serve;
pub mod shards;
pub mod status;
