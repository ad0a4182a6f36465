//! Recognises the next event of a stream by the one before it.
//!
//! ```text
//!   data: {"id":"c1",…,"delta":{"content":"Hel"},…,"obfuscation":"aZ3"}\n\n
//!   └──────────── the same ────────────────┘   └─── the same ────────┘  └ the same ┘
//! ```
//!
//! The events of a stream differ in one string, the text itself (and, at some providers, in
//! a string of padding). An event that is the last one with other text in these strings says
//! the same about everything else, so it need not be read again. Comparing is about ten
//! times as fast as reading.
//!
//! Invariants
//! - I1 An event that fits is valid where the learned one was: the holes are whole string
//!   values, and what stands in them is free of quotes, backslashes and control characters.
//! - I2 One allocation per stream at the most that learns, none per event.
//! - I3 What fits at the front of a stream between two events is one whole event, and ends
//!   with an LF: it has the learned one's line ends and no others.

use crate::wire::json::plain_run;
use memchr::memchr2;
use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Longest event that is learned, in bytes.
const LEARNED_MAX: usize = 2048;

/// Keys whose string is the text.
static TEXTS: LazyLock<[Finder<'_>; 4]> = LazyLock::new(|| {
    [
        "\"content\":\"",
        "\"reasoning_content\":\"",
        "\"reasoning\":\"",
        "\"text\":\"",
    ]
    .map(Finder::new)
});

/// The key of OpenAI's padding.
static PADDING: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"obfuscation\":\""));

/// An event with holes in it.
#[derive(Clone, Debug, Default)]
pub struct Template {
    event: Vec<u8>,
    /// Where the literal parts end and begin again: a hole each. Small, as a stream has its own.
    holes: [(u16, u16); 2],
    used: u8,
    /// Whether the second hole is the text's.
    is_second: bool,
    /// It begins with a letter and ends with LF, so nothing before it tells how it is split.
    is_plain: bool,
}

impl Template {
    /// Nothing learned: nothing fits.
    pub const fn new() -> Self {
        Self {
            event: Vec::new(),
            holes: [(0, 0); 2],
            used: 0,
            is_second: false,
            is_plain: false,
        }
    }

    /// Learns `event`, the bytes of a whole event whose data is one line of valid JSON that
    /// carries content and neither an end, nor usage, nor an error.
    pub fn learn(&mut self, event: &[u8]) {
        (self.used, self.is_plain) = (0, false);
        if event.len() > LEARNED_MAX {
            return;
        }
        let hole =
            |key: &Finder<'_>| hole(event, key).map(|(start, end)| (narrow(start), narrow(end)));
        let Some(text) = TEXTS.iter().find_map(hole) else {
            return;
        };
        self.holes = [text; 2];
        (self.used, self.is_second) = (1, false);
        if let Some(padding) = hole(&PADDING) {
            self.holes = if padding.0 < text.0 {
                [padding, text]
            } else {
                [text, padding]
            };
            self.used = 2;
            self.is_second = padding.0 < text.0;
        }
        self.is_plain =
            event.first().is_some_and(u8::is_ascii_alphabetic) && event.last() == Some(&b'\n');
        self.event.clear();
        self.event.extend_from_slice(event);
    }

    /// Forgets what was learned: something else came, and the next text may be another block's.
    pub fn forget(&mut self) {
        (self.used, self.is_plain) = (0, false);
    }

    /// Whether `event` is the learned one with other strings in its holes (I1).
    pub fn fits(&self, event: &[u8]) -> bool {
        let front = self.literals().and_then(|it| front(event, &it));
        front.is_some_and(|(len, _)| len == event.len())
    }

    /// Whether what was learned is `before`, something in its only hole, and `behind`: so that it
    /// fits whatever has these, and plain text between them.
    pub fn is_text_in(&self, before: &[u8], behind: &[u8]) -> bool {
        let [(start, end), _] = self.holes();
        let is_in_hole = before.len() >= start && behind.len() >= self.event.len() - end;
        let is_one = before.len() + behind.len() <= self.event.len();
        self.used == 1
            && is_in_hole
            && is_one
            && self.event.starts_with(before)
            && self.event.ends_with(behind)
            && self.fits(&self.event)
    }

    /// As [`Template::is_text_in`], for one event in the middle of a stream (I3).
    pub fn is_text_between(&self, before: &[u8], behind: &[u8]) -> bool {
        self.is_plain && self.is_text_in(before, behind)
    }

    /// The text that [`Template::learn`] would take for the one that changes.
    pub fn candidate(event: &[u8]) -> Option<&[u8]> {
        let (start, end) = TEXTS.iter().find_map(|key| hole(event, key))?;
        event.get(start..end)
    }

    /// How many events in a row fit at the front of `bytes`, in the middle of a stream behind the
    /// LF of an event's end, and how long they are together; none when they do not fit, or not in
    /// a way that says where they end, or are not here as a whole (I3).
    ///
    /// Apart from the caller's loop, since it is the whole of the work on a stream that arrives
    /// in bulk: nothing but the template and the place is alive in it.
    pub fn next_run(&self, bytes: &[u8]) -> (usize, u64) {
        let (mut at, mut events) = (0, 0);
        let Some(literals) = self.literals().filter(|_| self.is_plain) else {
            return (0, 0);
        };
        while let Some((len, _)) = bytes.get(at..).and_then(|it| front(it, &literals)) {
            at += len;
            events += 1;
        }
        (at, events)
    }

    /// As [`Template::next_run`], for one event, with what stands in the place of its text.
    #[inline]
    pub fn next_text<'b>(&self, bytes: &'b [u8]) -> Option<(usize, &'b [u8])> {
        if !self.is_plain {
            return None;
        }
        let (len, [first, second]) = front(bytes, &self.literals()?)?;
        Some((len, if self.is_second { second } else { first }))
    }

    #[inline]
    fn holes(&self) -> [(usize, usize); 2] {
        let wide = |(start, end)| (usize::from(start), usize::from(end));
        self.holes.map(wide)
    }

    /// What stands around the holes; the last is `None` with one hole only.
    #[inline]
    fn literals(&self) -> Option<Literals<'_>> {
        let [(start, end), (second, behind)] = self.holes();
        let first = self.event.get(..start)?;
        match self.used {
            0 => None,
            1 => Some((first, self.event.get(end..)?, None)),
            _ => Some((
                first,
                self.event.get(end..second)?,
                Some(self.event.get(behind..)?),
            )),
        }
    }
}

type Literals<'t> = (&'t [u8], &'t [u8], Option<&'t [u8]>);

/// How many bytes at the front of `bytes` are the learned event with other strings in its holes,
/// and what stands in these.
#[inline]
fn front<'b>(
    bytes: &'b [u8],
    (first, second, third): &Literals<'_>,
) -> Option<(usize, [&'b [u8]; 2])> {
    // Up to a quote; at anything else the next literal does not fit.
    let hole = |rest: &'b [u8]| rest.split_at_checked(plain_run(rest, 0));
    let (one, rest) = hole(bytes.strip_prefix(*first)?)?;
    let mut rest = rest.strip_prefix(*second)?;
    let mut other: &[u8] = &[];
    if let Some(third) = third {
        (other, rest) = hole(rest)?;
        rest = rest.strip_prefix(*third)?;
    }
    Some((bytes.len() - rest.len(), [one, other]))
}

/// A place in an event that is learned.
fn narrow(place: usize) -> u16 {
    u16::try_from(place).unwrap_or(u16::MAX)
}

/// Where the string behind `key` has its text: from behind its quote to the closing one.
/// `None` without the key, and for a string with escapes.
fn hole(event: &[u8], key: &Finder<'_>) -> Option<(usize, usize)> {
    let start = key.find(event)? + key.needle().len();
    let rest = event.get(start..)?;
    let end = memchr2(b'"', b'\\', rest)?;
    (rest.get(end) == Some(&b'"')).then_some((start, start + end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai::chunk::look;
    use proptest::prelude::*;

    const EVENT: &str = concat!(
        r#"data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hel"},"finish_reason":null}],"#,
        r#""obfuscation":"aZ3"}"#,
        "\n\n"
    );

    fn learned(event: &str) -> Template {
        let mut template = Template::new();
        template.learn(event.as_bytes());
        template
    }

    /// Goal: other text fits; anything else that differs does not.
    #[test]
    fn only_other_text_fits() {
        let template = learned(EVENT);
        assert!(template.fits(EVENT.as_bytes()));
        assert!(
            template.fits(
                EVENT
                    .replace("Hel", "lo wörld")
                    .replace("aZ3", "")
                    .as_bytes()
            )
        );
        for (from, to) in [
            ("Hel", "a\\n"),
            ("Hel", "a\",\"refusal\":\"b"),
            ("Hel", "a\nb"),
            ("null", "\"stop\""),
            ("\"c\"", "\"d\""),
            ("\n\n", "\n"),
            ("}\n", "} \n"),
            ("aZ3", "\\u0041"),
        ] {
            assert!(
                !template.fits(EVENT.replacen(from, to, 1).as_bytes()),
                "{to}"
            );
        }
        assert!(!Template::new().fits(b""));
        assert!(!Template::new().fits(EVENT.as_bytes()));
    }

    /// Goal: the text is told, and not the padding, wherever either stands.
    #[test]
    fn the_text_of_an_event_is_told() {
        let padded_first = concat!(
            r#"data: {"obfuscation":"aZ3","choices":[{"delta":{"content":"Hel"}}]}"#,
            "\n\n"
        );
        let bare = concat!(r#"data: {"delta":{"text":"Hel"}}"#, "\n\n");
        for event in [EVENT, padded_first, bare] {
            let template = learned(event);
            let next = event.replace("Hel", "lo wörld").replace("aZ3", "b") + "rest";
            let (len, text) = template.next_text(next.as_bytes()).unwrap();
            assert_eq!((len, text), (next.len() - 4, "lo wörld".as_bytes()));
            assert_eq!(Template::candidate(event.as_bytes()), Some(&b"Hel"[..]));
        }
        assert_eq!(Template::new().next_text(EVENT.as_bytes()), None);
    }

    /// Goal: a gap is a text's only where it lies in the one hole of what was learned. Method: gaps
    /// from every place to every other one.
    #[test]
    fn a_gap_is_in_the_text_or_not() {
        let event = "data: {\"index\":0,\"delta\":{\"content\":\"Hello\"}}\n\n";
        let template = learned(event);
        let bytes = event.as_bytes();
        let start = event.find("Hello").unwrap();
        for from in 0..=bytes.len() {
            for to in from..=bytes.len() {
                let is_in = (start..=start + 5).contains(&from) && to <= start + 5;
                assert_eq!(template.is_text_in(&bytes[..from], &bytes[to..]), is_in);
            }
        }
        assert!(!template.is_text_in(&bytes[..=start], b"\"}} \n\n"));
        assert!(!learned(EVENT).is_text_in(b"data", b"\n"));
        assert!(!Template::new().is_text_in(b"", b""));
    }

    /// Goal: an event without a plain text teaches nothing, and forgets what was known.
    #[test]
    fn an_event_without_plain_text_teaches_nothing() {
        let mut template = learned(EVENT);
        template.learn(br#"data: {"choices":[{"delta":{"content":"a\"b"}}]}"#);
        assert!(!template.fits(EVENT.as_bytes()));
        template.learn(&[b'x'; LEARNED_MAX + 1]);
        assert!(!template.fits(&[b'x'; LEARNED_MAX + 1]));
    }

    /// How long the event at the front of `bytes` is; a run begins with it, too.
    fn next(template: &Template, bytes: &[u8]) -> Option<usize> {
        let len = template.next_text(bytes).map(|(len, _)| len);
        let (run, events) = template.next_run(bytes);
        assert_eq!(len.is_some(), events > 0);
        assert!(len.is_none_or(|len| run >= len && events == (run / len) as u64));
        len
    }

    /// Goal: I3. Method: whatever follows an event, and wherever it is cut, the front is the
    /// event as the splitter sees it, or nothing.
    #[test]
    fn the_front_is_a_whole_event_or_nothing() {
        let template = learned(EVENT);
        let other = EVENT.replace("Hel", "lo");
        for behind in ["", "\n", "\r\n", "data: [DONE]\n\n", EVENT] {
            let stream = other.clone() + behind;
            for cut in 0..=stream.len() {
                let want = (cut >= other.len()).then_some(other.len());
                assert_eq!(next(&template, &stream.as_bytes()[..cut]), want, "{cut}");
            }
        }
        // Whether a CR ends the event before the LF is told by the splitter alone.
        let cr = EVENT.replace("\n\n", "\r\n\r");
        assert_eq!(next(&learned(&cr), cr.as_bytes()), None);
        assert!(learned(&cr).fits(cr.as_bytes()));
        let lf_first = format!("\n{EVENT}");
        assert_eq!(next(&learned(&lf_first), lf_first.as_bytes()), None);
    }

    proptest! {
        /// Goal: I1. Method: whatever stands in the text, an event that fits is read in full
        /// as the learned one is, but for text that is empty.
        #[test]
        fn what_fits_reads_the_same(text in "(?s).{0,12}", padding in "[ -~]{0,6}") {
            let event = EVENT.replace("Hel", &text).replace("aZ3", &padding);
            let data = |event: &str| look(event.trim_end().trim_start_matches("data: ").as_bytes());
            if learned(EVENT).fits(event.as_bytes()) {
                let (mut now, before) = (data(&event), data(EVENT));
                now.content |= text.is_empty();
                prop_assert_eq!(now, before);
            } else {
                let both = text + &padding;
                prop_assert!(both.chars().any(|c| c < ' ' || c == '"' || c == '\\'));
            }
        }
    }
}
