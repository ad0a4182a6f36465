//! Writes heads and chunks into a [`TxBuf`].
//!
//! Invariants
//! - I1 Nothing written here can be read as more than it is: a name or value with a byte that
//!   may not stand there is dropped, not passed on.
//! - I2 A chunk is never empty: the empty one ends a body.
//!
//! Source: RFC 9112, sections 4, 5 and 7.1; reasons from RFC 9110, section 15, RFC 6585.

use super::fields::is_token;
use super::lines::control;
use crate::base::bytes::TxBuf;

/// The empty line that ends a head.
pub const END_OF_HEAD: &[u8] = b"\r\n";
/// The last chunk and an empty trailer section.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The usual reason phrase of `status`; empty for one that has none here.
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        424 => "Failed Dependency",
        425 => "Too Early",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// Writes `HTTP/1.1 status reason`. `status` must be 100..=599.
pub fn put_status_line(tx: &mut TxBuf, status: u16) {
    debug_assert!((100..600).contains(&status));
    let mut digits = itoa::Buffer::new();
    let status_digits = digits.format(status).as_bytes();
    // The second space stands also before an empty reason (RFC 9112, 4).
    let reason = reason(status).as_bytes();
    tx.put_all([b"HTTP/1.1 ", status_digits, b" ", reason, b"\r\n"]);
}

/// Writes `method target HTTP/1.1`, unless one of them could not be read back as it is (I1);
/// says whether it did.
#[must_use = "a request line that was not written leaves a broken head"]
pub fn put_request_line(tx: &mut TxBuf, method: &str, target: &[u8]) -> bool {
    let is_sound = is_token(method.as_bytes())
        && !target.is_empty()
        && target.iter().all(u8::is_ascii_graphic);
    if is_sound {
        tx.put_all([method.as_bytes(), b" ", target, b" HTTP/1.1\r\n"]);
    }
    is_sound
}

/// Writes the field `name: value`, unless name or value has a byte that may not stand there
/// (I1); says whether it did.
pub fn put_field(tx: &mut TxBuf, name: &[u8], value: &[u8]) -> bool {
    is_token(name) && put_value(tx, name, value)
}

/// As [`put_field`], for a `name` that is known to be a token.
pub fn put_own_field(tx: &mut TxBuf, name: &'static str, value: &[u8]) -> bool {
    debug_assert!(is_token(name.as_bytes()));
    put_value(tx, name.as_bytes(), value)
}

fn put_value(tx: &mut TxBuf, name: &[u8], value: &[u8]) -> bool {
    let is_sound = control(value).is_none();
    if is_sound {
        tx.put_all([name, b": ", value, b"\r\n"]);
    }
    is_sound
}

/// Writes the field `name: number`. `name` must be a token.
pub fn put_decimal_field(tx: &mut TxBuf, name: &str, number: u64) {
    debug_assert!(is_token(name.as_bytes()));
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(number).as_bytes();
    tx.put_all([name.as_bytes(), b": ", digits, b"\r\n"]);
}

/// Writes one chunk that holds `parts`, one after another; nothing when they are empty (I2).
pub fn put_chunk(tx: &mut TxBuf, parts: &[&[u8]]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let len: usize = parts.iter().map(|part| part.len()).sum();
    if len == 0 {
        return;
    }
    tx.reserve(len + 2 * size_of::<usize>() + b"\r\n\r\n".len());
    let mut line = [0_u8; 2 * size_of::<usize>() + b"\r\n".len()];
    let (size, end) = line.split_at_mut(2 * size_of::<usize>());
    end.copy_from_slice(b"\r\n");
    let (mut rest, mut used) = (len, 0);
    for slot in size.iter_mut().rev() {
        *slot = DIGITS.get(rest & 15).copied().unwrap_or_default();
        (rest, used) = (rest >> 4, used + 1);
        if rest == 0 {
            break;
        }
    }
    let unused = size.len() - used;
    tx.put(line.get(unused..).unwrap_or_default());
    for part in parts {
        tx.put(part);
    }
    tx.put(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    fn written(write: impl FnOnce(&mut TxBuf)) -> Vec<u8> {
        let mut tx = TxBuf::new(&BufPool::new());
        write(&mut tx);
        tx.unsent().to_vec()
    }

    /// Goal: status lines keep the space before an empty reason.
    #[test]
    fn a_status_line_has_both_its_spaces() {
        assert_eq!(
            written(|tx| put_status_line(tx, 200)),
            b"HTTP/1.1 200 OK\r\n"
        );
        assert_eq!(written(|tx| put_status_line(tx, 529)), b"HTTP/1.1 529 \r\n");
        assert_eq!(
            written(|tx| put_decimal_field(tx, "content-length", u64::MAX)),
            b"content-length: 18446744073709551615\r\n"
        );
    }

    /// Goal: I1. Method: every byte, in every place.
    #[test]
    fn what_could_split_a_head_is_dropped() {
        for byte in 0..=u8::MAX {
            let name = [b'x', byte];
            let drops = written(|tx| assert_eq!(put_field(tx, &name, b"v"), is_token(&name)));
            assert_eq!(drops.is_empty(), !is_token(&name));
            let value = [b'a', byte, b'b'];
            let is_good = byte == b'\t' || (byte >= 32 && byte != 127);
            let got = written(|tx| assert_eq!(put_field(tx, b"x", &value), is_good));
            assert_eq!(got.is_empty(), !is_good);
            let target = [b'/', byte];
            let is_good = byte > 32 && byte < 127;
            let got = written(|tx| assert_eq!(put_request_line(tx, "GET", &target), is_good));
            assert_eq!(got.is_empty(), !is_good);
        }
        assert!(written(|tx| assert!(!put_field(tx, b"", b"v"))).is_empty());
        assert!(written(|tx| assert!(!put_request_line(tx, "G T", b"/"))).is_empty());
    }

    /// Goal: I2, and the size is that of all parts together.
    #[test]
    fn a_chunk_is_the_sum_of_its_parts_and_never_empty() {
        assert_eq!(
            written(|tx| put_chunk(tx, &[b"ab", b"", b"c"])),
            b"3\r\nabc\r\n"
        );
        assert_eq!(
            written(|tx| put_chunk(tx, &[&[b'x'; 0x1a0]]))[..5],
            *b"1a0\r\n"
        );
        assert!(written(|tx| put_chunk(tx, &[])).is_empty());
        assert!(written(|tx| put_chunk(tx, &[b"", b""])).is_empty());
    }
}
