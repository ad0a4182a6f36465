//! Hands an owned descriptor to a type that takes raw ones only.
//!
//! Invariants
//! - I1 The descriptor is open and owned by the caller, and by the new value from then on.

use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

/// The descriptor as a `T`, which owns it and closes it.
pub fn adopt<T: FromRawFd>(fd: OwnedFd) -> T {
    let raw = fd.into_raw_fd();
    #[expect(unsafe_code, reason = "raw is all that the other type takes")]
    // SAFETY: I1: `raw` was owned by `fd`, which has given it up.
    unsafe {
        T::from_raw_fd(raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    /// Goal: I1. Method: the same number, working, and closed once: its number is free again
    /// (a second close would be an error that the standard library aborts on).
    #[test]
    fn a_descriptor_changes_its_owner_and_nothing_else() {
        let fd = rustix::event::eventfd(7, rustix::event::EventfdFlags::empty()).unwrap();
        let number = fd.as_raw_fd();
        let file: std::fs::File = adopt(fd);
        assert_eq!(file.as_raw_fd(), number);
        let mut counter = [0; 8];
        assert_eq!(rustix::io::read(&file, &mut counter).unwrap(), 8);
        assert_eq!(u64::from_ne_bytes(counter), 7);
    }
}
