//! One event of a stream, in whatever frame it travels.
//!
//! ```text
//!   event: message_stop\ndata: {…}\n\n                     ┐ name, data
//!   [ prelude │ :event-type messageStop │ {…} │ crc32 ]    ┘
//! ```

use crate::base::fault::Kind;
use crate::dialect::model::Dialect;
use crate::wire::eventstream;
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
/// `scratch`.
///
/// # Errors
/// [`Kind::UpstreamError`] for llama.cpp's `error:` line; [`Kind::UpstreamGarbled`] for a
/// broken frame.
pub fn event<'a>(
    dialect: Dialect,
    bytes: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> Result<Event<'a>, Kind> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
