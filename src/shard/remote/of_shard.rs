//! The shared tier of a shard, through the configurations that come into force.

use super::{Remote, Setup};
use crate::base::bufpool::BufPool;
use crate::config::Config;
use crate::config::remote::Remote as Settings;
use crate::host::Host;
use crate::shard::Shard;
use crate::shard::snapshot::RemoteNeeds;
use std::rc::Rc;

/// What `config` says of the shared tier; `None` also where nothing is cached.
pub fn wanted(config: &Config) -> Option<&Settings> {
    let is_on = config.models.iter().any(|model| model.cache.mode.is_on());
    config.cache.remote.as_ref().filter(|_| is_on)
}

/// What a tier of these settings is made from; `old` is the one before, whose addresses are good
/// where its url is the same. `place`: the store of buffers, which shard it is for, a seed.
pub fn setup<H: Host>(
    settings: &Settings,
    needs: &RemoteNeeds,
    old: Option<&Remote<H>>,
    (buffers, shard, seed): (BufPool, usize, u64),
) -> Setup {
    let is_same_name = |old: &&Remote<H>| old.0.common.settings.url == settings.url;
    let known = old.filter(is_same_name).map(Remote::addresses);
    let addresses = match known {
        Some(known) if needs.addresses.is_empty() => known,
        _ => needs.addresses.clone(),
    };
    Setup {
        settings: settings.clone(),
        addresses,
        tls: needs.tls.clone(),
        buffers,
        shard,
        seed,
    }
}

impl<H: Host> Shard<H> {
    /// The shared tier, as an exchange that begins now uses it.
    pub fn remote(&self) -> Option<Rc<Remote<H>>> {
        self.remote.borrow().clone()
    }

    /// Makes the shared tier what the snapshot in force says, where that is not what the one
    /// `before` said: a new one connects in the background, an old one ends with its last user.
    pub(in crate::shard) fn renew_remote(&self, before: Option<&Config>) {
        let snapshot = self.snapshot();
        let settings = wanted(&snapshot.config);
        if before.is_some_and(|before| wanted(before) == settings) {
            return;
        }
        let old = self.remote.take();
        if let Some(old) = &old {
            let counts = old.status().total.counts;
            self.counters.borrow_mut().remote.counts.add(&counts); // they go on
        }
        let (Some(settings), Some(needs)) = (settings, &snapshot.remote) else {
            return;
        };
        let place = (self.buffers.clone(), self.index, self.random());
        let setup = setup(settings, needs, old.as_deref(), place);
        // Refused is only what the configuration refuses, too.
        *self.remote.borrow_mut() = Remote::start(&self.host, setup).ok().map(Rc::new);
    }
}
