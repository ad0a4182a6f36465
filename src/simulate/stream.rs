//! A stream of events: on time, several in one write when several are due, faults in between.
//!
//! ```text
//!   delay        ttft      +gap      +gap                      t ─►
//!   │ head, role │ word 0 │ word 1 │ word 2 … │ finish │ usage │ [DONE]
//!                          └ each is due at ttft + k·gap: a late one does not delay the next
//! ```

use super::answer::{DONE, GARBAGE, Script};
use super::behave::Fate;
use super::conn::{BAD_CHUNK, Conn, Gone, Next, Open, next};
use super::plan::Plan;
use super::provider::Frame;
use super::refusal::Refusal;
use crate::base::time::Instant;
use crate::host::Host;
use crate::wire::http1::LAST_CHUNK;
use std::rc::Rc;
use std::time::Duration;

/// So many bytes that are due go out in one write, in bytes.
pub(super) const BATCH: usize = 48 << 10;

impl<H: Host> Conn<H> {
    /// Sends the events of `script`; the time of the request's arrival is `begun`.
    pub(super) async fn stream(
        &mut self,
        plan: &Plan,
        script: &Script,
        begun: Instant,
    ) -> Result<Next, Gone> {
        let provider = Rc::clone(&self.provider);
        provider.row().streams.add(1);
        let _open = Open::count(&provider.row().streams_open);
        let how = &plan.how;
        let framing = if script.is_chunked() {
            Frame::Chunked
        } else {
            Frame::UntilClose
        };
        self.put_head(plan, 200, "text/event-stream; charset=utf-8", framing);
        if !how.no_role {
            script.put_role(&mut self.tx);
        }
        let first = begun + how.ttft.max(how.delay);
        let strike_at = how.fate.strikes_after().map(|after| after.min(how.events));
        let mut now = self.host.now();
        for k in 0..=how.events {
            if strike_at == Some(k)
                && let Some(next) = self.fault(plan, script).await?
            {
                return Ok(next);
            }
            if k == how.events {
                break;
            }
            let due = first + times(how.gap, k);
            if due > now {
                self.send(how.drip).await?;
                self.pause(due).await?;
                now = self.host.now();
            }
            script.put_word(&mut self.tx, provider.words.word(k));
            provider.row().events.add(1);
            if self.tx.len() >= BATCH {
                self.send(how.drip).await?;
                self.host.breathe().await;
                now = self.host.now();
            }
        }
        script.put_finish(&mut self.tx);
        script.put_usage(&mut self.tx);
        if !how.no_done {
            script.put(&mut self.tx, &[DONE]);
        }
        self.end(script, how.drip).await?;
        match how.fate {
            Fate::Malformed(_) => provider.row().broken.add(1),
            _ => provider.row().streams_done.add(1),
        }
        Ok(next(plan))
    }

    /// Does the fault that is due; `None` when the stream goes on behind it.
    async fn fault(&mut self, plan: &Plan, script: &Script) -> Result<Option<Next>, Gone> {
        let how = &plan.how;
        match how.fate {
            Fate::Malformed(_) => {
                script.put(&mut self.tx, &[GARBAGE]);
                return Ok(None);
            }
            Fate::ErrorEvent(_) => {
                script.put(&mut self.tx, &[Refusal::of(500).event().as_bytes()]);
                self.end(script, how.drip).await?;
                return Ok(Some(self.broken(next(plan))));
            }
            Fate::BadChunk(_) => self.tx.put(BAD_CHUNK),
            _ => {}
        }
        self.send(how.drip).await?;
        self.strike(how).await.map(Some)
    }

    async fn end(&mut self, script: &Script, drip: Duration) -> Result<(), Gone> {
        if script.is_chunked() {
            self.tx.put(LAST_CHUNK);
        }
        self.send(drip).await
    }
}

pub(super) fn times(gap: Duration, k: u32) -> Duration {
    gap.checked_mul(k).unwrap_or(Duration::MAX)
}
