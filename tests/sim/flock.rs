//! Identical requests at once, in a rough world: one exchange for all, on whichever shard.
//!
//! ```text
//!   clients ──► shard 0 ◄── letters, in order, late ──► shard 1 ◄── clients
//!                  └─────────► one provider ◄─────────────┘
//! ```
//!
//! Clients come at different times, read at different paces, and some leave in the middle. Who
//! stays gets every byte of the provider's body, once and in order; the provider is asked no more
//! often than once for everybody and once for each who left.
//!
//! Where the one leaves who caused the exchange, before there is any answer, it goes on for the
//! others; when all leave the provider is left, too.

use super::for_every_seed;
use super::http;
use super::law::shard_rests;
use super::rng::Rng;
use super::world::{Faults, World};
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::cache::entry::Account;
use shardgate::config::{Config, FixedSecrets, check};
use shardgate::host::{Host, Link, flush, read};
use shardgate::shard::log::Log;
use shardgate::shard::serve::{accept_loop, ticker};
use shardgate::shard::{Setup, Shard};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

const CONFIG: &str = "[cache]\nmode = \"exact\"\nttl = \"1h\"\n\
    [timeouts]\ntotal = \"5m\"\nidle = \"60s\"\nfirst_token = \"60s\"\n\
    [providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:7000/v1\"\n\
    pool = { idle = \"5s\" }\n\
    [models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";

const PROVIDER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7000);

/// The longest virtual time of a scene.
const SCENE: Duration = Duration::from_secs(900);

fn gateway(shard: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8080 + u16::try_from(shard).unwrap()))
}

/// Shards that write each other letters: in order, up to 20 ms late.
fn shards(world: &World, count: usize) -> Vec<Rc<Shard<World>>> {
    let config: Arc<Config> = Arc::new(check(CONFIG, &FixedSecrets(&[])).unwrap().config);
    let account = Arc::new(Account::new(64 << 20));
    let start = |index| {
        let setup = Setup {
            index,
            shards: count,
            config: Arc::clone(&config),
            addresses: vec![vec![PROVIDER]],
            tls: None,
            seed: world.rng().next(),
            log: Log::default(),
            account: Arc::clone(&account),
        };
        let shard = Shard::new(world.clone(), setup);
        let listener = world.listen(gateway(index)).unwrap();
        world.spawn(accept_loop(Rc::clone(&shard), listener));
        world.spawn(ticker(Rc::clone(&shard)));
        shard
    };
    let all: Vec<_> = (0..count).map(start).collect();
    for from in &all {
        for to in all.iter().filter(|to| to.index != from.index) {
            let (from, to, host) = (Rc::clone(from), Rc::clone(to), world.clone());
            let rng = Rng::new(world.rng().next());
            world.spawn(async move {
                loop {
                    let letter = from.next_letter(to.index).await;
                    host.sleep(Duration::from_micros(rng.range(0, 20_000)))
                        .await;
                    to.receive(from.index, letter);
                }
            });
        }
    }
    all
}

/// The body of a stream of `events` events.
fn body(events: usize) -> Vec<u8> {
    let event = |choice: &str| {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"up\",\
             \"choices\":[{{\"index\":0,{choice}}}]}}\n\n"
        )
    };
    let mut body =
        event("\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null");
    for number in 0..events {
        body += &event(&format!(
            "\"delta\":{{\"content\":\"word {number} \"}},\"finish_reason\":null"
        ));
    }
    body += &event("\"delta\":{},\"finish_reason\":\"stop\"");
    body += "data: [DONE]\n\n";
    body.into_bytes()
}

/// What a provider has seen.
#[derive(Debug, Default)]
struct Met {
    /// How often it was asked.
    asked: Cell<usize>,
    /// How often it was left before it had said anything.
    left: Cell<usize>,
}

/// Reads, until `host` says that it is `until`; whether something came, or the end.
async fn read_until(
    (host, link): (&World, &mut <World as Host>::Stream),
    rx: &mut RxBuf,
    until: Duration,
) -> Option<std::io::Result<usize>> {
    let mut late = pin!(host.sleep(until));
    poll_fn(|cx| match link.poll_read(cx, rx) {
        Poll::Ready(read) => Poll::Ready(Some(read)),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// A provider that streams `body` in pieces, after so many milliseconds, and notes who asks and
/// leaves.
fn provider(world: &World, body: &Rc<[u8]>, met: &Rc<Met>, thinks: (u64, u64)) {
    let listener = world.listen(PROVIDER).unwrap();
    let (host, body, met) = (world.clone(), Rc::clone(body), Rc::clone(met));
    world.spawn(async move {
        while let Ok(mut link) = host.accept(&listener).await {
            let (host, body, met) = (host.clone(), Rc::clone(&body), Rc::clone(&met));
            let rng = Rng::new(host.rng().next());
            host.clone().spawn(async move {
                let pool = BufPool::new();
                let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
                loop {
                    while !http::message(rx.data(), false, false).is_some_and(|it| it.is_whole) {
                        if !matches!(read(&mut link, &mut rx).await, Ok(1..)) {
                            return;
                        }
                    }
                    rx.clear();
                    met.asked.set(met.asked.get() + 1);
                    let thinks = Duration::from_millis(rng.range(thinks.0, thinks.1));
                    if read_until((&host, &mut link), &mut rx, thinks)
                        .await
                        .is_some()
                    {
                        met.left.set(met.left.get() + 1);
                        return;
                    }
                    tx.put(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n");
                    tx.put(b"transfer-encoding: chunked\r\n\r\n");
                    let mut at = 0;
                    while at < body.len() {
                        let len = rng.cut(body.len() - at).max(1);
                        tx.put(format!("{len:x}\r\n").as_bytes());
                        tx.put(&body[at..at + len]);
                        tx.put(b"\r\n");
                        at += len;
                        if flush(&mut link, &mut tx).await.is_err() {
                            return;
                        }
                        host.sleep(Duration::from_millis(rng.range(0, 200))).await;
                    }
                    tx.put(b"0\r\n\r\n");
                    if flush(&mut link, &mut tx).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// When a client leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    Never,
    /// When it has read so many bytes.
    Read(usize),
    /// When nothing came for so long.
    Waited(Duration),
}

/// Asks, reads at its pace, and leaves; what came, or `None` of who left.
async fn client(world: World, rng: Rng, at: SocketAddr, leaves: Leaves) -> Option<Vec<u8>> {
    let mut link = world.connect(at).await.unwrap();
    let pool = BufPool::new();
    let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
    let ask =
        "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    tx.put(
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n\
             connection: close\r\ncontent-length: {}\r\n\r\n{ask}",
            ask.len()
        )
        .as_bytes(),
    );
    flush(&mut link, &mut tx).await.unwrap();
    let pause = rng.pick(&[0, 0, 10, 200]);
    loop {
        let patience = match leaves {
            Leaves::Read(most) if rx.len() >= most => return None, // the link drops
            Leaves::Waited(patience) => patience,
            Leaves::Never | Leaves::Read(_) => SCENE,
        };
        match read_until((&world, &mut link), &mut rx, patience).await {
            Some(Ok(1..)) => {}
            Some(_) => break,
            None => return None,
        }
        world.sleep(Duration::from_millis(pause)).await;
    }
    let reply = http::message(rx.data(), true, true)?;
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert!(reply.is_whole, "an answer without its end");
    Some(reply.body)
}

/// A scene, and what came of it.
struct Scene {
    world: World,
    shards: Vec<Rc<Shard<World>>>,
    said: Rc<[u8]>,
    met: Rc<Met>,
    left: Rc<Cell<usize>>,
    got: Rc<RefCell<Vec<Vec<u8>>>>,
    waits: Rc<Cell<usize>>,
}

impl Scene {
    /// A rough world of one to three shards, and a provider that thinks for so many milliseconds.
    fn begin(seed: u64, thinks: (u64, u64)) -> (Self, Rng) {
        let rng = Rng::new(seed.wrapping_mul(6271));
        let mut faults = Faults::rough(&rng, 200);
        faults.buffer = (faults.buffer.0.max(512), faults.buffer.1.max(512));
        let world = World::new(seed, faults);
        let shards = shards(&world, rng.pick(&[1, 2, 3]));
        let said: Rc<[u8]> = body(1 + rng.index(60)).into();
        let met = Rc::default();
        provider(&world, &said, &met, thinks);
        let scene = Self {
            world,
            shards,
            said,
            met,
            left: Rc::default(),
            got: Rc::default(),
            waits: Rc::default(),
        };
        (scene, rng)
    }

    /// A client of some shard that comes `after` so many milliseconds.
    fn client(&self, after: u64, leaves: impl FnOnce(&Rng) -> Leaves) {
        let own = Rng::new(self.world.rng().next());
        let at = gateway(own.index(self.shards.len()));
        let leaves = leaves(&own);
        let (host, left, got) = (self.world.clone(), self.left.clone(), self.got.clone());
        let waits = Rc::clone(&self.waits);
        waits.set(waits.get() + 1);
        self.world.spawn(async move {
            host.sleep(Duration::from_millis(after)).await;
            match client(host.clone(), own, at, leaves).await {
                Some(body) => got.borrow_mut().push(body),
                None => left.set(left.get() + 1),
            }
            waits.set(waits.get() - 1);
        });
    }

    /// Plays it to its end, and then for as `long`; whoever stayed has all of the body.
    fn play(&self, long: Duration) {
        let (host, waits) = (self.world.clone(), Rc::clone(&self.waits));
        let done = self.world.run(SCENE, async move {
            while waits.get() > 0 {
                host.sleep(Duration::from_millis(50)).await;
            }
            host.sleep(long).await;
        });
        assert_eq!(done, Ok(()), "something hangs: {:?}", self.world);
        for body in self.got.borrow().iter() {
            assert!(**body == *self.said, "not what the provider said");
        }
    }

    /// Everything is at rest.
    fn end(self) {
        for shard in &self.shards {
            assert!(
                shard.flights.find_any().is_none(),
                "a flight nobody knows of"
            );
            assert_eq!(shard.ferries.counts(), [0; 3], "ferries");
            shard_rests(&self.world, shard);
        }
        drop(self.shards);
        self.world.end();
    }
}

/// How long a scene goes on after its last client, for everything to come to rest.
const REST: Duration = Duration::from_secs(20);

fn play(seed: u64) {
    let (scene, rng) = Scene::begin(seed, (0, 2_000));
    let clients = 2 + rng.index(8);
    for _ in 0..clients {
        let most = scene.said.len() + 400;
        scene.client(rng.range(0, 1_500), |own| {
            if own.chance(300) {
                Leaves::Read(own.index(most))
            } else {
                Leaves::Never
            }
        });
    }
    scene.play(REST);
    let (asked, left) = (scene.met.asked.get(), scene.left.get());
    assert!(
        (1..=1 + left).contains(&asked),
        "{clients} clients, {left} left, and the provider was asked {asked} times"
    );
    scene.end();
}

/// The first client asks, others join, and it leaves before the provider has said anything.
fn forsake(seed: u64) {
    let (scene, rng) = Scene::begin(seed, (4_000, 8_000));
    let others = 1 + rng.index(6);
    scene.client(0, |own| {
        Leaves::Waited(Duration::from_millis(own.range(1_500, 2_500)))
    });
    for _ in 0..others {
        scene.client(rng.range(500, 1_000), |_| Leaves::Never);
    }
    scene.play(REST);
    assert_eq!(scene.left.get(), 1);
    assert_eq!(scene.got.borrow().len(), others, "who stayed has an answer");
    assert_eq!((scene.met.asked.get(), scene.met.left.get()), (1, 0));
    scene.end();
}

/// All leave, one after the other, before the provider says anything, which takes it a long time.
fn desert(seed: u64) {
    let (scene, rng) = Scene::begin(seed, (50_000, 50_000));
    scene.client(0, |own| {
        Leaves::Waited(Duration::from_millis(own.range(1_500, 4_000)))
    });
    for _ in 0..=rng.index(6) {
        scene.client(rng.range(500, 1_000), |own| {
            Leaves::Waited(Duration::from_millis(own.range(1_000, 4_000)))
        });
    }
    scene.play(Duration::from_secs(2));
    assert_eq!(scene.got.borrow().len(), 0);
    assert_eq!((scene.met.asked.get(), scene.met.left.get()), (1, 1));
    scene.end();
}

/// Goal: one exchange for all who ask the same at once; each gets all of it, at its own pace, also
/// when the one leaves who caused it. Method: 256 worlds of one to three shards.
#[test]
fn identical_requests_are_one_exchange() {
    for_every_seed("identical_requests_are_one_exchange", play);
}

/// Goal: an exchange that others wait for, too, goes on when the client leaves that caused it,
/// though there is no answer yet, and on whichever shard they wait. Method: 256 worlds, in which
/// the first client leaves after the others came.
#[test]
fn an_exchange_outlives_the_client_that_caused_it() {
    for_every_seed("an_exchange_outlives_the_client_that_caused_it", forsake);
}

/// Goal: when nobody waits any more the provider is left, soon. Method: 256 worlds, in which all
/// leave while it thinks, the first one first or not.
#[test]
fn an_exchange_that_all_have_left_is_called_off() {
    for_every_seed("an_exchange_that_all_have_left_is_called_off", desert);
}
