//! What is wrong with a config file, and where: collected while reading, shown sorted.
//!
//! ```text
//!   offset + text ──Findings::finish──► line:column: text     (one pass over the file)
//! ```
//!
//! Invariants
//! - F1 Faults come out in the order of the file.
//! - F2 Lines and columns count from 1; a column is a character, not a byte.
//! - F3 When the TOML itself is broken, nothing is called missing or unknown: its table's
//!   head may stand in the part that could not be read. Of the TOML faults of a line only the
//!   first is told; the others follow from it.
//! - F4 A fault is one line: control characters are escaped.

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
    /// The TOML itself is wrong at these places, each given with what is wrong.
    pub(super) fn broken(&mut self, text: &str, errors: impl Iterator<Item = (usize, String)>) {
        let mut errors: Vec<_> = errors.collect();
        errors.sort();
        let mut line_end = 0;
        for (at, what) in errors {
            if !self.is_broken || at > line_end {
                let rest = text.as_bytes().get(at..).unwrap_or_default();
                line_end = at + memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                self.fault(at, format!("this is not TOML: {what}"));
            }
            self.is_broken = true;
        }
    }

    /// What is written at `at` is wrong.
    pub(super) fn fault(&mut self, at: usize, text: String) {
        self.faults.push((at, text));
    }

    /// Something should stand elsewhere, or `at` belongs elsewhere (F3).
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
            text: one_line(&what),
        }
    });
    Faults(placed.collect())
}

fn one_line(text: &str) -> String {
    let escaped = text.chars().map(|c| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    });
    escaped.collect()
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
        let text = "ab\ncd\n";
        let errors = [
            (4, "second".into()),
            (0, "first".into()),
            (2, "echo".into()),
        ];
        let mut found = Findings::default();
        found.broken(text, errors.into_iter());
        found.missing(0, "missing".into());
        assert_eq!(
            found.finish(text).0.to_string(),
            "1:1: this is not TOML: first\n2:2: this is not TOML: second\n"
        );
    }

    /// Goal: F4.
    #[test]
    fn a_fault_is_one_line() {
        let mut found = Findings::default();
        found.fault(0, "a\nb\u{1b}[31m".into());
        assert_eq!(found.finish("").0.to_string(), "1:1: a\\nb\\u{1b}[31m\n");
    }
}
