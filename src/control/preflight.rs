//! Whether the process may have what its configuration needs, before it listens.
//!
//! ```text
//!   config ──► Needs ──┐
//!                      ├─ judge ─► a start that cannot be, or what will not fit
//!   limits ──► Has ────┘           each with the line that helps
//! ```

use super::serve::raise_descriptors;
use crate::config::Config;
use crate::host::launch::{EXECUTOR_MEMLOCK, allowed_cpus};
use crate::sys::ring;
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

/// Descriptors that are neither client nor provider connections: log, bells, admin plane.
const SPARE: u64 = 128;

/// Descriptors of a shard or of control: rings, bells, channels (24 counted), listeners.
const EACH: u64 = 32;

/// What a configuration needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needs {
    streams: u64,
    connections: u64,
    shards: u64,
}

/// What this process may have.
#[derive(Clone, Debug)]
struct Has {
    descriptors: u64,
    /// Bytes; `None`: as much as it likes.
    memlock: Option<u64>,
    /// Why there is no `io_uring`, and `kernel.io_uring_disabled`.
    no_ring: Option<(Errno, String)>,
}

/// Raises the soft limit of descriptors, and compares what is needed with what there is.
/// Gives what will not fit.
///
/// # Errors
/// What makes a start impossible.
pub fn look(config: &Config) -> Result<Vec<String>, String> {
    let shards = config.server.shards;
    let shards = shards.unwrap_or_else(|| allowed_cpus().map_or(1, |cpus| cpus.len().max(1)));
    let needs = Needs {
        streams: config.limits.streams_max as u64,
        connections: config.limits.connections_max as u64,
        shards: shards as u64,
    };
    let may_lock =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    let memlock = getrlimit(Resource::Memlock).current.filter(|_| !may_lock);
    let no_ring = ring::allowed().err().map(|error| {
        let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
        let setting = setting.as_deref().map_or("absent", str::trim).to_owned();
        (
            Errno::from_io_error(&error).unwrap_or(Errno::NOSYS),
            setting,
        )
    });
    let descriptors = raise_descriptors();
    judge(
        needs,
        &Has {
            descriptors,
            memlock,
            no_ring,
        },
    )
}

fn judge(needs: Needs, has: &Has) -> Result<Vec<String>, String> {
    let Needs {
        streams,
        connections,
        shards,
    } = needs;
    let spare = SPARE + EACH * (shards + 1);
    let wanted = connections
        .max(streams)
        .saturating_add(streams)
        .saturating_add(spare);
    if has.descriptors < spare + 2 {
        return Err(format!(
            "{shards} shards need {spare} descriptors to start, this process may open {}; \
             raise it (LimitNOFILE={wanted}) or lower server.shards",
            has.descriptors
        ));
    }
    if let Some((error, setting)) = &has.no_ring {
        return Err(match *error {
            Errno::NOSYS => {
                "this kernel has no io_uring, or a sandbox hides it; the gateway needs \
                 it (in a unit: SystemCallFilter=@system-service)"
                    .to_owned()
            }
            Errno::PERM | Errno::ACCESS => format!(
                "io_uring is not allowed (kernel.io_uring_disabled is {setting}); set \
                 kernel.io_uring_disabled=0, or let the sandbox allow it (in a unit: \
                 SystemCallFilter=@system-service)"
            ),
            error => format!(
                "io_uring cannot be had: {error} (kernel.io_uring_disabled is {setting}); raise \
                 LimitMEMLOCK={} and LimitNOFILE={wanted}",
                EXECUTOR_MEMLOCK * (shards + 1)
            ),
        });
    }
    let locked = EXECUTOR_MEMLOCK * (shards + 1);
    if let Some(memlock) = has.memlock.filter(|&memlock| memlock < locked) {
        return Err(format!(
            "{shards} shards and control lock {locked} bytes of memory, this process may lock \
             {memlock}; raise it (LimitMEMLOCK={locked}) or lower server.shards"
        ));
    }
    if has.descriptors >= wanted {
        return Ok(Vec::new());
    }
    let fit = has.descriptors - spare;
    Ok(vec![format!(
        "limits.streams_max = {streams} and limits.connections_max = {connections} need {wanted} \
         descriptors, this process may open {}: at most {} streams fit; raise it \
         (LimitNOFILE={wanted}) or lower them",
        has.descriptors,
        fit / 2
    )])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs {
        streams: 1000,
        connections: 3000,
        shards: 4,
    };

    fn has(descriptors: u64) -> Has {
        Has {
            descriptors,
            memlock: None,
            no_ring: None,
        }
    }

    /// Goal: what fits is not spoken of, one descriptor less is, with the line to add.
    #[test]
    fn descriptors_that_are_missing_are_told_with_the_line_to_add() {
        assert_eq!(judge(NEEDS, &has(4288)), Ok(vec![]));
        let said = judge(NEEDS, &has(4287)).unwrap().join("");
        assert!(
            said.contains("LimitNOFILE=4288") && said.contains("at most 1999 streams"),
            "{said}"
        );
        let said = judge(NEEDS, &has(200)).unwrap_err();
        assert!(said.contains("LimitNOFILE=4288"), "{said}");
    }

    /// Goal: the same for locked memory.
    #[test]
    fn memory_that_may_not_be_locked_is_told_with_the_line_to_add() {
        let locked = 5 * EXECUTOR_MEMLOCK;
        let enough = Has {
            memlock: Some(locked),
            ..has(9000)
        };
        assert_eq!(judge(NEEDS, &enough), Ok(vec![]));
        let few = Has {
            memlock: Some(locked - 1),
            ..has(9000)
        };
        let said = judge(NEEDS, &few).unwrap_err();
        assert!(said.contains(&format!("LimitMEMLOCK={locked}")), "{said}");
    }

    /// Goal: each way of having no ring names what to change.
    #[test]
    fn a_missing_ring_is_told_with_what_to_change() {
        for (error, want) in [
            (Errno::PERM, "kernel.io_uring_disabled=0"),
            (Errno::NOSYS, "SystemCallFilter=@system-service"),
            (Errno::NOMEM, "LimitMEMLOCK="),
        ] {
            let without = Has {
                no_ring: Some((error, "2".to_owned())),
                ..has(9000)
            };
            let said = judge(NEEDS, &without).unwrap_err();
            assert!(said.contains(want), "{said}");
        }
    }
}
