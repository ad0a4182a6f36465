//! Recordings that were broken: with bytes and events changed, swapped and left out.

use super::gather::{Gather, read_pieces};
use super::{NAMES, check_form, streams};
use crate::recorded::recordings;
use serde_json::Value;
use shardgate::base::bufpool::BufPool;
use shardgate::base::bytes::TxBuf;
use shardgate::dialect::model::{Abilities, Dialect, Notes};
use shardgate::dialect::responses::stream::Writer;
use shardgate::dialect::responses::{answer, error, look, request};
use shardgate::wire::sse::Splitter;

/// A small generator of pseudo-random numbers (xorshift), from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below.max(1) as u64).unwrap()
    }
}

/// Goal: I2. Method: recordings with bytes cut, flipped and swapped, and with events swapped,
/// doubled and left out; a writer behind must cope as well.
pub(crate) fn broken_recordings(seed: u64) {
    let mut dice = Dice(seed);
    for recording in recordings(&["openai-responses"]) {
        let is_plain = recording.is_plain();
        let wire = streams(&recording).swap_remove(0);
        if wire.len() > 60_000 {
            continue;
        }
        for round in 0..40 {
            let mut bytes = wire.clone();
            if round % 2 == 0 && !is_plain {
                let mut events: Vec<&[u8]> = Vec::new();
                let (mut splitter, mut from) = (Splitter::new(), 0);
                while let Some(end) = splitter.next_end(&wire[from..]) {
                    events.push(&wire[from..from + end]);
                    from += end;
                }
                for _ in 0..=dice.roll(4) {
                    let (a, b) = (dice.roll(events.len()), dice.roll(events.len()));
                    match dice.roll(3) {
                        0 => events.swap(a, b),
                        1 => events.insert(a, events[b]),
                        _ => _ = events.remove(a),
                    }
                    if events.is_empty() {
                        break;
                    }
                }
                bytes = events.concat();
            } else {
                for _ in 0..=dice.roll(4) {
                    let (a, b) = (dice.roll(bytes.len()), dice.roll(bytes.len()));
                    match dice.roll(3) {
                        0 => bytes[a] ^= 1 << dice.roll(8),
                        1 => bytes.swap(a, b),
                        _ => bytes.truncate(a.max(1)),
                    }
                }
            }
            if is_plain {
                if let Ok(answer) = answer::read(&bytes) {
                    let mut tx = TxBuf::new(&BufPool::new());
                    answer::write(&answer, &NAMES, &mut tx);
                    assert!(serde_json::from_slice::<Value>(tx.unsent()).is_ok());
                }
                drop(error::read(400, &bytes));
                _ = look::answer(&bytes);
                continue;
            }
            let mut gather = Gather::default();
            let mut tx = TxBuf::new(&BufPool::new());
            let mut writer = Writer::new();
            let read = read_pieces(&[&bytes], &mut |step| {
                gather.take(&step);
                writer.write(&step, &NAMES, &mut tx);
            });
            assert_eq!(
                read.is_ok(),
                gather.got.is_whole || gather.got.error.is_some()
            );
            if gather.got.is_whole {
                check_form(tx.unsent());
            }
        }
    }
}

/// Goal: broken requests never panic.
pub(crate) fn broken_requests(seed: u64) {
    let mut dice = Dice(seed);
    for recording in recordings(&["openai-responses"]) {
        let Some(body) = recording.request.filter(|body| body.len() < 60_000) else {
            continue;
        };
        for _ in 0..60 {
            let mut bytes = body.clone();
            for _ in 0..=dice.roll(3) {
                let (a, b) = (dice.roll(bytes.len()), dice.roll(bytes.len()));
                match dice.roll(3) {
                    0 => bytes[a] ^= 1 << dice.roll(8),
                    1 => bytes.swap(a, b),
                    _ => bytes.truncate(a.max(1)),
                }
            }
            if let Ok(mut read) = request::read(&bytes) {
                for origin in Dialect::ALL {
                    read.origin = Some(origin);
                    drop(request::write(
                        &read,
                        &Abilities::default(),
                        &mut Notes::default(),
                    ));
                }
            }
        }
    }
}
