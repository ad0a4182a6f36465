//! The doorbell of a ring: how other threads are noticed while it waits or is parked.
//!
//! It is a pipe, no eventfd. From within the wake-up of an eventfd the kernel does not signal
//! the ring's bell, which is one, but puts that off, by seconds on an idle machine, and until
//! then the bell does not ring for anything else either: a parked shard that had been told
//! something by another one did not see the connections that came next (6.18; a test here
//! shows it).
//!
//! Source: `eventfd_signal_allowed` and `__io_eventfd_signal` of Linux.

use super::{DOORBELL, Ring};
use io_uring::opcode;
use io_uring::types::Fd;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// Where the ring hears, and where others ring. Neither end blocks.
pub(super) fn make() -> io::Result<(OwnedFd, OwnedFd)> {
    let (door, doorbell) = io::pipe()?;
    let (door, doorbell) = (OwnedFd::from(door), OwnedFd::from(doorbell));
    for end in [&door, &doorbell] {
        rustix::io::ioctl_fionbio(end, true)?;
    }
    Ok((door, doorbell))
}

impl Ring {
    /// What other threads write to, a few bytes, to be noticed by this ring. It does not block
    /// them: a pipe that is full has been rung.
    pub fn doorbell(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.doorbell)
    }

    pub(super) fn watch_door(&mut self) -> io::Result<()> {
        let readable = i16::from_ne_bytes(rustix::event::PollFlags::IN.bits().to_ne_bytes());
        let entry =
            opcode::PollAdd::new(Fd(self.door.as_raw_fd()), readable.cast_unsigned().into());
        self.push(&entry.build().user_data(DOORBELL))
    }

    /// Takes what was rung and waits for the next one: in this order, so that none is lost.
    pub(super) fn answer_door(&mut self) {
        // An empty pipe is as good as one that was read, and what is left rings again; a ring
        // that takes nothing is dead anyway.
        rustix::io::read(&self.door, &mut [0; 512]).ok();
        if self.watch_door().is_err() {}
    }
}
