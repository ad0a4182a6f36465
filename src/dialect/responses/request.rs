//! Requests of Responses: a body to the model, and the model to a body.
//!
//! ```text
//!   read     fields of the body            write    fields of the model
//!   items    input items → turns           put      turns → input items
//!   parts    content of messages and of tools' results, both ways
//! ```

mod items;
mod parts;
mod put;
mod read;
mod write;

pub use read::read;
pub use write::write;

#[cfg(test)]
mod tests;
