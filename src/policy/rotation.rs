//! Whose turn it is among the targets of a model, by its strategy.
//!
//! ```text
//!   targets ── not tried yet ──► the first tier that has any ──► may be asked? ──► strategy ──► one
//! ```
//!
//! Smooth weighted round robin (as nginx does it): each pick adds every weight to its
//! target's credit, takes the largest credit, and takes the sum of weights off it again. Only
//! those that may be asked take part, so what a target that is out would have got is spread
//! over the others by their weights, and not given to the next one.
//!
//! Invariants
//! - R1 Over a period of as many picks as the weights' sum, each target of a tier is first
//!   exactly as often as its weight says, while all may be asked.
//! - R3 Nothing is allocated after [`Rotations::new`].

use super::balance::{Load, Set, cheapest, faster, home, lightest};
use super::breaker::{Permits, Turn, Verdict};
use super::targets::Targets;
use super::wishes::Wished;
use crate::base::time::Instant;
use crate::config::Config;
use crate::config::diff::Places;
use crate::config::model::defaults::TARGETS_MAX;
use crate::config::model::{Model, Rate, Strategy};
use std::fmt;

/// Bytes of a body that make a token, for comparing prices: the same for all targets.
const BYTES_PER_TOKEN: u64 = 4;

/// Tokens of an answer, for comparing prices, where the caller does not ask for less.
const ANSWER_TOKENS: u64 = 512;

/// What a decision goes by.
pub struct Sight<'s> {
    /// What the shard knows of targets.
    pub targets: &'s mut Targets,
    /// When and where the decision is made.
    pub turn: &'s Turn<'s>,
    /// Where the models' targets stand in `targets`.
    pub places: &'s Places,
    /// Bytes of the request's body.
    pub bytes: u64,
    /// The most tokens that its answer may have; 0 = nothing was said.
    pub answer_max: u64,
    /// The name that was asked for, and goes upstream for targets without one of their own.
    pub asked: &'s str,
    /// The fallbacks that the request names; `None`: the model's own.
    pub fallbacks: Option<&'s [Wished]>,
    /// Only targets of which nothing is in doubt will do: [`Targets::is_calm`].
    pub only_calm: bool,
    /// Makes out which conversation it is of; called by the strategy that wants to know.
    pub conversation: &'s dyn Fn() -> u64,
}

impl fmt::Debug for Sight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sight")
            .field("turn", &self.turn)
            .field("bytes", &self.bytes)
            .field("answer_max", &self.answer_max)
            .finish_non_exhaustive()
    }
}

impl Sight<'_> {
    /// Whether the target at `place` of `model` may be asked, and with what an attempt at it
    /// begins, allowed or not.
    ///
    /// The host is asked last: a probe of it is claimed only where the target lets it be made.
    pub(super) fn ask(&mut self, model: usize, place: usize) -> (Verdict, Permits) {
        let Self { places, turn, .. } = *self;
        let (target, host) = (places.target(model, place), places.host(model, place));
        let mut permits = Permits {
            target: self.targets.permit(target),
            host: self.targets.permit(host),
        };
        if !self.targets.may_ask(host, turn) {
            return (self.targets.ask(host, turn).0, permits);
        }
        if !self.is_calm_enough(target, host) {
            return (Verdict::Reject { until: turn.now }, permits);
        }
        let (verdict, permit) = self.targets.ask(target, turn);
        permits.target = permit;
        if matches!(verdict, Verdict::Reject { .. }) {
            return (verdict, permits);
        }
        permits.host = self.targets.ask(host, turn).1;
        (verdict, permits)
    }

    /// When the target at `place` of `model` may be asked again, if that is known.
    pub(super) fn when(&self, model: usize, place: usize) -> Option<Instant> {
        let Self { places, turn, .. } = *self;
        let target = self.targets.when(places.target(model, place), turn)?;
        Some(target.max(self.targets.when(places.host(model, place), turn)?))
    }

    /// Those of `from` that are only spared.
    pub(super) fn spared(&self, model: usize, from: Set) -> Set {
        let mut spared = Set::default();
        for place in from.iter() {
            if self
                .when(model, place)
                .is_some_and(|at| at <= self.turn.now)
            {
                spared.add(place);
            }
        }
        spared
    }

    /// Those of `from` that may be asked.
    pub(super) fn open(&self, model: usize, from: Set) -> Set {
        let mut open = Set::default();
        for place in from.iter() {
            let target = self.places.target(model, place);
            let host = self.places.host(model, place);
            let may_ask = |it| self.targets.may_ask(it, self.turn);
            if may_ask(target) && may_ask(host) && self.is_calm_enough(target, host) {
                open.add(place);
            }
        }
        open
    }

    fn is_calm_enough(&self, target: Option<usize>, host: Option<usize>) -> bool {
        let is_calm = |it| self.targets.is_calm(it, self.turn);
        !self.only_calm || is_calm(target) && is_calm(host)
    }

    fn load(&self, model: usize, place: usize) -> Load {
        let target = self.places.target(model, place);
        self.targets.load(target, self.turn.now)
    }
}

/// Where the rotation of every model stands. One per shard.
#[derive(Clone, Debug)]
pub struct Rotations {
    models: Vec<Rotation>,
}

/// Where the rotation of one model stands.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Per target; their sum is 0 between picks.
    credits: Vec<i64>,
    /// Round robin: the target whose turn it is.
    next: usize,
    /// The targets of each tier, first things first.
    tiers: Vec<Set>,
    /// What tokens cost at each target; `None` unknown.
    rates: Vec<Option<Rate>>,
}

impl Rotations {
    /// The rotations of `config`'s models, for the shard of number `shard`: each shard begins
    /// at another place, so that many shards with few requests do not all ask one target.
    pub fn new(config: &Config, shard: usize) -> Self {
        let models = config.models.iter().map(|model| {
            let targets = model.targets.len().max(1);
            let tiers = tiers(model);
            let first = tiers.first().copied().unwrap_or_default();
            let rates = model.targets.iter();
            let mut rotation = Rotation {
                credits: vec![0; model.targets.len()],
                next: shard % targets,
                tiers,
                rates: rates.map(|target| target.rate(&model.name)).collect(),
            };
            for _ in 0..shard % TARGETS_MAX {
                rotation.pick_weighted(model, first);
            }
            rotation
        });
        Self {
            models: models.collect(),
        }
    }

    /// Goes on where `before` is, for the models that `kept` has an old index of: those have
    /// the same targets in both.
    pub fn take_over(&mut self, before: &Self, kept: &[Option<usize>]) {
        for (mine, old) in self.models.iter_mut().zip(kept) {
            let old = old.and_then(|old| before.models.get(old));
            if let Some(old) = old.filter(|old| old.credits.len() == mine.credits.len()) {
                mine.credits.clone_from(&old.credits);
                mine.next = old.next;
            }
        }
    }

    /// That of the model at `index`.
    pub(super) fn of(&mut self, index: usize) -> Option<&mut Rotation> {
        self.models.get_mut(index)
    }
}

/// The places of each tier, in the order of the tiers.
fn tiers(model: &Model) -> Vec<Set> {
    let mut numbers: Vec<_> = model.targets.iter().map(|target| target.tier).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let places = |tier| {
        let mut set = Set::default();
        let of = model.targets.iter().enumerate();
        of.filter(|(_, target)| target.tier == tier)
            .for_each(|(place, _)| set.add(place));
        set
    };
    numbers.into_iter().map(places).collect()
}

impl Rotation {
    /// The first tier that has something of `from`: its number, and what it has.
    pub(super) fn tier(&self, from: Set) -> Option<(usize, Set)> {
        let tiers = self.tiers.iter().map(|tier| tier.and(from)).enumerate();
        tiers.into_iter().find(|(_, tier)| !tier.is_empty())
    }

    /// The target of `from` whose turn it is; `from` is of one tier of the model at `index`.
    /// Turns move on when `moves`: once for each exchange, not for what is tried after.
    pub(super) fn pick(
        &mut self,
        (model, index): (&Model, usize),
        from: Set,
        moves: bool,
        sight: &Sight<'_>,
    ) -> Option<usize> {
        let load = |place| sight.load(index, place);
        match model.strategy {
            Strategy::Weighted | Strategy::Priority if moves => self.pick_weighted(model, from),
            // Largest credit first: whose turn is nearest, and the first of equals.
            Strategy::Weighted | Strategy::Priority => from
                .iter()
                .min_by_key(|place| std::cmp::Reverse(self.credits.get(*place))),
            Strategy::RoundRobin => {
                let picked = from.iter_from(self.next).next()?;
                if moves {
                    self.next = (picked + 1) % model.targets.len().max(1);
                }
                Some(picked)
            }
            Strategy::LeastLatency => faster(from, sight.turn.random, sight.turn.now, load),
            Strategy::LeastTokens => lightest(from, sight.turn.random, load),
            Strategy::PrefixAffinity => {
                let id = |place| sight.targets.id(sight.places.target(index, place)).0;
                home(from, (sight.conversation)(), id, |at| load(at).in_flight)
            }
            Strategy::Cheapest => {
                let prompt = sight.bytes / BYTES_PER_TOKEN;
                let answer = match sight.answer_max {
                    0 => ANSWER_TOKENS,
                    most => most.min(ANSWER_TOKENS),
                };
                let cost = |place: usize| {
                    let rate = self.rates.get(place).copied().flatten();
                    rate.map_or(u64::MAX, |rate| rate.cost(prompt, answer))
                };
                cheapest(from, cost, |at| load(at).in_flight)
            }
        }
    }

    fn pick_weighted(&mut self, model: &Model, from: Set) -> Option<usize> {
        debug_assert_eq!(self.credits.len(), model.targets.len());
        let mut sum = 0;
        let mut best = None;
        for place in from.iter() {
            let credit = self.credits.get_mut(place)?;
            let weight = i64::from(model.targets.get(place)?.weight);
            *credit += weight;
            sum += weight;
            if best.is_none_or(|(most, _)| *credit > most) {
                best = Some((*credit, place));
            }
        }
        let (_, place) = best?;
        *self.credits.get_mut(place)? -= sum;
        Some(place)
    }
}
