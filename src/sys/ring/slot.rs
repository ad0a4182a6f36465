//! An operation between its submission and its last completion, and what came of it.
//!
//! ```text
//!   once    Flying ── completion ──► Landed ── taken ──► Free
//!   stream  Flowing ── completion with MORE ──► one more in the queue (still flying)
//!                   └─ the last completion ───► the queue is emptied, then Free
//! ```

use crate::base::bufpool::Block;
use io_uring::types::Fd;
use io_uring::{opcode, squeue};
use rustix::net::{SendFlags, SocketAddrAny};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::Waker;

/// `MSG_WAITALL`: the kernel goes on after a short send.
const WAIT_ALL: u32 = 0x100;

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

/// Bytes on their way out.
pub(super) struct Parcel {
    block: Block,
    /// What of the block is to be sent.
    start: u32,
    end: u32,
    /// How many bytes of it went out before this operation.
    pub(super) sent: u32,
    /// It may not wait for room, and its success is not told.
    pub(super) is_prompt: bool,
}

impl Parcel {
    /// # Errors
    /// The range is not in the block, or does not fit into the kernel's numbers.
    pub(super) fn new(block: Block, of: Range<usize>, is_prompt: bool) -> io::Result<Self> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
        let bound = |at: usize| u32::try_from(at).map_err(|_| invalid());
        block.bytes().get(of.clone()).ok_or_else(invalid)?;
        Ok(Self {
            start: bound(of.start)?,
            end: bound(of.end)?,
            block,
            sent: 0,
            is_prompt,
        })
    }

    /// Bytes that are to be sent in all.
    pub(super) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// What the kernel is told: to send what is not yet sent.
    ///
    /// # Errors
    /// As [`Parcel::new`].
    pub(super) fn entry(&self, fd: &Rc<OwnedFd>) -> io::Result<squeue::Entry> {
        let rest = (self.start + self.sent) as usize..self.end as usize;
        let bytes = self.block.bytes().get(rest);
        let bytes = bytes.ok_or(io::ErrorKind::InvalidInput)?;
        let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let (wait, told) = if self.is_prompt {
            (SendFlags::DONTWAIT, squeue::Flags::SKIP_SUCCESS)
        } else {
            (SendFlags::empty(), squeue::Flags::empty())
        };
        let flags = (SendFlags::NOSIGNAL | wait).bits() | WAIT_ALL;
        Ok(opcode::Send::new(Fd(fd.as_raw_fd()), bytes.as_ptr(), len)
            .flags(flags.cast_signed())
            .build()
            .flags(told))
    }
}

/// What an operation owns besides its descriptor.
pub(super) enum Cargo {
    Send(Parcel),
    Connect { _to: Box<SocketAddrAny> },
}

impl Cargo {
    /// A prompt send.
    pub(super) fn is_prompt(&self) -> bool {
        matches!(self, Self::Send(parcel) if parcel.is_prompt)
    }
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
        fd: Rc<OwnedFd>,
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
            fd: Rc::clone(fd),
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
