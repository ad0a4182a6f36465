//! Plans walked to their end, by every strategy.

use super::*;
use crate::config::diff::{Places, Roster};
use crate::config::model::defaults::BREAKER;
use crate::config::{FixedSecrets, check};
use crate::policy::balance::mix;
use crate::policy::breaker::{Outcome, Permit, Turn};
use crate::policy::targets::{Running, Targets};
use crate::stats::view::{Cell, Digest, Estimate, Mark, State, TargetId};
use proptest::prelude::*;
use std::fmt::Write;
use std::time::Duration;

/// A config with one model `m` of the given weights, backed by `f` and `g`.
fn config(strategy: &str, weights: &[u32], fallbacks: &str) -> Config {
    let mut text = String::new();
    for name in ["p", "q"] {
        let url = "base_url = \"http://127.0.0.1:1\"";
        writeln!(text, "[providers.{name}]\ndialect = \"openai\"\n{url}").unwrap();
    }
    let list = |provider: &str, weights: &[u32]| {
        weights
            .iter()
            .enumerate()
            .fold(String::new(), |mut list, (at, w)| {
                write!(
                    list,
                    "{{ provider = \"{provider}\", model = \"t{at}\", weight = {w} }}, "
                )
                .unwrap();
                list
            })
    };
    writeln!(text, "[models.m]\nstrategy = \"{strategy}\"").unwrap();
    writeln!(
        text,
        "targets = [{}]\nfallbacks = [{fallbacks}]",
        list("p", weights)
    )
    .unwrap();
    for name in ["f", "g"] {
        writeln!(text, "[models.{name}]\ntargets = [{}]", list("q", &[1, 1])).unwrap();
    }
    check(&text, &FixedSecrets::default()).unwrap().config
}

/// What a shard knows of the targets of a config, and what its decisions go by.
pub(super) struct Table {
    /// The fallbacks of the request.
    pub(super) wished: Option<Vec<Wished>>,
    targets: Targets,
    places: Places,
    now: Instant,
    random: u64,
    conversation: u64,
    bytes: u64,
}

impl Table {
    pub(super) fn new(config: &Config) -> Self {
        let places = Roster::default().enter(config);
        let mut targets = Targets::new(2);
        targets.enter(places.targets());
        Self {
            wished: None,
            targets,
            places,
            now: Instant::from_nanos(1_000_000_000_000),
            random: 1,
            conversation: 0,
            bytes: 400,
        }
    }

    /// Calls `with` with the targets and the turn that the next random word gives.
    fn turn<T>(&mut self, with: impl FnOnce(&mut Targets, &Turn<'_>) -> T) -> T {
        self.random = mix(self.random.wrapping_add(0x9e37_79b9_7f4a_7c15));
        let turn = Turn {
            settings: &BREAKER,
            me: 0,
            now: self.now,
            random: self.random,
        };
        with(&mut self.targets, &turn)
    }

    pub(super) fn next<'a>(
        &mut self,
        plan: &mut Plan,
        config: &'a Config,
        rotations: &mut Rotations,
        found: &Found<'a>,
    ) -> Option<Step<'a>> {
        self.with(|sight| plan.next(config, rotations, found, sight))
    }

    /// Calls `with` with what a decision goes by.
    fn with<T>(&mut self, with: impl FnOnce(&mut Sight<'_>) -> T) -> T {
        let (places, wished) = (self.places.clone(), self.wished.clone());
        let (conversation, bytes) = (self.conversation, self.bytes);
        self.turn(|targets, turn| {
            with(&mut Sight {
                targets,
                turn,
                places: &places,
                bytes,
                answer_max: 100,
                asked: "m",
                fallbacks: wished.as_deref(),
                only_calm: false,
                conversation: &|| conversation,
            })
        })
    }

    /// The first target of the model `m`.
    fn pick(&mut self, config: &Config, rotations: &mut Rotations) -> usize {
        let found = config.find("m").unwrap();
        let mut plan = Plan::new(&found, 1);
        let step = self.next(&mut plan, config, rotations, &found);
        step.unwrap().target_index
    }

    fn id(&self, model: usize, place: usize) -> TargetId {
        self.targets.id(self.places.target(model, place))
    }

    /// The other shard says this of the target at `place` of `model`.
    fn hear(&mut self, seq: u64, (model, place): (usize, usize), cell: Cell) {
        self.targets.hear(&Digest {
            from: 1,
            seq,
            at: self.now,
            is_whole: false,
            cells: [(self.id(model, place), cell)].into(),
        });
    }

    /// It is open until so many seconds from now.
    pub(super) fn open(&mut self, target: (usize, usize), seconds: u64) {
        let mark = Mark {
            generation: 1,
            state: State::Open,
            until: self.now + Duration::from_secs(seconds),
            ..Mark::default()
        };
        let cell = Cell {
            mark,
            ..Cell::default()
        };
        self.hear(1, target, cell);
    }

    /// An attempt begins at the target of `m` at this place, with so many tokens.
    fn begin(&mut self, place: usize, tokens: u64) -> Running {
        let running = Running {
            target: self.places.target(0, place).unwrap(),
            permit: Permit::default(),
            tokens,
            began: self.now,
        };
        self.targets.begin(running);
        running
    }
}

/// All steps of one plan for `m`, as model and target name; before each it says that there is
/// one, and that there is none in the end.
fn steps(config: &Config, rotations: &mut Rotations, attempts_max: usize) -> Vec<String> {
    let found = config.find("m").unwrap();
    let mut plan = Plan::new(&found, attempts_max);
    let mut table = Table::new(config);
    plan.fail(Reason::Error, None);
    let mut next = || {
        let has_more = plan.has_more(config, &found, None);
        let step = table.next(&mut plan, config, rotations, &found);
        assert_eq!(step.is_some(), has_more);
        step
    };
    std::iter::from_fn(&mut next)
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
    let mut table = Table::new(&config);
    plan.fail(Reason::Error, None);
    let names: Vec<_> =
        std::iter::from_fn(|| table.next(&mut plan, &config, &mut rotations, &found))
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
        let mut table = Table::new(&config);
        let step = table.next(&mut Plan::new(&found, 1), &config, &mut rotations, &found);
        let step = step.unwrap();
        assert_eq!(step.upstream_model, upstream);
    }
}

/// Goal: what an open target would have got is spread over the others, evenly.
#[test]
fn an_open_targets_share_is_spread() {
    for strategy in ["weighted", "round_robin"] {
        let config = config(strategy, &[1, 1, 1], "");
        let (mut table, mut rotations) = (Table::new(&config), Rotations::new(&config, 0));
        table.open((0, 0), 60);
        let mut counts = [0; 3];
        for _ in 0..300 {
            counts[table.pick(&config, &mut rotations)] += 1;
        }
        assert_eq!(counts, [0, 150, 150], "{strategy}");
    }
}

/// Goal: tiers: a later one is asked only when all of the earlier ones are out, and within a
/// tier the weights count. Method: two of tier 2 behind two of tier 1 with weights 2 and 1.
#[test]
fn tiers_come_one_after_the_other() {
    for strategy in ["priority", "weighted"] {
        let target = |at: u32, tier, weight| {
            format!("{{ provider = \"p\", model = \"t{at}\", tier = {tier}, weight = {weight} }}")
        };
        let targets = [
            target(0, 2, 1),
            target(1, 1, 2),
            target(2, 1, 1),
            target(3, 2, 1),
        ];
        let text = format!(
            "[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n\
             [models.m]\nstrategy = \"{strategy}\"\ntargets = [{}]",
            targets.join(", ")
        );
        let config = check(&text, &FixedSecrets::default()).unwrap().config;
        let (mut table, mut rotations) = (Table::new(&config), Rotations::new(&config, 0));
        let mut share = |table: &mut Table| {
            let mut counts = [0; 4];
            for _ in 0..30 {
                counts[table.pick(&config, &mut rotations)] += 1;
            }
            counts
        };
        assert_eq!(share(&mut table), [0, 20, 10, 0]);
        table.open((0, 1), 60);
        assert_eq!(share(&mut table), [0, 0, 30, 0]);
        table.open((0, 2), 60);
        assert_eq!(share(&mut table), [15, 0, 0, 15]);
        let all = steps(&config, &mut Rotations::new(&config, 0), 8);
        assert_eq!(all, ["m:t1", "m:t2", "m:t0", "m:t3"]);
    }
}

/// Goal: each strategy goes by what the box has, not by what this shard has alone. Method:
/// the other shard says what it has at the first target; this one has little at the second.
#[test]
fn decisions_go_by_what_all_shards_have() {
    for (strategy, cell) in [
        (
            "least_tokens",
            Cell {
                tokens: 9000,
                ..Cell::default()
            },
        ),
        (
            "least_latency",
            Cell {
                ttft: Estimate {
                    nanos: 3_000_000_000,
                    at: Instant::from_nanos(1_000_000_000_000),
                },
                in_flight: 1,
                ..Cell::default()
            },
        ),
    ] {
        let config = config(strategy, &[1, 1], "");
        let (mut table, mut rotations) = (Table::new(&config), Rotations::new(&config, 0));
        let begun = table.begin(1, 70);
        table.turn(|targets, turn| targets.content(begun, Duration::from_millis(300), turn));
        let firsts = |table: &mut Table, rotations: &mut Rotations| {
            (0..500)
                .filter(|_| table.pick(&config, rotations) == 0)
                .count()
        };
        let before = firsts(&mut table, &mut rotations);
        assert!(
            before > 200,
            "{strategy}: nothing is known of the first: {before}"
        );
        table.hear(1, (0, 0), cell);
        assert_eq!(firsts(&mut table, &mut rotations), 0, "{strategy}");
        table.hear(2, (0, 0), Cell::default());
        if strategy == "least_tokens" {
            assert_eq!(firsts(&mut table, &mut rotations), 500, "it has ended");
        }
    }
}

/// Goal: a host that cannot be reached is out with all its targets, and one probe brings all of
/// them back. Method: five connections fail, at targets of two models.
#[test]
fn a_host_is_out_with_all_its_targets() {
    let config = config("priority", &[1, 1], "");
    let (mut table, mut rotations) = (Table::new(&config), Rotations::new(&config, 0));
    let found = config.find("m").unwrap();
    let host = table.places.host(0, 0).unwrap();
    assert_eq!(
        table.places.host(1, 1),
        Some(host),
        "two providers at one address"
    );
    let mut first = |table: &mut Table| {
        let mut plan = Plan::new(&found, 1);
        let step = table.next(&mut plan, &config, &mut rotations, &found);
        step.unwrap()
    };
    for n in 0..5 {
        let step = first(&mut table);
        assert!(!step.permits.is_probe());
        let said = (step.permits.host, Outcome::Failure);
        let changed = table.turn(|targets, turn| targets.judge(host, said, turn));
        assert_eq!(changed, n == 4);
    }
    let may_ask = |table: &mut Table, place| {
        let target = (table.places.target(0, place), Some(host));
        table.turn(|targets, turn| {
            (
                targets.may_ask(target.0, turn),
                targets.may_ask(target.1, turn),
            )
        })
    };
    assert_eq!(may_ask(&mut table, 0), (true, false));
    table.now = table.now + Duration::from_secs(60);
    let probe = first(&mut table);
    assert!(probe.permits.host.is_probe() && !probe.permits.target.is_probe());
    assert_eq!(may_ask(&mut table, 1), (true, false), "one probe");
    let said = (probe.permits.host, Outcome::Success);
    assert!(table.turn(|targets, turn| targets.judge(host, said, turn)));
    table.now = table.now + Duration::from_secs(60);
    assert_eq!(may_ask(&mut table, 1), (true, true));
}

/// Goal: a conversation stays at its target while that may be asked, and comes back to it.
#[test]
fn a_conversation_comes_back_to_its_target() {
    let config = config("prefix_affinity", &[1, 1, 1, 1], "");
    let mut rotations = Rotations::new(&config, 0);
    let mut homes = [0; 4];
    for conversation in 0..200 {
        let mut table = Table::new(&config);
        table.conversation = conversation;
        let home = table.pick(&config, &mut rotations);
        homes[home] += 1;
        assert_eq!(table.pick(&config, &mut rotations), home);
        table.open((0, home), 60);
        let other = table.pick(&config, &mut rotations);
        assert_ne!(other, home);
        table.now = table.now + Duration::from_secs(61);
        assert_eq!(table.pick(&config, &mut rotations), home, "the probe");
    }
    assert!(homes.iter().all(|count| *count > 25), "{homes:?}");
}

/// Goal: prices decide, those of the file before those of the table; which is cheaper may
/// depend on the length of the prompt; unknown ones come last.
#[test]
fn the_cheapest_is_asked_first() {
    let text = "[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n\
         [models.m]\nstrategy = \"cheapest\"\ntargets = [{ provider = \"p\", model = \"nobody-knows\" }, \
         { provider = \"p\", model = \"a\", price = { input = 1, output = 2.5 } }, \
         { provider = \"p\", model = \"b\", price = { input = 0.5, output = 40 } }, \
         { provider = \"p\", model = \"gpt-4o\" }]";
    let config = check(text, &FixedSecrets::default()).unwrap().config;
    let found = config.find("m").unwrap();
    let order = |bytes| {
        let mut table = Table::new(&config);
        table.bytes = bytes;
        let (mut plan, mut rotations) = (Plan::new(&found, 4), Rotations::new(&config, 0));
        std::iter::from_fn(|| table.next(&mut plan, &config, &mut rotations, &found))
            .map(|step| step.upstream_model)
            .collect::<Vec<_>>()
    };
    assert_eq!(order(400), ["a", "gpt-4o", "b", "nobody-knows"]);
    assert_eq!(order(400_000), ["b", "a", "gpt-4o", "nobody-knows"]);
}

/// Goal: a target that fails fast attracts nobody. Method: half of the attempts at one of two
/// fail at once, also by a limit; its breaker is off by their being few in a row.
#[test]
fn a_fast_failure_counts_as_slow() {
    for outcome in [Outcome::Failure, Outcome::Limited] {
        let config = config("least_latency", &[1, 1], "");
        let (mut table, mut rotations) = (Table::new(&config), Rotations::new(&config, 0));
        let mut counts = [0; 2];
        for n in 0..200 {
            let at = table.pick(&config, &mut rotations);
            counts[at] += 1;
            let running = table.begin(at, 10);
            let fails = at == 0 && n % 2 == 0;
            table.now = table.now + Duration::from_millis(if fails { 1 } else { 100 });
            table.turn(|targets, turn| {
                if !fails {
                    targets.content(running, Duration::from_millis(100), turn);
                }
                let end = if fails { outcome } else { Outcome::Success };
                targets.end(running, end, turn);
            });
        }
        assert!(counts[0] < 20, "{outcome:?}: {counts:?}");
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
        let mut table = Table::new(&config);
        for _ in 0..weights.iter().sum() {
            counts[table.pick(&config, &mut rotations)] += 1;
        }
        prop_assert_eq!(counts, weights);
    }

    /// Goal: R2. Method: any weights, strategy and budget.
    #[test]
    fn a_plan_tries_each_target_once_within_its_budget(
        weights in proptest::collection::vec(1_u32..9, 1..12),
        strategy in proptest::sample::select(vec![
            "weighted", "round_robin", "least_latency", "least_tokens", "prefix_affinity",
            "cheapest", "priority",
        ]),
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

mod out;
