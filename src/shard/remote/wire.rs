//! A connection to a server, made ready for commands.
//!
//! ```text
//!   address after address ──► TCP ──► TLS ──► AUTH, SELECT, PING ──► ready
//! ```
//!
//! RESP2 is spoken: nothing here needs more, and every server and proxy has it.

use super::Common;
use super::line::Place;
use crate::base::bufpool::BufPool;
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::time::Instant;
use crate::cache::remote::resp::{Reply, Scanner, put_command, read as read_reply};
use crate::host::{Host, Link, flush, read};
use crate::stats::remote::Event;
use crate::wire::tls::Session;
use futures_lite::FutureExt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::Duration;

/// How long one address may take until its connection is ready.
const CONNECT_MAX: Duration = Duration::from_secs(1);

/// Characters of what a server says that are kept for an operator.
const SAID_MAX: usize = 160;

/// A connection.
pub(super) struct Wire<L> {
    pub(super) link: L,
    pub(super) rx: RxBuf,
    pub(super) tx: TxBuf,
    pub(super) scanner: Scanner,
    /// Whom it leads to.
    pub(super) peer: SocketAddr,
}

impl<L: Link> Wire<L> {
    fn new(link: L, pool: &BufPool, peer: SocketAddr) -> Self {
        Self {
            link,
            rx: RxBuf::new(pool),
            tx: TxBuf::new(pool),
            scanner: Scanner::default(),
            peer,
        }
    }

    /// Sends a command and waits for its reply.
    ///
    /// # Errors
    /// Why the connection is of no use any more.
    pub(super) async fn say(&mut self, words: &[&[u8]]) -> Result<Reply, String> {
        put_command(&mut self.tx, words);
        let sent = flush(&mut self.link, &mut self.tx).await;
        sent.map_err(|error| format!("the connection broke: {error}"))?;
        loop {
            let found = self.scanner.push(self.rx.data());
            if let Some(len) = found.map_err(|error| error.to_string())? {
                let data = self.rx.data().get(..len).unwrap_or_default();
                let reply = read_reply(data).map_err(|error| error.to_string());
                self.rx.consume(len);
                return reply;
            }
            match read(&mut self.link, &mut self.rx).await {
                Ok(0) => return Err("the server closed the connection".to_owned()),
                Ok(_) => {}
                Err(error) => return Err(format!("the connection broke: {error}")),
            }
        }
    }

    /// As [`Wire::say`]; a refusal is an error, too.
    async fn insist(&mut self, what: &str, words: &[&[u8]]) -> Result<(), String> {
        match self.say(words).await?.error() {
            None => Ok(()),
            Some(text) => Err(format!("{what} was refused: {}", said(text))),
        }
    }
}

/// What a server says, as an operator may read it: one line, bounded.
pub(super) fn said(text: &[u8]) -> String {
    let text = text.get(..SAID_MAX).unwrap_or(text);
    text.escape_ascii().to_string()
}

/// Connects to one of the addresses of `place`.
///
/// # Errors
/// Why none of them would do.
pub(super) async fn open<H: Host>(
    common: &Common<H>,
    place: Place,
) -> Result<Wire<H::Stream>, String> {
    if let Some(at) = place.address() {
        return open_at(common, at).await;
    }
    let mut tour = common.addresses.borrow_mut().begin();
    let mut why = "its name has no address yet".to_owned();
    loop {
        let now = common.host.now();
        let next = common.addresses.borrow().next(&mut tour, now);
        let Some(at) = next.filter(|_| !common.is_retired.get()) else {
            return Err(why);
        };
        match open_at(common, at).await {
            Ok(wire) => {
                common.addresses.borrow_mut().worked(at);
                return Ok(wire);
            }
            Err(other) => {
                let now = common.host.now();
                common.addresses.borrow_mut().failed(at, now);
                why = other;
            }
        }
    }
}

async fn open_at<H: Host>(common: &Common<H>, at: SocketAddr) -> Result<Wire<H::Stream>, String> {
    let until: Instant = common.host.now() + CONNECT_MAX;
    let late = async {
        common.host.sleep_until(until).await;
        Err(format!("not ready within {} ms", CONNECT_MAX.as_millis()))
    };
    let made = Box::pin(ready(common, at)).or(late).await;
    if made.is_err() {
        common.note(Event::Unconnected);
    }
    made
}

async fn ready<H: Host>(common: &Common<H>, at: SocketAddr) -> Result<Wire<H::Stream>, String> {
    let connected = common.host.connect(at).await;
    let mut link = connected.map_err(|error| format!("cannot connect: {error}"))?;
    if let Some((config, name)) = &common.tls {
        let session = Session::client(config, name).map_err(|error| error.to_string())?;
        if !link.start_tls(session, &common.buffers) {
            return Err("this host has no TLS".to_owned());
        }
        let how = poll_fn(|cx| link.poll_handshake(cx)).await;
        how.map_err(|broken| format!("no TLS: {broken:?}"))?;
    }
    let mut wire = Wire::new(link, &common.buffers, at);
    let settings = &common.settings;
    if let Some(password) = &settings.password {
        let password = password.reveal().as_bytes();
        match &settings.user {
            Some(user) => {
                wire.insist("AUTH", &[b"AUTH", user.as_bytes(), password])
                    .await
            }
            None => wire.insist("AUTH", &[b"AUTH", password]).await,
        }?;
    }
    if settings.url.database > 0 {
        let database = settings.url.database.to_string();
        wire.insist("SELECT", &[b"SELECT", database.as_bytes()])
            .await?;
    }
    wire.insist("PING", &[b"PING"]).await?;
    Ok(wire)
}
