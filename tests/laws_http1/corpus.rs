//! The request corpus: its manifest, and its templates filled in.
//!
//! It lies in the shared folder: `$SHARDGATE_SHARED`, or `../shared` beside the package. A
//! missing corpus is a failure.

use super::suites::shared;
use serde_json::Value;

pub(super) const BODY: &[u8] = br#"{"model":"ok","messages":[{"role":"user","content":"hi"}]}"#;
const PATH: &str = "/v1/chat/completions";
const KEY: &str = "sk-test";
const BODY_LENGTH: &[u8] = b"@@length@@";

pub(super) struct Case {
    pub(super) id: String,
    pub(super) rfc: String,
    pub(super) ideal: String,
    pub(super) messages: usize,
    pub(super) statuses: Vec<u64>,
    pub(super) half_close: bool,
    pub(super) is_slow: bool,
    pub(super) template: Vec<u8>,
    pub(super) raw: Vec<u8>,
}

pub(super) fn corpus() -> Vec<Case> {
    let folder = shared("reliability/corpus/h1");
    let manifest = std::fs::read(folder.join("manifest.json"))
        .unwrap_or_else(|error| panic!("no corpus at {}: {error}", folder.display()));
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let text = |case: &Value, key: &str| case[key].as_str().unwrap().to_owned();
    let cases = manifest["cases"].as_array().unwrap();
    let cases = cases.iter().map(|case| {
        let template = std::fs::read(folder.join(text(case, "file"))).unwrap();
        let statuses = case["statuses"].as_array();
        Case {
            id: text(case, "id"),
            rfc: text(case, "rfc"),
            ideal: text(case, "ideal"),
            messages: usize::try_from(case["n"].as_u64().unwrap()).unwrap(),
            statuses: statuses.map_or_else(
                || vec![400],
                |list| list.iter().map(|status| status.as_u64().unwrap()).collect(),
            ),
            half_close: case["half_close"] == true,
            is_slow: text(case, "category") == "slow",
            raw: render(&template, &text(case, "id")),
            template,
        }
    });
    let cases: Vec<_> = cases.collect();
    assert!(
        cases.len() > 300,
        "{} cases are not the corpus",
        cases.len()
    );
    cases
}

/// Fills in what stands between double braces.
fn render(template: &[u8], id: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = template;
    while let Some(start) = find(rest, b"{{") {
        let Some(len) = find(&rest[start..], b"}}") else {
            break;
        };
        let name = std::str::from_utf8(&rest[start + 2..start + len]).unwrap();
        out.extend_from_slice(&rest[..start]);
        out.extend(filled(name, id));
        rest = &rest[start + len + 2..];
    }
    out.extend_from_slice(rest);
    if let Some(at) = find(&out, BODY_LENGTH) {
        let head = find(&out, b"\r\n\r\n").unwrap_or(out.len());
        let length = if at < head { out.len() - head - 4 } else { 0 };
        out.splice(at..at + BODY_LENGTH.len(), length.to_string().into_bytes());
    }
    out
}

pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}

fn filled(name: &str, id: &str) -> Vec<u8> {
    let (name, argument) = name.split_once(':').unwrap_or((name, ""));
    let number = |text: &str| text.trim_start_matches('+').parse::<usize>().unwrap();
    let big = |n: &str| {
        let frame = String::from_utf8(BODY.to_vec()).unwrap().replace("hi", "@");
        frame.replace('@', &"x".repeat(number(n) + 1 - frame.len()))
    };
    let length = BODY.len();
    let text = match name {
        "P" => PATH.to_owned(),
        "PPCT" => format!(
            "{}%{:02x}",
            &PATH[..PATH.len() - 1],
            PATH.as_bytes()[PATH.len() - 1]
        ),
        "H" => "127.0.0.1:8080".to_owned(),
        "H0" => "127.0.0.1".to_owned(),
        "A" => format!("Authorization: Bearer {KEY}\r\nContent-Type: application/json\r\n"),
        "B" => return BODY.to_vec(),
        "M" => "ok".to_owned(),
        "ID" => id.to_owned(),
        "CL" if argument.is_empty() => length.to_string(),
        "CL" => (length + number(argument)).to_string(),
        "XL" => format!("{length:x}"),
        "XLP2" => format!("{:02x}", length & 255),
        "CLWRAP32" => ((1_u128 << 32) + length as u128).to_string(),
        "CLWRAP64" => ((1_u128 << 64) + length as u128).to_string(),
        "BODYLEN" => return BODY_LENGTH.to_vec(),
        "BIG" => big(argument),
        "BIGCL" => big(argument).len().to_string(),
        "KEY" if argument.is_empty() => KEY.to_owned(),
        "KEY" => KEY[..number(argument)].to_owned(),
        "KEY^" => KEY.to_uppercase(),
        "FILL" => {
            let (byte, count) = argument.split_once(':').unwrap();
            byte.repeat(number(count))
        }
        "CHUNK1" => {
            let chunks = BODY
                .iter()
                .flat_map(|byte| [b"1\r\n", &[*byte, b'\r', b'\n'][..]].concat());
            return chunks.chain(*b"0\r\n\r\n").collect();
        }
        "PADCHUNKS" => {
            let body = String::from_utf8(BODY.to_vec()).unwrap();
            format!(
                "{}{length:x}\r\n{body}\r\n0\r\n\r\n",
                "1\r\n \r\n".repeat(number(argument))
            )
        }
        _ => panic!("the corpus has a placeholder that this test does not know: {name}"),
    };
    text.into_bytes()
}
