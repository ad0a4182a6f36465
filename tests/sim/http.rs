//! A small, strict HTTP/1.1 reader of the tests' own, so that no law rests on the code it tests.
//!
//! It reads whole messages from a growing vector, anew each time: slow and plain.

/// A message that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) line: String,
    /// Names in lower case, values trimmed.
    pub(crate) fields: Vec<(String, String)>,
    /// What came of the body, framing taken off.
    pub(crate) body: Vec<u8>,
    /// Whether the framing says that the body is whole.
    pub(crate) is_whole: bool,
    /// Bytes of the vector that belong to it.
    pub(crate) used: usize,
    /// While it is not whole: looking again is of no use below so many bytes.
    pub(crate) wants: usize,
}

impl Message {
    /// The value of a field that occurs once.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut all = self.fields.iter().filter(|(n, _)| n == name);
        let value = all.next().map(|(_, v)| v.as_str());
        assert!(all.next().is_none(), "{name} twice: {:?}", self.fields);
        value
    }

    /// The status of a response line.
    pub(crate) fn status(&self) -> u16 {
        let (version, rest) = self.line.split_once(' ').unwrap();
        assert_eq!(version, "HTTP/1.1", "{}", self.line);
        rest.get(..3).unwrap().parse().unwrap()
    }
}

/// The message at the start of `bytes`; `None` while its head is not complete.
/// `is_response` decides whether a body without length goes on until the close.
///
/// # Panics
/// When the bytes are not well-formed.
pub(crate) fn message(bytes: &[u8], is_response: bool, is_closed: bool) -> Option<Message> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    assert!(
        !head.replace("\r\n", "").contains(['\r', '\n', '\0']),
        "{head:?}"
    );
    let mut lines = head.split("\r\n");
    let mut message = Message {
        line: lines.next().unwrap().to_owned(),
        ..Message::default()
    };
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        assert!(!name.is_empty() && !name.contains([' ', '\t']), "{line:?}");
        message
            .fields
            .push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let rest = &bytes[end + 4..];
    let length = message
        .field("content-length")
        .map(|v| v.parse::<usize>().unwrap());
    let coding = message.field("transfer-encoding").map(str::to_owned);
    assert!(
        length.is_none() || coding.is_none(),
        "both framings: {head}"
    );
    let (used, is_whole, wants) = match (length, coding) {
        (Some(length), _) => {
            let have = rest.len().min(length);
            message.body = rest[..have].to_vec();
            (have, have == length, length)
        }
        (None, Some(coding)) => {
            assert_eq!(coding, "chunked");
            chunks(rest, &mut message.body)
        }
        (None, None) if is_response && !is_bodiless(&message) => {
            message.body = rest.to_vec();
            (rest.len(), is_closed, rest.len() + 1)
        }
        (None, None) => (0, true, 0),
    };
    (message.used, message.is_whole) = (end + 4 + used, is_whole);
    message.wants = end + 4 + wants;
    Some(message)
}

fn is_bodiless(response: &Message) -> bool {
    matches!(response.status(), 100..200 | 204 | 304)
}

/// Decodes chunks into `body`: bytes used, whether the last chunk was there, bytes wanted.
fn chunks(bytes: &[u8], body: &mut Vec<u8>) -> (usize, bool, usize) {
    let mut at = 0;
    loop {
        let Some(line) = memchr::memmem::find(&bytes[at..], b"\r\n") else {
            return (bytes.len(), false, bytes.len() + 1);
        };
        let digits = std::str::from_utf8(&bytes[at..at + line]).unwrap();
        let size = usize::from_str_radix(digits, 16).unwrap();
        at += line + 2;
        let have = (bytes.len() - at).min(size);
        body.extend_from_slice(&bytes[at..at + have]);
        let Some(end) = bytes.get(at + size..at + size + 2) else {
            return (bytes.len(), false, at + size + 2);
        };
        assert_eq!(end, b"\r\n", "a chunk ends with CRLF");
        at += size + 2;
        if size == 0 {
            return (at, true, at);
        }
    }
}

/// The bytes of each event of a stream, its blank line included; what follows the last
/// blank line comes as a last piece.
pub(crate) fn events(stream: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    while at < stream.len() {
        let ends = [&b"\n\n"[..], b"\r\n\r\n"];
        match ends.iter().find(|end| stream[at..].starts_with(end)) {
            Some(end) => {
                at += end.len();
                found.push(&stream[start..at]);
                start = at;
            }
            None => at += 1,
        }
    }
    if start < stream.len() {
        found.push(&stream[start..]);
    }
    found
}

/// Goal: the reader cuts messages where they end, and knows a cut from an end.
#[test]
fn messages_are_read_to_their_end() {
    let text =
        b"HTTP/1.1 200 OK\r\nA: b\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP";
    for end in 0..text.len() {
        let read = message(&text[..end], true, false);
        let is_whole = read.as_ref().is_some_and(|m| m.is_whole);
        assert_eq!(is_whole, end >= text.len() - 4, "{end}");
        if let Some(read) = read {
            assert!(b"abc".starts_with(&read.body[..]));
            assert_eq!(read.field("a"), Some("b"));
        }
    }
    let close = b"HTTP/1.1 200 OK\r\n\r\nxy";
    assert!(!message(close, true, false).unwrap().is_whole);
    assert!(message(close, true, true).unwrap().is_whole);
    let post = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nxyz";
    let read = message(post, false, false).unwrap();
    assert_eq!((read.body, read.used), (b"xy".to_vec(), post.len() - 1));
}

/// Goal: events keep every byte, whatever ends their lines.
#[test]
fn events_keep_every_byte() {
    let parts = events(b"data: a\n\n: c\r\n\r\ndata: b\n\ndata:");
    assert_eq!(
        parts,
        [
            &b"data: a\n\n"[..],
            b": c\r\n\r\n",
            b"data: b\n\n",
            b"data:"
        ]
    );
}
