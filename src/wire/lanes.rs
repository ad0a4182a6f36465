//! Sixteen bytes compared side by side: what the lexers of heads and of JSON look for.
//!
//! ```text
//!   bytes   H e l l o " , " r o l e " : " u
//!   equal   . . . . . 1 . 1 . . . . 1 . 1 .   ─► marks: bit 5 is the lowest, so at 5
//! ```
//!
//! Most of what is looked for is near (keys, header lines, tokens have 4 to 40 bytes), where a
//! call of memchr costs more than the search. Sixteen is the width that every x86-64 and every
//! aarch64 has, so nothing depends on the machine.

use wide::u8x16;

/// How many bytes stand side by side.
pub const LANES: usize = 16;

/// Bytes side by side; or marks, 0xff where something is so.
#[derive(Clone, Copy, Debug)]
pub struct Lanes(u8x16);

impl Lanes {
    /// These bytes.
    #[inline]
    pub fn of(bytes: &[u8; LANES]) -> Self {
        Self(u8x16::new(*bytes))
    }

    /// Marks the bytes that are `byte`.
    #[inline]
    #[must_use]
    pub fn equal(self, byte: u8) -> Self {
        Self(self.0.simd_eq(u8x16::splat(byte)))
    }

    /// Marks the bytes that are `most` or less.
    #[inline]
    #[must_use]
    pub fn up_to(self, most: u8) -> Self {
        Self(self.0.min(u8x16::splat(most)).simd_eq(self.0))
    }

    /// Both marks.
    #[inline]
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The highest bit of each byte, the first byte's lowest: of marks, where they are; of
    /// bytes, which are beyond ASCII.
    #[inline]
    pub fn tops(self) -> u32 {
        self.0.to_bitmask()
    }
}

/// The first place in `bytes` that `mark` marks, or for which `is_so` says the same of the last
/// bytes, which are fewer than [`LANES`].
#[inline]
pub fn position(
    bytes: &[u8],
    mark: impl Fn(Lanes) -> Lanes,
    is_so: impl Fn(u8) -> bool,
) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<LANES>();
    for (index, block) in blocks.iter().enumerate() {
        let marks = mark(Lanes::of(block)).tops();
        if marks != 0 {
            return Some(index * LANES + marks.trailing_zeros() as usize);
        }
    }
    let found = rest.iter().position(|byte| is_so(*byte))?;
    Some(blocks.len() * LANES + found)
}

/// The first place of `byte`, which is expected to be near.
#[inline]
pub fn near(bytes: &[u8], byte: u8) -> Option<usize> {
    position(bytes, |lanes| lanes.equal(byte), |other| other == byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every byte is compared as a number without a sign, in every lane.
    #[test]
    fn every_byte_in_every_lane() {
        for byte in 0..=u8::MAX {
            for lane in 0..LANES {
                let mut bytes = [b'm'; LANES];
                bytes[lane] = byte;
                let lanes = Lanes::of(&bytes);
                let bit = |is_so: bool| u32::from(is_so) << lane;
                let others = 0xffff & !bit(true);
                let is_m = bit(byte == b'm') | others;
                assert_eq!(lanes.equal(b'm').tops(), is_m);
                assert_eq!(lanes.equal(b'z').tops(), bit(byte == b'z'));
                assert_eq!(lanes.up_to(0x1f).tops(), bit(byte <= 0x1f));
                assert_eq!(lanes.up_to(0xa0).tops(), bit(byte <= 0xa0) | others);
                assert_eq!(lanes.tops(), bit(byte >= 0x80));
                let both = lanes.equal(b'z').or(lanes.up_to(0x1f));
                assert_eq!(both.tops(), bit(byte == b'z' || byte <= 0x1f));
            }
        }
    }

    /// Goal: the first place is found in strings of every length, and none where there is none.
    #[test]
    fn the_first_place_is_found() {
        for len in 0..3 * LANES {
            let mut bytes = vec![b'a'; len];
            assert_eq!(near(&bytes, b':'), None);
            for place in (0..len).rev() {
                bytes[place] = b':';
                assert_eq!(near(&bytes, b':'), Some(place));
            }
        }
    }
}
