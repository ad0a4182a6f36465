//! What it costs to choose a target, by each strategy, of few and of many.

use criterion::{Criterion, criterion_group, criterion_main};
use shardgate::base::time::Instant;
use shardgate::config::diff::{Places, Roster};
use shardgate::config::model::Strategy;
use shardgate::config::model::defaults::BREAKER;
use shardgate::config::{Config, FixedSecrets, check};
use shardgate::dialect::ask::ask;
use shardgate::dialect::opening;
use shardgate::dialect::route::Route;
use shardgate::policy::breaker::{Permit, Turn};
use shardgate::policy::plan::Plan;
use shardgate::policy::rotation::{Rotations, Sight};
use shardgate::policy::targets::{Running, Targets};
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

/// A model of so many targets.
fn config(strategy: &str, count: usize) -> Option<Config> {
    let mut text =
        String::from("[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n");
    let targets = (0..count).map(|at| format!("{{ provider = \"p\", model = \"t{at}\" }}"));
    let targets: Vec<_> = targets.collect();
    let list = targets.join(", ");
    writeln!(
        text,
        "[models.m]\nstrategy = \"{strategy}\"\ntargets = [{list}]"
    )
    .ok()?;
    Some(check(&text, &FixedSecrets(&[])).ok()?.config)
}

/// A shard that has asked all of them, and hears of others.
fn targets(places: &Places) -> Targets {
    let mut targets = Targets::new(2);
    targets.enter(places.targets());
    for (target, _) in places.targets() {
        let number = target as u64;
        let turn = turn(1_000_000 * number, 0);
        let running = Running {
            target,
            permit: Permit::default(),
            tokens: 100 * number,
            began: turn.now,
        };
        targets.begin(running);
        targets.content(running, Duration::from_millis(100 + number), &turn);
    }
    targets
}

fn turn(nanos: u64, random: u64) -> Turn<'static> {
    Turn {
        settings: &BREAKER,
        me: 0,
        now: Instant::from_nanos(1_000_000_000 + nanos),
        random,
    }
}

/// A turn of a conversation: a system prompt of 2 KiB, five messages.
fn body() -> Vec<u8> {
    let system = "You are careful. ".repeat(128);
    let message =
        |role: &str, text: &str| format!("{{\"role\":\"{role}\",\"content\":\"{text}\"}}");
    let list = [
        message("system", &system),
        message("user", "Where do I begin?"),
        message("assistant", &"With the first step. ".repeat(40)),
        message("user", "And then?"),
        message("assistant", &"With the next one. ".repeat(40)),
    ];
    format!("{{\"model\":\"m\",\"messages\":[{}]}}", list.join(",")).into_bytes()
}

fn decisions(c: &mut Criterion) {
    let body = body();
    let messages = ask(Route::Chat, &body).ok().and_then(|it| it.messages());
    for count in [3, 64] {
        let mut group = c.benchmark_group(format!("decide_{count}"));
        for strategy in Strategy::ALL.map(Strategy::name) {
            let Some(config) = config(strategy, count) else {
                continue;
            };
            let places = Roster::default().enter(&config);
            let (mut targets, mut rotations) = (targets(&places), Rotations::new(&config, 0));
            let Some(found) = config.find("m") else {
                continue;
            };
            let mut random = 1_u64;
            group.bench_function(strategy, |b| {
                b.iter(|| {
                    random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    let turn = turn(9_000_000_000, random.rotate_left(17));
                    let mut sight = Sight {
                        targets: &mut targets,
                        turn: &turn,
                        places: &places,
                        bytes: body.len() as u64,
                        answer_max: 0,
                        asked: "m",
                        fallbacks: None,
                        only_calm: false,
                        conversation: &|| opening::key(black_box(&body), messages),
                    };
                    let mut plan = Plan::new(&found, 4);
                    let step = plan.next(&config, &mut rotations, &found, &mut sight);
                    step.map(|step| step.target_index)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
