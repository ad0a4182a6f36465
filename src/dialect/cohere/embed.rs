//! Embeddings of Cohere, at its own address and at Bedrock.
//!
//! ```text
//!   {"model":"m","texts":["a"],"input_type":"search_query","embedding_types":["float"]}
//!   {"id":…,"embeddings":{"float":[[…]]},"meta":{"billed_units":{"input_tokens":2}}}
//! ```
//!
//! Invariants
//! - I1 Models want an `input_type`; where the client says none, it is a document, as in
//!   Cohere's own first versions.
//!
//! Source: Cohere API reference, `POST /v2/embed`; Amazon Bedrock user guide, "Cohere Embed".

use super::usage;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::embed::{
    Embed, Forms, Purpose, Vectors, cursor, put_all, put_base64, put_numbers, vectors,
};
use crate::dialect::model::{BadAsk, Dialect, Names, Notes, Unfit, Weight};
use crate::dialect::tree::Path;
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};
use crate::wire::json::write::put_string;
use serde_json::{Map, Value, json};

/// The most texts that one request may have.
pub const TEXTS_MAX: usize = 96;

/// Reads the body of a request.
///
/// # Errors
/// It breaks the dialect; the path says where.
pub fn read(body: &[u8]) -> Result<Embed, BadAsk> {
    let top = Path::TOP;
    let value: Value =
        serde_json::from_slice(body).map_err(|_| top.key("body").bad("must be a JSON object"))?;
    let object = top.object(&value)?;
    let model = object.get("model").unwrap_or(&Value::Null);
    let mut embed = Embed::new(Dialect::Cohere, top.key("model").string(model)?);
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        field(key, value, &mut embed)?;
    }
    if embed.inputs.is_empty() && embed.extras.is_empty() {
        return Err(top.key("texts").bad("must hold a text at least"));
    }
    Ok(embed)
}

fn field(key: &str, value: &Value, embed: &mut Embed) -> Result<(), BadAsk> {
    let top = Path::TOP;
    let at = top.key(key);
    match key {
        "model" => {}
        "texts" => {
            for (index, text) in at.array(value)?.iter().enumerate() {
                embed.inputs.push(at.index(index).string(text)?.to_owned());
            }
        }
        "inputs" => {
            for (index, input) in at.array(value)?.iter().enumerate() {
                let at = at.index(index);
                let at = at.key("content");
                let content = input.get("content").unwrap_or(&Value::Null);
                let mut text = String::new();
                for part in at.array(content)? {
                    match part.get("text").and_then(Value::as_str) {
                        Some(said) => text.push_str(said),
                        None => embed.extra(at.text(), part, Weight::Meaning),
                    }
                }
                embed.inputs.push(text);
            }
        }
        "input_type" => match at.string(value)? {
            "search_query" => embed.purpose = Some(Purpose::Query),
            "search_document" => embed.purpose = Some(Purpose::Document),
            "classification" => embed.purpose = Some(Purpose::Classification),
            "clustering" => embed.purpose = Some(Purpose::Clustering),
            _ => embed.extra(key.to_owned(), value, Weight::Meaning),
        },
        "embedding_types" => {
            let mut forms = Forms {
                numbers: false,
                base64: false,
            };
            for (index, form) in at.array(value)?.iter().enumerate() {
                match at.index(index).string(form)? {
                    "float" => forms.numbers = true,
                    "base64" => forms.base64 = true,
                    _ => embed.extra(key.to_owned(), value, Weight::Meaning),
                }
            }
            if forms.numbers || forms.base64 {
                embed.forms = forms;
            }
        }
        "output_dimension" => embed.dimensions = Some(at.whole(value)?),
        "images" => embed.extra(key.to_owned(), value, Weight::Meaning),
        _ => embed.extra(key.to_owned(), value, Weight::Tuning),
    }
    Ok(())
}

/// Writes the body of a request; at Bedrock the model stands in the path, and not here.
///
/// # Errors
/// The field that cannot be said.
pub fn write(embed: &Embed, notes: &mut Notes) -> Result<Vec<u8>, Unfit> {
    body(embed, true, notes)
}

/// The same, with or without the model.
pub(in crate::dialect) fn body(
    embed: &Embed,
    names_model: bool,
    notes: &mut Notes,
) -> Result<Vec<u8>, Unfit> {
    embed.leave_out(notes)?;
    if embed.inputs.len() > TEXTS_MAX {
        let why = "holds more than the 96 texts that this model takes at once";
        return Err(Unfit::new(embed.inputs_name(), why));
    }
    if embed.user.is_some() {
        notes.drop("user");
    }
    let mut body = Map::new();
    if names_model {
        body.insert("model".to_owned(), embed.model.as_str().into());
    }
    body.insert("texts".to_owned(), embed.inputs.as_slice().into());
    let kind = match embed.purpose {
        None | Some(Purpose::Document) => "search_document", // I1
        Some(Purpose::Query | Purpose::Question | Purpose::Fact | Purpose::CodeQuery) => {
            "search_query"
        }
        Some(Purpose::Classification) => "classification",
        Some(Purpose::Clustering | Purpose::Similarity) => "clustering",
    };
    body.insert("input_type".to_owned(), kind.into());
    body.insert("embedding_types".to_owned(), json!(["float"]));
    if let Some(dimensions) = embed.dimensions {
        body.insert("output_dimension".to_owned(), dimensions.into());
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

/// Reads an answer.
///
/// # Errors
/// [`Kind::UpstreamError`]: it is an error. [`Kind::UpstreamGarbled`]: it is no answer.
pub fn read_answer(body: &[u8]) -> Result<Vectors<'_>, Kind> {
    let (mut found, mut is_whole, mut has_error) = (Vectors::default(), false, false);
    let mut read = || -> Result<(), JsonError> {
        let mut cursor = cursor(body);
        let mut room = [0; NAME_MAX];
        cursor.object(|cursor, key| {
            match key.name(&mut room) {
                b"embeddings" => is_whole = by_type(body, cursor, &mut found)?,
                b"meta" => found.tokens = usage::read(body, cursor)?.map(|usage| usage.input),
                b"message" => has_error |= cursor.skip()?.kind != ValueKind::Null,
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })?;
        cursor.end()
    };
    read().map_err(|_| Kind::UpstreamGarbled)?;
    if is_whole {
        Ok(found)
    } else if has_error {
        Err(Kind::UpstreamError)
    } else {
        Err(Kind::UpstreamGarbled)
    }
}

/// Reads the value of `embeddings`: by type, or the list alone (Bedrock, without types).
fn by_type<'a>(
    json: &'a [u8],
    cursor: &mut Cursor<'a>,
    found: &mut Vectors<'a>,
) -> Result<bool, JsonError> {
    if cursor.peek()? != ValueKind::Object {
        return vectors(json, cursor, &mut found.values);
    }
    let mut is_whole = false;
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"float" => {
                is_whole = vectors(json, cursor, &mut found.values)?;
            }
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(is_whole)
}

/// Writes the answer to `embed`.
pub fn write_answer(vectors: &Vectors<'_>, embed: &Embed, names: &Names<'_>, tx: &mut TxBuf) {
    tx.put(b"{\"id\":");
    put_string(tx, names.id);
    tx.put(b",\"embeddings\":{");
    if embed.forms.numbers {
        tx.put(b"\"float\":");
        put_all(tx, &vectors.values, put_numbers);
    }
    if embed.forms.base64 {
        let comma: &[u8] = if embed.forms.numbers { b"," } else { b"" };
        tx.put(comma);
        tx.put(b"\"base64\":");
        put_all(tx, &vectors.values, put_base64);
    }
    tx.put(b"},\"texts\":[");
    for (at, text) in embed.inputs.iter().enumerate() {
        let comma: &[u8] = if at > 0 { b"," } else { b"" };
        tx.put(comma);
        put_string(tx, text);
    }
    tx.put(b"],\"meta\":{\"api_version\":{\"version\":\"2\"}");
    if let Some(tokens) = vectors.tokens {
        tx.put(b",\"billed_units\":{\"input_tokens\":");
        tx.put_decimal(tokens);
        tx.put(b"}");
    }
    tx.put(b"},\"response_type\":\"embeddings_by_type\"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: requests round-trip; what only Cohere can is told, by its name.
    #[test]
    fn requests_round_trip() {
        let body = br#"{"model":"m","texts":["a","b"],"input_type":"search_query",
            "embedding_types":["float"],"output_dimension":4}"#;
        let embed = read(body).unwrap();
        assert_eq!(embed.inputs, ["a", "b"]);
        let mut notes = Notes::default();
        let written = write(&embed, &mut notes).unwrap();
        let [want, got] =
            [&body[..], &written].map(|b| serde_json::from_slice::<Value>(b).unwrap());
        assert_eq!(got, want);
        let parts = read(br#"{"model":"m","inputs":[{"content":[{"type":"text","text":"a"}]}]}"#);
        assert_eq!(parts.unwrap().inputs, ["a"]);
        for (field, body) in [
            ("images", r#""images":["data:"]"#),
            (
                "embedding_types",
                r#""texts":["a"],"embedding_types":["int8"]"#,
            ),
            ("input_type", r#""texts":["a"],"input_type":"image""#),
            (
                "inputs[0].content",
                r#""inputs":[{"content":[{"type":"image_url"}]}]"#,
            ),
        ] {
            let embed = read(format!(r#"{{"model":"m",{body}}}"#).as_bytes()).unwrap();
            assert_eq!(embed.leave_out(&mut notes).unwrap_err().field, field);
        }
        let fault = read(br#"{"model":"m"}"#).unwrap_err();
        assert_eq!(fault.field, "texts");
        let many = Embed {
            inputs: vec![String::new(); 97],
            ..embed
        };
        assert_eq!(write(&many, &mut notes).unwrap_err().field, "texts");
    }

    /// Goal: answers of both forms are read; what is none is told.
    #[test]
    fn answers_are_read() {
        for body in [
            r#"{"embeddings":{"int8":[[9]],"float":[[1.0,2],[3]]},
                "meta":{"billed_units":{"input_tokens":7}}}"#,
            r#"{"embeddings":[[1.0,2],[3]],"meta":{"billed_units":{"input_tokens":7}}}"#,
        ] {
            let vectors = read_answer(body.as_bytes()).unwrap();
            assert_eq!(vectors.values, [&b"[1.0,2]"[..], b"[3]"]);
            assert_eq!(vectors.tokens, Some(7));
        }
        for (body, want) in [
            ("{}", Kind::UpstreamGarbled),
            (r#"{"embeddings":{"int8":[[1]]}}"#, Kind::UpstreamGarbled),
            (r#"{"message":"no such model"}"#, Kind::UpstreamError),
        ] {
            assert_eq!(read_answer(body.as_bytes()), Err(want), "{body}");
        }
    }
}
