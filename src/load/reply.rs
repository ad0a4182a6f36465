//! Reads one HTTP/1.1 reply as it arrives, just closely enough to measure it.
//!
//! ```text
//!   Head ──► Length(n) ────────────────────────► Done
//!     │ └──► UntilClose ──────────────── end ──► Done
//!     └────► Size ► Data ► Gap ► Size … Trailer ► Done      (chunked)
//! ```
//!
//! Not the gateway's own reader on purpose: what measures should not share its mistakes, and
//! it may be cheaper, since it keeps nothing.
//!
//! Invariants
//! - I1 How the bytes are cut into feeds changes neither the counts nor the verdict.
//! - I2 Memory is bounded: a head of [`HEAD_MAX`], one line of [`super::events::LINE_MAX`].
//!
//! Source: RFC 9112, sections 4, 6 and 7.1; WHATWG HTML, section 9.2.6.

use super::ask::Shape;
use super::events::{Events, Seen};

/// Largest reply head in bytes.
const HEAD_MAX: usize = 32 << 10;
/// Most header fields of a reply.
const FIELDS_MAX: usize = 100;
/// Longest chunk size line or trailer section in bytes.
const CHUNK_LINE_MAX: u32 = 16 << 10;

/// Why a reply cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The head is not HTTP/1 or too long.
    Head,
    /// Length and coding of the body do not make sense.
    Framing,
    /// A chunk's size or end is wrong.
    Chunk,
    /// A line of the event stream is too long.
    Line,
    /// Bytes follow the reply that nobody asked for.
    Surplus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    UntilClose,
    /// In a chunk's size line; `hex` until something else came.
    Size {
        size: u64,
        seen: u32,
        hex: bool,
    },
    Data(u64),
    /// Between a chunk's data and its line end; `cr` was seen.
    Gap {
        cr: bool,
    },
    /// After the last chunk: bytes on the current line (without CR), bytes in all.
    Trailer {
        on_line: u32,
        seen: u32,
    },
    Done,
}

/// One reply.
#[derive(Debug)]
pub struct Reply {
    state: State,
    head: Vec<u8>,
    status: u16,
    is_kept: bool,
    is_events: bool,
    events: Events,
}

impl Reply {
    /// A reader for streams of `shape`.
    pub fn new(shape: Shape) -> Self {
        Self {
            state: State::Head,
            head: Vec::new(),
            status: 0,
            is_kept: false,
            is_events: false,
            events: Events::new(shape),
        }
    }

    /// Makes it ready for the next reply.
    pub fn reset(&mut self) {
        self.state = State::Head;
        self.head.clear();
        (self.status, self.is_kept, self.is_events) = (0, false, false);
        self.events.reset();
    }

    /// Status code; 0 before the head is in.
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// Whether the whole reply is in.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the connection can carry another request after this reply.
    pub const fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Whether the body is an event stream.
    pub const fn is_events(&self) -> bool {
        self.is_events
    }

    /// The peer closed its side. True when that is how this body ends.
    pub fn close(&mut self) -> bool {
        if self.state == State::UntilClose {
            self.state = State::Done;
        }
        self.is_done()
    }

    /// Takes the next bytes and says which events ended in them.
    ///
    /// # Errors
    /// [`Malformed`]; the connection is then of no more use.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Seen, Malformed> {
        let mut seen = Seen::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Head => self.head(rest)?,
                State::Length(left) => self.length(rest, left, &mut seen)?,
                State::UntilClose => {
                    self.body(rest, &mut seen)?;
                    &[]
                }
                State::Data(left) => self.data(rest, left, &mut seen)?,
                State::Size { size, seen, hex } => self.size(rest, size, seen, hex)?,
                State::Gap { cr } => self.gap(rest, cr)?,
                State::Trailer { on_line, seen } => self.trailer(rest, on_line, seen)?,
                State::Done => return Err(Malformed::Surplus),
            };
        }
        Ok(seen)
    }

    fn head<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Malformed> {
        let held = self.head.len();
        if held == 0 {
            if let Some(len) = self.parse(bytes)? {
                return bytes.get(len..).ok_or(Malformed::Head);
            }
            self.head.extend_from_slice(bytes);
        } else {
            self.head.extend_from_slice(bytes);
            let all = std::mem::take(&mut self.head);
            if let Some(len) = self.parse(&all)? {
                return bytes.get(len.saturating_sub(held)..).ok_or(Malformed::Head);
            }
            self.head = all;
        }
        if self.head.len() > HEAD_MAX {
            return Err(Malformed::Head); // I2
        }
        Ok(&[])
    }

    /// Length of the head, when all of it is there; the state is then that of the body.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut head = httparse::Response::new(&mut fields);
        let len = match head.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed::Head),
        };
        let status = head.code.unwrap_or_default();
        if (100..200).contains(&status) {
            return Ok(Some(len)); // an interim reply: the real one follows
        }
        self.status = status;
        self.is_kept = head.version == Some(1);
        let (mut length, mut chunked) = (None, false);
        for field in head.headers.iter() {
            let (name, value) = (field.name, field.value.trim_ascii());
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(decimal(value).ok_or(Malformed::Framing)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                chunked = value.eq_ignore_ascii_case(b"chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                self.is_kept &= !value.eq_ignore_ascii_case(b"close");
            } else if name.eq_ignore_ascii_case("content-type") {
                self.is_events = value.starts_with(b"text/event-stream");
            }
        }
        self.state = match (length, chunked) {
            (Some(_), true) => return Err(Malformed::Framing),
            (None, true) => SIZE,
            (Some(0), false) => State::Done,
            (Some(length), false) => State::Length(length),
            (None, false) if status == 204 || status == 304 => State::Done,
            (None, false) => {
                self.is_kept = false;
                State::UntilClose
            }
        };
        Ok(Some(len))
    }

    fn body(&mut self, bytes: &[u8], seen: &mut Seen) -> Result<(), Malformed> {
        if self.is_events {
            self.events.feed(bytes, seen)?;
        }
        Ok(())
    }

    fn length<'b>(
        &mut self,
        bytes: &'b [u8],
        left: u64,
        seen: &mut Seen,
    ) -> Result<&'b [u8], Malformed> {
        let (mine, rest, left) = take(bytes, left);
        self.body(mine, seen)?;
        self.state = if left == 0 {
            State::Done
        } else {
            State::Length(left)
        };
        Ok(rest)
    }

    fn data<'b>(
        &mut self,
        bytes: &'b [u8],
        left: u64,
        seen: &mut Seen,
    ) -> Result<&'b [u8], Malformed> {
        let (mine, rest, left) = take(bytes, left);
        self.body(mine, seen)?;
        self.state = if left == 0 {
            State::Gap { cr: false }
        } else {
            State::Data(left)
        };
        Ok(rest)
    }

    fn size<'b>(
        &mut self,
        bytes: &'b [u8],
        mut size: u64,
        mut seen: u32,
        mut hex: bool,
    ) -> Result<&'b [u8], Malformed> {
        for (at, &byte) in bytes.iter().enumerate() {
            seen += 1;
            match char::from(byte).to_digit(16) {
                _ if byte == b'\n' && seen > 1 => {
                    self.state = match size {
                        0 => State::Trailer {
                            on_line: 0,
                            seen: 0,
                        },
                        size => State::Data(size),
                    };
                    return Ok(bytes.get(at + 1..).unwrap_or_default());
                }
                Some(digit) if hex => {
                    size = size
                        .checked_mul(16)
                        .ok_or(Malformed::Chunk)?
                        .saturating_add(u64::from(digit));
                }
                None if seen == 1 => return Err(Malformed::Chunk),
                _ => hex = false,
            }
            if seen > CHUNK_LINE_MAX {
                return Err(Malformed::Chunk);
            }
        }
        self.state = State::Size { size, seen, hex };
        Ok(&[])
    }

    fn gap<'b>(&mut self, bytes: &'b [u8], cr: bool) -> Result<&'b [u8], Malformed> {
        self.state = match (bytes.first(), cr) {
            (Some(b'\r'), false) => State::Gap { cr: true },
            (Some(b'\n'), true) => SIZE,
            _ => return Err(Malformed::Chunk),
        };
        Ok(bytes.get(1..).unwrap_or_default())
    }

    fn trailer<'b>(
        &mut self,
        bytes: &'b [u8],
        mut on_line: u32,
        mut seen: u32,
    ) -> Result<&'b [u8], Malformed> {
        for (at, &byte) in bytes.iter().enumerate() {
            seen += 1;
            match byte {
                b'\n' if on_line == 0 => {
                    self.state = State::Done;
                    return Ok(bytes.get(at + 1..).unwrap_or_default());
                }
                b'\n' => on_line = 0,
                b'\r' => {}
                _ => on_line += 1,
            }
            if seen > CHUNK_LINE_MAX {
                return Err(Malformed::Chunk);
            }
        }
        self.state = State::Trailer { on_line, seen };
        Ok(&[])
    }
}

const SIZE: State = State::Size {
    size: 0,
    seen: 0,
    hex: true,
};

/// What of `bytes` belongs to a body that has `left` to come, the rest, and what is left then.
fn take(bytes: &[u8], left: u64) -> (&[u8], &[u8], u64) {
    let mine = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    let (mine, rest) = bytes.split_at_checked(mine).unwrap_or((bytes, &[]));
    let used = u64::try_from(mine.len()).unwrap_or(left);
    (mine, rest, left.saturating_sub(used))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if !text.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A role event, a content event, the end mark; cut into chunks at odd places, with an
    /// extension, both cases of hex digits and a trailer.
    fn stream() -> Vec<u8> {
        let mut all = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
            Transfer-Encoding: chunked\r\n\r\n"
            .to_vec();
        let role = r#"data: {"choices":[{"delta":{"content":""}}]"#;
        let content = r#"ta: {"choices":[{"delta":{"content":"hi"}}]}"#;
        for data in [role, "}\n\nda", content, "\n\ndata: [DONE]\n\n"] {
            all.extend_from_slice(format!("{:X};x=y\r\n{data}\r\n", data.len()).as_bytes());
        }
        all.extend_from_slice(b"0\r\nt: x\r\n\r\n");
        all
    }

    fn read(pieces: &[&[u8]]) -> Result<(Seen, Reply), Malformed> {
        let mut reply = Reply::new(Shape::Chat);
        let mut all = Seen::default();
        for piece in pieces {
            let seen = reply.feed(piece)?;
            all.content += seen.content;
            all.other += seen.other;
            all.end |= seen.end;
            all.error |= seen.error;
        }
        Ok((all, reply))
    }

    /// Goal: I1. Method: a chunked stream cut at every pair of places.
    #[test]
    fn cutting_a_reply_changes_nothing() {
        let all = stream();
        for i in 0..=all.len() {
            for j in i..=all.len() {
                let pieces = [&all[..i], &all[i..j], &all[j..]];
                let (seen, reply) = read(&pieces).unwrap();
                assert_eq!((seen.content, seen.other), (1, 1), "cut at {i} and {j}");
                assert!(seen.end && !seen.error);
                assert!(reply.is_done() && reply.is_kept() && reply.is_events());
                assert_eq!(reply.status(), 200);
            }
        }
    }

    /// Goal: each framing ends where it should, and says whether the connection lives on.
    #[test]
    fn each_framing_ends_where_it_should() {
        for (bytes, done, kept) in [
            (
                &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"[..],
                true,
                true,
            ),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok",
                false,
                true,
            ),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: Close\r\n\r\n",
                true,
                false,
            ),
            (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", true, false),
            (b"HTTP/1.1 204 No\r\n\r\n", true, true),
            (
                b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
                true,
                true,
            ),
            (b"HTTP/1.1 200 OK\r\n\r\nuntil close", false, false),
        ] {
            let (_, mut reply) = read(&[bytes]).unwrap();
            let want = (done, kept);
            assert_eq!(
                (reply.is_done(), reply.is_kept()),
                want,
                "{}",
                bytes.escape_ascii()
            );
            assert_eq!(reply.close(), done || bytes.ends_with(b"until close"));
        }
    }

    /// Goal: crooked replies are malformed, not miscounted.
    #[test]
    fn crooked_replies_are_malformed() {
        const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        for (tail, want) in [
            (&b"x\r\n"[..], Malformed::Chunk),
            (b"\r\n", Malformed::Chunk),
            (b"1\r\nabc", Malformed::Chunk),
            (b"fffffffffffffffff\r\n", Malformed::Chunk),
            (b"0\r\n\r\nmore", Malformed::Surplus),
        ] {
            assert_eq!(
                read(&[CHUNKED, tail]).unwrap_err(),
                want,
                "{}",
                tail.escape_ascii()
            );
        }
        assert_eq!(read(&[b"SSH-2.0-x\r\n"]).unwrap_err(), Malformed::Head);
        assert_eq!(read(&[&vec![b'a'; 1 << 16]]).unwrap_err(), Malformed::Head);
        let twice = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n";
        assert_eq!(read(&[twice]).unwrap_err(), Malformed::Framing);
    }
}
