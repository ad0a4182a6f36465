//! Streams: events of Responses to steps, and steps to events.

mod blocks;
mod calls;
mod event;
mod reader;
mod writer;

pub use reader::Reader;
pub use writer::Writer;

#[cfg(test)]
mod tests;
