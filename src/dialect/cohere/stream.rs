//! Streams of events.
//!
//! ```text
//!   message-start  content-start content-delta … citation-start citation-end … content-end
//!                  tool-plan-delta …  tool-call-start tool-call-delta … tool-call-end
//!                  message-end
//! ```

mod reader;
mod writer;

pub use reader::{HELD_BYTES_MAX, HELD_MAX, Reader};
pub use writer::Writer;

#[cfg(test)]
mod tests;
