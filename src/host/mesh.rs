//! Bounded channels between executors (glommio's shared channels).
//!
//! A send may wait for room ([`Outlet::send`]) or give up ([`Outlet::try_send`]): orders
//! wait, gossip gives up.

use glommio::channels::shared_channel::{
    ConnectedReceiver, ConnectedSender, SharedReceiver, SharedSender, new_bounded,
};

/// The sending end, not yet bound to an executor.
#[derive(Debug)]
pub struct Sender<T: Send>(SharedSender<T>);

/// The receiving end, not yet bound to an executor.
#[derive(Debug)]
pub struct Receiver<T: Send>(SharedReceiver<T>);

/// A channel for at most `size` messages in flight.
pub fn channel<T: Send>(size: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = new_bounded(size);
    (Sender(sender), Receiver(receiver))
}

impl<T: Send + 'static> Sender<T> {
    /// Binds this end to the running executor; waits until the other end is bound too.
    pub async fn connect(self) -> Outlet<T> {
        Outlet(self.0.connect().await)
    }
}

impl<T: Send + 'static> Receiver<T> {
    /// Binds this end to the running executor; waits until the other end is bound too.
    pub async fn connect(self) -> Inlet<T> {
        Inlet(self.0.connect().await)
    }
}

/// The bound sending end.
#[derive(Debug)]
pub struct Outlet<T: Send + 'static>(ConnectedSender<T>);

impl<T: Send + 'static> Outlet<T> {
    /// Sends, waiting for room. False when the other end is gone.
    pub async fn send(&self, message: T) -> bool {
        self.0.send(message).await.is_ok()
    }

    /// Sends if there is room. False when there is none or the other end is gone.
    pub fn try_send(&self, message: T) -> bool {
        self.0.try_send(message).is_ok()
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
