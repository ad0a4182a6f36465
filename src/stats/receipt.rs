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
    /// Another attempt was faster.
    Lost,
}

impl AttemptEnd {
    /// All of them, in the order of [`AttemptEnd::index`].
    pub const ALL: [Self; 6] = [
        Self::Done,
        Self::Refused,
        Self::Failed,
        Self::Cut,
        Self::Cancelled,
        Self::Lost,
    ];

    /// Its place in tables.
    pub const fn index(self) -> usize {
        match self {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Failed => 2,
            Self::Cut => 3,
            Self::Cancelled => 4,
            Self::Lost => 5,
        }
    }

    /// Metric label and log word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Cut => "cut",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}

/// What came of a second attempt beside a slow one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HedgeEnd {
    /// Its first content was first.
    Won,
    /// The other one's was.
    Lost,
    /// It gave nothing that could be delivered.
    Failed,
    /// The client went away.
    Cancelled,
    /// It was due, and was not made: nothing was left to spend, a breaker was in doubt, or
    /// there was no other target.
    Denied,
}

impl HedgeEnd {
    /// All of them, in the order of [`HedgeEnd::index`].
    pub const ALL: [Self; 5] = [
        Self::Won,
        Self::Lost,
        Self::Failed,
        Self::Cancelled,
        Self::Denied,
    ];

    /// Its place in tables.
    pub const fn index(self) -> usize {
        match self {
            Self::Won => 0,
            Self::Lost => 1,
            Self::Failed => 2,
            Self::Cancelled => 3,
            Self::Denied => 4,
        }
    }

    /// Metric label and log word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Won => "won",
            Self::Lost => "lost",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Denied => "denied",
        }
    }
}

/// Why an attempt ended as it did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// There is nothing to say: it went well, or the client left.
    #[default]
    Nothing,
    /// The provider's status; that of its error, where that came in a 200.
    Status(u16),
    /// A fault.
    Fault(Kind),
}

/// An attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Try {
    /// Index of its model: the one that was asked for, or a fallback.
    pub model: u16,
    /// Place of its target in that model.
    pub place: u8,
    /// What it came to; "cancelled" until that is known.
    pub end: AttemptEnd,
    /// Why.
    pub why: Why,
    /// How long it took, in microseconds, 71 minutes at the most; not what was waited before it.
    pub micros: u32,
}

impl Try {
    /// It begins, at the target at `place` of the model at the index `model`.
    pub fn new(model: usize, place: usize) -> Self {
        Self {
            model: u16::try_from(model).unwrap_or(u16::MAX),
            place: u8::try_from(place).unwrap_or(u8::MAX),
            end: AttemptEnd::Cancelled,
            why: Why::Nothing,
            micros: 0,
        }
    }
}

/// The attempts before the last one, in the order in which they ended; of most exchanges there
/// are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Earlier([Option<Try>; EARLIER_MAX]);

/// Attempts before the last one, at most.
pub const EARLIER_MAX: usize = 7;

impl Earlier {
    /// One more; more than [`EARLIER_MAX`] are not kept.
    pub fn push(&mut self, one: Try) {
        let room = self.0.iter_mut().find(|place| place.is_none());
        debug_assert!(room.is_some(), "as many as attempts may be made");
        if let Some(room) = room {
            *room = Some(one);
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
    /// Index of the client key.
    pub fn key(&self) -> Option<usize> {
        self.key_index.map(usize::from)
    }

    /// It came with this key.
    pub fn set_key(&mut self, index: Option<usize>) {
        self.key_index = index.and_then(|index| u16::try_from(index).ok());
    }

    /// Index of the model that was asked for.
    pub fn model(&self) -> Option<usize> {
        self.model_index.map(usize::from)
    }

    /// This model was asked for.
    pub fn set_model(&mut self, index: usize) {
        self.model_index = u16::try_from(index).ok();
    }

    /// The dialect of the client; `OpenAI`'s where no route was found.
    pub fn front(&self) -> Dialect {
        self.route.map_or(Dialect::Chat, Route::dialect)
    }

    /// Its next attempt begins, at the target at `place` of the model at the index `model`.
    pub fn begin_try(&mut self, model: usize, place: usize) {
        let next = Try::new(model, place);
        self.attempts = self.attempts.saturating_add(1);
        self.has_content = false;
        (self.usage, self.events) = (None, 0); // of an attempt that came to nothing
        if let Some(before) = self.last.replace(next) {
            self.earlier.get_or_insert_default().push(before);
        }
    }

    /// Its last attempt ended, after so long.
    pub fn end_try(&mut self, end: AttemptEnd, why: Why, took: Duration) {
        if let Some(last) = &mut self.last {
            (last.end, last.why) = (end, why);
            last.micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        }
    }

    /// An attempt beside its last one ended, after so long: `one`.
    pub fn end_beside(&mut self, one: Try, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let one = Try { micros, ..one };
        self.earlier.get_or_insert_default().push(one);
    }

    /// Its attempts, in the order in which they ended.
    pub fn tries(&self) -> impl Iterator<Item = &Try> {
        let earlier = self.earlier.iter().flat_map(|earlier| &earlier.0).flatten();
        earlier.chain(&self.last)
    }
}

/// What a cache did for an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// The answer to the same request was there.
    Hit,
    /// That of a request which means the same.
    SemanticHit,
    /// It was being made for somebody else.
    Coalesced,
    /// There was none.
    Miss,
    /// The request is none for a cache.
    Bypass,
}

impl CacheUse {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Hit,
        Self::SemanticHit,
        Self::Coalesced,
        Self::Miss,
        Self::Bypass,
    ];

    /// As headers, metrics and the log say it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::SemanticHit => "semantic-hit",
            Self::Coalesced => "coalesced",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

/// What is known of an exchange when it ends. Indices point into the exchange's own
/// configuration snapshot; `None` = it did not get that far.
#[derive(Clone, Debug, Default)]
pub struct Receipt {
    /// Its name.
    pub id: RequestId,
    /// First byte of the request.
    pub began: Instant,
    /// Settled at.
    pub ended: Instant,
    /// Index of the client key: [`Receipt::key`].
    pub key_index: Option<u16>,
    /// Which route was asked.
    pub route: Option<Route>,
    /// Index of the model: [`Receipt::model`].
    pub model_index: Option<u16>,
    /// Status sent downstream; 0 when none was.
    pub status: u16,
    /// What went wrong, if anything.
    pub fault: Option<Kind>,
    /// How it ended.
    pub end: End,
    /// Attempts made.
    pub attempts: u8,
    /// A second attempt may start beside a slow one.
    pub hedges: bool,
    /// What came of the last hedge.
    pub hedge: Option<HedgeEnd>,
    /// Content came of the last of them.
    pub has_content: bool,
    /// The last of them.
    pub last: Option<Try>,
    /// Those before it.
    pub earlier: Option<Box<Earlier>>,
    /// How often another target went on with the answer.
    pub continued: Continued,
    /// Whether a stream was asked for.
    pub is_stream: bool,
    /// Tokens that the provider reported; with continuations, of all that had a part in it.
    pub usage: Option<Usage>,
    /// From the request's first byte to the first content sent downstream.
    pub first_content: Option<Duration>,
    /// Time that was spent waiting for providers, and between two attempts.
    pub upstream: Duration,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Events relayed.
    pub events: u64,
    /// What the cache did, where the model has one.
    pub cache: Option<CacheUse>,
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

    /// Goal: attempts are kept in their order; the first needs no list. Method: one to as many
    /// as may be made.
    #[test]
    fn attempts_are_kept_in_their_order() {
        let mut receipt = Receipt::default();
        assert_eq!(receipt.tries().count(), 0);
        for n in 0..=EARLIER_MAX {
            receipt.begin_try(n, 2 * n);
            assert_eq!(receipt.last.map(|one| one.end), Some(AttemptEnd::Cancelled));
            let took = Duration::from_micros(n as u64);
            receipt.end_try(AttemptEnd::Refused, Why::Status(429), took);
            assert_eq!(receipt.earlier.is_some(), n > 0);
            let seen: Vec<_> = receipt
                .tries()
                .map(|one| (one.model.into(), one.place.into(), one.micros as usize))
                .collect();
            let want: Vec<_> = (0..=n).map(|n| (n, 2 * n, n)).collect();
            assert_eq!(seen, want);
            assert_eq!(usize::from(receipt.attempts), n + 1);
        }
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
        for (index, end) in HedgeEnd::ALL.iter().enumerate() {
            assert_eq!(end.index(), index);
        }
    }
}
