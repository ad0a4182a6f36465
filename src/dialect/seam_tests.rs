//! Cases, laws and limits of the seam.

use super::*;
use proptest::prelude::*;

/// What passes of `new`, cut at `cuts`, behind `said`; the pieces escaped where `escapes`.
fn joined(said: &str, way: Way, new: &str, cuts: &[usize], escapes: bool) -> Option<String> {
    let mut seam = Seam::new(said.to_owned(), way);
    let mut passed = said.to_owned();
    let mut places: Vec<usize> = cuts.iter().copied().filter(|at| *at <= new.len()).collect();
    places.extend([0, new.len()]);
    places.retain(|at| new.is_char_boundary(*at));
    places.sort_unstable();
    let mut each = |text: Text<'_>| text.say(&mut passed);
    for pair in places.windows(2) {
        let piece = &new[pair[0]..pair[1]];
        let json = serde_json::Value::from(piece).to_string();
        let text = if escapes {
            Text::Escaped(&json.as_bytes()[1..json.len() - 1])
        } else {
            Text::Plain(piece)
        };
        seam.push(text, &mut each).ok()?;
    }
    seam.end(&mut each).ok()?;
    Some(passed)
}

/// What passes of `new` behind `said`.
fn passes(said: &str, way: Way, new: &str) -> Option<String> {
    let whole = joined(said, way, new, &[], false)?;
    let every: Vec<usize> = (0..new.len()).collect();
    let single = joined(said, way, new, &every, true);
    assert_eq!(single.as_ref(), Some(&whole), "I1: {said:?} {new:?}");
    Some(whole[said.len()..].to_owned())
}

/// Goal: cases that a reader can follow, in both ways.
#[test]
fn what_was_said_before_does_not_pass() {
    use Way::{Instruction, Prefill};
    let long = "The quick brown fox jumps over the lazy dog";
    for (said, way, new, want) in [
        // Exactly there, with the white space that the client has.
        ("Hello wor", Prefill, "ld.", "ld."),
        ("Hello ", Prefill, " world", "world"),
        ("a:\n\n", Prefill, "\n\n  - b", "  - b"),
        ("a:\n", Prefill, "\n\nb", "\nb"),
        ("a: ", Prefill, "b", "b"),
        ("Hello", Prefill, "", ""),
        // The end of it again is no chance that counts in a prefill.
        ("go go go", Prefill, " go go", " go go"),
        // From the very beginning.
        (
            long,
            Prefill,
            "The quick brown fox jumps over the lazy dog. It",
            ". It",
        ),
        (
            long,
            Instruction,
            "The quick brown fox jumps over the lazy dog. It",
            ". It",
        ),
        (
            "  Hello there, you ",
            Prefill,
            "Hello there, you two",
            "two",
        ),
        // The last words.
        (long, Instruction, "over the lazy dog. It", ". It"),
        (long, Instruction, "\n the lazy dog. It", ". It"),
        (
            "The fox jumps over the ",
            Instruction,
            "over the lazy dog",
            "lazy dog",
        ),
        ("Hello world", Instruction, "world. And", ". And"),
        ("Hello wor", Instruction, "Hello world.", "ld."),
        // By chance.
        (
            "a\n----------------",
            Instruction,
            "----------------\n",
            "----------------\n",
        ),
        (
            "x:\n| 0 | 0 | 0 |",
            Instruction,
            "| 0 | 0 | 0 |\n",
            "| 0 | 0 | 0 |\n",
        ),
        ("He said that ", Instruction, "that was it", "that was it"),
        ("token 1", Instruction, "1 token 12", "1 token 12"),
        ("ban", Instruction, "ana", "ana"),
        ("Hello wor", Instruction, "ld.", "ld."),
        ("the the", Instruction, "me", "me"),
        ("", Prefill, "Hello", "Hello"),
        (" \n", Prefill, " Hello", "Hello"),
    ] {
        assert_eq!(
            passes(said, way, new).as_deref(),
            Some(want),
            "{said:?} {way:?} {new:?}"
        );
    }
}

/// Goal: I4.
#[test]
fn what_starts_again_and_says_something_else_is_not_spliced() {
    let said = "The quick brown fox jumps over the lazy dog and";
    for way in [Way::Prefill, Way::Instruction] {
        for new in [
            "The quick brown fox jumps over the lazy cat and",
            "The quick brown fox jumps over the lazy dog",
        ] {
            assert_eq!(passes_or_not(said, way, new), None, "{new}");
        }
        // Not long enough to be sure.
        let new = "The quick brown bear";
        assert_eq!(passes_or_not(said, way, new).as_deref(), Some(new));
    }
}

fn passes_or_not(said: &str, way: Way, new: &str) -> Option<String> {
    let whole = joined(said, way, new, &[], true);
    let every: Vec<usize> = (0..new.len()).collect();
    assert_eq!(joined(said, way, new, &every, false), whole);
    whole.map(|whole| whole[said.len()..].to_owned())
}

/// Goal: I2. A pair of surrogates whose halves come in two pieces is one character; a half
/// without its other passes as it came.
#[test]
fn a_pair_of_surrogates_may_come_in_two_pieces() {
    let mut seam = Seam::new("a fox ".to_owned(), Way::Prefill);
    let mut raw = Vec::new();
    let mut each = |text: Text<'_>| match text {
        Text::Escaped(bytes) => raw.extend_from_slice(bytes),
        Text::Plain(text) => raw.extend_from_slice(text.as_bytes()),
    };
    seam.push(Text::Escaped(br" \ud83e"), &mut each).unwrap();
    seam.push(Text::Escaped(br"\udd8a!"), &mut each).unwrap();
    seam.end(&mut each).unwrap();
    assert_eq!(
        String::from_utf8(raw)
            .unwrap()
            .replace(r"\ud83e\udd8a", "🦊"),
        "🦊!"
    );
    let mut seam = Seam::new("a fox".to_owned(), Way::Prefill);
    let mut raw = Vec::new();
    seam.push(Text::Escaped(br"x\ud83e y"), &mut |text| {
        let mut tx = Vec::new();
        match text {
            Text::Escaped(bytes) => tx.extend_from_slice(bytes),
            Text::Plain(text) => tx.extend_from_slice(text.as_bytes()),
        }
        raw.extend(tx);
    })
    .unwrap();
    assert_eq!(raw, br"x\ud83e y");
    assert_eq!(half_of_pair(br"\\ud83e"), 0, "a backslash and letters");
}

/// Goal: different characters are counted once each.
#[test]
fn different_characters_are_counted() {
    assert!(has_kinds("abcde", 5) && !has_kinds("abcdd", 5) && has_kinds("aabbaac d", 5));
    assert!(!has_kinds("", 1) && has_kinds("é", 1) && !has_kinds("abababab", 3));
}

/// Goal: I3: what cannot be a repetition any more passes at once.
#[test]
fn new_text_is_not_held() {
    let mut seam = Seam::new("one two three four five".to_owned(), Way::Instruction);
    let mut passed = String::new();
    seam.push(Text::Plain(" six"), &mut |text| text.say(&mut passed))
        .unwrap();
    assert_eq!(passed, " six");
    assert!(seam.is_through());
    let long = "so it goes on and on, ".repeat(500);
    let mut seam = Seam::new(long.clone(), Way::Instruction);
    for piece in long.as_bytes().chunks(22).take(40) {
        let piece = std::str::from_utf8(piece).unwrap();
        let held = seam.push(Text::Plain(piece), &mut |_| {});
        assert!(
            held.is_err() || seam.held.len() <= OVERLAP_MAX + 22,
            "{}",
            seam.held.len()
        );
    }
}

/// A text of words that are never the same, with much between them that needs care.
fn texts() -> impl Strategy<Value = String> {
    let ends = prop::sample::select(vec![
        " ",
        " ",
        ", ",
        ". ",
        "\n",
        "\n\n",
        "  ",
        "\t",
        " \"x\\y\" ",
        " 🦊 ",
        "é ",
        "漢字 ",
    ]);
    let word = ("[a-zà-ö漢字д]{2,6}", ends);
    prop::collection::vec(word, 1..60).prop_map(|words| {
        let words = words.into_iter().enumerate();
        let words: Vec<String> = words
            .map(|(k, (word, end))| format!("{word}{k}x{end}"))
            .collect();
        words.concat()
    })
}

/// Where the word begins that is `words` words before byte `at`.
fn back(text: &str, at: usize, words: usize) -> usize {
    let mut at = text[..at].trim_end().len();
    for _ in 0..words {
        let front = &text[..at];
        at = front
            .trim_end()
            .rfind(char::is_whitespace)
            .map_or(0, |space| {
                space + front[space..].chars().next().map_or(0, char::len_utf8)
            });
    }
    at
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Goal: the law: for every text, cut anywhere, however much of its end is repeated and
    /// however what is new comes in pieces, what is joined is the text.
    #[test]
    fn joined_is_uncut(
        text in texts(),
        at in any::<prop::sample::Index>(),
        overlap in 0_usize..12,
        restarts in any::<bool>(),
        cuts in prop::collection::vec(0_usize..900, 0..20),
        escapes in any::<bool>(),
        way in prop::sample::select(vec![Way::Prefill, Way::Instruction]),
    ) {
        let mut at = at.index(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let said = &text[..at];
        let solid = said.trim_end().len();
        let from = match (way, restarts) {
            (_, true) => 0,
            (Way::Prefill, false) => solid,
            (Way::Instruction, false) => back(&text, at, overlap),
        };
        // What is too short to tell it from chance is nothing that a seam can know of.
        let repeated = &said[from..solid];
        let is_sure = match (way, from == 0) {
            (Way::Prefill, true) => repeated.trim().chars().count() >= RESTART_CHARS,
            (Way::Instruction, true) => repeated.trim().chars().count() >= ALL_CHARS,
            _ => repeated.chars().count() >= SURE_CHARS,
        };
        prop_assume!(repeated.is_empty() || is_sure);
        let got = joined(said, way, &text[from..], &cuts, escapes);
        prop_assert_eq!(got.as_deref(), Some(text.as_str()), "from {} at {}", from, at);
    }

    /// Goal: I1, for any two texts at all, related or not.
    #[test]
    fn how_it_is_cut_changes_nothing(
        said in "[ab \n]{0,40}",
        new in "[ab \n]{0,60}",
        cuts in prop::collection::vec(0_usize..60, 0..20),
        way in prop::sample::select(vec![Way::Prefill, Way::Instruction]),
    ) {
        let whole = joined(&said, way, &new, &[], false);
        prop_assert_eq!(joined(&said, way, &new, &cuts, true), whole);
    }
}
