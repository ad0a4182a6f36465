//! Short forms of words, and what they stand for.
//!
//! ```text
//!  what's, whats → what is    don't, dont → do not    you'll → you will    pls → please
//! ```

/// Contractions by their end.
pub(super) const ENDINGS: [(&str, &str); 5] = [
    ("'re", "are"),
    ("'ve", "have"),
    ("'ll", "will"),
    ("'m", "am"),
    ("'d", "would"),
];

/// Words before `'s` that make it `is`.
pub(super) const BEFORE_IS: [&str; 14] = [
    "what", "who", "where", "how", "when", "why", "it", "that", "there", "here", "he", "she",
    "this", "which",
];

/// Contractions as they are also typed, and short forms.
const WHOLE: [(&str, &[&str]); 36] = [
    ("won't", &["will", "not"]),
    ("can't", &["can", "not"]),
    ("shan't", &["shall", "not"]),
    ("ain't", &["is", "not"]),
    ("let's", &["let", "us"]),
    ("cannot", &["can", "not"]),
    ("dont", &["do", "not"]),
    ("doesnt", &["does", "not"]),
    ("didnt", &["did", "not"]),
    ("isnt", &["is", "not"]),
    ("arent", &["are", "not"]),
    ("wasnt", &["was", "not"]),
    ("werent", &["were", "not"]),
    ("cant", &["can", "not"]),
    ("wont", &["will", "not"]),
    ("couldnt", &["could", "not"]),
    ("wouldnt", &["would", "not"]),
    ("shouldnt", &["should", "not"]),
    ("havent", &["have", "not"]),
    ("hasnt", &["has", "not"]),
    ("hadnt", &["had", "not"]),
    ("whats", &["what", "is"]),
    ("hows", &["how", "is"]),
    ("wheres", &["where", "is"]),
    ("whos", &["who", "is"]),
    ("im", &["i", "am"]),
    ("ive", &["i", "have"]),
    ("youre", &["you", "are"]),
    ("theyre", &["they", "are"]),
    ("thats", &["that", "is"]),
    ("gonna", &["going", "to"]),
    ("wanna", &["want", "to"]),
    ("gotta", &["must"]),
    ("pls", &["please"]),
    ("plz", &["please"]),
    ("thru", &["through"]),
];

/// How each of them ends, as few other words do.
const WHOLE_ENDS: [[u8; 2]; WHOLE.len()] = whole_ends();

#[expect(
    clippy::indexing_slicing,
    reason = "const; the loop stays below the length"
)]
const fn whole_ends() -> [[u8; 2]; WHOLE.len()] {
    let (mut all, mut at) = ([[0; 2]; WHOLE.len()], 0);
    while at < all.len() {
        if let Some(end) = WHOLE[at].0.as_bytes().last_chunk() {
            all[at] = *end;
        }
        at += 1;
    }
    all
}

/// What `word` stands for, if it is one of [`WHOLE`].
pub(super) fn whole(word: &str) -> Option<&'static [&'static str]> {
    let end = word
        .as_bytes()
        .last_chunk::<2>()
        .filter(|_| word.len() <= 8)?;
    // All of them, always: so they are compared side by side.
    if WHOLE_ENDS.iter().filter(|other| *other == end).count() == 0 {
        return None;
    }
    let (_, parts) = WHOLE.iter().find(|(from, _)| *from == word)?;
    Some(parts)
}
