//! Positions in a buffer, held instead of borrows or copies.

/// A half-open range of byte positions, `start..end`, in a buffer that somebody else owns.
///
/// 32 bits are enough: no buffer of the gateway is larger than 4 GiB (bodies are limited
/// to `limits.body_max`, which `check` bounds).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The span `start..end`; positions beyond 4 GiB saturate, and then name no bytes.
    pub fn new(start: usize, end: usize) -> Self {
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: narrow(start),
            end: narrow(end),
        }
    }

    /// The bytes of `buf` that this span names; `None` when it reaches outside.
    pub fn of(self, buf: &[u8]) -> Option<&[u8]> {
        buf.get(self.start as usize..self.end as usize)
    }

    /// The bytes of `buf` that this span names; empty when it reaches outside.
    pub fn bytes(self, buf: &[u8]) -> &[u8] {
        self.of(buf).unwrap_or_default()
    }

    /// Number of bytes.
    pub fn len(self) -> usize {
        (self.end.saturating_sub(self.start)) as usize
    }

    /// Whether the span names no byte.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }

    /// The same span, `by` bytes further on.
    #[must_use]
    pub fn shifted(self, by: usize) -> Self {
        Self::new(self.start as usize + by, self.end as usize + by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a span outside its buffer names nothing and never panics.
    #[test]
    fn a_span_outside_its_buffer_names_nothing() {
        assert_eq!(Span::new(1, 3).of(b"abcd"), Some(&b"bc"[..]));
        assert_eq!(Span::new(1, 9).of(b"abcd"), None);
        assert_eq!(Span { start: 3, end: 1 }.bytes(b"abcd"), b"");
        assert_eq!(Span { start: 3, end: 1 }.len(), 0);
        assert_eq!(Span::new(1, 3).shifted(1).of(b"abcd"), Some(&b"cd"[..]));
    }
}
