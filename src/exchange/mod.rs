//! One request and its reply, from its head to its receipt.
//!
//! ```text
//!   connection ─► request (head, body) ─► admit ─► attempts ─┬─► relay   (a stream)
//!        ▲                                                   ├─► answer  (a plain body)
//!        └──────────── keep-alive ◄── settle ◄───────────────┴─► reply   (the gateway's own)
//! ```
//!
//! **Bodies are buffered whole, within `limits.body_max`, before anything goes upstream.**
//! The reasons: a body is refused when any byte of it is not JSON or a key that decides the
//! routing occurs a second time, also when that is its last byte, and bytes that are sent
//! cannot be taken back; and an attempt that fails must be able to send the same bytes to
//! another target. The cost is the time between a large body's first and last byte, which
//! the model would spend waiting anyway: no provider starts before it has the whole prompt.
//! Small bodies stay in the block they arrived in; there is no second copy of a body.
//!
//! Invariants
//! - I1 Every exchange whose head was understood has exactly one receipt ([`settle`]).
//! - I2 Nothing of an attempt reaches the client before the attempt is safe: a stream's
//!   first content, or a plain answer's last byte (within [`answer::HOLD_MAX`]).
//! - I3 A cut answer never ends like a whole one.

#![forbid(unsafe_code)]

pub mod answer;
pub mod asker;
pub mod attempt;
pub mod audits;
pub mod beside;
pub mod cached;
pub mod connection;
pub mod count;
pub mod course;
pub mod down;
pub mod fallback;
pub mod ferry;
pub mod flight;
pub mod form;
pub mod heard;
pub mod hold;
pub mod keep;
pub mod lease;
pub mod limits;
pub mod meant;
pub mod onward;
pub mod packed;
pub mod parting;
pub mod plain;
pub mod pulse;
pub mod queue;
pub mod race;
pub mod relay;
pub mod replay;
pub mod reply;
pub mod request;
pub mod rewrite;
pub mod route;
pub mod secure;
pub mod seen;
pub mod sending;
pub mod settle;
pub mod shared;
pub mod signature;
pub mod stored;
pub mod tail;
pub mod tape;
pub mod translator;
pub mod upstream;
pub mod vectors;
pub mod wishes;
