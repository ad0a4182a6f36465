//! What an entry is wrapped in on the server.
//!
//! ```text
//!   "sg" format │ crc32 │ flags │ made │ ttl │ length │ all │ key │ tags │ payload
//!   2    1        4       1       8      4     4        8     8     1 …     as it is, or LZ4
//!                 └── of the key and of everything behind it
//!
//!   made: milliseconds since 1970     ttl: seconds     length: of the payload, uncompressed
//!   all, key, tags: the generations that the entry was made in (a tag: length, text, count)
//! ```
//!
//! A payload of [`SQUEEZE_MIN`] to [`SQUEEZE_MAX`] bytes is compressed where that saves an eighth.
//! It is made no larger again than its header says, which is at most [`VALUE_MAX`].
//!
//! Invariants
//! - E1 What was sealed under a key is opened under that key alone, and unchanged.
//! - E2 Anything else is an [`OpenError`]: never a panic, never more memory than [`VALUE_MAX`].

use super::Key;
use super::generations::{Stamp, TAG_MAX, TAGS_MAX};
use std::fmt;
use std::time::Duration;

/// Bytes of a payload, at most: what is compressed while others wait.
pub const VALUE_MAX: usize = 1 << 20;

/// Bytes of a payload from which on it is compressed.
///
/// English prose in a JSON answer, LZ4 in safe Rust (`lz4_flex` 0.14, release, an Intel Xeon):
///
/// ```text
///   bytes       512   1024   2048   4096   16 Ki   64 Ki
///   left         93 %   87 %   81 %   76 %    69 %    66 %
///   there, µs     0.8    1.5    5.6   10.2    55     446
///   back, µs      0.1    0.2    0.6    3.3    20      61
/// ```
pub const SQUEEZE_MIN: usize = 2048;

/// Bytes of a payload up to which it is compressed: about 2 ms in which nothing else runs.
pub const SQUEEZE_MAX: usize = 256 << 10;

/// What an envelope begins with: a mark and the format.
const MARK: [u8; 3] = [b's', b'g', 1];

/// The payload is an LZ4 block.
const SQUEEZED: u8 = 1;

/// Why an envelope gives no payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It does not begin with the mark, or is of another format.
    Format,
    /// It ends too early, or a part of it is longer than it may be.
    Shape,
    /// It is not what was sealed, or was sealed under another key.
    Checksum,
    /// The payload cannot be uncompressed to the length that the header says.
    Payload,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Format => "the value is not of this format",
            Self::Shape => "the value is cut off or too long",
            Self::Checksum => "the value's checksum is another",
            Self::Payload => "the value cannot be uncompressed",
        })
    }
}

impl std::error::Error for OpenError {}

/// What stands on an envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// Milliseconds since 1970 when it was made.
    pub made: u64,
    /// How long it is good, in seconds.
    pub ttl: u32,
    /// The generations it was made in.
    pub stamp: Stamp,
}

impl Label {
    /// Its age at `wall`, milliseconds since 1970; zero where that box's clock is behind.
    pub fn age(&self, wall: u64) -> Duration {
        Duration::from_millis(wall.saturating_sub(self.made))
    }

    /// How long it is good from `wall` on; zero when it is over.
    pub fn left(&self, wall: u64) -> Duration {
        Duration::from_secs(self.ttl.into()).saturating_sub(self.age(wall))
    }
}

/// Wraps `payload`; `None` when it is longer than [`VALUE_MAX`], or has more or longer tags than
/// an entry may have.
pub fn seal(key: &Key, label: &Label, payload: &[u8]) -> Option<Vec<u8>> {
    if payload.len() > VALUE_MAX {
        return None;
    }
    let is_long = (SQUEEZE_MIN..=SQUEEZE_MAX).contains(&payload.len());
    let squeezed = is_long.then(|| lz4_flex::block::compress(payload));
    let squeezed = squeezed.filter(|short| short.len() < payload.len() - payload.len() / 8);
    let body = squeezed.as_deref().unwrap_or(payload);
    let mut out = Vec::with_capacity(body.len() + 64 + label.stamp.tags.len() * (TAG_MAX + 9));
    out.extend_from_slice(&MARK);
    out.extend_from_slice(&[0; 4]);
    out.push(if squeezed.is_some() { SQUEEZED } else { 0 });
    out.extend_from_slice(&label.made.to_le_bytes());
    out.extend_from_slice(&label.ttl.to_le_bytes());
    out.extend_from_slice(&u32::try_from(payload.len()).ok()?.to_le_bytes());
    let stamp = &label.stamp;
    out.extend_from_slice(&stamp.all.to_le_bytes());
    out.extend_from_slice(&stamp.key.to_le_bytes());
    out.push(
        u8::try_from(stamp.tags.len())
            .ok()
            .filter(|_| stamp.tags.len() <= TAGS_MAX)?,
    );
    for (tag, count) in &stamp.tags {
        out.push(
            u8::try_from(tag.len())
                .ok()
                .filter(|_| tag.len() <= TAG_MAX)?,
        );
        out.extend_from_slice(tag);
        out.extend_from_slice(&count.to_le_bytes());
    }
    out.extend_from_slice(body);
    let sum = checksum(key, out.get(MARK.len() + 4..)?);
    out.get_mut(MARK.len()..MARK.len() + 4)?
        .copy_from_slice(&sum.to_le_bytes());
    Some(out)
}

fn checksum(key: &Key, rest: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(key);
    sum.update(rest);
    sum.finalize()
}

/// Takes parts off the front.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], OpenError> {
        let (front, rest) = self.0.split_at_checked(len).ok_or(OpenError::Shape)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], OpenError> {
        self.bytes(N)?.try_into().map_err(|_| OpenError::Shape)
    }

    fn byte(&mut self) -> Result<u8, OpenError> {
        self.array().map(|[byte]| byte)
    }

    fn count(&mut self) -> Result<i64, OpenError> {
        self.array().map(i64::from_le_bytes)
    }
}

/// The payload of `data`, which was stored under `key`, and what stands on it.
///
/// # Errors
/// Why it is a miss (E2).
pub fn open(key: &Key, data: &[u8]) -> Result<(Label, Vec<u8>), OpenError> {
    let mut cut = Cut(data);
    if cut.bytes(MARK.len()).map_err(|_| OpenError::Format)? != MARK {
        return Err(OpenError::Format);
    }
    let sum = u32::from_le_bytes(cut.array()?);
    if sum != checksum(key, cut.0) {
        return Err(OpenError::Checksum);
    }
    let is_squeezed = match cut.byte()? {
        0 => false,
        SQUEEZED => true,
        _ => return Err(OpenError::Format),
    };
    let made = u64::from_le_bytes(cut.array()?);
    let ttl = u32::from_le_bytes(cut.array()?);
    let len = u32::from_le_bytes(cut.array()?) as usize;
    if len > VALUE_MAX {
        return Err(OpenError::Shape);
    }
    let mut stamp = Stamp {
        all: cut.count()?,
        key: cut.count()?,
        tags: Vec::new(),
    };
    let tags = usize::from(cut.byte()?);
    if tags > TAGS_MAX {
        return Err(OpenError::Shape);
    }
    for _ in 0..tags {
        let len = usize::from(cut.byte()?);
        let tag = cut.bytes(len)?.to_vec();
        stamp.tags.push((tag, cut.count()?));
    }
    let payload = if is_squeezed {
        let mut out = vec![0; len];
        let made = lz4_flex::block::decompress_into(cut.0, &mut out);
        if made.ok() != Some(len) {
            return Err(OpenError::Payload);
        }
        out
    } else if cut.0.len() == len {
        cut.0.to_vec()
    } else {
        return Err(OpenError::Shape);
    };
    Ok((Label { made, ttl, stamp }, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Key = [3; 32];

    fn label() -> Label {
        let tags = vec![(b"team-a".to_vec(), 4), (Vec::new(), i64::MIN)];
        Label {
            made: 1_764_374_400_123,
            ttl: 3600,
            stamp: Stamp {
                all: i64::MAX,
                key: 2,
                tags,
            },
        }
    }

    /// Goal: E1, whatever the size, and that what can be made shorter is.
    #[test]
    fn what_is_sealed_is_opened() {
        let text = "{\"choices\":[{\"message\":{\"content\":\"a cat, a dog, ".repeat(25_000);
        let middle = [
            SQUEEZE_MIN - 1,
            SQUEEZE_MIN,
            5000,
            SQUEEZE_MAX,
            SQUEEZE_MAX + 1,
        ];
        for len in [0, 1].into_iter().chain(middle).chain([VALUE_MAX]) {
            let payload = &text.as_bytes()[..len];
            let sealed = seal(&KEY, &label(), payload).unwrap();
            assert_eq!(open(&KEY, &sealed), Ok((label(), payload.to_vec())));
            let is_short = (SQUEEZE_MIN..=SQUEEZE_MAX).contains(&len);
            assert_eq!(sealed.len() < payload.len(), is_short, "{len}");
            assert_eq!(open(&[4; 32], &sealed), Err(OpenError::Checksum));
        }
        assert_eq!(seal(&KEY, &label(), &vec![0; VALUE_MAX + 1]), None);
        let many = vec![(Vec::new(), 0); TAGS_MAX + 1];
        let stamp = Stamp {
            tags: many,
            ..Stamp::default()
        };
        assert_eq!(seal(&KEY, &Label { stamp, ..label() }, b""), None);
    }

    /// Goal: ages and ends, clocks that differ included.
    #[test]
    fn an_entry_has_an_age_and_an_end() {
        let label = label();
        let second = Duration::from_secs(1);
        assert_eq!(label.age(label.made + 1000), second);
        assert_eq!(label.age(label.made - 1000), Duration::ZERO);
        assert_eq!(label.left(label.made + 1000), 3599 * second);
        assert_eq!(label.left(label.made + 3_600_000), Duration::ZERO);
        assert_eq!(label.left(u64::MAX), Duration::ZERO);
    }

    /// Goal: E2. Method: every byte of two envelopes is changed, every length cut off.
    #[test]
    fn what_was_changed_is_a_miss() {
        let long = "na ".repeat(700);
        for payload in [b"short".as_slice(), long.as_bytes()] {
            let sealed = seal(&KEY, &label(), payload).unwrap();
            for at in 0..sealed.len() {
                let mut other = sealed.clone();
                other[at] ^= 0x41;
                assert!(open(&KEY, &other).is_err(), "byte {at}");
                assert!(open(&KEY, &sealed[..at]).is_err(), "cut at {at}");
            }
        }
    }

    /// Gives `data` the checksum that it needs to be looked at.
    fn summed(mut data: Vec<u8>) -> Vec<u8> {
        if data.len() >= 7 {
            data[..3].copy_from_slice(&MARK);
            let sum = checksum(&KEY, &data[7..]);
            data[3..7].copy_from_slice(&sum.to_le_bytes());
        }
        data
    }

    /// Goal: a payload is not made longer than its header says, nor is the header believed
    /// beyond [`VALUE_MAX`].
    #[test]
    fn a_bomb_is_a_miss() {
        let zeros = vec![0; 100_000];
        let sealed = seal(&KEY, &label(), &zeros).unwrap();
        assert!(sealed.len() < 1000);
        let length = 7 + 1 + 8 + 4;
        for (claimed, want) in [
            (99_999, OpenError::Payload),
            (100_001, OpenError::Payload),
            (0, OpenError::Payload),
            (u32::MAX, OpenError::Shape),
        ] {
            let mut other = sealed.clone();
            other[length..length + 4].copy_from_slice(&claimed.to_le_bytes());
            assert_eq!(open(&KEY, &summed(other)), Err(want), "{claimed}");
        }
    }

    proptest! {
        /// Goal: E2. Method: any bytes, with the right mark and checksum.
        #[test]
        fn any_bytes_are_opened_or_refused(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(open(&KEY, &data));
            drop(open(&KEY, &summed(data)));
        }

        /// Goal: E1.
        #[test]
        fn any_payload_comes_back(
            payload in proptest::collection::vec(0_u8..4, 0..5000),
            made: u64, ttl: u32, all: i64, key: i64,
            tags in proptest::collection::vec(
                (proptest::collection::vec(any::<u8>(), 0..=TAG_MAX), any::<i64>()), 0..=TAGS_MAX),
        ) {
            let label = Label { made, ttl, stamp: Stamp { all, key, tags } };
            let sealed = seal(&KEY, &label, &payload).unwrap();
            prop_assert_eq!(open(&KEY, &sealed), Ok((label, payload)));
        }
    }
}
