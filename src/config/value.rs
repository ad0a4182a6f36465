//! Single values of the file: durations, sizes, counts, addresses, names, URLs.
//!
//! Each reader takes one TOML value and gives the typed one, or says what would be right.
//! They know nothing of keys, places or other values.

use super::model::defaults::{MODEL_NAME_MAX, NAME_MAX};
use super::model::{BaseUrl, Scheme};
use super::walk::nearest;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::de::DeValue;

/// Bytes of a base URL, at most.
const URL_MAX: usize = 2048;
/// Characters of a wrong value that a message repeats, at most.
const ECHO_MAX: usize = 48;
/// Largest duration that may be written.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why a value is no good.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// What is wrong, after the key's name; `None`: the value itself is shown.
    pub(super) what: Option<String>,
    /// What would be right.
    pub(super) right: String,
}

/// A wrong value that may be shown.
pub(super) fn wrong<T>(right: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        what: None,
        right: right.into(),
    })
}

/// A wrong value that is described instead of shown.
pub(super) fn odd<T>(what: impl Into<String>, right: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong {
        what: Some(what.into()),
        right: right.into(),
    })
}

/// The value as a message may repeat it: one line, bounded.
pub(super) fn echo(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(s) if s.chars().count() <= ECHO_MAX => format!("{s:?}"),
        DeValue::String(s) => {
            let head: String = s.chars().take(ECHO_MAX).collect();
            format!("{head:?}…")
        }
        DeValue::Integer(i) => format!("{i}").chars().take(ECHO_MAX).collect(),
        DeValue::Float(f) => f.as_str().chars().take(ECHO_MAX).collect(),
        DeValue::Boolean(b) => b.to_string(),
        other => kind_of(other).to_owned(),
    }
}

/// The kind of a value, with its article.
pub(super) fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Any string.
pub(super) fn string(value: &DeValue<'_>) -> Result<String, Wrong> {
    match value {
        DeValue::String(s) => Ok(s.clone().into_owned()),
        _ => wrong("write a string in quotes"),
    }
}

/// One of the words of `now`; those of `later` exist in the product, not in this version.
pub(super) fn choice<T: Copy>(
    value: &DeValue<'_>,
    now: &[(&str, T)],
    later: &[&str],
) -> Result<T, Wrong> {
    let words: Vec<String> = now.iter().map(|(word, _)| format!("{word:?}")).collect();
    let right = match words.split_last() {
        Some((last, [])) => format!("write {last}"),
        Some((last, before)) => format!("write {} or {last}", before.join(", ")),
        None => String::new(),
    };
    let DeValue::String(written) = value else {
        return wrong(right);
    };
    if let Some((_, meant)) = now.iter().find(|(word, _)| word == written) {
        return Ok(*meant);
    }
    if later.contains(&&**written) {
        let what = format!("is {written:?}, which is not available in this version");
        return odd(what, right);
    }
    match nearest(written, now.iter().map(|(word, _)| *word)) {
        Some(near) => wrong(format!("did you mean {near:?}?")),
        None => wrong(right),
    }
}

/// A share such as `20%`, in whole percent within `range`.
pub(super) fn share(text: &str, range: RangeInclusive<u32>) -> Option<u32> {
    let percent = text.strip_suffix('%')?.parse().ok();
    percent.filter(|percent| range.contains(percent))
}

/// A whole number within `range`.
pub(super) fn count(value: &DeValue<'_>, range: RangeInclusive<usize>) -> Result<usize, Wrong> {
    let right = format!(
        "write a whole number from {} to {}",
        range.start(),
        range.end()
    );
    let DeValue::Integer(i) = value else {
        return wrong(right);
    };
    match usize::from_str_radix(i.as_str(), i.radix()) {
        Ok(n) if range.contains(&n) => Ok(n),
        _ => wrong(right),
    }
}

/// A duration with a unit, from `min` to a day.
pub(super) fn duration(value: &DeValue<'_>, min: Duration) -> Result<Duration, Wrong> {
    duration_up_to(value, min, DURATION_MAX)
}

/// A duration with a unit, from `min` to `max`.
pub(super) fn duration_up_to(
    value: &DeValue<'_>,
    min: Duration,
    max: Duration,
) -> Result<Duration, Wrong> {
    const RIGHT: &str =
        "write a duration with a unit, such as \"250ms\", \"2s\", \"10m\" or \"1h\"";
    let DeValue::String(s) = value else {
        return wrong(RIGHT);
    };
    let Some((number, unit)) = split_unit(s) else {
        return wrong(RIGHT);
    };
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return wrong(RIGHT),
    };
    let length = number
        .checked_mul(millis)
        .map_or(Duration::MAX, Duration::from_millis);
    if length < min || length > max {
        return wrong(format!(
            "write a duration from {} to {}",
            show_duration(min),
            show_duration(max)
        ));
    }
    Ok(length)
}

/// A size in bytes with a unit, within `range`.
pub(super) fn size(value: &DeValue<'_>, range: RangeInclusive<usize>) -> Result<usize, Wrong> {
    const RIGHT: &str =
        "write a size with a unit, such as \"512B\", \"32KiB\", \"64MiB\" or \"1GiB\"";
    let DeValue::String(s) = value else {
        return wrong(RIGHT);
    };
    let Some((number, unit)) = split_unit(s) else {
        return wrong(RIGHT);
    };
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return wrong(RIGHT),
    };
    let bytes = number
        .checked_mul(1 << shift)
        .and_then(|n| usize::try_from(n).ok());
    match bytes {
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        _ => wrong(format!(
            "write a size from {} to {}",
            show_size(*range.start()),
            show_size(*range.end())
        )),
    }
}

fn split_unit(s: &str) -> Option<(u64, &str)> {
    let digits = s.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = s.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

/// A duration as it is written in the file; finer than a millisecond is cut off.
pub(super) fn show_duration(length: Duration) -> String {
    let millis = length.as_millis();
    for (unit, name) in [(3_600_000, "h"), (60_000, "m"), (1000, "s")] {
        if millis > 0 && millis.is_multiple_of(unit) {
            return format!("{}{name}", millis / unit);
        }
    }
    format!("{millis}ms")
}

/// A size as it is written in the file.
pub(super) fn show_size(bytes: usize) -> String {
    for (shift, name) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes > 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{name}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// An IP address and a port.
pub(super) fn address(value: &DeValue<'_>) -> Result<SocketAddr, Wrong> {
    const RIGHT: &str =
        "write an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
    match value {
        DeValue::String(s) => s.parse().or_else(|_| wrong(RIGHT)),
        _ => wrong(RIGHT),
    }
}

/// The name of a provider or a client key.
pub(super) fn name(s: &str) -> Result<(), Wrong> {
    let fits = (1..=NAME_MAX).contains(&s.len())
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if fits {
        Ok(())
    } else {
        wrong(format!(
            "use 1 to {NAME_MAX} letters, digits and . _ - for a name"
        ))
    }
}

/// The name of a model.
pub(super) fn model_name(s: &str) -> Result<(), Wrong> {
    let fits = (1..=MODEL_NAME_MAX).contains(&s.len())
        && !s.contains("..")
        && s.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._:/@-".contains(&b));
    if fits {
        Ok(())
    } else {
        wrong(format!(
            "use 1 to {MODEL_NAME_MAX} letters, digits and . _ : / @ - without '..' for a model's name"
        ))
    }
}

/// A pattern of model names: `*`, `prefix*` or a whole name.
pub(super) fn pattern(s: &str) -> Result<(), Wrong> {
    let prefix = s.strip_suffix('*').unwrap_or(s);
    if prefix.is_empty() && !s.is_empty() {
        return Ok(());
    }
    model_name(prefix).or_else(|_| {
        wrong("write a model's name, a prefix with * at its end, such as \"gpt-*\", or \"*\"")
    })
}

/// The base URL of a provider.
///
/// Source: RFC 3986, section 3; a subset without user, query and fragment.
pub(super) fn base_url(value: &DeValue<'_>) -> Result<BaseUrl, Wrong> {
    const RIGHT: &str = "write a URL such as \"http://127.0.0.1:8000/v1\"";
    let DeValue::String(url) = value else {
        return wrong(RIGHT);
    };
    if url.len() > URL_MAX {
        return odd(
            "is too long",
            format!("write a URL of at most {URL_MAX} bytes"),
        );
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return wrong(RIGHT);
    };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return wrong(RIGHT),
    };
    let cut = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(cut).unwrap_or((rest, ""));
    if authority.contains('@') {
        return odd(
            "holds a user or a password",
            "leave them out and name the provider's key with api_key",
        );
    }
    if path.contains(['?', '#']) {
        return odd(
            "holds a query or a fragment",
            "end the URL with its path, such as \"/v1\"",
        );
    }
    let (host, port) = host_and_port(authority, scheme)?;
    let path = path.trim_end_matches('/');
    if !is_path(path) {
        return wrong(
            "write a path of plain segments, such as \"/v1\", with % escapes where needed",
        );
    }
    Ok(BaseUrl {
        scheme,
        host,
        port,
        path: path.to_owned(),
    })
}

/// The host and the port, of `scheme` where none is written, of a URL's authority.
pub(super) fn host_and_port(authority: &str, scheme: Scheme) -> Result<(String, u16), Wrong> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => (host, port),
            _ => return wrong("write an IPv6 address in brackets, such as \"http://[::1]:8000\""),
        },
        None => authority
            .split_at_checked(authority.find(':').unwrap_or(authority.len()))
            .unwrap_or((authority, "")),
    };
    if !authority.starts_with('[') && !is_host(host) {
        return wrong("write a host name or an IP address after \"://\"");
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => scheme.port(),
        Some(digits) if !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) => {
            match digits.parse() {
                Ok(port) => port,
                Err(_) => return wrong("write a port from 1 to 65535"),
            }
        }
        _ => return wrong("write a port from 1 to 65535"),
    };
    Ok((host.to_ascii_lowercase(), port))
}

/// A host name of letters, digits, `-` and `_` in labels of 1 to 63 bytes, or an IPv4 address.
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let is_number = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253
        && name.split('.').all(label)
        && (!is_number(last) || host.parse::<Ipv4Addr>().is_ok())
}

fn is_path(path: &str) -> bool {
    let segment = |s: &str| !s.is_empty() && s != "." && s != "..";
    let escapes = |s: &str| {
        s.split('%')
            .skip(1)
            .all(|rest| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2)
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:@/".contains(&b);
    path.is_empty()
        || (path.bytes().all(plain) && escapes(path) && path.split('/').skip(1).all(segment))
}

/// Whether a host of a base URL names this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> DeValue<'_> {
        DeValue::String(s.into())
    }

    /// Goal: units. Method: a table of what is written and what it means.
    #[test]
    fn durations_and_sizes_need_their_unit() {
        let ms = Duration::from_millis;
        let durations = [
            ("250ms", Some(ms(250))),
            ("2s", Some(ms(2000))),
            ("2 s", Some(ms(2000))),
            ("10m", Some(ms(600_000))),
            ("24h", Some(ms(86_400_000))),
            ("25h", None),
            ("0s", None),
            ("2", None),
            ("-2s", None),
            ("1.5s", None),
            ("2 sec", None),
            ("", None),
            ("99999999999999999999s", None),
            ("18446744073709551615h", None),
        ];
        for (written, meant) in durations {
            assert_eq!(duration(&text(written), ms(1)).ok(), meant, "{written}");
        }
        let sizes = [
            ("512B", Some(512)),
            ("32KiB", Some(32 << 10)),
            ("1GiB", Some(1 << 30)),
            ("2GiB", None),
            ("32KB", None),
            ("32", None),
            ("18446744073709551615GiB", None),
        ];
        for (written, meant) in sizes {
            assert_eq!(size(&text(written), 1..=1 << 30).ok(), meant, "{written}");
        }
    }

    /// Goal: what is shown reads back as the same.
    #[test]
    fn shown_durations_and_sizes_read_back() {
        for millis in [1, 999, 1000, 1500, 60_000, 90_000, 3_600_000, 5_400_000] {
            let length = Duration::from_millis(millis);
            let shown = show_duration(length);
            assert_eq!(
                duration(&text(&shown), Duration::ZERO),
                Ok(length),
                "{shown}"
            );
        }
        for bytes in [0, 1, 1023, 1024, 1025, 1 << 20, 3 << 29, 1 << 30] {
            let shown = show_size(bytes);
            assert_eq!(size(&text(&shown), 0..=usize::MAX), Ok(bytes), "{shown}");
        }
    }

    /// Goal: URLs come apart as RFC 3986 says, and what is no plain base URL is refused.
    #[test]
    fn base_urls_come_apart_or_are_refused() {
        let good = [
            ("http://127.0.0.1:8000/v1", "127.0.0.1", 8000, "/v1"),
            ("HTTP://Example.COM", "example.com", 80, ""),
            ("https://api.openai.com/v1/", "api.openai.com", 443, "/v1"),
            ("http://[::1]:1/a/b", "::1", 1, "/a/b"),
            ("http://vllm_1:65535//", "vllm_1", 65535, ""),
            ("http://h/a%2Fb", "h", 80, "/a%2Fb"),
        ];
        for (url, host, port, path) in good {
            let got = base_url(&text(url)).unwrap();
            assert_eq!(
                (&*got.host, got.port, &*got.path),
                (host, port, path),
                "{url}"
            );
            assert_eq!(base_url(&text(&got.to_string())), Ok(got), "{url}");
        }
        let bad = [
            "",
            "http",
            "http://",
            "http:///v1",
            "ftp://h",
            "http://h:0",
            "http://h:080",
            "http://h:65536",
            "http://h:",
            "http://h:+1",
            "http://127.1",
            "http://1.2.3.256",
            "http://[::1",
            "http://[1.2.3.4]",
            "http://[::1]x",
            "http://-h",
            "http://a..b",
            "http://h/../v1",
            "http://h/a//b",
            "http://h/%",
            "http://h/%2",
            "http://h/a b",
            "http://h/\r\nX: y",
            "http://h?x",
            "http://h/#x",
            "http://u:p@h",
            "http://h:1:2",
            "http://ünï.example",
        ];
        for url in bad {
            assert!(base_url(&text(url)).is_err(), "{url}");
        }
    }

    /// Goal: names hold to their alphabet and length.
    #[test]
    fn names_hold_to_their_alphabet() {
        let longest = "m".repeat(MODEL_NAME_MAX);
        for good in ["gpt-4o", "a/b:c@d_e.f", &longest] {
            assert_eq!(model_name(good), Ok(()), "{good}");
        }
        let longer = "m".repeat(MODEL_NAME_MAX + 1);
        for bad in ["", "a b", "a..b", "ä", "a\n", "*", &longer] {
            assert!(model_name(bad).is_err(), "{bad}");
        }
        for good in ["*", "gpt-*", "gpt-4o"] {
            assert_eq!(pattern(good), Ok(()), "{good}");
        }
        for bad in ["", "*x", "a*b", "**", "a..*"] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }
}
