//! Which prompts the semantic tier leaves alone, whatever is stored.
//!
//! ```text
//!  last user message ──► Eligible | Long | Code | Time | Account
//! ```
//!
//! Invariants
//! - I1 Decided by the prompt alone; what the request's other parts rule out (tools, images,
//!   temperature) is ruled out elsewhere.

use super::cut::{BYTES_MAX, Cut, PIECES_MAX};
use super::lexicon::{key, seeded};
use super::{Guard, cut};
use std::fmt;

/// Why a prompt is left to the exact tier.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Barred {
    /// Empty, or more than [`PIECES_MAX`] words or [`BYTES_MAX`] bytes.
    Long,
    /// Mostly code.
    Code,
    /// A word of time: its answer ages by the hour.
    Time,
    /// It is about the caller's own affairs: its answer is one user's.
    Account,
}

impl Barred {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Long => "long",
            Self::Code => "code",
            Self::Time => "time",
            Self::Account => "account",
        }
    }
}

impl fmt::Display for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Long => write!(f, "empty, or over {PIECES_MAX} words or {BYTES_MAX} bytes"),
            Self::Code => f.write_str("mostly code"),
            Self::Time => f.write_str("about the present moment"),
            Self::Account => f.write_str("about the caller's own affairs"),
        }
    }
}

/// Lines from here on can be mostly code.
const CODE_LINES_MIN: usize = 3;

/// Why `prompt` is not for the semantic tier; nothing if it is. `is_fresh` says that entries
/// live so shortly that words of time do no harm.
pub fn barred(guard: &Guard, prompt: &str, is_fresh: bool) -> Option<Barred> {
    let Some(cut) = cut::cut(prompt, &guard.lexicon) else {
        return Some(Barred::Long);
    };
    bars(guard, (prompt, &cut), is_fresh)
}

/// The same of a prompt that was cut.
pub(super) fn bars(guard: &Guard, (prompt, cut): (&str, &Cut), is_fresh: bool) -> Option<Barred> {
    if cut.pieces.is_empty() {
        return Some(Barred::Long);
    }
    if is_mostly_code(prompt) {
        return Some(Barred::Code);
    }
    let words = &guard.lexicon.barred;
    let text = |at: usize| cut.pieces.get(at).map(|piece| cut.of(piece));
    for (at, piece) in cut.pieces.iter().enumerate() {
        let mut run = piece.key;
        for length in 1..=4 {
            if !is_fresh && words.time.contains(&run) {
                return Some(Barred::Time);
            }
            if words.account.contains(&run) {
                return Some(Barred::Account);
            }
            let Some(next) = text(at + length) else { break };
            run = seeded(seeded(run, b" "), next.as_bytes());
        }
    }
    debug_assert_eq!(seeded(seeded(key(b"a"), b" "), b"b"), key(b"a b"));
    None
}

/// More than half of its lines look like code, or a fence encloses most of it.
fn is_mostly_code(prompt: &str) -> bool {
    let (mut lines, mut code, mut fenced, mut inside) = (0, 0, 0, false);
    for line in prompt
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        if line.starts_with("```") {
            inside = !inside;
            continue;
        }
        lines += 1;
        fenced += usize::from(inside);
        let ends = line.ends_with([';', '{', '}', ')', ':', ',', '>']);
        let has = [
            " = ", "==", "();", "->", "=>", "::", "</", "/>", "#include", "import ", "def ",
        ]
        .iter()
        .any(|mark| line.contains(mark));
        code += usize::from(inside || has || ends && line.contains(['(', '{', '}', '=', '<']));
    }
    lines >= CODE_LINES_MIN && (code * 2 > lines || fenced * 2 > lines)
}
