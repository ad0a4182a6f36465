//! Builds the request that is sent again and again, byte for byte the same but for a number.

use std::fmt::Write as _;

/// Words of the prompt; repeated and cut to the length asked for.
const WORDS: &str = "the quick gateway relays every token of a long answer without waiting ";

/// Digits of the number with which a prompt begins that is not to be like any other.
pub(crate) const DIGITS: usize = 12;

/// Where those digits are in `request`: its prompt begins there; `None`: it is too short.
pub(crate) fn number_at(request: &[u8]) -> Option<usize> {
    memchr::memmem::find(request, WORDS.get(..DIGITS)?.as_bytes())
}

/// The digits of `number`, which begins anew behind the last one.
pub(crate) fn digits(number: u64) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    let mut rest = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    digits
}

/// Which JSON key holds the text of a streamed event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `choices[].delta.content` of chat completions.
    Chat,
    /// `choices[].text` of completions.
    Completions,
}

impl Shape {
    /// The key with its quotes and colon, as it stands in an event.
    pub const fn key(self) -> &'static [u8] {
        match self {
            Self::Chat => b"\"content\":",
            Self::Completions => b"\"text\":",
        }
    }
}

/// What the request should say.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) host: &'a str,
    pub(crate) path: &'a str,
    pub(crate) model: &'a str,
    pub(crate) prompt_bytes: usize,
    pub(crate) stream: bool,
    pub(crate) key: Option<&'a str>,
}

/// The shape of the events that `path` answers with.
pub(crate) fn shape(path: &str) -> Shape {
    if path.ends_with("/completions") && !path.ends_with("/chat/completions") {
        Shape::Completions
    } else {
        Shape::Chat
    }
}

/// Head and body as one piece.
///
/// # Errors
/// When path or key would break the request head.
pub(crate) fn request(wanted: &Wanted<'_>) -> Result<Vec<u8>, String> {
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    if !wanted.path.starts_with('/') || !plain(wanted.path) {
        return Err(format!(
            "--path {}: expected / first and no spaces",
            wanted.path.escape_debug()
        ));
    }
    if !wanted.key.is_none_or(plain) {
        return Err("the key holds bytes that cannot stand in a header".into());
    }
    let body = body(wanted);
    let mut head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\nuser-agent: shardgate-load/{}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n",
        wanted.path,
        wanted.host,
        env!("CARGO_PKG_VERSION"),
        body.len()
    );
    if let Some(key) = wanted.key {
        // Writing into a String cannot fail.
        let _written = write!(head, "authorization: Bearer {key}\r\n");
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.as_bytes());
    Ok(bytes)
}

fn body(wanted: &Wanted<'_>) -> String {
    let prompt: String = WORDS.chars().cycle().take(wanted.prompt_bytes).collect();
    let (model, stream) = (wanted.model, wanted.stream);
    let body = if wanted.path.ends_with("/embeddings") {
        serde_json::json!({ "model": model, "input": prompt })
    } else if shape(wanted.path) == Shape::Completions {
        serde_json::json!({ "model": model, "stream": stream, "prompt": prompt })
    } else {
        let messages = [serde_json::json!({ "role": "user", "content": prompt })];
        serde_json::json!({ "model": model, "stream": stream, "messages": messages })
    };
    body.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(path: &str) -> Wanted<'_> {
        Wanted {
            host: "127.0.0.1:8080",
            path,
            model: "a \"model\"",
            prompt_bytes: 500,
            stream: true,
            key: Some("k1"),
        }
    }

    /// Goal: the head counts the body, the body is JSON with a prompt of the length asked for.
    #[test]
    fn a_request_is_whole() {
        for (path, text) in [
            ("/v1/chat/completions", "/messages/0/content"),
            ("/v1/completions", "/prompt"),
            ("/v1/embeddings", "/input"),
        ] {
            let bytes = request(&wanted(path)).unwrap();
            let at = memchr::memmem::find(&bytes, b"\r\n\r\n").unwrap() + 4;
            let (head, body) = bytes.split_at(at);
            let head = std::str::from_utf8(head).unwrap();
            assert!(head.contains(&format!("content-length: {}\r\n", body.len())));
            assert!(head.contains("authorization: Bearer k1\r\n"));
            let json: serde_json::Value = serde_json::from_slice(body).unwrap();
            assert_eq!(json["model"], "a \"model\"");
            assert_eq!(json.pointer(text).unwrap().as_str().unwrap().len(), 500);
        }
    }

    /// Goal: numbered requests differ in the prompt alone, and by every number.
    #[test]
    fn a_number_is_a_part_of_the_prompt() {
        let bytes = request(&wanted("/v1/chat/completions")).unwrap();
        let at = number_at(&bytes).unwrap();
        let numbered = |number| {
            let mut other = bytes.clone();
            other[at..at + DIGITS].copy_from_slice(&digits(number));
            let body = memchr::memmem::find(&other, b"\r\n\r\n").unwrap() + 4;
            let json: serde_json::Value = serde_json::from_slice(&other[body..]).unwrap();
            let text = json.pointer("/messages/0/content").unwrap();
            text.as_str().unwrap().to_owned()
        };
        assert!(numbered(42).starts_with("000000000042teway relays"));
        assert_eq!(numbered(42).len(), 500);
        assert_ne!(numbered(42), numbered(43));
        let mut short = wanted("/v1");
        short.prompt_bytes = DIGITS - 1;
        assert_eq!(number_at(&request(&short).unwrap()), None);
    }

    /// Goal: nothing typed on the command line can break the head.
    #[test]
    fn a_head_cannot_be_broken() {
        assert!(request(&wanted("/a b")).is_err());
        assert!(request(&wanted("v1")).is_err());
        let mut key = wanted("/v1");
        key.key = Some("a\r\nb: c");
        assert!(request(&key).is_err());
    }
}
