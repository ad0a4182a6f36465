//! What a shard has to tell each other shard, in order and without loss.
//!
//! ```text
//!   post(to, Letter) ──► queue of `to` ──┐
//!   index.next(to) ──────────────────────┴─► writer of `to` ─► channel ─► the other's `receive`
//! ```
//!
//! Gossip may be lost, letters must not be: each peer has a writer, a task that waits for room in
//! the channel. Who has much to tell waits for room in the queue ([`Mail::poll_room`]). What the
//! index has to tell waits there, and is bounded there.

use super::Shard;
use crate::cache::message::Message;
use crate::exchange::audits::Audit;
use crate::exchange::ferry::Hail;
use crate::exchange::stored::Stored;
use crate::host::Host;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// Letters that wait for one peer before who has much to tell has to wait.
const ROOM: usize = 256;

/// What one shard tells another.
#[derive(Debug)]
pub enum Letter {
    /// Of stored answers.
    Cache(Message<Stored>),
    /// Of answers that are on their way.
    Hail(Hail),
    /// Of answers by meaning that were compared with new ones.
    Audit(Audit),
}

impl From<Hail> for Letter {
    fn from(hail: Hail) -> Self {
        Self::Hail(hail)
    }
}

impl From<Audit> for Letter {
    fn from(audit: Audit) -> Self {
        Self::Audit(audit)
    }
}

/// What waits for the other shards, by their number.
#[derive(Debug)]
pub struct Mail(RefCell<Vec<Out>>);

#[derive(Debug, Default)]
struct Out {
    letters: VecDeque<Letter>,
    /// The writer, when it had nothing to do.
    writer: Option<Waker>,
    /// Who waits for room.
    waiting: Vec<Waker>,
}

impl Mail {
    /// Of a box with `shards` shards.
    pub fn new(shards: usize) -> Self {
        Self(RefCell::new((0..shards).map(|_| Out::default()).collect()))
    }

    /// Tells shard `to`, as soon as it listens.
    pub fn post(&self, to: usize, letter: impl Into<Letter>) {
        if let Some(out) = self.0.borrow_mut().get_mut(to) {
            out.letters.push_back(letter.into());
            out.ring();
        }
    }

    /// The index may have something to tell.
    pub fn ring(&self) {
        self.0.borrow_mut().iter_mut().for_each(Out::ring);
    }

    /// Ready when there is room for more to shard `to`.
    pub fn poll_room(&self, to: usize, cx: &Context<'_>) -> Poll<()> {
        let mut outs = self.0.borrow_mut();
        match outs.get_mut(to) {
            Some(out) if out.letters.len() >= ROOM => {
                if !out.waiting.iter().any(|it| it.will_wake(cx.waker())) {
                    out.waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Out {
    fn ring(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl<H: Host> Shard<H> {
    /// The next letter to shard `to`, when there is one.
    pub async fn next_letter(&self, to: usize) -> Letter {
        poll_fn(|cx| {
            let mut outs = self.mail.0.borrow_mut();
            let Some(out) = outs.get_mut(to) else {
                return Poll::Pending;
            };
            if let Some(letter) = out.letters.pop_front() {
                out.waiting.drain(..).for_each(Waker::wake);
                return Poll::Ready(letter);
            }
            if let Some(message) = self.cache.borrow_mut().index.next(to) {
                return Poll::Ready(Letter::Cache(message));
            }
            out.writer = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}
