//! Embeddings of `OpenAI`.
//!
//! ```text
//!   {"model":"m","input":["a","b"],"dimensions":256,"encoding_format":"base64"}
//!   {"object":"list","data":[{"object":"embedding","index":0,"embedding":[…]}],"usage":…}
//! ```
//!
//! Invariants
//! - I1 A provider is asked for numbers, whatever the client wants.
//! - I2 A list of token numbers means nothing to another vocabulary.
//!
//! Source: `OpenAI` API reference, "Create embeddings"; `input_type` as `Voyage` and `NVIDIA`
//! have it.

use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::embed::{
    Embed, Forms, Purpose, Vector, Vectors, cursor, put_all, put_base64, put_numbers, vector,
};
use crate::dialect::model::{BadAsk, Dialect, Names, Notes, Unfit, Weight};
use crate::dialect::openai::usage;
use crate::dialect::tree::{Path, some};
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};
use crate::wire::json::write::put_string;
use serde_json::{Map, Value};

/// Reads the body of a request.
///
/// # Errors
/// It breaks the dialect; the path says where.
pub fn read(body: &[u8]) -> Result<Embed, BadAsk> {
    let top = Path::TOP;
    let value: Value =
        serde_json::from_slice(body).map_err(|_| top.key("body").bad("must be JSON in UTF-8"))?;
    let object = top.object(&value)?;
    let model = top
        .key("model")
        .string(object.get("model").unwrap_or(&Value::Null))?;
    let mut embed = Embed::new(Dialect::Chat, model);
    inputs(object, &mut embed)?;
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let at = top.key(key);
        match key.as_str() {
            "model" | "input" | "fallbacks" | "cache" => {} // the last two are the gateway's
            "dimensions" => embed.dimensions = Some(at.whole(value)?),
            "user" => embed.user = Some(at.string(value)?.to_owned()),
            "encoding_format" => match at.string(value)? {
                "float" => {}
                "base64" => {
                    embed.forms = Forms {
                        numbers: false,
                        base64: true,
                    }
                }
                _ => embed.extra(key.clone(), value, Weight::Meaning),
            },
            "input_type" => match at.string(value)? {
                "query" | "search_query" => embed.purpose = Some(Purpose::Query),
                "document" | "passage" | "search_document" => {
                    embed.purpose = Some(Purpose::Document);
                }
                "classification" => embed.purpose = Some(Purpose::Classification),
                "clustering" => embed.purpose = Some(Purpose::Clustering),
                _ => embed.extra(key.clone(), value, Weight::Tuning),
            },
            _ => embed.extra(key.clone(), value, Weight::Tuning),
        }
    }
    Ok(embed)
}

/// Reads `input`: a text, texts, token numbers, or lists of those (I2).
fn inputs(object: &Map<String, Value>, embed: &mut Embed) -> Result<(), BadAsk> {
    let top = Path::TOP;
    let at = top.key("input");
    let input = some(object, "input").unwrap_or(&Value::Null);
    let Value::Array(items) = input else {
        let text = input.as_str();
        let text = text.ok_or_else(|| at.bad("must be a string or an array of strings"))?;
        embed.inputs.push(text.to_owned());
        return Ok(());
    };
    if items.is_empty() {
        return Err(at.bad("must hold an input at least"));
    }
    if items.iter().all(|item| item.is_number() || item.is_array()) {
        embed.extra("input".to_owned(), &Value::Null, Weight::Meaning);
        return Ok(());
    }
    for (index, item) in items.iter().enumerate() {
        embed.inputs.push(at.index(index).string(item)?.to_owned());
    }
    Ok(())
}

/// Writes the body of a request (I1).
///
/// # Errors
/// The field that cannot be said.
pub fn write(embed: &Embed, notes: &mut Notes) -> Result<Vec<u8>, Unfit> {
    embed.leave_out(notes)?;
    if embed.purpose.is_some() {
        notes.drop(embed.purpose_name());
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), embed.model.as_str().into());
    let input = match embed.inputs.as_slice() {
        [one] => Value::from(one.as_str()),
        all => Value::from(all),
    };
    body.insert("input".to_owned(), input);
    body.insert("encoding_format".to_owned(), "float".into());
    if let Some(dimensions) = embed.dimensions {
        body.insert("dimensions".to_owned(), dimensions.into());
    }
    if let Some(user) = &embed.user {
        body.insert("user".to_owned(), user.as_str().into());
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

/// Reads an answer.
///
/// # Errors
/// [`Kind::UpstreamError`]: it is an error. [`Kind::UpstreamGarbled`]: it is no answer.
pub fn read_answer(body: &[u8]) -> Result<Vectors<'_>, Kind> {
    let mut found = Found::default();
    top(body, &mut found).map_err(|_| Kind::UpstreamGarbled)?;
    if found.has_error && !found.is_list {
        return Err(Kind::UpstreamError);
    }
    if !found.is_list || found.is_broken {
        return Err(Kind::UpstreamGarbled);
    }
    let mut values = found.values;
    values.sort_by_key(|(index, _)| *index); // in order nearly always; stable
    Ok(Vectors {
        values: values.into_iter().map(|(_, vector)| vector).collect(),
        tokens: found.tokens,
    })
}

#[derive(Default)]
struct Found<'a> {
    values: Vec<(u64, Vector<'a>)>,
    tokens: Option<u64>,
    has_error: bool,
    is_list: bool,
    is_broken: bool,
}

fn top<'a>(json: &'a [u8], found: &mut Found<'a>) -> Result<(), JsonError> {
    let mut cursor = cursor(json);
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"error" => found.has_error = cursor.skip()?.kind != ValueKind::Null,
            b"usage" => found.tokens = usage::read(json, cursor)?.map(|usage| usage.input),
            b"data" if cursor.peek()? == ValueKind::Array => {
                found.is_list = true;
                cursor.array(|cursor| {
                    if cursor.peek()? != ValueKind::Object {
                        found.is_broken = true;
                        return cursor.skip().map(|_| ());
                    }
                    let (mut index, mut one) = (found.values.len() as u64, None);
                    let mut room = [0; NAME_MAX];
                    cursor.object(|cursor, key| {
                        match key.name(&mut room) {
                            b"index" => {
                                let digits = cursor.skip()?.span.bytes(json);
                                index = usage::whole_number(digits).unwrap_or(index);
                            }
                            b"embedding" => one = vector(json, cursor)?,
                            _ => _ = cursor.skip()?,
                        }
                        Ok(())
                    })?;
                    match one {
                        Some(vector) => found.values.push((index, vector)),
                        None => found.is_broken = true,
                    }
                    Ok(())
                })?;
            }
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    cursor.end()
}

/// How many vectors `body` has, as numbers or as base64; `None`: it is no answer.
pub fn count(body: &[u8]) -> Option<usize> {
    let (mut found, mut is_sound) = (0, true);
    let mut cursor = cursor(body);
    let mut room = [0; NAME_MAX];
    let walked = cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"error" => is_sound &= cursor.skip()?.kind == ValueKind::Null,
            b"data" if cursor.peek()? == ValueKind::Array => cursor.array(|cursor| {
                found += 1;
                is_sound &= holds_vector(cursor)?;
                Ok(())
            })?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    });
    let is_whole = walked.is_ok() && cursor.end().is_ok();
    (is_whole && is_sound).then_some(found)
}

/// Whether the item under the cursor has one vector.
fn holds_vector(cursor: &mut Cursor<'_>) -> Result<bool, JsonError> {
    if cursor.peek()? != ValueKind::Object {
        return cursor.skip().map(|_| false);
    }
    let (mut vectors, mut room) = (0, [0; NAME_MAX]);
    cursor.object(|cursor, key| {
        let value = cursor.skip()?;
        if key.name(&mut room) == b"embedding" {
            let is_one = matches!(value.kind, ValueKind::Array | ValueKind::String);
            vectors += if is_one && value.span.len() > 2 { 1 } else { 2 };
        }
        Ok(())
    })?;
    Ok(vectors == 1)
}

/// Writes the answer to `embed`. Tokens that the provider did not tell are 0: clients' SDKs
/// want a number.
pub fn write_answer(vectors: &Vectors<'_>, embed: &Embed, names: &Names<'_>, tx: &mut TxBuf) {
    tx.put(b"{\"object\":\"list\",\"data\":");
    let mut index = 0;
    put_all(tx, &vectors.values, |tx, vector| {
        tx.put(b"{\"object\":\"embedding\",\"index\":");
        tx.put_decimal(index);
        index += 1;
        tx.put(b",\"embedding\":");
        if embed.forms.base64 {
            put_base64(tx, vector);
        } else {
            put_numbers(tx, vector);
        }
        tx.put(b"}");
    });
    tx.put(b",\"model\":");
    put_string(tx, names.model);
    let tokens = vectors.tokens.unwrap_or(0);
    tx.put(b",\"usage\":{\"prompt_tokens\":");
    tx.put_decimal(tokens);
    tx.put(b",\"total_tokens\":");
    tx.put_decimal(tokens);
    tx.put(b"}}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(body: &str) -> Result<Embed, BadAsk> {
        read(body.as_bytes())
    }

    /// Goal: vectors are counted in both codings; what is no answer, or not whole, has none.
    #[test]
    fn vectors_are_counted() {
        let of = |data: &str| count(format!("{{\"object\":\"list\",\"data\":{data}}}").as_bytes());
        let (numbers, coded) = (
            r#"{"embedding":[0.5,-1]}"#,
            r#"{"index":1,"embedding":"AACAPw=="}"#,
        );
        assert_eq!(of(&format!("[{numbers},{coded}]")), Some(2));
        assert_eq!(of("[]"), Some(0));
        for odd in [
            "{}",
            "1",
            r#"{"embedding":[]}"#,
            r#"{"embedding":""}"#,
            r#"{"embedding":null}"#,
        ] {
            assert_eq!(of(&format!("[{numbers},{odd}]")), None, "{odd}");
        }
        assert_eq!(of("[{\"embedding\":[1],\"embedding\":[2]}]"), None);
        assert_eq!(of(&format!("[{numbers}],\"error\":{{}}")), None);
        assert_eq!(of(&format!("[{numbers}],\"error\":null")), Some(1));
        for cut in ["{\"data\":[", "{\"data\":[]", "", "[]", "{\"data\":[]} x"] {
            assert_eq!(count(cut.as_bytes()), None, "{cut}");
        }
    }

    /// Goal: texts, however they come, and what is wanted of the vectors.
    #[test]
    fn requests_are_read() {
        let one = ask(r#"{"model":"m","input":"a"}"#).unwrap();
        assert_eq!(
            (one.inputs, one.forms),
            (vec!["a".to_owned()], Forms::default())
        );
        let two = ask(
            r#"{"model":"m","input":["a","b"],"dimensions":8,"encoding_format":"base64",
                "user":"u","input_type":"query","odd":1}"#,
        )
        .unwrap();
        assert_eq!(two.inputs, ["a", "b"]);
        assert!(two.forms.base64 && !two.forms.numbers);
        assert_eq!(
            (two.dimensions, two.purpose),
            (Some(8), Some(Purpose::Query))
        );
        let mut notes = Notes::default();
        let body: Value = serde_json::from_slice(&write(&two, &mut notes).unwrap()).unwrap();
        let want = serde_json::json!({"model": "m", "input": ["a", "b"],
            "encoding_format": "float", "dimensions": 8, "user": "u"});
        assert_eq!(body, want);
        assert_eq!(notes.dropped(), ["odd", "input_type"]);
        for tokens in ["[1,2]", "[[1],[2]]"] {
            let embed = ask(&format!(r#"{{"model":"m","input":{tokens}}}"#)).unwrap();
            let unfit = embed.leave_out(&mut notes).unwrap_err();
            assert_eq!(unfit.field, "input", "I2");
        }
        for (body, field) in [
            (r#"{"input":"a"}"#, "model"),
            (r#"{"model":"m"}"#, "input"),
            (r#"{"model":"m","input":[]}"#, "input"),
            (r#"{"model":"m","input":["a",7]}"#, "input[1]"),
            (
                r#"{"model":"m","input":"a","dimensions":"x"}"#,
                "dimensions",
            ),
        ] {
            assert_eq!(ask(body).unwrap_err().field, field, "{body}");
        }
    }

    /// Goal: vectors come in the order of their inputs; what is none is told.
    #[test]
    fn answers_are_read() {
        let vectors = read_answer(
            br#"{"data":[{"index":1,"embedding":[2]},{"embedding":[1.50],"index":0}],
                "usage":{"prompt_tokens":5}}"#,
        )
        .unwrap();
        assert_eq!(vectors.values, [&b"[1.50]"[..], b"[2]"]);
        assert_eq!(vectors.tokens, Some(5));
        for (body, want) in [
            ("{}", Kind::UpstreamGarbled),
            ("[]", Kind::UpstreamGarbled),
            (r#"{"data":[7]}"#, Kind::UpstreamGarbled),
            (r#"{"data":[{"embedding":["a"]}]}"#, Kind::UpstreamGarbled),
            (
                r#"{"data":[{"embedding":"AACAPw=="}]}"#,
                Kind::UpstreamGarbled,
            ),
            (r#"{"error":{"message":"no"}}"#, Kind::UpstreamError),
        ] {
            assert_eq!(read_answer(body.as_bytes()), Err(want), "{body}");
        }
    }
}
