//! The world itself, tested: a simulator that is wrong makes every law above it worthless.

use super::for_every_seed;
use super::net::Door;
use super::rng::Rng;
use super::world::{Faults, Stuck, World};
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::base::time::Instant;
use shardgate::host::{Host, Link, flush, read};
use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

const AT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7);
const HOUR: Duration = Duration::from_secs(3600);
const MS: Duration = Duration::from_millis(1);

fn bytes(rng: &Rng, most: u64) -> Vec<u8> {
    (0..rng.range(1, most))
        .map(|_| rng.next().to_le_bytes()[0])
        .collect()
}

/// Serves one connection at [`AT`], sending back what comes.
fn serve_echo(world: &World, pool: &BufPool) {
    let (host, pool) = (world.clone(), pool.clone());
    let listener = world.listen(AT).unwrap();
    world.spawn(async move {
        let mut link = host.accept(&listener).await.unwrap();
        let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
        while let Ok(1..) = read(&mut link, &mut rx).await {
            tx.put(rx.data());
            rx.clear();
            if flush(&mut link, &mut tx).await.is_err() {
                return;
            }
        }
        link.finish();
    });
}

/// Echoes random bytes through a world; what came back, and the trace.
fn echo(seed: u64, reset_permille: u64) -> (Vec<u8>, Vec<u8>, bool, u64) {
    let faults = Faults {
        reset_permille,
        ..Faults::rough(&Rng::new(seed), 2000)
    };
    let world = World::new(seed, faults);
    let pool = BufPool::new();
    serve_echo(&world, &pool);
    let sent = bytes(world.rng(), 3000);
    let (to_send, host, lent) = (sent.clone(), world.clone(), pool.clone());
    let (back, is_whole) = world
        .run(HOUR, async move {
            let mut link = host.connect(AT).await.unwrap();
            let (mut rx, mut tx) = (RxBuf::new(&lent), TxBuf::new(&lent));
            let mut back = Vec::new();
            for piece in to_send.chunks(host.rng().cut(to_send.len())) {
                tx.put(piece);
                let want = back.len() + piece.len();
                while back.len() < want {
                    // both at once: an echo of more than the buffers hold stops otherwise
                    let got = std::future::poll_fn(|cx| {
                        if let Poll::Ready(Err(error)) = link.poll_flush(cx, &mut tx) {
                            return Poll::Ready(Err(error));
                        }
                        link.poll_read(cx, &mut rx)
                    });
                    if !matches!(got.await, Ok(1..)) {
                        return (back, false);
                    }
                    back.extend_from_slice(rx.data());
                    rx.clear();
                }
            }
            link.finish();
            let end = read(&mut link, &mut rx).await;
            (back, matches!(end, Ok(0)))
        })
        .unwrap();
    world.end();
    assert_eq!(pool.lent(), 0);
    assert_eq!(world.net().borrow().open(), 0);
    (sent, back, is_whole, world.trace())
}

/// Goal: without resets every byte comes back, in order, and a clean end, however the
/// world cuts, delays and shuffles.
#[test]
fn every_byte_comes_back_at_any_seed() {
    for_every_seed("every_byte_comes_back", |seed| {
        let (sent, back, is_whole, _) = echo(seed, 0);
        assert_eq!(sent, back);
        assert!(is_whole);
    });
}

/// Goal: with resets what comes back is a prefix, and an end that is not clean is an error.
/// Method: also count that both happened, so that the fault is really there.
#[test]
fn a_reset_leaves_a_prefix() {
    let (hit, whole) = (Cell::new(0), Cell::new(0));
    for seed in 0..64 {
        let (sent, back, is_whole, _) = echo(seed, 20);
        assert!(sent.starts_with(&back), "seed {seed}");
        assert!(!is_whole || sent == back, "seed {seed}");
        let count = if is_whole { &whole } else { &hit };
        count.set(count.get() + 1);
    }
    assert!(hit.get() > 5 && whole.get() > 5, "{hit:?} {whole:?}");
}

/// Goal: I2 of the world. Method: run twice; and seeds differ from each other.
#[test]
fn the_same_seed_gives_the_same_trace() {
    let traces: Vec<u64> = (0..32).map(|seed| echo(seed, 5).3).collect();
    let again: Vec<u64> = (0..32).map(|seed| echo(seed, 5).3).collect();
    assert_eq!(traces, again);
    let mut distinct = traces;
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 32);
}

/// Goal: sleeps end in the order of their instants and never early, and tasks that are
/// ready together run in an order that the seed decides.
#[test]
fn sleeps_end_in_order_and_never_early() {
    let mut orders = Vec::new();
    for seed in 0..32 {
        let world = World::new(
            seed,
            Faults {
                late_us: 900,
                ..Faults::NONE
            },
        );
        let (woken, started) = (
            Rc::new(RefCell::new(Vec::new())),
            Rc::new(RefCell::default()),
        );
        for ms in [30, 10, 20, 40] {
            let (host, woken, started) = (world.clone(), woken.clone(), Rc::clone(&started));
            world.spawn(async move {
                Vec::push(&mut started.borrow_mut(), ms);
                let at = host.now() + MS * ms;
                host.sleep_until(at).await;
                assert!(host.now() >= at && host.now().since(at) < MS);
                woken.borrow_mut().push(ms);
            });
        }
        let host = world.clone();
        let slept = world.run(HOUR, async move { host.sleep(MS * 50).await });
        assert_eq!(slept, Ok(()));
        assert_eq!(*woken.borrow(), [10, 20, 30, 40]);
        orders.push(started.take());
    }
    orders.sort();
    orders.dedup();
    assert!(orders.len() > 8, "only {} orders", orders.len());
}

/// Goal: a task that nobody can wake, one that spins past its time and one that is merely
/// not done are told apart; a dropped sleep does not keep time going.
#[test]
fn what_hangs_is_reported() {
    let world = World::new(1, Faults::NONE);
    assert_eq!(
        world.run(HOUR, std::future::pending::<()>()),
        Err(Stuck::Deadlock)
    );
    let (host, start) = (world.clone(), world.now());
    let done = world.run(HOUR, async move {
        let mut sleep = Box::pin(host.sleep_until(host.now() + HOUR / 2));
        assert_eq!(futures_lite::future::poll_once(&mut sleep).await, None);
        drop(sleep);
        host.sleep(MS).await;
    });
    assert_eq!(done, Ok(()));
    let host = world.clone();
    assert_eq!(
        world.run(MS, async move { host.sleep(HOUR).await }),
        Err(Stuck::Time)
    );
    assert_eq!(world.now().since(start), MS);
    let host = world.clone();
    let never = world.run(HOUR, async move { host.sleep_until(Instant::FAR).await });
    assert_ne!(never, Ok(()));
    world.end();
    assert_eq!(world.tasks(), 0);
}

/// Goal: I1 of the network: a writer whose peer does not read stops at the buffer's size.
#[test]
fn a_reader_that_does_not_read_stops_the_writer() {
    let world = World::new(
        3,
        Faults {
            buffer: (1000, 1000),
            short_io: true,
            ..Faults::NONE
        },
    );
    let listener = world.listen(AT).unwrap();
    let sent = Rc::new(Cell::new(0));
    let (host, count) = (world.clone(), sent.clone());
    world.spawn(async move {
        let mut link = host.connect(AT).await.unwrap();
        let mut tx = TxBuf::new(&BufPool::new());
        loop {
            tx.put(b"0123456789");
            flush(&mut link, &mut tx).await.unwrap();
            count.set(count.get() + 10);
        }
    });
    let (host, count) = (world.clone(), sent.clone());
    let read_on = world.run(HOUR, async move {
        let mut link = host.accept(&listener).await.unwrap();
        host.sleep(MS * 100).await;
        let before = count.get();
        let mut rx = RxBuf::new(&BufPool::new());
        while rx.len() < 500 {
            read(&mut link, &mut rx).await.unwrap();
        }
        host.sleep(MS * 100).await;
        (before, count.get() - before, rx.len())
    });
    let (before, after, eaten) = read_on.unwrap();
    assert_eq!(before, 1000);
    assert!(
        after <= eaten && after + 10 > eaten - 10,
        "{after} after {eaten}"
    );
    world.end();
}

/// Goal: I3 of the network. Method: close with nothing unread, with something unread,
/// reset, and write to an end that is closed; say what the other end reads.
#[test]
fn fin_and_rst_are_told_apart() {
    let ends = [
        ("read all", Ok(0)),
        ("unread", Err(ErrorKind::ConnectionReset)),
        ("reset", Err(ErrorKind::ConnectionReset)),
    ];
    for (how, want) in ends {
        let world = World::new(5, Faults::NONE);
        let listener = world.listen(AT).unwrap();
        let host = world.clone();
        world.spawn(async move {
            let pool = BufPool::new();
            let mut link = host.accept(&listener).await.unwrap();
            let mut rx = RxBuf::new(&pool);
            host.sleep(MS).await;
            match how {
                "read all" => assert_eq!(read(&mut link, &mut rx).await.unwrap(), 5),
                "reset" => link.reset(),
                _ => drop(link),
            }
        });
        let host = world.clone();
        let got = world.run(HOUR, async move {
            let pool = BufPool::new();
            let mut link = host.connect(AT).await.unwrap();
            let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
            tx.put(b"hello");
            flush(&mut link, &mut tx).await.unwrap();
            let first = read(&mut link, &mut rx).await.map_err(|e| e.kind());
            tx.put(b"are you there");
            let _said = flush(&mut link, &mut tx).await;
            host.sleep(MS).await;
            let told = host.net().borrow().conns[link.conn()].ends[0].told_at;
            tx.put(b"?");
            (
                first,
                flush(&mut link, &mut tx).await.is_err(),
                told.is_some(),
            )
        });
        assert_eq!(got, Ok((want, true, true)), "{how}");
        world.end();
        assert_eq!(world.net().borrow().open(), 0, "{how}");
    }
}

/// Goal: after a FIN the other direction still carries everything.
#[test]
fn a_half_closed_link_still_reads() {
    let world = World::new(
        9,
        Faults {
            buffer: (3, 3),
            ..Faults::NONE
        },
    );
    let pool = BufPool::new();
    let listener = world.listen(AT).unwrap();
    let (host, lent) = (world.clone(), pool.clone());
    world.spawn(async move {
        let mut link = host.accept(&listener).await.unwrap();
        let (mut rx, mut tx) = (RxBuf::new(&lent), TxBuf::new(&lent));
        while read(&mut link, &mut rx).await.unwrap() > 0 {}
        tx.put(rx.data());
        flush(&mut link, &mut tx).await.unwrap();
    });
    let (host, lent) = (world.clone(), pool.clone());
    let back = world.run(HOUR, async move {
        let mut link = host.connect(AT).await.unwrap();
        let (mut rx, mut tx) = (RxBuf::new(&lent), TxBuf::new(&lent));
        tx.put(b"half closed");
        flush(&mut link, &mut tx).await.unwrap();
        link.finish();
        tx.put(b"too late");
        assert!(flush(&mut link, &mut tx).await.is_err());
        while read(&mut link, &mut rx).await.unwrap() > 0 {}
        rx.data().to_vec()
    });
    assert_eq!(back.unwrap(), b"half closed");
    world.end();
    assert_eq!(pool.lent(), 0);
}

/// Goal: a door answers as it was set: refused, slow, or never.
#[test]
fn doors_answer_as_they_were_set() {
    let world = World::new(2, Faults::NONE);
    let host = world.clone();
    let nobody = world.run(HOUR, async move { host.connect(AT).await.map(drop) });
    assert_eq!(
        nobody.unwrap().unwrap_err().kind(),
        ErrorKind::ConnectionRefused
    );
    let _listener = world.listen(AT).unwrap();
    for (door, least, is_open) in [
        (Door::Refuses, Duration::ZERO, false),
        (Door::Slow(MS * 70), MS * 70, true),
        (Door::Normal, Duration::ZERO, true),
    ] {
        world.net().borrow_mut().set_door(AT, door);
        let (host, start) = (world.clone(), world.now());
        let got = world.run(HOUR, async move { host.connect(AT).await.is_ok() });
        assert_eq!(got, Ok(is_open), "{door:?}");
        assert!(world.now().since(start) >= least);
    }
    world.net().borrow_mut().set_door(AT, Door::Swallows);
    let host = world.clone();
    let never = world.run(HOUR, async move { host.connect(AT).await.is_ok() });
    assert_eq!(never, Err(Stuck::Deadlock));
}
