//! The text, thinking and items of a stream.
//!
//! ```text
//!   delta   say         opens the block if need be
//!   done    said        what never came as deltas
//!   item    item_done   the same for a whole item; a reasoning item's state
//! ```

use super::event::{Event, Item, Part, objects};
use super::reader::{Current, Each, ItemKind, Reader, What};
use crate::base::fault::Kind;
use crate::dialect::model::{Dialect, Open, Step, Text};

impl Reader {
    /// The open block of this item and kind, opened if need be.
    pub(super) fn turn_to(
        &mut self,
        at: Option<u64>,
        what: What,
        part: u64,
        each: &mut Each<'_>,
    ) -> Result<Option<Current>, Kind> {
        self.begin(None, each)?;
        let kind = match what {
            What::Text | What::Refusal => ItemKind::Message,
            _ => ItemKind::Reasoning,
        };
        let found = self
            .find(at)
            .filter(|&item| self.seen.get(item).is_some_and(|seen| seen.kind == kind));
        let item = match found {
            Some(item) => item,
            None => self.see(at, kind, None)?,
        };
        if let Some(open) = self.open
            && open.item == item
        {
            match (what, open.what) {
                _ if what == open.what && part == open.part => return Ok(Some(open)),
                (What::Summary, What::Summary) | (What::Thought, What::Thought) => {
                    if open.has_said {
                        each(Step::Text(Text::Plain("\n\n")));
                    }
                    self.open = Some(Current { part, ..open });
                    return Ok(self.open);
                }
                // An item that says its thoughts twice, in full and in short: once is enough.
                (What::Summary | What::Thought, _) => return Ok(None),
                _ => {}
            }
        }
        self.drain(each);
        self.close(each);
        each(Step::Open(match what {
            What::Refusal => Open::Refusal,
            What::Summary | What::Thought => Open::Thinking,
            _ => Open::Text,
        }));
        self.has_spoken = true;
        self.has_refused |= what == What::Refusal;
        if let Some(seen) = self.seen.get_mut(item) {
            seen.has_opened = true;
            seen.parts = seen.parts.max(part.saturating_add(1));
        }
        self.open = Some(Current {
            item,
            what,
            part,
            has_said: false,
            has_cited: false,
        });
        Ok(self.open)
    }

    /// A delta of text or thinking.
    pub(super) fn say(
        &mut self,
        event: &Event<'_>,
        what: What,
        each: &mut Each<'_>,
    ) -> Result<(), Kind> {
        let raw = event.delta.unwrap_or_default();
        if raw.is_empty() {
            return Ok(());
        }
        if let Some(open) = self.turn_to(event.item_at, what, event.part_at, each)? {
            each(Step::Text(Text::Escaped(raw)));
            self.open = Some(Current {
                has_said: true,
                ..open
            });
        }
        Ok(())
    }

    /// The whole text of a part; said now if no delta was.
    pub(super) fn said(
        &mut self,
        event: &Event<'_>,
        what: What,
        each: &mut Each<'_>,
    ) -> Result<(), Kind> {
        let Some(raw) = event.text.filter(|raw| !raw.is_empty()) else {
            return Ok(());
        };
        if self.has_part(event.item_at, what, event.part_at) {
            return Ok(()); // I3
        }
        if let Some(open) = self.turn_to(event.item_at, what, event.part_at, each)? {
            each(Step::Text(Text::Escaped(raw)));
            self.open = Some(Current {
                has_said: true,
                ..open
            });
        }
        Ok(())
    }

    /// Whether something of this part has been said.
    pub(super) fn has_part(&self, at: Option<u64>, what: What, part: u64) -> bool {
        let Some(item) = self.find(at) else {
            return false;
        };
        if let Some(open) = self.open
            && open.item == item
            && open.part == part
            && open.what == what
        {
            return open.has_said;
        }
        let Some(seen) = self.seen.get(item) else {
            return false;
        };
        match what {
            What::Text | What::Refusal => seen.parts > part,
            // Thinking is one block: what is not open any more has been said.
            _ => seen.is_done || self.open.is_none_or(|o| o.item != item) && seen.has_opened,
        }
    }

    /// An annotation of the text that is open.
    pub(super) fn cite(&mut self, event: &Event<'_>, each: &mut Each<'_>) {
        let item = self.find(event.item_at);
        if let (Some(open), Some(raw)) = (&mut self.open, event.annotation)
            && Some(open.item) == item
            && open.what == What::Text
        {
            open.has_cited = true;
            each(Step::Citation(Dialect::Responses, raw));
        }
    }

    pub(super) fn part_done(&mut self, event: &Event<'_>, each: &mut Each<'_>) -> Result<(), Kind> {
        let item = self.find(event.item_at);
        let is_message = item
            .and_then(|item| self.seen.get(item))
            .is_none_or(|seen| seen.kind == ItemKind::Message);
        if let Some(raw) = event.part.filter(|_| is_message) {
            self.whole_part(event.item_at, event.part_at, raw, each)?;
        }
        Ok(())
    }

    /// A part of a message in full: says what of it was not said, and ends it.
    pub(super) fn whole_part(
        &mut self,
        at: Option<u64>,
        index: u64,
        raw: &[u8],
        each: &mut Each<'_>,
    ) -> Result<(), Kind> {
        let part = Part::read(raw)?;
        let what = if part.is_refusal {
            What::Refusal
        } else {
            What::Text
        };
        if !part.text.is_empty()
            && !self.has_part(at, what, index)
            && let Some(open) = self.turn_to(at, what, index, each)?
        {
            each(Step::Text(Text::Escaped(part.text)));
            self.open = Some(Current {
                has_said: true,
                ..open
            });
        }
        let item = self.find(at);
        let Some(open) = self.open.filter(|open| Some(open.item) == item) else {
            return Ok(());
        };
        if open.what == What::Text && open.part == index && !open.has_cited {
            objects(part.annotations, |raw| {
                each(Step::Citation(Dialect::Responses, raw));
                Ok(())
            })?;
        }
        if open.part == index {
            self.close(each);
        }
        Ok(())
    }

    pub(super) fn item_done(&mut self, event: &Event<'_>, each: &mut Each<'_>) -> Result<(), Kind> {
        self.begin(None, each)?;
        let Some(raw) = event.item else {
            return Ok(());
        };
        let item = Item::read(raw)?;
        let kind = ItemKind::of(item.kind);
        let found = self
            .find(event.item_at)
            .filter(|&at| self.seen.get(at).is_some_and(|seen| seen.kind == kind));
        let at = match found {
            Some(at) => at,
            None => self.see(event.item_at, kind, Some(&item))?,
        };
        match kind {
            ItemKind::Call | ItemKind::Custom => {
                self.has_called = true;
                if self.seen.get(at).is_some_and(|seen| !seen.has_opened) && !self.is_calling() {
                    self.open_call(at, each);
                }
                self.call_done(at, item.arguments, each)
            }
            ItemKind::Message => {
                let mut index = 0;
                objects(item.content, |part| {
                    let said = self.whole_part(event.item_at, index, part, each);
                    index += 1;
                    said
                })?;
                if self.open.is_some_and(|open| open.item == at) {
                    self.close(each);
                }
                Ok(())
            }
            ItemKind::Reasoning => self.thought(event.item_at, at, &item, raw, each),
            ItemKind::Other => Ok(()),
        }
    }

    /// A reasoning item in full.
    pub(super) fn thought(
        &mut self,
        index: Option<u64>,
        at: usize,
        item: &Item<'_>,
        raw: &[u8],
        each: &mut Each<'_>,
    ) -> Result<(), Kind> {
        if self.seen.get(at).is_some_and(|seen| seen.is_done) {
            return Ok(());
        }
        let has_said = self.seen.get(at).is_some_and(|seen| seen.has_opened);
        if !has_said {
            for (parts, what) in [(item.summary, What::Summary), (item.content, What::Thought)] {
                let mut part = 0;
                objects(parts, |raw| {
                    let text = Part::read(raw)?.text;
                    if !text.is_empty()
                        && let Some(open) = self.turn_to(index, what, part, each)?
                    {
                        each(Step::Text(Text::Escaped(text)));
                        self.open = Some(Current {
                            has_said: true,
                            ..open
                        });
                    }
                    part += 1;
                    Ok(())
                })?;
            }
        }
        let is_open = self.open.is_some_and(|open| open.item == at);
        if item.is_encrypted && (is_open || !has_said) {
            if !is_open {
                self.turn_to(index, What::Summary, 0, each)?;
            }
            each(Step::Opaque(Dialect::Responses, raw));
        }
        if self.open.is_some_and(|open| open.item == at) {
            self.close(each);
        }
        if let Some(seen) = self.seen.get_mut(at) {
            seen.is_done = true;
        }
        Ok(())
    }
}
