//! Signatures of AWS on Bedrock's routes: who signed a request, and whether it arrived as it
//! was signed.
//!
//! ```text
//!   head ──► access key id ──► key        unknown: refused before the body is read
//!    │                          │
//!    ├─ x-amz-content-sha256 ───┼──► verified at once; the body must have that hash
//!    └─ no such field ──────────┴──► verified with the hash of the body, once it was read
//! ```
//!
//! Invariants
//! - I1 No request is asked of a provider before its signature and its body's hash were found
//!   good; a body that is not signed is refused.
//! - I2 Signatures count on the routes of Bedrock and nowhere else; without keys nobody looks.
//!
//! Source: as [`sigv4`]; botocore, `auth.py`: its requests to Bedrock name no hash.

use crate::base::fault::Kind;
use crate::base::span::Span;
use crate::config::model::Key;
use crate::dialect::model::Dialect;
use crate::dialect::route::Route;
use crate::policy::auth;
use crate::wire::http1::{Known, RequestHead};
use crate::wire::sigv4::{self, Ask, Credential, Payload};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A request that carries a signature.
#[derive(Clone, Copy, Debug)]
pub struct SignedHead<'a> {
    head: &'a RequestHead,
    data: &'a [u8],
    authorization: &'a str,
}

impl<'a> SignedHead<'a> {
    /// The request with `head`, whose bytes are `data`, if it came by a route of Bedrock's and
    /// with a signature, and there are `keys` (I2).
    pub fn find(
        keys: &[Key],
        route: Option<Route>,
        head: &'a RequestHead,
        data: &'a [u8],
    ) -> Option<Self> {
        if keys.is_empty() || route.map(Route::dialect) != Some(Dialect::Bedrock) {
            return None;
        }
        let value = head.known(Known::Authorization)?.bytes(data);
        let authorization = std::str::from_utf8(value).ok()?;
        sigv4::is_signature(authorization).then_some(Self {
            head,
            data,
            authorization,
        })
    }

    /// Refuses what the head shows to be signed by none of `keys`, at `now` (seconds since
    /// 1970). Whoever is let through is not known before [`SignedHead::signer`] knows the body.
    ///
    /// # Errors
    /// [`Kind::BadKey`]: none of them has that access key id. [`Kind::BadSignature`].
    pub fn admit(self, keys: &[Key], now: u64) -> Result<(), Kind> {
        let credential = Credential::read(self.authorization).ok_or(Kind::BadSignature)?;
        let index = auth::find_signer(keys, credential.id).ok_or(Kind::BadKey)?;
        match self.declared()? {
            Some(hash) => self.verify(keys.get(index), &credential, hash, now),
            None => Ok(()),
        }
    }

    /// Which of `keys` has signed the request that [`SignedHead::admit`] let through, with
    /// `body`, at `now` (I1).
    ///
    /// # Errors
    /// As [`SignedHead::admit`].
    pub fn signer(self, keys: &[Key], body: &[u8], now: u64) -> Result<usize, Kind> {
        let credential = Credential::read(self.authorization).ok_or(Kind::BadSignature)?;
        let index = auth::find_signer(keys, credential.id).ok_or(Kind::BadKey)?;
        let hash: [u8; 32] = Sha256::digest(body).into();
        match self.declared()? {
            Some(declared) if bool::from(declared.ct_eq(&hash)) => {}
            Some(_) => return Err(Kind::BadSignature),
            None => self.verify(keys.get(index), &credential, hash, now)?,
        }
        Ok(index)
    }

    /// The hash of the body by the head; `None`: there is none.
    fn declared(self) -> Result<Option<[u8; 32]>, Kind> {
        let mut named = self.fields("x-amz-content-sha256");
        let Some(text) = named.next() else {
            return Ok(None);
        };
        let hash = sigv4::hash_of_text(text).filter(|_| named.next().is_none());
        hash.map(Some).ok_or(Kind::BadSignature) // UNSIGNED-PAYLOAD and STREAMING-… are none
    }

    fn fields(self, wanted: &'static str) -> impl Iterator<Item = &'a [u8]> {
        let all = self.head.fields(self.data);
        all.filter(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes()))
            .map(|(_, value)| value)
    }

    fn verify(
        self,
        key: Option<&Key>,
        credential: &Credential<'_>,
        hash: [u8; 32],
        now: u64,
    ) -> Result<(), Kind> {
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).ok();
        let fields = self.head.fields(self.data);
        // A value that is no UTF-8 can be signed by nobody; if it is named, it is missing.
        let headers: Vec<_> = fields
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect();
        let span = |span: Span| text(span.bytes(self.data));
        let ask = Ask {
            method: "POST", // the routes of Bedrock have no other
            path: span(self.head.path).ok_or(Kind::BadSignature)?,
            query: span(self.head.query).ok_or(Kind::BadSignature)?,
            headers: &headers,
            payload: Payload::Hash(hash),
        };
        let signed = key.and_then(|key| key.aws.as_ref()).ok_or(Kind::BadKey)?;
        let secret = signed.secret_access_key.reveal();
        sigv4::verify(&ask, credential, secret, now).map_err(|_| Kind::BadSignature)
    }
}
