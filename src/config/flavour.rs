//! What a provider does otherwise than the owner of its dialect.
//!
//! ```text
//!   dialect    flavour   path behind base_url                            credentials
//!   gemini     vertex    /models/M:generateContent                       Bearer
//!   anthropic  vertex    /models/M:rawPredict, :streamRawPredict         Bearer
//!   anthropic  bedrock   /model/M/invoke, …/invoke-with-response-stream  signature or Bearer
//!   responses  azure     /openai/v1/responses                            api-key
//! ```
//!
//! Source: API references of Vertex AI, Azure OpenAI (v1) and Amazon Bedrock Runtime.

use super::fault::Findings;
use super::model::{BaseUrl, Dialect, Provider};
use super::value::choice;
use super::walk::Item;
use crate::dialect::anthropic::request::Cloud;

const FLAVOURS: &[(&str, Flavour)] = &[
    ("vertex", Flavour::Vertex),
    ("azure", Flavour::Azure),
    ("bedrock", Flavour::Bedrock),
];

/// What a provider does otherwise than the owner of its dialect: URL and authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Vertex AI: the model in the path behind a publisher, a Bearer token.
    Vertex,
    /// Azure: its path and its `api-key` header.
    Azure,
    /// Bedrock's `InvokeModel`: the model in the path, events in Amazon's frames.
    Bedrock,
}

impl Flavour {
    /// As it is written in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vertex => "vertex",
            Self::Azure => "azure",
            Self::Bedrock => "bedrock",
        }
    }

    /// The dialects that there are in this flavour.
    pub const fn of(self) -> &'static [Dialect] {
        match self {
            Self::Vertex => &[Dialect::Gemini, Dialect::Anthropic],
            Self::Azure => &[Dialect::Responses],
            Self::Bedrock => &[Dialect::Anthropic],
        }
    }
}

impl Provider {
    /// Who carries Anthropic's dialect, when it is not Anthropic.
    pub fn cloud(&self) -> Option<Cloud> {
        match (self.dialect, self.flavour) {
            (Dialect::Anthropic, Some(Flavour::Vertex)) => Some(Cloud::Vertex),
            (Dialect::Anthropic, Some(Flavour::Bedrock)) => Some(Cloud::Bedrock),
            _ => None,
        }
    }
}

/// The flavour of a provider of `dialect`, which has to be one that there is.
pub(super) fn flavour(
    item: Item<'_, '_>,
    dialect: Option<Dialect>,
    found: &mut Findings,
) -> Option<Flavour> {
    let flavour = item.read(found, |v| choice(v, FLAVOURS, &[]))?;
    if let Some(dialect) = dialect
        && !flavour.of().contains(&dialect)
    {
        let names = flavour.of().iter().map(|d| format!("{:?}", d.name()));
        let text = format!(
            "`flavour` is {:?}, which dialect {:?} does not have; remove it or write dialect = {}",
            flavour.name(),
            dialect.name(),
            names.collect::<Vec<_>>().join(" or "),
        );
        found.fault(item.key_at, text);
    }
    Some(flavour)
}

/// Whether the models of `flavour` can be behind the path of `url`.
pub(super) fn check_path(
    flavour: Option<Flavour>,
    item: Item<'_, '_>,
    url: &BaseUrl,
    found: &mut Findings,
) {
    if flavour == Some(Flavour::Vertex) && !url.path.contains("/publishers/") {
        let text = "`base_url` names no publisher, which flavour \"vertex\" has before the \
                    model; write \"https://HOST/v1/projects/P/locations/L/publishers/google\" \
                    or, for dialect \"anthropic\", \"…/publishers/anthropic\"";
        found.fault(item.at, text.to_owned());
    }
}
