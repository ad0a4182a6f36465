//! Reads request heads, however the bytes are cut, and refuses damage as soon as it is there.
//!
//! ```text
//!            CRLF            token SP              CRLF               CRLF        CRLF CRLF
//!   Leading ──────► Leading ─────────► RequestLine ────► Fields ────────► Fields ─────────► head
//!     │ > 4                 │ no token      │ no request line   │ fold, too many      │ httparse,
//!     ▼ error               ▼ error         ▼ error             ▼ error               ▼ rules
//! ```
//!
//! Invariants
//! - I1 How the head is cut changes neither the head nor the error.
//! - I2 Each byte is scanned once; the state is a few numbers, no bytes are kept.
//! - I3 An accepted head has lines that end in CRLF, no folded line, at most one of each field
//!   that decides framing, host, type or credential, and one reading of where its body ends.
//!
//! Source: RFC 9112, sections 2.2, 3, 5 and 9.3; RFC 9110, sections 7.2 and 10.1.1.

use std::mem::MaybeUninit;
use std::ops::Range;

use memchr::memchr;

use super::fields::{Fields, Known, KnownSpans, connection_lists, is_token_byte};
use super::framing::{self, Framing};
use super::head::{
    FIELDS_CEILING, HeadError, HeadLimits, LEADING_CRLF_MAX, METHOD_MAX, Method, Room, Seen,
    Version,
};
use super::lines::{Lines, Scan};
use super::target;
use crate::base::span::Span;

/// The head of a request, as positions in the bytes that were pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Bytes that the head takes, empty lines before it included; the body begins here.
    pub len: usize,
    /// The method.
    pub method: Method,
    /// The method's text, for [`Method::Other`].
    pub method_text: Span,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The target as sent.
    pub target: Span,
    /// The target's path; empty when an absolute target has none, and for CONNECT.
    pub path: Span,
    /// What follows the `?` of the target; empty when there is none.
    pub query: Span,
    /// Host and port: those of the target if it names them, else the value of `Host` (RFC
    /// 9112, 3.2.2). `None` only on HTTP/1.0.
    pub authority: Option<Span>,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the connection may carry another request.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// Whether a field may be one that tells the gateway what to do: its name begins as theirs do.
    pub has_wishes: bool,
    known: KnownSpans,
    section: Span,
}

impl RequestHead {
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

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Empty lines and the method; the request line begins here or later.
    Leading {
        line: usize,
        at: usize,
        skipped: usize,
    },
    /// The rest of the request line.
    RequestLine(Lines),
    /// The lines after it.
    Fields {
        lines: Lines,
        count: usize,
        first: FirstLine,
    },
}

/// An accepted request line.
#[derive(Clone, Copy, Debug)]
struct FirstLine {
    method: Method,
    version: Version,
    target: Span,
    parts: target::Parts,
    end: usize,
}

/// Reads one request head.
#[derive(Clone, Copy, Debug)]
pub struct RequestReader {
    limits: HeadLimits,
    start: usize,
    method: Span,
    stage: Stage,
}

impl RequestReader {
    /// A reader for one head; take a new one for the next.
    pub fn new(limits: HeadLimits) -> Self {
        Self {
            limits,
            start: 0,
            method: Span::default(),
            stage: Stage::Leading {
                line: 0,
                at: 0,
                skipped: 0,
            },
        }
    }

    /// Reads on. `data` is everything that came since the reader was made, from the first byte
    /// on; it may hold more than the head. `None` when the head goes on.
    ///
    /// # Errors
    /// The first thing in `data` that no accepted head can hold. The connection is then of no
    /// further use: where the next message begins is unknown.
    pub fn push(&mut self, data: &[u8]) -> Result<Option<RequestHead>, HeadError> {
        loop {
            let next = match self.stage {
                Stage::Leading { line, at, skipped } => self.leading(data, line, at, skipped)?,
                Stage::RequestLine(lines) => self.request_line(data, lines)?,
                Stage::Fields {
                    lines,
                    count,
                    first,
                } => {
                    return self.fields(data, lines, count, &first);
                }
            };
            let Some(stage) = next else {
                return Ok(None);
            };
            self.stage = stage;
        }
    }

    /// Skips empty lines, then goes over the method. `None`: more bytes are needed.
    fn leading(
        &mut self,
        data: &[u8],
        mut line: usize,
        mut at: usize,
        mut skipped: usize,
    ) -> Result<Option<Stage>, HeadError> {
        while let Some(byte) = data.get(at).copied() {
            let len = at - line;
            match (byte, data.get(at + 1)) {
                (b'\r', None) if len == 0 => break,
                (b'\r', Some(b'\n')) if len == 0 => {
                    skipped += 1;
                    if skipped > LEADING_CRLF_MAX {
                        return Err(HeadError::LeadingCrlf {
                            limit: LEADING_CRLF_MAX,
                        });
                    }
                    (line, at) = (line + 2, at + 2);
                }
                (b'\r', _) if len == 0 => return Err(HeadError::BareCr { at }),
                (b'\n', _) if len == 0 => return Err(HeadError::BareLf { at }),
                (b' ', _) if len > 0 => {
                    (self.start, self.method) = (line, Span::new(line, at));
                    return Ok(Some(Stage::RequestLine(Lines::starting(line, at))));
                }
                _ if !is_token_byte(byte) => return Err(HeadError::BadMethod { byte }),
                _ if len == METHOD_MAX => {
                    return Err(HeadError::MethodTooLong { limit: METHOD_MAX });
                }
                _ => at += 1,
            }
        }
        self.stage = Stage::Leading { line, at, skipped };
        Ok(None)
    }

    fn request_line(&mut self, data: &[u8], mut lines: Lines) -> Result<Option<Stage>, HeadError> {
        let HeadLimits {
            head_max,
            target_max,
            ..
        } = self.limits;
        let longest = self.method.len() + 1 + target_max + " HTTP/1.1\r\n".len();
        match lines.next(data, self.start + longest.min(head_max))? {
            Scan::More => {
                self.stage = Stage::RequestLine(lines);
                Ok(None)
            }
            Scan::Over if longest <= head_max => {
                Err(HeadError::TargetTooLong { limit: target_max })
            }
            Scan::Over => Err(HeadError::HeadTooLarge { limit: head_max }),
            Scan::Line(line) => {
                let first = self.first_line(data, line)?;
                Ok(Some(Stage::Fields {
                    lines,
                    count: 0,
                    first,
                }))
            }
        }
    }

    fn first_line(&self, data: &[u8], line: Range<usize>) -> Result<FirstLine, HeadError> {
        let start = self.method.end as usize + 1;
        let end = line.end + 2;
        let rest = data.get(start..line.end).ok_or(HeadError::BadRequestLine)?;
        let space = memchr(b' ', rest).ok_or(HeadError::BadRequestLine)?;
        let (text, after) = rest
            .split_at_checked(space)
            .ok_or(HeadError::BadRequestLine)?;
        // The version first: a target of another version follows other rules.
        let version = version(after.get(1..).unwrap_or_default())?;
        let method = Method::of(self.method.bytes(data));
        let mut parts = target::parts(method, text).map_err(HeadError::BadTarget)?;
        parts.path = parts.path.shifted(start);
        parts.query = parts.query.shifted(start);
        parts.authority = parts.authority.map(|span| span.shifted(start));
        let target = Span::new(start, start + space);
        Ok(FirstLine {
            method,
            version,
            target,
            parts,
            end,
        })
    }

    fn fields(
        &mut self,
        data: &[u8],
        mut lines: Lines,
        mut count: usize,
        first: &FirstLine,
    ) -> Result<Option<RequestHead>, HeadError> {
        let HeadLimits {
            head_max,
            fields_max,
            ..
        } = self.limits;
        let limit = fields_max.min(FIELDS_CEILING);
        loop {
            match lines.next(data, self.start + head_max)? {
                Scan::More => break,
                Scan::Over => return Err(HeadError::HeadTooLarge { limit: head_max }),
                Scan::Line(line) if line.is_empty() => {
                    return self.finish(data, first, lines.end()).map(Some);
                }
                Scan::Line(line) => {
                    count += 1;
                    if count > limit {
                        return Err(HeadError::TooManyFields { limit });
                    }
                    if matches!(data.get(line.start), Some(b' ' | b'\t')) {
                        return Err(HeadError::ObsFold);
                    }
                }
            }
        }
        self.stage = Stage::Fields {
            lines,
            count,
            first: *first,
        };
        Ok(None)
    }

    fn finish(&self, data: &[u8], first: &FirstLine, len: usize) -> Result<RequestHead, HeadError> {
        let bytes = data.get(self.start..len).unwrap_or_default();
        let mut room: Room<'_> = [const { MaybeUninit::uninit() }; FIELDS_CEILING];
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(bytes, &mut room) {
            Ok(httparse::Status::Complete(n)) if n == bytes.len() => {}
            _ => return Err(HeadError::BadField),
        }
        let seen = Seen::new(data, parsed.headers);
        let version = first.version;
        if let Some(known) = seen.repeated {
            return Err(HeadError::Repeated(known));
        }
        let host = seen.known.get(Known::Host);
        if host.is_none() && version == Version::Http11 {
            return Err(HeadError::NoHost);
        }
        if host.is_some_and(|host| !target::is_authority(host.bytes(data))) {
            return Err(HeadError::BadHost);
        }
        let framing = framing::of_request(version, &seen.claims)?;
        // RFC 9110, 10.1.1: an expectation on HTTP/1.0 is ignored.
        let expects = seen.expects_continue.filter(|_| version == Version::Http11);
        if expects == Some(false) {
            return Err(HeadError::BadExpectation);
        }
        Ok(RequestHead {
            len,
            method: first.method,
            method_text: self.method,
            version,
            target: first.target,
            path: first.parts.path,
            query: first.parts.query,
            authority: first.parts.authority.or(host),
            framing,
            // After CONNECT other bytes than HTTP may follow.
            keep_alive: seen.keep_alive(version) && first.method != Method::Connect,
            expects_continue: expects == Some(true) && framing.has_body(),
            has_wishes: seen.has_wishes,
            known: seen.known,
            section: Span::new(first.end, len),
        })
    }
}

/// Reads `HTTP/d.d`, which is case-sensitive (RFC 9112, 2.3).
fn version(text: &[u8]) -> Result<Version, HeadError> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            major @ b'0'..=b'9',
            b'.',
            minor @ b'0'..=b'9',
        ] => Err(HeadError::BadVersion {
            major: major - b'0',
            minor: minor - b'0',
        }),
        _ => Err(HeadError::BadRequestLine),
    }
}

#[cfg(test)]
mod tests {
    use super::super::target::TargetFault;
    use super::*;

    fn read(data: &[u8]) -> Result<Option<RequestHead>, HeadError> {
        RequestReader::new(HeadLimits::REQUEST).push(data)
    }

    /// Goal: a plain head gives what it says. Method: every public field of one head, with an
    /// empty line before it and the next message behind it.
    #[test]
    fn a_head_gives_what_it_says() {
        let data = b"\r\nPOST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: gate:80\r\n\
            Authorization:\tBearer k \r\nX-Empty:\r\nCONTENT-length: 12\r\nExpect: 100-Continue\r\n\
            Connection: X-A, close\r\n\r\n{\"a\":\"\r\n\r\n\"}";
        let head = read(data).unwrap().unwrap();
        assert_eq!(&data[head.len..head.len + 2], b"{\"");
        assert_eq!((head.method, head.version), (Method::Post, Version::Http11));
        assert_eq!(head.target.bytes(data), b"/v1/chat/completions?x=1");
        assert_eq!(head.path.bytes(data), b"/v1/chat/completions");
        assert_eq!(head.query.bytes(data), b"x=1");
        assert_eq!(head.authority.unwrap().bytes(data), b"gate:80");
        assert_eq!(head.framing, Framing::Length(12));
        assert!(!head.keep_alive && head.expects_continue);
        assert_eq!(
            head.known(Known::Authorization).unwrap().bytes(data),
            b"Bearer k"
        );
        assert_eq!(head.known(Known::ContentType), None);
        assert_eq!(head.fields(data).count(), 6);
        assert!(head.fields(data).any(|field| field == (b"X-Empty", b"")));
        assert!(head.connection_lists(data, b"x-a") && head.connection_lists(data, b"Close"));
        assert!(!head.connection_lists(data, b"host"));
    }

    /// Goal: the connection is kept as RFC 9112, 9.3 says, and `Expect` counts on 1.1 only.
    #[test]
    fn keeping_and_expecting_depend_on_the_version() {
        let of = |version: &str, fields: &str| {
            let text = format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
            read(text.as_bytes()).map(|head| head.unwrap())
        };
        let keeps = |version, fields| of(version, fields).unwrap().keep_alive;
        assert!(keeps("1.1", ""));
        assert!(keeps("1.1", "Connection: keep-alive\r\n"));
        assert!(!keeps("1.1", "Connection: foo\r\nConnection: ,Close ,\r\n"));
        assert!(!keeps("1.1", "Connection: keep-alive, close\r\n"));
        assert!(keeps("1.1", "Connection: closed\r\n"));
        assert!(!keeps("1.0", ""));
        assert!(keeps("1.0", "Connection: Keep-Alive\r\n"));
        let body = "Content-Length: 1\r\nExpect: 100-continue\r\n";
        assert!(of("1.1", body).unwrap().expects_continue);
        assert!(!of("1.0", body).unwrap().expects_continue);
        assert!(
            !of("1.1", "Expect: 100-continue\r\n")
                .unwrap()
                .expects_continue
        );
        assert_eq!(of("1.1", "Expect: tea\r\n"), Err(HeadError::BadExpectation));
        assert!(of("1.0", "Expect: tea\r\n").is_ok());
        assert_eq!(
            of("1.1", "Expect: 100-continue\r\nExpect: tea\r\n"),
            Err(HeadError::BadExpectation)
        );
    }

    /// Goal: damage is refused at the byte where it stands, not later. Method: all but the
    /// last byte of each case is fine so far, all of it is the error.
    #[test]
    fn damage_is_refused_at_its_own_byte() {
        use HeadError::{
            BadMethod, BadRequestLine, BadTarget, BadVersion, BareCr, BareLf, Control, LeadingCrlf,
            MethodTooLong, ObsFold,
        };
        let method = [b'A'; METHOD_MAX + 1];
        let cases: [(&[u8], HeadError); 17] = [
            (b"\x16", BadMethod { byte: 0x16 }),
            (b"\xef", BadMethod { byte: 0xef }),
            (b" ", BadMethod { byte: b' ' }),
            (b"\n", BareLf { at: 0 }),
            (b"\rP", BareCr { at: 0 }),
            (b"\r\n\0", BadMethod { byte: 0 }),
            (
                b"\r\n\r\n\r\n\r\n\r\n",
                LeadingCrlf {
                    limit: LEADING_CRLF_MAX,
                },
            ),
            (b"POST\t", BadMethod { byte: b'\t' }),
            (&method, MethodTooLong { limit: METHOD_MAX }),
            (b"PRI * HTTP/2.0\r\n", BadVersion { major: 2, minor: 0 }),
            (b"GET /\r\n", BadRequestLine),
            (b"GET / a HTTP/1.1\r\n", BadRequestLine),
            (b"GET * HTTP/1.1\r\n", BadTarget(TargetFault::Form)),
            (b"GET / HTTP/1.1\n", BareLf { at: 14 }),
            (b"GET / HTTP/1.1\r\nA: b\rc", BareCr { at: 20 }),
            (b"GET / HTTP/1.1\r\nA: b\0", Control { byte: 0, at: 20 }),
            (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n", ObsFold),
        ];
        for (bytes, error) in cases {
            let text = bytes.escape_ascii();
            assert_eq!(read(&bytes[..bytes.len() - 1]), Ok(None), "{text}");
            assert_eq!(read(bytes), Err(error), "{text}");
        }
    }

    /// Goal: what only a whole head can break is refused when it is whole.
    #[test]
    fn a_whole_head_that_breaks_a_rule_is_refused() {
        use HeadError::{BadField, BadHost, LengthAndCoding, NoHost, Repeated};
        let cases = [
            ("", NoHost),
            ("Host:\r\n", BadHost),
            ("Host: a/b\r\n", BadHost),
            ("Host: a\r\nhost: a\r\n", Repeated(Known::Host)),
            ("Host: a\r\nNoColon\r\n", BadField),
            ("Host: a\r\nX : b\r\n", BadField),
            ("Host: a\r\n: b\r\n", BadField),
            ("Host: a\r\nX(: b\r\n", BadField),
            ("Host: a\r\nX\u{e9}: b\r\n", BadField),
            (
                "Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
                Repeated(Known::ContentLength),
            ),
            (
                "Host: a\r\nx-api-key: 1\r\nX-Api-Key: 2\r\n",
                Repeated(Known::XApiKey),
            ),
            (
                "Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                LengthAndCoding,
            ),
        ];
        for (fields, error) in cases {
            let text = format!("POST / HTTP/1.1\r\n{fields}\r\n");
            assert_eq!(read(text.as_bytes()), Err(error), "{fields}");
        }
        assert!(read(b"GET / HTTP/1.0\r\n\r\n").unwrap().is_some());
    }

    /// Goal: an absolute target's authority wins over Host, which must be there all the same.
    #[test]
    fn the_authority_of_an_absolute_target_wins() {
        let data = b"POST http://b:81/v1?q HTTP/1.1\r\nHost: a\r\n\r\n";
        let head = read(data).unwrap().unwrap();
        assert_eq!(head.authority.unwrap().bytes(data), b"b:81");
        assert_eq!(
            (head.path.bytes(data), head.query.bytes(data)),
            (&b"/v1"[..], &b"q"[..])
        );
        assert_eq!(
            read(b"POST http://b/ HTTP/1.1\r\n\r\n"),
            Err(HeadError::NoHost)
        );
        let tunnel = read(b"CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\n")
            .unwrap()
            .unwrap();
        assert!(tunnel.method == Method::Connect && !tunnel.keep_alive && tunnel.path.is_empty());
    }

    /// Goal: each limit holds to the byte, and is an error before the rest comes.
    #[test]
    fn limits_hold_to_the_byte() {
        let limits = HeadLimits {
            head_max: 200,
            target_max: 20,
            fields_max: 3,
        };
        let read = |text: &str| RequestReader::new(limits).push(text.as_bytes());
        let target = |n| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "t".repeat(n));
        assert!(read(&target(19)).unwrap().is_some());
        assert_eq!(
            read(&target(20)),
            Err(HeadError::TargetTooLong { limit: 20 })
        );
        let endless = format!("GET /{}", "t".repeat(60));
        assert_eq!(read(&endless), Err(HeadError::TargetTooLong { limit: 20 }));

        let fields = |n| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(n));
        assert!(read(&fields(2)).unwrap().is_some());
        assert_eq!(read(&fields(3)), Err(HeadError::TooManyFields { limit: 3 }));

        let sized = |n: usize| {
            let start = "\r\nGET / HTTP/1.1\r\nHost: a\r\nX: ";
            format!("{start}{}\r\n\r\n", "x".repeat(n + 2 - start.len() - 4))
        };
        assert_eq!(read(&sized(200)).unwrap().unwrap().len, 202);
        assert_eq!(
            read(&sized(201)),
            Err(HeadError::HeadTooLarge { limit: 200 })
        );
        let endless = &sized(900)[..202];
        assert_eq!(read(endless), Err(HeadError::HeadTooLarge { limit: 200 }));
        assert_eq!(read(&endless[..201]), Ok(None));
    }
}
