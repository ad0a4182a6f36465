//! What a completion does to its slot.
//!
//! The invariants stand in the parent module.

use super::slot::{Brings, Cargo, Landed, Slot, State};
use crate::sys::stock::Stock;
use io_uring::cqueue;
use rustix::io::Errno;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::task::Waker;

/// Blocks that may wait for a reader before its stream is paused.
pub(super) const BYTES_AHEAD: usize = 2;

/// Connections that may wait to be accepted before the stream is paused.
pub(super) const CONNECTIONS_AHEAD: usize = 256;

/// What a completion means to those who wait.
pub(super) enum Landing {
    Wakes(Option<Waker>),
    /// Too much waits to be taken: the stream must be cancelled.
    Pauses(Option<Waker>),
    /// There was no room for all of a prompt send: the rest has to be sent by one that waits.
    FallsShort,
    Abandoned,
}

/// Moves a slot on by one completion; `is_over` when it was the last one (I1, I3: what the
/// slot owned is dropped then and not before).
pub(super) fn land(
    slot: &mut Slot,
    stock: &mut Stock,
    of: &cqueue::Entry,
    is_over: bool,
) -> Landing {
    match &mut slot.state {
        State::Flying {
            cargo,
            waker,
            abandoned,
            ..
        } => {
            debug_assert!(is_over); // I2
            if !*abandoned && falls_short(cargo, of) {
                return Landing::FallsShort;
            }
            let outcome = single(cargo, of);
            let (waker, abandoned) = (waker.take(), *abandoned);
            if abandoned {
                slot.state = State::Free;
                return Landing::Abandoned;
            }
            slot.state = State::Landed(outcome);
            Landing::Wakes(waker)
        }
        State::Flowing {
            brings,
            queue,
            fd,
            waker,
            abandoned,
            pausing,
        } => {
            let brought = piece(stock, *brings, of);
            if is_over {
                *fd = None;
            }
            if *abandoned {
                drop(brought);
                if is_over {
                    slot.state = State::Free;
                }
                return Landing::Abandoned;
            }
            let is_full = matches!(&brought, Some(Ok(landed)) if landed.is_full());
            if let Some(outcome) = brought {
                queue.push(outcome);
            }
            let most = match brings {
                Brings::Bytes => BYTES_AHEAD,
                Brings::Connections => CONNECTIONS_AHEAD,
            };
            if (queue.len() > most || is_full) && !is_over && !*pausing {
                *pausing = true; // I8
                return Landing::Pauses(waker.take());
            }
            Landing::Wakes(waker.take())
        }
        State::Free | State::Landed(_) => {
            debug_assert!(false, "a completion for an operation that has ended"); // I2
            Landing::Wakes(None)
        }
    }
}

fn failed(of: &cqueue::Entry) -> io::Error {
    io::Error::from_raw_os_error(of.result().wrapping_neg())
}

/// Whether there was no room for all of a prompt send (I9); it is none from here on, and knows
/// what went out.
fn falls_short(cargo: &mut Cargo, of: &cqueue::Entry) -> bool {
    let Cargo::Send(parcel) = cargo else {
        return false;
    };
    let sent = match u32::try_from(of.result()) {
        Ok(sent) => sent,
        Err(_) if of.result() == -Errno::AGAIN.raw_os_error() => 0,
        Err(_) => return false,
    };
    let is_short = std::mem::take(&mut parcel.is_prompt);
    if is_short {
        parcel.sent = sent;
    }
    is_short
}

/// Reads the completion of a single operation.
fn single(cargo: &Cargo, of: &cqueue::Entry) -> io::Result<Landed> {
    let count = usize::try_from(of.result()).map_err(|_| failed(of))?;
    Ok(match cargo {
        Cargo::Send(parcel) => Landed::Sent(parcel.sent as usize + count),
        Cargo::Connect { .. } => Landed::Connected,
    })
}

/// Reads a completion of a stream; nothing when it only says that the stream pauses. Blocks
/// that the kernel picked leave the stock here.
fn piece(stock: &mut Stock, brings: Brings, of: &cqueue::Entry) -> Option<io::Result<Landed>> {
    let bid = cqueue::buffer_select(of.flags());
    let Ok(count) = usize::try_from(of.result()) else {
        if let Some(bid) = bid {
            stock.put_back(bid);
        }
        let error = failed(of);
        return match Errno::from_io_error(&error) {
            Some(Errno::NOBUFS) => {
                stock.ran_out();
                None
            }
            Some(Errno::CANCELED) => None,
            _ => Some(Err(error)),
        };
    };
    if brings == Brings::Connections {
        #[expect(unsafe_code, reason = "a descriptor comes as a number")]
        // SAFETY: I4: the kernel made this descriptor for us and named it once.
        let fd = unsafe { OwnedFd::from_raw_fd(of.result()) };
        return Some(Ok(Landed::Accepted(fd)));
    }
    Some(match bid {
        Some(bid) if count > 0 => match stock.take(bid) {
            Some(block) => Ok(Landed::Received {
                len: u32::try_from(count.min(block.size())).unwrap_or(0),
                block,
            }),
            None => Err(io::ErrorKind::InvalidData.into()),
        },
        Some(bid) => {
            stock.put_back(bid);
            Ok(Landed::End)
        }
        None => Ok(Landed::End),
    })
}
