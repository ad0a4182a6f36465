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
use super::{pulse, relay};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::cache::directive::Directive;
use crate::cache::fingerprint::{Asked, Tenant, print};
use crate::cache::key::Key;
use crate::config::cache::{Caching, Scope};
use crate::dialect::model::Dialect;
use crate::host::Host;
use crate::policy::plan::Step;
use crate::shard::snapshot::Served;
use crate::stats::receipt::CacheUse;
use crate::wire::http1::{Chunked, Framing, Known};
use std::rc::Rc;
use std::time::Duration;

/// Bytes of an answer that several may listen to before nobody may join any more, beyond what
/// may be stored.
const TAPE_MAX: usize = 4 << 20;

/// What an exchange has to do with the cache.
#[derive(Debug)]
pub struct Cached<H: Host> {
    key: Key,
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
    let mut may_follow = caching.coalesce && !found.directive.no_coalesce;
    loop {
        if found.directive.only_if_cached {
            return Err(Kind::NotCached);
        }
        let (flight, leads) = if may_follow && !found.directive.no_cache {
            shard.flights.board(found.key, snapshot.epoch)
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
    let directive = match Directive::read(request.head.fields(data), None) {
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
    let tape = answer.lease.keep(first, entry_max.max(TAPE_MAX));
    cached.framing = framing;
    cached.coming = Some(Rc::new(Coming {
        tape,
        head: head.unsent().into(),
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
    let _ = (
        course,
        terms,
        body,
        relay::wire(step.provider),
        Dialect::Chat,
    );
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
