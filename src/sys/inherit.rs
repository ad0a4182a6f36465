//! What a service manager leaves in a new process: environment variables and descriptors.
//!
//! ```text
//!   LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES ──► descriptors 3, 4, … with their names
//! ```
//!
//! Invariants
//! - I1 The environment is changed before the process has a second thread.
//! - I2 Descriptors are given out once: the variables that name them are gone afterwards.
//!
//! Source: `sd_listen_fds(3)`.

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The first descriptor that is passed.
const FIRST: RawFd = 3;

/// Descriptors that are taken at most.
const MOST: RawFd = 4096;

/// A descriptor that somebody else has opened, and its name.
#[derive(Debug)]
pub struct Inherited {
    /// The name; empty when nobody gave it one.
    pub name: String,
    /// The descriptor.
    pub fd: OwnedFd,
}

/// Takes a variable out of the environment, so that no child inherits it. To be called by
/// the first thread, before there is another one; later it only reads.
pub fn take_variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if std::env::var_os(name).is_some() && is_alone() {
        #[expect(unsafe_code, reason = "the environment belongs to every thread")]
        // SAFETY: I1: there is no other thread that could read or change it.
        unsafe {
            std::env::remove_var(name);
        }
    }
    value
}

/// Whether this process has one thread.
fn is_alone() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// The descriptors that were passed to this very process, with their names. They are closed
/// in children. As [`take_variable`], and therefore empty when called again.
///
/// # Errors
/// What is said to be there and is not.
pub fn descriptors() -> Result<Vec<Inherited>, String> {
    let [pid, count, names] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"].map(take_variable);
    let (Some(pid), Some(count)) = (pid, count) else {
        return Ok(Vec::new());
    };
    if pid.parse() != Ok(std::process::id()) {
        return Ok(Vec::new()); // meant for a process that started this one
    }
    if !is_alone() || std::env::var_os("LISTEN_FDS").is_some() {
        return Err("the descriptors of LISTEN_FDS were asked for too late".to_owned()); // I2
    }
    let count = count
        .parse()
        .ok()
        .filter(|count| (0..=MOST).contains(count));
    let count = count.ok_or("LISTEN_FDS is no number from 0 to 4096")?;
    let names = names.unwrap_or_default();
    let mut names = names.split(':');
    let adopt = |raw| {
        let name = names.next().unwrap_or_default().to_owned();
        let fd = claim(raw).map_err(|error| {
            format!("LISTEN_FDS is {count}, but descriptor {raw} cannot be used: {error}")
        })?;
        Ok(Inherited { name, fd })
    };
    (FIRST..FIRST + count).map(adopt).collect()
}

/// Takes `raw` over when it is open.
fn claim(raw: RawFd) -> std::io::Result<OwnedFd> {
    #[expect(unsafe_code, reason = "a descriptor comes as a number")]
    // SAFETY: it is only asked whether it is open; when it is not, the answer is an error.
    let there = unsafe { BorrowedFd::borrow_raw(raw) };
    let flags = fcntl_getfd(there)?;
    fcntl_setfd(there, flags | FdFlags::CLOEXEC)?;
    #[expect(unsafe_code, reason = "a descriptor comes as a number")]
    // SAFETY: it is open, was opened for this process by who started it, and I2: nobody else
    // in this process has been given it.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: I1, I2. Method: in a process with more threads, as a test is, nothing is taken
    /// out and no descriptor is given; what a process of one thread gets is tested with the
    /// real binary (`tests/sdk/test_service.py`).
    #[test]
    fn nothing_is_taken_beside_other_threads() {
        std::thread::scope(|scope| {
            let (send, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            assert!(take_variable("PATH").is_some() && take_variable("PATH").is_some());
            assert!(descriptors().unwrap().is_empty());
            drop(send);
        });
    }

    /// Goal: a number that is no open descriptor is an error, not an owner of something else.
    #[test]
    fn a_closed_descriptor_is_refused() {
        assert!(claim(1_000_000).is_err());
    }

    /// Goal: an open one is taken over and closed in children.
    #[test]
    fn an_open_descriptor_changes_its_owner() {
        use std::os::fd::IntoRawFd;
        let (near, far) = std::os::unix::net::UnixStream::pair().unwrap();
        let fd = claim(near.into_raw_fd()).unwrap();
        assert!(fcntl_getfd(&fd).unwrap().contains(FdFlags::CLOEXEC));
        drop(fd);
        let mut far = far;
        assert_eq!(std::io::Read::read(&mut far, &mut [0]).unwrap(), 0);
    }
}
