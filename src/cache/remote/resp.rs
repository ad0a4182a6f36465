//! The protocol of Valkey and Redis, both ways: commands to bytes, bytes to replies.
//!
//! ```text
//!   put_command ──► *2 $3 GET $1 k          Scanner::push ──► where the first reply ends
//!                                           read          ──► Reply, copied out
//! ```
//!
//! Both versions are read (RESP2 and RESP3, without streamed aggregates, which no server sends
//! unasked). A reply may arrive in any pieces: the scanner goes on where it stopped, so a reply
//! of n bytes costs n whatever the pieces are.
//!
//! Why no crate: the sans-I/O one (`redis-protocol` 6.0) recurses as deep as the server says
//! (800 kB of `*1` overflow the stack, which ends the process), does not look at the ends of
//! strings, so a connection that is out of step goes on, and has one decoder for each version,
//! the newer of which refuses the nulls of the older. Others come with an async runtime.
//!
//! Invariants
//! - S1 How bytes are cut into pieces never changes what is read.
//! - S2 A reply takes at most [`REPLY_MAX`] bytes and nests at most [`DEPTH_MAX`] deep; more is an
//!   error, and so is anything that no server may send. After an error the stream is out of step.
//!
//! Source: the specification "Redis serialization protocol" (RESP2, RESP3).

use crate::base::bytes::TxBuf;
use std::fmt;

/// Bytes of a reply, at most: the largest value and its frame.
pub const REPLY_MAX: usize = super::envelope::VALUE_MAX + (64 << 10);

/// How deep replies nest, at most: a stream's entries are five deep.
pub const DEPTH_MAX: usize = 8;

/// Bytes of a line, at most: lengths, numbers, simple strings, errors.
pub const LINE_MAX: usize = 4096;

/// Why bytes are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespError {
    /// A reply begins with a byte that stands for no type.
    Type(u8),
    /// A line that is longer than [`LINE_MAX`].
    LongLine,
    /// A length or a number that is none.
    Number,
    /// A string or a line does not end with CR LF.
    End,
    /// Deeper than [`DEPTH_MAX`].
    Depth,
    /// Longer than [`REPLY_MAX`].
    Long,
}

impl fmt::Display for RespError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(byte) => write!(f, "a reply begins with byte {byte:#04x}"),
            Self::LongLine => write!(f, "a line is longer than {LINE_MAX} bytes"),
            Self::Number => f.write_str("a length or a number is none"),
            Self::End => f.write_str("a string does not end with CR LF"),
            Self::Depth => write!(f, "a reply nests deeper than {DEPTH_MAX}"),
            Self::Long => write!(f, "a reply is longer than {REPLY_MAX} bytes"),
        }
    }
}

impl std::error::Error for RespError {}

/// Writes a command.
pub fn put_command(tx: &mut TxBuf, words: &[&[u8]]) {
    tx.put(b"*");
    tx.put_decimal(words.len() as u64);
    for word in words {
        tx.put(b"\r\n$");
        tx.put_decimal(word.len() as u64);
        tx.put(b"\r\n");
        tx.put(word);
    }
    tx.put(b"\r\n");
}

/// Bytes that [`put_command`] writes for `words`, at most.
pub fn command_len(words: &[&[u8]]) -> usize {
    let words = words.iter().map(|word| word.len() + 24);
    words.sum::<usize>() + 24
}

/// A reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// A word of the server, such as OK.
    Word(Vec<u8>),
    /// It refused.
    Error(Vec<u8>),
    /// A number, or true and false as 1 and 0.
    Number(i64),
    /// Bytes; fractions and numbers too large for 64 bits as they are written.
    Bytes(Vec<u8>),
    /// Nothing.
    Null,
    /// Several; of a map keys and values in turn.
    List(Vec<Reply>),
    /// What nobody asked for (RESP3).
    Push(Vec<Reply>),
}

impl Reply {
    /// The bytes, when it is bytes or a word.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) | Self::Word(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The number, also when it comes as a string.
    pub fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Bytes(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// What a list holds.
    pub fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// What the server refused with.
    pub fn error(&self) -> Option<&[u8]> {
        match self {
            Self::Error(text) => Some(text),
            _ => None,
        }
    }
}

/// What the head of a reply, or of a part of one, announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    /// It is all in the line.
    Line(u8, &'a [u8]),
    /// A string of so many bytes.
    Text(u8, usize),
    /// So many parts follow.
    Parts(u8, usize),
    /// As many parts follow that say something of the next one.
    Attributes(usize),
    /// Nothing.
    Null,
}

/// The head at the beginning of `data` and its length; `None` when its line has no end yet.
fn head(data: &[u8]) -> Result<Option<(Part<'_>, usize)>, RespError> {
    let Some((&kind, rest)) = data.split_first() else {
        return Ok(None);
    };
    if !b"+-:$*_,#(!=~%>|".contains(&kind) {
        return Err(RespError::Type(kind));
    }
    let window = rest.get(..LINE_MAX).unwrap_or(rest);
    let Some(end) = memchr::memchr(b'\n', window) else {
        return match window.len() {
            LINE_MAX => Err(RespError::LongLine),
            _ => Ok(None),
        };
    };
    let line = rest.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").ok_or(RespError::End)?;
    if line.contains(&b'\r') {
        return Err(RespError::End);
    }
    let count = || match line {
        b"-1" => Ok(None),
        digits => whole(digits).map(Some),
    };
    let part = match kind {
        b'+' | b'-' | b',' | b'(' => Part::Line(kind, line),
        b':' => number(line).map(|_| Part::Line(kind, line))?,
        b'#' if line == b"t" || line == b"f" => Part::Line(kind, line),
        b'#' => return Err(RespError::Number),
        b'_' if line.is_empty() => Part::Null,
        b'_' => return Err(RespError::End),
        b'$' => count()?.map_or(Part::Null, |len| Part::Text(kind, len)),
        b'*' => count()?.map_or(Part::Null, |len| Part::Parts(kind, len)),
        b'!' | b'=' => Part::Text(kind, whole(line)?),
        b'~' | b'>' => Part::Parts(kind, whole(line)?),
        b'%' => Part::Parts(kind, double(line)?),
        _ => Part::Attributes(double(line)?),
    };
    if let Part::Text(_, len) | Part::Parts(_, len) | Part::Attributes(len) = part
        && len > REPLY_MAX
    {
        return Err(RespError::Long);
    }
    Ok(Some((part, end + 2)))
}

fn number(line: &[u8]) -> Result<i64, RespError> {
    let text = std::str::from_utf8(line).map_err(|_| RespError::Number)?;
    text.parse().map_err(|_| RespError::Number)
}

/// A length: digits only.
fn whole(line: &[u8]) -> Result<usize, RespError> {
    if !line.iter().all(u8::is_ascii_digit) {
        return Err(RespError::Number);
    }
    usize::try_from(number(line)?).map_err(|_| RespError::Number)
}

/// Twice a length: of pairs.
fn double(line: &[u8]) -> Result<usize, RespError> {
    whole(line)?.checked_mul(2).ok_or(RespError::Number)
}

/// Finds where the first reply ends.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    /// How far the reply was understood.
    at: usize,
    /// Parts that are missing, outermost first.
    left: Vec<usize>,
}

impl Scanner {
    /// The length of the reply at the beginning of `data`, `None` when it is not all there. Call
    /// again with the same bytes and more; after a length with what follows it.
    ///
    /// # Errors
    /// Why it is no reply (S2).
    pub fn push(&mut self, data: &[u8]) -> Result<Option<usize>, RespError> {
        while let Some((part, len)) = head(data.get(self.at..).unwrap_or_default())? {
            let mut end = self.at + len;
            if end > REPLY_MAX {
                return Err(RespError::Long);
            }
            let parts = match part {
                Part::Line(..) | Part::Null => 0,
                Part::Text(_, len) => {
                    let close = end + len;
                    match data.get(close..close + 2) {
                        Some(b"\r\n") => end = close + 2,
                        Some(_) => return Err(RespError::End),
                        None if close + 2 > REPLY_MAX => return Err(RespError::Long),
                        None if data.get(close).is_some_and(|b| *b != b'\r') => {
                            return Err(RespError::End);
                        }
                        None => return Ok(None),
                    }
                    0
                }
                Part::Parts(_, len) => len,
                Part::Attributes(len) => len + 1, // and what they speak of
            };
            self.at = end;
            if let Some(last) = self.left.last_mut() {
                *last -= 1;
            }
            if parts > 0 {
                if self.left.len() == DEPTH_MAX {
                    return Err(RespError::Depth);
                }
                self.left.push(parts);
            }
            while self.left.last() == Some(&0) {
                self.left.pop();
            }
            if self.left.is_empty() {
                *self = Self::default();
                return Ok(Some(end));
            }
        }
        Ok(None)
    }
}

/// The reply that `data` is, which a [`Scanner`] found the end of. Attributes are dropped.
///
/// # Errors
/// Why it is no reply; not after a scanner.
pub fn read(data: &[u8]) -> Result<Reply, RespError> {
    let mut at = 0;
    let reply = read_at(data, &mut at, 0)?;
    debug_assert_eq!(at, data.len(), "a scanner found the end");
    Ok(reply)
}

fn read_at(data: &[u8], at: &mut usize, depth: usize) -> Result<Reply, RespError> {
    if depth > DEPTH_MAX {
        return Err(RespError::Depth); // R1
    }
    let (part, len) = head(data.get(*at..).unwrap_or_default())?.ok_or(RespError::End)?;
    *at += len;
    let mut parts = |len: usize| {
        let mut all = Vec::new();
        for _ in 0..len {
            all.push(read_at(data, at, depth + 1)?);
        }
        Ok(all)
    };
    Ok(match part {
        Part::Null => Reply::Null,
        Part::Line(b'-', text) => Reply::Error(text.to_vec()),
        Part::Line(b':', text) => Reply::Number(number(text)?),
        Part::Line(b'#', text) => Reply::Number(i64::from(text == b"t")),
        Part::Line(b'+', text) => Reply::Word(text.to_vec()),
        Part::Line(_, text) => Reply::Bytes(text.to_vec()),
        Part::Parts(b'>', len) => Reply::Push(parts(len)?),
        Part::Parts(_, len) => Reply::List(parts(len)?),
        Part::Attributes(len) => {
            parts(len)?;
            return read_at(data, at, depth + 1);
        }
        Part::Text(kind, len) => {
            let text = data.get(*at..*at + len).ok_or(RespError::End)?;
            *at += len + 2;
            match kind {
                b'!' => Reply::Error(text.to_vec()),
                b'=' => Reply::Bytes(text.get(4..).unwrap_or_default().to_vec()),
                _ => Reply::Bytes(text.to_vec()),
            }
        }
    })
}

#[cfg(test)]
#[path = "resp_tests.rs"]
mod tests;
