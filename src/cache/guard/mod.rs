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
mod keys;
mod lexicon;
mod make;
mod marks;
mod number;
mod order;
mod pair;
mod short;
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

use eligible::Barred;
use frame::Frames;
use lexicon::{Lexicon, key, seeded};
use order::Order;
use pair::Pair;
use std::sync::LazyLock;
use trees::Trees;

/// The version of how sketches are made. Any change to what a sketch holds for a prompt, other
/// than through the data files (which are part of [`Guard::mark`] by themselves), adds one.
pub const FORMAT: u32 = 3;

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

    /// The same of a prompt that may not be for the semantic tier: it is cut once for both.
    /// `is_fresh` as of [`eligible::barred`].
    ///
    /// # Errors
    /// Why it is not.
    pub fn admit(&self, prompt: &str, is_fresh: bool) -> Result<Sketch, Barred> {
        let cut = cut::cut(prompt, &self.lexicon).ok_or(Barred::Long)?;
        match eligible::bars(self, (prompt, &cut), is_fresh) {
            Some(why) => Err(why),
            None => Ok(make::of_cut(self, cut)),
        }
    }

    /// Whether the answer to one prompt serves the other.
    pub fn verdict(&self, a: &Sketch, b: &Sketch, point: Point) -> Verdict {
        let laid = match self.lay(a, b) {
            Err(veto)
            | Ok(Laid {
                veto: Some(veto), ..
            }) => return Verdict::Different { veto },
            Ok(laid) => laid,
        };
        let features = laid.features();
        let p = match &self.trees {
            // Politeness, case and stops aside they are one text.
            Ok(_) if a.whole == b.whole && features.first() == Some(&1.0) => 1.0,
            Ok(trees) => trees.chance(&features),
            Err(_) => 0.0,
        };
        if p >= self.threshold(point) {
            Verdict::Same { p }
        } else {
            Verdict::Doubt { p }
        }
    }

    /// The features of a pair and what vetoes it: what the trees are trained on.
    pub fn judge(&self, a: &Sketch, b: &Sketch) -> ([f32; FEATURES], Option<Veto>) {
        match self.lay(a, b) {
            Err(veto) => ([0.0; FEATURES], Some(veto)),
            Ok(laid) => (laid.features(), laid.veto),
        }
    }

    /// Lays two prompts side by side.
    ///
    /// # Errors
    /// Why that comes to nothing.
    fn lay<'s>(&self, a: &'s Sketch, b: &'s Sketch) -> Result<Laid<'s>, Veto> {
        if a.is_long || b.is_long {
            return Err(Veto::Long);
        }
        if a.mark != self.mark || b.mark != self.mark {
            return Err(Veto::Version);
        }
        // I2: which of two equally good likes a word gets depends on the side. Of two prompts with
        // the same words, their gists can differ still: `to` binds, the identifier `tO` does not.
        let by_words = (a.whole, a.body).cmp(&(b.whole, b.body));
        let (a, b) = if by_words.then_with(|| a.keys.cmp(&b.keys)).is_le() {
            (a, b)
        } else {
            (b, a)
        };
        let pair = pair::lay(a, b);
        if pair.is_far {
            return Err(Veto::Far);
        }
        let order = order::order(a, b, &pair, &self.lexicon);
        let veto = if a.whole == b.whole {
            veto::recased(a, b, &pair)
        } else {
            veto::veto(a, b, &pair, order, &self.lexicon)
        };
        let veto = veto.or_else(|| (a.marks != b.marks).then_some(Veto::Sign));
        Ok(Laid {
            a,
            b,
            pair,
            order,
            veto,
        })
    }
}

/// Two prompts side by side.
struct Laid<'s> {
    a: &'s Sketch,
    b: &'s Sketch,
    pair: Pair,
    order: Order,
    veto: Option<Veto>,
}

impl Laid<'_> {
    fn features(&self) -> [f32; FEATURES] {
        feature::features(self.a, self.b, &self.pair, self.order)
    }
}
