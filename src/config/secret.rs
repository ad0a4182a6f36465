//! Secrets and who has them: what may be shown of them is where they come from.
//!
//! Invariants
//! - C3 No secret is ever shown: [`Secret`] has no `Display`, and its `Debug` hides it.

use super::aws::Signed;
use std::fmt;

/// One of `[[keys]]`: a client.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name, for logs.
    pub name: String,
    /// SHA-256 of its secret; `None`: it only signs.
    pub digest: Option<[u8; 32]>,
    /// Where the secret came from.
    pub source: Option<SecretRef>,
    /// What it signs requests with, on Bedrock's routes.
    pub aws: Option<Box<Signed>>,
    /// Patterns of the model names that it may ask for: `*`, `prefix*` or a whole name.
    pub models: Vec<String>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("source", &self.source)
            .field("aws", &self.aws)
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}

/// Where a secret comes from. Safe to show.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; white space at its end is dropped.
    File(String),
    /// A file of `$CREDENTIALS_DIRECTORY`, as a service manager provides it.
    Credential(String),
    /// The SHA-256 itself, in hex; for client keys only.
    Sha256(String),
}

/// A provider's API key. Its bytes are visible ASCII, so they fit into a header field.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    source: SecretRef,
    value: String,
}

impl Secret {
    pub(super) fn new(source: SecretRef, value: String) -> Self {
        Self { source, value }
    }

    /// The value, to be sent to the provider and nowhere else.
    pub fn reveal(&self) -> &str {
        &self.value
    }

    /// Where it came from.
    pub fn source(&self) -> &SecretRef {
        &self.source
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({:?})", self.source)
    }
}
