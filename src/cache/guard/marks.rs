//! Which marks between words change what is asked.
//!
//! ```text
//!   Solve -x + 3 = 7     5! + 3     !user     :=     .5 miles     sin(x)/cos(x)     a grade of A-
//!   No way! Well-known: "this", and that (e.g. here)...                             none of these
//! ```
//!
//! A mark that is no piece of its own is dropped where a prompt is cut, as nearly all of them only
//! say how it is read aloud. Those that tell are kept as one number, in their order, each with the
//! letter or digit that it hangs on to. Prompts with other numbers are not the same.
//!
//! Units whose capitals tell them apart (`mW`, `MW`; `Mb`, `MB`) are in it, too, as written.

use super::lexicon::{key, seeded};

/// The marks of a prompt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Marks(u64);

impl Default for Marks {
    fn default() -> Self {
        Self(key(b"marks"))
    }
}

/// A mark, and what is around it.
#[derive(Clone, Copy, Debug)]
struct Place<'t> {
    /// All before it, and all behind it.
    around: (&'t str, &'t str),
    mark: char,
}

/// Units that are something else in other capitals, also all small or all large.
const CASED: [&str; 7] = ["mw", "mwh", "mv", "mj", "mpa", "mhz", "mg"];

/// Units that are something else in mixed capitals: bits and bytes.
const MIXED: [&str; 9] = ["kb", "mb", "gb", "tb", "pb", "kbps", "mbps", "gbps", "tbps"];

impl Marks {
    /// `mark` stands at `at` of `prompt`.
    pub(super) fn see(&mut self, prompt: &str, at: usize, mark: char) {
        if mark == ' ' {
            return; // as nearly always
        }
        let (before, behind) = prompt.split_at_checked(at).unwrap_or_default();
        let around = (before, behind.get(mark.len_utf8()..).unwrap_or_default());
        let place = Place { around, mark };
        if place.tells() {
            self.add(match mark {
                '−' | '–' => '-',
                _ => mark,
            });
            let (side, hold) = place.hold();
            self.add(side);
            self.add(hold);
        }
    }

    /// A word, or what hangs on to a number: as it is written, and in lower case.
    pub(super) fn see_unit(&mut self, raw: &str, lower: &str) {
        let is_mixed = || raw.contains(char::is_lowercase) && raw.contains(char::is_uppercase);
        if CASED.contains(&lower) || MIXED.contains(&lower) && is_mixed() {
            self.0 = seeded(self.0, raw.as_bytes());
        } else if MIXED.contains(&lower) {
            self.0 = seeded(self.0, b"?"); // written without care, perhaps; still one of them
        }
    }

    fn add(&mut self, c: char) {
        self.0 = seeded(self.0, &u32::from(c).to_le_bytes());
    }
}

impl Place<'_> {
    fn before(&self) -> char {
        self.around.0.chars().next_back().unwrap_or(' ')
    }

    fn next(&self) -> char {
        self.around.1.chars().next().unwrap_or(' ')
    }

    /// A letter or a digit alone stands before it, perhaps with spaces between.
    fn is_behind_one(&self) -> bool {
        begin_with_one(self.around.0.trim_end().chars().rev())
    }

    /// The same behind it.
    fn is_before_one(&self) -> bool {
        begin_with_one(self.around.1.trim_start().chars())
    }

    fn tells(&self) -> bool {
        let (before, next) = (self.before(), self.next());
        match self.mark {
            '/' => true,
            '#' => before.is_alphanumeric() || next.is_alphanumeric(),
            // A negation, a factorial.
            '!' => {
                next.is_alphanumeric()
                    || matches!(next, '(' | '=' | '[')
                    || before.is_ascii_digit()
                    || self.is_behind_one() && before.is_lowercase()
            }
            '.' => {
                next.is_alphanumeric() && !before.is_alphanumeric() || before == ' ' && next == ' '
            }
            ':' => next == '=' || before == '[' || next == ']',
            // Of a URL, of an expression.
            '?' => {
                let is_last = self.around.1.trim().is_empty();
                next.is_alphanumeric() || before == ' ' && !is_last && " .:?".contains(next)
            }
            // Minutes, feet, inches.
            '\'' | '"' => before.is_ascii_digit(),
            '-' | '−' | '–' => self.dash_tells(before, next),
            _ => false,
        }
    }

    /// One that is neither within a word nor between two parts of a sentence.
    fn dash_tells(&self, before: char, next: char) -> bool {
        let holds = next.is_alphanumeric() || matches!(next, '(' | '.');
        let is_held = before.is_alphanumeric() || before == ')';
        match (is_held, holds) {
            (true, true) => before == ')' || next == '(',
            (true, false) | (false, true) => true,
            (false, false) => {
                let is_closed = self.around.0.trim_end().ends_with(')');
                let opens = self.around.1.trim_start().starts_with('(');
                // "--force"; but not "this -- that".
                let after = self
                    .around
                    .1
                    .strip_prefix('-')
                    .and_then(|it| it.chars().next());
                let is_option = after.is_some_and(char::is_alphanumeric);
                is_option || is_closed || opens || self.is_behind_one() || self.is_before_one()
            }
        }
    }

    /// What it hangs on to, and on which side: what follows, else what it follows.
    fn hold(&self) -> (char, char) {
        let next = self.next();
        let (side, hold) = if next.is_alphanumeric() {
            ('>', next)
        } else {
            let before = self.around.0.trim_end().chars().next_back();
            ('<', before.unwrap_or(' '))
        };
        (side, hold.to_lowercase().next().unwrap_or(hold))
    }
}

/// Whether the first of `all` is a letter or a digit, and the next one is none.
fn begin_with_one(mut all: impl Iterator<Item = char>) -> bool {
    let is_one = all.next().is_some_and(char::is_alphanumeric);
    is_one && !all.next().is_some_and(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(prompt: &str) -> Marks {
        let mut marks = Marks::default();
        for (at, mark) in prompt.char_indices() {
            marks.see(prompt, at, mark);
        }
        marks
    }

    /// Goal: how a sentence is read aloud is no mark that tells.
    #[test]
    fn prose_has_no_marks() {
        for prompt in [
            "No way! Well-known: \"this\", and that (e.g. here)...",
            "What's the best way to do it? Please - be brief; thanks!!",
            "Is it 'fine'? \u{2018}Yes\u{2019}, the U.S. is.",
            "- one\n- two\nReally?! So do I!",
            "",
        ] {
            assert_eq!(of(prompt), Marks::default(), "{prompt}");
        }
    }

    /// Goal: each mark that tells is told from its absence and from others, in its order.
    #[test]
    fn marks_that_tell_are_told_apart() {
        let prompts = [
            "x",
            "-x",
            "x -",
            "!x",
            "x!",
            "x/y",
            "x//y",
            "(x) - (y)",
            ".5",
            "a := b",
            "x[1:]",
            "x[:1]",
            "a ? b",
            "?id",
            "#1",
            "5'",
            "5\"",
            "-x -y",
            "-y -x",
            "A-",
            "--force",
            "-force",
        ];
        let marks = prompts.map(of);
        for (at, one) in marks.iter().enumerate() {
            let first = marks.iter().position(|it| it == one);
            assert_eq!(first.map(|it| prompts[it]), Some(prompts[at]));
        }
    }
}
