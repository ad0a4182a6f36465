//! Clients of the simulated world: plain, pipelined, slow, chunked, leaving in the middle.
//!
//! Writing and reading run in tasks of their own over one link, as a real client's do: a
//! pipelined request may be under way while the answer before it comes.

use super::http;
use super::net::SimLink;
use super::rng::Rng;
use super::script::{Abort, Ask, Exchange, Got};
use super::world::World;
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::host::{Host, Link};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// How a client behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// Requests that it sends without waiting for answers.
    pub(crate) ahead: usize,
    /// It pauses up to so many milliseconds between pieces of a request.
    pub(crate) write_pause_ms: u64,
    /// It pauses up to so many milliseconds between its first reads.
    pub(crate) read_pause_ms: u64,
    /// It speaks HTTP/1.0.
    pub(crate) is_http10: bool,
}

impl Style {
    /// One request after the other, as fast as it goes.
    pub(crate) const PLAIN: Self = Self {
        ahead: 1,
        write_pause_ms: 0,
        read_pause_ms: 0,
        is_http10: false,
    };

    /// A random style.
    pub(crate) fn random(rng: &Rng) -> Self {
        let is_http10 = rng.chance(100);
        Self {
            ahead: if is_http10 { 1 } else { rng.pick(&[1, 1, 3]) },
            write_pause_ms: rng.pick(&[0, 0, 5, 200]),
            read_pause_ms: rng.pick(&[0, 0, 0, 100]),
            is_http10,
        }
    }
}

/// A link that a writer and a reader share; gone once the client left.
type Shared = Rc<RefCell<Option<SimLink>>>;

/// A client's connection.
struct Wire {
    link: Shared,
    conn: usize,
    rx: RxBuf,
    got: Vec<u8>,
}

/// Asks everything in `exchanges` in order, over as few connections as the gateway lets it.
pub(crate) async fn client(
    world: World,
    gateway: SocketAddr,
    exchanges: Vec<Rc<Exchange>>,
    style: Style,
) {
    let rng = Rng::new(world.rng().next());
    let mut rest = &exchanges[..];
    while !rest.is_empty() {
        let link = world.connect(gateway).await.unwrap();
        let conn = link.conn();
        let link = Rc::new(RefCell::new(Some(link)));
        let rx = RxBuf::new(&BufPool::new());
        let mut wire = Wire {
            link,
            conn,
            rx,
            got: Vec::new(),
        };
        let mut is_open = true;
        while is_open && !rest.is_empty() {
            let batch = &rest[..style.ahead.min(rest.len())];
            // whoever leaves is the last of its batch
            let leaves = batch.iter().position(|e| e.abort.is_some());
            let batch = &batch[..leaves.map_or(batch.len(), |at| at + 1)];
            let writing = write(
                world.clone(),
                rng.next(),
                Rc::clone(&wire.link),
                batch.to_vec(),
                style,
            );
            world.spawn(writing);
            for exchange in batch {
                let (got, goes_on) = ask(&world, &rng, &mut wire, exchange, style).await;
                *exchange.got.borrow_mut() = Some(got);
                rest = &rest[1..];
                is_open = goes_on;
                if !is_open {
                    break;
                }
            }
            if rng.chance(200) {
                world.sleep(Duration::from_millis(rng.range(0, 900))).await;
            }
        }
        drop(wire.link.borrow_mut().take());
    }
}

/// Reads one reply; whether the connection can be used again.
async fn ask(
    world: &World,
    rng: &Rng,
    wire: &mut Wire,
    exchange: &Exchange,
    style: Style,
) -> (Got, bool) {
    let leave = exchange.abort.map_or(usize::MAX, |abort| abort.read);
    let (mut is_closed, mut is_reset, mut pauses, mut wants) = (false, false, 0, 0);
    loop {
        let is_due = is_closed || wire.got.len() >= wants.min(leave);
        let reply = is_due
            .then(|| http::message(&wire.got, true, is_closed && !is_reset))
            .flatten();
        wants = reply.as_ref().map_or(wants, |reply| reply.wants);
        if reply
            .as_ref()
            .is_some_and(|r| (100..200).contains(&r.status()))
        {
            wire.got.drain(..reply.unwrap().used);
            wants = 0;
            continue;
        }
        match reply {
            Some(reply) if reply.is_whole => {
                wire.got.drain(..reply.used);
                let is_delimited = ["content-length", "transfer-encoding"]
                    .iter()
                    .any(|n| reply.field(n).is_some());
                assert!(
                    is_delimited || reply.field("connection") == Some("close"),
                    "{reply:?}"
                );
                let is_last = reply.field("connection") == Some("close") || style.is_http10;
                return (Got::Reply(reply), !is_last && !is_closed);
            }
            Some(reply) if is_closed => return (Got::Reply(reply), false),
            None if is_closed => return (Got::Nothing, false),
            _ if wire.got.len() >= leave => {
                depart(&wire.link, exchange.abort.unwrap());
                return (Got::Left(wire.conn), false);
            }
            _ => (),
        }
        if style.read_pause_ms > 0 && pauses < 20 {
            pauses += 1;
            world
                .sleep(Duration::from_millis(rng.range(0, style.read_pause_ms)))
                .await;
        }
        let (link, rx) = (&wire.link, &mut wire.rx);
        let read = poll_fn(|cx| match &mut *link.borrow_mut() {
            Some(link) => link.poll_read(cx, rx).map(Some),
            None => Poll::Ready(None),
        });
        match read.await {
            Some(Ok(1..)) => {
                wire.got.extend_from_slice(wire.rx.data());
                wire.rx.clear();
            }
            Some(end) => (is_closed, is_reset) = (true, end.is_err()),
            None => return (Got::Left(wire.conn), false),
        }
    }
}

/// The client goes away.
fn depart(link: &Shared, how: Abort) {
    let Some(link) = link.borrow_mut().take() else {
        return;
    };
    if how.is_reset {
        link.reset();
    }
}

/// Sends the requests of a batch, in pieces.
async fn write(world: World, seed: u64, link: Shared, batch: Vec<Rc<Exchange>>, style: Style) {
    let rng = Rng::new(seed);
    for exchange in batch {
        let request = request(&rng, &exchange, style);
        let sends = exchange
            .abort
            .and_then(|abort| abort.sent)
            .unwrap_or(usize::MAX);
        let mut rest = &request[..request.len().min(sends)];
        let least = request.len() / 5;
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rng.cut(rest.len()).max(least.min(rest.len())));
            rest = more;
            if send(&link, piece).await.is_err() {
                return;
            }
            if style.write_pause_ms > 0 {
                world
                    .sleep(Duration::from_millis(rng.range(0, style.write_pause_ms)))
                    .await;
            }
        }
        if sends < request.len() {
            return depart(&link, exchange.abort.unwrap());
        }
    }
}

async fn send(link: &Shared, bytes: &[u8]) -> io::Result<()> {
    let mut tx = TxBuf::new(&BufPool::new());
    tx.put(bytes);
    poll_fn(|cx| match &mut *link.borrow_mut() {
        Some(link) => link.poll_flush(cx, &mut tx),
        None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
    })
    .await
}

/// The bytes of a request.
fn request(rng: &Rng, exchange: &Exchange, style: Style) -> Vec<u8> {
    let version = if style.is_http10 { "1.0" } else { "1.1" };
    if exchange.ask == Ask::Models {
        return format!("GET /v1/models HTTP/{version}\r\nhost: gate\r\n\r\n").into_bytes();
    }
    let body = exchange.body();
    let mut text = format!(
        "POST /v1/chat/completions HTTP/{version}\r\nHost: gate\r\ncontent-type: application/json\r\n\
         cookie: a=b\r\nconnection: keep-alive, x-secret\r\nx-secret: s\r\n"
    );
    if rng.chance(100) && !style.is_http10 {
        text.push_str("expect: 100-continue\r\n");
    }
    let mut bytes;
    if style.is_http10 || rng.chance(600) {
        bytes = format!("{text}content-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    } else {
        bytes = format!("{text}transfer-encoding: chunked\r\n\r\n").into_bytes();
        let mut rest = body.as_bytes();
        while !rest.is_empty() {
            let (chunk, more) = rest.split_at(rng.cut(rest.len()).max(rest.len() / 8));
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
            rest = more;
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    bytes
}
