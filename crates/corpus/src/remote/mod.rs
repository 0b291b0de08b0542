//! Files in object stores, behind URLs and on the Hugging Face Hub.
//!
//! [`RemoteClient::list`] turns addresses into a numbered list of files; [`crate::cache`] and [`crate::fetch`] download
//! them. Buckets are read with `object_store`; plain URLs and the Hub with `reqwest` (a dependency of `object_store`), which
//! handles redirects, queries and servers without ranges.
//!
//! Credentials come from the usual variables: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`,
//! `AWS_ENDPOINT_URL`, `AWS_SKIP_SIGNATURE` …; `GOOGLE_APPLICATION_CREDENTIALS`; `HF_TOKEN` or the file that
//! `huggingface-cli login` creates, `HF_ENDPOINT`.
//!
//! The rest of the program is synchronous; the client owns a small runtime and hides it.

mod download;
mod hub;
mod listing;
mod location;
mod object;
mod retry;
mod token;
mod url_name;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use object_store::ObjectStore;
use tokio::runtime::{Handle, Runtime};
use tokio::task::AbortHandle;
use url::Url;

use crate::error::{CorpusError, Result};
use crate::shards::Shard;

pub use hub::encode;
pub use location::{BucketStore, HubKind, Location};
pub use retry::{Attempts, Fault, RetryPolicy};
pub use token::{HubToken, authorize};
pub use url_name::without_secrets;

/// A remote file.
#[derive(Debug, Clone)]
pub struct RemoteFile {
    /// Name, size and version.
    pub shard: Shard,
    /// Its path below the folder, prefix or repository that was listed.
    pub relative: String,
    place: FileLocation,
}

#[derive(Debug, Clone)]
enum FileLocation {
    Url {
        url: Url,
        token: Option<HubToken>,
    },
    Object {
        store: BucketStore,
        bucket: String,
        path: object_store::path::Path,
    },
}

/// A client for stores. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct RemoteClient {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Background,
    http: reqwest::Client,
    policy: RetryPolicy,
    environment: HashMap<String, String>,
    buckets: Mutex<HashMap<(BucketStore, String), Arc<dyn ObjectStore>>>,
}

/// The runtime. The last owner of a client may be one of its tasks, so dropping it must not wait for them.
struct Background {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for RemoteClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteClient")
            .field("policy", &self.inner.policy)
            .finish_non_exhaustive()
    }
}

impl RemoteClient {
    /// A client with this policy, and the process's environment for credentials.
    ///
    /// # Errors
    /// The system refuses threads, or has no trusted certificates.
    pub fn new(policy: RetryPolicy) -> Result<Self> {
        let text =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        RemoteClient::with_environment(policy, std::env::vars_os().filter_map(text))
    }

    /// A client that takes credentials and endpoints from these variables only.
    ///
    /// # Errors
    /// As [`RemoteClient::new`].
    pub fn with_environment(
        policy: RetryPolicy,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        // Fails only if a provider is installed already, which then stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |problem: String| CorpusError::source("remote", problem);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("remote")
            .enable_all()
            .build()
            .map_err(|error| failed(format!("no threads to talk to stores: {error}")))?;
        let http = Self::settings(&policy)
            .build()
            .map_err(|error| failed(format!("cannot set up HTTP: {error}")))?;
        Ok(RemoteClient {
            inner: Arc::new(Inner {
                runtime: Background {
                    handle: runtime.handle().clone(),
                    runtime: Some(runtime),
                },
                http,
                policy,
                environment: environment.into_iter().collect(),
                buckets: Mutex::default(),
            }),
        })
    }

    /// The settings of all requests.
    pub fn settings(policy: &RetryPolicy) -> reqwest::ClientBuilder {
        reqwest::Client::builder()
            .user_agent(concat!("smollm3/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(policy.stall)
            .read_timeout(policy.stall)
            // The redirecting address may contain a signature.
            .referer(false)
    }

    /// Runs `task` in the background, until it ends or is aborted.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.inner.runtime.handle.spawn(task).abort_handle()
    }

    /// A variable of the client's environment. One that is empty or blank counts as absent.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let value = self.inner.environment.get(name).map(String::as_str);
        value.filter(|value| !value.trim().is_empty())
    }

    /// The retry policy.
    pub fn policy(&self) -> &RetryPolicy {
        &self.inner.policy
    }

    /// The HTTP client; it follows redirects.
    pub fn http(&self) -> &reqwest::Client {
        &self.inner.http
    }

    /// Runs a future on the client's runtime.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.inner.runtime.handle.block_on(future)
    }

    fn bucket(&self, store: BucketStore, bucket: &str) -> Result<Arc<dyn ObjectStore>, Fault> {
        let mut buckets = self.inner.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (store, bucket.to_owned());
        if let Some(known) = buckets.get(&key) {
            return Ok(known.clone());
        }
        let opened = object::open_bucket(store, bucket, &self.inner.policy, &self.inner.environment)
            .map_err(|error| Fault::Lasting(format!("source `{bucket}`: cannot open the bucket: {error}")))?;
        buckets.insert(key, opened.clone());
        Ok(opened)
    }
}
