//! A request: out of the body of a client, and as the body for a provider.

mod messages;
pub(in crate::dialect) mod parts;
mod read;
mod write;

pub use read::read;
pub use write::write;

#[cfg(test)]
mod tests;
