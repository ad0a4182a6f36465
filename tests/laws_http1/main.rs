//! Laws of the HTTP/1.1 room: cutting changes nothing, the request corpus behaves as its
//! manifest says, accepted heads survive being written again, the chunk decoder equals a
//! naive one, and no bytes make anything panic.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod connection;
mod corpus;
#[path = "../suites/mod.rs"]
mod suites;

use proptest::collection::vec;
use proptest::prelude::*;
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::wire::http1::{
    Chunked, END_OF_HEAD, Framing, HeadLimits, LAST_CHUNK, Method, ResponseReader, put_chunk,
    put_field, put_request_line,
};

use connection::{End, read};
use corpus::{BODY, corpus, find};

/// Cases whose head and framing are sound, and which the exchange refuses: for the method, the
/// path, the content coding, the body or the key.
const FOR_THE_EXCHANGE: [&str; 17] = [
    "a-basic",
    "a-case",
    "a-empty",
    "a-none",
    "a-query",
    "a-sp",
    "a-sqli2",
    "a-suffix",
    "a-xff-local",
    "d-double-body-json",
    "f-content-encoding-lie",
    "q-abs-noslash",
    "q-connect",
    "q-connect-local",
    "q-method-prefix",
    "q-method-unknown",
    "q-trace",
];

/// Goal: 100 % of both classes of the manifest, as far as the wire decides. Method: every
/// case is read whole; "ok" must give all its messages, with the body where the template has
/// the plain one; "reject" must be refused with one of the manifest's statuses before any
/// message, but for the few cases that the exchange refuses, or that only the end of the
/// connection breaks; no case gives more messages than it holds.
#[test]
fn the_request_corpus_behaves_as_its_manifest_says() {
    let mut faults = Vec::new();
    for case in corpus() {
        let (messages, end) = read(&[&case.raw]);
        let statuses = match &end {
            End::Refused(status, _) => Some(case.statuses.contains(&u64::from(*status))),
            _ => None,
        };
        let has_plain_body = find(&case.template, b"{{B}}").is_some() && case.messages == 1;
        for class in [&case.rfc, &case.ideal] {
            let is_good = match class.as_str() {
                "ok" => {
                    messages.len() == case.messages
                        && matches!(end, End::Clean | End::Closed)
                        && (!has_plain_body || messages[0].body == BODY)
                }
                "reject" if end == End::Incomplete => case.half_close,
                "reject" => {
                    let is_for_the_exchange = FOR_THE_EXCHANGE.contains(&case.id.as_str());
                    match statuses {
                        None => is_for_the_exchange && messages.len() == 1,
                        Some(is_listed) => is_listed && messages.is_empty(),
                    }
                }
                "close" => {
                    case.is_slow
                        || case.id == "x-rst-after"
                        || messages.is_empty() && end != End::Clean
                }
                "first_ok_then_reject" => messages.len() == 1 && statuses.is_some(),
                "either" | "any" | "okclose" => statuses != Some(false),
                other => panic!("{}: what is class {other}?", case.id),
            };
            if !is_good || messages.len() > case.messages {
                let heads = messages.iter().map(|m| (m.method, m.framing));
                let heads: Vec<_> = heads.collect();
                faults.push(format!("{} is to be {class}: {heads:?} {end:?}", case.id));
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} faults\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// Goal: cutting changes nothing, on all the corpus. Method: every case up to 700 bytes, cut
/// at every place, and byte by byte.
#[test]
fn cutting_a_case_of_the_corpus_changes_nothing() {
    for case in corpus().iter().filter(|case| case.raw.len() <= 700) {
        let raw = &case.raw;
        let want = read(&[raw]);
        for cut in 0..raw.len() {
            assert_eq!(
                read(&[&raw[..cut], &raw[cut..]]),
                want,
                "{} cut at {cut}",
                case.id
            );
        }
        let bytes: Vec<_> = raw.chunks(1).collect();
        assert_eq!(read(&bytes), want, "{} byte by byte", case.id);
    }
}

// ---------------------------------------------------------------- cuts

/// Goal: cutting a request at every pair of places changes neither messages nor error.
#[test]
fn cutting_a_request_at_two_places_changes_nothing() {
    let requests: [&[u8]; 12] = [
        b"\r\n\r\nGET /a?b HTTP/1.1\r\nHost: c\r\nX-D:  e \r\n\r\nGET / HTTP/1.1\r\nHost: f\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab\r\n\r\r\nPOST",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nabc\r\n0\r\n\r\nG",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x\r\n\r\n0\r\nX: y\r\n\r\nG",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nPOST / HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nX : b\r\nY: \0\r\n\r\n",
        b"POST / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\rPOST / HTTP/1.1\r\n\r\n",
    ];
    for request in requests {
        let want = read(&[request]);
        for i in 0..=request.len() {
            for j in i..=request.len() {
                let got = read(&[&request[..i], &request[i..j], &request[j..]]);
                assert_eq!(got, want, "{} cut at {i} and {j}", request.escape_ascii());
            }
        }
    }
}

/// Goal: the same for response heads.
#[test]
fn cutting_a_response_at_two_places_changes_nothing() {
    let responses: [&[u8]; 7] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX:  y \r\n\r\n{}",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 503\r\nRetry-After:\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nb\r\n\r\n",
        b"HTTP/1.1 700 OK\r\n\r\n",
        b"{\"error\":1}",
    ];
    let read = |cuts: [usize; 3], bytes: &[u8]| {
        let mut reader = ResponseReader::new(HeadLimits::RESPONSE, Method::Post);
        let mut got = Ok(None);
        for cut in cuts {
            got = reader.push(&bytes[..cut]);
            if got != Ok(None) {
                break;
            }
        }
        got
    };
    for bytes in responses {
        let len = bytes.len();
        let want = read([len; 3], bytes);
        for i in 0..=len {
            for j in i..=len {
                let got = read([i, j, len], bytes);
                assert_eq!(got, want, "{} cut at {i} and {j}", bytes.escape_ascii());
            }
        }
    }
}

/// Body and rest, or that the body goes on, or the error.
fn decode(pieces: &[&[u8]]) -> Result<(Vec<u8>, Option<Vec<u8>>), String> {
    let (mut decoder, mut body, mut rest) = (Chunked::new(), Vec::new(), None::<Vec<u8>>);
    for piece in pieces {
        if let Some(rest) = &mut rest {
            rest.extend_from_slice(piece);
            continue;
        }
        let mut buf = piece.to_vec();
        let got = decoder
            .decode(&mut buf)
            .map_err(|error| error.to_string())?;
        body.extend_from_slice(&buf[..got.data]);
        assert!(got.done || got.used == buf.len());
        rest = got.done.then(|| buf[got.used..].to_vec());
    }
    Ok((body, rest))
}

/// Goal: cutting a chunked body at every pair of places changes nothing.
#[test]
fn cutting_a_chunked_body_at_two_places_changes_nothing() {
    let bodies: [&[u8]; 9] = [
        b"4\r\nWiki\r\n5 ; a = \"b\\\"\" ;c\r\npedia\r\n00\r\nA: b\r\nC:\t d\r\n\r\nGET / HTTP/1.1\r\n",
        b"0\r\n\r\n0\r\n\r\n",
        b"a\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n",
        b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"3;x\nabc\r\n0\r\n\r\n",
        b"3\r\nabc\r0\r\n\r\n",
        b"3\r\nabc\r\n0\r\nX y: z\r\n\r\n",
        b"00000000000000003\r\nabc\r\n0\r\n\r\n",
    ];
    for wire in bodies {
        let want = decode(&[wire]);
        for i in 0..=wire.len() {
            for j in i..=wire.len() {
                let got = decode(&[&wire[..i], &wire[i..j], &wire[j..]]);
                assert_eq!(got, want, "{} cut at {i} and {j}", wire.escape_ascii());
            }
        }
    }
}

// ---------------------------------------------------------------- any bytes

/// A decoder that needs the whole body and copies: the meaning, without the cleverness.
/// Without extensions and trailers.
fn naive(mut wire: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let end = find(wire, b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&wire[..end]).ok()?, 16).ok()?;
        let (data, rest) = wire[end + 2..].split_at_checked(size)?;
        body.extend_from_slice(data);
        wire = rest.strip_prefix(b"\r\n")?;
        if size == 0 {
            return Some((body, wire));
        }
    }
}

/// Bytes that are likely to be near HTTP.
fn near_http() -> impl Strategy<Value = Vec<u8>> {
    let words: [&[u8]; 26] = [
        b"GET ",
        b"POST / HTTP/1.1\r\n",
        b" HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0",
        b"Host: a\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\r",
        b"\n",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"\xff",
        b"X: y\r\n",
        b"/v1?q",
        b"%2",
        b"http://h",
        b"abc",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"Connection: close\r\n",
        b"Expect: ",
    ];
    let word = proptest::sample::select(words.map(<[u8]>::to_vec).to_vec());
    let any = vec(any::<u8>(), 0..4);
    vec(prop_oneof![8 => word, 1 => any], 0..14).prop_map(|parts| parts.concat())
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|pair| &bytes[pair[0]..pair[1]])
        .collect()
}

proptest! {
    /// Goal: no bytes make anything panic, and no cut makes a difference.
    #[test]
    fn any_bytes_are_read_the_same_however_cut(
        bytes in prop_oneof![near_http(), vec(any::<u8>(), 0..80)],
        cuts in vec(any::<usize>(), 0..6),
    ) {
        let pieces = pieces(&bytes, &cuts);
        prop_assert_eq!(read(&pieces), read(&[&bytes]));
        prop_assert_eq!(decode(&pieces), decode(&[&bytes]));
        let mut reader = ResponseReader::new(HeadLimits::RESPONSE, Method::Head);
        if let Ok(Some(head)) = reader.push(&bytes) {
            prop_assert!(head.len <= bytes.len());
            prop_assert!(head.fields(&bytes).all(|(name, _)| !name.is_empty()));
        }
    }

    /// Goal: a head that was accepted, written again from its parts, reads as the same message.
    #[test]
    fn an_accepted_head_survives_being_written_again(bytes in near_http()) {
        let start = b"POST /v1/x?y HTTP/1.1\r\nHost: h\r\nX-A: \t b c \xe9\r\nX-Empty:\r\n";
        for bytes in [bytes.clone(), [&start[..], &bytes[..], b"\r\n\r\n"].concat()] {
            let (messages, _) = read(&[&bytes]);
            for message in messages {
                let method = message.method.name();
                if method == "OTHER" {
                    continue;
                }
                let mut tx = TxBuf::new(&BufPool::new());
                prop_assert!(put_request_line(&mut tx, method, &message.target));
                for (name, value) in &message.fields {
                    prop_assert!(put_field(&mut tx, name, value));
                }
                tx.put(END_OF_HEAD);
                if message.framing == Framing::Chunked {
                    put_chunk(&mut tx, &[&message.body]);
                    tx.put(LAST_CHUNK);
                } else {
                    tx.put(&message.body);
                }
                let (again, _) = read(&[tx.unsent()]);
                // The line says HTTP/1.1; a message of 1.0 may lack what 1.1 needs.
                if let Some(again) = again.first() {
                    prop_assert_eq!(again, &message);
                } else {
                    prop_assert!(find(&bytes, b"HTTP/1.0").is_some());
                }
            }
        }
    }

    /// Goal: the decoder gives what a naive one gives. Method: random chunks, random cuts, and
    /// now and then a random byte changed.
    #[test]
    fn the_decoder_equals_a_naive_one(
        chunks in vec(vec(any::<u8>(), 1..40), 0..8),
        damage in proptest::option::weighted(0.5, (any::<usize>(), any::<u8>())),
        cuts in vec(any::<usize>(), 0..8),
    ) {
        let mut tx = TxBuf::new(&BufPool::new());
        for chunk in &chunks {
            let (a, b) = chunk.split_at(chunk.len() / 2);
            put_chunk(&mut tx, &[a, b]);
        }
        tx.put(LAST_CHUNK);
        tx.put(b"rest");
        let mut wire = tx.unsent().to_vec();
        if let Some((at, byte)) = damage {
            let at = at % wire.len();
            wire[at] = byte;
        } else {
            prop_assert_eq!(naive(&wire), Some((chunks.concat(), &b"rest"[..])));
        }
        let got = decode(&pieces(&wire, &cuts));
        match naive(&wire) {
            Some((body, rest)) if !wire.contains(&b'+') => {
                prop_assert_eq!(got, Ok((body, Some(rest.to_vec()))));
            }
            _ => {
                // The naive one knows neither extensions nor trailers, and takes a sign.
                let is_beyond_it = wire.contains(&b';') || wire.contains(&b':');
                let is_whole = matches!(got, Ok((_, Some(_))));
                prop_assert!(!is_whole || is_beyond_it || wire.contains(&b'+'));
            }
        }
    }
}
