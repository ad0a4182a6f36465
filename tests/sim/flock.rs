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

/// How long a shard that hangs does.
const HANGS: Duration = Duration::from_secs(30);

/// How late letters are. They keep their order, so that one waits for those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Letters {
    /// Up to 20 ms.
    Late,
    /// Up to 1 or 20 ms, but from one shard to one other up to 150 ms.
    Odd,
    /// Those to and from the last shard [`HANGS`] at first.
    Hang,
}

/// Shards that write each other letters.
fn shards(world: &World, count: usize, letters: Letters) -> Vec<Rc<Shard<World>>> {
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
    let dice = Rng::new(world.rng().next());
    let slow = (dice.index(count), dice.index(count));
    let most_us = dice.pick(&[1_000, 20_000]);
    for from in &all {
        for to in all.iter().filter(|to| to.index != from.index) {
            let (from, to, host) = (Rc::clone(from), Rc::clone(to), world.clone());
            let rng = Rng::new(world.rng().next());
            let hangs = letters == Letters::Hang && from.index.max(to.index) == count - 1;
            let until = world.now() + if hangs { HANGS } else { Duration::ZERO };
            let late_us = match letters {
                Letters::Odd if slow == (from.index, to.index) => 150_000,
                Letters::Odd => most_us,
                Letters::Late | Letters::Hang => 20_000,
            };
            world.spawn(async move {
                loop {
                    let letter = from.next_letter(to.index).await;
                    host.sleep_until(until).await;
                    host.sleep(Duration::from_micros(rng.range(0, late_us)))
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

/// A provider that streams `body` in pieces of at most so many bytes, after so many milliseconds,
/// and notes who asks and leaves.
fn provider(
    world: &World,
    body: &Rc<[u8]>,
    met: &Rc<Met>,
    (thinks, piece_max): ((u64, u64), usize),
) {
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
                        let len = rng.cut((body.len() - at).min(piece_max)).max(1);
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
    /// So long after it asked, whatever came.
    After(Duration),
    /// The same, and until then it reads nothing.
    Unread(Duration),
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
    let (asked, pause) = (world.now(), rng.pick(&[0, 0, 10, 200]));
    if let Leaves::Unread(patience) = leaves {
        world.sleep(patience).await;
        return None;
    }
    loop {
        let patience = match leaves {
            Leaves::Read(most) if rx.len() >= most => return None, // the link drops
            Leaves::Waited(patience) => patience,
            Leaves::After(patience) => patience.saturating_sub(world.now().since(asked)),
            Leaves::Never | Leaves::Read(_) | Leaves::Unread(_) => SCENE,
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
    letters: Letters,
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
        let count = rng.pick(&[1, 2, 3]);
        let of = (count, Letters::Late);
        (
            Self::of((seed, faults), of, &rng, (thinks, usize::MAX)),
            rng,
        )
    }

    /// One of two or three shards in which letters alone are late, and streams take a while.
    fn smooth(seed: u64, thinks: (u64, u64), letters: Letters) -> (Self, Rng) {
        let rng = Rng::new(seed.wrapping_mul(9697));
        let of = (rng.pick(&[2, 3]), letters);
        (Self::of((seed, Faults::NONE), of, &rng, (thinks, 512)), rng)
    }

    fn of(
        (seed, faults): (u64, Faults),
        (count, letters): (usize, Letters),
        rng: &Rng,
        speaks: ((u64, u64), usize),
    ) -> Self {
        let world = World::new(seed, faults);
        let shards = shards(&world, count, letters);
        let said: Rc<[u8]> = body(1 + rng.index(60)).into();
        let met = Rc::default();
        provider(&world, &said, &met, speaks);
        Self {
            world,
            shards,
            letters,
            said,
            met,
            left: Rc::default(),
            got: Rc::default(),
            waits: Rc::default(),
        }
    }

    /// A client of some shard that does not hang, which comes `after` so many milliseconds.
    fn client(&self, after: u64, leaves: impl FnOnce(&Rng) -> Leaves) {
        let own = Rng::new(self.world.rng().next());
        let hang = usize::from(self.letters == Letters::Hang);
        let at = gateway(own.index(self.shards.len() - hang));
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
            assert_eq!(shard.ferries.counts(), [0; 5], "ferries");
            shard_rests(&self.world, shard);
        }
        drop(self.shards);
        self.world.end();
    }
}

/// How long a client stays that reads nothing: not as long as `timeouts.stall`.
const UNREAD: Duration = Duration::from_secs(25);

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

/// One comes after the other, on whichever shard, a little before the one before it leaves; the
/// last one stays.
fn hand_on(seed: u64, thinks: (u64, u64), letters: Letters) {
    let (scene, rng) = Scene::smooth(seed, thinks, letters);
    let (mut comes, mut leaves) = (0, rng.range(200, 400));
    let others = 1 + rng.index(5);
    for _ in 0..others {
        let stays = Duration::from_millis(leaves - comes);
        scene.client(comes, |_| Leaves::After(stays));
        comes = leaves - rng.range(1, 60);
        leaves += rng.range(1, 200);
    }
    scene.client(comes, |_| Leaves::Never);
    scene.play(REST);
    let (got, left) = (scene.got.borrow().len(), scene.left.get());
    assert_eq!(got + left, others + 1, "who stayed has an answer");
    assert_eq!(scene.met.asked.get(), 1, "exchanges; {left} left");
    scene.end();
}

/// The first one leaves and others come, all within a time in which letters are on their way.
fn cross(seed: u64) {
    let (scene, rng) = Scene::smooth(seed, (4_000, 8_000), Letters::Odd);
    let others = 2 + rng.index(4);
    scene.client(0, |_| Leaves::After(Duration::from_millis(300)));
    for _ in 0..others {
        scene.client(rng.range(300, 360), |_| Leaves::Never);
    }
    scene.play(REST);
    assert_eq!(scene.got.borrow().len(), others, "who stayed has an answer");
    let (asked, left) = (scene.met.asked.get(), scene.met.left.get());
    assert!(asked - left == 1, "asked {asked} times, left {left} times");
    scene.end();
}

/// One takes nothing, for longer than all of the stream takes.
fn hold_up(seed: u64) {
    let rng = Rng::new(seed.wrapping_mul(7919));
    let faults = Faults {
        buffer: (512, 1024),
        ..Faults::NONE
    };
    let of = (rng.pick(&[1, 2, 3]), Letters::Late);
    let scene = Scene::of((seed, faults), of, &rng, ((500, 1_000), 512));
    let others = 1 + rng.index(5);
    for _ in 0..others {
        scene.client(rng.range(0, 400), |_| Leaves::Never);
    }
    scene.client(rng.range(0, 400), |_| Leaves::Unread(UNREAD));
    let (host, got) = (scene.world.clone(), Rc::clone(&scene.got));
    let in_time = Rc::new(Cell::new(0));
    let finished = Rc::clone(&in_time);
    scene.world.spawn(async move {
        host.sleep(UNREAD).await;
        finished.set(got.borrow().len());
    });
    scene.play(REST);
    assert_eq!(in_time.get(), others, "who reads has an answer");
    assert_eq!((scene.met.asked.get(), scene.left.get()), (1, 1));
    scene.end();
}

/// All leave while a shard hangs, and soon the provider is left, however often it was asked.
fn desert_one_that_hangs(seed: u64) {
    let (scene, rng) = Scene::smooth(seed, (60_000, 60_000), Letters::Hang);
    for _ in 0..=rng.index(4) {
        scene.client(rng.range(0, 500), |own| {
            Leaves::After(Duration::from_millis(own.range(1_500, 4_000)))
        });
    }
    scene.play(Duration::from_millis(1_200));
    let (asked, left) = (scene.met.asked.get(), scene.met.left.get());
    assert_eq!(asked, left, "asked, left");
    assert!((1..=2).contains(&asked), "asked {asked} times");
    scene.play(HANGS + REST);
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

/// Goal: a client that takes nothing holds up nobody who listens to the same. Method: 256 worlds in
/// which links hold little, and one client reads nothing for longer than the stream takes.
#[test]
fn a_client_that_takes_nothing_holds_nobody_up() {
    for_every_seed("a_client_that_takes_nothing_holds_nobody_up", hold_up);
}

/// Goal: when nobody waits any more the provider is left, soon. Method: 256 worlds, in which all
/// leave while it thinks, the first one first or not.
#[test]
fn an_exchange_that_all_have_left_is_called_off() {
    for_every_seed("an_exchange_that_all_have_left_is_called_off", desert);
}

/// Goal: while anybody waits who asked before the one before left, there is one exchange, also
/// where who leads has not heard of who comes: that letter is on its way. Method: 256 worlds in
/// which one comes 1 to 60 ms before the other leaves, letters take up to 150 ms, and there is no
/// answer.
#[test]
fn an_exchange_waits_for_those_on_their_way_to_it() {
    for_every_seed("an_exchange_waits_for_those_on_their_way_to_it", |seed| {
        hand_on(seed, (4_000, 8_000), Letters::Odd);
    });
}

/// Goal: the same while an answer comes. Method: the same, but the provider thinks for a short
/// time, and letters take up to 20 ms (a flight lingers 100 ms when its answer was stored).
#[test]
fn an_answer_waits_for_those_on_their_way_to_it() {
    for_every_seed("an_answer_waits_for_those_on_their_way_to_it", |seed| {
        hand_on(seed, (0, 300), Letters::Late);
    });
}

/// Goal: those that come when the leader has just left share one exchange, though a home still
/// names the one that left. Method: 256 worlds in which others come 0 to 60 ms later, and letters
/// take up to 150 ms.
#[test]
fn those_that_come_after_the_leader_share_one_exchange() {
    for_every_seed("those_that_come_after_the_leader_share_one_exchange", cross);
}

/// Goal: a shard that hangs keeps no exchange open that all have left. Method: 256 worlds in which
/// no letter to or from one shard arrives for 30 s; it may be the home, and 1.2 s must do.
#[test]
fn a_shard_that_hangs_holds_no_exchange_open() {
    let name = "a_shard_that_hangs_holds_no_exchange_open";
    for_every_seed(name, desert_one_that_hangs);
}
