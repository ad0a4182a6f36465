//! Reads `--url` and refuses what is not loopback unless that was asked for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address.
    pub addr: SocketAddr,
    /// What goes into the `Host` field: host and, unless it is 80, port.
    pub host: String,
}

/// Reads `http://host[:port]`; a name other than `localhost` is looked up here, once, before
/// the executor starts.
///
/// # Errors
/// What was expected, and for a remote address why it is refused.
pub fn parse(url: &str, allow_remote: bool) -> Result<Target, String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        format!("--url {url}: expected http://HOST:PORT (TLS is not measured by this tool)")
    })?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    let valid = |c: char| c.is_ascii_alphanumeric() || "-.:[]".contains(c);
    if authority.is_empty() || !authority.chars().all(valid) {
        return Err(format!(
            "--url {url}: expected http://HOST:PORT and nothing behind it; the path is --path"
        ));
    }
    let addr = address(authority).ok_or_else(|| format!("--url {url}: no such host"))?;
    if !addr.ip().is_loopback() && !allow_remote {
        return Err(format!(
            "--url {url}: {} is not a loopback address. A load test against a machine that is \
             not yours is an attack, and against a paid API it costs money; \
             give --allow-remote if you mean it",
            addr.ip()
        ));
    }
    Ok(Target {
        addr,
        host: authority.to_owned(),
    })
}

fn address(authority: &str) -> Option<SocketAddr> {
    if let Ok(addr) = authority.parse() {
        return Some(addr);
    }
    let bare = authority.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, 80));
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()?),
        None => (authority, 80),
    };
    if name.eq_ignore_ascii_case("localhost") {
        return Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    look_up(name, port)
}

#[expect(
    clippy::disallowed_methods,
    reason = "runs on the main thread before any executor exists"
)]
fn look_up(name: &str, port: u16) -> Option<SocketAddr> {
    use std::net::ToSocketAddrs as _;
    (name, port).to_socket_addrs().ok()?.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the forms of a loopback URL that people type.
    #[test]
    fn loopback_urls_are_read() {
        for (url, addr, host) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://127.0.0.1:8080/", "127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://localhost:9", "127.0.0.1:9", "localhost:9"),
            ("http://[::1]:8080", "[::1]:8080", "[::1]:8080"),
            ("http://127.0.0.2", "127.0.0.2:80", "127.0.0.2"),
        ] {
            let want = Target {
                addr: addr.parse().unwrap(),
                host: host.into(),
            };
            assert_eq!(parse(url, false), Ok(want), "{url}");
        }
    }

    /// Goal: other machines only on demand, and the message says why.
    #[test]
    fn remote_urls_need_consent() {
        let refused = parse("http://192.0.2.7:80", false).unwrap_err();
        assert!(
            refused.contains("--allow-remote") && refused.contains("attack"),
            "{refused}"
        );
        assert!(parse("http://192.0.2.7:80", true).is_ok());
    }

    /// Goal: nothing that could end up inside the request head passes.
    #[test]
    fn crooked_urls_are_refused() {
        for url in [
            "127.0.0.1:80",
            "https://127.0.0.1",
            "http://",
            "http://127.0.0.1:80/v1",
            "http://a\r\nb",
            "http://127.0.0.1:99999",
        ] {
            assert!(parse(url, true).is_err(), "{url}");
        }
    }
}
