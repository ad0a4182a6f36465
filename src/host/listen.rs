//! TCP sockets before any host drives them: made here, or by another process.
//!
//! Listening sockets are made once, by control, and given to the shards as descriptors: so
//! they can outlive the process (a service manager keeps them, a successor takes them over)
//! with all that waits in their queues.
//!
//! Source: socket(7), tcp(7), accept4(2).

use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, ipproto, sockopt};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Silence after which a peer is asked whether it is there, how often, and how many times.
const PROBE_AFTER: Duration = Duration::from_secs(60);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 6;

/// Connections that the kernel keeps for a listener until they are accepted.
const BACKLOG: i32 = 4096;

/// A socket that listens at `at`, beside others that do (`SO_REUSEPORT`).
///
/// # Errors
/// What the kernel says: address in use, permission, no descriptors.
pub fn bind(at: SocketAddr) -> io::Result<OwnedFd> {
    let fd = socket(at)?; // what it accepts inherits the options
    sockopt::set_socket_reuseaddr(&fd, true)?;
    sockopt::set_socket_reuseport(&fd, true)?;
    rustix::net::bind(&fd, &at)?;
    adopt(fd)
}

/// A socket that another process bound, with the options of [`bind`] as far as they can still
/// be given.
///
/// # Errors
/// What the kernel says; `InvalidInput` when it is no TCP socket.
pub fn adopt(fd: OwnedFd) -> io::Result<OwnedFd> {
    let is_tcp = sockopt::socket_type(&fd)? == SocketType::STREAM
        && matches!(
            sockopt::socket_domain(&fd)?,
            AddressFamily::INET | AddressFamily::INET6
        );
    if !is_tcp {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    options(&fd)?;
    // Two processes may wait for the same connection; who comes second must not sleep in
    // the call (the flag belongs to the socket, not to the process).
    rustix::io::ioctl_fionbio(&fd, true)?;
    rustix::net::listen(&fd, BACKLOG)?;
    Ok(fd)
}

/// Ends listening, also in other copies of the descriptor: whoever comes is refused. After
/// [`adopt`] it listens again, where [`bind`] was given a port at that one.
pub fn hush(fd: &OwnedFd) {
    // What does not listen needs no ending.
    if rustix::net::shutdown(fd, Shutdown::Read).is_err() {}
}

/// Where a socket listens.
///
/// # Errors
/// What the kernel says.
pub fn address(fd: &OwnedFd) -> io::Result<SocketAddr> {
    let at = rustix::net::getsockname(fd)?;
    SocketAddr::try_from(at).map_err(|_| io::ErrorKind::AddrNotAvailable.into())
}

/// A connection that waits in the queue of a listener, if there is one.
pub(super) fn accept_queued(fd: &OwnedFd) -> Option<OwnedFd> {
    rustix::net::accept_with(fd, SocketFlags::CLOEXEC).ok()
}

/// A TCP socket of the family of `at`. It asks a silent peer whether it is there, after
/// [`PROBE_AFTER`], [`PROBES`] times: a host that vanished without a word must not hold a
/// stream for the two hours of the default.
pub(super) fn socket(at: SocketAddr) -> io::Result<OwnedFd> {
    let family = match at {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    let fd = rustix::net::socket_with(family, kind, flags, Some(ipproto::TCP))?;
    options(&fd)?;
    Ok(fd)
}

fn options(fd: &OwnedFd) -> rustix::io::Result<()> {
    sockopt::set_tcp_nodelay(fd, true)?;
    sockopt::set_socket_keepalive(fd, true)?;
    sockopt::set_tcp_keepidle(fd, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(fd, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(fd, PROBES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    /// Goal: what waits in the queue is given once, and an empty queue does not block.
    #[test]
    fn the_queue_is_emptied_and_then_empty() {
        let fd = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(accept_queued(&fd).is_none());
        let client = TcpStream::connect(address(&fd).unwrap()).unwrap();
        let accepted = accept_queued(&fd).unwrap();
        let far = SocketAddr::try_from(rustix::net::getpeername(&accepted).unwrap().unwrap());
        assert_eq!(far.unwrap(), client.local_addr().unwrap());
        assert!(accept_queued(&fd).is_none());
    }

    /// Goal: who is told to listen no more refuses, whoever else has the socket; and it can
    /// listen again.
    #[test]
    fn a_hushed_socket_refuses_until_it_is_adopted() {
        let any = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let at = address(&any).unwrap();
        drop(any);
        let fd = bind(at).unwrap();
        let other = fd.try_clone().unwrap();
        hush(&fd);
        let refused = TcpStream::connect(at).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let again = adopt(other).unwrap();
        assert_eq!(address(&again).unwrap(), at);
        let _client = TcpStream::connect(at).unwrap();
        assert!(accept_queued(&again).is_some());
    }

    /// Goal: what is no TCP socket is refused.
    #[test]
    fn only_tcp_is_adopted() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let refused = adopt(udp.into()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    }
}
