//! Why a handshake came to nothing, as a kind of the one table of faults.

use super::verify::Reason;
use crate::base::fault::Kind;
use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// Why there is no TLS connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Broken {
    /// The peer of a server speaks HTTP without TLS.
    PlainHttp,
    /// The connection ended.
    Closed,
    /// What rustls says.
    Tls(Error),
}

impl Broken {
    /// What it means when a provider is at the other end.
    pub fn kind(&self) -> Kind {
        match self {
            Self::PlainHttp => Kind::PlainHttp,
            Self::Closed => Kind::TlsFailed,
            Self::Tls(error) => kind(error),
        }
    }

    /// Whether the certificate of either side was at fault.
    pub fn is_certificate(&self) -> bool {
        use AlertDescription as A;
        match self {
            Self::Tls(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => true,
            Self::Tls(Error::AlertReceived(alert)) => matches!(
                alert,
                A::BadCertificate
                    | A::UnsupportedCertificate
                    | A::CertificateRevoked
                    | A::CertificateExpired
                    | A::CertificateUnknown
                    | A::UnknownCA
                    | A::CertificateRequired
            ),
            _ => false,
        }
    }
}

fn kind(error: &Error) -> Kind {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::AlertReceived(AlertDescription::ProtocolVersion)
        | Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => Kind::TlsVersion,
        _ => Kind::TlsFailed,
    }
}

fn certificate(error: &CertificateError) -> Kind {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } => Kind::CertificateExpired,
        E::NotValidYet | E::NotValidYetContext { .. } => Kind::CertificateNotYetValid,
        E::NotValidForName | E::NotValidForNameContext { .. } => Kind::CertificateWrongHost,
        E::UnknownIssuer => Kind::CertificateUnknownIssuer,
        E::UnsupportedSignatureAlgorithmContext { .. } => Kind::CertificateWeak,
        E::Other(other) => match other.0.downcast_ref::<Reason>() {
            Some(Reason::Weak) => Kind::CertificateWeak,
            Some(Reason::SelfSigned) => Kind::CertificateSelfSigned,
            None => Kind::CertificateInvalid,
        },
        _ => Kind::CertificateInvalid,
    }
}
