//! Which target comes next: the model's own targets by its strategy, then its fallbacks'.
//!
//! ```text
//!   model ── first by strategy ──► target, then its others ──► fallback 1 … ──► fallback n
//!                                  ▲                                             │ all failed
//!                                  └──────── those that may do better now ◄──────┘
//!            └────────────── at most `attempts_max` steps in all ───────────────┘
//! ```
//!
//! From one model to the next it goes only after a failure that [`Model::fallback_on`] of the asked
//! model names. A prompt that was too long for a target goes to none that is known to take no
//! more, and to another one of the same model only where it is known to take more; one that was
//! refused for its content goes to another model at once.
//!
//! A request may name other fallbacks ([`super::wishes`]); they take the place of the model's own.
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
use super::wishes::Wished;
use crate::base::time::Instant;
use crate::config::Config;
use crate::config::model::defaults::{ATTEMPTS_MAX, TARGETS_MAX};
use crate::config::model::{Found, Model, Provider, Reason, Reasons, Timeouts};

const _: () = assert!(TARGETS_MAX <= Set::MAX);

/// What targets are passed over for, as failures: their breaker is open, or they want to be left
/// alone.
const OUTAGE: Reasons = Reasons::NONE
    .with(Reason::Error)
    .with(Reason::Timeout)
    .with(Reason::RateLimit);

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
    /// Whose turn the last step was.
    last: usize,
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
    /// What attempts failed of.
    failed: Reasons,
    /// The one of them that came last.
    reason: Option<Reason>,
    /// A target was passed over.
    has_passed: bool,
    /// What the request itself met with last, which no other failure makes good: it is too long,
    /// or refused for its content.
    met: Option<Reason>,
    /// The most tokens that are known to be too few for it.
    least: Option<u64>,
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
            last: 0,
            moved: None,
            tried: Set::default(),
            left: attempts_max.clamp(1, ATTEMPTS_MAX),
            has_begun: false,
            spare: None,
            failed: Reasons::NONE,
            reason: None,
            has_passed: false,
            met: None,
            least: None,
            retries: Retries::default(),
        }
    }

    /// The attempt that was made last failed for this reason, at a target that takes prompts of
    /// so many tokens; that matters only for [`Reason::ContextLength`].
    pub fn fail(&mut self, reason: Reason, window: Option<u64>) {
        self.failed = self.failed.with(reason);
        self.reason = Some(reason);
        match reason {
            Reason::ContextLength => self.least = self.least.max(window),
            Reason::ContentPolicy => self.tried = Set::below(Set::MAX),
            Reason::Error | Reason::Timeout | Reason::RateLimit => return,
        }
        self.met = Some(reason);
    }

    /// Whether what went wrong lets another model be asked; a second attempt beside a slow one may
    /// go there where a slow one's end would lead.
    fn may_fall_back(&self, on: Reasons, is_beside: bool) -> bool {
        match self.met {
            Some(reason) => on.has(reason),
            None if is_beside && on.has(Reason::Timeout) => true,
            None => on.meets(self.failed) || self.has_passed && on.meets(OUTAGE),
        }
    }

    /// How many steps the budget still allows, whether or not there are targets for them.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Whether there is a target that this plan has not come to, and a step for it.
    pub fn has_more(&self, config: &Config, found: &Found<'_>, wished: Option<&[Wished]>) -> bool {
        let turn = turn_of(config, found, wished, self.turn);
        let model = turn.and_then(|turn| config.models.get(turn.model));
        let has_untried = |model: &Model| {
            let untried = Set::below(model.targets.len()).without(self.tried);
            !untried.is_empty()
        };
        let others = wished.map_or(found.model.fallbacks.len(), <[_]>::len);
        let may = self.may_fall_back(found.model.fallback_on, true);
        let has_other = others > self.turn && may;
        self.left > 0 && (model.is_some_and(has_untried) || has_other)
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
            let Some(turn) = turn_of(config, found, sight.fallbacks, self.turn) else {
                break;
            };
            let on = found.model.fallback_on;
            if self.turn > 0 && !self.may_fall_back(on, sight.only_calm) {
                break;
            }
            let index = turn.model;
            let model = config.models.get(index)?;
            let rotation = rotations.of(index)?;
            let name = turn.name(sight.asked);
            let Some(target) = self.advance((model, index, name), rotation, sight) else {
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
                (_, permits) => return self.step(config, &turn, target, permits),
            }
        }
        let has_begun = self.has_begun;
        let is_good =
            |spare: &Spare| (!has_begun || spare.rank == Rank::Spared) && !sight.only_calm;
        let spare = self.spare.take().filter(is_good);
        let spare = spare.filter(|_| self.met.is_none())?;
        let turn = turn_of(config, found, sight.fallbacks, spare.turn)?;
        self.step(config, &turn, spare.target, spare.permits)
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
    /// `None` when no attempt is left, or nobody would wait so long, or the request itself is what
    /// was refused.
    pub fn later(&self, config: &Config, found: &Found<'_>, sight: &Sight<'_>) -> Option<Instant> {
        let until = self.retries.iter().filter_map(|(turn, target)| {
            let turn = turn_of(config, found, sight.fallbacks, turn)?;
            sight.when(turn.model, target)
        });
        let until = until.min();
        let until = until.filter(|_| self.left > 0 && self.met.is_none())?;
        let turn = sight.turn;
        self.retries
            .when(&config.retry, until, (turn.now, turn.random))
    }

    /// The attempt that [`Plan::later`] spoke of: at the first target that may be asked, else
    /// where that comes soonest.
    pub fn again<'a>(
        &mut self,
        config: &'a Config,
        found: &Found<'a>,
        sight: &mut Sight<'_>,
    ) -> Option<Step<'a>> {
        let wished = sight.fallbacks;
        let of = |(turn, _): &Tried| turn_of(config, found, wished, *turn);
        let best = self.retries.iter().min_by_key(|tried| {
            let when = of(tried).and_then(|turn| sight.when(turn.model, tried.1));
            (when.is_none(), when) // of equals the first
        })?;
        self.retries.take(best);
        let turn = of(&best)?;
        let (_, permits) = sight.ask(turn.model, best.1);
        self.step(config, &turn, best.1, permits)
    }

    fn pass_over(&mut self, rank: Rank, target: usize, permits: Permits) {
        self.has_passed = true;
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
        turn: &TurnOf<'a, '_>,
        target_index: usize,
        permits: Permits,
    ) -> Option<Step<'a>> {
        let model_index = turn.model;
        let model = config.models.get(model_index)?;
        let target = model.targets.get(target_index)?;
        self.left = self.left.saturating_sub(1);
        self.has_begun = true;
        self.last = turn.turn;
        self.retries.tries((turn.turn, target_index));
        Some(Step {
            provider_index: target.provider,
            provider: config.provider(target)?,
            upstream_model: target.model.as_deref().unwrap_or(turn.forwarded),
            model,
            model_index,
            target_index,
            fallback: turn.fallback,
            permits,
        })
    }

    /// The next target of the model whose turn it is: where none of a tier may be asked, any.
    fn advance(
        &mut self,
        (model, index, name): (&Model, usize, &str),
        rotation: &mut Rotation,
        sight: &Sight<'_>,
    ) -> Option<usize> {
        let mut untried = Set::below(model.targets.len()).without(self.tried);
        if self.failed.has(Reason::ContextLength) {
            untried = untried.without(self.too_small(model, name));
        }
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

    /// The targets of `model`, asked for as `name`, that a prompt which was too long for others
    /// need not be sent to.
    fn too_small(&self, model: &Model, name: &str) -> Set {
        let mut small = Set::default();
        for (place, target) in model.targets.iter().enumerate() {
            let is_larger = match (target.window(name), self.least) {
                (Some(window), Some(least)) => window > least,
                _ => self.turn > 0, // another model, of which nothing speaks against it
            };
            if !is_larger {
                small.add(place);
            }
        }
        small
    }

    /// Why the last attempt failed.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// Whose turn the last step was: 0 = the asked model's, n = its n-th fallback's.
    pub fn last_turn(&self) -> usize {
        self.last
    }
}

/// Whose turn it is.
struct TurnOf<'a, 's> {
    /// 0 = the asked model's, n = its n-th fallback's.
    turn: usize,
    /// Index of the model.
    model: usize,
    /// The name that goes upstream for a target without one of its own, as [`Found::forwarded`]
    /// and [`Wished::name`] have it.
    forwarded: &'a str,
    /// Its name as a fallback.
    fallback: Option<&'a str>,
    /// What it is called where `forwarded` is not the name itself.
    wished: Option<&'s str>,
}

impl TurnOf<'_, '_> {
    /// The name that targets without one of their own are asked for, of the model `asked`.
    fn name<'n>(&'n self, asked: &'n str) -> &'n str {
        match (self.fallback, self.wished) {
            (None, _) => asked,
            (_, Some(name)) => name,
            _ => self.forwarded,
        }
    }
}

/// The model whose turn it is. `wished` are the fallbacks that the request names.
fn turn_of<'a, 's>(
    config: &'a Config,
    found: &Found<'a>,
    wished: Option<&'s [Wished]>,
    turn: usize,
) -> Option<TurnOf<'a, 's>> {
    let Some(at) = turn.checked_sub(1) else {
        return Some(TurnOf {
            turn,
            model: found.index,
            forwarded: found.forwarded,
            fallback: None,
            wished: None,
        });
    };
    if let Some(wished) = wished {
        let wished = wished.get(at)?;
        return Some(TurnOf {
            turn,
            model: wished.model,
            forwarded: wished.name(config),
            fallback: Some(&config.models.get(wished.model)?.name),
            wished: Some(&wished.forwarded),
        });
    }
    let fallback = found.model.fallbacks.get(at)?;
    Some(TurnOf {
        turn,
        model: fallback.model,
        forwarded: fallback.forwarded.as_str(),
        fallback: Some(&fallback.name),
        wished: None,
    })
}

#[cfg(test)]
mod reason_tests;
#[cfg(test)]
mod tests;
