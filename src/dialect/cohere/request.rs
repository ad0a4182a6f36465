//! Requests: `POST /v2/chat`.

pub use super::read::read;
pub use super::write::write;
