//! What the model between the dialects carries of a body, to the letter: one table a dialect.
//!
//! A table is what [`super::beyond`] goes by. A place that is missing here costs at most a hit
//! from another dialect; one that stands here and is *not* carried would let two requests share
//! a key. So only what readers keep whole stands here, and the tests change every place of every
//! body that they know.
//!
//! Left out of keys, because no answer differs by it:
//! - how an answer is brought: `stream`, `stream_options`
//! - notes that no model reads: `user`, `metadata`, `requestMetadata`, `safety_identifier`
//! - what the provider's own cache keeps: `prompt_cache_key`, `prompt_cache_retention`,
//!   `cache_control`, `prompt_cache_breakpoint`
//! - what the provider keeps of the answer: `store`; who wants it by name has no key
//! - the gateway's own: `fallbacks`, `cache`
//! - `model`: what was asked for is in the key by itself
//!
//! Everything else is in it, also `service_tier`, which answers repeat.

mod openai;
mod others;

use crate::dialect::route::Route;
use Shape::{Kinds, Skip, Text};

/// A place in a body.
#[derive(Debug)]
pub(super) enum Shape {
    /// It does not change the answer.
    Skip,
    /// A text.
    Text,
    /// A URL; of one that holds its data, the type alone stands before it.
    Url,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A number.
    Number,
    /// A number that is not below zero.
    Natural,
    /// A limit on the answer: the body has one place for it.
    Limit,
    /// True or false.
    Flag,
    /// Whatever it is, the model keeps it as a tree.
    Any,
    /// A list without anything in it.
    Empty,
    /// A list of these.
    List(&'static Shape),
    /// A text, or a list of these.
    TextOr(&'static Shape),
    /// One of these words, or this object.
    WordsOr(&'static [&'static str], &'static Shape),
    /// An object with these members.
    Object(Members),
    /// An object with exactly one of these members.
    Union(Members),
    /// An object whose member `by` says which of these it is; the last one when it has none and
    /// `is_last_default`.
    Kinds {
        by: &'static str,
        of: &'static [(&'static str, Shape)],
        is_last_default: bool,
    },
    /// The list of messages: those of this role are carried at its beginning alone, once.
    Messages {
        lone: &'static str,
        each: &'static Shape,
    },
    /// Gemini's contents, whose neighbours of one role may become one.
    Contents(&'static Shape),
}

/// Members and their places.
pub(super) type Members = &'static [(&'static str, Shape)];

/// The table of `route`; `None` where nothing is cached by a body's meaning.
pub(super) const fn of(route: Route) -> Option<&'static Shape> {
    Some(match route {
        Route::Chat => &openai::CHAT,
        Route::Completions => &openai::COMPLETIONS,
        Route::Responses => &openai::RESPONSES,
        Route::Embeddings => &openai::EMBEDDINGS,
        Route::Messages => &others::ANTHROPIC,
        Route::Generate | Route::StreamGenerate => &others::GEMINI,
        Route::CohereChat => &others::COHERE,
        Route::Converse | Route::ConverseStream => &others::BEDROCK,
        _ => return None,
    })
}

const TYPE: (&str, Shape) = ("type", Text);
const ROLE: (&str, Shape) = ("role", Text);
const MARK: (&str, Shape) = ("cache_control", Skip);
const BREAKPOINT: (&str, Shape) = ("prompt_cache_breakpoint", Skip);

const fn by_type(of: Members) -> Shape {
    Kinds {
        by: "type",
        of,
        is_last_default: false,
    }
}

const fn by_role(of: Members) -> Shape {
    Kinds {
        by: "role",
        of,
        is_last_default: false,
    }
}
