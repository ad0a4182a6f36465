//! `[providers]` and `[models]`: whom to ask, and under which names.
//!
//! The names of both tables are gathered first ([`Written::names`]), so that a reference to a
//! provider or a model that has faults of its own is no second fault.

use super::abilities;
use super::aws;
use super::balance;
use super::cache::{self, Cache, Whom};
use super::check::{MODEL_TIMEOUTS, Secrets, TIMEOUT_MIN, read_timeouts};
use super::fault::Findings;
use super::flavour;
use super::hedge;
use super::keys::provider_secret;
use super::model::defaults::{
    AZURE_API_VERSION, FALLBACK_ON, FALLBACKS_MAX, MODELS_MAX, POOL, PROVIDERS_MAX, STRATEGY,
    TARGETS_MAX, WEIGHT, WEIGHT_MAX,
};
use super::model::{
    BaseUrl, Dialect, Fallback, Model, Names, Pool, Provider, Scheme, Strategy, Target, Timeouts,
};
use super::reasons;
use super::resilience;
use super::tls;
use super::value::{self, choice, count, duration, odd, string, wrong};
use super::walk::{Item, Known, Section, entries, nearest};
use rustls::pki_types::ServerName;
use std::time::Duration;
use toml::de::DeValue;

const PROVIDER: Known = Known {
    now: &[
        "dialect",
        "flavour",
        "base_url",
        "api_key",
        "aws",
        "api_version",
        "pool",
        "tls",
    ],
    later: &[],
};
const POOL_KEYS: Known = Known {
    now: &["idle_max", "idle", "age_max"],
    later: &[],
};
const MODEL: Known = Known {
    now: &[
        "strategy",
        "targets",
        "fallbacks",
        "fallback_on",
        "timeouts",
        "stream",
        "hedge",
        "continuation",
        "cache",
    ],
    later: &[],
};
const TARGET: Known = Known {
    now: &["provider", "model", "weight", "tier", "price", "abilities"],
    later: &[],
};
const DIALECTS: &[(&str, Dialect)] = &[
    ("openai", Dialect::OpenAi),
    ("azure", Dialect::Azure),
    ("responses", Dialect::Responses),
    ("anthropic", Dialect::Anthropic),
    ("gemini", Dialect::Gemini),
    ("cohere", Dialect::Cohere),
    ("bedrock", Dialect::Bedrock),
];
const DIALECT_RIGHT: &str = "write dialect = \"openai\", \"azure\", \"responses\", \"anthropic\", \
                             \"gemini\", \"cohere\" or \"bedrock\"";
/// What a model has unless it says otherwise: timeouts, [`Model::keepalive`] and
/// [`Model::cache`].
pub(super) type Defaults<'c> = (Timeouts, Option<Duration>, &'c Cache);

/// The two tables as they are written, in the order of the file.
#[derive(Debug)]
pub(super) struct Written<'a, 'i> {
    providers: Vec<Item<'a, 'i>>,
    models: Vec<Item<'a, 'i>>,
}

impl<'a, 'i> Written<'a, 'i> {
    /// Finds both tables and checks the names in them.
    pub(super) fn open(root: &Section<'a, 'i>, found: &mut Findings) -> Self {
        let right = "write [providers.NAME] with dialect and base_url";
        let providers = root
            .need(found, "providers", right)
            .and_then(|item| Some((item, item.table(found, "[providers.NAME]")?)));
        let providers = providers.map_or_else(Vec::new, |(item, table)| {
            let providers = entries(table);
            if providers.is_empty() {
                found.missing(item.key_at, format!("[providers] is empty; {right}"));
            }
            providers
        });
        let models = root
            .item("models")
            .and_then(|item| item.table(found, "[models.\"NAME\"]"))
            .map_or_else(Vec::new, entries);
        for (table, items, max) in [
            ("[providers]", &providers, PROVIDERS_MAX),
            ("[models]", &models, MODELS_MAX),
        ] {
            if let Some(item) = items.get(max) {
                let text = format!("{table} has {} entries; write at most {max}", items.len());
                found.fault(item.key_at, text);
            }
        }
        for item in &providers {
            if let Err(wrong) = value::name(item.key) {
                let text = format!(
                    "the provider's name {:?} does not fit; {}",
                    item.key, wrong.right
                );
                found.fault(item.key_at, text);
            }
        }
        for item in models.iter().filter(|item| item.key != "*") {
            if let Err(wrong) = value::model_name(item.key) {
                let text = format!(
                    "the model's name {:?} does not fit; {}",
                    item.key, wrong.right
                );
                found.fault(item.key_at, text);
            }
        }
        Self { providers, models }
    }

    /// Where names lead.
    pub(super) fn names(&self) -> Names {
        let index = |items: &[Item<'_, '_>]| {
            let named = items.iter().enumerate().filter(|(_, item)| item.key != "*");
            named.map(|(at, item)| (item.key.to_owned(), at)).collect()
        };
        Names {
            models: index(&self.models),
            providers: index(&self.providers),
            catch_all: self.models.iter().position(|item| item.key == "*"),
            listed: self.models.len(),
        }
    }

    /// The providers; `None` when one is wrong.
    pub(super) fn providers(
        &self,
        found: &mut Findings,
        secrets: &dyn Secrets,
    ) -> Option<Vec<Provider>> {
        let read = self
            .providers
            .iter()
            .map(|item| provider(*item, found, secrets));
        read.collect::<Vec<_>>().into_iter().collect()
    }

    /// The models, then one implicit entry per provider; `None` when one is wrong.
    pub(super) fn models(
        &self,
        found: &mut Findings,
        whom: Whom<'_>,
        (timeouts, keepalive, cache): Defaults<'_>,
    ) -> Option<Vec<Model>> {
        let read = self.models.iter().enumerate();
        let read: Vec<_> = read
            .map(|(index, item)| model(*item, index, found, whom, (timeouts, keepalive, cache)))
            .collect();
        let implicit = self.providers.iter().enumerate().map(|(provider, item)| {
            Some(Model {
                name: format!("{}/*", item.key),
                strategy: STRATEGY,
                targets: vec![Target {
                    provider,
                    model: None,
                    weight: WEIGHT,
                    tier: 1,
                    price: None,
                    abilities: None,
                }],
                fallbacks: Vec::new(),
                fallback_on: FALLBACK_ON,
                timeouts,
                keepalive,
                hedge: None,
                continues: false,
                cache: cache.of_models.clone(),
            })
        });
        read.into_iter().chain(implicit).collect()
    }
}

fn provider(item: Item<'_, '_>, found: &mut Findings, secrets: &dyn Secrets) -> Option<Provider> {
    let title = format!("[providers.{}]", item.key);
    let section = item.section(found, &title, PROVIDER)?;
    let dialect = section
        .need(found, "dialect", DIALECT_RIGHT)
        .and_then(|item| item.read(found, |v| choice(v, DIALECTS, &[])));
    let flavour = section
        .item("flavour")
        .and_then(|item| flavour::flavour(item, dialect, found));
    let base_url = section
        .need(
            found,
            "base_url",
            "write base_url = \"http://127.0.0.1:8000/v1\"",
        )
        .and_then(|item| Some((item, item.read(found, value::base_url)?)));
    let key_item = section.item("api_key");
    let api_key = key_item.map(|item| provider_secret(item, found, secrets));
    if let Some((item, url)) = &base_url {
        check_scheme(*item, url, key_item.is_some(), found);
        flavour::check_path(flavour, *item, url, found);
    }
    let aws_item = section.item("aws");
    let aws = aws_item.map(|item| aws::signer(item, &section, (dialect, flavour), found, secrets));
    let api_version = match (section.item("api_version"), dialect) {
        (Some(item), Some(dialect)) if dialect != Dialect::Azure => {
            let text = "`api_version` is Azure's; remove it or write dialect = \"azure\"";
            found.fault(item.key_at, text.to_owned());
            None
        }
        (Some(item), _) => item.read(found, api_version),
        (None, Some(Dialect::Azure)) => Some(AZURE_API_VERSION.to_owned()),
        (None, _) => None,
    };
    let pool = pool(&section, found, &title);
    let tls = tls::provider(&section, found, &title, secrets);
    if let (Some(item), Some((_, url))) = (section.item("tls"), &base_url)
        && url.scheme == Scheme::Http
    {
        let text = "`tls` means nothing with an http:// base_url; remove it or write https://";
        found.fault(item.key_at, text.to_owned());
    }
    let api_key = match api_key {
        Some(wrong_or_right) => Some(wrong_or_right?),
        None => None,
    };
    let aws = match aws {
        Some(wrong_or_right) => Some(wrong_or_right?),
        None => None,
    };
    Some(Provider {
        name: item.key.to_owned(),
        dialect: dialect?,
        flavour,
        base_url: base_url?.1,
        api_key,
        aws,
        api_version,
        pool,
        tls: tls?,
    })
}

fn check_scheme(item: Item<'_, '_>, url: &BaseUrl, has_key: bool, found: &mut Findings) {
    if url.scheme == Scheme::Https && ServerName::try_from(url.host.as_str()).is_err() {
        let text = "`base_url` names a host that no certificate can be for; correct it";
        found.fault(item.at, text.to_owned());
    }
    if url.scheme == Scheme::Http && has_key && !value::is_loopback(&url.host) {
        let text = format!(
            "`api_key` goes to {} in clear text; make sure that the way there is private",
            url.host
        );
        found.warn(item.at, text);
    }
}

fn api_version(value: &DeValue<'_>) -> Result<String, value::Wrong> {
    let version = string(value)?;
    let fits = (1..=64).contains(&version.len())
        && version
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
    if fits {
        Ok(version)
    } else {
        wrong(format!("write a version such as \"{AZURE_API_VERSION}\""))
    }
}

fn pool(provider: &Section<'_, '_>, found: &mut Findings, title: &str) -> Pool {
    let mut pool = POOL;
    let title = format!("{}.pool]", title.trim_end_matches(']'));
    let Some(section) = provider
        .item("pool")
        .and_then(|item| item.section(found, &title, POOL_KEYS))
    else {
        return pool;
    };
    if let Some(idle_max) = section.read(found, "idle_max", |v| count(v, 0..=10_000)) {
        pool.idle_max = idle_max;
    }
    for (key, slot) in [("idle", &mut pool.idle), ("age_max", &mut pool.age_max)] {
        if let Some(length) = section.read(found, key, |v| duration(v, TIMEOUT_MIN)) {
            *slot = length;
        }
    }
    pool
}

fn model(
    item: Item<'_, '_>,
    index: usize,
    found: &mut Findings,
    whom: Whom<'_>,
    (timeouts, keepalive, cache): Defaults<'_>,
) -> Option<Model> {
    let names = whom.names;
    let title = format!("[models.{:?}]", item.key);
    let section = item.section(found, &title, MODEL)?;
    let strategy = balance::strategy(&section, found).unwrap_or(STRATEGY);
    let right = "write targets = [{ provider = \"NAME\" }]";
    let targets = section
        .need(found, "targets", right)
        .and_then(|list| targets((list, item.key), strategy, found, names, right));
    let fallbacks = match section.item("fallbacks") {
        Some(item) => fallbacks(item, index, found, names),
        None => Some(Vec::new()),
    };
    let others = [
        targets.as_ref().map(Vec::len),
        fallbacks.as_ref().map(Vec::len),
    ];
    let continues = resilience::continuation(&section, found, others);
    let fallback_on = reasons::fallback_on(&section, found);
    let inner = |name| format!("{}.{name}]", title.trim_end_matches(']'));
    let keepalive = resilience::keepalive(&section, found, &inner("stream"), keepalive);
    let count = targets.as_ref().map_or(2, Vec::len) + fallbacks.as_ref().map_or(0, Vec::len);
    let others = count.saturating_sub(1);
    let hedge = hedge::hedge(&section, found, &inner("hedge"), others);
    let cache = cache::of_model(&section, found, &inner("cache"), cache, whom);
    let title = inner("timeouts");
    let timeouts = section
        .item("timeouts")
        .and_then(|item| item.section(found, &title, MODEL_TIMEOUTS))
        .map_or(timeouts, |section| read_timeouts(&section, found, timeouts));
    Some(Model {
        name: item.key.to_owned(),
        strategy,
        targets: targets?,
        fallbacks: fallbacks?,
        fallback_on,
        timeouts,
        keepalive,
        hedge,
        continues,
        cache,
    })
}

fn targets(
    (item, model): (Item<'_, '_>, &str),
    strategy: Strategy,
    found: &mut Findings,
    names: &Names,
    right: &str,
) -> Option<Vec<Target>> {
    if matches!(item.value, DeValue::Array(list) if list.is_empty()) {
        found.fault(item.at, format!("`targets` is empty; {right}"));
    }
    let mut targets: Vec<Option<Target>> = Vec::new();
    let mut tiers = Vec::new();
    for element in item.list(found, TARGETS_MAX, right) {
        let (target, tier) = target(element, strategy, found, names).unzip();
        tiers.push(tier.flatten());
        let same = |other: &&Option<Target>| {
            let (Some(a), Some(b)) = (&target, other) else {
                return false;
            };
            a.provider == b.provider && a.model == b.model
        };
        if targets.iter().find(same).is_some() {
            let text = "`targets` has this target twice; write it once, with a weight";
            found.fault(element.at, text.to_owned());
        }
        targets.push(target);
    }
    let mut targets: Vec<Target> = targets.into_iter().collect::<Option<_>>()?;
    balance::settle((item, model), strategy, &mut targets, &tiers, found);
    Some(targets)
}

/// A target, and the tier that is written for it.
fn target(
    item: Item<'_, '_>,
    strategy: Strategy,
    found: &mut Findings,
    names: &Names,
) -> Option<(Target, Option<u32>)> {
    let section = item.section(found, "a target", TARGET)?;
    let right = "write provider = \"NAME\"";
    let provider = section.need(found, "provider", right).and_then(|item| {
        let name = item.read(found, string)?;
        let index = names.providers.get(&name).copied();
        if index.is_none() {
            let near = nearest(&name, names.providers.keys().map(String::as_str));
            let right = match near {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("add [providers.{name}]"),
            };
            found.missing(item.at, format!("no provider is named {name:?}; {right}"));
        }
        index
    });
    let model = section.item("model").map(|item| {
        item.read(found, |v| {
            string(v).and_then(|s| value::model_name(&s).map(|()| s))
        })
    });
    let tier = balance::tier(&section, found);
    let price = balance::price(&section, found);
    let weight = section.item("weight").and_then(|item| {
        let is_by_tier = strategy == Strategy::Priority && tier.is_some();
        if strategy != Strategy::Weighted && !is_by_tier {
            let text = format!(
                "`weight` means nothing with strategy {:?}; remove it or write \"weighted\"",
                strategy.name()
            );
            found.warn(item.key_at, text);
        }
        item.read(found, |v| count(v, 1..=WEIGHT_MAX as usize))
    });
    let abilities = section.item("abilities");
    let abilities = abilities.map(|item| Box::new(abilities::abilities(item, found)));
    let model = match model {
        Some(wrong_or_right) => Some(wrong_or_right?),
        None => None,
    };
    let target = Target {
        provider: provider?,
        model,
        weight: weight.and_then(|w| u32::try_from(w).ok()).unwrap_or(WEIGHT),
        tier: tier.unwrap_or(1),
        price,
        abilities,
    };
    Some((target, tier))
}

fn fallbacks(
    item: Item<'_, '_>,
    own: usize,
    found: &mut Findings,
    names: &Names,
) -> Option<Vec<Fallback>> {
    let right = "write a list of other models' names, such as [\"llama-70b\"]";
    let mut fallbacks: Vec<Option<Fallback>> = Vec::new();
    for element in item.list(found, FALLBACKS_MAX, right) {
        let fallback = element
            .read(found, string)
            .and_then(|name| fallback(element, &name, own, found, names));
        let twice = |f: &Fallback| fallbacks.iter().flatten().any(|other| other.name == f.name);
        if let Some(name) = fallback.as_ref().filter(|f| twice(f)).map(|f| &f.name) {
            let text = format!("`fallbacks` names {name:?} twice; write it once");
            found.fault(element.at, text);
        }
        fallbacks.push(fallback);
    }
    fallbacks.into_iter().collect()
}

fn fallback(
    item: Item<'_, '_>,
    name: &str,
    own: usize,
    found: &mut Findings,
    names: &Names,
) -> Option<Fallback> {
    if value::model_name(name).is_err() {
        return item.read(found, |_| {
            wrong("write a model's name or \"provider/model\"")
        });
    }
    match names.find_named(name) {
        Some((model, _)) if model == own => item.read(found, |_| {
            odd(
                format!("names {name:?}, the model itself"),
                "name another model",
            )
        }),
        Some((model, forwarded)) => Some(Fallback {
            model,
            name: name.to_owned(),
            forwarded: forwarded.to_owned(),
        }),
        None => {
            let right = match nearest(name, names.models.keys().map(String::as_str)) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("add [models.{name:?}] or write \"provider/model\""),
            };
            let text = format!("`fallbacks` names {name:?}, which is no model; {right}");
            found.missing(item.at, text);
            None
        }
    }
}
