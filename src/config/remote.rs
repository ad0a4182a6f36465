//! `[cache.remote]`: the tier that several boxes share, on Valkey or Redis.

use super::check::Secrets;
use super::fault::Findings;
use super::keys::provider_secret;
use super::model::{Scheme, Secret};
use super::tls::{self, Authorities};
use super::value::{self, Wrong, duration, odd, show_duration, string, wrong};
use super::walk::{Known, Section};
use rustls::pki_types::ServerName;
use std::fmt;
use std::time::Duration;
use toml::de::DeValue;

const KEYS: Known = Known {
    now: &["url", "user", "password", "deadline", "prefix", "tls"],
    later: &[],
};
const TITLE: &str = "[cache.remote]";
const URL_RIGHT: &str = "write a URL such as \"redis://127.0.0.1:6379/0\"";

/// `cache.remote.deadline`: a look-up that takes longer is none.
pub const DEADLINE: Duration = Duration::from_millis(2);

/// Longest `cache.remote.deadline`: who waits longer could have asked a small model.
const DEADLINE_MAX: Duration = Duration::from_millis(250);

/// `cache.remote.prefix`.
pub const PREFIX: &str = "shardgate";

/// Largest number of a database.
const DATABASE_MAX: u16 = 9999;

/// The port where none is written.
const PORT: u16 = 6379;

/// `[cache.remote]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Where the server is; any node of a cluster.
    pub url: RemoteUrl,
    /// Who asks; `None`: the server's default user.
    pub user: Option<String>,
    /// With which password.
    pub password: Option<Secret>,
    /// How long a look-up may take.
    pub deadline: Duration,
    /// What every name on the server begins with.
    pub prefix: String,
    /// Authorities to trust beside the system's.
    pub ca: Option<Authorities>,
}

/// `cache.remote.url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUrl {
    /// `rediss://`.
    pub is_tls: bool,
    /// Name or address in lower case; an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// The number of the database.
    pub database: u16,
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "rediss" } else { "redis" };
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        let (host, port, database) = (&self.host, self.port, self.database);
        write!(f, "{scheme}://{open}{host}{close}:{port}/{database}")
    }
}

/// `[cache.remote]` of the file, when it is there and right.
pub(super) fn remote(
    root: &Section<'_, '_>,
    found: &mut Findings,
    secrets: &dyn Secrets,
) -> Option<Remote> {
    let DeValue::Table(cache) = root.item("cache")?.value else {
        return None; // told where the rest of the section is read
    };
    let cache = Section::new(cache, "[cache]", 0);
    let section = cache.item("remote")?.section(found, TITLE, KEYS)?;
    let url_item = section.need(found, "url", URL_RIGHT);
    let url = url_item.and_then(|item| Some((item, item.read(found, url)?)));
    let user = section.read(found, "user", user);
    let password_item = section.item("password");
    let password = password_item.map(|item| provider_secret(item, found, secrets));
    let deadline = section
        .read(found, "deadline", deadline)
        .unwrap_or(DEADLINE);
    let prefix = section.read(found, "prefix", prefix);
    let ca = tls::authorities(&section, found, TITLE, secrets);
    if let (Some(item), None) = (section.item("user"), password_item) {
        let text = "`user` has no `password`; write password = { env = \"NAME\" }";
        found.missing(item.key_at, text.to_owned());
    }
    let (item, url) = url?;
    if let (Some(tls), false) = (section.item("tls"), url.is_tls) {
        let text = "`tls` means nothing with a redis:// url; remove it or write rediss://";
        found.fault(tls.key_at, text.to_owned());
    }
    if url.is_tls && ServerName::try_from(url.host.as_str()).is_err() {
        let text = "`url` names a host that no certificate can be for; correct it";
        found.fault(item.at, text.to_owned());
    }
    if !url.is_tls && !value::is_loopback(&url.host) {
        let text = format!(
            "answers go to {} in clear text; make sure that the way there is private, or write \
             rediss://",
            url.host
        );
        found.warn(item.at, text);
    }
    Some(Remote {
        url,
        user,
        password: match password {
            Some(wrong_or_right) => Some(wrong_or_right?),
            None => None,
        },
        deadline,
        prefix: prefix.unwrap_or_else(|| PREFIX.to_owned()),
        ca: ca.ok()?,
    })
}

/// Source: the schemes `redis` and `rediss` as IANA has them, without user and query.
fn url(value: &DeValue<'_>) -> Result<RemoteUrl, Wrong> {
    let DeValue::String(text) = value else {
        return wrong(URL_RIGHT);
    };
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong(URL_RIGHT);
    };
    let is_tls = match scheme.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => false,
        "rediss" | "valkeys" => true,
        _ => return wrong(URL_RIGHT),
    };
    if rest.contains('@') {
        return odd(
            "holds a user or a password",
            "leave them out and write user = \"NAME\" and password = { env = \"NAME\" }",
        );
    }
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let database = match path {
        "" => Some(0),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    };
    let Some(database) = database.filter(|it| *it <= DATABASE_MAX) else {
        return odd(
            "does not end with the number of a database",
            format!("write /0 to /{DATABASE_MAX}, or nothing, behind the port"),
        );
    };
    let (host, port) = value::host_and_port(authority, Scheme::Http).map_err(|wrong| Wrong {
        right: wrong
            .right
            .replace("http://[::1]:8000", "redis://[::1]:6379"),
        ..wrong
    })?;
    let has_port = authority
        .rsplit_once(']')
        .map_or(authority, |(_, it)| it)
        .contains(':');
    Ok(RemoteUrl {
        is_tls,
        host,
        port: if has_port { port } else { PORT },
        database,
    })
}

fn user(value: &DeValue<'_>) -> Result<String, Wrong> {
    let name = string(value)?;
    let fits = (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        Ok(name)
    } else {
        wrong("write a user's name of 1 to 64 visible characters")
    }
}

fn prefix(value: &DeValue<'_>) -> Result<String, Wrong> {
    let prefix = string(value)?;
    match value::name(&prefix) {
        Ok(()) => Ok(prefix),
        Err(right) => wrong(right.right),
    }
}

fn deadline(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    let length = duration(value, Duration::from_millis(1))?;
    if length > DEADLINE_MAX {
        return wrong(format!(
            "write a duration from 1ms to {}",
            show_duration(DEADLINE_MAX)
        ));
    }
    Ok(length)
}
