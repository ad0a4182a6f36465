//! Requests of Anthropic Messages, read into the model and written from it.
//!
//! ```text
//!   read ── blocks                             body  → Request
//!   write ─┬─ history ─┬─ put ── media         turns → messages, calls answered in the next one
//!          │           └─ ids                  names of calls that this dialect takes
//!          ├─ tools ── schema                  schemas closed, as the provider wants them
//!          ├─ think                            effort, budget or adaptive: what the model takes
//!          └─ extras                           fields of this dialect only, put back in place
//! ```
//!
//! Invariants
//! - I1 A request that was read from this dialect is written as it was: nothing is merged,
//!   mended or left out, but for thinking that nobody here signed and ids that no provider
//!   takes.
//! - I2 A request of another dialect is written in the order that the provider insists on:
//!   the results of all calls first in the next user message, no empty text, no orphan.
//! - I3 What has no place in the model is an extra, named by its whole path
//!   (`messages[0].content[1].caller`), so that its own dialect gets it back and others say
//!   which field it was.

mod blocks;
mod extras;
mod fields;
mod history;
mod ids;
mod media;
mod put;
mod read;
mod schema;
#[cfg(test)]
mod tests;
mod think;
mod tools;
mod write;

pub(super) use blocks::answered as block_of;
pub(super) use put::input;
pub use read::read;
pub(super) use read::read_any;
pub use write::{Cloud, write, write_for};

/// How a sealed signature begins in a body.
const SEALED: &[u8] = b"\"sg1:";

/// Whether `body` holds thinking that was sealed by this gateway (see `seal`). No
/// provider takes such a signature, so the body must go through the model, also between two
/// sides of this dialect.
pub fn holds_sealed_thinking(body: &[u8]) -> bool {
    memchr::memmem::find(body, SEALED).is_some()
}
