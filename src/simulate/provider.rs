//! A simulated provider on one shard: what its connections share, and the heads of its answers.
//!
//! Everything here belongs to one shard; only the counters of [`Stats`] are read by others.

use super::answer::Words;
use super::ask::Coding;
use super::behave::Close;
use super::config::Config;
use super::embed;
use super::keys::DIMS_MAX;
use super::stats::{Row, Stats};
use super::tongue;
use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::dialect::model::Dialect;
use crate::wire::http1::{END_OF_HEAD, put_decimal_field, put_own_field, put_status_line};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Most different kinds of embedding that are kept ready; each is at most 400 KB.
const VECTORS_MAX: usize = 16;

/// A provider's share of one shard.
#[derive(Debug)]
pub struct Provider {
    /// What it was told to be.
    pub config: Arc<Config>,
    /// What all its shards have seen.
    pub stats: Arc<Stats>,
    /// Where its connections' buffers come from.
    pub pool: BufPool,
    /// What its answers say.
    pub words: Words,
    shard: usize,
    dice: Cell<u64>,
    ids: Cell<u64>,
    date: RefCell<(u64, String)>,
    vectors: RefCell<Vec<Vector>>,
}

#[derive(Debug)]
struct Vector {
    dims: u32,
    coding: Coding,
    json: Rc<[u8]>,
}

impl Provider {
    /// The provider of `config` on shard `shard`, which counts in that row of `stats`.
    pub fn new(config: Arc<Config>, stats: Arc<Stats>, shard: usize) -> Self {
        let mixed = config.seed ^ (shard as u64).wrapping_mul(0xA076_1D64_78BD_642F);
        Self {
            config,
            stats,
            pool: BufPool::new(),
            words: Words::default(),
            shard,
            dice: Cell::new(mixed),
            ids: Cell::new((shard as u64) << 48),
            date: RefCell::default(),
            vectors: RefCell::default(),
        }
    }

    /// This shard's counters.
    pub fn row(&self) -> &Row {
        self.stats.row(self.shard)
    }

    /// A number that no other answer of this process has.
    pub fn next_id(&self) -> u64 {
        self.ids.set(self.ids.get() + 1);
        self.ids.get()
    }

    /// Whether something that happens `ppm` times in a million happens now. The throws of a
    /// seed and shard are always the same.
    pub fn throw(&self, ppm: u32) -> bool {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let state = self.dice.get().wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.dice.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % 1_000_000 < u64::from(ppm)
    }

    /// The vector of `dims` numbers, ready-made.
    pub fn vector(&self, dims: u32, coding: Coding) -> Rc<[u8]> {
        let mut kept = self.vectors.borrow_mut();
        let fits = |kept: &&Vector| kept.dims == dims && kept.coding == coding;
        if let Some(vector) = kept.iter().find(fits) {
            return Rc::clone(&vector.json);
        }
        let json: Rc<[u8]> = embed::vector(dims, coding).into();
        if kept.len() < VECTORS_MAX {
            kept.push(Vector {
                dims,
                coding,
                json: Rc::clone(&json),
            });
        }
        json
    }

    /// A vector for each of so many inputs: by its text where there is one, else the usual one.
    /// `None`: they are too long, too many, or have no numbers.
    pub fn vectors(
        &self,
        (inputs, texts): (usize, &[String]),
        (dims, coding): (u32, Coding),
    ) -> Option<Vec<Rc<[u8]>>> {
        if !(1..=DIMS_MAX).contains(&dims) {
            return None;
        }
        let usual = self.vector(dims, coding);
        if inputs.saturating_mul(usual.len()) > embed::BODY_MAX {
            return None;
        }
        let texts = texts.iter().map(|text| embed::of_text(text, dims, coding));
        let vectors = texts.chain(std::iter::repeat_with(|| None)).take(inputs);
        let vectors = vectors.map(|one| one.map_or_else(|| Rc::clone(&usual), Rc::from));
        Some(vectors.collect())
    }

    /// Appends the head of an answer that is given at `wall_nanos`.
    pub fn put_head(&self, tx: &mut TxBuf, head: &Head, wall_nanos: u64) {
        tx.reserve(1024);
        put_status_line(tx, head.status);
        tx.put(b"server: shardgate-simulate\r\ndate: ");
        let seconds = wall_nanos / 1_000_000_000;
        let mut date = self.date.borrow_mut();
        if date.0 != seconds || date.1.is_empty() {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            *date = (seconds, httpdate::fmt_http_date(now));
        }
        tx.put(date.1.as_bytes());
        tx.put(b"\r\ncontent-type: ");
        tx.put(head.mime.as_bytes());
        tx.put(b"\r\n");
        tongue::put_fields(tx, head);
        if let Some(allow) = head.allow {
            put_own_field(tx, "allow", allow.as_bytes());
        }
        match head.framing {
            Frame::Length(bytes) => put_decimal_field(tx, "content-length", bytes as u64),
            Frame::Chunked => tx.put(b"transfer-encoding: chunked\r\n"),
            Frame::UntilClose => {}
        }
        match head.close {
            Close::Announced => tx.put(b"connection: close\r\n"),
            Close::Never if head.is_http10 => tx.put(b"connection: keep-alive\r\n"),
            _ => {}
        }
        tx.put(END_OF_HEAD);
    }
}

/// How the body of an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// After so many bytes.
    Length(usize),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// What the head of an answer says.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Status.
    pub status: u16,
    /// The dialect of the route.
    pub dialect: Dialect,
    /// Media type.
    pub mime: &'static str,
    /// Number of the answer.
    pub id: u64,
    /// How the body ends.
    pub framing: Frame,
    /// Whether, and how openly, the connection closes after it.
    pub close: Close,
    /// The request came over HTTP/1.0.
    pub is_http10: bool,
    /// When to come back.
    pub retry_after: Option<Duration>,
    /// The method that would have been right.
    pub allow: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the dice are seeded, and come out as often as they say.
    #[test]
    fn dice_come_out_as_often_as_they_say() {
        let throws = |seed, shard| {
            let mut config = Config::default();
            config.seed = seed;
            let provider = Provider::new(Arc::new(config), Arc::new(Stats::new(1)), shard);
            (0..10_000)
                .map(|_| provider.throw(50_000))
                .collect::<Vec<bool>>()
        };
        let one = throws(7, 0);
        assert_eq!(one, throws(7, 0));
        assert_ne!(one, throws(7, 1));
        assert_ne!(one, throws(8, 0));
        let hits = one.iter().filter(|hit| **hit).count();
        assert!((400..600).contains(&hits), "{hits}");
    }
}
