//! A server for the browser on this machine alone.

use std::net::{Ipv4Addr, SocketAddr};

use smollm3_loopback::is_this_machine;
use smollm3_records::{RecordError, Result};
use tiny_http::{Request, Server};

/// Listens on 127.0.0.1; port 0 takes any that is free. `option` is what chose the port.
///
/// # Errors
/// The port is taken or not allowed.
pub(crate) fn listen(option: &str, port: u16) -> Result<(Server, SocketAddr)> {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let server = Server::http(wanted).map_err(|error| {
        RecordError::Refused(format!("{option} {port}: cannot listen on {wanted}: {error}"))
    })?;
    let address = server.server_addr().to_ip().unwrap_or(wanted);
    Ok((server, address))
}

/// Whether a request calls this machine by its name, or by none: every browser sends one.
pub(crate) fn is_for_this_machine(request: &Request) -> bool {
    let mut hosts = request
        .headers()
        .iter()
        .filter(|header| header.field.equiv("Host"));
    hosts.all(|header| is_this_machine(header.value.as_str()))
}
