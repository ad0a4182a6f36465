//! The embedder as a whole: its pieces against the package's, its data against its checksums.

use super::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// What the package `tokenizers` makes of texts; `scripts/embedder/chars.py` wrote it.
const CASES: &str = include_str!("cases.jsonl");

fn tokens(text: &str) -> Vec<u16> {
    let (mut scratch, mut all) = (Scratch::default(), Vec::new());
    builtin().words(text, &mut scratch, |word, tokens| {
        assert!(!word.is_empty() && !tokens.is_empty(), "C1, W1 in {text:?}");
        all.extend_from_slice(tokens);
    });
    all
}

fn cosine(a: &str, b: &str) -> f32 {
    let of = |text| builtin().embed(text, &mut Scratch::default()).unwrap();
    of(a).cosine(&of(b))
}

/// Goal: E1. Method: the package's own answers for 347 texts: accents, ideographs, control
/// characters, emoji, every alphabet, words at the limit, and characters at random.
#[test]
fn pieces_are_the_package_s() {
    let cases: Vec<Value> = CASES
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(cases.len() > 300);
    for case in cases {
        let want = case["ids"].as_array().unwrap().iter();
        let want: Vec<u64> = want.map(|id| id.as_u64().unwrap()).collect();
        let text = case["text"].as_str().unwrap();
        let got: Vec<u64> = tokens(text).into_iter().map(u64::from).collect();
        assert_eq!(got, want, "{text:?}");
    }
}

/// Goal: the data is whole, and what its notice was written for. Method: each checksum.
#[test]
fn the_data_is_what_was_made() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cache/embed/data/");
    let mut names = Vec::new();
    for line in SUMS.lines() {
        let (want, name) = line.split_once("  ").unwrap();
        let sum = Sha256::digest(std::fs::read(format!("{folder}{name}")).unwrap());
        let got = sum.iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        assert_eq!(got, want, "{name}");
        names.push(name);
    }
    assert_eq!(names, ["chars.bin", "table.bin", "vocab.txt"]);
}

/// Goal: the vectors mean something. Method: rewordings are nearer than other questions.
#[test]
fn like_texts_are_near() {
    let asked = "How do I convert a string to an integer in Python?";
    let like = cosine(
        asked,
        "In Python, how can a string be converted into an int?",
    );
    let other = cosine(asked, "What is a good recipe for apple pie?");
    assert!(like > 0.75, "{like}");
    assert!(other < 0.35, "{other}");
    assert!(
        (cosine(
            asked,
            "HOW do I convert a string to an integer in  python ?"
        ) - 1.0)
            .abs()
            < 1e-6
    );
}

/// Goal: nothing to embed is no vector.
#[test]
fn nothing_has_no_vector() {
    let mut scratch = Scratch::default();
    for text in ["", "  \t\n", "\u{200b}\u{0}", "\u{301}"] {
        assert_eq!(builtin().embed(text, &mut scratch), None, "{text:?}");
    }
    assert_eq!(Embedder::vector(&[]), None);
    assert_eq!(Embedder::vector(&[u16::MAX]), None);
}

/// Goal: a word's vector is the text's, where it is the only word.
#[test]
fn words_give_the_tokens_of_their_vectors() {
    let mut scratch = Scratch::default();
    let mut seen = Vec::new();
    builtin().words("Dvořák's opus", &mut scratch, |word, tokens| {
        seen.push((word.to_owned(), Embedder::vector(tokens)));
    });
    let words: Vec<_> = seen.iter().map(|(word, _)| word.as_str()).collect();
    assert_eq!(words, ["dvorak", "'", "s", "opus"]);
    for (word, vector) in seen {
        assert_eq!(builtin().embed(&word, &mut scratch), vector, "{word}");
    }
}
