//! What shards tell each other of their entries.
//!
//! ```text
//!   maker ──Offer──► home ──Insert──► everybody, the maker too
//!                         ──Drop────► everybody: it is not kept any more
//!                    home ◄──Hits──── everybody: what of yours was asked for
//! ```
//!
//! All that a shard hears of a key comes from the key's home, in one order. A home numbers what
//! it tells a peer to drop, and every message says how many those were: so a peer that has missed
//! one forgets everything of that home, which costs hits and nothing else.

use super::entry::Entry;
use super::key::Key;
use crate::base::time::Instant;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// Messages that wait for one peer, at most. Beyond it is told to forget.
pub(super) const OUT_MAX: usize = 4096;

/// Which entry of a key: when it was made.
pub(super) type Which = (Key, Instant);

/// What one shard tells another.
pub enum Message<P> {
    /// To the home of its key: an entry that the teller has made.
    Offer(Arc<Entry<P>>),
    /// From the home: this is kept.
    Insert {
        /// The entry.
        entry: Arc<Entry<P>>,
        /// How many drops were told before.
        told: u64,
    },
    /// From the home: these are not kept any more.
    Drop {
        /// Keys, and when what goes was made.
        which: Vec<(Key, Instant)>,
        /// How many drops were told, these included.
        told: u64,
    },
    /// From the home: nothing of what it told is kept for sure.
    Forget {
        /// How many drops were told.
        told: u64,
    },
    /// To the home: what of its was asked for, how often.
    Hits(Vec<(Key, u8)>),
}

impl<P> fmt::Debug for Message<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offer(entry) => f.debug_tuple("Offer").field(entry).finish(),
            Self::Insert { entry, told } => {
                f.debug_tuple("Insert").field(entry).field(told).finish()
            }
            Self::Drop { which, told } => f
                .debug_tuple("Drop")
                .field(&which.len())
                .field(told)
                .finish(),
            Self::Forget { told } => f.debug_tuple("Forget").field(told).finish(),
            Self::Hits(hits) => f.debug_tuple("Hits").field(&hits.len()).finish(),
        }
    }
}

/// What a shard has with one of the others.
pub(super) struct Peer<P> {
    /// What waits to be told.
    out: VecDeque<Message<P>>,
    /// How many drops it was told.
    told: u64,
    /// How many drops of its own it has told.
    pub(super) heard: u64,
    /// Keys of which it is the home and that were asked for here.
    pub(super) touched: Vec<Key>,
}

impl<P> Default for Peer<P> {
    fn default() -> Self {
        Self {
            out: VecDeque::new(),
            told: 0,
            heard: 0,
            touched: Vec::new(),
        }
    }
}

impl<P> Peer<P> {
    /// Whether something more can be told.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() < OUT_MAX
    }

    /// Says `message`. Whether all that waited is kept.
    pub(super) fn say(&mut self, message: Message<P>) -> bool {
        let has_room = self.has_room();
        if !has_room {
            self.out.clear();
            let told = self.told;
            self.out.push_back(Message::Forget { told });
        }
        self.out.push_back(message);
        has_room
    }

    /// Says that `entry` is kept.
    pub(super) fn insert(&mut self, entry: &Arc<Entry<P>>) -> bool {
        let (entry, told) = (Arc::clone(entry), self.told);
        self.say(Message::Insert { entry, told })
    }

    /// Says that `which` is not kept any more.
    pub(super) fn drop(&mut self, which: Which) -> bool {
        self.told += 1;
        if let Some(Message::Drop { which: more, told }) = self.out.back_mut() {
            more.push(which);
            *told = self.told;
            return true;
        }
        let (which, told) = (vec![which], self.told);
        self.say(Message::Drop { which, told })
    }

    /// Takes what is to be told next.
    pub(super) fn next(&mut self) -> Option<Message<P>> {
        self.out.pop_front()
    }

    /// It could not be told.
    pub(super) fn unsent(&mut self, message: Message<P>) {
        self.out.push_front(message);
    }

    /// Whether a message that was told after `told` drops tells of more than was heard: then some
    /// are missing. `None`: of less, so it is late and says nothing any more.
    pub(super) fn follows(&mut self, told: u64) -> Option<bool> {
        let before = self.heard;
        self.heard = before.max(told);
        (told >= before).then_some(told > before)
    }
}
