//! What a shard knows of each target: its breaker, what is under way, how fast it answers.
//!
//! ```text
//!   config ──► Places: model, place ──► number, id                the same on every shard
//!   attempts ──► Targets [number] ──► cells that changed ──► others' views
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
//! - T4 What the others have under way is the sum of the newest cells of the view's rows.
//! - T3 An entry stays for as long as the process lives, with its number and id: attempts that
//!   began before a reload end where they began, and a target that comes back is known.

use super::balance::Load;
use super::breaker::{Breaker, Outcome, Permit, Turn, Verdict};
use super::peak::Peak;
use crate::base::time::Instant;
use crate::dialect::model::Dialect;
use crate::dialect::tokens::{Ratio, Weight};
use crate::stats::view::{Cell, Digest, State, TargetId, View};
use ahash::AHashMap;
use std::time::Duration;

/// What an attempt that failed counts as in the estimate of the time to the first token, at
/// least: a target that fails fast is not a fast one (Linkerd's load biaser).
pub const PENALTY: Duration = Duration::from_secs(5);

/// Tokens of a plain answer that are made in about the time that a stream takes to begin:
/// what counts for the estimate is the time that so many of its tokens took.
const PLAIN_TOKENS: u64 = 64;

/// What the other shards have under way at a target, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Others {
    in_flight: u64,
    tokens: u64,
}

impl Others {
    /// One of them had `before` and has `now`.
    fn change(&mut self, before: &Cell, now: &Cell) {
        let change = |sum: &mut u64, before: u64, now: u64| {
            *sum = sum.saturating_sub(before).saturating_add(now);
        };
        let in_flight = (before.in_flight.into(), now.in_flight.into());
        change(&mut self.in_flight, in_flight.0, in_flight.1);
        change(&mut self.tokens, before.tokens, now.tokens);
    }
}

/// What this shard knows of one target.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    breaker: Breaker,
    id: TargetId,
    in_flight: u32,
    tokens: u64,
    first_token: Peak,
    others: Others,
    /// Until when its provider wants it to be left alone, as far as any shard was told.
    cool_until: Instant,
    /// Tokens that a body of so many bytes comes to.
    of_bodies: Ratio,
    /// The same, of requests that were read.
    of_requests: Ratio,
    /// Something happened since the last digest.
    is_fresh: bool,
    /// Something ever happened here.
    is_touched: bool,
}

impl Entry {
    fn is_cooling(&self, turn: &Turn<'_>) -> bool {
        turn.now < self.cool_until && turn.settings.is_on
    }

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
            ttft: self.first_token.own(),
            cool_until: self.cool_until,
            window: self.breaker.tally(),
        }
    }
}

/// What this shard knows of all targets, and what it heard of them.
#[derive(Clone, Debug)]
pub struct Targets {
    /// What the other shards said.
    pub view: View,
    /// How often a breaker was opened here, by number.
    pub trips: Vec<u64>,
    entries: Vec<Entry>,
    by_id: AHashMap<TargetId, usize>,
}

/// An attempt that is under way at a target.
#[derive(Clone, Copy, Debug)]
pub struct Running {
    /// The target's number.
    pub target: usize,
    /// What it began with.
    pub permit: Permit,
    /// Estimated tokens.
    pub tokens: u64,
    /// When it began.
    pub began: Instant,
}

impl Targets {
    /// None yet, on one of `shards`.
    pub fn new(shards: usize) -> Self {
        Self {
            view: View::new(shards),
            trips: Vec::new(),
            entries: Vec::new(),
            by_id: AHashMap::new(),
        }
    }

    /// These are known from here on, by number and id; those that were stay what they are (T3).
    pub fn enter(&mut self, targets: impl Iterator<Item = (usize, TargetId)>) {
        for (number, id) in targets {
            if self.by_id.insert(id, number).is_some() {
                continue;
            }
            if number >= self.entries.len() {
                self.entries.resize(number + 1, Entry::default());
                self.trips.resize(number + 1, 0);
            }
            if let Some(entry) = self.entries.get_mut(number) {
                entry.id = id;
            }
            // What the others said of it before it was known here.
            for row in 0..self.view.rows.len() {
                let heard = self.view.rows.get(row).and_then(|row| row.cells.get(&id));
                if let Some(cell) = heard.map(|heard| heard.cell) {
                    self.take_in(id, &Cell::default(), &cell);
                }
            }
        }
    }

    /// Whether the target of this number is to be asked, and with what an attempt at it
    /// begins, allowed or not. A target that is not known is.
    pub fn ask(&mut self, target: Option<usize>, turn: &Turn<'_>) -> (Verdict, Permit) {
        let entry = target.and_then(|at| self.entries.get_mut(at));
        let Some(entry) = entry else {
            return (Verdict::Admit, Permit::default());
        };
        if entry.is_cooling(turn) {
            let until = entry.cool_until.max(entry.breaker.mark().until);
            let verdict = Verdict::Reject { until };
            return (verdict, entry.breaker.permit(verdict));
        }
        let verdict = entry.breaker.ask(turn);
        if verdict == Verdict::Probe {
            entry.touch();
        }
        (verdict, entry.breaker.permit(verdict))
    }

    /// With what an attempt at this target begins that nobody was asked about.
    pub fn permit(&self, target: Option<usize>) -> Permit {
        let entry = target.and_then(|at| self.entries.get(at));
        let never = Verdict::Admit;
        entry.map_or_else(Permit::default, |entry| entry.breaker.permit(never))
    }

    /// Whether [`Targets::ask`] would let an attempt through; nothing is claimed.
    pub fn may_ask(&self, target: Option<usize>, turn: &Turn<'_>) -> bool {
        let entry = target.and_then(|at| self.entries.get(at));
        entry.is_none_or(|entry| entry.breaker.may_ask(turn) && !entry.is_cooling(turn))
    }

    /// Whether nothing of a target is in doubt: [`Breaker::is_calm`].
    pub fn is_calm(&self, target: Option<usize>, turn: &Turn<'_>) -> bool {
        let entry = target.and_then(|at| self.entries.get(at));
        entry.is_none_or(|entry| entry.breaker.is_calm(turn))
    }

    /// When the target of this number may be asked again, if that is known: when its provider
    /// said, else now. Nobody waits for an open breaker: it promises nothing.
    pub fn when(&self, target: Option<usize>, turn: &Turn<'_>) -> Option<Instant> {
        let Some(entry) = target.and_then(|at| self.entries.get(at)) else {
            return Some(turn.now);
        };
        let is_out = entry.breaker.mark().state != State::Closed && turn.settings.is_on;
        (!is_out).then_some(if entry.is_cooling(turn) {
            entry.cool_until
        } else {
            turn.now
        })
    }

    /// Whether a target is left alone because its provider said so.
    pub fn is_cooling(&self, target: Option<usize>, turn: &Turn<'_>) -> bool {
        let entry = target.and_then(|at| self.entries.get(at));
        entry.is_some_and(|entry| entry.is_cooling(turn))
    }

    /// What the box has under way at a target, and how fast that answers.
    pub fn load(&self, target: Option<usize>, now: Instant) -> Load {
        let entry = target.and_then(|at| self.entries.get(at));
        entry.map_or_else(Load::default, |entry| Load {
            in_flight: entry.others.in_flight + u64::from(entry.in_flight),
            tokens: entry.others.tokens.saturating_add(entry.tokens),
            ttft: entry.first_token.nanos(now),
            tried: entry.first_token.at(),
        })
    }

    /// What names a target over reloads and between shards.
    pub fn id(&self, target: Option<usize>) -> TargetId {
        let entry = target.and_then(|at| self.entries.get(at));
        entry.map_or_else(TargetId::default, |entry| entry.id)
    }

    /// Its provider wants a target to be left alone until then. True when that is news for the
    /// other shards that cannot wait.
    pub fn cool(&mut self, target: usize, until: Instant, now: Instant) -> bool {
        let Some(entry) = self.entries.get_mut(target) else {
            return false;
        };
        let was_asked = entry.cool_until <= now;
        if until > entry.cool_until {
            entry.cool_until = until;
            entry.touch();
        }
        was_asked && until > now
    }

    /// An attempt begins.
    pub fn begin(&mut self, running: Running) {
        if let Some(entry) = self.entries.get_mut(running.target) {
            entry.in_flight = entry.in_flight.saturating_add(1);
            entry.tokens = entry.tokens.saturating_add(running.tokens);
            entry.touch();
        }
    }

    /// It got its first content, `took` after its request was sent. True when the breaker
    /// changed.
    pub fn content(&mut self, running: Running, took: Duration, turn: &Turn<'_>) -> bool {
        self.entries.get_mut(running.target).is_some_and(|entry| {
            entry.first_token.add(took, turn.now);
            entry.touch();
            entry.breaker.content(running.permit, turn)
        })
    }

    /// It was given up after `took` for another one that was faster: it is not known to be
    /// faster than that.
    pub fn gave_way(&mut self, running: Running, took: Duration, now: Instant) {
        if let Some(entry) = self.entries.get_mut(running.target) {
            let so_far = Duration::from_nanos(entry.first_token.nanos(now));
            entry.first_token.add(so_far.max(took), now);
        }
    }

    /// It got a plain answer of so many tokens, whole.
    pub fn whole(&mut self, running: Running, tokens: u64, now: Instant) {
        if let Some(entry) = self.entries.get_mut(running.target) {
            let nanos = now.since(running.began).as_nanos();
            let took = nanos * u128::from(PLAIN_TOKENS) / u128::from(tokens.max(PLAIN_TOKENS));
            let took = Duration::from_nanos(u64::try_from(took).unwrap_or(u64::MAX));
            entry.first_token.add(took, now);
        }
    }

    /// It ended. True when the breaker changed.
    pub fn end(&mut self, running: Running, outcome: Outcome, turn: &Turn<'_>) -> bool {
        let Some(entry) = self.entries.get_mut(running.target) else {
            return false;
        };
        debug_assert!(entry.in_flight > 0, "T1");
        entry.in_flight = entry.in_flight.saturating_sub(1);
        entry.tokens = entry.tokens.saturating_sub(running.tokens);
        if matches!(outcome, Outcome::Failure | Outcome::Limited) {
            let so_far = Duration::from_nanos(entry.first_token.nanos(turn.now));
            entry.first_token.add(so_far.max(PENALTY), turn.now);
        }
        entry.touch();
        self.judge(running.target, (running.permit, outcome), turn)
    }

    /// An attempt with this permit says this of the target, or host, of this number. True when
    /// its breaker changed.
    pub fn judge(
        &mut self,
        number: usize,
        (permit, outcome): (Permit, Outcome),
        turn: &Turn<'_>,
    ) -> bool {
        let Self {
            entries,
            view,
            trips,
            ..
        } = self;
        let Some(entry) = entries.get_mut(number) else {
            return false;
        };
        let id = entry.id;
        let others = |generation| {
            let window = u64::try_from(turn.settings.window.as_nanos()).unwrap_or(u64::MAX);
            let since = turn.now.as_nanos().saturating_sub(window);
            view.tally(id, generation, Instant::from_nanos(since))
        };
        let changed = entry.breaker.settle(permit, outcome, others, turn);
        let mark = entry.breaker.mark();
        let is_trip = changed && mark.state == State::Open && mark.until > turn.now;
        if changed || outcome == Outcome::Failure {
            entry.touch(); // also of a host, of which nothing is told while all is well
        }
        if let (true, Some(trips)) = (is_trip, trips.get_mut(number)) {
            *trips += 1;
        }
        changed
    }

    /// How many tokens of prompt a body of `bytes` is likely to come to at this target.
    pub fn estimate(&self, target: Option<usize>, bytes: u64) -> u64 {
        let entry = target.and_then(|at| self.entries.get(at));
        let ratio = entry.map_or_else(Ratio::default, |entry| entry.of_bodies);
        ratio.tokens(&Weight {
            bytes,
            ..Weight::default()
        })
    }

    /// The same of a request that was read, at a target that speaks `dialect`.
    pub fn count(&self, target: Option<usize>, weight: &Weight, dialect: Dialect) -> u64 {
        let entry = target.and_then(|at| self.entries.get(at));
        let learned = entry.map(|entry| entry.of_requests);
        let ratio = learned.filter(|ratio| *ratio != Ratio::default());
        ratio.unwrap_or(Ratio::of(dialect)).tokens(weight)
    }

    /// Learns that a body of `bytes`, of this weight if it was read, came to `tokens` at this
    /// target, which speaks `dialect`.
    pub fn learn(
        &mut self,
        target: usize,
        (bytes, weight): (u64, Option<&Weight>),
        (tokens, dialect): (u64, Dialect),
    ) {
        let Some(entry) = self.entries.get_mut(target) else {
            return;
        };
        entry.of_bodies.learn(bytes, tokens);
        if let Some(weight) = weight {
            if entry.of_requests == Ratio::default() {
                entry.of_requests = Ratio::of(dialect);
            }
            entry.of_requests.learn_from(weight, tokens);
        }
    }

    /// What there is to tell: what happened since the last time, or all when `is_whole`.
    pub fn tell(&mut self, is_whole: bool, turn: &Turn<'_>) -> Vec<(TargetId, Cell)> {
        let mut cells = Vec::new();
        for entry in &mut self.entries {
            if entry.is_fresh || is_whole && entry.is_touched {
                entry.is_fresh = false;
                cells.push((entry.id, entry.cell(turn)));
            }
        }
        cells
    }

    /// Takes in what another shard said.
    pub fn hear(&mut self, digest: &Digest) {
        let Self {
            view,
            entries,
            by_id,
            ..
        } = self;
        view.join_with(digest, |id, before, now| {
            let entry = by_id.get(&id).and_then(|at| entries.get_mut(*at));
            if let Some(entry) = entry {
                entry.others.change(&before, &now);
            }
        });
        for (id, cell) in &*digest.cells {
            self.hear_of(*id, cell);
        }
    }

    /// What a shard has of a target was `before` and is `now`.
    fn take_in(&mut self, id: TargetId, before: &Cell, now: &Cell) {
        let at = self.by_id.get(&id).copied();
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            entry.others.change(before, now);
        }
        self.hear_of(id, now);
    }

    /// What is joined with what was known, however old it is.
    fn hear_of(&mut self, id: TargetId, cell: &Cell) {
        let at = self.by_id.get(&id).copied();
        let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) else {
            return;
        };
        entry.first_token.hear(cell.ttft);
        entry.cool_until = entry.cool_until.max(cell.cool_until);
        if entry.breaker.hear(cell.mark) {
            entry.touch(); // the others are told what this shard goes by, too
        }
    }

    /// What this shard knows of each target that it ever asked or heard of, by number.
    pub fn cells(&mut self, turn: &Turn<'_>) -> Vec<(usize, Cell)> {
        let entries = self.entries.iter_mut().enumerate();
        entries
            .filter(|(_, entry)| entry.is_touched)
            .map(|(index, entry)| (index, entry.cell(turn)))
            .collect()
    }
}

#[cfg(test)]
mod tests;
