//! A completion ring whose operations own everything that the kernel may touch.
//!
//! ```text
//!   recv accept   ──► slot {descriptor, queue}          ──► submission queue
//!   send connect  ──► slot {descriptor, block, address} ──►      │ enter
//!                       │ in flight                              │
//!   poll(key) ◄── Landed ◄── reap ◄──────────── completion queue ◄┘
//!
//!   abandon(key): cancel is submitted, the slot keeps what it owns until it has landed
//! ```
//!
//! Receives and accepts are streams: submitted once, they complete for as long as somebody
//! takes what they bring. A stream whose queue is full is cancelled and asked again later,
//! so that a slow reader is felt by the sender. The kernel may bring much before it hears of
//! the cancellation (32 blocks in one go, `MULTISHOT_MAX_RETRY`), so a block that came full
//! cancels its stream at once, and the next receive is better a single one
//! ([`Ring::recv_once`]).
//!
//! The safety argument is ownership. A caller hands blocks, addresses and descriptors over
//! and gets a [`Key`], a plain number. Whatever it then does with the key (poll it, abandon
//! it, lose it) the kernel's view stays valid.
//!
//! Invariants
//! - I1 From before its submission until its last completion is reaped, a slot owns the
//!   memory that its entry points to, and nobody else can reach that memory.
//! - I2 A slot is freed only after its last completion; until then its key is not given
//!   again.
//! - I3 A slot holds its descriptor open until its last completion, so the number in the
//!   entry cannot come to mean another file.
//! - I4 A descriptor in an accept's completion is owned from the moment it is reaped.
//! - I5 The ring ends only when no operation is in flight; if that cannot be had in
//!   [`END_MAX`], what the kernel may still touch is leaked.
//! - I6 What the kernel may fill for a receive is held by `Stock` (its own invariants).
//! - I7 The alarm's time and the doorbell live as long as the ring.
//! - I8 At most [`land::BYTES_AHEAD`] blocks, or [`land::CONNECTIONS_AHEAD`] connections, wait
//!   in a slot, plus what one call brought.
//! - I9 A prompt send has ended when the call that submitted it returns, with all bytes sent
//!   or with a completion that says how many were ([`Ring::send_promptly`]).
//!
//! Source: `io_uring(7)`, `io_uring_enter(2)`, `io_uring_setup(2)`,
//! `io_uring_prep_recv_multishot(3)`.

mod door;
mod land;
mod probe;
mod prompt;
mod slot;
mod stop;

use super::stock::{SIZE, STOCK, Stock};
use crate::base::bufpool::{Block, BufPool};
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use land::{Landing, land};
pub use probe::allowed;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg as _;
use slot::{Brings, Cargo, Parcel, Queue, Slot, State};
pub use slot::{Key, Landed};
use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

/// The one group of provided buffers.
const GROUP: u16 = 0;

/// How long the end of a ring waits for its operations.
const END_MAX: Duration = Duration::from_secs(1);

/// `IORING_RECV_MULTISHOT`: one submission, many completions.
const MULTISHOT: u16 = 2;

/// The completion of a cancellation carries the key of what it cancels, and this. A success
/// is not told; a failure means that the operation has ended, or that the kernel has it on a
/// list of things to do, where a cancellation does not find it.
const CANCEL: u64 = 1 << 63;

/// The completion of the cancellation of everything carries this.
const CANCEL_ALL: u64 = u64::MAX - 3;

/// The completion of the alarm carries this.
const ALARM: u64 = u64::MAX - 1;

/// The completion that says that somebody rang carries this.
const DOORBELL: u64 = u64::MAX - 2;

/// `SOCK_CLOEXEC`.
const CLOSE_ON_EXEC: i32 = 0o2_000_000;

/// What [`Ring::reap`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Completions of operations, and cancellations that have to be asked for again.
    pub count: usize,
    /// The alarm went off.
    pub alarm: bool,
    /// Somebody rang the doorbell.
    pub rung: bool,
}

/// The ring and its slab of operations.
pub struct Ring {
    uring: IoUring,
    slots: Vec<Slot>,
    free: Vec<u32>,
    flying: usize,
    stock: Stock,
    bell: OwnedFd,
    /// Where the ring hears its doorbell.
    door: OwnedFd,
    doorbell: Arc<OwnedFd>,
    alarm: Box<Timespec>,
    is_alarm_set: bool,
    /// A receive goes on after its first bytes; else each one is asked for.
    is_multishot: bool,
    /// Streams to be cancelled after this reaping.
    pausing: Vec<Key>,
    /// Cancellations that failed in this reaping.
    again: Vec<Key>,
    /// Sends that may not wait and of whose end we have not heard.
    prompt: Vec<Key>,
    /// Those for which there was no room.
    short: Vec<Key>,
    /// The kernel keeps to I9.
    is_prompt: bool,
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
    /// A ring that receives into blocks of `pool`; some of them are lent from now on.
    /// Its alarm goes off `alarm` after it is set. It belongs to the thread that makes it.
    ///
    /// # Errors
    /// What the kernel says: no `io_uring`, not allowed, too old (6.1 is needed), no memory.
    pub fn new(pool: &BufPool, alarm: Duration) -> io::Result<Self> {
        let uring = probe::build()?;
        probe::check(&uring)?;
        let flags = rustix::event::EventfdFlags::CLOEXEC;
        let bell = rustix::event::eventfd(0, flags)?;
        let (door, doorbell) = door::make()?;
        uring.submitter().register_eventfd(bell.as_raw_fd())?;
        let mut ring = Self {
            uring,
            slots: Vec::new(),
            free: Vec::new(),
            flying: 0,
            stock: Stock::new(pool),
            bell,
            door,
            doorbell: Arc::new(doorbell),
            alarm: Box::new(Timespec::from(alarm)),
            is_alarm_set: false,
            is_multishot: true,
            pausing: Vec::new(),
            again: Vec::new(),
            prompt: Vec::new(),
            short: Vec::new(),
            is_prompt: true,
        };
        let count = u16::try_from(STOCK).unwrap_or(0);
        let (submitter, page) = (ring.uring.submitter(), ring.stock.address());
        #[expect(unsafe_code, reason = "the kernel is told where the page is")]
        // SAFETY: I6. The page holds `count` entries and stays where it is until it is
        // unregistered in `drop`, or is leaked.
        unsafe { submitter.register_buf_ring_with_flags(page, count, GROUP, 0) }?;
        ring.is_multishot = probe::streams(&mut ring)?;
        ring.is_prompt = probe::is_prompt(&mut ring)?;
        ring.watch_door()?;
        Ok(ring)
    }

    /// A descriptor that counts up when completions arrive while [`Ring::ring_bell`] is on.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn bell(&self) -> io::Result<OwnedFd> {
        self.bell.try_clone()
    }

    /// Sets the alarm if it is not set; its completion ends the wait of [`Ring::enter`].
    ///
    /// # Errors
    /// As [`Ring::recv`].
    pub fn set_alarm(&mut self) -> io::Result<()> {
        if !self.is_alarm_set {
            let at: *const Timespec = &raw const *self.alarm; // I7
            let entry = opcode::Timeout::new(at).build().user_data(ALARM);
            self.push(&entry)?;
            self.is_alarm_set = true;
        }
        Ok(())
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

    /// Operations in flight, abandoned ones included; the alarm and the doorbell are not
    /// counted.
    pub fn flying(&self) -> usize {
        self.flying
    }

    /// Bytes of the pool that wait for receives.
    pub fn stocked(&self) -> usize {
        self.stock.offered() * SIZE
    }

    /// Receives, a block at a time, until the stream ends or pauses.
    ///
    /// Not with `IORING_RECVSEND_POLL_FIRST`: bytes and a reset that are both there when it is
    /// armed count as one readiness, and the kernel does not look again after the bytes, so
    /// the reset is never told (seen with 6.18; a test here shows it).
    ///
    /// # Errors
    /// The submission queue is full and the kernel takes nothing.
    pub fn recv(&mut self, fd: &Rc<OwnedFd>) -> io::Result<Key> {
        self.receive(fd, self.is_multishot)
    }

    /// Receives one block, then pauses: for bytes that come faster than they are taken.
    ///
    /// # Errors
    /// As [`Ring::recv`].
    pub fn recv_once(&mut self, fd: &Rc<OwnedFd>) -> io::Result<Key> {
        self.receive(fd, false)
    }

    fn receive(&mut self, fd: &Rc<OwnedFd>, is_multishot: bool) -> io::Result<Key> {
        let entry = opcode::Recv::new(Fd(fd.as_raw_fd()), std::ptr::null_mut(), 0)
            .buf_group(GROUP)
            .ioprio(if is_multishot { MULTISHOT } else { 0 })
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.launch(State::flowing(Brings::Bytes, fd), entry)
    }

    /// Accepts connections until the stream fails or pauses.
    ///
    /// # Errors
    /// As [`Ring::recv`].
    pub fn accept(&mut self, fd: &Rc<OwnedFd>) -> io::Result<Key> {
        let entry = opcode::AcceptMulti::new(Fd(fd.as_raw_fd()))
            .flags(CLOSE_ON_EXEC)
            .build();
        self.launch(State::flowing(Brings::Connections, fd), entry)
    }

    /// Sends `block[start..end]`, all of it unless the connection breaks.
    ///
    /// Not with `SEND_ZC`: its second completion, which gives the block back, has to be waited
    /// for, and over loopback the bytes are copied all the same (CPU µs a send, plain and
    /// ZC: 2.2 and 55 at 1 KiB, 7 and 64 at 16 KiB, 383 and 885 at 1 MiB). What it does for a
    /// network card has not been measured.
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
        self.dispatch(fd, Parcel::new(block, start..end, false)?)
    }

    /// Connects a socket.
    ///
    /// # Errors
    /// As [`Ring::recv`].
    pub fn connect(&mut self, fd: &Rc<OwnedFd>, to: SocketAddr) -> io::Result<Key> {
        let to = Box::new(to.as_any());
        let entry = opcode::Connect::new(Fd(fd.as_raw_fd()), to.as_ptr().cast(), to.addr_len());
        let entry = entry.build();
        self.launch(State::flying(Cargo::Connect { _to: to }, fd), entry)
    }

    /// What came of an operation; while it is pending `waker` is told. A single result is
    /// given once, and uses the key up; a stream's key is used up by [`Landed::Paused`].
    ///
    /// # Errors
    /// What the kernel said to the operation; `NotFound` for a key that is used up.
    pub fn poll(&mut self, key: Key, waker: &Waker) -> Poll<io::Result<Landed>> {
        let Some(slot) = self.slot(key) else {
            return Poll::Ready(Err(io::ErrorKind::NotFound.into()));
        };
        match &mut slot.state {
            State::Flying { waker: asleep, .. } => remember(asleep, waker),
            State::Flowing {
                queue,
                fd,
                waker: asleep,
                ..
            } => match queue.pop() {
                Some(outcome) => Poll::Ready(outcome),
                None if fd.is_some() => remember(asleep, waker),
                None => {
                    self.release(key.index);
                    Poll::Ready(Ok(Landed::Paused))
                }
            },
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
            self.cancel(key);
        }
    }

    /// When the kernel takes no more, the operation just runs to its own end.
    fn cancel(&mut self, key: Key) {
        let entry = opcode::AsyncCancel::new(key.packed())
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(CANCEL | key.packed());
        if self.push(&entry).is_err() {}
    }

    /// Lets an operation run to its own end without anybody waiting for it. Returns whether
    /// that end may be far.
    fn disown(&mut self, key: Key) -> bool {
        let Some(slot) = self.slot(key) else {
            return false;
        };
        match &mut slot.state {
            State::Flying {
                cargo,
                waker,
                abandoned,
                ..
            } => {
                *waker = None;
                *abandoned = true;
                !cargo.is_prompt()
            }
            State::Flowing {
                queue,
                fd: Some(_),
                waker,
                abandoned,
                ..
            } => {
                (*queue, *waker) = (Queue::default(), None);
                *abandoned = true;
                true
            }
            State::Landed(_) | State::Flowing { fd: None, .. } => {
                self.release(key.index);
                false
            }
            State::Free => false,
        }
    }

    /// Submits what is new and, with `wait`, waits for a first completion.
    ///
    /// # Errors
    /// What the kernel says; being interrupted or busy is no error.
    pub fn enter(&mut self, wait: bool) -> io::Result<()> {
        self.stock.fill();
        forgive(self.uring.submit_and_wait(usize::from(wait)))
    }

    /// Submits what is new and waits for a first completion, but not longer than `wait`.
    ///
    /// # Errors
    /// As [`Ring::enter`]; being out of time is no error.
    pub fn enter_for(&mut self, wait: Duration) -> io::Result<()> {
        self.stock.fill();
        let until = Timespec::from(wait);
        let args = SubmitArgs::new().timespec(&until);
        forgive(self.uring.submitter().submit_with_args(1, &args))
    }

    /// Takes all completions that are there and puts the wakers of those who wait for them
    /// into `awake`.
    pub fn reap(&mut self, awake: &mut Vec<Waker>) -> Reaped {
        let mut reaped = Reaped::default();
        for completion in self.uring.completion() {
            match completion.user_data() {
                CANCEL_ALL => continue,
                ALARM => {
                    (self.is_alarm_set, reaped.alarm) = (false, true);
                    continue;
                }
                DOORBELL => {
                    reaped.rung = true;
                    continue;
                }
                word if word & CANCEL != 0 => {
                    self.again.push(Key::unpacked(word & !CANCEL));
                    continue;
                }
                _ => reaped.count += 1,
            }
            let key = Key::unpacked(completion.user_data());
            let slot = self.slots.get_mut(key.index as usize);
            let Some(slot) = slot.filter(|slot| slot.generation == key.generation) else {
                debug_assert!(false, "a completion for a slot that is free"); // I2
                continue;
            };
            let is_over = !cqueue::more(completion.flags());
            let landing = land(slot, &mut self.stock, &completion, is_over);
            self.flying -= usize::from(is_over);
            match landing {
                Landing::Wakes(waker) => awake.extend(waker),
                Landing::Pauses(waker) => {
                    awake.extend(waker);
                    self.pausing.push(key);
                }
                Landing::FallsShort => {
                    self.flying += 1;
                    self.short.push(key);
                }
                Landing::Abandoned if is_over => {
                    slot.generation = slot::after(slot.generation);
                    self.free.push(key.index);
                }
                Landing::Abandoned => {}
            }
        }
        self.conclude(awake);
        reaped.count += self.cancel_due() + self.send_rests(awake);
        if reaped.rung {
            self.answer_door();
        }
        reaped
    }

    /// Cancels what is to pause, and again what was not found and is in flight all the same.
    /// Returns how many of the latter there were: something new to be submitted.
    fn cancel_due(&mut self) -> usize {
        let mut again = 0;
        while let Some(key) = self.again.pop() {
            if self.slot(key).is_some_and(|slot| slot.state.is_unwanted()) {
                self.pausing.push(key);
                again += 1;
            }
        }
        while let Some(key) = self.pausing.pop() {
            self.cancel(key);
        }
        again
    }

    fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        self.slots
            .get_mut(key.index as usize)
            .filter(|slot| slot.generation == key.generation)
    }

    /// Makes a slot that is not in flight available to the next operation (I2).
    fn release(&mut self, index: u32) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.state = State::Free;
            slot.generation = slot::after(slot.generation);
            self.free.push(index);
        }
    }

    fn dispatch(&mut self, fd: &Rc<OwnedFd>, parcel: Parcel) -> io::Result<Key> {
        let entry = parcel.entry(fd)?;
        self.launch(State::flying(Cargo::Send(parcel), fd), entry)
    }

    /// Gives `state` to a slot, then the entry to the kernel: in this order (I1).
    fn launch(&mut self, state: State, entry: squeue::Entry) -> io::Result<Key> {
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
        slot.state = state;
        let generation = slot.generation;
        let key = Key { index, generation };
        self.flying += 1;
        let pushed = self.push(&entry.user_data(key.packed()));
        if let Err(error) = pushed {
            // The kernel never saw it.
            self.flying -= 1;
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
            // keeps it until the last completion; I7 for the alarm and the doorbell. A
            // cancellation points to nothing.
            let pushed = unsafe { queue.push(entry) };
            drop(queue);
            if pushed.is_ok() {
                return Ok(());
            }
            self.enter(false)?;
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
            if self.push(&all.user_data(CANCEL_ALL)).is_err() || self.enter_for(step).is_err() {
                break;
            }
            self.reap(&mut awake);
        }
        let unregistered = self.uring.submitter().unregister_buf_ring(GROUP);
        if self.flying > 0 || unregistered.is_err() {
            let empty = Stock::new(&BufPool::new());
            let slots = ManuallyDrop::new(std::mem::take(&mut self.slots));
            let stock = ManuallyDrop::new(std::mem::replace(&mut self.stock, empty));
            debug_assert!(slots.is_empty() || stock.address() > 0); // both are leaked
        }
    }
}

fn remember<T>(asleep: &mut Option<Waker>, waker: &Waker) -> Poll<T> {
    match asleep {
        Some(asleep) => asleep.clone_from(waker),
        None => *asleep = Some(waker.clone()),
    }
    Poll::Pending
}

fn forgive(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match Errno::from_io_error(&error) {
            Some(Errno::TIME | Errno::INTR | Errno::BUSY | Errno::AGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests;
