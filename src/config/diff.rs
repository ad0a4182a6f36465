//! What a new configuration keeps of the one in force.
//!
//! ```text
//!   old ─┐                      ┌─► what only a restart can change     → refused
//!        ├─ compared by name ───┼─► providers at the same endpoint     → connections kept
//!   new ─┘                      └─► models with the same targets       → whose turn it is kept
//!
//!   names ──Roster──► numbers that never change meaning while the process lives: counters,
//!                     and what shards know of targets
//! ```
//!
//! Invariants
//! - D1 A name has one number for as long as the process lives, also when it goes and comes
//!   back, and no two names share one. A target whose provider moved has a new number, and the
//!   same name.
//! - D2 A connection is kept only where it would be opened again to the same place in the same
//!   way. What is sent over it (key, path, version) may change.

use super::model::{Config, Key, Model, Provider, Server, Target};
use crate::stats::view::TargetId;
use ahash::AHashMap;

/// The keys of `[server]` that differ between `old` and `new` and cannot be changed while the
/// process runs.
pub fn needs_restart(old: &Server, new: &Server) -> Vec<&'static str> {
    let pairs = [
        ("server.listen", old.listen == new.listen),
        ("server.admin", old.admin == new.admin),
        ("server.shards", old.shards == new.shards),
        ("server.sockets", old.sockets == new.sockets),
        ("server.handover", old.handover == new.handover),
    ];
    let changed = pairs.into_iter().filter(|(_, is_same)| !is_same);
    changed.map(|(key, _)| key).collect()
}

/// What a reload keeps, by index into the new configuration: the index in the old one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Providers whose connections may be used on (D2).
    pub providers: Vec<Option<usize>>,
    /// Models whose turn is where it was.
    pub models: Vec<Option<usize>>,
}

impl Kept {
    /// What `new` keeps of `old`.
    pub fn between(old: &Config, new: &Config) -> Self {
        let provider = |new: &Provider| {
            let found = old.providers.iter().position(|old| old.name == new.name)?;
            let is_same = is_same_endpoint(old.providers.get(found)?, new);
            is_same.then_some(found)
        };
        let model = |model: &Model| {
            let found = old.models.iter().position(|old| old.name == model.name)?;
            let is_same = has_same_turns((old, old.models.get(found)?), (new, model));
            is_same.then_some(found)
        };
        Self {
            providers: new.providers.iter().map(provider).collect(),
            models: new.models.iter().map(model).collect(),
        }
    }
}

/// D2. Everything that decides how a connection is opened belongs here.
fn is_same_endpoint(old: &Provider, new: &Provider) -> bool {
    let (before, after) = (&old.base_url, &new.base_url);
    (before.scheme, &before.host, before.port) == (after.scheme, &after.host, after.port)
        && old.tls == new.tls
}

/// The models of `old` whose stored answers `new` must not give any longer, by name: those that
/// are gone, and those that are answered by somebody else now. Their weights, keys and times may
/// change.
pub fn outdated<'o>(old: &'o Config, new: &Config) -> Vec<&'o str> {
    let answers = |config: &'_ Config, model: &Model| -> Vec<_> {
        let by = model.targets.iter().map(|target| {
            let provider = config.provider(target);
            let whom = provider.map(|p| (p.dialect, p.flavour, p.base_url.clone()));
            (whom, target.model.clone())
        });
        by.collect()
    };
    let is_outdated = |before: &&Model| {
        let after = new.models.iter().find(|model| model.name == before.name);
        after.is_none_or(|after| answers(old, before) != answers(new, after))
    };
    let models = old.models.iter().filter(is_outdated);
    models.map(|model| model.name.as_str()).collect()
}

/// Whether two models take their targets in turn in the same way.
fn has_same_turns((old, a): (&Config, &Model), (new, b): (&Config, &Model)) -> bool {
    let name = |config: &Config, at: usize| config.providers.get(at).map(|p| p.name.clone());
    a.strategy == b.strategy
        && a.targets.len() == b.targets.len()
        && a.targets.iter().zip(&b.targets).all(|(a, b)| {
            (a.weight, a.tier, &a.model) == (b.weight, b.tier, &b.model)
                && name(old, a.provider) == name(new, b.provider)
        })
}

/// Providers whose key has another value.
fn rekeyed(old: &Config, new: &Config) -> usize {
    let is_rekeyed = |new: &&Provider| {
        let old = old.providers.iter().find(|old| old.name == new.name);
        old.is_some_and(|old| {
            let key = |p: &'_ Provider| p.api_key.as_ref().map(|key| key.reveal().to_owned());
            let signer = |p: &'_ Provider| {
                let values = p.aws.as_ref().map(|aws| aws.values());
                values.map(|values| values.map(|value| value.map(str::to_owned)))
            };
            key(old) != key(new) || signer(old) != signer(new)
        })
    };
    new.providers.iter().filter(is_rekeyed).count()
}

/// What changed, in a few words for the log.
pub fn summary(old: &Config, new: &Config) -> String {
    let mut parts = Vec::new();
    let mut compare = |what: &str, old: Vec<(&str, String)>, new: Vec<(&str, String)>| {
        let old: AHashMap<_, _> = old.into_iter().collect();
        let new: AHashMap<_, _> = new.into_iter().collect();
        let added = new.keys().filter(|name| !old.contains_key(*name)).count();
        let removed = old.keys().filter(|name| !new.contains_key(*name)).count();
        let is_other =
            |(name, text): &(&&str, &String)| old.get(**name).is_some_and(|before| before != *text);
        let changed = new.iter().filter(is_other).count();
        for (count, how) in [(added, "added"), (changed, "changed"), (removed, "removed")] {
            if count > 0 {
                let plural = if count == 1 { "" } else { "s" };
                parts.push(format!("{count} {what}{plural} {how}"));
            }
        }
    };
    // `Debug` shows no secret; a rotated one counts as a change through what follows.
    let providers = |config: &'_ Config| -> Vec<(String, String)> {
        let all = config.providers.iter();
        all.map(|p| (p.name.clone(), format!("{p:?}"))).collect()
    };
    let (before, after) = (providers(old), providers(new));
    compare("provider", borrowed(&before), borrowed(&after));
    let models = |config: &'_ Config| -> Vec<(String, String)> {
        let all = config.written().iter();
        let named = |model: &Model| {
            let targets = model.targets.iter().map(|target| {
                let provider = config.provider(target).map(|p| p.name.as_str());
                let name = (provider, target.model.as_deref());
                (name, target.weight, target.tier, target.price)
            });
            let targets: Vec<_> = targets.collect();
            let fallbacks: Vec<_> = model.fallbacks.iter().map(|f| &f.name).collect();
            format!(
                "{:?} {targets:?} {fallbacks:?} {:?} {:?} {:?} {:?}",
                model.strategy, model.timeouts, model.keepalive, model.hedge, model.cache
            )
        };
        all.map(|m| (m.name.clone(), named(m))).collect()
    };
    let (before, after) = (models(old), models(new));
    compare("model", borrowed(&before), borrowed(&after));
    let keys = |config: &'_ Config| -> Vec<(String, String)> {
        let all = config.keys.iter();
        let text = |k: &Key| {
            let aws = k.aws.as_ref();
            let aws = aws.map(|a| (&a.access_key_id, a.secret_access_key.reveal()));
            format!("{:?} {aws:?} {:?}", k.digest, k.models) // compared, and shown to nobody
        };
        all.map(|k| (k.name.clone(), text(k))).collect()
    };
    let (before, after) = (keys(old), keys(new));
    compare("client key", borrowed(&before), borrowed(&after));
    let tables = [
        ("limits", old.limits == new.limits),
        ("timeouts", old.timeouts == new.timeouts),
        ("retry", old.retry == new.retry),
        ("breaker", old.breaker == new.breaker),
        ("gossip", old.gossip == new.gossip),
        ("cache", old.cache == new.cache),
    ];
    let changed = tables.iter().filter(|(_, is_same)| !is_same);
    parts.extend(changed.map(|(table, _)| format!("{table} changed")));
    parts.extend(renewed(rekeyed(old, new)));
    if parts.is_empty() {
        parts.push("nothing changed".to_owned());
    }
    parts.join(", ")
}

/// The words for so many renewed keys.
fn renewed(keys: usize) -> Option<String> {
    let plural = if keys == 1 { "" } else { "s" };
    (keys > 0).then(|| format!("{keys} provider key{plural} renewed"))
}

fn borrowed(all: &[(String, String)]) -> Vec<(&str, String)> {
    let pairs = all.iter();
    pairs
        .map(|(name, text)| (name.as_str(), text.clone()))
        .collect()
}

/// Numbers of names, in the order in which they were first seen.
#[derive(Clone, Debug, Default)]
struct Numbers {
    names: Vec<String>,
    by_name: AHashMap<String, usize>,
}

impl Numbers {
    fn of(&mut self, name: &str) -> usize {
        if let Some(&number) = self.by_name.get(name) {
            return number;
        }
        let number = self.names.len();
        self.names.push(name.to_owned());
        self.by_name.insert(name.to_owned(), number);
        number
    }
}

/// Every model, provider and target that the process has known, numbered (D1).
#[derive(Clone, Debug, Default)]
pub struct Roster {
    models: Numbers,
    providers: Numbers,
    targets: Vec<(String, TargetId)>,
    by_id: AHashMap<TargetId, usize>,
}

impl Roster {
    /// Enters the names of `config`; gives their numbers.
    pub fn enter(&mut self, config: &Config) -> Places {
        let models = config.models.iter().map(|m| self.models.of(&m.name));
        let providers = config.providers.iter().map(|p| self.providers.of(&p.name));
        let (models, providers) = (models.collect(), providers.collect());
        let hosts = config.providers.iter().map(|provider| {
            let (scheme, authority) = (provider.base_url.scheme, provider.base_url.authority());
            let name = format!("{}://{authority}", scheme.name());
            let id = TargetId::of(&name, "");
            self.number(name, id)
        });
        let hosts: Vec<_> = hosts.collect();
        let hosts_of = config.models.iter().map(|model| {
            let of = model.targets.iter().map(|target| target.provider);
            of.map(|provider| hosts.get(provider).map(|(number, _)| *number))
                .collect()
        });
        let hosts_of = hosts_of.collect();
        let targets = config.models.iter().enumerate().map(|(index, model)| {
            let targets = model.targets.iter();
            targets
                .map(|target| self.target(config, (model, index), target))
                .collect()
        });
        Places {
            targets: targets.collect(),
            hosts_of,
            hosts,
            models,
            providers,
        }
    }

    fn target(
        &mut self,
        config: &Config,
        model: (&Model, usize),
        target: &Target,
    ) -> (usize, TargetId) {
        let provider = config.provider(target);
        let upstream = config.upstream_name(model, target);
        let name = format!("{}/{upstream}", provider.map_or("", |p| p.name.as_str()));
        let url = provider.map(|p| p.base_url.to_string());
        let id = TargetId::of(&name, &url.unwrap_or_default());
        self.number(name, id)
    }

    fn number(&mut self, name: String, id: TargetId) -> (usize, TargetId) {
        let number = *self.by_id.entry(id).or_insert_with(|| {
            self.targets.push((name, id));
            self.targets.len() - 1
        });
        (number, id)
    }

    /// Names of models by number.
    pub fn models(&self) -> &[String] {
        &self.models.names
    }

    /// Names of providers by number.
    pub fn providers(&self) -> &[String] {
        &self.providers.names
    }

    /// Names (`provider/model`, `provider/*`) and ids of targets, and of the hosts behind them
    /// (`https://host`), by number.
    pub fn targets(&self) -> &[(String, TargetId)] {
        &self.targets
    }
}

/// The numbers of one configuration's names, by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    models: Vec<usize>,
    providers: Vec<usize>,
    /// By model, then by place among its targets.
    targets: Vec<Vec<(usize, TargetId)>>,
    /// By model, then by place: the number of the target's host.
    hosts_of: Vec<Vec<Option<usize>>>,
    /// By provider; one that several have comes several times.
    hosts: Vec<(usize, TargetId)>,
}

impl Places {
    /// The number of the target at `place` of the model at `model`.
    pub fn target(&self, model: usize, place: usize) -> Option<usize> {
        Some(self.targets.get(model)?.get(place)?.0)
    }

    /// The number of the host behind the target at `place` of the model at `model`: what is
    /// known of connecting to it goes for all targets there.
    pub fn host(&self, model: usize, place: usize) -> Option<usize> {
        *self.hosts_of.get(model)?.get(place)?
    }

    /// All targets and hosts: numbers and ids. One that several models or providers have comes
    /// several times.
    pub fn targets(&self) -> impl Iterator<Item = (usize, TargetId)> {
        let hosts = self.hosts.iter().copied();
        self.targets.iter().flatten().copied().chain(hosts)
    }

    /// The number of the model at `index`.
    pub fn model(&self, index: usize) -> usize {
        self.models.get(index).copied().unwrap_or(index)
    }

    /// The number of the provider at `index`.
    pub fn provider(&self, index: usize) -> usize {
        self.providers.get(index).copied().unwrap_or(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FixedSecrets, check};
    use std::fmt::Write as _;

    /// A config of these providers (name, URL) and models (name, targets as TOML).
    fn config(providers: &[(&str, &str)], models: &[(&str, &str)], key: &str) -> Config {
        let mut text = String::new();
        for (name, url) in providers {
            writeln!(text, "[providers.{name}]\ndialect = \"openai\"").unwrap();
            writeln!(text, "base_url = \"{url}\"\napi_key = {{ env = \"K\" }}").unwrap();
        }
        for (name, targets) in models {
            writeln!(text, "[models.{name}]\ntargets = [{targets}]").unwrap();
        }
        check(&text, &FixedSecrets(&[("K", key)])).unwrap().config
    }

    const P: &str = "{ provider = \"p\" }";
    const Q: &str = "{ provider = \"q\" }";

    /// Goal: D2. Method: one provider moves in the file, one changes its path and key, one its
    /// port, one is new.
    #[test]
    fn connections_are_kept_where_the_endpoint_is_the_same() {
        let old = config(
            &[
                ("p", "http://a:1/v1"),
                ("q", "http://b:1/v1"),
                ("r", "http://c:1"),
            ],
            &[("m", P), ("n", Q)],
            "old",
        );
        let new = config(
            &[
                ("s", "http://c:1"),
                ("q", "http://b:1/v2"),
                ("p", "http://a:2/v1"),
            ],
            &[("n", Q), ("m", &format!("{P}, {Q}"))],
            "new",
        );
        let kept = Kept::between(&old, &new);
        assert_eq!(kept.providers, [None, Some(1), None]);
        // the written ones, then the implicit ones of s, q and p
        assert_eq!(kept.models, [Some(1), None, None, Some(3), Some(2)]);
        let all: Vec<_> = (0..3).map(Some).collect();
        assert_eq!(Kept::between(&old, &old).providers, all);
    }

    /// Goal: answers of a model outlive a reload only where the same targets would give them.
    /// Method: one model has other weights, one another target, one is gone, one's provider moved,
    /// one is new.
    #[test]
    fn answers_are_outdated_where_somebody_else_gives_them() {
        let heavy = "{ provider = \"p\", weight = 7 }";
        let old = config(
            &[("p", "http://a:1"), ("q", "http://b:1")],
            &[("m", P), ("n", P), ("l", P), ("k", Q)],
            "old",
        );
        let new = config(
            &[("p", "http://a:1"), ("q", "http://b:2")],
            &[
                ("m", heavy),
                ("n", &format!("{P}, {Q}")),
                ("k", Q),
                ("j", P),
            ],
            "new",
        );
        assert_eq!(outdated(&old, &new), ["n", "l", "k", "q/*"]);
        assert!(outdated(&old, &old).is_empty());
    }

    /// Goal: D1. Method: names go, come back in another order, and come anew.
    #[test]
    fn a_name_keeps_its_number() {
        let mut roster = Roster::default();
        let one = config(
            &[("p", "http://a:1"), ("q", "http://b:1")],
            &[("m", P)],
            "k",
        );
        let two = config(
            &[("q", "http://b:1"), ("x", "http://d:1")],
            &[("n", Q)],
            "k",
        );
        let first = roster.enter(&one);
        assert_eq!(first.providers, [0, 1]);
        assert_eq!(first.models, [0, 1, 2]);
        let second = roster.enter(&two);
        assert_eq!(second.providers, [1, 2]);
        assert_eq!(second.models, [3, 2, 4]);
        assert_eq!(roster.enter(&one), first);
        assert_eq!(roster.models(), ["m", "p/*", "q/*", "n", "x/*"]);
        assert_eq!(roster.providers(), ["p", "q", "x"]);
    }

    /// Goal: D1 for targets. Method: a provider moves and comes back; models share a target,
    /// and forward any name.
    #[test]
    fn a_target_keeps_its_number_and_a_moved_one_gets_another() {
        let mut roster = Roster::default();
        let here = config(&[("p", "http://a:1")], &[("m", P), ("n", P), ("l", P)], "k");
        let there = config(&[("p", "http://b:1")], &[("m", P)], "k");
        let first = roster.enter(&here);
        let numbers = |places: &Places| places.targets().map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(numbers(&first), [1, 2, 3, 4, 0]);
        assert_eq!((first.target(1, 0), first.target(1, 1)), (Some(2), None));
        assert_eq!(
            (first.host(1, 0), first.host(3, 0), first.host(1, 1)),
            (Some(0), Some(0), None)
        );
        assert_eq!(numbers(&roster.enter(&there)), [6, 7, 5]);
        assert_eq!(roster.enter(&here), first);
        let names: Vec<_> = roster.targets().iter().map(|(name, _)| name).collect();
        let want = [
            "http://a:1",
            "p/m",
            "p/n",
            "p/l",
            "p/*",
            "http://b:1",
            "p/m",
            "p/*",
        ];
        assert_eq!(names, want);
    }

    /// Goal: what only a restart can change is named.
    #[test]
    fn what_needs_a_restart_is_named() {
        let text = |server: &str| {
            let text = format!(
                "[server]\n{server}\n[providers.p]\ndialect = \"openai\"\nbase_url = \"http://a\"\n"
            );
            check(&text, &FixedSecrets(&[])).unwrap().config.server
        };
        let old = text("");
        assert!(needs_restart(&old, &old).is_empty());
        let new = text(
            "listen = [\"127.0.0.1:1\"]\nadmin = \"off\"\nshards = 3\nsockets = \"poll\"\nhandover = \"/run/h\"",
        );
        assert_eq!(
            needs_restart(&old, &new),
            [
                "server.listen",
                "server.admin",
                "server.shards",
                "server.sockets",
                "server.handover"
            ]
        );
    }

    /// Goal: credentials of AWS that were renewed count as a changed key. Method: one of the
    /// three values changes, then only that of a client's key.
    #[test]
    fn renewed_credentials_of_aws_are_counted() {
        let config = |id, key, token, client| {
            let text = "[[keys]]\nname = \"a\"\n\
                 aws = { access_key_id = \"AKID\", secret_access_key = { env = \"CLIENT\" } }\n\
                 [providers.p]\ndialect = \"bedrock\"\nbase_url = \"http://127.0.0.1:1\"\n\
                 aws = { region = \"r\", access_key_id = { env = \"ID\" }, \
                 secret_access_key = { env = \"KEY\" }, session_token = { env = \"TOKEN\" } }\n";
            let secrets = [
                ("ID", id),
                ("KEY", key),
                ("TOKEN", token),
                ("CLIENT", client),
            ];
            check(text, &FixedSecrets(&secrets)).unwrap().config
        };
        let old = config("i", "k", "t", "c");
        for new in [
            config("j", "k", "t", "c"),
            config("i", "l", "t", "c"),
            config("i", "k", "u", "c"),
        ] {
            assert_eq!(summary(&old, &new), "1 provider key renewed");
        }
        let new = config("i", "k", "t", "d");
        assert_eq!(summary(&old, &new), "1 client key changed");
    }

    /// Goal: the log says what changed, and nothing of a secret.
    #[test]
    fn a_summary_counts_what_changed() {
        let old = config(
            &[("p", "http://a:1"), ("q", "http://b:1")],
            &[("m", P)],
            "old-key",
        );
        let new = config(
            &[("p", "http://a:2"), ("s", "http://b:1")],
            &[("m", P)],
            "new-key",
        );
        assert_eq!(
            summary(&old, &new),
            "1 provider added, 1 provider changed, 1 provider removed, 1 provider key renewed"
        );
        assert_eq!(summary(&old, &old), "nothing changed");
    }
}
