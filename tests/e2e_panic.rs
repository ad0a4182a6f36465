//! A panic in one connection of a real shard: it ends that connection, is counted, and leaves
//! every other connection of the shard alone.
//!
//! ```text
//!   client ──► Mined link ─► shard, its own executor ─► Mined link ──► provider (std::net)
//!                 └ panics in poll_read when the bytes hold CHARGE ┘
//! ```
//!
//! The shard, the exchange and the sockets are those of `serve`, on either kind of sockets.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic, and this one must"
)]

use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::base::time::Instant;
use shardgate::cache::entry::Account;
use shardgate::config::{self, FixedSecrets};
use shardgate::host::launch;
use shardgate::host::ring::{self, Ring};
use shardgate::host::uring::Uring;
use shardgate::host::{Host, Link};
use shardgate::shard::log::Log;
use shardgate::shard::orders::{Report, report};
use shardgate::shard::serve::{accept_loop, ticker};
use shardgate::shard::{Setup, Shard};
use std::future::Future;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

/// What makes a link panic when it comes in.
const CHARGE: &[u8] = b"CHARGE-5b1d";

/// Streams that are held open while others panic.
const HELD: usize = 16;

/// Events of a stream after its first.
const REST: usize = 50;

/// How long a test waits for bytes.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often the shard looks whether it is asked for a report.
const LOOK: Duration = Duration::from_millis(5);

/// Reports that are asked for until the shard must be at rest: 10 s.
const LOOKS_MAX: usize = 2000;

/// A host whose links are mined.
#[derive(Clone, Debug)]
struct Mined<T>(T);

impl<H: Host> Host for Mined<H> {
    type Stream = Mined<H::Stream>;
    type Listener = H::Listener;

    fn now(&self) -> Instant {
        self.0.now()
    }
    fn wall_nanos(&self) -> u64 {
        self.0.wall_nanos()
    }
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        self.0.sleep_until(at)
    }
    fn listen(&self, at: SocketAddr) -> io::Result<Self::Listener> {
        self.0.listen(at)
    }
    fn local_addr(&self, listener: &Self::Listener) -> io::Result<SocketAddr> {
        self.0.local_addr(listener)
    }
    async fn accept(&self, on: &Self::Listener) -> io::Result<Self::Stream> {
        self.0.accept(on).await.map(Mined)
    }
    async fn connect(&self, to: SocketAddr) -> io::Result<Self::Stream> {
        self.0.connect(to).await.map(Mined)
    }
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.0.spawn(task);
    }
    fn breathe(&self) -> impl Future<Output = ()> {
        self.0.breathe()
    }
}

impl<L: Link> Link for Mined<L> {
    fn poll_read(&mut self, cx: &mut Context<'_>, rx: &mut RxBuf) -> Poll<io::Result<usize>> {
        let outcome = self.0.poll_read(cx, rx);
        assert!(!holds(rx.data(), CHARGE), "planted");
        outcome
    }
    fn poll_flush(&mut self, cx: &mut Context<'_>, tx: &mut TxBuf) -> Poll<io::Result<()>> {
        self.0.poll_flush(cx, tx)
    }
    fn finish(&mut self) {
        self.0.finish();
    }
    fn reset(&mut self) {
        self.0.reset();
    }
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// A shard on an executor of its own.
struct Running {
    at: SocketAddr,
    ask: Sender<()>,
    reports: Receiver<Report>,
}

impl Running {
    fn start<H: Host>(make: impl FnOnce() -> H + Send + 'static, provider: SocketAddr) -> Self {
        let (ready, is_ready) = channel();
        let (ask, asked) = channel();
        let (answer, reports) = channel();
        let main = move || async move {
            let shard = shard(Mined(make()), provider);
            let host = shard.host.clone();
            let listener = host.listen("127.0.0.1:0".parse().unwrap()).unwrap();
            ready.send(host.local_addr(&listener).unwrap()).unwrap();
            host.spawn(accept_loop(Rc::clone(&shard), listener));
            host.spawn(ticker(Rc::clone(&shard)));
            // Until the test has dropped its end.
            loop {
                match asked.try_recv() {
                    Ok(()) => answer.send(report(&shard, 0)).unwrap(),
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                    Err(std::sync::mpsc::TryRecvError::Empty) => {}
                }
                host.sleep_until(host.now() + LOOK).await;
            }
        };
        drop(launch::start("mined", None, main).unwrap());
        Self {
            at: is_ready.recv_timeout(PATIENCE).unwrap(),
            ask,
            reports,
        }
    }

    fn report(&self) -> Report {
        self.ask.send(()).unwrap();
        self.reports.recv_timeout(PATIENCE).unwrap()
    }

    /// Its report as soon as `is_so`; the last one when that never comes.
    fn report_when(&self, is_so: impl Fn(&Report) -> bool) -> Report {
        let mut last = self.report();
        for _ in 0..LOOKS_MAX {
            if is_so(&last) {
                break;
            }
            last = self.report();
        }
        last
    }

    fn connect(&self) -> TcpStream {
        let link = TcpStream::connect(self.at).unwrap();
        link.set_read_timeout(Some(PATIENCE)).unwrap();
        link
    }
}

fn shard<H: Host>(host: H, provider: SocketAddr) -> Rc<Shard<H>> {
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n\
         [providers.p]\ndialect = \"openai\"\nbase_url = \"http://{provider}/v1\"\n\
         [models.m]\ntargets = [{{ provider = \"p\" }}]\n"
    );
    let setup = Setup {
        index: 0,
        shards: 1,
        config: Arc::new(config::check(&text, &FixedSecrets(&[])).unwrap().config),
        addresses: vec![vec![provider]],
        tls: None,
        seed: 1,
        log: Log::default(),
        account: Arc::new(Account::new(64 << 20)),
    };
    Shard::new(host, setup)
}

/// A provider: a stream's first event at once, the rest when all who hold are told to go on.
/// Who asks for the charge gets it as the second event.
fn provider(go_on: &Arc<Barrier>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let go_on = Arc::clone(go_on);
    drop(thread::spawn(move || {
        for link in listener.incoming() {
            let go_on = Arc::clone(&go_on);
            drop(thread::spawn(move || provide(link.unwrap(), &go_on)));
        }
    }));
    at
}

/// Errors are the gateway's to close the connection, which it may.
fn provide(mut link: TcpStream, go_on: &Barrier) {
    let request = read_until(&mut link, b"}]}");
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    link.write_all(head.as_bytes()).unwrap();
    link.write_all(&chunk(&event("first"))).unwrap();
    if holds(&request, b"give me the charge") {
        let charge = event(std::str::from_utf8(CHARGE).unwrap());
        link.write_all(&chunk(&charge)).unwrap();
        drop(link.read(&mut [0])); // until it is closed
        return;
    }
    go_on.wait();
    for number in 0..REST {
        link.write_all(&chunk(&event(&format!("word {number}"))))
            .unwrap();
    }
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    link.write_all(&chunk(end)).unwrap();
    link.write_all(&chunk("data: [DONE]\n\n")).unwrap();
    link.write_all(b"0\r\n\r\n").unwrap();
}

fn event(content: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{content}\"}}}}]}}\n\n")
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// What comes until it holds `end`, or until the connection ends.
fn read_until(link: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut got = Vec::new();
    let mut block = [0; 4096];
    while !holds(&got, end) {
        match link.read(&mut block) {
            Ok(more @ 1..) => got.extend_from_slice(&block[..more]),
            Err(late) if late.kind() == io::ErrorKind::WouldBlock => {
                panic!("no {:?} in {PATIENCE:?}", end.escape_ascii().to_string())
            }
            Err(again) if again.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
    got
}

fn request(says: &str) -> String {
    let body = format!(
        "{{\"model\":\"m\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"{says}\"}}]}}"
    );
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: t\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Three ways to panic: while a head is read, while a body is read, while an answer is relayed.
/// Nothing that looks like an end of an answer comes of them.
fn panic_in_three_places(shard: &Running) {
    let charge = std::str::from_utf8(CHARGE).unwrap();
    let mut in_head = shard.connect();
    write!(in_head, "GET /livez HTTP/1.1\r\nx: {charge}").unwrap();
    assert_eq!(read_until(&mut in_head, b"nothing"), b"");

    let whole = request(charge);
    let (before, after) = whole.split_at(whole.find(charge).unwrap());
    let mut in_body = shard.connect();
    in_body.write_all(before.as_bytes()).unwrap();
    let under_way = |report: &Report| report.counters.exchanges_open == HELD as u64 + 1;
    assert!(under_way(&shard.report_when(under_way)));
    in_body.write_all(after.as_bytes()).unwrap();
    assert_eq!(read_until(&mut in_body, b"nothing"), b"");

    let mut in_answer = shard.connect();
    in_answer
        .write_all(request("give me the charge").as_bytes())
        .unwrap();
    let got = read_until(&mut in_answer, b"nothing");
    assert!(!holds(&got, b"[DONE]") && !got.ends_with(b"0\r\n\r\n"));
    assert!(!holds(&got, CHARGE));
}

fn others_live<H: Host>(make: impl FnOnce() -> H + Send + 'static) {
    let go_on = Arc::new(Barrier::new(HELD + 1));
    let shard = Running::start(make, provider(&go_on));
    let mut held: Vec<_> = (0..HELD).map(|_| shard.connect()).collect();
    let mut starts = Vec::new();
    for link in &mut held {
        link.write_all(request("hold on").as_bytes()).unwrap();
        let start = read_until(link, b"first\"}}]}\n\n\r\n");
        assert!(holds(&start, b"first"), "{}", start.escape_ascii());
        starts.push(start);
    }

    panic_in_three_places(&shard);
    let panicked = |report: &Report| report.counters.panics >= 3;
    assert_eq!(shard.report_when(panicked).counters.panics, 3);

    go_on.wait();
    for (link, mut got) in held.iter_mut().zip(starts) {
        got.extend(read_until(link, b"\r\n0\r\n\r\n"));
        for number in 0..REST {
            assert!(holds(&got, event(&format!("word {number}")).as_bytes()));
        }
        assert!(holds(&got, b"data: [DONE]\n\n"));
        // The connection itself lives on, too.
        link.write_all(b"GET /livez HTTP/1.1\r\nhost: t\r\n\r\n")
            .unwrap();
        assert!(read_until(link, b"live\"}").starts_with(b"HTTP/1.1 200"));
    }
    drop(held);

    let rest = shard.report_when(|report| report.counters.connections_open == 0);
    let counters = &rest.counters;
    assert_eq!(counters.panics, 3);
    assert_eq!(counters.connections_open, 0);
    assert_eq!(counters.exchanges_open, 0);
    assert_eq!(counters.streams_open, 0);
    assert_eq!(counters.receipts, counters.exchanges);
    assert_eq!(counters.exchanges, 2 * HELD as u64 + 2); // the panic in a head came before one
    assert_eq!(rest.pools.iter().map(|(_, leased)| leased).sum::<u64>(), 0);
}

/// Goal: a panic in one connection ends that connection alone, and is counted; its lease and
/// its receipt are settled. Method: 16 streams are held open while three other connections
/// panic, in a head, in a body and in an answer; then all 16 run to their end and serve another
/// request. On sockets by readiness.
#[test]
fn a_panic_ends_its_own_connection_only() {
    others_live(|| Uring);
}

/// Goal: the same on sockets by completion. Where the kernel has none, `serve` uses the others.
#[test]
fn a_panic_ends_its_own_connection_only_on_the_ring() {
    if let Err(why) = ring::available() {
        eprintln!("no completion ring on this machine ({why}): nothing to test");
        return;
    }
    others_live(|| Ring::start().unwrap());
}
