//! One event of a stream, in whatever frame it travels.
//!
//! ```text
//!   event: message_stop\ndata: {…}\n\n                     ┐ name, data
//!   [ prelude │ :event-type messageStop │ {…} │ crc32 ]    ┘
//! ```

use crate::base::fault::Kind;
use crate::dialect::model::Dialect;
use crate::wire::eventstream;
use crate::wire::json::cursor::ValueKind;
use crate::wire::json::scan;
use crate::wire::sse::{Splitter, frame};

/// Finds where events end.
#[derive(Debug)]
pub enum Cutter {
    /// Server-sent events.
    Lines(Splitter),
    /// Amazon's binary frames; apart, since it is larger and rare.
    Frames(Box<eventstream::Splitter>),
}

impl Cutter {
    /// For a stream of `dialect` whose events have `max` bytes at most.
    pub fn new(dialect: Dialect, max: usize) -> Self {
        match dialect {
            Dialect::Bedrock => Self::Frames(Box::new(eventstream::Splitter::new(max))),
            _ => Self::Lines(Splitter::new()),
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

/// Reads one whole event of a stream of `dialect`; data of several lines is put together in
/// `scratch`. `is_wrapped`: each is in a frame of Bedrock's `InvokeModel`.
///
/// # Errors
/// [`Kind::UpstreamError`] for llama.cpp's `error:` line; [`Kind::UpstreamGarbled`] for a
/// broken frame.
pub fn event<'a>(
    (dialect, is_wrapped): (Dialect, bool),
    bytes: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> Result<Event<'a>, Kind> {
    if is_wrapped {
        return unwrapped(bytes, scratch);
    }
    if dialect == Dialect::Bedrock {
        let frame = eventstream::frame(bytes).map_err(|_| Kind::UpstreamGarbled)?;
        return Ok(Event {
            name: frame.name(),
            data: Some(frame.payload),
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
/// `{"bytes":"<base64>"}`; it is put into `scratch`. What names no event is said by its data.
fn unwrapped<'a>(bytes: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<Event<'a>, Kind> {
    let frame = eventstream::frame(bytes).map_err(|_| Kind::UpstreamGarbled)?;
    if frame.is_failure() {
        return Err(Kind::UpstreamError);
    }
    let mut is_whole = false;
    scratch.clear();
    let scanned = scan::object(frame.payload, |member| {
        let key = member.key.bytes(frame.payload);
        if member.kind == ValueKind::String && scan::key_is(key, member.key_escaped, "bytes") {
            let value = member.value.bytes(frame.payload);
            let inside = value.get(1..value.len().saturating_sub(1));
            scratch.clear();
            is_whole = inside.is_some_and(|text| put_decoded(text, scratch));
        }
    });
    if scanned.is_err() || !is_whole {
        return Err(Kind::UpstreamGarbled);
    }
    Ok(Event {
        name: None,
        data: Some(scratch.as_slice()),
        is_plain: false,
    })
}

/// Appends what `text` says in base64 (RFC 4648, 4); false when it is none.
fn put_decoded(text: &[u8], out: &mut Vec<u8>) -> bool {
    let digits = text.strip_suffix(b"==").or_else(|| text.strip_suffix(b"="));
    let digits = digits.unwrap_or(text);
    let (mut held, mut bits) = (0_u32, 0);
    for &byte in digits {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return false,
        };
        held = held << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let [.., low] = (held >> bits).to_be_bytes();
            out.push(low);
        }
    }
    text.len() % 4 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an event comes out of its frame as it went in; what is none is told.
    #[test]
    fn an_event_is_taken_out_of_its_frame() {
        let pool = crate::base::bufpool::BufPool::new();
        let said = |payload: &str, is_exception: bool| -> Result<Vec<u8>, Kind> {
            let mut tx = crate::base::bytes::TxBuf::new(&pool);
            let parts = [payload.as_bytes()];
            if is_exception {
                eventstream::put_exception(&mut tx, "throttlingException", &parts);
            } else {
                eventstream::put_event(&mut tx, "chunk", &parts);
            }
            let mut scratch = Vec::new();
            let event = event((Dialect::Anthropic, true), tx.unsent(), &mut scratch)?;
            assert_eq!((event.name, event.is_plain), (None, false));
            Ok(event.data.unwrap_or_default().to_vec())
        };
        for (text, want) in [
            ("", Some("")),
            ("Zg==", Some("f")),
            ("Zm8=", Some("fo")),
            ("Zm9v", Some("foo")),
            ("Zm9vYmE=", Some("fooba")),
            ("eyJ0eXBlIjoi/+8=", None),
            ("Zg", None),
            ("Z-==", None),
        ] {
            let payload = format!("{{\"p\":\"abc\",\"bytes\":\"{text}\"}}");
            match want {
                Some(want) => assert_eq!(said(&payload, false), Ok(want.into()), "{text}"),
                None if text.len() < 5 => {
                    assert_eq!(said(&payload, false), Err(Kind::UpstreamGarbled), "{text}");
                }
                None => assert!(said(&payload, false).is_ok(), "{text}"),
            }
        }
        assert_eq!(said("{\"message\":\"m\"}", true), Err(Kind::UpstreamError));
        for broken in ["{}", "[", "{\"bytes\":1}", "{\"bytes\":null}"] {
            assert_eq!(said(broken, false), Err(Kind::UpstreamGarbled), "{broken}");
        }
    }

    /// Goal: a blank line that ends in CR LF is not torn where it is here as a whole, and
    /// nothing else changes. Method: a stream of all line ends, cut everywhere.
    #[test]
    fn a_line_end_of_two_bytes_stays_whole() {
        let ends = |pieces: &[&[u8]]| {
            let mut cutter = Cutter::new(Dialect::Gemini, 100);
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
