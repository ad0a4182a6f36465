//! `aws` of a provider and of a client's key: what requests are signed with, as AWS does it.
//!
//! ```text
//!   [providers.NAME]  aws = { region, access_key_id = {…}, secret_access_key = {…} }   signs
//!   [[keys]]          aws = { access_key_id = "…", secret_access_key = {…} }           verifies
//! ```
//!
//! Invariants
//! - A secret access key is held, since a signature is made and verified with the key itself,
//!   no hash of it; it is a [`Secret`] and never shown.
//! - A provider has `aws` or `api_key`, not both; only Bedrock's has `aws`, whatever it speaks.
//!
//! Source: AWS Identity and Access Management User Guide, "AWS Signature Version 4".

use super::check::Secrets;
use super::fault::Findings;
use super::keys::provider_secret;
use super::model::{Dialect, Flavour, Secret};
use super::value::{string, wrong};
use super::walk::{Item, Known, Section};

const SIGNER: Known = Known {
    now: &[
        "region",
        "access_key_id",
        "secret_access_key",
        "session_token",
    ],
    later: &[],
};
const SIGNED: Known = Known {
    now: &["access_key_id", "secret_access_key"],
    later: &[],
};
const SECRET_RIGHT: &str =
    "write { env = \"NAME\" }, { file = \"PATH\" } or { credential = \"NAME\" }";
const ID_RIGHT: &str = "write the id itself, such as \"AKIAIOSFODNN7EXAMPLE\"";

/// Bytes of an access key id, at most. Source: IAM API, `AccessKey`.
const ID_MAX: usize = 128;

/// What requests to a provider are signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// The region that signatures are for.
    pub region: String,
    /// Whose signature: no secret, but where it comes from the secret does too.
    pub access_key_id: Secret,
    /// What it is made with.
    pub secret_access_key: Secret,
    /// The token of temporary credentials.
    pub session_token: Option<Secret>,
}

impl Signer {
    /// Everything that may change in the file or behind it, for comparing.
    pub(super) fn values(&self) -> [Option<&str>; 3] {
        [
            Some(self.access_key_id.reveal()),
            Some(self.secret_access_key.reveal()),
            self.session_token.as_ref().map(Secret::reveal),
        ]
    }
}

/// What a client's signatures are verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Whose signature.
    pub access_key_id: String,
    /// What it is made with.
    pub secret_access_key: Secret,
}

/// `aws` of `provider`.
pub(super) fn signer(
    item: Item<'_, '_>,
    provider: &Section<'_, '_>,
    (dialect, flavour): (Option<Dialect>, Option<Flavour>),
    found: &mut Findings,
    secrets: &dyn Secrets,
) -> Option<Box<Signer>> {
    if dialect.is_some_and(|dialect| dialect != Dialect::Bedrock)
        && flavour != Some(Flavour::Bedrock)
    {
        let right = match dialect {
            Some(Dialect::Anthropic) => "flavour",
            _ => "dialect",
        };
        let text = format!("`aws` is Bedrock's; remove it or write {right} = \"bedrock\"");
        found.fault(item.key_at, text);
    }
    if provider.item("api_key").is_some() {
        let text = "`aws` and `api_key` are two ways to authenticate; remove one of them";
        found.fault(item.key_at, text.to_owned());
    }
    let section = item.section(found, "`aws`", SIGNER)?;
    let region = section
        .need(found, "region", "write region = \"us-east-1\"")
        .and_then(|item| item.read(found, |v| string(v).and_then(region)));
    let mut secret = |key| {
        let item = section.need(found, key, SECRET_RIGHT)?;
        provider_secret(item, found, secrets)
    };
    let id = secret("access_key_id");
    let key = secret("secret_access_key");
    let token_item = section.item("session_token");
    let token = token_item.map(|item| provider_secret(item, found, secrets));
    let token = match token {
        Some(wrong_or_right) => Some(wrong_or_right?),
        None => None,
    };
    Some(Box::new(Signer {
        region: region?,
        access_key_id: id?,
        secret_access_key: key?,
        session_token: token,
    }))
}

/// `aws` of a client's key.
pub(super) fn signed(
    item: Item<'_, '_>,
    found: &mut Findings,
    secrets: &dyn Secrets,
) -> Option<Box<Signed>> {
    let section = item.section(found, "`aws`", SIGNED)?;
    let id = section
        .need(found, "access_key_id", ID_RIGHT)
        .and_then(|item| item.read(found, |v| string(v).and_then(access_key_id)));
    let key = section
        .need(found, "secret_access_key", SECRET_RIGHT)
        .and_then(|item| provider_secret(item, found, secrets));
    Some(Box::new(Signed {
        access_key_id: id?,
        secret_access_key: key?,
    }))
}

fn region(region: String) -> Result<String, super::value::Wrong> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if (1..=64).contains(&region.len()) && region.bytes().all(plain) {
        Ok(region)
    } else {
        wrong("write a region such as \"us-east-1\"")
    }
}

fn access_key_id(id: String) -> Result<String, super::value::Wrong> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if (1..=ID_MAX).contains(&id.len()) && id.bytes().all(plain) {
        Ok(id)
    } else {
        wrong("write 1 to 128 letters, digits, _ and -")
    }
}
