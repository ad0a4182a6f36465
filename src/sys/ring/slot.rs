//! An operation between its submission and its last completion, and what came of it.
//!
//! ```text
//!   once    Flying ── completion ──► Landed ── taken ──► Free
//!   stream  Flowing ── completion with MORE ──► one more in the queue (still flying)
//!                   └─ the last completion ───► the queue is emptied, then Free
//! ```

use crate::base::bufpool::Block;
use rustix::net::SocketAddrAny;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Waker;

/// Names an operation. A key that is used up is refused, never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

impl Key {
    pub(super) fn packed(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of the word"
    )]
    pub(super) fn unpacked(word: u64) -> Self {
        Self {
            index: word as u32,
            generation: (word >> 32) as u32,
        }
    }
}

/// The generation that follows; one bit less than a word's half, since keys share a word with
/// a mark.
pub(super) fn after(generation: u32) -> u32 {
    generation.wrapping_add(1) & (u32::MAX >> 1)
}

/// What came of an operation.
#[derive(Debug)]
pub enum Landed {
    /// The first `len` bytes of `block` arrived.
    Received {
        /// The bytes.
        block: Block,
        /// How many of them.
        len: u32,
    },
    /// The other side has sent its last byte.
    End,
    /// This many bytes went out; fewer than asked only when the connection broke.
    Sent(usize),
    /// A connection.
    Accepted(OwnedFd),
    /// The connection stands.
    Connected,
    /// The stream of receives or accepts stopped without a fault: nobody took what it
    /// brought, or there was no block. Ask again; nothing is lost.
    Paused,
}

impl Landed {
    /// The bytes filled their block: more of them are likely to be there.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Received { block, len } if *len as usize == block.size())
    }
}

/// What an operation owns besides its descriptor.
pub(super) enum Cargo {
    Send { _block: Block },
    Connect { _to: Box<SocketAddrAny> },
}

/// What a stream brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brings {
    Bytes,
    Connections,
}

/// Results that wait to be taken; the first one needs no allocation, and more are rare.
#[derive(Default)]
pub(super) struct Queue {
    first: Option<io::Result<Landed>>,
    #[expect(clippy::box_collection, reason = "a slot is 24 bytes smaller")]
    rest: Option<Box<VecDeque<io::Result<Landed>>>>,
}

impl Queue {
    pub(super) fn push(&mut self, outcome: io::Result<Landed>) {
        if self.first.is_none() {
            self.first = Some(outcome);
        } else {
            self.rest.get_or_insert_default().push_back(outcome);
        }
    }

    pub(super) fn pop(&mut self) -> Option<io::Result<Landed>> {
        let next = self.rest.as_mut().and_then(|rest| rest.pop_front());
        if next.is_none() {
            self.rest = None; // a stream that waits keeps no memory
        }
        std::mem::replace(&mut self.first, next)
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.rest.as_ref().map_or(0, |rest| rest.len())
    }
}

/// Where an operation is.
pub(super) enum State {
    Free,
    /// In flight, one completion to come.
    Flying {
        cargo: Cargo,
        _fd: Rc<OwnedFd>,
        waker: Option<Waker>,
        abandoned: bool,
    },
    /// Ended, its result not taken.
    Landed(io::Result<Landed>),
    /// Completes again and again. In flight for as long as it holds its descriptor.
    Flowing {
        brings: Brings,
        queue: Queue,
        fd: Option<Rc<OwnedFd>>,
        waker: Option<Waker>,
        abandoned: bool,
        /// It is being cancelled because nobody takes what it brings.
        pausing: bool,
    },
}

impl State {
    /// A single operation that has just been asked for.
    pub(super) fn flying(cargo: Cargo, fd: &Rc<OwnedFd>) -> Self {
        Self::Flying {
            cargo,
            _fd: Rc::clone(fd),
            waker: None,
            abandoned: false,
        }
    }

    /// A stream that has just been asked for.
    pub(super) fn flowing(brings: Brings, fd: &Rc<OwnedFd>) -> Self {
        Self::Flowing {
            brings,
            queue: Queue::default(),
            fd: Some(Rc::clone(fd)),
            waker: None,
            abandoned: false,
            pausing: false,
        }
    }

    /// In flight, and was to be cancelled.
    pub(super) fn is_unwanted(&self) -> bool {
        match self {
            Self::Flying { abandoned, .. } => *abandoned,
            Self::Flowing {
                fd,
                abandoned,
                pausing,
                ..
            } => fd.is_some() && (*abandoned || *pausing),
            Self::Free | Self::Landed(_) => false,
        }
    }
}

/// A place for an operation.
pub(super) struct Slot {
    pub(super) generation: u32,
    pub(super) state: State,
}

/// Every stream that is held open has two.
const _: () = assert!(size_of::<Slot>() <= 80);

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the queue gives what it got, in order, and keeps no memory when it is empty.
    #[test]
    fn results_come_in_order_and_leave_no_memory() {
        let mut queue = Queue::default();
        for round in 1..20 {
            for number in 0..round {
                queue.push(Ok(Landed::Sent(number)));
            }
            assert_eq!(queue.len(), round);
            for number in 0..round {
                assert!(matches!(queue.pop(), Some(Ok(Landed::Sent(n))) if n == number));
            }
            assert!(queue.pop().is_none());
            assert!(queue.len() == 0 && queue.rest.is_none());
        }
    }

    /// Goal: a key survives the way through the kernel.
    #[test]
    fn a_key_is_one_word() {
        let key = Key {
            index: u32::MAX - 1,
            generation: 7,
        };
        assert_eq!(Key::unpacked(key.packed()), key);
    }
}
