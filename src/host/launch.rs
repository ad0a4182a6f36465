//! Starts pinned executors: one thread, one CPU, one glommio executor each.
//!
//! Registered buffers are kept small: sockets never use them, and `RLIMIT_MEMLOCK` is what
//! stops an unprivileged process first.

use glommio::{LocalExecutorBuilder, Placement};
use std::future::Future;
use std::io;
use std::thread::JoinHandle;

/// Locked memory that an executor may need, in bytes.
pub const EXECUTOR_MEMLOCK: u64 = 512 << 10;

/// Registered I/O memory of an executor in bytes (glommio's own minimum is 64 KiB).
const IO_MEMORY: usize = 64 << 10;

/// Entries of the submission rings.
const RING_DEPTH: usize = 512;

/// The CPUs that this process may run on, in ascending order.
///
/// # Errors
/// What the kernel says to `sched_getaffinity`.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = rustix::thread::sched_getaffinity(None)?;
    Ok((0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|&cpu| set.is_set(cpu))
        .collect())
}

/// A running executor; [`Running::join`] waits for its end.
#[derive(Debug)]
pub struct Running {
    thread: JoinHandle<Result<(), String>>,
}

impl Running {
    /// Whether it has ended, in whatever way.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until the executor's main future has ended.
    ///
    /// # Errors
    /// Why it could not start, or that it panicked.
    pub fn join(self) -> Result<(), String> {
        self.thread
            .join()
            .map_err(|_| "the executor panicked".to_owned())?
    }
}

/// Runs the future that `main` makes on a new thread, pinned to `cpu` if one is given.
///
/// # Errors
/// When the thread cannot be started. What the executor itself lacks (`io_uring` not
/// allowed, memlock too small) is told by [`Running::join`].
pub fn start<F>(
    name: &str,
    cpu: Option<usize>,
    main: impl FnOnce() -> F + Send + 'static,
) -> io::Result<Running>
where
    F: Future<Output = ()> + 'static,
{
    let executor_name = name.to_owned();
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
            let executor = LocalExecutorBuilder::new(placement)
                .name(&executor_name)
                .io_memory(IO_MEMORY)
                .ring_depth(RING_DEPTH)
                .make()
                .map_err(|error| {
                    format!(
                        "cannot start the executor {executor_name}: {error}; io_uring must be \
                     allowed (kernel.io_uring_disabled=0) and LimitMEMLOCK at least 512 KiB a shard"
                    )
                })?;
            executor.run(async move { main().await });
            Ok(())
        })?;
    Ok(Running { thread })
}
