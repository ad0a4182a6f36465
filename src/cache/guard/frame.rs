//! How a question is dressed, apart from what it asks.
//!
//! ```text
//!  hi , could you tell me | what is the best way to | learn python | thanks
//!  └──────── drop ───────┘ └──────── HowTo ───────┘   └ the body ┘  └ end ┘
//! ```
//!
//! Invariants
//! - I1 A pattern never reaches over the end of a sentence.
//! - I2 The longest pattern wins, so the order of the file does not matter.

use super::lexicon::key;
use ahash::AHashMap;

/// Written by hand.
const FRAMES: &str = include_str!("data/frames.txt");

/// The dress of a question.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Frame {
    /// None of those below.
    #[default]
    Bare,
    /// How is it done?
    HowTo,
    /// What is it, which are they?
    What,
    /// For what reason?
    Why,
    /// How do they differ? Its sides may change places.
    Diff,
    /// What is it like?
    Like,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    Drop,
    End,
    Is(Frame),
}

#[derive(Debug)]
struct Element {
    any: Vec<u64>,
    may_lack: bool,
    /// It must follow, and stays.
    stays: bool,
}

#[derive(Debug)]
struct Pattern {
    role: Role,
    elements: Vec<Element>,
}

/// All patterns, by each key that one can begin with.
#[derive(Debug, Default)]
pub(super) struct Frames {
    patterns: Vec<Pattern>,
    first: AHashMap<u64, Vec<u16>>,
    faults: Vec<String>,
}

impl Frames {
    /// Reads the patterns that are compiled in.
    pub(super) fn builtin() -> Self {
        let mut frames = Self::default();
        for line in FRAMES
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            match pattern(line) {
                Some(pattern) => frames.add(pattern),
                None => frames.faults.push(line.to_owned()),
            }
        }
        frames
    }

    /// Lines that were not understood: none, says a test.
    #[cfg(test)]
    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }

    fn add(&mut self, pattern: Pattern) {
        let Ok(id) = u16::try_from(self.patterns.len()) else {
            return;
        };
        for element in &pattern.elements {
            for &key in &element.any {
                let list = self.first.entry(key).or_default();
                if list.last() != Some(&id) {
                    list.push(id);
                }
            }
            if !element.may_lack {
                break;
            }
        }
        self.patterns.push(pattern);
    }

    fn longest(&self, keys: &[u64], fits: impl Fn(Role, usize) -> bool) -> Option<(Role, usize)> {
        let ids = self.first.get(keys.first()?)?;
        let found = ids.iter().filter_map(|&id| {
            let pattern = self.patterns.get(usize::from(id))?;
            let len = run(&pattern.elements, keys)?;
            (len > 0 && fits(pattern.role, len)).then_some((pattern.role, len))
        });
        found.max_by_key(|&(_, len)| len)
    }

    /// How many of `keys`, the rest of a sentence from where it stands, are politeness.
    pub(super) fn polite(&self, keys: &[u64]) -> Option<usize> {
        let found = self.longest(keys, |role, _| role == Role::Drop);
        found.map(|(_, len)| len)
    }

    /// Are `keys`, the end of the prompt, politeness from here on?
    pub(super) fn ends(&self, keys: &[u64]) -> bool {
        self.longest(keys, |role, len| role == Role::End && len == keys.len())
            .is_some()
    }

    /// The frame that `keys` begin with, and how many it takes.
    pub(super) fn frame(&self, keys: &[u64]) -> Option<(Frame, usize)> {
        let found = self.longest(keys, |role, _| matches!(role, Role::Is(_)));
        found.and_then(|(role, len)| match role {
            Role::Is(frame) => Some((frame, len)),
            _ => None,
        })
    }
}

fn pattern(line: &str) -> Option<Pattern> {
    let mut words = line.split_whitespace();
    let role = match words.next()? {
        "drop" => Role::Drop,
        "end" => Role::End,
        "howto" => Role::Is(Frame::HowTo),
        "what" => Role::Is(Frame::What),
        "why" => Role::Is(Frame::Why),
        "diff" => Role::Is(Frame::Diff),
        "like" => Role::Is(Frame::Like),
        _ => return None,
    };
    let elements: Vec<Element> = words
        .map(|word| {
            let stays = word.starts_with('>');
            let word = word.trim_start_matches('>');
            let may_lack = word.ends_with('?');
            let any = word
                .trim_end_matches('?')
                .split('|')
                .map(|w| key(w.as_bytes()))
                .collect();
            Element {
                any,
                may_lack,
                stays,
            }
        })
        .collect();
    let is_whole = elements.iter().any(|element| !element.may_lack);
    is_whole.then_some(Pattern { role, elements })
}

/// How many of `keys` the elements take: as many as they can.
fn run(elements: &[Element], keys: &[u64]) -> Option<usize> {
    let Some((element, rest)) = elements.split_first() else {
        return Some(0);
    };
    let fits = keys.first().is_some_and(|key| element.any.contains(key));
    if element.stays {
        return fits.then_some(0);
    }
    let next = keys.get(1..).unwrap_or_default();
    let taken = if fits {
        run(rest, next).map(|len| len + 1)
    } else {
        None
    };
    let skipped = if element.may_lack {
        run(rest, keys)
    } else {
        None
    };
    taken.max(skipped)
}
