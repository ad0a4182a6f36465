//! Ending a stream of results without losing what it has brought.

use super::slot::{Slot, State};
use super::{Key, Ring};

impl Ring {
    /// Ends a stream: what it has brought is still given, then
    /// [`Paused`](super::Landed::Paused).
    pub fn stop(&mut self, key: Key) {
        if let Some(Slot {
            state:
                State::Flowing {
                    fd: Some(_),
                    pausing: pausing @ false,
                    ..
                },
            ..
        }) = self.slot(key)
        {
            *pausing = true;
            self.cancel(key);
        }
    }
}
