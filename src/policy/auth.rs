//! Who may ask, and for which models.
//!
//! ```text
//!   Authorization: Bearer TOKEN ─┐
//!   x-api-key: TOKEN             ├─► presented ─SHA-256─► compared with every key ─► index
//!   api-key, x-goog-api-key     ─┘
//! ```
//!
//! Invariants
//! - A1 What a comparison takes does not depend on the keys' bytes: digests are compared in
//!   constant time, and always all of them.
//! - A2 A key matches as a whole: no prefix, no case folding, no white space.
//! - A3 Nothing is ever a key but a field's value: no query, no trailer, no client address.
//!
//! Source: RFC 9110, section 11.4 (credentials); RFC 6750, section 2.1 (Bearer).

use crate::base::fault::Kind;
use crate::config::model::Key;
use crate::config::model::defaults::SECRET_MAX;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

/// The SHA-256 of a secret.
pub fn digest(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Whether `bytes` are a `b64token`: what `Authorization: Bearer` can carry.
pub fn is_token(bytes: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~+/".contains(b);
    let padding = bytes.iter().rev().take_while(|b| **b == b'=').count();
    let text = bytes
        .get(..bytes.len().saturating_sub(padding))
        .unwrap_or_default();
    !text.is_empty() && text.iter().all(plain)
}

/// The token of an `Authorization` value: the scheme `Bearer` in any case, one or more
/// spaces, one token, nothing else. `None` for every other scheme or shape.
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"bearer".len())?;
    let token = rest.trim_ascii_start();
    let spaces = rest.get(..rest.len().checked_sub(token.len())?)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer")
        && !spaces.is_empty()
        && spaces.iter().all(|b| *b == b' ');
    (is_bearer && is_token(token)).then_some(token)
}

/// The key that a request presents, from the values of its `Authorization` field and of the
/// `others`: `x-api-key`, `api-key`, `x-goog-api-key`. The first of them that is there decides
/// alone: a malformed `Authorization` is not made good by another field.
pub fn presented<'v>(
    authorization: Option<&'v [u8]>,
    others: [Option<&'v [u8]>; 3],
) -> Option<&'v [u8]> {
    if let Some(value) = authorization {
        return bearer(value);
    }
    let first = others.into_iter().flatten().next();
    first.filter(|token| is_token(token))
}

/// Which of `keys` the `presented` one is. `Ok(None)`: there are no keys, the gateway is open.
///
/// # Errors
/// [`Kind::BadKey`] when there are keys and none was presented, or an unknown one.
pub fn admit(keys: &[Key], presented: Option<&[u8]>) -> Result<Option<usize>, Kind> {
    if keys.is_empty() {
        return Ok(None);
    }
    let presented = presented
        .filter(|token| !token.is_empty() && token.len() <= SECRET_MAX)
        .ok_or(Kind::BadKey)?;
    let digest = digest(presented);
    let mut found = u32::MAX;
    for (index, key) in (0_u32..).zip(keys) {
        let held = key.digest.unwrap_or_default();
        let same = held.ct_eq(&digest) & u8::from(key.digest.is_some()).into();
        found.conditional_assign(&index, same); // A1: no early exit
    }
    let index = usize::try_from(found).map_err(|_| Kind::BadKey)?;
    if index < keys.len() {
        Ok(Some(index))
    } else {
        Err(Kind::BadKey)
    }
}

/// Which of `keys` signs with the access key `id`. The id is no secret, but which ids there are
/// is not told by the time that it takes either.
pub fn find_signer(keys: &[Key], id: &str) -> Option<usize> {
    let mut found = u32::MAX;
    for (index, key) in (0_u32..).zip(keys) {
        if let Some(aws) = &key.aws {
            let same = aws.access_key_id.as_bytes().ct_eq(id.as_bytes());
            found.conditional_assign(&index, same); // A1
        }
    }
    let index = usize::try_from(found).ok()?;
    (index < keys.len()).then_some(index)
}

/// Whether `key` may ask for the model `asked`.
pub fn may_ask(key: &Key, asked: &str) -> bool {
    key.models
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => asked.starts_with(prefix),
            None => pattern == asked,
        })
}

/// Whether the client that was `admitted` may ask for the model `asked`.
///
/// # Errors
/// [`Kind::BadKey`] when nobody was admitted though there are keys;
/// [`Kind::ModelForbidden`] when its key does not list the model.
pub fn permit(keys: &[Key], admitted: Option<usize>, asked: &str) -> Result<(), Kind> {
    let Some(index) = admitted else {
        return if keys.is_empty() {
            Ok(())
        } else {
            Err(Kind::BadKey)
        };
    };
    match keys.get(index) {
        Some(key) if may_ask(key, asked) => Ok(()),
        _ => Err(Kind::ModelForbidden),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::SecretRef;

    fn key(name: &str, secret: &str, models: &[&str]) -> Key {
        Key {
            name: name.into(),
            digest: Some(digest(secret.as_bytes())),
            source: Some(SecretRef::Env(name.into())),
            aws: None,
            models: models.iter().map(|m| (*m).to_owned()).collect(),
        }
    }

    /// Goal: only one well-formed Bearer token is read. Method: the shapes of the evil-client
    /// corpus (`a-*`) and their neighbours.
    #[test]
    fn a_bearer_value_is_one_token_and_nothing_else() {
        let cases: [(&[u8], Option<&[u8]>); 20] = [
            (b"Bearer sk-1", Some(b"sk-1")),
            (b"bearer sk-1", Some(b"sk-1")),
            (b"BEARER   sk-1", Some(b"sk-1")),
            (b"Bearer a+/._~-=", Some(b"a+/._~-=")),
            (b"Bearer sk-1 x", None),
            (b"Bearer sk-1\0x", None),
            (b"Bearer sk-1 ", None),
            (b"Bearer\tsk-1", None),
            (b"Bearer \tsk-1", None),
            (b"Bearersk-1", None),
            (b"Bearer", None),
            (b"Bearer ", None),
            (b"Bearer =", None),
            (b"Bearer a=b", None),
            (b"Bearer a,b", None),
            (b"Basic dXNlcjpwYXNz", None),
            (b"", None),
            (b"sk-1", None),
            (b"Bearer sk-x'; DROP TABLE keys;--", None),
            (b"Bearer \xc3\xa4", None),
        ];
        for (value, token) in cases {
            assert_eq!(bearer(value), token, "{}", value.escape_ascii());
        }
    }

    /// Goal: a malformed field is not made good by another one.
    #[test]
    fn the_first_field_that_is_there_decides() {
        assert_eq!(presented(None, [None; 3]), None);
        assert_eq!(
            presented(None, [Some(b"a"), Some(b"b"), None]),
            Some(&b"a"[..])
        );
        assert_eq!(presented(None, [None, None, Some(b"b")]), Some(&b"b"[..]));
        assert_eq!(presented(Some(b"Basic a"), [Some(b"a"), None, None]), None);
        assert_eq!(presented(None, [Some(b"a b"), None, None]), None);
        assert_eq!(presented(None, [Some(b""), Some(b"b"), None]), None);
    }

    /// Goal: A2. Method: every near miss of a known key: prefix, suffix, case, empty, too long.
    #[test]
    fn a_key_matches_as_a_whole_or_not_at_all() {
        let keys = [
            key("a", "sk-one", &["*"]),
            key("b", "sk-two", &["*"]),
            key("c", "sk-three", &["*"]),
        ];
        for (index, secret) in [b"sk-one".as_slice(), b"sk-two", b"sk-three"]
            .iter()
            .enumerate()
        {
            assert_eq!(admit(&keys, Some(secret)), Ok(Some(index)));
        }
        let long = vec![b'x'; SECRET_MAX + 1];
        let misses: [&[u8]; 7] = [
            b"sk-on", b"sk-onex", b"SK-ONE", b"", b" sk-one", b"sk-", &long,
        ];
        for miss in misses {
            assert_eq!(admit(&keys, Some(miss)), Err(Kind::BadKey));
        }
        assert_eq!(admit(&keys, None), Err(Kind::BadKey));
        assert_eq!(admit(&[], None), Ok(None));
        assert_eq!(admit(&[], Some(b"any")), Ok(None));
    }

    /// Goal: a key without a secret is nobody's, whatever is presented. Method: a key that only
    /// signs, beside one that has a secret.
    #[test]
    fn a_key_that_only_signs_is_presented_by_nobody() {
        let mut signs = key("a", "", &["*"]);
        signs.digest = None;
        let keys = [signs, key("b", "sk-two", &["*"])];
        assert_eq!(admit(&keys, Some(b"sk-two")), Ok(Some(1)));
        for miss in [&b"x"[..], b"", b"a"] {
            assert_eq!(admit(&keys, Some(miss)), Err(Kind::BadKey));
        }
        assert_eq!(find_signer(&keys, "a"), None);
    }

    /// Goal: a key's list is obeyed.
    #[test]
    fn a_key_asks_only_for_the_models_of_its_list() {
        let keys = [key("a", "s", &["gpt-*", "llama"]), key("b", "t", &[])];
        for (asked, may) in [
            ("gpt-4o", true),
            ("gpt-", true),
            ("gpt", false),
            ("llama", true),
            ("llama2", false),
            ("local/gpt-4o", false),
        ] {
            assert_eq!(may_ask(&keys[0], asked), may, "{asked}");
        }
        assert_eq!(permit(&keys, Some(1), "gpt-4o"), Err(Kind::ModelForbidden));
        assert_eq!(permit(&keys, Some(9), "gpt-4o"), Err(Kind::ModelForbidden));
        assert_eq!(permit(&keys, None, "gpt-4o"), Err(Kind::BadKey));
        assert_eq!(permit(&[], None, "gpt-4o"), Ok(()));
        assert!(may_ask(&key("c", "u", &["*"]), "anything/at:all"));
    }
}
