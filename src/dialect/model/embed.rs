//! What is to be embedded, and the vectors that come of it, out of any dialect.
//!
//! ```text
//!   request ──reader──► Embed ──writer(Notes)──► request
//!   answer  ◄─writer──  Vectors ◄──────reader──  answer
//! ```
//!
//! Invariants
//! - I1 Numbers pass as the text that the provider wrote: no digit is lost or made up. Only who
//!   asks for base64, which is of `f32`s, gets them rounded to that.
//! - I2 A vector is an array of nothing but numbers. Base64 of a provider is none: recordings
//!   hold `f64` and `int8` in it, so that providers are always asked for numbers.
//!
//! Source: `OpenAI` API reference, "Embeddings" (base64 holds little-endian `f32`s).

use super::{Dialect, Extra, Notes, Unfit, Weight};
use crate::base::bytes::TxBuf;
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, ValueKind};
use crate::wire::json::scan::BOM;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use std::borrow::Cow;

/// What is to be embedded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Embed {
    /// The name of the model, by the target's own name for it once the router has put it here.
    pub model: String,
    /// The texts, in order; each gets a vector.
    pub inputs: Vec<String>,
    /// How long the vectors are to be; `None` leaves that to the model.
    pub dimensions: Option<u64>,
    /// How the vectors are to be written.
    pub forms: Forms,
    /// What the vectors are for.
    pub purpose: Option<Purpose>,
    /// Whether the vectors are to have length one; `None` leaves that to the model.
    pub normalize: Option<bool>,
    /// An opaque name of the end user.
    pub user: Option<String>,
    /// Fields that only the dialect of origin knows.
    pub extras: Vec<Extra>,
    /// The dialect that it came in.
    pub origin: Option<Dialect>,
}

/// How vectors are written: as numbers, as base64 of them, or both (Cohere).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forms {
    /// As numbers.
    pub numbers: bool,
    /// As base64.
    pub base64: bool,
}

impl Default for Forms {
    fn default() -> Self {
        Self {
            numbers: true,
            base64: false,
        }
    }
}

/// What vectors are for: models make other ones for questions than for what answers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be searched with.
    Query,
    /// To be found.
    Document,
    /// To be compared with each other.
    Similarity,
    /// To be sorted by known labels.
    Classification,
    /// To be sorted into groups.
    Clustering,
    /// A question whose answer is to be found.
    Question,
    /// A statement whose proof is to be found.
    Fact,
    /// Words for which code is to be found.
    CodeQuery,
}

impl Embed {
    /// A request that came in `dialect`, for `model`.
    pub fn new(dialect: Dialect, model: &str) -> Self {
        Self {
            model: model.to_owned(),
            origin: Some(dialect),
            ..Self::default()
        }
    }

    /// Notes `field`, for which there is no place here; `value` is what it says.
    pub fn extra(&mut self, field: String, value: &serde_json::Value, weight: Weight) {
        self.extras.push(Extra {
            field,
            value: value.clone(),
            weight,
        });
    }

    /// Settles what no other dialect can be told, for a writer of one.
    ///
    /// # Errors
    /// Without it the vectors would be other ones.
    pub fn leave_out(&self, notes: &mut Notes) -> Result<(), Unfit> {
        for extra in &self.extras {
            let field = extra.field.clone();
            match extra.weight {
                Weight::Meaning => {
                    return Err(Unfit::new(field, "cannot be told to this model's provider"));
                }
                Weight::Tuning => notes.drop(field),
            }
        }
        if self.normalize == Some(false) {
            notes.drop("normalize");
        }
        Ok(())
    }

    /// What the inputs are called in the dialect of origin.
    pub const fn inputs_name(&self) -> &'static str {
        match self.origin {
            Some(Dialect::Gemini) => "requests",
            Some(Dialect::Cohere) => "texts",
            Some(Dialect::Bedrock) => "inputText",
            _ => "input",
        }
    }

    /// What the length of the vectors is called in the dialect of origin.
    pub const fn dimensions_name(&self) -> &'static str {
        match self.origin {
            Some(Dialect::Gemini) => "outputDimensionality",
            Some(Dialect::Cohere) => "output_dimension",
            _ => "dimensions",
        }
    }

    /// What the purpose is called in the dialect of origin.
    pub const fn purpose_name(&self) -> &'static str {
        match self.origin {
            Some(Dialect::Gemini) => "taskType",
            _ => "input_type",
        }
    }
}

/// One vector: the text of a JSON array of numbers (I2).
pub type Vector<'a> = Cow<'a, [u8]>;

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vectors<'a> {
    /// One for each input, in order.
    pub values: Vec<Vector<'a>>,
    /// Tokens of all inputs; `None` when the provider does not say.
    pub tokens: Option<u64>,
}

impl Vectors<'_> {
    /// Whether each vector has as many numbers as `embed` asks for. There are providers that
    /// do not know of lengths and give their own.
    pub fn fit(&self, embed: &Embed) -> bool {
        embed.dimensions.is_none_or(|wanted| {
            let mut lengths = self.values.iter().map(|vector| length(vector));
            lengths.all(|length| length == wanted)
        })
    }
}

/// How many numbers are in `vector`.
fn length(vector: &[u8]) -> u64 {
    let commas = memchr::memchr_iter(b',', vector).count() as u64;
    match commas {
        0 => u64::from(vector.iter().any(u8::is_ascii_digit)),
        commas => commas + 1,
    }
}

/// A cursor at the beginning of `json`, behind its byte order mark.
pub(in crate::dialect) fn cursor(json: &[u8]) -> Cursor<'_> {
    let start = if json.starts_with(BOM) { BOM.len() } else { 0 };
    Cursor::new(json, start)
}

/// Reads the vector under the cursor; `None` when it is none (I2).
pub(in crate::dialect) fn vector<'a>(
    json: &'a [u8],
    cursor: &mut Cursor<'a>,
) -> Result<Option<Vector<'a>>, JsonError> {
    let value = cursor.skip()?;
    let text = value.span.of(json).unwrap_or_default();
    Ok(match value.kind {
        ValueKind::Array => {
            let inside = text.get(1..text.len().saturating_sub(1));
            inside
                .is_some_and(|inside| inside.iter().all(|&b| is_of_numbers(b)))
                .then_some(Cow::Borrowed(text))
        }
        _ => None,
    })
}

/// Reads the list of vectors under the cursor; false when it is none.
pub(in crate::dialect) fn vectors<'a>(
    json: &'a [u8],
    cursor: &mut Cursor<'a>,
    found: &mut Vec<Vector<'a>>,
) -> Result<bool, JsonError> {
    if cursor.peek()? != ValueKind::Array {
        cursor.skip()?;
        return Ok(false);
    }
    let mut is_whole = true;
    cursor.array(|cursor| {
        match vector(json, cursor)? {
            Some(vector) => found.push(vector),
            None => is_whole = false,
        }
        Ok(())
    })?;
    Ok(is_whole)
}

/// Whether a byte may stand in an array of numbers: of no other value, once the grammar was
/// checked.
const fn is_of_numbers(byte: u8) -> bool {
    matches!(
        byte,
        b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E' | b',' | b' ' | b'\n' | b'\r' | b'\t'
    )
}

/// Writes `vector` as numbers (I1), without the space between them.
pub(in crate::dialect) fn put_numbers(tx: &mut TxBuf, vector: &[u8]) {
    for piece in vector.split(u8::is_ascii_whitespace) {
        tx.put(piece);
    }
}

/// Writes `vector` as a string of base64.
pub(in crate::dialect) fn put_base64(tx: &mut TxBuf, vector: &[u8]) {
    let text = std::str::from_utf8(vector).unwrap_or_default();
    let mut bytes = Vec::with_capacity(vector.len() / 3);
    let inside = text.trim_matches(['[', ']']);
    for number in inside.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        // Every JSON number is one of `f32`, rounded as IEEE 754 says.
        let number: f32 = number.parse().unwrap_or_default();
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    tx.put(b"\"");
    tx.put(BASE64.encode(&bytes).as_bytes());
    tx.put(b"\"");
}

/// Writes `vectors` as an array, each by `put`.
pub(in crate::dialect) fn put_all(
    tx: &mut TxBuf,
    vectors: &[Vector<'_>],
    mut put: impl FnMut(&mut TxBuf, &[u8]),
) {
    tx.put(b"[");
    for (at, vector) in vectors.iter().enumerate() {
        if at > 0 {
            tx.put(b",");
        }
        put(tx, vector);
    }
    tx.put(b"]");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    fn read(json: &str) -> Option<String> {
        let found = vector(json.as_bytes(), &mut cursor(json.as_bytes())).unwrap();
        found.map(|text| String::from_utf8(text.into_owned()).unwrap())
    }

    /// Goal: I1, I2.
    #[test]
    fn vectors_are_numbers_and_keep_their_digits() {
        let exact = "[0.1, -2.00,4.623822e-05,\n1E+2,123456789.123456789012345]";
        assert_eq!(read(exact).unwrap(), exact);
        let mut tx = TxBuf::new(&BufPool::new());
        put_numbers(&mut tx, exact.as_bytes());
        let dense = exact.replace([' ', '\n'], "");
        assert_eq!(tx.unsent(), dense.as_bytes());
        for none in [
            "[true]",
            "[null]",
            "[[1]]",
            "[\"1\"]",
            "{}",
            "1",
            "null",
            "\"AACAPw==\"",
        ] {
            assert_eq!(read(none), None, "{none}");
        }
        assert_eq!(read("[]").unwrap(), "[]");
    }

    /// Goal: vectors of another length than was asked for are told apart.
    #[test]
    fn lengths_are_those_that_were_asked_for() {
        let embed = |dimensions| Embed {
            dimensions,
            ..Embed::default()
        };
        for (vector, length) in [("[]", 0), ("[ ]", 0), ("[7]", 1), ("[1,-2e1, 3]", 3)] {
            let vectors = Vectors {
                values: vec![b"[1,2,3]".as_slice().into(), vector.as_bytes().into()],
                tokens: None,
            };
            assert_eq!(vectors.fit(&embed(Some(3))), length == 3, "{vector}");
            assert!(vectors.fit(&embed(None)));
            assert_eq!(super::length(vector.as_bytes()), length, "{vector}");
        }
    }

    /// Goal: base64 is of little-endian `f32`s, the nearest to each number.
    #[test]
    fn base64_is_of_little_endian_floats() {
        for (numbers, want) in [
            ("[1, -2.0,0.1,1e-45]", "\"AACAPwAAAMDNzMw9AQAAAA==\""),
            ("[]", "\"\""),
            ("[0]", "\"AAAAAA==\""),
        ] {
            let mut tx = TxBuf::new(&BufPool::new());
            put_base64(&mut tx, numbers.as_bytes());
            assert_eq!(tx.unsent(), want.as_bytes());
        }
    }
}
