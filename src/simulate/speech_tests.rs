//! Tests of what an answer says.

use super::*;
use crate::dialect::model::{Role, Turn};

fn function(name: &str) -> Tool {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    Tool {
        kind: ToolKind::Function {
            name: name.to_owned(),
            description: None,
            schema: Some(schema),
            strict: None,
        },
        cache: None,
    }
}

fn asked() -> Request {
    Request {
        turns: vec![Turn {
            role: Role::User,
            name: None,
            blocks: vec![Block::text("Hi")],
        }],
        ..Request::default()
    }
}

fn how(keys: &str) -> Behaviour {
    let mut how = Behaviour::default();
    how.set_from_name(&format!("sim/{keys}")).unwrap();
    how
}

fn said(request: &Request, keys: &str) -> Speech {
    Speech::new(
        (request, Dialect::Anthropic),
        &how(keys),
        (255, 40),
        &Words::default(),
    )
}

fn text(speech: &Speech) -> String {
    let words = Words::default();
    let parts = speech.parts.iter();
    parts.map(|part| part.says(&words)).collect()
}

fn names(speech: &Speech) -> Vec<&str> {
    let parts = speech.parts.iter().filter_map(|part| match part {
        Part::Call { name, .. } => Some(name.as_str()),
        _ => None,
    });
    parts.collect()
}

/// Goal: the words come round after as many as this file believes.
#[test]
fn the_words_come_round() {
    let words = Words::default();
    assert_eq!(words.word(ROUND), words.word(0));
    assert_ne!(words.word(ROUND - 1), words.word(ROUND * 2 - 2));
}

/// Goal: which tools are called, by choice, key and what may be done at once.
#[test]
fn calls_are_those_that_are_asked_for() {
    let base = Request {
        tools: vec![function("a"), function("b")],
        ..asked()
    };
    let allowed = |must| Choice::Allowed {
        names: vec!["b".to_owned()],
        must,
    };
    for (choice, parallel, keys, want) in [
        (None, None, "", &[][..]),
        (None, None, "tools-3", &["a", "b", "a"]),
        (None, Some(false), "tools-3", &["a"]),
        (Some(Choice::Auto), None, "tools-1", &["a"]),
        (Some(Choice::Never), None, "tools-3", &[]),
        (Some(Choice::Any), None, "", &["a"]),
        (Some(Choice::Named("b".to_owned())), None, "", &["b"]),
        (Some(allowed(false)), None, "", &[]),
        (Some(allowed(true)), None, "tools-2", &["b", "b"]),
        (Some(Choice::Any), None, "refusal", &[]),
    ] {
        let request = Request {
            choice,
            parallel,
            ..base.clone()
        };
        assert_eq!(names(&said(&request, keys)), want, "{request:?} {keys}");
    }
    let speech = said(&base, "tools-2");
    let Some(Part::Call { id, pieces, .. }) = speech.parts.get(1) else {
        panic!("{speech:?}");
    };
    assert_eq!(
        (id.as_str(), pieces.concat().as_str()),
        ("toolu_simffn1", "{\"city\":\"city 2\"}")
    );
    assert_eq!(
        names(&said(&asked(), "tools-2")),
        [""; 0],
        "none is on offer"
    );
}

/// Goal: I2. Method: every limit on thinking, words and calls; the pieces are as many.
#[test]
fn a_limit_holds_for_all_pieces() {
    let tools = Request {
        tools: vec![function("a")],
        ..asked()
    };
    for (request, keys) in [
        (asked(), "thinking-3/events-5"),
        (tools, "tools-2/thinking-1"),
    ] {
        let whole = said(&request, keys).len();
        for max in 0..=whole + 1 {
            let request = Request {
                max_tokens: Some(max.into()),
                ..request.clone()
            };
            let speech = said(&request, keys);
            assert!(speech.len() <= max);
            assert_eq!(speech.stop == Stop::Length, max < whole, "{keys} {max}");
            for part in &speech.parts {
                if let Part::Call { pieces, .. } = part {
                    assert!(serde_json::from_str::<Value>(&pieces.concat()).is_ok());
                }
            }
            let usage = speech.usage.unwrap();
            assert_eq!(usage.answer(), u64::from(speech.len()));
        }
    }
}

/// Goal: the text ends right before the first of the texts to stop at, wherever that stands.
#[test]
fn a_text_ends_where_it_is_told_to() {
    let words = Words::default();
    let natural = text(&said(&asked(), "events-30"));
    for stop in ["token 0", "oken 7", " ", "token 29 ", "9 token 10 to", "t"] {
        let mut request = asked();
        request.sampling.stop = vec!["nowhere".to_owned(), String::new(), stop.to_owned()];
        let speech = said(&request, "events-30");
        let at = natural.find(stop).unwrap();
        assert_eq!(text(&speech), natural[..at], "{stop}");
        assert_eq!(
            (speech.stop, speech.sequence.as_str()),
            (Stop::Sequence, stop)
        );
    }
    let mut request = asked();
    request.sampling.stop = vec!["nowhere".to_owned()];
    let speech = said(&request, "events-9000");
    assert_eq!((speech.stop, speech.len()), (Stop::End, 9000));
    request.sampling.stop = vec!["4095 token 0 ".to_owned()];
    let long = text(&said(&request, "events-9000"));
    assert_eq!(long.len(), words.bytes_of(ROUND) - "4095 ".len());
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    request.format = Format::Schema {
        name: None,
        description: None,
        schema,
        strict: None,
    };
    request.sampling.stop = vec!["y 1".to_owned()];
    let speech = said(&request, "");
    assert_eq!(text(&speech), "{\"city\":\"cit");
}

/// Goal: tokens are those that were said, or those that are given.
#[test]
fn tokens_are_counted_or_given() {
    let tokens = |keys: &str| said(&asked(), keys).usage;
    let counted = tokens("events-5/thinking-2").unwrap();
    assert_eq!(
        (counted.fresh, counted.output, counted.thinking),
        (40, 5, 2)
    );
    let given = tokens(
        "events-5/prompt-tokens-100/cached-tokens-60/written-tokens-30/completion-tokens-9/\
         reasoning-tokens-4",
    );
    let want = Tokens {
        fresh: 10,
        read: 60,
        write: 30,
        write_1h: 0,
        output: 5,
        thinking: 4,
    };
    assert_eq!(given, Some(want));
    assert_eq!(tokens("no-usage"), None);
}

/// Goal: an answer can be made longer and shorter by bytes, letters of several bytes included.
#[test]
fn an_answer_has_the_size_that_is_asked_for() {
    let words = Words::default();
    let length = |speech: &Speech, longer| match &speech.answer(&words, longer).blocks[..] {
        [Block::Text { text, .. }] => text.len(),
        _ => 0,
    };
    let mut speech = said(&asked(), "events-2");
    let natural = length(&speech, 0);
    assert_eq!(length(&speech, 1000), natural + 1000);
    assert_eq!(length(&speech, -3), natural - 3);
    speech.parts = vec![Part::Text {
        lead: vec!["äöü".to_owned()],
        words: 0,
        tail: String::new(),
    }];
    assert_eq!(length(&speech, -1), 4);
    assert_eq!(length(&speech, -100), 0);
}
