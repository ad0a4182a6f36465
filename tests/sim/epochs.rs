//! Reloads and the end of a shard, in a rough world: no exchange mixes epochs, and none ends
//! like a whole one when it was cut off.
//!
//! ```text
//!   control ── prepare, commit or abort, at random times ──► shard
//!   clients ── "x7" ──► shard ── /e3/…, model e3-b, … ──► providers: 500, cut, silence, 200
//!                                └── every attempt of x7 says the same epoch
//! ```
//!
//! Epoch `n` has paths, upstream names, fallbacks and a client key of its own: the request line
//! says with which templates a request was built, its model with which plan.

use super::for_every_seed;
use super::http;
use super::net::SimLink;
use super::rng::Rng;
use super::world::{Faults, World};
use serde_json::Value;
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::cache::entry::Account;
use shardgate::config::diff::{Kept, Roster};
use shardgate::config::{Config, FixedSecrets, check};
use shardgate::host::{Host, flush, read};
use shardgate::policy::targets::Targets;
use shardgate::shard::log::Log;
use shardgate::shard::orders::{Outcome, Task, carry_out};
use shardgate::shard::serve::{accept_loop, ticker};
use shardgate::shard::snapshot::Edition;
use shardgate::shard::{Setup, Shard};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Longest virtual time of a scene.
const SCENE: Duration = Duration::from_secs(600);

/// Where the gateway listens.
const GATEWAY: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);

/// Requests of each client.
const EACH: usize = 8;

/// What happened to an exchange, by the number that its client gave it.
#[derive(Debug, Default)]
struct Story {
    /// Epochs that its attempts said.
    attempts: Vec<u64>,
    /// The epoch that the reply's fields said.
    replied: Option<u64>,
    /// In force when the client began to send, and when it had the reply.
    between: (u64, u64),
    status: u16,
    body: String,
}

/// Everything that the tasks of a scene share.
struct Scene {
    world: World,
    shard: Rc<Shard<World>>,
    stories: RefCell<BTreeMap<String, Story>>,
}

impl Scene {
    fn with_story(&self, user: &str, change: impl FnOnce(&mut Story)) {
        change(self.stories.borrow_mut().get_mut(user).unwrap());
    }
}

fn port(number: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000 + u16::try_from(number).unwrap()))
}

/// The configuration of epoch `epoch`. The first provider keeps its endpoint over all of them,
/// the second moves between two; names of models stay or are of one epoch.
fn config(epoch: u64) -> Arc<Config> {
    let moves = 7001 + epoch % 2;
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:8080\"]\n[retry]\nattempts_max = 3\n\
         [limits]\nstreams_max = {}\n\
         [timeouts]\nconnect = \"1s\"\nfirst_token = \"5s\"\nidle = \"5s\"\ntotal = \"30s\"\n\
         [providers.stays]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:7000/e{epoch}\"\n\
         pool = {{ idle = \"{}s\", idle_max = 4 }}\n\
         [providers.moves]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:{moves}/e{epoch}\"\n\
         pool = {{ idle = \"5s\" }}\n\
         [models.m]\nfallbacks = [\"f-{epoch}\"]\n\
         targets = [{{ provider = \"stays\", model = \"e{epoch}-a\" }}, {{ provider = \"moves\", model = \"e{epoch}-b\" }}]\n\
         [models.f-{epoch}]\ntargets = [{{ provider = \"stays\", model = \"e{epoch}-f\" }}]\n",
        100 + epoch,
        3 + epoch % 3,
    );
    let checked = check(&text, &FixedSecrets(&[]));
    Arc::new(
        checked
            .unwrap_or_else(|faults| panic!("{}", faults.show("it")))
            .config,
    )
}

fn addresses(config: &Config) -> Vec<Vec<SocketAddr>> {
    let urls = config.providers.iter().map(|p| &p.base_url);
    urls.map(|url| vec![SocketAddr::from(([127, 0, 0, 1], url.port))])
        .collect()
}

fn scene(seed: u64) -> Rc<Scene> {
    let mut faults = Faults::rough(&Rng::new(seed), 100);
    faults.buffer = (faults.buffer.0.max(64), faults.buffer.1.max(64));
    let world = World::new(seed, faults);
    let config = config(1);
    let setup = Setup {
        index: 0,
        shards: 1,
        addresses: addresses(&config),
        config,
        tls: None,
        seed: world.rng().next(),
        log: Log::default(),
        account: Arc::new(Account::new(64 << 20)),
    };
    let shard = Shard::new(world.clone(), setup);
    let listener = world.listen(SocketAddr::from(GATEWAY)).unwrap();
    world.spawn(accept_loop(Rc::clone(&shard), listener));
    world.spawn(ticker(Rc::clone(&shard)));
    let scene = Rc::new(Scene {
        world: world.clone(),
        shard,
        stories: RefCell::default(),
    });
    for number in 0..3 {
        let listener = world.listen(port(number)).unwrap();
        let (host, all) = (world.clone(), Rc::clone(&scene));
        world.spawn(async move {
            while let Ok(link) = host.accept(&listener).await {
                host.spawn(provide(Rc::clone(&all), link));
            }
        });
    }
    scene
}

/// Reads one message; `None` at the connection's end.
pub(crate) async fn receive(
    link: &mut SimLink,
    rx: &mut RxBuf,
    is_response: bool,
) -> Option<http::Message> {
    loop {
        if let Some(message) = http::message(rx.data(), is_response, false)
            && message.is_whole
        {
            rx.consume(message.used);
            return Some(message);
        }
        if !matches!(read(link, rx).await, Ok(1..)) {
            return None;
        }
    }
}

/// The number behind `mark` in `text`.
fn number(text: &str, mark: &str) -> u64 {
    let (_, rest) = text
        .split_once(mark)
        .unwrap_or_else(|| panic!("{mark} in {text}"));
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().unwrap()
}

/// A provider's connection: notes what each request says, and answers somehow, sometime.
async fn provide(scene: Rc<Scene>, mut link: SimLink) {
    let rng = Rng::new(scene.world.rng().next());
    let pool = BufPool::new();
    let mut rx = RxBuf::new(&pool);
    while let Some(request) = receive(&mut link, &mut rx, false).await {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let model = body["model"].as_str().unwrap();
        let (built, planned) = (number(&request.line, "/e"), number(model, "e"));
        assert_eq!(
            built, planned,
            "template and plan: {} {model}",
            request.line
        );
        let user = body["user"].as_str().unwrap();
        scene.with_story(user, |story| story.attempts.push(built));
        scene
            .world
            .sleep(Duration::from_millis(rng.range(0, 400)))
            .await;
        let mut tx = TxBuf::new(&pool);
        match rng.range(0, 9) {
            0..=2 => tx.put(
                b"HTTP/1.1 500 X\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
            ),
            3 => return, // without a byte
            4 => return link.reset(),
            _ if body["stream"] == true => {
                tx.put(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n");
                for word in 0..4 {
                    let event = format!(
                        "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{planned}-{word}\"}}}}]}}\n\n"
                    );
                    tx.put(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
                    if flush(&mut link, &mut tx).await.is_err() {
                        return;
                    }
                    scene
                        .world
                        .sleep(Duration::from_millis(rng.range(0, 300)))
                        .await;
                }
                tx.put(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
            }
            _ => {
                let answer = format!("{{\"choices\":[],\"x\":\"{planned}\"}}");
                let length = answer.len();
                tx.put(format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{answer}").as_bytes());
            }
        }
        if flush(&mut link, &mut tx).await.is_err() {
            return;
        }
    }
}

/// Asks [`EACH`] times, over as few connections as the gateway lets it.
async fn ask(scene: Rc<Scene>, client: usize) {
    let (world, pool) = (&scene.world, BufPool::new());
    let rng = Rng::new(world.rng().next());
    let mut link = None;
    for turn in 0..EACH {
        world.sleep(Duration::from_millis(rng.range(0, 600))).await;
        let user = format!("x{client}-{turn}");
        let stream = rng.chance(500);
        let body =
            format!("{{\"model\":\"m\",\"stream\":{stream},\"user\":\"{user}\",\"messages\":[]}}");
        let story = Story {
            between: (scene.shard.snapshot().epoch, 0),
            ..Story::default()
        };
        scene.stories.borrow_mut().insert(user.clone(), story);
        let Ok(mut open) = (match link.take() {
            Some(link) => Ok(link),
            None => world.connect(SocketAddr::from(GATEWAY)).await,
        }) else {
            return; // it is closed
        };
        let mut tx = TxBuf::new(&pool);
        let head =
            "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n";
        tx.put(format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes());
        let (first, rest) = body.as_bytes().split_at(rng.index(body.len()));
        tx.put(first);
        if flush(&mut open, &mut tx).await.is_err() {
            continue;
        }
        world
            .sleep(Duration::from_millis(rng.pick(&[0, 0, 200])))
            .await;
        tx.put(rest);
        if flush(&mut open, &mut tx).await.is_err() {
            continue;
        }
        let mut rx = RxBuf::new(&pool);
        let Some(reply) = receive(&mut open, &mut rx, true).await else {
            continue;
        };
        let fallback = reply.field("x-shardgate-fallbacks");
        scene.with_story(&user, |story| {
            story.replied = fallback.map(|name| number(name, "f-"));
            story.between.1 = scene.shard.snapshot().epoch;
            story.status = reply.status();
            story.body = String::from_utf8(reply.body.clone()).unwrap();
        });
        if reply.field("connection") != Some("close") {
            link = Some(open);
        }
    }
}

fn is_done(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Done)
}

/// Reloads at random times until `over`; gives how many came into force.
async fn control(scene: Rc<Scene>, over: Rc<Cell<bool>>) -> u64 {
    let rng = Rng::new(scene.world.rng().next());
    let (shard, mut roster) = (&scene.shard, Roster::default());
    let mut config_now = config(1);
    roster.enter(&config_now);
    let mut epoch = 1;
    let order = |task: Task| carry_out(shard, &task, 0);
    while !over.get() {
        scene
            .world
            .sleep(Duration::from_millis(rng.range(0, 2000)))
            .await;
        let next = config(epoch + 1);
        let edition = Arc::new(Edition {
            epoch: epoch + 1,
            kept: Kept::between(&config_now, &next),
            places: roster.enter(&next),
            tls: None,
            addresses: addresses(&next),
            config: Arc::clone(&next),
        });
        assert!(is_done(&order(Task::Prepare(Arc::clone(&edition)))));
        assert!(
            !is_done(&order(Task::Prepare(edition))),
            "it is prepared already"
        );
        scene
            .world
            .sleep(Duration::from_millis(rng.range(0, 100)))
            .await;
        assert!(
            !is_done(&order(Task::Commit(epoch + 2))),
            "it is not prepared"
        );
        assert_eq!(shard.snapshot().epoch, epoch, "nothing has changed");
        if rng.chance(300) {
            assert!(is_done(&order(Task::Abort)));
            assert!(!is_done(&order(Task::Commit(epoch + 1))), "it was aborted");
        } else {
            assert!(is_done(&order(Task::Commit(epoch + 1))));
            assert!(!is_done(&order(Task::Commit(epoch + 1))), "once");
            epoch += 1;
            config_now = next;
        }
        assert_eq!(shard.snapshot().epoch, epoch);
    }
    epoch - 1
}

/// Runs three clients and `beside` them something else; then everything is at rest.
fn play<T: 'static>(
    scene: &Rc<Scene>,
    beside: impl Future<Output = T> + 'static,
    over: &Rc<Cell<bool>>,
) -> T {
    let left = Rc::new(Cell::new(3));
    for client in 0..3 {
        let (all, left, over) = (Rc::clone(scene), Rc::clone(&left), Rc::clone(over));
        scene.world.spawn(async move {
            ask(all, client).await;
            left.set(left.get() - 1);
            over.set(left.get() == 0);
        });
    }
    let (host, over) = (scene.world.clone(), Rc::clone(over));
    let result = scene.world.run(SCENE, async move {
        let result = beside.await;
        while !over.get() {
            host.sleep(Duration::from_millis(50)).await;
        }
        host.sleep(Duration::from_secs(20)).await; // pools and lingering are over by then
        result
    });
    let result = result.unwrap_or_else(|stuck| panic!("{stuck:?}"));
    let counters = scene.shard.counters.borrow();
    assert_eq!(counters.panics, 0);
    assert_eq!(counters.exchanges, counters.receipts);
    assert_eq!((counters.exchanges_open, counters.streams_open), (0, 0));
    assert_eq!(counters.connections_open, 0);
    let cells = scene.shard.with_turn(scene.world.now(), Targets::cells);
    assert!(cells.iter().all(|(_, cell)| cell.in_flight == 0));
    assert_eq!(scene.shard.buffers.lent(), 0, "bytes of buffers lent out");
    assert_eq!(scene.shard.deadlines.len(), 0, "timers");
    assert_eq!(
        scene.world.net().borrow().open(),
        0,
        "links, of retired pools too"
    );
    result
}

/// Goal: an exchange is served by the configuration that it began with, to its last attempt
/// and fallback, whatever comes into force meanwhile; what is aborted serves nobody; names are
/// counted under the same number all the time; nothing is left of old snapshots.
#[test]
fn no_exchange_mixes_epochs() {
    let (mixed, over_reload) = (Cell::new(0), Cell::new(0));
    for_every_seed("no_exchange_mixes_epochs", |seed| {
        let scene = scene(seed);
        let over = Rc::new(Cell::new(false));
        let reloads = play(&scene, control(Rc::clone(&scene), Rc::clone(&over)), &over);
        for (user, story) in &*scene.stories.borrow() {
            let all = story.attempts.iter().copied().chain(story.replied);
            let all: Vec<_> = all.collect();
            let first = all
                .first()
                .unwrap_or_else(|| panic!("{user} was never asked: {story:?}"));
            assert!(all.iter().all(|epoch| epoch == first), "{user}: {story:?}");
            let (from, to) = story.between;
            assert!((from..=to).contains(first), "{user}: {story:?}");
            if story.status == 200 && !story.body.contains("\"error\"") {
                let last =
                    story.body.contains(&format!("\"{first}-3\"")) && story.body.contains("[DONE]");
                assert!(
                    last || story.body.contains(&format!("\"x\":\"{first}\"")),
                    "{user}: {story:?}"
                );
            }
            mixed.set(mixed.get() + u64::from(all.len() > 2));
            over_reload.set(over_reload.get() + u64::from(from < to));
        }
        let counters = scene.shard.counters.borrow();
        let models: std::collections::BTreeSet<_> =
            counters.requests.keys().map(|(_, m, _)| m).collect();
        assert_eq!(models.len(), 1, "m has one number over {reloads} reloads");
        assert_eq!(scene.shard.snapshot().exchanges_max, 100 + reloads + 1);
        drop(counters);
        scene.world.end();
    });
    if std::env::var("SIM_SEED").is_err() {
        let walked = (mixed.get(), over_reload.get());
        assert!(walked.0 > 500 && walked.1 > 500, "{walked:?}");
    }
}

/// Goal: when a shard drains and its time is over, every exchange is whole, or says that it is
/// not: nothing hangs, nothing ends like a whole one that is not, and each has its receipt.
#[test]
fn an_end_is_told_to_everybody() {
    let told = Cell::new(0);
    for_every_seed("an_end_is_told_to_everybody", |seed| {
        let scene = scene(seed);
        let (all, over) = (Rc::clone(&scene), Rc::new(Cell::new(false)));
        let rng = Rng::new(seed);
        let beside = async move {
            all.world
                .sleep(Duration::from_millis(rng.range(0, 4000)))
                .await;
            assert!(is_done(&carry_out(&all.shard, &Task::Drain, 0)));
            all.world
                .sleep(Duration::from_millis(rng.pick(&[0, 1, 50, 300, 1500])))
                .await;
            assert!(is_done(&carry_out(&all.shard, &Task::End, 0)));
            let ended = all.world.now();
            while all.shard.counters.borrow().exchanges_open > 0 {
                all.world.sleep(Duration::from_millis(10)).await;
            }
            let took = all.world.now().since(ended);
            assert!(
                took < Duration::from_millis(1500),
                "the last word took {took:?}"
            );
        };
        play(&scene, beside, &over);
        for (user, story) in &*scene.stories.borrow() {
            let is_cut = story.body.contains("shut_down");
            told.set(told.get() + u64::from(is_cut));
            let is_whole = story.body.contains("[DONE]") || story.body.contains("\"x\":");
            assert!(!(is_cut && is_whole), "{user}: {story:?}");
            if story.status == 200 && !is_cut {
                assert!(
                    is_whole || story.body.contains("\"error\""),
                    "{user}: {story:?}"
                );
            }
        }
        let is_bound = scene
            .world
            .net()
            .borrow()
            .is_bound(SocketAddr::from(GATEWAY));
        assert!(!is_bound, "the listener is closed");
        scene.world.end();
    });
    if std::env::var("SIM_SEED").is_err() {
        assert!(told.get() > 100, "{told:?}");
    }
}
