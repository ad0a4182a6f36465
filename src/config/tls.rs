//! `server.tls` and `providers.*.tls`.
//!
//! The files are read and understood while checking, so that a fault in one is told with the
//! others, at the place where its path stands. What is kept of a listener's files are the
//! paths: a key is not part of a configuration.

use super::check::Secrets;
use super::fault::Findings;
use super::value::{Wrong, count, string, wrong};
use super::walk::{Item, Known, Section};
use crate::wire::tls::files::{self, Part, Texts};
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::ops::RangeInclusive;
use toml::de::DeValue;

/// Bytes of a PEM file, at most: a bundle of all public authorities has a quarter of it.
pub const PEM_MAX: usize = 1 << 20;

/// `providers.*.tls.handshakes_max`.
pub const HANDSHAKES: usize = 64;

/// Range of `providers.*.tls.handshakes_max`.
const HANDSHAKES_RANGE: RangeInclusive<usize> = 1..=10_000;

/// Bytes of a path, at most.
const PATH_MAX: usize = 4096;

const SERVER: Known = Known {
    now: &["cert", "key", "client_ca"],
    later: &[],
};
const PROVIDER: Known = Known {
    now: &["ca", "handshakes_max"],
    later: &[],
};
const CA: Known = Known {
    now: &["ca"],
    later: &[],
};
const RIGHT: &str = "write { cert = \"tls.pem\", key = \"tls.key\" }";

/// `server.tls`: the files of the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// Path of the certificate and its chain, PEM.
    pub cert: String,
    /// Path of the private key, PEM.
    pub key: String,
    /// Path of the authorities of clients' certificates, PEM; when there, a client needs one.
    pub client_ca: Option<String>,
}

/// `providers.*.tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderTls {
    /// Authorities to trust beside the system's.
    pub ca: Option<Authorities>,
    /// Handshakes at once, per box.
    pub handshakes_max: usize,
}

impl Default for ProviderTls {
    fn default() -> Self {
        Self {
            ca: None,
            handshakes_max: HANDSHAKES,
        }
    }
}

/// A file of authorities.
#[derive(Clone, PartialEq, Eq)]
pub struct Authorities {
    /// Its path.
    pub file: String,
    /// What stands in it.
    pub certs: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({:?})", self.file)
    }
}

/// `server.tls` of the file.
pub(super) fn server(
    root: &Section<'_, '_>,
    found: &mut Findings,
    secrets: &dyn Secrets,
) -> Option<ServerTls> {
    let DeValue::Table(table) = root.item("server")?.value else {
        return None; // told where the rest of the section is read
    };
    let server = Section::new(table, "[server]", 0);
    let section = server.item("tls")?.section(found, "server.tls", SERVER)?;
    let cert = section.need(found, "cert", RIGHT);
    let key = section.need(found, "key", RIGHT);
    let client_ca = section.item("client_ca");
    let mut read = |item: Item<'_, '_>| pem(item, found, secrets);
    let (cert_text, key_text) = (cert.and_then(&mut read), key.and_then(&mut read));
    let ca_text = client_ca.map(&mut read);
    let (cert, key) = (cert?, key?);
    let (cert_path, cert_pem) = cert_text?;
    let (key_path, key_pem) = key_text?;
    let ca = match ca_text {
        Some(read) => Some(read?),
        None => None,
    };
    let texts = Texts {
        cert: cert_pem.as_bytes(),
        key: key_pem.as_bytes(),
        client_ca: ca.as_ref().map(|(_, pem)| pem.as_bytes()),
    };
    let tickets = files::tickets().ok()?;
    if let Err(wrong) = files::server(texts, &tickets) {
        let (item, path) = match wrong.part {
            Part::Cert => (cert, &cert_path),
            Part::Key => (key, &key_path),
            Part::ClientCa => (client_ca?, &ca.as_ref()?.0),
        };
        found.fault(item.at, format!("the file {path} {}", wrong.what));
    }
    Some(ServerTls {
        cert: cert_path,
        key: key_path,
        client_ca: ca.map(|(path, _)| path),
    })
}

/// `providers.*.tls`; `None` when it is wrong.
pub(super) fn provider(
    provider: &Section<'_, '_>,
    found: &mut Findings,
    title: &str,
    secrets: &dyn Secrets,
) -> Option<ProviderTls> {
    let mut tls = ProviderTls::default();
    let Some(item) = provider.item("tls") else {
        return Some(tls);
    };
    let title = format!("{}.tls]", title.trim_end_matches(']'));
    let section = item.section(found, &title, PROVIDER)?;
    if let Some(max) = section.read(found, "handshakes_max", |v| count(v, HANDSHAKES_RANGE)) {
        tls.handshakes_max = max;
    }
    tls.ca = ca(&section, found, secrets).ok()?;
    Some(tls)
}

/// It is wrong, which is recorded.
#[derive(Debug)]
pub(super) struct Recorded;

/// `tls = { ca = … }` of what is no provider.
pub(super) fn authorities(
    place: &Section<'_, '_>,
    found: &mut Findings,
    title: &str,
    secrets: &dyn Secrets,
) -> Result<Option<Authorities>, Recorded> {
    let Some(item) = place.item("tls") else {
        return Ok(None);
    };
    let title = format!("{}.tls]", title.trim_end_matches(']'));
    let section = item.section(found, &title, CA).ok_or(Recorded)?;
    ca(&section, found, secrets)
}

/// `ca` of a section.
fn ca(
    section: &Section<'_, '_>,
    found: &mut Findings,
    secrets: &dyn Secrets,
) -> Result<Option<Authorities>, Recorded> {
    let Some(item) = section.item("ca") else {
        return Ok(None);
    };
    let (file, text) = pem(item, found, secrets).ok_or(Recorded)?;
    let certs = files::certificates(text.as_bytes())
        .and_then(|certs| files::authorities(certs.clone()).map(|_| certs));
    match certs {
        Ok(certs) => Ok(Some(Authorities { file, certs })),
        Err(what) => {
            found.fault(item.at, format!("the file {file} {what}"));
            Err(Recorded)
        }
    }
}

/// A path and the text behind it.
fn pem(
    item: Item<'_, '_>,
    found: &mut Findings,
    secrets: &dyn Secrets,
) -> Option<(String, String)> {
    let path = item.read(found, path)?;
    match secrets.pem(&path) {
        Ok(text) => Some((path, text)),
        Err(why) => {
            let text =
                format!("the file {path} cannot be read ({why}); correct the path or its rights");
            found.fault(item.at, text);
            None
        }
    }
}

fn path(value: &DeValue<'_>) -> Result<String, Wrong> {
    let path = string(value)?;
    if path.is_empty() || path.len() > PATH_MAX {
        return wrong("write the path of a PEM file");
    }
    Ok(path)
}
