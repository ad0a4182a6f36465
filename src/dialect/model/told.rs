//! What the gateway says of an answer and of an error in the client's dialect.

use super::{Refused, Trouble};
use crate::base::fault::Kind;
use std::time::Duration;

/// What a writer of answers must be told, since the provider's own names are not the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    /// A name for the answer that is unique, letters and digits only: writers put their
    /// dialect's prefix before it (`chatcmpl-`, `msg_`, `resp_`). Used when the provider gave
    /// none in the form of the client's dialect.
    pub id: &'a str,
    /// The model by the name that the client asked for.
    pub model: &'a str,
    /// Seconds since 1970.
    pub created: u64,
    /// Chat: the client asked for the usage chunk.
    pub wants_usage: bool,
}

/// An error as the client is told, from the gateway's own table or from a provider's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// The HTTP status that it goes with, also where it stands in a stream.
    pub status: u16,
    /// What kind of trouble: dialects choose their `type` by it.
    pub trouble: Trouble,
    /// The stable, machine-readable code.
    pub code: &'a str,
    /// The sentence: what is wrong and what to do.
    pub message: &'a str,
    /// The field at fault.
    pub param: Option<&'a str>,
}

/// What of an exchange an error tells besides what went wrong, in dialects that have a place for
/// it in the body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About<'a> {
    /// The exchange's name.
    pub id: &'a [u8],
    /// When to come back.
    pub wait: Option<Duration>,
}

impl Told<'static> {
    /// The gateway's own error `kind`.
    pub const fn of(kind: Kind) -> Self {
        Self {
            status: kind.status(),
            trouble: Trouble::of(kind),
            code: kind.code(),
            message: kind.text(),
            param: match kind {
                Kind::NoModel | Kind::BadModel | Kind::NoSuchModel | Kind::ModelForbidden => {
                    Some("model")
                }
                _ => None,
            },
        }
    }
}

impl Trouble {
    /// What kind of trouble one of the gateway's own errors is to a client.
    pub const fn of(kind: Kind) -> Self {
        match kind {
            Kind::BadKey | Kind::BadSignature => Self::Auth,
            Kind::ModelForbidden => Self::Permission,
            Kind::NoSuchModel | Kind::NoSuchRoute => Self::NotFound,
            Kind::BodyTooLarge => Self::TooLarge,
            Kind::Overloaded | Kind::Draining | Kind::ShutDown => Self::Overloaded,
            Kind::ConnectTimeout
            | Kind::FirstTokenTimeout
            | Kind::IdleTimeout
            | Kind::TotalTimeout => Self::Timeout,
            _ if kind.status() < 500 => Self::Invalid,
            _ => Self::Server,
        }
    }
}

impl<'a> Told<'a> {
    /// What a provider said, in its own words.
    pub fn by(refused: &'a Refused) -> Self {
        let message = match refused.trouble {
            Trouble::Auth => Kind::UpstreamRefusedKey.text(),
            _ if refused.message.is_empty() => Kind::UpstreamError.text(),
            _ => &refused.message,
        };
        Self {
            status: refused.trouble.status(),
            trouble: refused.trouble,
            code: refused.trouble.code(),
            message,
            param: refused.param.as_deref(),
        }
    }
}

impl Trouble {
    /// The status of an answer that came with `status`, which may be one of success.
    pub const fn status_for(self, status: u16) -> u16 {
        if status < 400 { self.status() } else { status }
    }

    /// The status that a client gets. Source: mapping.md, 10.
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid | Self::ContextLength | Self::ContentPolicy => 400,
            Self::Permission => 403,
            Self::NotFound => 404,
            Self::TooLarge => 413,
            Self::RateLimit | Self::Quota => 429,
            Self::Auth | Self::Server => 502, // never 401: the client's own key is good
            Self::Overloaded => 503,
            Self::Timeout => 504,
        }
    }

    /// Whether it is the provider's own, so that another one may do better, whatever the status.
    pub const fn is_upstreams(self) -> bool {
        matches!(
            self,
            Self::RateLimit | Self::Quota | Self::Overloaded | Self::Server | Self::Timeout
        )
    }

    /// The stable code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Auth => "upstream_refused_key",
            Self::Permission => "permission_denied",
            Self::NotFound => "model_not_found",
            Self::Invalid => "invalid_request",
            Self::ContextLength => "context_length_exceeded",
            Self::ContentPolicy => "content_filter",
            Self::TooLarge => "body_too_large",
            Self::RateLimit => "rate_limit_exceeded",
            Self::Quota => "insufficient_quota",
            Self::Overloaded => "overloaded",
            Self::Server => "upstream_error",
            Self::Timeout => "upstream_timeout",
        }
    }

    /// What a status alone says.
    pub const fn of_status(status: u16) -> Self {
        match status {
            401 | 407 => Self::Auth,
            402 => Self::Quota,
            403 => Self::Permission,
            404 => Self::NotFound,
            408 | 504 => Self::Timeout,
            413 => Self::TooLarge,
            429 => Self::RateLimit,
            503 | 529 => Self::Overloaded,
            500..=599 => Self::Server,
            _ => Self::Invalid,
        }
    }
}
