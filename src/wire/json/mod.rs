//! JSON on the wire (RFC 8259).
