//! Answers taken apart and put together again.

use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::dialect::events::Wire;
use crate::dialect::fold::{Fold, Unfoldable};
use crate::dialect::model::{
    Answer, Block, Call, Dialect, Names, Opaque, Open, Refused, Step, Stop, Text, Tokens, Trouble,
};
use crate::dialect::retell::{Retell, TOLD_MAX};
use crate::dialect::route::Route;
use crate::dialect::unfold::{PIECE_MAX, Unfold, piece};
use crate::dialect::whole::{of_plain, of_stream};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Value, json};

const NAMES: Names<'_> = Names {
    id: "abc123",
    model: "asked",
    created: 7,
    wants_usage: true,
};

/// What is open, so that steps out of their order are seen.
#[expect(
    clippy::struct_excessive_bools,
    reason = "what has come, each of which is asked for"
)]
#[derive(Default)]
struct Order {
    has_begun: bool,
    is_open: bool,
    has_stopped: bool,
    has_ended: bool,
}

impl Order {
    fn see(&mut self, step: &Step<'_>) {
        assert!(!self.has_ended, "{step:?} after the end");
        let is_begin = matches!(step, Step::Begin { .. });
        assert_eq!(self.has_begun, !is_begin, "{step:?}");
        self.has_begun = true;
        match step {
            Step::Begin { .. } | Step::Usage(_) => {}
            Step::Open(_) => {
                assert!(!self.is_open && !self.has_stopped, "{step:?}");
                self.is_open = true;
            }
            Step::Text(text) => assert!(self.is_open && text.len() <= PIECE_MAX, "{step:?}"),
            Step::Opaque(..) | Step::Citation(..) => assert!(self.is_open, "{step:?}"),
            Step::Close => assert!(std::mem::take(&mut self.is_open), "closed twice"),
            Step::Stop(..) => {
                assert!(!self.is_open && !self.has_stopped, "{step:?}");
                self.has_stopped = true;
            }
            Step::End => {
                assert!(self.has_stopped);
                self.has_ended = true;
            }
            Step::Error(_) => panic!("{step:?}"),
        }
    }
}

fn folded(front: Dialect, answer: &Answer) -> Result<Answer, Unfoldable> {
    let (mut fold, mut order) = (Fold::new(answer.origin), Order::default());
    let mut unfold = Unfold::new(front);
    while unfold.step(answer, &mut |step| {
        order.see(step);
        fold.take(step);
    }) {}
    assert!(order.has_ended);
    fold.finish()
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "(?s).{0,80}",
        "[a-z ]{0,300}",
        "[あ-ん]{0,60}",
        "\\PC{0,40}"
    ]
}

fn stop() -> impl Strategy<Value = Stop> {
    use Stop::{Context, End, Filtered, Length, Malformed, Pause, Sequence, Tool};
    prop::sample::select(vec![
        End, Sequence, Tool, Length, Context, Filtered, Pause, Malformed,
    ])
}

fn dialect() -> impl Strategy<Value = Dialect> {
    prop::sample::select(Dialect::ALL.to_vec())
}

fn opaque(is_thinking: bool) -> impl Strategy<Value = Option<Opaque>> {
    let one = (dialect(), ".{1,20}").prop_map(move |(dialect, sealed)| {
        let value = match dialect {
            Dialect::Chat if is_thinking => json!([{"signature": sealed}, {"data": sealed}]),
            Dialect::Chat => json!({"google": sealed}),
            Dialect::Responses => json!({"type": "reasoning", "encrypted_content": sealed}),
            _ => json!(sealed),
        };
        Opaque { dialect, value }
    });
    option::of(one)
}

fn citations(origin: Dialect) -> impl Strategy<Value = Option<Value>> {
    let list = move |titles: Vec<String>| match origin {
        Dialect::Gemini => json!({
            "citationMetadata": {"citationSources": titles},
            "groundingMetadata": {"webSearchQueries": titles},
        }),
        _ => titles.iter().map(|title| json!({"title": title})).collect(),
    };
    option::of(vec(".{0,9}", 1..4).prop_map(list))
}

fn block(origin: Dialect) -> impl Strategy<Value = Block> {
    prop_oneof![
        (text(), citations(origin)).prop_map(|(text, citations)| Block::Text {
            text,
            citations,
            cache: None
        }),
        (text(), opaque(true)).prop_map(|(text, opaque)| Block::Thinking { text, opaque }),
        text().prop_map(Block::Refusal),
        (
            "[a-z0-9_]{0,9}",
            "[a-z]{1,9}",
            text(),
            any::<bool>(),
            opaque(false)
        )
            .prop_map(
                |(id, name, arguments, is_custom, opaque)| Block::Call(Call {
                    id,
                    name,
                    arguments,
                    is_custom,
                    opaque
                })
            ),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    let usage = option::of([0..9_u64, 0..9, 0..9, 0..9, 0..9, 0..9]);
    let usage = usage.prop_map(|counts| {
        counts.map(|[fresh, read, write, write_1h, output, thinking]| Tokens {
            fresh,
            read,
            write,
            write_1h,
            output,
            thinking,
        })
    });
    dialect().prop_flat_map(move |origin| {
        let blocks = vec(block(origin), 0..6);
        let names = (".{0,9}", ".{0,9}", option::of(".{1,9}"));
        (names, blocks, stop(), usage.clone()).prop_map(
            move |((id, model, sequence), blocks, stop, usage)| Answer {
                id,
                model,
                blocks,
                stop,
                sequence,
                usage,
                logprobs: None,
                origin: Some(origin),
            },
        )
    })
}

proptest! {
    /// Goal: an answer that is taken apart and put together is the same, and its steps are in
    /// order.
    #[test]
    fn an_answer_taken_apart_is_put_together(answer in answer(), front in dialect()) {
        prop_assert_eq!(folded(front, &answer), Ok(answer));
    }

    /// Goal: the pieces of a text are the text, none is long, and a word is whole where it is no
    /// longer than a piece.
    #[test]
    fn pieces_are_the_text(text in text()) {
        let (mut rest, mut all) = (text.as_str(), String::new());
        while !rest.is_empty() {
            let len = piece(rest);
            prop_assert!(len > 0 && len <= PIECE_MAX);
            let (piece, behind) = rest.split_at(len);
            prop_assert!(behind.is_empty() || len >= crate::dialect::unfold::PIECE_MIN);
            all.push_str(piece);
            rest = behind;
        }
        prop_assert_eq!(all, text);
    }

    /// Goal: whatever was answered, a client of any dialect gets a whole stream of it, event by
    /// event, with all of its text and its calls.
    #[test]
    fn every_answer_is_told_in_every_dialect(answer in answer()) {
        for route in [
            Route::Chat,
            Route::Responses,
            Route::Messages,
            Route::StreamGenerate,
            Route::CohereChat,
            Route::ConverseStream,
        ] {
            let mut tx = TxBuf::new(&BufPool::new());
            let mut retell = Retell::new(route, answer.clone()).unwrap();
            let (mut stream, mut told) = (Vec::new(), 0);
            while let Some(bytes) = retell.next(&NAMES, &mut tx) {
                prop_assert!(!tx.is_empty());
                stream.extend_from_slice(tx.unsent());
                tx.clear();
                told += bytes;
            }
            prop_assert!(tx.is_empty());
            prop_assert_eq!(told, said(&answer).len());
            let front = route.dialect();
            let wire = if front == Dialect::Bedrock { Wire::Frames } else { Wire::Lines };
            if answer.stop == Stop::Malformed && front == Dialect::Responses {
                let failed = of_stream(front, wire, &stream);
                prop_assert_eq!(failed, Err(Unfoldable::Failed)); // as it says of a live one
                continue;
            }
            let again = of_stream(front, wire, &stream).unwrap();
            prop_assert_eq!(texts(&again), texts(&answer));
            prop_assert_eq!(calls_of(&again), calls_of(&answer));
        }
    }

    /// Goal: nothing that is cut, failed or out of order is an answer. Method: one step of a good
    /// stream is left out, or doubled.
    #[test]
    fn a_step_that_is_missing_is_missed(
        answer in answer(),
        front in dialect(),
        at in any::<prop::sample::Index>(),
    ) {
        let mut count = 0;
        let mut unfold = Unfold::new(front);
        while unfold.step(&answer, &mut |_| count += 1) {}
        let at = at.index(count);
        for times in [0, 2] {
            let (mut fold, mut now) = (Fold::new(answer.origin), 0);
            let mut is_loose = false;
            let mut unfold = Unfold::new(front);
            while unfold.step(&answer, &mut |step| {
                let again = if now == at { times } else { 1 };
                // These may be there or not.
                let is_free = matches!(
                    step,
                    Step::Text(_) | Step::Opaque(..) | Step::Citation(..) | Step::Usage(_)
                );
                is_loose |= now == at && is_free;
                for _ in 0..again {
                    fold.take(step);
                }
                now += 1;
            }) {}
            prop_assert!(is_loose || fold.finish().is_err());
        }
    }
}

fn said(answer: &Answer) -> String {
    let texts = answer.blocks.iter().map(|block| match block {
        Block::Text { text, .. } | Block::Thinking { text, .. } | Block::Refusal(text) => text,
        Block::Call(call) => &call.arguments,
        _ => "",
    });
    texts.collect()
}

fn calls_of(answer: &Answer) -> usize {
    let calls = answer.blocks.iter();
    calls
        .filter(|block| matches!(block, Block::Call(_)))
        .count()
}

fn texts(answer: &Answer) -> String {
    let texts = answer.blocks.iter().filter_map(|block| match block {
        Block::Text { text, .. } | Block::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn fold_of(steps: &[Step<'_>]) -> Result<Answer, Unfoldable> {
    let mut fold = Fold::new(Some(Dialect::Chat));
    for step in steps {
        fold.take(step);
    }
    fold.finish()
}

const BEGIN: Step<'_> = Step::Begin {
    id: Text::EMPTY,
    model: Text::EMPTY,
};
const STOP: Step<'_> = Step::Stop(Stop::End, Text::EMPTY);

/// Goal: a character that comes in two pieces is one; what UTF-8 cannot say is no answer.
#[test]
fn a_pair_of_surrogates_may_come_in_two_pieces() {
    let said = |pieces: &[&'static [u8]]| {
        let mut steps = vec![BEGIN, Step::Open(Open::Text)];
        steps.extend(pieces.iter().map(|raw| Step::Text(Text::Escaped(raw))));
        steps.extend([Step::Text(Text::Plain("\\n")), Step::Close, STOP, Step::End]);
        fold_of(&steps).map(|answer| texts(&answer))
    };
    assert_eq!(said(&[b"a\\ud83d", b"\\ude00"]).unwrap(), "a\u{1F600}\\n");
    assert_eq!(said(&[b"a\\ud83d"]), Err(Unfoldable::Garbled));
    assert_eq!(said(&[b"a\xC3"]), Err(Unfoldable::Garbled));
}

/// Goal: what failed or was cut is told apart.
#[test]
fn what_failed_or_was_cut_is_told() {
    let error = Step::Error(Refused {
        trouble: Trouble::Overloaded,
        message: String::new(),
        param: None,
        retry_after: None,
    });
    assert_eq!(fold_of(&[BEGIN, error]), Err(Unfoldable::Failed));
    assert_eq!(fold_of(&[BEGIN, STOP]), Err(Unfoldable::Cut));
    assert_eq!(fold_of(&[]), Err(Unfoldable::Cut));
    assert_eq!(
        fold_of(&[BEGIN, STOP, Step::End, STOP]),
        Err(Unfoldable::Garbled)
    );
}

/// Goal: two states of a provider with one block, of which one would be lost, are none.
#[test]
fn two_states_of_one_block_are_refused() {
    let seal = |dialect, raw| Step::Opaque(dialect, raw);
    let of = |first, second| {
        let open = Step::Open(Open::Thinking);
        fold_of(&[BEGIN, open, first, second, Step::Close, STOP, Step::End])
    };
    let one = seal(Dialect::Anthropic, b"\"a\"");
    assert!(of(one.clone(), one.clone()).is_ok());
    let other = seal(Dialect::Anthropic, b"\"b\"");
    assert_eq!(of(one.clone(), other), Err(Unfoldable::Own));
    let other = seal(Dialect::Gemini, b"\"a\"");
    assert_eq!(of(one, other), Err(Unfoldable::Own));
}

/// Goal: what an answer of one choice, or a stream of steps, would lose is refused, and nothing
/// that says nothing is.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_would_be_lost_is_refused() {
    use Unfoldable::{Failed, Media, Own, Probabilities, Several};
    let chat = |choice: Value| json!({"choices": [choice]});
    let said = |more: Value| {
        let mut choice = json!({"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "a"}});
        for (key, value) in more.as_object().unwrap() {
            match key.as_str() {
                "logprobs" => choice[key] = value.clone(),
                _ => choice["message"][key] = value.clone(),
            }
        }
        chat(choice)
    };
    let two = json!({"choices": [{"index": 0, "message": {}}, {"index": 1, "message": {}}]});
    let gemini = |more: Value| {
        let mut candidate = json!({"content": {"parts": [{"text": "a"}]}, "finishReason": "STOP"});
        candidate
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"candidates": [candidate]})
    };
    for (dialect, body, want) in [
        (
            Dialect::Chat,
            said(json!({"logprobs": null, "audio": null, "prefix": false})),
            None,
        ),
        (
            Dialect::Chat,
            said(json!({"logprobs": {"content": [], "refusal": null}})),
            None,
        ),
        (
            Dialect::Chat,
            said(json!({"logprobs": {"content": [{"token": "a"}]}})),
            Some(Probabilities),
        ),
        (
            Dialect::Chat,
            said(json!({"audio": {"data": "T2dn"}})),
            Some(Media),
        ),
        (
            Dialect::Chat,
            said(json!({"executed_tools": [{"type": "search"}]})),
            Some(Own),
        ),
        (Dialect::Chat, two, Some(Several)),
        (
            Dialect::Chat,
            json!({"error": {"message": "x"}}),
            Some(Failed),
        ),
        (Dialect::Gemini, gemini(json!({})), None),
        (Dialect::Gemini, gemini(json!({"index": 1})), Some(Several)),
        (
            Dialect::Gemini,
            gemini(json!({"logprobsResult": {"a": [1]}})),
            Some(Probabilities),
        ),
        (
            Dialect::Gemini,
            json!({"candidates": [{"index": 0}, {"index": 1}]}),
            Some(Several),
        ),
        (
            Dialect::Bedrock,
            json!({"output": {"message": {"content": [{"text": "a"}]}},
            "trace": {"guardrail": {"a": 1}}}),
            Some(Own),
        ),
    ] {
        let got = of_plain(dialect, body.to_string().as_bytes());
        assert_eq!(got.err(), want, "{body}");
    }
}

/// Goal: an answer that the writer of the front could not carry to its end is refused before it
/// begins.
#[test]
fn what_is_too_long_for_a_stream_is_refused() {
    let answer = |len| Answer {
        blocks: vec![Block::text("a".repeat(len))],
        ..Answer::default()
    };
    assert!(Retell::new(Route::Responses, answer(TOLD_MAX)).is_ok());
    let refused = Retell::new(Route::Responses, answer(TOLD_MAX + 1)).map(|_| ());
    assert_eq!(refused, Err(Unfoldable::TooLong { limit: TOLD_MAX }));
    assert!(Retell::new(Route::Chat, answer(TOLD_MAX + 1)).is_ok());
}
