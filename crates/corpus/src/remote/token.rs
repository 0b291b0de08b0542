//! The Hub's token, which is sent to the Hub only.
//!
//! A listing can name any address as its next page, and a file can be redirected to another company's store. So a token has
//! an origin (scheme, host and port), and requests to other origins go without it. `reqwest` follows redirects and drops the
//! header on the way to another origin.

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

/// Adds the token to `request` if `url` has its origin.
pub fn authorize(request: RequestBuilder, url: &Url, token: Option<&HubToken>) -> RequestBuilder {
    match token {
        Some(token) if url.origin() == token.origin => request.bearer_auth(&token.secret),
        _ => request,
    }
}
