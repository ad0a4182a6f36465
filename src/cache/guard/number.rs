//! Numbers in words and digits, brought into one writing.
//!
//! ```text
//!  two hundred and five   2,500   2.5 million   21st   3.10
//!  205 (without the and)  2500    2500000       21th   3.10 (as it is written: a version)
//! ```

use super::cut::Kind;
use super::lexicon::{Number, key, mark, seeded};
use super::make::{DRESS, Making};

impl Making<'_> {
    /// Numbers in words and digits become one writing.
    pub(super) fn numbers(&mut self) {
        let mut at = 0;
        while at < self.tokens.len() {
            let Some((len, key, soft)) = self.number_at(at) else {
                at += 1;
                continue;
            };
            if let Some(token) = self.tokens.get_mut(at) {
                token.number = Some(key);
                token.soft = soft;
            }
            let rest = self.tokens.get_mut(at + 1..at + len).unwrap_or_default();
            for token in rest {
                token.gone = DRESS;
            }
            at += len;
        }
    }

    /// The number that begins at `at`: how many tokens it takes, its key, and whether it is
    /// often no number.
    fn number_at(&self, at: usize) -> Option<(usize, u64, bool)> {
        let said = |at: usize| {
            let token = self.tokens.get(at).filter(|token| token.gone == 0)?;
            if token.piece.kind == Kind::Number {
                let text = self.text(token);
                let value = text.bytes().all(|b| b.is_ascii_digit()) && text.len() < 16;
                let value = value.then(|| text.parse().ok()).flatten();
                return Some((value.map(Number::Value), token, false));
            }
            token
                .entry
                .filter(|entry| entry.marks & mark::NUMBER != 0)?;
            let (number, soft) = self.guard.lexicon.number(token.piece.key)?;
            Some((Some(number), token, soft))
        };
        let (number, token, soft) = said(at)?;
        let mut value = match number {
            None => {
                // A decimal, a version, a date, a time: as it is written; but 2.5 million is one.
                let text = self.text(token);
                let scale = match said(at + 1) {
                    Some((Some(Number::Value(v)), _, _)) if v >= 1000.0 => Some(v),
                    _ => None,
                };
                return match (scale, text.parse::<f64>()) {
                    (Some(scale), Ok(value)) => Some((2, value_key(value * scale), false)),
                    _ => Some((1, written(text), false)),
                };
            }
            Some(Number::Fixed(key)) => return Some((1, key, soft)),
            Some(Number::Value(value)) => value,
        };
        let words = token.piece.kind != Kind::Number;
        let (mut total, mut len) = (0.0, 1);
        while let Some((Some(Number::Value(next)), token, _)) = said(at + len) {
            let in_words = token.piece.kind != Kind::Number;
            let ones = value % 100.0;
            if in_words && next >= 100.0 && value > 0.0 && value < next {
                value *= next;
                if next >= 1000.0 {
                    total += value;
                    value = 0.0;
                }
            } else if words && in_words && next < 10.0 && ones >= 20.0 && ones % 10.0 == 0.0
                || words && in_words && next < 100.0 && value >= 100.0 && ones == 0.0
                || words && in_words && total > 0.0 && value == 0.0 && next < total
            {
                value += next;
            } else {
                break;
            }
            len += 1;
        }
        Some((len, value_key(total + value), soft && len == 1))
    }
}

fn value_key(value: f64) -> u64 {
    seeded(key(b"#"), value.to_string().as_bytes())
}

fn written(text: &str) -> u64 {
    seeded(key(b"#"), text.as_bytes())
}
