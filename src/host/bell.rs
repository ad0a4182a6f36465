//! Waking an executor from outside: an eventfd that is read through glommio.
//!
//! Source: eventfd(2).

use crate::sys::adopt::adopt;
use glommio::io::BufferedFile;
use rustix::event::{EventfdFlags, eventfd};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The end that is rung, from any thread. Clones ring the same bell.
#[derive(Clone, Debug)]
pub struct Ringer(Arc<OwnedFd>);

impl Ringer {
    /// A bell that nobody listens to yet; what is rung before is heard later.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?)))
    }

    /// Rings.
    pub fn ring(&self) {
        // A counter that is full has been rung.
        rustix::io::write(&*self.0, &1_u64.to_ne_bytes()).ok();
    }

    /// The end that hears, for the executor of this thread.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn bell(&self) -> io::Result<Bell> {
        Ok(Bell::new(self.0.try_clone()?))
    }
}

/// The end that hears. Its read stays in flight when a wait is given up.
pub struct Bell {
    file: Rc<BufferedFile>,
    reading: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").finish_non_exhaustive()
    }
}

impl Bell {
    /// Listens to an eventfd. Belongs to the executor that calls it.
    pub fn new(fd: OwnedFd) -> Self {
        Self {
            file: Rc::new(adopt(fd)),
            reading: None,
        }
    }

    /// Ready when the bell was rung, once for any number of times.
    pub fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let file = &self.file;
        let reading = self.reading.get_or_insert_with(|| {
            let file = Rc::clone(file);
            Box::pin(async move {
                // Whatever it says, who listens goes and looks.
                drop(file.read_at(0, size_of::<u64>()).await);
            })
        });
        std::task::ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::launch;
    use std::future::poll_fn;

    /// Goal: what is rung before and after the wait begins is heard. Method: another thread
    /// rings, an executor waits, three times.
    #[test]
    fn a_ring_from_another_thread_is_heard() {
        let ringer = Ringer::new().unwrap();
        let other = ringer.clone();
        ringer.ring();
        launch::start("bell", None, move || async move {
            let mut bell = other.bell().unwrap();
            poll_fn(|cx| bell.poll_heard(cx)).await;
            for _ in 0..2 {
                let other = other.clone();
                let ringing = std::thread::spawn(move || other.ring());
                poll_fn(|cx| bell.poll_heard(cx)).await;
                ringing.join().unwrap();
            }
        })
        .unwrap()
        .join()
        .unwrap();
    }
}
