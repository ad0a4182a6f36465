//! Counts allocations: none for a relayed event, few for a plain exchange.
//!
//! ```text
//!   provider ──event──► shard ──event──► client       one thread, the world of tests/sim
//!       mark ───────── N events ───────── mark        allocations between the marks: 0
//! ```
//!
//! The only `GlobalAlloc` of the project. It counts per thread, so tests beside each other
//! do not disturb. World, provider and client allocate nothing once they are warm: what is
//! counted between the marks is the shard's.

#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::indexing_slicing, reason = "a test may panic")]
#![expect(unsafe_code, reason = "an allocator cannot be written without")]
#![expect(
    dead_code,
    reason = "the world is made for tests/sim, which uses all of it"
)]

#[path = "sim/net.rs"]
mod net;
#[path = "sim/rng.rs"]
mod rng;
#[path = "sim/world.rs"]
mod world;

use net::SimLink;
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::cache::embed::{DIMS, Scratch, builtin};
use shardgate::cache::entry::Account;
use shardgate::cache::near::{Near, Search};
use shardgate::config::{FixedSecrets, check};
use shardgate::exchange::connection::connection;
use shardgate::host::ring::{Ring, Socket};
use shardgate::host::uring::Uring;
use shardgate::host::{Host, flush, read};
use shardgate::shard::log::Log;
use shardgate::shard::serve::{accept_loop, ticker};
use shardgate::shard::{Setup, Shard};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use world::{Faults, World};

/// Allocations for one plain exchange on warm connections, at most. Measured: 1, the request
/// beside its bytes; the model's name is one more when a target has none of its own.
const PLAIN_MAX: u64 = 2;

/// Allocations for one stream as a whole, at most. Measured: 2, the request and the
/// memory of the event before.
const STREAM_MAX: u64 = 3;

/// Bytes that the task of a connection takes on the ring, at most. Measured: 1984 (5648 when
/// what is awaited was moved from function to function, since the compiler stores both ends
/// of such a move). In it: 272 the client's side, 232 the receipt, 384 the provider's side
/// with its answer's head, about 500 what relaying a stream or holding a plain answer needs,
/// 72 the target, the rest what asking needs and borrows. A stream that waits for its next
/// event keeps all of it; the request, not needed any more then, is therefore not in it.
const TASK_MAX: usize = 1984;

/// Events before the counting begins, and events that are counted.
const WARM: usize = 2000;
const COUNTED: usize = 1000;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// Allocations of this thread so far.
fn count() -> u64 {
    COUNT.with(Cell::get)
}

struct Counting;

// SAFETY: every call goes to `System` with the arguments it came with; the counter is a
// plain cell of the thread that needs no allocation and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: `at` came from `System` with this layout.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: `at` came from `System` with this layout.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const GATEWAY: SocketAddr = at(8080);
const PROVIDER: SocketAddr = at(7000);

const fn at(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), port)
}

const CONFIG: &str = "[providers.p]\ndialect = \"openai\"\n\
    base_url = \"http://127.0.0.1:7000/v1\"\n\
    [models.m]\ntargets = [{ provider = \"p\", model = \"up\" }]\n";

const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
    transfer-encoding: chunked\r\n\r\n";

/// Chunks of a stream: an event, an event with escapes, half an event and the other half,
/// two at once, a comment.
const CHUNKS: [&str; 6] = [
    "data: {\"choices\":[{\"delta\":{\"content\":\"a b\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"\\u00e9\\n\\\"q\\\" \\\\ \"}}]}\n\n",
    "data: {\"choices\":[",
    "{\"delta\":{\"content\":\"a b\"}}]}\n\n",
    "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n\
     data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n",
    ": ping\n\n",
];

const DONE: &str = "data: [DONE]\n\n";

/// `data` as a chunk.
fn chunk(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}

/// A plain answer.
fn plain() -> Vec<u8> {
    let body = "{\"id\":\"a\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\
        \"content\":\"Hi\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The route of the provider's own dialect, and one of another.
const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

/// A request of the client by `path`, a stream or not.
fn request(path: &str, stream: bool) -> Vec<u8> {
    let body = format!(
        "{{\"model\":\"m\",\"max_tokens\":9,\"stream\":{stream},\"messages\":[{{\"role\":\"user\",\"content\":\"Hi\"}}]}}"
    );
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// A shard in a world, its gateway open.
fn shard(world: &World) -> Rc<Shard<World>> {
    let checked = check(CONFIG, &FixedSecrets(&[])).unwrap();
    let setup = Setup {
        index: 0,
        shards: 1,
        config: Arc::new(checked.config),
        addresses: vec![vec![PROVIDER]],
        tls: None,
        seed: 1,
        log: Log::default(),
        account: Arc::new(Account::new(64 << 20)),
    };
    let shard = Shard::new(world.clone(), setup);
    world.spawn(accept_loop(
        Rc::clone(&shard),
        world.listen(GATEWAY).unwrap(),
    ));
    world.spawn(ticker(Rc::clone(&shard)));
    shard
}

/// Reads until the bytes end with `end`, and throws them away; gives how many they were.
async fn read_to(link: &mut SimLink, rx: &mut RxBuf, end: &[u8]) -> usize {
    while !rx.data().ends_with(end) {
        assert!(read(link, rx).await.unwrap() > 0, "the other side closed");
    }
    let len = rx.len();
    rx.clear();
    len
}

/// Asks `times` times on one connection; gives the allocations of the second half.
fn exchanges(world: &World, stream: bool, times: u64, answer: Vec<u8>) -> u64 {
    let _shard = shard(world);
    let pool = BufPool::new();
    let (host, lent) = (world.clone(), pool.clone());
    let listener = world.listen(PROVIDER).unwrap();
    let end = answer[answer.len() - 5..].to_vec();
    world.spawn(async move {
        let mut link = host.accept(&listener).await.unwrap();
        let (mut rx, mut tx) = (RxBuf::new(&lent), TxBuf::new(&lent));
        loop {
            read_to(&mut link, &mut rx, b"}]}").await;
            tx.put(&answer);
            flush(&mut link, &mut tx).await.unwrap();
        }
    });
    let host = world.clone();
    let ask = request(CHAT, stream);
    let run = world.run(Duration::from_secs(60), async move {
        let mut link = host.connect(GATEWAY).await.unwrap();
        let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
        let mut before = 0;
        for turn in 0..times {
            if turn == times / 2 {
                before = count();
            }
            tx.put(&ask);
            flush(&mut link, &mut tx).await.unwrap();
            read_to(&mut link, &mut rx, &end).await;
        }
        count() - before
    });
    let counted = run.unwrap();
    world.end();
    counted
}

/// Streams events through a shard to a client that came by `path`; gives allocations between
/// the marks and bytes that came.
fn stream(world: &World, path: &'static str) -> (u64, usize) {
    let _shard = shard(world);
    let pool = BufPool::new();
    let (host, lent) = (world.clone(), pool.clone());
    let listener = world.listen(PROVIDER).unwrap();
    let counted = Rc::new(Cell::new(0));
    let counts = Rc::clone(&counted);
    let chunks = CHUNKS.map(chunk);
    let end = [&chunk(DONE)[..], b"0\r\n\r\n"].concat();
    world.spawn(async move {
        let mut link = host.accept(&listener).await.unwrap();
        let (mut rx, mut tx) = (RxBuf::new(&lent), TxBuf::new(&lent));
        let asked: &[u8] = if path == CHAT { b"}]}" } else { b"}" };
        read_to(&mut link, &mut rx, asked).await;
        tx.put(STREAM);
        for turn in 0..WARM + COUNTED {
            if turn == WARM {
                counts.set(count());
            }
            tx.put(&chunks[turn % chunks.len()]);
            flush(&mut link, &mut tx).await.unwrap();
            host.sleep(Duration::from_millis(2)).await;
        }
        counts.set(count() - counts.get());
        tx.put(&end);
        flush(&mut link, &mut tx).await.unwrap();
    });
    let host = world.clone();
    let ask = request(path, true);
    let run = world.run(Duration::from_secs(60), async move {
        let mut link = host.connect(GATEWAY).await.unwrap();
        let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
        tx.put(&ask);
        flush(&mut link, &mut tx).await.unwrap();
        let mut bytes = 0;
        while !rx.data().ends_with(b"0\r\n\r\n") {
            let seen = rx.len().saturating_sub(5); // the end may come in pieces
            bytes += seen;
            rx.consume(seen);
            assert!(read(&mut link, &mut rx).await.unwrap() > 0);
        }
        bytes
    });
    let bytes = run.unwrap();
    world.end();
    (counted.get(), bytes)
}

/// Says it also when the test passes.
#[expect(
    clippy::explicit_write,
    reason = "what eprintln! writes is only seen on failure"
)]
fn say(what: &str) {
    writeln!(std::io::stderr(), "alloc: {what}").unwrap();
}

/// Goal: a relayed event costs no allocation, nor does a translated one. Method: mark, 1000
/// chunks of every form, mark; with whole reads and writes, and cut into random pieces.
#[test]
fn a_relayed_event_allocates_nothing() {
    let cut = Faults {
        short_io: true,
        not_yet_permille: 100,
        ..Faults::NONE
    };
    let ways = [(Faults::NONE, CHAT), (cut, CHAT), (Faults::NONE, MESSAGES)];
    for (faults, path) in ways {
        let (counted, bytes) = stream(&World::new(7, faults), path);
        say(&format!(
            "{counted} for {COUNTED} chunks of events ({bytes} bytes relayed to {path})"
        ));
        assert!(bytes > (WARM + COUNTED) * 40, "everything was relayed");
        assert_eq!(counted, 0);
    }
}

/// Goal: the allocations of a plain exchange are known and bounded.
#[test]
fn a_plain_exchange_allocates_little() {
    let counted = exchanges(&World::new(7, Faults::NONE), false, 200, plain());
    let each = counted.div_ceil(100);
    say(&format!(
        "{each} for each plain exchange ({counted} for 100)"
    ));
    assert!(each <= PLAIN_MAX);
}

/// Goal: the allocations of a whole short stream are known and bounded.
#[test]
fn a_stream_allocates_little() {
    let chunks = [chunk(CHUNKS[0]), chunk(CHUNKS[1]), chunk(DONE)].concat();
    let answer = [STREAM, &chunks, b"0\r\n\r\n"].concat();
    let counted = exchanges(&World::new(7, Faults::NONE), true, 200, answer);
    let each = counted.div_ceil(100);
    say(&format!("{each} for each short stream ({counted} for 100)"));
    assert!(each <= STREAM_MAX);
}

/// Goal: a held stream is small. Method: the size of what `serve` boxes for a connection, by
/// its type, on both hosts.
#[test]
fn the_task_of_a_connection_is_small() {
    fn size<H: Host, F>(_: impl Fn(Rc<Shard<H>>, H::Stream) -> F) -> usize {
        size_of::<F>()
    }
    let ring = size(connection::<Ring>);
    let uring = size(connection::<Uring>);
    say(&format!(
        "a connection takes {ring} bytes on the ring, {uring} without"
    ));
    let links = 2 * size_of::<<Uring as Host>::Stream>().saturating_sub(size_of::<Socket>());
    assert!(ring <= TASK_MAX);
    assert!(uring <= TASK_MAX + links + 192);
}

/// Goal: finding candidates allocates nothing (E3 of embed, N3 of near), whether all entries are
/// compared or signs first. Method: a second search in a small and in a large partition.
#[test]
fn a_semantic_search_allocates_nothing() {
    let (mut scratch, mut search) = (Scratch::default(), Search::default());
    let (mut near, mut found) = (Near::new(DIMS), Vec::new());
    let text = "Wie heißt die größte Stadt in Brasilien? São Paulo, oder 里約熱內盧?";
    for entries in [10_u32, 5000] {
        for key in 0..entries {
            let vector = builtin().embed(&format!("{key} times {}", key % 97), &mut scratch);
            assert!(near.insert(key, &vector.unwrap().dims));
        }
        let mut allocated = || {
            let before = count();
            let vector = builtin().embed(text, &mut scratch).unwrap();
            near.nearest(&vector.dims, &mut search, &mut found);
            count() - before
        };
        allocated();
        assert_eq!(allocated(), 0, "with {entries} entries");
        assert_eq!(found.len(), 8);
    }
}

/// Goal: the counter counts, so that a zero means something.
#[test]
fn the_counter_counts() {
    let before = count();
    let mut some = vec![1_u8];
    some.reserve(100);
    assert_eq!(count() - before, 2);
    assert_eq!(some, [1]);
}
