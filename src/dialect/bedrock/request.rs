//! Requests: read and written.

pub use super::read::read;
pub use super::write::write;
