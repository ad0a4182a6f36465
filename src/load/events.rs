//! Counts server-sent events and tells content from the rest.
//!
//! An event is taken by its `data:` line, the form that providers send; lines are found with
//! memchr and looked at where they lie, copied only when a feed cuts one.
//!
//! Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream".

use super::ask::Shape;
use super::reply::Malformed;
use memchr::memmem::Finder;

/// Longest line of an event stream in bytes.
pub(crate) const LINE_MAX: usize = 1 << 20;

/// What a piece of an event stream held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Events with text of the answer in them.
    pub content: u32,
    /// Events without: the role, the usage, pings.
    pub other: u32,
    /// `[DONE]` came.
    pub end: bool,
    /// An event carried an error.
    pub error: bool,
}

/// Splits lines and counts events.
#[derive(Debug)]
pub(crate) struct Events {
    key: Finder<'static>,
    carry: Vec<u8>,
}

impl Events {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            key: Finder::new(shape.key()),
            carry: Vec::new(),
        }
    }

    pub(crate) fn reset(&mut self) {
        self.carry.clear();
    }

    /// Takes the next bytes of the body, its chunk framing taken out.
    pub(crate) fn feed(&mut self, body: &[u8], seen: &mut Seen) -> Result<(), Malformed> {
        let mut rest = body;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            let (line, tail) = rest.split_at_checked(at).unwrap_or((rest, &[]));
            rest = tail.get(1..).unwrap_or_default();
            if self.carry.is_empty() {
                line_seen(&self.key, line, seen);
            } else {
                self.carry.extend_from_slice(line);
                line_seen(&self.key, &self.carry, seen);
                self.carry.clear();
            }
        }
        if self.carry.len() + rest.len() > LINE_MAX {
            return Err(Malformed::Line);
        }
        self.carry.extend_from_slice(rest);
        Ok(())
    }
}

fn line_seen(key: &Finder<'_>, line: &[u8], seen: &mut Seen) {
    let Some(data) = line.strip_prefix(b"data:") else {
        return;
    };
    let data = data.trim_ascii();
    if data == b"[DONE]" {
        seen.end = true;
    } else if has_text(key, data) {
        seen.content += 1;
    } else if data.starts_with(b"{\"error\"") {
        seen.error = true;
    } else {
        seen.other += 1;
    }
}

/// Whether the key is there with a string behind it that is not empty.
fn has_text(key: &Finder<'_>, data: &[u8]) -> bool {
    let Some(at) = key.find(data) else {
        return false;
    };
    let value = data.get(at + key.needle().len()..).unwrap_or_default();
    let value = value.trim_ascii_start();
    value.first() == Some(&b'"') && value.get(1).is_some_and(|&byte| byte != b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(shape: Shape, stream: &[u8]) -> Seen {
        let mut seen = Seen::default();
        Events::new(shape).feed(stream, &mut seen).unwrap();
        seen
    }

    /// Goal: content, other events, the end mark and errors are told apart.
    #[test]
    fn events_are_told_apart() {
        let stream = b": ping\n\n\
            data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\n\
            data:{\"choices\":[{\"delta\":{\"content\": \"b\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":null}}]}\n\n\
            data: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n";
        let seen = count(Shape::Chat, stream);
        assert_eq!(
            (seen.content, seen.other, seen.end, seen.error),
            (2, 3, true, false)
        );
        let text = b"data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
        assert_eq!(count(Shape::Completions, text).content, 1);
        let error = count(Shape::Chat, b"data: {\"error\":{\"message\":\"x\"}}\n\n");
        assert!(error.error && !error.end);
    }

    /// Goal: a line without an end does not eat the memory.
    #[test]
    fn an_endless_line_is_refused() {
        let mut events = Events::new(Shape::Chat);
        let piece = vec![b'a'; 1 << 16];
        let fed = (0..17).try_for_each(|_| events.feed(&piece, &mut Seen::default()));
        assert_eq!(fed, Err(Malformed::Line));
    }
}
