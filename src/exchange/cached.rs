//! The way of a request whose model's answers are cached.
//!
//! ```text
//!   key? ──no──► bypass: attempts
//!    │
//!    ├─ stored ─────────────────────────────► replay            hit
//!    ├─ one that answers this, too ─────────► replay            semantic-hit
//!    ├─ somebody asks the same right now ───► replay its tape   coalesced
//!    ├─ another box stored it (shared) ─────► stored            hit
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

use super::attempt::Failed;
use super::connection::Next;
use super::course::Course;
use super::down::{Down, Wait};
use super::flight::{Flight, Landed, When};
use super::keep::{Cached, Print, Told};
use super::lease::{Answer, Lease};
use super::meant::{self, Came, Likeness};
use super::replay;
use super::reply::Manner;
use super::request::asked;
use super::rewrite::Rewrite;
use super::settle::Settle;
use super::{ferry, pulse, shared, wishes};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::cache::directive::{Bad, Directive};
use crate::cache::fingerprint::{Asked, Tenant, counts, print};
use crate::cache::key::Key;
use crate::cache::memo::Bytes;
use crate::config::Config;
use crate::config::cache::{Caching, Mode, Replay, Scope};
use crate::dialect::model::Request;
use crate::dialect::route::Route;
use crate::host::{Host, Link};
use crate::policy::plan::Step;
use crate::shard::Shard;
use crate::shard::cache::Found;
use crate::shard::snapshot::Served;
use crate::stats::cached::{Bypass, Looked, Tier};
use crate::stats::receipt::CacheUse;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How often a request follows a flight that comes to nothing before it goes by itself.
const TRIES_MAX: u32 = 3;

/// Nothing comes of such a flight.
const NEVER: When = When { epoch: 0, born: 0 };

/// Name and value of a field of a head.
type Field<'a> = (&'a [u8], &'a [u8]);

/// Whether answers of the model that the request of `down` asks for are cached.
pub fn caching<'a, H: Host>(
    (_, snapshot): Served<'a, H>,
    down: &Down<H::Stream>,
) -> Option<&'a Caching> {
    let wanted = down.request.as_ref()?.wanted.as_ref()?;
    let caching = &snapshot.config.models.get(wanted.model)?.cache;
    let is_kept = wanted.route.is_chat() || wanted.route == Route::Embeddings;
    (caching.mode.is_on() && is_kept).then_some(caching)
}

/// Serves a request whose model's answers are cached as `caching` says; `None`: attempts are to be
/// made, and a fault of theirs is [`failed`]. They are not made here: this future is boxed, and
/// what waits for every event of a stream should be in the one place that is at hand.
///
/// # Errors
/// What the client is told; [`Kind::NotCached`].
pub async fn serve<H: Host>(
    served: Served<'_, H>,
    caching: &Caching,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    manner: Manner,
) -> Result<Option<Next>, Kind> {
    let shard = served.0;
    let (mut print, mut likeness) = match find(served, caching, down, settle)? {
        Ok(found) => found,
        Err(why) => {
            settle.receipt.cache = Some(CacheUse::Bypass);
            shard.counters.borrow_mut().cached.bypass(Tier::Exact, why);
            return Ok(None);
        }
    };
    let born = shard.cache.borrow().index.generation();
    let mut may_follow = caching.coalesce && !print.directive.no_coalesce;
    let (mut tries, mut audits, mut tier) = (0, None, Tier::Exact);
    let looked = |came| shard.counters.borrow_mut().cached.look(Tier::Exact, came);
    loop {
        if let Some(next) = hit(served, down, settle, &print, manner).await? {
            shared::note_hit(shard, tier);
            return Ok(Some(next));
        }
        if let Some(likeness) = likeness.take() {
            let about = (&mut print, likeness);
            match meant::find(served, (caching, manner), (down, settle), about).await? {
                Came::Hit(entry, told) => {
                    let found = (&print, (entry, told));
                    let next = tell(served, down, settle, found, manner).await?;
                    meant::told(shard, next.is_some());
                    if let Some(next) = next {
                        looked(Looked::Miss);
                        return Ok(Some(next));
                    }
                }
                Came::Audit(entry) => audits = Some(entry),
                Came::Nothing => {}
            }
        }
        if print.directive.only_if_cached {
            if shared::look(served, settle, (&print, born), &mut tier).await {
                continue;
            }
            return Err(Kind::NotCached);
        }
        tries += 1;
        let may_board = may_follow && tries <= TRIES_MAX && print.directive.may_look();
        let (flight, leads) = board(served, may_board.then(|| shared_by(down, &print)), born).await;
        let mut cached = Box::new(Cached::new(print.clone(), Rc::clone(&flight)));
        cached.leads = leads;
        cached.audits.clone_from(&audits);
        settle.cached = Some(cached);
        if leads {
            if shared::look(served, settle, (&print, born), &mut tier).await {
                settle.cached = None; // who follows looks again, too
                continue;
            }
            looked(Looked::Miss);
            settle.receipt.cache = Some(CacheUse::Miss);
            lead(down, &flight);
            return Ok(None);
        }
        settle.receipt.cache = Some(CacheUse::Coalesced);
        let course = Course::new(served, down, settle.receipt.began, manner);
        let course = course.ok_or(Kind::Internal)?;
        match follow(&course, down, settle, &flight).await? {
            Some(next) => {
                looked(Looked::Coalesced);
                return Ok(Some(next));
            }
            None => may_follow = flight.is_over(),
        }
    }
}

/// By what those share an exchange who ask for the same as `down`, as `print` says.
fn shared_by<L: Link>(down: &Down<L>, print: &Print) -> Key {
    let wanted = down.request.as_ref().and_then(|it| it.wanted.as_ref());
    wishes::apart(print.key, wanted.and_then(|it| it.wishes.as_deref()))
}

/// The flight of those who ask for the same right now, who share it by this key, if any, and
/// whether it leads it; `born` are the purges that were known when the request began.
async fn board<H: Host>(
    (shard, snapshot): Served<'_, H>,
    shared_by: Option<Key>,
    born: u64,
) -> (Rc<Flight<H>>, bool) {
    let epoch = snapshot.epoch;
    let when = When { epoch, born };
    let Some(key) = shared_by else {
        return (Flight::alone(when), true);
    };
    let (flight, is_first) = shard.flights.board(key, when);
    let leads = is_first && ferry::leads(shard, key, &flight).await;
    (flight, leads)
}

/// Who asks makes attempts for all who follow.
fn lead<H: Host>(down: &mut Down<H::Stream>, flight: &Rc<Flight<H>>) {
    let wanted = down.request.as_mut().and_then(|it| it.wanted.as_mut());
    if let Some(wanted) = wanted {
        let rewrite = wanted.rewrite.get_or_insert_default();
        rewrite.crowd = Some(Rc::clone(flight.crowd()));
    }
}

/// The attempts came to nothing but this: who follows hears of it.
pub fn failed<H: Host>(settle: &Settle<H>, kind: Kind) {
    // Its own time is nobody else's: one of the others leads next (L1).
    if !matches!(kind, Kind::ClientGone | Kind::ShutDown | Kind::TotalTimeout)
        && let Some(cached) = settle.cached.as_ref().filter(|cached| cached.leads)
    {
        cached.flight.fail(kind);
    }
}

/// Delivers the stored answer; `None`: there is none, or none that can be told to this client.
async fn hit<H: Host>(
    served: Served<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    print: &Print,
    manner: Manner,
) -> Result<Option<Next>, Kind> {
    let shard = served.0;
    if !print.directive.may_look() {
        return Ok(None);
    }
    let now = shard.host.now();
    let entry = shard.cache.borrow_mut().index.get(&print.key, now).cloned();
    let entry = entry.filter(|it| print.directive.takes(it.age(now), it.left(now)));
    let Some(entry) = entry else {
        return Ok(None);
    };
    let told = Told {
        age: entry.age(now),
        similarity: None,
    };
    tell(served, down, settle, (print, (entry, told)), manner).await
}

/// Delivers `entry`; `None`: it cannot be told to this client.
async fn tell<H: Host>(
    served: Served<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    (print, (entry, told)): (&Print, (Found, Told)),
    manner: Manner,
) -> Result<Option<Next>, Kind> {
    let (shard, snapshot) = served;
    let stored = &entry.payload;
    let asked = settle.receipt.model().unwrap_or_default();
    let Some(step) = stored.step(&snapshot.config, asked) else {
        return Ok(None);
    };
    settle.receipt.cache = Some(match told.similarity {
        None => CacheUse::Hit,
        Some(_) => CacheUse::SemanticHit,
    });
    let mut cached = Box::new(Cached::new(print.clone(), Flight::alone(NEVER)));
    cached.told = Some(told);
    cached.print.key = *entry.key(); // by which it can be purged
    settle.cached = Some(cached);
    let course = Course::new(served, down, settle.receipt.began, manner);
    let course = course.ok_or(Kind::Internal)?;
    if !stored.is_stream && !print.is_stream && !course.is_translated(down, &step) {
        let next = replay::verbatim(&course, down, settle, &step, stored).await?;
        return Ok(Some(next));
    }
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
    let as_it_came = is_paced && stored.is_stream && print.is_stream;
    let player = as_it_came.then(|| replay::paced(shard, &entry, pace));
    let here = (!as_it_came).then_some(&stored.body);
    let lease = Lease::of_tape(shard, pool, player);
    let answer = replay::answer(shard, lease, (head.unsent(), here), false);
    let mut answer = answer.ok_or(Kind::Internal)?;
    replayed(&course, down, settle, &step, (&mut answer, pace)).await
}

/// Delivers `answer` as [`replay::deliver`] does; `None`: it cannot be told to this client (C3).
async fn replayed<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    step: &Step<'_>,
    answer: (&mut Answer<H>, Duration),
) -> Result<Option<Next>, Kind> {
    match replay::deliver(course, down, settle, step, answer).await {
        Ok(next) => Ok(Some(next)),
        Err(Failed::Fault(kind @ (Kind::ClientGone | Kind::ShutDown))) => Err(kind),
        Err(_) => {
            down.tx.clear();
            settle.cached = None;
            Ok(None)
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
    pulse::begin(course, down, settle.receipt.id);
    let began = course.shard.host.now();
    down.arm(course.total);
    let waiting = flight.crowd().join();
    let landed = match down.wait(|cx| flight.poll_landed(cx)).await {
        Wait::Done(landed) => landed,
        Wait::Gone => return Err(Kind::ClientGone),
        Wait::Late => return Err(course.late(Kind::TotalTimeout)),
    };
    drop(waiting);
    settle.receipt.upstream += course.shard.host.now().since(began);
    let coming = match landed {
        Landed::Comes(coming) => coming,
        Landed::Failed(kind) => return Err(kind),
        Landed::Over => return Ok(None),
    };
    let asked = settle.receipt.model().unwrap_or_default();
    let place = (coming.head.model_index, coming.head.target_index);
    let config = &course.snapshot.config;
    let (Some(step), Some(player)) = (replay::step_at(config, asked, place), coming.tape.join())
    else {
        return Ok(None);
    };
    let upstream = course.snapshot.upstreams.get(step.provider_index);
    let pool = &upstream.ok_or(Kind::Internal)?.pool;
    let lease = Lease::of_tape(course.shard, pool, Some(player));
    let answer = replay::answer(
        course.shard,
        lease,
        (&coming.head.bytes, None),
        coming.is_reusable,
    );
    let mut answer = answer.ok_or(Kind::Internal)?;
    if let Some(cached) = &mut settle.cached {
        cached.coming = Some(coming);
    }
    let at_once = (&mut answer, Duration::ZERO);
    replayed(course, down, settle, &step, at_once).await
}

/// What the request is for the cache, or why it is nothing.
///
/// # Errors
/// It allows something that cannot be understood.
fn find<H: Host>(
    served: Served<'_, H>,
    caching: &Caching,
    down: &mut Down<H::Stream>,
    settle: &Settle<H>,
) -> Result<Result<(Print, Option<Likeness>), Bypass>, Kind> {
    let model = asked(down);
    let Down { request, rx, .. } = down;
    let request = request.as_deref_mut().ok_or(Kind::Internal)?;
    let wanted = request.wanted.as_mut().ok_or(Kind::Internal)?;
    let data = rx.data();
    let body = wanted.body.bytes(data);
    let in_body = wanted.ask.cache().map(|span| span.bytes(body));
    let (directive, fields) = match read_head(request.head.fields(data), in_body) {
        Ok(read) => read,
        Err(bad) => {
            let rewrite = wanted.rewrite.get_or_insert_default();
            rewrite.refuse(bad.field, bad.why);
            return Err(Kind::BadAsk);
        }
    };
    let bytes = Bytes {
        epoch: served.1.epoch,
        key: settle.receipt.key(),
        route: wanted.route,
        model: &model,
        fields: &fields,
        body,
    };
    let is_meant = caching.mode == Mode::Semantic;
    if let Some(known) = recall(served.0, &bytes, (&directive, is_meant)) {
        return Ok(Ok((Print { directive, ..known }, None)));
    }
    let rewrite = wanted.rewrite.get_or_insert_default();
    let read = rewrite.read(wanted.route, body, &model, wanted.ask.stream);
    if read.is_err() {
        return Ok(Err(Bypass::Odd)); // its provider says what is wrong
    }
    let Some((temperature, is_limited, inputs)) = decisive(rewrite) else {
        return Ok(Err(Bypass::Route));
    };
    if !caching.temperature_max.admits(temperature) {
        return Ok(Err(Bypass::Temperature));
    }
    let none = Request::default();
    let tenant = tenant(caching, &served.1.config, settle.receipt.key())?;
    let printed = print(&Asked {
        tenant,
        namespace: directive.namespace.as_deref(),
        route: wanted.route,
        model: &model,
        fields: &fields,
        body,
        request: rewrite.request().unwrap_or(&none),
    });
    let printed = match printed {
        Ok(print) => print,
        Err(why) => return Ok(Err(why.into())),
    };
    let print = Print {
        key: printed.key,
        directive: Directive::default(),
        temperature,
        is_limited,
        is_stream: wanted.ask.stream,
        inputs,
        meant: None,
    };
    remember(served.0, &bytes, &print);
    let likeness = is_meant.then(|| Likeness::of(printed.near));
    Ok(Ok((Print { directive, ..print }, likeness)))
}

/// What the request allows, and the fields of its head that count: on one way over it.
fn read_head<'a>(
    fields: impl Iterator<Item = Field<'a>>,
    in_body: Option<&[u8]>,
) -> Result<(Directive, Vec<Field<'a>>), Bad> {
    let mut counting = Vec::new();
    let all = fields.inspect(|field| {
        if counts(field.0) {
            counting.push(*field);
        }
    });
    Ok((Directive::read(all, in_body)?, counting))
}

/// What decides beside a key: the temperature, whether the request limits the answer itself, and
/// how many vectors it wants, if any. Of those luck is no part.
fn decisive(rewrite: &Rewrite) -> Option<(Option<f64>, bool, Option<usize>)> {
    match (rewrite.request(), &rewrite.embed) {
        (Some(read), _) => Some((read.sampling.temperature, read.max_tokens.is_some(), None)),
        (None, Some(embed)) => Some((Some(0.0), false, Some(embed.inputs.len()))),
        (None, None) => None,
    }
}

/// Whose entries a request with this client key may be given.
fn tenant<'a>(
    caching: &Caching,
    config: &'a Config,
    key: Option<usize>,
) -> Result<Tenant<'a>, Kind> {
    Ok(match (caching.scope, key) {
        (Scope::Shared, _) => Tenant::Shared,
        (Scope::Key, None) => Tenant::Open,
        (Scope::Key, Some(index)) => Tenant::Key(
            config
                .keys
                .get(index)
                .map(|key| &*key.name)
                .ok_or(Kind::Internal)?,
        ),
    })
}

/// Notes what `bytes` came to, for as long as there is an answer to them. To tell vectors in the
/// client's dialect takes the request as it was read, so those are read again.
fn remember<H: Host>(shard: &Shard<H>, bytes: &Bytes<'_>, print: &Print) {
    if print.inputs.is_some() {
        return;
    }
    let cache = shard.cache.borrow();
    if let Some(entry) = cache.index.peek(&print.key, shard.host.now()) {
        let known = (Arc::downgrade(entry), print.clone());
        shard.memo.borrow_mut().note(bytes, known);
    }
}

/// What the same bytes came to before, if that is all that is needed of them now: there is an
/// answer, which the request takes, or none is found by its meaning.
fn recall<H: Host>(
    shard: &Shard<H>,
    bytes: &Bytes<'_>,
    (directive, is_meant): (&Directive, bool),
) -> Option<Print> {
    let memo = shard.memo.borrow();
    let (_, known) = memo.recall(bytes)?;
    // Else a request is read, perhaps to be compared by its meaning, and what comes of it stored
    // under that; an entry that is over or was purged may be there for a while.
    let (cache, now) = (shard.cache.borrow(), shard.host.now());
    let entry = cache.index.peek(&known.key, now)?;
    let is_taken =
        !is_meant || directive.may_look() && directive.takes(entry.age(now), entry.left(now));
    is_taken.then(|| known.clone())
}
