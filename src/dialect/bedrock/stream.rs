//! Streamed answers, read and written.
//!
//! ```text
//!   messageStart  contentBlockStart  contentBlockDelta …  contentBlockStop  messageStop  metadata
//!   Begin         Open(Call)         Open(Text) Text …    Close             Stop         Usage End
//!                 └ calls only       └ the others begin with their first delta
//! ```
//!
//! Token counts come behind the stop: the stream is whole when both were there, in whatever
//! order, or when it ends behind the stop.
//!
//! Invariants
//! - I1 The steps are balanced, whatever comes: a block that is not closed is closed by what
//!   follows it.
//! - I2 A text delta is not copied and costs no allocation.
//! - I3 A stream that ends without a stop is cut.
//!
//! Source: Amazon Bedrock Runtime API, `ConverseStreamOutput`; mapping.md, 9.

mod event;
mod writer;

pub use writer::Writer;

use super::{error, usage};
use crate::base::fault::Kind;
use crate::dialect::model::{Dialect, Open, Step, Stop, Text};
use event::{Delta, Event, Start};

/// What kind of block is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Text,
    Thinking,
    Call,
    /// A block that only this dialect understands: stepped over.
    Foreign,
}

/// Reads the events of one stream.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of what has come, in whatever order"
)]
#[derive(Debug, Default)]
pub struct Reader {
    begun: bool,
    open: Option<(u64, Block)>,
    has_calls: bool,
    stopped: bool,
    counted: bool,
    over: bool,
    failed: bool,
}

/// Where steps go.
type Each<'e> = &'e mut dyn FnMut(Step<'_>);

/// Whether the event of this name is an exception, or an error that the service has no
/// exception for.
pub(super) fn is_failure(name: &[u8]) -> bool {
    [&b"Exception"[..], b"Error", b"Failure"]
        .iter()
        .any(|end| name.ends_with(end))
}

impl Reader {
    /// At the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one event: the type in its frame (of an exception, its type), and its payload.
    /// Without a type the payload is taken as the whole union: `{"messageStop":{…}}`.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`]: it cannot be read.
    pub fn read(
        &mut self,
        event: Option<&[u8]>,
        data: &[u8],
        each: &mut dyn FnMut(Step<'_>),
    ) -> Result<(), Kind> {
        if self.over || self.failed {
            return Ok(());
        }
        let (event, data) = match event {
            Some(event) => (event, data),
            None => event::member(data).ok_or(Kind::UpstreamGarbled)?,
        };
        if is_failure(event) {
            self.failed = true;
            let name = String::from_utf8_lossy(event);
            each(Step::Error(error::exception(&name, data)));
            return Ok(());
        }
        match event::read(event, data).ok_or(Kind::UpstreamGarbled)? {
            Event::Begin => self.begin(each),
            Event::Start(index, start) => self.start(index, start, each)?,
            Event::Delta(index, delta) => self.delta(index, delta, each)?,
            Event::Close(index) => {
                if self.open.is_some_and(|(open, _)| open == index) {
                    self.close(each);
                }
            }
            Event::Stop(reason, sequence) => self.stop(reason, sequence, each),
            Event::Counts(tokens) => {
                self.begin(each);
                if let Some(tokens) = tokens {
                    each(Step::Usage(tokens));
                }
                self.counted = true;
                self.finish(each);
            }
            Event::Unknown => {}
        }
        Ok(())
    }

    /// Whether the provider has said why the answer ended, though the stream has not.
    pub fn has_stopped(&self) -> bool {
        self.stopped
    }

    /// The body ended.
    ///
    /// # Errors
    /// [`Kind::UpstreamCut`]: the answer is not whole.
    pub fn end(&mut self, each: &mut dyn FnMut(Step<'_>)) -> Result<(), Kind> {
        if !self.stopped || self.failed {
            return Err(Kind::UpstreamCut); // I3
        }
        self.counted = true;
        self.finish(each);
        Ok(())
    }

    fn begin(&mut self, each: Each<'_>) {
        if !self.begun {
            self.begun = true;
            each(Step::Begin {
                id: Text::EMPTY,
                model: Text::EMPTY,
            });
        }
    }

    fn close(&mut self, each: Each<'_>) {
        if self
            .open
            .take()
            .is_some_and(|(_, block)| block != Block::Foreign)
        {
            each(Step::Close);
        }
    }

    /// Makes sure that this block is open, and no other (I1).
    fn open(&mut self, index: u64, block: Block, open: Open<'_>, each: Each<'_>) {
        if self.open != Some((index, block)) {
            self.begin(each);
            self.close(each);
            self.open = Some((index, block));
            each(Step::Open(open));
        }
    }

    fn start(&mut self, index: u64, start: Start<'_>, each: Each<'_>) -> Result<(), Kind> {
        if self.stopped {
            return Err(Kind::UpstreamGarbled);
        }
        self.begin(each);
        self.close(each);
        match start {
            Start::Call { id, name } => {
                self.has_calls = true;
                let open = Open::Call {
                    id,
                    name,
                    is_custom: false,
                };
                self.open(index, Block::Call, open, each);
            }
            Start::Foreign => self.open = Some((index, Block::Foreign)),
            Start::Nothing => {}
        }
        Ok(())
    }

    fn delta(&mut self, index: u64, delta: Delta<'_>, each: Each<'_>) -> Result<(), Kind> {
        let block = match &delta {
            Delta::Text(_) | Delta::Citation(_) => Block::Text,
            Delta::Thinking(_) | Delta::Opaque(_) => Block::Thinking,
            Delta::Arguments(_) => Block::Call,
            Delta::Unknown => return Ok(()),
        };
        if self.stopped {
            return Err(Kind::UpstreamGarbled);
        }
        match self.open {
            Some((open, Block::Foreign)) if open == index => return Ok(()),
            _ => {}
        }
        match block {
            Block::Thinking => self.open(index, block, Open::Thinking, each),
            Block::Text => self.open(index, block, Open::Text, each),
            // Arguments of a call that is not open belong to none.
            _ if self.open != Some((index, block)) => return Err(Kind::UpstreamGarbled),
            _ => {}
        }
        match delta {
            Delta::Text(text) | Delta::Thinking(text) | Delta::Arguments(text) => {
                if !text.is_empty() {
                    each(Step::Text(text)); // I2
                }
            }
            Delta::Opaque(value) => each(Step::Opaque(Dialect::Bedrock, value)),
            Delta::Citation(value) => each(Step::Citation(Dialect::Bedrock, value)),
            Delta::Unknown => {}
        }
        Ok(())
    }

    fn stop(&mut self, reason: Stop, sequence: Text<'_>, each: Each<'_>) {
        if self.stopped {
            return;
        }
        self.begin(each);
        self.close(each);
        self.stopped = true;
        each(Step::Stop(
            usage::with_calls(reason, self.has_calls),
            sequence,
        ));
        self.finish(each);
    }

    fn finish(&mut self, each: Each<'_>) {
        if self.stopped && self.counted && !self.over {
            self.over = true;
            each(Step::End);
        }
    }
}

#[cfg(test)]
mod tests;
