//! The laws of an exchange, over a whole shard in a rough world.
//!
//! ```text
//!   clients (client.rs) ◄──links of net.rs──► shard ◄──► providers (upstream.rs)
//!        └── what they got ──► judge (law.rs) ◄── what was played ──┘
//! ```
//!
//! For every seed: what a client got is exactly what a provider played, or an honest error
//! ([`super::law::judge`]); each exchange has one receipt that says the same; whoever left
//! took the provider's work with it; and at rest nothing is held ([`super::law::rest`]).

use super::client::{Style, client};
use super::for_every_seed;
use super::law::{self, Outcome};
use super::net::Door;
use super::rng::Rng;
use super::script::Exchange;
use super::upstream::{Cast, Casting, serve};
use super::world::{Faults, World};
use shardgate::cache::entry::Account;
use shardgate::config::model::Strategy;
use shardgate::config::{FixedSecrets, check};
use shardgate::host::Host;
use shardgate::shard::log::{Entry, Format, Log};
use shardgate::shard::serve::{accept_loop, ticker};
use shardgate::shard::{Setup, Shard};
use shardgate::stats::receipt::HedgeEnd;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

/// Longest virtual time that a scene may take: four exchanges one after the other, each
/// at its deadline, twice over.
const SCENE: Duration = Duration::from_secs(1200);

/// A shard, its clients and its providers.
pub(crate) struct Scene {
    /// Where they live.
    pub(crate) world: World,
    /// The shard.
    pub(crate) shard: Rc<Shard<World>>,
    /// What is played.
    pub(crate) cast: Cast,
    /// Two attempts of an exchange may run at once.
    pub(crate) hedges: bool,
    /// Targets that can answer, within the attempts that an exchange has.
    pub(crate) targets: usize,
    /// Where the gateway listens.
    pub(crate) gateway: SocketAddr,
    /// The receipts.
    pub(crate) lines: Receiver<Entry>,
}

/// Where the provider of this number listens.
pub(crate) fn provider(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000 + u16::try_from(number).unwrap()))
}

/// A shard that goes by the configuration `text`: itself, where it listens, its log.
pub(crate) fn stage(world: &World, text: &str) -> (Rc<Shard<World>>, SocketAddr, Receiver<Entry>) {
    let checked = check(text, &FixedSecrets(&[]));
    let config = Arc::new(
        checked
            .unwrap_or_else(|faults| panic!("{}", faults.show("it")))
            .config,
    );
    let (sink, lines) = sync_channel(1000);
    let setup = Setup {
        index: 0,
        shards: 1,
        config: Arc::clone(&config),
        addresses: (0..config.providers.len())
            .map(|number| vec![provider(number)])
            .collect(),
        tls: None,
        seed: world.rng().next(),
        log: Log::new(Format::Json, sink),
        account: Arc::new(Account::new(64 << 20)),
    };
    let shard = Shard::new(world.clone(), setup);
    let gateway = config.server.listen[0];
    let listener = world.listen(gateway).unwrap();
    world.spawn(accept_loop(Rc::clone(&shard), listener));
    world.spawn(ticker(Rc::clone(&shard)));
    (shard, gateway, lines)
}

/// A scene with `providers` providers, the first `dead` of which do not answer.
pub(crate) fn scene(world: World, all: Vec<Exchange>, providers: usize, dead: usize) -> Scene {
    hedging(world, all, (providers, dead), None)
}

/// The same, with a second attempt after this time.
fn hedging(
    world: World,
    all: Vec<Exchange>,
    (providers, dead): (usize, usize),
    after: Option<&str>,
) -> Scene {
    let mut text = "[server]\nlisten = [\"127.0.0.1:8080\"]\n[retry]\nattempts_max = 3\n\
        [breaker]\nmode = \"off\"\n[timeouts]\nconnect = \"1s\"\nfirst_token = \"10s\"\nidle = \"8s\"\ntotal = \"60s\"\n"
        .to_owned();
    let strategy = world.rng().pick(&Strategy::ALL).name();
    let mut targets = Vec::new();
    for number in 0..providers {
        write!(
            text,
            "[providers.p{number}]\ndialect = \"openai\"\n\
             base_url = \"http://127.0.0.1:{}/v1\"\npool = {{ idle = \"5s\", idle_max = 2 }}\n",
            7000 + number
        )
        .unwrap();
        targets.push(format!(
            "{{ provider = \"p{number}\", model = \"up-{number}\" }}"
        ));
    }
    let targets = targets.join(", ");
    write!(
        text,
        "[models.m]\nstrategy = \"{strategy}\"\ntargets = [{targets}]\n"
    )
    .unwrap();
    if let Some(after) = after {
        writeln!(
            text,
            "hedge = {{ after = \"{after}\", extra_max = \"100%\" }}"
        )
        .unwrap();
    }
    let (shard, gateway, lines) = stage(&world, &text);
    let cast = Casting {
        all: all.into_iter().map(Rc::new).collect(),
        has_raced: Cell::default(),
    };
    let cast = Rc::new(cast);
    for number in 0..providers {
        serve(&world, &cast, number, provider(number));
        if number < dead {
            let door = world.rng().pick(&[Door::Refuses, Door::Swallows]);
            world.net().borrow_mut().set_door(provider(number), door);
        }
    }
    let targets = 3.min(providers) - dead;
    Scene {
        world,
        shard,
        cast,
        hedges: after.is_some(),
        targets,
        gateway,
        lines,
    }
}

/// How often each outcome came about.
pub(crate) type Tally = RefCell<BTreeMap<Outcome, u64>>;

/// Plays a random scene and checks every law. Gives the trace's hash.
fn play(seed: u64, faults: Faults, tally: &Tally) -> u64 {
    play_with(seed, faults, tally, None).0
}

/// The same, with a second attempt after this time; gives what came of those, too.
fn play_with(
    seed: u64,
    mut faults: Faults,
    tally: &Tally,
    after: Option<&str>,
) -> (u64, [u64; HedgeEnd::ALL.len()]) {
    let rng = Rng::new(seed.wrapping_mul(7919));
    faults.buffer = (faults.buffer.0.max(64), faults.buffer.1.max(64));
    let world = World::new(seed, faults);
    let clients = 1 + rng.index(4);
    let all: Vec<_> = (0..clients * 3)
        .map(|id| Exchange::random(id, &rng))
        .collect();
    let providers = 1 + rng.index(3);
    let dead = usize::from(providers > 1 && rng.chance(200));
    let scene = hedging(world.clone(), all, (providers, dead), after);
    let styles: Vec<_> = (0..clients).map(|_| Style::random(&rng)).collect();
    perform(&scene, &styles, tally);
    let hedges = scene.shard.counters.borrow().hedges;
    (world.trace(), hedges)
}

/// Plays a scene, one client for each style, and checks every law.
pub(crate) fn perform(scene: &Scene, styles: &[Style], tally: &Tally) {
    let world = &scene.world;
    let left = Rc::new(Cell::new(styles.len()));
    let each = scene.cast.all.len() / styles.len();
    for (theirs, style) in scene.cast.all.chunks(each).zip(styles) {
        let run = client(world.clone(), scene.gateway, theirs.to_vec(), *style);
        let left = Rc::clone(&left);
        world.spawn(async move {
            run.await;
            left.set(left.get() - 1);
        });
    }
    let host = world.clone();
    let done = world.run(SCENE, async move {
        while left.get() > 0 {
            host.sleep(Duration::from_millis(50)).await;
        }
        // keep-alive of pools, lingering and tails are over by then
        host.sleep(Duration::from_secs(20)).await;
    });
    assert_eq!(done, Ok(()), "something hangs: {world:?}");
    law::receipts(scene);
    for exchange in &scene.cast.all {
        match law::judge(scene, exchange) {
            Ok(outcome) => *tally.borrow_mut().entry(outcome).or_default() += 1,
            Err(wrong) => panic!("x{}: {wrong}\n{}", exchange.id, law::show(exchange)),
        }
    }
    law::leavers(scene);
    law::rest(scene);
    world.end();
    assert_eq!(world.tasks(), 0);
}

/// All of `outcomes` came about often enough to mean something; one seed alone need not.
fn walked(tally: &Tally, outcomes: &[Outcome]) {
    let tally = tally.borrow();
    if std::env::var("SIM_SEED").is_err() {
        for outcome in outcomes {
            assert!(
                tally.get(outcome) >= Some(&40),
                "{outcome:?} is rare: {tally:?}"
            );
        }
    }
}

/// Goal: every law, at every seed, in a world that cuts, delays and shuffles but keeps the
/// promises of TCP: then also that what can be answered is answered.
#[test]
fn every_exchange_is_exact_or_honest() {
    let tally = Tally::default();
    for_every_seed("every_exchange_is_exact_or_honest", |seed| {
        play(seed, Faults::rough(&Rng::new(seed), 200), &tally);
    });
    walked(
        &tally,
        &[
            Outcome::Whole,
            Outcome::Broken,
            Outcome::Error,
            Outcome::Left,
        ],
    );
}

/// Goal: the same while the network itself resets connections at any step.
#[test]
fn a_network_that_resets_changes_no_law() {
    let tally = Tally::default();
    for_every_seed("a_network_that_resets_changes_no_law", |seed| {
        let rng = Rng::new(seed);
        let reset_permille = rng.pick(&[1, 5, 20]);
        play(
            seed,
            Faults {
                reset_permille,
                ..Faults::rough(&rng, 200)
            },
            &tally,
        );
    });
    walked(
        &tally,
        &[
            Outcome::Whole,
            Outcome::Broken,
            Outcome::Error,
            Outcome::Cut,
        ],
    );
}

/// Goal: the same while two attempts of an exchange may run at once, in a world that resets or
/// not: what the client got is what one of them was to be, each exchange has one receipt,
/// nothing is held, and whoever left took the work of both. Method: hedges after times about as
/// long as answers take; that each way out of a race is walked.
#[test]
fn a_race_changes_no_law() {
    let tally = Tally::default();
    let sum = RefCell::new([0; HedgeEnd::ALL.len()]);
    for_every_seed("a_race_changes_no_law", |seed| {
        let rng = Rng::new(seed);
        let after = rng.pick(&["1ms", "20ms", "300ms", "2s"]);
        let faults = Faults {
            reset_permille: rng.pick(&[0, 0, 0, 5]),
            ..Faults::rough(&rng, 200)
        };
        let (_, hedges) = play_with(seed, faults, &tally, Some(after));
        for (sum, count) in sum.borrow_mut().iter_mut().zip(hedges) {
            *sum += count;
        }
    });
    walked(&tally, &[Outcome::Whole, Outcome::Broken, Outcome::Left]);
    if std::env::var("SIM_SEED").is_err() {
        for end in HedgeEnd::ALL {
            // Few leave just while two run.
            let least = if end == HedgeEnd::Cancelled { 1 } else { 40 };
            let count = sum.borrow()[end.index()];
            assert!(count >= least, "{end:?}: {count}");
        }
    }
}

/// Goal: a scene replays: the same seed gives the same trace.
#[test]
fn a_scene_replays() {
    let tally = Tally::default();
    for seed in 0..8 {
        let again = || play(seed, Faults::rough(&Rng::new(seed), 200), &tally);
        assert_eq!(again(), again(), "seed {seed}");
    }
}
