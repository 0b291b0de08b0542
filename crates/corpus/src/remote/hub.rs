//! Repositories on the Hugging Face Hub: which files they hold, and where those are served.
//!
//! Two HTTP requests: the commit of a revision, and the files of that commit. The commit is fixed at listing, so a branch
//! that moves does not change a run in progress. `smollm3-hub` downloads models, as folders of several files.

use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use super::location::HubKind;
use super::retry::Fault;
use super::token::HubToken;
use super::{FileLocation, RemoteClient, RemoteFile};
use crate::shards::Shard;

#[derive(Deserialize)]
struct Revision {
    sha: String,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    oid: String,
}

impl RemoteClient {
    /// All files below `folder` of a repository, in the order the Hub gives them.
    pub(super) async fn hub_files(
        &self,
        kind: HubKind,
        repo: &str,
        revision: &str,
        folder: &str,
    ) -> Result<Vec<RemoteFile>, Fault> {
        let base = self.hub_endpoint()?;
        let token = self.hub_token().map(|secret| HubToken::new(secret, &base));
        let base = base.as_str().trim_end_matches('/');
        // The kind in addresses of the API, and before the repository's name elsewhere.
        let (api, prefix) = match kind {
            HubKind::Dataset => ("datasets", "datasets/"),
            HubKind::Model => ("models", ""),
        };
        let api = format!("{base}/api/{api}/{repo}");
        let url = parse(&format!("{api}/revision/{}", encode(revision, false)))?;
        let (body, _) = self.page(&url, token.as_ref()).await?;
        let Revision { sha } = decode(&body)?;

        let tail = match folder {
            "" => String::new(),
            folder => format!("/{}", encode(folder, true)),
        };
        let mut next = Some(parse(&format!("{api}/tree/{sha}{tail}?recursive=true"))?);
        let mut files = Vec::new();
        while let Some(url) = next {
            let (body, following) = self.page(&url, token.as_ref()).await?;
            let entries = decode::<Vec<Entry>>(&body)?.into_iter();
            for entry in entries.filter(|entry| entry.kind == "file") {
                let path = encode(&entry.path, true);
                let url = parse(&format!("{base}/{prefix}{repo}/resolve/{sha}/{path}"))?;
                files.push(RemoteFile {
                    shard: Shard {
                        name: format!("hf://{prefix}{repo}@{sha}/{}", entry.path),
                        bytes: entry.size,
                        version: format!("oid {}", entry.oid),
                    },
                    relative: entry.path,
                    place: FileLocation::Url {
                        url,
                        token: token.clone(),
                    },
                });
            }
            next = following;
        }
        Ok(files)
    }

    /// The Hub's address: `HF_ENDPOINT`, or the public one.
    ///
    /// # Errors
    /// It is no URL.
    pub fn hub_endpoint(&self) -> Result<Url, Fault> {
        let endpoint = self.variable("HF_ENDPOINT").unwrap_or("https://huggingface.co");
        Url::parse(endpoint)
            .map_err(|error| Fault::Lasting(format!("HF_ENDPOINT `{endpoint}` is not a URL: {error}")))
    }

    /// `HF_TOKEN`, or the token file that logging in creates.
    pub fn hub_token(&self) -> Option<String> {
        let from_file = || {
            let file = match self.variable("HF_TOKEN_PATH") {
                Some(path) => PathBuf::from(path),
                None => self.hub_home()?.join("token"),
            };
            std::fs::read_to_string(file).ok()
        };
        let token = self.variable("HF_TOKEN").map(str::to_owned).or_else(from_file)?;
        Some(token.trim().to_owned()).filter(|token| !token.is_empty())
    }

    /// Hugging Face's folder: `HF_HOME`, else `huggingface` in the user's cache.
    pub fn hub_home(&self) -> Option<PathBuf> {
        if let Some(home) = self.variable("HF_HOME") {
            return Some(PathBuf::from(home));
        }
        let cache = self.variable("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| {
            let home = self.variable("HOME").or_else(|| self.variable("USERPROFILE"))?;
            Some(PathBuf::from(home).join(".cache"))
        })?;
        Some(cache.join("huggingface"))
    }
}

fn parse(url: &str) -> Result<Url, Fault> {
    Url::parse(url).map_err(|error| Fault::Lasting(format!("`{url}` is not a URL: {error}")))
}

fn decode<'a, T: Deserialize<'a>>(body: &'a str) -> Result<T, Fault> {
    serde_json::from_str(body)
        .map_err(|error| Fault::Lasting(format!("cannot parse the Hub's answer: {error}")))
}

/// Percent-encodes a path; slashes are kept if `folders`.
pub fn encode(path: &str, folders: bool) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(byte.into()),
            b'/' if folders => encoded.push('/'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
