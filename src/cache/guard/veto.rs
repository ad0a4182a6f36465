//! What makes two prompts different whatever the trees would say.
//!
//! ```text
//!  sketches + what has no like ──► numbers, units, negation, opposites, names, … ──► Veto | none
//! ```
//!
//! Invariants
//! - I1 A veto does not depend on which prompt is first.

use super::cut::Kind;
use super::frame::Frame;
use super::keys::Gist;
use super::lexicon::{KIND_MIN, Lexicon, key, mark};
use super::order::Order;
use super::pair::Pair;
use super::sketch::{Modal, Sketch, Tense, Wh, Word};

/// Why two prompts have different answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Veto {
    /// Too long to be compared.
    Long,
    /// A sketch of another version of the guard.
    Version,
    /// Too many words of one have no like in the other.
    Far,
    /// Other scripts.
    Script,
    /// Another number.
    Number,
    /// Another number with a point in it: a version, a decimal.
    Decimal,
    /// Another year.
    Year,
    /// Another date or time.
    Date,
    /// Another unit.
    Unit,
    /// Another currency.
    Currency,
    /// Another sign of calculation or of any other sort.
    Sign,
    /// One negates what the other does not.
    Negation,
    /// Words that exclude each other.
    Antonym,
    /// From where the other has to, before where it has after.
    Direction,
    /// Another identifier.
    Code,
    /// Another name, place, product, language, colour.
    Name,
    /// Another member of a kind: another animal, sport, illness.
    Kind,
    /// A word of a script other than Latin has no like.
    Unicode,
    /// Another kind of answer is asked for.
    Question,
    /// Another time: was, is, will be.
    Tense,
    /// Can, should, must.
    Modal,
    /// He and she, my and your.
    Person,
    /// More, most, only, all.
    Degree,
    /// The same words in other parts.
    Role,
    /// A list with a member more.
    List,
    /// One is about a part of what the other is about.
    Scope,
    /// A rare word has no like.
    Rare,
}

impl Veto {
    /// Its name in answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Long => "long",
            Self::Version => "version",
            Self::Far => "far",
            Self::Script => "script",
            Self::Number => "number",
            Self::Decimal => "decimal",
            Self::Year => "year",
            Self::Date => "date",
            Self::Unit => "unit",
            Self::Currency => "currency",
            Self::Sign => "sign",
            Self::Negation => "negation",
            Self::Antonym => "antonym",
            Self::Direction => "direction",
            Self::Code => "code",
            Self::Name => "name",
            Self::Kind => "kind",
            Self::Unicode => "unicode",
            Self::Question => "question",
            Self::Tense => "tense",
            Self::Modal => "modal",
            Self::Person => "person",
            Self::Degree => "degree",
            Self::Role => "role",
            Self::List => "list",
            Self::Scope => "scope",
            Self::Rare => "rare",
        }
    }
}

/// Prefixes that turn a word into its opposite.
const TURNING: [&str; 10] = [
    "un", "in", "im", "ir", "il", "dis", "non", "de", "mis", "anti",
];

/// From this rarity on a word without a like is another thing.
const RARE: u8 = 12;

/// The first reason why `a` and `b` differ.
pub(super) fn veto(
    a: &Sketch,
    b: &Sketch,
    pair: &Pair,
    order: Order,
    lexicon: &Lexicon,
) -> Option<Veto> {
    if a.scripts | 1 != b.scripts | 1 {
        return Some(Veto::Script);
    }
    if pair.is_far {
        return Some(Veto::Far);
    }
    let both = || alone(a, pair, 0).chain(alone(b, pair, 1));
    let kinds = [Kind::Number, Kind::Sign, Kind::Code];
    for kind in kinds {
        if let Some((of, word)) = both().find(|(of, word)| is_another(of, word, kind)) {
            return Some(of_kind(of, word));
        }
    }
    if let Some(veto) = recased(a, b, pair) {
        return Some(veto);
    }
    if a.negations != b.negations {
        return Some(Veto::Negation);
    }
    if are_opposite(a, b, pair, lexicon) {
        return Some(Veto::Antonym);
    }
    let marked = |marks: u32| {
        both()
            .find(|(_, word)| word.has(marks))
            .map(|(_, word)| word)
    };
    if let Some(word) = marked(mark::UNIT | mark::DATE) {
        return Some(if word.has(mark::MONEY) {
            Veto::Currency
        } else if word.has(mark::UNIT) {
            Veto::Unit
        } else {
            Veto::Date
        });
    }
    if points_elsewhere(a, b, pair, lexicon) {
        return Some(Veto::Direction);
    }
    if marked(mark::FOREIGN).is_some() {
        return Some(Veto::Unicode);
    }
    if marked(mark::NAMING | mark::CAPITAL).is_some() {
        return Some(Veto::Name);
    }
    let of_kind = |x: &Word| {
        let is = |y: &Word| x.class == y.class;
        x.class >= KIND_MIN && of(b, &pair.left[1]).any(is)
    };
    if of(a, &pair.left[0]).any(of_kind) {
        return Some(Veto::Kind);
    }
    asked(a, b).or_else(|| worded(a, b, pair, order, lexicon))
}

/// An identifier in other capitals, where neither prompt is without any.
pub(super) fn recased(a: &Sketch, b: &Sketch, pair: &Pair) -> Option<Veto> {
    let is_code = |of: &Sketch, at: u16| of.keys.gist(at).is_some_and(Gist::is_code);
    let exact = |of: &Sketch, at: u16| of.words.get(usize::from(at)).map(|word| word.exact);
    let differ = |i, j| is_code(a, i) && is_code(b, j) && exact(a, i) != exact(b, j);
    let other = || pair.matched.iter().any(|&(i, j)| differ(i, j));
    (a.has_capital && b.has_capital && other()).then_some(Veto::Code)
}

/// What is asked for differs in kind, time or mood.
fn asked(a: &Sketch, b: &Sketch) -> Option<Veto> {
    let plain = |wh: Wh| matches!(wh, Wh::None | Wh::What | Wh::HowTo | Wh::How | Wh::YesNo);
    let is_bare = a.wh == Wh::None && plain(b.wh) || b.wh == Wh::None && plain(a.wh);
    if a.wh != b.wh && !is_bare {
        return Some(Veto::Question);
    }
    let ([_, next_a], [_, next_b]) = (a.frames, b.frames);
    if next_a != next_b && next_a != Frame::Bare && next_b != Frame::Bare {
        return Some(Veto::Question);
    }
    if a.number + b.number == 3 && a.number != 0 && b.number != 0 {
        return Some(Veto::Question);
    }
    let now = |tense: Tense| matches!(tense, Tense::Present | Tense::None);
    let other = a.tense != b.tense && !(now(a.tense) && now(b.tense));
    if other && a.tense != Tense::None && b.tense != Tense::None {
        return Some(Veto::Tense);
    }
    let ([past_a, now_a, _], [past_b, now_b, _]) = (a.times, b.times);
    if past_a != past_b && now_a != now_b {
        return Some(Veto::Tense);
    }
    let mood = |sketch: &Sketch| (sketch.wh == Wh::YesNo).then_some(sketch.modal);
    if let (Some(x), Some(y)) = (mood(a), mood(b))
        && x != y
        && (x != Modal::Plain && y != Modal::Plain || x == Modal::Should || y == Modal::Should)
    {
        return Some(Veto::Modal);
    }
    // Them in one where the other has us.
    let (only_a, only_b) = (a.persons & !b.persons, b.persons & !a.persons);
    let others = 0b1_1100;
    if only_a != 0 && only_b != 0 && (only_a & others != 0) != (only_b & others != 0) {
        return Some(Veto::Person);
    }
    // Of he and she, one alone in each.
    let pair = |sketch: &Sketch| sketch.persons & 0b1100;
    (pair(a) != pair(b) && pair(a) != 0 && pair(b) != 0).then_some(Veto::Person)
}

/// Words that bind, order, and words without a like.
fn worded(a: &Sketch, b: &Sketch, pair: &Pair, order: Order, lexicon: &Lexicon) -> Option<Veto> {
    let bound = || of(a, &pair.bound[0]).chain(of(b, &pair.bound[1]));
    if bound().any(|word| lexicon.is_degree(word.bind)) {
        return Some(Veto::Degree);
    }
    if bound().any(|word| lexicon.is_strong(word.bind)) {
        return Some(Veto::Direction);
    }
    let owners = |sketch: &Sketch, side: &[u16]| {
        of(sketch, side)
            .map(|word| owner(sketch.of(word)))
            .fold(0, |all, one| all | one)
    };
    let (x, y) = (owners(a, &pair.bound[0]), owners(b, &pair.bound[1]));
    if x != 0 && y != 0 && x != y {
        return Some(Veto::Person);
    }
    if order == Order::Swapped {
        return Some(Veto::Role);
    }
    let left = || of(a, &pair.left[0]).chain(of(b, &pair.left[1]));
    if pair.left[0].is_empty() != pair.left[1].is_empty() {
        let counts = || left().filter(|word| !word.has(mark::FILLER));
        if counts().any(|word| word.joined) {
            return Some(Veto::List);
        }
        let is_governed = |(of, at): (&Sketch, u16)| {
            let counts = word(of, at).is_some_and(|word| !word.has(mark::FILLER));
            counts && of.keys.gist(at).is_some_and(|gist| gist.governor() != 0)
        };
        let [left_a, left_b] = &pair.left;
        let of_a = left_a.iter().map(|&at| (a, at));
        if of_a
            .chain(left_b.iter().map(|&at| (b, at)))
            .any(is_governed)
        {
            return Some(Veto::Scope);
        }
    }
    let is_rare = |word: &Word| word.rarity >= RARE && !word.has(mark::FILLER | mark::SOFT);
    left().any(is_rare).then_some(Veto::Rare)
}

fn owner(text: &str) -> u8 {
    match text {
        "my" | "mine" => 1,
        "your" | "yours" => 2,
        "his" | "him" | "he" => 4,
        "her" | "hers" | "she" => 8,
        _ => 0,
    }
}

fn word(of: &Sketch, at: u16) -> Option<&Word> {
    of.words.get(usize::from(at))
}

/// The key and the text of the word at `at`.
fn keyed(of: &Sketch, at: u16) -> Option<(u64, &str)> {
    Some((of.keys.get(at)?, of.of(word(of, at)?)))
}

/// The words at these places.
pub(super) fn of<'s>(sketch: &'s Sketch, places: &[u16]) -> impl Iterator<Item = &'s Word> {
    places.iter().filter_map(|&at| word(sketch, at))
}

/// The places of all words of one side without a like, binding words too.
fn places(pair: &Pair, side: usize) -> impl Iterator<Item = u16> {
    let lists = [&pair.left, &pair.bound].map(|lists| lists.get(side));
    lists.into_iter().flatten().flatten().copied()
}

/// The words at [`places`].
fn alone<'s>(
    sketch: &'s Sketch,
    pair: &Pair,
    side: usize,
) -> impl Iterator<Item = (&'s Sketch, &'s Word)> {
    places(pair, side).filter_map(move |at| Some((sketch, word(sketch, at)?)))
}

fn is_another(of: &Sketch, word: &Word, kind: Kind) -> bool {
    word.kind == kind && !(word.has(mark::SOFT) && of.of(word) == "one")
}

fn of_kind(of: &Sketch, word: &Word) -> Veto {
    let text = of.of(word);
    match word.kind {
        Kind::Sign => Veto::Sign,
        Kind::Code => Veto::Code,
        _ if text.contains([':', '/']) => Veto::Date,
        _ if text.contains('.') => Veto::Decimal,
        _ if text.len() == 4 && matches!(text.as_bytes().first(), Some(b'1' | b'2')) => Veto::Year,
        _ => Veto::Number,
    }
}

fn are_opposite(a: &Sketch, b: &Sketch, pair: &Pair, lexicon: &Lexicon) -> bool {
    let against = |i: u16, j: u16| {
        let (Some((x, text_x)), Some((y, text_y))) = (keyed(a, i), keyed(b, j)) else {
            return false;
        };
        let surface = |text: &str| key(text.as_bytes());
        lexicon.are_opposite(x, y)
            || lexicon.are_opposite(surface(text_x), surface(text_y))
            || turns(text_x, text_y)
            || turns(text_y, text_x)
    };
    let differ = |i: u16, j: u16| a.keys.get(i) != b.keys.get(j);
    // What has its exact like is not its own opposite.
    let mut ties = pair.tied.iter();
    ties.any(|&(i, j)| differ(i, j) && against(i, j))
        || places(pair, 0).any(|i| places(pair, 1).any(|j| against(i, j)))
}

/// Is `long` the word `short` with a prefix that turns it?
fn turns(long: &str, short: &str) -> bool {
    short.len() >= 3
        && long
            .strip_suffix(short)
            .or_else(|| {
                // "approved" against "disapprove": the stem decides.
                let stem = short.get(..short.len().saturating_sub(2)).unwrap_or(short);
                let at = long.find(stem).filter(|_| stem.len() >= 4)?;
                long.get(..at)
            })
            .is_some_and(|prefix| TURNING.contains(&prefix))
}

/// Does a binding word point elsewhere, by itself or at a word that both have?
fn points_elsewhere(a: &Sketch, b: &Sketch, pair: &Pair, lexicon: &Lexicon) -> bool {
    let bound = of(a, &pair.bound[0])
        .any(|x| of(b, &pair.bound[1]).any(|y| lexicon.is_point(x.bind, y.bind)));
    bound
        || pair.matched.iter().any(|&(i, j)| {
            let governor = |of: &Sketch, at: u16| of.keys.gist(at).map(Gist::governor);
            match (governor(a, i), governor(b, j)) {
                (Some(x), Some(y)) => x != y && lexicon.is_point(x, y),
                _ => false,
            }
        })
}
