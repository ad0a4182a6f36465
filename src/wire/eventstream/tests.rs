//! Frames of our own, and one out of AWS's description of the format.

use super::*;
use crate::base::bufpool::BufPool;

fn written(frames: &[(&str, &[&[u8]])]) -> Vec<u8> {
    let mut tx = TxBuf::new(&BufPool::new());
    for (event, parts) in frames {
        put_event(&mut tx, event, parts);
    }
    tx.unsent().to_vec()
}

fn ends(pieces: &[&[u8]]) -> Vec<usize> {
    let (mut splitter, mut base, mut found) = (Splitter::default(), 0, Vec::new());
    for piece in pieces {
        splitter.feed(piece, |end| found.push(base + end)).unwrap();
        base += piece.len();
    }
    assert_eq!(
        splitter.between_frames(),
        found.last() == Some(&base) || base == 0
    );
    found
}

/// Goal: the bytes on the wire are AWS's. Method: the test vectors of the AWS SDKs, "empty
/// message" and "payload, one int32 header".
#[test]
fn known_frames_are_read() {
    let empty = [
        0, 0, 0, 0x10, 0, 0, 0, 0, 0x05, 0xc2, 0x48, 0xeb, 0x7d, 0x98, 0xc8, 0xff,
    ];
    assert_eq!(frame(&empty), Ok(Frame::default()));
    let mut tx = TxBuf::new(&BufPool::new());
    put_frame(&mut tx, &[], &[]);
    assert_eq!(tx.unsent(), empty);

    let int32 = b"\0\0\0\x2d\0\0\0\x10\x41\xc4\x24\xb8\x0aevent-type\x04\0\0\xa0\x0c\
                  {'foo':'bar'}\x36\xf4\x80\xa0";
    assert_eq!(frame(int32).unwrap().payload, b"{'foo':'bar'}");
}

/// Goal: I1, I4. Method: a stream of three frames, cut at every pair of places, gives the ends
/// that it gives uncut, and every frame reads back.
#[test]
fn cutting_a_stream_changes_nothing() {
    let stream = written(&[
        ("a", &[b"{}"]),
        ("messageStop", &[]),
        ("b", &[b"{\"x\"", b":1}"]),
    ]);
    let want = ends(&[&stream]);
    assert_eq!(want.len(), 3);
    for i in 0..=stream.len() {
        for j in i..=stream.len() {
            let pieces = [&stream[..i], &stream[i..j], &stream[j..]];
            assert_eq!(ends(&pieces), want, "cut at {i} and {j}");
        }
    }
    let last = frame(&stream[want[1]..]).unwrap();
    assert_eq!(
        (last.event, last.payload),
        (Some(&b"b"[..]), &b"{\"x\":1}"[..])
    );
    assert_eq!(last.content_type, Some(&b"application/json"[..]));
    assert!(!last.is_failure());
}

/// Goal: no flipped bit goes unseen, and nothing panics. Method: every bit of a frame.
#[test]
fn a_flipped_bit_is_seen() {
    let stream = written(&[("event", &[b"{\"text\":\"hello\"}"])]);
    for at in 0..stream.len() * 8 {
        let mut bad = stream.clone();
        bad[at / 8] ^= 1 << (at % 8);
        assert!(frame(&bad).is_err(), "bit {at}");
        let mut splitter = Splitter::default();
        let end = splitter.next_end(&bad);
        assert_eq!(end.is_err(), at < 12 * 8, "bit {at}");
    }
    for end in 0..stream.len() {
        assert!(frame(&stream[..end]).is_err());
    }
}

/// Goal: I3; and lengths that contradict each other are a fault.
#[test]
fn a_frame_beyond_the_limit_is_a_fault_at_its_prelude() {
    let prelude_of = |total: u32, headers: u32| {
        let mut bytes = [total.to_be_bytes(), headers.to_be_bytes()].concat();
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    };
    let limit = 1000;
    let next = |bytes: &[u8]| Splitter::new(limit).next_end(bytes);
    assert_eq!(next(&prelude_of(1000, 0)), Ok(None));
    assert_eq!(
        next(&prelude_of(1001, 0)),
        Err(FrameFault::TooLong { limit })
    );
    assert_eq!(
        next(&prelude_of(u32::MAX, 0)),
        Err(FrameFault::TooLong { limit })
    );
    assert_eq!(next(&prelude_of(15, 0)), Err(FrameFault::Lengths));
    assert_eq!(next(&prelude_of(16, 1)), Err(FrameFault::Lengths));
    assert_eq!(next(&prelude_of(100, 85)), Err(FrameFault::Lengths));
}

/// Goal: headers of every type are stepped over, and exceptions are told from events.
#[test]
fn headers_of_every_type_are_stepped_over() {
    let mut headers = Vec::new();
    for (kind, value) in [
        (0, &[][..]),
        (1, &[]),
        (2, &[1]),
        (3, &[1; 2]),
        (4, &[1; 4]),
        (5, &[1; 8]),
        (6, b"\0\x03abc"),
        (8, &[1; 8]),
        (9, &[1; 16]),
        (7, b"\0\x13throttlingException"),
    ] {
        let name: &[u8] = if kind == 7 {
            b":exception-type"
        } else {
            b":event-type"
        };
        headers.push(u8::try_from(name.len()).unwrap());
        headers.extend(name);
        headers.push(kind);
        headers.extend(value);
    }
    let mut bytes = be32(16 + headers.len()).to_vec();
    bytes.extend(be32(headers.len()));
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes.extend(&headers);
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    let read = frame(&bytes).unwrap();
    assert_eq!(read.name(), Some(&b"throttlingException"[..]));
    assert_eq!(read.event, None);
    assert!(read.is_failure());

    let mut tx = TxBuf::new(&BufPool::new());
    put_exception(&mut tx, "validationException", &[b"{}"]);
    let read = frame(tx.unsent()).unwrap();
    assert_eq!(read.message, Some(&b"exception"[..]));
    assert_eq!(read.name(), Some(&b"validationException"[..]));
}
