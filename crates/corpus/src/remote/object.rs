//! A remote file as a stream of bytes from a given offset.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{ClientOptions, GetOptions, GetRange, ObjectStore, RetryConfig};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, RANGE};
use url::Url;

use super::retry::{Fault, RetryPolicy, with_causes};
use super::token::{HubToken, authorize};
use super::{BucketStore, FileLocation, RemoteClient, RemoteFile};

/// A stream of bytes from the requested offset.
pub(super) type Bytes = BoxStream<'static, Result<Vec<u8>, Fault>>;

/// Size and version of a file, as the server states them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) bytes: u64,
    pub(super) version: Option<String>,
}

pub(super) fn open_bucket(
    store: BucketStore,
    bucket: &str,
    policy: &RetryPolicy,
    environment: &HashMap<String, String>,
) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    // Retries are handled by `retry.rs`.
    let retry = RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    };
    let options = || {
        ClientOptions::new()
            .with_timeout_disabled()
            .with_read_timeout(policy.stall)
            .with_connect_timeout(policy.stall)
    };
    // As the builders' own `from_env`, but from the client's environment.
    let variables = |prefix: &'static str| {
        let named = environment
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix));
        named.map(|(name, value)| (name.to_ascii_lowercase(), value))
    };
    Ok(match store {
        BucketStore::S3 => {
            let mut builder = AmazonS3Builder::new();
            for (name, value) in variables("AWS_") {
                if let Ok(key) = name.parse() {
                    builder = builder.with_config(key, value);
                }
            }
            let allow_http = environment
                .get("AWS_ALLOW_HTTP")
                .is_some_and(|value| value == "true");
            let builder = builder.with_client_options(options().with_allow_http(allow_http));
            Arc::new(builder.with_bucket_name(bucket).with_retry(retry).build()?)
        }
        BucketStore::Gcs => {
            let mut builder = GoogleCloudStorageBuilder::new();
            for (name, value) in variables("GOOGLE_") {
                if let Ok(key) = name.parse() {
                    builder = builder.with_config(key, value);
                }
            }
            let builder = builder.with_client_options(options());
            Arc::new(builder.with_bucket_name(bucket).with_retry(retry).build()?)
        }
    })
}

impl RemoteClient {
    /// Opens `file` at byte `from`.
    pub(super) async fn open_at(&self, file: &RemoteFile, from: u64) -> Result<Bytes, Fault> {
        let (described, bytes) = match &file.place {
            FileLocation::Url { url, token } => self.open_url(url, token.as_ref(), from).await?,
            FileLocation::Object { store, bucket, path } => {
                let store = self.bucket(*store, bucket)?;
                open_object(&*store, path, from).await?
            }
        };
        if described.bytes != file.shard.bytes {
            let (now, listed) = (described.bytes, file.shard.bytes);
            return Err(Fault::Lasting(format!(
                "it has {now} bytes, it was listed with {listed}"
            )));
        }
        match described.version {
            Some(version) if file.shard.version.starts_with("etag ") && version != file.shard.version => {
                Err(Fault::Lasting("it changed while it was being read".to_owned()))
            }
            _ => Ok(bytes),
        }
    }

    async fn open_url(
        &self,
        url: &Url,
        token: Option<&HubToken>,
        from: u64,
    ) -> Result<(Described, Bytes), Fault> {
        let mut request = authorize(self.inner.http.get(url.clone()), url, token);
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await?;
        check_status(response.status(), response.headers(), url)?;
        let version = etag(response.headers());
        let (bytes, skip) = match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let (start, bytes) = content_range(response.headers()).ok_or_else(|| {
                    Fault::Lasting("the server answers ranges without saying which".to_owned())
                })?;
                if start != from {
                    return Err(Fault::Lasting(format!(
                        "the server was asked for byte {from} and sent {start}"
                    )));
                }
                (bytes, 0)
            }
            // A server without ranges sends everything; the first bytes are skipped.
            _ => {
                let size = response.content_length();
                let size = size.ok_or_else(|| Fault::Lasting("the server does not tell the size".to_owned()));
                (size?, from)
            }
        };
        let stream = response
            .bytes_stream()
            .map(|chunk| chunk.map(|bytes| bytes.to_vec()).map_err(Fault::from));
        Ok((Described { bytes, version }, skip_bytes(stream.boxed(), skip)))
    }

    /// Size and version of the file at a URL.
    pub(super) async fn describe_url(&self, url: &Url) -> Result<Described, Fault> {
        let response = self.inner.http.head(url.clone()).send().await?;
        let length = response.headers().get(reqwest::header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        match (response.status().is_success(), length) {
            (true, Some(bytes @ 1..)) => Ok(Described {
                bytes,
                version: etag(response.headers()),
            }),
            // Some servers do not support HEAD, or give no size with it, or that of its empty body.
            _ => Ok(self.open_url(url, None, 0).await?.0),
        }
    }

    /// The body of a small response, and the URL of the next page, if any.
    pub(super) async fn page(
        &self,
        url: &Url,
        token: Option<&HubToken>,
    ) -> Result<(String, Option<Url>), Fault> {
        let request = authorize(self.inner.http.get(url.clone()), url, token);
        let response = request.send().await?;
        check_status(response.status(), response.headers(), url)?;
        let next = next_page(response.headers()).and_then(|next| url.join(&next).ok());
        Ok((response.text().await?, next))
    }
}

async fn open_object(
    store: &dyn ObjectStore,
    path: &object_store::path::Path,
    from: u64,
) -> Result<(Described, Bytes), Fault> {
    let range = (from > 0).then_some(GetRange::Offset(from));
    let options = GetOptions {
        range,
        ..GetOptions::default()
    };
    let result = store.get_opts(path, options).await.map_err(bucket_fault)?;
    let described = Described {
        bytes: result.meta.size,
        version: result.meta.e_tag.as_deref().map(|tag| format!("etag {tag}")),
    };
    let stream = result
        .into_stream()
        .map(|chunk| chunk.map(|bytes| bytes.to_vec()).map_err(bucket_fault));
    Ok((described, stream.boxed()))
}

/// Drops the first `skip` bytes of a stream.
fn skip_bytes(stream: Bytes, skip: u64) -> Bytes {
    let mut left = skip;
    stream
        .map(move |chunk| {
            chunk.map(|mut bytes| {
                let drop = left.min(bytes.len() as u64);
                left -= drop;
                bytes.drain(..drop as usize);
                bytes
            })
        })
        .boxed()
}

pub(super) fn bucket_fault(error: object_store::Error) -> Fault {
    use object_store::Error::{
        InvalidPath, NotFound, NotSupported, PermissionDenied, Precondition, Unauthenticated,
        UnknownConfigurationKey,
    };
    match &error {
        PermissionDenied { .. } | Unauthenticated { .. } => Fault::Lasting(format!(
            "access denied; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (s3) or \
             GOOGLE_APPLICATION_CREDENTIALS (gs), or AWS_SKIP_SIGNATURE=true for a public bucket: {error}"
        )),
        NotFound { .. }
        | InvalidPath { .. }
        | NotSupported { .. }
        | Precondition { .. }
        | UnknownConfigurationKey { .. } => Fault::Lasting(error.to_string()),
        _ => Fault::Passing(with_causes(&error), None),
    }
}

fn check_status(status: StatusCode, headers: &HeaderMap, url: &Url) -> Result<(), Fault> {
    if status.is_success() {
        return Ok(());
    }
    let message = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
            "the server answered {status}; set HF_TOKEN to a token that may read it, and accept the \
             conditions of a gated repository on its page"
        ),
        _ => format!(
            "the server {} answered {status}",
            url.host_str().unwrap_or_default()
        ),
    };
    Err(Fault::of_status(message, status, headers))
}

fn etag(headers: &HeaderMap) -> Option<String> {
    let tag = headers.get(ETAG)?.to_str().ok()?;
    Some(format!("etag {tag}"))
}

/// `bytes 5-99/100` → first byte and size of the whole.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.trim();
    let (range, bytes) = text.strip_prefix("bytes")?.trim().split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, bytes.trim().parse().ok()?))
}

/// The address in `Link: <…>; rel="next"`.
fn next_page(headers: &HeaderMap) -> Option<String> {
    let links = headers.get(reqwest::header::LINK)?.to_str().ok()?;
    links.split(',').find_map(|link| {
        let (address, relation) = link.split_once(';')?;
        let next = relation.contains("rel=\"next\"") || relation.contains("rel=next");
        next.then(|| address.trim().trim_matches(['<', '>']).to_owned())
    })
}
