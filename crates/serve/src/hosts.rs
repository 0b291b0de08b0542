//! The host names that requests may use; `smollm3_loopback` explains why they are checked.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use smollm3_loopback::{is_this_machine, name_of};

use crate::wire::{Checked, Refusal};

/// Which names are allowed.
#[derive(Debug)]
pub(crate) struct Hosts {
    any: bool,
    further: Vec<String>,
}

impl Hosts {
    /// The names of a server at `address`: this machine's and `further` ones. Any name is allowed if the server listens to
    /// other machines and there are no further ones.
    pub fn new(address: IpAddr, further: Vec<String>) -> Self {
        Self {
            any: !address.to_canonical().is_loopback() && further.is_empty(),
            further,
        }
    }

    /// Whether a name with or without a port is allowed.
    fn allow(&self, host: &str) -> bool {
        let is = |allowed: &String| name_of(host).eq_ignore_ascii_case(allowed);
        self.any || is_this_machine(host) || self.further.iter().any(is)
    }
}

/// Passes requests with an allowed name, or with none, since every browser sends one.
pub(crate) async fn check(
    State(hosts): State<Arc<Hosts>>,
    request: Request,
    next: Next,
) -> Checked<Response> {
    let named = request.headers().get_all(header::HOST).iter();
    let other = named
        .map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned())
        .chain(request.uri().authority().map(Authority::to_string))
        .find(|host| !hosts.allow(host));
    match other {
        None => Ok(next.run(request).await),
        Some(other) => {
            let problem = format!(
                "`{other}` in the header `Host` is not an allowed name of this server; to allow it, start the server with \
                 --allow-host and the name without its port"
            );
            Err(Refusal::new(StatusCode::FORBIDDEN, problem))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn names_of_this_machine_and_those_that_were_allowed() {
        let local = Hosts::new(Ipv4Addr::LOCALHOST.into(), vec!["Box.lan".to_owned()]);
        for host in [
            "localhost:8000",
            "127.0.0.1",
            "[::1]:8000",
            "box.lan",
            "BOX.lan:8000",
        ] {
            assert!(local.allow(host), "{host}");
        }
        for host in [
            "",
            "evil.example:8000",
            "box.lan.evil.example",
            "box.lan@evil.example",
            "192.168.0.7:8000",
        ] {
            assert!(!local.allow(host), "{host}");
        }
        let open = |further: &[&str]| {
            let further = further.iter().map(|name| (*name).to_owned()).collect();
            Hosts::new(Ipv4Addr::UNSPECIFIED.into(), further)
        };
        assert!(open(&[]).allow("evil.example") && open(&[]).allow(""));
        assert!(!open(&["box.lan"]).allow("evil.example") && open(&["box.lan"]).allow("localhost"));
        assert!(!Hosts::new(Ipv6Addr::LOCALHOST.into(), vec![]).allow("evil.example"));
    }
}
