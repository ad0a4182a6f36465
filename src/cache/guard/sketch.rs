//! A prompt as far as the guard needs it: its body in words, its dress in a few marks.
//!
//! ```text
//!  "Hi, what's the best way to lose 5 kg in two weeks? Thanks!"
//!   frame HowTo · lose #5 unit:kg in #2 unit:week · tense none · persons none
//! ```
//!
//! Invariants
//! - I1 The same prompt gives the same sketch, on every machine; a change to how sketches are
//!   made changes [`FORMAT`](super::FORMAT).
//! - I2 Free words and politeness are not stored; all else of the prompt is.

use super::cut::{Cut, Kind, Piece, cut};
use super::frame::Frame;
use super::lexicon::{Entry, GROUPS, Number, key, mark, seeded};
use super::{Guard, PIECES_MAX};

/// Which kind of answer is asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Wh {
    /// No question: an order, a statement.
    #[default]
    None,
    Who,
    When,
    Where,
    Why,
    What,
    HowTo,
    /// How … (in what state or manner).
    How,
    /// How many, how long, how far.
    Quantity,
    /// Yes or no.
    YesNo,
}

/// When it is asked about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Tense {
    #[default]
    None,
    Past,
    Present,
    Future,
}

/// What a yes or a no would be about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Modal {
    /// None, or `be`, `do`, `have`.
    #[default]
    Plain,
    Can,
    Should,
    Must,
    Will,
}

/// A stored word.
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    /// What it is compared by.
    pub(super) key: u64,
    /// [`mark`]s.
    pub(super) marks: u32,
    /// The short hash of its text as written: identifiers alone are told apart by case.
    pub(super) exact: u32,
    at: u16,
    len: u8,
    pub(super) kind: Kind,
    pub(super) same: [u16; GROUPS],
    pub(super) sense: u16,
    pub(super) rarity: u8,
    pub(super) class: u8,
    /// Which binding word it is, 0 for none.
    pub(super) bind: u8,
    /// The binding word that governs it, 0 for none.
    pub(super) governor: u8,
    /// A comma or a joining word stands before it.
    pub(super) joined: bool,
}

impl Word {
    pub(super) fn has(&self, marks: u32) -> bool {
        self.marks & marks != 0
    }

    /// Is it a word whose absence counts in full?
    pub(super) fn is_content(&self) -> bool {
        !self.has(mark::BIND | mark::FREE)
    }

    /// How much it says, 0 to 1.
    pub(super) fn weight(&self) -> f32 {
        f32::from(self.rarity + 1) / 16.0
    }
}

/// A prompt, ready to be compared. About 0.5 kB for 30 tokens; made by [`Guard::sketch`].
#[derive(Clone, Debug)]
pub struct Sketch {
    /// The lower-case text that the words lie in.
    text: Box<str>,
    /// In order, without free words and dress.
    pub(super) words: Box<[Word]>,
    /// Their places by key.
    pub(super) order: Box<[u16]>,
    /// The hash of all words without politeness.
    pub(super) whole: u64,
    /// The hash of frame and body.
    pub(super) body: u64,
    pub(super) frames: [Frame; 2],
    pub(super) wh: Wh,
    /// Of a question for what: is one thing to be explained (1), or several to be listed (2)?
    pub(super) number: u8,
    pub(super) tense: Tense,
    pub(super) modal: Modal,
    /// A bit for each of I, you, he, she, they, we.
    pub(super) persons: u8,
    /// A bit for each of can, should, must, will, outside the frame.
    pub(super) moods: u8,
    /// How many of `this`, `these`, `those`.
    pub(super) shown: u8,
    /// How many of `people`, `someone`, `thing`, ….
    pub(super) vague: u8,
    pub(super) scripts: u16,
    pub(super) negations: u8,
    /// The sum of the keys that negations stand before.
    pub(super) negated: u64,
    pub(super) sentences: u16,
    pub(super) asks: bool,
    /// The prompt has a capital letter somewhere.
    pub(super) has_capital: bool,
    /// How many free words were left out.
    pub(super) free: u16,
    /// What [`Guard::mark`] was when it was made.
    pub(super) mark: u64,
    /// It is too long to be compared.
    pub(super) is_long: bool,
}

impl Sketch {
    /// The text of a stored word, in lower case.
    pub(super) fn of(&self, word: &Word) -> &str {
        let at = usize::from(word.at);
        self.text
            .get(at..at + usize::from(word.len))
            .unwrap_or_default()
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.text.len()
            + size_of_val::<[Word]>(&self.words)
            + size_of_val::<[u16]>(&self.order)
    }

    /// Too many words or bytes to be compared: never the same as anything.
    pub fn is_long(&self) -> bool {
        self.is_long
    }

    fn long(mark: u64) -> Self {
        Self {
            text: Box::default(),
            words: Box::default(),
            order: Box::default(),
            whole: 0,
            body: 0,
            frames: [Frame::Bare; 2],
            wh: Wh::None,
            number: 0,
            tense: Tense::None,
            modal: Modal::Plain,
            persons: 0,
            moods: 0,
            shown: 0,
            vague: 0,
            scripts: 0,
            negations: 0,
            negated: 0,
            sentences: 0,
            asks: false,
            has_capital: false,
            free: 0,
            mark,
            is_long: true,
        }
    }
}

/// A word on its way into a sketch.
#[derive(Clone, Copy)]
struct Token {
    piece: Piece,
    /// It belongs to politeness (1) or to a frame (2), or is the question word (3).
    gone: u8,
    entry: Option<Entry>,
    /// A number that stands in several words.
    number: Option<u64>,
    soft: bool,
}

pub(super) fn sketch(guard: &Guard, prompt: &str) -> Sketch {
    let Some(cut) = cut(prompt, &guard.lexicon) else {
        return Sketch::long(guard.mark);
    };
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

struct Making<'g> {
    guard: &'g Guard,
    cut: Cut,
    tokens: Vec<Token>,
}

impl Making<'_> {
    /// Pieces become tokens; turns of phrase become the words that they stand for.
    fn turn(&mut self) {
        let lexicon = &self.guard.lexicon;
        let pieces = std::mem::take(&mut self.cut.pieces);
        self.tokens.reserve(pieces.len());
        let mut at = 0;
        while let Some(&piece) = pieces.get(at) {
            // "$5" is "5 dollars".
            if is_sign(piece.key)
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
            let Some((more, to)) = lexicon.turn(piece.key, next) else {
                self.push(piece);
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

    fn push(&mut self, mut piece: Piece) {
        let lexicon = &self.guard.lexicon;
        let mut entry = lexicon.get(piece.key).copied();
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

    fn text(&self, token: &Token) -> &str {
        self.cut.of(&token.piece)
    }

    fn sketch(mut self) -> Sketch {
        let keys: Vec<u64> = self.tokens.iter().map(|token| token.piece.key).collect();
        self.polite_end(&keys);
        let (frames, question) = self.undress(&keys);
        let (wh, modal) = self.asked(frames[0], question);
        let tense = self.tense(wh, question);
        self.numbers();
        self.store(frames, wh, modal, tense)
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
            gone.iter_mut().for_each(|token| token.gone = 1);
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
                self.take(at, len, 1);
                at += len;
            }
            if live(at, &self.tokens) {
                let rest = keys.get(at..end).unwrap_or_default();
                if let Some((frame, len)) = self.guard.frames.frame(rest)
                    && len < rest.len()
                {
                    self.take(at, len, 2);
                    if let Some(slot) = found.get_mut(number) {
                        *slot = frame;
                    }
                    number += 1;
                    question = question.or(Some((at, end)));
                } else if self
                    .tokens
                    .get(at)
                    .is_some_and(|token| asks(token.piece.key))
                {
                    question = question.or(Some((at, end)));
                }
            }
            start = end;
        }
        (found, question.unwrap_or((0, keys.len())))
    }

    fn take(&mut self, at: usize, len: usize, gone: u8) {
        let taken = self.tokens.get_mut(at..at + len).unwrap_or_default();
        taken.iter_mut().for_each(|token| token.gone = gone);
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
                    if next.is_some_and(measures) {
                        Wh::Quantity
                    } else {
                        Wh::How
                    }
                }
                other => other,
            };
            token.gone = 3;
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

    /// Numbers in words and digits become one writing.
    fn numbers(&mut self) {
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
            rest.iter_mut().for_each(|token| token.gone = 2);
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

    fn store(mut self, frames: [Frame; 2], wh: Wh, modal: Modal, tense: Tense) -> Sketch {
        let capitals = self
            .tokens
            .iter()
            .filter(|token| token.piece.capital)
            .count();
        let is_title = capitals * 2 > self.tokens.len() && self.tokens.len() > 3;
        let shouted = self
            .tokens
            .iter()
            .filter(|token| token.piece.shouted)
            .count();
        let is_shouted = shouted * 2 > self.tokens.len();
        let mut making = Making {
            guard: self.guard,
            cut: Cut::default(),
            tokens: Vec::new(),
        };
        let tokens = std::mem::take(&mut self.tokens);
        let mut words = Vec::with_capacity(tokens.len());
        let (mut whole, mut body) = (key(b"whole"), key(&[frames[0] as u8, frames[1] as u8]));
        let (mut persons, mut negations, mut negated, mut free) = (0, 0_u8, 0_u64, 0);
        let (mut governor, mut joined, mut turns) = (0, false, false);
        let (mut moods, mut shown, mut vague) = (0, 0_u8, 0_u8);
        let own = self.own(frames[0], &tokens);
        for token in &tokens {
            if token.gone == 1 {
                continue;
            }
            whole = seeded(whole, &compared(token).to_le_bytes());
            if token.gone != 0 {
                continue;
            }
            let mut word = self.word(token, is_title);
            let acronym = token.piece.shouted && !is_shouted && is_acronym(token.piece.key);
            if acronym && word.has(mark::FREE | mark::BIND) {
                // "IT", "WHO": a name.
                word.marks = mark::KNOWN | mark::CAPITAL;
                word.key = seeded(word.key, b"!");
                (word.rarity, word.bind) = (12, 0);
            }
            joined |= token.piece.comma;
            if !word.has(mark::CAPITAL) {
                persons |= person(token.piece.key);
            }
            if word.has(mark::FREE) {
                moods |= auxiliary(token.piece.key).map_or(0, |modal| (1 << modal as u8) & !1);
                shown = shown.saturating_add(u8::from(shows(token.piece.key)));
                vague = vague.saturating_add(u8::from(is_vague(token.piece.key)));
                free += 1;
                continue;
            }
            if word.has(mark::NEGATION) {
                negations = negations.saturating_add(1);
                turns = true;
            }
            if own != 0 && person(token.piece.key) == own && word.has(mark::BIND) {
                // "how do I clean my", "how do you clean your": the asker's own.
                word.key = key(b"own");
                word.bind = 0;
                persons &= !own;
            }
            body = seeded(body, &word.key.to_le_bytes());
            if word.has(mark::BIND) {
                joined |= self.guard.lexicon.is_equal(token.piece.key);
                if !word.has(mark::NEGATION) {
                    governor = word.bind;
                }
                words.push(word);
                continue;
            }
            if turns && !word.has(mark::NEGATION) {
                negated = negated.wrapping_add(word.key);
                turns = false;
            }
            words.push(Word {
                governor,
                joined,
                ..word
            });
            (governor, joined) = (0, false);
        }
        let mut order: Vec<u16> = (0..).take(words.len()).collect();
        order.sort_by_key(|&at| words.get(usize::from(at)).map_or(0, |word: &Word| word.key));
        std::mem::swap(&mut making.cut, &mut self.cut);
        Sketch {
            text: making.cut.text.into_boxed_str(),
            words: words.into_boxed_slice(),
            order: order.into_boxed_slice(),
            whole,
            body,
            frames,
            wh,
            number: number(&tokens, frames[0]),
            tense,
            modal,
            persons,
            moods,
            shown,
            vague,
            scripts: making.cut.scripts,
            negations,
            negated,
            sentences: making.cut.sentences,
            asks: making.cut.asks,
            has_capital: capitals > 0,
            free,
            mark: self.guard.mark,
            is_long: false,
        }
    }

    /// The person that a how-to is asked for: its `my` is anybody's own.
    fn own(&self, frame: Frame, tokens: &[Token]) -> u8 {
        if frame != Frame::HowTo {
            return 0;
        }
        let framed = tokens.iter().filter(|token| token.gone == 2);
        let asked = framed
            .map(|token| person(token.piece.key))
            .find(|person| *person != 0);
        let said = |who: u8| {
            let body = tokens.iter().filter(|token| token.gone == 0);
            body.into_iter()
                .all(|token| [0, who].contains(&person(token.piece.key)))
        };
        match asked {
            Some(who) if said(who) => who,
            // "ways to clean my …": whoever alone is spoken of.
            None => [1, 2, 32].into_iter().find(|who| said(*who)).unwrap_or(0),
            Some(_) => 0,
        }
    }

    fn word(&self, token: &Token, is_title: bool) -> Word {
        let piece = &token.piece;
        let entry = token.entry.unwrap_or_else(|| self.unlisted(piece));
        let mut word = Word {
            key: entry.key,
            marks: entry.marks,
            exact: (piece.exact >> 32) as u32,
            at: u16::try_from(piece.at).unwrap_or(u16::MAX),
            len: u8::try_from(piece.len).unwrap_or(u8::MAX),
            kind: piece.kind,
            same: entry.same,
            sense: entry.sense,
            rarity: entry.rarity,
            class: entry.class,
            bind: entry.bind,
            governor: 0,
            joined: false,
        };
        if let Some(number) = token.number {
            word.key = number;
            word.kind = Kind::Number;
            word.rarity = 15;
            word.marks = if token.soft {
                mark::SOFT | mark::KNOWN
            } else {
                mark::KNOWN
            };
            word.same = [0; GROUPS];
            word.bind = 0;
        }
        if piece.kind == Kind::Code {
            // An identifier is compared letter by letter.
            word.key = piece.key;
            word.marks &= !(mark::FREE | mark::BIND);
        }
        if piece.foreign {
            word.marks |= mark::FOREIGN;
        }
        let named = piece.capital && !piece.opens && !is_title && piece.kind == Kind::Word;
        if named && !word.has(mark::FREE | mark::BIND) {
            word.marks |= mark::CAPITAL;
        }
        // "vitamin A", "plan B": a letter alone in capitals is a name.
        if named && piece.len == 1 && piece.key == key(b"a") {
            word.marks = mark::CAPITAL | mark::KNOWN;
            word.rarity = 10;
        }
        // "in May", "May 5"; else it is the auxiliary.
        if piece.key == key(b"may") && named {
            word.marks = mark::DATE | mark::KNOWN;
            word.key = key(b"date:may");
        }
        word
    }

    /// A word that no table has: its ending taken off if the rest is known.
    fn unlisted(&self, piece: &Piece) -> Entry {
        let text = self.cut.of(piece);
        let lexicon = &self.guard.lexicon;
        let rare = Entry {
            key: piece.key,
            rarity: 15,
            ..Entry::default()
        };
        if piece.kind != Kind::Word || !text.is_ascii() || text.len() < 4 {
            return rare;
        }
        let known = |base: &str| lexicon.get(key(base.as_bytes())).copied();
        let mut buffer = String::with_capacity(text.len() + 1);
        for (end, new) in STEMS {
            let Some(base) = text.strip_suffix(end) else {
                continue;
            };
            if base.len() < 3 {
                continue;
            }
            buffer.clear();
            buffer.push_str(base);
            buffer.push_str(new);
            if let Some(entry) = known(&buffer) {
                let past = if end.ends_with("ed") { mark::PAST } else { 0 };
                return Entry {
                    marks: entry.marks | past,
                    ..entry
                };
            }
        }
        // A plural of the unknown is the unknown.
        match text.strip_suffix('s') {
            Some(base) if !base.ends_with('s') && base.len() >= 3 => Entry {
                key: key(base.as_bytes()),
                ..rare
            },
            _ => rare,
        }
    }
}

/// Endings of words that the table has without them.
const STEMS: [(&str, &str); 12] = [
    ("ies", "y"),
    ("es", ""),
    ("s", ""),
    ("ied", "y"),
    ("ed", ""),
    ("ed", "e"),
    ("ing", ""),
    ("ing", "e"),
    ("er", ""),
    ("isation", "ization"),
    ("ise", "ize"),
    ("our", "or"),
];

/// What tells two texts apart: a number or unit in its one writing, else the word as it is.
fn compared(token: &Token) -> u64 {
    let units = mark::UNIT | mark::DATE;
    match (token.number, token.entry) {
        (Some(number), _) => number,
        (None, Some(entry)) if entry.marks & units != 0 && token.piece.kind == Kind::Word => {
            entry.key
        }
        _ => token.piece.key,
    }
}

fn value_key(value: f64) -> u64 {
    seeded(key(b"#"), value.to_string().as_bytes())
}

fn written(text: &str) -> u64 {
    seeded(key(b"#"), text.as_bytes())
}

macro_rules! among {
    ($key:expr, $($word:literal)*) => { $( $key == const { key($word.as_bytes()) } )||* };
}

/// Is one thing to be explained (1), or several to be listed (2)?
fn number(tokens: &[Token], frame: Frame) -> u8 {
    if frame != Frame::What {
        return 0;
    }
    let dress = || {
        tokens
            .iter()
            .filter(|token| token.gone == 2)
            .map(|token| token.piece.key)
    };
    if dress()
        .any(|word| among!(word, "some" "list" "few" "any" "all" "name" "suggest" "recommend"))
    {
        2
    } else if dress().any(|word| among!(word, "a" "an" "meaning" "definition" "define" "meant")) {
        1
    } else {
        0
    }
}

/// How many words of a question in a subordinate clause are its dress, beside its last one.
fn indirect(keys: &[u64]) -> Option<usize> {
    let (first, last) = (*keys.first()?, *keys.last()?);
    let ends = keys.len() > 2 && among!(last, "is" "are" "was" "were");
    if question_word(first) != Wh::What || !ends {
        return None;
    }
    let mut len = 1;
    let article = |at: usize| keys.get(at).is_some_and(|&key| among!(key, "the" "a" "an"));
    len += usize::from(article(len));
    let means = keys
        .get(len)
        .is_some_and(|&key| among!(key, "meaning" "definition"));
    if means && keys.get(len + 1).is_some_and(|&key| among!(key, "of")) {
        len += 2;
        len += usize::from(article(len));
    }
    let is_asked = keys.get(1).is_some_and(|&key| auxiliary(key).is_some());
    (!is_asked && len + 1 < keys.len()).then_some(len)
}

fn is_sign(word: u64) -> bool {
    among!(word, "$" "€" "£" "₹" "¥" "₩" "₽")
}

fn question_word(word: u64) -> Wh {
    if among!(word, "who" "whom" "whose") {
        Wh::Who
    } else if among!(word, "when") {
        Wh::When
    } else if among!(word, "where") {
        Wh::Where
    } else if among!(word, "why") {
        Wh::Why
    } else if among!(word, "what" "which") {
        Wh::What
    } else if among!(word, "how") {
        Wh::How
    } else {
        Wh::None
    }
}

fn measures(word: u64) -> bool {
    among!(word, "many" "much" "long" "old" "far" "tall" "often" "big" "high" "large" "fast" "deep"
        "heavy" "wide" "soon" "late" "early" "hot" "cold" "quickly" "frequently" "strong" "thick")
}

fn auxiliary(word: u64) -> Option<Modal> {
    if among!(word, "can" "could" "may" "might") {
        Some(Modal::Can)
    } else if among!(word, "should" "shall") {
        Some(Modal::Should)
    } else if among!(word, "must") {
        Some(Modal::Must)
    } else if among!(word, "will" "would") {
        Some(Modal::Will)
    } else if among!(word, "is" "are" "am" "was" "were" "do" "does" "did" "has" "have" "had") {
        Some(Modal::Plain)
    } else {
        None
    }
}

/// Function words that in capitals are names: information technology, a health organisation.
fn is_acronym(word: u64) -> bool {
    among!(word, "it" "who" "am" "as" "or" "me" "he" "so" "an" "at" "to")
}

fn shows(word: u64) -> bool {
    among!(word, "this" "these" "those")
}

fn is_vague(word: u64) -> bool {
    among!(word, "people" "person" "someone" "somebody" "anyone" "anybody" "thing" "things")
}

fn asks(word: u64) -> bool {
    question_word(word) != Wh::None || auxiliary(word).is_some()
}

fn tense_of(word: u64) -> Tense {
    if among!(word, "was" "were" "did" "had") {
        Tense::Past
    } else if among!(word, "is" "are" "am" "do" "does" "has" "have") {
        Tense::Present
    } else if among!(word, "will" "shall") {
        Tense::Future
    } else {
        Tense::None
    }
}

fn person(word: u64) -> u8 {
    if among!(word, "i" "me" "my" "mine" "myself") {
        1
    } else if among!(word, "you" "your" "yours" "yourself") {
        2
    } else if among!(word, "he" "him" "his" "himself") {
        4
    } else if among!(word, "she" "her" "hers" "herself") {
        8
    } else if among!(word, "they" "them" "their" "theirs" "themselves") {
        16
    } else if among!(word, "we" "us" "our" "ours" "ourselves") {
        32
    } else {
        0
    }
}
