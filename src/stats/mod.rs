//! What is counted, and how it is shown.

#![forbid(unsafe_code)]
