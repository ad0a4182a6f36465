//! Path, query and headers in the one form that both sides of a signature agree on.
//!
//! Source: AWS Identity and Access Management User Guide, "Create a signed AWS API request",
//! step 1; botocore, `auth.py`, for what the guide leaves open.

/// Appends the path: dot segments and doubled slashes resolved, then encoded once more, also
/// where it is encoded already; as it stands when `is_plain` (S3).
pub(super) fn put_path(out: &mut String, path: &str, is_plain: bool) {
    if is_plain {
        out.push_str(if path.is_empty() { "/" } else { path });
        return;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop(),
            _ => segments.push(segment),
        }
    }
    for segment in &segments {
        out.push('/');
        put_encoded(out, segment, |_| false);
    }
    if segments.is_empty() || path.ends_with('/') {
        out.push('/');
    }
}

/// Appends the query: sorted by name and then by value; what is encoded stays as it is, what
/// should be and is not is encoded.
pub(super) fn put_query(out: &mut String, query: &str) {
    let encoded = |part: &str| {
        let mut out = String::new();
        put_encoded(&mut out, part, |b| b == b'%');
        out
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (encoded(name), encoded(value))
        })
        .collect();
    pairs.sort();
    for (i, (name, value)) in pairs.iter().enumerate() {
        if i > 0 {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
}

/// Appends the headers, a line each: names in lower case and in order, values trimmed, runs of
/// spaces made one, values of the same name joined in the order in which they came. Gives the
/// names back, joined by semicolons.
pub(super) fn put_headers(out: &mut String, headers: &[(&str, &str)]) -> String {
    let mut sorted: Vec<(String, &str)> = headers
        .iter()
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), *value))
        .collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0)); // stable
    let mut names = String::new();
    let mut last: Option<&str> = None;
    for (name, value) in &sorted {
        if last == Some(name) {
            out.push(',');
        } else {
            if last.is_some() {
                out.push('\n');
                names.push(';');
            }
            names.push_str(name);
            out.push_str(name);
            out.push(':');
        }
        last = Some(name);
        for (i, word) in value.split_ascii_whitespace().enumerate() {
            if i > 0 {
                out.push(' ');
            }
            out.push_str(word);
        }
    }
    if last.is_some() {
        out.push('\n');
    }
    names
}

/// Appends `text`, all but the unreserved characters (RFC 3986, 2.3) and those that `keep`
/// names percent-encoded.
fn put_encoded(out: &mut String, text: &str, keep: impl Fn(u8) -> bool) {
    let digit = |nibble: u8| {
        let digit = char::from_digit(u32::from(nibble), 16).unwrap_or('0');
        digit.to_ascii_uppercase()
    };
    for b in text.bytes() {
        let unreserved = b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
        if unreserved || keep(b) {
            out.push(char::from(b));
        } else {
            out.extend(['%', digit(b >> 4), digit(b & 15)]);
        }
    }
}
