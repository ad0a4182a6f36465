//! What a good config hardly means as it is: names that nobody reaches, fallbacks that change
//! nothing, attempts and times that do not fit together. Warnings only; each has its place.
//!
//! Told is only what is written: a default that never comes to bear is nobody's slip.

use super::fault::Findings;
use super::model::defaults::TRIES_MAX;
use super::model::{Config, Embedder, Mode, Model, Target};
use super::value::show_duration;
use super::walk::{Item, Section, entries};
use std::time::Duration;
use toml::de::DeValue;

/// Looks over `config`, which was read from `root` without faults.
pub(super) fn advise(root: &Section<'_, '_>, config: &Config, found: &mut Findings) {
    let named = |key| root.item(key).and_then(table).unwrap_or_default();
    for (item, model) in named("models").iter().zip(config.written()) {
        let section = inside(*item);
        fallbacks(config, (*item, model), section.as_ref(), found);
        times(root, config, (section.as_ref(), model), found);
        if !is_reached(config, model) {
            let text = format!(
                "no key may ask for {:?} and no model falls back to it; add it to a key's \
                 `models` or remove it",
                model.name
            );
            found.warn(item.key_at, text);
        }
    }
    for (at, item) in named("providers").iter().enumerate() {
        if !is_used(config, at, item.key) {
            let text = format!(
                "no model has a target at {:?} and no key may ask for \"{}/…\"; give it a target \
                 or remove it",
                item.key, item.key
            );
            found.warn(item.key_at, text);
        }
    }
    attempts(root, config, found);
}

/// The entries of a table, in the order of the file.
fn table<'a, 'i>(item: Item<'a, 'i>) -> Option<Vec<Item<'a, 'i>>> {
    match item.value {
        DeValue::Table(table) => Some(entries(table)),
        _ => None,
    }
}

/// A table whose keys were looked at already.
fn inside<'a, 'i>(item: Item<'a, 'i>) -> Option<Section<'a, 'i>> {
    match item.value {
        DeValue::Table(table) => Some(Section::new(table, item.key, item.key_at)),
        _ => None,
    }
}

/// Fallbacks that give no other answer, or that are never asked.
fn fallbacks(
    config: &Config,
    (item, model): (Item<'_, '_>, &Model),
    section: Option<&Section<'_, '_>>,
    found: &mut Findings,
) {
    let Some(written) = section.and_then(|section| section.item("fallbacks")) else {
        return;
    };
    if model.fallbacks.is_empty() {
        return;
    }
    let name = item.key;
    let elements: Vec<_> = match written.value {
        DeValue::Array(list) => list.iter().map(|element| element.span().start).collect(),
        _ => Vec::new(),
    };
    for (at, fallback) in elements.iter().zip(&model.fallbacks) {
        let other = config.models.get(fallback.model);
        let targets = other
            .map(|other| other.targets.as_slice())
            .unwrap_or_default();
        let is_own = |target: &Target| {
            let same = (target.provider, called(target, &fallback.forwarded));
            let mut own = model.targets.iter();
            own.any(|own| (own.provider, called(own, name)) == same)
        };
        if !targets.is_empty() && targets.iter().all(is_own) {
            let text = format!(
                "`fallbacks` names {:?}, whose targets are all among those of {name:?} itself; \
                 name a model with others",
                fallback.name
            );
            found.warn(*at, text);
        }
    }
    let (own, most) = (model.targets.len(), config.retry.attempts_max);
    if model.fallback_on.iter().next().is_none() {
        let at = section.and_then(|section| section.item("fallback_on"));
        let text =
            "`fallback_on` is empty, so `fallbacks` are never asked; list what leads to them";
        found.warn(at.unwrap_or(written).at, text.to_owned());
    } else if own >= most {
        let text = format!(
            "`fallbacks` are asked only when breakers are open, as the {own} targets of {name:?} \
             use up `retry.attempts_max` ({most}); write attempts_max > {own} or fewer targets"
        );
        found.warn(written.key_at, text);
    }
}

/// What a target is asked for, of a model by this name.
fn called<'t>(target: &'t Target, name: &'t str) -> &'t str {
    target.model.as_deref().unwrap_or(name)
}

/// Targets that one request can be sent to without naming others.
fn reach(config: &Config, model: &Model) -> usize {
    let of = |at: usize| config.models.get(at).map_or(0, |other| other.targets.len());
    let others = model.fallbacks.iter().map(|fallback| of(fallback.model));
    model.targets.len() + others.sum::<usize>()
}

/// Connecting that takes all the time there is.
fn times(
    root: &Section<'_, '_>,
    config: &Config,
    (section, model): (Option<&Section<'_, '_>>, &Model),
    found: &mut Findings,
) {
    let Some(at) = section.and_then(written).or_else(|| written(root)) else {
        return;
    };
    let attempts = config.retry.attempts_max.min(reach(config, model));
    let (connect, total) = (model.timeouts.connect, model.timeouts.total);
    let all = connect.saturating_mul(u32::try_from(attempts).unwrap_or(u32::MAX));
    if attempts > 1 && all > total && connect < total {
        let text = format!(
            "{attempts} attempts that take `connect` ({}) each are longer than `total` ({}), so \
             the last ones get no time; write connect <= {}",
            show_duration(connect),
            show_duration(total),
            show_duration(whole_ms(total / u32::try_from(attempts).unwrap_or(1)))
        );
        found.warn(at, text);
    }
}

/// Where the times of `place`, which is the file or a model, are written.
fn written(place: &Section<'_, '_>) -> Option<usize> {
    let times = inside(place.item("timeouts")?)?;
    let item = times.item("connect").or_else(|| times.item("total"));
    item.map(|item| item.at)
}

fn whole_ms(length: Duration) -> Duration {
    Duration::from_millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

/// More attempts than all targets together are tried.
fn attempts(root: &Section<'_, '_>, config: &Config, found: &mut Findings) {
    let section = root.item("retry").and_then(inside);
    let Some(item) = section.and_then(|section| section.item("attempts_max")) else {
        return;
    };
    let written = config.written();
    let targets: usize = written.iter().map(|model| model.targets.len()).sum();
    let most = config.retry.attempts_max;
    let (tries, how_often) = if config.retry.wait_max.is_zero() {
        (1, "once".to_owned())
    } else {
        (TRIES_MAX, format!("at most {TRIES_MAX} times"))
    };
    let all = targets.max(1) * tries;
    if !written.is_empty() && most > all {
        let text = format!(
            "`attempts_max` is {most}, but all models together have {targets} targets, and each \
             is tried {how_often}; write at most {all}"
        );
        found.warn(item.at, text);
    }
}

/// Whether somebody can get an answer of `model`.
fn is_reached(config: &Config, model: &Model) -> bool {
    let mut patterns = config.keys.iter().flat_map(|key| &key.models);
    let may_ask = |pattern: &String| match pattern.strip_suffix('*') {
        Some(prefix) => model.name.starts_with(prefix),
        None => *pattern == model.name,
    };
    let is_same = |index: usize| {
        let other = config.models.get(index);
        other.is_some_and(|other| other.name == model.name)
    };
    let mut fallbacks = config.models.iter().flat_map(|other| &other.fallbacks);
    config.keys.is_empty()
        || model.name == "*" // for names that are not in the file
        || patterns.any(may_ask)
        || fallbacks.any(|fallback| is_same(fallback.model))
}

/// Whether the provider at `index` can be asked.
fn is_used(config: &Config, index: usize, name: &str) -> bool {
    let prefix = format!("{name}/");
    let mut patterns = config.keys.iter().flat_map(|key| &key.models);
    let may_ask = |pattern: &String| match pattern.strip_suffix('*') {
        Some(start) => prefix.starts_with(start) || start.starts_with(&prefix),
        None => pattern.starts_with(&prefix),
    };
    let mut targets = config.written().iter().flat_map(|model| &model.targets);
    let mut fallbacks = config.models.iter().flat_map(|model| &model.fallbacks);
    let implicit = config.written().len() + index;
    config.keys.is_empty()
        || targets.any(|target| target.provider == index)
        || fallbacks.any(|fallback| fallback.model == implicit)
        || patterns.any(may_ask)
        || config.models.iter().any(|model| embeds(model, index))
}

/// Whether answers of `model` are found by the vectors of the provider at `index`.
fn embeds(model: &Model, index: usize) -> bool {
    let Embedder::Provider { provider, .. } = &model.cache.semantic.embedder else {
        return false;
    };
    *provider == index && model.cache.mode == Mode::Semantic
}

#[cfg(test)]
mod tests {
    use crate::config::{FixedSecrets, check};

    const HEAD: &str = "[providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n\
        [providers.q]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:2\"\n";

    fn warnings(text: &str) -> Vec<String> {
        let checked = check(&format!("{HEAD}{text}"), &FixedSecrets(&[("K", "sk-k")]));
        let warnings = checked.unwrap_or_else(|faults| panic!("{faults}")).warnings;
        warnings.0.iter().map(ToString::to_string).collect()
    }

    /// Goal: each warning is told at its place, in these words; what is near it and meant is not.
    /// Method: line 7 is the first line of a case.
    #[test]
    fn each_pointless_setting_is_told_at_its_place() {
        let two = "targets = [{ provider = \"p\", model = \"a\" }, { provider = \"q\" }]";
        let key = "[[keys]]\nname = \"k\"\nsecret = { env = \"K\" }\nmodels = ";
        let cases: [(String, &[&str]); 15] = [
            (
                format!("[models.m]\n{two}\nfallbacks = [\"p/a\", \"q/m\", \"q/n\"]"),
                &[
                    "9:14: `fallbacks` names \"p/a\", whose targets are all among those of \"m\" \
                     itself; name a model with others",
                    "9:21: `fallbacks` names \"q/m\", whose targets are all among those of \"m\" \
                     itself; name a model with others",
                ],
            ),
            (
                format!(
                    "[retry]\nattempts_max = 2\n[models.m]\n{two}\nfallbacks = [\"f\"]\n\
                     [models.f]\ntargets = [{{ provider = \"p\" }}]"
                ),
                &[
                    "11:1: `fallbacks` are asked only when breakers are open, as the 2 targets of \
                   \"m\" use up `retry.attempts_max` (2); write attempts_max > 2 or fewer targets",
                ],
            ),
            (
                format!("[models.m]\n{two}\nfallbacks = [\"q/b\"]\nfallback_on = []"),
                &[
                    "10:15: `fallback_on` is empty, so `fallbacks` are never asked; list what leads \
                   to them",
                ],
            ),
            (format!("[models.m]\n{two}\nfallback_on = []"), &[]),
            (
                format!("{key}[\"m\"]\n[models.m]\n{two}\n[models.lost]\n{two}"),
                &[
                    "13:9: no key may ask for \"lost\" and no model falls back to it; add it to a \
                   key's `models` or remove it",
                ],
            ),
            (
                format!(
                    "{key}[\"m\"]\n[models.m]\n{two}\nfallbacks = [\"b\"]\n[models.b]\n\
                     targets = [{{ provider = \"p\", model = \"c\" }}]"
                ),
                &[],
            ),
            (
                format!("{key}[\"m\"]\n[models.m]\ntargets = [{{ provider = \"p\" }}]"),
                &[
                    "4:12: no model has a target at \"q\" and no key may ask for \"q/…\"; give it a \
                   target or remove it",
                ],
            ),
            (
                format!(
                    "{key}[\"m\"]\n[models.m]\ntargets = [{{ provider = \"p\" }}]\n\
                     [cache]\nmode = \"semantic\"\n\
                     semantic = {{ embedder = {{ provider = \"q\", model = \"e\" }} }}"
                ),
                &[],
            ),
            (format!("{key}[\"q/*\", \"p/x\"]"), &[]),
            (format!("{key}[\"*\"]\n[models.m]\n{two}"), &[]),
            (
                format!("[retry]\nattempts_max = 3\nwait_max = \"0s\"\n[models.m]\n{two}"),
                &[
                    "8:16: `attempts_max` is 3, but all models together have 2 targets, and each is \
                   tried once; write at most 2",
                ],
            ),
            (
                format!("[retry]\nattempts_max = 7\n[models.m]\n{two}"),
                &[
                    "8:16: `attempts_max` is 7, but all models together have 2 targets, and each is \
                   tried at most 3 times; write at most 6",
                ],
            ),
            (format!("[retry]\nattempts_max = 6\n[models.m]\n{two}"), &[]),
            (
                format!(
                    "[timeouts]\nconnect = \"6s\"\ntotal = \"11s\"\nfirst_token = \"5s\"\n\
                    idle = \"5s\"\n[models.m]\n{two}\n[models.n]\n{two}\n\
                    [models.o]\n{two}\ntimeouts = {{ connect = \"5s\" }}"
                ),
                &[
                    "8:11: 2 attempts that take `connect` (6s) each are longer than `total` (11s), so \
                   the last ones get no time; write connect <= 5500ms",
                ],
            ),
            (
                format!(
                    "[models.m]\n{two}\ntimeouts = {{ first_token = \"1m\", total = \"1m\", \
                    idle = \"1s\" }}"
                ),
                &[
                    "9:28: `first_token` (1m) is not shorter than `total` (1m) and never comes to \
                   bear; write first_token < total",
                ],
            ),
        ];
        for (text, want) in cases {
            assert_eq!(warnings(&text), want, "{text}");
        }
    }
}
