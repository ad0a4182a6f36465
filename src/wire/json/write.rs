//! Writes JSON strings into a send buffer.
//!
//! Source: RFC 8259, section 7: quote, backslash and control characters must be escaped.

use crate::base::bytes::TxBuf;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as a JSON string, quotes included.
pub fn put_string(tx: &mut TxBuf, text: &str) {
    tx.put(b"\"");
    put_inside(tx, text);
    tx.put(b"\"");
}

/// Appends `text` as the inside of a JSON string.
pub fn put_inside(tx: &mut TxBuf, text: &str) {
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&b| needs_escape(b)) {
        tx.put(rest.get(..at).unwrap_or_default());
        put_escape(tx, rest.get(at).copied().unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    tx.put(rest);
}

/// Whether `text` may stand between quotes as it is.
pub fn is_plain(text: &str) -> bool {
    !text.bytes().any(needs_escape)
}

fn needs_escape(b: u8) -> bool {
    b < 0x20 || b == b'"' || b == b'\\'
}

fn put_escape(tx: &mut TxBuf, b: u8) {
    match b {
        b'"' => tx.put(b"\\\""),
        b'\\' => tx.put(b"\\\\"),
        b'\n' => tx.put(b"\\n"),
        b'\r' => tx.put(b"\\r"),
        b'\t' => tx.put(b"\\t"),
        _ => {
            let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or(b'0');
            tx.put(&[b'\\', b'u', b'0', b'0', digit(b >> 4), digit(b & 15)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    /// Goal: what is written reads back as it was. Method: every ASCII character and some
    /// beyond, through `serde_json`.
    #[test]
    fn a_written_string_reads_back() {
        let text: String = (0..=0x7f_u8)
            .map(char::from)
            .chain("é€😀".chars())
            .collect();
        let mut tx = TxBuf::new(&BufPool::new());
        put_string(&mut tx, &text);
        let back: String = serde_json::from_slice(tx.unsent()).unwrap();
        assert_eq!(back, text);
        assert!(is_plain("gpt-4o é") && !is_plain("a\"") && !is_plain("\\") && !is_plain("\n"));
    }
}
