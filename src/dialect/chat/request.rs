//! A request: out of the body of a client, and as the body for a provider.

pub(super) mod parts;
mod messages;
mod read;
mod write;

pub use read::read;
pub use write::write;

#[cfg(test)]
mod tests;
