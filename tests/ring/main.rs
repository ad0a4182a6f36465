//! The ring host on real loopback sockets: every byte arrives, and nothing that is dropped
//! leaves anything behind.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod handed;
mod turns;

use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::control::serve::raise_descriptors;
use shardgate::host::ring::{self, Listener, Ring, Socket};
use shardgate::host::{Host, Link, clock, flush, launch, read};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

#[expect(
    clippy::disallowed_types,
    reason = "tests count the process' descriptors, one at a time"
)]
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Runs `test` on a ring of its own. When it has ended nothing may be left: no operation,
/// no block, and, after the ring itself, no descriptor.
fn on_ring<F: Future<Output = ()>>(test: impl FnOnce(Ring, BufPool) -> F + Send + 'static) {
    let alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    raise_descriptors();
    let run = async move || {
        let before = descriptors();
        let (host, pool) = (Ring::start().unwrap(), BufPool::new());
        test(host.clone(), pool.clone()).await;
        let mut waited = 0;
        while host.in_flight() > 0 || host.lent() > 0 || pool.lent() > 0 {
            pause(&host, 1).await;
            waited += 1;
            let left = (host.in_flight(), host.lent(), pool.lent());
            assert!(
                waited < 2_000,
                "left behind (operations, received, own): {left:?}"
            );
        }
        drop(host);
        glommio::timer::sleep(Duration::from_millis(5)).await;
        assert_eq!(descriptors(), before, "descriptors (after, before)");
    };
    launch::start("ring", None, run).unwrap().join().unwrap();
    drop(alone);
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

async fn pause(host: &Ring, millis: u64) {
    host.sleep_until(host.now() + Duration::from_millis(millis))
        .await;
}

fn listen(host: &Ring) -> (Listener, SocketAddr) {
    let listener = host.listen(([127, 0, 0, 1], 0).into()).unwrap();
    let at = host.local_addr(&listener).unwrap();
    (listener, at)
}

async fn pair(host: &Ring, listener: &Listener, at: SocketAddr) -> (Socket, Socket) {
    let near = host.connect(at).await.unwrap();
    (near, host.accept(listener).await.unwrap())
}

/// A small generator, so that a failing run can be replayed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len)
            .map(|_| u8::try_from(self.roll(256)).unwrap())
            .collect()
    }
}

async fn echo(host: Ring, listener: Listener, pool: BufPool) {
    while let Ok(mut link) = host.accept(&listener).await {
        let pool = pool.clone();
        host.spawn(async move {
            let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
            while let Ok(1..) = read(&mut link, &mut rx).await {
                tx.put(rx.data());
                rx.clear();
                let handed = link.hand_over(&mut tx);
                if !matches!(handed, Ok(true)) && flush(&mut link, &mut tx).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Writes all of `sent` while it reads as many bytes back.
async fn exchange(link: &mut Socket, pool: &BufPool, sent: &[u8]) -> io::Result<Vec<u8>> {
    let (mut rx, mut tx) = (RxBuf::new(pool), TxBuf::new(pool));
    let mut got = Vec::new();
    tx.put(sent);
    poll_fn(|cx| {
        if let Poll::Ready(Err(error)) = link.poll_flush(cx, &mut tx) {
            return Poll::Ready(Err(error));
        }
        while got.len() < sent.len() {
            let Poll::Ready(count) = link.poll_read(cx, &mut rx) else {
                return Poll::Pending;
            };
            if count? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            got.extend_from_slice(rx.data());
            rx.clear();
        }
        link.poll_flush(cx, &mut tx)
    })
    .await?;
    Ok(got)
}

/// Goal: every byte arrives, in order, whatever the sizes. Method: 32 connections at once
/// send messages from one byte to more than any socket buffer through an echo.
#[test]
fn an_echo_gives_back_every_byte() {
    on_ring(|host, pool| async move {
        let (listener, at) = listen(&host);
        let running = Rc::new(Cell::new(32));
        host.spawn(echo_until(
            host.clone(),
            listener,
            pool.clone(),
            Rc::clone(&running),
        ));
        for seed in 0..32 {
            let (host2, pool, running) = (host.clone(), pool.clone(), Rc::clone(&running));
            host.spawn(async move {
                let mut dice = Dice(seed);
                let mut link = host2.connect(at).await.unwrap();
                for _ in 0..12 {
                    let len = 1 + match dice.roll(4) {
                        0 => dice.roll(100),
                        1 | 2 => dice.roll(40_000),
                        _ => dice.roll(3_000_000),
                    };
                    let sent = dice.bytes(len);
                    let got = exchange(&mut link, &pool, &sent).await.unwrap();
                    assert!(got == sent, "seed {seed}, {len} bytes");
                }
                running.set(running.get() - 1);
            });
        }
        while running.get() > 0 {
            pause(&host, 5).await;
        }
    });
}

/// [`echo`], given up when nothing runs any more.
async fn echo_until(host: Ring, listener: Listener, pool: BufPool, running: Rc<Cell<i32>>) {
    let mut echoing = Box::pin(echo(host.clone(), listener, pool));
    while running.get() > 0 {
        let mut tick = Box::pin(pause(&host, 5));
        poll_fn(|cx| {
            if echoing.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            tick.as_mut().poll(cx)
        })
        .await;
    }
}

/// Polls once and drops the future: what a timeout does.
async fn cut_off<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Goal: reads and writes that are cut off lose and double nothing. Method: both sides poll
/// once, drop the future and come back later, until 4 MB are through.
#[test]
fn what_is_cut_off_and_repeated_loses_no_byte() {
    on_ring(|host, pool| async move {
        let (listener, at) = listen(&host);
        let (mut near, mut far) = pair(&host, &listener, at).await;
        let sent = Dice(7).bytes(4_000_000);
        let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
        let mut got = Vec::new();
        tx.put(&sent);
        let mut turns = 0;
        while got.len() < sent.len() {
            turns += 1;
            if turns % 3 == 0 {
                cut_off(flush(&mut near, &mut tx))
                    .await
                    .transpose()
                    .unwrap();
            }
            if let Some(count) = cut_off(read(&mut far, &mut rx)).await {
                assert!(count.unwrap() > 0);
                got.extend_from_slice(rx.data());
                rx.clear();
            }
            host.breathe().await;
        }
        flush(&mut near, &mut tx).await.unwrap();
        assert!(got == sent);
    });
}

/// Goal: whatever is in flight when its owner goes, nothing stays: no operation, no block,
/// no descriptor. Method: thousands of times, connections are dropped at a random step, with
/// accepts, connects, reads and (too large) writes in flight on either side.
#[test]
fn dropping_at_any_step_leaves_nothing_behind() {
    on_ring(|host, pool| async move {
        let mut dice = Dice(3);
        let (listener, at) = listen(&host);
        for round in 0..3_000 {
            let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
            tx.put(&vec![1; if round % 100 == 0 { 9_000_000 } else { 30_000 }]);
            let step = dice.roll(8);
            if step == 0 {
                cut_off(host.accept(&listener)).await;
            }
            if step == 1 {
                cut_off(host.connect(at)).await;
                continue;
            }
            let (mut near, mut far) = pair(&host, &listener, at).await;
            if step >= 2 {
                cut_off(read(&mut near, &mut rx)).await;
            }
            if step >= 3 {
                // An error when this is one that a connect was cut off from.
                if dice.roll(2) == 0 {
                    drop(far.hand_over(&mut tx));
                } else {
                    drop(cut_off(flush(&mut far, &mut tx)).await);
                }
            }
            if step >= 4 {
                host.breathe().await;
            }
            if step >= 5 {
                cut_off(read(&mut far, &mut rx)).await;
                near.finish();
            }
            if step == 6 {
                drop(near);
                drop(cut_off(read(&mut far, &mut rx)).await);
                host.breathe().await;
            }
        }
        // A listener with an accept in flight.
        cut_off(host.accept(&listener)).await;
    });
}

/// Goal: connections that were given up by the connector while nobody accepted do not stay.
#[test]
fn a_listener_that_goes_takes_its_backlog_along() {
    on_ring(|host, pool| async move {
        let (listener, at) = listen(&host);
        let mut near = host.connect(at).await.unwrap();
        drop(listener);
        let end = read(&mut near, &mut RxBuf::new(&pool)).await;
        assert!(!matches!(end, Ok(1..)), "{end:?}");
    });
}

/// Goal: a port where nobody listens is an error at once.
#[test]
fn a_refused_connection_is_an_error() {
    on_ring(|host, _pool| async move {
        let (listener, at) = listen(&host);
        drop(listener);
        let refused = host.connect(at).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    });
}

/// Goal: a reset is an error for a read that waits, and for writes after it. Method: the
/// other side closes with bytes unread, which the kernel answers with RST.
#[test]
fn a_reset_is_told_to_reader_and_writer() {
    on_ring(|host, pool| async move {
        let (listener, at) = listen(&host);
        let (mut near, far) = pair(&host, &listener, at).await;
        let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
        assert!(cut_off(read(&mut near, &mut rx)).await.is_none());
        tx.put(b"nobody reads this");
        flush(&mut near, &mut tx).await.unwrap();
        pause(&host, 5).await;
        drop(far);
        let reset = read(&mut near, &mut rx).await.unwrap_err();
        assert_eq!(reset.kind(), io::ErrorKind::ConnectionReset);
        tx.put(b"nor this");
        let broken = flush(&mut near, &mut tx).await.unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::BrokenPipe);
        tx.clear();
    });
}

/// Goal: what comes fast and is not taken stays in the sockets. Method: a task writes 32 MiB
/// as fast as it can; its reader takes some of it in bulk, then nothing; one block at most may
/// wait here. Afterwards the rest must come, in order.
#[test]
fn a_reader_that_stops_holds_the_sender_back() {
    const TOTAL: usize = 32 << 20;
    const CHUNK: usize = 16 << 10;
    on_ring(|host, pool| async move {
        let (listener, at) = listen(&host);
        let (mut near, mut far) = pair(&host, &listener, at).await;
        let lender = pool.clone();
        host.spawn(async move {
            let mut tx = TxBuf::new(&lender);
            for chunk in 0..TOTAL / CHUNK {
                tx.put(&[u8::try_from(chunk % 251).unwrap(); CHUNK]);
                flush(&mut far, &mut tx).await.unwrap();
            }
        });
        pause(&host, 20).await;
        let mut rx = RxBuf::new(&pool);
        let (mut got, mut stop_at) = (0, TOTAL / 4);
        while got < TOTAL {
            if got >= stop_at {
                pause(&host, 50).await;
                let waiting = host.lent();
                assert!(waiting <= 64 << 10, "{waiting} bytes wait at {got}");
                stop_at += TOTAL / 4;
            }
            read(&mut near, &mut rx).await.unwrap();
            for &byte in rx.data() {
                assert_eq!(usize::from(byte), got / CHUNK % 251, "at {got}");
                got += 1;
            }
            rx.clear();
        }
    });
}

/// Goal: after `finish` the other side reads the end, and can still answer.
#[test]
fn a_half_closed_link_still_reads() {
    on_ring(|host, pool| async move {
        let (listener, at) = listen(&host);
        let (mut near, mut far) = pair(&host, &listener, at).await;
        let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
        tx.put(b"question");
        flush(&mut near, &mut tx).await.unwrap();
        near.finish();
        while read(&mut far, &mut rx).await.unwrap() > 0 {}
        assert_eq!(rx.data(), b"question");
        rx.clear();
        tx.put(b"answer");
        flush(&mut far, &mut tx).await.unwrap();
        drop(far);
        while read(&mut near, &mut rx).await.unwrap() > 0 {}
        assert_eq!(rx.data(), b"answer");
    });
}

/// Goal: I2 of the host. Method: 1,000 links wait for bytes at both ends; no block is lent.
/// Then each gets a byte, which must arrive.
#[test]
fn links_that_wait_hold_no_memory() {
    on_ring(|host, pool| async move {
        let (listener, at) = listen(&host);
        let mut links = Vec::new();
        for _ in 0..1_000 {
            let (mut near, mut far) = pair(&host, &listener, at).await;
            let (mut rx, mut rx2) = (RxBuf::new(&pool), RxBuf::new(&pool));
            assert!(cut_off(read(&mut near, &mut rx)).await.is_none());
            assert!(cut_off(read(&mut far, &mut rx2)).await.is_none());
            links.push((near, far, rx));
        }
        pause(&host, 20).await;
        assert_eq!((pool.lent(), host.lent()), (0, 0));
        assert_eq!(host.in_flight(), 2_001);
        let mut tx = TxBuf::new(&pool);
        for (near, far, _) in &mut links {
            let _ = near;
            tx.put(b"x");
            flush(far, &mut tx).await.unwrap();
        }
        for (near, _, rx) in &mut links {
            assert_eq!(read(near, rx).await.unwrap(), 1);
            assert_eq!(rx.data(), b"x");
            rx.clear();
        }
    });
}

/// Goal: I3 of the host. Method: the pump is parked; a byte from another thread wakes it.
#[test]
fn bytes_from_outside_wake_a_parked_shard() {
    on_ring(|host, pool| async move {
        let (listener, at) = listen(&host);
        let outside = std::thread::spawn(move || {
            let mut stream = std::net::TcpStream::connect(at).unwrap();
            for _ in 0..20 {
                let mut answer = [0];
                io::Write::write_all(&mut stream, b"?").unwrap();
                io::Read::read_exact(&mut stream, &mut answer).unwrap();
                let until = clock::now() + Duration::from_millis(3);
                while clock::now() < until {
                    std::thread::yield_now();
                }
            }
        });
        let mut link = host.accept(&listener).await.unwrap();
        let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
        while read(&mut link, &mut rx).await.unwrap() > 0 {
            rx.clear();
            tx.put(b"!");
            flush(&mut link, &mut tx).await.unwrap();
        }
        outside.join().unwrap();
    });
}

/// Goal: the ring may go before its executor, with links still in use, and the links may go
/// after it: the last owner ends it.
#[test]
fn links_outlive_the_host_value() {
    on_ring(|host, pool| async move {
        let (listener, at) = listen(&host);
        let (mut near, mut far) = pair(&host, &listener, at).await;
        drop((host, listener));
        let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
        tx.put(b"still here");
        flush(&mut near, &mut tx).await.unwrap();
        assert_eq!(read(&mut far, &mut rx).await.unwrap(), 10);
        rx.clear();
    });
}

/// Goal: this machine has what the ring needs, or says what it lacks.
#[test]
fn the_probe_agrees_with_the_ring() {
    let alone = ALONE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let can = ring::available();
    let run = async move || assert_eq!(Ring::start().is_ok(), can.is_ok(), "{can:?}");
    launch::start("probe", None, run).unwrap().join().unwrap();
    drop(alone);
}
