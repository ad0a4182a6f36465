//! Bounded channels between executors (glommio's shared channels).
//!
//! A send may wait for room ([`Outlet::send`]) or give up ([`Outlet::try_send`]): orders
//! wait, gossip gives up.

use glommio::channels::shared_channel::{
    ConnectedReceiver, ConnectedSender, SharedReceiver, SharedSender, new_bounded,
};
use std::cell::RefCell;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock, Weak};

thread_local! {
    /// What wakes this thread where glommio does not.
    static DOORBELL: RefCell<Weak<OwnedFd>> = const { RefCell::new(Weak::new()) };
}

/// The receiver's doorbell, once it is bound.
type Door = Arc<OnceLock<Weak<OwnedFd>>>;

/// From now on messages to this thread's executor also ring `bell` (a byte written to it), while it
/// exists: for a host that waits elsewhere than in glommio. Ends that are bound already do
/// not know of it.
pub fn set_doorbell(bell: &Arc<OwnedFd>) {
    DOORBELL.set(Arc::downgrade(bell));
}

/// The sending end, not yet bound to an executor.
#[derive(Debug)]
pub struct Sender<T: Send>(SharedSender<T>, Door);

/// The receiving end, not yet bound to an executor.
#[derive(Debug)]
pub struct Receiver<T: Send>(SharedReceiver<T>, Door);

/// A channel for at most `size` messages in flight.
pub fn channel<T: Send>(size: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = new_bounded(size);
    let door = Door::default();
    (Sender(sender, Arc::clone(&door)), Receiver(receiver, door))
}

impl<T: Send + 'static> Sender<T> {
    /// Binds this end to the running executor; waits until the other end is bound too.
    pub async fn connect(self) -> Outlet<T> {
        Outlet(self.0.connect().await, self.1)
    }
}

impl<T: Send + 'static> Receiver<T> {
    /// Binds this end to the running executor; waits until the other end is bound too.
    pub async fn connect(self) -> Inlet<T> {
        self.1.get_or_init(|| DOORBELL.with_borrow(Weak::clone));
        Inlet(self.0.connect().await)
    }
}

/// The bound sending end.
#[derive(Debug)]
pub struct Outlet<T: Send + 'static>(ConnectedSender<T>, Door);

impl<T: Send + 'static> Outlet<T> {
    /// Sends, waiting for room. False when the other end is gone.
    pub async fn send(&self, message: T) -> bool {
        let is_sent = self.0.send(message).await.is_ok();
        self.ring();
        is_sent
    }

    /// Sends if there is room. False when there is none or the other end is gone.
    pub fn try_send(&self, message: T) -> bool {
        let is_sent = self.0.try_send(message).is_ok();
        self.ring();
        is_sent
    }

    fn ring(&self) {
        if let Some(bell) = self.1.get().and_then(Weak::upgrade) {
            // A pipe that is full has been rung.
            rustix::io::write(&*bell, b"!").ok();
        }
    }
}

/// The bound receiving end.
#[derive(Debug)]
pub struct Inlet<T: Send + 'static>(ConnectedReceiver<T>);

impl<T: Send + 'static> Inlet<T> {
    /// The next message; `None` when the other end is gone.
    pub async fn recv(&self) -> Option<T> {
        self.0.recv().await
    }
}
