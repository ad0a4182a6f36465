//! Makes a sketch, first half: turns of phrase, politeness, frames, what is asked.
//!
//! ```text
//!  pieces ──turn──► tokens ──polite_end, undress──► some gone ──asked, tense──► marks
//!                                                         └──numbers──store──► Sketch
//! ```

use super::cut::{Cut, Kind, Piece, cut};
use super::frame::Frame;
use super::lexicon::{Entry, key, mark};
use super::sketch::{Modal, Sketch, Tense, Wh};
use super::speech::{self, asks, auxiliary, question_word, tense_of};
use super::{Guard, PIECES_MAX};

/// Politeness takes no part in the comparison.
pub(super) const POLITE: u8 = 1;
/// A frame takes part as a whole.
pub(super) const DRESS: u8 = 2;
/// The question word stands in [`Asked`].
const ASKS: u8 = 3;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) wh: Wh,
    pub(super) modal: Modal,
    pub(super) tense: Tense,
}

/// A word on its way into a sketch.
#[derive(Clone, Copy)]
pub(super) struct Token {
    pub(super) piece: Piece,
    /// It belongs to politeness ([`POLITE`]), to a frame ([`DRESS`]), or is the question word.
    pub(super) gone: u8,
    pub(super) entry: Option<Entry>,
    /// A number that stands in several words.
    pub(super) number: Option<u64>,
    pub(super) soft: bool,
}

pub(super) fn sketch(guard: &Guard, prompt: &str) -> Sketch {
    match cut(prompt, &guard.lexicon) {
        Some(cut) => of_cut(guard, cut),
        None => Sketch::long(guard.mark),
    }
}

/// The sketch of a prompt that was cut.
pub(super) fn of_cut(guard: &Guard, cut: Cut) -> Sketch {
    let mut making = Making {
        guard,
        cut,
        tokens: Vec::new(),
    };
    making.turn();
    if making.tokens.len() > PIECES_MAX || making.cut.text.len() > usize::from(u16::MAX) {
        return Sketch::long(guard.mark);
    }
    making.sketch()
}

pub(super) struct Making<'g> {
    pub(super) guard: &'g Guard,
    pub(super) cut: Cut,
    pub(super) tokens: Vec<Token>,
}

impl Making<'_> {
    /// Pieces become tokens; turns of phrase become the words that they stand for.
    fn turn(&mut self) {
        let lexicon = &self.guard.lexicon;
        let pieces = std::mem::take(&mut self.cut.pieces);
        self.tokens.reserve(pieces.len());
        // All at once: few are near, and many can be on their way at a time.
        let entries = pieces.iter().map(|piece| lexicon.get(piece.key).copied());
        let entries: Vec<Option<Entry>> = entries.collect();
        let mut at = 0;
        while let Some((&piece, &entry)) = pieces.get(at).zip(entries.get(at)) {
            // "$5" is "5 dollars".
            if speech::is_sign(piece.key)
                && let Some(&number) = pieces.get(at + 1)
                && (number.kind == Kind::Number || lexicon.number(number.key).is_some())
            {
                self.push(Piece {
                    opens: piece.opens,
                    comma: piece.comma,
                    ..number
                });
                self.push(Piece {
                    opens: false,
                    comma: false,
                    ..piece
                });
                at += 2;
                continue;
            }
            let next = |ahead: usize| {
                let next = pieces.get(at + 1 + ahead)?;
                (!next.opens).then_some(next.key)
            };
            let turn = match entry {
                Some(entry) if entry.marks & mark::TURN != 0 => lexicon.turn(piece.key, next),
                _ => None,
            };
            let Some((more, to)) = turn else {
                self.add(piece, entry);
                at += 1;
                continue;
            };
            for (number, word) in to.iter().enumerate() {
                let start = self.cut.text.len();
                self.cut.text.push_str(word);
                self.push(Piece {
                    at: u32::try_from(start).unwrap_or(0),
                    len: u16::try_from(word.len()).unwrap_or(0),
                    key: key(word.as_bytes()),
                    exact: key(word.as_bytes()),
                    opens: piece.opens && number == 0,
                    comma: piece.comma && number == 0,
                    kind: Kind::Word,
                    capital: false,
                    shouted: false,
                    foreign: false,
                });
            }
            if to.is_empty()
                && piece.opens
                && let Some(next) = pieces.get(at + 1 + more)
            {
                self.push(Piece {
                    opens: true,
                    ..*next
                });
                at += 1;
            }
            at += 1 + more;
        }
    }

    fn push(&mut self, piece: Piece) {
        let entry = self.guard.lexicon.get(piece.key).copied();
        self.add(piece, entry);
    }

    fn add(&mut self, mut piece: Piece, mut entry: Option<Entry>) {
        let lexicon = &self.guard.lexicon;
        let is_word = piece.kind == Kind::Word && piece.len >= 4 && !piece.foreign;
        if entry.is_none()
            && is_word
            && !piece.capital
            && let Some(meant) = lexicon.mistyped(self.cut.of(&piece))
        {
            piece.key = key(meant.as_bytes());
            entry = lexicon.get(piece.key).copied();
        }
        // "the us", "US": a country.
        let after_the = || {
            self.tokens
                .last()
                .is_some_and(|last| last.piece.key == key(b"the"))
        };
        if piece.key == key(b"us") && (piece.shouted || after_the()) {
            piece.key = key(b"usa");
            entry = lexicon.get(piece.key).copied();
        }
        self.tokens.push(Token {
            piece,
            gone: 0,
            entry,
            number: None,
            soft: false,
        });
    }

    pub(super) fn text(&self, token: &Token) -> &str {
        self.cut.of(&token.piece)
    }

    fn sketch(mut self) -> Sketch {
        let keys: Vec<u64> = self.tokens.iter().map(|token| token.piece.key).collect();
        self.polite_end(&keys);
        let (frames, question) = self.undress(&keys);
        let (wh, modal) = self.asked(frames[0], question);
        let tense = self.tense(wh, question);
        self.numbers();
        self.store(frames, Asked { wh, modal, tense })
    }

    /// Politeness at the prompt's end.
    fn polite_end(&mut self, keys: &[u64]) {
        let mut end = keys.len();
        for _ in 0..3 {
            let from = end.saturating_sub(8).max(1);
            let tail = |at: usize| keys.get(at..end).unwrap_or_default();
            let Some(at) = (from..end).find(|&at| self.guard.frames.ends(tail(at))) else {
                break;
            };
            let gone = self.tokens.get_mut(at..end).unwrap_or_default();
            for token in gone {
                token.gone = POLITE;
            }
            end = at;
        }
    }

    /// Takes politeness and frames off each sentence; the frames, and where the sentence of
    /// the first question begins and ends.
    fn undress(&mut self, keys: &[u64]) -> ([Frame; 2], (usize, usize)) {
        let mut found = [Frame::Bare; 2];
        let mut number = 0;
        let mut question = None;
        let mut start = 0;
        while start < keys.len() {
            let is_open = |token: &Token| token.piece.opens;
            let rest = self.tokens.get(start + 1..).unwrap_or_default();
            let end = rest
                .iter()
                .position(is_open)
                .map_or(keys.len(), |len| start + 1 + len);
            let live = |at: usize, tokens: &[Token]| tokens.get(at).is_some_and(|t| t.gone == 0);
            let mut at = start;
            while live(at, &self.tokens) {
                let rest = keys.get(at..end).unwrap_or_default();
                // A sentence of politeness alone goes whole; else something must be left.
                let Some(len) = self.guard.frames.polite(rest) else {
                    break;
                };
                if at + len >= end && start == 0 && end == keys.len() {
                    break;
                }
                self.take(at, len, POLITE);
                at += len;
            }
            if live(at, &self.tokens) {
                let rest = keys.get(at..end).unwrap_or_default();
                if let Some((frame, len)) = self.guard.frames.frame(rest)
                    && len < rest.len()
                {
                    self.take(at, len, DRESS);
                    if let Some(slot) = found.get_mut(number) {
                        *slot = frame;
                    }
                    number += 1;
                    question = question.or(Some((at, end)));
                } else if let Some(len) = speech::indirect(rest) {
                    // "(tell me) what the colour of the brain is"
                    self.take(at, len, DRESS);
                    self.take(end - 1, 1, DRESS);
                    if let Some(slot) = found.get_mut(number) {
                        *slot = Frame::What;
                    }
                    number += 1;
                    question = question.or(Some((at, end)));
                } else if rest.first().is_some_and(|&word| asks(word)) {
                    question = question.or(Some((at, end)));
                }
            }
            start = end;
        }
        (found, question.unwrap_or((0, keys.len())))
    }

    fn take(&mut self, at: usize, len: usize, gone: u8) {
        let taken = self.tokens.get_mut(at..at + len).unwrap_or_default();
        for token in taken {
            token.gone = gone;
        }
    }

    /// The kind of answer that the question's sentence asks for.
    fn asked(&mut self, frame: Frame, (from, to): (usize, usize)) -> (Wh, Modal) {
        match frame {
            Frame::HowTo => return (Wh::HowTo, Modal::Plain),
            Frame::Why => return (Wh::Why, Modal::Plain),
            Frame::Diff | Frame::What => return (Wh::What, Modal::Plain),
            Frame::Like => return (Wh::How, Modal::Plain),
            Frame::Bare => {}
        }
        let sentence = self.tokens.get_mut(from..to).unwrap_or_default();
        let mut live = sentence
            .iter_mut()
            .filter(|token| token.gone == 0)
            .peekable();
        if let Some(modal) = live.peek().and_then(|token| auxiliary(token.piece.key)) {
            return (Wh::YesNo, modal);
        }
        let mut wh = Wh::None;
        while let Some(token) = live.next() {
            wh = match question_word(token.piece.key) {
                Wh::None => continue,
                Wh::How => {
                    let next = live.peek().map(|token| token.piece.key);
                    if next.is_some_and(speech::measures) {
                        Wh::Quantity
                    } else {
                        Wh::How
                    }
                }
                other => other,
            };
            token.gone = ASKS;
            break;
        }
        (wh, Modal::Plain)
    }

    fn tense(&self, wh: Wh, (from, to): (usize, usize)) -> Tense {
        let sentence = self.tokens.get(from..to).unwrap_or_default();
        let mut auxiliary = sentence
            .iter()
            .filter(|token| auxiliary(token.piece.key).is_some());
        if let Some(token) = auxiliary.next() {
            return if wh == Wh::HowTo {
                Tense::None
            } else {
                tense_of(token.piece.key)
            };
        }
        if matches!(wh, Wh::HowTo | Wh::None | Wh::YesNo) {
            return Tense::None;
        }
        let past = |token: &Token| token.entry.is_some_and(|e| e.marks & mark::PAST != 0);
        if sentence.iter().any(past) {
            Tense::Past
        } else {
            Tense::None
        }
    }
}
