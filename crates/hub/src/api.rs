//! The three requests of a download: what a revision stands for, what a file is, and bytes of it. Those of an upload:
//! `upload/`.
//!
//! A file is asked for at its commit. The Hub answers with its bytes or sends to a store of another host, which gets no
//! token; so what a file is (size, hash) is asked without following to there.

use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderMap, HeaderName, RANGE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use smollm3_corpus::remote::{Attempts, Fault, HubToken, RemoteClient, RetryPolicy, authorize, encode};
use url::Url;

use crate::cache::is_commit;
use crate::error::{HubError, Result};

const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");

/// How long a question may take whose answer is not needed, as in Python (`HF_HUB_ETAG_TIMEOUT`).
const PATIENCE: Duration = Duration::from_secs(10);

/// A failed request.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The Hub's last word.
    Refused(HubError),
    /// Something that may pass, or a transfer that cannot go on.
    Fault(Fault),
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
    /// SHA-256 of a large file, SHA-1 of a git blob otherwise; also the name of its blob.
    pub(crate) etag: String,
    pub(crate) bytes: u64,
    url: Url,
}

/// What a range was answered with.
pub(crate) enum Part {
    Bytes(Vec<u8>),
    /// The server sends whole files only.
    NoRanges,
}

/// One repository at the Hub.
pub(crate) struct Api<'a> {
    pub(crate) remote: &'a RemoteClient,
    /// Follows redirects of the Hub to itself only.
    pub(crate) asking: &'a Client,
    pub(crate) endpoint: &'a Url,
    pub(crate) token: Option<HubToken>,
    pub(crate) repository: &'a str,
}

/// A client that stops where the Hub sends to another host.
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

    pub(crate) fn base(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }

    /// The address below which it is asked about.
    pub(crate) fn of_repository(&self) -> String {
        format!("{}/api/models/{}", self.base(), self.repository)
    }

    pub(crate) fn url(&self, text: &str) -> Result<Url> {
        Url::parse(text).map_err(|error| HubError::Request(format!("`{text}` is not a URL: {error}")))
    }

    /// The commit that a revision stands for now, and its files. `once`: one attempt only, because the cache can answer too.
    pub(crate) async fn listing(&self, revision: &str, once: bool) -> std::result::Result<Listing, Trouble> {
        let url = format!("{}/revision/{}", self.of_repository(), encode(revision, false));
        let url = self.url(&url).map_err(Trouble::Refused)?;
        let mut attempts = Attempts::new(self.remote.policy());
        loop {
            let asked = self.ask_listing(&url, revision);
            let answer = match once {
                true => tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
                    let message = format!("nothing came for {PATIENCE:?}");
                    Err(Trouble::Fault(Fault::Passing(message, None)))
                }),
                false => asked.await,
            };
            match answer {
                Err(Trouble::Fault(fault)) if !once => {
                    let what = format!("cannot ask {} about {}", self.base(), self.repository);
                    attempts
                        .after(&what, fault)
                        .await
                        .map_err(|problem| Trouble::Refused(HubError::Request(problem)))?;
                }
                answer => return answer,
            }
        }
    }

    async fn ask_listing(&self, url: &Url, revision: &str) -> std::result::Result<Listing, Trouble> {
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
        let request = authorize(self.asking.get(url.clone()), url, self.token.as_ref());
        let response = request.send().await?;
        self.check(&response, revision)?;
        let text = response.text().await?;
        let strange = |problem: String| {
            let message = format!(
                "{} answered something else than a model's files: {problem}",
                self.base()
            );
            Trouble::Refused(HubError::Request(message))
        };
        let found: Revision = serde_json::from_str(&text).map_err(|error| strange(error.to_string()))?;
        if !is_commit(&found.sha) {
            return Err(strange(format!("`{}` is no commit", found.sha)));
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
        let mut attempts = Attempts::new(self.remote.policy());
        loop {
            match self.ask_info(&url, commit, name).await {
                Ok(info) => return Ok(info),
                Err(Trouble::Refused(error)) => return Err(error),
                Err(Trouble::Fault(fault)) => attempts
                    .after(&format!("cannot ask for {}/{name}", self.repository), fault)
                    .await
                    .map_err(HubError::Request)?,
            }
        }
    }

    async fn ask_info(&self, url: &Url, commit: &str, name: &str) -> std::result::Result<FileInfo, Trouble> {
        let request = authorize(self.asking.head(url.clone()), url, self.token.as_ref());
        let response = request.header(ACCEPT_ENCODING, "identity").send().await?;
        if !response.status().is_redirection() {
            self.check(&response, commit)?;
        }
        let headers = response.headers();
        let strange = |problem: &str| {
            let message = format!("{}/{name}: the server {problem}", self.repository);
            Trouble::Refused(HubError::Request(message))
        };
        if let Some(other) = text(headers, &COMMIT).filter(|other| *other != commit) {
            return Err(strange(&format!(
                "sends it of commit {other}, asked for was {commit}"
            )));
        }
        let bytes = match text(headers, &LINKED_SIZE) {
            None if response.status().is_redirection() => None,
            None => text(headers, &CONTENT_LENGTH),
            linked => linked,
        };
        let bytes = bytes
            .and_then(|bytes| bytes.parse().ok())
            .ok_or_else(|| strange("does not tell its size"))?;
        let etag = text(headers, &LINKED_ETAG)
            .or_else(|| text(headers, &ETAG))
            .map(|etag| etag.trim_start_matches("W/").trim_matches('"'))
            .filter(|etag| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
                !etag.is_empty() && !etag.starts_with('.') && etag.bytes().all(plain)
            })
            .ok_or_else(|| strange("does not tell its ETag"))?;
        Ok(FileInfo {
            name: name.to_owned(),
            etag: etag.to_owned(),
            bytes,
            url: url.clone(),
        })
    }

    /// Bytes `from..to` of a file.
    pub(crate) async fn range(&self, file: &FileInfo, from: u64, to: u64) -> Result<Part> {
        let mut attempts = Attempts::new(self.remote.policy());
        loop {
            match self.ask_range(file, from, to).await {
                Ok(part) => return Ok(part),
                Err(Trouble::Refused(error)) => return Err(error),
                Err(Trouble::Fault(fault)) => self.after(&mut attempts, file, fault).await?,
            }
        }
    }

    /// Waits before a file is asked for again.
    pub(crate) async fn after(
        &self,
        attempts: &mut Attempts<'_>,
        file: &FileInfo,
        fault: Fault,
    ) -> Result<()> {
        let what = format!("cannot fetch {}/{}", self.repository, file.name);
        attempts.after(&what, fault).await.map_err(HubError::Request)
    }

    async fn ask_range(&self, file: &FileInfo, from: u64, to: u64) -> std::result::Result<Part, Trouble> {
        let mut response = self.open(file, Some((from, to))).await?;
        if response.status() != StatusCode::PARTIAL_CONTENT {
            if (from, to) != (0, file.bytes) {
                return Ok(Part::NoRanges);
            }
        } else if first_byte(response.headers()) != Some(from) {
            let problem = format!("asked for byte {from}, the server sent others");
            return Err(Trouble::Fault(Fault::Lasting(problem)));
        }
        let due = (to - from) as usize;
        let mut bytes = Vec::with_capacity(due);
        while let Some(chunk) = response.chunk().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > due {
                let problem = format!("the server sent more than the {} bytes it announced", file.bytes);
                return Err(Trouble::Fault(Fault::Lasting(problem)));
            }
        }
        match bytes.len() == due {
            true => Ok(Part::Bytes(bytes)),
            false => {
                let message = format!("the connection ended after {} of {due} bytes", bytes.len());
                Err(Trouble::Fault(Fault::Passing(message, None)))
            }
        }
    }

    /// Begins a transfer; redirects are followed, without the token where they leave the Hub.
    pub(crate) async fn open(
        &self,
        file: &FileInfo,
        range: Option<(u64, u64)>,
    ) -> std::result::Result<Response, Trouble> {
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

pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `bytes 5-99/100` → 5.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let range = text(headers, &CONTENT_RANGE)?.strip_prefix("bytes")?.trim();
    range.split_once('-')?.0.trim().parse().ok()
}
