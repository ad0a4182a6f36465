//! What became of the reloads of a process, as Prometheus text.

use std::fmt::Write;

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadEnd {
    /// The new configuration is in force.
    Done,
    /// The file has faults, or cannot be read.
    Bad,
    /// The file is good but cannot come into force in this process, or not now.
    Refused,
}

impl ReloadEnd {
    const ALL: [Self; 3] = [Self::Done, Self::Bad, Self::Refused];

    /// Metric label and word of the status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Bad => "bad",
            Self::Refused => "refused",
        }
    }
}

/// Reloads by how they ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reloads([u64; 3]);

impl Reloads {
    /// Counts one.
    pub fn count(&mut self, end: ReloadEnd) {
        if let Some(count) = self.0.get_mut(end as usize) {
            *count += 1;
        }
    }

    /// How many ended so.
    pub fn of(&self, end: ReloadEnd) -> u64 {
        self.0.get(end as usize).copied().unwrap_or_default()
    }

    /// Writes them and the epoch in force.
    pub fn write(&self, out: &mut String, epoch: u64) {
        out.push_str(
            "# HELP shardgate_reloads_total Reloads of the configuration by how they ended.\n\
             # TYPE shardgate_reloads_total counter\n",
        );
        for end in ReloadEnd::ALL {
            let (name, count) = (end.name(), self.of(end));
            // Writing into a String cannot fail.
            _ = writeln!(out, "shardgate_reloads_total{{result=\"{name}\"}} {count}");
        }
        out.push_str(
            "# HELP shardgate_config_epoch The configuration in force: 1 at the start.\n\
             # TYPE shardgate_config_epoch gauge\n",
        );
        _ = writeln!(out, "shardgate_config_epoch {epoch}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: each end has its own count.
    #[test]
    fn each_end_is_counted_by_itself() {
        let mut reloads = Reloads::default();
        for end in ReloadEnd::ALL {
            reloads.count(end);
        }
        reloads.count(ReloadEnd::Bad);
        let mut out = String::new();
        reloads.write(&mut out, 7);
        assert!(out.contains("{result=\"done\"} 1\n"), "{out}");
        assert!(out.contains("{result=\"bad\"} 2\n"), "{out}");
        assert!(out.ends_with("shardgate_config_epoch 7\n"), "{out}");
    }
}
