//! Comments on a silent stream, so that whoever stands between does not take it for dead.
//!
//! ```text
//!   held │ nothing was sent    `every` passes ─► head and ": keep-alive", before any content
//!   open │ events go out       `every` passes without one ─► ": keep-alive"
//! ```
//!
//! Off unless `stream.keepalive` is set. A head that went out early names no provider, since
//! another one may still answer; errors then come as an event, as after content.
//!
//! Invariants
//! - U1 A comment stands between events, never inside one: it goes out while the provider is
//!   waited for, when everything else that was for the client has been taken or is held.
//! - U2 At most one comment waits for the client; one that does not take it for
//!   `timeouts.stall` is gone.

use super::course::Course;
use super::down::Down;
use super::reply::{self, Manner};
use crate::base::bytes::TxBuf;
use crate::base::time::Instant;
use crate::dialect::model::Dialect;
use crate::host::{Host, Link};
use crate::shard::snapshot::Served;
use crate::stats::receipt::RequestId;
use crate::wire::http1::{END_OF_HEAD, put_chunk, put_own_field, put_status_line};
use std::task::{Context, Poll};
use std::time::Duration;

/// What fills the silence; clients pass over lines that begin with a colon.
const COMMENT: &[u8] = b": keep-alive\n\n";

/// The fields that every stream has.
const FIELDS: &[u8] = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n";

/// Writes the fields of a stream for a client of `front` and ends its head; `is_chunked` as
/// `transfer-encoding`.
pub fn put_stream_fields(tx: &mut TxBuf, front: Dialect, is_chunked: bool) {
    tx.put(match front {
        Dialect::Bedrock => b"content-type: application/vnd.amazon.eventstream\r\n".as_slice(),
        _ => b"content-type: text/event-stream; charset=utf-8\r\n",
    });
    tx.put(FIELDS);
    if is_chunked {
        tx.put(b"transfer-encoding: chunked\r\n");
    }
    tx.put(END_OF_HEAD);
}

/// When and what to say on a stream.
#[derive(Debug)]
pub struct Pulse {
    every: Duration,
    stall: Duration,
    /// When the next comment is due.
    due: Instant,
    /// When the wait that is under way ends.
    until: Instant,
    /// What goes out.
    tx: TxBuf,
    /// It has not gone out whole.
    is_busy: bool,
    /// For how long the client has taken nothing of it.
    stuck: Duration,
    /// What goes before the first comment; `None` once it went.
    head: Option<Box<[u8]>>,
    is_chunked: bool,
}

/// What a time that has come means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// There is something to send; the next such time.
    Next(Instant),
    /// The wait is over.
    End,
    /// The client takes nothing.
    Gone,
}

impl Pulse {
    /// The pulse of a stream that begins now, of the entry `model`.
    pub fn new<H: Host>(
        (shard, snapshot): Served<'_, H>,
        (id, model, front, manner): (RequestId, &str, Dialect, Manner),
        every: Duration,
    ) -> Self {
        let is_chunked = !manner.is_http10;
        let mut head = TxBuf::new(&shard.buffers);
        put_status_line(&mut head, 200);
        reply::put_common(&mut head, shard, id, manner.closing(!is_chunked));
        put_own_field(&mut head, "x-shardgate-model", model.as_bytes());
        put_stream_fields(&mut head, front, is_chunked);
        Self {
            every,
            stall: snapshot.config.timeouts.stall,
            due: shard.host.now() + every,
            until: Instant::FAR,
            tx: TxBuf::new(&shard.buffers),
            is_busy: false,
            stuck: Duration::ZERO,
            head: Some(head.unsent().into()),
            is_chunked,
        }
    }

    /// Whether something of it has not gone out yet.
    pub fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Whether a head went out, or is about to.
    pub fn has_begun(&self) -> bool {
        self.head.is_none()
    }

    /// Another head goes out.
    pub fn drop_head(&mut self) {
        self.head = None;
    }

    /// The wait until `until` begins; when to look here at the latest.
    pub fn wait_until(&mut self, until: Instant) -> Instant {
        self.until = until;
        until.min(self.due)
    }

    /// When the wait that is under way ends.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// Something was sent to the client at `now`.
    pub fn rest(&mut self, now: Instant) {
        self.due = now + self.every;
    }

    /// The time given by [`Pulse::wait_until`] has come.
    pub fn beat(&mut self) -> Beat {
        if self.due >= self.until {
            return Beat::End;
        }
        self.due = self.due + self.every;
        if self.is_busy {
            self.stuck += self.every;
            if self.stuck >= self.stall {
                return Beat::Gone; // U2
            }
        } else {
            if let Some(head) = self.head.take() {
                self.tx.put(&head);
            }
            if self.is_chunked {
                put_chunk(&mut self.tx, &[COMMENT]);
            } else {
                self.tx.put(COMMENT);
            }
            self.is_busy = true;
        }
        Beat::Next(self.due.min(self.until))
    }

    /// Sends what there is; an error when the client is gone.
    pub fn poll_flush<L: Link>(
        &mut self,
        link: &mut L,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.is_busy {
            std::task::ready!(link.poll_flush(cx, &mut self.tx))?;
            (self.is_busy, self.stuck) = (false, Duration::ZERO);
        }
        Poll::Ready(Ok(()))
    }
}

/// Gives the stream of `course` a pulse if its model wants one.
pub fn begin<H: Host>(course: &Course<'_, H>, down: &mut Down<H::Stream>, id: RequestId) {
    let config = &course.snapshot.config;
    let wanted = down.request.as_ref().and_then(|r| r.wanted.as_ref());
    let model = wanted.and_then(|wanted| config.models.get(wanted.model));
    // What has begun goes on, whoever makes the next attempt.
    let Some(model) = model.filter(|_| course.is_stream && down.pulse.is_none()) else {
        return;
    };
    let front = course.route.dialect();
    // A binary stream has no comments, and Google's SDK for Python (google-genai 3.6.1) takes them
    // for data and breaks.
    let has_comments = !matches!(front, Dialect::Bedrock | Dialect::Gemini);
    if let Some(every) = model.keepalive.filter(|_| has_comments) {
        let about = (id, model.name.as_str(), front, course.manner);
        down.pulse = Some(Box::new(Pulse::new(course.served(), about, every)));
    }
}
