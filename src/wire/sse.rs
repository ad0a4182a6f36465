//! Splits a byte stream into server-sent events without copying them.
//!
//! ```text
//!   feed #1: b"data: {\"a\"            feed #2: b":1}\n\ndata: [DONE]\n\n"
//!            └── no end yet ──┘                  └ end ┘└── one more ──┘
//! ```
//!
//! The splitter is an *observer*: the relay has already written the bytes downstream when
//! it calls [`Splitter::feed`], so nothing here can delay or change a token.
//!
//! A blank line ends at its first byte: after `\r\n\r` the end is known, and the `\n` that
//! may follow belongs to what comes next, where it says nothing ([`frame`] skips it). Were
//! the end to wait for that `\n`, an event of a provider that ends lines with CR would
//! arrive one event late.
//!
//! Invariants
//! - I1 How a stream is cut into feeds never changes the ends that are found.
//! - I2 Memory is constant: the splitter keeps one byte of history, no data.
//! - I3 A byte order mark is skipped at the start of the stream and nowhere else.
//!
//! Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream".

pub mod reader;

use memchr::{memchr, memchr2};

/// UTF-8's byte order mark, which may stand at the start of a stream.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// What the last byte was, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// None so far.
    Nothing,
    /// The first byte of a byte order mark.
    Bom1,
    /// The second one.
    Bom2,
    /// The end of an event, or the whole byte order mark.
    Blank,
    /// The end of an event, by a CR: an LF may belong to it.
    BlankCr,
    /// The end of a line that is not blank.
    Line,
    /// The same, by a CR.
    LineCr,
    /// A byte within a line.
    Byte,
}

/// Finds where the events of a stream end.
#[derive(Clone, Debug)]
pub struct Splitter {
    last: Last,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new()
    }
}

impl Splitter {
    /// At the start of a stream.
    pub const fn new() -> Self {
        Self {
            last: Last::Nothing,
        }
    }

    /// Looks at the next `bytes` of the stream; `on_end` gets the position (in `bytes`, one
    /// past the last byte) of each end of an event: behind the first byte of its blank line's
    /// line end. Blank lines in a row end an empty event each.
    pub fn feed(&mut self, bytes: &[u8], mut on_end: impl FnMut(usize)) {
        let mut from = 0;
        while let Some(end) = self.next_end(bytes.get(from..).unwrap_or_default()) {
            from += end;
            on_end(from);
        }
    }

    /// Looks at the next `bytes` of the stream up to the first end of an event: its position,
    /// one past the last byte that was looked at; what lies behind is to be given again.
    /// `None`: all was looked at, and no event ended.
    pub fn next_end(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.last == Last::Byte {
                let rest = bytes.get(at..).unwrap_or_default();
                let found = memchr2(b'\n', b'\r', rest)?;
                let is_cr = rest.get(found) == Some(&b'\r');
                self.last = if is_cr { Last::LineCr } else { Last::Line };
                at += found + 1;
                continue;
            }
            at += 1;
            self.last = match (self.last, byte) {
                (Last::Nothing, 0xEF) => Last::Bom1,
                (Last::Bom1, 0xBB) => Last::Bom2,
                (Last::BlankCr, b'\n') | (Last::Bom2, 0xBF) => Last::Blank, // I3
                (Last::LineCr | Last::Bom1 | Last::Bom2, b'\n') => Last::Line,
                (Last::Bom1 | Last::Bom2, b'\r') => Last::LineCr,
                (_, b'\n') => {
                    self.last = Last::Blank;
                    return Some(at);
                }
                (_, b'\r') => {
                    self.last = Last::BlankCr;
                    return Some(at);
                }
                _ => Last::Byte,
            };
        }
        None
    }

    /// Whether the last byte was the LF that ended an event. An event that is known to end
    /// with such an LF may then be left out: nothing here would change.
    pub fn is_blank(&self) -> bool {
        self.last == Last::Blank
    }

    /// Whether the stream so far ends where an event ended (or where none has begun): a
    /// stream that stops anywhere else was cut in the middle of one.
    pub fn between_events(&self) -> bool {
        matches!(self.last, Last::Nothing | Last::Blank | Last::BlankCr)
    }
}

/// What one event says, as far as a relay needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    first: Option<&'a [u8]>,
    data_lines: usize,
    /// The `event` field; the last one counts. `None` or empty mean `message`.
    pub event: Option<&'a [u8]>,
    /// An `error` field: no part of the standard; llama.cpp's server reports a failure in
    /// mid-stream this way (`error: {"code":500, …}`).
    pub error: Option<&'a [u8]>,
    /// Whether there is a comment.
    pub comment: bool,
    /// Whether there is a field of any name.
    pub field: bool,
}

impl<'a> Frame<'a> {
    /// The data: borrowed from the event when it is one line, else the lines joined by LF
    /// in `scratch` (cleared first). `None` when there is no data line: such an event is
    /// never dispatched to a client's application.
    pub fn data<'s>(&self, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]>
    where
        'a: 's,
    {
        if self.data_lines < 2 {
            return self.first;
        }
        scratch.clear();
        for line in Lines::new(self.bytes) {
            if let (b"data", value) = field(line) {
                scratch.extend_from_slice(value);
                scratch.push(b'\n');
            }
        }
        scratch.pop();
        Some(scratch)
    }

    /// How many data lines there are.
    pub fn data_lines(&self) -> usize {
        self.data_lines
    }

    /// Comments and nothing else: a sign of life, no event.
    pub fn is_comment_only(&self) -> bool {
        self.comment && !self.field
    }

    /// Nothing at all: a blank line after another.
    pub fn is_empty(&self) -> bool {
        !self.comment && !self.field
    }
}

/// Reads the fields of one whole event: the bytes from one end that [`Splitter::feed`]
/// reported to the next. The line feed of the blank line before may stand at the start. A
/// byte order mark at the start is skipped, too.
pub fn frame(bytes: &[u8]) -> Frame<'_> {
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    let mut frame = Frame {
        bytes,
        first: None,
        data_lines: 0,
        event: None,
        error: None,
        comment: false,
        field: false,
    };
    for line in Lines::new(bytes) {
        match field(line) {
            _ if line.is_empty() => continue,
            (b"", _) if line.starts_with(b":") => {
                frame.comment = true;
                continue;
            }
            (b"data", value) => {
                frame.first = frame.first.or(Some(value));
                frame.data_lines += 1;
            }
            (b"event", value) => frame.event = Some(value),
            (b"error", value) => frame.error = Some(value),
            _ => {}
        }
        frame.field = true;
    }
    frame
}

/// Name and value of a line; one space behind the colon is dropped.
fn field(line: &[u8]) -> (&[u8], &[u8]) {
    let colon = memchr(b':', line).unwrap_or(line.len());
    let (name, value) = line.split_at_checked(colon).unwrap_or((line, b""));
    let value = value.strip_prefix(b":").unwrap_or(value);
    (name, value.strip_prefix(b" ").unwrap_or(value))
}

/// The lines of an event, without their ends.
struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr2(b'\n', b'\r', self.rest).unwrap_or(self.rest.len());
        let (line, tail) = self.rest.split_at_checked(end)?;
        self.rest = tail
            .strip_prefix(b"\r\n")
            .unwrap_or_else(|| tail.get(1..).unwrap_or_default());
        Some(line)
    }
}
