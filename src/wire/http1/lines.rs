//! Finds the lines of a head that comes in pieces, and refuses bytes that no head has.
//!
//! ```text
//!   H o s t :   a ␍ ␊ X - A :   b        ␊ without ␍, ␍ without ␊, NUL …  → error, at that byte
//!   └ line ──────┘   └ next      └ at    ␍ as the last byte so far        → wait for one more
//! ```
//!
//! Invariants
//! - I1 Every byte before `at` is scanned and never looked at again.
//! - I2 What is returned depends on the bytes up to the line end (or the fault) alone, so it
//!   is the same however they were cut.
//! - I3 No line goes over the limit that the caller gives, in bytes of `data`.
//!
//! Source: RFC 9112, section 2.2.

use std::ops::Range;

use super::head::HeadError;
use crate::wire::lanes;

/// Progress through the lines of one head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lines {
    /// Everything before is scanned.
    at: usize,
    /// Where the line begins that is being scanned.
    line: usize,
}

/// What a scan came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scan {
    /// A line without its CRLF, as positions in the data.
    Line(Range<usize>),
    /// Everything is scanned, and no line ended.
    More,
    /// The line does not end before the limit.
    Over,
}

impl Lines {
    /// Scans from `at` on, where a line begins or goes on.
    pub(super) fn starting(line: usize, at: usize) -> Self {
        debug_assert!(line <= at);
        Self { at, line }
    }

    /// One past the last line that was found.
    pub(super) fn end(&self) -> usize {
        self.line
    }

    /// The next line that ends, with its CRLF, before position `limit`.
    ///
    /// # Errors
    /// A CR or LF that is not part of a CRLF, or another control character than HTAB.
    pub(super) fn next(&mut self, data: &[u8], limit: usize) -> Result<Scan, HeadError> {
        let window = data.get(..data.len().min(limit)).unwrap_or(data);
        let fresh = window.get(self.at..).unwrap_or_default();
        let Some(found) = control(fresh) else {
            self.at = self.at.max(window.len());
            return Ok(if self.at >= limit {
                Scan::Over
            } else {
                Scan::More
            });
        };
        let at = self.at + found;
        self.at = at; // a CR at the end is looked at once more
        match (fresh.get(found), fresh.get(found + 1)) {
            (Some(b'\r'), Some(b'\n')) => {
                let line = self.line..at;
                (self.at, self.line) = (at + 2, at + 2);
                Ok(Scan::Line(line))
            }
            (Some(b'\r'), None) if at + 1 < limit => Ok(Scan::More),
            (Some(b'\r'), None) => Ok(Scan::Over),
            (Some(b'\r'), Some(_)) => Err(HeadError::BareCr { at }),
            (Some(b'\n'), _) => Err(HeadError::BareLf { at }),
            (byte, _) => Err(HeadError::Control {
                byte: byte.copied().unwrap_or_default(),
                at,
            }),
        }
    }
}

/// The first control character other than HTAB.
pub(super) fn control(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let found = from + low_or_delete(bytes.get(from..)?)?;
        if bytes.get(found) != Some(&b'\t') {
            return Some(found);
        }
        from = found + 1;
    }
}

/// The first byte below SP, or DEL.
#[inline]
fn low_or_delete(bytes: &[u8]) -> Option<usize> {
    let is_so = |byte: u8| byte < b' ' || byte == 0x7f;
    lanes::position(bytes, |it| it.up_to(0x1f).or(it.equal(0x7f)), is_so)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the search by lanes finds what a plain one does. Method: one control byte at
    /// every place, every byte value alone, and every pair of them.
    #[test]
    fn the_first_control_byte_is_found_anywhere() {
        for at in 0..70 {
            let mut bytes = vec![b'a'; 70];
            bytes[69] = b'\n';
            bytes[at] = 0;
            assert_eq!(control(&bytes), Some(at));
        }
        for byte in 0..=u8::MAX {
            let is_bad = (byte < 32 && byte != 9) || byte == 127;
            assert_eq!(control(&[b'a', byte]), is_bad.then_some(1));
            assert_eq!(control(&[byte; 16]), is_bad.then_some(0));
            for second in 0..=u8::MAX {
                let bytes = [b'a', byte, second, second, 0, b'a', b'\t', 0xff];
                let plain = bytes.iter().position(|b| (*b < 32 && *b != 9) || *b == 127);
                assert_eq!(control(&bytes), plain, "{bytes:?}");
            }
        }
    }

    /// Goal: I3. Method: a line that ends just before, at and just after the limit.
    #[test]
    fn a_line_counts_with_its_end() {
        let next = |data: &[u8], limit| Lines::default().next(data, limit);
        assert_eq!(next(b"abc\r\n", 5), Ok(Scan::Line(0..3)));
        assert_eq!(next(b"abc\r\n", 4), Ok(Scan::Over));
        assert_eq!(next(b"abc\r", 4), Ok(Scan::Over));
        assert_eq!(next(b"abc\r", 5), Ok(Scan::More));
        assert_eq!(next(b"abc", 3), Ok(Scan::Over));
        assert_eq!(next(b"abcd\n", 4), Ok(Scan::Over));
        assert_eq!(next(b"abc\n", 4), Err(HeadError::BareLf { at: 3 }));
    }
}
