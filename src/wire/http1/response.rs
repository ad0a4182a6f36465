//! Reads response heads, as strictly as request heads: a provider's damage ends here.
//!
//! Invariants
//! - I1 How the head is cut changes neither the head nor the error.
//! - I2 Each byte is scanned once (the first seven again while there are no more).
//! - I3 An accepted head has a status from 100 to 599, lines that end in CRLF, no folded line
//!   and one reading of where its body ends.
//!
//! Source: RFC 9112, sections 4, 5, 6.3 and 9.3; RFC 9110, section 15.

use std::mem::MaybeUninit;

use super::fields::{Fields, Known, KnownSpans, connection_lists};
use super::framing::{self, Framing};
use super::head::{FIELDS_CEILING, HeadError, HeadLimits, Method, Room, Seen, Version};
use super::lines::{Lines, Scan};
use crate::base::span::Span;

const PREFIX: &[u8] = b"HTTP/1.";

/// The head of a response, as positions in the bytes that were pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Bytes that the head takes; the body begins here.
    pub len: usize,
    /// 100 to 599, not 101.
    pub status: u16,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the connection may carry another exchange once the body is read.
    pub keep_alive: bool,
    known: KnownSpans,
    section: Span,
}

impl ResponseHead {
    /// Whether this is an interim answer (1xx); the final one follows it.
    pub fn is_interim(&self) -> bool {
        self.status < 200
    }

    /// The value of the first field `name`; may be empty.
    pub fn known(&self, name: Known) -> Option<Span> {
        self.known.get(name)
    }

    /// Every field, in order: name as sent, value without white space around it. `buf` must be
    /// the bytes that the head was read from.
    pub fn fields<'b>(&self, buf: &'b [u8]) -> Fields<'b> {
        Fields::new(self.section.bytes(buf))
    }

    /// Whether a `Connection` field lists `name`: then `name` is not passed on (RFC 9110, 7.6.1).
    pub fn connection_lists(&self, buf: &[u8], name: &[u8]) -> bool {
        self.known(Known::Connection).is_some() && connection_lists(self.fields(buf), name)
    }
}

/// An accepted status line.
#[derive(Clone, Copy, Debug)]
struct FirstLine {
    status: u16,
    version: Version,
    end: usize,
}

/// Reads one response head.
#[derive(Clone, Copy, Debug)]
pub struct ResponseReader {
    limits: HeadLimits,
    asked: Method,
    lines: Lines,
    first: Option<FirstLine>,
    count: usize,
}

impl ResponseReader {
    /// A reader for one head, of an answer to a request with `request_method`; take a new one
    /// for the next, also after an interim answer.
    pub fn new(limits: HeadLimits, request_method: Method) -> Self {
        Self {
            limits,
            asked: request_method,
            lines: Lines::default(),
            first: None,
            count: 0,
        }
    }

    /// Reads on. `data` is everything that came since the reader was made, from the first byte
    /// on; it may hold more than the head. `None` when the head goes on.
    ///
    /// # Errors
    /// The first thing in `data` that no accepted head can hold. The connection is then of no
    /// further use.
    pub fn push(&mut self, data: &[u8]) -> Result<Option<ResponseHead>, HeadError> {
        let HeadLimits {
            head_max,
            fields_max,
            ..
        } = self.limits;
        let limit = fields_max.min(FIELDS_CEILING);
        if self.first.is_none() {
            let same = data
                .iter()
                .zip(PREFIX)
                .take_while(|(came, want)| came == want);
            if same.count() < data.len().min(PREFIX.len()) {
                return Err(HeadError::BadStatusLine); // at once: TLS, HTTP/2, JSON, …
            }
        }
        loop {
            let line = match self.lines.next(data, head_max)? {
                Scan::More => return Ok(None),
                Scan::Over => return Err(HeadError::HeadTooLarge { limit: head_max }),
                Scan::Line(line) => line,
            };
            let text = data.get(line.clone()).unwrap_or_default();
            let Some(first) = self.first else {
                self.first = Some(status_line(text, line.end + 2)?);
                continue;
            };
            if text.is_empty() {
                return self.finish(data, first).map(Some);
            }
            self.count += 1;
            if self.count > limit {
                return Err(HeadError::TooManyFields { limit });
            }
            if matches!(text, [b' ' | b'\t', ..]) {
                return Err(HeadError::ObsFold);
            }
        }
    }

    fn finish(&self, data: &[u8], first: FirstLine) -> Result<ResponseHead, HeadError> {
        let len = self.lines.end();
        let bytes = data.get(..len).unwrap_or_default();
        let mut room: Room<'_> = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
        let mut parsed = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut room) {
            Ok(httparse::Status::Complete(n)) if n == len => {}
            _ => return Err(HeadError::BadField),
        }
        let FirstLine {
            status,
            version,
            end,
        } = first;
        let seen = Seen::new(data, parsed.headers);
        let (framing, is_fit) = framing::of_response(version, status, self.asked, &seen.claims)?;
        Ok(ResponseHead {
            len,
            status,
            version,
            framing,
            keep_alive: is_fit && seen.keep_alive(version),
            known: seen.known,
            section: Span::new(end, len),
        })
    }
}

/// Reads `HTTP/1.x NNN`, and behind a space any reason. The last space is often left out.
fn status_line(line: &[u8], end: usize) -> Result<FirstLine, HeadError> {
    let Some([minor, b' ', digits @ ..]) = line.strip_prefix(PREFIX) else {
        return Err(HeadError::BadStatusLine);
    };
    let version = match minor {
        b'0' => Version::Http10,
        b'1' => Version::Http11,
        _ => return Err(HeadError::BadStatusLine),
    };
    let [a @ b'1'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = digits else {
        return Err(HeadError::BadStatusLine);
    };
    if !matches!(rest, [] | [b' ', ..]) {
        return Err(HeadError::BadStatusLine);
    }
    let status = [a, b, c]
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(**digit - b'0'));
    if status == 101 {
        return Err(HeadError::Switched);
    }
    Ok(FirstLine {
        status,
        version,
        end,
    })
}
