//! Broken recordings, from seeds: fixed ones, or fresh ones for as long as one likes.
//!
//! `DIALECT_SECONDS=600 cargo test --test dialects fresh` hunts with fresh seeds; a seed that
//! fails names itself, and `DIALECT_SEED=7 cargo test --test dialects hunt::gemini` replays it.
//! What must hold is told at each function that is named here.

use super::{anthropic, bedrock, chat, cohere, gemini, responses};
use shardgate::host::clock;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// The test of this name, and what it does with a seed.
type Hunt = (&'static str, fn(u64));

const HUNTS: [Hunt; 8] = [
    ("anthropic_broken", anthropic::broken_recordings),
    ("anthropic_made_up", anthropic::made_up_steps),
    ("bedrock", bedrock::broken_recordings),
    ("chat", chat::broken_recordings),
    ("cohere", cohere::broken_recordings),
    ("gemini", gemini::broken_recordings),
    ("responses_answers", responses::broken::broken_recordings),
    ("responses_requests", responses::broken::broken_requests),
];

/// A number of the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Runs the hunt `name` from `fixed`, or from the seed of the environment.
fn run(name: &str, fixed: u64) {
    let seed = setting("DIALECT_SEED").unwrap_or(fixed);
    let (_, hunt) = HUNTS.iter().find(|(own, _)| *own == name).unwrap();
    hunt(seed);
}

#[test]
fn anthropic_broken() {
    run("anthropic_broken", 0x5eed_0005);
}

#[test]
fn anthropic_made_up() {
    run("anthropic_made_up", 0x5eed_0006);
}

#[test]
fn bedrock() {
    run("bedrock", 7);
}

#[test]
fn chat() {
    run("chat", 7);
}

#[test]
fn cohere() {
    run("cohere", 0x9e37_79b9_7f4a_7c15);
}

#[test]
fn gemini() {
    run("gemini", 11);
}

#[test]
fn responses_answers() {
    run("responses_answers", 0x5eed_0001);
}

#[test]
fn responses_requests() {
    run("responses_requests", 0x5eed_0002);
}

/// Goal: the same from seeds that nobody has tried, in turn, for `DIALECT_SECONDS`.
#[test]
fn fresh_seeds() {
    let Some(time) = setting("DIALECT_SECONDS").map(Duration::from_secs) else {
        return;
    };
    let (began, first) = (clock::now(), clock::wall_nanos() | 1);
    let (mut rounds, mut line_due) = (0, Duration::ZERO);
    while clock::now().since(began) < time {
        // never 0, of which the generators make nothing but 0
        let seed = first.wrapping_add(2 * rounds);
        for (name, hunt) in HUNTS {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| hunt(seed))) {
                println!("replay: DIALECT_SEED={seed} cargo test --test dialects hunt::{name}");
                resume_unwind(panic);
            }
        }
        rounds += 1;
        let took = clock::now().since(began);
        if took >= line_due {
            line_due = took + Duration::from_secs(10);
            println!("{} s: {rounds} seeds from {first} on", took.as_secs());
        }
    }
    println!(
        "{rounds} seeds from {first} on, each in {} hunts",
        HUNTS.len()
    );
}
