//! Uploads large files to the Hub's LFS store.
//!
//! The batch API says for each object whether the store has it, or else where to send it: to one address, or in parts to
//! the addresses in the action's header, keyed by part number. The addresses are signed for a limited time and get no token.
//! Source: git-lfs's docs/api/batch.md, and `lfs.py` of `huggingface_hub` for the parts. Why not Xet: docs/decisions.md.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use smollm3_corpus::remote::{Attempts, Fault, authorize};
use url::Url;

use super::files::{LocalFile, Taken};
use super::requests::{Written, decode, is_about_space, strange, written};
use crate::api::{Api, Asked, Trouble, after, text};
use crate::error::{HubError, Result, in_brackets};

const LFS: &str = "application/vnd.git-lfs+json";

/// Maximum number of parts of a file in flight.
const PARTS_AT_ONCE: usize = 4;

/// Attempts at one address before the Hub is asked for a new one.
const SAME_ADDRESS: u32 = 3;

/// The Hub's own address, which mirrors pass on unchanged.
const PUBLIC: &str = "https://huggingface.co";

/// The store of a repository.
pub(super) struct LfsStore<'a> {
    pub(super) api: &'a Api<'a>,
    pub(super) writer: &'a Client,
    pub(super) revision: &'a str,
    /// Bytes that it has received, or had already.
    pub(super) taken: &'a Arc<AtomicU64>,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    actions: Option<Actions>,
    #[serde(default)]
    error: Option<ObjectError>,
}

#[derive(Deserialize)]
struct ObjectError {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Actions {
    #[serde(default)]
    upload: Option<Action>,
    #[serde(default)]
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: Map<String, Value>,
}

/// Why an upload to an address failed.
enum Untaken {
    /// The address has expired.
    Expired(String),
    Trouble(Trouble),
}

impl From<Trouble> for Untaken {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl LfsStore<'_> {
    /// Sends a file unless the store has it; returns the bytes that were sent.
    pub(super) async fn send(&self, file: &LocalFile<'_>) -> Result<u64> {
        let what = self.uploading(file);
        self.api.retried(&what, || self.attempt(file)).await
    }

    fn uploading(&self, file: &LocalFile<'_>) -> String {
        format!("upload {} to {}", file.name(), self.api.repository)
    }

    async fn attempt(&self, file: &LocalFile<'_>) -> Asked<u64> {
        let Some(actions) = self.batch(file).await? else {
            self.taken.fetch_add(file.size(), Ordering::Relaxed);
            return Ok(0);
        };
        let taken = Taken::of(self.taken);
        if let Some(upload) = actions.upload {
            match upload.header.get("chunk_size").map(number) {
                None => drop(
                    self.put(file, &upload, &upload.href, (0, file.size()), &taken)
                        .await?,
                ),
                Some(chunk) => self.in_parts(file, &upload, chunk, &taken).await?,
            }
        }
        if let Some(verify) = actions.verify {
            let asked = json!({ "oid": file.sha256()?, "size": file.size() });
            self.post(&verify.href, &asked).await?;
        }
        Ok(taken.keep())
    }

    /// What to do with a file; `None` if the store has it.
    async fn batch(&self, file: &LocalFile<'_>) -> Asked<Option<Actions>> {
        #[derive(Deserialize)]
        struct Batch {
            objects: Vec<Object>,
        }
        let url = format!(
            "{}/{}.git/info/lfs/objects/batch",
            self.api.base(),
            self.api.repository
        );
        let asked = json!({
            "operation": "upload",
            "transfers": ["basic", "multipart"],
            "objects": [{ "oid": file.sha256()?, "size": file.size() }],
            "hash_algo": "sha256",
            "ref": { "name": self.revision },
        });
        let answer = self.post(&url, &asked).await?;
        let batch: Batch = decode(self.api, &answer)?;
        let object = batch.objects.into_iter().next();
        let object = object.ok_or_else(|| strange(self.api, "no object"))?;
        let Some(error) = object.error else {
            return Ok(object.actions);
        };
        let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::BAD_REQUEST);
        let (repository, endpoint) = (self.api.repository.to_owned(), self.api.shown());
        Err(match is_about_space(status, &error.message) {
            true => Trouble::Refused(HubError::NoSpace {
                repository,
                endpoint,
                message: error.message,
            }),
            false => {
                let message = format!("{endpoint} refuses it: {status}{}", in_brackets(&error.message));
                Trouble::Fault(Fault::of_status(message, status, &Default::default()))
            }
        })
    }

    /// Sends the bytes in parts of `chunk`, each to its address, then reports that all are there.
    async fn in_parts(
        &self,
        file: &LocalFile<'_>,
        action: &Action,
        chunk: Option<u64>,
        all: &Taken,
    ) -> Asked<()> {
        let parts: BTreeMap<u64, &str> = action
            .header
            .iter()
            .filter_map(|(name, url)| Some((name.parse().ok()?, url.as_str()?)))
            .collect();
        let chunk = chunk.filter(|chunk| *chunk > 0 && file.size().div_ceil(*chunk) == parts.len() as u64);
        let Some(chunk) = chunk else {
            let problem = format!("{} addresses for the parts of {} bytes", parts.len(), file.size());
            return Err(strange(self.api, &problem));
        };
        let etags: Vec<Value> = stream::iter(parts.values().enumerate())
            .map(|(index, url)| async move {
                let from = index as u64 * chunk;
                let length = chunk.min(file.size() - from);
                let etag = self.put(file, action, url, (from, length), all).await?;
                let etag =
                    etag.ok_or_else(|| strange(self.api, &format!("no ETag of part {}", index + 1)))?;
                Ok::<_, Trouble>(json!({ "partNumber": index + 1, "etag": etag }))
            })
            .buffered(PARTS_AT_ONCE)
            .try_collect()
            .await?;
        let asked = json!({ "oid": file.sha256()?, "parts": etags });
        self.post(&action.href, &asked).await.map(drop)
    }

    /// Sends bytes to an address, repeatedly if need be; returns their ETag.
    async fn put(
        &self,
        file: &LocalFile<'_>,
        action: &Action,
        url: &str,
        (from, length): (u64, u64),
        all: &Taken,
    ) -> Asked<Option<String>> {
        let mut attempts = Attempts::new(self.api.remote.policy());
        let mut failures = 0;
        loop {
            let taken = Taken::of(self.taken);
            let fault = match self.put_once(file, action, url, (from, length), &taken).await {
                Ok(etag) => {
                    all.own.fetch_add(taken.keep(), Ordering::Relaxed);
                    return Ok(etag);
                }
                Err(Untaken::Expired(message)) => return Err(Trouble::passing(message)),
                Err(Untaken::Trouble(Trouble::Fault(fault))) => fault,
                Err(Untaken::Trouble(refused)) => return Err(refused),
            };
            drop(taken);
            failures += 1;
            if failures >= SAME_ADDRESS {
                return Err(Trouble::Fault(fault));
            }
            after(&mut attempts, &self.uploading(file), fault).await?;
        }
    }

    async fn put_once(
        &self,
        file: &LocalFile<'_>,
        action: &Action,
        url: &str,
        (from, length): (u64, u64),
        taken: &Taken,
    ) -> std::result::Result<Option<String>, Untaken> {
        let url = self.address(url)?;
        let body = file.body(from, length, taken).map_err(Trouble::from)?;
        let mut request = authorize(self.writer.put(url.clone()), &url, self.api.token.as_ref());
        if !action.header.contains_key("chunk_size") {
            for (name, value) in &action.header {
                if let Some(value) = value.as_str() {
                    request = request.header(name, value);
                }
            }
        }
        let sending = request.header(CONTENT_LENGTH, length).body(body).send();
        let stall = self.api.remote.policy().stall;
        let response = match select(pin!(sending), pin!(idle(&taken.own, stall))).await {
            Either::Left((response, _)) => response.map_err(Trouble::from)?,
            Either::Right(_) => {
                return Err(Trouble::passing(format!("nothing was sent for {stall:?}")).into());
            }
        };
        self.check(&response)?;
        Ok(text(response.headers(), &ETAG).map(str::to_owned))
    }

    fn check(&self, response: &Response) -> std::result::Result<(), Untaken> {
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let host = response.url().host_str().unwrap_or_default();
        let message = format!("{host} answered {status}");
        match Fault::of_status(message, status, response.headers()) {
            Fault::Lasting(message) => Err(Untaken::Expired(message)),
            passing => Err(Trouble::Fault(passing).into()),
        }
    }

    fn address(&self, text: &str) -> Asked<Url> {
        let own = format!("{PUBLIC}/");
        let text = match text.strip_prefix(&own) {
            Some(rest) => &format!("{}/{rest}", self.api.base()),
            None => text,
        };
        Ok(self.api.url(text)?)
    }

    /// An LFS request, repeated after faults.
    async fn post(&self, url: &str, body: &Value) -> Asked<String> {
        let what = format!("upload to {}", self.api.repository);
        Ok(self.api.retried(&what, || self.post_once(url, body)).await?)
    }

    async fn post_once(&self, url: &str, body: &Value) -> Asked<String> {
        let url = self.address(url)?;
        let request = authorize(self.writer.post(url.clone()), &url, self.api.token.as_ref())
            .header(ACCEPT, LFS)
            .header(CONTENT_TYPE, LFS)
            .body(body.to_string());
        match written(self.api, request).await? {
            Written::Done(text) => Ok(text),
            Written::Conflict(message) => Err(Trouble::passing(format!(
                "{} answered that it is busy{}",
                self.api.shown(),
                in_brackets(&message)
            ))),
        }
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}

/// Returns once a count has not changed for at least `stall`.
async fn idle(count: &AtomicU64, stall: Duration) {
    let mut before = None;
    loop {
        let now = count.load(Ordering::Relaxed);
        if before == Some(now) {
            return;
        }
        before = Some(now);
        tokio::time::sleep(stall).await;
    }
}
