//! What the guard knows about words: a table made by `scripts/guard/lexicon.py` and lists by hand.
//!
//! ```text
//!  words.txt    surface → lemma, rarity, class, first sense, flags; antonyms   (made)
//!  meaning.txt  free and binding words, same, opposite, units, numbers, names  (by hand)
//!  frames.txt   how a question is dressed                                      (by hand)
//! ```
//!
//! Invariants
//! - I1 Both files are compiled in and read once; a line that is not understood is a fault of
//!   the build (a test reads them strictly), at run time it is left out.
//! - I2 A key is a 64-bit FNV-1a hash of lower-case text: the same on every machine and in every
//!   build, since sketches are stored.

use ahash::{AHashMap, AHashSet};

/// Made by `scripts/guard/lexicon.py`.
const WORDS: &str = include_str!("data/words.txt");
/// Written by hand.
const MEANING: &str = include_str!("data/meaning.txt");

/// The hash of a text: FNV-1a, 64 bits.
pub(super) const fn key(text: &[u8]) -> u64 {
    seeded(0xcbf2_9ce4_8422_2325, text)
}

/// Goes on with the hash `seed` over `text`.
#[expect(
    clippy::indexing_slicing,
    reason = "const; the loop stays below the length"
)]
pub(super) const fn seeded(seed: u64, text: &[u8]) -> u64 {
    let (mut hash, mut at) = (seed, 0);
    while at < text.len() {
        hash = (hash ^ text[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

/// Marks of a word.
pub(super) mod mark {
    /// Its absence changes nothing.
    pub(in super::super) const FREE: u32 = 1;
    /// It must have its like on the other side, or counts against.
    pub(in super::super) const BIND: u32 = 1 << 1;
    /// A content word that may come and go.
    pub(in super::super) const FILLER: u32 = 1 << 2;
    /// It turns the sentence round.
    pub(in super::super) const NEGATION: u32 = 1 << 3;
    /// A unit.
    pub(in super::super) const UNIT: u32 = 1 << 4;
    /// A month, a day, a season.
    pub(in super::super) const DATE: u32 = 1 << 5;
    /// A language, format, product or protocol of computing.
    pub(in super::super) const TECH: u32 = 1 << 6;
    /// A firm or its product.
    pub(in super::super) const BRAND: u32 = 1 << 7;
    /// A nationality, a language, a creed.
    pub(in super::super) const NATION: u32 = 1 << 8;
    /// A colour.
    pub(in super::super) const COLOR: u32 = 1 << 9;
    /// A place.
    pub(in super::super) const PLACE: u32 = 1 << 10;
    /// A proper name.
    pub(in super::super) const NAME: u32 = 1 << 11;
    /// It is in the table.
    pub(in super::super) const KNOWN: u32 = 1 << 12;
    /// A past form of its verb.
    pub(in super::super) const PAST: u32 = 1 << 13;
    /// A number word that often is no number.
    pub(in super::super) const SOFT: u32 = 1 << 14;
    /// A currency.
    pub(in super::super) const MONEY: u32 = 1 << 15;
    /// The prompt wrote it with a capital where none was due.
    pub(in super::super) const CAPITAL: u32 = 1 << 16;
    /// Its letters are not Latin.
    pub(in super::super) const FOREIGN: u32 = 1 << 17;
    /// A turn of phrase begins with it.
    pub(in super::super) const TURN: u32 = 1 << 18;
    /// It says a number.
    pub(in super::super) const NUMBER: u32 = 1 << 19;
    /// Unmatched, it is another thing, whatever the rest says.
    pub(in super::super) const NAMING: u32 = TECH | BRAND | NATION | COLOR | PLACE | NAME;
}

/// Groups of one meaning that a word can be in.
pub(super) const GROUPS: usize = 3;

/// What is known about one word.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entry {
    /// The key of its lemma, unit or date: what it is compared by.
    pub(super) key: u64,
    /// [`mark`]s.
    pub(super) marks: u32,
    /// Its groups of one meaning, 0 for none.
    pub(super) same: [u16; GROUPS],
    /// Its lemma's first sense, where another word shares it; 0 for none.
    pub(super) sense: u16,
    /// 0 (in every second prompt) to 15 (hardly ever).
    pub(super) rarity: u8,
    /// `WordNet`'s class of its first sense plus one, 0 for none.
    pub(super) class: u8,
    /// For binding words: which.
    pub(super) bind: u8,
}

/// A number in a word.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    /// A count.
    Value(f64),
    /// What is not added up: a rank, a factor, a part; its key.
    Fixed(u64),
}

/// The words of a prompt that make it no matter for this tier.
#[derive(Debug, Default)]
pub(super) struct Barred {
    /// The first words of all.
    pub(super) firsts: AHashSet<u64>,
    pub(super) time: AHashSet<u64>,
    pub(super) account: AHashSet<u64>,
}

/// The words of a turn of phrase behind its first one, and what it stands for.
type Turn = (Vec<u64>, Vec<String>);

/// All tables.
#[derive(Debug, Default)]
pub(super) struct Lexicon {
    entries: AHashMap<u64, Entry>,
    opposite: AHashSet<(u64, u64)>,
    numbers: AHashMap<u64, (Number, bool)>,
    phrases: AHashMap<u64, Vec<Turn>>,
    equal: AHashSet<u64>,
    point: AHashSet<(u8, u8)>,
    directed: AHashSet<u8>,
    degree: AHashSet<u8>,
    strong: AHashSet<u8>,
    pub(super) barred: Barred,
    /// Function words of five letters and more, by their first letter.
    common: AHashMap<u8, Vec<String>>,
    binds: u8,
    kinds: u8,
    groups: u16,
    faults: Vec<String>,
}

impl Lexicon {
    /// Reads the tables that are compiled in.
    pub(super) fn builtin() -> Self {
        let mut lexicon = Self::default();
        for line in WORDS.lines() {
            lexicon.word(line);
        }
        for line in MEANING.lines().filter(|line| !line.starts_with('#')) {
            if let Some((kind, rest)) = line.split_once(": ") {
                lexicon.line(kind, rest);
                if matches!(kind, "free" | "bind" | "filler") {
                    lexicon.typed(rest.split_whitespace());
                }
            } else if !line.is_empty() {
                lexicon.faults.push(line.to_owned());
            }
        }
        lexicon.typed(FRAMED.split_whitespace());
        lexicon.inflect();
        lexicon
    }

    /// What was said by hand of a word goes for its forms too.
    fn inflect(&mut self) {
        let of_lemma = |entry: &Entry, all: &AHashMap<u64, Entry>| {
            all.get(&entry.key).map(|lemma| (lemma.same, lemma.class))
        };
        let forms: Vec<(u64, _)> = self
            .entries
            .iter()
            .filter(|(surface, entry)| **surface != entry.key && entry.same == [0; GROUPS])
            .filter_map(|(surface, entry)| Some((*surface, of_lemma(entry, &self.entries)?)))
            .collect();
        for (surface, (same, class)) in forms {
            if let Some(entry) = self.entries.get_mut(&surface) {
                entry.same = same;
                entry.class = class;
            }
        }
    }

    fn typed<'w>(&mut self, words: impl Iterator<Item = &'w str>) {
        for word in words.filter(|word| word.len() >= 5) {
            let Some(&first) = word.as_bytes().first() else {
                continue;
            };
            self.common.entry(first).or_default().push(word.to_owned());
        }
    }

    /// The common word that an unknown one is a mistyping of.
    pub(super) fn mistyped(&self, word: &str) -> Option<&str> {
        let list = self.common.get(word.as_bytes().first()?)?;
        list.iter()
            .map(String::as_str)
            .find(|common| is_near(word, common))
    }

    /// Lines that were not understood: none, says a test.
    #[cfg(test)]
    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }

    fn word(&mut self, line: &str) {
        if line.starts_with('#') {
            return;
        }
        let mut fields = line.split(' ');
        let Some(surface) = fields.next() else { return };
        if surface == "!" {
            if let (Some(a), Some(b)) = (fields.next(), fields.next()) {
                self.against(a, b);
            }
            return;
        }
        let entry = (|| {
            let lemma = fields.next()?;
            let rarity = u8::from_str_radix(fields.next()?, 16).ok()?;
            let class = fields.next()?.parse().ok()?;
            let sense = fields.next()?.parse().ok()?;
            let mut marks = mark::KNOWN;
            for flag in fields.next()?.chars() {
                marks |= match flag {
                    'P' => mark::PAST,
                    'L' => mark::PLACE,
                    'N' => mark::NAME,
                    '-' => 0,
                    _ => return None,
                };
            }
            let lemma = if lemma == "-" { surface } else { lemma };
            let key = key(lemma.as_bytes());
            Some(Entry {
                key,
                marks,
                sense,
                rarity,
                class,
                ..Entry::default()
            })
        })();
        match entry {
            Some(entry) => drop(self.entries.insert(key(surface.as_bytes()), entry)),
            None => self.faults.push(line.to_owned()),
        }
    }

    /// Two opposite words, by surface and by lemma.
    fn against(&mut self, a: &str, b: &str) {
        let (a, b) = (key(a.as_bytes()), key(b.as_bytes()));
        for (a, b) in [(a, b), (self.lemma(a), self.lemma(b))] {
            self.opposite.insert((a.min(b), a.max(b)));
        }
    }

    fn lemma(&self, surface: u64) -> u64 {
        self.entries
            .get(&surface)
            .map_or(surface, |entry| entry.key)
    }

    fn line(&mut self, kind: &str, rest: &str) {
        let singles = || rest.split([' ', ';']).filter(|word| !word.is_empty());
        match kind {
            "free" => singles().for_each(|word| self.entry(word).marks |= mark::FREE),
            "filler" => singles().for_each(|word| self.entry(word).marks |= mark::FILLER),
            "negation" => singles().for_each(|word| self.entry(word).marks |= mark::NEGATION),
            "bind" => {
                for word in singles() {
                    self.binds = self.binds.saturating_add(1);
                    let id = self.binds;
                    let entry = self.entry(word);
                    entry.marks |= mark::BIND;
                    entry.bind = id;
                }
            }
            "same" => self.alike(rest),
            "ant" => {
                for pair in singles() {
                    match pair.split_once('/') {
                        Some((a, b)) => self.against(a, b),
                        None => self.faults.push(pair.to_owned()),
                    }
                }
            }
            "unit" => self.units(rest),
            "number" => singles().for_each(|word| self.number_word(word)),
            "date" => self.dates(rest),
            "tech" => self.marked(rest, mark::TECH),
            "brand" => self.marked(rest, mark::BRAND),
            "nation" => self.marked(rest, mark::NATION),
            "color" => self.marked(rest, mark::COLOR),
            "phrase" => self.turns(rest),
            "kind" => {
                self.kinds = self.kinds.saturating_add(1);
                let class = KIND_OWN.saturating_add(self.kinds);
                singles().for_each(|word| self.entry(word).class = class);
            }
            "strong" | "degree" | "directed" => self.bound(kind, singles()),
            "equal" => self
                .equal
                .extend(singles().map(|word| key(word.as_bytes()))),
            "point" => {
                for pair in singles() {
                    let Some((a, b)) = pair.split_once('/') else {
                        continue;
                    };
                    let (a, b) = (self.entry(a).bind, self.entry(b).bind);
                    self.point.insert((a.min(b), a.max(b)));
                }
            }
            "time" | "account" => self.bar(kind, rest),
            _ => self.faults.push(format!("{kind}: {rest}")),
        }
    }

    /// Barred words, and turns of phrase.
    fn bar(&mut self, kind: &str, rest: &str) {
        let Barred {
            firsts,
            time,
            account,
        } = &mut self.barred;
        let all = if kind == "time" { time } else { account };
        for part in rest.split("; ").flat_map(barred) {
            let first = part.split(' ').next().unwrap_or_default();
            firsts.insert(key(first.as_bytes()));
            all.insert(key(part.as_bytes()));
        }
    }

    /// Binding words of one of three sorts.
    fn bound<'w>(&mut self, kind: &str, words: impl Iterator<Item = &'w str>) {
        let binds: Vec<u8> = words.map(|word| self.entry(word).bind).collect();
        let set = match kind {
            "strong" => &mut self.strong,
            "degree" => &mut self.degree,
            _ => &mut self.directed,
        };
        set.extend(binds);
    }

    /// The entry of `word`; a new one where the table has none.
    fn entry(&mut self, word: &str) -> &mut Entry {
        let surface = key(word.as_bytes());
        self.entries.entry(surface).or_insert(Entry {
            key: surface,
            marks: mark::KNOWN,
            rarity: 12,
            ..Entry::default()
        })
    }

    fn alike(&mut self, rest: &str) {
        for group in rest.split(';') {
            self.groups = self.groups.saturating_add(1);
            let id = self.groups;
            for word in group.split_whitespace() {
                if word.contains(['-', '.']) {
                    self.phrase(&word.replace(['-', '.'], " "), vec![word.to_owned()]);
                }
                let entry = self.entry(word);
                match entry.same.iter_mut().find(|slot| **slot == 0) {
                    Some(slot) => *slot = id,
                    None => self.faults.push(format!("{word} is in too many groups")),
                }
            }
        }
    }

    fn units(&mut self, rest: &str) {
        for group in rest.split(';') {
            let mut canon = None;
            for word in group.split_whitespace() {
                let canon = *canon.get_or_insert_with(|| seeded(key(b"unit:"), word.as_bytes()));
                let is_money = group.contains(['$', '€', '£', '₹', '¥', '₩', '₽']);
                let is_money = is_money || MONEY.contains(&word);
                let plural = format!("{word}s");
                let has_plural = word.len() > 2 && self.get(key(plural.as_bytes())).is_some();
                for form in [Some(word), has_plural.then_some(plural.as_str())] {
                    let Some(form) = form else { continue };
                    let entry = self.entry(form);
                    entry.key = canon;
                    entry.marks |= mark::UNIT | if is_money { mark::MONEY } else { 0 };
                    entry.marks &= !(mark::PLACE | mark::NAME | mark::FREE);
                }
            }
        }
    }

    fn dates(&mut self, rest: &str) {
        for group in rest.split(';') {
            let mut canon = None;
            for word in group.split_whitespace() {
                let soft = word.ends_with('~');
                let word = word.trim_end_matches('~');
                let canon = *canon.get_or_insert_with(|| seeded(key(b"date:"), word.as_bytes()));
                let entry = self.entry(word);
                if !soft {
                    entry.key = canon;
                    entry.marks &= !mark::FREE;
                }
                entry.marks |= mark::DATE;
            }
        }
    }

    fn marked(&mut self, rest: &str, which: u32) {
        for word in rest.split_whitespace() {
            if word.ends_with('~') {
                continue;
            }
            if word.contains('-') {
                self.phrase(&word.replace('-', " "), vec![word.to_owned()]);
            }
            self.entry(word).marks |= which;
        }
    }

    fn number_word(&mut self, word: &str) {
        let Some((name, value)) = word.split_once('=') else {
            return self.faults.push(word.to_owned());
        };
        let soft = value.ends_with('~');
        let value = value.trim_end_matches('~');
        let number = value.parse().map_or_else(
            |_| Number::Fixed(seeded(key(b"#"), ordinal(value).as_bytes())),
            Number::Value,
        );
        self.numbers.insert(key(name.as_bytes()), (number, soft));
        self.entry(name).marks |= mark::NUMBER;
    }

    fn turns(&mut self, rest: &str) {
        for turn in rest.split(';') {
            match turn.trim().split_once('=') {
                Some((from, to)) => {
                    let to = to.split_whitespace().map(str::to_owned).collect();
                    self.phrase(from, to);
                }
                None => self.faults.push(turn.to_owned()),
            }
        }
    }

    fn phrase(&mut self, from: &str, to: Vec<String>) {
        let mut keys = from.split_whitespace().map(|word| key(word.as_bytes()));
        let Some(first) = keys.next() else { return };
        if let Some(word) = from.split_whitespace().next() {
            self.entry(word).marks |= mark::TURN;
        }
        let list = self.phrases.entry(first).or_default();
        list.push((keys.collect(), to));
        list.sort_by_key(|(rest, _)| usize::MAX - rest.len());
    }

    /// What is known about the word whose surface has this key.
    pub(super) fn get(&self, surface: u64) -> Option<&Entry> {
        self.entries.get(&surface)
    }

    /// Do these two words, by the key of surface or lemma, exclude each other?
    pub(super) fn are_opposite(&self, a: u64, b: u64) -> bool {
        self.opposite.contains(&(a.min(b), a.max(b)))
    }

    /// The number that a word says, and whether it often says none.
    pub(super) fn number(&self, surface: u64) -> Option<(Number, bool)> {
        self.numbers.get(&surface).copied()
    }

    /// The longest turn of phrase that begins with `first` and goes on as `next` says: how many
    /// more words it takes, and what it stands for.
    pub(super) fn turn(
        &self,
        first: u64,
        next: impl Fn(usize) -> Option<u64>,
    ) -> Option<(usize, &[String])> {
        let fits = |rest: &[u64]| (0..).zip(rest).all(|(at, &key)| next(at) == Some(key));
        let (rest, to) = self
            .phrases
            .get(&first)?
            .iter()
            .find(|(rest, _)| fits(rest))?;
        Some((rest.len(), to))
    }

    /// May what stands on the two sides of this word change places?
    pub(super) fn is_equal(&self, surface: u64) -> bool {
        self.equal.contains(&surface)
    }

    /// Do the two sides of this binding word play unlike parts?
    pub(super) fn is_directed(&self, bind: u8) -> bool {
        self.directed.contains(&bind)
    }

    /// Does this binding word change the question where it has no like?
    pub(super) fn is_strong(&self, bind: u8) -> bool {
        self.strong.contains(&bind)
    }

    /// Is this binding word one of degree or amount?
    pub(super) fn is_degree(&self, bind: u8) -> bool {
        self.degree.contains(&bind)
    }

    /// Is the question another one with the binding word `b` in the place of `a`?
    pub(super) fn is_point(&self, a: u8, b: u8) -> bool {
        self.point.contains(&(a.min(b), a.max(b)))
    }
}

/// From this class on words are members of a kind whose members are told apart.
pub(super) const KIND_MIN: u8 = 64;

/// The kinds written by hand have classes behind this one.
const KIND_OWN: u8 = 190;

/// Words for money that have no sign.
const MONEY: [&str; 12] = [
    "dollar", "dollars", "usd", "euro", "euros", "rupee", "rupees", "inr", "yen", "yuan", "pounds",
    "bitcoin",
];

/// One turn of phrase, or the barred words of a row.
fn barred(turn: &str) -> Vec<&str> {
    if turn.contains(' ') && !PHRASES.iter().any(|word| turn.contains(word)) {
        turn.split(' ').collect()
    } else {
        vec![turn]
    }
}

/// A barred entry with one of these is a turn of phrase, else a row of single words.
const PHRASES: [&str; 14] = [
    "my ",
    "i ",
    " i",
    "our ",
    "right now",
    "this ",
    "last ",
    "next ",
    "at the",
    "so far",
    "as of",
    "up to",
    "these ",
    "just ",
];

/// Words of the frames that are often mistyped.
const FRAMED: &str = "difference differences between meaning explain describe reason method methods \
    please thanks hello which where there should could would better effective easiest";

/// Is one the other with two neighbours exchanged, or a letter more, less or other, behind the
/// first one?
#[expect(clippy::many_single_char_names, reason = "two words, letter by letter")]
pub(super) fn is_near(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    if same == 0 || a.len().abs_diff(b.len()) > 1 {
        return false;
    }
    match (
        a.get(same..).unwrap_or_default(),
        b.get(same..).unwrap_or_default(),
    ) {
        ([p, q, x @ ..], [r, s, y @ ..]) if p == s && q == r && x == y => true,
        ([_, x @ ..], [_, y @ ..]) if x == y => true,
        ([_, x @ ..], y) | (y, [_, x @ ..]) if x == y => true,
        _ => false,
    }
}

/// `21st` → `21th`: a rank by its number alone.
pub(super) fn ordinal(text: &str) -> String {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    if text.len() == digits.len() + 2 && !digits.is_empty() && !text.ends_with('x') {
        format!("{digits}th")
    } else {
        text.to_owned()
    }
}
