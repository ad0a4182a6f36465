//! What passes of answers that were cut and gone on with.

use super::*;
use crate::base::fault::Kind;
use crate::dialect::model::{Refused, Stop, Trouble};

const TEXT: Step<'_> = Step::Open(Open::Text);

fn said(text: &'static str) -> Step<'static> {
    Step::Text(Text::Plain(text))
}

fn call() -> Step<'static> {
    Step::Open(Open::Call {
        id: Text::EMPTY,
        name: Text::Plain("f"),
        is_custom: false,
    })
}

fn begin() -> Step<'static> {
    Step::Begin {
        id: Text::EMPTY,
        model: Text::EMPTY,
    }
}

fn stop() -> Step<'static> {
    Step::Stop(Stop::End, Text::EMPTY)
}

fn usage(fresh: u64, output: u64) -> Step<'static> {
    Step::Usage(Tokens {
        fresh,
        output,
        ..Tokens::default()
    })
}

/// What passes of `steps`, in short.
fn passes(trail: &mut Trail, steps: &[Step<'_>]) -> String {
    let mut passed = Vec::new();
    for step in steps {
        let each = &mut |step: &Step<'_>| {
            passed.push(match step {
                Step::Begin { .. } => "begin ".to_owned(),
                Step::Open(Open::Text) => "text ".to_owned(),
                Step::Open(Open::Thinking) => "thinking ".to_owned(),
                Step::Open(_) => "open ".to_owned(),
                Step::Text(text) => format!("{:?} ", text.to_text()),
                Step::Close => "close ".to_owned(),
                Step::Usage(tokens) => format!("usage:{}+{} ", tokens.prompt(), tokens.answer()),
                Step::Stop(..) => "stop ".to_owned(),
                Step::End => "end ".to_owned(),
                _ => "other ".to_owned(),
            });
        };
        trail.pass(step, each).unwrap();
    }
    passed.concat()
}

/// The answer of `steps`, gone on with.
fn cut_behind(steps: &[Step<'_>]) -> Trail {
    let mut trail = Trail::new();
    passes(&mut trail, steps);
    trail.end_attempt(10);
    let said = trail.said().unwrap();
    trail.go_on(said, Way::Prefill);
    trail
}

/// Goal: I1. Method: what passes of the second attempt, wherever the first one was cut and
/// whatever the second begins with, closes what is open and opens nothing twice.
#[test]
fn what_passes_of_both_is_balanced() {
    let open = [begin(), TEXT, said("Once upon")];
    let closed = [begin(), TEXT, said("Once upon"), Step::Close];
    let think = [Step::Open(Open::Thinking), said("hm"), Step::Close];
    let text = [TEXT, said(" a time"), Step::Close];
    let end = [stop(), Step::End];
    let fresh = [begin()];
    let mut trail = cut_behind(&open);
    let steps = [&fresh[..], &think, &text, &end].concat();
    assert_eq!(passes(&mut trail, &steps), "\" a time\" close stop end ");
    let mut trail = cut_behind(&closed);
    assert_eq!(
        passes(&mut trail, &steps),
        "text \" a time\" close stop end "
    );
    for (before, want) in [(&open[..], "close "), (&closed[..], "")] {
        let mut trail = cut_behind(before);
        let steps = [&fresh[..], &end].concat();
        assert_eq!(passes(&mut trail, &steps), format!("{want}stop end "));
        let mut trail = cut_behind(before);
        let steps = [&fresh[..], &[call(), said("{}"), Step::Close], &end].concat();
        assert_eq!(
            passes(&mut trail, &steps),
            format!("{want}open \"{{}}\" close stop end ")
        );
    }
    // A second block of text, and thoughts behind the first, are new to the client.
    let mut trail = cut_behind(&open);
    let steps = [&fresh[..], &text, &think, &text, &end].concat();
    let want = "\" a time\" close thinking \"hm\" close text \" a time\" close stop end ";
    assert_eq!(passes(&mut trail, &steps), want);
}

/// Goal: I2.
#[test]
fn nobody_goes_on_with_what_must_be_whole() {
    let once = [begin(), TEXT, said("Once")];
    for more in [
        vec![Step::Close, call()],
        vec![Step::Close, call(), Step::Close],
        vec![Step::Close, call(), Step::Close, TEXT, said("more")],
        vec![Step::Close, Step::Open(Open::Refusal), said("No")],
        vec![Step::Close, Step::Open(Open::Thinking), said("hm")],
        vec![Step::Close, stop()],
    ] {
        let mut trail = Trail::new();
        passes(&mut trail, &once);
        assert_eq!(trail.said().as_deref(), Some("Once"));
        passes(&mut trail, &more);
        assert_eq!(trail.said(), None, "{more:?}");
    }
    for nothing in [vec![], vec![begin()], vec![begin(), TEXT]] {
        let mut trail = Trail::new();
        passes(&mut trail, &nothing);
        assert_eq!(trail.said(), None, "{nothing:?}");
    }
    let mut trail = Trail::new();
    passes(&mut trail, &[begin(), TEXT]);
    let piece = "x".repeat(1 << 16);
    for _ in 0..=SAID_MAX >> 16 {
        trail
            .pass(&Step::Text(Text::Plain(&piece)), &mut |_| {})
            .unwrap();
    }
    assert_eq!((trail.said(), trail.said.capacity()), (None, 0));
}

/// Goal: what was said is what the client read, whatever form it came in, also a pair of
/// surrogates in two pieces; half of one is nothing that could be gone on with.
#[test]
fn what_was_said_is_what_the_client_read() {
    let mut trail = Trail::new();
    let escaped = |raw| Step::Text(Text::Escaped(raw));
    passes(
        &mut trail,
        &[
            begin(),
            TEXT,
            said("a \"b\"\n"),
            escaped(br"\u00e9\\ \ud83e"),
        ],
    );
    assert_eq!(trail.said(), None);
    passes(
        &mut trail,
        &[escaped(br"\udd8a"), Step::Close, TEXT, said("c")],
    );
    assert_eq!(trail.said().as_deref(), Some("a \"b\"\né\\ 🦊c"));
}

/// Goal: I3: usage is that of all attempts; what was cut off before it was told is estimated.
#[test]
fn usage_is_that_of_all_attempts() {
    let once = "Once upon a time there was a tale."; // 34 bytes, 8 tokens
    for (told, want, is_estimated) in [
        (vec![], (10 + 7, 8 + 5), true),
        (vec![usage(20, 0)], (20 + 7, 8 + 5), true),
        (vec![usage(20, 30)], (20 + 7, 30 + 5), false),
    ] {
        let first = [vec![begin()], told.clone(), vec![TEXT, said(once)]].concat();
        let mut trail = cut_behind(&first);
        let passed = passes(
            &mut trail,
            &[begin(), TEXT, said("."), usage(7, 5), Step::Close],
        );
        assert!(
            passed.contains(&format!("usage:{}+{} ", want.0, want.1)),
            "{passed}"
        );
        let (tokens, guessed) = trail.cost(99);
        assert_eq!((tokens.prompt(), tokens.answer()), want, "{told:?}");
        assert_eq!(guessed, is_estimated, "{told:?}");
    }
    // The last one says nothing, and one between them came to nothing.
    let mut trail = cut_behind(&[begin(), TEXT, said(once), usage(20, 30)]);
    passes(&mut trail, &[begin(), usage(1000, 1)]);
    trail.go_on(once.to_owned(), Way::Prefill);
    passes(&mut trail, &[begin(), TEXT, said(" And so on.")]);
    let (tokens, guessed) = trail.cost(99);
    assert_eq!(
        (tokens.prompt(), tokens.answer(), guessed),
        (20 + 99, 30 + 3, true)
    );
}

/// Goal: pieces are handed on unseen only where they pass as they come.
#[test]
fn a_trail_is_free_behind_its_seam() {
    assert!(Trail::new().is_free());
    let mut trail = cut_behind(&[begin(), TEXT, said("Once upon")]);
    assert!(trail.is_joined() && !trail.is_free());
    passes(&mut trail, &[begin(), TEXT]);
    assert!(!trail.is_free());
    passes(&mut trail, &[said(" a")]);
    assert!(trail.is_free());
    let refused = Refused {
        trouble: Trouble::of(Kind::Overloaded),
        message: String::new(),
        param: None,
        retry_after: None,
    };
    assert_eq!(
        passes(&mut trail, &[Step::Close, Step::Error(refused)]),
        "close other "
    );
}
