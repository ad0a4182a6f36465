//! Makes a body to be stored of a stream as it was kept while it came, and tells what it is worth.
//!
//! ```text
//!   kept   size, event │ chunk like the last │ chunk like the last │ …      tokens of alike
//!               │                  └── plain text? the same token ──┐
//!               └─► framing off ─► looked at ─► Writer ─────────────┴─► Body
//! ```
//!
//! Nearly all events of a stream are like the last one but for a word. These are neither put
//! together nor looked at again: their tokens go over.
//!
//! Invariants
//! - S1 What comes of it is what comes of the whole body: [`Body::of_stream`], and
//!   [`crate::dialect::worth::of_stream`].

use super::body::Body;
use crate::base::alike::{Kept, Reader, Writer};
use crate::dialect::events::Wire;
use crate::dialect::model::Dialect;
use crate::dialect::worth::{Reading, Worth};
use crate::wire::http1::Chunked;

/// The body of a stream that was kept, in chunks or bare, and what it is worth; `None`: its
/// framing is broken.
pub fn reap(
    kept: &[u8],
    is_chunked: bool,
    (dialect, wire): (Dialect, Wire),
) -> Option<(Worth, Body)> {
    let mut reader = Reader::default();
    let mut sheaf = Sheaf {
        chunked: is_chunked.then(Chunked::new),
        pending: Vec::new(),
        reading: Reading::new(dialect, wire),
        writer: Writer::default(),
        made: Vec::with_capacity(kept.len()),
        told: 0,
        twin: None,
    };
    while !kept.row(reader.at()).is_empty() && !sheaf.is_done() {
        if sheaf.take_alike(kept, &mut reader).is_none() {
            sheaf.take(kept, &mut reader)?;
        }
    }
    let Sheaf {
        pending,
        mut writer,
        mut made,
        told,
        reading,
        ..
    } = sheaf;
    writer.put(&mut made, &pending);
    let worth = reading.end(&pending);
    Some((worth, Body::made(made, told + pending.len())))
}

struct Sheaf {
    chunked: Option<Chunked>,
    /// Bytes of the body that are no whole event yet.
    pending: Vec<u8>,
    reading: Reading,
    writer: Writer,
    made: Vec<u8>,
    /// How many bytes of the body are in `made`.
    told: usize,
    /// Both sides have their gap in the same place, which is a text: the length of the event
    /// around it.
    twin: Option<usize>,
}

impl Sheaf {
    fn is_done(&self) -> bool {
        self.chunked.as_ref().is_some_and(Chunked::is_done)
    }

    /// Takes an event that is like the last one but for plain text; `None`: it is not.
    fn take_alike(&mut self, kept: &[u8], reader: &mut Reader) -> Option<()> {
        let around = self.twin?;
        let mut ahead = *reader;
        let is_chunked = match &self.chunked {
            Some(chunked) if !chunked.is_between() => return None,
            chunked => chunked.is_some(),
        };
        let fresh = ahead.again(kept, is_chunked)?;
        let is_plain = |byte: &u8| *byte >= b' ' && !matches!(byte, b'"' | b'\\');
        if !fresh.iter().all(is_plain) || !self.writer.again(&mut self.made, fresh) {
            return None;
        }
        self.told += around + fresh.len();
        *reader = ahead;
        Some(())
    }

    /// Takes any token; `None`: the framing is broken.
    fn take(&mut self, kept: &[u8], reader: &mut Reader) -> Option<()> {
        let from = self.pending.len();
        reader.next(kept, |piece| self.pending.extend_from_slice(piece));
        if let Some(chunked) = &mut self.chunked {
            let fresh = self.pending.get_mut(from..).unwrap_or_default();
            let decoded = chunked.decode(fresh).ok()?;
            self.pending.truncate(from + decoded.data);
        }
        let len = self.reading.events(&self.pending);
        if let Some(events) = self.pending.get(..len).filter(|it| !it.is_empty()) {
            self.writer.put(&mut self.made, events);
            self.told += len;
            self.pending.drain(..len);
        }
        self.twin = self.twin(kept, reader);
        Some(())
    }

    /// Where both sides have their gap in the same text: see the field.
    fn twin(&self, kept: &[u8], reader: &Reader) -> Option<usize> {
        let (before, behind) = self.writer.around(&self.made)?;
        let (kept_before, kept_behind) = reader.around(kept)?;
        let end: &[u8] = if self.chunked.is_some() { b"\r\n" } else { b"" };
        let is_same = before == kept_before && kept_behind.strip_suffix(end) == Some(behind);
        let is_idle = self.pending.is_empty() && self.reading.is_text(before, behind);
        (is_same && is_idle).then_some(before.len() + behind.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::worth::of_stream;
    use proptest::prelude::*;

    /// An event of `dialect`, of the `kind`th sort, about `text`.
    fn event(dialect: Dialect, kind: usize, text: &str) -> String {
        match (dialect, kind) {
            (Dialect::Chat, 0) => "data: [DONE]\n\n".into(),
            (Dialect::Chat, 1) => format!(
                "data: {{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\
                 \"delta\":{{}},\"finish_reason\":\"stop\"}}],\"x\":\"{text}\"}}\n\n"
            ),
            (Dialect::Chat, 2) => "data: {\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\
                 \"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\
                 \"finish_reason\":null}]}\n\n"
                .into(),
            (Dialect::Chat, 3) => format!("data: {{\"error\":{{\"message\":\"{text}\"}}}}\n\n"),
            (Dialect::Chat, 4) => format!(
                "data: {{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":{},\
                 \"delta\":{{\"content\":\"same\"}},\"finish_reason\":null}}]}}\n\n",
                text.len() % 3
            ),
            (Dialect::Chat, _) => format!(
                "data: {{\"id\":\"c-1\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\
                 \"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n"
            ),
            (_, 0) => "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n".into(),
            (_, 1) => "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":\
                       {\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n"
                .into(),
            (_, 2) => ": ping\n\n".into(),
            (_, 3) => "event: ping\ndata: {\"type\":\"ping\"}\n\n".into(),
            (_, _) => format!(
                "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
                 \"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
            ),
        }
    }

    fn events() -> impl Strategy<Value = Vec<(usize, String)>> {
        let text = prop_oneof![
            6 => "( |)[a-zé]{0,9}",
            1 => "a\\\\\"b|\\\\n|\\\\u0041|\",\"x\":\"|[a-z]{40}|\\\\",
        ];
        let some = (
            prop_oneof![1 => 0_usize..4, 3 => Just(4), 20 => Just(5)],
            text,
        );
        proptest::collection::vec(some, 0..60)
    }

    /// `bytes` in pieces of these lengths, again and again, bare (0) or as chunks whose sizes are
    /// in small letters (1) or in capital ones.
    fn cut(bytes: &[u8], lengths: &[usize], framing: usize) -> Vec<Vec<u8>> {
        let (mut rest, mut pieces) = (bytes, Vec::new());
        for length in lengths.iter().cycle() {
            let (now, later) = rest.split_at((*length).min(rest.len()));
            if now.is_empty() {
                break;
            }
            rest = later;
            let size = match framing {
                0 => {
                    pieces.push(now.to_vec());
                    continue;
                }
                1 => format!("{:x}\r\n", now.len()),
                _ => format!("{:X}\r\n", now.len()),
            };
            pieces.push([size.as_bytes(), now, b"\r\n"].concat());
        }
        pieces
    }

    fn reaped(arrivals: &[Vec<u8>], is_chunked: bool, dialect: Dialect) -> Option<(Worth, Body)> {
        let (mut kept, mut writer) = (Vec::new(), Writer::default());
        for bytes in arrivals {
            writer.put(&mut kept, bytes);
        }
        reap(&kept, is_chunked, (dialect, Wire::Lines))
    }

    proptest! {
        /// Goal: S1. Method: streams of events alike and other ones, framed and cut in any way,
        /// each event for itself, too; with the last chunk, without, and with a break.
        #[test]
        fn what_is_reaped_is_what_came(
            events in events(),
            is_chat in any::<bool>(),
            framing in 0_usize..3,
            lengths in proptest::collection::vec(1_usize..700, 1..5),
            is_each in any::<bool>(),
            end in 0_usize..3,
        ) {
            let dialect = if is_chat { Dialect::Chat } else { Dialect::Anthropic };
            let events = events.iter().map(|(kind, text)| event(dialect, *kind, text));
            let events: Vec<String> = events.collect();
            let all = events.concat().into_bytes();
            let lengths: Vec<usize> = if is_each && !events.is_empty() {
                events.iter().map(String::len).collect()
            } else {
                lengths
            };
            let mut arrivals = cut(&all, &lengths, framing);
            let is_chunked = framing > 0;
            match end {
                0 if is_chunked => arrivals.push(b"0\r\n\r\n".to_vec()),
                1 if is_chunked => {
                    arrivals.push(b"x\r\n".to_vec());
                    prop_assert!(reaped(&arrivals, is_chunked, dialect).is_none());
                    return Ok(());
                }
                _ => {}
            }
            let (worth, body) = reaped(&arrivals, is_chunked, dialect).unwrap();
            prop_assert_eq!(&*body.bytes(), &all[..]);
            prop_assert_eq!(body.len(), all.len());
            prop_assert_eq!(worth, of_stream(dialect, Wire::Lines, &all));
        }
    }

    /// Goal: a chunk's size that is not its event's is never passed over. Method: one event of
    /// many alike says it is a byte longer than it is.
    #[test]
    fn a_size_that_is_wrong_breaks_the_framing() {
        let said = |at: usize| event(Dialect::Chat, 5, &format!("w{at}"));
        let wrong = |at: usize, more: usize| {
            let said = said(at);
            format!("{:x}\r\n{said}\r\n", said.len() + more).into_bytes()
        };
        let arrivals = |wrongs: usize| (0..9).map(move |at| wrong(at, usize::from(at == wrongs)));
        let all: Vec<_> = arrivals(99).collect();
        assert!(reaped(&all, true, Dialect::Chat).is_some());
        for at in 0..9 {
            let broken: Vec<_> = arrivals(at).collect();
            assert!(reaped(&broken, true, Dialect::Chat).is_none(), "{at}");
        }
    }
}
