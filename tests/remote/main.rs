//! The shared tier against real servers, on both hosts: what it gives, and what a server that is
//! slow, gone, back, empty, a cluster or mad does to it.
//!
//! ```text
//!   test ──► Remote ──► host (ring and poll) ──► redis-server, or a server that a test plays
//! ```
//!
//! Every test that says how long something took says it in a line of its own (`--nocapture`), and
//! asserts only what a busy machine cannot change.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]
#![expect(clippy::indexing_slicing, reason = "a test may panic")]

mod bad;
mod cluster;
mod plain;
mod server;
mod trouble;

use shardgate::base::bufpool::BufPool;
use shardgate::cache::remote::Key;
use shardgate::cache::remote::generations::Generations;
use shardgate::config::remote::Remote as Settings;
use shardgate::config::{FixedSecrets, check};
use shardgate::host::ring::Ring;
use shardgate::host::tls::Secure;
use shardgate::host::uring::Uring;
use shardgate::host::{Host, launch};
use shardgate::shard::remote::{Remote, Setup};
use shardgate::stats::remote::Put;
use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Looks in a row before something is taken for never.
const LOOKS_MAX: u32 = 3000;

/// Runs a test that is generic over the host, on a ring, then on glommio's sockets.
macro_rules! on_both {
    ($test:ident) => {
        $crate::on_ring(|host| $test(host));
        $crate::on_poll(|host| $test(host));
    };
}
pub(crate) use on_both;

/// Runs `test` on a ring; when it has ended and what it made is gone nothing may be left.
pub(crate) fn on_ring<F: Future<Output = ()>>(
    test: impl FnOnce(Secure<Ring>) -> F + Send + 'static,
) {
    let run = async move || {
        let ring = Ring::start().unwrap();
        let host = Secure(ring.clone());
        test(host.clone()).await;
        until(&host, "the ring is at rest", || {
            ring.in_flight() == 0 && ring.lent() == 0
        })
        .await;
    };
    launch::start("remote", None, run).unwrap().join().unwrap();
}

/// Runs `test` on glommio's sockets.
pub(crate) fn on_poll<F: Future<Output = ()>>(
    test: impl FnOnce(Secure<Uring>) -> F + Send + 'static,
) {
    let run = async move || test(Secure(Uring)).await;
    launch::start("remote", None, run).unwrap().join().unwrap();
}

/// A figure, for who runs the test with `--nocapture`.
#[expect(clippy::print_stdout, reason = "figures are for who asks for them")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Waits for `millis`.
pub(crate) async fn pause<H: Host>(host: &H, millis: u64) {
    host.sleep_until(host.now() + Duration::from_millis(millis))
        .await;
}

/// Waits until something is so.
pub(crate) async fn until<H: Host>(host: &H, what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..LOOKS_MAX {
        if is_so() {
            return;
        }
        pause(host, 5).await;
    }
    panic!("never: {what}");
}

/// `[cache.remote]` with these lines.
pub(crate) fn settings(lines: &str, secrets: &[(&str, &str)]) -> Settings {
    let text = format!(
        "[cache]\nmode = \"exact\"\n[cache.remote]\n{lines}\n\
         [providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n"
    );
    let checked = check(&text, &FixedSecrets(secrets));
    checked
        .unwrap_or_else(|faults| panic!("{faults}"))
        .config
        .cache
        .remote
        .unwrap()
}

/// What a remote at `at` is made from, with a deadline of a quarter of a second: a busy machine
/// is no slow server.
pub(crate) fn setup(at: SocketAddr, seed: u64) -> Setup {
    setup_for(
        settings(
            &format!("url = \"redis://{at}\"\ndeadline = \"250ms\""),
            &[],
        ),
        at,
        seed,
    )
}

pub(crate) fn setup_for(settings: Settings, at: SocketAddr, seed: u64) -> Setup {
    Setup {
        settings,
        addresses: vec![at],
        tls: None,
        buffers: BufPool::new(),
        shard: 0,
        seed,
    }
}

/// A remote that is connected and knows the generations.
pub(crate) async fn ready<H: Host>(host: &H, setup: Setup) -> Rc<Remote<H>> {
    let remote = Rc::new(Remote::start(host, setup).unwrap());
    until(host, "it is ready", || {
        let (up, all) = remote.status().total.lines;
        up == all && remote.generations().is_some()
    })
    .await;
    remote
}

/// The `n`th key.
pub(crate) fn key(n: u64) -> Key {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    key[8..16].copy_from_slice(&n.to_le_bytes());
    key
}

/// The value of the `n`th key, `len` bytes or a little more.
pub(crate) fn value(n: u64, len: usize) -> Vec<u8> {
    let mut value = format!("value {n} ").into_bytes();
    let mut x = n | 1;
    while value.len() < len {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        value.extend_from_slice(&x.to_le_bytes());
    }
    value
}

/// Puts and waits until the server has it, or until it is known why not.
pub(crate) async fn put<H: Host>(host: &H, remote: &Remote<H>, n: u64, tags: &[&[u8]]) {
    put_as(host, remote, (n, tags), remote.generations().as_deref()).await;
}

/// As [`put`], made in the generations `before`.
pub(crate) async fn put_as<H: Host>(
    host: &H,
    remote: &Remote<H>,
    (n, tags): (u64, &[&[u8]]),
    before: Option<&Generations>,
) {
    let earlier = ended(remote);
    let done = || remote.status().total.counts.puts(Put::Done);
    let before_it = done();
    begin_put(remote, (n, tags), before);
    until(host, "it is known what became of an entry", || {
        ended(remote) > earlier
    })
    .await;
    assert_eq!(done(), before_it + 1, "{:?}", remote.status());
}

/// Puts and does not wait.
pub(crate) fn begin_put<H: Host>(
    remote: &Remote<H>,
    (n, tags): (u64, &[&[u8]]),
    before: Option<&Generations>,
) {
    let about = (tags, Duration::from_secs(60));
    remote.put(&key(n), &value(n, 50), about, before);
}

/// Of how many puts it is known what became of them.
pub(crate) fn ended<H: Host>(remote: &Remote<H>) -> u64 {
    let counts = remote.status().total.counts;
    Put::ALL.into_iter().map(|put| counts.puts(put)).sum()
}

/// What is found under the `n`th key.
pub(crate) async fn got<H: Host>(remote: &Remote<H>, n: u64) -> Option<Vec<u8>> {
    remote.get(&key(n)).await.map(|found| found.payload)
}

/// Counts tasks that have ended.
#[derive(Clone, Default)]
pub(crate) struct Ended(Rc<Cell<u64>>);

impl Ended {
    pub(crate) fn note(&self) {
        self.0.set(self.0.get() + 1);
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.get()
    }
}
