//! The frames of a provider's events: [`crate::dialect::events`].

pub use crate::dialect::events::{Cutter, Event, Wire, event};
