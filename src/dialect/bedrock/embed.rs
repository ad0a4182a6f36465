//! Embeddings at Bedrock: `invoke` with a body of Amazon's Titan, or of Cohere's models.
//!
//! ```text
//!   Titan    {"inputText":"a","dimensions":512,"normalize":true,"embeddingTypes":["float"]}
//!            {"embedding":[…],"embeddingsByType":{"float":[…]},"inputTextTokenCount":3}
//!   Cohere   {"texts":["a"],"input_type":…}       to a model of that name; never read
//! ```
//!
//! Invariants
//! - I1 Titan takes one text at a time: more are another target's.
//!
//! Source: Amazon Bedrock user guide, "Amazon Titan Embeddings G1 - Text", "Amazon Titan Text
//! Embeddings V2", "Amazon Titan Multimodal Embeddings G1", "Cohere Embed".

use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::cohere;
use crate::dialect::model::embed::{Embed, Vectors, cursor, put_numbers, vector};
use crate::dialect::model::{BadAsk, Dialect, Notes, Unfit, Weight};
use crate::dialect::openai::TOKENS_MAX;
use crate::dialect::openai::usage::whole_number;
use crate::dialect::tree::Path;
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{NAME_MAX, ValueKind};
use serde_json::{Map, Value, json};

/// Reads a body of Titan's for `model`.
///
/// # Errors
/// It is none; the path says why.
pub fn read(body: &[u8], model: &str) -> Result<Embed, BadAsk> {
    let top = Path::TOP;
    let value: Value =
        serde_json::from_slice(body).map_err(|_| top.key("body").bad("must be a JSON object"))?;
    let mut embed = Embed::new(Dialect::Bedrock, model);
    for (key, value) in top.object(&value)?.iter().filter(|(_, v)| !v.is_null()) {
        let at = top.key(key);
        match key.as_str() {
            "inputText" => embed.inputs.push(at.string(value)?.to_owned()),
            "dimensions" => embed.dimensions = Some(at.whole(value)?),
            "normalize" => embed.normalize = Some(at.flag(value)?),
            "embeddingTypes" => {
                for (index, form) in at.array(value)?.iter().enumerate() {
                    if at.index(index).string(form)? != "float" {
                        embed.extra(key.clone(), value, Weight::Meaning);
                    }
                }
            }
            "embeddingConfig" => {
                if let Some(length) = at.object(value)?.get("outputEmbeddingLength") {
                    embed.dimensions = Some(at.key("outputEmbeddingLength").whole(length)?);
                }
            }
            "inputImage" => embed.extra(key.clone(), value, Weight::Meaning),
            _ => embed.extra(key.clone(), value, Weight::Tuning),
        }
    }
    if embed.inputs.is_empty() {
        let wanted = "must be a string: of what is invoked, only Titan's embeddings are \
                      understood for a provider other than Bedrock";
        return Err(top.key("inputText").bad(wanted));
    }
    Ok(embed)
}

/// Writes the body for the model of `embed`.
///
/// # Errors
/// The field that cannot be said.
pub fn write(embed: &Embed, notes: &mut Notes) -> Result<Vec<u8>, Unfit> {
    if embed.model.contains("cohere.embed") {
        return cohere::embed::body(embed, false, notes);
    }
    embed.leave_out(notes)?;
    let [input] = embed.inputs.as_slice() else {
        let why = "must be one text for this model"; // I1
        return Err(Unfit::new(embed.inputs_name(), why));
    };
    if embed.user.is_some() {
        notes.drop("user");
    }
    if embed.purpose.is_some() {
        notes.drop(embed.purpose_name());
    }
    let mut body = Map::new();
    body.insert("inputText".to_owned(), input.as_str().into());
    match embed.dimensions {
        None => {}
        Some(length) if embed.model.contains("titan-embed-image") => {
            let config = json!({"outputEmbeddingLength": length});
            body.insert("embeddingConfig".to_owned(), config);
        }
        Some(_) if is_first(&embed.model) => {
            let why = "cannot be asked of this model";
            return Err(Unfit::new(embed.dimensions_name(), why));
        }
        Some(length) => {
            body.insert("dimensions".to_owned(), length.into());
        }
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

/// Titan's first version, which takes nothing but a text.
fn is_first(model: &str) -> bool {
    model.contains("titan-embed-text-v1") || model.contains("titan-embed-g1")
}

/// Reads an answer of Titan's, or of Cohere's models.
///
/// # Errors
/// [`Kind::UpstreamError`]: it is an error. [`Kind::UpstreamGarbled`]: it is no answer.
pub fn read_answer(body: &[u8]) -> Result<Vectors<'_>, Kind> {
    let mut found = Vectors::default();
    let (mut is_cohere, mut has_error) = (false, false);
    let mut read = || -> Result<(), JsonError> {
        let mut cursor = cursor(body);
        let mut room = [0; NAME_MAX];
        cursor.object(|cursor, key| {
            match key.name(&mut room) {
                b"embedding" => found.values.extend(vector(body, cursor)?),
                b"inputTextTokenCount" => {
                    let digits = cursor.skip()?.span.bytes(body);
                    found.tokens = whole_number(digits).filter(|&n| n <= TOKENS_MAX);
                }
                b"embeddings" => is_cohere = cursor.skip()?.kind != ValueKind::Null,
                b"message" => has_error = cursor.skip()?.kind != ValueKind::Null,
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })?;
        cursor.end()
    };
    read().map_err(|_| Kind::UpstreamGarbled)?;
    match found.values.len() {
        1 => Ok(found),
        _ if is_cohere => cohere::embed::read_answer(body),
        _ if has_error => Err(Kind::UpstreamError),
        _ => Err(Kind::UpstreamGarbled),
    }
}

/// Writes an answer as Titan's second version does, whose fields include those of the first.
pub fn write_answer(vectors: &Vectors<'_>, tx: &mut TxBuf) {
    let vector: &[u8] = vectors
        .values
        .first()
        .map_or(&b"[]"[..], |first| first.as_ref());
    tx.put(b"{\"embedding\":");
    put_numbers(tx, vector);
    tx.put(b",\"embeddingsByType\":{\"float\":");
    put_numbers(tx, vector);
    tx.put(b"},\"inputTextTokenCount\":");
    tx.put_decimal(vectors.tokens.unwrap_or(0));
    tx.put(b"}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    fn written(embed: &Embed) -> Result<Value, String> {
        let body = write(embed, &mut Notes::default()).map_err(|unfit| unfit.field.into_owned())?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    /// Goal: each model's own body; what it cannot take is told.
    #[test]
    fn each_model_has_its_own_body() {
        let of = |model: &str, inputs: &[&str]| Embed {
            inputs: inputs.iter().map(|&text| text.to_owned()).collect(),
            dimensions: Some(256),
            model: model.to_owned(),
            ..Embed::default()
        };
        let second = written(&of("amazon.titan-embed-text-v2:0", &["a"])).unwrap();
        assert_eq!(second, json!({"inputText": "a", "dimensions": 256}));
        let image = written(&of("amazon.titan-embed-image-v1", &["a"])).unwrap();
        assert_eq!(image["embeddingConfig"]["outputEmbeddingLength"], 256);
        let first = of("amazon.titan-embed-text-v1", &["a"]);
        assert_eq!(written(&first), Err("dimensions".to_owned()));
        let two = of("amazon.titan-embed-text-v2:0", &["a", "b"]);
        assert_eq!(written(&two), Err("input".to_owned()), "I1");
        let cohere = written(&of("eu.cohere.embed-v4:0", &["a", "b"])).unwrap();
        assert_eq!(cohere["texts"], json!(["a", "b"]));
        assert!(cohere.get("model").is_none(), "it stands in the path");
    }

    /// Goal: Titan's bodies are read, of all versions; what is none is told.
    #[test]
    fn bodies_of_titan_are_read() {
        let embed = read(
            br#"{"inputText":"a","dimensions":512,"normalize":false,"embeddingTypes":["float"]}"#,
            "m",
        );
        let embed = embed.unwrap();
        assert_eq!(
            (embed.inputs.as_slice(), embed.dimensions),
            (&["a".to_owned()][..], Some(512))
        );
        let mut notes = Notes::default();
        embed.leave_out(&mut notes).unwrap();
        assert_eq!(notes.dropped(), ["normalize"]);
        for (body, field) in [
            (
                r#"{"inputText":"a","embeddingTypes":["binary"]}"#,
                "embeddingTypes",
            ),
            (r#"{"inputText":"a","inputImage":"AAAA"}"#, "inputImage"),
        ] {
            let embed = read(body.as_bytes(), "m").unwrap();
            assert_eq!(embed.leave_out(&mut notes).unwrap_err().field, field);
        }
        let fault = read(br#"{"messages":[]}"#, "m").unwrap_err();
        assert_eq!(fault.field, "inputText");
    }

    /// Goal: answers round-trip; those of Cohere's models are read; what is none is told.
    #[test]
    fn answers_round_trip() {
        let vectors = Vectors {
            values: vec![b"[0.10,-2]".as_slice().into()],
            tokens: Some(7),
        };
        let mut tx = TxBuf::new(&BufPool::new());
        write_answer(&vectors, &mut tx);
        assert_eq!(read_answer(tx.unsent()).unwrap(), vectors);
        let cohere = br#"{"embeddings":{"float":[[1],[2]]},"id":"i"}"#;
        assert_eq!(read_answer(cohere).unwrap().values.len(), 2);
        for (body, want) in [
            ("{}", Kind::UpstreamGarbled),
            (r#"{"embedding":"?"}"#, Kind::UpstreamGarbled),
            (r#"{"message":"no access"}"#, Kind::UpstreamError),
        ] {
            assert_eq!(read_answer(body.as_bytes()), Err(want), "{body}");
        }
    }
}
