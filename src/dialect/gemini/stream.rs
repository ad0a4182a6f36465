//! Streamed answers: a `GenerateContentResponse` in each event.

mod read;
mod write;

pub use read::Reader;
pub use write::Writer;

#[cfg(test)]
mod tests;
