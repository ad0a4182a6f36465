//! The closed classes of words: question words, auxiliaries, persons.
//!
//! ```text
//!  word key ──► Wh | Modal | Tense | person | …
//! ```

use super::sketch::{Modal, Tense, Wh};

/// Is this key one of these words'?
macro_rules! among {
    ($key:expr, $($word:literal)*) => {
        $( $key == const { $crate::cache::guard::lexicon::key($word.as_bytes()) } )||*
    };
}
pub(super) use among;

/// How many words of a question in a subordinate clause are its dress, beside its last one.
pub(super) fn indirect(keys: &[u64]) -> Option<usize> {
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

pub(super) fn is_sign(word: u64) -> bool {
    among!(word, "$" "€" "£" "₹" "¥" "₩" "₽")
}

pub(super) fn question_word(word: u64) -> Wh {
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

pub(super) fn measures(word: u64) -> bool {
    among!(word, "many" "much" "long" "old" "far" "tall" "often" "big" "high" "large" "fast" "deep"
        "heavy" "wide" "soon" "late" "early" "hot" "cold" "quickly" "frequently" "strong" "thick")
}

pub(super) fn auxiliary(word: u64) -> Option<Modal> {
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
pub(super) fn is_acronym(word: u64) -> bool {
    among!(word, "it" "who" "am" "as" "or" "me" "he" "so" "an" "at" "to")
}

pub(super) fn shows(word: u64) -> bool {
    among!(word, "this" "these" "those")
}

pub(super) fn is_vague(word: u64) -> bool {
    among!(word, "people" "person" "someone" "somebody" "anyone" "anybody" "thing" "things")
}

pub(super) fn asks(word: u64) -> bool {
    question_word(word) != Wh::None || auxiliary(word).is_some()
}

pub(super) fn tense_of(word: u64) -> Tense {
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

pub(super) fn person(word: u64) -> u8 {
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
