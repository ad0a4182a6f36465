//! One CPU: its listener, pools, deadlines and counters.

#![forbid(unsafe_code)]

pub mod deadline;
pub mod pool;
