//! JSON on the wire (RFC 8259): checked and read in place, never turned into a tree.
//!
//! ```text
//!   lex      one string, number, literal: where does it end
//!   cursor   a value at a time, non-recursive, depth-limited
//!   scan     whole documents: valid? which top-level members?
//!   text     what a string says once its escapes are resolved
//!   write    strings into a send buffer
//! ```

pub mod cursor;
mod fault;
mod lex;
pub mod scan;
pub mod text;
pub mod write;

pub use fault::{JsonError, JsonFault, Wanted};
pub use lex::plain_run;
