//! A config as TOML text with every default filled in, secrets as references.
//!
//! Invariants
//! - P1 Checking the text gives the same config (with the same [`super::Secrets`]).
//! - P2 The text shows where secrets come from, never what they are.

use super::model::{
    Caching, Config, Embedder, Model, Provider, Scheme, SecretRef, Temperature, Threshold, Timeouts,
};
use super::remote::Remote;
use super::value::{show_duration, show_size};
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::time::Duration;

/// The whole config, to be written out.
#[derive(Clone, Copy, Debug)]
pub struct Printed<'c>(pub &'c Config);

impl Display for Printed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(config) = self;
        server(f, config)?;
        limits(f, config)?;
        timeouts(f, config)?;
        retry(f, config)?;
        breaker(f, config)?;
        cache(f, config)?;
        for key in &config.keys {
            writeln!(f, "\n[[keys]]\nname = {}", quoted(&key.name))?;
            if let Some(source) = &key.source {
                writeln!(f, "secret = {}", reference(source))?;
            }
            if let Some(aws) = &key.aws {
                let (id, secret) = (&aws.access_key_id, aws.secret_access_key.source());
                let (id, secret) = (quoted(id), reference(secret));
                writeln!(
                    f,
                    "aws = {{ access_key_id = {id}, secret_access_key = {secret} }}"
                )?;
            }
            writeln!(f, "models = {}", list(&key.models))?;
        }
        for one in &config.providers {
            provider(f, one)?;
        }
        for one in config.written() {
            model(f, config, one)?;
        }
        Ok(())
    }
}

fn retry(f: &mut Formatter<'_>, config: &Config) -> fmt::Result {
    let retry = config.retry;
    let budget = retry.budget_percent;
    let budget = budget.map_or_else(|| "off".to_owned(), |percent| format!("{percent}%"));
    writeln!(f, "\n[retry]\nattempts_max = {}", retry.attempts_max)?;
    writeln!(f, "budget = {}", quoted(&budget))?;
    writeln!(f, "wait_max = \"{}\"", show_duration(retry.wait_max))?;
    writeln!(
        f,
        "backoff = {{ first = \"{}\", max = \"{}\" }}",
        show_duration(retry.backoff_first),
        show_duration(retry.backoff_max)
    )
}

fn server(f: &mut Formatter<'_>, config: &Config) -> fmt::Result {
    let server = &config.server;
    let listen: Vec<_> = server.listen.iter().map(ToString::to_string).collect();
    let admin = server
        .admin
        .map_or_else(|| "off".to_owned(), |at| at.to_string());
    writeln!(f, "[server]\nlisten = {}", list(&listen))?;
    writeln!(f, "admin = {}", quoted(&admin))?;
    match server.shards {
        Some(shards) => writeln!(f, "shards = {shards}"),
        None => writeln!(f, "shards = \"auto\""),
    }?;
    writeln!(f, "sockets = {}", quoted(server.sockets.name()))?;
    let handover = server.handover.as_deref().map(Path::to_string_lossy);
    let handover = quoted(handover.as_deref().unwrap_or("off"));
    writeln!(f, "handover = {handover}")?;
    let Some(tls) = &server.tls else {
        return Ok(());
    };
    let (cert, key) = (quoted(&tls.cert), quoted(&tls.key));
    write!(f, "tls = {{ cert = {cert}, key = {key}")?;
    if let Some(file) = &tls.client_ca {
        write!(f, ", client_ca = {}", quoted(file))?;
    }
    writeln!(f, " }}")
}

fn limits(f: &mut Formatter<'_>, config: &Config) -> fmt::Result {
    let l = config.limits;
    writeln!(f, "\n[limits]")?;
    for (key, bytes) in [
        ("head_max", l.head_max),
        ("target_max", l.target_max),
        ("body_max", l.body_max),
        ("bodies_max", l.bodies_max),
        ("body_rate_min", l.body_rate_min),
    ] {
        writeln!(f, "{key} = \"{}\"", show_size(bytes))?;
    }
    for (key, count) in [
        ("fields_max", l.fields_max),
        ("streams_max", l.streams_max),
        ("queue_max", l.queue_max),
        ("connections_max", l.connections_max),
    ] {
        writeln!(f, "{key} = {count}")?;
    }
    writeln!(f, "queue_wait = \"{}\"", show_duration(l.queue_wait))
}

fn timeouts(f: &mut Formatter<'_>, config: &Config) -> fmt::Result {
    let t = config.timeouts;
    writeln!(f, "\n[timeouts]")?;
    model_timeouts(f, &t)?;
    for (key, length) in [
        ("head", t.head),
        ("body", t.body),
        ("keep_alive", t.keep_alive),
        ("stall", t.stall),
        ("drain", t.drain),
    ] {
        writeln!(f, "{key} = \"{}\"", show_duration(length))?;
    }
    Ok(())
}

fn breaker(f: &mut Formatter<'_>, config: &Config) -> fmt::Result {
    let b = config.breaker;
    let mode = if b.is_on { "on" } else { "off" };
    let percent = b.error_percent;
    writeln!(f, "\n[breaker]\nmode = {}", quoted(mode))?;
    writeln!(f, "error_rate = {}.{:02}", percent / 100, percent % 100)?;
    writeln!(f, "requests_min = {}", b.requests_min)?;
    writeln!(f, "consecutive = {}", b.consecutive)?;
    for (key, length) in [
        ("window", b.window),
        ("open", b.open),
        ("open_max", b.open_max),
        ("ramp", b.ramp),
    ] {
        writeln!(f, "{key} = \"{}\"", show_duration(length))?;
    }
    let tick = show_duration(config.gossip.tick);
    writeln!(f, "\n[gossip]\ntick = \"{tick}\"")?;
    writeln!(f, "\n[stream]\nkeepalive = {}", keepalive(config.keepalive))
}

fn cache(f: &mut Formatter<'_>, config: &Config) -> fmt::Result {
    let cache = &config.cache;
    let memory = show_size(cache.memory_max);
    writeln!(f, "\n[cache]\nmemory_max = \"{memory}\"")?;
    caching(f, config, &cache.of_models, "cache")?;
    cache.remote.as_ref().map_or(Ok(()), |it| remote(f, it))
}

fn remote(f: &mut Formatter<'_>, remote: &Remote) -> fmt::Result {
    let url = quoted(&remote.url.to_string());
    writeln!(f, "\n[cache.remote]\nurl = {url}")?;
    if let Some(user) = &remote.user {
        writeln!(f, "user = {}", quoted(user))?;
    }
    if let Some(password) = &remote.password {
        writeln!(f, "password = {}", reference(password.source()))?;
    }
    writeln!(f, "deadline = \"{}\"", show_duration(remote.deadline))?;
    writeln!(f, "prefix = {}", quoted(&remote.prefix))?;
    match &remote.ca {
        Some(ca) => writeln!(f, "tls = {{ ca = {} }}", quoted(&ca.file)),
        None => Ok(()),
    }
}

/// The rest of the section `title`, and the one within.
fn caching(f: &mut Formatter<'_>, config: &Config, c: &Caching, title: &str) -> fmt::Result {
    let degrees = |limit: Temperature| f64::from(limit.0) / 1000.0;
    writeln!(f, "mode = {}", quoted(c.mode.name()))?;
    writeln!(f, "ttl = \"{}\"", show_duration(c.ttl))?;
    writeln!(f, "scope = {}", quoted(c.scope.name()))?;
    writeln!(f, "replay = {}", quoted(c.replay.name()))?;
    writeln!(f, "temperature_max = {:?}", degrees(c.temperature_max))?;
    writeln!(f, "tool_calls = {}", c.tool_calls)?;
    writeln!(f, "entry_max = \"{}\"", show_size(c.entry_max))?;
    writeln!(f, "coalesce = {}", c.coalesce)?;
    let s = &c.semantic;
    writeln!(f, "\n[{title}.semantic]")?;
    match s.threshold {
        Threshold::Auto => writeln!(f, "threshold = \"auto\""),
        Threshold::Strict => writeln!(f, "threshold = \"strict\""),
        Threshold::Balanced => writeln!(f, "threshold = \"balanced\""),
        Threshold::At(sure) => writeln!(f, "threshold = {:?}", f64::from(sure) / 10_000.0),
    }?;
    writeln!(f, "shadow = {}", s.shadow)?;
    match s.audit_percent {
        0 => writeln!(f, "audit = \"off\""),
        percent => writeln!(f, "audit = \"{percent}%\""),
    }?;
    match &s.embedder {
        Embedder::Builtin => writeln!(f, "embedder = \"builtin\""),
        Embedder::Provider {
            provider,
            model,
            timeout,
        } => {
            let provider = config.providers.get(*provider).map_or("", |p| &p.name);
            writeln!(
                f,
                "embedder = {{ provider = {}, model = {}, timeout = \"{}\" }}",
                quoted(provider),
                quoted(model),
                show_duration(*timeout)
            )
        }
    }?;
    writeln!(f, "temperature_max = {:?}", degrees(s.temperature_max))
}

fn keepalive(every: Option<Duration>) -> String {
    quoted(&every.map_or_else(|| "off".to_owned(), show_duration))
}

fn model_timeouts(f: &mut Formatter<'_>, t: &Timeouts) -> fmt::Result {
    for (key, length) in [
        ("connect", t.connect),
        ("first_token", t.first_token),
        ("idle", t.idle),
        ("total", t.total),
    ] {
        writeln!(f, "{key} = \"{}\"", show_duration(length))?;
    }
    Ok(())
}

fn provider(f: &mut Formatter<'_>, provider: &Provider) -> fmt::Result {
    writeln!(f, "\n[providers.{}]", quoted(&provider.name))?;
    writeln!(f, "dialect = {}", quoted(provider.dialect.name()))?;
    if let Some(flavour) = provider.flavour {
        writeln!(f, "flavour = {}", quoted(flavour.name()))?;
    }
    writeln!(f, "base_url = {}", quoted(&provider.base_url.to_string()))?;
    if let Some(secret) = &provider.api_key {
        writeln!(f, "api_key = {}", reference(secret.source()))?;
    }
    if let Some(aws) = &provider.aws {
        write!(f, "aws = {{ region = {}", quoted(&aws.region))?;
        let token = aws.session_token.as_ref();
        for (key, secret) in [
            ("access_key_id", Some(&aws.access_key_id)),
            ("secret_access_key", Some(&aws.secret_access_key)),
            ("session_token", token),
        ] {
            if let Some(secret) = secret {
                write!(f, ", {key} = {}", reference(secret.source()))?;
            }
        }
        writeln!(f, " }}")?;
    }
    if let Some(version) = &provider.api_version {
        writeln!(f, "api_version = {}", quoted(version))?;
    }
    let pool = provider.pool;
    writeln!(
        f,
        "pool = {{ idle_max = {}, idle = \"{}\", age_max = \"{}\" }}",
        pool.idle_max,
        show_duration(pool.idle),
        show_duration(pool.age_max)
    )?;
    if provider.base_url.scheme == Scheme::Http {
        return Ok(());
    }
    let tls = &provider.tls;
    write!(f, "tls = {{ handshakes_max = {}", tls.handshakes_max)?;
    if let Some(ca) = &tls.ca {
        write!(f, ", ca = {}", quoted(&ca.file))?;
    }
    writeln!(f, " }}")
}

fn model(f: &mut Formatter<'_>, config: &Config, model: &Model) -> fmt::Result {
    let name = quoted(&model.name);
    writeln!(f, "\n[models.{name}]")?;
    writeln!(f, "strategy = {}", quoted(model.strategy.name()))?;
    writeln!(f, "targets = [")?;
    for target in &model.targets {
        let provider = config.provider(target).map_or("", |p| &p.name);
        write!(f, "  {{ provider = {}", quoted(provider))?;
        if let Some(upstream) = &target.model {
            write!(f, ", model = {}", quoted(upstream))?;
        }
        write!(f, ", weight = {}, tier = {}", target.weight, target.tier)?;
        if let Some(price) = target.price {
            write!(f, ", price = {price}")?;
        }
        if let Some(abilities) = &target.abilities {
            write!(f, ", abilities = {abilities}")?;
        }
        writeln!(f, " }},")?;
    }
    writeln!(f, "]")?;
    let fallbacks: Vec<_> = model.fallbacks.iter().map(|b| b.name.clone()).collect();
    writeln!(f, "fallbacks = {}", list(&fallbacks))?;
    let reasons = model.fallback_on.iter().map(|one| one.name().to_owned());
    writeln!(f, "fallback_on = {}", list(&reasons.collect::<Vec<_>>()))?;
    let every = keepalive(model.keepalive);
    writeln!(f, "stream = {{ keepalive = {every} }}")?;
    match model.hedge {
        None => writeln!(f, "hedge = \"off\""),
        Some(hedge) => writeln!(
            f,
            "hedge = {{ after = {}, extra_max = \"{}%\" }}",
            quoted(&hedge.after.to_string()),
            hedge.extra_percent
        ),
    }?;
    let continuation = if model.continues { "prefill" } else { "off" };
    writeln!(f, "continuation = {}", quoted(continuation))?;
    writeln!(f, "\n[models.{name}.timeouts]")?;
    model_timeouts(f, &model.timeouts)?;
    writeln!(f, "\n[models.{name}.cache]")?;
    caching(f, config, &model.cache, &format!("models.{name}.cache"))
}

fn reference(source: &SecretRef) -> String {
    let (key, value) = match source {
        SecretRef::Env(name) => ("env", name),
        SecretRef::File(path) => ("file", path),
        SecretRef::Credential(name) => ("credential", name),
        SecretRef::Sha256(hex) => ("sha256", hex),
    };
    format!("{{ {key} = {} }}", quoted(value))
}

fn list(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A basic TOML string on one line (TOML 1.1.0, "String").
fn quoted(text: &str) -> String {
    let escaped = text.chars().map(|c| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}
