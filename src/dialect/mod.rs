//! Provider languages: what their bodies and events say.
//!
//! ```text
//!   route       which dialect a path speaks
//!   ask         request body → Ask (spans), and the upstream body as pieces of it
//!   chat, responses, anthropic, gemini, cohere, bedrock
//!               a reader and a writer each, of requests, answers, events and errors
//!   openai      what a body that passes says: spans and facts, nothing is copied
//!   speak       one door to all of them
//!   model       what stands between two different dialects
//!   abilities   what models can do: a table that is shipped, by name
//!   fallbacks   the field by which a body names them
//!   filtered    whether an answer was ended for its content
//!   opening     which conversation a request goes on with, as a number
//!   onward      a request that goes on with an answer that was cut
//!   trail, seam what a client has of it, and what of another model's text it has not
//!   events      one event of a stream, in whatever frame it travels
//!   whole       a stored stream, or a stored plain body, as an answer; fold puts it together
//!   worth       whether a stored body is whole, and why it ended
//!   retell      an answer as a stream, event by event; unfold takes it apart
//!   tokens      how many tokens a request will come to, before anybody has counted
//!   tree        reads JSON values into it, and says which field is at fault
//! ```

#![forbid(unsafe_code)]

pub mod abilities;
pub mod anthropic;
pub mod ask;
pub mod bedrock;
mod beside;
pub mod chat;
pub mod cohere;
pub mod events;
pub mod fallbacks;
pub mod filtered;
pub mod fold;
pub mod gemini;
pub mod model;
pub mod onward;
pub mod openai;
pub mod opening;
pub mod pieces;
pub mod responses;
pub mod retell;
pub mod route;
pub mod seam;
pub mod speak;
pub mod tokens;
pub mod trail;
pub mod tree;
pub mod unfold;
pub mod whole;
pub mod worth;
