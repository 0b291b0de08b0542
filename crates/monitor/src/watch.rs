//! A run's report, served to the browser on this machine while the run goes on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use smollm3_records::Result;
use tiny_http::{Header, Method, Request, Response, Server};

use crate::local_server::{is_for_this_machine, listen};

/// How soon a stop is noticed.
const PATIENCE: Duration = Duration::from_millis(200);

/// The page needs itself and nothing else.
const HEADERS: [(&str, &str); 4] = [
    ("Content-Type", "text/html; charset=utf-8"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
    ),
];

/// A page that is made anew for each request.
pub struct Watch {
    server: Server,
    /// Where it is served.
    pub address: SocketAddr,
}

impl Watch {
    /// Serves on 127.0.0.1; port 0 takes any that is free.
    ///
    /// # Errors
    /// The port is taken or not allowed.
    pub fn bind(port: u16) -> Result<Self> {
        let (server, address) = listen("--port", port)?;
        Ok(Self { server, address })
    }

    /// Answers with what `page` makes, until `stop` is set. One request after another: the page has one reader.
    pub fn run(&self, stop: &AtomicBool, mut page: impl FnMut() -> String) {
        while !stop.load(Ordering::Relaxed) {
            if let Ok(Some(request)) = self.server.recv_timeout(PATIENCE) {
                let (status, text) = answer(&request, &mut page);
                let headers = HEADERS
                    .into_iter()
                    .filter_map(|(name, value)| Header::from_bytes(name, value).ok());
                let response = headers.fold(
                    Response::from_string(text).with_status_code(status),
                    Response::with_header,
                );
                // The client may be gone.
                let _ = request.respond(response);
            }
        }
    }
}

fn answer(request: &Request, page: &mut impl FnMut() -> String) -> (u16, String) {
    let path = request.url().split('?').next();
    match (request.method(), path) {
        _ if !is_for_this_machine(request) => (403, "The header `Host` names another machine.\n".to_owned()),
        (Method::Get | Method::Head, Some("/")) => (200, page()),
        _ => (404, "The report is at /.\n".to_owned()),
    }
}
