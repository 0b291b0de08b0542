//! The names that requests may call the server by.
//!
//! `smollm3_loopback` says why not every name is.

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
    /// Those of a server at `address`: this machine's and `further` ones. Other machines may use any name of a server
    /// that listens to them, unless there are further ones.
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

/// Passes on what calls the server by an allowed name, or by none: every browser sends one.
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
                "`{other}` in the header `Host` is no name of this server; if it is one, start the server with --allow-host \
                 and the name without its port"
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
