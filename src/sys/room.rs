//! Zeroed memory of a fixed size: small rooms from the heap, large ones as pages of their own.
//!
//! Of a large room mostly the first bytes are used: the kernel fills 64 KiB blocks with events of
//! some hundred bytes each. Zeroed memory from the heap was in use before more often than not,
//! so all of it is written to make it zero, and stays resident: 128 such blocks held 52 KiB each,
//! 1.3 KiB for each of 5,000 streams. Pages of the kernel's are zero until they are touched, and
//! begin where a page begins, so a short event touches one.
//!
//! Invariants
//! - I1 `at` is valid for reads and writes of `len` bytes, all of them written (zeroes at least),
//!   and nobody else's, until the room ends.
//! - I2 The size alone says where a room came from, so it is given back to where it came from.
//!
//! Source: `mmap(2)`, `MAP_ANONYMOUS`; `munmap(2)`.
#![expect(unsafe_code, reason = "pages are asked for and given back by address")]

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::alloc::{Layout, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Rooms of this many bytes and more are pages of their own. None in a build that hunts memory
/// errors (`scripts/asan`), whose sanitizer watches the heap.
const PAGES_MIN: usize = if cfg!(hunt) { usize::MAX } else { 64 << 10 };

/// Memory of a fixed size, in bytes; zero at first.
#[derive(Debug)]
pub struct Room {
    at: NonNull<u8>,
    len: usize,
}

impl Room {
    /// `len` bytes, all zero. Ends the process when there is no memory, as every allocation does.
    pub fn new(len: usize) -> Self {
        let at = if len < PAGES_MIN {
            NonNull::from(Box::leak(vec![0_u8; len].into_boxed_slice())).cast()
        } else {
            pages(len)
        };
        Self { at, len }
    }
}

/// Fresh pages, which read as zero.
fn pages(len: usize) -> NonNull<u8> {
    let may = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the kernel chooses the place, so no other mapping is replaced.
    let at = unsafe { mmap_anonymous(std::ptr::null_mut(), len, may, MapFlags::PRIVATE) };
    match at.ok().and_then(|at| NonNull::new(at.cast())) {
        Some(at) => at,
        None => handle_alloc_error(Layout::array::<u8>(len).unwrap_or(Layout::new::<u8>())),
    }
}

impl Default for Room {
    /// A room without any bytes, which costs nothing.
    fn default() -> Self {
        let (at, len) = (NonNull::dangling(), 0);
        Self { at, len }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.len < PAGES_MIN {
            let bytes = NonNull::slice_from_raw_parts(self.at, self.len);
            // SAFETY: I2: this room was a box of `len` bytes, and I1: nobody else's.
            drop(unsafe { Box::from_raw(bytes.as_ptr()) });
        } else {
            // SAFETY: I2: these pages were mapped for this room alone, and I1: nobody looks at
            // them any more. The kernel refuses it only for bad arguments or when it cannot
            // divide a mapping; then the pages are leaked.
            let ended = unsafe { munmap(self.at.as_ptr().cast(), self.len) };
            debug_assert!(ended.is_ok());
        }
    }
}

impl Deref for Room {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: I1.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr(), self.len) }
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: I1; `&mut self` is the only way to it.
        unsafe { std::slice::from_raw_parts_mut(self.at.as_ptr(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: I1. Method: rooms of both kinds side by side, each filled with its own byte, ended in
    /// another order; new ones in their place are zero again.
    #[test]
    fn a_room_is_zero_and_its_own() {
        let sizes = [
            0,
            1,
            4096,
            PAGES_MIN.min(1 << 20) - 1,
            64 << 10,
            (64 << 10) + 1,
            1 << 20,
        ];
        for round in 0..3_u8 {
            let mut rooms: Vec<_> = sizes.iter().map(|&len| Room::new(len)).collect();
            for (room, number) in rooms.iter_mut().zip(1..) {
                assert!(room.iter().all(|&byte| byte == 0));
                room.fill(number + round);
            }
            rooms.swap(1, 4);
            rooms.truncate(6);
            for (room, number) in rooms.iter().zip([1, 5, 3, 4, 2, 6]) {
                assert!(room.iter().all(|&byte| byte == number + round));
                assert_eq!(room.len(), sizes[usize::from(number) - 1]);
            }
        }
    }

    /// Goal: a large room costs what is touched of it. Method: the process holds 64 MiB in rooms
    /// of 64 KiB, of each of which a byte was written; before them as much was used and freed.
    #[cfg(not(hunt))]
    #[test]
    fn what_is_not_touched_is_not_held() {
        drop((0..1024).map(|_| Room::new(63 << 10)).collect::<Vec<_>>());
        let before = resident();
        let mut rooms: Vec<_> = (0..1024).map(|_| Room::new(64 << 10)).collect();
        for room in &mut rooms {
            room[0] = 1;
        }
        assert!(resident() < before + (32 << 20), "{before} {}", resident());
        assert!(rooms.iter().all(|room| room.as_ptr().addr() % 4096 == 0));
    }

    #[cfg(not(hunt))]
    fn resident() -> usize {
        let all = std::fs::read_to_string("/proc/self/statm").unwrap();
        4096 * all.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
    }
}
