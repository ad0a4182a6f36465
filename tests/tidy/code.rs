//! Tells code from comments and quotes, so that words in these break no rule.
//!
//! ```text
//!   let a = "unsafe"; // async        what a file says
//!   let a = "      ";                 what its code says
//! ```
//!
//! Invariants
//! - I1 Length, lines and positions stay.
//! - I2 Nested comments, raw strings, escapes, characters and lifetimes are understood.

/// `text` with comments and the insides of quotes turned into blanks; same length, same lines.
pub(crate) fn code_of(text: &str) -> String {
    blanked(text, b' ', true)
}

/// `text` with `blank` for each byte inside quotes and, if asked, in comments.
pub(crate) fn blanked(text: &str, blank: u8, comments_too: bool) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let is_comment = bytes[at] == b'/';
        let Some((from, to, next)) = hidden(bytes, at) else {
            at += 1;
            continue;
        };
        let to = to.min(bytes.len());
        if comments_too || !is_comment {
            let inside = code[from..to].iter_mut();
            inside.filter(|b| **b != b'\n').for_each(|b| *b = blank);
        }
        at = next;
    }
    String::from_utf8(code).unwrap()
}

/// What a comment or a quote that starts at `at` hides, from where to where, and where code
/// goes on behind it.
fn hidden(bytes: &[u8], at: usize) -> Option<(usize, usize, usize)> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        let end = at + rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len());
        return Some((at, end, end));
    }
    if rest.starts_with(b"/*") {
        let end = at + comment(rest);
        return Some((at, end, end));
    }
    let raw = rest.strip_prefix(b"r").or_else(|| rest.strip_prefix(b"br"));
    if let Some(raw) = raw.filter(|_| at == 0 || !is_word(bytes[at - 1])) {
        let hashes = raw.iter().take_while(|&&b| b == b'#').count();
        if raw.get(hashes) == Some(&b'"') {
            let start = at + (rest.len() - raw.len()) + hashes + 1;
            let close = [&b"\""[..], &b"#".repeat(hashes)].concat();
            let end = start + find(&bytes[start..], &close).unwrap_or(bytes.len() - start);
            return Some((start, end, end + close.len()));
        }
    }
    let is_quote = rest[0] == b'"' || rest.starts_with(b"'\\");
    if is_quote || (rest[0] == b'\'' && rest.len() > 2 && is_char(&rest[1..])) {
        let end = at + 1 + quoted(&rest[1..], rest[0]);
        return Some((at + 1, end, end + 1));
    }
    None
}

/// Bytes of a block comment; such comments nest.
fn comment(rest: &[u8]) -> usize {
    let (mut depth, mut len) = (0, 0);
    while len < rest.len() {
        let step = match rest.get(len..len + 2) {
            Some(b"/*") => 1,
            Some(b"*/") => -1,
            _ => 0,
        };
        depth += step;
        len += if step == 0 { 1 } else { 2 };
        if depth == 0 {
            break;
        }
    }
    len
}

/// Whether `rest` is one character and a closing quote, so not a lifetime.
fn is_char(rest: &[u8]) -> bool {
    let len = match rest[0] {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        0xe0..0xf0 => 3,
        _ => 4,
    };
    rest.get(len) == Some(&b'\'')
}

/// Bytes before the closing `quote`, backslashes understood.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut len = 0;
    while len < rest.len() && rest[len] != quote {
        len += if rest[len] == b'\\' { 2 } else { 1 };
    }
    len
}

/// Whether `byte` may be a part of a name.
pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

/// Goal: hiding comments and quotes keeps length and lines and hides nothing else.
#[test]
fn code_keeps_its_place() {
    let cases = [
        ("a // b\nc", "a     \nc"),
        ("a /* b /* c */ d */ e", "a                   e"),
        ("f(\"x\\\"y\", 'z', '\\n')", "f(\"    \", ' ', '  ')"),
        ("r##\"a\"#b\"## c", "r##\"    \"## c"),
        ("fn f<'a>(b: &'a u8)", "fn f<'a>(b: &'a u8)"),
        ("b\"//\" for_r\"x\"", "b\"  \" for_r\" \""),
        ("'é' // é", "'  '      "),
        ("\"open", "\"    "),
        ("\"\" unsafe", "\"\" unsafe"),
        ("\"a\" + \"b\" unsafe", "\" \" + \" \" unsafe"),
    ];
    for (text, want) in cases {
        assert_eq!(code_of(text), want, "{text}");
        assert_eq!(code_of(text).len(), text.len());
    }
}
