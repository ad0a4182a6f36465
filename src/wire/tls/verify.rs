//! Judges a provider's certificate: what webpki says, with two reasons told apart more finely.
//!
//! webpki says "unknown issuer" of a self-signed certificate, and nothing of a key that is too
//! short until that key has signed something. Both are looked for here, so that the operator
//! reads what is wrong. Nothing that webpki refuses is let pass.

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use std::fmt;
use std::sync::Arc;
use webpki::EndEntityCert;

/// What webpki does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The key is RSA of less than 2048 bits.
    Weak,
    /// The certificate is its own issuer.
    SelfSigned,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Weak => "the key is too short",
            Self::SelfSigned => "self-signed",
        })
    }
}

impl std::error::Error for Reason {}

impl From<Reason> for Error {
    fn from(reason: Reason) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(reason))))
    }
}

/// `rsaEncryption` with its tag and length (RFC 8017, A.1).
const RSA: &[u8] = &[6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// Bytes of the public key field of an RSA key of 2048 bits with a usual exponent are 294;
/// those of one of 2047 bits or less at most 293, with an exponent of one byte at least 292.
const RSA_2048_MIN: usize = 292;

/// webpki with finer reasons.
#[derive(Debug)]
pub struct Judge(pub Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Judge {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let cert = EndEntityCert::try_from(end_entity).ok();
        let is_weak = cert.as_ref().is_some_and(|cert| {
            let key = cert.subject_public_key_info();
            key.len() < RSA_2048_MIN && key.windows(RSA.len()).any(|window| window == RSA)
        });
        if is_weak {
            return Err(Reason::Weak.into());
        }
        let verdict =
            self.0
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            Err(Error::InvalidCertificate(
                CertificateError::UnknownIssuer
                | CertificateError::BadSignature
                | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
                | CertificateError::Other(_),
            )) if cert
                .as_ref()
                .is_some_and(|cert| cert.issuer() == cert.subject()) =>
            {
                Err(Reason::SelfSigned.into())
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
