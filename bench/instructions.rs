//! One shard without sockets, for counting instructions: `instructions SCENARIO EXCHANGES
//! EVENTS` makes so many exchanges on one warm connection and says nothing.
//!
//! ```text
//!   main ── request ──► Peer ──► shard (the whole gateway above the Host seam) ──► Peer
//!        ◄── counted ── (client)                                    (provider) ── answer
//! ```
//!
//! Everything here is as thin as it can be: a task list, a clock that main moves, two peers
//! whose bytes are made beforehand. A read hands over a block of the pool, as the ring does;
//! a write counts bytes and drops them. `instructions.py` runs it under callgrind, which
//! counts inside of [`counted`] only, twice, and subtracts, so that warm-up falls out.
//!
//! Invariants
//! - I1 The same arguments run the same instructions: no random number, no real clock, no
//!   address that decides.
//! - I2 Every answer is checked for its first and last bytes: what is counted is work done.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measuring program may stop at any fault"
)]

#[path = "instructions/said.rs"]
mod said;

use said::{messages, plain, request, stream};
use shardgate::base::bufpool::Block;
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::base::time::Instant;
use shardgate::cache::entry::Account;
use shardgate::config::model::Strategy;
use shardgate::config::{FixedSecrets, check};
use shardgate::host::{Host, Link};
use shardgate::shard::log::{Entry, Format, Log};
use shardgate::shard::serve::{accept_loop, ticker};
use shardgate::shard::{Setup, Shard};
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Bytes that one read brings at most, as on the ring.
const RECEIVED: usize = 64 << 10;

const CONFIG: &str = "[[keys]]\nname = \"team-a\"\nsecret = { env = \"KEY\" }\nmodels = [\"*\"]\n\
    [providers.local]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:7000/v1\"\n\
    [providers.far]\ndialect = \"anthropic\"\nbase_url = \"http://127.0.0.1:7000\"\n\
    [models.\"gpt-4o\"]\ntargets = [{ provider = \"local\", model = \"llama-70b\" }]\n\
    [models.opus]\ntargets = [{ provider = \"far\", model = \"claude-opus-5\" }]\n\
    [models.cached]\ntargets = [{ provider = \"local\" }]\n\
    cache = { mode = \"exact\" }\n";
const SECRETS: FixedSecrets<'_> = FixedSecrets(&[("KEY", "sk-0123456789abcdef0123456789abcdef")]);
const PROVIDER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7000);

/// 2026-01-01 00:00:00 UTC in nanoseconds.
const WALL_START: u64 = 1_767_225_600_000_000_000;

/// How far the clock moves with every arrival of bytes.
const ARRIVAL: Duration = Duration::from_micros(20);

/// Between two events of a paced stream.
const PACE: Duration = Duration::from_millis(1);

/// The other side of a link: what the gateway reads, and what became of what it wrote.
#[derive(Debug, Default)]
struct Peer {
    /// What there is to read, from `at`; only what lies before `until` has arrived.
    source: RefCell<Rc<[u8]>>,
    at: Cell<usize>,
    until: Cell<usize>,
    reader: RefCell<Option<Waker>>,
    /// Since the last look: how many bytes came, the first and the last of them.
    written: Cell<usize>,
    first: Cell<[u8; 12]>,
    last: Cell<[u8; 4]>,
}

impl Peer {
    /// `source` is what comes next; `until` bytes of it are there.
    fn offer(&self, source: &Rc<[u8]>, until: usize) {
        assert_eq!(self.at.get(), self.source.borrow().len(), "all was read");
        *self.source.borrow_mut() = Rc::clone(source);
        self.at.set(0);
        self.arrive(until);
    }

    fn arrive(&self, until: usize) {
        self.until.set(until);
        if let Some(waker) = self.reader.borrow_mut().take() {
            waker.wake();
        }
    }

    /// What was written since the last call: length, first and last bytes.
    fn look(&self) -> (usize, [u8; 12], [u8; 4]) {
        (self.written.take(), self.first.get(), self.last.get())
    }
}

#[derive(Debug)]
struct Mem {
    peer: Rc<Peer>,
}

impl Mem {
    /// Gives what is there to `keep`, in a block.
    fn poll_received(
        &self,
        cx: &Context<'_>,
        rx: &mut RxBuf,
        keep: impl FnOnce(&mut RxBuf, Block, usize),
    ) -> Poll<io::Result<usize>> {
        let peer = &*self.peer;
        let len = (peer.until.get() - peer.at.get()).min(RECEIVED);
        if len == 0 {
            *peer.reader.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let source = peer.source.borrow();
        let bytes = &source[peer.at.get()..][..len];
        peer.at.set(peer.at.get() + len);
        let mut block = rx.pool().take(RECEIVED);
        block.bytes_mut()[..len].copy_from_slice(bytes);
        keep(rx, block, len);
        Poll::Ready(Ok(len))
    }
}

impl Link for Mem {
    #[inline(never)]
    fn poll_read(&mut self, cx: &mut Context<'_>, rx: &mut RxBuf) -> Poll<io::Result<usize>> {
        self.poll_received(cx, rx, RxBuf::take_in)
    }

    #[inline(never)]
    fn poll_read_in_place(
        &mut self,
        cx: &mut Context<'_>,
        rx: &mut RxBuf,
    ) -> Poll<io::Result<usize>> {
        self.poll_received(cx, rx, RxBuf::adopt)
    }

    #[inline(never)]
    fn poll_flush(&mut self, _: &mut Context<'_>, tx: &mut TxBuf) -> Poll<io::Result<()>> {
        let bytes = tx.unsent();
        let (peer, len) = (&*self.peer, bytes.len());
        if peer.written.get() == 0
            && let Some(first) = bytes.first_chunk()
        {
            peer.first.set(*first);
        }
        if let Some(last) = bytes.last_chunk() {
            peer.last.set(*last);
        }
        peer.written.set(peer.written.get() + len);
        tx.sent(len);
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self) {}
}

#[derive(Debug)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Task {
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    is_ready: Arc<Flag>,
    waker: Waker,
}

#[derive(Default)]
struct Inner {
    now: Cell<u64>,
    tasks: RefCell<Vec<Task>>,
    sleeper: Cell<Option<(Instant, Waker)>>,
    waiting: Cell<Option<Rc<Peer>>>,
    provider: Rc<Peer>,
}

/// A host of one client, one provider and one clock; clones are the same.
#[derive(Clone, Default)]
struct Thin(Rc<Inner>);

impl std::fmt::Debug for Thin {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "Thin(at {} ns)", self.0.now.get())
    }
}

impl Host for Thin {
    type Stream = Mem;
    type Listener = ();

    fn now(&self) -> Instant {
        Instant::from_nanos(self.0.now.get())
    }

    fn wall_nanos(&self) -> u64 {
        WALL_START + self.0.now.get()
    }

    /// The ticker is the only one who sleeps.
    async fn sleep_until(&self, at: Instant) {
        poll_fn(|cx| {
            if self.now() >= at {
                return Poll::Ready(());
            }
            self.0.sleeper.set(Some((at, cx.waker().clone())));
            Poll::Pending
        })
        .await;
    }

    fn listen(&self, _: SocketAddr) -> io::Result<()> {
        Ok(())
    }

    fn local_addr(&self, (): &()) -> io::Result<SocketAddr> {
        Ok(PROVIDER)
    }

    /// One connection, then never again.
    async fn accept(&self, (): &()) -> io::Result<Mem> {
        poll_fn(|_| match self.0.waiting.take() {
            Some(peer) => Poll::Ready(Ok(Mem { peer })),
            None => Poll::Pending,
        })
        .await
    }

    async fn connect(&self, _: SocketAddr) -> io::Result<Mem> {
        let peer = Rc::clone(&self.0.provider);
        Ok(Mem { peer })
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let is_ready = Arc::new(Flag(AtomicBool::new(true)));
        let waker = Waker::from(Arc::clone(&is_ready));
        self.0.tasks.borrow_mut().push(Task {
            future: Some(Box::pin(task)),
            is_ready,
            waker,
        });
    }

    async fn breathe(&self) {
        let mut has_waited = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut has_waited, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

impl Thin {
    /// Time passes; then whoever can run runs, until nobody can.
    fn run(&self, time: Duration) {
        self.0
            .now
            .set((Instant::from_nanos(self.0.now.get()) + time).as_nanos());
        if let Some((at, waker)) = self.0.sleeper.take() {
            if self.now() >= at {
                waker.wake();
            } else {
                self.0.sleeper.set(Some((at, waker)));
            }
        }
        loop {
            let taken = self.0.tasks.borrow_mut().iter_mut().enumerate().find_map(
                |(
                    id,
                    Task {
                        future,
                        is_ready,
                        waker,
                    },
                )| {
                    let is_ready = is_ready.0.load(Ordering::Relaxed) && future.is_some();
                    is_ready.then(|| (id, future.take(), waker.clone()))
                },
            );
            let Some((id, Some(mut future), waker)) = taken else {
                return;
            };
            let is_ready = Arc::clone(&self.0.tasks.borrow()[id].is_ready);
            is_ready.0.store(false, Ordering::Relaxed);
            let done = future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready();
            if !done {
                self.0.tasks.borrow_mut()[id].future = Some(future);
            }
        }
    }
}

/// What an exchange is made of.
struct Scenario {
    request: Rc<[u8]>,
    answer: Rc<[u8]>,
    /// How much of the answer has arrived after each arrival; empty: all at once.
    arrivals: Vec<usize>,
    /// The last bytes of what the client gets.
    last: [u8; 4],
    /// Every exchange but the first is answered from the cache.
    is_hit: bool,
    is_asked: Cell<bool>,
}

/// The same request, which does not want a stored answer if `is_anew`: the new one is stored.
fn told(request: &[u8], is_anew: bool) -> Rc<[u8]> {
    let text = String::from_utf8_lossy(request);
    let field = if is_anew {
        "x-shardgate-cache: no-cache\r\n"
    } else {
        ""
    };
    let told = text.replacen("Host: ", &format!("{field}Host: "), 1);
    told.into_bytes().into()
}

impl Scenario {
    fn new(name: &str, events: usize) -> Self {
        let (answer, ends) = match name {
            "plain-500" | "plain-32k" | "cached-hit" | "cached-miss" => (plain(), Vec::new()),
            _ if is_strategy(name) => (plain(), Vec::new()),
            _ if name.starts_with("from-anthropic") => messages(events),
            _ => stream(events),
        };
        let chat = "/v1/chat/completions";
        match name {
            "cached-hit" | "cached-miss" => Self {
                request: told(&request(chat, "cached", false, 500), name == "cached-miss"),
                answer,
                arrivals: Vec::new(),
                last: *b"80}}",
                is_hit: name == "cached-hit",
                is_asked: Cell::new(false),
            },
            _ if is_strategy(name) => Self {
                request: request(chat, name, false, 500),
                answer,
                arrivals: Vec::new(),
                last: *b"80}}",
                is_hit: false,
                is_asked: Cell::new(false),
            },
            "plain-500" | "plain-32k" => Self {
                request: request(
                    chat,
                    "gpt-4o",
                    false,
                    if name == "plain-500" { 500 } else { 32 << 10 },
                ),
                answer,
                arrivals: Vec::new(),
                last: *b"80}}",
                is_hit: false,
                is_asked: Cell::new(false),
            },
            _ => Self {
                request: if name.starts_with("cached-event") {
                    told(&request(chat, "cached", true, 500), true)
                } else if name.starts_with("to-anthropic") {
                    request("/v1/messages", "gpt-4o", true, 500)
                } else if name.starts_with("from-anthropic") {
                    request(chat, "opus", true, 500)
                } else {
                    request(chat, "gpt-4o", true, 500)
                },
                answer,
                arrivals: if name.ends_with("-paced") {
                    ends
                } else {
                    Vec::new()
                },
                last: *b"\r\n\r\n",
                is_hit: false,
                is_asked: Cell::new(false),
            },
        }
    }

    /// One exchange, from the request's arrival to the last byte of its answer.
    fn run(&self, host: &Thin, client: &Peer) {
        client.offer(&self.request, self.request.len());
        host.run(ARRIVAL);
        if self.is_asked.replace(self.is_hit) {
            return self.check(client);
        }
        let provider = &host.0.provider;
        let (asked, line, end) = provider.look();
        assert!(asked > 0 && line.starts_with(b"POST /v1/") && end.ends_with(b"}"));
        provider.offer(
            &self.answer,
            self.arrivals.first().copied().unwrap_or(self.answer.len()),
        );
        host.run(ARRIVAL);
        for &until in self.arrivals.iter().skip(1) {
            provider.arrive(until);
            host.run(PACE);
        }
        self.check(client);
    }

    fn check(&self, client: &Peer) {
        let (answered, line, end) = client.look();
        assert!(answered > 0 && line == *b"HTTP/1.1 200" && end == self.last); // I2
    }
}

/// Whether it is the name of a strategy, for each of which there is a model of three targets.
fn is_strategy(name: &str) -> bool {
    Strategy::ALL.iter().any(|it| it.name() == name)
}

/// The models of [`CONFIG`], and one for each strategy.
fn config() -> String {
    let targets = ["a", "b", "c"].map(|it| format!("{{ provider = \"local\", model = \"{it}\" }}"));
    let model = |strategy: &str| {
        let targets = targets.join(", ");
        format!("[models.{strategy}]\nstrategy = \"{strategy}\"\ntargets = [{targets}]\n")
    };
    let models: String = Strategy::ALL.map(Strategy::name).map(model).concat();
    CONFIG.to_owned() + &models
}

/// A shard with a log that somebody takes.
fn shard(host: &Thin) -> Receiver<Entry> {
    let (sink, lines) = sync_channel(64);
    let setup = Setup {
        index: 0,
        shards: 1,
        config: Arc::new(check(&config(), &SECRETS).unwrap().config),
        addresses: vec![vec![PROVIDER]; 2],
        tls: None,
        seed: 1,
        log: Log::new(Format::Json, sink),
        account: Arc::new(Account::new(64 << 20)),
    };
    let shard = Shard::new(host.clone(), setup);
    host.spawn(accept_loop(Rc::clone(&shard), ()));
    host.spawn(ticker(shard));
    lines
}

fn main() {
    let mut args = std::env::args().skip(1);
    let (name, numbers) = (args.next().unwrap(), args.map(|n| n.parse().unwrap()));
    let &[exchanges, events] = &numbers.collect::<Vec<usize>>()[..] else {
        unreachable!("instructions SCENARIO EXCHANGES EVENTS");
    };
    let scenario = Scenario::new(&name, events);
    let host = Thin::default();
    host.0.now.set(1_000_000_000);
    let client = Rc::new(Peer::default());
    host.0.waiting.set(Some(Rc::clone(&client)));
    let lines = shard(&host);
    host.run(ARRIVAL);
    counted(exchanges, &scenario, (&host, &client), &lines);
}

/// What callgrind counts.
#[inline(never)]
fn counted(
    exchanges: usize,
    scenario: &Scenario,
    (host, client): (&Thin, &Peer),
    lines: &Receiver<Entry>,
) {
    for turn in 0..exchanges {
        scenario.run(host, client);
        if turn % 64 == 0 {
            lines.try_iter().for_each(drop);
        }
    }
}
