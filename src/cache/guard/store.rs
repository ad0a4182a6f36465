//! Makes a sketch, second half: what is stored of each word.
//!
//! ```text
//!  tokens that are not gone ──► free: counted | binding, content: a Word with its governor
//! ```

use super::cut::{Kind, Piece};
use super::frame::Frame;
use super::keys::{Gist, Keys};
use super::lexicon::{Entry, GROUPS, key, mark, seeded};
use super::make::{Asked, DRESS, Making, POLITE, Token};
use super::sketch::{Sketch, Tense, Wh, Word};
use super::speech::{self, among};

/// How a prompt uses capitals.
#[derive(Clone, Copy)]
struct Writing {
    /// Most Words Begin With One: then they say nothing.
    is_title: bool,
    /// MOST WORDS ARE ALL CAPITALS.
    is_shouted: bool,
}

/// The words that are stored, with the key and the gist of each.
struct Words {
    all: Vec<Word>,
    keys: Vec<(u64, Gist)>,
}

impl Words {
    fn push(&mut self, key: u64, word: Word, (text, governor): (&str, u8)) {
        let gist = Gist::of(&word, word.of(text), governor);
        self.keys.push((key, gist));
        self.all.push(word);
    }
}

/// What the next content word will be told of the words before it.
#[derive(Default)]
struct Ahead {
    governor: u8,
    joined: bool,
    turns: bool,
}

/// The person that a how-to is asked for: its `my` is anybody's own.
fn own(frame: Frame, tokens: &[Token]) -> u8 {
    if frame != Frame::HowTo {
        return 0;
    }
    let framed = tokens.iter().filter(|token| token.gone == DRESS);
    let asked = framed
        .map(|token| speech::person(token.piece.key))
        .find(|person| *person != 0);
    let said = |who: u8| {
        let body = tokens.iter().filter(|token| token.gone == 0);
        body.into_iter()
            .all(|token| [0, who].contains(&speech::person(token.piece.key)))
    };
    match asked {
        Some(who) if said(who) => who,
        // "ways to clean my …": whoever alone is spoken of.
        None => [1, 2, 32].into_iter().find(|who| said(*who)).unwrap_or(0),
        Some(_) => 0,
    }
}

impl Making<'_> {
    /// Stores what is left of the prompt, under what is known of it so far.
    pub(super) fn store(self, frames: [Frame; 2], asked: Asked) -> Sketch {
        let Self { guard, cut, tokens } = &self;
        let count = |is: fn(&Token) -> bool| tokens.iter().filter(|token| is(token)).count();
        let capitals = count(|token| token.piece.capital);
        let writing = Writing {
            is_title: capitals * 2 > tokens.len() && tokens.len() > 3,
            is_shouted: count(|token| token.piece.shouted) * 2 > tokens.len(),
        };
        let mut to = Sketch {
            whole: key(b"whole"),
            body: key(&[frames[0] as u8, frames[1] as u8]),
            frames,
            wh: asked.wh,
            modal: asked.modal,
            tense: asked.tense,
            number: number(tokens, frames[0]),
            scripts: cut.scripts,
            sentences: cut.sentences,
            marks: cut.marks,
            asks: cut.asks,
            has_capital: capitals > 0 && !writing.is_title && !writing.is_shouted,
            is_long: false,
            ..Sketch::long(guard.mark)
        };
        let own = own(frames[0], tokens);
        let mut words = Words {
            all: Vec::with_capacity(tokens.len()),
            keys: Vec::with_capacity(tokens.len()),
        };
        let mut ahead = Ahead::default();
        for token in tokens.iter().filter(|token| token.gone != POLITE) {
            let time = match speech::tense_of(token.piece.key) {
                Tense::None => None,
                Tense::Past => to.times.first_mut(),
                Tense::Present => to.times.get_mut(1),
                Tense::Future => to.times.get_mut(2),
            };
            if let Some(count) = time.filter(|_| asked.wh != Wh::HowTo || token.gone == 0) {
                *count = count.saturating_add(1);
            }
            to.whole = seeded(to.whole, &compared(token).to_le_bytes());
            if token.gone != 0 {
                continue;
            }
            let (mut key, mut word) = self.word(token, writing);
            let who = speech::person(token.piece.key);
            if own != 0 && who == own && word.has(mark::BIND) {
                // "how do I clean my", "how do you clean your": the asker's own.
                key = OWN;
                word.bind = 0;
            } else if own != who && !word.has(mark::CAPITAL) {
                to.persons |= who;
            }
            self.put(&mut to, &mut words, &mut ahead, (key, word), token);
        }
        to.has_number = words.all.iter().any(|word| word.kind == Kind::Number);
        to.keys = Keys::of(&words.keys);
        to.words = words.all.into_boxed_slice();
        to.text = self.cut.text.into_boxed_str();
        to
    }

    fn put(
        &self,
        to: &mut Sketch,
        words: &mut Words,
        ahead: &mut Ahead,
        (key, word): (u64, Word),
        token: &Token,
    ) {
        let text = &self.cut.text;
        ahead.joined |= token.piece.comma;
        if word.has(mark::FREE) {
            let modal = speech::auxiliary(token.piece.key);
            to.moods |= modal.map_or(0, |modal| (1 << modal as u8) & !1);
            to.shown = to
                .shown
                .saturating_add(u8::from(speech::shows(token.piece.key)));
            to.vague = to
                .vague
                .saturating_add(u8::from(speech::is_vague(token.piece.key)));
            to.free = to.free.saturating_add(1);
            return;
        }
        let negates = word.has(mark::NEGATION);
        to.negations = to.negations.saturating_add(u8::from(negates));
        to.body = seeded(to.body, &key.to_le_bytes());
        if word.has(mark::BIND) {
            ahead.joined |= self.guard.lexicon.is_equal(token.piece.key);
            if !negates {
                ahead.governor = word.bind;
            }
            ahead.turns |= negates;
            words.push(key, word, (text, 0));
            return;
        }
        if ahead.turns && !negates {
            to.negated = to.negated.wrapping_add(key);
        }
        let Ahead {
            governor, joined, ..
        } = std::mem::take(ahead);
        ahead.turns = negates;
        words.push(key, Word { joined, ..word }, (text, governor));
    }

    /// The key of a word, and what else is stored of it.
    fn word(&self, token: &Token, writing: Writing) -> (u64, Word) {
        let piece = &token.piece;
        let entry = token.entry.unwrap_or_else(|| self.unlisted(piece));
        let mut compared = entry.key;
        let mut word = Word {
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
            joined: false,
        };
        if let Some(number) = token.number {
            compared = number;
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
            compared = piece.key;
            word.marks &= !(mark::FREE | mark::BIND);
        }
        if piece.foreign {
            word.marks |= mark::FOREIGN;
        }
        let named = piece.capital && !piece.opens && !writing.is_title && piece.kind == Kind::Word;
        if named && !word.has(mark::FREE | mark::BIND) {
            word.marks |= mark::CAPITAL;
        }
        let acronym = piece.shouted && !writing.is_shouted && speech::is_acronym(piece.key);
        if acronym && word.has(mark::FREE | mark::BIND) {
            // "IT", "WHO": a name.
            word.marks = mark::KNOWN | mark::CAPITAL;
            compared = seeded(compared, b"!");
            (word.rarity, word.bind) = (12, 0);
        }
        // "vitamin A", "plan B": a letter alone in capitals is a name.
        if named && piece.len == 1 && piece.key == key(b"a") {
            word.marks = mark::CAPITAL | mark::KNOWN;
            word.rarity = 10;
        }
        // "in May", "May 5"; else it is the auxiliary.
        if piece.key == key(b"may") && named {
            word.marks = mark::DATE | mark::KNOWN;
            compared = key(b"date:may");
        }
        (compared, word)
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

/// The key of `my` where it is anybody's own.
const OWN: u64 = key(b"own");

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

/// Is one thing to be explained (1), or several to be listed (2)?
fn number(tokens: &[Token], frame: Frame) -> u8 {
    if frame != Frame::What {
        return 0;
    }
    let dress = || {
        tokens
            .iter()
            .filter(|token| token.gone == DRESS)
            .map(|token| token.piece.key)
    };
    let several =
        |word: u64| among!(word, "some" "list" "few" "any" "all" "name" "suggest" "recommend");
    let one = |word: u64| among!(word, "a" "an" "meaning" "definition" "define" "meant");
    if dress().any(several) {
        2
    } else {
        u8::from(dress().any(one))
    }
}
