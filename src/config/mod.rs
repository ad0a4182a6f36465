//! What an operator writes: the file's shape, its checks, its defaults.

#![forbid(unsafe_code)]

mod abilities;
mod advice;
pub mod aws;
mod balance;
pub mod cache;
pub mod check;
pub mod diff;
pub mod fault;
mod flavour;
mod hedge;
mod keys;
pub mod model;
pub mod print;
pub mod reasons;
pub mod remote;
mod resilience;
pub mod secret;
pub mod tls;
mod upstreams;
mod value;
mod walk;

pub use abilities::Overrides;
pub use check::{Checked, FixedSecrets, Secrets, check};
pub use fault::{Fault, Faults};
pub use model::Config;
pub use reasons::{Reason, Reasons};

#[cfg(test)]
mod tests;
