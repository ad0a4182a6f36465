//! Signs requests with AWS Signature Version 4, and verifies such signatures.
//!
//! ```text
//!   method ⏎ path ⏎ query ⏎ headers ⏎ names ⏎ hash of the body        canonical request
//!        └ sha256 ─► AWS4-HMAC-SHA256 ⏎ date ⏎ scope ⏎ hash           string to sign
//!   AWS4+secret ─hmac day─hmac region─hmac service─hmac aws4_request─► key ─hmac─► signature
//! ```
//!
//! Invariants
//! - I1 The signature is a function of its input: time comes in, as seconds since 1970.
//! - I2 What [`sign`] signed [`verify`] accepts, within the skew; any other byte in what was
//!   signed is refused.
//! - I3 Signatures are compared in constant time; a secret is in no `Debug` and in no fault.
//!
//! Source: AWS Identity and Access Management User Guide, "Create a signed AWS API request";
//! the published test suite `aws-sig-v4-test-suite`.

mod canonical;

use canonical::{put_headers, put_path, put_query};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How far the date of a signature may be from now, either way, in seconds. Source: AWS
/// refuses signatures that are older than five minutes; services that take them from clients
/// with clocks of their own allow fifteen.
pub const SKEW_MAX: u64 = 900;

/// Most headers that a signature may name.
pub const HEADERS_MAX: usize = 64;

/// What signatures are made with.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    /// The access key id, which is no secret.
    pub id: &'a str,
    /// The secret access key.
    pub secret: &'a str,
    /// The session token of temporary credentials.
    pub token: Option<&'a str>,
}

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("id", &self.id)
            .finish_non_exhaustive() // I3
    }
}

/// Where a signature is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The region: `us-east-1`.
    pub region: &'a str,
    /// The service: `bedrock`. For `s3`, and only for it, the path is taken as it stands.
    pub service: &'a str,
}

/// The body, as far as a signature knows it.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    /// The body itself.
    Bytes(&'a [u8]),
    /// Its SHA-256, made elsewhere.
    Hash([u8; 32]),
    /// It is not signed (`UNSIGNED-PAYLOAD`).
    Unsigned,
}

impl Payload<'_> {
    /// The text of it in a canonical request and in `x-amz-content-sha256`.
    pub fn text(&self) -> String {
        match self {
            Self::Bytes(bytes) => hex(&Sha256::digest(bytes)),
            Self::Hash(hash) => hex(hash),
            Self::Unsigned => "UNSIGNED-PAYLOAD".to_owned(),
        }
    }
}

/// A request, as it goes over the wire.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, as it is sent (with its percent signs).
    pub path: &'a str,
    /// The query, as it is sent, without the question mark; may be empty.
    pub query: &'a str,
    /// The headers to be signed (when signing), or all that there are (when verifying). One of
    /// them is `host`.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub payload: Payload<'a>,
}

/// What a signed request has more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// For `x-amz-date`, unless the request has one.
    pub date: String,
    /// For `authorization`.
    pub authorization: String,
}

/// Signs `ask` at `now`, in seconds since 1970. All of its headers are signed; `x-amz-date`
/// and, with temporary credentials, `x-amz-security-token` are signed too and must be sent.
pub fn sign(ask: &Ask<'_>, keys: &Keys<'_>, place: Place<'_>, now: u64) -> Signed {
    let date = date_of(now);
    let mut headers = ask.headers.to_vec();
    let has = |name: &str| {
        ask.headers
            .iter()
            .any(|(n, _)| n.eq_ignore_ascii_case(name))
    };
    if !has("x-amz-date") {
        headers.push(("x-amz-date", &date));
    }
    if let Some(token) = keys.token
        && !has("x-amz-security-token")
    {
        headers.push(("x-amz-security-token", token));
    }
    let (canonical, names) = canonical_request(ask, &headers, place);
    let day = date.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/{}/aws4_request", place.region, place.service);
    let signature = hex(&signature(&canonical, &date, &scope, keys.secret, place));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        keys.id
    );
    Signed {
        date,
        authorization,
    }
}

/// What an `authorization` header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential<'a> {
    /// Whose signature.
    pub id: &'a str,
    /// `20150830`.
    pub day: &'a str,
    /// Where it is good.
    pub place: Place<'a>,
    /// The names of the headers that are signed.
    pub signed: &'a str,
    /// The signature, in hex.
    signature: &'a str,
}

/// Whether an `authorization` header is meant to be of this kind.
pub fn is_signature(authorization: &str) -> bool {
    let rest = authorization.trim_start().strip_prefix(ALGORITHM);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
}

/// The hash that an `x-amz-content-sha256` header names; `None` when it names none.
pub fn hash_of_text(text: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut hash = [0; 32];
    if text.len() != 2 * hash.len() || text.iter().any(u8::is_ascii_uppercase) {
        return None; // the text itself is signed, in lower case
    }
    for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()?;
    }
    Some(hash)
}

impl<'a> Credential<'a> {
    /// Reads an `authorization` header; `None` when it is none of this kind.
    pub fn read(authorization: &'a str) -> Option<Self> {
        let fields = authorization.trim().strip_prefix(ALGORITHM)?;
        let (mut scope, mut signed, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=')?;
            match name {
                "Credential" => scope = Some(value),
                "SignedHeaders" => signed = Some(value),
                "Signature" => signature = Some(value),
                _ => return None,
            }
        }
        // From behind: an access key id may hold a slash, the rest may not.
        let mut parts = scope?.rsplitn(5, '/');
        let (end, service, region) = (parts.next()?, parts.next()?, parts.next()?);
        let (day, id) = (parts.next()?, parts.next()?);
        (end == "aws4_request").then_some(Self {
            id,
            day,
            place: Place { region, service },
            signed: signed?,
            signature: signature?,
        })
    }
}

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureFault {
    /// There is no readable `x-amz-date`, or its day is not the one of the scope.
    Date,
    /// It was made too long ago, or is of the future.
    Skew {
        /// The limit, in seconds.
        limit: u64,
    },
    /// A header that is named as signed is missing, `host` or `x-amz-date` is not signed, or
    /// there are too many.
    Headers,
    /// It is not the signature of this request by this secret.
    Mismatch,
}

/// Verifies the signature of `ask`, which has all headers that came, at `now`, in seconds
/// since 1970. The caller has looked up `secret` by [`Credential::id`], and decides whether
/// the place is the right one.
///
/// # Errors
/// The signature is not good; see [`SignatureFault`].
pub fn verify(
    ask: &Ask<'_>,
    credential: &Credential<'_>,
    secret: &str,
    now: u64,
) -> Result<(), SignatureFault> {
    let one = |name: &str| {
        let mut all = ask
            .headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name));
        all.next()
            .filter(|_| all.next().is_none())
            .map(|(_, value)| *value)
    };
    let date = one("x-amz-date").ok_or(SignatureFault::Date)?;
    let made = seconds_of(date).ok_or(SignatureFault::Date)?;
    if date.get(..8) != Some(credential.day) {
        return Err(SignatureFault::Date);
    }
    if made.abs_diff(now) > SKEW_MAX {
        return Err(SignatureFault::Skew { limit: SKEW_MAX });
    }
    let names: Vec<&str> = credential.signed.split(';').collect();
    let is_signed = |wanted: &str| names.contains(&wanted);
    if names.len() > HEADERS_MAX || !is_signed("host") || !is_signed("x-amz-date") {
        return Err(SignatureFault::Headers);
    }
    let is_named = |header: &&(&str, &str)| names.iter().any(|n| header.0.eq_ignore_ascii_case(n));
    let headers: Vec<_> = ask.headers.iter().filter(is_named).copied().collect();
    let place = credential.place;
    let (canonical, found) = canonical_request(ask, &headers, place);
    if found != credential.signed {
        return Err(SignatureFault::Headers);
    }
    let scope = format!(
        "{}/{}/{}/aws4_request",
        credential.day, place.region, place.service
    );
    let right = hex(&signature(&canonical, date, &scope, secret, place));
    let same: bool = right
        .as_bytes()
        .ct_eq(credential.signature.as_bytes())
        .into();
    same.then_some(()).ok_or(SignatureFault::Mismatch)
}

/// The canonical request, and the names of its headers.
fn canonical_request(
    ask: &Ask<'_>,
    headers: &[(&str, &str)],
    place: Place<'_>,
) -> (String, String) {
    let mut out = String::with_capacity(512);
    out.push_str(ask.method);
    out.push('\n');
    put_path(&mut out, ask.path, place.service == "s3");
    out.push('\n');
    put_query(&mut out, ask.query);
    out.push('\n');
    let names = put_headers(&mut out, headers);
    out.push('\n');
    out.push_str(&names);
    out.push('\n');
    out.push_str(&ask.payload.text());
    (out, names)
}

fn signature(canonical: &str, date: &str, scope: &str, secret: &str, place: Place<'_>) -> [u8; 32] {
    let hash = hex(&Sha256::digest(canonical.as_bytes()));
    let to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{hash}");
    let day = date.get(..8).unwrap_or_default();
    hmac(&signing_key(secret, day, place), to_sign.as_bytes())
}

/// The key that signs for a whole day, `20150830`, at one place.
fn signing_key(secret: &str, day: &str, place: Place<'_>) -> [u8; 32] {
    let start = format!("AWS4{secret}");
    let steps = [day, place.region, place.service, "aws4_request"];
    let mut key = hmac(start.as_bytes(), day.as_bytes());
    for step in steps.iter().skip(1) {
        key = hmac(&key, step.as_bytes());
    }
    key
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    // A key of any length is taken: RFC 2104, section 2.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        debug_assert!(false, "HMAC takes keys of any length");
        return [0; 32];
    };
    mac.update(data);
    mac.finalize().into_bytes().into()
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|b| [digit(b >> 4), digit(b & 15)])
        .collect()
}

/// Days from 1970 to the start of March of the year 0, in the Gregorian calendar.
const DAYS_TO_1970: u64 = 719_468;
/// Days of 400 years.
const ERA: u64 = 146_097;

/// `20150830T123600Z`. Source: Howard Hinnant, "chrono-compatible low-level date algorithms",
/// `civil_from_days`.
fn date_of(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400 + DAYS_TO_1970, seconds % 86_400);
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let day = day - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// Seconds since 1970 of a date in the form of [`date_of`]; `None` when it is none.
fn seconds_of(date: &str) -> Option<u64> {
    let digits = date.len() == 16 && date.is_ascii();
    let number = |from: usize, to: usize| -> Option<u64> {
        let part = date.get(from..to).filter(|_| digits)?;
        let plain = part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|_| plain)
    };
    let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
    let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
    let sane = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !sane {
        return None; // what follows would go below zero
    }
    let year = year - u64::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let days = era * ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let seconds = days.checked_sub(DAYS_TO_1970)? * 86_400 + hour * 3600 + minute * 60 + second;
    // Only a date that exists reads back as itself.
    (date_of(seconds) == date).then_some(seconds)
}

#[cfg(test)]
mod tests;
