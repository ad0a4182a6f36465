//! Makes the kernel's ring, and finds out whether it can do what is needed here.
//!
//! Needed: completions worked off in our own calls (`SINGLE_ISSUER`, `DEFER_TASKRUN`: 6.1),
//! a stream of accepts (5.19), a ring of provided buffers (5.19); and better with streams of
//! receives (6.0, and whole only since 2026). Vendors carry these back to older version
//! numbers, so it is tried and not compared.
//!
//! Source: `io_uring_setup(2)`, `io_uring_enter(2)`, `io_uring_prep_recv_multishot(3)`.

use super::{Landed, Ring};
use crate::base::bufpool::BufPool;
use io_uring::{IoUring, Probe, opcode};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair, sockopt};
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Entries of the submission queue; when it is full it is submitted.
const ENTRIES: u32 = 512;

/// Entries of the completion queue; the kernel keeps what does not fit.
const COMPLETIONS: u32 = 4096;

/// How long a step of the trial may take. What it waits for is there already, so that only a
/// kernel that loses it takes so long.
const TRIAL_MAX: Duration = Duration::from_millis(10);

/// Bytes that no socket with the smallest buffer has room for.
const TOO_MUCH: usize = 64 << 10;

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

/// Whether a receive may go on after its first bytes, which no list of features tells.
///
/// Bytes and an end that come together count as one readiness in kernels without the mend
/// "`io_uring/poll`: fix multishot recv missing EOF on wakeup race" (2026): the end is never
/// told there. TCP's FIN is not concerned, its RST is. A local socket shows it: where the end
/// fails to come each receive has to be asked for anew.
///
/// # Errors
/// Not even the bytes come.
pub(super) fn streams(ring: &mut Ring) -> io::Result<bool> {
    let (near, far) = local_pair()?;
    let near = Rc::new(near);
    let key = ring.recv(&near)?;
    ring.enter(false)?;
    for message in [b"1", b"2"] {
        rustix::io::write(&far, message)?;
        match one(ring, key)? {
            Some(Landed::Received { len: 1, .. }) => {}
            Some(Landed::Paused) => return Ok(false),
            _ => return Err(missing("io_uring that does not complete a receive")),
        }
    }
    rustix::io::write(&far, b"3")?;
    drop(far);
    let bytes = one(ring, key)?;
    let end = one(ring, key)?;
    ring.abandon(key);
    match (bytes, end) {
        (Some(Landed::Received { len: 1, .. }), Some(Landed::End)) => Ok(true),
        (Some(Landed::Received { len: 1, .. }), None) => Ok(false),
        _ => Err(missing("io_uring that does not complete a receive")),
    }
}

/// Whether a prompt send that finds no room ends, and says so, within the call that submits it
/// (I9 of the parent module).
///
/// # Errors
/// No socket left.
pub(super) fn is_prompt(ring: &mut Ring) -> io::Result<bool> {
    let (near, far) = local_pair()?;
    let near = Rc::new(near);
    sockopt::set_socket_send_buffer_size(&*near, 1)?; // the least that the kernel allows
    let pool = BufPool::new();
    let mut lengths = [0; 2];
    for (length, asked) in lengths.iter_mut().zip([1, TOO_MUCH]) {
        let key = ring.send_promptly(&near, pool.take(asked), 0, asked)?;
        ring.enter(false)?;
        ring.reap(&mut Vec::new());
        if let Poll::Ready(outcome) = ring.poll(key, Waker::noop()) {
            *length = match outcome? {
                Landed::Sent(sent) => sent,
                _ => 0,
            };
        }
        ring.abandon(key);
    }
    drop(far); // ends what is left of the second
    for _ in 0..2 {
        if ring.flying() > 0 {
            ring.enter_for(TRIAL_MAX)?;
            ring.reap(&mut Vec::new());
        }
    }
    Ok(lengths == [1, 0])
}

fn local_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (unix, stream) = (AddressFamily::UNIX, SocketType::STREAM);
    Ok(socketpair(unix, stream, SocketFlags::CLOEXEC, None)?)
}

/// The next result, if one comes in time.
fn one(ring: &mut Ring, key: super::Key) -> io::Result<Option<Landed>> {
    for _ in 0..2 {
        if let Poll::Ready(outcome) = ring.poll(key, Waker::noop()) {
            return outcome.map(Some);
        }
        ring.enter_for(TRIAL_MAX)?;
        ring.reap(&mut Vec::new());
    }
    Ok(None)
}

fn missing(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, what.to_owned())
}
