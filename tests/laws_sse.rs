//! Laws of the event-stream splitter and reader: cutting a stream changes nothing, the
//! vectors read as their manifest says, and recorded streams, however broken, never panic.
//!
//! The corpora are found by the variable `SHARDGATE_SHARED`, else next to the repository;
//! the tests that need them fail without them.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic, its helpers included"
)]

mod suites;

use proptest::prelude::*;
use serde_json::Value;
use shardgate::dialect::openai::chunk::look;
use shardgate::wire::sse::reader::{EventTooLarge, Reader};
use shardgate::wire::sse::{Splitter, frame};
use suites::shared;

/// An event as the manifest writes it: type, data, id.
type Told = (String, String, String);

fn read(parts: &[&[u8]]) -> Vec<Told> {
    let (mut reader, mut told) = (Reader::default(), Vec::new());
    for part in parts {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fed = reader.feed(part, |e| {
            told.push((text(e.event), text(e.data), text(e.id)));
        });
        fed.unwrap();
    }
    told
}

fn ends(parts: &[&[u8]]) -> Vec<usize> {
    let (mut splitter, mut found, mut before) = (Splitter::new(), Vec::new(), 0);
    for part in parts {
        splitter.feed(part, |end| found.push(before + end));
        before += part.len();
    }
    found
}

/// The vectors: name, stream, events.
fn vectors() -> Vec<(String, Vec<u8>, Vec<Told>)> {
    let folder = shared("reliability/corpus/sse");
    let manifest = std::fs::read(folder.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let cases = manifest["cases"].as_array().unwrap().iter();
    cases
        .map(|case| {
            let events = case["expected"].as_array().unwrap().iter();
            let events = events.map(|e| (text(&e["event"]), text(&e["data"]), text(&e["id"])));
            let stream = std::fs::read(folder.join(case["file"].as_str().unwrap())).unwrap();
            (text(&case["name"]), stream, events.collect())
        })
        .collect()
}

/// The cuts to try: every pair of places for a short stream; for a longer one every single
/// place, for a very long one some 300 of them, and sampled pairs for both.
fn cuts(len: usize) -> Vec<(usize, usize)> {
    if len <= 300 {
        return (0..=len)
            .flat_map(|i| (i..=len).map(move |j| (i, j)))
            .collect();
    }
    let stride = if len <= 64 << 10 { 1 } else { (len / 150) | 1 };
    let singles = (0..=len).step_by(stride).map(|i| (i, i));
    let pairs = (0..150).map(|k| {
        let (i, j) = (k * 7_919_777 % (len + 1), k * 104_729_143 % (len + 1));
        (i.min(j), i.max(j))
    });
    singles.chain(pairs).collect()
}

/// Goal: all vectors read as the manifest says, whole, byte by byte, and cut (see [`cuts`]).
#[test]
fn the_vectors_read_as_their_manifest_says_however_cut() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 49);
    for (name, stream, want) in vectors {
        assert_eq!(read(&[&stream]), want, "{name}");
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(read(&bytes), want, "{name}, byte by byte");
        for (i, j) in cuts(stream.len()) {
            let got = read(&[&stream[..i], &stream[i..j], &stream[j..]]);
            assert!(got == want, "{name} cut at {i} and {j}: {got:.200?}");
        }
    }
}

/// Goal: I1 of the splitter. Method: every stream, cut at every pair of places, must give
/// the ends that it gives uncut.
#[test]
fn cutting_a_stream_changes_nothing() {
    let streams: [(&[u8], &[usize]); 10] = [
        (b"data: a\n\ndata: b\n\n", &[9, 18]),
        (b"data: a\r\n\r\nid: 1\r\rdata: b\n\n", &[10, 18, 27]),
        (b": comment only\n\n\n", &[16, 17]),
        (b"data: never ends", &[]),
        (b"\n\r\r\n\n", &[1, 2, 3, 5]),
        (b"\xEF\xBB\xBF\ndata: a\n\n", &[4, 13]),
        (b"\xEF\xBB\xBFdata: a\n\n", &[12]),
        (b"\xEF\xBB\n\n", &[4]),
        (b"\xEF\r\n\n", &[4]),
        (b"data: a\n\n\xEF\xBB\xBF\n\n", &[9, 14]),
    ];
    for (stream, want) in streams {
        for (i, j) in cuts(stream.len()) {
            let got = ends(&[&stream[..i], &stream[i..j], &stream[j..]]);
            assert_eq!(got, want, "{} cut at {i} and {j}", stream.escape_ascii());
        }
    }
    for (name, stream, _) in vectors() {
        let want = ends(&[&stream]);
        for (i, j) in cuts(stream.len()) {
            let got = ends(&[&stream[..i], &stream[i..j], &stream[j..]]);
            assert!(got == want, "{name} cut at {i} and {j}");
        }
    }
}

/// The data of each event, by splitter and frame.
fn framed(stream: &[u8]) -> Vec<Vec<u8>> {
    let (mut from, mut out, mut scratch) = (0, Vec::new(), Vec::new());
    for end in ends(&[stream]) {
        let frame = frame(&stream[from..end]);
        assert_eq!(frame.data_lines() > 0, frame.data(&mut scratch).is_some());
        if let Some(data) = frame.data(&mut scratch) {
            out.push(data.to_vec());
        }
        from = end;
    }
    out
}

fn dispatched(stream: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut reader = Reader::default();
    reader
        .feed(stream, |event| out.push(event.data.to_vec()))
        .unwrap();
    out
}

/// Goal: splitter and frame see exactly the events that a client's reader dispatches.
#[test]
fn the_relay_sees_what_a_client_sees() {
    for (name, stream, _) in vectors() {
        // Here a byte order mark stands within the stream and makes an unknown field for the
        // client; `frame`, which cannot know where its bytes stood, skips it.
        if name == "bom_mid" {
            continue;
        }
        assert!(framed(&stream) == dispatched(&stream), "{name}");
    }
    for (path, stream) in recorded() {
        assert!(framed(&stream) == dispatched(&stream), "{path}");
    }
}

fn recorded() -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    let mut folders = vec![shared("wire/recorded")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "sse") {
                out.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    out.sort();
    assert!(out.len() > 100);
    out
}

/// Goal: what a frame says of events that are not plain data.
#[test]
fn a_frame_says_what_an_event_is() {
    let comment = frame(b": OPENROUTER PROCESSING\n\n");
    assert!(comment.is_comment_only() && !comment.is_empty());
    let blank = frame(b"\n\n");
    assert!(blank.is_empty() && !blank.is_comment_only());
    let named = frame(b"\nevent: ping\r\ndata: 1\r\n: x\r\ndata:2\r\n\r");
    assert_eq!(named.event, Some(&b"ping"[..]));
    assert_eq!(named.data(&mut Vec::new()), Some(&b"1\n2"[..]));
    assert!(named.comment && named.field && named.error.is_none());
    let failed = frame(b"error: {\"code\":500}\n\n");
    assert_eq!(failed.error, Some(&b"{\"code\":500}"[..]));
    assert_eq!(failed.data(&mut Vec::new()), None);
    let single = b"data: {\"a\":1}\n\n";
    let mut scratch = Vec::new();
    let borrowed = frame(single).data(&mut scratch).unwrap().as_ptr();
    assert_eq!(borrowed, single[6..].as_ptr(), "one data line is borrowed");
}

/// Goal: a stream that stops within an event is told from one that stops between two.
#[test]
fn a_stream_cut_within_an_event_is_known() {
    for (stream, between) in [
        (&b""[..], true),
        (b"data: a\n\n", true),
        (b"data: a\r\n\r", true),
        (b"data: a\r\n\r\n", true),
        (b"data: a\n", false),
        (b"data: a\r", false),
        (b"data: a\n\nd", false),
        (b"\xEF\xBB", false),
    ] {
        let mut splitter = Splitter::new();
        splitter.feed(stream, |_| ());
        assert_eq!(
            splitter.between_events(),
            between,
            "{}",
            stream.escape_ascii()
        );
    }
}

/// Goal: the reader keeps `retry`, and refuses an event beyond its limit instead of growing.
#[test]
fn the_reader_keeps_retry_and_its_limit() {
    let mut reader = Reader::new(16);
    reader
        .feed(
            b"retry: 10\nretry: x\nretry: 99999999999999999999\n",
            |_| (),
        )
        .unwrap();
    assert_eq!(reader.retry_ms(), Some(10));
    assert!(reader.between_events());
    for broken in [
        &b"data: 0123456789abcdef"[..],
        b"data:01234567\ndata:01234567\n",
    ] {
        let got = Reader::new(16).feed(broken, |_| ());
        assert_eq!(got, Err(EventTooLarge { limit: 16 }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Goal: the relay's view is the client's, and cutting changes neither, on streams made
    /// of the bytes that matter.
    #[test]
    fn random_streams_are_seen_alike(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "\n", "\r", "\r\n", "data", ":", " ", "data: x", "event: e", "id: 1", "\u{feff}",
                ":c", "y", "\n\n", "error: z",
            ]),
            0..30,
        ),
        cut in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let stream = words.concat().into_bytes();
        let (i, j) = (cut.0.index(stream.len() + 1), cut.1.index(stream.len() + 1));
        let (i, j) = (i.min(j), i.max(j));
        let parts = [&stream[..i], &stream[i..j], &stream[j..]];
        prop_assert_eq!(ends(&parts), ends(&[&stream]));
        prop_assert_eq!(read(&parts), read(&[&stream]));
        // A byte order mark within the stream makes an unknown field for the client; `frame`,
        // which cannot know where it stands, skips it.
        if !words.iter().skip(1).any(|w| *w == "\u{feff}") {
            prop_assert_eq!(framed(&stream), dispatched(&stream));
        }
    }

    /// Goal: recorded streams, edited at random and fed in random pieces, never panic, and
    /// the cuts change nothing.
    #[test]
    fn edited_recordings_never_panic(
        file in any::<prop::sample::Index>(),
        edits in prop::collection::vec(any::<(prop::sample::Index, u8, bool)>(), 1..20),
        piece in 1_usize..2000,
    ) {
        thread_local!(static FILES: Vec<(String, Vec<u8>)> = recorded());
        let mut stream = FILES.with(|files| file.get(files).1.clone());
        stream.truncate(20_000);
        for (at, byte, remove) in edits {
            if stream.is_empty() { break; }
            let at = at.index(stream.len());
            if remove { stream.remove(at); } else { stream[at] = byte; }
        }
        let parts: Vec<&[u8]> = stream.chunks(piece).collect();
        prop_assert_eq!(ends(&parts), ends(&[&stream]));
        for data in framed(&stream) {
            let facts = look(&data);
            prop_assert!(facts.is_json || facts == look(b"") || facts.done);
        }
        prop_assert_eq!(read(&parts), read(&[&stream]));
    }
}
