//! Lets a bounded number of tasks do something at once; the others wait in order.
//!
//! ```text
//!   enter ─┬─ room ──────────────────────► Pass ── dropped ──► the first in the queue
//!          └─ none ─► queue ── woken ────►   ▲                 is woken
//! ```
//!
//! Invariants
//! - I1 At most `max` passes are out.
//! - I2 Who is woken and does not come any more wakes the next one.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// The gate.
#[derive(Debug)]
pub struct Gate {
    room: Cell<usize>,
    /// Who waits, in order, by number.
    queue: RefCell<VecDeque<(u64, Waker)>>,
    next: Cell<u64>,
}

/// The right to do it; ends when dropped.
#[derive(Debug)]
pub struct Pass<'a>(&'a Gate);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.room.set(self.0.room.get() + 1);
        self.0.wake_first();
    }
}

/// A place in the queue.
struct Place<'a> {
    gate: &'a Gate,
    number: Option<u64>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else {
            return;
        };
        let mut queue = self.gate.queue.borrow_mut();
        let before = queue.len();
        queue.retain(|(other, _)| *other != number);
        let was_woken = queue.len() == before;
        drop(queue);
        if was_woken && self.gate.room.get() > 0 {
            self.gate.wake_first(); // I2
        }
    }
}

impl Gate {
    /// A gate for `max` at once.
    pub fn new(max: usize) -> Self {
        Self {
            room: Cell::new(max),
            queue: RefCell::default(),
            next: Cell::new(0),
        }
    }

    /// Waits for room.
    pub async fn enter(&self) -> Pass<'_> {
        let mut place = Place {
            gate: self,
            number: None,
        };
        poll_fn(|cx| self.poll_enter(cx, &mut place)).await;
        Pass(self)
    }

    fn poll_enter(&self, cx: &Context<'_>, place: &mut Place<'_>) -> Poll<()> {
        let mut queue = self.queue.borrow_mut();
        if let Some(number) = place.number
            && let Some((_, waker)) = queue.iter_mut().find(|(other, _)| *other == number)
        {
            waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        let is_turn = place.number.is_some() || queue.is_empty();
        if is_turn && let Some(room) = self.room.get().checked_sub(1) {
            self.room.set(room); // I1
            place.number = None;
            return Poll::Ready(());
        }
        let number = self.next.get();
        self.next.set(number.wrapping_add(1));
        queue.push_back((number, cx.waker().clone()));
        place.number = Some(number);
        Poll::Pending
    }

    fn wake_first(&self) {
        let first = self.queue.borrow_mut().pop_front();
        if let Some((_, waker)) = first {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    /// Goal: I1, I2, and the order. Method: three wait at a gate for one; the first of them
    /// gives up after it was woken.
    #[test]
    fn one_at_a_time_in_order_and_none_is_forgotten() {
        let gate = Gate::new(1);
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(pass) = pin!(gate.enter()).poll(&mut cx) else {
            panic!("there was room");
        };
        let (mut first, mut second) = (Box::pin(gate.enter()), Box::pin(gate.enter()));
        let mut third = Box::pin(gate.enter());
        for waiting in [&mut first, &mut second, &mut third] {
            assert!(waiting.as_mut().poll(&mut cx).is_pending());
        }
        drop(pass);
        assert_eq!(gate.queue.borrow().len(), 2); // the first is woken
        drop(first);
        assert_eq!(gate.queue.borrow().len(), 1); // and the second after it
        let Poll::Ready(pass) = second.as_mut().poll(&mut cx) else {
            panic!("it was its turn");
        };
        assert!(third.as_mut().poll(&mut cx).is_pending());
        drop(pass);
        assert!(third.as_mut().poll(&mut cx).is_ready());
        drop((second, third));
        assert_eq!(gate.room.get(), 1);
        assert!(gate.queue.borrow().is_empty());
    }
}
