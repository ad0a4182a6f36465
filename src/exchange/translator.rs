//! A stream on its way from one dialect to another, event by event.
//!
//! ```text
//!   whole event ─► Reader ─► Step … ─► Writer ─► tx ─► one chunk for all that was there
//!                              └► content? finished? usage? the provider's own error?
//! ```
//!
//! Invariants
//! - R1 What waits in `tx` after a read is taken before the next one: between two events a
//!   translator holds no block.
//! - R2 Nothing is written for the provider's own error: the relay ends the stream in one way.
//! - R3 Where another model may go on with the answer, one writer lives over all attempts, and
//!   what it is told goes through a [`Trail`]. Then nothing passes as it came.
//! - R4 Between two sides of the same dialect (a cloud has other frames than its client) each
//!   event keeps its data, byte for byte.

use super::course::Course;
use crate::base::bufpool::BufPool;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::bedrock::error::exception;
use crate::dialect::model::{Dialect, Names, Open, Refused, Step, Text, Tokens};
use crate::dialect::openai::Usage;
use crate::dialect::route::Route;
use crate::dialect::seam::Way;
use crate::dialect::speak::{Reader, Writer, look, refusal};
use crate::dialect::trail::Trail;
use crate::host::Host;
use crate::stats::receipt::RequestId;
use crate::wire::eventstream::{self, Frame};
use crate::wire::json::scan::{self, key_is};

/// What the steps of one event said.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each of which the relay asks for by name"
)]
#[derive(Debug, Default)]
pub struct Heard {
    /// Something for the reader: text, thinking, a call.
    pub content: bool,
    /// Why the answer ended.
    pub finished: bool,
    /// The stream is whole.
    pub done: bool,
    /// The token counts.
    pub usage: Option<Usage>,
    /// It was one piece of text and nothing else, and that text is the one given.
    pub is_that_text: bool,
}

/// How a client is to be answered.
#[derive(Clone, Debug)]
pub struct Naming {
    /// The exchange's name, of which the answer's is made.
    pub id: RequestId,
    /// The name by which the client asked.
    pub model: Box<str>,
    /// Seconds since 1970.
    pub created: u64,
    /// The client asked for the usage event.
    pub wants_usage: bool,
}

impl Naming {
    /// For the exchange `id` of `course`, whose client asked for `model`.
    pub fn new<H: Host>(course: &Course<'_, H>, id: RequestId, model: &str) -> Self {
        Self {
            id,
            model: model.into(),
            created: course.shard.host.wall_nanos() / 1_000_000_000,
            wants_usage: course.wants_usage,
        }
    }

    /// As writers want it.
    pub fn names(&self) -> Names<'_> {
        Names {
            id: std::str::from_utf8(self.id.bytes()).unwrap_or_default(),
            model: &self.model,
            created: self.created,
            wants_usage: self.wants_usage,
        }
    }
}

/// Translates one stream.
#[derive(Debug)]
pub struct Translator {
    reader: Reader,
    writer: Writer,
    naming: Naming,
    /// What was written and not taken yet.
    pub tx: TxBuf,
    /// What the provider said when it gave up.
    pub refused: Option<Refused>,
    /// Both sides speak this dialect, in frames that differ: the data passes (R4).
    pub same: Option<Dialect>,
    /// What the client has, where another model may go on with it (R3).
    pub trail: Option<Box<Trail>>,
    /// What is said before the first that passes of an attempt that goes on.
    pub notice: Option<Box<[u8]>>,
    /// The attempt does not go on where the one before ended.
    pub has_diverged: bool,
}

impl Translator {
    /// From a provider that speaks `from` to a client that came by `route`.
    pub fn new(from: Dialect, route: Route, naming: Naming, pool: &BufPool) -> Self {
        Self {
            reader: Reader::new(from),
            writer: Writer::new(route),
            naming,
            tx: TxBuf::new(pool),
            refused: None,
            same: None,
            trail: None,
            notice: None,
            has_diverged: false,
        }
    }

    /// Whether another model may go on with the answer, as far as steps show; what they say is
    /// known to the [`Trail`].
    pub fn may_go_on(&self) -> bool {
        self.trail.is_some() && !self.reader.has_stopped()
    }

    /// The stream that comes next is of a provider that speaks `from` and goes on behind `said`;
    /// `notice` goes before what passes of it.
    pub fn go_on(&mut self, from: Dialect, (said, way): (String, Way), notice: Box<[u8]>) {
        self.reader = Reader::new(from);
        self.refused = None;
        self.has_diverged = false;
        self.notice = (!notice.is_empty()).then_some(notice);
        if let Some(trail) = &mut self.trail {
            trail.go_on(said, way);
        }
    }

    /// Takes one whole event; `text`: what in it may be the only text that it says.
    ///
    /// # Errors
    /// [`Kind::UpstreamGarbled`]: it is none of the dialect. [`Kind::UpstreamError`]: the
    /// provider gives up.
    pub fn event(
        &mut self,
        name: Option<&[u8]>,
        data: &[u8],
        text: Option<&[u8]>,
    ) -> Result<Heard, Kind> {
        if let Some(dialect) = self.same {
            return self.pass(dialect, data);
        }
        self.with(text, |reader, each| reader.read(name, data, each))
    }

    /// Puts an event of the client's own dialect into its frame (R4).
    fn pass(&mut self, dialect: Dialect, data: &[u8]) -> Result<Heard, Kind> {
        let facts = look(dialect, None, data);
        if !facts.is_json {
            return Err(Kind::UpstreamGarbled);
        }
        if facts.error {
            self.refused = Some(refusal(dialect, 200, data));
            return Err(Kind::UpstreamError); // R2
        }
        let mut name = None;
        let scanned = scan::object(data, |member| {
            if key_is(member.key.bytes(data), member.key_escaped, "type") {
                name = member.value.bytes(data).get(1..member.value.len() - 1);
            }
        });
        if let (Ok(_), Some(name)) = (scanned, name) {
            self.tx.put(b"event: ");
            self.tx.put(name);
            self.tx.put(b"\n");
        }
        for line in data.split(|byte| matches!(byte, b'\n' | b'\r')) {
            self.tx.put(b"data: ");
            self.tx.put(line);
            self.tx.put(b"\n");
        }
        self.tx.put(b"\n");
        Ok(Heard {
            content: facts.content,
            finished: facts.finished,
            done: facts.done,
            usage: facts.usage,
            is_that_text: false,
        })
    }

    /// Notes what an exception says, the frame `bytes`, with which Bedrock gives up.
    pub fn hear_exception(&mut self, bytes: &[u8]) {
        let frame = eventstream::frame(bytes).ok().filter(Frame::is_failure);
        self.refused = frame.map(|frame| {
            let name = frame.name().unwrap_or_default();
            exception(&String::from_utf8_lossy(name), frame.payload)
        });
    }

    /// Takes an event of which is known that it says one thing: this text, the inside of a
    /// JSON string.
    pub fn text(&mut self, raw: &[u8]) {
        let step = Step::Text(Text::Escaped(raw));
        let Self {
            writer,
            naming,
            tx,
            trail,
            ..
        } = self;
        let mut write = |step: &Step<'_>| writer.write(step, &naming.names(), tx);
        match trail {
            None => write(&step),
            // It passes as it comes: nothing is learned before that.
            Some(trail) => self.has_diverged |= trail.pass(&step, &mut write).is_err(),
        }
    }

    /// The body ended.
    ///
    /// # Errors
    /// [`Kind::UpstreamCut`]: the answer is not complete.
    pub fn end(&mut self) -> Result<Heard, Kind> {
        self.with(None, |reader, each| reader.end(each))
    }

    fn with(
        &mut self,
        text: Option<&[u8]>,
        read: impl FnOnce(&mut Reader, &mut dyn FnMut(Step<'_>)) -> Result<(), Kind>,
    ) -> Result<Heard, Kind> {
        let mut heard = Heard::default();
        let Self {
            reader,
            writer,
            naming,
            tx,
            refused,
            trail,
            notice,
            has_diverged,
            ..
        } = self;
        let names = naming.names();
        let (mut steps, mut is_text) = (0, false);
        let mut summed = None;
        read(reader, &mut |step| {
            steps += 1;
            match &step {
                Step::Error(words) => {
                    *refused = Some(words.clone());
                    return; // R2
                }
                Step::Text(found) => {
                    heard.content |= !found.is_empty();
                    is_text = text.is_some_and(|text| *found == Text::Escaped(text));
                }
                Step::Open(Open::Call { .. }) => heard.content = true,
                Step::Stop(..) => heard.finished = true,
                Step::Usage(tokens) => heard.usage = Some(usage(tokens)),
                Step::End => heard.done = true,
                _ => {}
            }
            let Some(trail) = trail else {
                return writer.write(&step, &names, tx);
            };
            let passed = trail.pass(&step, &mut |step| {
                match step {
                    Step::Usage(tokens) => summed = Some(usage(tokens)),
                    _ => tx.put(&notice.take().unwrap_or_default()),
                }
                writer.write(step, &names, tx);
            });
            *has_diverged |= passed.is_err();
        })?;
        if *has_diverged {
            return Err(Kind::UpstreamGarbled);
        }
        // The end of a stream that says neither a word nor why it ended is none.
        heard.finished &= reader.has_said_why();
        let is_free = trail.as_ref().is_none_or(|trail| trail.is_free()) && notice.is_none();
        heard.is_that_text = steps == 1 && is_text && heard.content && is_free;
        heard.usage = summed.or(heard.usage);
        match refused {
            Some(_) => Err(Kind::UpstreamError),
            None => Ok(heard),
        }
    }
}

/// Token counts as the gateway keeps them.
pub fn usage(tokens: &Tokens) -> Usage {
    Usage {
        input: tokens.prompt(),
        output: tokens.answer(),
        cached: tokens.read,
        reasoning: tokens.thinking,
    }
}
