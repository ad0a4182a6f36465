//! What travels: the byte at each place of each direction follows from a key, so a byte that
//! is lost, doubled, moved or of another connection is seen where it arrives.
//!
//! Invariants
//! - I1 [`Flow::fill`] writes and [`Flow::check`] expects the same bytes, however they are cut.

use crate::rng::Rng;

/// Bytes that a connector says before its flow: [`MAGIC`] and which connection this is.
pub(crate) const HELLO: usize = 16;

/// First half of a hello.
const MAGIC: u64 = 0x7368_6172_6467_6174;

/// The endless bytes of one direction of one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow(u64);

impl Flow {
    /// A flow that no other has.
    pub(crate) fn draw(rng: &Rng) -> Self {
        Self(rng.next())
    }

    /// The eight bytes from `8 * index` on (splitmix64, addressed).
    fn word(self, index: u64) -> [u8; 8] {
        let mut z = self.0 ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }

    /// Writes the bytes from `at` on into `bytes`.
    pub(crate) fn fill(self, at: u64, bytes: &mut [u8]) {
        let (mut index, mut skip) = (at / 8, usize::try_from(at % 8).unwrap());
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = rest.len().min(8 - skip);
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&self.word(index)[skip..skip + len]);
            (rest, index, skip) = (later, index + 1, 0);
        }
    }

    /// The bytes from `at` on.
    pub(crate) fn bytes(self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(at, &mut bytes);
        bytes
    }

    /// Where `bytes`, which came at `at`, are wrong for the first time, and how.
    pub(crate) fn check(self, at: u64, bytes: &[u8]) -> Result<(), String> {
        let (mut index, mut skip) = (at / 8, usize::try_from(at % 8).unwrap());
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = rest.len().min(8 - skip);
            let (now, later) = rest.split_at(len);
            let want = &self.word(index)[skip..skip + len];
            if now != want {
                let place = at + (bytes.len() - rest.len()) as u64;
                let (from, to) = (at, at + bytes.len() as u64);
                return Err(format!(
                    "wrong bytes at {place} of {from}..{to}: {now:02x?}, not {want:02x?}"
                ));
            }
            (rest, index, skip) = (later, index + 1, 0);
        }
        Ok(())
    }
}

/// What the connector of connection `number` says first.
pub(crate) fn hello(number: usize) -> [u8; HELLO] {
    let mut hello = [0; HELLO];
    hello[..8].copy_from_slice(&MAGIC.to_le_bytes());
    hello[8..].copy_from_slice(&(number as u64).to_le_bytes());
    hello
}

/// Which connection a hello names.
pub(crate) fn greeted(said: &[u8]) -> Result<usize, String> {
    let said: [u8; HELLO] = said.try_into().map_err(|_| "a hello of another length")?;
    let number = usize::try_from(u64::from_le_bytes(said[8..].try_into().unwrap())).unwrap();
    if said == hello(number) {
        Ok(number)
    } else {
        Err(format!("no hello: {said:02x?}"))
    }
}

/// Goal: I1, and that the law can be broken. Method: a flow cut anywhere is right; a byte
/// changed, doubled, left out, of another place or of another flow is not.
#[test]
fn a_flow_knows_its_own_bytes_only() {
    let rng = Rng::new(1);
    let (flow, other) = (Flow::draw(&rng), Flow::draw(&rng));
    let whole = flow.bytes(0, 300);
    for from in 0..40_usize {
        for to in from + 1..=60 {
            let part = &whole[from..to];
            flow.check(from as u64, part).unwrap();
            assert!(flow.check(from as u64 + 3, part).is_err() || part.len() < 3);
            assert!(other.check(from as u64, part).is_err() || part.len() < 3);
            let mut wrong = part.to_vec();
            let last = wrong.len() - 1;
            wrong[last] ^= 1;
            assert!(flow.check(from as u64, &wrong).is_err());
        }
    }
    let mut doubled = whole.clone();
    doubled.insert(100, whole[100]);
    let said = flow.check(0, &doubled).unwrap_err();
    assert!(said.contains(" of 0..301: "), "{said}");
    doubled.drain(100..102);
    assert!(flow.check(0, &doubled).is_err());
    assert_eq!(greeted(&hello(77)).unwrap(), 77);
    assert!(greeted(&whole[..HELLO]).is_err());
}
