//! Changes recordings a little, by a fixed seed.

/// Numbers that look random.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

/// Changes `body` a little: a cut, flipped bits, swapped events.
pub(super) fn mutate(rng: &mut Rng, body: &[u8]) -> Vec<u8> {
    let mut out = body.to_vec();
    if out.is_empty() {
        return out;
    }
    match rng.below(4) {
        0 => out.truncate(rng.below(body.len())),
        1 => {
            for _ in 0..=rng.below(4) {
                let at = rng.below(out.len());
                out[at] ^= 1 << rng.below(8);
            }
        }
        2 => {
            let text = String::from_utf8_lossy(body).into_owned();
            let mut events: Vec<&str> = text.split_inclusive("\n\n").collect();
            for _ in 0..=rng.below(6) {
                let (a, b) = (rng.below(events.len()), rng.below(events.len()));
                events.swap(a, b);
            }
            out = events.concat().into_bytes();
        }
        _ => {
            let at = rng.below(body.len());
            let len = rng.below((body.len() - at).min(300));
            let piece = body[at..at + len].to_vec();
            let to = rng.below(out.len());
            out.splice(to..to, piece);
        }
    }
    out
}
