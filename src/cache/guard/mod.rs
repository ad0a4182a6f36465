//! Decides whether the answer to one prompt may be served for another.
//!
//! ```text
//!  prompt ──cut──► words ──undress──► Sketch (stored with the entry)
//!  Sketch + Sketch ──lay──► who has no like ──► vetoes ──► Different
//!                                          └──► features ──► trees ──► p ──► Same | Doubt
//! ```
//!
//! A vector that is near proves little: at a cosine threshold with 1 % false hits among natural
//! questions, 40 % of rule-made near-duplicates with other answers pass (another number, unit,
//! year, a `not`). So nearness only finds candidates, and this room decides.
//!
//! Invariants
//! - I1 Only [`Verdict::Same`] may be served; any doubt, and any fault, is a miss.
//! - I2 Symmetric: `verdict(a, b)` is `verdict(b, a)`.
//! - I3 A sketch made by another version of tables or trees is never the same as anything.

mod cut;
pub mod eligible;
mod feature;
mod frame;
mod lexicon;
mod make;
mod number;
mod order;
mod pair;
mod sketch;
mod speech;
mod store;
#[cfg(test)]
mod tests;
mod trees;
mod veto;

pub use cut::{BYTES_MAX, PIECES_MAX};
pub use feature::{FEATURES, NAMES};
pub use sketch::Sketch;
pub use trees::TreesFault;
pub use veto::Veto;

use frame::Frames;
use lexicon::{Lexicon, key, seeded};
use std::sync::LazyLock;
use trees::Trees;

/// The version of how sketches are made. Any change to what a sketch holds for a prompt, other
/// than through the data files (which are part of [`Guard::mark`] by themselves), adds one.
pub const FORMAT: u32 = 1;

/// How sure one must be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Point {
    /// At most about one wrong answer in two thousand lookups.
    #[default]
    Strict,
    /// More hits, more of them wrong: to be asked for.
    Balanced,
}

/// Whether one answer serves both prompts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Yes, with this chance (0 to 1).
    Same {
        /// The chance.
        p: f32,
    },
    /// No, for this reason.
    Different {
        /// The reason.
        veto: Veto,
    },
    /// Not surely enough.
    Doubt {
        /// The chance that the answer is one.
        p: f32,
    },
}

impl Verdict {
    /// May the answer be served?
    pub fn is_same(self) -> bool {
        matches!(self, Self::Same { .. })
    }
}

/// Tables and trees.
#[derive(Debug)]
pub struct Guard {
    lexicon: Lexicon,
    frames: Frames,
    trees: Result<Trees, TreesFault>,
    mark: u64,
}

static BUILTIN: LazyLock<Guard> = LazyLock::new(Guard::read);

impl Guard {
    /// The guard that is compiled in. The first call reads its tables, some 10 ms: make it
    /// before traffic comes.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    fn read() -> Self {
        let trees = Trees::builtin(feature::hash());
        let data = ["words", "meaning", "frames"].into_iter().zip([
            include_bytes!("data/words.txt").as_slice(),
            include_bytes!("data/meaning.txt").as_slice(),
            include_bytes!("data/frames.txt").as_slice(),
        ]);
        let mut mark = seeded(key(b"guard"), &FORMAT.to_le_bytes());
        for (_, bytes) in data {
            mark = seeded(mark, &crc32fast::hash(bytes).to_le_bytes());
        }
        if let Ok(trees) = &trees {
            mark = seeded(mark, &trees.mark.to_le_bytes());
        }
        Self {
            lexicon: Lexicon::builtin(),
            frames: Frames::builtin(),
            trees,
            mark,
        }
    }

    /// A number that stands for this version of format, tables and trees. Entries with another
    /// one are misses.
    pub fn mark(&self) -> u64 {
        self.mark
    }

    /// What is wrong with the trees, if anything: then nothing is ever [`Verdict::Same`].
    pub fn fault(&self) -> Option<TreesFault> {
        self.trees.as_ref().err().copied()
    }

    /// How many trees there are, and how many nodes.
    pub fn size(&self) -> (usize, usize) {
        self.trees.as_ref().map_or((0, 0), Trees::size)
    }

    /// The chance from which on `point` says the same.
    pub fn threshold(&self, point: Point) -> f32 {
        match (&self.trees, point) {
            (Err(_), _) => f32::INFINITY,
            (Ok(trees), Point::Strict) => trees.strict,
            (Ok(trees), Point::Balanced) => trees.balanced,
        }
    }

    /// The sketch of a prompt, to be stored with its entry. Never fails: what is too long gives
    /// a sketch that is never the same as anything.
    pub fn sketch(&self, prompt: &str) -> Sketch {
        make::sketch(self, prompt)
    }

    /// Whether the answer to one prompt serves the other.
    pub fn verdict(&self, a: &Sketch, b: &Sketch, point: Point) -> Verdict {
        match self.judge(a, b) {
            (_, Some(veto)) => Verdict::Different { veto },
            (features, None) => {
                let p = self
                    .trees
                    .as_ref()
                    .map_or(0.0, |trees| trees.chance(&features));
                let is_written_alike = a.whole == b.whole && features.first() == Some(&1.0);
                // Politeness, case and stops aside they are one text.
                let p = if is_written_alike && self.trees.is_ok() {
                    1.0
                } else {
                    p
                };
                if p >= self.threshold(point) {
                    Verdict::Same { p }
                } else {
                    Verdict::Doubt { p }
                }
            }
        }
    }

    /// The features of a pair and what vetoes it: what the trees are trained on.
    pub fn judge(&self, a: &Sketch, b: &Sketch) -> ([f32; FEATURES], Option<Veto>) {
        let none = [0.0; FEATURES];
        if a.is_long || b.is_long {
            return (none, Some(Veto::Long));
        }
        if a.mark != self.mark || b.mark != self.mark {
            return (none, Some(Veto::Version));
        }
        // I2: which of two equally good likes a word gets depends on the side.
        let (a, b) = if (a.whole, a.body) <= (b.whole, b.body) {
            (a, b)
        } else {
            (b, a)
        };
        let pair = pair::lay(a, b);
        if pair.is_far {
            return (none, Some(Veto::Far));
        }
        let order = order::order(a, b, &pair, &self.lexicon);
        let veto = if a.whole == b.whole {
            veto::recased(a, b, &pair)
        } else {
            veto::veto(a, b, &pair, order, &self.lexicon)
        };
        (feature::features(a, b, &pair, order), veto)
    }
}
