//! The way of a request whose model's answers are cached.
//!
//! ```text
//!   key? ──no──► bypass: attempts
//!    │
//!    ├─ stored ─────────────────────────────► replay            hit, semantic-hit
//!    ├─ somebody asks the same right now ───► replay its tape   coalesced
//!    └─ attempts, kept on a tape ── whole? ─► stored            miss
//! ```
//!
//! Authorisation comes first: [`super::connection`] knows the client's key and that it may ask for
//! the model before anything is looked up here.
//!
//! Invariants
//! - C1 Nothing of this runs for a model with `cache.mode = "off"`.
//! - C2 An answer is stored by who saw its clean end, once, and only as [`crate::cache::admit`]
//!   allows.
//! - C3 Whatever cannot be replayed is asked for as if there were no cache.

use super::attempt::{self, Failed};
use super::connection::Next;
use super::course::Course;
use super::down::{Down, Wait};
use super::flight::{Coming, Flight, Landed};
use super::lease::{Answer, Lease};
use super::replay;
use super::reply::Manner;
use super::request::asked;
use super::settle::Settle;
use super::stored::Stored;
use super::{ferry, pulse, relay};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::cache::directive::Directive;
use crate::cache::entry::{Entry, Making, Tag};
use crate::cache::fingerprint::{Asked, Tenant, print};
use crate::cache::key::Key;
use crate::config::cache::{Caching, Replay, Scope};
use crate::dialect::worth::{self, Why};
use crate::host::Host;
use crate::policy::plan::Step;
use crate::shard::snapshot::Served;
use crate::stats::receipt::CacheUse;
use crate::wire::http1::{Chunked, Framing, Known};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of an answer that several may listen to before nobody may join any more, beyond what
/// may be stored.
const TAPE_MAX: usize = 4 << 20;

/// How often a request follows a flight that comes to nothing before it goes by itself.
const TRIES_MAX: u32 = 3;

/// What an exchange has to do with the cache.
#[derive(Debug)]
pub struct Cached<H: Host> {
    key: Key,
    /// The purges that were known when the request came.
    born: u64,
    /// What the client is told of an answer that was stored.
    pub told: Option<Told>,
    flight: Rc<Flight<H>>,
    /// It makes the attempts.
    leads: bool,
    /// How the answer is kept, if it may be.
    terms: Option<Terms>,
    /// What is kept so far of an answer that is not published yet.
    coming: Option<Rc<Coming<H>>>,
    /// How the body is framed on the tape.
    framing: Framing,
}

/// What the client is told of a stored answer.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// How old it is.
    pub age: Duration,
    /// How alike the requests are, if they are not the same.
    pub similarity: Option<f32>,
}

/// How an answer may be stored.
#[derive(Clone, Debug)]
pub struct Terms {
    ttl: Duration,
    entry_max: usize,
    has_calls: bool,
}

impl<H: Host> Drop for Cached<H> {
    fn drop(&mut self) {
        if self.leads {
            self.flight.leave(); // unless something came of it
        }
    }
}

/// What the request of `down` has in the cache.
struct Found {
    key: Key,
    directive: Directive,
}

/// Whether answers of the model that the request of `down` asks for are cached.
pub fn caching<'a, H: Host>(
    (_, snapshot): Served<'a, H>,
    down: &Down<H::Stream>,
) -> Option<&'a Caching> {
    let wanted = down.request.as_ref()?.wanted.as_ref()?;
    let caching = &snapshot.config.models.get(wanted.model)?.cache;
    (caching.mode.is_on() && wanted.route.is_chat()).then_some(caching)
}

/// Serves a request whose model's answers are cached as `caching` says.
///
/// # Errors
/// As [`attempt::attempts`]; [`Kind::NotCached`].
pub async fn serve<H: Host>(
    served: Served<'_, H>,
    caching: &Caching,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    manner: Manner,
) -> Result<Next, Kind> {
    let Some(found) = find(served, caching, down, settle)? else {
        settle.receipt.cache = Some(CacheUse::Bypass);
        return attempt::attempts(served, down, settle, manner).await;
    };
    let (shard, snapshot) = served;
    let born = shard.cache.borrow().index.generation();
    let mut may_follow = caching.coalesce && !found.directive.no_coalesce;
    let mut tries = 0;
    loop {
        if let Some(next) = hit(served, down, settle, &found, manner).await? {
            return Ok(next);
        }
        if found.directive.only_if_cached {
            return Err(Kind::NotCached);
        }
        tries += 1;
        let (flight, leads) = if may_follow && tries <= TRIES_MAX && !found.directive.no_cache {
            let (flight, is_first) = shard.flights.board(found.key, snapshot.epoch);
            let leads = is_first && ferry::leads(shard, found.key, &flight).await;
            (flight, leads)
        } else {
            (Flight::alone(snapshot.epoch), true)
        };
        let may_store = !found.directive.no_store;
        let terms = may_store.then(|| Terms {
            ttl: found.directive.ttl(caching.ttl),
            entry_max: caching.entry_max,
            has_calls: caching.tool_calls,
        });
        settle.cached = Some(Box::new(Cached {
            key: found.key,
            born,
            told: None,
            flight: Rc::clone(&flight),
            leads,
            terms,
            coming: None,
            framing: Framing::None,
        }));
        if leads {
            settle.receipt.cache = Some(CacheUse::Miss);
            let outcome = attempt::attempts(served, down, settle, manner).await;
            if let Err(kind) = outcome
                && !matches!(kind, Kind::ClientGone | Kind::ShutDown)
            {
                flight.fail(kind);
            }
            return outcome;
        }
        settle.receipt.cache = Some(CacheUse::Coalesced);
        let course = Course::new(served, down, settle.receipt.began, manner);
        let course = course.ok_or(Kind::Internal)?;
        match follow(&course, down, settle, &flight).await? {
            Some(next) => return Ok(next),
            None => may_follow = flight.is_over(),
        }
    }
}

/// Delivers the stored answer; `None`: there is none, or none that can be told to this client.
async fn hit<H: Host>(
    served: Served<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    found: &Found,
    manner: Manner,
) -> Result<Option<Next>, Kind> {
    let (shard, snapshot) = served;
    if !found.directive.may_look() {
        return Ok(None);
    }
    let now = shard.host.now();
    let entry = shard.cache.borrow_mut().index.get(&found.key, now).cloned();
    let entry = entry.filter(|it| found.directive.takes(it.age(now), it.left(now)));
    let Some(entry) = entry else {
        return Ok(None);
    };
    let stored = &entry.payload;
    let asked = settle.receipt.model().unwrap_or_default();
    let Some(step) = stored.step(&snapshot.config, asked) else {
        return Ok(None);
    };
    let upstream = snapshot.upstreams.get(step.provider_index);
    let pool = &upstream.ok_or(Kind::Internal)?.pool;
    let mut head = TxBuf::new(&shard.buffers);
    stored.put_head(&mut head);
    let is_paced = step.model.cache.replay == Replay::Paced;
    let pace = if is_paced {
        stored.pace()
    } else {
        Duration::ZERO
    };
    let lease = Lease::of_tape(shard, pool, None);
    let answer = replay::answer(shard, lease, [head.unsent(), &stored.body], false);
    let mut answer = answer.ok_or(Kind::Internal)?;
    settle.receipt.cache = Some(CacheUse::Hit);
    settle.cached = Some(Box::new(Cached {
        key: found.key,
        born: 0,
        told: Some(Stored::told(entry.age(now))),
        flight: Flight::alone(0),
        leads: false,
        terms: None,
        coming: None,
        framing: Framing::None,
    }));
    let course = Course::new(served, down, settle.receipt.began, manner);
    let course = course.ok_or(Kind::Internal)?;
    match replay::deliver(&course, down, settle, &step, (&mut answer, pace)).await {
        Ok(next) => Ok(Some(next)),
        Err(Failed::Fault(kind @ (Kind::ClientGone | Kind::ShutDown))) => Err(kind),
        Err(_) => {
            down.tx.clear();
            settle.cached = None;
            Ok(None) // C3
        }
    }
}

/// Waits for what `flight` comes to and delivers it; `None`: nothing was delivered, and the
/// request has to see to itself.
async fn follow<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    flight: &Rc<Flight<H>>,
) -> Result<Option<Next>, Kind> {
    if down.pulse.is_none() {
        pulse::begin(course, down, settle.receipt.id);
    }
    let began = course.shard.host.now();
    down.arm(course.total);
    let landed = match down.wait(|cx| flight.poll_landed(cx)).await {
        Wait::Done(landed) => landed,
        Wait::Gone => return Err(Kind::ClientGone),
        Wait::Late => return Err(course.late(Kind::TotalTimeout)),
    };
    settle.receipt.upstream += course.shard.host.now().since(began);
    let coming = match landed {
        Landed::Comes(coming) => coming,
        Landed::Failed(kind) => return Err(kind),
        Landed::Over => return Ok(None),
    };
    let asked = settle.receipt.model().unwrap_or_default();
    let place = (coming.model_index, coming.target_index);
    let config = &course.snapshot.config;
    let (Some(step), Some(player)) = (replay::step_at(config, asked, place), coming.tape.join())
    else {
        return Ok(None);
    };
    let upstream = course.snapshot.upstreams.get(step.provider_index);
    let pool = &upstream.ok_or(Kind::Internal)?.pool;
    let lease = Lease::of_tape(course.shard, pool, Some(player));
    let answer = replay::answer(course.shard, lease, [&coming.head, b""], coming.is_reusable);
    let mut answer = answer.ok_or(Kind::Internal)?;
    if let Some(cached) = &mut settle.cached {
        cached.framing = answer.head.framing.clone();
        cached.coming = Some(coming);
    }
    let pace = (&mut answer, Duration::ZERO);
    match replay::deliver(course, down, settle, &step, pace).await {
        Ok(next) => Ok(Some(next)),
        Err(Failed::Fault(kind @ (Kind::ClientGone | Kind::ShutDown))) => Err(kind),
        Err(_) => {
            down.tx.clear();
            Ok(None) // C3
        }
    }
}

/// The key of the request, and what it allows; `None`: it is none for a cache.
///
/// # Errors
/// It allows something that cannot be understood.
fn find<H: Host>(
    served: Served<'_, H>,
    caching: &Caching,
    down: &mut Down<H::Stream>,
    settle: &Settle<H>,
) -> Result<Option<Found>, Kind> {
    let model = asked(down);
    let Down { request, rx, .. } = down;
    let request = request.as_deref_mut().ok_or(Kind::Internal)?;
    let wanted = request.wanted.as_mut().ok_or(Kind::Internal)?;
    let data = rx.data();
    let body = wanted.body.bytes(data);
    let in_body = wanted.ask.cache().map(|span| span.bytes(body));
    let directive = match Directive::read(request.head.fields(data), in_body) {
        Ok(directive) => directive,
        Err(bad) => {
            let rewrite = wanted.rewrite.get_or_insert_default();
            rewrite.refuse(bad.field, bad.why);
            return Err(Kind::BadAsk);
        }
    };
    let rewrite = wanted.rewrite.get_or_insert_default();
    if rewrite
        .read(wanted.route, body, &model, wanted.ask.stream)
        .is_err()
    {
        return Ok(None); // its provider says what is wrong
    }
    let Some(read) = rewrite.request() else {
        return Ok(None);
    };
    if !caching.temperature_max.admits(read.sampling.temperature) {
        return Ok(None);
    }
    let keys = &served.1.config.keys;
    let tenant = match (caching.scope, settle.receipt.key()) {
        (Scope::Shared, _) => Tenant::Shared,
        (Scope::Key, None) => Tenant::Open,
        (Scope::Key, Some(index)) => Tenant::Key(
            keys.get(index)
                .map(|key| &*key.name)
                .ok_or(Kind::Internal)?,
        ),
    };
    let fields: Vec<_> = request.head.fields(data).collect();
    let printed = print(&Asked {
        tenant,
        namespace: directive.namespace.as_deref(),
        route: wanted.route,
        model: &model,
        fields: &fields,
        body,
        request: read,
    });
    let key = printed.ok().map(|print| print.key);
    Ok(key.map(|key| Found { key, directive }))
}

/// What comes of `answer`, the last one or one that may be, is kept from here on.
pub fn begin<H: Host>(settle: &mut Settle<H>, step: &Step<'_>, answer: &mut Answer<H>) {
    let Some(cached) = settle.cached.as_mut().filter(|cached| cached.leads) else {
        return;
    };
    let data = answer.rx.data();
    let value = |known| answer.head.known(known).map(|span| span.bytes(data));
    if value(Known::ContentEncoding).is_some() {
        return; // nobody asked for one
    }
    let media = value(Known::ContentType).unwrap_or(b"application/json");
    let mut head = TxBuf::new(answer.rx.pool());
    let framing = answer.head.framing.clone();
    replay::put_head(&mut head, (answer.head.status, media), &framing);
    let first = data.get(answer.head.len..).unwrap_or_default();
    let entry_max = cached.terms.as_ref().map_or(0, |terms| terms.entry_max);
    let is_stream = relay::is_stream(answer, step.provider);
    let media = String::from_utf8_lossy(media).into();
    let tape = answer.lease.keep(first, entry_max.max(TAPE_MAX));
    cached.framing = framing;
    cached.coming = Some(Rc::new(Coming {
        tape,
        head: head.unsent().into(),
        media,
        is_stream,
        model_index: step.model_index,
        target_index: step.target_index,
        is_reusable: answer.is_reusable,
    }));
}

/// The answer that is kept is the one that the client gets: the others get it, too.
pub fn publish<H: Host>(settle: &Settle<H>) {
    if let Some(cached) = &settle.cached
        && let Some(coming) = &cached.coming
        && cached.leads
    {
        cached.flight.comes(Rc::clone(coming));
    }
}

/// The answer's clean end was seen: it is stored, where it may be (C2).
pub fn store<H: Host>(course: &Course<'_, H>, settle: &mut Settle<H>, step: &Step<'_>) {
    let Some(cached) = &settle.cached else {
        return;
    };
    let (Some(terms), Some(coming)) = (&cached.terms, &cached.coming) else {
        return;
    };
    let is_own = step.fallback.is_none() && settle.receipt.continued.count() == 0;
    if !is_own || !cached.flight.claim_storing() {
        return;
    }
    let body = coming
        .tape
        .with_bytes(|bytes| unframed(bytes, &cached.framing));
    let Some(Some(body)) = body else {
        return;
    };
    let shard = course.shard;
    let is_stream = coming.is_stream;
    let dialect = step.provider.dialect.speaks();
    let wire = relay::wire(step.provider);
    let worth = if is_stream {
        worth::of_stream(dialect, wire, &body)
    } else {
        worth::of_plain(dialect, &body)
    };
    if !worth.complete || worth.has_error || worth.has_calls && !terms.has_calls {
        return;
    }
    let is_good = matches!(worth.stop, Some(Why::Stop | Why::Length | Why::Tool));
    if !is_good || body.len() > terms.entry_max {
        return;
    }
    let now = shard.host.now();
    let first_content = settle.receipt.first_content.unwrap_or_default();
    let target = step.model.targets.get(step.target_index);
    let upstream_model = target.and_then(|target| target.model.as_deref());
    let stored = Stored {
        model: step.model.name.as_str().into(),
        provider: step.provider.name.as_str().into(),
        upstream_model: upstream_model.unwrap_or_default().into(),
        dialect,
        wire,
        is_stream,
        media: coming.media.clone(),
        body: body.into(),
        took: now
            .since(settle.receipt.began)
            .saturating_sub(first_content),
        events: u32::try_from(settle.receipt.events).unwrap_or(u32::MAX),
    };
    let payload = stored.bytes();
    let making = Making {
        key: cached.key,
        partition: None,
        tags: Box::new([Tag::of("model", &step.model.name)]),
        made: now,
        ttl: terms.ttl,
        born: cached.born,
        payload,
        beside: 0,
    };
    let mut cache = shard.cache.borrow_mut();
    let account = Arc::clone(&cache.account);
    cache.index.make_room(&cached.key, payload);
    if let Some(entry) = Entry::make(&account, shard.shards, making, stored) {
        let _kept = cache.index.store(entry, now);
    }
    drop(cache);
    shard.mail.ring();
}

/// The body of which `bytes` came in this framing; `None`: not all of it is there.
fn unframed(bytes: &[u8], framing: &Framing) -> Option<Vec<u8>> {
    let mut body = bytes.to_vec();
    match framing {
        Framing::None => body.clear(),
        Framing::UntilClose => {}
        Framing::Length(length) => {
            let length = usize::try_from(*length).ok()?;
            if body.len() < length {
                return None;
            }
            body.truncate(length);
        }
        Framing::Chunked => {
            let decoded = Chunked::new().decode(&mut body).ok()?;
            if !decoded.done {
                return None;
            }
            body.truncate(decoded.data);
        }
    }
    Some(body)
}
