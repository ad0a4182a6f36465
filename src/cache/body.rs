//! The body of a stored answer: as it came, or the events of a stream as what is different
//! ([`crate::base::alike`]).
//!
//! A stream of short words is held in a tenth of its bytes and less.
//!
//! Invariants
//! - B1 What is told is what was stored, whole and in order.
//! - B2 What is held is no more than what came.

use crate::base::alike::{Reader, Writer};
use std::borrow::Cow;
use std::fmt;

/// A body.
#[derive(Clone, PartialEq)]
pub struct Body {
    held: Box<[u8]>,
    /// Bytes that came, where what is held is what is different.
    came: Option<usize>,
}

impl Body {
    /// Of a plain answer.
    pub fn plain(bytes: impl Into<Box<[u8]>>) -> Self {
        Self {
            held: bytes.into(),
            came: None,
        }
    }

    /// Of a stream.
    pub fn of_stream(bytes: &[u8]) -> Self {
        let mut made = Vec::with_capacity(bytes.len() / 8);
        Writer::default().put(&mut made, bytes);
        Self::made(made, bytes.len())
    }

    /// What a [`Writer`] made of a stream of `came` bytes.
    pub fn made(made: Vec<u8>, came: usize) -> Self {
        let body = Self {
            held: made.into(),
            came: Some(came),
        };
        if body.held() > came / 4 * 3 {
            return Self::plain(body.bytes().into_owned()); // B2
        }
        body
    }

    /// Of either.
    pub fn new(bytes: impl AsRef<[u8]> + Into<Box<[u8]>>, is_stream: bool) -> Self {
        if is_stream {
            Self::of_stream(bytes.as_ref())
        } else {
            Self::plain(bytes)
        }
    }

    /// Bytes that are told.
    pub fn len(&self) -> usize {
        self.came.unwrap_or(self.held.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes on the heap.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Calls `tell` with all of it, piece by piece.
    pub fn tell(&self, mut tell: impl FnMut(&[u8])) {
        if self.came.is_some() {
            Reader::default().read(&*self.held, 0, usize::MAX, tell);
        } else {
            tell(&self.held);
        }
    }

    /// All of it.
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        if self.came.is_none() {
            return Cow::Borrowed(&self.held);
        }
        Cow::Owned(Reader::all(&*self.held, self.len()))
    }
}

impl fmt::Debug for Body {
    /// Nothing of an answer is ever shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("bytes", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Goal: B1, B2. Method: any bytes, and a part of them many times.
        #[test]
        fn what_is_stored_is_told(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            times in 0_usize..40,
            is_stream in any::<bool>(),
        ) {
            let mut all = bytes.clone();
            for time in 0..times {
                all.extend_from_slice(&bytes);
                all.extend_from_slice(format!("{time}\n\n").as_bytes());
            }
            let body = Body::new(&all[..], is_stream);
            prop_assert_eq!((&*body.bytes(), body.len()), (&all[..], all.len()));
            prop_assert!(body.held() <= all.len());
        }
    }

    /// Goal: a recorded stream becomes small, in every dialect that has events of text.
    #[test]
    fn a_stream_is_held_in_a_tenth() {
        let word = |at| {
            format!(
                "data: {{\"id\":\"c-1234567890\",\"object\":\"chat.completion.chunk\",\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" w{at}\"}},\"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
            )
        };
        let stream: String = (0..100).map(word).collect();
        let body = Body::of_stream(stream.as_bytes());
        assert!(
            body.held() * 10 < body.len(),
            "{} of {}",
            body.held(),
            body.len()
        );
    }
}
