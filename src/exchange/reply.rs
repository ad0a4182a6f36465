//! Answers that the gateway gives itself: errors, the list of models, health.

use super::connection::{Next, push};
use super::course::Course;
use super::down::{Down, Wait};
use super::route::{Asked, Local, MODEL_PATH};
use super::settle::Settle;
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::base::span::Span;
use crate::config::Config;
use crate::dialect::bedrock::error::error_type;
use crate::dialect::model::{About, Dialect, Told};
use crate::dialect::openai::models::{put_model, put_models};
use crate::dialect::speak;
use crate::host::Host;
use crate::shard::Shard;
use crate::stats::receipt::RequestId;
use crate::wire::http1::{
    END_OF_HEAD, LAST_CHUNK, Method, RequestHead, Version, put_chunk, put_decimal_field, put_field,
    put_own_field, put_status_line,
};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Seconds that a client is asked to wait when the gateway is at its limit.
const RETRY_AFTER: u64 = 1;

/// The same at most, at a time when there is too much to do.
const OVERLOADED_MAX: u64 = 5;
/// Fields that an error has besides those of every reply, at most.
const EXTRA_MAX: usize = 7;

/// How a reply is framed.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Whether the connection ends with this reply.
    pub closes: bool,
    /// Whether the request was a HEAD: the body stays away.
    pub is_head: bool,
    /// Whether the client speaks HTTP/1.0 and must be told that the connection stays.
    pub is_http10: bool,
}

impl Manner {
    /// Of a reply to a head that was not understood: the last one of its connection.
    pub const LAST: Self = Self {
        closes: true,
        is_head: false,
        is_http10: false,
    };

    /// Of a reply to the request with this head.
    pub fn of(head: &RequestHead, is_draining: bool) -> Self {
        Self {
            closes: !head.keep_alive || is_draining,
            is_head: head.method == Method::Head,
            is_http10: head.version == Version::Http10,
        }
    }

    /// The same, but the connection ends with it when `is_open`: nothing else tells where
    /// the body ends (RFC 9112, 6.3).
    #[must_use]
    pub fn closing(self, is_open: bool) -> Self {
        Self {
            closes: self.closes || is_open,
            ..self
        }
    }
}

/// Writes the fields that every reply has, after its status line.
pub fn put_common<H: Host>(tx: &mut TxBuf, shard: &Shard<H>, id: RequestId, manner: Manner) {
    shard.with_date(|date| put_own_field(tx, "date", date));
    put_own_field(tx, "x-request-id", id.bytes());
    if manner.closes || shard.is_draining() {
        tx.put(b"connection: close\r\n");
    } else if manner.is_http10 {
        tx.put(b"connection: keep-alive\r\n");
    }
}

/// Writes a whole reply with a JSON body.
pub fn put_reply<H: Host>(
    tx: &mut TxBuf,
    shard: &Shard<H>,
    (status, id, manner): (u16, RequestId, Manner),
    extra: &[(&[u8], &[u8])],
    body: impl FnOnce(&mut TxBuf),
) {
    let mut written = TxBuf::new(&shard.buffers);
    body(&mut written);
    put_status_line(tx, status);
    put_common(tx, shard, id, manner);
    tx.put(b"content-type: application/json\r\n");
    for (name, value) in extra {
        put_field(tx, name, value);
    }
    put_decimal_field(tx, "content-length", written.len() as u64);
    tx.put(END_OF_HEAD);
    if !manner.is_head {
        tx.put(written.unsent());
    }
}

/// Writes the error reply for `kind`, of which the client is `told` in the dialect of `front`.
/// Names and count of what was tried come with it.
fn put_error<H: Host>(
    tx: &mut TxBuf,
    shard: &Shard<H>,
    (kind, told): (Kind, &Told<'_>),
    (front, id): (Dialect, RequestId),
    (manner, tried): (Manner, Option<(&str, &str, u8)>),
) {
    let (mut seconds, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let mut extra: [(&[u8], &[u8]); EXTRA_MAX] =
        [(b"x-shardgate-code", kind.code().as_bytes()); EXTRA_MAX];
    let mut used = 1;
    let mut add = |name: &'static [u8], value| {
        if let Some(place) = extra.get_mut(used) {
            *place = (name, value);
            used += 1;
        }
    };
    let about = about(shard, kind, id.bytes());
    let wait = seconds
        .format(about.wait.map_or(0, |wait| wait.as_secs()))
        .as_bytes();
    match kind {
        Kind::BadKey if told.status == 401 => add(b"www-authenticate", b"Bearer"),
        Kind::Overloaded | Kind::Draining | Kind::ShutDown => add(b"retry-after", wait),
        _ if kind.status() == 502 || kind.status() == 504 => add(b"x-should-retry", b"false"),
        _ => {}
    }
    if let Some((model, target, attempts)) = tried {
        add(b"x-shardgate-model", model.as_bytes());
        add(b"x-shardgate-target", target.as_bytes());
        add(b"x-shardgate-attempts", count.format(attempts).as_bytes());
    }
    match front {
        Dialect::Anthropic => add(b"request-id", id.bytes()),
        Dialect::Bedrock => {
            add(b"x-amzn-requestid", id.bytes());
            add(b"x-amzn-errortype", error_type(told).as_bytes());
        }
        _ => {}
    }
    let extra = extra.get(..used).unwrap_or_default();
    put_reply(tx, shard, (told.status, id, manner), extra, |tx| {
        speak::put_error_about(front, told, about, tx);
    });
}

/// The model and the provider that were tried last, and how many attempts there were, if any.
fn tried<H: Host>(settle: &Settle<H>) -> Option<(&str, &str, u8)> {
    let (model, target) = settle.tried()?;
    let provider = settle.snapshot().config.provider(target)?;
    Some((&model.name, &provider.name, settle.receipt.attempts))
}

/// What the error `kind` tells of the exchange `id`.
fn about<'a, H: Host>(shard: &Shard<H>, kind: Kind, id: &'a [u8]) -> About<'a> {
    let wait = match kind {
        // Apart, so that they do not all come back at once.
        Kind::Overloaded => Some(1 + shard.random() % OVERLOADED_MAX),
        Kind::Draining | Kind::ShutDown => Some(RETRY_AFTER),
        _ => None,
    };
    About {
        id,
        wait: wait.map(Duration::from_secs),
    }
}

/// Sends what is in `down.tx`; the connection goes on only when the client took it all.
pub async fn send<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &mut Down<H::Stream>,
    (manner, stall): (Manner, Duration),
) -> Next {
    down.timer.arm(shard.host.now() + stall);
    match down.flush().await {
        Wait::Done(()) if manner.closes => Next::Linger,
        Wait::Done(()) => Next::KeepAlive,
        Wait::Gone | Wait::Late => Next::Close,
    }
}

/// Writes the event that ends a stream without its end marker, and the end of its body.
pub fn put_last_event(tx: &mut TxBuf, manner: Manner, event: impl FnOnce(&mut TxBuf)) {
    if manner.is_http10 {
        return event(tx);
    }
    let mut written = TxBuf::new(tx.pool());
    event(&mut written);
    put_chunk(tx, &[written.unsent()]);
    tx.put(LAST_CHUNK);
}

/// The error `kind` as the last event of a stream for a client of `front`.
fn put_fault<H: Host>(
    tx: &mut TxBuf,
    shard: &Shard<H>,
    (kind, told): (Kind, &Told<'_>),
    (front, id): (Dialect, RequestId),
    manner: Manner,
) {
    let about = about(shard, kind, id.bytes());
    put_last_event(tx, manner, |tx| {
        speak::put_error_event_about(front, told, about, tx);
    });
}

/// Ends a stream of our own making that cannot go on, though its head went out: an error event, no
/// end marker.
///
/// # Errors
/// The client is gone.
pub async fn cut_short<H: Host>(
    course: &Course<'_, H>,
    down: &mut Down<H::Stream>,
    settle: &mut Settle<H>,
    kind: Kind,
) -> Result<Next, Kind> {
    if kind == Kind::ClientGone {
        return Err(kind);
    }
    let (front, id) = (course.route.dialect(), settle.receipt.id);
    let told = (kind, &Told::of(kind));
    put_fault(&mut down.tx, course.shard, told, (front, id), course.manner);
    settle.fail(kind, 200);
    let _ = push(course.served(), down).await; // who takes nothing is cut off all the same
    Ok(Next::Close)
}

/// Answers with the error `kind` and settles, at once; the future only sends. In a stream
/// whose head went out the error is its last event.
pub fn error<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &mut Down<H::Stream>,
    mut settle: Settle<H>,
    kind: Kind,
    manner: Manner,
) -> impl Future<Output = Next> {
    let stall = settle.snapshot().config.timeouts.stall;
    down.tx.clear();
    let has_begun = down.has_begun() && kind != Kind::ClientGone;
    let manner = manner.closing(has_begun && manner.is_http10);
    let front = settle.receipt.front();
    let Down { tx, request, .. } = &mut *down;
    let wanted = request.as_ref().and_then(|request| request.wanted.as_ref());
    let told = match wanted.and_then(|wanted| wanted.rewrite.as_deref()) {
        Some(rewrite) => rewrite.told(kind),
        None => Told::of(kind),
    };
    let status = match (front, kind) {
        (Dialect::Bedrock, Kind::BadKey) => 403, // AWS knows no 401
        _ => told.status,
    };
    let told = Told { status, ..told };
    if has_begun {
        settle.fail(kind, 200);
        put_fault(tx, shard, (kind, &told), (front, settle.receipt.id), manner);
    } else {
        settle.fail(kind, status);
        if kind != Kind::ClientGone {
            let about = (front, settle.receipt.id);
            put_error(tx, shard, (kind, &told), about, (manner, tried(&settle)));
        }
    }
    drop(settle);
    async move {
        if kind == Kind::ClientGone {
            return Next::Close;
        }
        send(shard, down, (manner, stall)).await
    }
}

/// Answers a route that needs no provider, for a request with this path; settles at once,
/// the future only sends.
pub fn local<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &mut Down<H::Stream>,
    settle: Settle<H>,
    (asked, path): (Local, Span),
    manner: Manner,
) -> impl Future<Output = Next> {
    let stall = settle.snapshot().config.timeouts.stall;
    put_local(shard, down, settle, (asked, path), manner);
    send(shard, down, (manner, stall))
}

fn put_local<H: Host>(
    shard: &Rc<Shard<H>>,
    down: &mut Down<H::Stream>,
    mut settle: Settle<H>,
    (asked, path): (Local, Span),
    manner: Manner,
) {
    let (id, key) = (settle.receipt.id, settle.receipt.key());
    let config = Arc::clone(&settle.snapshot().config);
    let mut fault = None;
    let tx = &mut down.tx;
    let tell = |tx: &mut TxBuf, kind| {
        put_error(
            tx,
            shard,
            (kind, &Told::of(kind)),
            (Dialect::Chat, id),
            (manner, None),
        );
    };
    match asked {
        Local::Models => put_reply(tx, shard, (200, id, manner), &[], |tx| {
            let models = config
                .listed()
                .filter(|model| may_see(&config, key, &model.name));
            put_models(tx, models.map(|model| (model.name.as_str(), "shardgate")));
        }),
        Local::OneModel => {
            let name = path.bytes(down.rx.data()).strip_prefix(MODEL_PATH);
            let found = config
                .listed()
                .filter(|model| may_see(&config, key, &model.name))
                .find(|model| Some(model.name.as_bytes()) == name);
            if let Some(found) = found {
                put_reply(tx, shard, (200, id, manner), &[], |tx| {
                    put_model(tx, &found.name, "shardgate");
                });
            } else {
                fault = Some(Kind::NoSuchModel);
                tell(tx, Kind::NoSuchModel);
            }
        }
        Local::Live => put_reply(tx, shard, (200, id, manner), &[], |tx| {
            tx.put(b"{\"status\":\"live\"}");
        }),
        Local::Ready if shard.is_draining() => {
            fault = Some(Kind::Draining);
            tell(tx, Kind::Draining);
        }
        Local::Ready => put_reply(tx, shard, (200, id, manner), &[], |tx| {
            tx.put(b"{\"status\":\"ready\"}");
        }),
        Local::WrongMethod(allow) => {
            fault = Some(Kind::BadMethod);
            let code = Kind::BadMethod.code().as_bytes();
            let extra: [(&[u8], &[u8]); 2] =
                [(b"allow", allow.as_bytes()), (b"x-shardgate-code", code)];
            put_reply(tx, shard, (405, id, manner), &extra, |tx| {
                speak::put_error(Dialect::Chat, &Told::of(Kind::BadMethod), tx);
            });
        }
    }
    match fault {
        Some(kind) => settle.fail(kind, kind.status()),
        None => settle.done(200),
    }
}

/// Whether the key at index `key` may ask for `model`; without keys everybody may.
pub fn may_see(config: &Config, key: Option<usize>, model: &str) -> bool {
    match key.and_then(|index| config.keys.get(index)) {
        Some(key) => crate::policy::auth::may_ask(key, model),
        None => config.keys.is_empty(),
    }
}

/// Whether a route needs a key.
pub fn needs_key(asked: Asked) -> bool {
    use Local::{Models, OneModel};
    matches!(asked, Asked::Model(_) | Asked::Local(Models | OneModel))
}
