//! `[[keys]]` and every other reference to a secret.
//!
//! ```text
//!   { env = "NAME" } | { file = "PATH" } ──Secrets──► value ──► Secret, or SHA-256 of it
//!   { credential = "NAME" }              ──────┘
//!   { sha256 = "64 hex digits" }         ─────────────────────► SHA-256   (client keys only)
//! ```
//!
//! Invariants
//! - An empty secret is refused: it would match a client that sends none.
//! - A client key can be carried by `Authorization: Bearer` (RFC 6750, section 2.1), a
//!   provider's key by a header field: visible ASCII.

use super::aws;
use super::check::Secrets;
use super::fault::Findings;
use super::model::defaults::{KEYS_MAX, SECRET_MAX};
use super::model::{Key, Names, Secret, SecretRef};
use super::value::{self, kind_of, odd, string, wrong};
use super::walk::{Item, Known, Section};
use crate::policy::auth;
use ahash::{AHashMap, AHashSet};
use toml::de::DeValue;

const KEY: Known = Known {
    now: &["name", "secret", "aws", "models"],
    later: &[],
};
const CLIENT_SECRET: Known = Known {
    now: &["env", "file", "credential", "sha256"],
    later: &[],
};
const PROVIDER_SECRET: Known = Known {
    now: &["env", "file", "credential"],
    later: &[],
};
const CLIENT_RIGHT: &str = "write { env = \"NAME\" }, { file = \"PATH\" }, { credential = \"NAME\" } or { sha256 = \"64 hex digits\" }";
const PROVIDER_RIGHT: &str =
    "write { env = \"NAME\" }, { file = \"PATH\" } or { credential = \"NAME\" }";

/// Patterns of one key, at most.
const PATTERNS_MAX: usize = 1024;

/// All of `[[keys]]`; `None` when one is wrong.
pub(super) fn keys(
    root: &Section<'_, '_>,
    found: &mut Findings,
    secrets: &dyn Secrets,
    names: &Names,
) -> Option<Vec<Key>> {
    let Some(item) = root.item("keys") else {
        return Some(Vec::new());
    };
    let mut keys = Vec::new();
    let mut names_seen = AHashSet::new();
    let mut digests_seen = AHashMap::new();
    let mut ids_seen = AHashMap::new();
    for element in item.list(found, KEYS_MAX, "write each key as [[keys]]") {
        let key = key(element, found, secrets, names);
        if let Some(key) = &key {
            if !names_seen.insert(key.name.clone()) {
                let text = format!(
                    "two [[keys]] are named {:?}; give each its own name",
                    key.name
                );
                found.fault(element.at, text);
            }
            if let Some(digest) = key.digest
                && let Some(other) = digests_seen.insert(digest, key.name.clone())
            {
                let text = format!(
                    "the keys {other:?} and {:?} have the same secret; give each its own",
                    key.name
                );
                found.fault(element.at, text);
            }
            if let Some(aws) = &key.aws
                && let Some(other) = ids_seen.insert(aws.access_key_id.clone(), key.name.clone())
            {
                let text = format!(
                    "the keys {other:?} and {:?} have the same `access_key_id`; give each its own",
                    key.name
                );
                found.fault(element.at, text);
            }
        }
        keys.push(key);
    }
    keys.into_iter().collect()
}

fn key(
    item: Item<'_, '_>,
    found: &mut Findings,
    secrets: &dyn Secrets,
    names: &Names,
) -> Option<Key> {
    let section = item.section(found, "[[keys]]", KEY)?;
    let name = section
        .need(found, "name", "write name = \"team-a\"")
        .and_then(|item| {
            item.read(found, |v| {
                string(v).and_then(|s| value::name(&s).map(|()| s))
            })
        });
    let aws_item = section.item("aws");
    let aws = aws_item.map(|item| aws::signed(item, found, secrets));
    let secret_item = match aws_item {
        Some(_) => section.item("secret"),
        None => section.need(found, "secret", CLIENT_RIGHT),
    };
    let secret = secret_item.map(|item| digest(item, found, secrets));
    let models = match section.item("models") {
        Some(item) => patterns(item, found, names),
        None => vec!["*".to_owned()],
    };
    // What stands there and is wrong is a fault; what does not stand there is none.
    let aws = match aws {
        Some(wrong_or_right) => Some(wrong_or_right?),
        None => None,
    };
    let (source, digest) = match secret {
        Some(wrong_or_right) => wrong_or_right.map(|(s, d)| (Some(s), Some(d)))?,
        None if aws.is_some() => (None, None),
        None => return None,
    };
    Some(Key {
        name: name?,
        digest,
        source,
        aws,
        models,
    })
}

fn patterns(item: Item<'_, '_>, found: &mut Findings, names: &Names) -> Vec<String> {
    let right = "write a list, such as [\"*\"] or [\"gpt-4o\", \"local/*\"]";
    let mut patterns = Vec::new();
    for element in item.list(found, PATTERNS_MAX, right) {
        let pattern = element.read(found, |v| {
            string(v).and_then(|s| value::pattern(&s).map(|()| s))
        });
        let Some(pattern) = pattern else { continue };
        if !pattern.ends_with('*') && names.find(&pattern).is_none() {
            let text = format!(
                "`models` names {pattern:?}, which leads to no model; add [models.{pattern:?}]"
            );
            found.warn(element.at, text);
        }
        patterns.push(pattern);
    }
    if matches!(item.value, DeValue::Array(list) if list.is_empty()) {
        found.warn(
            item.at,
            format!("`models` is empty, so the key may ask for nothing; {right}"),
        );
    }
    patterns
}

/// The SHA-256 of a client's secret.
fn digest(
    item: Item<'_, '_>,
    found: &mut Findings,
    secrets: &dyn Secrets,
) -> Option<(SecretRef, [u8; 32])> {
    let (source, at) = reference(item, found, CLIENT_SECRET, CLIENT_RIGHT)?;
    if let SecretRef::Sha256(hex) = &source {
        let Some(digest) = from_hex(hex) else {
            let right = "write the 64 hex digits that `printf %s SECRET | sha256sum` prints";
            found.fault(at, format!("`sha256` is not a SHA-256; {right}"));
            return None;
        };
        if digest == auth::digest(b"") {
            found.fault(
                at,
                "`sha256` is the hash of an empty secret; hash the secret itself".to_owned(),
            );
        }
        return Some((source, digest));
    }
    let secret = fetch(&source, at, found, secrets)?;
    if !auth::is_token(secret.as_bytes()) {
        let text = format!(
            "{} holds a character that a Bearer token cannot carry; use letters, digits and - . _ ~ + /",
            place_of(&source)
        );
        found.fault(at, text);
        return None;
    }
    let digest = auth::digest(secret.as_bytes());
    Some((source, digest))
}

/// A provider's secret.
pub(super) fn provider_secret(
    item: Item<'_, '_>,
    found: &mut Findings,
    secrets: &dyn Secrets,
) -> Option<Secret> {
    let (source, at) = reference(item, found, PROVIDER_SECRET, PROVIDER_RIGHT)?;
    let value = fetch(&source, at, found, secrets)?;
    Some(Secret::new(source, value))
}

/// The one reference in a table, and its place. Never repeats what is written (K2).
fn reference(
    item: Item<'_, '_>,
    found: &mut Findings,
    known: Known,
    right: &str,
) -> Option<(SecretRef, usize)> {
    if !matches!(item.value, DeValue::Table(_)) {
        let what = format!("is {}, not a reference to a secret", kind_of(item.value));
        return item.read(found, |_| odd(what, right));
    }
    let section = item.section(found, &format!("`{}`", item.key), known)?;
    let given: Vec<_> = known
        .now
        .iter()
        .filter_map(|key| section.item(key))
        .collect();
    let [one] = given.as_slice() else {
        if given.is_empty() && !section.is_empty() {
            return None; // what stands there is unknown, and recorded as such
        }
        let count = if given.is_empty() {
            "no"
        } else {
            "more than one"
        };
        let text = format!("`{}` has {count} reference; {right}", item.key);
        found.missing(item.at, text);
        return None;
    };
    let written = one.read(found, |v| match v {
        DeValue::String(s) if s.is_empty() || s.contains('\0') => wrong("write a name"),
        DeValue::String(s) => Ok(s.clone().into_owned()),
        other => odd(format!("is {}", kind_of(other)), "write a string in quotes"),
    })?;
    let source = match one.key {
        "env" if written.contains('=') => {
            let text = "`env` holds '='; write only the variable's name".to_owned();
            found.fault(one.at, text);
            return None;
        }
        "env" => SecretRef::Env(written),
        "file" => SecretRef::File(written),
        "credential" if written.contains('/') || written.starts_with('.') => {
            let text = "`credential` is no name of a credential; write the one of LoadCredential=";
            found.fault(one.at, text.to_owned());
            return None;
        }
        "credential" => SecretRef::Credential(written),
        _ => SecretRef::Sha256(written.to_ascii_lowercase()),
    };
    Some((source, one.at))
}

fn place_of(source: &SecretRef) -> String {
    match source {
        SecretRef::Env(name) => format!("the environment variable {name}"),
        SecretRef::File(path) => format!("the file {path}"),
        SecretRef::Credential(name) => format!("the credential {name}"),
        SecretRef::Sha256(_) => "the hash".to_owned(),
    }
}

/// What a reference leads to: 1 to [`SECRET_MAX`] visible ASCII characters.
fn fetch(
    source: &SecretRef,
    at: usize,
    found: &mut Findings,
    secrets: &dyn Secrets,
) -> Option<String> {
    let place = place_of(source);
    let read = match source {
        SecretRef::Env(name) => match secrets.env(name) {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(format!("{place} is not set; set it for this process")),
            Err(why) => Err(format!("{place} cannot be used ({why}); set it anew")),
        },
        SecretRef::File(path) => secrets
            .file(path)
            .map(|text| text.trim_ascii_end().to_owned())
            .map_err(|why| {
                format!("{place} cannot be read ({why}); correct the path or its rights")
            }),
        SecretRef::Credential(name) => secrets
            .credential(name)
            .map(|text| text.trim_ascii_end().to_owned())
            .map_err(|why| {
                format!(
                    "{place} cannot be read ({why}); add LoadCredential={name}:PATH to the unit"
                )
            }),
        SecretRef::Sha256(_) => return None,
    };
    let fault = match read {
        Err(text) => text,
        Ok(value) if value.is_empty() => format!("{place} is empty; put the secret there"),
        Ok(value) if value.len() > SECRET_MAX => {
            format!("{place} holds more than {SECRET_MAX} bytes; that is no key")
        }
        Ok(value) if !value.bytes().all(|b| b.is_ascii_graphic()) => format!(
            "{place} holds a space or another character that a header cannot carry; put only the secret there"
        ),
        Ok(value) => return Some(value),
    };
    found.fault(at, fault);
    None
}

fn from_hex(hex: &str) -> Option<[u8; 32]> {
    let digit = |b: u8| (b as char).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut out = [0; 32];
    if hex.len() != 2 * out.len() {
        return None;
    }
    for (slot, pair) in out.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *slot = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}
