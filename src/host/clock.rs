//! The one place that asks the kernel for the time.

use crate::base::time::Instant;
use rustix::time::{ClockId, clock_gettime};

fn nanos(clock: ClockId) -> u64 {
    let at = clock_gettime(clock);
    let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
    let rest = u64::try_from(at.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The monotonic time, nanoseconds since boot.
pub fn now() -> Instant {
    Instant::from_nanos(nanos(ClockId::Monotonic))
}

/// Nanoseconds since 1970-01-01 UTC.
pub fn wall_nanos() -> u64 {
    nanos(ClockId::Realtime)
}

/// CPU time that the calling thread has used, in nanoseconds.
pub fn thread_cpu_nanos() -> u64 {
    nanos(ClockId::ThreadCPUTime)
}
