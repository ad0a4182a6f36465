//! Which target comes next: the model's own targets by its strategy, then its fallbacks'.
//!
//! ```text
//!   model ── first by strategy ──► target, then its others ──► fallback 1 … ──► fallback n
//!                                  ▲                                             │ all failed
//!                                  └──────── those that may do better now ◄──────┘
//!            └────────────── at most `attempts_max` steps in all ───────────────┘
//! ```
//!
//! A target that is out is passed over and costs no step. When all of them are, the best is
//! tried all the same: no answer is worse than a doubtful one. That is one that came back not
//! long ago; else, by lot, one of the model's whose breaker is open, so that all of them are
//! found to be well again soon; else the one whose limit ends first.
//!
//! Each target is tried once; when all were, those whose failure may pass are tried again
//! ([`Retries`]). A model's rotation moves when the model's turn comes, so a fallback that is
//! never reached is not moved by other models' requests.
//!
//! Invariants
//! - R2 [`Plan::next`] names no target of a model twice; there are at most `attempts_max` steps
//!   in all.
//! - R3 Nothing is allocated.

use super::balance::{Set, mix};
use super::breaker::{Permits, Verdict};
use super::retry::{Hope, Retries, Tried};
use super::rotation::{Rotation, Rotations, Sight};
use crate::base::time::Instant;
use crate::config::Config;
use crate::config::model::defaults::{ATTEMPTS_MAX, TARGETS_MAX};
use crate::config::model::{Found, Model, Provider, Retry, Timeouts};

const _: () = assert!(TARGETS_MAX <= Set::MAX);

/// One attempt to make.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Index into [`Config::providers`].
    pub provider_index: usize,
    /// Whom to ask.
    pub provider: &'a Provider,
    /// For which name.
    pub upstream_model: &'a str,
    /// The model whose target this is: the one that was asked for, or a fallback.
    pub model: &'a Model,
    /// Index into [`Config::models`].
    pub model_index: usize,
    /// Index into [`Model::targets`].
    pub target_index: usize,
    /// The name of the fallback that this step belongs to.
    pub fallback: Option<&'a str>,
    /// What the attempt begins with.
    pub permits: Permits,
}

impl<'a> Step<'a> {
    /// The timeouts of this attempt; `total` is the asked model's, not this one.
    pub fn timeouts(&self) -> &'a Timeouts {
        &self.model.timeouts
    }
}

/// The attempts of one exchange, worked out step by step.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Index of the model that was asked for.
    asked: usize,
    /// Whose turn it is: 0 = the asked model, n = its n-th fallback.
    turn: usize,
    /// The tier whose turns have moved on in this turn.
    moved: Option<usize>,
    /// What this turn has tried.
    tried: Set,
    /// Steps that may still be made.
    left: usize,
    /// A step was made.
    has_begun: bool,
    /// The best of the targets that were passed over.
    spare: Option<Spare>,
    /// What was tried, and may be again.
    retries: Retries,
}

/// A target that was passed over.
#[derive(Clone, Copy, Debug)]
struct Spare {
    rank: Rank,
    turn: usize,
    target: usize,
    permits: Permits,
}

/// How good a target is that is out; less is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It came back, and is spared as yet.
    Spared,
    /// Its breaker, or its host's, is open: of the model that was asked for before those of its
    /// fallbacks, by lot.
    Open(usize, u64),
    /// Its provider wants it to be left alone until then.
    Cooling(Instant),
}

impl Rank {
    fn of((turn, index): (usize, usize), target: usize, sight: &Sight<'_>) -> Self {
        let (whose, turn) = (turn, sight.turn);
        match sight.when(index, target) {
            None => Self::Open(whose, mix(turn.random.wrapping_add(target as u64))),
            Some(at) if at <= turn.now => Self::Spared,
            Some(at) => Self::Cooling(at),
        }
    }
}

impl Plan {
    /// A plan for the model `found`, of at most `attempts_max` steps
    /// (1 to [`ATTEMPTS_MAX`]).
    pub fn new(found: &Found<'_>, attempts_max: usize) -> Self {
        Self {
            asked: found.index,
            turn: 0,
            moved: None,
            tried: Set::default(),
            left: attempts_max.clamp(1, ATTEMPTS_MAX),
            has_begun: false,
            spare: None,
            retries: Retries::default(),
        }
    }

    /// How many steps the budget still allows, whether or not there are targets for them.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Whether there is a target that this plan has not come to, and a step for it.
    pub fn has_more(&self, config: &Config, found: &Found<'_>) -> bool {
        let model = turn_of(found, self.turn).and_then(|(index, ..)| config.models.get(index));
        let has_untried = |model: &Model| {
            let untried = Set::below(model.targets.len()).without(self.tried);
            !untried.is_empty()
        };
        self.left > 0 && (model.is_some_and(has_untried) || found.model.fallbacks.len() > self.turn)
    }

    /// The next attempt, with `asked` as it was given to [`Config::find`];
    /// `None` when targets or attempts are used up.
    ///
    /// `config`, `rotations` and the places of `sight` must be those of the exchange's
    /// beginning.
    pub fn next<'a>(
        &mut self,
        config: &'a Config,
        rotations: &mut Rotations,
        found: &Found<'a>,
        sight: &mut Sight<'_>,
    ) -> Option<Step<'a>> {
        debug_assert_eq!(found.index, self.asked);
        while self.left > 0 {
            let Some((index, ..)) = turn_of(found, self.turn) else {
                break;
            };
            let model = config.models.get(index)?;
            let rotation = rotations.of(index)?;
            let Some(target) = self.advance((model, index), rotation, sight) else {
                self.turn += 1;
                self.moved = None;
                self.tried = Set::default();
                continue;
            };
            match sight.ask(index, target) {
                (Verdict::Reject { .. }, permits) => {
                    let rank = Rank::of((self.turn, index), target, sight);
                    self.pass_over(rank, target, permits);
                }
                (_, permits) => return self.step(config, found, (self.turn, target), permits),
            }
        }
        let has_begun = self.has_begun;
        let is_good =
            |spare: &Spare| (!has_begun || spare.rank == Rank::Spared) && !sight.only_calm;
        let spare = self.spare.take().filter(is_good)?;
        self.step(config, found, (spare.turn, spare.target), spare.permits)
    }

    /// The attempt of the last step failed.
    pub fn failed(&mut self, hope: Hope) {
        self.retries.failed(hope);
    }

    /// The attempt of the last step was not made.
    pub fn not_made(&mut self) {
        self.retries.not_made();
    }

    /// Of the last two steps, whose attempts run at once, the one before is the last from here on.
    pub fn change_places(&mut self) {
        self.retries.change_places();
    }

    /// When there is a target worth asking again, once [`Plan::next`] has none;
    /// `None` when no attempt is left, or nobody would wait so long.
    pub fn later(&self, settings: &Retry, found: &Found<'_>, sight: &Sight<'_>) -> Option<Instant> {
        let until = self.retries.iter().filter_map(|(turn, target)| {
            let (index, ..) = turn_of(found, turn)?;
            sight.when(index, target)
        });
        let until = until.min().filter(|_| self.left > 0)?;
        let turn = sight.turn;
        self.retries.when(settings, until, (turn.now, turn.random))
    }

    /// The attempt that [`Plan::later`] spoke of: at the first target that may be asked, else
    /// where that comes soonest.
    pub fn again<'a>(
        &mut self,
        config: &'a Config,
        found: &Found<'a>,
        sight: &mut Sight<'_>,
    ) -> Option<Step<'a>> {
        let of = |(turn, _): &Tried| turn_of(found, *turn).map(|(index, ..)| index);
        let best = self.retries.iter().min_by_key(|tried| {
            let when = of(tried).and_then(|index| sight.when(index, tried.1));
            (when.is_none(), when) // of equals the first
        })?;
        self.retries.take(best);
        let (_, permits) = sight.ask(of(&best)?, best.1);
        self.step(config, found, best, permits)
    }

    fn pass_over(&mut self, rank: Rank, target: usize, permits: Permits) {
        if self.spare.is_none_or(|spare| rank < spare.rank) {
            self.spare = Some(Spare {
                rank,
                turn: self.turn,
                target,
                permits,
            });
        }
    }

    fn step<'a>(
        &mut self,
        config: &'a Config,
        found: &Found<'a>,
        (turn, target_index): (usize, usize),
        permits: Permits,
    ) -> Option<Step<'a>> {
        let (model_index, forwarded, fallback) = turn_of(found, turn)?;
        let model = config.models.get(model_index)?;
        let target = model.targets.get(target_index)?;
        self.left = self.left.saturating_sub(1);
        self.has_begun = true;
        self.retries.tries((turn, target_index));
        Some(Step {
            provider_index: target.provider,
            provider: config.provider(target)?,
            upstream_model: target.model.as_deref().unwrap_or(forwarded),
            model,
            model_index,
            target_index,
            fallback,
            permits,
        })
    }

    /// The next target of the model whose turn it is: where none of a tier may be asked, any.
    fn advance(
        &mut self,
        (model, index): (&Model, usize),
        rotation: &mut Rotation,
        sight: &Sight<'_>,
    ) -> Option<usize> {
        let untried = Set::below(model.targets.len()).without(self.tried);
        let (tier, all) = rotation.tier(untried)?;
        let mut open = sight.open(index, all);
        if open.is_empty() {
            open = sight.spared(index, all);
        }
        let target = if open.is_empty() {
            all.nth(0)?
        } else {
            let moves = self.moved != Some(tier);
            self.moved = Some(tier);
            rotation.pick((model, index), open, moves, sight)?
        };
        self.tried.add(target);
        Some(target)
    }
}

/// The model whose turn it is, the name it forwards, and its name as a fallback.
fn turn_of<'a>(found: &Found<'a>, turn: usize) -> Option<(usize, &'a str, Option<&'a str>)> {
    let Some(at) = turn.checked_sub(1) else {
        return Some((found.index, found.forwarded, None));
    };
    let fallback = found.model.fallbacks.get(at)?;
    let name = fallback.name.as_str();
    Some((fallback.model, fallback.forwarded.as_str(), Some(name)))
}

#[cfg(test)]
mod tests;
