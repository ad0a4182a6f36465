//! Anthropic's models in the clouds: what their bodies must have, and must not.
//!
//! ```text
//!   {"anthropic_version":"vertex-2023-10-16", … ,"stream":true}   model in the path
//!   {"anthropic_version":"bedrock-2023-05-31", … }                model and manner in the path
//! ```
//!
//! Source: `anthropic` 2.12.0, `lib/vertex` and `lib/bedrock`; the sentences as the clouds have
//! them.

use super::ask::Place;
use super::plan::{Refused, refused};
use super::refusal::Refusal;
use crate::dialect::anthropic::request::Cloud;
use crate::dialect::model::Dialect;
use serde_json::Value;
use std::borrow::Cow;

/// The body as the owner of the dialect would get it, for `model`.
///
/// # Errors
/// The member that the cloud does not take, or misses.
pub(super) fn owners_body<'b>(
    place: Place<'_>,
    body: &'b [u8],
    model: &str,
) -> Result<Cow<'b, [u8]>, Refused> {
    let Some(cloud) = place
        .cloud
        .filter(|_| place.route.dialect() == Dialect::Anthropic)
    else {
        return Ok(Cow::Borrowed(body));
    };
    let invalid = |detail: String| {
        let text = match cloud {
            Cloud::Bedrock => "Malformed input request:",
            Cloud::Vertex => "The request is not valid:",
        };
        refused(Refusal::bad("invalid_value", text), &detail)
    };
    let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else {
        return invalid("no object".to_owned());
    };
    let version = members.shift_remove("anthropic_version");
    if version.as_ref().and_then(Value::as_str) != Some(cloud.version()) {
        return invalid(format!(
            "#: required key [anthropic_version] not found: {version:?}"
        ));
    }
    let foreign = match cloud {
        Cloud::Bedrock => ["model", "stream"].as_slice(),
        Cloud::Vertex => &["model"],
    };
    if let Some(name) = foreign.iter().find(|name| members.contains_key(**name)) {
        return invalid(format!("#: extraneous key [{name}] is not permitted"));
    }
    let in_body = members.get("stream").is_some_and(|value| value == true);
    if cloud == Cloud::Vertex && in_body != place.is_stream {
        return invalid("#: [stream] is not what the method is".to_owned());
    }
    members.shift_remove("anthropic_beta");
    members.insert("model".to_owned(), model.into());
    members.insert("stream".to_owned(), place.is_stream.into());
    Ok(Cow::Owned(Value::Object(members).to_string().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::super::ask::route;
    use super::*;
    use crate::wire::http1::Method;

    /// Goal: a cloud takes its own form only, and its owner's bodies pass.
    #[test]
    fn a_cloud_takes_its_own_form_only() {
        const VERTEX: &str = "/v1/publishers/anthropic/models/m:rawPredict";
        const STREAMED: &str = "/v1/publishers/anthropic/models/m:streamRawPredict";
        const BEDROCK: &str = "/model/m/invoke-with-response-stream";
        for (path, body, want) in [
            ("/v1/messages", r#"{"a":1}"#, Some(r#"{"a":1}"#)),
            (VERTEX, r#"{"a":1}"#, None),
            (
                VERTEX,
                r#"{"anthropic_version":"vertex-2023-10-16","a":1}"#,
                Some(r#"{"a":1,"model":"m","stream":false}"#),
            ),
            (
                VERTEX,
                r#"{"anthropic_version":"bedrock-2023-05-31"}"#,
                None,
            ),
            (
                VERTEX,
                r#"{"anthropic_version":"vertex-2023-10-16","model":"m"}"#,
                None,
            ),
            (
                STREAMED,
                r#"{"anthropic_version":"vertex-2023-10-16"}"#,
                None,
            ),
            (
                BEDROCK,
                r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["b"]}"#,
                Some(r#"{"model":"m","stream":true}"#),
            ),
            (
                BEDROCK,
                r#"{"anthropic_version":"bedrock-2023-05-31","stream":true}"#,
                None,
            ),
        ] {
            let place = route(Method::Post, path.as_bytes(), b"").unwrap();
            let got = owners_body(place, body.as_bytes(), "m");
            let got = got
                .ok()
                .map(|body| String::from_utf8(body.into_owned()).unwrap());
            assert_eq!(got.as_deref(), want, "{path} {body}");
        }
    }
}
