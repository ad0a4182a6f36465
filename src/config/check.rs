//! From text to a [`Config`], or to every fault of the text at once.
//!
//! ```text
//!   text ──toml──► spanned tree ──sections──► Config     no fault found
//!                       │             │
//!                       └── broken ───┴────► Faults     sorted by place
//! ```
//!
//! Pure: what a secret's reference leads to is asked from [`Secrets`], so neither the
//! environment nor a file is read here.
//!
//! Invariants
//! - K1 A fault never ends the reading: a wrong value is recorded, its default goes on.
//! - K2 No message shows a secret or what stands where a secret may stand.
//! - K3 What this version does not do is refused, never ignored.
//!
//! Source: TOML 1.1.0; the sections are described in the README.

use super::advice::advise;
use super::cache;
use super::fault::{Faults, Findings};
use super::hedge;
use super::keys;
use super::model::defaults::{self, GIB, KIB, MIB};
use super::model::{Config, Limits, Server, Sockets, Timeouts};
use super::remote;
use super::resilience;
use super::tls;
use super::upstreams;
use super::value::{
    self, Wrong, choice, count, duration, kind_of, odd, show_duration, size, wrong,
};
use super::walk::{Item, Known, Section};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use toml::de::{DeTable, DeValue};

const ROOT: Known = Known {
    now: &[
        "server",
        "limits",
        "timeouts",
        "keys",
        "providers",
        "models",
        "retry",
        "breaker",
        "gossip",
        "stream",
        "cache",
    ],
    later: &[],
};
const SERVER: Known = Known {
    now: &["listen", "admin", "shards", "sockets", "handover", "tls"],
    later: &[],
};
const LIMITS: Known = Known {
    now: &[
        "head_max",
        "target_max",
        "fields_max",
        "body_max",
        "bodies_max",
        "body_rate_min",
        "streams_max",
        "queue_max",
        "queue_wait",
        "connections_max",
    ],
    later: &[],
};
const TIMEOUTS: Known = Known {
    now: &[
        "connect",
        "first_token",
        "idle",
        "total",
        "head",
        "body",
        "keep_alive",
        "stall",
        "drain",
    ],
    later: &[],
};
/// The timeouts that a model may have of its own.
pub(super) const MODEL_TIMEOUTS: Known = Known {
    now: &["connect", "first_token", "idle", "total"],
    later: &[],
};

/// The shortest timeout that may be written.
pub(super) const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// Where references to secrets lead.
pub trait Secrets {
    /// The value of an environment variable; `None` when it is not set.
    ///
    /// # Errors
    /// Why it cannot be used, e.g. it is not UTF-8.
    fn env(&self, name: &str) -> Result<Option<String>, String>;

    /// The text of a file.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn file(&self, path: &str) -> Result<String, String>;

    /// The text of a file of certificates, which may be longer.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn pem(&self, path: &str) -> Result<String, String> {
        self.file(path)
    }

    /// The text of a credential: a file of `$CREDENTIALS_DIRECTORY` (systemd.exec(5)).
    ///
    /// # Errors
    /// Why it cannot be read.
    fn credential(&self, name: &str) -> Result<String, String> {
        match self.env("CREDENTIALS_DIRECTORY")? {
            Some(folder) => self.file(&format!("{folder}/{name}")),
            None => Err("$CREDENTIALS_DIRECTORY is not set".to_owned()),
        }
    }
}

/// Secrets that are given by hand, as environment variables, and PEM files by their paths;
/// there are no other files. For configs that the program makes itself, and for tests.
#[derive(Clone, Copy, Default)]
pub struct FixedSecrets<'a>(pub &'a [(&'a str, &'a str)]);

impl fmt::Debug for FixedSecrets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Secrets for FixedSecrets<'_> {
    fn env(&self, name: &str) -> Result<Option<String>, String> {
        let given = self.0.iter().find(|(given, _)| *given == name);
        Ok(given.map(|(_, value)| (*value).to_owned()))
    }

    fn file(&self, _path: &str) -> Result<String, String> {
        Err("no file may be read here".to_owned())
    }

    fn pem(&self, path: &str) -> Result<String, String> {
        let given = self.env(path).ok().flatten();
        given.map_or_else(|| self.file(path), Ok)
    }
}

/// A config without faults.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The config.
    pub config: Config,
    /// What works, but hardly as it is meant.
    pub warnings: Faults,
}

/// Reads a whole config file. `text` should hold no more than [`defaults::FILE_MAX`] bytes.
///
/// # Errors
/// Every fault with its place, in the order of the file.
pub fn check(text: &str, secrets: &dyn Secrets) -> Result<Checked, Faults> {
    let mut found = Findings::default();
    let (document, errors) = DeTable::parse_recoverable(text);
    let errors = errors.iter().map(|error| {
        let at = error.span().map_or(text.len(), |span| span.start);
        (at, error.message().to_owned())
    });
    found.broken(text, errors);
    let root = Section::new(document.get_ref(), "the file", 0);
    root.refuse_unknown(&mut found, ROOT);
    let config = read(&root, &mut found, secrets);
    let (faults, warnings) = found.finish(text);
    match config {
        Some(config) if faults.0.is_empty() => Ok(Checked { config, warnings }),
        _ => {
            debug_assert!(!faults.0.is_empty(), "a config is refused for a reason");
            Err(faults)
        }
    }
}

fn read(root: &Section<'_, '_>, found: &mut Findings, secrets: &dyn Secrets) -> Option<Config> {
    let mut server = server(root, found);
    server.tls = tls::server(root, found, secrets);
    let limits = limits(root, found);
    let timeouts = match section(root, found, "timeouts", "[timeouts]", TIMEOUTS) {
        Some(section) => read_timeouts(&section, found, defaults::TIMEOUTS),
        None => defaults::TIMEOUTS,
    };
    let retry = resilience::retry(root, found);
    let breaker = resilience::breaker(root, found);
    let gossip = resilience::gossip(root, found);
    let keepalive = resilience::keepalive(root, found, "[stream]", None);
    let written = upstreams::Written::open(root, found);
    let names = written.names();
    let keys = keys::keys(root, found, secrets, &names);
    let providers = written.providers(found, secrets);
    let whom = cache::Whom {
        names: &names,
        providers: providers.as_deref(),
    };
    let mut cache = cache::cache(root, found, whom);
    cache.remote = remote::remote(root, found, secrets);
    let models = written.models(found, whom, (timeouts, keepalive, &cache));
    cache::settle(root, models.as_deref().unwrap_or_default(), found);
    hedge::settle(root, retry.attempts_max, found);
    let continues = models.iter().flatten().any(|model| model.continues);
    if let (true, 1, Some(item)) = (continues, retry.attempts_max, root.item("retry")) {
        let text = "`attempts_max` is 1, so nobody goes on with a stream of a model with \
                    `continuation`; write 2 or more";
        found.warn(item.at, text.to_owned());
    }
    let config = Config {
        server,
        limits,
        timeouts,
        keys: keys?,
        providers: providers?,
        models: models?,
        retry,
        breaker,
        gossip,
        cache,
        keepalive,
        names,
    };
    advise(root, &config, found);
    Some(config)
}

/// The section `key` of the file, when it is there.
pub(super) fn section<'a, 'i>(
    root: &Section<'a, 'i>,
    found: &mut Findings,
    key: &str,
    title: &str,
    known: Known,
) -> Option<Section<'a, 'i>> {
    root.item(key)?.section(found, title, known)
}

fn server(root: &Section<'_, '_>, found: &mut Findings) -> Server {
    let mut server = Server {
        listen: vec![defaults::LISTEN],
        admin: Some(defaults::ADMIN),
        shards: None,
        sockets: Sockets::Auto,
        handover: None,
        tls: None,
    };
    let section = section(root, found, "server", "[server]", SERVER);
    let item = |key| section.as_ref().and_then(|s| s.item(key));
    if let Some(item) = item("listen") {
        server.listen = listen(item, root, found);
    }
    if let Some(item) = item("admin") {
        let admin = item.read(found, |value| match value {
            DeValue::String(s) if s == "off" => Ok(None),
            other => match value::address(other) {
                Ok(address) => Ok(Some(address)),
                Err(right) => wrong(format!("{}, or \"off\"", right.right)),
            },
        });
        server.admin = admin.unwrap_or_default();
    }
    if let Some(item) = item("shards") {
        server.shards = item
            .read(found, |value| match value {
                DeValue::String(s) if s == "auto" => Ok(None),
                other => match count(other, 1..=defaults::SHARDS_MAX) {
                    Ok(shards) => Ok(Some(shards)),
                    Err(right) => wrong(format!("{}, or \"auto\"", right.right)),
                },
            })
            .flatten();
    }
    if let Some(item) = item("sockets") {
        let words = [Sockets::Auto, Sockets::Ring, Sockets::Poll].map(|s| (s.name(), s));
        let sockets = item.read(found, |value| choice(value, &words, &[]));
        server.sockets = sockets.unwrap_or_default();
    }
    if let Some(item) = item("handover") {
        server.handover = item.read(found, handover).flatten();
    }
    let Some(admin) = server.admin else {
        return server;
    };
    let at = item("admin").or_else(|| item("listen")).map_or(0, |i| i.at);
    if let Some(data) = server.listen.iter().find(|data| clash(**data, admin)) {
        let text = format!(
            "`admin` ({admin}) meets `listen` ({data}); give the admin plane an address or a port of its own"
        );
        found.fault(at, text);
    }
    if !admin.ip().is_loopback() {
        let text = format!(
            "`admin` ({admin}) is not loopback and asks for no key; make sure that only operators reach it"
        );
        found.warn(at, text);
    }
    server
}

/// The longest path that a unix socket can have, with room for a suffix (unix(7)).
const HANDOVER_MAX: usize = 96;

fn handover(value: &DeValue<'_>) -> Result<Option<PathBuf>, Wrong> {
    const RIGHT: &str = "write an absolute path of at most 96 bytes, or \"off\"";
    match value {
        DeValue::String(s) if s == "off" => Ok(None),
        DeValue::String(s)
            if s.starts_with('/') && s.len() <= HANDOVER_MAX && !s.contains('\0') =>
        {
            Ok(Some(PathBuf::from(s.as_ref())))
        }
        DeValue::String(_) => wrong(RIGHT),
        other => odd(format!("is {}", kind_of(other)), RIGHT),
    }
}

fn listen(item: Item<'_, '_>, root: &Section<'_, '_>, found: &mut Findings) -> Vec<SocketAddr> {
    const RIGHT: &str = "write a list of addresses, such as [\"127.0.0.1:8080\"]";
    let has_keys = root.item("keys").is_some_and(|keys| match keys.value {
        DeValue::Array(list) => !list.is_empty(),
        _ => true,
    });
    if matches!(item.value, DeValue::Array(list) if list.is_empty()) {
        found.fault(item.at, format!("`listen` is empty; {RIGHT}"));
    }
    let mut addresses = Vec::new();
    for element in item.list(found, defaults::LISTEN_MAX, RIGHT) {
        let Some(address) = element.read(found, value::address) else {
            continue;
        };
        if addresses.contains(&address) {
            let text = format!("`listen` names {address} twice; write it once");
            found.fault(element.at, text);
        }
        if !has_keys && !address.ip().is_loopback() {
            let text = format!(
                "`listen` opens {address} to everybody, as there are no [[keys]]; add a key or listen on 127.0.0.1"
            );
            found.missing(element.at, text);
        }
        addresses.push(address);
    }
    addresses
}

/// Whether two sockets would take each other's connections.
fn clash(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |a: IpAddr, b: IpAddr| match a {
        IpAddr::V4(ip) => ip.is_unspecified() && b.is_ipv4(),
        IpAddr::V6(ip) => ip.is_unspecified(),
    };
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}

fn limits(root: &Section<'_, '_>, found: &mut Findings) -> Limits {
    let mut limits = defaults::LIMITS;
    let Some(section) = section(root, found, "limits", "[limits]", LIMITS) else {
        return limits;
    };
    let sizes = [
        ("head_max", &mut limits.head_max, 4 * KIB..=256 * KIB),
        ("target_max", &mut limits.target_max, 256..=128 * KIB),
        ("body_max", &mut limits.body_max, KIB..=GIB),
        ("bodies_max", &mut limits.bodies_max, MIB..=1024 * GIB),
        ("body_rate_min", &mut limits.body_rate_min, 1..=GIB),
    ];
    for (key, slot, range) in sizes {
        if let Some(bytes) = section.read(found, key, |value| size(value, range)) {
            *slot = bytes;
        }
    }
    let counts = [
        ("fields_max", &mut limits.fields_max, 16..=256),
        ("streams_max", &mut limits.streams_max, 1..=1_000_000),
        ("queue_max", &mut limits.queue_max, 0..=1_000_000),
        (
            "connections_max",
            &mut limits.connections_max,
            1..=1_000_000,
        ),
    ];
    for (key, slot, range) in counts {
        if let Some(number) = section.read(found, key, |value| count(value, range)) {
            *slot = number;
        }
    }
    if let Some(wait) = section.read(found, "queue_wait", queue_wait) {
        limits.queue_wait = wait;
    }
    let pairs = [
        ("target_max", limits.target_max, "head_max", limits.head_max),
        ("body_max", limits.body_max, "bodies_max", limits.bodies_max),
    ];
    for (part, part_bytes, whole, whole_bytes) in pairs {
        let item = section.item(part).or_else(|| section.item(whole));
        if let (true, Some(item)) = (part_bytes > whole_bytes, item) {
            let text = format!(
                "`{part}` ({}) is more than `{whole}` ({}); write {part} <= {whole}",
                value::show_size(part_bytes),
                value::show_size(whole_bytes)
            );
            found.fault(item.at, text);
        }
    }
    limits
}

fn queue_wait(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    match duration(value, TIMEOUT_MIN) {
        Ok(wait) if wait > defaults::QUEUE_WAIT_MAX => {
            let most = show_duration(defaults::QUEUE_WAIT_MAX);
            wrong(format!("write at most {most:?}"))
        }
        read => read,
    }
}

/// The timeouts of `section` over those of `base`.
pub(super) fn read_timeouts(
    section: &Section<'_, '_>,
    found: &mut Findings,
    base: Timeouts,
) -> Timeouts {
    let mut t = base;
    let slots = [
        ("connect", &mut t.connect),
        ("first_token", &mut t.first_token),
        ("idle", &mut t.idle),
        ("total", &mut t.total),
        ("head", &mut t.head),
        ("body", &mut t.body),
        ("keep_alive", &mut t.keep_alive),
        ("stall", &mut t.stall),
        ("drain", &mut t.drain),
    ];
    for (key, slot) in slots {
        if let Some(length) = section.read(found, key, |value| duration(value, TIMEOUT_MIN)) {
            *slot = length;
        }
    }
    let parts = [
        ("connect", t.connect),
        ("first_token", t.first_token),
        ("idle", t.idle),
    ];
    for (key, length) in parts {
        let item = section.item(key).or_else(|| section.item("total"));
        if let (true, Some(item)) = (length >= t.total, item) {
            let text = format!(
                "`{key}` ({}) is not shorter than `total` ({}) and never comes to bear; write {key} < total",
                show_duration(length),
                show_duration(t.total)
            );
            found.warn(item.at, text);
        }
    }
    t
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: two planes never share a socket. Method: pairs of addresses both ways round.
    #[test]
    fn addresses_that_take_each_others_connections_clash() {
        let pairs = [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "[::1]:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("127.0.0.1:1", "127.0.0.1:2", false),
            ("127.0.0.1:1", "127.0.0.2:1", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
        ];
        for (a, b, meet) in pairs {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((clash(a, b), clash(b, a)), (meet, meet), "{a} {b}");
        }
    }
}
