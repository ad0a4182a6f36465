//! Gives the listening sockets to a successor, or takes them from the running process.
//!
//! ```text
//!   successor                              running process
//!      │ ── connect (same user only) ──────────► │
//!      │ ◄─ "shardgate 1", a line and a          │
//!      │     descriptor for each socket, "end" ─ │
//!   starts its shards                            │ accepts as before
//!      │ ── "listening" ───────────────────────► │
//!      │ ◄─ "yours" ──────────────────────────── │ stops accepting, drains
//! ```
//!
//! The sockets are the same on both sides, with one queue each: a connection that waits there
//! is accepted by the one or the other.
//!
//! Invariants
//! - I1 Until the successor has said that it listens, nothing changes here: one that dies or
//!   falls silent costs nothing.
//! - I2 Sockets are given to a process of the same user only.
//!
//! Source: unix(7), `SCM_RIGHTS` and `SO_PEERCRED`.

use super::listeners::Listeners;
use crate::sys::inherit::Inherited;
use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};
use std::fs::{self, Permissions};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The first line of the giver: the protocol and its version.
const HELLO: &str = "shardgate 1";
/// The successor's shards accept.
const LISTENING: &[u8] = b"listening\n";
/// The running process accepts no longer.
const YOURS: &[u8] = b"yours\n";

/// How long one side waits for the other's next word.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a successor may take to start.
const START_MAX: Duration = Duration::from_secs(60);

/// Bytes that the giver may send: 16 addresses on 1024 shards fit.
const TEXT_MAX: usize = 1 << 20;

/// Descriptors in one message, at most.
const TOGETHER: usize = 16;

/// A hand-over under way, seen from the successor.
#[derive(Debug)]
pub struct Takeover(UnixStream);

impl Takeover {
    /// Gets the sockets of the process that hands over at `path`.
    ///
    /// # Errors
    /// Why it cannot, with what to do.
    pub fn begin(path: &Path) -> Result<(Self, Vec<Inherited>), String> {
        let shown = path.display();
        let stream = UnixStream::connect(path).map_err(|error| {
            format!("no running process hands over at {shown}: {error}; start without --takeover")
        })?;
        let failed = |error: io::Error| format!("the take-over at {shown} failed: {error}");
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        if !is_same_user(&stream) {
            return Err(format!(
                "{shown} belongs to a process of another user; remove it"
            ));
        }
        let sockets = receive(&stream).map_err(failed)?;
        Ok((Self(stream), sockets))
    }

    /// Says that this process listens; afterwards the other one accepts nothing.
    ///
    /// # Errors
    /// The other one does not answer.
    pub fn finish(mut self) -> io::Result<()> {
        self.0.write_all(LISTENING)?;
        expect(&mut self.0, YOURS)
    }
}

/// The place where a running process hands over. It is removed at the end, unless a successor
/// has its own there by then.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    is_mine: bool,
}

impl Place {
    /// Listens at `path`, in place of what is there; `given` is called once, when a successor
    /// has all, with its process id.
    ///
    /// # Errors
    /// Why it cannot listen there.
    pub fn open(
        path: &Path,
        listeners: Arc<Listeners>,
        given: impl FnOnce(u32) + Send + 'static,
    ) -> Result<Self, String> {
        let failed = |error: io::Error| {
            format!(
                "cannot listen on {} (server.handover): {error}",
                path.display()
            )
        };
        // At a name of its own first: so it is never there with other rights, and replaces
        // that of a process that is going at once.
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let own = PathBuf::from(name);
        if own.exists() {
            fs::remove_file(&own).map_err(failed)?;
        }
        let socket = UnixListener::bind(&own).map_err(failed)?;
        fs::set_permissions(&own, Permissions::from_mode(0o600)).map_err(failed)?;
        fs::rename(&own, path).map_err(failed)?;
        let waiting = move || {
            for stream in socket.incoming() {
                // Whoever failed may come again.
                if let Ok(heir) = stream.and_then(|stream| give(stream, &listeners)) {
                    return given(heir);
                }
                listeners.lend(false);
            }
        };
        let thread = thread::Builder::new().name("handover".to_owned());
        thread.spawn(waiting).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            is_mine: true,
        })
    }

    /// A successor has the sockets, and its own place under the same name.
    pub fn leave(&mut self) {
        self.is_mine = false;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_mine {
            // What is not there needs no removing.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Whether somebody hands over at `path`.
pub fn is_taken(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// Gives all sockets away, to the process that it names; an error when it did not come to
/// that (I1).
fn give(mut stream: UnixStream, listeners: &Listeners) -> io::Result<u32> {
    if !is_same_user(&stream) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let heir = sockopt::socket_peercred(&stream)?
        .pid
        .as_raw_nonzero()
        .get();
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(START_MAX))?;
    stream.write_all(format!("{HELLO}\n").as_bytes())?;
    listeners.lend(true);
    for (name, fd) in listeners.named() {
        send(&stream, &format!("{name}\n"), fd)?;
    }
    stream.write_all(b"end\n")?;
    expect(&mut stream, LISTENING)?;
    // From here on the successor accepts; when it does not hear this, it does so all the same.
    drop(stream.write_all(YOURS));
    Ok(heir.cast_unsigned())
}

fn is_same_user(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid();
    sockopt::socket_peercred(stream).is_ok_and(|peer| peer.uid == own)
}

fn expect(stream: &mut UnixStream, what: &[u8]) -> io::Result<()> {
    let mut said = vec![0; what.len()];
    stream.read_exact(&mut said)?;
    if said == what {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn send(stream: &UnixStream, line: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    if !with.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let text = [IoSlice::new(line.as_bytes())];
    let sent = retry_on_intr(|| sendmsg(stream, &text, &mut with, SendFlags::NOSIGNAL))?;
    let mut rest = stream;
    rest.write_all(line.as_bytes().get(sent..).unwrap_or_default())
}

/// Reads lines and descriptors until `end`: the n-th name belongs to the n-th descriptor,
/// however the kernel cuts the stream.
fn receive(stream: &UnixStream) -> io::Result<Vec<Inherited>> {
    let (mut text, mut fds) = (Vec::new(), Vec::<OwnedFd>::new());
    let mut block = [0; 4096];
    while !text.ends_with(b"\nend\n") {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(TOGETHER))];
        let mut with = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut block)];
        let got = retry_on_intr(|| recvmsg(stream, into, &mut with, RecvFlags::CMSG_CLOEXEC))?;
        for message in with.drain() {
            if let RecvAncillaryMessage::ScmRights(these) = message {
                fds.extend(these);
            }
        }
        text.extend_from_slice(block.get(..got.bytes).unwrap_or_default());
        if got.bytes == 0 || text.len() > TEXT_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let text = String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut lines = text.lines();
    if lines.next() != Some(HELLO) {
        return Err(io::Error::other(
            "the running process speaks another version",
        ));
    }
    let names: Vec<_> = lines
        .take_while(|line| *line != "end")
        .map(str::to_owned)
        .collect();
    if names.len() != fds.len() {
        return Err(io::Error::other("descriptors are missing (LimitNOFILE?)"));
    }
    let pairs = names.into_iter().zip(fds);
    Ok(pairs.map(|(name, fd)| Inherited { name, fd }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    fn opened() -> Arc<Listeners> {
        let any = "127.0.0.1:0".parse().unwrap();
        Arc::new(Listeners::open((&[any], Some(any)), 40, vec![]).unwrap())
    }

    /// Goal: all sockets arrive, by name; a successor that dies before it listens changes
    /// nothing (I1), and the place has the rights of its owner only.
    #[test]
    fn all_sockets_are_handed_over_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        let listeners = opened();
        let (given, is_given) = channel();
        let place = Place::open(&path, Arc::clone(&listeners), move |heir| {
            given.send(heir).unwrap();
        });
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let (died, _) = Takeover::begin(&path).unwrap();
        drop(died);
        let (takeover, sockets) = Takeover::begin(&path).unwrap();
        assert!(is_given.try_recv().is_err());
        let names: Vec<_> = sockets.iter().map(|one| one.name.clone()).collect();
        assert_eq!(
            names,
            listeners.named().map(|(name, _)| name).collect::<Vec<_>>()
        );
        let any = "127.0.0.1:0".parse().unwrap();
        let next = Listeners::open((&[any], Some(any)), 40, sockets).unwrap();
        assert_eq!(next.addresses, listeners.addresses);
        takeover.finish().unwrap();
        let heir = is_given.recv_timeout(PATIENCE).unwrap();
        assert_eq!(heir, std::process::id());
        drop(place);
        assert!(!path.exists());
    }

    /// Goal: whoever leaves for a successor leaves the successor's place alone.
    #[test]
    fn the_place_of_a_successor_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover.sock");
        let mut old = Place::open(&path, opened(), |_| ()).unwrap();
        let new = Place::open(&path, opened(), |_| ()).unwrap();
        old.leave();
        drop(old);
        assert!(is_taken(&path));
        drop(new);
        assert!(
            Takeover::begin(&path)
                .unwrap_err()
                .contains("without --takeover")
        );
    }
}
