//! Addresses of sources.
//!
//! | written | means |
//! | --- | --- |
//! | `s3://bucket/key`, `gs://bucket/key` | an object, a folder of them, or a glob over keys |
//! | `https://host/path?query` | one file |
//! | `hf://datasets/owner/name@revision/path` | a file, folder or glob of a dataset on the Hugging Face Hub; revision `main` and path `` where left out |
//! | `hf://owner/name@revision/path` | the same of a model |
//! | anything else | local: a file, a folder or a glob |

use url::Url;

use crate::error::{CorpusError, Result};

/// A parsed address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A path or glob on local disk.
    Local(String),
    /// Objects in a bucket.
    Bucket {
        /// Which kind of store.
        store: BucketStore,
        /// The bucket.
        bucket: String,
        /// Key, prefix or glob; no slash in front.
        key: String,
    },
    /// One file behind a URL.
    Http(Url),
    /// Files of a repository on the Hub.
    Hub {
        /// Datasets and models live under different paths.
        kind: HubKind,
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// Path, folder or glob inside; may be empty.
        path: String,
    },
}

/// Object stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BucketStore {
    /// Amazon S3, or anything that speaks its protocol (`AWS_ENDPOINT_URL`).
    S3,
    /// Google Cloud Storage.
    Gcs,
}

/// Kinds of repository on the Hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubKind {
    /// `hf://datasets/…`
    Dataset,
    /// `hf://…` or `hf://models/…`
    Model,
}

impl Location {
    /// Parses an address. `source` is the source's name, for messages.
    ///
    /// # Errors
    /// An unknown scheme, or an address that does not fit its scheme.
    pub fn parse(source: &str, address: &str) -> Result<Self> {
        let bad = |problem: &str| CorpusError::source(source, format!("`{address}`: {problem}"));
        let Some((scheme, rest)) = address.split_once("://") else {
            return Ok(Location::Local(address.to_owned()));
        };
        match scheme {
            "s3" | "gs" => {
                let store = match scheme {
                    "s3" => BucketStore::S3,
                    _ => BucketStore::Gcs,
                };
                let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
                if bucket.is_empty() {
                    return Err(bad(&format!("write {scheme}://bucket/key")));
                }
                Ok(Location::Bucket {
                    store,
                    bucket: bucket.to_owned(),
                    key: key.trim_start_matches('/').to_owned(),
                })
            }
            "http" | "https" => match Url::parse(address) {
                Ok(url) => Ok(Location::Http(url)),
                Err(error) => Err(bad(&format!("not a URL: {error}"))),
            },
            "hf" => {
                let form = "write hf://datasets/owner/name@revision/path";
                let (kind, rest) = match rest.split_once('/') {
                    Some(("datasets", rest)) => (HubKind::Dataset, rest),
                    Some(("models", rest)) => (HubKind::Model, rest),
                    Some(("spaces", _)) => {
                        return Err(bad("spaces hold no data; only datasets and models do"));
                    }
                    _ => (HubKind::Model, rest),
                };
                let (owner, rest) = rest.split_once('/').ok_or_else(|| bad(form))?;
                let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
                let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
                if owner.is_empty() || name.is_empty() || revision.is_empty() {
                    return Err(bad(form));
                }
                Ok(Location::Hub {
                    kind,
                    repo: format!("{owner}/{name}"),
                    // A branch such as refs/convert/parquet is written with %2F.
                    revision: revision.replace("%2F", "/").replace("%2f", "/"),
                    path: path.to_owned(),
                })
            }
            "file" => match Url::parse(address).ok().and_then(|url| url.to_file_path().ok()) {
                Some(path) => Ok(Location::Local(path.to_string_lossy().into_owned())),
                None => Err(bad("write file:///path")),
            },
            _ => Err(bad("known are paths, s3://, gs://, http(s):// and hf://")),
        }
    }
}
