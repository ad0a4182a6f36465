//! Whether recorded answers are worth storing, against what their readers say.

use super::recorded::recordings;
use super::shapes::{ALL, is_a, stream_of};
use shardgate::dialect::events::Wire;
use shardgate::dialect::model::{Answer, Block, Dialect, Stop};
use shardgate::dialect::speak;
use shardgate::dialect::whole;
use shardgate::dialect::worth::{Why, Worth, of_plain, of_stream};
use std::collections::BTreeSet;

/// What an answer says of it.
fn of_answer(answer: &Answer) -> (Why, bool) {
    let has = |is: fn(&Block) -> bool| answer.blocks.iter().any(is);
    let has_calls = has(|block| matches!(block, Block::Call(_)));
    let why = match answer.stop {
        _ if has(|block| matches!(block, Block::Refusal(_))) => Why::Refusal,
        Stop::End | Stop::Sequence => Why::Stop,
        Stop::Tool => Why::Tool,
        Stop::Length => Why::Length,
        Stop::Context => Why::Context,
        Stop::Filtered => Why::Filtered,
        Stop::Pause | Stop::Malformed => Why::Other,
    };
    (why, has_calls)
}

/// Whether there is anything in it but empty texts.
fn says_something(answer: &Answer) -> bool {
    let is_empty = |block: &Block| matches!(block, Block::Text { text, .. } if text.is_empty());
    !answer.blocks.iter().all(is_empty)
}

/// The same reason, as far as an answer's stop tells it: readers say that a tool is to be run
/// when there are calls, that a word which nobody knows is an end, and have one word for who
/// declines.
fn agrees(worth: Worth, answer: &Answer) -> bool {
    let (why, has_calls) = of_answer(answer);
    let Some(stop) = worth.stop else {
        return false;
    };
    let is_same = match why {
        Why::Tool | Why::Stop => matches!(stop, Why::Stop | Why::Tool | Why::Other),
        Why::Refusal | Why::Filtered => matches!(stop, Why::Refusal | Why::Filtered),
        why => stop == why,
    };
    let declines = worth.stop == Some(Why::Refusal); // perhaps without a word
    let is_said = worth.has_content == (declines || says_something(answer));
    is_same && is_said && worth.has_calls == has_calls && !worth.has_error
}

/// Goal: recorded plain answers have the facts that their readers find, and errors are none.
#[test]
fn recorded_answers_have_their_facts() {
    let mut without = BTreeSet::new();
    for (dialect, protocol, _, _) in ALL {
        for recording in recordings(&[protocol]) {
            let path = &recording.path;
            if !is_a(path, "json") {
                continue;
            }
            let worth = of_plain(dialect, &recording.body);
            match speak::answer(dialect, &recording.body) {
                // An answer that does not say why it ended is not believed to be whole.
                Ok(_) if worth.stop.is_none() => {
                    assert!(!worth.complete, "{path}");
                    without.insert(path.clone());
                }
                Ok(answer) => {
                    let is_right = worth.complete && agrees(worth, &answer);
                    assert!(is_right, "{path} {worth:?} {:?}", of_answer(&answer));
                }
                Err(_) => assert!(!worth.complete, "{path} {worth:?}"),
            }
        }
    }
    assert!(without.len() <= 9, "{without:#?}");
}

/// Goal: recorded streams have the facts that their steps tell, and none that is cut is
/// complete. Method: cut at every byte of the short ones, and around the ends of others.
#[test]
fn recorded_streams_have_their_facts() {
    let mut told = 0;
    for (dialect, _, protocol, _) in ALL {
        for recording in recordings(&[protocol]) {
            let Some((wire, body)) = stream_of(dialect, &recording) else {
                continue;
            };
            let path = &recording.path;
            let worth = of_stream(dialect, wire, &body);
            if let Ok(answer) = whole::of_stream(dialect, wire, &body) {
                // One that does not say why it ended, or that it has, is not believed to be whole.
                let is_open =
                    wire == Wire::Lines && body.split(|&b| b == b'\n').rev().nth(1) != Some(b"");
                let has_mark =
                    dialect != Dialect::Chat || memchr::memmem::find(&body, b"[DONE]").is_some();
                let is_whole = worth.stop.is_some() && has_mark && !is_open;
                let is_right = worth.complete && agrees(worth, &answer);
                assert!(
                    is_right || !is_whole,
                    "{path} {worth:?} {:?}",
                    of_answer(&answer)
                );
                told += usize::from(worth.complete);
            }
            if !worth.complete {
                continue;
            }
            // Gemini has no end marker: the reason to end is the end.
            let end = match dialect {
                Dialect::Gemini => {
                    let find = |what: &str| memchr::memmem::find(&body, what.as_bytes());
                    find("finishReason")
                        .or_else(|| find("blockReason"))
                        .unwrap()
                }
                // A comment may follow.
                _ if wire == Wire::Lines => {
                    let last = memchr::memmem::rfind(&body, b"data:").unwrap();
                    last + memchr::memchr(b'\n', &body[last..]).unwrap()
                }
                _ => body.len(),
            };
            for cut in (0..end)
                .rev()
                .take(40)
                .chain((0..end).step_by(end / 50 + 1))
            {
                let cut_short = of_stream(dialect, wire, &body[..cut]);
                assert!(!cut_short.complete, "{path} cut at {cut} of {end}");
            }
        }
    }
    assert!(told == 0 || told >= 270, "{told}");
}
