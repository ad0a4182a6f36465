//! What a provider is asked for a vector with, and what it answers.
//!
//! ```text
//!   model, text ─► {"model":…,"input":"…","encoding_format":"float"}
//!   {"data":[{"embedding":[0.1,…]}],"usage":…} ─► Given { vector, space, tokens }
//! ```
//!
//! Numbers are asked for, as everywhere in this gateway: what providers put into base64 is not
//! always `f32` (`dialect/model/embed.rs`, I2), and a vector of that says nothing, quietly.
//!
//! Invariants
//! - A1 Vectors of two models, or of two lengths, have different spaces, and so have those of two
//!   places that are asked for a model of the same name. Who compares only within a space never
//!   compares what says nothing about each other, whatever was configured before.

use super::narrow::{NUMBERS_MAX, RULES, narrow};
use super::vector::Vector;
use crate::base::fault::Kind;
use crate::cache::key::Fold;
use crate::dialect::model::embed::Embed;
use crate::dialect::model::{Dialect, Notes};
use crate::dialect::speak;

/// Where vectors come from.
#[derive(Clone, Copy, Debug)]
pub struct Maker<'a> {
    /// The provider's name in the configuration.
    pub provider: &'a str,
    /// Where it is asked.
    pub url: &'a str,
    /// Its name for the model.
    pub model: &'a str,
}

/// A vector that says something about others of its space.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    /// The direction.
    pub vector: Vector,
    /// A1; for the built-in embedder [`super::VERSION`].
    pub space: u64,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// The vector.
    pub placed: Placed,
    /// Tokens that the provider counted.
    pub tokens: u64,
}

/// The body of a request for the vector of `text`.
pub fn ask(model: &str, text: &str) -> Vec<u8> {
    let embed = asked(model, text);
    let body = speak::put_embed(Dialect::Chat, &embed, &mut Notes::default());
    body.unwrap_or_default() // it has nothing that cannot be said
}

fn asked(model: &str, text: &str) -> Embed {
    let mut embed = Embed::new(Dialect::Chat, model);
    embed.inputs.push(text.to_owned());
    embed
}

/// What the provider's answer to [`ask`] gives. About 90 µs for 1,536 numbers, most of it to read
/// them.
///
/// # Errors
/// [`Kind::UpstreamError`]: it is an error. [`Kind::UpstreamGarbled`]: it has no vector, more
/// than one, or one of more than [`NUMBERS_MAX`] numbers or without a direction.
pub fn read(body: &[u8], maker: &Maker<'_>) -> Result<Given, Kind> {
    let given = speak::vectors(Dialect::Chat, body, &asked(maker.model, ""))?;
    let text = given.values.first().ok_or(Kind::UpstreamGarbled)?;
    let numbers = numbers(text).ok_or(Kind::UpstreamGarbled)?;
    Ok(Given {
        placed: Placed {
            vector: narrow(&numbers).ok_or(Kind::UpstreamGarbled)?,
            space: maker.space(numbers.len()),
        },
        tokens: given.tokens.unwrap_or(0),
    })
}

/// The numbers in the text of an array.
fn numbers(array: &[u8]) -> Option<Vec<f32>> {
    let text = std::str::from_utf8(array).ok()?;
    let inside = text.strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut all = Vec::new();
    for number in inside.split(',').take(NUMBERS_MAX + 1) {
        all.push(number.trim().parse().ok()?);
    }
    Some(all)
}

impl Maker<'_> {
    /// What vectors of so many numbers are compared within (A1).
    pub fn space(&self, numbers: usize) -> u64 {
        let mut fold = self.fold();
        fold.number(RULES);
        fold.count(numbers);
        fold.finish().word(0)
    }

    /// What is asked for `text` here, in a name that does not show it.
    pub fn name(&self, text: &str) -> crate::cache::key::Key {
        let mut fold = self.fold();
        fold.text(text);
        fold.finish()
    }

    fn fold(&self) -> Fold {
        let mut fold = Fold::new("vectors of a provider");
        fold.text(self.provider);
        fold.text(self.url);
        fold.text(self.model);
        fold
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const MAKER: Maker<'_> = Maker {
        provider: "p",
        url: "http://127.0.0.1:1/v1",
        model: "m",
    };

    fn answer(embedding: &Value) -> Vec<u8> {
        let body = json!({"object": "list", "model": "other",
            "data": [{"object": "embedding", "index": 0, "embedding": embedding}],
            "usage": {"prompt_tokens": 7, "total_tokens": 7}});
        body.to_string().into_bytes()
    }

    /// Goal: an OpenAI-compatible endpoint understands what it is asked.
    #[test]
    fn a_text_is_asked_for_as_numbers() {
        let body: Value = serde_json::from_slice(&ask("m", "a \"b\"\n😀")).unwrap();
        let want = json!({"model": "m", "input": "a \"b\"\n😀", "encoding_format": "float"});
        assert_eq!(body, want);
    }

    /// Goal: what is no vector is a fault, and none of it panics.
    #[test]
    fn what_is_no_vector_is_refused() {
        let garbled = [
            json!([]),
            json!([0, 0.0]),
            json!(["1"]),
            json!("AACAPw=="),
            json!(null),
            json!([1e39, 1]),
            json!(vec![1; NUMBERS_MAX + 1]),
        ];
        for embedding in garbled {
            let body = answer(&embedding);
            assert_eq!(read(&body, &MAKER), Err(Kind::UpstreamGarbled));
        }
        let vector = json!({"embedding": [1, 2]});
        for body in [
            json!({"object": "list", "data": []}).to_string(),
            json!({"object": "list", "data": [vector, vector]}).to_string(),
            json!({"choices": []}).to_string(),
            "<html>".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(body.as_bytes(), &MAKER), Err(Kind::UpstreamGarbled));
        }
        let error = json!({"error": {"message": "no"}}).to_string();
        assert_eq!(read(error.as_bytes(), &MAKER), Err(Kind::UpstreamError));
    }

    /// Goal: A1: each of what decides a space does.
    #[test]
    fn spaces_are_apart() {
        let body = answer(&json!([1, -2e-3, 0.5]));
        let given = read(&body, &MAKER).unwrap();
        assert_eq!(given.tokens, 7);
        assert_eq!(given.placed.space, MAKER.space(3));
        let others = [
            Maker {
                provider: "q",
                ..MAKER
            },
            Maker {
                url: "http://127.0.0.1:2/v1",
                ..MAKER
            },
            Maker {
                model: "n",
                ..MAKER
            },
        ];
        let mut spaces: Vec<u64> = others.iter().map(|maker| maker.space(3)).collect();
        spaces.extend([MAKER.space(3), MAKER.space(4), super::super::VERSION]);
        let names = others.iter().map(|maker| maker.name("a"));
        let names: Vec<_> = names.chain([MAKER.name("a"), MAKER.name("b")]).collect();
        for (at, space) in spaces.iter().enumerate() {
            assert!(!spaces[..at].contains(space));
        }
        for (at, name) in names.iter().enumerate() {
            assert!(!names[..at].contains(name));
        }
    }

    proptest! {
        /// Goal: the numbers of the text are those of the vector, however they are written.
        #[test]
        fn numbers_are_read(wanted in proptest::collection::vec(-2.0_f32..2.0, 1..300),
                            form in 0..3) {
            let texts = wanted.iter().map(|number| match form {
                0 => number.to_string(),
                1 => format!(" {number:e} "),
                _ => format!("\n{number:.9}"),
            });
            let text = format!("[{}]", texts.collect::<Vec<_>>().join(","));
            let read = numbers(text.as_bytes()).unwrap();
            prop_assert_eq!(read.len(), wanted.len());
            for (read, wanted) in read.iter().zip(&wanted) {
                prop_assert!((read - wanted).abs() < 1e-6);
            }
        }

        /// Goal: no answer breaks the reader.
        #[test]
        fn any_bytes_are_read(bytes: Vec<u8>, cut in 0_usize..200) {
            let _ = read(&bytes, &MAKER);
            let body = answer(&json!([1, 2, 3]));
            let _ = read(&body[..cut.min(body.len())], &MAKER);
        }
    }
}
