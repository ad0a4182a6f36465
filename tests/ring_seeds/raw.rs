//! A peer that is not ours: a thread with a plain socket, so that bytes, ends and resets come
//! from outside the executor, while the shard sleeps as well as while it works.

use crate::rng::Rng;
use crate::side::{Fate, Plan};
use crate::stream::{HELLO, greeted, hello};
use crate::world::{Patience, Raw, STUCK_MAX};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_linger;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longest sleep between two looks at whether the world is over.
const NAP: Duration = Duration::from_millis(5);

/// Connects as number `number` and plays `plan`.
pub(crate) fn connect(to: SocketAddr, number: usize, plan: &Plan, over: &AtomicBool) -> Raw {
    let mut stream = TcpStream::connect(to).map_err(|error| format!("connect: {error}"))?;
    let said = stream.write_all(&hello(number));
    let played = said.map_err(|error| format!("hello: {error}"));
    judge(played.and_then(|()| play(&stream, plan, over)), plan)
}

/// Accepts one connection and plays `plan` on it.
pub(crate) fn accept(on: &TcpListener, plan: &Plan, over: &Arc<AtomicBool>) -> Raw {
    let patience = Patience::new(STUCK_MAX);
    on.set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    let mut stream = loop {
        match on.accept() {
            Ok((stream, _)) => break stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("accept: {error}")),
        }
        if over.load(Ordering::SeqCst) || patience.is_over() {
            return Err("nobody connects".to_owned());
        }
        wait(on, PollFlags::IN);
    };
    let played = hear(&mut stream, over).and_then(|()| play(&stream, plan, over));
    judge(played, plan)
}

/// Reads the hello.
fn hear(stream: &mut TcpStream, over: &AtomicBool) -> Result<(), String> {
    let patience = Patience::new(STUCK_MAX);
    let mut said = [0; HELLO];
    stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(NAP)))
        .map_err(|e| e.to_string())?;
    loop {
        match stream.peek(&mut said) {
            Ok(HELLO) => break,
            Ok(0) => return Err("the end before the hello".to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(format!("hello: {error}")),
        }
        if over.load(Ordering::SeqCst) || patience.is_over() {
            return Err("no hello".to_owned());
        }
    }
    stream
        .read_exact(&mut said)
        .map_err(|error| error.to_string())?;
    greeted(&said).map(drop)
}

/// On a connection that one side breaks, only wrong bytes are a fault.
fn judge(played: Raw, plan: &Plan) -> Raw {
    match played {
        Err(fault) if plan.is_fair || fault.starts_with("wrong") => {
            Err(format!("{}: {fault}", plan.name))
        }
        played => Ok(played.unwrap_or(0)),
    }
}

/// Naps until `on` is ready for `what`.
fn wait<S: std::os::fd::AsFd>(on: &S, what: PollFlags) {
    let nap = Timespec::try_from(NAP).unwrap();
    // Whatever it says, the caller tries and looks at its bounds.
    if poll(&mut [PollFd::new(on, what)], Some(&nap)).is_err() {}
}

/// A peer in the middle of its plan.
struct Peer<'a> {
    stream: &'a TcpStream,
    plan: &'a Plan,
    rng: Rng,
    sent: u64,
    arrived: u64,
    finished: bool,
    ended: bool,
}

fn play(stream: &TcpStream, plan: &Plan, over: &AtomicBool) -> Raw {
    stream
        .set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    let patience = Patience::new(STUCK_MAX);
    let mut peer = Peer {
        stream,
        plan,
        rng: Rng::new(plan.seed),
        sent: 0,
        arrived: 0,
        finished: false,
        ended: false,
    };
    for step in 0.. {
        match plan.fate {
            Fate::Finish(at) if at == step => plan.out_total.store(peer.sent, Ordering::SeqCst),
            Fate::Drop(at) | Fate::Deaf(at) if step >= at => return Ok(peer.arrived),
            Fate::Reset(at) if step >= at => {
                set_socket_linger(stream, Some(Duration::ZERO)).map_err(|e| e.to_string())?;
                return Ok(peer.arrived);
            }
            _ => {}
        }
        if patience.is_over() || over.load(Ordering::SeqCst) {
            return Err(format!(
                "stuck after {} in and {} out",
                peer.arrived, peer.sent
            ));
        }
        let wrote = peer.write().map_err(|error| error.to_string())?;
        let read = peer.read()?;
        if peer.finished && peer.ended {
            break;
        }
        if !(wrote || read) || peer.rng.chance(100) {
            peer.nap();
        }
    }
    let total = plan.into_total.load(Ordering::SeqCst);
    if plan.is_fair && peer.arrived != total {
        return Err(format!("{} of {total} bytes arrived", peer.arrived));
    }
    Ok(peer.arrived)
}

impl Peer<'_> {
    fn left(&self) -> u64 {
        self.plan
            .out_total
            .load(Ordering::SeqCst)
            .saturating_sub(self.sent)
    }

    /// Sends a piece, or FIN when all is out. Returns whether anything moved.
    fn write(&mut self) -> io::Result<bool> {
        if self.left() == 0 {
            if !self.finished {
                self.stream.shutdown(Shutdown::Write)?;
            }
            return Ok(!std::mem::replace(&mut self.finished, true));
        }
        let most = usize::try_from(self.left().min(self.plan.grain)).unwrap();
        let piece = self.plan.out.bytes(self.sent, self.rng.cut(most));
        match (&mut &*self.stream).write(&piece) {
            Ok(count) => {
                self.sent += count as u64;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads a piece and checks it. Returns whether anything moved.
    fn read(&mut self) -> Result<bool, String> {
        if self.ended || matches!(self.plan.fate, Fate::Deaf(_)) {
            return Ok(false);
        }
        let mut bytes = vec![0; self.rng.cut(256 << 10)];
        match (&mut &*self.stream).read(&mut bytes) {
            Ok(count) => {
                self.plan.into.check(self.arrived, &bytes[..count])?;
                self.arrived += count as u64;
                self.ended = count == 0;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.to_string()),
        }
    }

    fn nap(&self) {
        let mut what = PollFlags::empty();
        what.set(PollFlags::OUT, self.left() > 0);
        what.set(
            PollFlags::IN,
            !self.ended && !matches!(self.plan.fate, Fate::Deaf(_)),
        );
        wait(self.stream, what);
    }
}
