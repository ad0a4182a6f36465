//! The bytes of errors: OpenAI's error body for a status, its error event, a CDN's HTML page.
//!
//! For the other dialects it is told as the gateway tells errors, in their shape.
//!
//! Source: OpenAI API reference, "Error codes"; Azure OpenAI's 404 for a missing version.

use crate::dialect::model::{Told, Trouble};

/// An error to be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    kind: &'static str,
    code: &'static str,
    text: &'static str,
}

impl Refusal {
    /// What a provider says along with `status`.
    pub const fn of(status: u16) -> Self {
        let (kind, code, text) = match status {
            401 => (
                "invalid_request_error",
                "invalid_api_key",
                "Incorrect API key provided. You can find your API key at the simulator's configuration.",
            ),
            403 => (
                "invalid_request_error",
                "unsupported_country_region_territory",
                "Country, region, or territory not supported",
            ),
            404 => (
                "invalid_request_error",
                "model_not_found",
                "The model does not exist or you do not have access to it.",
            ),
            408 | 504 => ("timeout", "timeout", "The request timed out."),
            429 => (
                "requests",
                "rate_limit_exceeded",
                "Rate limit reached for requests. Please try again later.",
            ),
            400..=499 => (
                "invalid_request_error",
                "invalid_value",
                "The request is not valid.",
            ),
            503 | 529 => (
                "server_error",
                "overloaded",
                "The engine is currently overloaded, please try again later.",
            ),
            _ => (
                "server_error",
                "server_error",
                "The server had an error while processing your request. Sorry about that!",
            ),
        };
        Self {
            status,
            kind,
            code,
            text,
        }
    }

    /// A 400 that says what is missing or wrong.
    pub const fn bad(code: &'static str, text: &'static str) -> Self {
        Self {
            status: 400,
            kind: "invalid_request_error",
            code,
            text,
        }
    }

    /// A status with a text of its own.
    pub const fn saying(status: u16, code: &'static str, text: &'static str) -> Self {
        Self {
            status,
            kind: "invalid_request_error",
            code,
            text,
        }
    }

    /// The text, with `detail` behind it.
    pub fn message(self, detail: &str) -> String {
        let space = if detail.is_empty() { "" } else { " " };
        format!("{}{space}{detail}", self.text)
    }

    /// As other dialects than Chat are told, with the text `message`.
    pub const fn told(self, message: &str) -> Told<'_> {
        Told {
            status: self.status,
            trouble: Trouble::of_status(self.status),
            code: self.code,
            message,
            param: None,
        }
    }

    /// The body, with `detail` behind the text.
    pub fn body(self, detail: &str) -> String {
        let message = serde_json::Value::from(self.message(detail));
        let (kind, code) = (self.kind, self.code);
        format!(
            "{{\n  \"error\": {{\n    \"message\": {message},\n    \"type\": \"{kind}\",\n    \
             \"param\": null,\n    \"code\": \"{code}\"\n  }}\n}}\n"
        )
    }

    /// The event that a stream breaks off with.
    pub fn event(self) -> String {
        let Self {
            kind, code, text, ..
        } = self;
        format!(
            "data: {{\"error\":{{\"message\":\"{text}\",\"type\":\"{kind}\",\"param\":null,\
             \"code\":\"{code}\"}}}}\n\n"
        )
    }
}

/// Azure's body for a path that it does not know.
pub const AZURE_LOST: &str = "{\"error\":{\"code\":\"404\",\"message\":\"Resource not found\"}}";

/// The page that a CDN in front of a provider gives.
pub fn html(status: u16, reason: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html>\n<head><title>{status} {reason}</title></head>\n<body>\n\
         <center><h1>{status} {reason}</h1></center>\n<hr><center>cloudfront</center>\n\
         </body>\n</html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: bodies and events are JSON whatever the detail holds.
    #[test]
    fn every_error_is_json() {
        for status in 400..600 {
            let refusal = Refusal::of(status);
            let body: serde_json::Value =
                serde_json::from_str(&refusal.body("\"quoted\" \\ \n")).unwrap();
            let message = body["error"]["message"].as_str().unwrap();
            assert!(message.ends_with(" \"quoted\" \\ \n"), "{message}");
            let event = refusal.event();
            let data = event.strip_prefix("data: ").unwrap();
            let event: serde_json::Value = serde_json::from_str(data).unwrap();
            assert_eq!(event["error"]["code"], body["error"]["code"]);
        }
    }
}
