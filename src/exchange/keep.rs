//! Keeps what comes of an exchange for others who ask the same, now and later.
//!
//! ```text
//!   head ─ begin ─► tape ─ publish (this is what the client gets) ─► followers
//!                     └─── clean end ─ store ─► worth? judge ─► Entry ─► index, other shards
//! ```
//!
//! Invariants
//! - K1 An answer is stored by who saw its clean end, once, and only as [`crate::cache::admit`]
//!   allows; what is not is counted with its reason.
//! - K2 Nothing is published before it is certain to be what the client gets.

use super::course::Course;
use super::flight::{Coming, Flight, Head};
use super::lease::Answer;
use super::settle::Settle;
use super::stored::Stored;
use super::{meant, relay, replay, shared};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::base::reel::Reel;
use crate::base::time::Instant;
use crate::cache::admit::{Facts, judge};
use crate::cache::body::Body;
use crate::cache::directive::Directive;
use crate::cache::embed::Placed;
use crate::cache::entry::{Entry, Making, Tag};
use crate::cache::key::Key;
use crate::cache::meaning::{Meaning, apart};
use crate::cache::reap::reap;
use crate::dialect::events::Wire;
use crate::dialect::model::{Dialect, Stop};
use crate::dialect::worth::{self, Why, Worth};
use crate::host::Host;
use crate::policy::plan::Step;
use crate::shard::cache::Found;
use crate::shard::serve::guarded;
use crate::stats::cached::Unstored;
use crate::wire::http1::{Chunked, Framing, Known};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an answer that several may listen to before nobody may join any more, if it may not
/// be stored.
const TAPE_MAX: usize = 4 << 20;

/// How long others may still join a flight whose answer was stored: until all shards have heard.
const LANDED: Duration = Duration::from_millis(100);

/// What an exchange has to do with the cache.
#[derive(Debug)]
pub struct Cached<H: Host> {
    /// What was asked for, and how an answer to it may be stored.
    pub print: Print,
    /// What the client is told of an answer that was stored.
    pub told: Option<Told>,
    /// What it shares with the others who ask the same.
    pub flight: Rc<Flight<H>>,
    /// It makes the attempts.
    pub leads: bool,
    /// What is kept so far of an answer.
    pub coming: Option<Rc<Coming<H>>>,
    /// What would have been given by meaning, and is compared with the answer instead.
    pub audits: Option<Found>,
}

/// What the client is told of a stored answer.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// How old it is.
    pub age: Duration,
    /// How sure it is that it answers this request, too, 0 to 1, if that is not the same.
    pub similarity: Option<f32>,
}

impl<H: Host> Cached<H> {
    /// Of a request with this print, on this flight, that neither leads nor knows of an answer.
    pub fn new(print: Print, flight: Rc<Flight<H>>) -> Self {
        Self {
            print,
            told: None,
            flight,
            leads: false,
            coming: None,
            audits: None,
        }
    }
}

/// What a request is for the cache.
#[derive(Clone, Debug)]
pub struct Print {
    /// The same request again.
    pub key: Key,
    /// What it allows.
    pub directive: Directive,
    /// The temperature that it asks for.
    pub temperature: Option<f64>,
    /// It limits the answer itself.
    pub is_limited: bool,
    /// It wants a stream.
    pub is_stream: bool,
    /// It wants vectors: of so many texts; 0 where that is not known.
    pub inputs: Option<usize>,
    /// Where it, and what comes of it, is found by meaning.
    pub meant: Option<Meant>,
}

/// How something is found by meaning.
#[derive(Clone, Debug)]
pub struct Meant {
    /// What was asked.
    pub question: Arc<Question>,
    /// Where it is found: that of the question, or what is in it for the vectors of its kind.
    pub partition: Key,
    /// What that means.
    pub meaning: Arc<Meaning>,
}

/// What is asked, and among what it is compared.
#[derive(Clone, PartialEq)]
pub struct Question {
    /// Everything of the request but the text.
    pub partition: Key,
    /// Its last text.
    pub text: Box<str>,
    /// Its vector, where that is a provider's.
    pub placed: Option<Placed>,
}

impl Meant {
    /// What is found by `question`, which means this but for its vector.
    pub fn new((question, meaning): (Question, Meaning)) -> Self {
        let (partition, meaning) = match &question.placed {
            None => (question.partition, meaning),
            Some(placed) => (
                apart(&question.partition, placed.space),
                meaning.placed(placed.clone()),
            ),
        };
        Self {
            question: Arc::new(question),
            partition,
            meaning: Arc::new(meaning),
        }
    }
}

impl fmt::Debug for Question {
    /// Nothing of a prompt is ever shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question").finish_non_exhaustive()
    }
}

impl<H: Host> Drop for Cached<H> {
    fn drop(&mut self) {
        if self.leads {
            self.flight.leave(); // unless something came of it
        }
        self.flight.part();
    }
}

/// What comes of `answer`, the last one or one that may be, is kept from here on.
pub fn begin<H: Host>(settle: &mut Settle<H>, step: &Step<'_>, answer: &mut Answer<H>) {
    let entry_max = settle.asked().map_or(0, |model| model.cache.entry_max);
    let Some(cached) = settle.cached.as_mut().filter(|cached| cached.leads) else {
        return;
    };
    cached.coming = None; // of an attempt before
    let data = answer.rx.data();
    let value = |known| answer.head.known(known).map(|span| span.bytes(data));
    if value(Known::ContentEncoding).is_some() {
        return; // nobody asked for one
    }
    let media = value(Known::ContentType).unwrap_or(b"application/json");
    let mut head = TxBuf::new(answer.rx.pool());
    let framing = answer.head.framing;
    replay::put_head(&mut head, (answer.head.status, media), &framing);
    let first = data.get(answer.head.len..).unwrap_or_default();
    let is_stream = relay::is_stream(answer, step.provider);
    let media = String::from_utf8_lossy(media).into();
    let tape = answer.lease.keep(first, entry_max.max(TAPE_MAX));
    cached.coming = Some(Rc::new(Coming {
        tape,
        head: Head {
            bytes: head.unsent().into(),
            framing,
            media,
            is_stream,
            status: answer.head.status,
            model_index: step.model_index,
            target_index: step.target_index,
        },
        is_reusable: answer.is_reusable,
    }));
}

/// The answer that is kept is the one that the client gets: the others get it, too (K2).
pub fn publish<H: Host>(settle: &Settle<H>) {
    if let Some(cached) = &settle.cached
        && let Some(coming) = &cached.coming
        && cached.leads
    {
        cached.flight.comes(Rc::clone(coming));
    }
}

/// The answer broke off, after it was published or before: what is kept of it is for nobody who
/// comes now, and where nobody has it, its connection is not held open for it.
pub fn broke<H: Host>(settle: &mut Settle<H>, fault: Kind, is_published: bool) {
    let Some(cached) = settle.cached.as_mut().filter(|cached| cached.leads) else {
        return;
    };
    if !is_published {
        cached.coming = None;
    } else if !matches!(
        fault,
        Kind::ClientGone | Kind::ShutDown | Kind::TotalTimeout
    ) {
        cached.flight.spoil();
    }
}

/// The answer's clean end was seen: it is stored, where it may be (K1).
pub fn store<H: Host>(course: &Course<'_, H>, settle: &Settle<H>, step: &Step<'_>) {
    let Some(cached) = &settle.cached else {
        return;
    };
    let Some(coming) = &cached.coming else {
        return;
    };
    if let Some(entry) = &cached.audits {
        meant::audit(course, settle, entry, (step, coming));
    }
    // Whoever wants none of it stored says so for itself; of several, another one stores it.
    let wants_none = cached.print.directive.stores_nothing();
    if wants_none && !cached.leads || !cached.flight.claim_storing() {
        return;
    }
    let (shard, now) = (course.shard, course.shard.host.now());
    let outcome = make(course, settle, (step, coming), now);
    let mut counters = shard.counters.borrow_mut();
    match &outcome {
        Ok(entry) => {
            counters.cached.stored += 1;
            let question = cached.print.meant.as_ref().map(|it| &*it.question);
            shared::put(shard, cached.flight.shared(), entry, question);
        }
        Err(why) => counters.cached.unstore(*why),
    }
    drop(counters);
    shard.mail.ring();
    if outcome.is_ok() && shard.shards > 1 {
        // Who asks a shard that has not heard of the entry finds the flight.
        let (flight, host) = (Rc::clone(&cached.flight), shard.host.clone());
        guarded(shard, async move {
            host.sleep_until(now + LANDED).await;
            drop(flight);
        });
    }
}

/// Makes an entry of what came, and puts it into the index.
fn make<H: Host>(
    course: &Course<'_, H>,
    settle: &Settle<H>,
    (step, coming): (&Step<'_>, &Rc<Coming<H>>),
    now: Instant,
) -> Result<Found, Unstored> {
    let (shard, receipt) = (course.shard, &settle.receipt);
    let cached = settle.cached.as_ref().ok_or(Unstored::Unread)?;
    let caching = &settle.asked().ok_or(Unstored::Unread)?.cache;
    // Framing is a small part: what is twice as long needs no second look.
    if coming.tape.len() / 2 > caching.entry_max {
        return Err(Unstored::TooLarge);
    }
    let dialect = step.provider.dialect.speaks();
    let wire = relay::wire(step.provider);
    let print = &cached.print;
    let gathered = |reel: &Reel| gather(reel, &coming.head, (dialect, wire), print.inputs);
    let gathered = coming.tape.with_reel(gathered);
    let (worth, body) = gathered.ok_or(Unstored::TooLarge)?.ok_or(Unstored::Cut)?;
    let facts = Facts {
        is_continued: receipt.continued.count() > 0,
        is_asked: step.fallback.is_none(),
        is_limited: print.is_limited,
        temperature: print.temperature,
        bytes: body.len(),
        ..facts(worth, coming.head.status)
    };
    let ttl = judge(&facts, caching, &print.directive)?;
    let first_content = receipt.first_content.unwrap_or_default();
    let target = step.model.targets.get(step.target_index);
    let upstream_model = target.and_then(|target| target.model.as_deref());
    let stored = Stored {
        model: step.model.name.as_str().into(),
        provider: step.provider.name.as_str().into(),
        upstream_model: upstream_model.unwrap_or_default().into(),
        dialect,
        wire,
        is_stream: coming.head.is_stream,
        media: (&*coming.head.media).into(),
        usage: match receipt.usage {
            told @ Some(_) if !coming.head.is_stream && dialect == course.route.dialect() => told,
            _ => Stored::usage_in(dialect, coming.head.is_stream, &body),
        },
        body,
        took: now.since(receipt.began).saturating_sub(first_content),
        events: u32::try_from(receipt.events).unwrap_or(u32::MAX),
        meaning: print.meant.as_ref().map(|it| Arc::clone(&it.meaning)),
    };
    let payload = stored.bytes();
    let partition = print.meant.as_ref().map(|it| it.partition);
    let mut cache = shard.cache.borrow_mut();
    let making = Making {
        key: print.key,
        partition,
        tags: tags(settle),
        made: now,
        ttl,
        born: cached.flight.began().born,
        payload,
        beside: partition.map_or(0, |it| cache.partitions.beside(&it)),
    };
    let account = Arc::clone(&cache.account);
    cache.index.make_room(&making);
    let entry = Entry::make(&account, shard.shards, making, stored).ok_or(Unstored::Memory)?;
    cache.store(&entry, now)?;
    Ok(entry)
}

/// The body of which what is on `reel` came behind this head, and what it is worth; of vectors for
/// so many `inputs`, if any. `None`: not all of it is there.
fn gather(
    reel: &Reel,
    head: &Head,
    (dialect, wire): (Dialect, Wire),
    inputs: Option<usize>,
) -> Option<(Worth, Body)> {
    if let (None, true, Framing::Chunked | Framing::UntilClose) =
        (inputs, head.is_stream, &head.framing)
    {
        let is_chunked = matches!(head.framing, Framing::Chunked);
        return reap(&reel.kept(), is_chunked, (dialect, wire));
    }
    let body = unframed(reel, head)?;
    let worth = match (inputs, head.is_stream) {
        (Some(inputs), _) => worth::of_vectors(dialect, &body, inputs),
        (None, true) => worth::of_stream(dialect, wire, &body),
        (None, false) => worth::of_plain(dialect, &body),
    };
    Some((worth, Body::new(body, head.is_stream)))
}

/// What an entry belongs to, for purges.
fn tags<H: Host>(settle: &Settle<H>) -> Box<[Tag]> {
    let keys = &settle.snapshot().config.keys;
    let key = settle.receipt.key().and_then(|index| keys.get(index));
    let cached = settle.cached.as_ref();
    let namespace = cached.and_then(|cached| cached.print.directive.namespace.as_deref());
    let tags = [
        settle.asked().map(|model| Tag::of("model", &model.name)),
        key.map(|key| Tag::of("client", &key.name)),
        namespace.map(|name| Tag::of("namespace", name)),
    ];
    tags.into_iter().flatten().collect()
}

/// What is known of a body, for the rules.
fn facts(worth: Worth, status: u16) -> Facts {
    Facts {
        status,
        is_whole: worth.complete && !worth.has_error,
        is_continued: false,
        is_read: true,
        is_asked: true,
        stop: match worth.stop {
            Some(Why::Stop | Why::Refusal) => Stop::End,
            Some(Why::Tool) => Stop::Tool,
            Some(Why::Length) => Stop::Length,
            Some(Why::Context) => Stop::Context,
            Some(Why::Filtered) => Stop::Filtered,
            Some(Why::Other) | None => Stop::Malformed,
        },
        has_calls: worth.has_calls,
        has_refusal: worth.stop == Some(Why::Refusal),
        has_content: worth.has_content,
        is_limited: false,
        temperature: None,
        bytes: 0,
    }
}

/// The body of which what is on `reel` came behind this head; `None`: not all of it is there. A
/// stream says itself whether it is whole: its last chunk may come after its end.
pub(super) fn unframed(reel: &Reel, head: &Head) -> Option<Vec<u8>> {
    let mut body = reel.all();
    match &head.framing {
        Framing::None => body.clear(),
        Framing::UntilClose => {}
        Framing::Length(length) => {
            let length = usize::try_from(*length)
                .ok()
                .filter(|it| *it <= body.len())?;
            body.truncate(length);
        }
        Framing::Chunked => {
            let decoded = Chunked::new().decode(&mut body).ok()?;
            body.truncate(decoded.data);
            if !decoded.done && !head.is_stream {
                return None;
            }
        }
    }
    Some(body)
}
