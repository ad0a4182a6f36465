//! What a service manager is told: ready, reloading, stopping, alive, and which sockets to
//! keep.
//!
//! Every function says nothing when nobody listens (`NOTIFY_SOCKET` is not set) or when it
//! cannot be said: a service manager that does not hear must not stop the gateway.
//!
//! Source: `sd_notify(3)`, `sd_watchdog_enabled(3)`.

use crate::base::time::Instant;
use crate::sys::inherit::take_variable;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// The line to the service manager; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Notify(Option<Arc<Line>>);

#[derive(Debug)]
struct Line {
    socket: UnixDatagram,
    /// The variables again, for a successor that this process starts.
    variables: Vec<(&'static str, OsString)>,
    watchdog: Option<Duration>,
}

impl Notify {
    /// The line that the environment names; its variables are taken out. To be called by the
    /// first thread.
    ///
    /// # Errors
    /// `NOTIFY_SOCKET` is set and leads nowhere.
    pub fn from_environment() -> Result<Self, String> {
        let [at, period, pid] =
            ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].map(take_variable);
        let Some(at) = at else {
            return Ok(Self(None));
        };
        let failed = |error: std::io::Error| format!("NOTIFY_SOCKET is {at:?}: {error}");
        let socket = UnixDatagram::unbound().map_err(failed)?;
        let address = match at.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(&at),
        };
        socket
            .connect_addr(&address.map_err(failed)?)
            .map_err(failed)?;
        let is_mine = pid.is_none_or(|pid| pid.parse() == Ok(std::process::id()));
        let micros = period.as_ref().and_then(|period| period.parse().ok());
        let watchdog = micros
            .filter(|&us| is_mine && us > 0)
            .map(Duration::from_micros);
        let mut variables = vec![("NOTIFY_SOCKET", at.into())];
        variables.extend(period.map(|period| ("WATCHDOG_USEC", period.into())));
        Ok(Self(Some(Arc::new(Line {
            socket,
            variables,
            watchdog,
        }))))
    }

    /// Whether somebody listens.
    pub fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// How often [`Notify::alive`] must be said at least; `None`: nobody asks.
    pub fn watchdog(&self) -> Option<Duration> {
        self.0.as_ref()?.watchdog
    }

    /// The environment for a process that shall speak on the same line.
    pub fn variables(&self) -> &[(&'static str, OsString)] {
        self.0.as_ref().map_or(&[], |line| &line.variables)
    }

    /// All shards listen; `status` is for people. The main process is this one.
    pub fn ready(&self, status: &str) {
        self.say(&format!(
            "READY=1\nMAINPID={}\nSTATUS={status}",
            std::process::id()
        ));
    }

    /// The main process is this one, again.
    pub fn main(&self) {
        self.say(&format!("MAINPID={}", std::process::id()));
    }

    /// A reload begins at `now`; [`Notify::reloaded`] ends it.
    pub fn reloading(&self, now: Instant) {
        let micros = now.as_nanos() / 1000;
        self.say(&format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"
        ));
    }

    /// The reload has ended. Which process is the main one is not said: a successor may be it
    /// by now.
    pub fn reloaded(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={status}"));
    }

    /// The process is going down.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// For people.
    pub fn status(&self, status: &str) {
        self.say(&format!("STATUS={status}"));
    }

    /// What goes on now may take `more` from here on.
    pub fn extend(&self, more: Duration) {
        self.say(&format!("EXTEND_TIMEOUT_USEC={}", more.as_micros()));
    }

    /// Every shard does its work.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// Keep this socket, and give it to the next process by this name.
    pub fn store(&self, name: &str, fd: BorrowedFd<'_>) {
        self.send(&format!("FDSTORE=1\nFDNAME={name}"), &[fd]);
    }

    fn say(&self, what: &str) {
        self.send(what, &[]);
    }

    fn send(&self, what: &str, fds: &[BorrowedFd<'_>]) {
        let Some(line) = &self.0 else { return };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut with = SendAncillaryBuffer::new(&mut space);
        let is_whole = fds.is_empty() || with.push(SendAncillaryMessage::ScmRights(fds));
        debug_assert!(is_whole, "one descriptor fits");
        let text = [IoSlice::new(what.as_bytes())];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        // See the module's text: who does not hear must not stop us.
        if sendmsg(&line.socket, &text, &mut with, flags).is_err() {}
    }
}
