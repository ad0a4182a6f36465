//! A stored answer as bytes, for other boxes.
//!
//! ```text
//!   format │ dialect │ wire │ stream? │ events │ took │ model │ provider │ its name │ media │ body │ more
//!   1        1         1      1         4        8      text    text       text       text    text   text
//!
//!   text: its length (4 bytes, least first), then so many bytes
//!   more: parts: kind (1 byte), text; whoever does not know one passes it over
//!         kind 1: partition (32), then the last text of the request, of an answer that is found by meaning
//!         kind 2: space (8), the text's vector (256), where that is a provider's
//! ```
//!
//! The text goes over and not what was made of it: so every box compares by its own tables and
//! rules, and boxes of two versions share; a meaning is never of a stranger's making. It stands
//! with the answer to it, as long as that. A provider's vector goes over, for it was paid for; it
//! only finds candidates.
//!
//! Its age, its end and its checksum are the envelope's ([`crate::cache::remote::envelope`]).
//!
//! Invariants
//! - P1 What was packed is unpacked unchanged.
//! - P2 Anything else is `None`: never a panic, and never more memory than the bytes that came.
//! - P3 What stands behind the answer and is not understood leaves the answer as it is.
//! - P4 The media type has nothing in it that ends a field of a head.

use super::keep::Question;
use super::stored::Stored;
use crate::cache::body::Body;
use crate::cache::embed::{DIMS, Placed, Vector};
use crate::cache::key::Key;
use crate::dialect::events::Wire;
use crate::dialect::model::Dialect;
use std::time::Duration;

/// The format. Another one is not read.
const FORMAT: u8 = 1;

/// Bytes before the texts.
const FRONT: usize = 16;

const fn dialect_byte(dialect: Dialect) -> u8 {
    match dialect {
        Dialect::Chat => 1,
        Dialect::Responses => 2,
        Dialect::Anthropic => 3,
        Dialect::Gemini => 4,
        Dialect::Cohere => 5,
        Dialect::Bedrock => 6,
    }
}

const WIRES: [Wire; 3] = [Wire::Lines, Wire::Frames, Wire::Wrapped];

const fn wire_byte(wire: Wire) -> u8 {
    match wire {
        Wire::Lines => 1,
        Wire::Frames => 2,
        Wire::Wrapped => 3,
    }
}

/// The part of `more` that says how the answer is found by meaning.
const QUESTION: u8 = 1;

/// The part of `more` with a provider's vector.
const PLACED: u8 = 2;

/// `stored` as bytes, with the `question` where it is found by that; `None` where a part is
/// longer than 4 GiB.
pub fn pack(stored: &Stored, question: Option<&Question>) -> Option<Vec<u8>> {
    let mut more = Vec::new();
    if let Some(question) = question {
        let Question {
            partition,
            text,
            placed,
        } = question;
        put_part(&mut more, QUESTION, [partition.bytes(), text.as_bytes()])?;
        if let Some(Placed { vector, space }) = placed {
            let dims = vector.dims.map(i8::cast_unsigned);
            put_part(&mut more, PLACED, [&space.to_le_bytes(), &dims])?;
        }
    }
    let body = stored.body.bytes();
    let beside = stored.bytes() - stored.body.held();
    let mut out = Vec::with_capacity(FRONT + 24 + beside + body.len() + more.len());
    let (dialect, wire) = (dialect_byte(stored.dialect), wire_byte(stored.wire));
    out.extend_from_slice(&[FORMAT, dialect, wire, u8::from(stored.is_stream)]);
    out.extend_from_slice(&stored.events.to_le_bytes());
    let took = u64::try_from(stored.took.as_nanos()).unwrap_or(u64::MAX);
    out.extend_from_slice(&took.to_le_bytes());
    let texts = [
        stored.model.as_bytes(),
        stored.provider.as_bytes(),
        stored.upstream_model.as_bytes(),
        stored.media.as_bytes(),
        &body,
        &more,
    ];
    for text in texts {
        out.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
        out.extend_from_slice(text);
    }
    Some(out)
}

fn put_part(more: &mut Vec<u8>, kind: u8, texts: [&[u8]; 2]) -> Option<()> {
    let length = texts.iter().map(|text| text.len()).sum::<usize>();
    more.push(kind);
    more.extend_from_slice(&u32::try_from(length).ok()?.to_le_bytes());
    for text in texts {
        more.extend_from_slice(text);
    }
    Some(())
}

/// What was packed; `None`: these bytes are not of this format, or not whole.
pub fn unpack(bytes: &[u8]) -> Option<(Stored, Option<Question>)> {
    let mut rest = bytes;
    let [format, dialect, wire, stream] = take_array(&mut rest)?;
    if format != FORMAT || stream > 1 {
        return None;
    }
    let dialect = Dialect::ALL
        .into_iter()
        .find(|it| dialect_byte(*it) == dialect)?;
    let wire = WIRES.into_iter().find(|it| wire_byte(*it) == wire)?;
    let events = u32::from_le_bytes(take_array(&mut rest)?);
    let took = u64::from_le_bytes(take_array(&mut rest)?);
    let mut words = [(); 4].map(|()| take_word(&mut rest));
    let [model, provider, upstream_model, media] = &mut words;
    let media = media.take().filter(|media| is_field(media))?;
    let (is_stream, body) = (stream == 1, take_text(&mut rest)?);
    let body = Body::new(body, is_stream);
    let stored = Stored {
        model: model.take()?.into(),
        provider: provider.take()?.into(),
        upstream_model: upstream_model.take()?.into(),
        dialect,
        wire,
        is_stream,
        media: media.into(),
        usage: Stored::usage_in(dialect, is_stream, &body),
        body,
        took: Duration::from_nanos(took),
        events,
        meaning: None, // of the box that compares
    };
    let more = take_text(&mut rest)?;
    rest.is_empty().then(|| (stored, question(more)))
}

/// What stands behind an answer, as far as it is understood (P3).
fn question(mut more: &[u8]) -> Option<Question> {
    let (mut asked, mut placed) = (None, None);
    while let Some((kind, mut part)) = take_part(&mut more) {
        match kind {
            QUESTION if asked.is_none() => {
                let partition = Key::new(take_array(&mut part)?);
                asked = Some((partition, std::str::from_utf8(part).ok()?.into()));
            }
            PLACED => placed = take_placed(part),
            _ => {}
        }
    }
    let (partition, text) = asked?;
    Some(Question {
        partition,
        text,
        placed,
    })
}

fn take_part<'a>(more: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let [kind] = take_array(more)?;
    Some((kind, take_text(more)?))
}

fn take_placed(mut part: &[u8]) -> Option<Placed> {
    let space = u64::from_le_bytes(take_array(&mut part)?);
    let dims: [u8; DIMS] = take_array(&mut part)?;
    let vector = Vector::of(&dims.map(|dim| f32::from(dim.cast_signed())))?;
    part.is_empty().then_some(Placed { vector, space })
}

/// P4.
fn is_field(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

fn take_array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (front, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*front)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take_array(rest)?);
    let (text, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = behind;
    Some(text)
}

fn take_word<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(take_text(rest)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stored(words: [String; 4], body: &[u8], numbers: (usize, usize, bool, u64)) -> Stored {
        let [model, provider, upstream_model, media] = words.map(String::into_boxed_str);
        let (dialect, wire, is_stream, count) = numbers;
        Stored {
            model,
            provider,
            upstream_model,
            dialect: Dialect::ALL[dialect],
            wire: WIRES[wire],
            is_stream,
            media,
            body: Body::new(body, is_stream),
            took: Duration::from_nanos(count),
            events: u32::try_from(count >> 32).unwrap(),
            usage: None,
            meaning: None,
        }
    }

    fn about(text: &str) -> Question {
        Question {
            partition: Key::new([9; 32]),
            text: text.into(),
            placed: None,
        }
    }

    fn placed(dims: &[i8], space: u64) -> Option<Placed> {
        let sum = std::array::from_fn(|at| f32::from(dims[at % dims.len()]));
        Vector::of(&sum).map(|vector| Placed { vector, space })
    }

    fn some() -> Stored {
        let words = ["m", "p", "", "text/event-stream"].map(str::to_owned);
        stored(words, b"data: x\n\n", (2, 0, true, 7 << 32 | 9))
    }

    fn parts(of: &Stored) -> impl PartialEq + std::fmt::Debug + use<> {
        let words = [&of.model, &of.provider, &of.upstream_model, &of.media].map(Clone::clone);
        let kinds = (of.dialect, of.wire, of.is_stream);
        (words, kinds, of.body.clone(), of.took, of.events)
    }

    /// Goal: P2. Method: every beginning of a packed answer, more behind it, another format, and
    /// every kind that there is not.
    #[test]
    fn what_is_not_whole_is_nothing() {
        let packed = pack(&some(), None).unwrap();
        for end in 0..packed.len() {
            assert!(unpack(&packed[..end]).is_none(), "{end}");
        }
        assert!(unpack(&[&*packed, b"x"].concat()).is_none());
        for (at, bad) in [(0, 0), (0, 2), (1, 0), (1, 7), (2, 0), (2, 4), (3, 2)] {
            let mut other = packed.clone();
            other[at] = bad;
            assert!(unpack(&other).is_none(), "{bad} at {at}");
        }
    }

    /// Goal: P4.
    #[test]
    fn a_media_type_ends_no_field() {
        for bad in ["a/b\r\nset-cookie: x", "a\n", "\u{e9}/x"] {
            let mut odd = some();
            odd.media = bad.into();
            assert!(unpack(&pack(&odd, None).unwrap()).is_none(), "{bad:?}");
        }
    }

    /// Goal: P3. Method: what is no part, and parts of a later version before the known one.
    #[test]
    fn more_is_passed_over() {
        let mut packed = pack(&some(), None).unwrap();
        packed.truncate(packed.len() - 4);
        packed.extend_from_slice(b"\x03\0\0\0new");
        let (stored, asked) = unpack(&packed).unwrap();
        assert_eq!((parts(&stored), asked), (parts(&some()), None));
        let known = about("x");
        let more = |parts: &[&[u8]]| {
            let mut packed = pack(&some(), None).unwrap();
            packed.truncate(packed.len() - 4);
            let more = parts.concat();
            packed.extend_from_slice(&u32::try_from(more.len()).unwrap().to_le_bytes());
            packed.extend_from_slice(&more);
            unpack(&packed).unwrap().1
        };
        let (later, ours) = (
            b"\x07\x03\0\0\0new",
            [b"\x01\x21\0\0\0", &[9; 32][..], b"x"].concat(),
        );
        assert_eq!(more(&[later, &ours]), Some(known.clone()));
        assert_eq!(more(&[&ours, later]), Some(known));
        for bad in [
            b"\x01\x03\0\0\0new".as_slice(),
            &ours[..20],
            &[&ours[..37], b"\xff"].concat(),
        ] {
            assert_eq!(more(&[bad]), None);
        }
    }

    proptest! {
        /// Goal: P1.
        #[test]
        fn what_was_packed_is_unpacked(
            model in ".{0,20}", provider in ".{0,20}", upstream in ".{0,20}",
            media in "[ -~]{0,30}",
            body in proptest::collection::vec(any::<u8>(), 0..300),
            numbers in (0_usize..6, 0_usize..3, any::<bool>(), any::<u64>()),
            asked in proptest::option::of(".{0,40}"),
            dims in proptest::collection::vec(any::<i8>(), 1..9), space: u64,
        ) {
            let stored = stored([model, provider, upstream, media], &body, numbers);
            let asked = asked.as_deref().map(about);
            let asked = asked.map(|it| Question { placed: placed(&dims, space), ..it });
            let packed = pack(&stored, asked.as_ref()).unwrap();
            let (back, asked_back) = unpack(&packed).unwrap();
            prop_assert_eq!((parts(&back), asked_back), (parts(&stored), asked));
        }

        /// Goal: P2. Method: any bytes, and packed answers of which one byte is another.
        #[test]
        fn any_bytes_are_unpacked_or_refused(
            any in proptest::collection::vec(any::<u8>(), 0..200), at in any::<usize>(), byte: u8,
        ) {
            drop(unpack(&any));
            let asked = Question { placed: placed(&[3, -9, 1], 7), ..about("How do I boil an egg?") };
            let mut packed = pack(&some(), Some(&asked)).unwrap();
            let at = at % packed.len();
            packed[at] = byte;
            if let Some((stored, _)) = unpack(&packed) {
                prop_assert!(is_field(&stored.media));
            }
        }
    }
}
