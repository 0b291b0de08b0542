//! The requests that change a repository: creating it and its branches, `preupload`, `commit`.
//!
//! Source: `create_repo`, `create_branch` and `create_commit` of `huggingface_hub`, and its `_commit_api.py`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use smollm3_corpus::remote::{Fault, authorize, encode};

use super::files::LocalFile;
use super::moved;
use crate::api::{Api, Asked, Trouble, text};
use crate::error::{HubError, in_brackets};
use crate::refusal::ERROR_MESSAGE;

/// Files of one `preupload`, as in Python's library.
const FILES_AT_ONCE: usize = 256;

/// How a file is uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// In the commit itself.
    Regular,
    /// To the LFS store first.
    Lfs,
}

/// What the Hub says about a file before the upload.
pub(super) struct Preuploaded {
    pub(super) mode: Mode,
    /// What the branch has under this name: SHA-256 of an LFS file, else the SHA-1 of git.
    pub(super) oid: Option<String>,
}

/// A change of a commit.
pub(super) enum Change<'a> {
    File { name: &'a str, bytes: &'a [u8] },
    Lfs { name: &'a str, oid: &'a str, bytes: u64 },
    Deleted { name: &'a str },
}

impl Change<'_> {
    fn line(&self) -> Value {
        match self {
            Self::File { name, bytes } => json!({
                "key": "file",
                "value": { "path": name, "encoding": "base64", "content": STANDARD.encode(bytes) },
            }),
            Self::Lfs { name, oid, bytes } => json!({
                "key": "lfsFile",
                "value": { "path": name, "algo": "sha256", "oid": oid, "size": bytes },
            }),
            Self::Deleted { name } => json!({ "key": "deletedFile", "value": { "path": name } }),
        }
    }
}

/// The answer to a request that changes something.
pub(super) enum Written {
    Done(String),
    /// 409 or 412: the name exists, or the branch has moved.
    Conflict(String),
}

/// Creates the repository unless it exists.
pub(super) async fn ensure_repository(api: &Api<'_>, writer: &Client, private: bool) -> Asked<()> {
    // A token for this repository alone may write to it, but not create one, so creating is not tried first.
    match is_private(api).await {
        Ok(is_private) => return allowed(api, private, is_private),
        Err(Trouble::Refused(HubError::NoRepository { .. })) => {}
        Err(trouble) => return Err(trouble),
    }
    let (owner, name) = api.repository.split_once('/').unwrap_or(("", api.repository));
    let mut settings = json!({ "type": "model", "name": name, "organization": owner });
    if private {
        settings["private"] = Value::Bool(true);
    }
    let url = format!("{}/api/repos/create", api.base());
    match post(api, writer, &url, JSON, settings.to_string()).await? {
        Written::Done(_) => Ok(()),
        // Created by someone else meanwhile, or hidden from this token.
        Written::Conflict(message) => match is_private(api).await {
            Ok(is_private) => allowed(api, private, is_private),
            Err(Trouble::Refused(HubError::NoRepository { repository, endpoint })) => Err(HubError::Taken {
                repository,
                endpoint,
                message,
            }
            .into()),
            Err(trouble) => Err(trouble),
        },
    }
}

fn allowed(api: &Api<'_>, private: bool, is_private: bool) -> Asked<()> {
    match private && !is_private {
        false => Ok(()),
        true => Err(HubError::IsPublic {
            repository: api.repository.to_owned(),
            endpoint: api.shown(),
        }
        .into()),
    }
}

/// Whether the existing repository is private.
async fn is_private(api: &Api<'_>) -> Asked<bool> {
    #[derive(Deserialize)]
    struct Info {
        #[serde(default)]
        private: bool,
    }
    let url = api.url(&api.of_repository())?;
    let request = authorize(api.asking.get(url.clone()), &url, api.token.as_ref());
    let response = request.send().await?;
    api.check(&response, "main")?;
    let info: Info = decode(api, &response.text().await?)?;
    Ok(info.private)
}

/// Creates the branch from `main` unless it exists.
pub(super) async fn ensure_branch(api: &Api<'_>, writer: &Client, branch: &str) -> Asked<()> {
    if branch == "main" {
        return Ok(());
    }
    match api.listing(branch).await {
        Err(HubError::NoRevision { .. }) => create_branch(api, writer, branch, "main").await.map(drop),
        listing => Ok(listing.map(drop)?),
    }
}

/// Creates a branch at a revision; `false` if it exists.
pub(super) async fn create_branch(api: &Api<'_>, writer: &Client, branch: &str, at: &str) -> Asked<bool> {
    let url = format!("{}/branch/{}", api.of_repository(), encode(branch, false));
    let body = json!({ "startingPoint": at }).to_string();
    let written = post(api, writer, &url, JSON, body).await?;
    Ok(matches!(written, Written::Done(_)))
}

/// How the Hub wants each file uploaded, in their order.
pub(super) async fn preupload(
    api: &Api<'_>,
    writer: &Client,
    branch: &str,
    files: &[&LocalFile<'_>],
) -> Asked<Vec<Preuploaded>> {
    #[derive(Deserialize)]
    struct Answer {
        files: Vec<UploadMode>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct UploadMode {
        path: String,
        upload_mode: String,
        #[serde(default)]
        should_ignore: bool,
        #[serde(default)]
        oid: Option<String>,
    }
    let url = format!("{}/preupload/{}", api.of_repository(), encode(branch, false));
    let mut modes = Vec::new();
    for files in files.chunks(FILES_AT_ONCE) {
        let mut asked = Vec::new();
        for file in files {
            let sample = STANDARD.encode(file.sample()?);
            asked.push(json!({ "path": file.name(), "size": file.size(), "sample": sample }));
        }
        let written = post(api, writer, &url, JSON, json!({ "files": asked }).to_string()).await?;
        let answer: Answer = match written {
            Written::Done(text) => decode(api, &text)?,
            Written::Conflict(message) => return Err(moved(&message)),
        };
        for file in files {
            let found = answer.files.iter().find(|found| found.path == file.name());
            let found = found.ok_or_else(|| strange(api, &format!("nothing about {}", file.name())))?;
            if found.should_ignore {
                let problem = format!("has a .gitignore that excludes {}; change it there", file.name());
                let repository = api.repository.to_owned();
                return Err(HubError::Content { repository, problem }.into());
            }
            modes.push(Preuploaded {
                // The store refuses empty files.
                mode: match found.upload_mode.as_str() {
                    "lfs" if file.size() > 0 => Mode::Lfs,
                    _ => Mode::Regular,
                },
                oid: found.oid.clone(),
            });
        }
    }
    Ok(modes)
}

/// One commit on `head`; returns its hash.
pub(super) async fn commit(
    api: &Api<'_>,
    writer: &Client,
    branch: &str,
    head: &str,
    message: &str,
    changes: &[Change<'_>],
) -> Asked<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Committed {
        commit_oid: String,
    }
    let header = json!({
        "key": "header",
        "value": { "summary": message, "description": "", "parentCommit": head },
    });
    let mut lines = format!("{header}\n");
    for change in changes {
        lines.push_str(&format!("{}\n", change.line()));
    }
    let url = format!("{}/commit/{}", api.of_repository(), encode(branch, false));
    match post(api, writer, &url, "application/x-ndjson", lines).await? {
        Written::Done(text) => Ok(decode::<Committed>(api, &text)?.commit_oid),
        Written::Conflict(message) => Err(moved(&message)),
    }
}

const JSON: &str = "application/json";

/// A POST request to the Hub.
async fn post(api: &Api<'_>, writer: &Client, url: &str, kind: &str, body: String) -> Asked<Written> {
    let url = api.url(url)?;
    let request = authorize(writer.post(url.clone()), &url, api.token.as_ref())
        .header(CONTENT_TYPE, kind)
        .body(body);
    written(api, request).await
}

/// Sends a request that changes something, and interprets the answer.
pub(super) async fn written(api: &Api<'_>, request: RequestBuilder) -> Asked<Written> {
    // Large commits take the Hub long, but not for ever.
    let response = request.timeout(api.remote.policy().stall * 10).send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(Written::Done(response.text().await?));
    }
    let headers = response.headers().clone();
    let message = message(response).await;
    if matches!(status, StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED) {
        return Ok(Written::Conflict(message));
    }
    let repository = api.repository.to_owned();
    let endpoint = api.shown();
    Err(match status.as_u16() {
        _ if is_about_space(status, &message) => Trouble::Refused(HubError::NoSpace {
            repository,
            endpoint,
            message,
        }),
        401 | 403 => Trouble::Refused(HubError::MayNotWrite {
            repository,
            endpoint,
            status: status.as_u16(),
            token: api.whose_token(),
            message,
        }),
        404 => Trouble::Refused(HubError::NoRepository { repository, endpoint }),
        _ => {
            let text = format!("{endpoint} answered {status}{}", in_brackets(&message));
            Trouble::Fault(Fault::of_status(text, status, &headers))
        }
    })
}

/// Whether the quota is used up, by the words of the Hub's message.
pub(super) fn is_about_space(status: StatusCode, message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    let words = ["storage", "quota"];
    matches!(status.as_u16(), 402 | 413 | 507)
        || status.is_client_error() && words.iter().any(|word| message.contains(word))
}

/// The Hub's message with a status, in a header or a JSON object.
async fn message(response: Response) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: String,
    }
    let header = text(response.headers(), &ERROR_MESSAGE).map(str::to_owned);
    let body = response.text().await.unwrap_or_default();
    let body = serde_json::from_str(&body).ok().map(|Body { error }| error);
    header.or(body).unwrap_or_default()
}

pub(super) fn decode<'t, T: Deserialize<'t>>(api: &Api<'_>, text: &'t str) -> Asked<T> {
    serde_json::from_str(text).map_err(|error| strange(api, &error.to_string()))
}

pub(super) fn strange(api: &Api<'_>, problem: &str) -> Trouble {
    let message = format!("{} sent an unexpected answer: {problem}", api.shown());
    HubError::Request(message).into()
}
