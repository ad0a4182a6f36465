//! Every step, not only those that a seed happens on: cuts at each byte of an answer, clients
//! that leave after each byte of their request and of its reply.

use super::client::Style;
use super::exchange::{Tally, perform, scene};
use super::law::Outcome;
use super::net::Door;
use super::rng::Rng;
use super::script::{Abort, Act, Ask, Exchange, Sort, Then, plain, plain_of, stream};
use super::world::{Faults, World};
use shardgate::shard::orders::{NewAddresses, Task, carry_out};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const STREAM: Ask = Ask::Chat {
    stream: true,
    wants_usage: false,
};
const PLAIN: Ask = Ask::Chat {
    stream: false,
    wants_usage: false,
};

/// An answer without nonsense in it, of whatever framing `seed` gives.
fn answer(ask: Ask, seed: u64, name: &str) -> Act {
    let rng = Rng::new(seed);
    loop {
        let act = match ask {
            STREAM => stream(&rng, name, false),
            _ => plain(&rng, name),
        };
        if act.sort == Sort::Answer && act.wire.len() < 1200 {
            return act;
        }
    }
}

/// One exchange in a world of its own.
fn alone(seed: u64, exchange: Exchange, tally: &Tally) {
    let world = World::new(
        seed,
        Faults {
            short_io: seed.is_multiple_of(2),
            ..Faults::NONE
        },
    );
    perform(&scene(world, vec![exchange], 2, 0), &[Style::PLAIN], tally);
}

/// Goal: an answer that is cut at any byte, by FIN, RST or silence, is another target's
/// whole answer or an honest error; the laws of [`super::law`] say which. Method: streams
/// and plain answers of every framing, cut before each of their bytes.
#[test]
fn an_answer_cut_at_any_byte_is_repaired_or_told() {
    let tally = Tally::default();
    for (seed, ask) in [
        (1, STREAM),
        (2, STREAM),
        (3, STREAM),
        (4, PLAIN),
        (5, PLAIN),
        (6, PLAIN),
    ] {
        let whole = answer(ask, seed, "x0-0");
        for cut in 0..whole.wire.len() {
            let ways = [Then::Close, Then::Reset, Then::Stall];
            let mut act = Act {
                then: ways[(cut + 1) % 3],
                ..whole.clone()
            };
            act.wire.truncate(cut);
            let other = answer(ask, seed + 10, "x0-1");
            alone(cut as u64, Exchange::new(0, ask, vec![act, other]), &tally);
        }
    }
    let tally = tally.borrow();
    assert!(
        tally[&Outcome::Whole] > 500 && tally[&Outcome::Broken] > 500,
        "{tally:?}"
    );
    assert_eq!(
        tally.len(),
        2,
        "the second target always answers: {tally:?}"
    );
}

/// Goal: a client may leave at any step, by FIN or RST, and takes the provider's work along
/// within 100 ms. Method: leave after each byte of the request and of the reply.
#[test]
fn a_client_may_leave_at_any_byte() {
    let tally = Tally::default();
    for step in 0_usize..1400 {
        let ask = if step % 4 < 2 { STREAM } else { PLAIN };
        let mut act = answer(ask, step as u64 % 5, "x0-0");
        act.pause_ms = 400; // so that there is work to take along
        let sent = (step < 400).then_some(step);
        let read = step.saturating_sub(400);
        let abort = Some(Abort {
            sent,
            read,
            is_reset: step % 2 == 0,
        });
        let exchange = Exchange {
            abort,
            ..Exchange::new(0, ask, vec![act])
        };
        alone(step as u64, exchange, &tally);
    }
    let tally = tally.borrow();
    assert!(tally[&Outcome::Left] > 700, "{tally:?}");
    assert_eq!(tally.keys().max(), Some(&Outcome::Left), "{tally:?}");
}

/// Goal: an idle connection may break at any time: the request on it is sent again on a
/// fresh one, once, and the client never sees it. Method: a provider that leaves its
/// connection after each answer, asked again after every delay from 0 to 20 ms.
#[test]
fn a_pooled_connection_that_breaks_is_never_seen() {
    for seed in 0..64 {
        let tally = Tally::default();
        let asks = (0..6).map(|id| {
            let act = answer(PLAIN, 3 + seed, &format!("x{id}-0"));
            let then = if act.then == Then::Keep {
                Then::Leave
            } else {
                act.then
            };
            Exchange::new(id, PLAIN, vec![Act { then, ..act }])
        });
        let world = World::new(
            seed,
            Faults {
                latency_us: (10, 3000),
                ..Faults::NONE
            },
        );
        let scene = scene(world, asks.collect(), 1, 0);
        perform(
            &scene,
            &[Style {
                write_pause_ms: seed % 20,
                ..Style::PLAIN
            }],
            &tally,
        );
        assert_eq!(tally.borrow()[&Outcome::Whole], 6);
        let conns = scene.world.net().borrow().conns.len();
        assert!(conns <= 1 + 6 + 6, "{conns} connections for 6 requests");
    }
}

/// Goal: a name's addresses share its connections, and one that does not answer costs one
/// request its time, not every second one. Method: two addresses, of which one swallows what
/// comes; a provider that closes after each answer, so that each request connects anew.
#[test]
fn an_address_that_fails_is_tried_last() {
    let asks = (0..8).map(|id| {
        let act = closing(&format!("x{id}-0"), id as u64);
        Exchange::new(id, PLAIN, vec![act])
    });
    let tally = Tally::default();
    let world = World::new(5, Faults::NONE);
    let scene = scene(world, asks.collect(), 1, 0);
    let [live, dead] = [7000, 7100].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let known = scene.shard.snapshot().config.providers[0].base_url.clone();
    let new = NewAddresses {
        host: known.host,
        port: known.port,
        addresses: vec![dead, live],
    };
    let door = Door::Swallows;
    scene.world.net().borrow_mut().set_door(dead, door);
    carry_out(&scene.shard, &Task::Addresses(Arc::new(new)), 0);
    perform(&scene, &[Style::PLAIN], &tally);
    assert_eq!(tally.borrow()[&Outcome::Whole], 8);
    let took = scene.shard.counters.borrow().duration.sum();
    let (least, most) = (Duration::from_secs(1), Duration::from_millis(1900));
    assert!(
        (least..most).contains(&took),
        "connect = 1s, once: {took:?}"
    );
}

/// A small plain answer after which the provider closes.
fn closing(name: &str, seed: u64) -> Act {
    let act = answer(PLAIN, seed, name);
    Act {
        then: Then::Close,
        pause_ms: 0,
        ..act
    }
}

/// Goal: an answer too large to be held is passed on whole, or visibly cut; one that is cut
/// while it is still held is repaired. Method: 1.3 MB in every framing, whole and cut at
/// places on both sides of the limit.
#[test]
fn a_large_answer_is_whole_or_visibly_cut() {
    let tally = Tally::default();
    for seed in 0..14 {
        let whole = plain_of(&Rng::new(seed), "x0-0", 5 << 18);
        let mut act = whole.clone();
        if whole.then == Then::Keep && seed % 3 > 0 {
            act.then = Then::Close;
            act.wire
                .truncate(whole.wire.len() / 8 * if seed % 3 == 1 { 7 } else { 5 });
        }
        let other = answer(PLAIN, 4, "x0-1");
        alone(seed, Exchange::new(0, PLAIN, vec![act, other]), &tally);
    }
    let tally = tally.borrow();
    assert!(
        tally[&Outcome::Whole] > 5 && tally[&Outcome::Cut] >= 2,
        "{tally:?}"
    );
}

/// Goal: a provider that is silent is given up at `first_token`, and at `total` whatever
/// happens; the times are those of the configuration, up to the grain of far deadlines.
#[test]
fn silence_ends_at_its_deadline() {
    let mut act = answer(STREAM, 1, "x0-0");
    act.wire.clear();
    act.then = Then::Stall;
    let tally = Tally::default();
    let world = World::new(1, Faults::NONE);
    let scene = scene(world, vec![Exchange::new(0, STREAM, vec![act])], 2, 0);
    perform(&scene, &[Style::PLAIN], &tally);
    assert_eq!(tally.borrow()[&Outcome::Error], 1);
    let took = scene.shard.counters.borrow().duration.sum();
    let (least, most) = (Duration::from_secs(20), Duration::from_millis(20_320));
    assert!(
        (least..most).contains(&took),
        "two targets of 10 s each: {took:?}"
    );
}
