//! What is stored of an answer, and how it is told again.
//!
//! ```text
//!   provider's body, framing off ─► Stored ─► Answer with a head of our own ─► replay
//! ```
//!
//! The body is kept in the provider's words: so the dialect that asks next, and whether it wants a
//! stream, is the replay's business, and what only the provider's own dialect can say is not lost.

use super::replay;
use crate::base::bytes::TxBuf;
use crate::cache::body::Body;
use crate::cache::meaning::Meaning;
use crate::config::Config;
use crate::dialect::events::Wire;
use crate::dialect::model::Dialect;
use crate::dialect::openai::Usage;
use crate::dialect::speak;
use crate::policy::plan::Step;
use crate::wire::http1::Framing;
use std::sync::Arc;
use std::time::Duration;

/// Bytes that an `Arc` and its allocation take beside what is in it.
const ARC: usize = 32;

/// The payload of an entry.
pub struct Stored {
    /// Name of the model in the configuration that answered.
    pub model: Box<str>,
    /// Name of its provider.
    pub provider: Box<str>,
    /// What that called the model; empty: as it was asked for.
    pub upstream_model: Box<str>,
    /// What it speaks.
    pub dialect: Dialect,
    /// In which frames its events come.
    pub wire: Wire,
    /// Whether the body is a stream.
    pub is_stream: bool,
    /// Its media type.
    pub media: Box<str>,
    /// The body.
    pub body: Body,
    /// How long it took to come, from its first content on.
    pub took: Duration,
    /// How many events it had.
    pub events: u32,
    /// The token counts of a plain one, as its provider said them.
    pub usage: Option<Usage>,
    /// What its question means, where it is found by that.
    pub meaning: Option<Arc<Meaning>>,
}

impl std::fmt::Debug for Stored {
    /// Nothing of an answer is ever shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Stored {
    /// The token counts in `body`, of a provider that speaks `dialect`; `None` of a stream.
    pub fn usage_in(dialect: Dialect, is_stream: bool, body: &Body) -> Option<Usage> {
        let facts = (!is_stream).then(|| speak::look_at_answer(dialect, &body.bytes()));
        facts.and_then(|facts| facts.usage)
    }

    /// Whether the body is an answer, as far as it is told again without being read.
    pub fn is_answer(&self) -> bool {
        let facts = || speak::look_at_answer(self.dialect, &self.body.bytes());
        let vectors = || speak::count_vectors(self.dialect, &self.body.bytes());
        self.is_stream || facts().may_pass() || vectors().is_some_and(|count| count > 0)
    }

    /// Bytes on the heap.
    pub fn bytes(&self) -> usize {
        [
            &self.model,
            &self.provider,
            &self.upstream_model,
            &self.media,
        ]
        .into_iter()
        .map(|text| text.len())
        .sum::<usize>()
            + self.body.held()
            + self.meaning.as_ref().map_or(0, |it| ARC + it.bytes())
    }

    /// The target that made it, if there is still one like it: of the model at `asked` of
    /// `config`, which is the model that was asked for.
    pub fn step<'a>(&self, config: &'a Config, asked: usize) -> Option<Step<'a>> {
        let model = config
            .models
            .get(asked)
            .filter(|it| *it.name == *self.model)?;
        let fits = |place: &usize| {
            let target = model.targets.get(*place);
            let provider = target.and_then(|target| config.provider(target));
            let named = target
                .and_then(|target| target.model.as_deref())
                .unwrap_or_default();
            named == &*self.upstream_model
                && provider.is_some_and(|provider| {
                    *provider.name == *self.provider && provider.dialect.speaks() == self.dialect
                })
        };
        let place = (0..model.targets.len()).find(fits)?;
        replay::step_at(config, asked, (asked, place))
    }

    /// Head of an answer with this body.
    pub fn put_head(&self, tx: &mut TxBuf) {
        let framing = Framing::Length(self.body.len() as u64);
        replay::put_head(tx, (200, self.media.as_bytes()), &framing);
    }

    /// The time between two events, as it was when it came.
    pub fn pace(&self) -> Duration {
        self.took / self.events.max(1)
    }
}
