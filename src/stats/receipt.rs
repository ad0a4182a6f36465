//! What is known of an exchange when it ends: one receipt each, exactly.

use crate::base::fault::Kind;
use crate::base::time::Instant;
use crate::dialect::model::Dialect;
use crate::dialect::openai::Usage;
use crate::dialect::route::Route;
use std::time::Duration;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum End {
    /// The whole answer was delivered.
    Done,
    /// An error was delivered, or the answer was cut off.
    Error,
    /// The client went away first.
    #[default]
    Cancelled,
}

impl End {
    /// Metric label and log word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttemptEnd {
    /// A whole answer.
    Done,
    /// The provider answered with an error status.
    Refused,
    /// It failed before any content went downstream.
    Failed,
    /// It failed after content went downstream.
    Cut,
    /// The client went away.
    Cancelled,
}

impl AttemptEnd {
    /// All of them, in the order of [`AttemptEnd::index`].
    pub const ALL: [Self; 5] = [
        Self::Done,
        Self::Refused,
        Self::Failed,
        Self::Cut,
        Self::Cancelled,
    ];

    /// Its place in tables.
    pub const fn index(self) -> usize {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Failed => 2,
            Self::Cut => 3,
            Self::Cancelled => 4,
        }
    }

    /// Metric label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cut => "cut",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A random name for an exchange; shown as 32 hex digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestId(pub [u8; 32]);

impl RequestId {
    /// The id made of two random words.
    pub fn new(high: u64, low: u64) -> Self {
        let mut text = [b'0'; 32];
        let words = [high >> 32, high, low >> 32, low];
        let (places, _) = text.as_chunks_mut::<8>();
        for (place, word) in places.iter_mut().zip(words) {
            *place = hex(word);
        }
        Self(text)
    }

    /// Its digits.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The low 32 bits of `word` in eight digits, all at once: a byte each, first half by half.
fn hex(word: u64) -> [u8; 8] {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let word = word & 0xffff_ffff;
    let word = (word | word << 16) & 0x0000_ffff_0000_ffff;
    let word = (word | word << 8) & 0x00ff_00ff_00ff_00ff;
    let digits = (word | word << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let is_letter = (digits + EACH * 6) >> 4 & EACH; // 10 and more reach the next half
    (digits + EACH * u64::from(b'0') + is_letter * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// How often another target went on with an answer, and whether some of the tokens that all of
/// them had are an estimate. One byte: a receipt is a part of every connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Continued(u8);

impl Continued {
    const ESTIMATED: u8 = 1 << 7;

    /// How often.
    pub const fn count(self) -> u8 {
        self.0 & !Self::ESTIMATED
    }

    /// Whether tokens are an estimate.
    pub const fn is_estimated(self) -> bool {
        self.0 & Self::ESTIMATED != 0
    }

    /// Once more.
    #[must_use]
    pub const fn once_more(self) -> Self {
        if self.count() == !Self::ESTIMATED {
            return self;
        }
        Self(self.0 + 1)
    }

    /// With tokens that are an estimate, or not.
    #[must_use]
    pub const fn estimated(self, is_estimated: bool) -> Self {
        Self(self.count() | if is_estimated { Self::ESTIMATED } else { 0 })
    }
}

impl Receipt {
    /// The dialect of the client; `OpenAI`'s where no route was found.
    pub fn front(&self) -> Dialect {
        self.route.map_or(Dialect::Chat, Route::dialect)
    }
}

/// What is known of an exchange when it ends. Indices point into the exchange's own
/// configuration snapshot; `None` = it did not get that far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Receipt {
    /// Its name.
    pub id: RequestId,
    /// First byte of the request.
    pub began: Instant,
    /// Settled at.
    pub ended: Instant,
    /// Index of the client key.
    pub key: Option<usize>,
    /// Which route was asked.
    pub route: Option<Route>,
    /// Index of the model.
    pub model: Option<usize>,
    /// Index of the provider that answered last.
    pub provider: Option<usize>,
    /// Status sent downstream; 0 when none was.
    pub status: u16,
    /// What went wrong, if anything.
    pub fault: Option<Kind>,
    /// How it ended.
    pub end: End,
    /// Attempts made.
    pub attempts: u8,
    /// How often another target went on with the answer.
    pub continued: Continued,
    /// Whether a stream was asked for.
    pub is_stream: bool,
    /// Tokens that the provider reported; with continuations, of all that had a part in it.
    pub usage: Option<Usage>,
    /// From the request's first byte to the first content sent downstream.
    pub first_content: Option<Duration>,
    /// Time that was spent waiting for the provider.
    pub upstream: Duration,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Events relayed.
    pub events: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an id is 32 hex digits, high word first.
    #[test]
    fn an_id_is_32_hex_digits() {
        let id = RequestId::new(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);
        assert_eq!(id.bytes(), b"0123456789abcdeffedcba9876543210");
    }

    /// Goal: both parts of the byte are told apart, however often.
    #[test]
    fn continuations_and_estimates_are_told_apart() {
        let mut continued = Continued::default();
        for count in 1..=300_u32 {
            continued = continued.once_more().estimated(count % 2 == 0);
            assert_eq!(u32::from(continued.count()), count.min(127));
            assert_eq!(continued.is_estimated(), count % 2 == 0);
        }
    }

    /// Goal: tables by attempt end have one place each.
    #[test]
    fn attempt_ends_have_one_place_each() {
        for (index, end) in AttemptEnd::ALL.iter().enumerate() {
            assert_eq!(end.index(), index);
        }
    }
}
