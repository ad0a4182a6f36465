//! Splits a byte stream into server-sent events without copying them.
