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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: &[u8]) -> Result<Option<ResponseHead>, HeadError> {
        ResponseReader::new(HeadLimits::RESPONSE, Method::Post).push(data)
    }

    /// Goal: a plain head gives what it says.
    #[test]
    fn a_head_gives_what_it_says() {
        let data = b"HTTP/1.1 429 Too Many\r\nRetry-After: 2\r\nRetry-After: 9\r\n\
            Transfer-Encoding: Chunked\r\nConnection: close, x-a\r\n\r\n0\r\n\r\n";
        let head = read(data).unwrap().unwrap();
        assert_eq!(&data[head.len..], b"0\r\n\r\n");
        assert_eq!((head.status, head.version), (429, Version::Http11));
        assert_eq!((head.framing, head.keep_alive), (Framing::Chunked, false));
        assert_eq!(head.known(Known::RetryAfter).unwrap().bytes(data), b"2");
        assert_eq!(head.fields(data).count(), 4);
        assert!(head.connection_lists(data, b"X-A"));
        assert!(
            read(b"HTTP/1.1 103 \r\n\r\n")
                .unwrap()
                .unwrap()
                .is_interim()
        );
    }

    /// Goal: heads that providers do send are taken. Method: each with its framing and fate.
    #[test]
    fn what_providers_send_is_taken() {
        let cases: [(&str, Framing, bool); 9] = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            ("HTTP/1.1 200 \r\n\r\n", Framing::UntilClose, false),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
                Framing::Length(5),
                false,
            ),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n",
                Framing::Length(5),
                true,
            ),
            (
                "HTTP/1.1 529 \t\u{e9}!\r\nContent-Length: 0\r\n\r\n",
                Framing::Length(0),
                true,
            ),
            ("HTTP/1.1 204 No Content\r\n\r\n", Framing::None, true),
            (
                "HTTP/1.1 204 No Content\r\nContent-Length: 20\r\n\r\n",
                Framing::None,
                false,
            ),
            (
                "HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
                Framing::None,
                true,
            ),
        ];
        for (text, framing, keep_alive) in cases {
            let head = read(text.as_bytes()).unwrap().unwrap();
            assert_eq!(
                (head.framing, head.keep_alive, head.len),
                (framing, keep_alive, text.len())
            );
        }
    }

    /// Goal: what is no HTTP/1 is refused at its first byte that is not. Method: all but the
    /// last byte of each case is fine so far.
    #[test]
    fn damage_is_refused_at_its_own_byte() {
        use HeadError::{BadStatusLine, BareCr, BareLf, Control, ObsFold, Switched};
        let cases: [(&[u8], HeadError); 22] = [
            (b"{", BadStatusLine),
            (b"\x15", BadStatusLine),
            (b"\r", BadStatusLine),
            (b"h", BadStatusLine),
            (b"ICY"[..1].as_ref(), BadStatusLine),
            (b"HTTP/2", BadStatusLine),
            (b"HTTP/1.x 200 OK\r\n", BadStatusLine),
            (b"HTTP/1.2 200 OK\r\n", BadStatusLine),
            (b"HTTP/1.1 abc OK\r\n", BadStatusLine),
            (b"HTTP/1.1 99 Low\r\n", BadStatusLine),
            (b"HTTP/1.1 000 Zero\r\n", BadStatusLine),
            (b"HTTP/1.1 20 OK\r\n", BadStatusLine),
            (b"HTTP/1.1 -200 OK\r\n", BadStatusLine),
            (b"HTTP/1.1 600 High\r\n", BadStatusLine),
            (b"HTTP/1.1 1000 High\r\n", BadStatusLine),
            (b"HTTP/1.1  200 OK\r\n", BadStatusLine),
            (b"HTTP/1.1 101 Go\r\n", Switched),
            (b"HTTP/1.1 200 OK\n", BareLf { at: 15 }),
            (b"HTTP/1.1 200 O\0", Control { byte: 0, at: 14 }),
            (b"HTTP/1.1 200 OK\r\nX: a\rS", BareCr { at: 21 }),
            (b"HTTP/1.1 200 OK\r\nX: a\0", Control { byte: 0, at: 21 }),
            (b"HTTP/1.1 200 OK\r\n X: a\r\n", ObsFold),
        ];
        for (bytes, error) in cases {
            let text = bytes.escape_ascii();
            assert_eq!(read(&bytes[..bytes.len() - 1]), Ok(None), "{text}");
            assert_eq!(read(bytes), Err(error), "{text}");
        }
    }

    /// Goal: a whole head with broken fields or framing is refused.
    #[test]
    fn a_whole_head_that_breaks_a_rule_is_refused() {
        use HeadError::{BadCoding, BadField, BadLength, LengthAndCoding, UnknownCoding};
        let mut cases = vec![
            ("X-Evil : a".to_owned(), BadField),
            ("NoColonHere".to_owned(), BadField),
            (
                "Content-Length: 5\r\nContent-Length: 6".to_owned(),
                BadLength,
            ),
            (
                "Content-Length: 5\r\nTransfer-Encoding: chunked".to_owned(),
                LengthAndCoding,
            ),
            ("Transfer-Encoding: gzip".to_owned(), BadCoding),
            ("Transfer-Encoding: gzip, chunked".to_owned(), UnknownCoding),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked".to_owned(),
                BadCoding,
            ),
        ];
        for length in "-5|+10|0x40|12abc||10, 20|10, 10|99999999999999999999999|10.0".split('|') {
            cases.push((format!("Content-Length: {length}"), BadLength));
        }
        for (fields, error) in cases {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
            assert_eq!(read(text.as_bytes()), Err(error), "{fields}");
        }
    }

    /// Goal: a head is cut off at the limit, and not one byte before.
    #[test]
    fn the_limit_holds_to_the_byte() {
        let limits = HeadLimits {
            head_max: 100,
            target_max: 0,
            fields_max: 2,
        };
        let read = |text: &str| ResponseReader::new(limits, Method::Post).push(text.as_bytes());
        let sized = |n: usize| format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(n - 24));
        assert_eq!(read(&sized(100)).unwrap().unwrap().len, 100);
        assert_eq!(
            read(&sized(101)),
            Err(HeadError::HeadTooLarge { limit: 100 })
        );
        assert_eq!(
            read(&sized(500)[..100]),
            Err(HeadError::HeadTooLarge { limit: 100 })
        );
        assert_eq!(read(&sized(500)[..99]), Ok(None));
        let fields = |n| format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(n));
        assert!(read(&fields(2)).unwrap().is_some());
        assert_eq!(read(&fields(3)), Err(HeadError::TooManyFields { limit: 2 }));
    }
}
