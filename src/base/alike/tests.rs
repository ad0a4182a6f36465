//! What came is told again, and takes little.

use super::*;
use proptest::prelude::*;

/// One of some providers' events, with this text and number.
fn event(kind: usize, text: &str, number: usize) -> String {
    let id = "chatcmpl-CJwWjBkVbXVd3jKcYQxhsL2h5kYvG";
    match kind % 6 {
        0 => format!(
            "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\
             \"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
        ),
        1 => format!(
            "event: response.output_text.delta\ndata: {{\"type\":\"response.output_text.delta\",\
             \"sequence_number\":{number},\"item_id\":\"{id}\",\"delta\":\"{text}\",\
             \"obfuscation\":\"{text}{number}\"}}\n\n"
        ),
        2 => format!(
            "event: content_block_delta\r\ndata: {{\"type\":\"content_block_delta\",\"index\":{number},\
             \"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\r\n\r\n"
        ),
        3 => format!(": ping {number}\n\n"),
        4 => format!("data: {}\n\n", text.repeat(number % 60)),
        _ => format!("{{\"{text}\":{number}}}"),
    }
}

/// An event as a chunk, its size in one of some writings, or bare.
fn framed(framing: usize, event: &str) -> String {
    let size = event.len();
    match framing {
        0 => event.into(),
        1 | 2 => format!("{size:x}\r\n{event}\r\n"),
        3 => format!("{size:X}\r\n{event}\r\n"),
        _ => format!("{size:05x}\r\n{event}\r\n"),
    }
}

/// A stream, as it arrives: runs of events of one kind, framed as chunks or not, in pieces.
pub(in crate::base) fn arrivals() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let text = "( |)([a-zé]{1,9}|\\\\\"[a-z]{1,9}\\\\\"|[a-z ]{90})";
    let run = (
        0_usize..6,
        proptest::collection::vec((text, 0_usize..2000), 1..20),
    );
    let noise = proptest::collection::vec(any::<u8>(), 0..6000);
    let pieces = proptest::collection::vec(1_usize..9000, 1..9);
    let runs = proptest::collection::vec(run, 0..5);
    (runs, noise, pieces, 0_usize..5).prop_map(|(runs, noise, pieces, framing)| {
        let mut arrivals: Vec<Vec<u8>> = Vec::new();
        for (kind, words) in runs {
            for (text, number) in words {
                let event = event(kind, &text, number);
                arrivals.push(framed(framing, &event).into_bytes());
            }
        }
        arrivals.insert(arrivals.len() / 2, noise);
        if pieces.len() % 2 == 0 {
            return arrivals; // each event for itself
        }
        let mut all = &arrivals.concat()[..];
        let mut again = Vec::new();
        for length in pieces.iter().cycle() {
            if all.is_empty() {
                break;
            }
            let (now, later) = all.split_at((*length).min(all.len()));
            again.push(now.to_vec());
            all = later;
        }
        again
    })
}

fn kept(arrivals: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let (mut writer, mut kept) = (Writer::default(), Vec::new());
    for bytes in arrivals {
        writer.put(&mut kept, bytes.as_ref());
    }
    kept
}

proptest! {
    /// Goal: A1, whatever comes, however it is cut, and however it is read. Method: read
    /// whole, and in steps of any size; what is kept is never much more than what came.
    #[test]
    fn what_came_is_told(arrivals in arrivals(), step in 200_usize..5000) {
        let all = arrivals.concat();
        let kept = kept(&arrivals);
        prop_assert!(kept.len() <= all.len() + 3 * arrivals.len() + all.len() / 16);
        let mut told = Vec::new();
        Reader::default().read(&kept[..], 0, usize::MAX, |bytes| told.extend_from_slice(bytes));
        prop_assert_eq!(&told, &all);
        let (mut reader, mut told) = (Reader::default(), Vec::new());
        loop {
            let (at, mut piece) = (told.len(), Vec::new());
            let count = reader.read(&kept, at, step, |bytes| piece.extend_from_slice(bytes));
            prop_assert_eq!(count, piece.len());
            prop_assert!(count == step || at + count == all.len());
            told.extend(piece);
            if count == 0 {
                break;
            }
        }
        prop_assert_eq!(told, all);
    }

    /// Goal: what is said of an arrival is so. Method: arrivals of one shape have the same bytes
    /// around their gaps, and are no longer than is said.
    #[test]
    fn a_shape_is_one(arrivals in arrivals()) {
        let (mut writer, mut kept) = (Writer::default(), Vec::new());
        let mut last: Option<(Shape, Vec<u8>, Vec<u8>)> = None;
        for bytes in &arrivals {
            let Some(alike) = writer.put(&mut kept, bytes) else {
                continue;
            };
            prop_assert_eq!(alike.bytes(), bytes.len());
            let (line, event) = bytes.split_at(usize::from(alike.line));
            let ends = memchr::memchr_iter(b'\n', line).count();
            prop_assert_eq!(ends, usize::from(!line.is_empty()));
            prop_assert_eq!(ends == 1, line.ends_with(b"\n"));
            let (before, rest) = event.split_at(usize::from(alike.shape.before));
            let behind = &rest[usize::from(alike.fresh)..];
            if let Some((shape, front, back)) = &last && *shape == alike.shape {
                prop_assert_eq!((&front[..], &back[..]), (before, behind));
            }
            last = Some((alike.shape, before.to_vec(), behind.to_vec()));
        }
    }

    /// Goal: what was never put is read without harm.
    #[test]
    fn noise_is_read(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut told = 0_usize;
        let mut reader = Reader::default();
        let count = reader.read(&noise[..], 0, 1 << 20, |bytes| told += bytes.len());
        prop_assert_eq!(count, told);
    }
}

/// Goal: streams of all kinds become small. Method: 300 events each of short words; bytes
/// kept an event, framing included.
#[test]
fn streams_become_small() {
    let words = [
        "a",
        " the",
        " blue",
        ",",
        " \\\"x\\\"",
        " something",
        ".",
        " and",
    ];
    for (kind, most) in [(0, 6), (1, 40), (2, 6)] {
        for framing in [0, 1, 3] {
            let arrivals: Vec<String> = (0..300)
                .map(|at| {
                    let number = if kind == 1 { at } else { 0 };
                    framed(framing, &event(kind, words[at % words.len()], number))
                })
                .collect();
            let kept = kept(&arrivals).len();
            assert!(kept / 300 <= most, "{kind}: {}", kept / 300);
        }
    }
}

/// Goal: a chunk's size is known in the two writings that are told again, and in no other.
#[test]
fn a_size_is_told_as_it_was_written() {
    for size in [
        1,
        9,
        10,
        15,
        16,
        171,
        255,
        256,
        2047,
        6144,
        0xabcd,
        usize::MAX,
    ] {
        for is_capital in [false, true] {
            let line = SizeLine::of(size, is_capital);
            let text = if is_capital {
                format!("{size:X}\r\n")
            } else {
                format!("{size:x}\r\n")
            };
            assert_eq!(line.bytes(), text.as_bytes());
            let told = is_size_line(line.bytes(), size);
            let has_letters = text.contains(|digit: char| digit.is_ascii_alphabetic());
            assert_eq!(told, Some(is_capital && has_letters), "{text}");
            assert_eq!(is_size_line(line.bytes(), size - 1), None);
        }
    }
    for line in [
        "", "\r\n", "0ab\r\n", "aB\r\n", "ab\n", "ab", "ab;x\r\n", " ab\r\n", "g\r\n",
    ] {
        assert_eq!(is_size_line(line.as_bytes(), 0xab), None, "{line:?}");
    }
}

/// Goal: what both end with is counted. Method: every pair of short strings around a longer end.
#[test]
fn common_ends_are_counted() {
    for behind in [0, 1, 15, 16, 17, 40] {
        let end = "y".repeat(behind);
        for (one, other) in [("", ""), ("a", ""), ("ab", "cb"), ("xa", "xb"), ("a", "ab")] {
            let same = one.bytes().rev().zip(other.bytes().rev());
            let same = same.take_while(|(one, other)| one == other).count();
            let [one, other] = [one, other].map(|front| format!("{front}{end}"));
            let count = writer::common_end(one.as_bytes(), other.as_bytes());
            assert_eq!(count, behind + same, "{one} {other}");
        }
    }
}
