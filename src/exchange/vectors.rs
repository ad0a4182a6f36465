//! Asks a provider for the vector of a text: what finds candidates where `embedder` names one.
//!
//! ```text
//!   text ─► known? ────────────────────────────────────────► vector
//!           being asked for? ─► waits for that ────────────► vector, or late
//!           failed too often, too many under way? ─────────► none
//!           else: a task ─ lease ─ send ─ head ─ body ─ read ─► known
//!                          │ waits for it, `timeout` at most ─► vector, or late
//! ```
//!
//! The task goes on for a while when nobody waits any more: a connection that was slow to open is
//! there for the next one, and the vector is known then.
//!
//! Invariants
//! - V1 What goes wrong here costs a request a stored answer, never its own, and `timeout` at
//!   most; nothing once the breaker is open, as nobody waits for a probe.
//! - V2 A text is asked for once, whoever wants it meanwhile or for a while after.
//! - V3 No text is kept or shown here. A call carries nothing of a client's head: it may be several
//!   clients'.
//! - V4 Tokens of a call are counted apart, and are nobody's usage.

use super::answer::Incoming;
use super::down::{Down, Wait};
use super::lease::Lease;
use super::secure;
use super::upstream::{Outgoing, put_head};
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::fault::Kind;
use crate::base::time::Instant;
use crate::cache::embed::Placed;
use crate::cache::embed::asked::{self, Given, Maker};
use crate::cache::embed::known::Known;
use crate::cache::key::Key;
use crate::config::cache::{Caching, EMBED_MAX, Embedder as Named};
use crate::dialect::pieces::Pieces;
use crate::dialect::route::Route;
use crate::host::Host;
use crate::policy::breaker::{Breaker, Outcome, Permit, Turn, Verdict};
use crate::shard::Shard;
use crate::shard::deadline::Timer;
use crate::shard::serve::guarded;
use crate::shard::snapshot::{Served, Snapshot, Upstream};
use crate::stats::vectors::{Called, Wanted};
use crate::stats::view::Tally;
use crate::wire::http1::{HeadLimits, Method, ResponseHead, ResponseReader};
use ahash::AHashMap;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Calls under way on a shard, at most.
const CALLS_MAX: usize = 64;

/// Bytes of an answer, at most: 4,096 numbers of sixty digits.
const BODY_MAX: usize = 256 << 10;

/// Endpoints whose breakers are kept; more come only by reloads.
const ENDPOINTS_MAX: usize = 64;

/// What a shard knows of vectors.
#[derive(Debug, Default)]
pub struct Vectors {
    known: Known,
    under_way: AHashMap<Key, Rc<Call>>,
    /// By endpoint and model.
    breakers: AHashMap<u64, Breaker>,
}

/// Who is asked, and how long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Embedder<'a> {
    /// Index into [`crate::config::Config::providers`].
    pub provider: usize,
    /// Its name for the model.
    pub model: &'a str,
    /// How long a request waits.
    pub timeout: Duration,
}

impl<'a> Embedder<'a> {
    /// Who is asked for a model that is cached so; `None`: nobody, the table is compiled in.
    pub fn of(caching: &'a Caching) -> Option<Self> {
        match &caching.semantic.embedder {
            Named::Builtin => None,
            Named::Provider {
                provider,
                model,
                timeout,
            } => Some(Self {
                provider: *provider,
                model,
                timeout: *timeout,
            }),
        }
    }
}

/// A call under way, for all that wait for it.
#[derive(Debug, Default)]
struct Call {
    /// Nobody waits for it (V1).
    is_probe: bool,
    came: RefCell<Option<Result<Placed, Wanted>>>,
    wakers: RefCell<Vec<Waker>>,
}

impl Call {
    fn poll(&self, cx: &Context<'_>) -> Poll<Result<Placed, Wanted>> {
        if let Some(came) = &*self.came.borrow() {
            return Poll::Ready(came.clone());
        }
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The first end counts for who waits.
    fn end(&self, came: Result<Placed, Wanted>) {
        self.came.borrow_mut().get_or_insert(came);
        for waker in self.wakers.take() {
            waker.wake();
        }
    }
}

/// How a request comes by a vector.
enum Way {
    Here(Box<Placed>),
    Wait(Rc<Call>, Wanted),
    None(Wanted),
}

impl Way {
    fn to(call: &Rc<Call>, how: Wanted) -> Self {
        if call.is_probe {
            return Self::None(Wanted::Breaker);
        }
        Self::Wait(Rc::clone(call), how)
    }
}

/// The vector of `text`; `None`: there is none in time, which is counted. Waits until `total` at
/// most.
///
/// # Errors
/// [`Kind::ClientGone`].
pub async fn vector<H: Host>(
    served: Served<'_, H>,
    down: &mut Down<H::Stream>,
    embedder: Embedder<'_>,
    text: &str,
    total: Instant,
) -> Result<Option<Placed>, Kind> {
    let shard = served.0;
    let (how, placed) = match find(served, embedder, text) {
        Way::Here(placed) => (Wanted::Known, Some(*placed)),
        Way::None(why) => (why, None),
        Way::Wait(call, how) => {
            down.arm((shard.host.now() + embedder.timeout).min(total));
            match down.wait(|cx| call.poll(cx)).await {
                Wait::Done(Ok(placed)) => (how, Some(placed)),
                Wait::Done(Err(why)) => (why, None),
                Wait::Late => (Wanted::Late, None),
                Wait::Gone => return Err(Kind::ClientGone),
            }
        }
    };
    shard.counters.borrow_mut().vectors.want(how);
    Ok(placed)
}

/// The way to the vector of `text`; the call for it is under way then, where one is needed.
fn find<H: Host>(served: Served<'_, H>, embedder: Embedder<'_>, text: &str) -> Way {
    let (shard, snapshot) = served;
    let Some(provider) = snapshot.config.providers.get(embedder.provider) else {
        return Way::None(Wanted::Failed);
    };
    let url = provider.base_url.to_string();
    let maker = Maker {
        provider: &provider.name,
        url: &url,
        model: embedder.model,
    };
    let name = maker.name(text);
    let vectors = &mut *shard.vectors.borrow_mut();
    if let Some(placed) = vectors.known.get(&name) {
        return Way::Here(Box::new(placed.clone()));
    }
    if let Some(call) = vectors.under_way.get(&name) {
        return Way::to(call, Wanted::Joined);
    }
    if vectors.under_way.len() >= CALLS_MAX {
        return Way::None(Wanted::Busy);
    }
    let endpoint = maker.space(0);
    if vectors.breakers.len() >= ENDPOINTS_MAX && !vectors.breakers.contains_key(&endpoint) {
        vectors.breakers.clear();
    }
    let breaker = vectors.breakers.entry(endpoint).or_default();
    let verdict = breaker.ask(&turn(shard, snapshot));
    if let Verdict::Reject { .. } = verdict {
        return Way::None(Wanted::Breaker);
    }
    let permit = breaker.permit(verdict);
    let call = Rc::new(Call {
        is_probe: permit.is_probe(),
        ..Call::default()
    });
    vectors.under_way.insert(name, Rc::clone(&call));
    let errand = Errand {
        shard: Rc::clone(shard),
        snapshot: Rc::clone(snapshot),
        timer: shard.deadlines.timer(),
        provider: embedder.provider,
        model: embedder.model.to_owned(),
        name,
        endpoint,
        permit: Some(permit),
        call: Rc::clone(&call),
        began: shard.host.now(),
    };
    guarded(
        shard,
        errand.run(asked::ask(embedder.model, text), embedder.timeout),
    );
    Way::to(&call, Wanted::Asked)
}

fn turn<'a, H: Host>(shard: &Shard<H>, snapshot: &'a Snapshot<H::Stream>) -> Turn<'a> {
    Turn {
        settings: &snapshot.config.breaker,
        me: u32::try_from(shard.index).unwrap_or(u32::MAX),
        now: shard.host.now(),
        random: shard.random(),
    }
}

/// A call, until its end.
struct Errand<H: Host> {
    shard: Rc<Shard<H>>,
    snapshot: Rc<Snapshot<H::Stream>>,
    timer: Timer,
    provider: usize,
    model: String,
    name: Key,
    endpoint: u64,
    /// What the breaker gave; `None` once it knows what came of it.
    permit: Option<Permit>,
    call: Rc<Call>,
    began: Instant,
}

impl<H: Host> Drop for Errand<H> {
    /// However it ends.
    fn drop(&mut self) {
        self.settle(Outcome::Neutral);
        self.call.end(Err(Wanted::Failed));
        let mut vectors = self.shard.vectors.borrow_mut();
        vectors.under_way.remove(&self.name);
    }
}

impl<H: Host> Errand<H> {
    async fn run(mut self, body: Vec<u8>, timeout: Duration) {
        let (shard, snapshot) = (Rc::clone(&self.shard), Rc::clone(&self.snapshot));
        let Some(provider) = snapshot.config.providers.get(self.provider) else {
            return;
        };
        let url = provider.base_url.to_string();
        let model = self.model.clone();
        let maker = Maker {
            provider: &provider.name,
            url: &url,
            model: &model,
        };
        let mut asking = pin!(ask(&shard, &snapshot, self.provider, (&body, maker)));
        self.timer.arm(self.began + timeout);
        let mut came = self.within(asking.as_mut()).await;
        let is_late = came.is_none();
        if is_late {
            self.settle(Outcome::Failure);
            self.call.end(Err(Wanted::Late));
            self.timer.arm(self.began + EMBED_MAX.max(timeout));
            came = self.within(asking).await;
        }
        let how = match &came {
            _ if is_late => Called::Late,
            None => Called::Late,
            Some(Ok(_)) => Called::Done,
            Some(Err(how)) => *how,
        };
        let mut counters = shard.counters.borrow_mut();
        counters
            .vectors
            .call(how, shard.host.now().since(self.began));
        match came {
            Some(Ok(Given { placed, tokens })) => {
                counters.vectors.tokens += tokens;
                drop(counters);
                let mut vectors = shard.vectors.borrow_mut();
                vectors.known.note(self.name, placed.clone());
                drop(vectors);
                self.settle(Outcome::Success);
                self.call.end(Ok(placed));
            }
            Some(Err(_)) => self.settle(Outcome::Failure),
            None => {}
        }
    }

    /// Waits for `future`; `None`: the timer was first.
    async fn within<T>(&self, mut future: impl Future<Output = T> + Unpin) -> Option<T> {
        poll_fn(|cx| match Pin::new(&mut future).poll(cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.timer.poll_fired(cx).map(|()| None),
        })
        .await
    }

    /// Tells the breaker, once.
    fn settle(&mut self, outcome: Outcome) {
        let Some(permit) = self.permit.take() else {
            return;
        };
        let turn = turn(&self.shard, &self.snapshot);
        let mut vectors = self.shard.vectors.borrow_mut();
        if let Some(breaker) = vectors.breakers.get_mut(&self.endpoint) {
            breaker.settle(permit, outcome, |_| Tally::default(), &turn);
        }
    }
}

/// Asks, over a connection that is there or else a fresh one; on one that was closed meanwhile,
/// once more.
async fn ask<H: Host>(
    shard: &Rc<Shard<H>>,
    snapshot: &Snapshot<H::Stream>,
    provider: usize,
    (body, maker): (&[u8], Maker<'_>),
) -> Result<Given, Called> {
    let upstream = snapshot.upstreams.get(provider);
    let upstream = upstream.ok_or(Called::Unreachable)?;
    let pool = &upstream.pool;
    let pooled = pool.take(shard.host.now(), &shard.buffers);
    if let Some(pooled) = pooled {
        let lease = Lease::new(shard, pool, pooled.link, pooled.opened);
        match exchange(shard, upstream, lease, (body, maker)).await {
            Err(Broke::Untouched) => shard.counters.borrow_mut().reconnects += 1,
            Err(Broke::As(how)) => return Err(how),
            Ok(given) => return Ok(given),
        }
    }
    let lease = connect(shard, upstream).await.ok_or(Called::Unreachable)?;
    exchange(shard, upstream, lease, (body, maker))
        .await
        .map_err(|broke| match broke {
            Broke::Untouched => Called::Unreachable,
            Broke::As(how) => how,
        })
}

/// A fresh connection: every address once, those that failed lately last.
async fn connect<H: Host>(
    shard: &Rc<Shard<H>>,
    upstream: &Upstream<H::Stream>,
) -> Option<Lease<H>> {
    let mut tour = upstream.begin_tour();
    while let Some(address) = upstream.next_address(&mut tour, shard.host.now()) {
        let began = shard.host.now();
        if let Ok(link) = secure::connect(shard, upstream, address).await {
            upstream.note_connected(address);
            return Some(Lease::new(shard, &upstream.pool, link, began));
        }
        upstream.note_unreachable(address, shard.host.now());
    }
    None
}

/// How an exchange failed.
enum Broke {
    /// No byte of an answer came.
    Untouched,
    As(Called),
}

/// One request and its answer. The connection may be used again after a whole answer.
async fn exchange<H: Host>(
    shard: &Shard<H>,
    upstream: &Upstream<H::Stream>,
    mut lease: Lease<H>,
    (body, maker): (&[u8], Maker<'_>),
) -> Result<Given, Broke> {
    let mut tx = TxBuf::new(&shard.buffers);
    let out = Outgoing {
        head: None, // V3
        data: &[],
        route: Route::Embeddings,
        is_translated: true,
        model: maker.model,
        body: &Pieces::whole(body),
        stream: false,
        id: shard.request_id(),
        now: shard.host.wall_nanos() / 1_000_000_000,
    };
    put_head(&mut tx, &upstream.template, &out);
    tx.put(body);
    let flushed = poll_fn(|cx| lease.poll_flush(cx, &mut tx)).await;
    flushed.map_err(|_| Broke::Untouched)?;
    let mut rx = RxBuf::new(&shard.buffers);
    let head = read_head(&mut lease, &mut rx).await?;
    if head.status != 200 {
        return Err(Broke::As(Called::Status));
    }
    rx.consume(head.len);
    let mut incoming = Incoming::new(&head);
    let mut came = incoming.absorb(&mut rx);
    while came.is_ok() && !incoming.is_done && rx.len() <= BODY_MAX && !incoming.is_broken() {
        came = match poll_fn(|cx| lease.poll_read(cx, &mut rx)).await {
            Ok(1..) => incoming.absorb(&mut rx),
            _ => incoming.end().map(|()| 0),
        };
    }
    came.map_err(|_| Broke::As(Called::Unreachable))?;
    let is_whole = incoming.is_done && rx.len() <= BODY_MAX;
    if is_whole && head.keep_alive && !incoming.has_surplus {
        lease.give_back();
    }
    let given = is_whole.then(|| asked::read(rx.data(), &maker).ok());
    given.flatten().ok_or(Broke::As(Called::Unreadable))
}

/// The head of the answer; interim ones are skipped.
async fn read_head<H: Host>(lease: &mut Lease<H>, rx: &mut RxBuf) -> Result<ResponseHead, Broke> {
    let fresh = || ResponseReader::new(HeadLimits::RESPONSE, Method::Post);
    let (mut reader, mut is_untouched) = (fresh(), true);
    loop {
        match poll_fn(|cx| lease.poll_read(cx, rx)).await {
            Ok(1..) => {}
            _ if is_untouched => return Err(Broke::Untouched),
            _ => return Err(Broke::As(Called::Unreachable)),
        }
        is_untouched = false;
        loop {
            match reader.push(rx.data()) {
                Ok(Some(head)) if head.is_interim() => {
                    rx.consume(head.len);
                    reader = fresh();
                }
                Ok(Some(head)) => return Ok(head),
                Ok(None) => break,
                Err(_) => return Err(Broke::As(Called::Unreadable)),
            }
        }
    }
}
