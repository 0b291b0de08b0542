//! The Hub's token, which goes to the Hub and nowhere else.
//!
//! A listing can name a next page anywhere, and a file be redirected to a store of another company. So a token
//! remembers its origin (scheme, host and port), and requests to others go without it. Redirects are followed by
//! `reqwest`, which drops the header on the way to another origin.

use std::fmt;

use reqwest::RequestBuilder;
use url::{Origin, Url};

/// A token for one server.
#[derive(Clone)]
pub struct HubToken {
    secret: String,
    origin: Origin,
}

impl HubToken {
    /// A token for the server of `endpoint`.
    pub fn new(secret: String, endpoint: &Url) -> Self {
        let origin = endpoint.origin();
        HubToken { secret, origin }
    }
}

impl fmt::Debug for HubToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HubToken(…)")
    }
}

/// `request`, which goes to `url`, with the token if it is meant for there.
pub fn authorize(request: RequestBuilder, url: &Url, token: Option<&HubToken>) -> RequestBuilder {
    match token {
        Some(token) if url.origin() == token.origin => request.bearer_auth(&token.secret),
        _ => request,
    }
}
