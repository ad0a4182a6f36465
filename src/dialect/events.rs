//! One event of a stream, in whatever frame it travels.
//!
//! ```text
//!   event: message_stop\ndata: {…}\n\n                     ┐ name, data
//!   [ prelude │ :event-type messageStop │ {…} │ crc32 ]    ┘
//!   [ prelude │ :event-type chunk │ {"bytes":"eyJ0…"} │ crc32 ]   the data is what that says
//! ```

use crate::base::fault::Kind;
use crate::wire::eventstream;
use crate::wire::json::cursor::ValueKind;
use crate::wire::json::scan::{self, key_is};
use crate::wire::sse::{Splitter, frame};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;

/// The frames of a provider's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Server-sent events.
    Lines,
    /// Amazon's binary frames.
    Frames,
    /// The same, with an event of another dialect in base64: Bedrock's `InvokeModel`.
    Wrapped,
}

/// Finds where events end.
#[derive(Debug)]
pub enum Cutter {
    /// Server-sent events.
    Lines(Splitter),
    /// Amazon's binary frames; apart, since it is larger and rare.
    Frames(Box<eventstream::Splitter>),
}

impl Cutter {
    /// For a stream whose events have `max` bytes at most.
    pub fn new(wire: Wire, max: usize) -> Self {
        match wire {
            Wire::Lines => Self::Lines(Splitter::new()),
            _ => Self::Frames(Box::new(eventstream::Splitter::new(max))),
        }
    }

    /// The first end of an event in the next `bytes`; `None`: all was looked at. The LF of a
    /// CR that ends an event goes with it where it is there already: clients that look for
    /// whole blank lines would get each event with the one after it.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`]: nothing after this can be read.
    pub fn next_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Kind> {
        match self {
            Self::Lines(splitter) => Ok(splitter.next_end(bytes).map(|end| {
                let is_cr = end.checked_sub(1).and_then(|at| bytes.get(at)) == Some(&b'\r');
                match bytes.get(end..=end) {
                    Some(feed @ b"\n") if is_cr => {
                        splitter.next_end(feed); // says nothing
                        end + 1
                    }
                    _ => end,
                }
            })),
            Self::Frames(splitter) => splitter.next_end(bytes).map_err(|_| Kind::UpstreamGarbled),
        }
    }

    /// [`Splitter::is_blank`]; never between frames, which are not recognised by comparing.
    pub fn is_blank(&self) -> bool {
        match self {
            Self::Lines(splitter) => splitter.is_blank(),
            Self::Frames(_) => false,
        }
    }
}

/// What one whole event says.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its name.
    pub name: Option<&'a [u8]>,
    /// Its data; `None` for a comment.
    pub data: Option<&'a [u8]>,
    /// Its data stands in one line, as it is.
    pub is_plain: bool,
}

/// Reads one whole event; data of several lines, or in base64, is put together in `scratch`.
///
/// # Errors
/// [`Kind::UpstreamError`] for llama.cpp's `error:` line, and for an exception in the place of
/// a wrapped event; [`Kind::UpstreamGarbled`] for a broken frame.
pub fn event<'a>(wire: Wire, bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<Event<'a>, Kind> {
    if wire != Wire::Lines {
        let frame = eventstream::frame(bytes).map_err(|_| Kind::UpstreamGarbled)?;
        let (name, data) = match wire {
            Wire::Wrapped => (None, unwrapped(&frame, scratch)?),
            _ => (frame.name(), frame.payload),
        };
        return Ok(Event {
            name,
            data: Some(data),
            is_plain: false,
        });
    }
    let frame = frame(bytes);
    if frame.error.is_some() {
        return Err(Kind::UpstreamError);
    }
    Ok(Event {
        name: frame.event,
        data: frame.data(scratch),
        is_plain: frame.data_lines() == 1,
    })
}

/// The event in a frame of `InvokeModelWithResponseStream`, whose payload is
/// `{"bytes":"<base64>"}`; it is put into `scratch`.
fn unwrapped<'a>(
    frame: &eventstream::Frame<'_>,
    scratch: &'a mut Vec<u8>,
) -> Result<&'a [u8], Kind> {
    if frame.is_failure() {
        return Err(Kind::UpstreamError);
    }
    let mut is_whole = false;
    let scanned = scan::object(frame.payload, |member| {
        let key = member.key.bytes(frame.payload);
        if member.kind == ValueKind::String && key_is(key, member.key_escaped, "bytes") {
            let value = member.value.bytes(frame.payload);
            let inside = value.get(1..value.len().saturating_sub(1));
            scratch.clear();
            is_whole = inside.is_some_and(|text| BASE64.decode_vec(text, scratch).is_ok());
        }
    });
    if scanned.is_err() || !is_whole {
        return Err(Kind::UpstreamGarbled);
    }
    Ok(scratch)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an event comes out of its frame as it went in; what is none is told.
    #[test]
    fn an_event_is_taken_out_of_its_frame() {
        let pool = crate::base::bufpool::BufPool::new();
        let said = |payload: &str, is_exception: bool| -> Result<String, Kind> {
            let mut tx = crate::base::bytes::TxBuf::new(&pool);
            let parts = [payload.as_bytes()];
            if is_exception {
                eventstream::put_exception(&mut tx, "throttlingException", &parts);
            } else {
                eventstream::put_event(&mut tx, "chunk", &parts);
            }
            let mut scratch = b"old".to_vec();
            let event = event(Wire::Wrapped, tx.unsent(), &mut scratch)?;
            assert_eq!((event.name, event.is_plain), (None, false));
            Ok(String::from_utf8(event.data.unwrap().to_vec()).unwrap())
        };
        let wrapped = |text: &str| format!("{{\"p\":\"abc\",\"bytes\":\"{text}\"}}");
        // RFC 4648, 10.
        for (text, want) in [
            ("", ""),
            ("Zg==", "f"),
            ("Zm8=", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYmE=", "fooba"),
            ("fn9+Pz4/", "~\u{7f}~?>?"),
        ] {
            assert_eq!(said(&wrapped(text), false).as_deref(), Ok(want), "{text}");
        }
        let garbled = ["Zg", "Z-==", "Zm9v\\n"].map(wrapped);
        let broken = ["{}", "[", "{\"bytes\":1}", "{\"bytes\":null}"];
        for payload in garbled.iter().map(String::as_str).chain(broken) {
            assert_eq!(
                said(payload, false),
                Err(Kind::UpstreamGarbled),
                "{payload}"
            );
        }
        assert_eq!(said("{\"message\":\"m\"}", true), Err(Kind::UpstreamError));
    }

    /// Goal: a blank line that ends in CR LF is not torn where it is here as a whole, and
    /// nothing else changes. Method: a stream of all line ends, cut everywhere.
    #[test]
    fn a_line_end_of_two_bytes_stays_whole() {
        let ends = |pieces: &[&[u8]]| {
            let mut cutter = Cutter::new(Wire::Lines, 100);
            let (mut out, mut from) = (Vec::new(), 0);
            for piece in pieces {
                let mut at = 0;
                while let Some(end) = cutter.next_end(&piece[at..]).unwrap() {
                    at += end;
                    out.push(from + at);
                }
                from += piece.len();
            }
            out
        };
        let stream = b"data: a\r\n\r\ndata: b\n\ndata: c\r\rdata: d\r\n\r\n";
        assert_eq!(ends(&[stream]), [11, 20, 29, 40]);
        for cut in 0..=stream.len() {
            let torn = |end| {
                if end == cut + 1 && stream[cut] == b'\n' && stream[cut - 1] == b'\r' {
                    cut
                } else {
                    end
                }
            };
            let want = [torn(11), 20, 29, torn(40)];
            assert_eq!(
                ends(&[&stream[..cut], &stream[cut..]]),
                want,
                "cut at {cut}"
            );
        }
    }
}
