//! A body as a handful of slices: parts of the caller's own, and what is put between them.

/// The most slices a body is cut into: five that pass, around the model's name, `stream_options`
/// and the two members that are left out; one for the name, two for `stream_options`.
pub const PIECES_MAX: usize = 8;

/// Slices whose concatenation is the upstream body.
#[derive(Clone, Copy, Debug)]
pub struct Pieces<'a> {
    parts: [&'a [u8]; PIECES_MAX],
    used: usize,
}

impl<'a> Pieces<'a> {
    pub(super) const fn new() -> Self {
        Self {
            parts: [b""; PIECES_MAX],
            used: 0,
        }
    }

    /// A body that is one piece.
    pub fn whole(body: &'a [u8]) -> Self {
        let mut pieces = Self::new();
        pieces.push(body);
        pieces
    }

    pub(super) fn push(&mut self, part: &'a [u8]) {
        if part.is_empty() {
            return;
        }
        debug_assert!(self.used < PIECES_MAX);
        if let Some(slot) = self.parts.get_mut(self.used) {
            *slot = part;
            self.used += 1;
        }
    }

    /// The length of the body, in bytes.
    pub fn len(&self) -> usize {
        self.iter().map(<[u8]>::len).sum()
    }

    /// Whether the body is empty; never, for a body that `ask` accepted.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// The slices in order; none is empty.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a, '_> {
        self.parts.iter().take(self.used).copied()
    }
}
