//! What is under way at targets, over shards that tell each other.

use super::*;
use crate::config::model::defaults::BREAKER;
use proptest::prelude::*;

fn turn(shard: usize, ms: u64) -> Turn<'static> {
    Turn {
        settings: &BREAKER,
        me: u32::try_from(shard).unwrap(),
        now: Instant::from_nanos(ms * 1_000_000),
        random: ms,
    }
}

fn shard() -> Targets {
    let mut targets = Targets::new(3);
    targets.enter((0..2).map(|number| (number, TargetId(number as u64 + 7))));
    targets
}

/// Goal: a target that a reload brings is known by what the others said of it before.
#[test]
fn what_was_said_of_a_target_before_it_was_known_counts() {
    let mut late = Targets::new(3);
    let cell = Cell {
        in_flight: 3,
        tokens: 70,
        ..Cell::default()
    };
    late.hear(&Digest {
        from: 1,
        seq: 1,
        at: Instant::from_nanos(1),
        is_whole: true,
        cells: [(TargetId(7), cell)].into(),
    });
    late.enter([(0, TargetId(7))].into_iter());
    let load = late.load(Some(0), Instant::from_nanos(2));
    assert_eq!((load.in_flight, load.tokens), (3, 70));
}

/// Goal: a plain answer's time is that of its first part.
#[test]
fn a_long_plain_answer_is_no_slow_one() {
    let mut targets = shard();
    let running = Running {
        target: 0,
        permit: Permit::default(),
        tokens: 1,
        began: Instant::from_nanos(0),
    };
    let after = |targets: &mut Targets, tokens, seconds: u64| {
        let now = Instant::from_nanos(seconds * 1_000_000_000);
        targets.begin(running);
        targets.whole(running, tokens, now);
        targets.load(Some(0), now).ttft / 1_000_000
    };
    assert_eq!(after(&mut targets, 640, 10), 1000);
    assert_eq!(after(&mut shard(), 0, 2), 2000);
}

proptest! {
    /// Goal: T1, T4: what each of three shards goes by is, once all is told, what one shard
    /// that made all attempts would. Method: attempts begin and end at random; digests are
    /// told now and then, some of them lost or late, and a whole one of each at the end.
    #[test]
    fn shards_agree_with_one_that_does_everything(
        steps in proptest::collection::vec((0_usize..3, 0_usize..2, 0_u64..500, 0_u8..4), 1..80),
    ) {
        let mut shards = [shard(), shard(), shard()];
        let mut oracle = shard();
        let mut running: Vec<(usize, Running)> = Vec::new();
        let mut late: Vec<Digest> = Vec::new();
        let mut seq = 0;
        let mut tell = |shards: &mut [Targets; 3], from: usize, is_whole, turn: &Turn<'_>| {
            seq += 1;
            let cells = shards[from].tell(is_whole, turn).into();
            Digest { from, seq, at: turn.now, is_whole, cells }
        };
        let hear = |shards: &mut [Targets; 3], digest: &Digest| {
            let others = shards.iter_mut().enumerate();
            others.filter(|(at, _)| *at != digest.from).for_each(|(_, it)| it.hear(digest));
        };
        for (ms, (at, target, tokens, what)) in (1..).zip(steps) {
            let turn = turn(at, ms);
            match what {
                0 | 1 => {
                    let permit = Permit::default();
                    let began = Running { target, permit, tokens, began: turn.now };
                    shards[at].begin(began);
                    oracle.begin(began);
                    running.push((at, began));
                }
                2 if !running.is_empty() => {
                    let (at, ended) = running.swap_remove(at % running.len());
                    shards[at].end(ended, Outcome::Success, &turn);
                    oracle.end(ended, Outcome::Success, &turn);
                }
                _ => {
                    let digest = tell(&mut shards, at, false, &turn);
                    match tokens % 3 {
                        0 => hear(&mut shards, &digest),
                        1 => late.push(digest),
                        _ => {}
                    }
                }
            }
        }
        for at in 0..3 {
            let digest = tell(&mut shards, at, true, &turn(at, 1000));
            hear(&mut shards, &digest);
            hear(&mut shards, &digest);
        }
        for digest in &late {
            hear(&mut shards, digest);
        }
        let now = Instant::from_nanos(1_000_000_000);
        for shard in &shards {
            for target in 0..2 {
                let (is, want) = (shard.load(Some(target), now), oracle.load(Some(target), now));
                prop_assert_eq!((is.in_flight, is.tokens), (want.in_flight, want.tokens));
            }
        }
    }
}
