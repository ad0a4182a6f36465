//! `/v1/messages/count_tokens`: what is to be counted, and the answer.
//!
//! Source: Anthropic API reference, "Count tokens in a Message": the body of a message
//! without `max_tokens`, `stream` and sampling.

use crate::base::bytes::TxBuf;
use crate::dialect::model::{BadAsk, Request};

/// Reads the body of a request to count.
///
/// # Errors
/// It breaks the dialect; the fault names the field.
pub fn read(body: &[u8]) -> Result<Request, BadAsk> {
    super::request::read_any(body)
}

/// Appends the body of the answer.
pub fn write(tx: &mut TxBuf, tokens: u64) {
    tx.put(b"{\"input_tokens\":");
    tx.put_decimal(tokens);
    tx.put(b"}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    /// Goal: a request to count needs no `max_tokens`, but all else that a message needs.
    #[test]
    fn a_request_to_count_needs_no_limit() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"Hi"}]}"#;
        assert_eq!(read(body).unwrap().max_tokens, None);
        assert_eq!(read(br#"{"model":"m"}"#).unwrap_err().field, "messages");
        let mut tx = TxBuf::new(&BufPool::new());
        write(&mut tx, 16);
        assert_eq!(tx.unsent(), br#"{"input_tokens":16}"#);
    }
}
