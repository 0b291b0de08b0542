//! From addresses to a numbered list of remote files.

use futures_util::TryStreamExt;
use object_store::ObjectStore;
use url::Url;

use super::location::{BucketStore, HubKind, Location};
use super::object::bucket_fault;
use super::retry::{Attempts, Fault};
use super::url_name::{url_name, without_secrets};
use super::{FileLocation, RemoteClient, RemoteFile};
use crate::error::{CorpusError, Result};
use crate::glob::{compile_glob, has_glob, literal_root};
use crate::shards::Shard;

impl RemoteClient {
    /// Lists the files that remote `addresses` name, sorted by name; in folders and globs, only those whose path is `wanted`.
    ///
    /// # Errors
    /// An address that is not remote, cannot be read or matches nothing, with the source's name.
    pub fn list<S: AsRef<str>>(
        &self,
        source: &str,
        addresses: &[S],
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<RemoteFile>> {
        let mut files = Vec::new();
        for address in addresses.iter().map(AsRef::as_ref) {
            let location = Location::parse(source, address)?;
            let found = self.list_one(source, address, &location, wanted)?;
            if found.is_empty() {
                let problem = format!("`{address}` holds no file it can read");
                return Err(CorpusError::source(source, problem));
            }
            files.extend(found);
        }
        files.sort_by(|one, other| one.shard.name.cmp(&other.shard.name));
        files.dedup_by(|one, other| one.shard.name == other.shard.name);
        Ok(files)
    }

    fn list_one(
        &self,
        source: &str,
        address: &str,
        location: &Location,
        wanted: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<RemoteFile>> {
        let address = match location {
            Location::Http(url) => &without_secrets(url.as_str()),
            _ => address,
        };
        let pattern = match location {
            Location::Local(_) => {
                let problem = format!("`{address}` is not a remote address");
                return Err(CorpusError::source(source, problem));
            }
            Location::Bucket { key, .. } => key.as_str(),
            Location::Hub { path, .. } => path.as_str(),
            Location::Http(_) => "",
        };
        let (glob, folder) = match has_glob(pattern) {
            true => (Some(compile_glob(source, pattern)?), literal_root(pattern)),
            false => (None, pattern.trim_end_matches('/')),
        };

        let listed = self.block_on(async {
            let mut attempts = Attempts::first(&self.inner.policy);
            loop {
                let listed = match location {
                    Location::Local(_) => Ok(Vec::new()),
                    Location::Http(url) => self.http_file(url).await,
                    Location::Bucket { store, bucket, .. } => self.bucket_files(*store, bucket, folder).await,
                    Location::Hub {
                        kind, repo, revision, ..
                    } => self.hub_folder_or_file(*kind, repo, revision, folder).await,
                };
                match listed {
                    Ok(listed) => return Ok(listed),
                    Err(fault) => attempts.after(&format!("cannot list `{address}`"), fault).await?,
                }
            }
        });
        let listed = listed.map_err(|problem: String| CorpusError::source(source, problem))?;

        if let Location::Http(_) = location {
            return Ok(listed);
        }
        let keep = |file: &RemoteFile| match &glob {
            Some(glob) => wanted(&file.relative) && glob.is_match(&file.relative),
            None => wanted(&file.relative) || file.relative == folder,
        };
        let mut kept: Vec<_> = listed.into_iter().filter(keep).collect();
        for file in &mut kept {
            let path = &file.relative;
            let below = path.strip_prefix(folder).unwrap_or(path).trim_start_matches('/');
            file.relative = match below {
                "" => path.rsplit('/').next().unwrap_or_default().to_owned(),
                below => below.to_owned(),
            };
        }
        Ok(kept)
    }

    async fn http_file(&self, url: &Url) -> Result<Vec<RemoteFile>, Fault> {
        let described = self.describe_url(url).await?;
        let base = url.path_segments().and_then(|mut parts| parts.next_back());
        let Some(base) = base.filter(|base| !base.is_empty()) else {
            let problem = "the address of a folder; web servers do not list files, so name each one";
            return Err(Fault::Lasting(problem.to_owned()));
        };
        let version = described.version.unwrap_or_else(|| "unknown".to_owned());
        Ok(vec![RemoteFile {
            shard: Shard {
                name: url_name(url),
                bytes: described.bytes,
                version,
            },
            relative: base.to_owned(),
            place: FileLocation::Url {
                url: url.clone(),
                token: None,
            },
        }])
    }

    async fn bucket_files(
        &self,
        store: BucketStore,
        bucket: &str,
        folder: &str,
    ) -> Result<Vec<RemoteFile>, Fault> {
        let opened = self.bucket(store, bucket)?;
        let prefix = object_store::path::Path::parse(folder);
        let prefix = prefix.map_err(|error| Fault::Lasting(error.to_string()))?;
        let listed = opened.list(Some(&prefix)).try_collect().await;
        let mut found: Vec<_> = listed.map_err(bucket_fault)?;
        if found.is_empty() && !folder.is_empty() {
            // Listing matches whole path segments, so the name of an object finds nothing.
            match object_store::ObjectStoreExt::head(&*opened, &prefix).await {
                Ok(object) => found.push(object),
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(bucket_fault(error)),
            }
        }
        let scheme = match store {
            BucketStore::S3 => "s3",
            BucketStore::Gcs => "gs",
        };
        let file = |object: object_store::ObjectMeta| RemoteFile {
            shard: Shard {
                name: format!("{scheme}://{bucket}/{}", object.location),
                bytes: object.size,
                version: match object.e_tag {
                    Some(tag) => format!("etag {tag}"),
                    None => format!("mtime {}", object.last_modified.timestamp_millis()),
                },
            },
            relative: object.location.to_string(),
            place: FileLocation::Object {
                store,
                bucket: bucket.to_owned(),
                path: object.location,
            },
        };
        Ok(found.into_iter().map(file).collect())
    }

    /// The Hub answers 404 for the tree of a file, so a file is looked for in its folder.
    async fn hub_folder_or_file(
        &self,
        kind: HubKind,
        repo: &str,
        revision: &str,
        path: &str,
    ) -> Result<Vec<RemoteFile>, Fault> {
        let base = path.rsplit('/').next().unwrap_or(path);
        if !base.contains('.') {
            return self.hub_files(kind, repo, revision, path).await;
        }
        let folder = path.strip_suffix(base).unwrap_or_default().trim_end_matches('/');
        let mut files = self.hub_files(kind, repo, revision, folder).await?;
        let below = format!("{path}/");
        files.retain(|file| file.relative == path || file.relative.starts_with(&below));
        Ok(files)
    }
}
