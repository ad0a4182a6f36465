//! `[cache]` and a model's `cache`: which answers are kept, for how long, and for whom.
//!
//! ```text
//!   [cache] ──► Cache { memory_max, of_models ─┐ }
//!                                              ▼ where a model says nothing
//!   [models.M.cache] ─────────────────────► Caching
//! ```
//!
//! Invariants
//! - N1 Off unless it is written: a file without `cache` gives [`Mode::Off`] everywhere.
//! - N2 `memory_max` is the box's; everything else may be said again by a model.
//!
//! `[cache.remote]` is a section of its own file: [`KEYS`] names it, the rest is there.

use super::fault::Findings;
use super::model::defaults::{CACHE_MEMORY_MAX, CACHING, GIB, KIB, MIB};
use super::model::{Model, Names, Provider};
use super::remote::Remote;
use super::value::{
    Wrong, choice, duration_up_to, model_name, share, show_size, size, string, wrong,
};
use super::walk::{Item, Known, Section, entries, nearest};
use crate::dialect::model::Dialect;
use std::time::Duration;
use toml::de::DeValue;

/// Of `[cache]`.
const KEYS: Known = Known {
    now: &[
        "mode",
        "ttl",
        "memory_max",
        "scope",
        "replay",
        "temperature_max",
        "tool_calls",
        "entry_max",
        "coalesce",
        "semantic",
        "remote",
    ],
    later: &[],
};
/// Of a model's `cache`.
const MODEL_KEYS: Known = Known {
    now: &[
        "mode",
        "ttl",
        "scope",
        "replay",
        "temperature_max",
        "tool_calls",
        "entry_max",
        "coalesce",
        "semantic",
    ],
    later: &[],
};
const SEMANTIC_KEYS: Known = Known {
    now: &[
        "threshold",
        "shadow",
        "audit",
        "embedder",
        "temperature_max",
    ],
    later: &[],
};
const EMBEDDER_KEYS: Known = Known {
    now: &["provider", "model", "timeout"],
    later: &[],
};

/// The shortest and the longest life of an entry.
const TTL_MIN: Duration = Duration::from_secs(1);
/// See [`TTL_MIN`].
const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// The longest wait for an embedding that is made elsewhere: it lies on the way of a request.
pub const EMBED_MAX: Duration = Duration::from_secs(2);

/// `[cache]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Bytes that entries and indexes may hold, per box.
    pub memory_max: usize,
    /// [`Model::cache`] of models without their own.
    pub of_models: Caching,
    /// `[cache.remote]`: the server that several boxes share entries over.
    pub remote: Option<Remote>,
}

/// What is cached of a model's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caching {
    /// Whether, and how entries are found.
    pub mode: Mode,
    /// How long an entry lives at most. Each lives up to a tenth longer or shorter, so that
    /// what was stored together does not end together.
    pub ttl: Duration,
    /// For whom.
    pub scope: Scope,
    /// How a stored answer is streamed.
    pub replay: Replay,
    /// Requests above it are not cached. A request without a temperature counts as 1.
    pub temperature_max: Temperature,
    /// Answers that call a tool are stored too.
    pub tool_calls: bool,
    /// Bytes of an answer, at most; larger ones are not stored.
    pub entry_max: usize,
    /// The same request of several clients at once goes upstream once.
    pub coalesce: bool,
    /// What goes for [`Mode::Semantic`].
    pub semantic: Semantic,
}

/// Whether answers are cached, and how they are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is stored and nothing is looked up.
    #[default]
    Off,
    /// For the same request.
    Exact,
    /// Also for a request whose last message means the same.
    Semantic,
}

impl Mode {
    /// As it is written in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Exact => "exact",
            Self::Semantic => "semantic",
        }
    }

    /// Whether anything is stored or looked up.
    pub const fn is_on(self) -> bool {
        !matches!(self, Self::Off)
    }
}

/// Who gets an answer that was stored for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Requests with the same client key, and all of them in a gateway without keys.
    Key,
    /// Everybody who may ask for the model.
    Shared,
}

impl Scope {
    /// As it is written in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Shared => "shared",
        }
    }
}

/// How a stored answer is streamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// As fast as the client takes it.
    Fast,
    /// As fast as it came.
    Paced,
}

impl Replay {
    /// As it is written in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Paced => "paced",
        }
    }
}

/// A limit on temperatures, in thousandths, 0 to 2000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Temperature(pub u32);

impl Temperature {
    /// Whether a request of this temperature is within the limit; none counts as 1, which is
    /// what providers take then.
    pub fn admits(self, asked: Option<f64>) -> bool {
        asked.unwrap_or(1.0) <= f64::from(self.0) / 1000.0
    }
}

/// `[cache.semantic]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semantic {
    /// How sure the verifier must be.
    pub threshold: Threshold,
    /// Looked up and reported, never served.
    pub shadow: bool,
    /// Hits of which the request goes upstream too, to be compared, in percent.
    pub audit_percent: u32,
    /// What makes vectors of texts.
    pub embedder: Embedder,
    /// As [`Caching::temperature_max`], for this way of finding entries alone.
    pub temperature_max: Temperature,
}

/// How sure the verifier must be that two messages mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threshold {
    /// What this version takes for safe: [`Threshold::Strict`].
    Auto,
    /// Wrong hits are rarer than one in a thousand.
    Strict,
    /// More hits, and more wrong ones.
    Balanced,
    /// At least so sure, in ten-thousandths, 5000 to 10,000.
    At(u32),
}

/// The number that is as sure as [`Threshold::Strict`].
const STRICT: u32 = 9000;

/// What a looser threshold costs: measured by `scripts/semantic-eval` on the natural pairs, as the
/// README has it. Numbers lie between the two points.
const LOOSE: &str = "`threshold` is looser than \"strict\" and gives more wrong answers: measured \
                     at \"balanced\", of natural pairs of questions with two answers 0.12 % were \
                     taken for one (\"strict\": 0.03 %), and of those with one answer 9.6 % were \
                     found (\"strict\": 8.0 %)";

impl Threshold {
    /// Whether it lets more through than [`Threshold::Strict`].
    fn is_loose(self) -> bool {
        match self {
            Self::Auto | Self::Strict => false,
            Self::Balanced => true,
            Self::At(parts) => parts < STRICT,
        }
    }
}

/// What makes vectors of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Embedder {
    /// The table in the program.
    Builtin,
    /// A provider's endpoint for embeddings.
    Provider {
        /// Index into [`super::Config::providers`].
        provider: usize,
        /// The provider's name for the model.
        model: String,
        /// How long a request waits for it; then it is no hit.
        timeout: Duration,
    },
}

/// The wait for an embedding that is made elsewhere, when none is written. One that runs nearby
/// takes 5 to 50 ms, a hosted one 50 to 500: most of those calls come in time, and a request that
/// finds nothing waits no longer than a fraction of what its answer's first token takes.
const EMBED_TIMEOUT: Duration = Duration::from_millis(200);

/// What names of providers lead to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whom<'a> {
    pub(super) names: &'a Names,
    /// `None`: one of them has a fault of its own.
    pub(super) providers: Option<&'a [Provider]>,
}

/// `[cache]`.
pub(super) fn cache(root: &Section<'_, '_>, found: &mut Findings, whom: Whom<'_>) -> Cache {
    let mut cache = Cache {
        memory_max: CACHE_MEMORY_MAX,
        of_models: CACHING,
        remote: None, // read where secrets are
    };
    let section = root.item("cache");
    let Some(section) = section.and_then(|item| item.section(found, "[cache]", KEYS)) else {
        return cache;
    };
    let memory = section.read(found, "memory_max", |v| size(v, MIB..=1024 * GIB));
    cache.memory_max = memory.unwrap_or(cache.memory_max);
    cache.of_models = caching(&section, found, "[cache]", &CACHING, whom);
    let item = section
        .item("entry_max")
        .or_else(|| section.item("memory_max"));
    check_entry(item, cache.of_models.entry_max, cache.memory_max, found);
    cache
}

/// `cache` of the model whose section this is, over `base`.
pub(super) fn of_model(
    model: &Section<'_, '_>,
    found: &mut Findings,
    title: &str,
    base: &Cache,
    whom: Whom<'_>,
) -> Caching {
    let section = model.item("cache");
    let Some(section) = section.and_then(|item| item.section(found, title, MODEL_KEYS)) else {
        return base.of_models.clone();
    };
    let caching = caching(&section, found, title, &base.of_models, whom);
    let item = section.item("entry_max");
    check_entry(item, caching.entry_max, base.memory_max, found);
    caching
}

fn check_entry(item: Option<Item<'_, '_>>, entry: usize, memory: usize, found: &mut Findings) {
    if let (true, Some(item)) = (entry > memory, item) {
        let text = format!(
            "`entry_max` ({}) is more than `memory_max` ({}); write entry_max <= memory_max",
            show_size(entry),
            show_size(memory)
        );
        found.fault(item.at, text);
    }
}

/// The keys of `section` over `base`.
fn caching(
    section: &Section<'_, '_>,
    found: &mut Findings,
    title: &str,
    base: &Caching,
    whom: Whom<'_>,
) -> Caching {
    let mut caching = base.clone();
    let modes = [Mode::Off, Mode::Exact, Mode::Semantic].map(|mode| (mode.name(), mode));
    set(
        &mut caching.mode,
        section.read(found, "mode", |v| choice(v, &modes, &[])),
    );
    let ttl = section.read(found, "ttl", |v| duration_up_to(v, TTL_MIN, TTL_MAX));
    set(&mut caching.ttl, ttl);
    let scopes = [Scope::Key, Scope::Shared].map(|scope| (scope.name(), scope));
    set(
        &mut caching.scope,
        section.read(found, "scope", |v| choice(v, &scopes, &[])),
    );
    let replays = [Replay::Fast, Replay::Paced].map(|replay| (replay.name(), replay));
    set(
        &mut caching.replay,
        section.read(found, "replay", |v| choice(v, &replays, &[])),
    );
    let limit = section.read(found, "temperature_max", temperature);
    set(&mut caching.temperature_max, limit);
    set(
        &mut caching.tool_calls,
        section.read(found, "tool_calls", switch),
    );
    let entry = section.read(found, "entry_max", |v| size(v, KIB..=64 * MIB));
    set(&mut caching.entry_max, entry);
    set(
        &mut caching.coalesce,
        section.read(found, "coalesce", switch),
    );
    let title = format!("{}.semantic]", title.trim_end_matches(']'));
    let inner = section.item("semantic");
    if let Some(inner) = inner.and_then(|item| item.section(found, &title, SEMANTIC_KEYS)) {
        semantic(&inner, found, &mut caching, whom);
    }
    caching
}

fn semantic(
    section: &Section<'_, '_>,
    found: &mut Findings,
    caching: &mut Caching,
    whom: Whom<'_>,
) {
    let semantic = &mut caching.semantic;
    let item = section.item("threshold");
    set(
        &mut semantic.threshold,
        item.and_then(|item| item.read(found, threshold)),
    );
    if let (true, Some(item)) = (semantic.threshold.is_loose(), item) {
        found.warn(item.at, LOOSE.to_owned());
    }
    set(&mut semantic.shadow, section.read(found, "shadow", switch));
    set(
        &mut semantic.audit_percent,
        section.read(found, "audit", audit),
    );
    if let Some(item) = section.item("embedder") {
        set(&mut semantic.embedder, embedder(item, found, whom));
    }
    let item = section.item("temperature_max");
    let limit = item.and_then(|item| item.read(found, temperature));
    set(&mut semantic.temperature_max, limit);
    let is_above = semantic.temperature_max > caching.temperature_max;
    if let (true, Some(item)) = (is_above, item) {
        let text = "`temperature_max` here is more than that of `cache`, above which nothing is \
                    stored; raise that one too";
        found.warn(item.at, text.to_owned());
    }
}

fn embedder(item: Item<'_, '_>, found: &mut Findings, whom: Whom<'_>) -> Option<Embedder> {
    match item.value {
        DeValue::String(word) if word == "builtin" => return Some(Embedder::Builtin),
        DeValue::Table(_) => {}
        _ => {
            let right = "write \"builtin\" or { provider = \"NAME\", model = \"NAME\" }".to_owned();
            item.refuse(found, Wrong { what: None, right });
            return None;
        }
    }
    let section = item.section(found, "`embedder`", EMBEDDER_KEYS)?;
    let provider = section.need(found, "provider", "write provider = \"NAME\"");
    let provider = provider.and_then(|item| provider_of(item, found, whom));
    let model = section.need(found, "model", "write model = \"text-embedding-3-small\"");
    let model = model.and_then(|item| {
        item.read(found, |v| {
            string(v).and_then(|name| model_name(&name).map(|()| name))
        })
    });
    let timeout = section.read(found, "timeout", |value| {
        duration_up_to(value, Duration::from_millis(1), EMBED_MAX)
    });
    Some(Embedder::Provider {
        provider: provider?,
        model: model?,
        timeout: timeout.unwrap_or(EMBED_TIMEOUT),
    })
}

fn provider_of(item: Item<'_, '_>, found: &mut Findings, whom: Whom<'_>) -> Option<usize> {
    let name = item.read(found, string)?;
    let Some(&index) = whom.names.providers.get(&name) else {
        let near = nearest(&name, whom.names.providers.keys().map(String::as_str));
        let right = match near {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("add [providers.{name}]"),
        };
        found.missing(item.at, format!("no provider is named {name:?}; {right}"));
        return None;
    };
    let provider = whom.providers.and_then(|all| all.get(index));
    if let Some(provider) = provider.filter(|it| it.dialect.speaks() != Dialect::Chat) {
        let text = format!(
            "`provider` names {name:?}, which speaks {:?}; name one of dialect \"openai\" or \
             \"azure\", which have embeddings as OpenAI does",
            provider.dialect.name()
        );
        found.fault(item.at, text);
        return None;
    }
    Some(index)
}

/// Warns where the cache is described and never on.
pub(super) fn settle(root: &Section<'_, '_>, models: &[Model], found: &mut Findings) {
    let Some(item) = root.item("cache") else {
        return;
    };
    let DeValue::Table(table) = item.value else {
        return;
    };
    let says_mode = entries(table).iter().any(|item| item.key == "mode");
    if !says_mode && models.iter().all(|model| !model.cache.mode.is_on()) {
        let text = "[cache] has no `mode`, so nothing is cached; write mode = \"exact\"";
        found.warn(item.key_at, text.to_owned());
    }
}

fn set<T>(slot: &mut T, read: Option<T>) {
    if let Some(value) = read {
        *slot = value;
    }
}

fn switch(value: &DeValue<'_>) -> Result<bool, Wrong> {
    match value {
        DeValue::Boolean(is_on) => Ok(*is_on),
        _ => wrong("write true or false"),
    }
}

/// A fraction, in parts of `parts` to one.
fn fraction(value: &DeValue<'_>, parts: u32) -> Option<u32> {
    let text = match value {
        DeValue::Float(number) => number.as_str(),
        DeValue::Integer(number) => number.as_str(),
        _ => return None,
    };
    let number: f64 = text.parse().ok()?;
    let scaled = number * f64::from(parts);
    let is_whole = (scaled - scaled.round()).abs() < 1e-6;
    let range = 0.0..=f64::from(parts) * 2.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and within 0 and twice `parts`"
    )]
    (is_whole && range.contains(&scaled)).then(|| scaled.round() as u32)
}

fn temperature(value: &DeValue<'_>) -> Result<Temperature, Wrong> {
    const RIGHT: &str = "write a temperature from 0.0 to 2.0, with at most three decimals";
    fraction(value, 1000).map_or_else(|| wrong(RIGHT), |milli| Ok(Temperature(milli)))
}

fn threshold(value: &DeValue<'_>) -> Result<Threshold, Wrong> {
    const RIGHT: &str = "write \"auto\", \"strict\", \"balanced\" or a number from 0.5 to 1.0, \
                         with at most four decimals";
    match value {
        DeValue::String(word) if word == "auto" => Ok(Threshold::Auto),
        DeValue::String(word) if word == "strict" => Ok(Threshold::Strict),
        DeValue::String(word) if word == "balanced" => Ok(Threshold::Balanced),
        other => fraction(other, 10_000)
            .filter(|sure| (5000..=10_000).contains(sure))
            .map_or_else(|| wrong(RIGHT), |sure| Ok(Threshold::At(sure))),
    }
}

fn audit(value: &DeValue<'_>) -> Result<u32, Wrong> {
    const RIGHT: &str = "write a share from \"1%\" to \"100%\", or \"off\"";
    match value {
        DeValue::String(text) if text == "off" => Ok(0),
        DeValue::String(text) => share(text, 1..=100).map_or_else(|| wrong(RIGHT), Ok),
        _ => wrong(RIGHT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::guard::{Guard, Point};

    /// Goal: the guard's strict point is the number that is taken for it.
    #[test]
    fn strict_is_a_number() {
        let point = Guard::builtin().threshold(Point::Strict);
        assert!((f64::from(point) * 1e4 - f64::from(STRICT)).abs() < 0.5);
        assert!(Threshold::Balanced.is_loose() && Threshold::At(STRICT - 1).is_loose());
        assert!(!Threshold::Auto.is_loose() && !Threshold::At(STRICT).is_loose());
    }

    /// Goal: a request without a temperature counts as 1, and the limit itself is within it.
    #[test]
    fn a_limit_admits_what_is_not_above_it() {
        for (limit, asked, want) in [
            (1000, None, true),
            (1000, Some(1.0), true),
            (1000, Some(1.001), false),
            (0, Some(0.0), true),
            (0, None, false),
            (700, Some(0.7), true),
            (2000, Some(2.0), true),
            (2000, Some(f64::NAN), false),
        ] {
            assert_eq!(Temperature(limit).admits(asked), want, "{limit} {asked:?}");
        }
    }
}
