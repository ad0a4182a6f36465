//! Cuts a prompt into words, numbers, identifiers and signs.
//!
//! ```text
//!  "What's the 2nd-best os.path API in São Paulo, for $1,000?"
//!   what is the 2th best os.path api in são paulo ,for $ 1000
//! ```
//!
//! Invariants
//! - I1 Any text is cut, none panics; more than [`PIECES_MAX`] pieces or [`BYTES_MAX`] bytes are
//!   too long, and too long is never the same as anything.
//! - I2 Case, quotes, brackets and stops do not change the pieces; signs that calculate do. Marks
//!   that are no pieces and tell nevertheless are in [`Cut::marks`].

use super::lexicon::{Lexicon, key, mark, ordinal};
use super::marks::Marks;
use super::short::{BEFORE_IS, ENDINGS, whole};

/// Most pieces of a prompt that is compared.
pub const PIECES_MAX: usize = 512;
/// Most bytes of a prompt that is compared.
pub const BYTES_MAX: usize = 8192;

/// Puts `c` in lower case behind `text`; nearly always it is one byte.
fn push_lower(text: &mut String, c: char) {
    if c.is_ascii() {
        text.push(c.to_ascii_lowercase());
    } else {
        text.extend(c.to_lowercase());
    }
}

/// What a piece is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Letters.
    Word,
    /// Digits.
    Number,
    /// An identifier: digits among letters, a case change inside, `_`, `.`, `::`.
    Code,
    /// A sign.
    Sign,
}

/// One piece.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent marks of how it is written"
)]
pub(super) struct Piece {
    /// Where its text begins in [`Cut::text`].
    pub(super) at: u32,
    /// How many bytes it has.
    pub(super) len: u16,
    pub(super) kind: Kind,
    /// The hash of its lower-case text.
    pub(super) key: u64,
    /// The hash of its text as written.
    pub(super) exact: u64,
    /// It opens a sentence.
    pub(super) opens: bool,
    /// A comma or a colon stands before it.
    pub(super) comma: bool,
    /// It begins with a capital.
    pub(super) capital: bool,
    /// It is all capitals, two or more.
    pub(super) shouted: bool,
    /// Its letters are not Latin.
    pub(super) foreign: bool,
}

/// A prompt in pieces.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// The lower-case text of all pieces.
    pub(super) text: String,
    pub(super) pieces: Vec<Piece>,
    /// A bit for each script that occurs.
    pub(super) scripts: u16,
    /// A question mark occurs.
    pub(super) asks: bool,
    /// Sentences that have a word.
    pub(super) sentences: u16,
    /// The marks that are no pieces.
    pub(super) marks: Marks,
}

impl Cut {
    /// The text of a piece.
    pub(super) fn of(&self, piece: &Piece) -> &str {
        let at = piece.at as usize;
        self.text
            .get(at..at + usize::from(piece.len))
            .unwrap_or_default()
    }
}

/// Words after a missing space behind a full stop: `profit.what is`.
const OPENERS: [&str; 24] = [
    "what", "how", "why", "is", "i", "the", "if", "can", "please", "and", "but", "so", "when",
    "where", "who", "which", "my", "it", "a", "are", "do", "does", "in", "you",
];

/// The script of a letter as a bit.
fn script(c: char) -> u16 {
    match u32::from(c) {
        0..=0x24f | 0x1e00..=0x1eff => 1,
        0x370..=0x3ff | 0x1f00..=0x1fff => 2,
        0x400..=0x52f => 4,
        0x590..=0x5ff => 8,
        0x600..=0x77f => 16,
        0x900..=0xdff => 32,
        0xe00..=0xeff => 64,
        0x1100..=0x11ff | 0xac00..=0xd7af => 128,
        0x3040..=0x30ff => 256,
        0x3400..=0x9fff | 0xf900..=0xfaff | 0x2_0000..=0x3_ffff => 512,
        _ => 1024,
    }
}

/// Scripts that put no space between words: each letter is a piece.
const UNSPACED: u16 = 64 | 256 | 512;

struct Cutter<'t, 'l> {
    rest: std::iter::Peekable<std::str::CharIndices<'t>>,
    prompt: &'t str,
    lexicon: &'l Lexicon,
    cut: Cut,
    /// The last character read.
    last: char,
    /// The last one that is no space.
    solid: char,
    opens: bool,
    comma: bool,
    /// A word as it is written, and in lower case.
    raw: String,
    lower: String,
}

/// Cuts `prompt`; nothing when it is too long.
pub(super) fn cut(prompt: &str, lexicon: &Lexicon) -> Option<Cut> {
    if prompt.len() > BYTES_MAX {
        return None;
    }
    let mut cutter = Cutter {
        rest: prompt.char_indices().peekable(),
        prompt,
        lexicon,
        cut: Cut {
            text: String::with_capacity(prompt.len() + 16),
            pieces: Vec::with_capacity(prompt.len() / 4 + 4),
            ..Cut::default()
        },
        last: ' ',
        solid: ' ',
        opens: true,
        comma: false,
        raw: String::new(),
        lower: String::new(),
    };
    while let Some((at, c)) = cutter.rest.next() {
        cutter.step(at, c);
        if cutter.cut.pieces.len() > PIECES_MAX {
            return None;
        }
    }
    Some(cutter.cut)
}

impl Cutter<'_, '_> {
    /// The character `ahead` places after the one at `at`.
    fn ahead(&self, at: usize, ahead: usize) -> Option<char> {
        self.prompt.get(at..)?.chars().nth(ahead)
    }

    fn step(&mut self, at: usize, c: char) {
        match c {
            '0'..='9' => self.number(c),
            '_' => self.word(c),
            _ if c.is_alphanumeric() => {
                let script = script(c);
                self.cut.scripts |= script;
                if script & UNSPACED != 0 {
                    let mut buffer = [0; 4];
                    let text = c.encode_utf8(&mut buffer);
                    let exact = key(text.as_bytes());
                    self.put(text, Kind::Word, exact, false, false, true);
                    self.last = c;
                } else {
                    self.word(c);
                }
            }
            _ => {
                self.mark(at, c);
                self.last = c;
                if c != ' ' {
                    self.solid = c;
                }
                return;
            }
        }
        self.solid = self.last;
    }

    /// Do brackets here say what is calculated first?
    fn brackets(&self, at: usize, c: char) -> bool {
        let operator = |c: char| matches!(c, '+' | '-' | '*' | '/' | '^' | '=' | '<' | '>' | '×');
        let after = self.prompt.get(at..).unwrap_or_default().chars().skip(1);
        let next = after.into_iter().find(|c| *c != ' ').unwrap_or(' ');
        if c == '(' {
            operator(self.solid)
        } else {
            operator(next)
        }
    }

    /// Punctuation and signs.
    fn mark(&mut self, at: usize, c: char) {
        match c {
            '?' | '？' | '؟' => {
                self.cut.asks = true;
                self.opens = true;
            }
            '.' | '!' | ';' | '\n' | '。' | '！' | '…' | '।' => self.opens = true,
            ',' | ':' | '、' | '，' | '—' => self.comma = true,
            '&' => self.sign("and", Kind::Word),
            '%' => self.sign("percent", Kind::Word),
            '$' | '€' | '£' | '₹' | '¥' | '₩' | '₽' => {
                let mut buffer = [0; 4];
                let text = &*c.encode_utf8(&mut buffer);
                self.sign(text, Kind::Word);
            }
            '-' | '−' | '–' => {
                let next = self.prompt.get(at..).unwrap_or_default().chars().skip(1);
                let spaced = self.ahead(at, 1) == Some(' ');
                let next = next.into_iter().find(|c| *c != ' ').unwrap_or(' ');
                let calculates = next.is_ascii_digit() && !self.last.is_alphanumeric()
                    || spaced && self.last == ' ' && next.is_ascii_digit();
                if calculates {
                    self.sign("-", Kind::Sign);
                    return;
                }
            }
            '+' | '*' | '=' | '<' | '>' | '^' | '|' | '~' | '\\' | '{' | '}' | '[' | ']' | '@' => {
                let mut buffer = [0; 4];
                let text = &*c.encode_utf8(&mut buffer);
                self.sign(text, Kind::Sign);
            }
            '(' | ')' if self.brackets(at, c) => {
                self.sign(if c == '(' { "(" } else { ")" }, Kind::Sign);
            }
            '!'..='~' | '¡' | '¿' | '‘'..='‟' | '«' | '»' => {}
            _ if c.is_whitespace() || c.is_control() => {}
            // Joiners, variation selectors, marks of direction: unseen.
            '\u{200b}'..='\u{200f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{2060}' => {}
            _ if c > '\u{7f}' => {
                let mut buffer = [0; 4];
                let text = &*c.encode_utf8(&mut buffer);
                self.sign(text, Kind::Sign);
            }
            _ => {}
        }
        self.cut.marks.see(self.prompt, at, c);
    }

    fn sign(&mut self, text: &str, kind: Kind) {
        self.put(text, kind, key(text.as_bytes()), false, false, false);
    }

    fn put(
        &mut self,
        text: &str,
        kind: Kind,
        exact: u64,
        capital: bool,
        shouted: bool,
        foreign: bool,
    ) {
        let Ok(at) = u32::try_from(self.cut.text.len()) else {
            return;
        };
        let Ok(len) = u16::try_from(text.len()) else {
            return;
        };
        self.cut.text.push_str(text);
        self.cut.sentences += u16::from(self.opens);
        self.cut.pieces.push(Piece {
            at,
            len,
            kind,
            key: key(text.as_bytes()),
            exact,
            opens: std::mem::take(&mut self.opens),
            comma: std::mem::take(&mut self.comma),
            capital,
            shouted,
            foreign,
        });
    }

    /// Digits, and what hangs on to them.
    fn number(&mut self, first: char) {
        self.last = first;
        let mut text = String::from(first);
        while let Some(&(at, c)) = self.rest.peek() {
            let joins = matches!(c, '.' | ',' | ':' | '/')
                && self.ahead(at, 1).is_some_and(|c| c.is_ascii_digit());
            if !c.is_ascii_digit() && !joins {
                break;
            }
            text.push(c);
            self.last = c;
            self.rest.next();
        }
        let text = plain(&text);
        let mut tail = String::new();
        if let Some(&(at, c)) = self.rest.peek()
            && (c.is_alphabetic() || c == '_')
            && script(c) & UNSPACED == 0
        {
            let rest = self.prompt.get(at..).unwrap_or_default();
            tail = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            for c in tail.chars() {
                self.rest.next();
                self.last = c;
            }
        }
        self.finish_number(&text, &tail);
    }

    fn finish_number(&mut self, text: &str, tail: &str) {
        let lower = tail.to_lowercase();
        self.cut.marks.see_unit(tail, &lower);
        let tail_key = key(lower.as_bytes());
        let splits = mark::UNIT | mark::DATE;
        match lower.as_str() {
            "" => self.sign(text, Kind::Number),
            "st" | "nd" | "rd" | "th" => {
                let text = ordinal(&format!("{text}{lower}"));
                self.sign(&text, Kind::Number);
            }
            "k" if text.bytes().all(|b| b.is_ascii_digit()) => {
                self.sign(&format!("{text}000"), Kind::Number);
            }
            _ if self
                .lexicon
                .get(tail_key)
                .is_some_and(|e| e.marks & splits != 0)
                || OPENERS.contains(&lower.as_str())
                || lower.len() > 3 && self.lexicon.get(tail_key).is_some() =>
            {
                self.sign(text, Kind::Number);
                self.sign(&lower, Kind::Word);
            }
            _ => {
                let exact = key(format!("{text}{tail}").as_bytes());
                self.put(
                    &format!("{text}{lower}"),
                    Kind::Code,
                    exact,
                    false,
                    false,
                    false,
                );
            }
        }
    }

    /// Letters, and what joins them to an identifier.
    fn word(&mut self, first: char) {
        let mut raw = std::mem::take(&mut self.raw);
        let mut lower = std::mem::take(&mut self.lower);
        raw.clear();
        lower.clear();
        raw.push(first);
        push_lower(&mut lower, first);
        let (mut code, mut turned, mut digits) = (first == '_', false, false);
        let (mut initials, mut uppers) = (true, usize::from(first.is_uppercase()));
        let mut letters = 1;
        let calculates = matches!(self.last, '-' | '+' | '*' | '/' | '^' | '=' | '<' | '>');
        self.last = first;
        while let Some(&(at, c)) = self.rest.peek() {
            if !self.joins(at, c, initials) {
                break;
            }
            self.rest.next();
            if c == ':' {
                self.rest.next();
                raw.push_str("::");
                lower.push_str("::");
                code = true;
                self.last = ':';
                continue;
            }
            match c {
                '_' => code = true,
                '.' => code |= !initials,
                _ if c.is_numeric() => digits = true,
                _ if c.is_alphabetic() => {
                    self.cut.scripts |= script(c);
                    letters += 1;
                    uppers += usize::from(c.is_uppercase());
                    initials &= !self.last.is_alphabetic();
                    turned |= c.is_uppercase() && self.last.is_lowercase();
                }
                _ => {}
            }
            raw.push(c);
            push_lower(&mut lower, if c == '’' { '\'' } else { c });
            self.last = c;
        }
        code |= self.suffix(&mut raw, &mut lower);
        self.cut.marks.see_unit(&raw, &lower);
        // A letter in a formula: "1-i".
        code |= calculates && letters == 1 && first.is_ascii();
        let capital = first.is_uppercase();
        let shouted = uppers >= 2 && uppers == letters;
        let foreign = script(first) != 1;
        let exact = key(raw.as_bytes());
        let kind = if code || turned && !shouted || digits {
            Kind::Code
        } else {
            Kind::Word
        };
        if kind == Kind::Word {
            self.spoken(&lower, exact, capital, shouted, foreign);
        } else {
            self.put(&lower, kind, exact, capital, shouted, foreign);
        }
        (self.raw, self.lower) = (raw, lower);
    }

    /// Does `c`, which stands at `at`, go on with the word? `initials`: it is letters and stops
    /// so far, as in `U.S`.
    fn joins(&self, at: usize, c: char, initials: bool) -> bool {
        let next = self.ahead(at, 1);
        match c {
            '_' => true,
            '\'' | '’' => next.is_some_and(char::is_alphabetic) && self.last.is_alphanumeric(),
            '.' => {
                let after = self.prompt.get(at + 1..).unwrap_or_default();
                let end = after
                    .find(|c: char| !c.is_alphanumeric())
                    .unwrap_or(after.len());
                let run = after.get(..end).unwrap_or_default();
                next.is_some_and(char::is_alphanumeric)
                    && (initials && run.chars().count() == 1
                        || !next.is_some_and(char::is_uppercase)
                            && !OPENERS.contains(&run)
                            && !initials)
            }
            ':' => next == Some(':') && self.ahead(at, 2).is_some_and(char::is_alphanumeric),
            _ => c.is_alphanumeric() && script(c) & UNSPACED == 0,
        }
    }

    /// `c++`, `c#`, `printf()`.
    fn suffix(&mut self, raw: &mut String, lower: &mut String) -> bool {
        let Some(&(at, c)) = self.rest.peek() else {
            return false;
        };
        let next = self.ahead(at, 1);
        let after = self.ahead(at, 2);
        let ends = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
        if c == '+' && next == Some('+') && ends(after) {
            raw.push_str("++");
            lower.push_str("++");
            self.rest.next();
            self.rest.next();
        } else if c == '#' && lower.len() == 1 && ends(next) {
            raw.push('#');
            lower.push('#');
            self.rest.next();
        } else if c == '(' && next == Some(')') {
            self.rest.next();
            self.rest.next();
        } else {
            return false;
        }
        true
    }

    /// A word of speech: contractions are written out, possessives cut off.
    fn spoken(&mut self, lower: &str, exact: u64, capital: bool, shouted: bool, foreign: bool) {
        if let Some(parts) = whole(lower) {
            return parts.iter().for_each(|part| self.sign(part, Kind::Word));
        }
        let Some(quote) = lower.find('\'') else {
            return self.put(lower, Kind::Word, exact, capital, shouted, foreign);
        };
        let (base, end) = lower.split_at(quote);
        if let Some(stem) = lower.strip_suffix("n't") {
            self.sign(stem, Kind::Word);
            return self.sign("not", Kind::Word);
        }
        if let Some((_, word)) = ENDINGS.iter().find(|(from, _)| *from == end) {
            self.sign(base, Kind::Word);
            return self.sign(word, Kind::Word);
        }
        if end == "'s" {
            self.put(
                base,
                Kind::Word,
                key(base.as_bytes()),
                capital,
                shouted,
                foreign,
            );
            if BEFORE_IS.contains(&base) {
                self.sign("is", Kind::Word);
            }
            return;
        }
        self.put(lower, Kind::Word, exact, capital, shouted, foreign);
    }
}

/// `1,000,000` → `1000000`; any other writing stays.
fn plain(text: &str) -> String {
    let groups = text.split(',').skip(1);
    let is_grouped = text.contains(',')
        && !text.contains([':', '/'])
        && text.split(',').next().is_some_and(|first| first.len() <= 3)
        && groups
            .into_iter()
            .all(|group| group.split('.').next().is_some_and(|g| g.len() == 3));
    if is_grouped {
        text.replace(',', "")
    } else {
        text.to_owned()
    }
}
