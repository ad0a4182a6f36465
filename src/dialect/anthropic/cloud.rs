//! What clouds that carry this dialect do otherwise: the form of a request, and errors.
//!
//! ```text
//!   {"model":"m","max_tokens":9,"stream":true}          anthropic-beta: a,b
//!   Vertex   {"anthropic_version":"vertex-2023-10-16","max_tokens":9,"stream":true}
//!   Bedrock  {"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["a","b"],"max_tokens":9}
//! ```
//!
//! Invariants
//! - I1 Every other member keeps its bytes and its place.
//!
//! Source: `anthropic` 2.12.0, `lib/vertex` and `lib/bedrock`; protocols.md, 6 and 8.

use super::error;
use super::request::Cloud;
use crate::base::fault::Kind;
use crate::dialect::model::Refused;
use crate::dialect::{bedrock, gemini};
use crate::wire::json::scan::{self, key_is};
use serde_json::Value;

/// The body of Messages as `cloud` takes it: with its version, without what stands in the URL;
/// `betas` is what a client asked for in `anthropic-beta`.
///
/// # Errors
/// [`Kind::BadJson`]: it is no JSON object.
pub fn adapt(cloud: Cloud, body: &[u8], betas: &[u8]) -> Result<Vec<u8>, Kind> {
    let mut out = Vec::with_capacity(body.len() + 64 + betas.len());
    out.extend_from_slice(b"{\"anthropic_version\":\"");
    out.extend_from_slice(cloud.version().as_bytes());
    out.push(b'"');
    let is_bedrock = cloud == Cloud::Bedrock;
    if is_bedrock && !betas.is_empty() {
        let names = betas.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let names = names.filter(|name| !name.is_empty());
        let list: Vec<_> = names
            .map(|name| Value::from(&*String::from_utf8_lossy(name)))
            .collect();
        out.extend_from_slice(b",\"anthropic_beta\":");
        out.extend_from_slice(Value::from(list).to_string().as_bytes());
    }
    scan::object(body, |member| {
        let key = member.key.bytes(body);
        let is = |name| key_is(key, member.key_escaped, name);
        let goes = is("model")
            || is("anthropic_version")
            || is_bedrock && (is("stream") || !betas.is_empty() && is("anthropic_beta"));
        if !goes {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(key);
            out.extend_from_slice(b"\":");
            out.extend_from_slice(member.value.bytes(body));
        }
    })
    .map_err(|_| Kind::BadJson)?;
    out.push(b'}');
    Ok(out)
}

/// Reads an error answer of `cloud`: its own, or the one of the model behind it. Any bytes are
/// one.
pub fn refusal(cloud: Cloud, status: u16, body: &[u8]) -> Refused {
    let is_models = serde_json::from_slice::<Value>(body)
        .is_ok_and(|body| body.get("type").and_then(Value::as_str) == Some("error"));
    match cloud {
        _ if is_models => error::read(status, body),
        Cloud::Bedrock => bedrock::error::read(status, body),
        Cloud::Vertex => gemini::error::read(status, body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::model::Trouble;

    /// Goal: the body for a cloud lacks what is in its URL, wherever that stands, and has the
    /// version of the cloud once; everything else is as it was.
    #[test]
    fn a_cloud_gets_its_version_and_nothing_twice() {
        const VERTEX: &str = r#"{"anthropic_version":"vertex-2023-10-16""#;
        const BEDROCK: &str = r#"{"anthropic_version":"bedrock-2023-05-31""#;
        for (body, vertex, bedrock) in [
            (r#"{"model":"m"}"#, "}", "}"),
            (r#"{"model":"m","a":1}"#, r#","a":1}"#, r#","a":1}"#),
            (
                "\u{feff}{ \"a\" : [ 1 ] , \"m\\u006fdel\":\"m\" }",
                ",\"a\":[ 1 ]}",
                ",\"a\":[ 1 ]}",
            ),
            (
                r#"{"stream":true,"model":"m","a":{"model":"n","stream":1}}"#,
                r#","stream":true,"a":{"model":"n","stream":1}}"#,
                r#","a":{"model":"n","stream":1}}"#,
            ),
            (
                r#"{"a":1.50,"model":"m","anthropic_version":"x","b\"":"\u00e9","stream":true,
                    "anthropic_version":"y","anthropic_beta":["c"]}"#,
                r#","a":1.50,"b\"":"\u00e9","stream":true,"anthropic_beta":["c"]}"#,
                r#","a":1.50,"b\"":"\u00e9","anthropic_beta":["c"]}"#,
            ),
        ] {
            let said = |cloud| String::from_utf8(adapt(cloud, body.as_bytes(), b"").unwrap());
            assert_eq!(said(Cloud::Vertex).unwrap(), format!("{VERTEX}{vertex}"));
            assert_eq!(said(Cloud::Bedrock).unwrap(), format!("{BEDROCK}{bedrock}"));
        }
        let body = br#"{"anthropic_beta":["c"],"a":1}"#;
        let with = |cloud| String::from_utf8(adapt(cloud, body, b"x-1, \"y, ,").unwrap()).unwrap();
        let want = format!(r#"{BEDROCK},"anthropic_beta":["x-1","\"y"],"a":1}}"#);
        assert_eq!(with(Cloud::Bedrock), want);
        let want = format!(r#"{VERTEX},"anthropic_beta":["c"],"a":1}}"#);
        assert_eq!(with(Cloud::Vertex), want);
        for broken in [&b"[]"[..], b"{", b"{} {}"] {
            assert_eq!(adapt(Cloud::Vertex, broken, b""), Err(Kind::BadJson));
        }
    }

    /// Goal: a cloud's own errors are understood, and those of the model behind it.
    #[test]
    fn whose_error_it_is_is_seen() {
        const MODELS: &str =
            r#"{"type":"error","error":{"type":"overloaded_error","message":"m"}}"#;
        const GOOGLES: &str =
            r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED"}}"#;
        for (cloud, status, body, want) in [
            (Cloud::Vertex, 400, MODELS, Trouble::Overloaded),
            (Cloud::Bedrock, 400, MODELS, Trouble::Overloaded),
            (Cloud::Vertex, 429, GOOGLES, Trouble::RateLimit),
            (
                Cloud::Bedrock,
                400,
                r#"{"message":"Input is too long for requested model."}"#,
                Trouble::ContextLength,
            ),
            (Cloud::Bedrock, 503, "<html>", Trouble::Overloaded),
        ] {
            let refused = refusal(cloud, status, body.as_bytes());
            assert_eq!(refused.trouble, want, "{status} {body}");
        }
    }
}
