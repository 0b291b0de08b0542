//! The host names that a server for this machine answers to.
//!
//! A web page can make its own name resolve to 127.0.0.1 once it is loaded, and then read what is served there (DNS
//! rebinding). The browser still sends the page's name in the `Host` header, so a server for this machine refuses all other
//! names.

use std::net::IpAddr;

/// The name in a `Host` header, without its port and brackets.
pub fn name_of(host: &str) -> &str {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    address.unwrap_or(name)
}

/// Whether a `Host` header names this machine: `localhost` or a loopback address, with any port or none.
pub fn is_this_machine(host: &str) -> bool {
    let name = name_of(host);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine() {
        for host in [
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.1.2.3:80",
            "[::1]",
            "[::1]:8000",
        ] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "localhost:x@evil.example",
            "192.168.0.7:8000",
            "[::2]",
            "0.0.0.0",
            "not a name",
        ] {
            assert!(!is_this_machine(host), "{host}");
        }
        assert_eq!(name_of("box.lan:80"), "box.lan");
    }
}
