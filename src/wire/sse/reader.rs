//! Reads server-sent events as a browser does: names, data, ids, reconnection time.
//!
//! ```text
//!   bytes ──▶ line (kept while it is cut) ──▶ data, event, id ──▶ blank line: Event
//! ```
//!
//! This one copies; it is for whoever consumes a stream (the load generator, tests). The
//! relay only needs [`super::Splitter`].
//!
//! Invariants
//! - I1 How a stream is cut into feeds never changes the events.
//! - I2 Memory is bounded: line and data of one event hold at most `event_max` bytes each.
//!
//! Source: WHATWG HTML, section 9.2.6. Bytes are handed out as they came; who wants text
//! decodes with replacement.

use super::{BOM, field};
use memchr::memchr2;
use std::fmt;

/// An event as it is dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its type; `message` when the stream named none.
    pub event: &'a [u8],
    /// Its data lines, joined by LF.
    pub data: &'a [u8],
    /// The last id that the stream set, in this event or before.
    pub id: &'a [u8],
}

/// An event is larger than the reader may hold. The stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventTooLarge {
    /// The limit, in bytes.
    pub limit: usize,
}

impl fmt::Display for EventTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "expected events of up to {} bytes, came a larger one",
            self.limit
        )
    }
}

impl std::error::Error for EventTooLarge {}

/// What [`Reader::default`] allows, in bytes: more than any provider's largest event (a
/// base64 image in one delta).
pub const EVENT_MAX: usize = 16 << 20;

/// Reads a stream that arrives in pieces.
#[derive(Clone, Debug)]
pub struct Reader {
    event_max: usize,
    line: Vec<u8>,
    data: Vec<u8>,
    event: Vec<u8>,
    id: Vec<u8>,
    retry_ms: Option<u64>,
    after_cr: bool,
    first_line: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new(EVENT_MAX)
    }
}

impl Reader {
    /// At the start of a stream whose events are at most `event_max` bytes.
    pub fn new(event_max: usize) -> Self {
        Self {
            event_max,
            line: Vec::new(),
            data: Vec::new(),
            event: Vec::new(),
            id: Vec::new(),
            retry_ms: None,
            after_cr: false,
            first_line: true,
        }
    }

    /// Reads the next `bytes`; `on_event` gets each event as its blank line is met. What has
    /// no blank line when the stream ends is dropped, as the standard says.
    ///
    /// # Errors
    /// A line or an event exceeds the limit.
    pub fn feed<F>(&mut self, bytes: &[u8], mut on_event: F) -> Result<(), EventTooLarge>
    where
        F: FnMut(Event<'_>),
    {
        let mut rest = bytes;
        loop {
            if self.after_cr && !rest.is_empty() {
                self.after_cr = false;
                rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            }
            let Some(end) = memchr2(b'\n', b'\r', rest) else {
                return self.keep(rest);
            };
            let (line, tail) = rest.split_at_checked(end).unwrap_or((rest, b""));
            self.after_cr = tail.starts_with(b"\r");
            rest = tail.get(1..).unwrap_or_default();
            if self.line.is_empty() {
                self.line_done(line, &mut on_event)?;
            } else {
                self.keep(line)?;
                let mut whole = std::mem::take(&mut self.line);
                self.line_done(&whole, &mut on_event)?;
                whole.clear();
                self.line = whole;
            }
        }
    }

    /// The reconnection time that the stream asked for, in milliseconds.
    pub fn retry_ms(&self) -> Option<u64> {
        self.retry_ms
    }

    /// Whether nothing has come since the last event's end.
    pub fn between_events(&self) -> bool {
        self.line.is_empty() && self.data.is_empty() && self.event.is_empty()
    }

    fn keep(&mut self, part: &[u8]) -> Result<(), EventTooLarge> {
        if self.line.len() + part.len() > self.event_max {
            return Err(self.too_large());
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    fn too_large(&self) -> EventTooLarge {
        EventTooLarge {
            limit: self.event_max,
        }
    }

    fn line_done<F>(&mut self, line: &[u8], on_event: &mut F) -> Result<(), EventTooLarge>
    where
        F: FnMut(Event<'_>),
    {
        let mut line = line;
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix(BOM).unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(on_event);
            return Ok(());
        }
        match field(line) {
            (b"data", value) => {
                if self.data.len() + value.len() + 1 > self.event_max {
                    return Err(self.too_large());
                }
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            (b"event", value) => value.clone_into(&mut self.event),
            (b"id", value) if !value.contains(&0) => value.clone_into(&mut self.id),
            (b"retry", value) if !value.is_empty() && value.iter().all(u8::is_ascii_digit) => {
                let number = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
                self.retry_ms = number.or(self.retry_ms);
            }
            _ => {}
        }
        Ok(())
    }

    fn dispatch<F: FnMut(Event<'_>)>(&mut self, on_event: &mut F) {
        if self.data.pop().is_some() {
            on_event(Event {
                event: if self.event.is_empty() {
                    b"message"
                } else {
                    &self.event
                },
                data: &self.data,
                id: &self.id,
            });
        }
        self.data.clear();
        self.event.clear();
    }
}
