//! Takes the chunk framing out of a body, in place.
//!
//! ```text
//!   before  [ 4 ␍ ␊ W i k i ␍ ␊ 5 ; a = b ␍ ␊ p e d i a ␍ ␊ 0 ␍ ␊ ␍ ␊ │ next message ]
//!   after   [ W i k i p e d i a │ …                                    │ next message ]
//!             └ ..data                                            used ┘   done
//!
//!   Size ─► (Ext ─►) SizeLf ─► Data ─► DataCr ─► DataLf ─► Size …
//!     └ 0 ─► SizeLf ─► TrailerStart ─► (Name ─► Value ─► TrailerLf ─►)* EndLf ─► Done
//! ```
//!
//! Invariants
//! - I1 How the body is cut changes neither its bytes nor the error.
//! - I2 Everything given is consumed, up to the end of the body: nothing has to be kept by the
//!   caller or given again.
//! - I3 Digits, extensions and trailers are bounded ([`SIZE_DIGITS_MAX`], [`EXTENSIONS_MAX`],
//!   [`TRAILERS_MAX`]); the memory is a few numbers.
//! - I4 Only CRLF ends a line, and nothing stands between the data and its CRLF.
//! - I5 Trailers are checked and dropped: no field in them ever counts.
//!
//! Source: RFC 9112, section 7.1; RFC 9110, section 5.6.4 (quoted strings).

use std::fmt;

use super::fields::{is_token_byte, is_value_byte};
use crate::base::fault::Kind;

/// Most hexadecimal digits of a size, leading zeros included.
pub const SIZE_DIGITS_MAX: u8 = 16;
/// Largest chunk, in bytes: nothing that the gateway holds or passes on is larger than 4 GiB,
/// and a size near `u64::MAX` is an attempt to make a sum wrap.
pub const CHUNK_MAX: u64 = u32::MAX as u64;
/// Most bytes of all the extensions of one body together (CVE-2023-39326).
pub const EXTENSIONS_MAX: u16 = 1 << 10;
/// Most bytes of the trailer section.
pub const TRAILERS_MAX: u16 = 8 << 10;

/// Digits of a size that is read at once; they cannot go over [`CHUNK_MAX`].
const PLAIN_DIGITS: usize = 6;

/// Why a chunked body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkError {
    /// A byte that does not belong there.
    Unexpected {
        /// What had to come.
        expected: &'static str,
        /// What came.
        byte: u8,
    },
    /// More than [`SIZE_DIGITS_MAX`] digits.
    SizeTooLong,
    /// More than [`CHUNK_MAX`].
    ChunkTooLarge,
    /// More than [`EXTENSIONS_MAX`].
    ExtensionsTooLarge,
    /// More than [`TRAILERS_MAX`].
    TrailersTooLarge,
}

impl ChunkError {
    /// The fault of a request with this error. A response's is always
    /// [`Kind::UpstreamCut`].
    pub const fn kind(&self) -> Kind {
        match self {
            Self::ChunkTooLarge => Kind::BodyTooLarge,
            Self::TrailersTooLarge => Kind::HeadTooLarge,
            _ => Kind::BadRequest,
        }
    }
}

impl fmt::Display for ChunkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unexpected { expected, byte } => {
                write!(f, "expected {expected}, came byte {byte:#04x}")
            }
            Self::SizeTooLong => write!(f, "expected at most {SIZE_DIGITS_MAX} digits of size"),
            Self::ChunkTooLarge => write!(f, "expected a chunk of at most {CHUNK_MAX} bytes"),
            Self::ExtensionsTooLarge => {
                write!(
                    f,
                    "expected at most {EXTENSIONS_MAX} bytes of chunk extensions"
                )
            }
            Self::TrailersTooLarge => {
                write!(f, "expected at most {TRAILERS_MAX} bytes of trailers")
            }
        }
    }
}

impl std::error::Error for ChunkError {}

/// What [`Chunked::decode`] did with a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The first `data` bytes of the buffer are now bytes of the body; may be 0.
    pub data: usize,
    /// So many bytes of the buffer belonged to this body: all of them, unless `done`.
    pub used: usize,
    /// Whether the body is complete; what lies behind `used` is the next message.
    pub done: bool,
}

/// What the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A digit of the size, or what follows the last one.
    Size {
        digits: u8,
    },
    /// After white space that only an extension may follow.
    ExtSoon,
    /// White space, or the first byte of an extension's name.
    ExtStart,
    ExtName,
    /// White space after the name.
    ExtNameEnd,
    /// White space after `=`, or the first byte of the value.
    ExtValueStart,
    ExtToken,
    ExtQuoted,
    /// The byte after a backslash in a quoted value.
    ExtEscaped,
    /// After the closing quote.
    ExtQuotedEnd,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
    Broken(ChunkError),
}

/// Takes the framing off chunks that are here as a whole and have nothing special, as nearly
/// all do: a size of few digits that is not zero, no extension. `at` is where the first one
/// begins, `data` where its bytes go; gives both behind the last one. The rest is left to the
/// states, which would have come to the same.
fn whole_chunks(buf: &mut [u8], (mut at, mut data): (usize, usize)) -> (usize, usize) {
    while let Some((size, used)) = buf.get(at..).and_then(plain_size) {
        let (from, to) = (at + used, at + used + size);
        if buf.get(to..to + 2) != Some(b"\r\n") {
            break;
        }
        buf.copy_within(from..to, data);
        (at, data) = (to + 2, data + size);
    }
    (at, data)
}

/// A size line of up to [`PLAIN_DIGITS`] digits: the size, not zero, and the bytes it took.
#[inline]
fn plain_size(bytes: &[u8]) -> Option<(usize, usize)> {
    let (mut size, mut used) = (0, 0);
    for &byte in bytes.iter().take(PLAIN_DIGITS + 1) {
        let Some(digit) = char::from(byte).to_digit(16) else {
            break;
        };
        size = size << 4 | digit as usize;
        used += 1;
    }
    let is_line = used <= PLAIN_DIGITS && bytes.get(used..used + 2)? == b"\r\n";
    (is_line && size > 0).then_some((size, used + 2))
}

/// Decodes one chunked body.
#[derive(Clone, Copy, Debug)]
pub struct Chunked {
    state: State,
    /// Of the size while it is read, then bytes of the chunk that are still to come.
    left: u64,
    extensions: u16,
    trailers: u16,
    takes_trailers: bool,
    /// Bytes of the body before the damage, in the call that met it.
    sound: usize,
}

impl Default for Chunked {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunked {
    /// A decoder at the beginning of a body.
    pub fn new() -> Self {
        Self {
            state: State::Size { digits: 0 },
            left: 0,
            extensions: 0,
            trailers: 0,
            takes_trailers: true,
            sound: 0,
        }
    }

    /// The same, but a body with trailers is refused, at their first byte. For requests that
    /// announced none: bytes there are rather a broken or smuggled message.
    pub fn without_trailers() -> Self {
        Self {
            takes_trailers: false,
            ..Self::new()
        }
    }

    /// After an error: bytes at the front of the buffer that are body, before the damage.
    pub fn sound(&self) -> usize {
        self.sound
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the next byte is the first one of a chunk's size.
    pub fn is_between(&self) -> bool {
        matches!(self.state, State::Size { digits: 0 })
    }

    /// Bytes of the current chunk that are announced and not yet here. With those that are, it
    /// tells that a body will be too large before it is.
    pub fn announced(&self) -> u64 {
        if self.state == State::Data {
            self.left
        } else {
            0
        }
    }

    /// Takes the framing out of `buf`, the next bytes of the body, in place.
    ///
    /// # Errors
    /// The first byte or limit that breaks the rules; then again on every further call. What
    /// came before it in this call is body all the same: [`Chunked::sound`].
    pub fn decode(&mut self, buf: &mut [u8]) -> Result<Decoded, ChunkError> {
        if let State::Broken(error) = self.state {
            self.sound = 0;
            return Err(error);
        }
        let (mut at, mut data) = (0, 0);
        while self.state != State::Done {
            let Some(byte) = buf.get(at).copied() else {
                break;
            };
            if self.state != State::Data {
                if matches!(self.state, State::Size { digits: 0 }) {
                    let whole = whole_chunks(buf, (at, data));
                    if whole.0 > at {
                        (at, data) = whole;
                        continue;
                    }
                }
                at += 1;
                self.state = self.step(byte).inspect_err(|error| {
                    (self.state, self.sound) = (State::Broken(*error), data);
                })?;
                continue;
            }
            let here = usize::try_from(self.left)
                .unwrap_or(usize::MAX)
                .min(buf.len() - at);
            if at != data {
                buf.copy_within(at..at + here, data);
            }
            (at, data) = (at + here, data + here);
            self.left -= here as u64;
            if self.left == 0 {
                self.state = State::DataCr;
            }
        }
        debug_assert!(data <= at && at <= buf.len());
        let done = self.state == State::Done;
        debug_assert!(done || at == buf.len()); // I2
        Ok(Decoded {
            data,
            used: at,
            done,
        })
    }

    /// The state after `byte`, a byte of the framing.
    fn step(&mut self, byte: u8) -> Result<State, ChunkError> {
        match self.state {
            State::Size { digits } => self.size(byte, digits),
            State::SizeLf => expect(byte, b'\n', "LF after the chunk size").map(|()| {
                if self.left == 0 {
                    State::TrailerStart
                } else {
                    State::Data
                }
            }),
            State::DataCr => expect(byte, b'\r', "CRLF after the chunk").map(|()| State::DataLf),
            State::DataLf => {
                self.left = 0;
                expect(byte, b'\n', "LF after the chunk").map(|()| State::Size { digits: 0 })
            }
            State::TrailerStart
            | State::TrailerName
            | State::TrailerValue
            | State::TrailerLf
            | State::EndLf => self.trailer(byte),
            State::Broken(error) => Err(error),
            State::Data | State::Done => Ok(self.state),
            _ => self.extension(byte),
        }
    }

    fn size(&mut self, byte: u8, digits: u8) -> Result<State, ChunkError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits == SIZE_DIGITS_MAX {
                return Err(ChunkError::SizeTooLong);
            }
            self.left = (self.left << 4) | u64::from(digit); // 16 digits fill it exactly
            return Ok(State::Size { digits: digits + 1 });
        }
        if digits == 0 {
            return unexpected("the digits of a chunk size", byte);
        }
        if self.left > CHUNK_MAX {
            return Err(ChunkError::ChunkTooLarge);
        }
        match byte {
            b'\r' => Ok(State::SizeLf),
            b';' | b' ' | b'\t' => self.extension_from(byte),
            _ => unexpected("CRLF or ';' after the chunk size", byte),
        }
    }

    fn extension_from(&mut self, byte: u8) -> Result<State, ChunkError> {
        self.state = State::ExtSoon;
        self.extension(byte)
    }

    /// `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`
    fn extension(&mut self, byte: u8) -> Result<State, ChunkError> {
        use State::{
            ExtEscaped, ExtName, ExtNameEnd, ExtQuoted, ExtQuotedEnd, ExtSoon, ExtStart, ExtToken,
            ExtValueStart,
        };
        if byte != b'\r' {
            self.extensions += 1;
            if self.extensions > EXTENSIONS_MAX {
                return Err(ChunkError::ExtensionsTooLarge);
            }
        }
        let is_space = matches!(byte, b' ' | b'\t');
        let next = match self.state {
            ExtSoon if is_space => ExtSoon,
            ExtSoon | ExtName | ExtNameEnd | ExtToken | ExtQuotedEnd if byte == b';' => ExtStart,
            ExtName | ExtToken | ExtQuotedEnd if byte == b'\r' => State::SizeLf,
            ExtStart if is_space => ExtStart,
            ExtStart | ExtName if is_token_byte(byte) => ExtName,
            ExtName | ExtNameEnd if is_space => ExtNameEnd,
            ExtName | ExtNameEnd if byte == b'=' => ExtValueStart,
            ExtValueStart if is_space => ExtValueStart,
            ExtValueStart if byte == b'"' => ExtQuoted,
            ExtValueStart | ExtToken if is_token_byte(byte) => ExtToken,
            ExtToken | ExtQuotedEnd if is_space => ExtSoon,
            ExtQuoted if byte == b'"' => ExtQuotedEnd,
            ExtQuoted if byte == b'\\' => ExtEscaped,
            ExtQuoted | ExtEscaped if is_value_byte(byte) => ExtQuoted,
            _ => return unexpected("a chunk extension ';name=value'", byte),
        };
        Ok(next)
    }

    /// `*( field-line CRLF ) CRLF`
    fn trailer(&mut self, byte: u8) -> Result<State, ChunkError> {
        use State::{EndLf, TrailerLf, TrailerName, TrailerStart, TrailerValue};
        if !self.takes_trailers && self.state == TrailerStart && byte != b'\r' {
            return unexpected("CRLF after the last chunk", byte);
        }
        self.trailers += 1;
        if self.trailers > TRAILERS_MAX {
            return Err(ChunkError::TrailersTooLarge);
        }
        let next = match self.state {
            TrailerStart if byte == b'\r' => EndLf,
            TrailerStart | TrailerName if is_token_byte(byte) => TrailerName,
            TrailerName if byte == b':' => TrailerValue,
            TrailerValue if byte == b'\r' => TrailerLf,
            TrailerValue if is_value_byte(byte) => TrailerValue,
            TrailerLf if byte == b'\n' => TrailerStart,
            EndLf if byte == b'\n' => State::Done,
            _ => return unexpected("a trailer field or the end of the body", byte),
        };
        Ok(next)
    }
}

fn expect(byte: u8, wanted: u8, expected: &'static str) -> Result<(), ChunkError> {
    if byte == wanted {
        Ok(())
    } else {
        unexpected(expected, byte)
    }
}

fn unexpected<T>(expected: &'static str, byte: u8) -> Result<T, ChunkError> {
    Err(ChunkError::Unexpected { expected, byte })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body and what is behind it once it is whole, or the error.
    fn decode(wire: &[u8], mut decoder: Chunked) -> Result<(Vec<u8>, Option<Vec<u8>>), ChunkError> {
        let mut buf = wire.to_vec();
        let got = decoder.decode(&mut buf)?;
        assert_eq!(decoder.is_done(), got.done);
        let rest = got.done.then(|| buf[got.used..].to_vec());
        Ok((buf[..got.data].to_vec(), rest))
    }

    /// Goal: bodies that the grammar allows give their data, and end where they end.
    #[test]
    fn a_body_gives_its_data_and_what_follows() {
        let cases: [(&[u8], &[u8]); 10] = [
            (b"0\r\n\r\n", b""),
            (b"000\r\n\r\n", b""),
            (
                b"4\r\nWiki\r\n6\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\n\r\n",
                b"Wikipedia in \r\n\r\nchunks.",
            ),
            (
                b"a\r\n0123456789\r\n0A\r\n0123456789\r\n0\r\n\r\n",
                b"01234567890123456789",
            ),
            (b"1;a\r\nx\r\n0;b=c;d\r\n\r\n", b"x"),
            (
                b"1 ; a = b\t;c=\"d;\\\"\\\\ \xff\" ; e\r\nx\r\n0\r\n\r\n",
                b"x",
            ),
            (b"0000000000000001\r\nx\r\n0\r\n\r\n", b"x"),
            (b"1\r\nx\r\n0\r\nA: b\r\nC:\r\n\r\n", b"x"),
            (b"1\r\nx\r\n0\r\nContent-Length: 9\r\n\r\n", b"x"),
            (b"1\r\nx\r\n0\r\nA:\t\xe9 \r\n\r\n", b"x"),
        ];
        for (wire, body) in cases {
            let with_next = [wire, b"GET /"].concat();
            let want = Ok((body.to_vec(), Some(b"GET /".to_vec())));
            assert_eq!(
                decode(&with_next, Chunked::new()),
                want,
                "{}",
                wire.escape_ascii()
            );
            let (_, rest) = decode(&wire[..wire.len() - 1], Chunked::new()).unwrap();
            assert_eq!(rest, None, "one byte is missing");
        }
    }

    /// Goal: I3, I4 and the grammar. Method: all but the last byte of each case is fine so
    /// far, the last one is refused.
    #[test]
    fn damage_is_refused_at_its_own_byte() {
        let cases: [&[u8]; 39] = [
            b"\r",
            b"g",
            b"+",
            b"-",
            b" ",
            b";",
            b"0x",
            b"1_",
            b"1\n",
            b"1\r\r",
            b"1\rX",
            b"1 \r",
            b"1\t\r",
            b"1 2",
            b"1;\r",
            b"1;=",
            b"1;a=\r",
            b"1;a=;",
            b"1;a \r",
            b"1;a=b \r",
            b"1;a=b c",
            b"1;a=\"x\r",
            b"1;a=\"x\\\r",
            b"1;a=\"x\"y",
            b"1;a\0",
            b"1;a\n",
            b"1;a=\xff",
            b"1\r\nx\n",
            b"1\r\nxy",
            b"1\r\nx\r\r",
            b"1\r\nx\r\nz",
            b"0\n",
            b"0\r\n\n",
            b"0\r\n ",
            b"0\r\n:",
            b"0\r\nNo\r",
            b"0\r\nA ",
            b"0\r\nA: \0",
            b"0\r\n\r\r",
        ];
        for wire in cases {
            let text = wire.escape_ascii();
            let before = decode(&wire[..wire.len() - 1], Chunked::new());
            assert!(matches!(before, Ok((_, None))), "{text}");
            let error = decode(wire, Chunked::new()).unwrap_err();
            let last = *wire.last().unwrap();
            assert!(
                matches!(error, ChunkError::Unexpected { byte, .. } if byte == last),
                "{text}"
            );
            assert_eq!(error.kind(), Kind::BadRequest);
        }
    }

    /// Goal: every bound holds to the byte, and the error stays.
    #[test]
    fn bounds_hold_to_the_byte() {
        let is =
            |wire: String| decode(wire.as_bytes(), Chunked::new()).map(|(_, rest)| rest.is_some());
        let digits = |n| is(format!("{}\r\n\r\n", "0".repeat(n)));
        assert_eq!(
            (digits(16), digits(17)),
            (Ok(true), Err(ChunkError::SizeTooLong))
        );
        for size in ["100000000", "ffffffffffffffff", "8000000000000000"] {
            assert_eq!(is(format!("{size}\r\n")), Err(ChunkError::ChunkTooLarge));
        }
        assert_eq!(is("ffffffff\r\n".to_owned()), Ok(false));
        // Over two chunks together: 1 + n and 1 + 9 bytes.
        let extension = |n| is(format!("1;{}\r\nx\r\n0;aaaaaaaaa\r\n\r\n", "a".repeat(n)));
        assert_eq!(extension(1024 - 11), Ok(true));
        assert_eq!(extension(1024 - 10), Err(ChunkError::ExtensionsTooLarge));
        let trailer = |n| is(format!("0\r\nA:{}\r\n\r\n", "a".repeat(n)));
        assert_eq!(trailer(8192 - 6), Ok(true));
        assert_eq!(trailer(8192 - 5), Err(ChunkError::TrailersTooLarge));
        let mut decoder = Chunked::new();
        let error = decoder.decode(&mut b"x".to_vec()).unwrap_err();
        assert_eq!(decoder.decode(&mut []), Err(error));
        assert_eq!(decoder.decode(&mut b"0\r\n\r\n".to_vec()), Err(error));
    }

    /// Goal: a request that announced no trailers can have none, and the size of a chunk is
    /// known before its bytes are there.
    #[test]
    fn trailers_can_be_refused_and_a_chunk_is_announced() {
        let strict = Chunked::without_trailers();
        assert!(decode(b"1\r\nx\r\n0\r\n\r\n", strict).unwrap().1.is_some());
        assert!(decode(b"1\r\nx\r\n0\r\nA", strict).is_err());
        let mut decoder = Chunked::new();
        decoder.decode(&mut b"ff".to_vec()).unwrap();
        assert_eq!(decoder.announced(), 0);
        decoder.decode(&mut b"\r\nabc".to_vec()).unwrap();
        assert_eq!(decoder.announced(), 252);
    }
}
