//! The ring host hunted by seeds, on real sockets: whatever is cut off, dropped, reset, blocked
//! or too much at once, every byte that arrives is the right one at its place, and nothing is
//! left behind.
//!
//! ```text
//!   seed ──► world: a ring, 1 to 5 actors, an end ──► law: bytes, rest, descriptors
//!
//!   ends     quiet    everything ends by itself; then nothing is in flight, no block is lent
//!            sunk     all tasks are dropped at some moment; then the same
//!            ring     the same, and the ring goes at once, with its operations in flight
//!            executor it ends under its tasks, which it leaks, ring and all (a test of its own)
//! ```
//!
//! `cargo test --test ring_seeds` runs [`SEEDS`] of them. A seed that fails prints itself, and
//! `RING_SEED=7 cargo test --test ring_seeds` runs it alone: the same plan, though the kernel
//! may take its own time. `RING_SECONDS=600` hunts with fresh seeds for so long; `scripts/asan`
//! does that with the address sanitizer.
//!
//! What the kernel does to memory no sanitizer sees. So blocks that were given back are given
//! out again and filled at once, and what arrives is compared byte by byte.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod actors;
mod edges;
mod raw;
#[expect(dead_code, reason = "the simulated world needs more of it")]
#[path = "../sim/rng.rs"]
mod rng;
mod side;
mod stream;
mod world;

use rng::Rng;
use shardgate::control::serve::raise_descriptors;
use shardgate::host::ring::Ring;
use shardgate::host::{clock, launch};
use std::ops::Range;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;
use world::{ALL, DEEDS, PEERS, Patience, World};

/// Seeds that every test run takes.
const SEEDS: u64 = 48;

/// Worlds on one executor; glommio keeps a descriptor of each executor for good.
const BATCH: u64 = 16;

/// After this a world that does not even say that it is stuck is given up.
const HANGING: Duration = Duration::from_secs(120);

/// Longest that the kernel may take to close the last descriptor.
const CLOSED_MAX: Duration = Duration::from_secs(2);

/// Time between two lines of a long hunt.
const LINE_EVERY: Duration = Duration::from_secs(30);

/// What a world found wrong, and what it did.
type Report = (Vec<String>, [u64; DEEDS]);

/// How a world ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Quiet,
    Sunk,
    Ring,
}

#[expect(
    clippy::disallowed_types,
    reason = "tests count the process' descriptors, one at a time"
)]
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn alone() -> impl Drop {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A world from its beginning to its end.
async fn live(seed: u64) -> Report {
    let before = descriptors();
    let rng = Rng::new(seed);
    let world = World::new(Ring::start().unwrap());
    let end = rng.pick(&[End::Quiet, End::Quiet, End::Sunk, End::Ring]);
    for _ in 0..rng.range(1, 5) {
        actors::start(&world, &rng);
    }
    if end == End::Quiet {
        world.until_done().await;
    } else {
        world
            .pause(Duration::from_micros(rng.range(0, 40_000)))
            .await;
    }
    world.sink_all();
    if end != End::Ring {
        world.until_rest().await;
    }
    // Raw peers hear that it is over.
    world.until_done().await;
    let (mut faults, deeds) = world.report();
    let pool = world.pool.clone();
    drop(world);
    let patience = Patience::new(CLOSED_MAX);
    while (pool.lent(), descriptors()) != (0, before) {
        glommio::timer::sleep(Duration::from_millis(1)).await;
        if patience.is_over() {
            let left = (pool.lent(), descriptors());
            faults.push(format!(
                "after the ring: (lent, descriptors) {left:?}, not (0, {before})"
            ));
            break;
        }
    }
    (faults, deeds)
}

/// Runs the worlds of `seeds` one after the other on one executor, until one breaks the law,
/// and tells of each.
fn run(seeds: Range<u64>, mut tell: impl FnMut(u64, Report)) {
    let (said, heard) = mpsc::channel();
    let ahead = seeds.clone();
    let main = async move || {
        for seed in ahead {
            let report = live(seed).await;
            let is_last = !report.0.is_empty();
            said.send(report).unwrap();
            if is_last {
                break;
            }
        }
    };
    let running = launch::start("world", None, main).unwrap();
    for seed in seeds {
        let report = match heard.recv_timeout(HANGING) {
            Ok(report) => report,
            Err(RecvTimeoutError::Timeout) => (vec!["the executor hangs".to_owned()], [0; DEEDS]),
            Err(RecvTimeoutError::Disconnected) => {
                let why = running.join().err().unwrap_or_default();
                return tell(
                    seed,
                    (vec![format!("the executor ended: {why}")], [0; DEEDS]),
                );
            }
        };
        tell(seed, report);
    }
    running.join().unwrap();
}

/// The number that an environment variable holds.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap())
}

fn deeds_line(deeds: &[u64; DEEDS]) -> String {
    let named = ALL
        .iter()
        .zip(deeds)
        .map(|(deed, times)| format!("{deed:?} {times}"));
    named.collect::<Vec<_>>().join(", ")
}

/// Goal: the invariants of `sys::ring` and `host::ring`, whatever the schedule. Method: worlds
/// from seeds, each with random actors, faults and end; the law is told in the header. All of
/// them together must have met every kind of fault.
#[test]
fn whatever_is_dropped_bytes_are_right_and_nothing_stays() {
    let alone = alone();
    raise_descriptors();
    let began = clock::now();
    let one = setting("RING_SEED");
    let hunt = setting("RING_SECONDS").map(Duration::from_secs);
    let first = one.unwrap_or(if hunt.is_some() {
        clock::wall_nanos()
    } else {
        0
    });
    let (mut done, mut deeds, mut line_due) = (0, [0; DEEDS], LINE_EVERY);
    let goes_on = |done| match (one, hunt) {
        (Some(_), _) => done < 1,
        (None, Some(hunt)) => clock::now().since(began) < hunt,
        (None, None) => done < SEEDS,
    };
    while goes_on(done) {
        let from = first.wrapping_add(done);
        let batch = if one.is_some() { 1 } else { BATCH };
        run(from..from.wrapping_add(batch), |seed, (faults, did)| {
            done += 1;
            deeds
                .iter_mut()
                .zip(did)
                .for_each(|(sum, more)| *sum += more);
            assert!(
                faults.is_empty(),
                "\nreplay: RING_SEED={seed} cargo test --test ring_seeds\n{}\n",
                faults.join("\n")
            );
        });
        let took = clock::now().since(began);
        if hunt.is_some() && took >= line_due {
            line_due = took + LINE_EVERY;
            eprintln!(
                "{} s: {done} seeds from {first} on; {}",
                took.as_secs(),
                deeds_line(&deeds)
            );
        }
    }
    let took = clock::now().since(began);
    eprintln!(
        "{done} seeds from {first} on in {took:?}; {}",
        deeds_line(&deeds)
    );
    let missed: Vec<_> = ALL
        .iter()
        .zip(deeds)
        .filter(|(_, times)| *times == 0)
        .collect();
    assert!(one.is_some() || missed.is_empty(), "never met: {missed:?}");
    drop(alone);
}

/// Goal: an executor may end under tasks that wait, and harms nobody. Method: executors end at
/// some moment of a world; glommio leaks the tasks, and with them rings whose operations go
/// on. Worlds that live after them, on the same heap, keep the law.
#[test]
fn an_executor_that_goes_leaves_the_others_alone() {
    let alone = alone();
    raise_descriptors();
    for seed in 0..8 {
        let main = async move || {
            let rng = Rng::new(seed);
            let world = World::new(Ring::start().unwrap());
            for _ in 0..4 {
                actors::start(&world, &rng);
            }
            world
                .pause(Duration::from_micros(rng.range(0, 20_000)))
                .await;
            let (faults, _) = world.report();
            assert!(faults.is_empty(), "{faults:?}");
            world.over.store(true, Ordering::SeqCst);
        };
        launch::start("orphan", None, main).unwrap().join().unwrap();
        // Their peers close descriptors of their own.
        let patience = Patience::new(HANGING);
        while PEERS.load(Ordering::SeqCst) > 0 && !patience.is_over() {
            std::thread::yield_now();
        }
        run(seed..seed + 1, |seed, (faults, _)| {
            assert!(
                faults.is_empty(),
                "seed {seed} after one that went: {faults:?}"
            );
        });
    }
    drop(alone);
}
