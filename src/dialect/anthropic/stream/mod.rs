//! Streams of events, read as steps and written from them.
//!
//! ```text
//!   message_start                                Begin, Usage
//!   content_block_start  {index, content_block}  Open
//!   content_block_delta  {index, delta}          Text, Opaque, Citation
//!   content_block_stop   {index}                 Close
//!   message_delta        {delta, usage}          Usage
//!   message_stop                                 Stop, End
//!   ping                                         —
//!   error                                        Error
//! ```
//!
//! Source: protocols.md 6.3; `anthropic` 2.12.0, `lib/streaming/_messages.py`.

mod event;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::Reader;
pub use writer::Writer;
