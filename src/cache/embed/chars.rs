//! Cuts a text into words as BERT's uncased tokenizer does.
//!
//! ```text
//!   "  Où-est\u{200b} 北?"  ─►  ou │ - │ est │ 北 │ ?
//!      dropped: control, format, unassigned, marks without width (after taking letters apart)
//!      alone:   ideographs, marks of punctuation
//! ```
//!
//! What a character is stands in `data/chars.bin`, which `scripts/embedder/chars.py` makes by
//! asking the package `tokenizers` about every character there is; the format is described there.
//!
//! Invariants
//! - C1 A word is never empty.
//! - C2 What a character becomes does not depend on its neighbours. (Two combining characters in
//!   an odd order stay in that order, where the package would sort the few that have width.)

/// The characters of Unicode: runs and folds.
const DATA: &[u8] = include_bytes!("data/chars.bin");

/// Hangul syllables, of which arithmetic makes letters (Unicode 3.12).
const HANGUL: std::ops::Range<u32> = 0xAC00..0xD7A4;

/// What a character is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Part of a word.
    Word,
    /// Left out.
    Dropped,
    /// Ends a word.
    Space,
    /// A word by itself, before it is folded.
    Alone,
    /// A word by itself, after something was folded to it.
    Mark,
}

/// What characters are, and what stands for them.
#[derive(Debug)]
pub(super) struct Chars {
    ascii: [Kind; 128],
    /// First character and kind of each run, ascending.
    runs: Vec<(u32, Kind)>,
    /// A character and up to three that stand for it, ascending.
    folds: Vec<[u32; 4]>,
}

impl Chars {
    pub(super) fn new() -> Self {
        let numbers = DATA.as_chunks().0.iter();
        let mut numbers = numbers.map(|bytes| u32::from_le_bytes(*bytes));
        let runs = numbers.next().unwrap_or(0) as usize;
        numbers.next();
        let runs: Vec<_> = (numbers.by_ref().take(runs))
            .map(|run| (run >> 8, Kind::of(run)))
            .collect();
        let rest: Vec<u32> = numbers.collect();
        let mut made = Self {
            ascii: [Kind::Word; 128],
            runs,
            folds: rest.as_chunks().0.to_vec(),
        };
        made.ascii = std::array::from_fn(|code| made.search(u32::try_from(code).unwrap_or(0)));
        made
    }

    /// Calls `take` with each word, spelled out in `word`.
    pub(super) fn split(&self, text: &str, word: &mut Vec<u8>, mut take: impl FnMut(&[u8])) {
        word.clear();
        for char in text.chars() {
            if char.is_ascii() {
                match self.kind(char) {
                    Kind::Word => word.push((char as u8).to_ascii_lowercase()),
                    Kind::Dropped => (),
                    Kind::Space => end(word, &mut take),
                    Kind::Alone | Kind::Mark => {
                        end(word, &mut take);
                        take(&[char as u8]);
                    }
                }
            } else {
                self.beyond(char, word, &mut take);
            }
        }
        end(word, &mut take);
    }

    /// Takes a character that is not ASCII.
    #[inline(never)]
    fn beyond(&self, char: char, word: &mut Vec<u8>, take: &mut impl FnMut(&[u8])) {
        let kind = self.kind(char);
        match kind {
            Kind::Dropped => return,
            Kind::Space => return end(word, take),
            Kind::Alone => end(word, take),
            Kind::Word | Kind::Mark => (),
        }
        for char in self.fold(char).into_iter().map_while(char::from_u32) {
            if char == '\0' {
                break;
            }
            let is_mark = kind != Kind::Alone && self.kind(char) == Kind::Mark;
            if is_mark {
                end(word, take);
            }
            word.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            if is_mark {
                end(word, take);
            }
        }
        if kind == Kind::Alone {
            end(word, take);
        }
    }

    fn kind(&self, char: char) -> Kind {
        let ascii = self.ascii.get(char as usize);
        ascii.copied().unwrap_or_else(|| self.search(char.into()))
    }

    fn search(&self, code: u32) -> Kind {
        let behind = self.runs.partition_point(|(first, _)| *first <= code);
        let run = behind.checked_sub(1).and_then(|at| self.runs.get(at));
        run.map_or(Kind::Word, |(_, kind)| *kind)
    }

    /// The one to three characters that stand for this one; the rest is zero.
    fn fold(&self, char: char) -> [u32; 3] {
        let code = u32::from(char);
        if HANGUL.contains(&code) {
            let at = code - HANGUL.start;
            let tail = match at % 28 {
                0 => 0,
                tail => 0x11A7 + tail,
            };
            return [0x1100 + at / 588, 0x1161 + at % 588 / 28, tail];
        }
        let found = self.folds.binary_search_by_key(&code, |fold| fold[0]);
        match found.ok().and_then(|at| self.folds.get(at)) {
            Some(&[_, a, b, c]) => [a, b, c],
            None => [code, 0, 0],
        }
    }
}

impl Kind {
    /// Of the lowest byte of a run.
    fn of(run: u32) -> Self {
        match run & 0xff {
            1 => Self::Dropped,
            2 => Self::Space,
            3 => Self::Alone,
            4 => Self::Mark,
            _ => Self::Word,
        }
    }
}

/// Ends the word that was begun, if one was.
fn end(word: &mut Vec<u8>, take: &mut impl FnMut(&[u8])) {
    if !word.is_empty() {
        take(word);
        word.clear();
    }
}
