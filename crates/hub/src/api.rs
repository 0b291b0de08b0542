//! The three requests of a download: the commit of a revision, the metadata of a file, and bytes of it. The requests of an
//! upload are in `upload/`.
//!
//! A file is requested at its commit. The Hub answers with its bytes or redirects to a store on another host, which gets no
//! token. Size and hash are therefore requested without following redirects to other hosts.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use smollm3_corpus::remote::{
    Attempts, Fault, HubToken, RemoteClient, RetryPolicy, authorize, encode, without_secrets,
};
use url::Url;

use crate::cache::is_commit;
use crate::error::{HubError, Result};

const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");

/// Timeout of a request whose answer is not needed, as in Python (`HF_HUB_ETAG_TIMEOUT`).
const OPTIONAL_TIMEOUT: Duration = Duration::from_secs(10);

/// A failed request.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The Hub's final answer, or an error on this side.
    Refused(HubError),
    /// A fault that may pass, or one that ends the transfer.
    Fault(Fault),
}

/// The answer to one request.
pub(crate) type Asked<T> = std::result::Result<T, Trouble>;

impl Trouble {
    /// A fault that may pass.
    pub(crate) fn passing(message: String) -> Self {
        Self::Fault(Fault::Passing(message, None))
    }

    /// A fault that asking again does not mend.
    pub(crate) fn lasting(message: String) -> Self {
        Self::Fault(Fault::Lasting(message))
    }
}

impl From<HubError> for Trouble {
    fn from(error: HubError) -> Self {
        Self::Refused(error)
    }
}

impl From<Trouble> for HubError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Refused(error) => error,
            Trouble::Fault(
                Fault::Lasting(problem) | Fault::Passing(problem, _) | Fault::Unreachable(problem),
            ) => Self::Request(problem),
        }
    }
}

impl From<reqwest::Error> for Trouble {
    fn from(error: reqwest::Error) -> Self {
        Self::Fault(error.into())
    }
}

/// A commit and the names of its files.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) commit: String,
    pub(crate) names: Vec<String>,
}

/// A file of a commit.
#[derive(Debug, Clone)]
pub(crate) struct FileInfo {
    /// Its path in the repository.
    pub(crate) name: String,
    /// SHA-256 of a large file, SHA-1 of a git blob otherwise; also its name in the cache.
    pub(crate) etag: String,
    pub(crate) bytes: u64,
    url: Url,
}

/// The answer to the request for a range.
pub(crate) enum Part {
    Bytes(Vec<u8>),
    /// The server sends whole files only.
    NoRanges,
}

/// One repository at the Hub.
pub(crate) struct Api<'a> {
    pub(crate) remote: &'a RemoteClient,
    /// Follows redirects within the Hub only.
    pub(crate) asking: &'a Client,
    pub(crate) endpoint: &'a Url,
    pub(crate) token: Option<HubToken>,
    pub(crate) repository: &'a str,
}

/// A client that follows no redirect to another host.
pub(crate) fn asking(policy: &RetryPolicy) -> Result<Client> {
    let own = Policy::custom(|attempt| {
        let same = attempt
            .previous()
            .last()
            .is_some_and(|before| before.origin() == attempt.url().origin());
        match same && attempt.previous().len() < 10 {
            true => attempt.follow(),
            false => attempt.stop(),
        }
    });
    let built = RemoteClient::settings(policy).redirect(own).build();
    built.map_err(|error| HubError::Request(format!("cannot set up HTTP: {error}")))
}

impl<'a> Api<'a> {
    pub(crate) fn new(
        remote: &'a RemoteClient,
        asking: &'a Client,
        endpoint: &'a Url,
        repository: &'a str,
    ) -> Self {
        Self {
            remote,
            asking,
            endpoint,
            token: remote.hub_token().map(|secret| HubToken::new(secret, endpoint)),
            repository,
        }
    }

    /// Repeats a request after faults that may pass; `what` completes "cannot …" in messages.
    pub(crate) async fn retried<T, F: Future<Output = Asked<T>>>(
        &self,
        what: &str,
        ask: impl Fn() -> F,
    ) -> Result<T> {
        self.attempted(Attempts::new(self.remote.policy()), what, ask)
            .await
    }

    /// As [`retried`](Self::retried), for the first question of a transfer: soon given up where no connection can be made.
    pub(crate) async fn asked_first<T, F: Future<Output = Asked<T>>>(
        &self,
        what: &str,
        ask: impl Fn() -> F,
    ) -> Result<T> {
        self.attempted(Attempts::first(self.remote.policy()), what, ask)
            .await
    }

    async fn attempted<T, F: Future<Output = Asked<T>>>(
        &self,
        mut attempts: Attempts<'_>,
        what: &str,
        ask: impl Fn() -> F,
    ) -> Result<T> {
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Refused(error)) => return Err(error),
                Err(Trouble::Fault(fault)) => after(&mut attempts, what, fault).await?,
            }
        }
    }

    pub(crate) fn base(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }

    /// The Hub's address for messages and links, without a password that `HF_ENDPOINT` may contain.
    pub(crate) fn shown(&self) -> String {
        without_secrets(self.endpoint.as_str())
            .trim_end_matches('/')
            .to_owned()
    }

    /// The repository's address in the API.
    pub(crate) fn of_repository(&self) -> String {
        format!("{}/api/models/{}", self.base(), self.repository)
    }

    pub(crate) fn url(&self, text: &str) -> Result<Url> {
        Url::parse(text).map_err(|error| HubError::Request(format!("`{text}` is not a URL: {error}")))
    }

    /// The commit of a revision, and its files.
    pub(crate) async fn listing(&self, revision: &str) -> Result<Listing> {
        let what = format!("ask {} about {}", self.shown(), self.repository);
        self.asked_first(&what, || self.ask_listing(revision)).await
    }

    /// As [`listing`](Self::listing), in one short attempt, for when the cache can answer too.
    pub(crate) async fn listing_once(&self, revision: &str) -> Asked<Listing> {
        let asked = tokio::time::timeout(OPTIONAL_TIMEOUT, self.ask_listing(revision)).await;
        asked.unwrap_or_else(|_| Err(Trouble::passing(format!("no answer within {OPTIONAL_TIMEOUT:?}"))))
    }

    async fn ask_listing(&self, revision: &str) -> Asked<Listing> {
        #[derive(Deserialize)]
        struct Revision {
            sha: String,
            #[serde(default)]
            siblings: Vec<Sibling>,
        }
        #[derive(Deserialize)]
        struct Sibling {
            rfilename: String,
        }
        let url = self.url(&format!(
            "{}/revision/{}",
            self.of_repository(),
            encode(revision, false)
        ))?;
        let request = authorize(self.asking.get(url.clone()), &url, self.token.as_ref());
        let response = request.send().await?;
        self.check(&response, revision)?;
        let text = response.text().await?;
        let strange = |problem: String| {
            HubError::Request(format!(
                "{} did not answer with a model's files: {problem}",
                self.shown()
            ))
        };
        let found: Revision = serde_json::from_str(&text).map_err(|error| strange(error.to_string()))?;
        if !is_commit(&found.sha) {
            return Err(strange(format!("`{}` is not a commit", found.sha)).into());
        }
        Ok(Listing {
            commit: found.sha,
            names: found.siblings.into_iter().map(|file| file.rfilename).collect(),
        })
    }

    /// Size and hash of a file.
    pub(crate) async fn info(&self, commit: &str, name: &str) -> Result<FileInfo> {
        let path = format!(
            "{}/{}/resolve/{commit}/{}",
            self.base(),
            self.repository,
            encode(name, true)
        );
        let url = self.url(&path)?;
        let what = format!("ask for {}/{name}", self.repository);
        self.retried(&what, || self.ask_info(&url, commit, name)).await
    }

    async fn ask_info(&self, url: &Url, commit: &str, name: &str) -> Asked<FileInfo> {
        let request = authorize(self.asking.head(url.clone()), url, self.token.as_ref());
        let response = request.header(ACCEPT_ENCODING, "identity").send().await?;
        if !response.status().is_redirection() {
            self.check(&response, commit)?;
        }
        let headers = response.headers();
        let strange =
            |problem: &str| HubError::Request(format!("{}/{name}: the server {problem}", self.repository));
        if let Some(other) = text(headers, &COMMIT).filter(|other| *other != commit) {
            return Err(strange(&format!("sent it at commit {other} instead of {commit}")).into());
        }
        let bytes = match text(headers, &LINKED_SIZE) {
            None if response.status().is_redirection() => None,
            None => text(headers, &CONTENT_LENGTH),
            linked => linked,
        };
        let bytes = bytes
            .and_then(|bytes| bytes.parse().ok())
            .ok_or_else(|| strange("does not give its size"))?;
        let etag = text(headers, &LINKED_ETAG)
            .or_else(|| text(headers, &ETAG))
            .map(|etag| etag.trim_start_matches("W/").trim_matches('"'))
            .filter(|etag| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
                !etag.is_empty() && !etag.starts_with('.') && etag.bytes().all(plain)
            })
            .ok_or_else(|| strange("does not give its ETag"))?;
        Ok(FileInfo {
            name: name.to_owned(),
            etag: etag.to_owned(),
            bytes,
            url: url.clone(),
        })
    }

    /// Bytes `from..to` of a file. What arrives before a connection ends is kept.
    pub(crate) async fn range(&self, file: &FileInfo, from: u64, to: u64) -> Result<Part> {
        let mut attempts = Attempts::new(self.remote.policy());
        let mut bytes = Vec::with_capacity((to - from) as usize);
        loop {
            let fault = match self.ask_range(file, (from, to), &mut bytes).await {
                Ok(true) => return Ok(Part::Bytes(bytes)),
                Ok(false) => return Ok(Part::NoRanges),
                Err(Trouble::Refused(error)) => return Err(error),
                Err(Trouble::Fault(fault)) => fault,
            };
            attempts.arrived(bytes.len() as u64);
            after(&mut attempts, &self.fetching(file), fault).await?;
        }
    }

    /// What fetching a file is called in messages, after "cannot".
    pub(crate) fn fetching(&self, file: &FileInfo) -> String {
        format!("fetch {}/{}", self.repository, file.name)
    }

    /// Appends the rest of `from..to` to `bytes`, which has its beginning. `false` if the server knows no ranges.
    async fn ask_range(&self, file: &FileInfo, (from, to): (u64, u64), bytes: &mut Vec<u8>) -> Asked<bool> {
        let first = from + bytes.len() as u64;
        let mut response = self.open(file, Some((first, to))).await?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            if (from, to) != (0, file.bytes) {
                return Ok(false);
            }
            bytes.clear();
        } else if first_byte(response.headers()) != Some(first) {
            return Err(Trouble::lasting(format!(
                "the server did not send the range from byte {first}"
            )));
        }
        let due = (to - from) as usize;
        while let Some(chunk) = response.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > due {
                return Err(file.too_long());
            }
        }
        match bytes.len() == due {
            true => Ok(true),
            false => Err(Trouble::passing(format!(
                "the connection ended after {} of {due} bytes",
                bytes.len()
            ))),
        }
    }

    /// Begins a transfer. Redirects are followed, without the token where they leave the Hub.
    pub(crate) async fn open(&self, file: &FileInfo, range: Option<(u64, u64)>) -> Asked<Response> {
        let mut request = authorize(
            self.remote.http().get(file.url.clone()),
            &file.url,
            self.token.as_ref(),
        )
        .header(ACCEPT_ENCODING, "identity");
        if let Some((from, to)) = range {
            request = request.header(RANGE, format!("bytes={from}-{}", to - 1));
        }
        let response = request.send().await?;
        self.check(&response, "")?;
        Ok(response)
    }
}

impl FileInfo {
    pub(crate) fn too_long(&self) -> Trouble {
        Trouble::lasting(format!(
            "the server sent more than the {} bytes it announced",
            self.bytes
        ))
    }
}

/// Waits before the next attempt.
pub(crate) async fn after(attempts: &mut Attempts<'_>, what: &str, fault: Fault) -> Result<()> {
    attempts
        .after(&format!("cannot {what}"), fault)
        .await
        .map_err(HubError::Request)
}

pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `bytes 5-99/100` → 5.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, &CONTENT_RANGE)?.strip_prefix("bytes")?.trim();
    range.split_once('-')?.0.trim().parse().ok()
}
