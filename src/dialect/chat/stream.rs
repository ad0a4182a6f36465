//! An answer that is being made: events of Chat to steps, and steps to events.

mod calls;
mod chunk;
mod reader;
pub(super) mod writer;

pub use reader::Reader;
pub use writer::Writer;

#[cfg(test)]
mod tests;
