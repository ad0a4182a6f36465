//! TLS over a pipe that gives and takes in odd pieces, both ends in one thread.
//!
//! ```text
//!   Stream<Pipe> ──► wire ──► Stream<Pipe>       each read brings 1, 2, 3, … bytes
//!                ◄── wire ◄──
//! ```

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::{RxBuf, TxBuf};
use shardgate::host::Link;
use shardgate::host::tls::Stream;
use shardgate::wire::tls::Session;
use shardgate::wire::tls::fault::Broken;
use shardgate::wire::tls::files::{self, Texts};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// One direction.
#[derive(Debug, Default)]
struct Wire {
    bytes: RefCell<VecDeque<u8>>,
    is_shut: Cell<bool>,
    /// Every byte that ever went over it.
    seen: RefCell<Vec<u8>>,
}

/// One end: what it reads from, what it writes to, bytes a call.
#[derive(Debug)]
struct Pipe {
    from: Rc<Wire>,
    to: Rc<Wire>,
    step: usize,
}

impl Link for Pipe {
    fn poll_read(&mut self, _cx: &mut Context<'_>, rx: &mut RxBuf) -> Poll<io::Result<usize>> {
        let mut bytes = self.from.bytes.borrow_mut();
        let len = self.step.min(bytes.len());
        for byte in bytes.drain(..len) {
            rx.put(&[byte]);
        }
        match len {
            0 if !self.from.is_shut.get() => Poll::Pending,
            len => Poll::Ready(Ok(len)),
        }
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>, tx: &mut TxBuf) -> Poll<io::Result<()>> {
        let len = self.step.min(tx.len());
        let (mut to, mut seen) = (self.to.bytes.borrow_mut(), self.to.seen.borrow_mut());
        to.extend(tx.unsent().iter().take(len));
        seen.extend(tx.unsent().iter().take(len));
        drop((to, seen));
        tx.sent(len);
        if tx.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn finish(&mut self) {
        self.to.is_shut.set(true);
    }
}

/// Both ends of a connection, before its handshake.
struct Pair {
    pool: BufPool,
    client: Stream<Pipe>,
    server: Stream<Pipe>,
    up: Rc<Wire>,
    down: Rc<Wire>,
}

fn pair(step: usize) -> Pair {
    let names = vec!["localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (cert, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let texts = Texts {
        cert: cert.as_bytes(),
        key: key.as_bytes(),
        client_ca: None,
    };
    let server_config = files::server(texts, &files::tickets().unwrap()).unwrap();
    let roots = files::authorities(files::certificates(cert.as_bytes()).unwrap()).unwrap();
    let client_config = Arc::new(files::client(&Arc::new(roots)).unwrap());
    let (up, down) = (Rc::new(Wire::default()), Rc::new(Wire::default()));
    let end = |from: &Rc<Wire>, to: &Rc<Wire>| {
        Stream::new(Pipe {
            from: Rc::clone(from),
            to: Rc::clone(to),
            step,
        })
    };
    let (mut client, mut server) = (end(&down, &up), end(&up, &down));
    let pool = BufPool::new();
    let name = "localhost".try_into().unwrap();
    assert!(client.start_tls(Session::client(&client_config, &name).unwrap(), &pool));
    assert!(server.start_tls(Session::server(&server_config).unwrap(), &pool));
    Pair {
        pool,
        client,
        server,
        up,
        down,
    }
}

impl Pair {
    fn shake(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut client, mut server) = (false, false);
        for _ in 0..1_000_000 {
            if !client && let Poll::Ready(done) = self.client.poll_handshake(&mut cx) {
                assert_eq!(done, Ok(false));
                client = true;
            }
            if !server && let Poll::Ready(done) = self.server.poll_handshake(&mut cx) {
                assert_eq!(done, Ok(false));
                server = true;
            }
            if client && server {
                return;
            }
        }
        panic!("the handshake does not end");
    }
}

/// Sends `text` from one end and reads it at the other.
fn pass(from: &mut Stream<Pipe>, to: &mut Stream<Pipe>, pool: &BufPool, text: &[u8]) {
    let mut cx = Context::from_waker(Waker::noop());
    let (mut tx, mut rx) = (TxBuf::new(pool), RxBuf::new(pool));
    tx.put(text);
    loop {
        let sent = from.poll_flush(&mut cx, &mut tx);
        let before = rx.len();
        match to.poll_read(&mut cx, &mut rx) {
            Poll::Ready(got) => assert_eq!(got.unwrap(), rx.len() - before),
            Poll::Pending => assert_eq!(rx.len(), before),
        }
        if sent.is_ready() && rx.len() == text.len() {
            break;
        }
    }
    assert_eq!(rx.data(), text);
}

/// The types and lengths of whole records.
fn records(bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let [kind, _, _, high, low, tail @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        found.push((*kind, len));
        rest = tail.get(len..).unwrap();
    }
    found
}

/// Goal: however the bytes are cut, they arrive, both ways, in every size; at rest no block is
/// held.
#[test]
fn every_byte_arrives_however_it_is_cut() {
    for step in [1, 2, 3, 5, 7, 64, 1000, 1 << 20] {
        let mut pair = pair(step);
        pair.shake();
        for len in [0, 1, 100, 16_384, 16_385, 200_000] {
            let text: Vec<u8> = (0_u8..251).cycle().take(len).collect();
            pass(&mut pair.client, &mut pair.server, &pair.pool, &text);
            pass(&mut pair.server, &mut pair.client, &pair.pool, &text);
        }
        // What is left of the handshake (tickets) is taken in by reading.
        let mut cx = Context::from_waker(Waker::noop());
        let mut rx = RxBuf::new(&pair.pool);
        while !pair.down.bytes.borrow().is_empty() {
            assert!(pair.client.poll_read(&mut cx, &mut rx).is_pending());
        }
        assert_eq!(pair.pool.lent(), 0, "step {step}");
    }
}

/// Goal: one flush of at most 16 KiB is one record.
#[test]
fn one_flush_is_one_record() {
    let mut pair = pair(1 << 20);
    pair.shake();
    for (len, count) in [(1, 1), (300, 1), (16_384, 1), (16_385, 2), (65_536, 4)] {
        let before = pair.down.seen.borrow().len();
        let text = vec![b'x'; len];
        pass(&mut pair.server, &mut pair.client, &pair.pool, &text);
        let seen = pair.down.seen.borrow();
        let new = records(seen.get(before..).unwrap());
        assert_eq!(new.len(), count, "{len}: {new:?}");
        assert!(new.iter().all(|(kind, _)| *kind == 23));
    }
}

/// Goal: the end is an end with `close_notify` only.
#[test]
fn only_close_notify_is_an_end() {
    let mut cx = Context::from_waker(Waker::noop());
    for is_clean in [true, false] {
        let mut pair = pair(1 << 20);
        pair.shake();
        pass(&mut pair.server, &mut pair.client, &pair.pool, b"hello");
        if is_clean {
            pair.server.finish();
        } else {
            pair.down.is_shut.set(true);
        }
        let mut rx = RxBuf::new(&pair.pool);
        for _ in 0..2 {
            let Poll::Ready(end) = pair.client.poll_read(&mut cx, &mut rx) else {
                panic!("it has ended");
            };
            assert_eq!(end.is_ok(), is_clean);
            assert_eq!(end.unwrap_or(0), 0);
        }
    }
}

/// Goal: part of a record counts as something that has arrived, and a record that was changed
/// on the way ends the stream.
#[test]
fn a_part_is_noticed_and_a_changed_record_is_refused() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut pair = pair(1 << 20);
    pair.shake();
    pass(&mut pair.server, &mut pair.client, &pair.pool, b"hello");
    let mut tx = TxBuf::new(&pair.pool);
    tx.put(b"secret");
    assert!(pair.server.poll_flush(&mut cx, &mut tx).is_ready());
    let last = pair.down.bytes.borrow_mut().pop_back().unwrap();
    let mut rx = RxBuf::new(&pair.pool);
    assert!(!pair.client.holds_part());
    assert!(pair.client.poll_read(&mut cx, &mut rx).is_pending());
    assert!(pair.client.holds_part());
    pair.down.bytes.borrow_mut().push_back(last ^ 1);
    for _ in 0..2 {
        let read = pair.client.poll_read(&mut cx, &mut rx);
        assert!(matches!(read, Poll::Ready(Err(_))), "{read:?}");
    }
    assert!(rx.is_empty());
}

/// Goal: HTTP without TLS is told apart, and the stream can go back to it.
#[test]
fn plain_http_is_told_apart() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut pair = pair(5);
    pair.up.bytes.borrow_mut().extend(b"GET / HTTP/1.1\r\n");
    let shaken = pair.server.poll_handshake(&mut cx);
    assert_eq!(shaken, Poll::Ready(Err(Broken::PlainHttp)));
    pair.server.stop_tls();
    let mut tx = TxBuf::new(&pair.pool);
    tx.put(b"HTTP/");
    assert!(pair.server.poll_flush(&mut cx, &mut tx).is_ready());
    assert_eq!(*pair.down.seen.borrow(), b"HTTP/");
}

/// Goal: whatever a peer sends instead of TLS is an error with an alert, once and for all, on
/// either side and however it is cut.
#[test]
fn garbage_ends_a_handshake() {
    let mut cx = Context::from_waker(Waker::noop());
    let texts: [&[u8]; 5] = [
        b"HTTP/1.1 400 Bad\r\n",
        &[0x16, 3, 1, 0xff, 0xff, 1],
        &[0; 64],
        b"\x16\x03\x01\x00\x05garbage and more",
        b"\x16\x03\x03\x00\x04\x02\x00\x00\x00\x16\x03\x03\x00\x04\x0e\x00\x00\x01\x14\x03",
    ];
    for (step, garbage) in [1, 5, 1 << 20]
        .into_iter()
        .flat_map(|s| texts.map(|t| (s, t)))
    {
        for is_server in [false, true] {
            let mut pair = pair(step);
            let (end, wire, told) = if is_server {
                (&mut pair.server, &pair.up, &pair.down)
            } else {
                (&mut pair.client, &pair.down, &pair.up)
            };
            for _ in 0..10_000 {
                assert!(end.poll_handshake(&mut cx).is_pending());
                if pair.pool.lent() == 0 {
                    break; // a client's hello is out
                }
            }
            told.seen.borrow_mut().clear();
            wire.bytes.borrow_mut().extend(garbage);
            wire.is_shut.set(true);
            let mut outcome = Poll::Pending;
            while outcome.is_pending() {
                outcome = end.poll_handshake(&mut cx);
            }
            let Poll::Ready(Err(broken)) = outcome else {
                panic!("{garbage:?}");
            };
            // rustls has an alert for most faults, and nothing else may be sent.
            if step >= 7 {
                let sent = records(&told.seen.borrow());
                assert!(sent.is_empty() || sent == [(21, 2)], "{sent:?}");
            }
            let mut rx = RxBuf::new(&pair.pool);
            if broken != Broken::PlainHttp {
                let read = end.poll_read(&mut cx, &mut rx);
                assert!(matches!(read, Poll::Ready(Err(_))), "{read:?}");
            }
            end.finish();
            end.stop_tls();
            assert_eq!(pair.pool.lent(), 0);
        }
    }
}
