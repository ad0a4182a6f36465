//! Splits a byte stream of `application/vnd.amazon.eventstream` into frames without copying
//! them, reads a frame, and writes one.
//!
//! ```text
//!   total u32 │ headers u32 │ crc32 of these 8 │ headers … │ payload … │ crc32 of all before
//!   └───────────── prelude, 12 bytes ──────────┘
//!   a header:  name length u8 │ name │ type u8 │ (value length u16) │ value
//! ```
//!
//! All numbers are big-endian. The splitter is an observer like [`super::sse::Splitter`]: the
//! caller keeps the bytes, the splitter says where a frame ends and checks its prelude, so that
//! a garbled length is found before anybody waits for bytes that never come. [`frame`] checks
//! the whole.
//!
//! Invariants
//! - I1 How a stream is cut into feeds never changes the ends that are found.
//! - I2 Memory is constant: the splitter keeps the bytes of one prelude, no data.
//! - I3 A frame longer than the limit is a fault at its prelude.
//! - I4 What the writer writes, the splitter and [`frame`] read back.
//!
//! Source: Amazon event stream specification (Smithy 2.0, "Amazon Event Stream
//! Specification"); limits of headers and payload as the AWS SDKs have them.

use crate::base::bytes::TxBuf;

/// The media type of such a stream.
pub const MEDIA_TYPE: &str = "application/vnd.amazon.eventstream";

/// Bytes of a prelude, its checksum included.
const PRELUDE: usize = 12;

/// Bytes of the checksum at the end of a frame.
const TRAILER: usize = 4;

/// Most bytes of the headers of a frame.
pub const HEADERS_MAX: usize = 128 << 10;

/// Most bytes of the payload of a frame.
pub const PAYLOAD_MAX: usize = 24 << 20;

/// Most bytes of a frame.
pub const FRAME_MAX: usize = PRELUDE + HEADERS_MAX + PAYLOAD_MAX + TRAILER;

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// The checksum of the prelude is wrong.
    Prelude,
    /// The checksum of the frame is wrong.
    Checksum,
    /// Its lengths contradict each other.
    Lengths,
    /// It is longer than `limit`, in bytes.
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// A header cannot be read.
    Header,
}

/// Finds where the frames of a stream end.
#[derive(Clone, Debug)]
pub struct Splitter {
    /// The prelude so far.
    prelude: [u8; PRELUDE],
    /// How many bytes of it are there.
    have: usize,
    /// Bytes of the frame that are still to come, once the prelude is whole.
    left: usize,
    max: usize,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new(FRAME_MAX)
    }
}

impl Splitter {
    /// At the start of a stream whose frames have `max` bytes at most, and never more than
    /// [`FRAME_MAX`].
    pub fn new(max: usize) -> Self {
        Self {
            prelude: [0; PRELUDE],
            have: 0,
            left: 0,
            max: max.min(FRAME_MAX),
        }
    }

    /// Looks at the next `bytes` of the stream up to the first end of a frame: its position,
    /// one past the last byte that was looked at; what lies behind is to be given again.
    /// `None`: all was looked at, and no frame ended.
    ///
    /// # Errors
    /// The prelude is garbled or says that the frame is too long (I3). Nothing after that can
    /// be read.
    pub fn next_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, FrameFault> {
        let mut at = 0;
        if self.have < PRELUDE {
            let room = self.prelude.get_mut(self.have..).unwrap_or_default();
            let now = room.len().min(bytes.len());
            for (to, from) in room.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.have += now;
            if self.have < PRELUDE {
                return Ok(None);
            }
            at = now;
            self.left = prelude(&self.prelude, self.max)?.total - PRELUDE;
        }
        let now = self.left.min(bytes.len() - at);
        self.left -= now;
        if self.left > 0 {
            return Ok(None);
        }
        self.have = 0;
        Ok(Some(at + now))
    }

    /// Looks at the next `bytes` of the stream; `on_end` gets the position (in `bytes`, one
    /// past the last byte) of each end of a frame.
    ///
    /// # Errors
    /// As [`Splitter::next_end`]; the ends before were reported.
    pub fn feed(&mut self, bytes: &[u8], mut on_end: impl FnMut(usize)) -> Result<(), FrameFault> {
        let mut from = 0;
        while from < bytes.len() {
            let Some(end) = self.next_end(bytes.get(from..).unwrap_or_default())? else {
                break;
            };
            from += end;
            on_end(from);
        }
        Ok(())
    }

    /// Whether the stream so far ends where a frame ended (or where none has begun): a stream
    /// that stops anywhere else was cut in the middle of one.
    pub const fn between_frames(&self) -> bool {
        self.have == 0
    }
}

/// What a prelude says.
struct Prelude {
    total: usize,
    headers: usize,
}

fn prelude(bytes: &[u8], max: usize) -> Result<Prelude, FrameFault> {
    let number = |at| u32_at(bytes, at).ok_or(FrameFault::Lengths);
    let (total, headers, sum) = (number(0)?, number(4)?, number(8)?);
    if crc32fast::hash(bytes.get(..8).unwrap_or_default()) != sum {
        return Err(FrameFault::Prelude);
    }
    let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let (total, headers) = (size(total), size(headers));
    if total > max || headers > HEADERS_MAX {
        return Err(FrameFault::TooLong { limit: max });
    }
    if total < PRELUDE + TRAILER || headers > total - PRELUDE - TRAILER {
        return Err(FrameFault::Lengths);
    }
    Ok(Prelude { total, headers })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

/// What one frame says, as far as a relay needs to know. Everything is borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame<'a> {
    /// `:message-type`: `event`, `exception` or `error`; some senders leave it out.
    pub message: Option<&'a [u8]>,
    /// `:event-type`.
    pub event: Option<&'a [u8]>,
    /// `:exception-type`.
    pub exception: Option<&'a [u8]>,
    /// `:error-code`, of an error that the service has no exception for.
    pub error_code: Option<&'a [u8]>,
    /// `:error-message`, with it.
    pub error_message: Option<&'a [u8]>,
    /// `:content-type` of the payload.
    pub content_type: Option<&'a [u8]>,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The name that readers of events go by: the type of the exception or of the event, or
    /// the code of the error.
    pub fn name(&self) -> Option<&'a [u8]> {
        self.exception.or(self.error_code).or(self.event)
    }

    /// Whether it reports a failure instead of an event.
    pub fn is_failure(&self) -> bool {
        self.exception.is_some()
            || self.error_code.is_some()
            || matches!(self.message, Some(b"exception" | b"error"))
    }
}

/// Reads one whole frame: the bytes from one end that [`Splitter`] reported to the next.
/// Headers of unknown names are stepped over; of a name that stands twice the last one counts.
///
/// # Errors
/// A checksum is wrong, the lengths do not fit the bytes, or a header cannot be read.
pub fn frame(bytes: &[u8]) -> Result<Frame<'_>, FrameFault> {
    let Prelude { total, headers } = prelude(bytes, FRAME_MAX)?;
    if total != bytes.len() {
        return Err(FrameFault::Lengths);
    }
    let end = total - TRAILER;
    let sum = u32_at(bytes, end).ok_or(FrameFault::Lengths)?;
    if crc32fast::hash(bytes.get(..end).unwrap_or_default()) != sum {
        return Err(FrameFault::Checksum);
    }
    let mut frame = Frame {
        payload: bytes.get(PRELUDE + headers..end).unwrap_or_default(),
        ..Frame::default()
    };
    let mut rest = bytes
        .get(PRELUDE..PRELUDE + headers)
        .ok_or(FrameFault::Lengths)?;
    while !rest.is_empty() {
        let (name, value, after) = header(rest).ok_or(FrameFault::Header)?;
        rest = after;
        match name {
            b":message-type" => frame.message = value,
            b":event-type" => frame.event = value,
            b":exception-type" => frame.exception = value,
            b":error-code" => frame.error_code = value,
            b":error-message" => frame.error_message = value,
            b":content-type" => frame.content_type = value,
            _ => {}
        }
    }
    Ok(frame)
}

/// A header's name, its value where that is a string, and the bytes behind it.
type Header<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

/// The header at the start of `bytes`.
fn header(bytes: &[u8]) -> Option<Header<'_>> {
    let (&length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(length))?;
    let (&kind, rest) = rest.split_first()?;
    let fixed = match kind {
        0 | 1 => 0,
        2 => 1,
        3 => 2,
        4 => 4,
        5 | 8 => 8,
        9 => 16,
        6 | 7 => {
            let (length, rest) = rest.split_at_checked(2)?;
            let length = u16::from_be_bytes(length.try_into().ok()?);
            let (value, rest) = rest.split_at_checked(usize::from(length))?;
            return Some((name, (kind == 7).then_some(value), rest));
        }
        _ => return None,
    };
    Some((name, None, rest.get(fixed..)?))
}

/// Appends an event of this type; its payload, JSON, is the concatenation of `parts`.
pub fn put_event(tx: &mut TxBuf, event: &str, parts: &[&[u8]]) {
    let headers = [
        (":event-type", event),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ];
    put_frame(tx, &headers, parts);
}

/// Appends an exception of this type; its payload, JSON, is the concatenation of `parts`.
pub fn put_exception(tx: &mut TxBuf, exception: &str, parts: &[&[u8]]) {
    let headers = [
        (":exception-type", exception),
        (":content-type", "application/json"),
        (":message-type", "exception"),
    ];
    put_frame(tx, &headers, parts);
}

/// Appends one frame: `headers` of names and string values, and the payload in parts. What
/// goes beyond the limits of a frame is left out whole; the callers' frames are far from that.
pub fn put_frame(tx: &mut TxBuf, headers: &[(&str, &str)], parts: &[&[u8]]) {
    let room = |(name, value): &(&str, &str)| 4 + name.len() + value.len();
    let headers_len: usize = headers.iter().map(room).sum();
    let payload_len: usize = parts.iter().map(|part| part.len()).sum();
    debug_assert!(headers_len <= HEADERS_MAX && payload_len <= PAYLOAD_MAX);
    if headers_len > HEADERS_MAX || payload_len > PAYLOAD_MAX {
        return;
    }
    let total = PRELUDE + headers_len + payload_len + TRAILER;
    tx.reserve(total);
    let mut sum = crc32fast::Hasher::new();
    let mut put = |bytes: &[u8]| {
        sum.update(bytes);
        tx.put(bytes);
    };
    put(&be32(total));
    put(&be32(headers_len));
    let mut first = crc32fast::Hasher::new();
    first.update(&be32(total));
    first.update(&be32(headers_len));
    put(&first.finalize().to_be_bytes());
    for (name, value) in headers {
        put(&[u8::try_from(name.len()).unwrap_or(u8::MAX)]);
        put(name.as_bytes());
        put(&[7]);
        put(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        put(value.as_bytes());
    }
    for part in parts {
        put(part);
    }
    tx.put(&sum.finalize().to_be_bytes());
}

/// A length within [`FRAME_MAX`], as the wire has it.
fn be32(n: usize) -> [u8; 4] {
    u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests;
