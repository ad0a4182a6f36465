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

use super::for_every_seed;
use super::http;
use super::law::shard_rests;
use super::rng::Rng;
use super::world::{Faults, World};
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::cache::entry::Account;
use shardgate::config::{Config, FixedSecrets, check};
use shardgate::host::{Host, flush, read};
use shardgate::shard::log::Log;
use shardgate::shard::serve::{accept_loop, ticker};
use shardgate::shard::{Setup, Shard};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
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

/// A provider that streams `body` in pieces and counts who asks.
fn provider(world: &World, body: &Rc<[u8]>, asked: &Rc<Cell<usize>>) {
    let listener = world.listen(PROVIDER).unwrap();
    let (host, body, asked) = (world.clone(), Rc::clone(body), Rc::clone(asked));
    world.spawn(async move {
        while let Ok(mut link) = host.accept(&listener).await {
            let (host, body, asked) = (host.clone(), Rc::clone(&body), Rc::clone(&asked));
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
                    asked.set(asked.get() + 1);
                    host.sleep(Duration::from_millis(rng.range(0, 2_000))).await;
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

/// Asks, reads at its pace, and leaves when it has read so much; what came, or `None` of who left.
async fn client(world: World, rng: Rng, at: SocketAddr, leaves: Option<usize>) -> Option<Vec<u8>> {
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
        if leaves.is_some_and(|most| rx.len() >= most) {
            return None; // the link drops
        }
        match read(&mut link, &mut rx).await {
            Ok(1..) => {}
            _ => break,
        }
        world.sleep(Duration::from_millis(pause)).await;
    }
    let reply = http::message(rx.data(), true, true)?;
    assert_eq!(reply.status(), 200, "{reply:?}");
    assert!(reply.is_whole, "an answer without its end");
    Some(reply.body)
}

fn play(seed: u64) {
    let rng = Rng::new(seed.wrapping_mul(6271));
    let mut faults = Faults::rough(&rng, 200);
    faults.buffer = (faults.buffer.0.max(512), faults.buffer.1.max(512));
    let world = World::new(seed, faults);
    let count = rng.pick(&[1, 2, 3]);
    let all = shards(&world, count);
    let (said, asked): (Rc<[u8]>, _) = (body(1 + rng.index(60)).into(), Rc::new(Cell::new(0)));
    provider(&world, &said, &asked);
    let clients = 2 + rng.index(8);
    let left = Rc::new(Cell::new(clients));
    let leavers = Rc::new(Cell::new(0));
    let got = Rc::new(RefCell::new(Vec::new()));
    for _ in 0..clients {
        let own = Rng::new(world.rng().next());
        let at = gateway(own.index(count));
        let most = own.chance(300).then(|| own.index(said.len() + 400));
        let (host, left, got) = (world.clone(), Rc::clone(&left), Rc::clone(&got));
        let leavers = Rc::clone(&leavers);
        world.spawn(async move {
            host.sleep(Duration::from_millis(own.range(0, 1_500))).await;
            match client(host.clone(), own, at, most).await {
                Some(body) => got.borrow_mut().push(body),
                None => leavers.set(leavers.get() + 1),
            }
            left.set(left.get() - 1);
        });
    }
    let host = world.clone();
    let done = world.run(SCENE, async move {
        while left.get() > 0 {
            host.sleep(Duration::from_millis(50)).await;
        }
        host.sleep(Duration::from_secs(20)).await;
    });
    assert_eq!(done, Ok(()), "something hangs: {world:?}");
    for body in got.borrow().iter() {
        assert!(**body == *said, "not what the provider said");
    }
    assert!(
        (1..=1 + leavers.get()).contains(&asked.get()),
        "{} clients, {} left, and the provider was asked {} times",
        clients,
        leavers.get(),
        asked.get()
    );
    for shard in &all {
        assert!(
            shard.flights.find_any().is_none(),
            "a flight nobody knows of"
        );
        assert_eq!(shard.ferries.counts(), [0; 3], "ferries");
        shard_rests(&world, shard);
    }
    drop(all);
    world.end();
}

/// Goal: one exchange for all who ask the same at once; each gets all of it, at its own pace, also
/// when the one leaves who caused it. Method: 256 worlds of one to three shards.
#[test]
fn identical_requests_are_one_exchange() {
    for_every_seed("identical_requests_are_one_exchange", play);
}
