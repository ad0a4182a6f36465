//! What is wrong with a config file, and where: collected while reading, shown sorted.
//!
//! ```text
//!   offset + text ──Findings::finish──► line:column: text     (one pass over the file)
//! ```
//!
//! Invariants
//! - F1 Faults come out in the order of the file.
//! - F2 Lines and columns count from 1; a column is a character, not a byte.
//! - F3 When the TOML itself is broken, nothing is called missing: it may stand in the part
//!   that could not be read.

use std::fmt;

/// One fault and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong; what would be right.
    pub text: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.text)
    }
}

/// Faults in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// One line each, `file:line:column: text`.
    pub fn show(&self, file: &str) -> String {
        let lines = self.0.iter().map(|fault| format!("{file}:{fault}\n"));
        lines.collect()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|fault| writeln!(f, "{fault}"))
    }
}

impl std::error::Error for Faults {}

/// Faults and warnings as they are found, by byte offset.
#[derive(Debug, Default)]
pub(super) struct Findings {
    faults: Vec<(usize, String)>,
    warnings: Vec<(usize, String)>,
    is_broken: bool,
}

impl Findings {
    /// The TOML itself is wrong at `at`.
    pub(super) fn broken(&mut self, at: usize, text: String) {
        self.is_broken = true;
        self.fault(at, text);
    }

    /// What is written at `at` is wrong.
    pub(super) fn fault(&mut self, at: usize, text: String) {
        self.faults.push((at, text));
    }

    /// Something should stand at `at`, or somewhere else because of `at` (F3).
    pub(super) fn missing(&mut self, at: usize, text: String) {
        if !self.is_broken {
            self.fault(at, text);
        }
    }

    /// What is written at `at` works, but hardly as it is meant.
    pub(super) fn warn(&mut self, at: usize, text: String) {
        self.warnings.push((at, text));
    }

    /// Faults and warnings with their places in `text`.
    pub(super) fn finish(self, text: &str) -> (Faults, Faults) {
        (place(self.faults, text), place(self.warnings, text))
    }
}

fn place(mut found: Vec<(usize, String)>, text: &str) -> Faults {
    found.sort();
    found.dedup();
    let (mut seen, mut line, mut column) = (0, 1, 1);
    let placed = found.into_iter().map(|(at, what)| {
        let mut at = at.min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        for c in text.get(seen..at).unwrap_or_default().chars() {
            (line, column) = if c == '\n' {
                (line + 1, 1)
            } else {
                (line, column + 1)
            };
        }
        seen = seen.max(at);
        Fault {
            line,
            column,
            text: what,
        }
    });
    Faults(placed.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: F1, F2. Method: offsets out of order, behind a wide character, in mid-character
    /// and past the end.
    #[test]
    fn places_are_sorted_and_count_characters() {
        let mut found = Findings::default();
        for at in [99, 3, 0, 6, 4] {
            found.fault(at, format!("at {at}"));
        }
        let (faults, warnings) = found.finish("aé\nxé\n");
        assert_eq!(
            faults.to_string(),
            "1:1: at 0\n1:3: at 3\n2:1: at 4\n2:2: at 6\n3:1: at 99\n"
        );
        assert_eq!(warnings, Faults::default());
    }

    /// Goal: F3.
    #[test]
    fn nothing_is_missing_from_a_broken_file() {
        let mut found = Findings::default();
        found.broken(0, "broken".into());
        found.missing(0, "missing".into());
        assert_eq!(found.finish("").0.to_string(), "1:1: broken\n");
    }
}
