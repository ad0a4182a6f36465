//! What became of the reloads of a process.

use super::text::Text;

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
    pub fn write(&self, out: &mut Text, epoch: u64) {
        let name = "shardgate_reloads_total";
        let help = "Reloads of the configuration by how they ended.";
        out.head(name, "counter", help);
        for end in ReloadEnd::ALL {
            let labels = format!("result=\"{}\"", end.name());
            out.line(name, &labels, self.of(end));
        }
        let name = "shardgate_config_epoch";
        let help = "The configuration in force: 1 at the start.";
        out.head(name, "gauge", help);
        out.line(name, "", epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::text::Form;

    /// Goal: each end has its own count.
    #[test]
    fn each_end_is_counted_by_itself() {
        let mut reloads = Reloads::default();
        for end in ReloadEnd::ALL {
            reloads.count(end);
        }
        reloads.count(ReloadEnd::Bad);
        let mut text = Text::new(Form::Prometheus);
        reloads.write(&mut text, 7);
        let out = text.finish();
        assert!(out.contains("{result=\"done\"} 1\n"), "{out}");
        assert!(out.contains("{result=\"bad\"} 2\n"), "{out}");
        assert!(out.ends_with("shardgate_config_epoch 7\n"), "{out}");
    }
}
