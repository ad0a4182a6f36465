//! Makes the kernel's ring, and finds out whether it can do what is needed here.
//!
//! Needed: completions worked off in our own calls (`SINGLE_ISSUER`, `DEFER_TASKRUN`: 6.1),
//! streams of receives (6.0) and accepts (5.19), a ring of provided buffers (5.19). Some
//! vendors carry these back to older version numbers, so it is tried and not compared.
//!
//! Source: `io_uring_setup(2)`, `io_uring_enter(2)`, `io_uring_prep_recv_multishot(3)`.

use super::{Landed, Ring};
use io_uring::{IoUring, Probe, opcode};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Entries of the submission queue; when it is full it is submitted.
const ENTRIES: u32 = 512;

/// Entries of the completion queue; the kernel keeps what does not fit.
const COMPLETIONS: u32 = 4096;

/// How long the trial may take.
const TRIAL_MAX: Duration = Duration::from_millis(500);

/// A ring whose completions are worked off in our own calls only.
pub(super) fn build() -> io::Result<IoUring> {
    IoUring::builder()
        .dontfork()
        .setup_cqsize(COMPLETIONS)
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .build(ENTRIES)
}

/// Whether this process may have a ring at all, of whatever kind.
///
/// # Errors
/// What the kernel says.
pub fn allowed() -> io::Result<()> {
    IoUring::new(2).map(drop)
}

/// Whether the kernel knows all that is asked of it here.
pub(super) fn check(uring: &IoUring) -> io::Result<()> {
    if !uring.params().is_feature_ext_arg() || !uring.params().is_feature_nodrop() {
        return Err(missing("io_uring without EXT_ARG or NODROP"));
    }
    let mut probe = Probe::new();
    uring.submitter().register_probe(&mut probe)?;
    let needed = [
        (opcode::Recv::CODE, "io_uring without recv"),
        (opcode::Send::CODE, "io_uring without send"),
        (opcode::Accept::CODE, "io_uring without accept"),
        (opcode::Connect::CODE, "io_uring without connect"),
        (opcode::Timeout::CODE, "io_uring without timeout"),
        (opcode::PollAdd::CODE, "io_uring without poll"),
        (opcode::AsyncCancel::CODE, "io_uring without cancel"),
    ];
    match needed.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, what)) => Err(missing(what)),
        None => Ok(()),
    }
}

/// Receives two messages with one operation, which no list of features tells.
pub(super) fn trial(ring: &mut Ring) -> io::Result<()> {
    let (near, far) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let near = Rc::new(near);
    let key = ring.recv(&near, false)?;
    for message in [b"1", b"2"] {
        rustix::io::write(&far, message)?;
        match one(ring, key)? {
            Landed::Received { len: 1, .. } => {}
            _ => return Err(missing("io_uring without multishot recv")),
        }
    }
    drop(far);
    match one(ring, key)? {
        Landed::End => {
            ring.abandon(key);
            Ok(())
        }
        _ => Err(missing("io_uring without the end of a multishot recv")),
    }
}

fn one(ring: &mut Ring, key: super::Key) -> io::Result<Landed> {
    for _ in 0..2 {
        if let Poll::Ready(outcome) = ring.poll(key, Waker::noop()) {
            return outcome;
        }
        ring.enter_for(TRIAL_MAX)?;
        ring.reap(&mut Vec::new());
    }
    ring.abandon(key);
    Err(missing("io_uring that does not complete a receive"))
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what.to_owned())
}
