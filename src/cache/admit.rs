//! Which answers may be stored, and which requests may have one.
//!
//! ```text
//!   Facts of an answer ─┐
//!   Caching (the file)  ├─► judge ─► how long it is kept | why not (one word of a closed set)
//!   Directive           ┘
//! ```
//!
//! Invariants
//! - A1 Only a whole, successful, unfiltered answer of the model that was asked for is stored: any
//!   doubt is a reason against it.
//! - A2 The file's limits hold whatever a request says.

use super::directive::Directive;
use super::fingerprint::{NoKey, Unlike};
use super::index::Unkept;
use crate::config::model::Caching;
use crate::dialect::model::Stop;
use crate::stats::cached::{Bypass, Unstored};
use std::time::Duration;

/// What is known of an answer when it is over.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own that somebody else found"
)]
pub struct Facts {
    /// The status that the client got.
    pub status: u16,
    /// The provider itself said that it was the end, and no error came.
    pub is_whole: bool,
    /// Another target went on with it.
    pub is_continued: bool,
    /// All of it was seen and could be read.
    pub is_read: bool,
    /// The model that was asked for answered, no fallback.
    pub is_asked: bool,
    /// Why it ended.
    pub stop: Stop,
    /// It calls a tool.
    pub has_calls: bool,
    /// The model declined in words of its own for that (a refusal block).
    pub has_refusal: bool,
    /// It says something: text, thinking or a call.
    pub has_content: bool,
    /// The request itself limits the answer, so that one that ends there is what was asked for.
    pub is_limited: bool,
    /// The request's temperature.
    pub temperature: Option<f64>,
    /// Bytes of it, as it is stored.
    pub bytes: usize,
}

/// How long an answer is kept, before it is [spread](super::entry::jittered).
///
/// # Errors
/// A1, A2: it is not stored, and why.
pub fn judge(
    facts: &Facts,
    caching: &Caching,
    directive: &Directive,
) -> Result<Duration, Unstored> {
    let rules = [
        (directive.stores_nothing(), Unstored::Directive),
        (
            !caching.temperature_max.admits(facts.temperature),
            Unstored::Temperature,
        ),
        (facts.status != 200, Unstored::Status),
        (!facts.is_whole, Unstored::Cut),
        (facts.is_continued, Unstored::Continued),
        (!facts.is_read, Unstored::Unread),
        (!facts.is_asked, Unstored::Fallback),
        (
            facts.has_refusal || facts.stop == Stop::Filtered,
            Unstored::Filtered,
        ),
        (!is_done(facts), Unstored::Unfinished),
        (
            (facts.has_calls || facts.stop == Stop::Tool) && !caching.tool_calls,
            Unstored::ToolCall,
        ),
        (!facts.has_content, Unstored::Empty),
        (facts.bytes > caching.entry_max, Unstored::TooLarge),
    ];
    let against = rules.into_iter().find(|(is_against, _)| *is_against);
    against.map_or_else(|| Ok(directive.ttl(caching.ttl)), |(_, why)| Err(why))
}

/// Whether the answer ended as the request could want it to.
const fn is_done(facts: &Facts) -> bool {
    match facts.stop {
        Stop::End | Stop::Sequence | Stop::Tool | Stop::Filtered => true,
        Stop::Length => facts.is_limited,
        Stop::Context | Stop::Pause | Stop::Malformed => false,
    }
}

/// Why no stored answer is looked for, by what the file and the request say; a request with
/// `no-store` has its answer neither from the cache nor for it.
pub fn bypass(
    caching: &Caching,
    directive: &Directive,
    temperature: Option<f64>,
) -> Option<Bypass> {
    if !directive.may_look() {
        Some(Bypass::Directive)
    } else if !caching.temperature_max.admits(temperature) {
        Some(Bypass::Temperature)
    } else {
        None
    }
}

/// Why none is looked for by meaning, where one is looked for by its key.
pub fn bypass_near(caching: &Caching, temperature: Option<f64>) -> Option<Bypass> {
    let limit = caching.semantic.temperature_max;
    (!limit.admits(temperature)).then_some(Bypass::Temperature)
}

impl From<NoKey> for Bypass {
    fn from(why: NoKey) -> Self {
        match why {
            NoKey::Route => Self::Route,
            NoKey::Odd => Self::Odd,
            NoKey::State => Self::State,
            NoKey::Tool => Self::ProviderTool,
            NoKey::Effect => Self::Effect,
        }
    }
}

impl From<Unlike> for Bypass {
    fn from(why: Unlike) -> Self {
        match why {
            Unlike::NoText => Self::NoText,
            Unlike::ToolTurn => Self::ToolTurn,
            Unlike::Media => Self::Media,
            Unlike::Several => Self::Several,
            Unlike::Logprobs => Self::Logprobs,
            Unlike::Completion => Self::Completion,
            Unlike::Foreign => Self::Foreign,
        }
    }
}

impl From<Unkept> for Unstored {
    fn from(why: Unkept) -> Self {
        match why {
            Unkept::Purged => Self::Purged,
            Unkept::Older => Self::Older,
            Unkept::TooLarge => Self::TooLarge,
            Unkept::Busy => Self::Busy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Temperature;
    use crate::config::model::defaults::CACHING;

    const GOOD: Facts = Facts {
        status: 200,
        is_whole: true,
        is_continued: false,
        is_read: true,
        is_asked: true,
        stop: Stop::End,
        has_calls: false,
        has_refusal: false,
        has_content: true,
        is_limited: false,
        temperature: None,
        bytes: 1000,
    };

    fn judged(facts: &Facts) -> Result<Duration, Unstored> {
        judge(facts, &CACHING, &Directive::default())
    }

    /// Goal: A1, each rule by itself. Method: a good answer with one fact changed.
    #[test]
    fn each_rule_stands_by_itself() {
        type Change = fn(&mut Facts);
        assert_eq!(judged(&GOOD), Ok(CACHING.ttl));
        let cases: [(Change, Unstored); 19] = [
            (|it| it.status = 201, Unstored::Status),
            (|it| it.status = 206, Unstored::Status),
            (|it| it.status = 400, Unstored::Status),
            (|it| it.status = 429, Unstored::Status),
            (|it| it.status = 502, Unstored::Status),
            (|it| it.is_whole = false, Unstored::Cut),
            (|it| it.is_continued = true, Unstored::Continued),
            (|it| it.is_read = false, Unstored::Unread),
            (|it| it.is_asked = false, Unstored::Fallback),
            (|it| it.stop = Stop::Filtered, Unstored::Filtered),
            (|it| it.has_refusal = true, Unstored::Filtered),
            (|it| it.stop = Stop::Context, Unstored::Unfinished),
            (|it| it.stop = Stop::Pause, Unstored::Unfinished),
            (|it| it.stop = Stop::Malformed, Unstored::Unfinished),
            (|it| it.stop = Stop::Length, Unstored::Unfinished),
            (|it| it.stop = Stop::Tool, Unstored::ToolCall),
            (|it| it.has_calls = true, Unstored::ToolCall),
            (|it| it.has_content = false, Unstored::Empty),
            (|it| it.bytes = CACHING.entry_max + 1, Unstored::TooLarge),
        ];
        for (change, why) in cases {
            let mut facts = GOOD;
            change(&mut facts);
            assert_eq!(judged(&facts), Err(why), "{facts:?}");
        }
        let hot = Facts {
            temperature: Some(1.1),
            ..GOOD
        };
        assert_eq!(judged(&hot), Err(Unstored::Temperature));
    }

    /// Goal: what is no reason: a stop sequence, the request's own limit, warmth within the
    /// file's, and calls where the file allows them.
    #[test]
    fn good_answers_are_stored() {
        for facts in [
            Facts {
                stop: Stop::Sequence,
                ..GOOD
            },
            Facts {
                stop: Stop::Length,
                is_limited: true,
                ..GOOD
            },
            Facts {
                temperature: Some(1.0),
                ..GOOD
            },
            Facts {
                bytes: CACHING.entry_max,
                ..GOOD
            },
        ] {
            assert_eq!(judged(&facts), Ok(CACHING.ttl), "{facts:?}");
        }
        let calls = Facts {
            stop: Stop::Tool,
            has_calls: true,
            ..GOOD
        };
        let mut allowed = CACHING;
        allowed.tool_calls = true;
        assert!(judge(&calls, &allowed, &Directive::default()).is_ok());
        let mut hot = CACHING;
        hot.temperature_max = Temperature(2000);
        let facts = Facts {
            temperature: Some(2.0),
            ..GOOD
        };
        assert!(judge(&facts, &hot, &Directive::default()).is_ok());
    }

    /// Goal: A2, and that a request may want less.
    #[test]
    fn a_request_may_want_less() {
        let said = |directive: Directive| judge(&GOOD, &CACHING, &directive);
        let second = Duration::from_secs(1);
        let ttl = |ttl| Directive {
            ttl: Some(ttl),
            ..Directive::default()
        };
        assert_eq!(said(ttl(second)), Ok(second / 11 * 10)); // at most a second when spread
        assert_eq!(said(ttl(CACHING.ttl * 9)), Ok(CACHING.ttl));
        assert_eq!(said(ttl(Duration::ZERO)), Err(Unstored::Directive));
        let no_store = Directive {
            no_store: true,
            ..Directive::default()
        };
        assert_eq!(said(no_store.clone()), Err(Unstored::Directive));
        // A new answer is wanted, and is stored for others.
        let no_cache = Directive {
            no_cache: true,
            ..Directive::default()
        };
        assert_eq!(said(no_cache.clone()), Ok(CACHING.ttl));
        for (directive, heat, want) in [
            (no_store, None, Some(Bypass::Directive)),
            (no_cache, None, Some(Bypass::Directive)),
            (Directive::default(), Some(1.5), Some(Bypass::Temperature)),
            (Directive::default(), None, None),
        ] {
            assert_eq!(bypass(&CACHING, &directive, heat), want);
        }
        let mut near = CACHING;
        near.semantic.temperature_max = Temperature(500);
        assert_eq!(bypass_near(&near, None), Some(Bypass::Temperature));
        assert_eq!(bypass_near(&near, Some(0.5)), None);
    }
}
