//! Makes a socket say RST instead of FIN when it is closed.
//!
//! Source: socket(7), `SO_LINGER`; RFC 9293, 3.6 (a close with data thrown away is an abort).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// When `socket` is closed, what is unsent is thrown away and the peer gets RST.
///
/// # Errors
/// What the kernel says to `SO_LINGER`.
pub fn reset_on_close<S: AsRawFd>(socket: &S) -> io::Result<()> {
    #[expect(unsafe_code, reason = "glommio's socket is no `AsFd`")]
    // SAFETY: `socket` owns its descriptor and is borrowed until the end of this function,
    // so the descriptor stays open for as long as `fd` lives.
    let fd = unsafe { BorrowedFd::borrow_raw(socket.as_raw_fd()) };
    rustix::net::sockopt::set_socket_linger(fd, Some(Duration::ZERO))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};

    /// Goal: the peer of a closed socket sees a reset, not an end.
    #[test]
    fn the_peer_sees_a_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        reset_on_close(&server).unwrap();
        drop(server);
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
