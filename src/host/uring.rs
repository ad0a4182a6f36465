//! The production host on glommio's own TCP: readiness through its ring, plain `recv` and
//! `send` when ready.
//!
//! The kernel never holds one of our buffers across an await here, so a read that is
//! dropped by a timeout loses nothing. While a read waits its block is back in the pool.

use super::{Host, Link, clock, listen};
use crate::base::bytes::{RxBuf, TxBuf};
use crate::base::time::Instant;
use crate::sys::adopt::adopt;
use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::{TcpListener, TcpStream};
use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Glommio's executor and TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uring;

/// A connected socket.
#[derive(Debug)]
pub struct Tcp(TcpStream);

impl Tcp {
    fn accepted(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(stream))
    }
}

/// An accept under way.
type Accepting = Pin<Box<dyn Future<Output = io::Result<TcpStream>>>>;

/// A listening socket. One task at a time accepts on it. What is under way stays here when
/// the wait for it is given up: glommio would lose a connection that came at that moment.
pub struct Listener {
    fd: OwnedFd,
    socket: Rc<TcpListener>,
    accepting: RefCell<Option<Accepting>>,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.fd).finish()
    }
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<TcpStream>> {
        let mut accepting = self.accepting.borrow_mut();
        let under_way = accepting.get_or_insert_with(|| {
            let socket = Rc::clone(&self.socket);
            Box::pin(async move { socket.accept().await.map_err(io::Error::from) })
        });
        let outcome = std::task::ready!(under_way.as_mut().poll(cx));
        *accepting = None;
        Poll::Ready(outcome)
    }
}

impl Host for Uring {
    type Stream = Tcp;
    type Listener = Listener;

    fn now(&self) -> Instant {
        clock::now()
    }

    fn wall_nanos(&self) -> u64 {
        clock::wall_nanos()
    }

    async fn sleep_until(&self, at: Instant) {
        glommio::timer::sleep(at.since(clock::now())).await;
    }

    fn listen(&self, at: SocketAddr) -> io::Result<Listener> {
        self.listen_on(listen::bind(at)?)
    }

    fn listen_on(&self, fd: OwnedFd) -> io::Result<Listener> {
        Ok(Listener {
            fd: fd.try_clone()?,
            socket: Rc::new(adopt(fd)),
            accepting: RefCell::default(),
        })
    }

    fn local_addr(&self, listener: &Listener) -> io::Result<SocketAddr> {
        listener.socket.local_addr().map_err(io::Error::from)
    }

    async fn accept(&self, on: &Listener) -> io::Result<Tcp> {
        Tcp::accepted(poll_fn(|cx| on.poll_accept(cx)).await?)
    }

    async fn accept_last(&self, on: &Listener) -> Option<Tcp> {
        Tcp::accepted(adopt(listen::accept_queued(&on.fd)?)).ok()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "an address is given: no name is looked up"
    )]
    async fn connect(&self, to: SocketAddr) -> io::Result<Tcp> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Tcp(stream))
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        drop(glommio::spawn_local(task).detach());
    }

    async fn breathe(&self) {
        glommio::executor().yield_task_queue_now().await;
    }
}

impl Link for Tcp {
    fn poll_read(&mut self, cx: &mut Context<'_>, rx: &mut RxBuf) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.0).poll_read(cx, rx.space());
        let got = if let Poll::Ready(Ok(got)) = &outcome {
            *got
        } else {
            0
        };
        rx.commit(got);
        outcome
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>, tx: &mut TxBuf) -> Poll<io::Result<()>> {
        while !tx.is_empty() {
            match Pin::new(&mut self.0).poll_write(cx, tx.unsent()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(sent)) => tx.sent(sent),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn finish(&mut self) {
        // Glommio shuts the writing side down at once; a socket that is gone already
        // needs no FIN, so its error says nothing.
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(_gone)) = Pin::new(&mut self.0).poll_close(&mut cx) {}
    }

    fn reset(&mut self) {
        if crate::sys::linger::reset_on_close(&self.0).is_err() {
            self.finish();
        }
    }
}
