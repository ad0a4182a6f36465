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
    (runs, noise, pieces, any::<bool>()).prop_map(|(runs, noise, pieces, is_chunked)| {
        let mut arrivals: Vec<Vec<u8>> = Vec::new();
        for (kind, words) in runs {
            for (text, number) in words {
                let event = event(kind, &text, number);
                arrivals.push(if is_chunked {
                    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
                } else {
                    event.into_bytes()
                });
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
    for (kind, most) in [(0, 18), (1, 60), (2, 18)] {
        for is_chunked in [true, false] {
            let arrivals: Vec<String> = (0..300)
                .map(|at| {
                    let number = if kind == 1 { at } else { 0 };
                    let event = event(kind, words[at % words.len()], number);
                    if is_chunked {
                        format!("{:x}\r\n{event}\r\n", event.len())
                    } else {
                        event
                    }
                })
                .collect();
            let kept = kept(&arrivals).len();
            let most = if is_chunked { most + 10 } else { most };
            assert!(kept / 300 <= most, "{kind}: {}", kept / 300);
        }
    }
}
