//! Shards that gossip over channels that lose, double and delay what they carry.
//!
//! ```text
//!   shard 0 ── tick ──► digest ──► lost? doubled? late? ──► shard 1, shard 2
//! ```
//!
//! Each shard is a real one with its ticker; only the channels between them are made here.

use super::for_every_seed;
use super::rng::Rng;
use super::world::{Faults, World};
use shardgate::cache::entry::Account;
use shardgate::config::{Config, FixedSecrets, check};
use shardgate::host::Host;
use shardgate::policy::breaker::{Outcome, Verdict};
use shardgate::policy::targets::{Running, Targets};
use shardgate::shard::gossip::HEARTBEAT;
use shardgate::shard::log::Log;
use shardgate::shard::serve::ticker;
use shardgate::shard::{Setup, Shard};
use shardgate::stats::view::State;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

const CONFIG: &str = "[gossip]\ntick = \"50ms\"\n\
    [providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:7000\"\n\
    [models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";

/// Shards that hear each other through channels which lose `lost` of a thousand digests,
/// double some of the rest, and take up to 20 ms, so that they overtake each other.
fn shards(world: &World, count: usize, lost: u64) -> Vec<Rc<Shard<World>>> {
    let config: Arc<Config> = Arc::new(check(CONFIG, &FixedSecrets(&[])).unwrap().config);
    let shards: Vec<_> = (0..count)
        .map(|index| {
            let setup = Setup {
                index,
                shards: count,
                config: Arc::clone(&config),
                addresses: vec![Vec::new()],
                tls: None,
                seed: world.rng().next(),
                log: Log::default(),
                account: Arc::new(Account::new(64 << 20)),
            };
            let shard = Shard::new(world.clone(), setup);
            world.spawn(ticker(Rc::clone(&shard)));
            shard
        })
        .collect();
    let_them_talk(world, &shards, lost);
    shards
}

/// Makes them hear each other, as [`shards`] says.
pub(crate) fn let_them_talk(world: &World, shards: &[Rc<Shard<World>>], lost: u64) {
    for from in shards {
        for to in shards.iter().filter(|to| to.index != from.index) {
            let (to, host) = (Rc::clone(to), world.clone());
            let rng = Rng::new(world.rng().next());
            from.add_peer(Box::new(move |digest| {
                let times = match (rng.chance(lost), rng.chance(200)) {
                    (true, _) => 0,
                    (_, false) => 1,
                    (_, true) => 2,
                };
                for _ in 0..times {
                    let (to, digest, later) = (Rc::clone(&to), digest.clone(), host.clone());
                    let wait = Duration::from_micros(rng.range(0, 20_000));
                    host.spawn(async move {
                        later.sleep(wait).await;
                        to.hear(&digest);
                    });
                }
                true // it was taken; that it got lost nobody knows
            }));
        }
    }
}

/// One attempt on `shard` that comes to `outcome`; whether it was let through.
fn attempt(shard: &Shard<World>, outcome: Outcome) -> bool {
    let (is_let, changed) = shard.with_turn(shard.host.now(), |targets, turn| {
        let (verdict, permit) = targets.ask(Some(0), turn);
        if matches!(verdict, Verdict::Reject { .. }) {
            return (false, false);
        }
        let running = Running {
            target: 0,
            permit,
            tokens: 7,
            began: turn.now,
        };
        targets.begin(running);
        let changed = targets.end(running, outcome, turn);
        (true, changed || verdict == Verdict::Probe)
    });
    if changed {
        shard.gossip_now();
    } else {
        shard.gossip_soon();
    }
    is_let
}

fn state(shard: &Shard<World>) -> State {
    let cells = shard.with_turn(shard.host.now(), Targets::cells);
    cells
        .first()
        .map_or(State::Closed, |(_, cell)| cell.mark.state)
}

/// How long after shard 0 opened its breaker all the others knew.
fn time_to_spread(seed: u64, lost: u64) -> Duration {
    let world = World::new(seed, Faults::NONE);
    let all = shards(&world, 3, lost);
    let host = world.clone();
    let took = world.run(Duration::from_secs(600), async move {
        host.sleep(Duration::from_millis(host.rng().range(1, 9000)))
            .await;
        for _ in 0..5 {
            assert!(attempt(&all[0], Outcome::Failure));
        }
        assert_eq!(state(&all[0]), State::Open);
        let began = host.now();
        // Whoever asks after the time open claims a probe; so nobody asks here.
        while all.iter().any(|shard| state(shard) != State::Open) {
            host.sleep(Duration::from_millis(1)).await;
        }
        host.now().since(began)
    });
    world.end();
    took.unwrap()
}

/// Goal: a trip is known everywhere within 100 ms when nothing is lost, and in spite of half
/// of all digests lost, after some signs of life at the latest.
#[test]
fn a_trip_is_known_everywhere_and_loss_only_delays_it() {
    let slow = Cell::new(0_u32);
    for_every_seed("a_trip_is_known_everywhere", |seed| {
        let took = time_to_spread(seed, 0);
        assert!(took <= Duration::from_millis(100), "{took:?}");
        let took = time_to_spread(seed, 500);
        assert!(took <= HEARTBEAT * 20, "{took:?}");
        slow.set(slow.get() + u32::from(took > Duration::from_millis(100)));
    });
    let one = std::env::var("SIM_SEED").is_ok();
    assert!(one || slow.get() > 50, "loss delays: {}", slow.get());
}

/// Goal: however badly they hear each other, shards that go on asking let through one probe
/// per time open and box, but for claims that cross on their way; and all agree at rest.
/// Method: a provider that is down for a while; attempts at random shards all the time.
#[test]
fn probes_are_few_and_all_agree_in_the_end() {
    for_every_seed("probes_are_few", |seed| {
        let world = World::new(seed, Faults::NONE);
        let all = shards(&world, 3, 300);
        let host = world.clone();
        let run = world.run(Duration::from_secs(3600), async move {
            let up_at = host.now() + Duration::from_secs(60);
            let mut let_through = 0;
            while host.now() < up_at {
                let shard = &all[host.rng().index(3)];
                let_through += u32::from(attempt(shard, Outcome::Failure));
                host.sleep(Duration::from_millis(40)).await;
            }
            // 60 s: opens after about 5, 10, 20 and 40 s, each with one probe; a lost claim
            // or trip lets some through on other shards.
            assert!(let_through < 60, "{let_through} of 1500");
            host.sleep(Duration::from_secs(130)).await;
            for _ in 0..50 {
                attempt(&all[host.rng().index(3)], Outcome::Success);
                host.sleep(Duration::from_millis(40)).await;
            }
            host.sleep(HEARTBEAT * 20).await;
            let states: Vec<_> = all.iter().map(|shard| state(shard)).collect();
            assert_eq!(states, [State::Closed; 3]);
            assert!(all.iter().all(|shard| attempt(shard, Outcome::Success)));
        });
        world.end();
        run.unwrap();
    });
}

/// Goal: a shard on which nothing happens says so once a HEARTBEAT, not each tick.
#[test]
fn shards_at_rest_hardly_talk() {
    let world = World::new(3, Faults::NONE);
    let all = shards(&world, 2, 0);
    let host = world.clone();
    let run = world.run(Duration::from_secs(3600), async move {
        host.sleep(Duration::from_secs(600)).await;
        let (sent, _) = all[0].gossip.counts();
        assert!((100..=122).contains(&sent), "{sent} in 600 s");
        attempt(&all[0], Outcome::Success);
        attempt(&all[0], Outcome::Success);
        host.sleep(Duration::from_millis(90)).await;
        let seen = all[1].targets.borrow().view.clone();
        let cells: Vec<_> = seen.rows[0].cells.values().collect();
        assert_eq!(cells.len(), 1, "two attempts, one digest: {seen:?}");
        assert_eq!(cells[0].cell.window.attempts, 2);
        assert!(all[0].gossip.counts().0 <= sent + 2);
        let age = seen.age(1, host.now()).unwrap();
        assert!(age <= Duration::from_millis(90), "{age:?}");
    });
    world.end();
    run.unwrap();
}

/// Goal: G2: what found no room is counted, and told again. Method: a peer that has no room
/// for a while, and one that always has.
#[test]
fn what_finds_no_room_is_counted_and_told_again() {
    let world = World::new(5, Faults::NONE);
    let all = shards(&world, 2, 0);
    let has_room = Rc::new(Cell::new(false));
    let heard = Rc::new(Cell::new(0));
    let (room, ears) = (Rc::clone(&has_room), Rc::clone(&heard));
    all[0].add_peer(Box::new(move |digest| {
        if room.get() {
            ears.set(ears.get() + digest.cells.len());
        }
        room.get()
    }));
    let host = world.clone();
    let run = world.run(Duration::from_secs(60), async move {
        attempt(&all[0], Outcome::Success);
        host.sleep(Duration::from_millis(500)).await;
        let (_, dropped) = all[0].gossip.counts();
        assert!((2..=11).contains(&dropped), "once a tick: {dropped}");
        assert_eq!(heard.get(), 0);
        has_room.set(true);
        host.sleep(Duration::from_millis(100)).await;
        assert_eq!(heard.get(), 1, "a whole digest came");
        let (_, after) = all[0].gossip.counts();
        assert!(after <= dropped + 1);
    });
    world.end();
    run.unwrap();
}
