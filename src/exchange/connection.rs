//! A client's connection: requests in order, one exchange each, until somebody closes.

use super::attempt;
use super::down::{Down, Wait};
use super::reply::{self, Local, Manner};
use super::request::{self, Body, Broken};
use super::route::{Asked, route};
use super::settle::Settle;
use crate::base::fault::Kind;
use crate::base::span::Span;
use crate::dialect::openai::ask::{Ask, Route, ask};
use crate::host::Host;
use crate::policy::auth;
use crate::shard::Shard;
use crate::wire::http1::{Known, Method, RequestHead, Version};
use std::rc::Rc;
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
pub async fn connection<H: Host>(shard: Rc<Shard<H>>, link: H::Stream) {
    let mut down = Down::new(&shard, link);
    let mut served: u32 = 0;
    loop {
        let next = exchange(&shard, &mut down, served == 0).await;
        served = served.wrapping_add(1).max(1);
        if served.is_multiple_of(TURN) {
            shard.host.breathe().await; // who pipelines must not keep the others waiting
        }
        match next {
            Next::KeepAlive if !shard.is_draining() => {}
            Next::KeepAlive | Next::Linger => {
                return down.linger(shard.host.now() + LINGER).await;
            }
            Next::Close => return,
        }
    }
}

/// A request whose head was accepted.
#[derive(Debug)]
pub struct Incoming {
    /// Its head; the spans point into `down.rx`.
    pub head: RequestHead,
    /// How replies to it are framed.
    pub manner: Manner,
}

async fn exchange<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &mut Down<H::Stream>,
    is_first: bool,
) -> Next {
    let (head, began) = match request::read_head(shard, down, is_first).await {
        Ok(read) => read,
        Err(Broken::Closed) => return Next::Close,
        Err(Broken::Refused(kind)) => {
            let settle = Settle::new(shard, shard.request_id(), shard.host.now());
            let manner = Manner {
                closes: true,
                is_head: false,
                is_http10: false,
            };
            return reply::error(shard, down, settle, kind, manner).await;
        }
    };
    let manner = Manner {
        closes: !head.keep_alive || shard.is_draining(),
        is_head: head.method == Method::Head,
        is_http10: head.version == Version::Http10,
    };
    let mut settle = Settle::new(shard, shard.request_id(), began);
    let incoming = Incoming { head, manner };
    let asked = match admit(shard, down, &incoming, &mut settle) {
        Ok(admitted) => admitted,
        Err(kind) => return refuse_early(shard, down, settle, &incoming, kind).await,
    };
    let body = match request::read_body(shard, down, &incoming.head).await {
        Ok(body) => body,
        Err(Broken::Closed) => return Next::Close, // settles as cancelled
        Err(Broken::Refused(kind)) => {
            let manner = Manner {
                closes: true,
                ..manner
            };
            return reply::error(shard, down, settle, kind, manner).await;
        }
    };
    settle.receipt.bytes_in = body.span.len() as u64;
    down.begin_request(body.used);
    let next = match asked {
        Admitted::Local(local) => {
            let name = local_name(shard, local, &incoming, down);
            match name {
                Some(local) => reply::local(shard, down, settle, local, manner).await,
                None => reply::error(shard, down, settle, Kind::NoSuchModel, manner).await,
            }
        }
        Admitted::Model(route) => ask_model(shard, down, settle, &incoming, route, body).await,
    };
    down.end_request();
    next
}

/// What an admitted request leads to.
#[derive(Clone, Copy, Debug)]
enum Admitted {
    Model(Route),
    Local(LocalRoute),
}

#[derive(Clone, Copy, Debug)]
enum LocalRoute {
    Models(Option<usize>),
    OneModel(Option<usize>),
    Live,
    Ready,
    WrongMethod(&'static str),
}

/// Route and key: everything that can be refused before the body is read.
fn admit<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &Down<H::Stream>,
    incoming: &Incoming,
    settle: &mut Settle<H>,
) -> Result<Admitted, Kind> {
    let (head, data) = (&incoming.head, down.rx.data());
    if head.method == Method::Other {
        return Err(Kind::NotImplemented);
    }
    let asked = route(head.method, head.path.bytes(data));
    if reply::needs_key(asked) {
        let value = |known| head.known(known).map(|span| span.bytes(data));
        let presented = auth::presented(
            value(Known::Authorization),
            value(Known::XApiKey),
            value(Known::ApiKey),
        );
        settle.receipt.key = auth::admit(&shard.config.keys, presented)?;
    }
    let key = settle.receipt.key;
    Ok(match asked {
        Asked::Model(route) => {
            settle.receipt.route = Some(route);
            request::check_media(head, data)?;
            if shard.is_full() {
                return Err(Kind::Overloaded);
            }
            Admitted::Model(route)
        }
        Asked::Models => Admitted::Local(LocalRoute::Models(key)),
        Asked::OneModel(_) => Admitted::Local(LocalRoute::OneModel(key)),
        Asked::Live => Admitted::Local(LocalRoute::Live),
        Asked::Ready => Admitted::Local(LocalRoute::Ready),
        Asked::WrongMethod(allow) => Admitted::Local(LocalRoute::WrongMethod(allow)),
        Asked::Nothing => return Err(Kind::NoSuchRoute),
    })
}

/// Answers before the body was read: the connection goes on only when the body is there
/// already, else it ends (what comes is swallowed for a while, never served).
async fn refuse_early<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &mut Down<H::Stream>,
    settle: Settle<H>,
    incoming: &Incoming,
    kind: Kind,
) -> Next {
    // Who asks for what does not exist is not worth a connection: a scanner, or somebody
    // who takes the gateway for an open proxy.
    let here =
        request::body_is_here(&incoming.head, down.rx.len()).filter(|_| kind != Kind::NoSuchRoute);
    let closes = incoming.manner.closes || here.is_none();
    let manner = Manner {
        closes,
        ..incoming.manner
    };
    let next = reply::error(shard, down, settle, kind, manner).await;
    if let Some(used) = here {
        down.begin_request(used);
        down.end_request();
    }
    next
}

/// Resolves what a local route names; `None` when the model is unknown or not allowed.
fn local_name<'s, H: Host>(
    shard: &'s Rc<Shard<H>>,
    local: LocalRoute,
    incoming: &Incoming,
    down: &Down<H::Stream>,
) -> Option<Local<'s>> {
    Some(match local {
        LocalRoute::Models(key) => Local::Models(key),
        LocalRoute::Live => Local::Live,
        LocalRoute::Ready => Local::Ready,
        LocalRoute::WrongMethod(allow) => Local::WrongMethod(allow),
        LocalRoute::OneModel(key) => {
            let path = incoming.head.path.bytes(down.rx.data());
            let name = path.strip_prefix(b"/v1/models/")?;
            let listed = shard
                .config
                .listed()
                .find(|model| model.name.as_bytes() == name)?;
            reply::may_see(shard, key, &listed.name).then_some(Local::OneModel(&listed.name))?
        }
    })
}

/// What a body asks for.
#[derive(Debug)]
pub struct Wanted {
    /// The route.
    pub route: Route,
    /// The body, understood; its spans count from the body's first byte.
    pub ask: Ask,
    /// Where the body is in `down.rx`.
    pub body: Span,
    /// The model's name as the client wrote it.
    pub name: Box<str>,
}

async fn ask_model<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &mut Down<H::Stream>,
    mut settle: Settle<H>,
    incoming: &Incoming,
    route: Route,
    body: Body,
) -> Next {
    let wanted = match understand(shard, down, &mut settle, route, body) {
        Ok(wanted) => wanted,
        Err(kind) => return reply::error(shard, down, settle, kind, incoming.manner).await,
    };
    if wanted.ask.stream {
        settle.begin_stream();
    }
    match attempt::attempts(shard, down, &mut settle, incoming, &wanted).await {
        Ok(next) => next,
        Err(Kind::ClientGone) => Next::Close,
        Err(kind) => reply::error(shard, down, settle, kind, incoming.manner).await,
    }
}

/// Reads the body's routing keys and finds the model.
fn understand<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &Down<H::Stream>,
    settle: &mut Settle<H>,
    route: Route,
    body: Body,
) -> Result<Wanted, Kind> {
    let bytes = body.span.bytes(down.rx.data());
    let ask = ask(route, bytes)?;
    let mut scratch = shard.scratch.borrow_mut();
    let name: Box<str> = ask.model(bytes, &mut scratch).ok_or(Kind::BadModel)?.into();
    scratch.clear();
    let found = shard.config.find(&name).ok_or(Kind::NoSuchModel)?;
    settle.receipt.model = Some(found.index);
    let key = settle
        .receipt
        .key
        .and_then(|index| shard.config.keys.get(index));
    if key.is_some_and(|key| !auth::may_ask(key, &name)) {
        return Err(Kind::ModelForbidden);
    }
    Ok(Wanted {
        route,
        ask,
        body: body.span,
        name,
    })
}

/// Sends what is in `down.tx` in the middle of an answer.
///
/// # Errors
/// [`Kind::ClientGone`] when the client is gone or took nothing for `timeouts.stall`.
pub async fn push<H: Host>(shard: &Rc<Shard<H>>, down: &mut Down<H::Stream>) -> Result<(), Kind> {
    down.timer
        .arm(shard.host.now() + shard.config.timeouts.stall);
    match down.flush().await {
        Wait::Done(()) => Ok(()),
        Wait::Gone | Wait::Late => Err(Kind::ClientGone),
    }
}
