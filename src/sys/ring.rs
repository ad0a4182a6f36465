//! A completion ring whose operations own everything that the kernel may touch.
//!
//! ```text
//!   recv send accept connect ──► slot {descriptor, block, address}  ──► submission queue
//!                                  │  Flying                                │ enter
//!   poll(key) ◄── Landed ◄── reap ─┴──────────── completion queue ◄─────────┘
//!
//!   abandon(key): cancel is submitted, the slot keeps what it owns until it has landed
//! ```
//!
//! The safety argument is ownership. A caller hands blocks, addresses and descriptors over
//! and gets a [`Key`], a plain number. Whatever it then does with the key (poll it, abandon
//! it, lose it) the kernel's view stays valid.
//!
//! Invariants
//! - I1 From before its submission until its completion is reaped, a slot owns the memory
//!   that its entry points to, and nobody else can reach that memory.
//! - I2 A slot is freed only after its completion; until then its key is not given again.
//! - I3 A slot holds its descriptor open until its completion, so the number in the entry
//!   cannot come to mean another file.
//! - I4 A descriptor in an accept's completion is owned from the moment it is reaped.
//! - I5 The ring ends only when no operation is in flight; if that cannot be had in
//!   [`END_MAX`], what the kernel may still touch is leaked.
//! - I6 What the kernel may fill for a receive is held by `Stock` (its own invariants).
//!
//! Source: `io_uring(7)`, `io_uring_enter(2)`, `io_uring_setup(2)`.

use super::stock::{STOCK, Stock};
use crate::base::bufpool::{BLOCK, Block, BufPool};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg as _;
use rustix::net::{SendFlags, SocketAddrAny};
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

/// Entries of the submission queue; when it is full it is submitted.
const ENTRIES: u32 = 512;

/// Entries of the completion queue; the kernel keeps what does not fit.
const COMPLETIONS: u32 = 4096;

/// The one group of provided buffers.
const GROUP: u16 = 0;

/// How long the end of a ring waits for its operations.
const END_MAX: Duration = Duration::from_secs(1);

/// `IORING_RECVSEND_POLL_FIRST`: do not try before the socket says that there is something.
const POLL_FIRST: u16 = 1;

/// Completions of cancellations carry this; they say nothing that the cancelled one does not.
const CANCEL: u64 = u64::MAX;

/// Names an operation. A key that is used up is refused, never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    fn packed(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the two halves of the word"
    )]
    fn unpacked(word: u64) -> Self {
        Self {
            index: word as u32,
            generation: (word >> 32) as u32,
        }
    }
}

/// What came of an operation.
#[derive(Debug)]
pub enum Landed {
    /// The first `len` bytes of `block` arrived; `more` when the socket has more.
    Received {
        /// The bytes.
        block: Block,
        /// How many of them.
        len: usize,
        /// Whether the socket had more at that moment.
        more: bool,
    },
    /// The other side has sent its last byte.
    End,
    /// This many bytes went out; fewer than asked only when the connection broke.
    Sent(usize),
    /// A connection.
    Accepted(OwnedFd),
    /// The connection stands.
    Connected,
}

/// What an operation owns besides its descriptor.
enum Cargo {
    Receive,
    Send { _block: Block },
    Accept,
    Connect { _to: Box<SocketAddrAny> },
}

enum State {
    Free,
    Flying {
        cargo: Cargo,
        _fd: Rc<OwnedFd>,
        waker: Option<Waker>,
        abandoned: bool,
    },
    Landed(io::Result<Landed>),
}

struct Slot {
    generation: u32,
    state: State,
}

/// The ring and its slab of operations.
pub struct Ring {
    uring: IoUring,
    slots: Vec<Slot>,
    free: Vec<u32>,
    flying: usize,
    stock: Stock,
    bell: OwnedFd,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("flying", &self.flying)
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

impl Ring {
    /// A ring that receives into blocks of `pool`; `STOCK` of them are lent from now on.
    /// It belongs to the thread that makes it.
    ///
    /// # Errors
    /// What the kernel says: no `io_uring`, not allowed, too old (5.19 is needed; 6.1 and
    /// later batch better), no memory.
    pub fn new(pool: &BufPool) -> io::Result<Self> {
        let uring = build()?;
        check(&uring)?;
        let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
        uring.submitter().register_eventfd(bell.as_raw_fd())?;
        let ring = Self {
            uring,
            slots: Vec::new(),
            free: Vec::new(),
            flying: 0,
            stock: Stock::new(pool, true),
            bell,
        };
        let count = u16::try_from(STOCK).unwrap_or(0);
        let (submitter, page) = (ring.uring.submitter(), ring.stock.address());
        #[expect(unsafe_code, reason = "the kernel is told where the page is")]
        // SAFETY: I6. The page holds `count` entries and stays where it is until it is
        // unregistered in `drop`, or is leaked.
        unsafe { submitter.register_buf_ring_with_flags(page, count, GROUP, 0) }?;
        Ok(ring)
    }

    /// A descriptor that counts up when completions arrive while [`Ring::ring_bell`] is on.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn bell(&self) -> io::Result<OwnedFd> {
        self.bell.try_clone()
    }

    /// Whether completions ring the bell; each one that does costs the kernel a wake-up.
    /// What came while it was off does not ring: after switching it on, enter and reap.
    pub fn ring_bell(&mut self, on: bool) {
        let queue = self.uring.completion();
        if on {
            queue.enable_eventfd();
            // Before `enter` looks whether something is waiting: else both sides could miss
            // each other.
            std::sync::atomic::fence(Ordering::SeqCst);
        } else {
            queue.disable_eventfd();
        }
    }

    /// Operations in flight, abandoned ones included.
    pub fn flying(&self) -> usize {
        self.flying
    }

    /// Bytes of the pool that wait for receives.
    pub fn stocked(&self) -> usize {
        STOCK * BLOCK
    }

    /// Receives at most one block. With `wait_first` the kernel waits for readiness before
    /// it tries: right when the socket was empty a moment ago.
    ///
    /// # Errors
    /// The submission queue is full and the kernel takes nothing.
    pub fn recv(&mut self, fd: &Rc<OwnedFd>, wait_first: bool) -> io::Result<Key> {
        let entry = opcode::Recv::new(Fd(fd.as_raw_fd()), std::ptr::null_mut(), 0)
            .buf_group(GROUP)
            .ioprio(if wait_first { POLL_FIRST } else { 0 })
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.launch(fd, Cargo::Receive, entry)
    }

    /// Sends `block[start..end]`, all of it unless the connection breaks.
    ///
    /// # Errors
    /// As [`Ring::recv`]; or the range is not in the block.
    pub fn send(
        &mut self,
        fd: &Rc<OwnedFd>,
        block: Block,
        start: usize,
        end: usize,
    ) -> io::Result<Key> {
        let bytes = block
            .bytes()
            .get(start..end)
            .ok_or(io::ErrorKind::InvalidInput)?;
        let len = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let flags = SendFlags::NOSIGNAL.bits() | WAIT_ALL;
        let entry = opcode::Send::new(Fd(fd.as_raw_fd()), bytes.as_ptr(), len)
            .flags(flags.cast_signed())
            .build();
        self.launch(fd, Cargo::Send { _block: block }, entry)
    }

    /// Accepts one connection.
    ///
    /// # Errors
    /// As [`Ring::recv`].
    pub fn accept(&mut self, fd: &Rc<OwnedFd>) -> io::Result<Key> {
        let (nobody, no_len) = (std::ptr::null_mut(), std::ptr::null_mut());
        let entry = opcode::Accept::new(Fd(fd.as_raw_fd()), nobody, no_len)
            .flags(CLOSE_ON_EXEC)
            .build();
        self.launch(fd, Cargo::Accept, entry)
    }

    /// Connects a socket.
    ///
    /// # Errors
    /// As [`Ring::recv`].
    pub fn connect(&mut self, fd: &Rc<OwnedFd>, to: SocketAddr) -> io::Result<Key> {
        let to = Box::new(to.as_any());
        let entry = opcode::Connect::new(Fd(fd.as_raw_fd()), to.as_ptr().cast(), to.addr_len());
        let entry = entry.build();
        self.launch(fd, Cargo::Connect { _to: to }, entry)
    }

    /// What came of an operation; while it is pending `waker` is told. A result is given
    /// once, and its key is used up.
    ///
    /// # Errors
    /// What the kernel said to the operation; `NotFound` for a key that is used up.
    pub fn poll(&mut self, key: Key, waker: &Waker) -> Poll<io::Result<Landed>> {
        let Some(slot) = self.slot(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotFound.into()));
        };
        match &mut slot.state {
            State::Flying { waker: asleep, .. } => {
                match asleep {
                    Some(asleep) => asleep.clone_from(waker),
                    None => *asleep = Some(waker.clone()),
                }
                Poll::Pending
            }
            state => match std::mem::replace(state, State::Free) {
                State::Landed(outcome) => {
                    self.release(key.index);
                    Poll::Ready(outcome)
                }
                _ => Poll::Ready(Err(io::ErrorKind::NotFound.into())),
            },
        }
    }

    /// Cancels an operation whose result nobody wants. What it owns is kept until it has
    /// ended (I1, I3), then dropped.
    pub fn abandon(&mut self, key: Key) {
        if self.disown(key) {
            let entry = opcode::AsyncCancel::new(key.packed())
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
                .user_data(CANCEL);
            // When the kernel takes no more, the operation just runs to its own end.
            if self.push(&entry).is_err() {}
        }
    }

    /// Lets an operation run to its own end without anybody waiting for it. Returns whether
    /// it is still in flight.
    fn disown(&mut self, key: Key) -> bool {
        let Some(slot) = self.slot(key) else {
            return false;
        };
        match &mut slot.state {
            State::Flying {
                waker, abandoned, ..
            } => {
                *waker = None;
                *abandoned = true;
                true
            }
            State::Landed(_) => {
                slot.state = State::Free;
                self.release(key.index);
                false
            }
            State::Free => false,
        }
    }

    /// Submits what is new and, with `wait`, waits that long for a first completion.
    ///
    /// # Errors
    /// What the kernel says; being interrupted, busy or out of time is no error.
    pub fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let entered = match wait {
            Some(wait) => {
                let until = Timespec::from(wait);
                let args = SubmitArgs::new().timespec(&until);
                self.uring.submitter().submit_with_args(1, &args)
            }
            None => self.uring.submit(),
        };
        match entered {
            Ok(_) => Ok(()),
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Takes all completions that are there and puts the wakers of those who wait for them
    /// into `awake`. Returns how many completions there were.
    pub fn reap(&mut self, awake: &mut Vec<Waker>) -> usize {
        let mut count = 0;
        for completion in self.uring.completion() {
            count += 1;
            if completion.user_data() == CANCEL {
                continue;
            }
            let key = Key::unpacked(completion.user_data());
            let Some(slot) = self
                .slots
                .get_mut(key.index as usize)
                .filter(|slot| slot.generation == key.generation)
            else {
                debug_assert!(false, "a completion for a slot that is free"); // I2
                continue;
            };
            let State::Flying {
                cargo,
                waker,
                abandoned,
                _fd: fd,
            } = std::mem::replace(&mut slot.state, State::Free)
            else {
                debug_assert!(false, "a second completion for an operation"); // I2
                continue;
            };
            self.flying -= 1;
            let outcome = outcome(&mut self.stock, &cargo, &completion);
            drop((cargo, fd)); // the kernel is done with them: I1, I3
            if abandoned {
                drop(outcome);
                slot.generation = slot.generation.wrapping_add(1);
                self.free.push(key.index);
            } else {
                slot.state = State::Landed(outcome);
                awake.extend(waker);
            }
        }
        count
    }

    fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        self.slots
            .get_mut(key.index as usize)
            .filter(|slot| slot.generation == key.generation)
    }

    /// Makes a slot that is `Free` available to the next operation (I2).
    fn release(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(index);
        }
    }

    /// Gives `cargo` to a slot, then the entry to the kernel: in this order (I1).
    fn launch(&mut self, fd: &Rc<OwnedFd>, cargo: Cargo, entry: squeue::Entry) -> io::Result<Key> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                state: State::Free,
            });
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = self
            .slots
            .get_mut(index as usize)
            .ok_or(io::ErrorKind::OutOfMemory)?;
        slot.state = State::Flying {
            cargo,
            _fd: Rc::clone(fd),
            waker: None,
            abandoned: false,
        };
        let key = Key {
            index,
            generation: slot.generation,
        };
        self.flying += 1;
        let pushed = self.push(&entry.user_data(key.packed()));
        if let Err(error) = pushed {
            // The kernel never saw it.
            self.flying -= 1;
            if let Some(slot) = self.slot(key) {
                slot.state = State::Free;
            }
            self.release(index);
            return Err(error);
        }
        Ok(key)
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        for _ in 0..2 {
            let mut queue = self.uring.submission();
            #[expect(unsafe_code, reason = "the kernel is told where memory is")]
            // SAFETY: I1, I3: the slot named in the entry owns what the entry points to, and
            // keeps it until the completion. A cancellation points to nothing.
            let pushed = unsafe { queue.push(entry) };
            drop(queue);
            if pushed.is_ok() {
                return Ok(());
            }
            self.enter(None)?;
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

impl Drop for Ring {
    /// I5.
    fn drop(&mut self) {
        let step = END_MAX / 100;
        let mut awake = Vec::new();
        for _ in 0..100 {
            if self.flying == 0 {
                break;
            }
            let all = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
            if self.push(&all.user_data(CANCEL)).is_err() || self.enter(Some(step)).is_err() {
                break;
            }
            self.reap(&mut awake);
        }
        let unregistered = self.uring.submitter().unregister_buf_ring(GROUP);
        if self.flying > 0 || unregistered.is_err() {
            let empty = Stock::new(&BufPool::new(), false);
            let slots = ManuallyDrop::new(std::mem::take(&mut self.slots));
            let stock = ManuallyDrop::new(std::mem::replace(&mut self.stock, empty));
            debug_assert!(slots.is_empty() || stock.address() > 0); // both are leaked
        }
    }
}

/// `MSG_WAITALL`: the kernel goes on after a short send.
const WAIT_ALL: u32 = 0x100;

/// `SOCK_CLOEXEC`.
const CLOSE_ON_EXEC: i32 = 0o2_000_000;

/// The best ring that this kernel has: completions are worked off in our own calls (6.1),
/// else without interrupting us (5.19).
fn build() -> io::Result<IoUring> {
    let mut best = IoUring::builder();
    best.dontfork().setup_cqsize(COMPLETIONS);
    let mut plain = best.clone();
    best.setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag();
    plain.setup_coop_taskrun().setup_taskrun_flag();
    best.build(ENTRIES).or_else(|error| {
        if Errno::from_io_error(&error) == Some(Errno::INVAL) {
            plain.build(ENTRIES)
        } else {
            Err(error)
        }
    })
}

/// Whether the kernel can do all that is asked of it here.
fn check(uring: &IoUring) -> io::Result<()> {
    let missing = |what: &str| io::Error::new(io::ErrorKind::Unsupported, what.to_owned());
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
        (opcode::AsyncCancel::CODE, "io_uring without cancel"),
    ];
    match needed.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, what)) => Err(missing(what)),
        None => Ok(()),
    }
}

/// Reads a completion. Blocks that the kernel picked leave the stock here.
fn outcome(stock: &mut Stock, cargo: &Cargo, of: &cqueue::Entry) -> io::Result<Landed> {
    let bid = cqueue::buffer_select(of.flags());
    let Ok(count) = usize::try_from(of.result()) else {
        if let Some(bid) = bid {
            stock.put_back(bid);
        }
        return Err(io::Error::from_raw_os_error(of.result().wrapping_neg()));
    };
    match cargo {
        Cargo::Receive => match bid {
            Some(bid) if count > 0 => {
                let block = stock.take(bid).ok_or(io::ErrorKind::InvalidData)?;
                let len = count.min(block.size());
                let more = cqueue::sock_nonempty(of.flags());
                Ok(Landed::Received { block, len, more })
            }
            Some(bid) => {
                stock.put_back(bid);
                Ok(Landed::End)
            }
            None => Ok(Landed::End),
        },
        Cargo::Send { .. } => Ok(Landed::Sent(count)),
        Cargo::Accept => {
            #[expect(unsafe_code, reason = "a descriptor comes as a number")]
            // SAFETY: I4: the kernel made this descriptor for us and named it once.
            let fd = unsafe { OwnedFd::from_raw_fd(of.result()) };
            Ok(Landed::Accepted(fd))
        }
        Cargo::Connect { .. } => Ok(Landed::Connected),
    }
}

#[cfg(test)]
mod tests;
