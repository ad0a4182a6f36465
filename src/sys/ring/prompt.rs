//! Sends whose success the kernel does not tell, so that nobody is woken for it and the call that
//! submits them can wait for something else.
//!
//! ```text
//!   send_promptly ─► enter ─┬─ all sent: no completion ────────────► Landed(Sent)
//!                           ├─ no room: completion with what went ─► the rest, by one that waits
//!                           └─ broken: completion with the error ──► Landed(error)
//! ```
//!
//! The invariants stand in the parent module. I9 rests on two flags: `MSG_DONTWAIT` makes the
//! kernel end a send that finds no room instead of watching the socket for it, and
//! `IOSQE_CQE_SKIP_SUCCESS` is without effect on one that fails or falls short. As it is memory
//! that rests on it, [`super::probe`] tries it.
//!
//! Source: `io_uring_enter(2)` (`IOSQE_CQE_SKIP_SUCCESS`), `io_uring_prep_send(3)`.

use super::Ring;
use super::slot::{Cargo, Key, Landed, Parcel, Slot, State};
use crate::base::bufpool::Block;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::Waker;

impl Ring {
    /// [`Ring::send`] of bytes for which the socket is likely to have room. Who polls the key is
    /// answered when the call that submits it has returned.
    ///
    /// # Errors
    /// As [`Ring::send`].
    pub fn send_promptly(
        &mut self,
        fd: &Rc<OwnedFd>,
        block: Block,
        start: usize,
        end: usize,
    ) -> io::Result<Key> {
        let key = self.dispatch(fd, Parcel::new(block, start..end, self.is_prompt)?)?;
        if self.is_prompt {
            self.prompt.push(key);
        }
        Ok(key)
    }

    /// Ends the prompt sends of which the kernel has had all and has said nothing (I9). While it
    /// has not taken every entry, or keeps completions for which there was no room, nothing is
    /// known.
    pub(super) fn conclude(&mut self, awake: &mut Vec<Waker>) {
        if self.prompt.is_empty() {
            return;
        }
        let queue = self.uring.submission();
        if !queue.is_empty() || queue.cq_overflow() {
            return;
        }
        drop(queue);
        let mut prompt = std::mem::take(&mut self.prompt);
        for key in prompt.drain(..) {
            // It has failed, or is no prompt one any more.
            let Some(Slot { state, .. }) = self.slot(key) else {
                continue;
            };
            let State::Flying {
                cargo: Cargo::Send(parcel),
                waker,
                abandoned,
                ..
            } = state
            else {
                continue;
            };
            if !parcel.is_prompt {
                continue;
            }
            let (sent, is_abandoned) = (parcel.len(), *abandoned);
            awake.extend(waker.take());
            *state = State::Landed(Ok(Landed::Sent(sent)));
            self.flying -= 1;
            if is_abandoned {
                self.release(key.index);
            }
        }
        self.prompt = prompt; // its room is used again
    }

    /// Submits what prompt sends found no room for; gives how many there are.
    pub(super) fn send_rests(&mut self, awake: &mut Vec<Waker>) -> usize {
        let count = self.short.len();
        while let Some(key) = self.short.pop() {
            let Some(Slot { state, .. }) = self.slot(key) else {
                continue;
            };
            let State::Flying {
                cargo: Cargo::Send(parcel),
                fd,
                ..
            } = state
            else {
                continue;
            };
            let entry = parcel.entry(fd).map(|it| it.user_data(key.packed()));
            let Err(error) = entry.and_then(|entry| self.push(&entry)) else {
                continue;
            };
            // The kernel never saw it.
            if let Some(Slot { state, .. }) = self.slot(key)
                && let State::Flying { waker, .. } = state
            {
                awake.extend(waker.take());
                *state = State::Landed(Err(error));
                self.flying -= 1;
            }
        }
        count
    }
}
