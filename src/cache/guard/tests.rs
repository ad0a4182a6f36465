//! The guard as a whole: kinds of pairs, laws, data files, eligibility.

use super::eligible::{Barred, barred};
use super::*;
use proptest::prelude::*;

/// Pairs with different answers, pairs with one, by kind.
const DIFFERENT: &str = include_str!("different.txt");
const SAME: &str = include_str!("same.txt");

/// (kind, one prompt, the other) of each line.
fn pairs(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| {
        let (kind, pair) = line.split_once(": ").unwrap();
        let (a, b) = pair.split_once(" | ").unwrap();
        (kind, a, b)
    })
}

fn ask(a: &str, b: &str, point: Point) -> Verdict {
    let guard = Guard::builtin();
    guard.verdict(&guard.sketch(a), &guard.sketch(b), point)
}

/// Goal: the data files are understood to the last line, and the trees fit the features.
#[test]
fn the_data_is_understood() {
    let guard = Guard::builtin();
    assert_eq!(guard.lexicon.faults(), &[] as &[String]);
    assert_eq!(guard.frames.faults(), &[] as &[String]);
    assert_eq!(guard.fault(), None);
    let (trees, nodes) = guard.size();
    assert!(trees >= 60 && nodes > trees, "{trees} trees, {nodes} nodes");
    assert!(guard.threshold(Point::Strict) > guard.threshold(Point::Balanced));
}

/// Goal: no pair of any kind whose answers differ is served, in either order, at either point.
#[test]
fn different_pairs_of_every_kind_are_told_apart() {
    let mut count = 0;
    for (kind, a, b) in pairs(DIFFERENT) {
        for (a, b) in [(a, b), (b, a)] {
            let verdict = ask(a, b, Point::Balanced);
            assert!(!verdict.is_same(), "{kind}: {a} | {b}: {verdict:?}");
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
}

/// Goal: the kinds that no tree may decide are decided by their veto.
#[test]
fn vetoes_carry_their_name() {
    let kinds = [
        ("number", &[Veto::Number, Veto::Role, Veto::Code][..]),
        ("unit", &[Veto::Unit, Veto::Currency]),
        (
            "version",
            &[Veto::Decimal, Veto::Number, Veto::Code, Veto::Date],
        ),
        ("year", &[Veto::Year]),
        ("date", &[Veto::Date, Veto::Number]),
        ("currency", &[Veto::Currency]),
        ("negation", &[Veto::Negation]),
        ("direction", &[Veto::Direction, Veto::Role]),
        ("code", &[Veto::Code, Veto::Rare]),
        ("name", &[Veto::Name]),
        ("kind", &[Veto::Kind]),
        ("list", &[Veto::List, Veto::Name]),
        ("scope", &[Veto::Scope, Veto::Negation]),
        ("question", &[Veto::Question]),
        ("tense", &[Veto::Tense]),
        ("modal", &[Veto::Modal]),
        ("person", &[Veto::Person]),
        ("script", &[Veto::Script]),
        ("unicode", &[Veto::Unicode, Veto::Rare]),
        ("sign", &[Veto::Sign]),
    ];
    let mut missed = Vec::new();
    for (kind, a, b) in pairs(DIFFERENT) {
        let Some((_, vetoes)) = kinds.iter().find(|(name, _)| *name == kind) else {
            continue;
        };
        match ask(a, b, Point::Strict) {
            Verdict::Different { veto } if vetoes.contains(&veto) => {}
            other => missed.push(format!("{kind}: {a} | {b}: {other:?}")),
        }
    }
    assert!(missed.len() <= 12, "{}", missed.join("\n"));
    // Whatever its name, in these kinds a veto decides.
    for (kind, a, b) in pairs(DIFFERENT) {
        let strict = [
            "number", "unit", "version", "year", "negation", "code", "name",
        ];
        if strict.contains(&kind) {
            let verdict = ask(a, b, Point::Strict);
            assert!(
                matches!(verdict, Verdict::Different { .. }),
                "{kind}: {a} | {b}: {verdict:?}"
            );
        }
    }
}

/// Goal: pairs that differ in dress alone are served at the strict point.
#[test]
fn same_pairs_of_every_kind_are_served() {
    for (kind, a, b) in pairs(SAME) {
        let verdict = ask(a, b, Point::Strict);
        assert!(verdict.is_same(), "{kind}: {a} | {b}: {verdict:?}");
    }
}

/// Goal: I3: a sketch of another version is a miss, also for its own prompt.
#[test]
fn a_sketch_of_another_version_is_never_the_same() {
    let guard = Guard::builtin();
    let now = guard.sketch("What is a monad?");
    let mut old = now.clone();
    old.mark ^= 1;
    for (a, b) in [(&now, &old), (&old, &now), (&old, &old)] {
        let verdict = guard.verdict(a, b, Point::Balanced);
        assert_eq!(
            verdict,
            Verdict::Different {
                veto: Veto::Version
            }
        );
    }
}

/// Goal: what is too long by words or bytes is a miss; one less is compared.
#[test]
fn long_prompts_are_never_the_same() {
    let words = |count: usize| "apple ".repeat(count);
    assert!(ask(&words(PIECES_MAX), &words(PIECES_MAX), Point::Strict).is_same());
    let long = [words(PIECES_MAX + 1), "x".repeat(BYTES_MAX + 1)];
    for text in &long {
        let verdict = ask(text, text, Point::Balanced);
        assert_eq!(verdict, Verdict::Different { veto: Veto::Long });
    }
}

/// Goal: without trees nothing is the same, not even a prompt and itself.
#[test]
fn without_trees_nothing_is_the_same() {
    let builtin = Guard::read();
    let guard = Guard {
        trees: Err(TreesFault::Sum),
        ..builtin
    };
    let sketch = guard.sketch("What is a monad?");
    assert_eq!(
        guard.verdict(&sketch, &sketch, Point::Balanced),
        Verdict::Doubt { p: 0.0 }
    );
    assert_eq!(guard.fault(), Some(TreesFault::Sum));
}

/// Goal: a sketch stays small: under 1.5 kB for 30 words, under 16 kB for the longest.
#[test]
fn sketches_are_small() {
    let guard = Guard::builtin();
    let text = "How do I write a function in Rust that reads a large file line by line and \
                counts how often each word occurs without loading the whole file into memory?";
    assert!(
        guard.sketch(text).bytes() < 1536,
        "{}",
        guard.sketch(text).bytes()
    );
    let long = "apple pear ".repeat(PIECES_MAX / 2);
    assert!(
        guard.sketch(&long).bytes() < 32 * 1024,
        "{}",
        guard.sketch(&long).bytes()
    );
}

/// Goal: each reason why a prompt is left to the exact tier, and prompts that are not.
#[test]
fn some_prompts_are_not_eligible() {
    let code = "fn main() {\n    let x = 1;\n    println!(\"{x}\");\n}\n";
    let fenced = "Fix:\n```\nSELECT 1\nFROM t\nWHERE a = 2\n```";
    let long = "word ".repeat(PIECES_MAX + 1);
    let table = [
        ("What is a monad?", None),
        ("How do I clean my keyboard?", None),
        ("Explain this: let x = 1;", None),
        ("Is the latex allergy inherited?", None),
        ("", Some(Barred::Long)),
        ("?!", Some(Barred::Long)),
        (long.as_str(), Some(Barred::Long)),
        (code, Some(Barred::Code)),
        (fenced, Some(Barred::Code)),
        ("What is the weather today?", Some(Barred::Time)),
        ("What time is it right now?", Some(Barred::Time)),
        ("What is the LATEST version of Rust?", Some(Barred::Time)),
        ("Who leads the league at the moment?", Some(Barred::Time)),
        ("What happened last night?", Some(Barred::Time)),
        ("Where is my order?", Some(Barred::Account)),
        ("What's my balance", Some(Barred::Account)),
        ("Please cancel my subscription.", Some(Barred::Account)),
    ];
    let guard = Guard::builtin();
    for (prompt, want) in table {
        assert_eq!(barred(guard, prompt, false), want, "{prompt}");
    }
    assert_eq!(barred(guard, "What is the weather today?", true), None);
    assert_eq!(
        barred(guard, "Where is my order today?", true),
        Some(Barred::Account)
    );
}

fn prompt() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "how",
        "do",
        "i",
        "what",
        "is",
        "the",
        "difference",
        "between",
        "and",
        "or",
        "not",
        "from",
        "to",
        "tO",
        "Paris",
        "Rome",
        "python",
        "3.11",
        "5",
        "five",
        "kg",
        "$",
        "10",
        "dog",
        "cat",
        "get_name()",
        "C++",
        "best",
        "way",
        "why",
        "who",
        "was",
        "will",
        "than",
        "?",
        ",",
        ".",
        "x^2",
        "-",
        "don't",
        "cafés",
        "мир",
        "数",
        "my",
        "your",
        "US",
        "it's",
        "1st",
        "two",
        "a",
    ]);
    let words = prop::collection::vec(word, 0..24).prop_map(|words| words.join(" "));
    prop_oneof![words, any::<String>(), "[ -~]{0,200}"]
}

/// Goal: I2 also where the same words are other sorts of words: `to` binds, the identifier `tO`
/// does not.
#[test]
fn one_word_of_two_sorts_is_judged_from_either_side() {
    let guard = Guard::builtin();
    for (a, b) in [
        ("train tO rome", "train to rome"),
        ("tO", "to"),
        ("tO[b 0{A$0$A 0$* b<A$b", "to"),
        ("a cheap train tO rome", "to rome by train"),
    ] {
        let (x, y) = (guard.sketch(a), guard.sketch(b));
        assert_eq!(guard.judge(&x, &y), guard.judge(&y, &x), "{a} | {b}");
    }
}

/// What has its exact like, the nth of a word here in the nth of it there, and whether too much
/// has none.
fn plain_likes(x: &Sketch, y: &Sketch) -> (Vec<(u16, u16)>, bool) {
    let places = |of: &Sketch| 0..u16::try_from(of.keys.len()).unwrap();
    let is_content = |of: &Sketch, at| of.keys.gist(at).unwrap().is_content();
    let mut likes = Vec::new();
    for i in places(x) {
        let is = |of: &Sketch, at: u16| of.keys.get(at) == x.keys.get(i);
        let nth = (0..i).filter(|at| is(x, *at)).count();
        let found = places(y).filter(|at| is(y, *at)).nth(nth);
        likes.extend(found.map(|j| (i, j)));
    }
    let (here, there): (Vec<_>, Vec<_>) = likes.iter().copied().unzip();
    let alone = |of: &Sketch, liked: &[u16]| {
        let left = places(of).filter(|at| is_content(of, *at) && !liked.contains(at));
        left.count()
    };
    let is_far = alone(x, &here).max(alone(y, &there)) > pair::LEFT_MAX;
    likes.retain(|&(i, j)| is_content(x, i) || is_content(y, j));
    (likes, is_far)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Goal: I2, and that no text whatever makes it panic.
    #[test]
    fn verdicts_are_symmetric(a in prompt(), b in prompt()) {
        let guard = Guard::builtin();
        let (x, y) = (guard.sketch(&a), guard.sketch(&b));
        prop_assert_eq!(guard.judge(&x, &y), guard.judge(&y, &x));
        for point in [Point::Strict, Point::Balanced] {
            prop_assert_eq!(guard.verdict(&x, &y, point), guard.verdict(&y, &x, point));
        }
        let _ = barred(guard, &a, false);
    }

    /// Goal: what has its exact like is found, however much both begin with, and from either side.
    /// Method: a plain search, the nth of a word here for the nth of it there.
    #[test]
    fn exact_likes_are_those_of_a_plain_search(head in prompt(), a in prompt(), b in prompt()) {
        let guard = Guard::builtin();
        let [x, y] = [a, b].map(|end| guard.sketch(&format!("{head} {end}")));
        let (plain, is_far) = plain_likes(&x, &y);
        for (a, b, is_turned) in [(&x, &y, false), (&y, &x, true)] {
            let pair = pair::lay(a, b);
            prop_assert_eq!(pair.is_far, is_far);
            if !is_far {
                let exact = pair.matched.iter().filter(|two| !pair.tied.contains(two));
                let turn = |&(i, j): &(u16, u16)| if is_turned { (j, i) } else { (i, j) };
                let mut exact: Vec<_> = exact.map(turn).collect();
                exact.sort_unstable();
                prop_assert_eq!(&exact, &plain);
            }
        }
    }

    /// Goal: a prompt that is not too long is the same as itself.
    #[test]
    fn a_prompt_is_the_same_as_itself(a in prompt()) {
        let guard = Guard::builtin();
        let sketch = guard.sketch(&a);
        prop_assume!(!sketch.is_long());
        let verdict = guard.verdict(&sketch, &guard.sketch(&a), Point::Strict);
        prop_assert!(verdict.is_same(), "{:?}", verdict);
    }

    /// Goal: another number is another question, wherever it stands.
    #[test]
    fn another_number_is_never_the_same(a in prompt(), x in 2_u32..10_000, y in 2_u32..10_000) {
        prop_assume!(x != y);
        let guard = Guard::builtin();
        let (one, two) = (format!("{a} size {x}"), format!("{a} size {y}"));
        let verdict = guard.verdict(&guard.sketch(&one), &guard.sketch(&two), Point::Balanced);
        prop_assert!(!verdict.is_same(), "{} | {}", one, two);
    }

    /// Goal: a `not` more is another question.
    #[test]
    fn a_negation_more_is_never_the_same(a in prompt()) {
        let guard = Guard::builtin();
        let (one, two) = (format!("{a} apples"), format!("{a} not apples"));
        let verdict = guard.verdict(&guard.sketch(&one), &guard.sketch(&two), Point::Balanced);
        prop_assert!(!verdict.is_same(), "{} | {}", one, two);
    }
}
