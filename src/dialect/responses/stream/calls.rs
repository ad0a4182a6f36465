//! The calls of a stream: one is open, the others wait.
//!
//! ```text
//!   waits ──► open ──► closed          the first that waits opens when the open one is done,
//!     └ held ─┘                        and says all that was held for it
//! ```
//!
//! Invariants
//! - I1 Calls open in the order in which they came.
//! - I2 At most [`HELD_MAX`] bytes are held; arguments for a call that is closed are no stream
//!   that can be told.

use super::reader::{Current, Each, HELD_MAX, ItemKind, Reader, What};
use crate::base::fault::Kind;
use crate::dialect::model::{Open, Step, Text};

impl Reader {
    pub(super) fn call_at(&self, at: Option<u64>) -> Result<usize, Kind> {
        self.find(at)
            .filter(|&item| self.seen.get(item).is_some_and(|seen| seen.kind.is_call()))
            .ok_or(Kind::UpstreamGarbled)
    }

    pub(super) fn is_calling(&self) -> bool {
        self.open.is_some_and(|open| open.what == What::Call)
    }

    /// Opens the call at `item`; no call is open.
    pub(super) fn open_call(&mut self, item: usize, each: &mut Each<'_>) {
        debug_assert!(!self.is_calling());
        self.close(each);
        let Some(seen) = self.seen.get_mut(item) else {
            return;
        };
        each(Step::Open(Open::Call {
            id: Text::Escaped(&seen.id),
            name: Text::Escaped(&seen.name),
            is_custom: seen.kind == ItemKind::Custom,
        }));
        seen.has_opened = true;
        self.has_spoken = true;
        self.held = self.held.saturating_sub(seen.held.len());
        if !seen.held.is_empty() {
            each(Step::Text(Text::Escaped(&seen.held)));
            seen.held = Vec::new();
        }
        self.open = Some(Current {
            item,
            what: What::Call,
            part: 0,
            has_said: seen.has_said,
            has_cited: false,
        });
    }

    /// More arguments of the call at `item`.
    pub(super) fn argue(
        &mut self,
        item: usize,
        raw: &[u8],
        each: &mut Each<'_>,
    ) -> Result<(), Kind> {
        let is_open = self.open.is_some_and(|open| open.item == item);
        let Some(seen) = self.seen.get_mut(item).filter(|_| !raw.is_empty()) else {
            return Ok(());
        };
        seen.has_said = true;
        if is_open {
            each(Step::Text(Text::Escaped(raw)));
            return Ok(());
        }
        if seen.has_opened || self.held + raw.len() > HELD_MAX {
            return Err(Kind::UpstreamGarbled); // I2
        }
        self.held += raw.len();
        seen.held.extend_from_slice(raw);
        Ok(())
    }

    /// The call at `item` is done; `whole` is what it said in all.
    pub(super) fn call_done(
        &mut self,
        item: usize,
        whole: Option<&[u8]>,
        each: &mut Each<'_>,
    ) -> Result<(), Kind> {
        let Some(seen) = self.seen.get_mut(item).filter(|seen| !seen.is_done) else {
            return Ok(());
        };
        seen.is_done = true;
        if !seen.has_said {
            self.argue(item, whole.unwrap_or_default(), each)?; // I3
        }
        if self.open.is_some_and(|open| open.item == item) {
            self.close(each);
            self.next_call(each);
        }
        Ok(())
    }

    /// Opens the calls that wait, up to the first that is not done.
    pub(super) fn next_call(&mut self, each: &mut Each<'_>) {
        while let Some(item) = self
            .seen
            .iter()
            .position(|seen| seen.kind.is_call() && !seen.has_opened)
        {
            self.open_call(item, each);
            if self.seen.get(item).is_some_and(|seen| !seen.is_done) {
                return;
            }
            self.close(each);
        }
    }

    /// Ends the open call and all that wait, since something else begins.
    pub(super) fn drain(&mut self, each: &mut Each<'_>) {
        while self.is_calling() {
            self.close(each);
            self.next_call(each);
        }
    }
}
