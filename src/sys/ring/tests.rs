//! The ring against real sockets: what it owns, what comes back, how it ends.

use super::*;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

const STEP: Duration = Duration::from_millis(20);

/// A ring, its pool, and a connection: our end for the ring, the other end blocking.
fn connected() -> (Ring, BufPool, Rc<OwnedFd>, TcpStream) {
    let pool = BufPool::new();
    let ring = Ring::new(&pool, STEP).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let ours = Rc::new(OwnedFd::from(listener.accept().unwrap().0));
    (ring, pool, ours, theirs)
}

/// Enters and reaps until `key` has landed.
fn outcome_of(ring: &mut Ring, key: Key) -> io::Result<Landed> {
    for _ in 0..500 {
        if let Poll::Ready(outcome) = ring.poll(key, Waker::noop()) {
            return outcome;
        }
        turn(ring);
    }
    panic!("{key:?} never landed");
}

fn turn(ring: &mut Ring) -> Reaped {
    ring.enter_for(STEP).unwrap();
    ring.reap(&mut Vec::new())
}

/// Bytes that are lent to others than the stock.
fn out(ring: &Ring, pool: &BufPool) -> usize {
    pool.lent() - ring.stocked()
}

/// A block filled with a pattern, larger than any socket buffer.
fn huge(pool: &BufPool) -> Block {
    let mut block = pool.take(32 << 20);
    for (at, byte) in block.bytes_mut().iter_mut().enumerate() {
        *byte = u8::try_from(at % 251).unwrap();
    }
    block
}

/// Reads what `key` sends of a [`huge`] block of `size` bytes, without its first three.
fn goes_out_whole(ring: &mut Ring, key: Key, mut theirs: TcpStream, size: usize) {
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; size - 3];
        theirs.read_exact(&mut got).unwrap();
        got.iter()
            .enumerate()
            .all(|(at, &byte)| usize::from(byte) == (at + 3) % 251)
    });
    let sent = outcome_of(ring, key).unwrap();
    assert!(matches!(sent, Landed::Sent(n) if n == size - 3), "{sent:?}");
    assert!(reader.join().unwrap());
}

/// Goal: I1. Method: abandon a send that the socket cannot take; its block must stay lent
/// until the completion is reaped, and what arrived must be a clean prefix of it.
#[test]
fn a_block_on_its_way_out_is_kept_until_its_completion() {
    let (mut ring, pool, ours, mut theirs) = connected();
    let block = huge(&pool);
    let size = block.size();
    let key = ring.send(&ours, block, 0, size).unwrap();
    ring.enter(false).unwrap();
    ring.reap(&mut Vec::new());
    ring.abandon(key);
    assert_eq!((out(&ring, &pool), ring.flying()), (size, 1));
    while ring.flying() > 0 {
        turn(&mut ring);
    }
    assert_eq!(out(&ring, &pool), 0);
    drop(ours);
    let mut got = Vec::new();
    theirs.read_to_end(&mut got).unwrap();
    assert!(!got.is_empty() && got.len() < size);
    assert!(
        got.iter()
            .enumerate()
            .all(|(at, &byte)| usize::from(byte) == at % 251)
    );
}

/// Goal: I1, the other way: everything that is asked to be sent goes out, though the socket
/// takes it in many pieces.
#[test]
fn a_send_that_does_not_fit_goes_out_whole() {
    let (mut ring, pool, ours, theirs) = connected();
    let block = huge(&pool);
    let size = block.size();
    let key = ring.send(&ours, block, 3, size).unwrap();
    goes_out_whole(&mut ring, key, theirs, size);
}

/// Goal: I9: a prompt send is out, and over, when the call that submits it returns, without a
/// completion that wakes anybody; before, its block is lent.
#[test]
fn a_prompt_send_ends_without_a_completion() {
    let (mut ring, pool, ours, mut theirs) = connected();
    let key = ring.send_promptly(&ours, pool.take(3), 0, 3).unwrap();
    assert!(ring.poll(key, Waker::noop()).is_pending());
    assert!(out(&ring, &pool) > 0 && ring.flying() == 1);
    ring.enter(false).unwrap();
    let mut awake = Vec::new();
    assert_eq!(ring.reap(&mut awake), Reaped::default());
    assert_eq!((awake.len(), ring.flying(), out(&ring, &pool)), (1, 0, 0));
    let sent = outcome_of(&mut ring, key).unwrap();
    assert!(matches!(sent, Landed::Sent(3)), "{sent:?}");
    theirs.read_exact(&mut [0; 3]).unwrap();
}

/// Goal: I9, the other way: what a prompt send finds no room for goes out as well, and its
/// block is kept until then.
#[test]
fn a_prompt_send_that_does_not_fit_goes_out_whole() {
    let (mut ring, pool, ours, theirs) = connected();
    let block = huge(&pool);
    let size = block.size();
    let key = ring.send_promptly(&ours, block, 3, size).unwrap();
    ring.enter(false).unwrap();
    assert_eq!(ring.reap(&mut Vec::new()).count, 2, "its end, and its rest");
    assert_eq!((ring.flying(), out(&ring, &pool)), (1, size));
    goes_out_whole(&mut ring, key, theirs, size);
    assert_eq!((ring.flying(), out(&ring, &pool)), (0, 0));
}

/// Goal: a prompt send over a broken connection tells it.
#[test]
fn a_prompt_send_that_fails_says_so() {
    let (mut ring, pool, ours, theirs) = connected();
    drop(theirs);
    let errors = (0..10).filter(|_| {
        let key = ring.send_promptly(&ours, pool.take(1), 0, 1).unwrap();
        let outcome = outcome_of(&mut ring, key);
        turn(&mut ring); // the first is answered by RST
        outcome.is_err()
    });
    assert!(errors.count() >= 8);
    assert_eq!((ring.flying(), out(&ring, &pool)), (0, 0));
}

/// Goal: a prompt send that nobody wants is not taken back, and leaves nothing; also when the
/// queue is submitted half way, and when there was no room. Method: more of them than the
/// queue has entries, every other one abandoned; then a huge one.
#[test]
fn prompt_sends_that_are_abandoned_are_sent_and_leave_nothing() {
    const COUNT: usize = 1200;
    let (mut ring, pool, ours, mut theirs) = connected();
    for number in 0..COUNT {
        let key = ring.send_promptly(&ours, pool.take(1), 0, 1).unwrap();
        if number % 2 == 0 {
            ring.abandon(key);
        }
    }
    turn(&mut ring);
    theirs.read_exact(&mut [0; COUNT]).unwrap();
    assert_eq!((ring.flying(), out(&ring, &pool)), (0, 0));
    let size = huge(&pool).size();
    let late = ring.send_promptly(&ours, huge(&pool), 0, size).unwrap();
    ring.enter(false).unwrap();
    ring.reap(&mut Vec::new());
    ring.abandon(late);
    let early = ring.send_promptly(&ours, huge(&pool), 0, size).unwrap();
    ring.abandon(early);
    for _ in 0..500 {
        if ring.flying() == 0 {
            break;
        }
        turn(&mut ring);
    }
    assert_eq!((ring.flying(), out(&ring, &pool)), (0, 0));
}

/// Goal: I2. Method: a key is polled after its result was given, when its slot serves
/// another operation already; neither may disturb the other.
#[test]
fn a_key_that_is_used_up_is_refused() {
    let (mut ring, pool, ours, mut theirs) = connected();
    let block = pool.take(1);
    let first = ring.send(&ours, block, 0, 3).unwrap();
    let sent = outcome_of(&mut ring, first).unwrap();
    assert!(matches!(sent, Landed::Sent(3)), "{sent:?}");
    let second = ring.recv(&ours).unwrap();
    assert_eq!(first.index, second.index);
    let refused = outcome_of(&mut ring, first).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::NotFound);
    ring.abandon(first);
    theirs.write_all(b"four").unwrap();
    let got = outcome_of(&mut ring, second).unwrap();
    assert!(matches!(got, Landed::Received { len: 4, .. }), "{got:?}");
}

/// Goal: a receive goes on until the end, and a message is a completion. Method: messages
/// with a pause between them on one key, then FIN, then one more question.
#[test]
fn one_receive_brings_many_messages_and_the_end() {
    let (mut ring, pool, ours, mut theirs) = connected();
    let key = ring.recv(&ours).unwrap();
    for message in [&b"one"[..], b"two", b"three"] {
        theirs.write_all(message).unwrap();
        let Landed::Received { block, len, .. } = outcome_of(&mut ring, key).unwrap() else {
            panic!("no bytes");
        };
        assert_eq!(&block.bytes()[..len as usize], message);
    }
    assert_eq!((ring.flying(), out(&ring, &pool)), (1, 0));
    drop(theirs);
    assert!(matches!(outcome_of(&mut ring, key), Ok(Landed::End)));
    assert!(matches!(outcome_of(&mut ring, key), Ok(Landed::Paused)));
    assert_eq!(ring.flying(), 0);
    assert!(outcome_of(&mut ring, key).is_err());
}

/// Goal: where receives cannot go on by themselves, each one is asked for, and nothing else
/// changes. Method: messages, then the end, on a ring that was told so.
#[test]
fn without_streams_each_receive_is_asked_for() {
    let (mut ring, pool, ours, mut theirs) = connected();
    ring.is_multishot = false;
    for message in [&b"one"[..], b"two", b"three"] {
        let key = ring.recv(&ours).unwrap();
        theirs.write_all(message).unwrap();
        let Landed::Received { block, len } = outcome_of(&mut ring, key).unwrap() else {
            panic!("no bytes");
        };
        assert_eq!(&block.bytes()[..len as usize], message);
        assert_eq!(ring.flying(), 0);
        assert!(matches!(outcome_of(&mut ring, key), Ok(Landed::Paused)));
    }
    drop(theirs);
    let key = ring.recv(&ours).unwrap();
    assert!(matches!(outcome_of(&mut ring, key), Ok(Landed::End)));
    assert_eq!(out(&ring, &pool), 0);
}

/// Goal: I8. Method: nobody takes what a fast sender sends; what waits here must stay
/// bounded, the sender must be stopped by the full socket, and afterwards every byte must
/// come, in order.
#[test]
fn a_reader_that_does_not_take_stops_the_sender() {
    let (mut ring, pool, ours, mut theirs) = connected();
    let mut key = ring.recv(&ours).unwrap();
    let total = 24 << 20;
    let sender = std::thread::spawn(move || {
        let all: Vec<u8> = (0..total)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        theirs.write_all(&all).unwrap();
    });
    for _ in 0..20 {
        turn(&mut ring);
    }
    assert!(!sender.is_finished());
    assert!(pool.lent() <= (2 * STOCK + land::BYTES_AHEAD) * SIZE);
    let mut got = 0;
    while got < total {
        match outcome_of(&mut ring, key).unwrap() {
            Landed::Received { block, len, .. } => {
                for &byte in &block.bytes()[..len as usize] {
                    assert_eq!(usize::from(byte), got % 251);
                    got += 1;
                }
            }
            Landed::Paused => key = ring.recv(&ours).unwrap(),
            other => panic!("{other:?}"),
        }
    }
    sender.join().unwrap();
}

/// Goal: the alarm ends a wait without a deadline, once each time it is set.
#[test]
fn the_alarm_ends_a_wait() {
    let mut ring = Ring::new(&BufPool::new(), STEP).unwrap();
    for _ in 0..3 {
        ring.set_alarm().unwrap();
        ring.set_alarm().unwrap();
        ring.enter(true).unwrap();
        let reaped = ring.reap(&mut Vec::new());
        assert_eq!((reaped.alarm, reaped.count), (true, 0));
    }
    ring.enter_for(2 * STEP).unwrap();
    assert_eq!(ring.reap(&mut Vec::new()), Reaped::default());
}

/// Goal: another thread's ring at the door ends a wait, and so does the next one.
#[test]
fn the_doorbell_ends_a_wait() {
    let mut ring = Ring::new(&BufPool::new(), STEP).unwrap();
    for rings in [1, 3, 1] {
        let door = ring.doorbell();
        let other = std::thread::spawn(move || {
            for _ in 0..rings {
                rustix::io::write(&*door, &1_u64.to_ne_bytes()).unwrap();
            }
        });
        other.join().unwrap();
        ring.enter(true).unwrap();
        assert!(ring.reap(&mut Vec::new()).rung);
    }
    ring.enter_for(STEP).unwrap();
    assert!(!ring.reap(&mut Vec::new()).rung);
}

/// Goal: I3. Method: drop our descriptor while a receive is in flight; the other side may
/// see the end only after the receive was cancelled and its completion reaped.
#[test]
fn a_descriptor_stays_open_until_its_operations_ended() {
    let (mut ring, _pool, ours, mut theirs) = connected();
    let key = ring.recv(&ours).unwrap();
    ring.enter(false).unwrap();
    drop(ours);
    theirs.set_nonblocking(true).unwrap();
    let open = theirs.read(&mut [0]).unwrap_err();
    assert_eq!(open.kind(), io::ErrorKind::WouldBlock);
    ring.abandon(key);
    while ring.flying() > 0 {
        turn(&mut ring);
    }
    theirs.set_nonblocking(false).unwrap();
    assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
}

/// Goal: I4. Method: an accept lands and is abandoned, once before it is reaped and once
/// after; the connection must be closed both times.
#[test]
fn a_connection_that_nobody_takes_is_closed() {
    let mut ring = Ring::new(&BufPool::new(), STEP).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let fd = Rc::new(listener.as_fd().try_clone_to_owned().unwrap());
    for reap_first in [false, true] {
        let key = ring.accept(&fd).unwrap();
        let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        ring.enter_for(STEP).unwrap();
        if reap_first {
            while ring.reap(&mut Vec::new()).count == 0 {
                ring.enter_for(STEP).unwrap();
            }
        }
        ring.abandon(key);
        while ring.flying() > 0 {
            turn(&mut ring);
        }
        assert_eq!(theirs.read(&mut [0]).unwrap(), 0);
    }
}

/// Goal: I5. Method: end a ring while receives, a send and an accept are in flight; all that
/// they owned must be back, so nothing was leaked, and the descriptors closed.
#[test]
fn a_ring_ends_when_its_operations_have() {
    let (mut ring, pool, ours, mut theirs) = connected();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = Rc::new(OwnedFd::from(listener));
    ring.accept(&accepting).unwrap();
    ring.recv(&ours).unwrap();
    let block = huge(&pool);
    let size = block.size();
    ring.send(&ours, block, 0, size).unwrap();
    ring.enter(false).unwrap();
    ring.recv(&ours).unwrap(); // not even submitted
    drop(ring);
    assert_eq!(pool.lent(), 0);
    assert_eq!(
        (Rc::strong_count(&ours), Rc::strong_count(&accepting)),
        (1, 1)
    );
    drop(ours);
    assert!(theirs.read_to_end(&mut Vec::new()).is_ok());
}

/// Goal: I6. Method: more receives are ready than there are blocks; those that got none are
/// told so, and get theirs when they ask again. No byte is lost or doubled.
#[test]
fn receives_beyond_the_stock_ask_again() {
    let pool = BufPool::new();
    let mut ring = Ring::new(&pool, STEP).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let pairs: Vec<_> = (0..3 * STOCK)
        .map(|number| {
            let mut theirs = TcpStream::connect(at).unwrap();
            theirs.write_all(&number.to_be_bytes()).unwrap();
            (Rc::new(OwnedFd::from(listener.accept().unwrap().0)), theirs)
        })
        .collect();
    let keys: Vec<_> = pairs
        .iter()
        .map(|(ours, _)| ring.recv(ours).unwrap())
        .collect();
    let mut paused = 0;
    for (number, ((ours, _), mut key)) in pairs.iter().zip(keys).enumerate() {
        let (block, len) = loop {
            match outcome_of(&mut ring, key).unwrap() {
                Landed::Received { block, len, .. } => break (block, len),
                Landed::Paused => {
                    paused += 1;
                    key = ring.recv(ours).unwrap();
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(block.bytes()[..len as usize], number.to_be_bytes());
        ring.abandon(key);
    }
    assert!(paused > 0);
    while ring.flying() > 0 {
        turn(&mut ring);
    }
    assert_eq!(out(&ring, &pool), 0);
}

/// Goal: I6. Method: more receives are abandoned after the kernel had bytes for them than
/// there are blocks; then one that is wanted must get its bytes.
#[test]
fn blocks_of_abandoned_receives_come_back() {
    let (mut ring, pool, ours, mut theirs) = connected();
    for _ in 0..3 * STOCK {
        theirs.write_all(b"lost").unwrap();
        let key = ring.recv(&ours).unwrap();
        ring.enter(false).unwrap();
        ring.abandon(key);
        while ring.flying() > 0 {
            turn(&mut ring);
        }
    }
    assert_eq!(out(&ring, &pool), 0);
    theirs.write_all(b"kept").unwrap();
    let key = ring.recv(&ours).unwrap();
    let got = outcome_of(&mut ring, key).unwrap();
    assert!(matches!(got, Landed::Received { .. }), "{got:?}");
}

/// Goal: I5. Method: end a ring with a receive in flight, take its blocks again, and let the
/// other side send: nothing may change in them.
#[test]
fn nothing_is_written_after_the_end() {
    let (mut ring, pool, ours, mut theirs) = connected();
    ring.recv(&ours).unwrap();
    ring.enter(false).unwrap();
    drop(ring);
    let mut blocks: Vec<_> = (0..STOCK).map(|_| pool.take(SIZE)).collect();
    for block in &mut blocks {
        block.bytes_mut().fill(0xaa);
    }
    theirs.write_all(&[7; 1000]).unwrap();
    let mut arrived = [0; 1000];
    TcpStream::from(Rc::try_unwrap(ours).unwrap())
        .read_exact(&mut arrived)
        .unwrap();
    assert_eq!(arrived, [7; 1000]);
    let mut all = blocks.iter().flat_map(Block::bytes);
    assert!(all.all(|&byte| byte == 0xaa));
}

/// Goal: a ring whose bell is on is not deaf after its doorbell was rung. Method: the doorbell
/// is rung, then bytes arrive; the bell must ring. (From within the wake-up of an eventfd the
/// kernel does not signal another one at once, and while that is pending nothing else does.)
#[test]
fn the_bell_rings_for_the_doorbell() {
    let (mut ring, _pool, ours, mut theirs) = connected();
    let key = ring.recv(&ours).unwrap();
    for round in 0..10 {
        ring.ring_bell(true);
        ring.enter(false).unwrap();
        while ring.reap(&mut Vec::new()) != Reaped::default() {
            ring.enter(false).unwrap();
        }
        let bell = ring.bell().unwrap();
        rustix::io::write(&*ring.doorbell(), b"!").unwrap();
        theirs.write_all(b"x").unwrap();
        let mut fds = [PollFd::new(&bell, PollFlags::IN)];
        let limit = rustix::time::Timespec {
            tv_sec: 5,
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut fds, Some(&limit)).unwrap(), 1, "round {round}");
        rustix::io::read(&bell, &mut [0; 8]).unwrap();
        ring.ring_bell(false);
        let mut has_rung = false;
        for _ in 0..500 {
            has_rung |= turn(&mut ring).rung;
            if has_rung {
                break;
            }
        }
        assert!(has_rung, "round {round}");
    }
    ring.abandon(key);
    while ring.flying() > 0 {
        turn(&mut ring);
    }
}

/// Goal: an entry can only point into the block that it owns.
#[test]
fn a_range_outside_its_block_is_refused() {
    let (mut ring, pool, ours, _theirs) = connected();
    for (start, end) in [(0, 5000), (5000, 5001), (7, 3)] {
        let refused = ring.send(&ours, pool.take(1), start, end).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
    assert_eq!(ring.flying(), 0);
}

/// Goal: an end right behind bytes is told, also when both are there before the receive.
/// Method: bytes with FIN, or with RST, before or after the receive is armed, all before the
/// ring looks again. (With `IORING_RECVSEND_POLL_FIRST` the RST is lost: the kernel takes the
/// bytes for its one readiness and never looks again.)
#[test]
fn an_end_right_behind_bytes_is_told() {
    for (resets, is_armed) in [(false, true), (true, true), (false, false), (true, false)] {
        let (mut ring, _pool, ours, mut theirs) = connected();
        let armed = is_armed.then(|| {
            let key = ring.recv(&ours).unwrap();
            turn(&mut ring);
            key
        });
        theirs.write_all(b"last").unwrap();
        if resets {
            crate::sys::linger::reset_on_close(&theirs).unwrap();
        }
        drop(theirs);
        let key = armed.unwrap_or_else(|| ring.recv(&ours).unwrap());
        let got = outcome_of(&mut ring, key).unwrap();
        assert!(matches!(got, Landed::Received { len: 4, .. }), "{got:?}");
        match outcome_of(&mut ring, key) {
            Ok(Landed::End) => assert!(!resets),
            Err(error) => assert!(resets, "{error}"),
            other => panic!("{other:?}"),
        }
    }
}

/// Goal: a cancellation that the kernel cannot carry out yet is asked again. Method: a send
/// that the socket takes in many pieces is given up in the call that submits it, when the
/// kernel has it on its list of things to do and finds it nowhere else. Nobody reads, so
/// that only the cancellation can end it; its block and its descriptor must come back.
#[test]
fn a_cancellation_that_came_too_early_is_asked_again() {
    for _ in 0..2 {
        let (mut ring, pool, ours, theirs) = connected();
        let block = huge(&pool);
        let size = block.size();
        let key = ring.send(&ours, block, 0, size).unwrap();
        ring.abandon(key);
        for _ in 0..50 {
            if ring.flying() > 0 {
                turn(&mut ring);
            }
        }
        assert_eq!((ring.flying(), out(&ring, &pool)), (0, 0));
        assert_eq!(Rc::strong_count(&ours), 1);
        drop(theirs);
    }
}
