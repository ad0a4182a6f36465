//! Gemini `generateContent`: to and from the model of [`super::model`].
//!
//! ```text
//!   request  read, write     generateContent, streamGenerateContent?alt=sse; model and stream
//!                            stand in the path
//!   answer   read, write     GenerateContentResponse
//!   stream   Reader, Writer  the same, one for each event; there is no end marker
//!   error    read, put_…     google.rpc.Status
//!   look     facts           of bodies that pass as they are
//!   embed    plain functions embedContent, batchEmbedContents
//! ```
//!
//! Vertex speaks the same; it differs in URL and authentication, and in streamed arguments of
//! calls ([`partial`]).
//!
//! Source: Gemini API reference, `GenerateContentRequest` and `GenerateContentResponse`;
//! `python-genai`, `types.py` and `chats.py`.

pub mod answer;
pub mod embed;
pub mod error;
pub mod keys;
pub mod look;
mod partial;
pub mod request;
mod schema;
mod stop;
pub mod stream;
mod usage;
