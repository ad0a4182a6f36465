//! The actors that go to the edges: too many at once, too short, too full, nowhere.

use crate::actors::{at_most, micros};
use crate::rng::Rng;
use crate::stream::Flow;
use crate::world::{Deed, World, cut_after, within};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::host::ring::{Listener, Socket};
use shardgate::host::{Host, Link, flush, read};
use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// Receives that no stock of blocks serves at once.
const CROWD_MIN: usize = 80;

/// More than any socket buffer takes.
const HUGE: usize = 10 << 20;

/// Two ends of a connection.
async fn pair(world: &World, on: &Listener, at: SocketAddr) -> io::Result<(Socket, Socket)> {
    let near = world.host.connect(at).await?;
    Ok((near, world.host.accept(on).await?))
}

/// Reads `len` bytes of `flow`, looking at what is held again after a while.
async fn expect(
    world: &World,
    link: &mut Socket,
    flow: Flow,
    len: usize,
    rng: &Rng,
) -> Result<(), String> {
    let (mut rx, mut arrived) = (RxBuf::new(&world.pool), 0);
    while arrived < len {
        let count = read(link, &mut rx)
            .await
            .map_err(|error| format!("{error} at {arrived}"))?;
        if count == 0 {
            return Err(format!("the end after {arrived} of {len}"));
        }
        arrived += count;
        let from = (arrived - rx.len()) as u64;
        flow.check(from, rx.data())?;
        if rng.chance(200) {
            world.rest(rng, Duration::from_millis(1)).await;
            flow.check(from, rx.data())?;
        }
        if rng.chance(800) || rx.len() > 64 << 10 {
            rx.clear();
        }
    }
    world.count(Deed::Bytes, arrived as u64);
    Ok(())
}

/// A crowd waits for bytes; all of them come in one burst; some of it leaves before, within
/// and after.
pub(crate) fn crowd(world: &World, rng: &Rng) {
    let (world2, rng) = (world.clone(), Rng::new(rng.next()));
    world.spawn("crowd".to_owned(), async move {
        if let Err(fault) = burst(&world2, &rng).await {
            world2.fault(format!("crowd: {fault}"));
        }
    });
}

async fn burst(world: &World, rng: &Rng) -> Result<(), String> {
    let (listener, at) = world.listen(rng);
    let size = CROWD_MIN + rng.index(160);
    let most = rng.pick(&[10, 3_000, 40_000]);
    let (mut waiting, mut senders) = (Vec::new(), Vec::new());
    for number in 0..size {
        let (mut near, far) = pair(world, &listener, at)
            .await
            .map_err(|e| e.to_string())?;
        let (flow, len, dice) = (Flow::draw(rng), at_most(most, rng), Rng::new(rng.next()));
        let world2 = world.clone();
        let berth = world.spawn(format!("one of a crowd, {number}"), async move {
            if let Err(fault) = expect(&world2, &mut near, flow, len, &dice).await {
                world2.fault(format!("one of a crowd, {number}: {fault}"));
            }
        });
        waiting.push(berth);
        senders.push((far, flow, len));
    }
    world.pause(micros(rng, 3_000)).await;
    world.count(Deed::Crowded, 1);
    let leave = |chance: u64| {
        for berth in &waiting {
            if rng.chance(chance) {
                world.count(Deed::DroppedReading, u64::from(berth.sink()));
            }
        }
    };
    leave(rng.pick(&[0, 300]));
    let mut tx = TxBuf::new(&world.pool);
    for (far, flow, len) in &mut senders {
        tx.put(&flow.bytes(0, *len));
        // Who has left breaks it; who has not gets all, or says so.
        if within(world, Duration::from_secs(5), flush(far, &mut tx))
            .await
            .is_none()
        {
            return Err(format!("{len} bytes are not taken"));
        }
        tx.clear();
    }
    // Their bytes are there, in the socket, in the queue, or landed and not yet looked at.
    leave(rng.pick(&[0, 100, 500]));
    if rng.chance(500) {
        world.host.breathe().await;
        leave(rng.pick(&[100, 500]));
    }
    Ok(())
}

/// Answers every connection with what it says, until it is sunk.
async fn echo(world: World, listener: Listener) {
    loop {
        let mut link = match world.host.accept(&listener).await {
            Ok(link) => link,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return world.fault(format!("echo: accept: {error}")),
        };
        let pool = world.pool.clone();
        world.spawn("echo".to_owned(), async move {
            let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
            while let Ok(1..) = read(&mut link, &mut rx).await {
                tx.put(rx.data());
                rx.clear();
                if flush(&mut link, &mut tx).await.is_err() {
                    break;
                }
            }
        });
    }
}

/// Many short connections to an echo; most are left at some step.
pub(crate) fn churn(world: &World, rng: &Rng) {
    let (listener, at) = world.listen(rng);
    let echoing = world.spawn("echoing".to_owned(), echo(world.clone(), listener));
    let lanes = at_most(4, rng);
    let running = Rc::new(Cell::new(lanes));
    for lane in 0..lanes {
        let (world2, dice) = (world.clone(), Rng::new(rng.next()));
        let (running, echoing) = (Rc::clone(&running), Rc::clone(&echoing));
        world.spawn(format!("churn, lane {lane}"), async move {
            for number in 0..at_most(60, &dice) {
                if let Err(fault) = short(&world2, at, &dice).await {
                    world2.fault(format!("churn, lane {lane}, {number}: {fault}"));
                    break;
                }
            }
            running.set(running.get() - 1);
            if running.get() == 0 {
                // The listener goes with an accept in flight.
                world2.count(Deed::ListenerDropped, u64::from(echoing.sink()));
            }
        });
    }
}

/// One short connection, left at a step that the dice say.
async fn short(world: &World, at: SocketAddr, rng: &Rng) -> Result<(), String> {
    let step = rng.range(0, 9);
    if step == 0 {
        let cut = cut_after(rng.range(1, 2), world.host.connect(at));
        let cut = within(world, micros(rng, 200), cut).await.flatten();
        world.count(Deed::ConnectCut, u64::from(cut.is_none()));
        return Ok(());
    }
    let mut link = world
        .host
        .connect(at)
        .await
        .map_err(|error| format!("connect: {error}"))?;
    if step == 1 {
        return Ok(());
    }
    let (flow, len) = (Flow::draw(rng), at_most(rng.pick(&[4, 2_000, 30_000]), rng));
    let (mut rx, mut tx) = (RxBuf::new(&world.pool), TxBuf::new(&world.pool));
    if step == 2 {
        let waiting = cut_after(1, read(&mut link, &mut rx)).await.is_none();
        world.count(Deed::DroppedReading, u64::from(waiting));
        return Ok(());
    }
    tx.put(&flow.bytes(0, len));
    let sent = cut_after(1, flush(&mut link, &mut tx)).await;
    match step {
        3 => {
            world.count(Deed::DroppedSending, u64::from(sent.is_none()));
            return Ok(());
        }
        4 => {
            link.reset();
            world.count(Deed::Reset, 1);
            return Ok(());
        }
        5 => {
            let waiting = cut_after(1, read(&mut link, &mut rx)).await.is_none();
            if rng.chance(500) {
                world.host.breathe().await;
            }
            flow.check(0, rx.data())?;
            world.count(Deed::DroppedReading, u64::from(waiting));
            return Ok(());
        }
        _ => {}
    }
    // It is small enough for the buffers of both ways together.
    flush(&mut link, &mut tx)
        .await
        .map_err(|error| format!("flush: {error}"))?;
    expect(world, &mut link, flow, len, rng).await?;
    world.count(Deed::Whole, 1);
    Ok(())
}

/// A send that the socket cannot take, and what then becomes of either side.
pub(crate) fn blocked(world: &World, rng: &Rng) {
    let (world2, rng) = (world.clone(), Rng::new(rng.next()));
    world.spawn("blocked".to_owned(), async move {
        if let Err(fault) = block(&world2, &rng).await {
            world2.fault(format!("blocked: {fault}"));
        }
    });
}

async fn block(world: &World, rng: &Rng) -> Result<(), String> {
    let (listener, at) = world.listen(rng);
    let (mut near, mut far) = pair(world, &listener, at)
        .await
        .map_err(|e| e.to_string())?;
    let (flow, len) = (Flow::draw(rng), HUGE + rng.index(1 << 20));
    let mut tx = TxBuf::new(&world.pool);
    tx.put(&flow.bytes(0, len));
    let flushed = within(world, micros(rng, 2_000), flush(&mut near, &mut tx)).await;
    if flushed.is_some() {
        return Err(format!("{len} bytes went into a socket: {flushed:?}"));
    }
    world.count(Deed::FlushCut, 1);
    match rng.index(4) {
        0 => {
            // It goes, and its memory is used again at once by whoever comes.
            if rng.chance(300) {
                near.reset();
                world.count(Deed::Reset, 1);
            }
            world.count(Deed::DroppedSending, 1);
            drop((near, tx));
            scribble(world, rng, len);
            prefix(world, &mut far, flow, len).await
        }
        1 => {
            drop(far);
            let broken = within(world, Duration::from_secs(5), flush(&mut near, &mut tx)).await;
            world.count(Deed::Broken, 1);
            match broken {
                Some(Err(_)) => Ok(()),
                other => Err(format!("the reader went, the writer hears {other:?}")),
            }
        }
        2 => {
            // The reader comes at last; the writer writes on, cut off again and again, and has
            // perhaps said already that this is all.
            if rng.chance(500) && tx.is_empty() {
                near.finish();
                world.count(Deed::FinishedSending, 1);
            }
            let (world2, dice) = (world.clone(), Rng::new(rng.next()));
            world.spawn("late reader".to_owned(), async move {
                let end = match expect(&world2, &mut far, flow, len, &dice).await {
                    Ok(()) => read(&mut far, &mut RxBuf::new(&world2.pool)).await,
                    Err(fault) => return world2.fault(format!("late reader: {fault}")),
                };
                if !matches!(end, Ok(0)) {
                    world2.fault(format!("late reader: {end:?}, not the end"));
                }
            });
            loop {
                let flush = within(world, micros(rng, 3_000), flush(&mut near, &mut tx)).await;
                if let Some(flushed) = flush {
                    return flushed.map_err(|error| format!("late reader: {error}"));
                }
                world.count(Deed::FlushCut, 1);
            }
        }
        _ => {
            world.count(Deed::DroppedSending, 1);
            drop((near, far, tx));
            scribble(world, rng, len);
            Ok(())
        }
    }
}

/// Takes and fills blocks like those that were in use just now.
fn scribble(world: &World, rng: &Rng, len: usize) {
    let other = Flow::draw(rng);
    for size in [len, len, 16 << 10, 16 << 10, 1 << 20] {
        let mut block = world.pool.take(size);
        other.fill(0, block.bytes_mut());
    }
}

/// Reads to the end, which may come early, but what comes is right.
async fn prefix(world: &World, link: &mut Socket, flow: Flow, most: usize) -> Result<(), String> {
    let (mut rx, mut arrived) = (RxBuf::new(&world.pool), 0);
    while let Ok(count @ 1..) = read(link, &mut rx).await {
        flow.check(arrived as u64, rx.data())?;
        arrived += count;
        rx.clear();
    }
    world.count(Deed::Bytes, arrived as u64);
    if arrived <= most {
        Ok(())
    } else {
        Err(format!("{arrived} bytes of {most} arrived"))
    }
}

/// A socket of the address' own that does not listen, or has room for nobody.
fn plain_socket(listens: bool) -> rustix::io::Result<(OwnedFd, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC;
    let fd = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&fd, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    if listens {
        rustix::net::listen(&fd, 0)?;
    }
    let at = SocketAddr::try_from(rustix::net::getsockname(&fd)?)?;
    Ok((fd, at))
}

/// Connects that are refused, and connects that nobody answers, given up half way.
pub(crate) fn nowhere(world: &World, rng: &Rng) {
    let (world2, rng) = (world.clone(), Rng::new(rng.next()));
    world.spawn("nowhere".to_owned(), async move {
        if let Err(fault) = lead_nowhere(&world2, &rng).await {
            world2.fault(format!("nowhere: {fault}"));
        }
    });
}

async fn lead_nowhere(world: &World, rng: &Rng) -> Result<(), String> {
    // Bound, so that nobody else can come to listen there.
    let (_refuses, at) = plain_socket(false).map_err(|error| error.to_string())?;
    for _ in 0..at_most(8, rng) {
        let polls = if rng.chance(700) { 1 << 30 } else { 1 };
        match cut_after(polls, world.host.connect(at)).await {
            None => world.count(Deed::ConnectCut, 1),
            Some(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                world.count(Deed::Refused, 1);
            }
            Some(other) => return Err(format!("no refusal: {other:?}")),
        }
    }
    // Its backlog takes one or two; who comes after waits for an answer.
    let (full, at) = plain_socket(true).map_err(|error| error.to_string())?;
    let guest = |_| TcpStream::connect_timeout(&at, Duration::from_millis(1)).ok();
    let _filled: Vec<_> = (0..3).map_while(guest).collect();
    let mut given_up = 0;
    for _ in 0..at_most(6, rng) {
        let connect = within(world, micros(rng, 1_500), world.host.connect(at)).await;
        given_up += u64::from(connect.is_none());
    }
    world.count(Deed::ConnectCut, given_up);
    // An answer would end a connect that was not cancelled.
    world.keep(full);
    Ok(())
}

/// A listener that goes with an accept in flight and connections that nobody took.
pub(crate) fn leaving(world: &World, rng: &Rng) {
    let (world2, rng) = (world.clone(), Rng::new(rng.next()));
    world.spawn("leaving".to_owned(), async move {
        if let Err(fault) = leave(&world2, &rng).await {
            world2.fault(format!("leaving: {fault}"));
        }
    });
}

async fn leave(world: &World, rng: &Rng) -> Result<(), String> {
    let (listener, at) = world.listen(rng);
    let mut links = Vec::new();
    for _ in 0..rng.index(6) {
        links.push(
            world
                .host
                .connect(at)
                .await
                .map_err(|error| format!("connect: {error}"))?,
        );
        if rng.chance(300) {
            // Accepted, or not, and closed.
            let accept = cut_after(rng.range(1, 2), world.host.accept(&listener));
            drop(within(world, micros(rng, 300), accept).await);
        }
    }
    let accepted = cut_after(1, world.host.accept(&listener)).await;
    world.count(Deed::ListenerDropped, u64::from(accepted.is_none()));
    if rng.chance(500) {
        world.rest(rng, Duration::from_millis(1)).await;
    }
    // Two more, whose connects race with the end.
    let race = cut_after(rng.range(1, 2), world.host.connect(at));
    let race = within(world, micros(rng, 300), race).await.flatten();
    drop((listener, accepted));
    links.extend(race.and_then(Result::ok));
    for mut link in links {
        let mut rx = RxBuf::new(&world.pool);
        match within(world, Duration::from_secs(5), read(&mut link, &mut rx)).await {
            Some(Ok(0) | Err(_)) => world.count(Deed::Broken, 1),
            other => return Err(format!("who was not accepted hears {other:?}")),
        }
    }
    Ok(())
}

/// Tasks that have more to do and let others run in between.
pub(crate) fn breath(world: &World, rng: &Rng) {
    for number in 0..at_most(3, rng) {
        let (world2, breaths) = (world.clone(), rng.range(1, 400));
        world.spawn(format!("breath {number}"), async move {
            for _ in 0..breaths {
                world2.host.breathe().await;
            }
        });
    }
}

/// Holds filled blocks of the pool; what was given back too early is given to this one next,
/// and whoever still writes there is seen.
pub(crate) fn watch(world: &World, rng: &Rng) {
    let (world2, rng) = (world.clone(), Rng::new(rng.next()));
    world.spawn("watch".to_owned(), async move {
        for _ in 0..at_most(40, &rng) {
            let (flow, size) = (Flow::draw(&rng), 1 << rng.range(12, 20));
            let mut block = world2.pool.take(size);
            flow.fill(0, block.bytes_mut());
            world2.rest(&rng, Duration::from_millis(1)).await;
            if let Err(fault) = flow.check(0, block.bytes()) {
                world2.fault(format!("somebody wrote into a block of another: {fault}"));
            }
        }
    });
}
