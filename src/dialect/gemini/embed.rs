//! Embeddings: `embedContent` and `batchEmbedContents`.
//!
//! ```text
//!   embedContent         {"content":{"parts":[{"text":"a"}]},"outputDimensionality":768}
//!                        {"embedding":{"values":[…]}}
//!   batchEmbedContents   {"requests":[{"model":"models/m","content":…}, …]}
//!                        {"embeddings":[{"values":[…]}, …]}
//! ```
//!
//! Source: Gemini API reference, `models.embedContent`, `models.batchEmbedContents`; Vertex AI,
//! the same for `embedContent`.

use super::keys::{camel, items};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{BadAsk, Notes};
use crate::dialect::tree::Path;
use serde_json::{Map, Value, json};

/// What is to be embedded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Embed {
    /// The texts, in order; each gets a vector.
    pub inputs: Vec<String>,
    /// How long the vectors are to be; `None` leaves that to the model.
    pub dimensions: Option<u64>,
    /// The name of the model, without `models/`.
    pub model: String,
}

/// The vectors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vectors {
    /// One for each input, in order.
    pub values: Vec<Vec<f64>>,
    /// Tokens of all inputs; `None` when the provider does not say.
    pub tokens: Option<u64>,
}

/// Reads the body of `embedContent` for `model`. The task and the title tune the vector; they
/// are noted, since no other dialect has both.
///
/// # Errors
/// The body breaks the dialect; the fault names the field.
pub fn read(body: &[u8], model: &str, notes: &mut Notes) -> Result<Embed, BadAsk> {
    let body = parse(body)?;
    let mut embed = Embed {
        model: model.to_owned(),
        ..Embed::default()
    };
    read_one(&body, Path::TOP, &mut embed, notes)?;
    Ok(embed)
}

/// Reads the body of `batchEmbedContents` for `model`.
///
/// # Errors
/// The body breaks the dialect, or its requests differ in their dimensions.
pub fn read_batch(body: &[u8], model: &str, notes: &mut Notes) -> Result<Embed, BadAsk> {
    let body = parse(body)?;
    let top = Path::TOP;
    let at = top.key("requests");
    let requests = at.array(body.get("requests").unwrap_or(&Value::Null))?;
    if requests.is_empty() {
        return Err(at.bad("must be an array of at least one request"));
    }
    let mut embed = Embed {
        model: model.to_owned(),
        ..Embed::default()
    };
    let mut dimensions = None;
    for (index, request) in requests.iter().enumerate() {
        let at = at.index(index);
        embed.dimensions = None;
        read_one(request, at, &mut embed, notes)?;
        if *dimensions.get_or_insert(embed.dimensions) != embed.dimensions {
            let at = at.key("outputDimensionality");
            return Err(at.bad("must be the same in all requests of a batch"));
        }
    }
    Ok(embed)
}

fn parse(body: &[u8]) -> Result<Value, BadAsk> {
    serde_json::from_slice(body).map_err(|_| BadAsk {
        field: "body".into(),
        wanted: "must be a JSON object in UTF-8",
    })
}

fn read_one(
    value: &Value,
    at: Path<'_>,
    embed: &mut Embed,
    notes: &mut Notes,
) -> Result<(), BadAsk> {
    let mut input = None;
    for (key, value) in at
        .object(value)?
        .iter()
        .filter(|(_, value)| !value.is_null())
    {
        let at = at.key(key);
        match camel(key).as_ref() {
            "content" => {
                let parts_at = at.key("parts");
                let parts = at.object(value)?.get("parts").unwrap_or(&Value::Null);
                let mut text = String::new();
                for (index, part) in items(parts).iter().enumerate() {
                    let at = parts_at.index(index);
                    let said = part.get("text").unwrap_or(&Value::Null);
                    text.push_str(at.key("text").string(said)?);
                }
                input = Some(text);
            }
            "outputDimensionality" => embed.dimensions = Some(at.whole(value)?),
            "model" => {} // It stands in the path.
            field => notes.drop(field.to_owned()),
        }
    }
    let input = input.ok_or_else(|| at.key("content").bad("must be an object"))?;
    embed.inputs.push(input);
    Ok(())
}

/// Writes the body of `embedContent` for one input; the model goes to the path. `None` when
/// there is not exactly one: that takes [`write_batch`].
pub fn write(embed: &Embed) -> Option<Vec<u8>> {
    let [input] = embed.inputs.as_slice() else {
        return None;
    };
    Some(Value::Object(one(input, embed)).to_string().into_bytes())
}

/// Writes the body of `batchEmbedContents`; the model goes to the path, too.
pub fn write_batch(embed: &Embed) -> Vec<u8> {
    let model = format!("models/{}", embed.model);
    let requests: Vec<Value> = embed
        .inputs
        .iter()
        .map(|input| {
            let mut request = Map::new();
            request.insert("model".into(), model.as_str().into());
            request.append(&mut one(input, embed));
            Value::Object(request)
        })
        .collect();
    json!({"requests": requests}).to_string().into_bytes()
}

fn one(input: &str, embed: &Embed) -> Map<String, Value> {
    let mut request = Map::new();
    request.insert("content".into(), json!({"parts": [{"text": input}]}));
    if let Some(dimensions) = embed.dimensions {
        request.insert("outputDimensionality".into(), dimensions.into());
    }
    request
}

/// Reads the answer of either call.
///
/// # Errors
/// [`Kind::UpstreamError`] when it is an error; [`Kind::UpstreamGarbled`] when it is no answer.
pub fn read_answer(body: &[u8]) -> Result<Vectors, Kind> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Kind::UpstreamGarbled)?;
    if body.get("error").is_some_and(|error| !error.is_null()) {
        return Err(Kind::UpstreamError);
    }
    let embeddings = match (body.get("embeddings"), body.get("embedding")) {
        (Some(Value::Array(all)), _) => all.as_slice(),
        (None, Some(one)) => std::slice::from_ref(one),
        _ => return Err(Kind::UpstreamGarbled),
    };
    let values = embeddings.iter().map(vector).collect::<Option<Vec<_>>>();
    let usage = body.get("usageMetadata");
    Ok(Vectors {
        values: values.ok_or(Kind::UpstreamGarbled)?,
        tokens: usage.and_then(|usage| usage.get("promptTokenCount")?.as_u64()),
    })
}

fn vector(embedding: &Value) -> Option<Vec<f64>> {
    let values = embedding.get("values")?.as_array()?;
    values.iter().map(Value::as_f64).collect()
}

/// Writes the answer of `embedContent` (`is_batch` false: the first vector) or of
/// `batchEmbedContents`.
pub fn write_answer(vectors: &Vectors, is_batch: bool, tx: &mut TxBuf) {
    let of = |values: &Vec<f64>| json!({"values": values});
    let mut body = Map::new();
    if is_batch {
        let all: Vec<Value> = vectors.values.iter().map(of).collect();
        body.insert("embeddings".into(), all.into());
    } else {
        let first = vectors.values.first().map(of);
        body.insert(
            "embedding".into(),
            first.unwrap_or_else(|| json!({"values": []})),
        );
    }
    if let Some(tokens) = vectors.tokens {
        let usage = json!({"promptTokenCount": tokens, "totalTokenCount": tokens});
        body.insert("usageMetadata".into(), usage);
    }
    tx.put(Value::Object(body).to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    /// Goal: requests round-trip, one and many; what is lost is noted.
    #[test]
    fn requests_round_trip() {
        let mut notes = Notes::default();
        let body = br#"{"content":{"parts":[{"text":"a"},{"text":"b"}]},"task_type":"X",
            "output_dimensionality":3}"#;
        let one = read(body, "m", &mut notes).unwrap();
        assert_eq!(one.inputs, ["ab"]);
        assert_eq!((one.dimensions, one.model.as_str()), (Some(3), "m"));
        assert_eq!(notes.dropped(), ["taskType"]);
        assert_eq!(read(&write(&one).unwrap(), "m", &mut notes).unwrap(), one);
        let many = Embed {
            inputs: vec!["a".into(), "b".into()],
            ..one
        };
        assert_eq!(write(&many), None);
        let batch = write_batch(&many);
        assert_eq!(read_batch(&batch, "m", &mut notes).unwrap(), many);
        let value: Value = serde_json::from_slice(&batch).unwrap();
        assert_eq!(value["requests"][1]["model"], "models/m");
    }

    /// Goal: a broken request names the field.
    #[test]
    fn a_broken_request_names_the_field() {
        for (body, want) in [
            ("[", "body"),
            (r#"{"requests":[]}"#, "requests"),
            (r#"{"requests":[{}]}"#, "requests[0].content"),
            (
                r#"{"requests":[{"content":{"parts":[{}]}}]}"#,
                "requests[0].content.parts[0].text",
            ),
            (
                r#"{"requests":[{"content":{"parts":[{"text":""}]}},
                    {"content":{"parts":[{"text":""}]},"outputDimensionality":1}]}"#,
                "requests[1].outputDimensionality",
            ),
        ] {
            let fault = read_batch(body.as_bytes(), "m", &mut Notes::default()).unwrap_err();
            assert_eq!(fault.field, want, "{body}");
        }
    }

    /// Goal: answers round-trip; what is no answer is told.
    #[test]
    fn answers_round_trip() {
        let vectors = Vectors {
            values: vec![vec![0.1, -2.0, 4.623_822e-5]],
            tokens: Some(7),
        };
        for is_batch in [false, true] {
            let mut tx = TxBuf::new(&BufPool::new());
            write_answer(&vectors, is_batch, &mut tx);
            assert_eq!(read_answer(tx.unsent()).unwrap(), vectors);
        }
        for (body, want) in [
            ("{}", Kind::UpstreamGarbled),
            (r#"{"embedding":{"values":["a"]}}"#, Kind::UpstreamGarbled),
            (r#"{"error":{"code":404}}"#, Kind::UpstreamError),
        ] {
            assert_eq!(read_answer(body.as_bytes()), Err(want), "{body}");
        }
    }
}
