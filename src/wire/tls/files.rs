//! PEM text to what a [`Session`](super::Session) is made from, or to what is wrong with it.
//!
//! No file is read here: who has the text calls.

use super::verify::Judge;
use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, Error, InconsistentKeys, RootCertStore, ServerConfig};
use std::sync::Arc;

/// What is spoken over the connections (RFC 7301).
const ALPN: &[u8] = b"http/1.1";

/// Which of the three files of a listener is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate chain.
    Cert,
    /// The private key.
    Key,
    /// The authorities of clients' certificates.
    ClientCa,
}

/// What is wrong with a file, to stand behind its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which.
    pub part: Part,
    /// What.
    pub what: String,
}

/// The texts of a listener's files.
#[derive(Clone, Copy)]
pub struct Texts<'a> {
    /// The certificate and its chain, PEM.
    pub cert: &'a [u8],
    /// The private key, PEM.
    pub key: &'a [u8],
    /// Authorities of clients' certificates, PEM; when there, a client needs one.
    pub client_ca: Option<&'a [u8]>,
}

impl std::fmt::Debug for Texts<'_> {
    /// The key is a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Texts").finish_non_exhaustive()
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates in a PEM text.
///
/// # Errors
/// What is wrong with it.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    const RIGHT: &str = "put PEM there, -----BEGIN CERTIFICATE-----";
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certs) if certs.is_empty() => Err(format!("holds no certificate; {RIGHT}")),
        Ok(certs) => Ok(certs),
        Err(error) => Err(format!("is not PEM ({error}); {RIGHT}")),
    }
}

/// Authorities to trust.
///
/// # Errors
/// What is wrong with one of them.
pub fn authorities(certs: Vec<CertificateDer<'static>>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for cert in certs {
        roots.add(cert).map_err(|error| {
            format!("holds a certificate that cannot be used ({error}); replace it")
        })?;
    }
    Ok(roots)
}

/// Makes the keys that tickets are sealed with; to be shared by everybody who listens.
///
/// # Errors
/// When the system has no random numbers.
pub fn tickets() -> Result<Arc<dyn ProducesTickets>, Error> {
    ring::Ticketer::new()
}

/// What a listener needs. TLS 1.2 and 1.3, no early data, sessions in tickets only.
///
/// # Errors
/// Which text is wrong, and how.
pub fn server(
    texts: Texts<'_>,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<Arc<ServerConfig>, Wrong> {
    let provider = provider();
    let wrong = |part| move |what: String| Wrong { part, what };
    let chain = certificates(texts.cert).map_err(wrong(Part::Cert))?;
    let key = PrivateKeyDer::from_pem_slice(texts.key).map_err(|_| Wrong {
        part: Part::Key,
        what: "holds no private key; put PEM there, -----BEGIN PRIVATE KEY-----".to_owned(),
    })?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|_| Wrong {
            part: Part::Key,
            what: "holds a key that cannot be used; use RSA of 2048 bits or more, or ECDSA"
                .to_owned(),
        })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => {
            let what = "is not the key of the certificate; use the two that belong together";
            return Err(wrong(Part::Key)(what.to_owned()));
        }
        Err(error) => {
            let what = format!("holds a certificate that cannot be read ({error}); replace it");
            return Err(wrong(Part::Cert)(what));
        }
    }
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(Part::Cert)(error.to_string()))?;
    let builder = match texts.client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let roots = certificates(pem).and_then(authorities);
            let roots = roots.map_err(wrong(Part::ClientCa))?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| wrong(Part::ClientCa)(error.to_string()))?,
            )
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::clone(tickets);
    config.ignore_client_order = true;
    Ok(Arc::new(config))
}

/// What connections to a provider need. TLS 1.2 and 1.3, no early data.
///
/// # Errors
/// When there is nothing to trust.
pub fn client(roots: &Arc<RootCertStore>) -> Result<ClientConfig, String> {
    let provider = provider();
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Judge(verifier)))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}
