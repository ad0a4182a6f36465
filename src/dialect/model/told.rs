//! What the gateway says of an answer and of an error in the client's dialect.

use super::Trouble;

/// What a writer of answers must be told, since the provider's own names are not the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    /// A name for the answer that is unique, letters and digits only: writers put their
    /// dialect's prefix before it (`chatcmpl-`, `msg_`, `resp_`). Used when the provider gave
    /// none in the form of the client's dialect.
    pub id: &'a str,
    /// The model by the name that the client asked for.
    pub model: &'a str,
    /// Seconds since 1970.
    pub created: u64,
    /// Chat: the client asked for the usage chunk.
    pub wants_usage: bool,
}

/// An error as the client is told, from the gateway's own table or from a provider's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// The HTTP status that it goes with, also where it stands in a stream.
    pub status: u16,
    /// What kind of trouble: dialects choose their `type` by it.
    pub trouble: Trouble,
    /// The stable, machine-readable code.
    pub code: &'a str,
    /// The sentence: what is wrong and what to do.
    pub message: &'a str,
    /// The field at fault.
    pub param: Option<&'a str>,
}
