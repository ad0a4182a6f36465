//! HTTP/1.1 on the wire: heads, framing and chunks in, heads and chunks out.
//!
//! ```text
//!   bytes ─► RequestReader / ResponseReader ─► head (spans)  ─► Framing ─► Chunked (in place)
//!            line by line, each byte once      fields()         None | Length | Chunked | UntilClose
//!   TxBuf ◄─ put_status_line · put_field · END_OF_HEAD · put_chunk · LAST_CHUNK
//! ```
//!
//! Strict on purpose: whatever two recipients could read in two ways is refused here, in both
//! directions, so nothing ambiguous is ever passed on.
//!
//! Invariants
//! - I1 How the bytes of a message are cut never changes what is read or which error is given.
//! - I2 Every byte of a head is scanned once, however many reads it comes in; `httparse` runs
//!   once, when the head is complete.
//! - I3 Nothing here allocates, except that a [`TxBuf`](crate::base::bytes::TxBuf) may grow.
//!
//! Source: RFC 9110 (semantics), RFC 9112 (HTTP/1.1), RFC 3986 (targets).

mod chunked;
mod emit;
mod fields;
mod framing;
mod head;
mod lines;
mod request;
mod response;
mod target;

pub use chunked::{
    CHUNK_MAX, ChunkError, Chunked, Decoded, EXTENSIONS_MAX, SIZE_DIGITS_MAX, TRAILERS_MAX,
};
pub use emit::{
    END_OF_HEAD, LAST_CHUNK, put_chunk, put_decimal_field, put_field, put_own_field,
    put_request_line, put_status_line, reason,
};
pub use fields::{Fields, Known, is_hop_by_hop, may_be_wish};
pub use framing::Framing;
pub use head::{
    FIELDS_CEILING, HeadError, HeadLimits, LEADING_CRLF_MAX, METHOD_MAX, Method, Version,
};
pub use request::{RequestHead, RequestReader};
pub use response::{ResponseHead, ResponseReader};
pub use target::TargetFault;
