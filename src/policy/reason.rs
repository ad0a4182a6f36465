//! What a failure means for who is asked next: the reason, or that it is the caller's own.
//!
//! ```text
//!   a provider's refusal ── what it says, then its status ──► Reason, or None: the caller's
//!   a fault before content ─────────────────────────────────► Reason
//! ```
//!
//! Invariants
//! - N1 The words decide where they are understood: a limit in a 400 is a limit, and a prompt that
//!   is too long is that in a 500.
//! - N2 A mistake of the caller's has no reason, whatever the configuration says.

use crate::base::fault::Kind;
use crate::config::Reason;
use crate::dialect::model::Trouble;

/// Whether `status` alone says that another target may do better.
pub const fn is_retriable(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..=599)
}

/// Why a provider refused with this status and this trouble; `None`: the request is at fault.
pub const fn of_refusal(status: u16, trouble: Trouble) -> Option<Reason> {
    Some(match trouble {
        Trouble::RateLimit | Trouble::Quota => Reason::RateLimit,
        Trouble::Timeout => Reason::Timeout,
        Trouble::Overloaded | Trouble::Server | Trouble::Auth => Reason::Error,
        Trouble::ContextLength => Reason::ContextLength,
        Trouble::ContentPolicy => Reason::ContentPolicy,
        // What a status of success hides is the provider's own, as no caller is told so.
        Trouble::Permission | Trouble::NotFound if status < 400 => Reason::Error,
        _ => match status {
            429 => Reason::RateLimit,
            408 | 504 => Reason::Timeout,
            _ if is_retriable(status) => Reason::Error,
            _ => return None, // N2
        },
    })
}

/// Why an attempt failed with the fault `kind`.
pub const fn of_fault(kind: Kind) -> Reason {
    match kind {
        Kind::ConnectTimeout | Kind::FirstTokenTimeout | Kind::IdleTimeout => Reason::Timeout,
        _ => Reason::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Trouble; 12] = [
        Trouble::Auth,
        Trouble::Permission,
        Trouble::NotFound,
        Trouble::Invalid,
        Trouble::ContextLength,
        Trouble::ContentPolicy,
        Trouble::TooLarge,
        Trouble::RateLimit,
        Trouble::Quota,
        Trouble::Overloaded,
        Trouble::Server,
        Trouble::Timeout,
    ];

    /// Goal: N1. Method: troubles that say it all, with every status.
    #[test]
    fn words_go_before_the_status() {
        for status in 200..600 {
            for (trouble, want) in [
                (Trouble::RateLimit, Reason::RateLimit),
                (Trouble::Quota, Reason::RateLimit),
                (Trouble::ContextLength, Reason::ContextLength),
                (Trouble::ContentPolicy, Reason::ContentPolicy),
                (Trouble::Timeout, Reason::Timeout),
                (Trouble::Overloaded, Reason::Error),
                (Trouble::Auth, Reason::Error),
            ] {
                assert_eq!(of_refusal(status, trouble), Some(want), "{status}");
            }
        }
    }

    /// Goal: N2, and that a status speaks where the words do not.
    #[test]
    fn mistakes_of_the_caller_have_no_reason() {
        for trouble in [Trouble::Invalid, Trouble::TooLarge] {
            for status in [200, 400, 404, 413, 422, 499] {
                assert_eq!(of_refusal(status, trouble), None, "{status} {trouble:?}");
            }
            assert_eq!(of_refusal(429, trouble), Some(Reason::RateLimit));
            assert_eq!(of_refusal(504, trouble), Some(Reason::Timeout));
            assert_eq!(of_refusal(503, trouble), Some(Reason::Error));
        }
        for trouble in [Trouble::Permission, Trouble::NotFound] {
            assert_eq!(of_refusal(404, trouble), None);
            assert_eq!(of_refusal(200, trouble), Some(Reason::Error));
        }
    }

    /// Goal: what status and words alone say agrees with what is retried by the status.
    #[test]
    fn every_retriable_status_has_a_reason() {
        for status in 400..600 {
            let by_status = of_refusal(status, Trouble::of_status(status));
            let is_auth = matches!(status, 401 | 402 | 407);
            assert_eq!(
                by_status.is_some(),
                is_retriable(status) || is_auth,
                "{status}"
            );
            for trouble in ALL.into_iter().filter(|_| is_retriable(status)) {
                assert!(of_refusal(status, trouble).is_some());
            }
        }
    }

    /// Goal: the three timeouts before content are told from failures.
    #[test]
    fn timeouts_are_told_from_errors() {
        let late = [
            Kind::ConnectTimeout,
            Kind::FirstTokenTimeout,
            Kind::IdleTimeout,
        ];
        for kind in Kind::ALL {
            let want = if late.contains(kind) {
                Reason::Timeout
            } else {
                Reason::Error
            };
            assert_eq!(of_fault(*kind), want, "{kind:?}");
        }
    }
}
