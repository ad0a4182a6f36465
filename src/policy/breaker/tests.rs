//! The breaker's picture walked, and several shards that gossip badly.

use super::*;
use proptest::prelude::*;

const SETTINGS: model::Breaker = model::Breaker {
    is_on: true,
    window: Duration::from_secs(10),
    error_percent: 50,
    requests_min: 20,
    consecutive: 5,
    open: Duration::from_secs(5),
    open_max: Duration::from_secs(60),
    ramp: Duration::ZERO,
};

/// `random` such that times open are neither longer nor shorter.
const EVEN: u64 = 512;

fn at(millis: u64) -> Turn<'static> {
    Turn {
        settings: &SETTINGS,
        me: 0,
        now: Instant::from_nanos(millis * 1_000_000),
        random: EVEN,
    }
}

fn nobody(_: u32) -> Tally {
    Tally::default()
}

/// One attempt that begins and ends at `turn`; whether it was let through.
fn attempt(breaker: &mut Breaker, outcome: Outcome, turn: &Turn<'_>) -> bool {
    let verdict = breaker.ask(turn);
    let is_let = !matches!(verdict, Verdict::Reject { .. });
    if is_let {
        let permit = breaker.permit(verdict);
        breaker.settle(permit, outcome, nobody, turn);
    }
    is_let
}

fn tripped(millis: u64) -> Breaker {
    let mut breaker = Breaker::default();
    for _ in 0..5 {
        assert!(attempt(&mut breaker, Outcome::Failure, &at(millis)));
    }
    assert_eq!(breaker.mark().state, State::Open);
    breaker
}

/// Goal: the whole picture, once round. Method: five failures, a wait, a probe that fails, a
/// longer wait, a probe that works.
#[test]
fn the_picture_is_walked_once_round() {
    let mut breaker = tripped(0);
    let until = Instant::from_nanos(5_000_000_000);
    assert_eq!(breaker.ask(&at(4999)), Verdict::Reject { until });
    assert_eq!(breaker.ask(&at(5000)), Verdict::Probe);
    assert_eq!(breaker.mark().state, State::HalfOpen);
    assert!(
        matches!(breaker.ask(&at(5001)), Verdict::Reject { .. }),
        "one probe"
    );
    let probe = breaker.permit(Verdict::Probe);
    assert!(breaker.settle(probe, Outcome::Failure, nobody, &at(6000)));
    let until = Instant::from_nanos(16_000_000_000);
    assert_eq!(
        breaker.ask(&at(15_999)),
        Verdict::Reject { until },
        "twice as long"
    );
    assert_eq!(breaker.ask(&at(16_000)), Verdict::Probe);
    let probe = breaker.permit(Verdict::Probe);
    assert!(
        breaker.content(probe, &at(16_500)),
        "judged at its first content"
    );
    assert_eq!(breaker.mark().state, State::Closed);
    assert_eq!(breaker.ask(&at(16_500)), Verdict::Admit);
    assert!(
        !breaker.settle(probe, Outcome::Failure, nobody, &at(17_000)),
        "B1"
    );
    assert_eq!((breaker.mark().streak, breaker.tally().attempts), (0, 0));
}

/// Goal: a success in between begins the row anew; what is neutral neither counts nor ends it.
#[test]
fn only_failures_in_a_row_trip() {
    let mut breaker = Breaker::default();
    for turn in 0..51 {
        let outcome = [Outcome::Failure, Outcome::Neutral, Outcome::Success][turn % 3];
        assert!(attempt(&mut breaker, outcome, &at(turn as u64 * 2000)));
    }
    for _ in 0..4 {
        attempt(&mut breaker, Outcome::Failure, &at(0));
        attempt(&mut breaker, Outcome::Neutral, &at(0));
    }
    assert_eq!(breaker.mark().state, State::Closed);
    attempt(&mut breaker, Outcome::Failure, &at(0));
    assert_eq!(breaker.mark().state, State::Open);
}

/// Goal: half of twenty within the window trips, half of nineteen does not, and neither does
/// what has left the window.
#[test]
fn a_share_of_failures_trips_from_requests_min_on() {
    let mut breaker = Breaker::default();
    for turn in 0..19 {
        let outcome = if turn % 2 == 0 {
            Outcome::Failure
        } else {
            Outcome::Success
        };
        attempt(&mut breaker, outcome, &at(turn * 100));
    }
    assert_eq!(breaker.mark().state, State::Closed);
    let mut late = breaker;
    attempt(&mut breaker, Outcome::Failure, &at(1900));
    assert_eq!(breaker.mark().state, State::Open);
    attempt(&mut late, Outcome::Failure, &at(13_000));
    assert_eq!(
        (late.mark().state, late.tally().attempts),
        (State::Closed, 1)
    );
}

/// Goal: what the others counted is added.
#[test]
fn the_share_is_that_of_the_box() {
    let others = |_| Tally {
        attempts: 19,
        failures: 9,
    };
    let mut breaker = Breaker::default();
    let permit = breaker.permit(Verdict::Admit);
    assert!(breaker.settle(permit, Outcome::Failure, others, &at(0)));
    assert_eq!(breaker.mark().state, State::Open);
}

/// Goal: an attempt that had to be made all the same closes it when it works, and does
/// nothing when it does not.
#[test]
fn an_attempt_in_spite_of_it_may_close_it() {
    let mut breaker = tripped(0);
    let verdict = breaker.ask(&at(100));
    let forced = breaker.permit(verdict);
    assert!(!breaker.settle(forced, Outcome::Failure, nobody, &at(200)));
    assert!(breaker.settle(forced, Outcome::Success, nobody, &at(200)));
    assert_eq!(breaker.mark().state, State::Closed);
}

/// Goal: a probe that says nothing leaves the next attempt to be one; one that is never heard
/// of is replaced (B2).
#[test]
fn a_probe_without_a_verdict_is_replaced() {
    let mut breaker = tripped(0);
    assert_eq!(breaker.ask(&at(6000)), Verdict::Probe);
    let probe = breaker.permit(Verdict::Probe);
    breaker.settle(probe, Outcome::Neutral, nobody, &at(6100));
    assert_eq!(breaker.ask(&at(6100)), Verdict::Probe);
    assert!(matches!(breaker.ask(&at(36_099)), Verdict::Reject { .. }));
    assert_eq!(breaker.ask(&at(36_100)), Verdict::Probe);
}

/// Goal: whose fault it is decides.
#[test]
fn callers_and_limits_are_no_failures() {
    for status in [400, 401, 404, 408, 409, 413, 422, 301] {
        assert_eq!(Outcome::of_status(status), Outcome::Neutral, "{status}");
    }
    for status in [500, 502, 503, 520, 529] {
        assert_eq!(Outcome::of_status(status), Outcome::Failure, "{status}");
    }
    assert_eq!(Outcome::of_status(200), Outcome::Success);
    assert_eq!(Outcome::of_status(429), Outcome::Limited);
    let failure = |kind| Outcome::of_fault(kind, false) == Outcome::Failure;
    assert!(failure(Kind::ConnectFailed) && failure(Kind::FirstTokenTimeout));
    assert!(failure(Kind::TotalTimeout) && failure(Kind::UpstreamError));
    assert!(!failure(Kind::ClientGone) && !failure(Kind::UpstreamRefusedKey));
    assert_eq!(
        Outcome::of_fault(Kind::TotalTimeout, true),
        Outcome::Neutral
    );
    assert_eq!(Outcome::of_fault(Kind::IdleTimeout, true), Outcome::Failure);
}

/// Goal: who is off lets everything through.
#[test]
fn a_breaker_that_is_off_never_trips() {
    let off = model::Breaker {
        is_on: false,
        ..SETTINGS
    };
    let turn = Turn {
        settings: &off,
        ..at(0)
    };
    let mut breaker = Breaker::default();
    assert!((0..99).all(|_| attempt(&mut breaker, Outcome::Failure, &turn)));
}

/// Shards whose messages get lost, doubled and late: by shard, the marks on their way to it.
struct Box3 {
    shards: [Breaker; 3],
    wire: Vec<(usize, Mark)>,
}

impl Box3 {
    fn say(&mut self, from: usize) {
        let mark = self.shards[from].mark();
        self.wire
            .extend((0..3).filter(|to| *to != from).map(|to| (to, mark)));
    }
}

proptest! {
    /// Goal: B3. Method: any streak and luck.
    #[test]
    fn a_time_open_is_within_its_bounds(streak in 1_u32..40, random in any::<u64>()) {
        let turn = Turn { random, ..at(0) };
        let base = SETTINGS.open.saturating_mul(1 << (streak - 1).min(20)).min(SETTINGS.open_max);
        let length = time_open(streak, &turn);
        prop_assert!(length >= base / 2 && length <= (base * 3 / 2).min(SETTINGS.open_max));
    }

    /// Goal: what shards do at random, over a wire that drops half, doubles and reorders:
    /// they agree once each has heard the others' last word, a generation never falls, and
    /// nothing is let through while a shard knows it open (B2).
    #[test]
    fn shards_agree_in_the_end(
        steps in proptest::collection::vec((0_usize..3, 0_u8..6, any::<u64>()), 1..200),
    ) {
        let mut all = Box3 { shards: [Breaker::default(); 3], wire: Vec::new() };
        let mut now = 0;
        for (me, what, random) in steps {
            now += random % 900;
            let turn = Turn { me: u32::try_from(me).unwrap(), random, ..at(now) };
            let before = all.shards[me].mark();
            let is_new = match what {
                0..4 => {
                    let verdict = all.shards[me].ask(&turn);
                    if let Verdict::Reject { until } = verdict {
                        prop_assert!(turn.now < until);
                        false
                    } else {
                        let permit = all.shards[me].permit(verdict);
                        let bad = Outcome::Failure;
                        let outcome = [bad, bad, Outcome::Success, Outcome::Neutral];
                        let settled = what != 3 || random % 2 == 0;
                        let changed = settled && all.shards[me]
                            .settle(permit, outcome[usize::from(what)], nobody, &turn);
                        changed || verdict == Verdict::Probe
                    }
                }
                4 if !all.wire.is_empty() => {
                    let at = usize::try_from(random).unwrap_or(0) % all.wire.len();
                    let (to, mark) = all.wire[at];
                    all.shards[to].hear(mark);
                    if random % 3 == 0 { all.wire.swap_remove(at); }
                    false
                }
                _ => {
                    if random % 2 == 0 { all.wire.pop(); }
                    false
                }
            };
            prop_assert!(all.shards[me].mark().generation >= before.generation);
            if is_new { all.say(me); }
        }
        let last = all.shards.map(|shard| shard.mark());
        for shard in &mut all.shards {
            for mark in last { shard.hear(mark); }
        }
        prop_assert!(all.shards.iter().all(|shard| shard.mark() == all.shards[0].mark()));
    }
}

/// Goal: B5: after it closed a target gets a tenth, half of it half way, all in the end; what
/// may be asked and what is asked agree; whoever was never open is never spared.
#[test]
fn a_target_that_came_back_gets_more_and_more() {
    let settings = model::Breaker {
        ramp: Duration::from_secs(30),
        ..SETTINGS
    };
    let mut breaker = tripped(0);
    assert_eq!(breaker.ask(&at(5000)), Verdict::Probe);
    let probe = breaker.permit(Verdict::Probe);
    assert!(breaker.content(probe, &at(6000)));
    let mut let_through = |millis| {
        let asked = (0..1000).filter(|random| {
            let turn = Turn {
                settings: &settings,
                random: *random,
                ..at(millis)
            };
            let may = breaker.may_ask(&turn);
            assert_eq!(may, breaker.ask(&turn) == Verdict::Admit);
            may
        });
        asked.count()
    };
    assert!((60..140).contains(&let_through(6000)));
    assert!((500..600).contains(&let_through(21_000)));
    assert_eq!(let_through(36_000), 1000);
    let fresh = Turn {
        settings: &settings,
        ..at(1)
    };
    assert_eq!(Breaker::default().ask(&fresh), Verdict::Admit);
}
