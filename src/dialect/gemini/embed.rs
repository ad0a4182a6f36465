//! Embeddings: `embedContent` and `batchEmbedContents`.
//!
//! ```text
//!   embedContent         {"content":{"parts":[{"text":"a"}]},"outputDimensionality":768}
//!                        {"embedding":{"values":[…]}}
//!   batchEmbedContents   {"requests":[{"model":"models/m","content":…}, …]}
//!                        {"embeddings":[{"values":[…]}, …]}
//! ```
//!
//! Invariants
//! - I1 A provider is asked with `batchEmbedContents`, however many inputs there are.
//! - I2 The model stands in the path, and in a batch in each request again: [`rename`] makes
//!   them one where the rest of the body passes.
//!
//! Source: Gemini API reference, `models.embedContent`, `models.batchEmbedContents`; Vertex AI,
//! the same for `embedContent`.

use super::keys::{camel, items};
use super::usage;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::base::span::Span;
use crate::dialect::model::embed::{
    Embed, Purpose, Vector, Vectors, cursor, put_all, put_numbers, vector,
};
use crate::dialect::model::{BadAsk, Dialect, Notes, Unfit, Weight};
use crate::dialect::tree::Path;
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};
use serde_json::{Map, Value, json};

/// Reads the body of `embedContent` for `model`.
///
/// # Errors
/// The body breaks the dialect; the fault names the field.
pub fn read(body: &[u8], model: &str) -> Result<Embed, BadAsk> {
    let body = parse(body)?;
    let mut embed = Embed::new(Dialect::Gemini, model);
    read_one(&body, Path::TOP, &mut embed)?;
    Ok(embed)
}

/// Reads the body of `batchEmbedContents` for `model`. Requests that differ in more than their
/// text are for Gemini alone.
///
/// # Errors
/// The body breaks the dialect; the fault names the field.
pub fn read_batch(body: &[u8], model: &str) -> Result<Embed, BadAsk> {
    let body = parse(body)?;
    let top = Path::TOP;
    let at = top.key("requests");
    let requests = at.array(body.get("requests").unwrap_or(&Value::Null))?;
    if requests.is_empty() {
        return Err(at.bad("must be an array of at least one request"));
    }
    let mut embed = Embed::new(Dialect::Gemini, model);
    let mut first = None;
    for (index, request) in requests.iter().enumerate() {
        let at = at.index(index);
        (embed.dimensions, embed.purpose) = (None, None);
        read_one(request, at, &mut embed)?;
        let (dimensions, purpose) = *first.get_or_insert((embed.dimensions, embed.purpose));
        if dimensions != embed.dimensions {
            let field = at.key("outputDimensionality").text();
            embed.extra(field, &Value::Null, Weight::Meaning);
        }
        if purpose != embed.purpose {
            let field = at.key("taskType").text();
            embed.extra(field, &Value::Null, Weight::Meaning);
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

fn read_one(value: &Value, at: Path<'_>, embed: &mut Embed) -> Result<(), BadAsk> {
    let mut input = None;
    for (key, value) in at.object(value)? {
        let at = at.key(key);
        match camel(key).as_ref() {
            "content" => input = Some(text(value, at, embed)?),
            "model" => {} // It stands in the path (I2).
            "embedContentConfig" if !value.is_null() => {
                for (key, value) in at.object(value)? {
                    setting(key, value, at.key(key), embed)?;
                }
            }
            _ => setting(key, value, at, embed)?,
        }
    }
    let input = input.ok_or_else(|| at.key("content").bad("must be an object"))?;
    embed.inputs.push(input);
    Ok(())
}

fn setting(key: &str, value: &Value, at: Path<'_>, embed: &mut Embed) -> Result<(), BadAsk> {
    if value.is_null() {
        return Ok(());
    }
    match camel(key).as_ref() {
        "outputDimensionality" => embed.dimensions = Some(at.whole(value)?),
        "taskType" => match at.string(value)? {
            "TASK_TYPE_UNSPECIFIED" => {}
            name => match purpose(name) {
                Some(purpose) => embed.purpose = Some(purpose),
                None => embed.extra("taskType".to_owned(), value, Weight::Tuning),
            },
        },
        field => embed.extra(field.to_owned(), value, Weight::Tuning),
    }
    Ok(())
}

/// The text of `content`; a part that is something else is for Gemini alone.
fn text(content: &Value, at: Path<'_>, embed: &mut Embed) -> Result<String, BadAsk> {
    const MEDIA: [&str; 4] = ["inlineData", "inline_data", "fileData", "file_data"];
    let parts_at = at.key("parts");
    let parts = at.object(content)?.get("parts").unwrap_or(&Value::Null);
    let mut text = String::new();
    for (index, part) in items(parts).iter().enumerate() {
        let at = parts_at.index(index);
        if MEDIA.iter().any(|kind| part.get(kind).is_some()) {
            embed.extra(at.text(), &Value::Null, Weight::Meaning);
            continue;
        }
        let said = part.get("text").unwrap_or(&Value::Null);
        text.push_str(at.key("text").string(said)?);
    }
    Ok(text)
}

/// The names of purposes.
static PURPOSES: [(&str, Purpose); 8] = [
    ("RETRIEVAL_QUERY", Purpose::Query),
    ("RETRIEVAL_DOCUMENT", Purpose::Document),
    ("SEMANTIC_SIMILARITY", Purpose::Similarity),
    ("CLASSIFICATION", Purpose::Classification),
    ("CLUSTERING", Purpose::Clustering),
    ("QUESTION_ANSWERING", Purpose::Question),
    ("FACT_VERIFICATION", Purpose::Fact),
    ("CODE_RETRIEVAL_QUERY", Purpose::CodeQuery),
];

fn purpose(name: &str) -> Option<Purpose> {
    let found = PURPOSES.iter().find(|(known, _)| *known == name);
    found.map(|(_, purpose)| *purpose)
}

/// Writes the body of `batchEmbedContents` (I1); the model goes to the path, too.
///
/// # Errors
/// The field that cannot be said.
pub fn write(embed: &Embed, notes: &mut Notes) -> Result<Vec<u8>, Unfit> {
    embed.leave_out(notes)?;
    if embed.user.is_some() {
        notes.drop("user");
    }
    let model = format!("models/{}", embed.model);
    let named = |purpose| PURPOSES.iter().find(|(_, known)| *known == purpose);
    let task = embed.purpose.and_then(named);
    let one = |input: &String| {
        let mut request = Map::new();
        request.insert("model".into(), model.as_str().into());
        request.insert("content".into(), json!({"parts": [{"text": input}]}));
        if let Some((name, _)) = task {
            request.insert("taskType".into(), (*name).into());
        }
        if let Some(dimensions) = embed.dimensions {
            request.insert("outputDimensionality".into(), dimensions.into());
        }
        Value::Object(request)
    };
    let requests: Vec<Value> = embed.inputs.iter().map(one).collect();
    Ok(json!({"requests": requests}).to_string().into_bytes())
}

/// The body with `model` wherever it names one (I2), every other byte as it was; `None` when it
/// names none, or this one.
pub fn rename(body: &[u8], model: &str) -> Option<Vec<u8>> {
    let name = Value::from(format!("models/{model}")).to_string();
    let mut places = Vec::new();
    named(body, &mut places).ok()?;
    places.retain(|place| place.bytes(body) != name.as_bytes());
    if places.is_empty() {
        return None;
    }
    let mut renamed = Vec::with_capacity(body.len() + places.len() * name.len());
    let mut done = 0;
    for place in &places {
        renamed.extend_from_slice(body.get(done..place.start as usize)?);
        renamed.extend_from_slice(name.as_bytes());
        done = place.end as usize;
    }
    renamed.extend_from_slice(body.get(done..)?);
    Some(renamed)
}

/// Where a body names its model: at its top, and in each request.
fn named(json: &[u8], places: &mut Vec<Span>) -> Result<(), JsonError> {
    let mut room = [0; NAME_MAX];
    cursor(json).object(|cursor, key| {
        match key.name(&mut room) {
            b"model" => places.push(cursor.skip()?.span),
            b"requests" if cursor.peek()? == ValueKind::Array => cursor.array(|cursor| {
                if cursor.peek()? != ValueKind::Object {
                    return cursor.skip().map(|_| ());
                }
                let mut room = [0; NAME_MAX];
                cursor.object(|cursor, key| {
                    let value = cursor.skip()?;
                    if key.name(&mut room) == b"model" {
                        places.push(value.span);
                    }
                    Ok(())
                })
            })?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })
}

/// Reads the answer of either call.
///
/// # Errors
/// [`Kind::UpstreamError`] when it is an error; [`Kind::UpstreamGarbled`] when it is no answer.
pub fn read_answer(body: &[u8]) -> Result<Vectors<'_>, Kind> {
    let mut found = Found::default();
    top(body, &mut found).map_err(|_| Kind::UpstreamGarbled)?;
    if found.has_error {
        return Err(Kind::UpstreamError);
    }
    if !found.is_answer || found.is_broken {
        return Err(Kind::UpstreamGarbled);
    }
    Ok(Vectors {
        values: found.values,
        tokens: found.tokens,
    })
}

#[derive(Default)]
struct Found<'a> {
    values: Vec<Vector<'a>>,
    tokens: Option<u64>,
    has_error: bool,
    is_answer: bool,
    is_broken: bool,
}

fn top<'a>(json: &'a [u8], found: &mut Found<'a>) -> Result<(), JsonError> {
    let mut cursor = cursor(json);
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"error" => found.has_error = cursor.skip()?.kind != ValueKind::Null,
            b"usageMetadata" => {
                found.tokens = usage::read(json, cursor)?.map(|tokens| tokens.prompt());
            }
            b"embedding" => {
                found.is_answer = true;
                one(json, cursor, found)?;
            }
            b"embeddings" if cursor.peek()? == ValueKind::Array => {
                found.is_answer = true;
                cursor.array(|cursor| one(json, cursor, found))?;
            }
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    cursor.end()
}

/// Reads `{"values":[…]}`.
fn one<'a>(
    json: &'a [u8],
    cursor: &mut Cursor<'a>,
    found: &mut Found<'a>,
) -> Result<(), JsonError> {
    let mut values = None;
    if cursor.peek()? == ValueKind::Object {
        let mut room = [0; NAME_MAX];
        cursor.object(|cursor, key| {
            match key.name(&mut room) {
                b"values" => values = vector(json, cursor)?,
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })?;
    } else {
        cursor.skip()?;
    }
    match values {
        Some(values) => found.values.push(values),
        None => found.is_broken = true,
    }
    Ok(())
}

/// Writes the answer of `embedContent` (`is_batch` false: the first vector) or of
/// `batchEmbedContents`.
pub fn write_answer(vectors: &Vectors<'_>, is_batch: bool, tx: &mut TxBuf) {
    let put = |tx: &mut TxBuf, vector: &[u8]| {
        tx.put(b"{\"values\":");
        put_numbers(tx, vector);
        tx.put(b"}");
    };
    if is_batch {
        tx.put(b"{\"embeddings\":");
        put_all(tx, &vectors.values, put);
    } else {
        tx.put(b"{\"embedding\":");
        put(
            tx,
            vectors
                .values
                .first()
                .map_or(&b"[]"[..], |first| first.as_ref()),
        );
    }
    if let Some(tokens) = vectors.tokens {
        tx.put(b",\"usageMetadata\":{\"promptTokenCount\":");
        tx.put_decimal(tokens);
        tx.put(b",\"totalTokenCount\":");
        tx.put_decimal(tokens);
        tx.put(b"}");
    }
    tx.put(b"}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    /// Goal: requests round-trip, one and many; what is lost is noted.
    #[test]
    fn requests_round_trip() {
        let mut notes = Notes::default();
        let body = br#"{"content":{"parts":[{"text":"a"},{"text":"b"}]},"title":"X",
            "task_type":"RETRIEVAL_QUERY","output_dimensionality":3}"#;
        let one = read(body, "m").unwrap();
        assert_eq!(one.inputs, ["ab"]);
        assert_eq!((one.dimensions, one.model.as_str()), (Some(3), "m"));
        assert_eq!(one.purpose, Some(Purpose::Query));
        let many = Embed {
            inputs: vec!["a".into(), "b".into()],
            ..one
        };
        let batch = write(&many, &mut notes).unwrap();
        assert_eq!(notes.dropped(), ["title"]);
        let back = read_batch(&batch, "m").unwrap();
        assert_eq!(
            back,
            Embed {
                extras: Vec::new(),
                ..many
            }
        );
        let value: Value = serde_json::from_slice(&batch).unwrap();
        assert_eq!(value["requests"][1]["model"], "models/m");
    }

    /// Goal: a broken request names the field; what only Gemini can is told, too.
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
        ] {
            let fault = read_batch(body.as_bytes(), "m").unwrap_err();
            assert_eq!(fault.field, want, "{body}");
        }
        for (second, want) in [
            (
                r#""content":{"parts":[{"text":""}]},"outputDimensionality":1"#,
                "requests[1].outputDimensionality",
            ),
            (
                r#""content":{"parts":[{"text":""}]},"taskType":"CLUSTERING""#,
                "requests[1].taskType",
            ),
            (
                r#""content":{"parts":[{"inlineData":{}}]}"#,
                "requests[1].content.parts[0]",
            ),
        ] {
            let first = r#"{"content":{"parts":[{"text":""}]}}"#;
            let body = format!("{{\"requests\":[{first},{{{second}}}]}}");
            let embed = read_batch(body.as_bytes(), "m").unwrap();
            let unfit = write(&embed, &mut Notes::default()).unwrap_err();
            assert_eq!(unfit.field, want);
        }
    }

    /// Goal: I2; a body that names the right model, or none, stays as it is.
    #[test]
    fn a_model_in_the_body_is_that_of_the_path() {
        let batch = r#"{"requests": [{"model":"models/a","x":1.50},7,{"model":"models/b"},
            {"y":{"model":0},"model":"\u006d"}],"y":{}}"#;
        let got = rename(batch.as_bytes(), "b").unwrap();
        let want = r#"{"requests": [{"model":"models/b","x":1.50},7,{"model":"models/b"},
            {"y":{"model":0},"model":"models/b"}],"y":{}}"#;
        assert_eq!(String::from_utf8(got).unwrap(), want);
        let one = rename(br#"{"model":"models/a"}"#, "b").unwrap();
        assert_eq!(one, br#"{"model":"models/b"}"#);
        for same in [r#"{"model":"models/b"}"#, r#"{"requests":[{}]}"#, "{}", "["] {
            assert_eq!(rename(same.as_bytes(), "b"), None, "{same}");
        }
    }

    /// Goal: answers round-trip, digit by digit; what is no answer is told.
    #[test]
    fn answers_round_trip() {
        let vectors = Vectors {
            values: vec![b"[0.1,-2.00,4.623822e-05]".as_slice().into()],
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
            (r#"{"embeddings":[7]}"#, Kind::UpstreamGarbled),
            (r#"{"error":{"code":404}}"#, Kind::UpstreamError),
        ] {
            assert_eq!(read_answer(body.as_bytes()), Err(want), "{body}");
        }
    }
}
