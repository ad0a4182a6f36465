//! TLS 1.2 and 1.3 without sockets: bytes of records in, plain bytes out, and back.
//!
//! ```text
//!   raw ─records─► [ Session ] ─plain─► rx          tx ─plain─► [ Session ] ─records─► out
//!                       └── handshake, tickets, alerts ──────────────────────► out
//! ```
//!
//! The cryptography and the protocol are rustls' (ring); a [`Session`] moves bytes between
//! its unbuffered connection and the connection's own buffers, so an idle session holds no
//! buffer at all.
//!
//! Invariants
//! - I1 What is encrypted in one call is one record, as long as it fits (16 KiB).
//! - I2 At rest `raw` holds less than one record.
//! - I3 A session ends well only by the peer's `close_notify` ([`Session::has_ended`]).
//! - I4 After an error nothing is given to rustls any more.
//!
//! Source: RFC 8446, RFC 5246.

pub mod fault;
pub mod files;
pub mod verify;

use crate::base::bytes::{RxBuf, TxBuf};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{ClientConfig, Error, HandshakeKind, ServerConfig};
use std::fmt;
use std::sync::Arc;

/// Plain bytes that are encrypted at once: four records.
const ROUND: usize = 64 << 10;

/// What records add to `len` plain bytes, at most: header, tag, nonce and type of each record
/// (RFC 8446, 5.2; RFC 5288, 3), and a key update before them.
const fn sealed_max(len: usize) -> usize {
    len + (len / RECORD + 2) * 64
}

/// Plain bytes of a record, at most (RFC 8446, 5.1).
const RECORD: usize = 16 << 10;

/// One end of a TLS connection.
pub struct Session {
    conn: Conn,
    has_ended: bool,
    is_dead: bool,
}

enum Conn {
    Client(UnbufferedClientConnection),
    Server(UnbufferedServerConnection),
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// The buffers that a session works on.
#[derive(Debug)]
pub struct Buffers<'a> {
    /// Records that have arrived.
    pub raw: &'a mut RxBuf,
    /// Where plain bytes go.
    pub rx: &'a mut RxBuf,
    /// Where records go.
    pub out: &'a mut TxBuf,
}

/// What to do when nothing has to be done for the peer.
#[derive(Debug)]
enum Goal<'a> {
    Rest,
    Send(&'a mut TxBuf),
    Close,
}

/// Whether to go on.
enum Step {
    More,
    Rest,
    Ended,
}

impl Session {
    /// The side that connects to `name`.
    ///
    /// # Errors
    /// What rustls says of the configuration.
    pub fn client(config: &Arc<ClientConfig>, name: &ServerName<'static>) -> Result<Self, Error> {
        let conn = UnbufferedClientConnection::new(Arc::clone(config), name.clone())?;
        Ok(Self {
            conn: Conn::Client(conn),
            has_ended: false,
            is_dead: false,
        })
    }

    /// The side that was connected to.
    ///
    /// # Errors
    /// What rustls says of the configuration.
    pub fn server(config: &Arc<ServerConfig>) -> Result<Self, Error> {
        let conn = UnbufferedServerConnection::new(Arc::clone(config))?;
        Ok(Self {
            conn: Conn::Server(conn),
            has_ended: false,
            is_dead: false,
        })
    }

    /// Whether it is the side that was connected to.
    pub fn is_server(&self) -> bool {
        matches!(self.conn, Conn::Server(_))
    }

    /// Whether nothing can be sent yet.
    pub fn is_handshaking(&self) -> bool {
        match &self.conn {
            Conn::Client(conn) => conn.is_handshaking(),
            Conn::Server(conn) => conn.is_handshaking(),
        }
    }

    /// Whether the handshake went on from an earlier session.
    pub fn is_resumed(&self) -> bool {
        let kind = match &self.conn {
            Conn::Client(conn) => conn.handshake_kind(),
            Conn::Server(conn) => conn.handshake_kind(),
        };
        kind == Some(HandshakeKind::Resumed)
    }

    /// Whether the peer said that nothing more comes (I3).
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes in what has arrived; afterwards I2 holds.
    ///
    /// # Errors
    /// Why the session is over; an alert for the peer is in `out` then.
    pub fn take_in(&mut self, buffers: &mut Buffers<'_>) -> Result<(), Error> {
        let outcome = self.run(buffers, Goal::Rest);
        if outcome.is_err() {
            self.tell(buffers);
        }
        outcome
    }

    /// Puts into `out` what rustls has ready after an error, the alert at its end. Not a step
    /// more: what was wrong is still there, and would be read again (I4).
    fn tell(&mut self, buffers: &mut Buffers<'_>) {
        let Buffers { raw, out, .. } = buffers;
        let data = raw.data_mut();
        match &mut self.conn {
            Conn::Client(conn) => {
                while conn.wants_write() {
                    put_ready(conn.process_tls_records(data), out);
                }
            }
            Conn::Server(conn) => {
                while conn.wants_write() {
                    put_ready(conn.process_tls_records(data), out);
                }
            }
        }
        raw.clear();
    }

    /// Encrypts what is in `tx`, at most [`ROUND`] of it, into `out` (I1).
    ///
    /// # Errors
    /// When nothing can be sent (any more).
    pub fn seal(&mut self, buffers: &mut Buffers<'_>, tx: &mut TxBuf) -> Result<(), Error> {
        self.run(buffers, Goal::Send(tx))
    }

    /// Puts `close_notify` into `out`.
    ///
    /// # Errors
    /// When nothing can be sent (any more).
    pub fn close(&mut self, buffers: &mut Buffers<'_>) -> Result<(), Error> {
        self.run(buffers, Goal::Close)
    }

    fn run(&mut self, buffers: &mut Buffers<'_>, goal: Goal<'_>) -> Result<(), Error> {
        if self.is_dead {
            return Err(Error::General("the session is over".to_owned()));
        }
        let outcome = self.advance(buffers, goal);
        self.is_dead = outcome.is_err(); // I4
        outcome
    }

    fn advance(&mut self, buffers: &mut Buffers<'_>, mut goal: Goal<'_>) -> Result<(), Error> {
        loop {
            let Buffers { raw, rx, out } = buffers;
            let data = raw.data_mut();
            let (used, step) = match &mut self.conn {
                Conn::Client(conn) => advance(conn.process_tls_records(data), rx, out, &mut goal),
                Conn::Server(conn) => advance(conn.process_tls_records(data), rx, out, &mut goal),
            };
            raw.consume(used);
            match step? {
                Step::More => {}
                Step::Ended => self.has_ended = true,
                Step::Rest => return Ok(()),
            }
        }
    }
}

/// Does what one status asks for; gives the bytes of `raw` that are used up.
fn advance<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    rx: &mut RxBuf,
    out: &mut TxBuf,
    goal: &mut Goal<'_>,
) -> (usize, Result<Step, Error>) {
    let UnbufferedStatus { mut discard, state } = status;
    let done = match state {
        Err(error) => Err(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => {
            let mut outcome = Ok(Step::More);
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        rx.put(record.payload);
                    }
                    Err(error) => outcome = Err(error),
                }
            }
            outcome
        }
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            let mut encoded = data.encode(out.space(RECORD));
            if let Err(EncodeError::InsufficientSize(short)) = encoded {
                encoded = data.encode(out.space(short.required_size));
            }
            out.commit(*encoded.as_ref().unwrap_or(&0));
            encoded.map(|_| Step::More).map_err(|error| general(&error))
        }
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done(); // what is in `out` goes before anything else
            Ok(Step::More)
        }
        Ok(ConnectionState::PeerClosed) => Ok(Step::Ended),
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let sealed = match goal {
                Goal::Rest => Ok(0),
                Goal::Send(tx) => {
                    let plain = tx.unsent();
                    let plain = plain.get(..ROUND).unwrap_or(plain);
                    let len = plain.len();
                    let sealed = traffic.encrypt(plain, out.space(sealed_max(len)));
                    tx.sent(if sealed.is_ok() { len } else { 0 });
                    sealed
                }
                Goal::Close => traffic.queue_close_notify(out.space(sealed_max(0))),
            };
            out.commit(*sealed.as_ref().unwrap_or(&0));
            sealed.map(|_| Step::Rest).map_err(|error| general(&error))
        }
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => match goal {
            Goal::Rest => Ok(Step::Rest),
            Goal::Send(_) | Goal::Close => Err(Error::HandshakeNotComplete),
        },
        // Early data is never offered nor accepted.
        Ok(_) => Err(Error::General("an unexpected state".to_owned())),
    };
    (discard, done)
}

fn put_ready<Data>(status: UnbufferedStatus<'_, '_, Data>, out: &mut TxBuf) {
    if let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state {
        let encoded = data.encode(out.space(RECORD));
        out.commit(encoded.unwrap_or(0));
    }
}

fn general(error: &dyn fmt::Display) -> Error {
    Error::General(error.to_string())
}
