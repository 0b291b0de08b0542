//! A server for the browser on this machine alone.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use smollm3_engine::{EngineError, Result};
use tiny_http::{Request, Server};

/// Listens on 127.0.0.1; port 0 takes any that is free. `option` is what chose the port.
///
/// # Errors
/// The port is taken or not allowed.
pub(crate) fn listen(option: &str, port: u16) -> Result<(Server, SocketAddr)> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = Server::http(wanted).map_err(|error| {
        EngineError::Refused(format!("{option} {port}: cannot listen on {wanted}: {error}"))
    })?;
    let address = server.server_addr().to_ip().unwrap_or(wanted);
    Ok((server, address))
}

/// Whether a request calls this machine by its name, or by none: every browser sends one. A web page can let its own name
/// point to 127.0.0.1 and then read what is served there as its own (DNS rebinding); the header `Host` gives it away.
pub(crate) fn is_for_this_machine(request: &Request) -> bool {
    let mut hosts = request
        .headers()
        .iter()
        .filter(|header| header.field.equiv("Host"));
    hosts.all(|header| is_local(header.value.as_str()))
}

fn is_local(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) => name,
        _ => host,
    };
    let address = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(name) => name,
        None => name,
    };
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
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
            assert!(is_local(host), "{host}");
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
            assert!(!is_local(host), "{host}");
        }
    }
}
