//! Requests: `GenerateContentRequest`.

mod contents;
mod parts;
mod read;
mod settings;
mod write;

pub(super) use contents::args_of;
pub use read::read;
pub use write::write;

#[cfg(test)]
mod tests;
