//! Breaks recordings, the same way each time.

/// A small generator of numbers (xorshift), so that a failure can be had again.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % (n.max(1) as u64)).unwrap()
    }
}

pub(super) fn broken(body: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = body.to_vec();
    for _ in 0..=dice.below(3) {
        let (a, b) = (dice.below(bytes.len()), dice.below(bytes.len()));
        match dice.below(5) {
            0 => bytes.truncate(a),
            1 => {
                if let Some(byte) = bytes.get_mut(a) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            2 if !bytes.is_empty() => bytes.swap(a, b),
            3 => drop(bytes.drain(a.min(b)..a.max(b).min(a.min(b) + 300))),
            _ => {
                // Swaps or doubles events.
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let mut parts: Vec<&str> = text.split("\n\n").collect();
                let (a, b) = (dice.below(parts.len()), dice.below(parts.len()));
                if dice.below(2) == 0 {
                    parts.swap(a, b);
                } else {
                    parts.insert(a, parts[b]);
                }
                bytes = parts.join("\n\n").into_bytes();
            }
        }
    }
    bytes
}
