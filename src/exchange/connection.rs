//! A client's connection: requests in order, one exchange each, until somebody closes.

use super::attempt;
use super::cached;
use super::down::{Down, Wait};
use super::queue;
use super::reply::{self, Manner};
use super::request::{self, Body, Broken, Request, Wanted};
use super::route::{Asked, route};
use super::secure;
use super::settle::Settle;
use super::signature::SignedHead;
use super::wishes;
use crate::base::fault::Kind;
use crate::dialect::ask::ask;
use crate::dialect::route::Route;
use crate::host::{Host, Link as _};
use crate::policy::auth;
use crate::policy::plan::Plan;
use crate::shard::Shard;
use crate::shard::snapshot::Served;
use crate::wire::http1::{Known, Method, RequestHead};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// How long the last answer of a connection is protected from being reset.
const LINGER: Duration = Duration::from_secs(2);

/// Exchanges of one connection before the others get their turn.
const TURN: u32 = 16;

/// What becomes of a connection after an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next request may come.
    KeepAlive,
    /// It ends, once the client has had time to read the answer.
    Linger,
    /// It ends now.
    Close,
}

/// Serves a connection until it ends.
///
/// Not an `async fn`: that would store what it is given a second time.
pub fn connection<H: Host>(shard: Rc<Shard<H>>, link: H::Stream) -> impl Future<Output = ()> {
    let mut down = Down::new(&shard, link);
    let mut served: u32 = 0;
    async move {
        if let Err(next) = secure::accept(&shard, &mut down).await {
            return secure::refuse(&shard, &mut down, next).await;
        }
        loop {
            let next = exchange(&shard, &mut down, served == 0).await;
            served = served.wrapping_add(1).max(1);
            if served.is_multiple_of(TURN) {
                shard.host.breathe().await; // who pipelines must not keep the others waiting
            }
            match next {
                Next::KeepAlive if !shard.ends_idle() => {}
                Next::KeepAlive | Next::Linger => {
                    return down.linger(shard.host.now() + LINGER).await;
                }
                Next::Close => return,
            }
        }
    }
}

async fn exchange<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &mut Down<H::Stream>,
    is_first: bool,
) -> Next {
    let (request, began, snapshot) = match request::read_head(shard, down, is_first).await {
        Ok(read) => read,
        Err(Broken::Closed) => return Next::Close,
        Err(Broken::Refused(kind)) => {
            let snapshot = shard.snapshot();
            let settle = Settle::new(shard, &snapshot, shard.request_id(), shard.host.now());
            return reply::error(shard, down, settle, kind, Manner::LAST).await;
        }
    };
    let head = &request.head;
    let manner = Manner::of(head, shard.is_draining());
    let served = (shard, &snapshot);
    let mut settle = Settle::new(shard, &snapshot, shard.request_id(), began);
    let asked = match admit(served, down, head, &mut settle) {
        Ok(asked) => asked,
        Err(kind) => return refuse_early(shard, down, settle, head, (kind, manner)).await,
    };
    if matches!(asked, Asked::Model(_)) && shard.is_full(snapshot.exchanges_max) {
        match queue::await_turn(served, down).await {
            Ok(()) => {}
            Err(Broken::Closed) => return Next::Close, // settles as cancelled
            Err(Broken::Refused(kind)) => {
                return refuse_early(shard, down, settle, head, (kind, manner)).await;
            }
        }
    }
    let body = match request::read_body(served, down, head).await {
        Ok(body) => body,
        Err(Broken::Closed) => return Next::Close, // settles as cancelled
        Err(Broken::Refused(kind)) => {
            return reply::error(shard, down, settle, kind, manner.closing(true)).await;
        }
    };
    settle.receipt.bytes_in = body.span.len() as u64;
    down.begin_request(body.used);
    let next = match asked {
        Asked::Model(route) => {
            let found = match understand(served, down, &mut settle, request, (route, body)) {
                Ok(()) => match cached::caching(served, down) {
                    None => Ok(None),
                    Some(caching) => {
                        Box::pin(cached::serve(served, caching, down, &mut settle, manner)).await
                    }
                },
                Err(kind) => Err(kind),
            };
            let answered = match found {
                Ok(None) => attempt::attempts(served, down, &mut settle, manner).await,
                Ok(Some(next)) => Ok(next),
                Err(kind) => Err(kind),
            };
            match answered {
                Ok(next) => next,
                Err(kind) => {
                    cached::failed(&settle, kind);
                    reply::error(shard, down, settle, kind, manner).await
                }
            }
        }
        Asked::Local(local) => reply::local(shard, down, settle, (local, head.path), manner).await,
        Asked::Nothing => reply::error(shard, down, settle, Kind::NoSuchRoute, manner).await,
    };
    down.end_request();
    down.pulse = None;
    next
}

/// Route and key: everything that can be refused before the body is read.
fn admit<H: Host>(
    (shard, snapshot): Served<'_, H>,
    down: &Down<H::Stream>,
    head: &RequestHead,
    settle: &mut Settle<H>,
) -> Result<Asked, Kind> {
    let data = down.rx.data();
    if head.method == Method::Other {
        return Err(Kind::NotImplemented);
    }
    let asked = route(head.method, head.path.bytes(data));
    if let Asked::Model(route) = asked {
        settle.receipt.route = Some(route); // errors are in its dialect from here on
    }
    if reply::needs_key(asked) {
        let keys = &snapshot.config.keys;
        if let Some(signed) = SignedHead::find(keys, settle.receipt.route, head, data) {
            signed.admit(keys, wall_seconds(shard))?;
        } else {
            let value = |known| head.known(known).map(|span| span.bytes(data));
            let presented = auth::presented(
                value(Known::Authorization),
                [Known::XApiKey, Known::ApiKey, Known::XGoogApiKey].map(value),
            );
            settle.receipt.set_key(auth::admit(keys, presented)?);
        }
    }
    match asked {
        Asked::Model(_) => request::check_media(head, data)?,
        Asked::Local(_) => {}
        Asked::Nothing => return Err(Kind::NoSuchRoute),
    }
    Ok(asked)
}

fn wall_seconds<H: Host>(shard: &Shard<H>) -> u64 {
    shard.host.wall_nanos() / 1_000_000_000
}

/// Answers before the body was read: the connection goes on only when the body is there
/// already, else it ends (what comes is swallowed for a while, never served).
async fn refuse_early<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &mut Down<H::Stream>,
    settle: Settle<H>,
    head: &RequestHead,
    (kind, manner): (Kind, Manner),
) -> Next {
    // Who asks for what does not exist is not worth a connection: a scanner, or somebody
    // who takes the gateway for an open proxy.
    let here = request::body_is_here(head, down.rx.len()).filter(|_| kind != Kind::NoSuchRoute);
    let manner = manner.closing(here.is_none());
    let next = reply::error(shard, down, settle, kind, manner).await;
    if let Some(used) = here {
        down.begin_request(used);
        down.end_request();
    }
    next
}

/// Reads the body's routing keys and finds the model; `down.request` is then complete.
fn understand<H: Host>(
    (shard, snapshot): Served<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    mut request: Box<Request>,
    (route, body): (Route, Body),
) -> Result<(), Kind> {
    let bytes = body.span.bytes(down.rx.data());
    let config = &snapshot.config;
    let keys = &config.keys;
    if let Some(signed) = SignedHead::find(keys, Some(route), &request.head, down.rx.data()) {
        let signer = signed.signer(keys, bytes, wall_seconds(shard))?;
        settle.receipt.set_key(Some(signer));
    }
    let ask = ask(route, bytes)?;
    let mut scratch = shard.scratch.borrow_mut();
    let path = request.head.path.bytes(down.rx.data());
    let in_path = Route::find(path).map_or(&b""[..], |(_, name)| name);
    let name = ask
        .model(bytes, in_path, &mut scratch)
        .ok_or(Kind::BadModel)?;
    let found = config.find(name).ok_or(Kind::NoSuchModel)?;
    settle.receipt.set_model(found.index);
    auth::permit(keys, settle.receipt.key(), name)?;
    let is_forwarded = found.model.targets.iter().any(|t| t.model.is_none());
    let forwarded = if is_forwarded { found.forwarded } else { "" };
    if ask.stream {
        settle.begin_stream();
    }
    let mut wanted = Wanted {
        route,
        ask,
        body: body.span,
        model: found.index,
        forwarded: forwarded.into(),
        plan: Plan::new(&found, config.retry.attempts_max),
        wishes: None,
        id: settle.receipt.id,
        rewrite: None,
    };
    let data = down.rx.data();
    let (key, asked) = (settle.receipt.key(), (&found, name));
    let applied = wishes::apply(snapshot, (&request, data), &mut wanted, key, asked);
    request.wanted = Some(wanted);
    scratch.clear();
    down.request = Some(request);
    applied
}

/// Sends what is in `down.tx` in the middle of an answer. A client that takes it at once, as
/// nearly all do, costs neither a look at the clock nor a timer.
///
/// # Errors
/// [`Kind::ClientGone`] when the client is gone or took nothing for `timeouts.stall`.
pub async fn push<H: Host>(
    (shard, snapshot): Served<'_, H>,
    down: &mut Down<H::Stream>,
) -> Result<(), Kind> {
    let is_free = down.is_free();
    let Down { link, tx, .. } = &mut *down;
    if is_free && let Poll::Ready(Ok(())) = poll_fn(|cx| Poll::Ready(link.poll_flush(cx, tx))).await
    {
        return Ok(());
    }
    down.timer
        .arm(shard.host.lately() + snapshot.config.timeouts.stall);
    match down.flush().await {
        Wait::Done(()) => Ok(()),
        Wait::Gone | Wait::Late => Err(Kind::ClientGone),
    }
}
