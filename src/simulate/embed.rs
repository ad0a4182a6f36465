//! The bytes of embeddings: deterministic unit vectors, as numbers or as base64.
//!
//! Mostly all texts have one and the same, made once. Those by the text are made of the built-in
//! embedder's: each of its numbers, with a sign, is added at a few places of the vector.
//!
//! Source: OpenAI API reference, "Embeddings"; base64 holds little-endian `f32`s (RFC 4648, 4).

use super::answer::Plain;
use super::ask::{Ask, Coding};
use super::behave::Behaviour;
use super::plan::Refused;
use super::provider::Provider;
use super::refusal::Refusal;
use crate::cache::embed::{Scratch, builtin};
use crate::dialect::route::Route;
use crate::dialect::speak;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use std::rc::Rc;

/// Most texts that are answered in one request, OpenAI's own limit.
pub const INPUTS_MAX: u32 = 2048;

/// Most bytes of an answer, and so of memory for one.
pub const BODY_MAX: usize = 64 << 20;

/// One vector of `dims` numbers, as it stands in JSON.
pub fn vector(dims: u32, coding: Coding) -> Vec<u8> {
    let scale = f64::from(dims).sqrt().recip();
    let number = |k: u32| {
        let sign = if k % 3 == 1 { -1.0 } else { 1.0 };
        #[expect(clippy::cast_possible_truncation, reason = "embeddings are f32")]
        let number = (sign * scale) as f32;
        number
    };
    written((0..dims).map(number), coding)
}

/// The same for one `text`: like texts have vectors that are near each other. `None` where it says
/// nothing.
pub fn of_text(text: &str, dims: u32, coding: Coding) -> Option<Vec<u8>> {
    let said = builtin().embed(text, &mut Scratch::default())?;
    let mut numbers = vec![0.0_f32; dims as usize];
    // Nine places for each number, a fixed way apart and different for each.
    for (at, number) in (1_u64..).zip(said.dims) {
        for turn in 1..=9 {
            let hash = (at * 16 + turn).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
            let place = usize::try_from((hash >> 24) % u64::from(dims.max(1))).unwrap_or(0);
            if let Some(place) = numbers.get_mut(place) {
                *place += sign * f32::from(number);
            }
        }
    }
    let length = numbers.iter().map(|it| it * it).sum::<f32>().sqrt();
    let scale = 1.0 / length;
    let numbers = numbers.into_iter().map(|number| number * scale);
    scale.is_finite().then(|| written(numbers, coding))
}

/// Numbers, as they stand in JSON.
fn written(numbers: impl Iterator<Item = f32>, coding: Coding) -> Vec<u8> {
    if coding == Coding::Base64 {
        let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
        return format!("\"{}\"", BASE64.encode(&bytes)).into_bytes();
    }
    let mut out = Vec::new();
    for number in numbers {
        out.push(if out.is_empty() { b'[' } else { b',' });
        out.extend_from_slice(number.to_string().as_bytes());
    }
    if out.is_empty() {
        out.push(b'[');
    }
    out.push(b']');
    out
}

/// Bytes of an answer with these vectors.
pub fn size(vectors: &[Rc<[u8]>]) -> usize {
    const ITEM: &str = "{\"object\":\"embedding\",\"index\":,\"embedding\":},";
    let each = vectors.iter().map(|one| one.len() + ITEM.len() + 10);
    each.fold(256, usize::saturating_add)
}

/// The body that answers with these vectors; `None` when it would be larger than [`BODY_MAX`].
pub fn body(vectors: &[Rc<[u8]>], model: &[u8], tokens: u32) -> Option<Vec<u8>> {
    let size = Some(size(vectors)).filter(|size| *size <= BODY_MAX)?;
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for (index, vector) in vectors.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        out.extend_from_slice(
            format!("{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":")
                .as_bytes(),
        );
        out.extend_from_slice(vector);
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"model\":\"");
    out.extend_from_slice(model);
    out.extend_from_slice(
        format!("\",\"usage\":{{\"prompt_tokens\":{tokens},\"total_tokens\":{tokens}}}}}")
            .as_bytes(),
    );
    Some(out)
}

/// What answers a request for embeddings in `OpenAI`'s dialect.
///
/// # Errors
/// [`Refused`]: it asks for too much.
pub(super) fn answer(
    provider: &Provider,
    (ask, asked): (&Ask, &[u8]),
    how: &Behaviour,
    model: &[u8],
    tokens: u32,
) -> Result<Plain, Refused> {
    let shape = (ask.dims.unwrap_or(how.dims), ask.coding);
    let tokens = how.tokens.prompt.unwrap_or(tokens);
    // Texts are read only where they count; numbers of tokens are none.
    let read = how
        .by_text
        .then(|| speak::embed(Route::Embeddings, asked, "").ok());
    let texts = read.flatten().map_or_else(Vec::new, |read| read.inputs);
    let fits = ask.inputs <= INPUTS_MAX;
    fits.then(|| provider.vectors((ask.inputs as usize, &texts), shape))
        .flatten()
        .and_then(|vectors| body(&vectors, model, tokens))
        .map(Plain::of)
        .ok_or_else(|| {
            let refusal = Refusal::bad("invalid_value", "Too many inputs or dimensions.");
            (refusal, String::new())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: by the text, what is alike is near, and nothing else; in any length.
    #[test]
    fn like_texts_are_near() {
        let cosine = |a: &str, b: &str, dims| {
            let of = |text| {
                let json = of_text(text, dims, Coding::Float).unwrap();
                serde_json::from_slice::<Vec<f64>>(&json).unwrap()
            };
            of(a).iter().zip(of(b)).map(|(a, b)| a * b).sum::<f64>()
        };
        for dims in [64, 1024, 3072] {
            let asked = "How do I convert a string to an integer in Python?";
            let like = cosine(asked, "In Python, how can a string become an int?", dims);
            let other = cosine(asked, "What is a good recipe for apple pie?", dims);
            assert!((cosine(asked, asked, dims) - 1.0).abs() < 1e-5);
            assert!(like > other + 0.25, "{dims}: {like} {other}");
        }
        assert_eq!(of_text("", 8, Coding::Float), None);
    }

    /// Goal: bodies are JSON with a vector for each text; the vectors have length one.
    #[test]
    fn each_text_gets_a_unit_vector() {
        let body = body(&vec![vector(12, Coding::Float).into(); 3], b"m", 9).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let data = json["data"].as_array().unwrap();
        assert_eq!((data.len(), &data[2]["index"]), (3, &2.into()));
        let squares: f64 = data[0]["embedding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n.as_f64().unwrap().powi(2))
            .sum();
        assert!((squares - 1.0).abs() < 1e-6, "{squares}");
        assert_eq!(vector(3, Coding::Base64).len(), 2 + 16);
        assert_eq!(
            super::body(&vec![vec![0; 1 << 20].into(); 100], b"m", 9),
            None
        );
    }
}
