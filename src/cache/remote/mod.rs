//! What the boxes of an operator share over Valkey or Redis: its protocol, names and values.
//!
//! ```text
//!   keys    PREFIX:v1:{e}KEY    → envelope      an entry, under its fingerprint
//!           PREFIX:v1:gen       → hash          generations: what was purged, and when
//!           PREFIX:v1:news      → stream        entries announced to the other boxes
//! ```
//!
//! Pure: `shard::remote` sends and waits. No module and no script runs on the server; every
//! command is of Redis 5 or older.
//!
//! Invariants
//! - R1 Whatever the server sends is an error value at worst: nothing is allocated by what it
//!   claims, only by what has arrived, and nothing recurses deeper than [`resp::DEPTH_MAX`].
//! - R2 A value that is not whole, not of this version, or not of this key is a miss.

pub mod envelope;
pub mod generations;
pub mod names;
pub mod resp;
pub mod slots;

/// The key of an entry.
pub type Key = [u8; 32];
