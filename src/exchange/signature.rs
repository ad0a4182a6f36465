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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FixedSecrets, check};
    use crate::wire::http1::{HeadLimits, RequestReader};
    use crate::wire::sigv4::{Keys, Place};

    const NOW: u64 = 1_800_000_000;
    const BODY: &[u8] = b"{\"messages\":[]}";
    const PLACE: Place<'_> = Place {
        region: "eu-west-1",
        service: "bedrock",
    };

    fn keys() -> Vec<Key> {
        let text = "[[keys]]\nname = \"plain\"\nsecret = { env = \"PLAIN\" }\n\
                    [[keys]]\nname = \"a\"\n\
                    aws = { access_key_id = \"AKIDA\", secret_access_key = { env = \"A\" } }\n\
                    [[keys]]\nname = \"b\"\nsecret = { env = \"B\" }\n\
                    aws = { access_key_id = \"AKIDB\", secret_access_key = { env = \"B\" } }\n\
                    [providers.p]\ndialect = \"openai\"\nbase_url = \"http://127.0.0.1:1\"\n";
        let secrets = [("PLAIN", "plain"), ("A", "secret-a"), ("B", "secret-b")];
        check(text, &FixedSecrets(&secrets)).unwrap().config.keys
    }

    /// A head that `id` signed with `secret` for `payload`, with these fields more.
    fn head(
        (id, secret): (&str, &str),
        payload: Payload<'_>,
        more: &[(&str, &str)],
    ) -> (RequestHead, Vec<u8>) {
        let mut headers = vec![("host", "gate:8080"), ("content-type", "application/json")];
        headers.extend_from_slice(more);
        let path = "/model/eu.m-v1%3A0/converse";
        let ask = Ask {
            method: "POST",
            path,
            query: "",
            headers: &headers,
            payload,
        };
        let token = None;
        let signed = sigv4::sign(&ask, &Keys { id, secret, token }, PLACE, NOW);
        let mut wire = format!("POST {path} HTTP/1.1\r\ncontent-length: {}\r\n", BODY.len());
        let lines = [
            ("X-Amz-Date", &*signed.date),
            ("Authorization", &*signed.authorization),
        ];
        for (name, value) in headers.into_iter().chain(lines) {
            wire.extend([name, ": ", value, "\r\n"]);
        }
        wire += "\r\n";
        let reader = RequestReader::new(HeadLimits::REQUEST).push(wire.as_bytes());
        (reader.unwrap().unwrap(), wire.into_bytes())
    }

    /// What the head says, and the body.
    fn says(
        keys: &[Key],
        (head, data): &(RequestHead, Vec<u8>),
        body: &[u8],
        now: u64,
    ) -> (Result<(), Kind>, Result<usize, Kind>) {
        let signed = SignedHead::find(keys, Some(Route::Converse), head, data).unwrap();
        (signed.admit(keys, now), signed.signer(keys, body, now))
    }

    const A: (&str, &str) = ("AKIDA", "secret-a");
    const B: (&str, &str) = ("AKIDB", "secret-b");

    /// Goal: I1. Method: both ways of saying the body's hash, right and with one thing wrong.
    #[test]
    fn only_what_was_signed_is_let_through() {
        let keys = keys();
        let hash = Payload::Bytes(BODY).text();
        let named = [("x-amz-content-sha256", &*hash)];
        let bad = Err(Kind::BadSignature);
        for more in [&[][..], &named] {
            let payload = Payload::Bytes(BODY);
            let [a, b] = [A, B].map(|who| head(who, payload, more));
            assert_eq!(says(&keys, &a, BODY, NOW), (Ok(()), Ok(1)));
            assert_eq!(says(&keys, &b, BODY, NOW + 900), (Ok(()), Ok(2)));
            // Without a hash in the head, only the body tells.
            let early = |fault| if more.is_empty() { Ok(()) } else { fault };
            assert_eq!(says(&keys, &a, b"{}", NOW), (Ok(()), bad.map(|()| 0)));
            let late = says(&keys, &a, BODY, NOW + 901);
            assert_eq!(late.0, early(bad));
            assert_eq!(says(&keys, &a, BODY, NOW - 901).0, early(bad));
            let wrong = head(("AKIDA", "secret-b"), payload, more);
            assert_eq!(says(&keys, &wrong, BODY, NOW).0, early(bad));
            if more.is_empty() {
                assert_eq!(late.1, bad.map(|()| 0));
                assert_eq!(says(&keys, &wrong, BODY, NOW).1, bad.map(|()| 0));
            }
            for id in ["AKIDC", "akida", "AKID", "AKIDAA"] {
                let (head, body) = says(&keys, &head((id, "secret-a"), payload, more), BODY, NOW);
                assert_eq!((head, body), (Err(Kind::BadKey), Err(Kind::BadKey)), "{id}");
            }
        }
        let other = head(A, Payload::Bytes(b"{}"), &named);
        assert_eq!(says(&keys, &other, BODY, NOW).0, bad);
    }

    /// Goal: I1: a body that is not signed is refused, whatever the signature says.
    #[test]
    fn an_unsigned_body_is_refused() {
        let keys = keys();
        for text in ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", ""] {
            let more = [("x-amz-content-sha256", text)];
            let head = head(A, Payload::Unsigned, &more);
            let bad = Kind::BadSignature;
            assert_eq!(
                says(&keys, &head, BODY, NOW),
                (Err(bad), Err(bad)),
                "{text}"
            );
        }
    }

    /// Goal: I2.
    #[test]
    fn signatures_count_on_bedrocks_routes_and_with_keys_only() {
        let keys = keys();
        let (head, data) = head(A, Payload::Bytes(BODY), &[]);
        let finds = |keys, route| SignedHead::find(keys, route, &head, &data).is_some();
        assert!(finds(&keys, Some(Route::Converse)));
        assert!(finds(&keys, Some(Route::ConverseStream)));
        assert!(!finds(&keys, Some(Route::Chat)));
        assert!(!finds(&keys, Some(Route::Messages)));
        assert!(!finds(&keys, None));
        assert!(!finds(&[], Some(Route::Converse)));
    }
}
