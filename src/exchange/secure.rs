//! TLS handshakes of an exchange's two sides, counted once each, however they end.

use super::connection::Next;
use super::down::Down;
use super::reply::{self, Manner};
use super::settle::Settle;
use crate::base::fault::Kind;
use crate::host::{Host, Link};
use crate::shard::Shard;
use crate::shard::snapshot::Upstream;
use crate::stats::handshakes::{Outcome, Side};
use crate::wire::tls::Session;
use crate::wire::tls::fault::Broken;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// How long a client may take to read why it was refused.
const LINGER: Duration = Duration::from_secs(2);

/// A handshake that is under way; counts when dropped.
struct Shake<'a, H: Host> {
    shard: &'a Shard<H>,
    side: Side,
    outcome: Outcome,
}

impl<'a, H: Host> Shake<'a, H> {
    fn new(shard: &'a Shard<H>, side: Side) -> Self {
        Self {
            shard,
            side,
            outcome: Outcome::Abandoned,
        }
    }

    fn ended(mut self, how: &Result<bool, Broken>) {
        self.outcome = match how {
            Ok(true) => Outcome::Resumed,
            Ok(false) => Outcome::Done,
            Err(Broken::PlainHttp) => Outcome::Plain,
            Err(broken) if broken.is_certificate() => Outcome::Certificate,
            Err(_) => Outcome::Failed,
        };
    }
}

impl<H: Host> Drop for Shake<'_, H> {
    fn drop(&mut self) {
        let mut counters = self.shard.counters.borrow_mut();
        counters.handshakes.count(self.side, self.outcome);
    }
}

/// Connects to `address`; with TLS, when the provider is asked over it. No byte of a request
/// is sent before the provider's certificate was found good.
///
/// # Errors
/// Why there is no connection.
pub async fn connect<H: Host>(
    shard: &Rc<Shard<H>>,
    upstream: &Upstream<H::Stream>,
    address: SocketAddr,
) -> Result<H::Stream, Kind> {
    let Some(tls) = upstream.tls() else {
        let connected = shard.host.connect(address).await;
        return connected.map_err(|_| Kind::ConnectFailed);
    };
    let _pass = tls.gate.enter().await;
    let connected = shard.host.connect(address).await;
    let mut link = connected.map_err(|_| Kind::ConnectFailed)?;
    let session = tls.session().ok_or(Kind::Internal)?;
    if !link.start_tls(session, &shard.buffers) {
        return Err(Kind::Internal);
    }
    let shake = Shake::new(shard, Side::Upstream);
    let how = poll_fn(|cx| link.poll_handshake(cx)).await;
    shake.ended(&how);
    how.map(|_| link).map_err(|broken| broken.kind())
}

/// The handshake with a client, within `timeouts.head`, when the listener speaks TLS.
///
/// # Errors
/// What becomes of a connection that cannot be served: see [`refuse`].
pub async fn accept<H: Host>(shard: &Rc<Shard<H>>, down: &mut Down<H::Stream>) -> Result<(), Next> {
    let Some(config) = shard.server_tls() else {
        return Ok(());
    };
    let session = Session::server(&config).map_err(|_| Next::Close)?;
    if !down.link.start_tls(session, &shard.buffers) {
        return Err(Next::Close);
    }
    down.timer
        .arm(shard.host.now() + shard.snapshot().config.timeouts.head);
    let shake = Shake::new(shard, Side::Downstream);
    let Down { link, timer, .. } = &mut *down;
    let how = poll_fn(|cx| match link.poll_handshake(cx) {
        Poll::Pending => timer.poll_fired(cx).map(|()| None),
        Poll::Ready(how) => Poll::Ready(Some(how)),
    })
    .await;
    let Some(how) = how else {
        return Err(Next::Close);
    };
    shake.ended(&how);
    match how {
        Ok(_) => Ok(()),
        Err(Broken::PlainHttp) => {
            down.link.stop_tls();
            let (snapshot, now) = (shard.snapshot(), shard.host.now());
            let settle = Settle::new(shard, &snapshot, shard.request_id(), now);
            Err(reply::error(shard, down, settle, Kind::PlainHttp, Manner::LAST).await)
        }
        // The alert must not be destroyed by a reset.
        Err(_) => Err(Next::Linger),
    }
}

/// Ends a connection that was not served.
pub async fn refuse<H: Host>(shard: &Rc<Shard<H>>, down: &mut Down<H::Stream>, next: Next) {
    if next == Next::Linger {
        down.link.stop_tls();
        down.linger(shard.host.now() + LINGER).await;
    }
}
