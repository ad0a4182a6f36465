//! Requests: `GenerateContentRequest`.

mod contents;
mod parts;
mod read;
mod settings;
mod write;

pub use read::read;
pub(super) use contents::args_of;
pub use write::write;
