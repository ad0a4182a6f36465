//! A stream in any dialect: the pace and the faults of [`super::stream`], for an answer in parts.
//!
//! ```text
//!   delay        ttft       +gap       +gap                                 t ─►
//!   │ head, begin │ thought │ word 0 │ a call's first piece … │ usage, stop, end
//!                  └ every piece is a content event; a part opens with its first
//! ```

use super::behave::Fate;
use super::conn::{BAD_CHUNK, Conn, Gone, Next, Open, next};
use super::plan::Plan;
use super::provider::Frame;
use super::refusal::Refusal;
use super::speech::SIGNATURE;
use super::stream::{BATCH, times};
use super::tongue::{Mouth, Saying};
use crate::base::time::Instant;
use crate::dialect::model::{Dialect, Step, Text};
use crate::host::Host;
use crate::wire::http1::LAST_CHUNK;
use std::rc::Rc;

/// Where a stream is.
struct Recital<'r> {
    plan: &'r Plan,
    mouth: Mouth<'r>,
    is_chunked: bool,
    /// When the first piece is due.
    first: Instant,
    now: Instant,
    /// Pieces so far.
    said: u32,
    /// After how many of them the fault strikes.
    strike_at: Option<u32>,
}

impl<H: Host> Conn<H> {
    /// Sends the events of `saying`; the time of the request's arrival is `begun`.
    pub(super) async fn recite(
        &mut self,
        plan: &Plan,
        saying: &Saying,
        begun: Instant,
    ) -> Result<Next, Gone> {
        let provider = Rc::clone(&self.provider);
        provider.row().streams.add(1);
        let _open = Open::count(&provider.row().streams_open);
        let (how, speech) = (&plan.how, &saying.speech);
        let framing = if saying.is_chunked {
            Frame::Chunked
        } else {
            Frame::UntilClose
        };
        self.put_head(plan, 200, saying.mime(), framing);
        let strikes_after = how.fate.strikes_after();
        let mut recital = Recital {
            plan,
            mouth: Mouth::new(saying, &provider.pool),
            is_chunked: saying.is_chunked,
            first: begun + how.ttft.max(how.delay),
            now: self.host.now(),
            said: 0,
            strike_at: strikes_after.map(|after| after.min(speech.len())),
        };
        if !how.no_role {
            let opening = Step::Begin {
                id: Text::Plain(&saying.id),
                model: Text::Plain(&saying.model),
            };
            recital.mouth.say(&opening, &mut self.tx);
        }
        for part in &speech.parts {
            recital.mouth.say(&Step::Open(part.open()), &mut self.tx);
            for k in 0..part.len() {
                let piece = part.piece(k, &provider.words);
                if let Some(next) = self.piece(&mut recital, piece).await? {
                    return Ok(next);
                }
            }
            let dialect = saying.route.dialect();
            if part.is_signed(dialect) {
                let opaque = Step::Opaque(dialect, SIGNATURE.as_bytes());
                recital.mouth.say(&opaque, &mut self.tx);
            }
            recital.mouth.say(&Step::Close, &mut self.tx);
        }
        if let Some(next) = self.mishap(&mut recital).await? {
            return Ok(next);
        }
        if let Some(tokens) = speech.usage {
            recital.mouth.say(&Step::Usage(tokens), &mut self.tx);
        }
        // Bedrock's stop says that a stream is whole; elsewhere the end does.
        if !(how.no_done && saying.route.dialect() == Dialect::Bedrock) {
            let stop = Step::Stop(speech.stop, Text::Plain(&speech.sequence));
            recital.mouth.say(&stop, &mut self.tx);
        }
        if !how.no_done {
            recital.mouth.say(&Step::End, &mut self.tx);
        }
        self.fall_silent(&mut recital).await?;
        match how.fate {
            Fate::Malformed(_) => provider.row().broken.add(1),
            _ => provider.row().streams_done.add(1),
        }
        Ok(next(plan))
    }

    /// Sends one piece when it is due; what becomes of the connection when the fault is due
    /// before it.
    async fn piece(
        &mut self,
        recital: &mut Recital<'_>,
        text: Text<'_>,
    ) -> Result<Option<Next>, Gone> {
        if let Some(next) = self.mishap(recital).await? {
            return Ok(Some(next));
        }
        let how = &recital.plan.how;
        let due = recital.first + times(how.gap, recital.said);
        if due > recital.now {
            self.send(how.drip).await?;
            self.pause(due).await?;
            recital.now = self.host.now();
        }
        recital.mouth.say(&Step::Text(text), &mut self.tx);
        recital.said += 1;
        self.provider.row().events.add(1);
        if self.tx.len() >= BATCH {
            self.send(how.drip).await?;
            self.host.breathe().await;
            recital.now = self.host.now();
        }
        Ok(None)
    }

    /// Does the fault if it is due; `None` when the stream goes on behind it.
    async fn mishap(&mut self, recital: &mut Recital<'_>) -> Result<Option<Next>, Gone> {
        if recital.strike_at != Some(recital.said) {
            return Ok(None);
        }
        recital.strike_at = None;
        let how = &recital.plan.how;
        match how.fate {
            Fate::Malformed(_) => {
                recital.mouth.garble(&mut self.tx);
                return Ok(None);
            }
            Fate::ErrorEvent(_) => {
                let refusal = Refusal::of(500);
                let message = refusal.message("");
                recital.mouth.fail(&refusal.told(&message), &mut self.tx);
                self.fall_silent(recital).await?;
                return Ok(Some(self.broken(next(recital.plan))));
            }
            Fate::BadChunk(_) => self.tx.put(BAD_CHUNK),
            _ => {}
        }
        self.send(how.drip).await?;
        self.strike(how).await.map(Some)
    }

    async fn fall_silent(&mut self, recital: &mut Recital<'_>) -> Result<(), Gone> {
        recital.mouth.close(&mut self.tx);
        if recital.is_chunked {
            self.tx.put(LAST_CHUNK);
        }
        self.send(recital.plan.how.drip).await
    }
}
