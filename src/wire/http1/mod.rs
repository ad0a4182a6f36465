//! HTTP/1.1 on the wire (RFC 9110, RFC 9112): heads, framing, chunks.
