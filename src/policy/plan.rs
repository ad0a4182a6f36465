//! Which target comes next: the model's own targets by its strategy, then its fallbacks'.
//!
//! ```text
//!   model ── first by rotation ──► target, then its others ──► fallback 1 … ──► fallback n
//!            └────────────── at most `attempts_max` steps in all ──────────────┘
//! ```
//!
//! A target whose breaker is open is passed over and costs no step. When all of them are,
//! the one that may be asked again first is tried all the same: no answer is worse than a
//! doubtful one.
//!
//! Each target is tried once. A model's rotation moves when the model's turn comes, so a
//! fallback that is never reached is not moved by other models' requests.
//!
//! Smooth weighted round robin (as nginx does it): each pick adds every weight to its
//! target's credit, takes the largest credit, and takes the sum of weights off it again.
//!
//! Invariants
//! - R1 Over a period of as many picks as the weights' sum, each target is first exactly as
//!   often as its weight says.
//! - R2 A plan names no target of a model twice, and at most `attempts_max` in all.
//! - R3 Nothing is allocated after [`Rotations::new`].

use crate::base::time::Instant;
use crate::config::Config;
use crate::config::model::defaults::{ATTEMPTS_MAX, TARGETS_MAX};
use crate::config::model::{Found, Model, Provider, Strategy, Target, Timeouts};
use crate::policy::breaker::{Permit, Verdict};

/// Where the rotation of every model stands. One per shard.
#[derive(Clone, Debug)]
pub struct Rotations {
    models: Vec<Rotation>,
}

/// Where the rotation of one model stands.
#[derive(Clone, Debug)]
struct Rotation {
    /// Per target; their sum is 0 between picks.
    credits: Vec<i64>,
    /// Round robin: the target whose turn it is.
    next: usize,
}

impl Rotations {
    /// The rotations of `config`'s models, for the shard of number `shard`: each shard begins
    /// at another place, so that many shards with few requests do not all ask one target.
    pub fn new(config: &Config, shard: usize) -> Self {
        let models = config.models.iter().map(|model| {
            let targets = model.targets.len().max(1);
            let mut rotation = Rotation {
                credits: vec![0; model.targets.len()],
                next: shard % targets,
            };
            for _ in 0..shard % TARGETS_MAX {
                rotation.pick_weighted(&model.targets);
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
                mine.clone_from(old);
            }
        }
    }
}

impl Rotation {
    /// Moves on by one; gives the target whose turn it was.
    fn pick(&mut self, model: &Model) -> usize {
        match model.strategy {
            Strategy::Weighted => self.pick_weighted(&model.targets),
            Strategy::Priority => 0,
            Strategy::RoundRobin => {
                let picked = self.next;
                self.next = (picked + 1) % model.targets.len().max(1);
                picked
            }
        }
    }

    fn pick_weighted(&mut self, targets: &[Target]) -> usize {
        debug_assert_eq!(self.credits.len(), targets.len());
        let mut sum = 0;
        let mut best = (i64::MIN, 0);
        for (at, (credit, target)) in self.credits.iter_mut().zip(targets).enumerate() {
            *credit += i64::from(target.weight);
            sum += i64::from(target.weight);
            if *credit > best.0 {
                best = (*credit, at);
            }
        }
        if let Some(credit) = self.credits.get_mut(best.1) {
            *credit -= sum;
        }
        best.1
    }

    /// The target after `tried` ones of this turn, which began with `first`.
    fn after(&self, model: &Model, first: usize, tried: Tried) -> Option<usize> {
        let count = model.targets.len();
        let open = |at: &usize| !tried.holds(*at);
        match model.strategy {
            Strategy::Priority => (0..count).find(open),
            Strategy::RoundRobin => (first..count).chain(0..first).find(open),
            // Largest credit first: whose turn is nearest. `max_by_key` keeps the last of
            // equals, so from the back the first of the file wins.
            Strategy::Weighted => (0..count)
                .rev()
                .filter(open)
                .max_by_key(|at| self.credits.get(*at)),
        }
    }
}

/// The targets of one model that were tried, as bits.
#[derive(Clone, Copy, Debug, Default)]
struct Tried(u64);

const _: () = assert!(TARGETS_MAX <= u64::BITS as usize);

impl Tried {
    fn holds(self, at: usize) -> bool {
        at >= TARGETS_MAX || self.0 & (1 << at) != 0
    }

    fn add(&mut self, at: usize) {
        if at < TARGETS_MAX {
            self.0 |= 1 << at;
        }
    }
}

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
    /// What the attempt begins with, for its target's breaker.
    pub permit: Permit,
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
    /// The first target of this turn; `None` before its first step.
    first: Option<usize>,
    /// What this turn has tried.
    tried: Tried,
    /// Steps that may still be made.
    left: usize,
    /// A step was made.
    has_begun: bool,
    /// The best of the targets that were passed over.
    spare: Option<Spare>,
}

/// A target whose breaker is open.
#[derive(Clone, Copy, Debug)]
struct Spare {
    until: Instant,
    turn: usize,
    target: usize,
    permit: Permit,
}

/// Says whether the target at a place (the second number) of a model (the first) may be
/// asked, and with what an attempt at it begins, allowed or not.
pub type Gate<'g> = dyn FnMut(usize, usize) -> (Verdict, Permit) + 'g;

impl Plan {
    /// A plan for the model `found`, of at most `attempts_max` steps
    /// (1 to [`ATTEMPTS_MAX`]).
    pub fn new(found: &Found<'_>, attempts_max: usize) -> Self {
        Self {
            asked: found.index,
            turn: 0,
            first: None,
            tried: Tried::default(),
            left: attempts_max.clamp(1, ATTEMPTS_MAX),
            has_begun: false,
            spare: None,
        }
    }

    /// How many steps the budget still allows, whether or not there are targets for them.
    pub fn left(&self) -> usize {
        self.left
    }

    /// The next attempt, with `asked` as it was given to [`Config::find`];
    /// `None` when targets or attempts are used up.
    ///
    /// `config` and `rotations` must be those of the exchange's beginning.
    pub fn next<'a>(
        &mut self,
        config: &'a Config,
        rotations: &mut Rotations,
        found: &Found<'a>,
        gate: &mut Gate<'_>,
    ) -> Option<Step<'a>> {
        debug_assert_eq!(found.index, self.asked);
        while self.left > 0 {
            let Some((model_index, ..)) = turn_of(found, self.turn) else {
                break;
            };
            let model = config.models.get(model_index)?;
            let rotation = rotations.models.get_mut(model_index)?;
            let Some(target) = self.advance(model, rotation) else {
                self.turn += 1;
                self.first = None;
                self.tried = Tried::default();
                continue;
            };
            match gate(model_index, target) {
                (Verdict::Reject { until }, permit) => self.pass_over(until, target, permit),
                (_, permit) => return self.step(config, found, (self.turn, target), permit),
            }
        }
        let spare = self.spare.take().filter(|_| !self.has_begun)?;
        self.step(config, found, (spare.turn, spare.target), spare.permit)
    }

    fn pass_over(&mut self, until: Instant, target: usize, permit: Permit) {
        let is_better = self.spare.is_none_or(|spare| until < spare.until);
        if is_better && !self.has_begun {
            self.spare = Some(Spare {
                until,
                turn: self.turn,
                target,
                permit,
            });
        }
    }

    fn step<'a>(
        &mut self,
        config: &'a Config,
        found: &Found<'a>,
        (turn, target_index): (usize, usize),
        permit: Permit,
    ) -> Option<Step<'a>> {
        let (model_index, forwarded, fallback) = turn_of(found, turn)?;
        let model = config.models.get(model_index)?;
        let target = model.targets.get(target_index)?;
        self.left = self.left.saturating_sub(1);
        self.has_begun = true;
        Some(Step {
            provider_index: target.provider,
            provider: config.provider(target)?,
            upstream_model: target.model.as_deref().unwrap_or(forwarded),
            model,
            model_index,
            target_index,
            fallback,
            permit,
        })
    }

    fn advance(&mut self, model: &Model, rotation: &mut Rotation) -> Option<usize> {
        let at = match self.first {
            None => {
                let first = rotation.pick(model);
                self.first = Some(first);
                first
            }
            Some(first) => rotation.after(model, first, self.tried)?,
        };
        self.tried.add(at);
        Some(at)
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
mod tests {
    use super::*;
    use crate::config::{FixedSecrets, check};
    use proptest::prelude::*;
    use std::fmt::Write;

    /// A config with one model `m` of the given weights, backed by `f` and `g`.
    fn config(strategy: &str, weights: &[u32], fallbacks: &str) -> Config {
        let mut text = String::from(
            "[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n",
        );
        let list = |weights: &[u32]| {
            weights
                .iter()
                .enumerate()
                .fold(String::new(), |mut list, (at, w)| {
                    write!(
                        list,
                        "{{ provider = \"p\", model = \"t{at}\", weight = {w} }}, "
                    )
                    .unwrap();
                    list
                })
        };
        writeln!(text, "[models.m]\nstrategy = \"{strategy}\"").unwrap();
        writeln!(
            text,
            "targets = [{}]\nfallbacks = [{fallbacks}]",
            list(weights)
        )
        .unwrap();
        for name in ["f", "g"] {
            writeln!(text, "[models.{name}]\ntargets = [{}]", list(&[1, 1])).unwrap();
        }
        check(&text, &FixedSecrets::default()).unwrap().config
    }

    /// Lets every target through.
    fn admit(_: usize, _: usize) -> (Verdict, Permit) {
        (Verdict::Admit, Permit::default())
    }

    /// Goal: an open target costs no step; when all are open, the one that reopens first is
    /// asked once. Method: two targets and a fallback's two, open until the given times.
    #[test]
    fn open_targets_are_passed_over_unless_all_are() {
        let config = config("priority", &[1, 1], "\"f\"");
        let found = config.find("m").unwrap();
        let walk = |open: [u64; 4]| -> Vec<String> {
            let mut rotations = Rotations::new(&config, 0);
            let mut plan = Plan::new(&found, 2);
            let mut gate = |model: usize, target: usize| {
                let at = 2 * usize::from(model != found.index) + target;
                let until = Instant::from_nanos(open[at]);
                let verdict = match open[at] {
                    0 => Verdict::Admit,
                    _ => Verdict::Reject { until },
                };
                (verdict, Permit::default())
            };
            std::iter::from_fn(|| plan.next(&config, &mut rotations, &found, &mut gate))
                .map(|step| format!("{}:{}", step.model.name, step.upstream_model))
                .collect()
        };
        assert_eq!(walk([0, 0, 0, 0]), ["m:t0", "m:t1"]);
        assert_eq!(walk([9, 0, 0, 0]), ["m:t1", "f:t0"]);
        assert_eq!(walk([9, 9, 9, 0]), ["f:t1"]);
        assert_eq!(walk([9, 8, 7, 9]), ["f:t0"]);
        assert_eq!(walk([9, 9, 9, 9]), ["m:t0"]);
    }

    /// All steps of one plan for `m`, as model and target name.
    fn steps(config: &Config, rotations: &mut Rotations, attempts_max: usize) -> Vec<String> {
        let found = config.find("m").unwrap();
        let mut plan = Plan::new(&found, attempts_max);
        std::iter::from_fn(|| plan.next(config, rotations, &found, &mut admit))
            .map(|step| format!("{}:{}", step.model.name, step.upstream_model))
            .collect()
    }

    /// Goal: the classic sequence of smooth weighted round robin, and that the rest of a plan
    /// follows the credits. Method: weights 5, 1, 1 give A A B A C A A.
    #[test]
    fn weights_are_spread_smoothly() {
        let config = config("weighted", &[5, 1, 1], "");
        let mut rotations = Rotations::new(&config, 0);
        let mut firsts = || steps(&config, &mut rotations, 1).concat();
        let sequence: Vec<_> = (0..7).map(|_| firsts()).collect();
        let want = ["t0", "t0", "t1", "t0", "t2", "t0", "t0"].map(|t| format!("m:{t}"));
        assert_eq!(sequence, want);
    }

    /// Goal: a reload does not begin the turns of a model anew whose targets are the same.
    #[test]
    fn turns_go_on_over_a_reload() {
        let (old, new) = (
            config("round_robin", &[1, 1, 1], ""),
            config("weighted", &[3, 1], ""),
        );
        let mut before = Rotations::new(&old, 0);
        assert_eq!(steps(&old, &mut before, 1), ["m:t0"]);
        let mut after = Rotations::new(&old, 0);
        after.take_over(&before, &[Some(0), Some(1), Some(2), None]);
        assert_eq!(steps(&old, &mut after, 1), ["m:t1"]);
        let mut other = Rotations::new(&new, 0);
        other.take_over(&before, &[Some(0)]); // of another length: left alone
        assert_eq!(steps(&new, &mut other, 1), ["m:t0"]);
    }

    /// Goal: round robin and priority.
    #[test]
    fn round_robin_turns_and_priority_stays() {
        let robin = config("round_robin", &[1, 1, 1], "");
        let mut rotations = Rotations::new(&robin, 0);
        assert_eq!(steps(&robin, &mut rotations, 8), ["m:t0", "m:t1", "m:t2"]);
        assert_eq!(steps(&robin, &mut rotations, 8), ["m:t1", "m:t2", "m:t0"]);
        assert_eq!(steps(&robin, &mut rotations, 2), ["m:t2", "m:t0"]);
        let mut other = Rotations::new(&robin, 4);
        assert_eq!(
            steps(&robin, &mut other, 1),
            ["m:t1"],
            "shard 4 of 3 targets"
        );
        let priority = config("priority", &[1, 1, 1], "");
        let mut rotations = Rotations::new(&priority, 3);
        for _ in 0..3 {
            assert_eq!(
                steps(&priority, &mut rotations, 8),
                ["m:t0", "m:t1", "m:t2"]
            );
        }
    }

    /// Goal: fallbacks come after the model's own targets, within the same budget, and a
    /// rotation moves only when its model's turn comes.
    #[test]
    fn fallbacks_follow_and_move_only_when_reached() {
        let config = config("priority", &[1, 1], "\"f\", \"p/direct\", \"g\"");
        let mut rotations = Rotations::new(&config, 0);
        for _ in 0..3 {
            assert_eq!(steps(&config, &mut rotations, 2), ["m:t0", "m:t1"]);
        }
        let all = ["m:t0", "m:t1", "f:t0", "f:t1", "p/*:direct", "g:t0", "g:t1"];
        assert_eq!(steps(&config, &mut rotations, 8), all);
        assert_eq!(steps(&config, &mut rotations, 3), ["m:t0", "m:t1", "f:t1"]);
        let found = config.find("m").unwrap();
        let mut plan = Plan::new(&found, 8);
        let names: Vec<_> =
            std::iter::from_fn(|| plan.next(&config, &mut rotations, &found, &mut admit))
                .map(|step| step.fallback)
                .collect();
        assert_eq!(names[1..3], [None, Some("f")]);
        assert_eq!(names[4], Some("p/direct"));
        assert_eq!(plan.left(), 1);
    }

    /// Goal: a target without a model forwards the name that was asked for.
    #[test]
    fn the_asked_name_is_forwarded_where_the_target_has_none() {
        let text = "[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n\
                    [models.\"*\"]\ntargets = [{ provider = \"p\" }]";
        let config = check(text, &FixedSecrets::default()).unwrap().config;
        let mut rotations = Rotations::new(&config, 0);
        for (asked, upstream) in [
            ("any", "any"),
            ("p/some/thing", "some/thing"),
            ("q/x", "q/x"),
        ] {
            let found = config.find(asked).unwrap();
            let step = Plan::new(&found, 1)
                .next(&config, &mut rotations, &found, &mut admit)
                .unwrap();
            assert_eq!(step.upstream_model, upstream);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Goal: R1. Method: any weights, from any shard's beginning, over one period.
        #[test]
        fn weights_are_honoured_exactly_over_a_period(
            weights in proptest::collection::vec(1_u32..20, 1..8),
            shard in 0_usize..100,
        ) {
            let config = config("weighted", &weights, "");
            let mut rotations = Rotations::new(&config, shard);
            let mut counts = vec![0; weights.len()];
            let found = config.find("m").unwrap();
            for _ in 0..weights.iter().sum() {
                let mut plan = Plan::new(&found, 1);
                let step = plan.next(&config, &mut rotations, &found, &mut admit).unwrap();
                counts[step.target_index] += 1;
            }
            prop_assert_eq!(counts, weights);
        }

        /// Goal: R2. Method: any weights, strategy and budget.
        #[test]
        fn a_plan_tries_each_target_once_within_its_budget(
            weights in proptest::collection::vec(1_u32..9, 1..12),
            strategy in proptest::sample::select(vec!["weighted", "round_robin", "priority"]),
            shard in 0_usize..9,
            budget in 1_usize..=ATTEMPTS_MAX,
        ) {
            let config = config(strategy, &weights, "\"f\"");
            let mut rotations = Rotations::new(&config, shard);
            let mut made = steps(&config, &mut rotations, budget);
            prop_assert_eq!(made.len(), budget.min(weights.len() + 2));
            made.sort();
            made.dedup();
            prop_assert_eq!(made.len(), budget.min(weights.len() + 2));
        }
    }
}
