//! Which stored answer may be given for a request, and which answers may be stored.
//!
//! ```text
//!   body ──speak::ask──► Request ─┐
//!   body ──beyond (what the model does not carry) ─┤
//!   tenant, model, headers ───────┴─ fingerprint ──► Key (exact)
//!                                            └─────► partition + last text (semantic)
//!
//!   directive   what the request itself allows          admit    what may be stored
//!   index       one shard's entries, and their homes    key      256 bits, and how they are made
//!   embed       a text as small numbers                 near     the nearest of a partition
//!   guard       whether one text's answer is the other's
//!   memo        what equal bytes came to before
//!   remote      what boxes share: names, values and the protocol of a server
//!   news        what they tell each other of entries
//!   meaning     both for an entry           ledger   what audits have found
//!   agree       whether two answers say the same
//! ```
//!
//! Invariants
//! - H1 Two requests whose answers may differ never share a key.
//! - H2 Nothing here is on the way of a request whose model has `cache.mode = "off"`.

#![forbid(unsafe_code)]

pub mod admit;
pub mod agree;
mod beyond;
pub mod body;
pub mod directive;
mod dot;
pub mod embed;
pub mod entry;
pub mod fingerprint;
pub mod guard;
pub mod index;
pub mod key;
pub mod ledger;
pub mod meaning;
pub mod memo;
pub mod message;
pub mod near;
pub mod news;
pub mod purge;
mod queue;
pub mod reap;
pub mod remote;
mod shapes;
mod signs;
