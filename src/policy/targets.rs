//! What a shard knows of each target: its breaker, what is under way, how fast it answers.
//!
//! ```text
//!   config ──► List: model, place ──► index ──► name, id          the same on every shard
//!   attempts ──► Targets [index] ──► cells that changed ──► others' views
//!   others' digests ──► View, and their marks into the breakers
//! ```
//!
//! A target is a provider and its name for a model. Two models with the same target share
//! its entry; targets that forward the name that was asked for share one per provider where
//! that name may be any (`[models."*"]` and `provider/…`).
//!
//! Invariants
//! - T1 `in_flight` and `tokens` are what [`Targets::begin`] added and [`Targets::end`] has
//!   not taken off again.
//! - T2 Between two digests nothing is allocated.

use super::breaker::{Breaker, Outcome, Permit, Turn, Verdict};
use crate::base::time::Instant;
use crate::config::Config;
use crate::config::model::{Model, Target};
use crate::stats::view::{Cell, Digest, Mark, State, Tally, TargetId, View};
use ahash::AHashMap;
use std::time::Duration;

/// How fast the estimate of the time to the first token forgets.
const DECAY: Duration = Duration::from_secs(10);

/// The targets of a configuration.
#[derive(Clone, Debug, Default)]
pub struct List {
    /// Name (`provider/model`, `provider/*`) and id, by index.
    pub names: Vec<(String, TargetId)>,
    /// By model, then by place among its targets.
    places: Vec<Vec<usize>>,
}

impl List {
    /// The targets of `config`, in the order in which its models name them.
    pub fn new(config: &Config) -> Self {
        let mut list = Self::default();
        let mut known = AHashMap::new();
        let written = config.written().len();
        for (index, model) in config.models.iter().enumerate() {
            let is_open = index >= written || model.name == "*";
            let places = model.targets.iter().map(|target| {
                let name = name(config, model, target, is_open);
                *known.entry(name).or_insert_with_key(|name| {
                    list.names.push((name.clone(), id(config, target, name)));
                    list.names.len() - 1
                })
            });
            let places = places.collect();
            list.places.push(places);
        }
        list
    }

    /// The index of the target at `place` of the model at `model`.
    pub fn index(&self, model: usize, place: usize) -> Option<usize> {
        self.places.get(model)?.get(place).copied()
    }
}

fn name(config: &Config, model: &Model, target: &Target, is_open: bool) -> String {
    let provider = config.provider(target).map_or("", |p| p.name.as_str());
    let upstream = match &target.model {
        Some(name) => name,
        None if is_open => "*",
        None => &model.name,
    };
    format!("{provider}/{upstream}")
}

/// FNV-1a over the name and the address, so that a provider that moved is another target.
fn id(config: &Config, target: &Target, name: &str) -> TargetId {
    let url = config.provider(target).map(|p| p.base_url.to_string());
    let bytes = name
        .bytes()
        .chain([0])
        .chain(url.unwrap_or_default().into_bytes());
    TargetId(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    }))
}

/// An estimate of a time that jumps up with a slow answer and comes down slowly (Finagle's
/// peak EWMA).
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    micros: f64,
    at: Instant,
}

impl Peak {
    fn add(&mut self, took: Duration, now: Instant) {
        let micros = took.as_secs_f64() * 1e6;
        if micros >= self.micros {
            self.micros = micros;
        } else {
            let kept = (-now.since(self.at).as_secs_f64() / DECAY.as_secs_f64()).exp();
            self.micros = self.micros * kept + micros * (1.0 - kept);
        }
        self.at = now;
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the range of u32"
    )]
    fn micros(self) -> u32 {
        self.micros.clamp(0.0, f64::from(u32::MAX)) as u32
    }
}

/// What this shard knows of one target.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    breaker: Breaker,
    in_flight: u32,
    tokens: u64,
    first_token: Peak,
    /// Something happened since the last digest.
    is_fresh: bool,
    /// Something ever happened here.
    is_touched: bool,
}

impl Entry {
    fn touch(&mut self) {
        self.is_fresh = true;
        self.is_touched = true;
    }

    fn cell(&mut self, turn: &Turn<'_>) -> Cell {
        self.breaker.age(turn);
        Cell {
            mark: self.breaker.mark(),
            in_flight: self.in_flight,
            tokens: self.tokens,
            ttft_us: self.first_token.micros(),
            window: self.breaker.tally(),
        }
    }
}

/// What this shard knows of all targets, and what it heard of them.
#[derive(Clone, Debug)]
pub struct Targets {
    /// Which there are.
    pub list: List,
    /// What the other shards said.
    pub view: View,
    /// How often a breaker was opened here, by index.
    pub trips: Vec<u64>,
    entries: Vec<Entry>,
    by_id: AHashMap<TargetId, usize>,
}

/// An attempt that is under way at a target.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    /// The target.
    pub index: usize,
    /// What it began with.
    pub permit: Permit,
    /// Estimated tokens.
    pub tokens: u64,
}

impl Targets {
    /// The targets of `config` on one of `shards`.
    pub fn new(config: &Config, shards: usize) -> Self {
        let list = List::new(config);
        Self {
            view: View::new(shards),
            trips: vec![0; list.names.len()],
            entries: vec![Entry::default(); list.names.len()],
            by_id: list
                .names
                .iter()
                .enumerate()
                .map(|(at, (_, id))| (*id, at))
                .collect(),
            list,
        }
    }

    /// Whether the target at `place` of `model` is to be asked, and with what an attempt at
    /// it begins, allowed or not. A target that is not known is.
    pub fn ask(&mut self, model: usize, place: usize, turn: &Turn<'_>) -> (Verdict, Permit) {
        let entry = self
            .list
            .index(model, place)
            .and_then(|at| self.entries.get_mut(at));
        let Some(entry) = entry else {
            return (Verdict::Admit, Permit::default());
        };
        let verdict = entry.breaker.ask(turn);
        if verdict == Verdict::Probe {
            entry.touch();
        }
        (verdict, entry.breaker.permit(verdict))
    }

    /// An attempt begins.
    pub fn begin(&mut self, running: Running) {
        if let Some(entry) = self.entries.get_mut(running.index) {
            entry.in_flight = entry.in_flight.saturating_add(1);
            entry.tokens = entry.tokens.saturating_add(running.tokens);
            entry.touch();
        }
    }

    /// It got its first content, `took` after its request was sent. True when the breaker
    /// changed.
    pub fn content(&mut self, running: Running, took: Duration, turn: &Turn<'_>) -> bool {
        self.entries.get_mut(running.index).is_some_and(|entry| {
            entry.first_token.add(took, turn.now);
            entry.touch();
            entry.breaker.content(running.permit, turn)
        })
    }

    /// It ended. True when the breaker changed.
    pub fn end(&mut self, running: Running, outcome: Outcome, turn: &Turn<'_>) -> bool {
        let Self {
            entries,
            list,
            view,
            trips,
            ..
        } = self;
        let Some(entry) = entries.get_mut(running.index) else {
            return false;
        };
        debug_assert!(entry.in_flight > 0, "T1");
        entry.in_flight = entry.in_flight.saturating_sub(1);
        entry.tokens = entry.tokens.saturating_sub(running.tokens);
        entry.touch();
        let others = |generation| {
            let Some((_, id)) = list.names.get(running.index) else {
                return Tally::default();
            };
            let window = u64::try_from(turn.settings.window.as_nanos()).unwrap_or(u64::MAX);
            let since = turn.now.as_nanos().saturating_sub(window);
            view.tally(*id, generation, Instant::from_nanos(since))
        };
        let changed = entry.breaker.settle(running.permit, outcome, others, turn);
        let mark = entry.breaker.mark();
        let is_trip = changed && mark.state == State::Open && mark.until > turn.now;
        if let (true, Some(trips)) = (is_trip, trips.get_mut(running.index)) {
            *trips += 1;
        }
        changed
    }

    /// What there is to tell: what happened since the last time, or all when `is_whole`.
    pub fn tell(&mut self, is_whole: bool, turn: &Turn<'_>) -> Vec<(TargetId, Cell)> {
        let mut cells = Vec::new();
        for (entry, (_, id)) in self.entries.iter_mut().zip(&self.list.names) {
            if entry.is_fresh || is_whole && entry.is_touched {
                entry.is_fresh = false;
                cells.push((*id, entry.cell(turn)));
            }
        }
        cells
    }

    /// Takes in what another shard said.
    pub fn hear(&mut self, digest: &Digest) {
        self.view.join(digest);
        for (id, cell) in &*digest.cells {
            self.mark(*id, cell.mark);
        }
    }

    fn mark(&mut self, id: TargetId, mark: Mark) {
        let at = self.by_id.get(&id).copied();
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at))
            && entry.breaker.hear(mark)
        {
            entry.touch(); // the others are told what this shard goes by, too
        }
    }

    /// What this shard knows of each target that it ever asked or heard of, by index.
    pub fn cells(&mut self, turn: &Turn<'_>) -> Vec<(usize, Cell)> {
        let entries = self.entries.iter_mut().enumerate();
        entries
            .filter(|(_, entry)| entry.is_touched)
            .map(|(index, entry)| (index, entry.cell(turn)))
            .collect()
    }
}
