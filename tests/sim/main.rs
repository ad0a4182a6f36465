//! The gateway in a simulated world: time, task order, lengths and faults from one seed.
//!
//! `cargo test --test sim` runs [`SEEDS`] worlds for each law; a seed that fails prints
//! itself, and `SIM_SEED=7 cargo test --test sim` runs that one alone.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![expect(clippy::indexing_slicing, reason = "a test may panic")]
#![expect(clippy::print_stderr, reason = "a failing seed names itself")]

mod balance;
mod client;
mod epochs;
mod exchange;
mod flock;
mod gossip;
mod http;
mod law;
mod net;
mod rng;
mod script;
mod selftest;
mod steps;
mod tongues;
mod translated;
mod upstream;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Worlds for each law.
const SEEDS: u64 = 256;

/// Runs `law` for every seed, or for the one that `SIM_SEED` names.
fn for_every_seed(name: &str, law: impl Fn(u64)) {
    let one = std::env::var("SIM_SEED").ok();
    let seeds = match one.map(|seed| seed.parse::<u64>().unwrap()) {
        Some(seed) => seed..=seed,
        None => 0..=SEEDS - 1,
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| law(seed))) {
            eprintln!("replay: SIM_SEED={seed} cargo test --test sim {name}");
            resume_unwind(panic);
        }
    }
}
