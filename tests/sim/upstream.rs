//! A provider of the simulated world: reads requests strictly and plays what is scripted.

use super::http;
use super::net::SimLink;
use super::rng::Rng;
use super::script::{Act, Ask, Exchange, Served, Then};
use super::world::World;
use serde_json::Value;
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::host::{Host, Link, flush, read};
use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Everything that will be asked in a world, by number.
#[derive(Debug)]
pub(crate) struct Casting {
    /// The exchanges.
    pub(crate) all: Vec<Rc<Exchange>>,
    /// A request crossed bytes that nobody had asked for: they were its answer.
    pub(crate) has_raced: Cell<bool>,
}

/// The cast of a world.
pub(crate) type Cast = Rc<Casting>;

/// Serves the provider of number `number` at `at`.
pub(crate) fn serve(world: &World, cast: &Cast, number: usize, at: SocketAddr) {
    let (host, cast) = (world.clone(), Rc::clone(cast));
    let listener = world.listen(at).unwrap();
    world.spawn(async move {
        while let Ok(link) = host.accept(&listener).await {
            let play = connection(host.clone(), Rc::clone(&cast), number, link);
            host.spawn(play);
        }
    });
}

/// Plays on one connection until it ends.
async fn connection(world: World, cast: Cast, number: usize, mut link: SimLink) {
    let rng = Rng::new(world.rng().next());
    let pool = BufPool::new();
    let mut rx = RxBuf::new(&pool);
    loop {
        let mut wants = 0;
        let request = loop {
            if rx.len() >= wants
                && let Some(message) = http::message(rx.data(), false, false)
            {
                wants = message.wants;
                if message.is_whole {
                    break message;
                }
            }
            if !matches!(read(&mut link, &mut rx).await, Ok(1..)) {
                return;
            }
        };
        assert_eq!(request.used, rx.len(), "one request at a time");
        rx.clear();
        let exchange = understand(&request, &cast, number);
        let turn = exchange.served.borrow().len();
        let served = Served {
            conn: link.conn(),
            written_at: None,
        };
        exchange.served.borrow_mut().push(served);
        let act = exchange.next_act();
        if !write(&world, &rng, &mut link, &exchange, turn, act).await {
            return;
        }
        match act.then {
            Then::Keep => continue,
            Then::Close => return,
            Then::Reset => return link.reset(),
            Then::Stall => while let Ok(1..) = read(&mut link, &mut rx).await {},
            Then::Late => {
                // A request may come first: then the connection closes without a byte.
                let mut wait = pin!(world.sleep(Duration::from_millis(600)));
                let is_first = poll_fn(|cx| match wait.as_mut().poll(cx) {
                    Poll::Ready(()) => Poll::Ready(false),
                    Poll::Pending => link.poll_read(cx, &mut rx).map(|_| true),
                });
                if is_first.await {
                    return;
                }
                let mut tx = TxBuf::new(&pool);
                tx.put(b"late, and nobody asked\r\n\r\n");
                let _closed_first = flush(&mut link, &mut tx).await;
                while let Ok(1..) = read(&mut link, &mut rx).await {
                    cast.has_raced.set(true);
                }
            }
            Then::Leave => {
                let time = Duration::from_micros(rng.range(0, 20_000));
                world.sleep(time).await;
            }
        }
        return;
    }
}

/// Writes the act's bytes in pieces; false when the gateway is gone.
async fn write(
    world: &World,
    rng: &Rng,
    link: &mut SimLink,
    exchange: &Exchange,
    turn: usize,
    act: &Act,
) -> bool {
    let mut tx = TxBuf::new(&BufPool::new());
    let mut at = 0;
    let piece_min = act.wire.len() / 6;
    loop {
        if at == act.wire.len() {
            return true;
        }
        let len = rng
            .cut(act.wire.len() - at)
            .max(piece_min.min(act.wire.len() - at));
        tx.put(&act.wire[at..at + len]);
        if flush(link, &mut tx).await.is_err() {
            return false;
        }
        at += len;
        if at >= act.whole_at {
            let now = world.now().as_nanos();
            exchange.served.borrow_mut()[turn]
                .written_at
                .get_or_insert(now);
        }
        if act.pause_ms > 0 {
            world
                .sleep(Duration::from_millis(rng.range(0, act.pause_ms)))
                .await;
        }
    }
}

/// Checks what the gateway sent, and says which exchange it is.
fn understand(request: &http::Message, cast: &Cast, number: usize) -> Rc<Exchange> {
    assert_eq!(request.line, "POST /v1/chat/completions HTTP/1.1");
    for name in [
        "authorization",
        "cookie",
        "connection",
        "transfer-encoding",
        "expect",
        "x-secret",
    ] {
        assert_eq!(request.field(name), None, "{name} must not go up");
    }
    assert_eq!(
        request.field("host"),
        Some(format!("127.0.0.1:{}", 7000 + number).as_str())
    );
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let id: usize = body["user"].as_str().unwrap()[1..].parse().unwrap();
    let exchange = Rc::clone(&cast.all[id]);
    assert_eq!(body["model"], format!("up-{number}"));
    assert_eq!(body["messages"][0]["content"], exchange.prompt);
    let Ask::Chat { stream, .. } = exchange.ask else {
        panic!("{id} must not go up")
    };
    assert_eq!(body["stream"], stream);
    let usage = &body["stream_options"]["include_usage"];
    assert_eq!(usage.as_bool().unwrap_or(false), stream);
    exchange
}
