//! Targets that are out, that came back, and that are asked again.

use super::*;

/// Goal: when every target has failed, those that may do better are asked again in the order
/// of their failing; never more than attempts in all; one that will not do better is not.
#[test]
fn what_may_pass_is_tried_again() {
    let config = config("priority", &[1, 1, 1], "\"f\"");
    let found = config.find("m").unwrap();
    let (mut table, mut rotations) = (Table::new(&config), Rotations::new(&config, 0));
    let mut plan = Plan::new(&found, 8);
    plan.fail(Reason::Error, None);
    let name = |step: Step<'_>| (step.fallback.is_some(), step.target_index);
    let mut made = Vec::new();
    while let Some(step) = table.next(&mut plan, &config, &mut rotations, &found) {
        plan.failed(match name(step) {
            (false, 1) => Hope::None,
            _ => Hope::More,
        });
        made.push(name(step));
    }
    assert_eq!(made.len(), 5, "three targets and two of the fallback");
    made.retain(|tried| *tried != (false, 1));
    let mut again = Vec::new();
    while let Some(at) = table.with(|sight| plan.later(&config, &found, sight)) {
        assert!(at.since(table.now) <= config.retry.backoff_max);
        table.now = at;
        let step = table.with(|sight| plan.again(&config, &found, sight));
        again.push(name(step.unwrap()));
        plan.failed(Hope::More);
    }
    assert_eq!(again, made[..3], "eight in all");
}

/// Goal: who wants to be left alone is, for as long as anybody would wait; of several that one
/// is asked which may be asked first.
#[test]
fn a_limit_that_ends_soon_is_waited_for() {
    let config = config("priority", &[1, 1], "");
    let found = config.find("m").unwrap();
    let (mut table, mut rotations) = (Table::new(&config), Rotations::new(&config, 0));
    let mut plan = Plan::new(&found, 4);
    for _ in 0..2 {
        let step = table.next(&mut plan, &config, &mut rotations, &found);
        let place = step.unwrap().target_index;
        let target = table.places.target(0, place).unwrap();
        let until = table.now + Duration::from_secs(if place == 0 { 9 } else { 5 });
        table.targets.cool(target, until, table.now);
        plan.failed(Hope::More);
    }
    let at = table.with(|sight| plan.later(&config, &found, sight));
    assert_eq!(at, Some(table.now + Duration::from_secs(5)));
    let (target, until) = (table.places.target(0, 1).unwrap(), Duration::from_secs(50));
    table.targets.cool(target, table.now + until, table.now);
    let at = table.with(|sight| plan.later(&config, &found, sight));
    assert_eq!(at, Some(table.now + Duration::from_secs(9)));
    table.now = at.unwrap();
    let step = table.with(|sight| plan.again(&config, &found, sight));
    assert_eq!(step.unwrap().target_index, 0);
    let at = table.with(|sight| plan.later(&config, &found, sight));
    assert_eq!(at, None, "41 s are too long");
}

/// Goal: a target that came back is the first of those that are left out, and is asked also after
/// another one failed. Method: the first of two has just closed, the second is open.
#[test]
fn who_came_back_is_asked_before_who_did_not() {
    let config = config("priority", &[1, 1], "\"f\"");
    let found = config.find("m").unwrap();
    let (mut table, mut rotations) = (Table::new(&config), Rotations::new(&config, 0));
    for place in 0..2 {
        for _ in 0..5 {
            let running = table.begin(place, 10);
            table.turn(|targets, turn| targets.end(running, Outcome::Failure, turn));
        }
    }
    let target = table.places.target(0, 0);
    table.now = table.now + Duration::from_secs(10);
    let (_, permit) = table.turn(|targets, turn| targets.ask(target, turn));
    let probe = Running {
        permit,
        ..table.begin(0, 10)
    };
    table.turn(|targets, turn| targets.end(probe, Outcome::Success, turn));
    let mut all = Vec::new();
    for _ in 0..50 {
        let mut plan = Plan::new(&found, 4);
        let steps = std::iter::from_fn(|| table.next(&mut plan, &config, &mut rotations, &found));
        all.push(
            steps
                .map(|step| format!("{}:{}", step.model.name, step.upstream_model))
                .collect::<Vec<_>>(),
        );
    }
    assert!(
        all.iter().all(|steps| steps.contains(&"m:t0".to_owned())),
        "{all:?}"
    );
}

/// Goal: an open target costs no step; when all are open, one of the model's own is asked once,
/// each at times. Method: two targets and a fallback's two, open until the given times.
#[test]
fn open_targets_are_passed_over_unless_all_are() {
    let config = config("priority", &[1, 1], "\"f\"");
    let found = config.find("m").unwrap();
    let walk = |open: [u64; 4], random| -> Vec<String> {
        let mut table = Table::new(&config);
        table.random = random;
        for (at, seconds) in open.into_iter().enumerate().filter(|(_, s)| *s > 0) {
            table.open((at / 2, at % 2), seconds);
        }
        let mut rotations = Rotations::new(&config, 0);
        let mut plan = Plan::new(&found, 2);
        std::iter::from_fn(|| table.next(&mut plan, &config, &mut rotations, &found))
            .map(|step| format!("{}:{}", step.model.name, step.upstream_model))
            .collect()
    };
    assert_eq!(walk([0, 0, 0, 0], 1), ["m:t0", "m:t1"]);
    assert_eq!(walk([9, 0, 0, 0], 1), ["m:t1", "f:t0"]);
    assert_eq!(walk([9, 9, 9, 0], 1), ["f:t1"]);
    let mut firsts = [0; 2];
    for random in 0..100 {
        let asked = walk([9, 8, 7, 9], random);
        assert_eq!(asked.len(), 1);
        let own = ["m:t0", "m:t1"];
        firsts[own.iter().position(|it| *it == asked[0]).unwrap()] += 1;
    }
    assert!(firsts.iter().all(|count| *count > 30), "{firsts:?}");
}
