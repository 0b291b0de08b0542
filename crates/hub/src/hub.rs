//! Models on the Hub as folders on this machine.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::PathBuf;

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::Client;
use smollm3_corpus::fetch::FetchProgress;
use smollm3_corpus::remote::{RemoteClient, RetryPolicy};
use smollm3_files::io;
use smollm3_recipe::{HubId, ModelConfig, PEFT_CONFIG};
use url::Url;

use crate::api::{Api, FileInfo, Listing, Trouble, asking};
use crate::blob;
use crate::cache::{Cache, inside, is_commit};
use crate::error::{HubError, Result};
use crate::wanted::{ADAPTER, CONFIG, INDEX, SINGLE, TOKENIZER, Wanted, shards};

/// Maximum number of small files in flight, and of weight files, each of which has several ranges in flight.
const SMALL_AT_ONCE: usize = 8;
const LARGE_AT_ONCE: usize = 2;

/// The Hub and the cache, as the environment names them.
pub struct Hub {
    remote: RemoteClient,
    asking: Client,
    endpoint: Url,
    root: PathBuf,
    offline: bool,
}

/// A model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its folder.
    pub folder: PathBuf,
    /// The model.
    pub id: HubId,
    /// The commit of the revision.
    pub commit: String,
    /// Number of bytes fetched now.
    pub fetched: u64,
}

/// Called with the progress of a download; `false` stops it.
pub type Report<'a> = dyn FnMut(FetchProgress) -> bool + 'a;

impl Hub {
    /// Reads the environment of the process: `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HOME`,
    /// `HF_HUB_CACHE`, `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// HTTP cannot be set up, `HF_ENDPOINT` is not a URL, or there is no home folder.
    pub fn new() -> Result<Self> {
        Self::of(RemoteClient::new(RetryPolicy::default())?)
    }

    /// Reads the environment of `remote`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of(remote: RemoteClient) -> Result<Self> {
        let endpoint = remote.hub_endpoint().map_err(Trouble::Fault)?;
        let named = remote
            .variable("HF_HUB_CACHE")
            .or_else(|| remote.variable("HUGGINGFACE_HUB_CACHE"));
        let root = match named {
            Some(folder) => PathBuf::from(folder),
            None => remote.hub_home().ok_or(HubError::NoHome)?.join("hub"),
        };
        let is_set = |name| {
            let value = remote.variable(name).unwrap_or_default().to_ascii_lowercase();
            matches!(value.as_str(), "1" | "true" | "yes" | "on")
        };
        Ok(Self {
            offline: is_set("HF_HUB_OFFLINE") || is_set("TRANSFORMERS_OFFLINE"),
            asking: asking(remote.policy())?,
            endpoint,
            root,
            remote,
        })
    }

    pub(crate) fn remote(&self) -> &RemoteClient {
        &self.remote
    }

    pub(crate) fn api<'a>(&'a self, repository: &'a str) -> Api<'a> {
        Api::new(&self.remote, &self.asking, &self.endpoint, repository)
    }

    pub(crate) fn is_offline(&self) -> bool {
        self.offline
    }

    /// The cache of a model's repository.
    pub fn cache(&self, id: &HubId) -> Cache {
        Cache::new(&self.root, &id.repository)
    }

    /// The folder of a model with the files `wanted`, downloaded if they are not in the cache: at the commit `pinned` if
    /// given, else at the current commit of its revision. If the Hub cannot be reached, the commit when last seen is used,
    /// provided that the cache has it.
    ///
    /// # Errors
    /// The Hub refuses or cannot be reached, the repository lacks what is wanted, a file is damaged, or the cache cannot
    /// be written. What was downloaded is kept.
    pub fn snapshot(
        &self,
        id: &HubId,
        pinned: Option<&str>,
        wanted: Wanted,
        report: &mut Report<'_>,
    ) -> Result<Snapshot> {
        let cache = self.cache(id);
        let revision = pinned.unwrap_or(&id.revision);
        let known = cache.commit_of(revision);
        let found = |commit: &str, fetched: u64| Snapshot {
            folder: cache.folder_of(id, commit),
            id: id.clone(),
            commit: commit.to_owned(),
            fetched,
        };
        if is_commit(revision) && cache.is_complete(id, revision, wanted) {
            return Ok(found(revision, 0));
        }
        let missing = match &known {
            None => Some(format!("`{revision}` has never been fetched")),
            Some(commit) => cache.missing(id, commit, wanted).map(|name| format!("no {name}")),
        };
        let usable = known.as_deref().filter(|_| missing.is_none());
        if self.offline {
            return match usable {
                Some(commit) => Ok(found(commit, 0)),
                None => Err(HubError::Offline {
                    id: id.to_string(),
                    cache: cache.folder(),
                    missing: missing.unwrap_or_default(),
                }),
            };
        }
        let api = self.api(&id.repository);
        self.remote.block_on(async {
            let listing = match usable {
                None => api.listing(revision).await?,
                Some(commit) => match api.listing_once(revision).await {
                    Err(Trouble::Fault(fault)) => {
                        let problem = HubError::from(Trouble::Fault(fault)).to_string();
                        tracing::warn!(
                            problem,
                            commit,
                            "the Hub cannot be reached; using {id} at the commit when last fetched"
                        );
                        return Ok(found(commit, 0));
                    }
                    answer => answer?,
                },
            };
            let commit = listing.commit.clone();
            let mut fetched = 0;
            if !cache.is_complete(id, &commit, wanted) {
                let fetch = Fetch {
                    api: &api,
                    cache: &cache,
                    id,
                    wanted,
                    listing: &listing,
                    progress: Cell::default(),
                    fetched: Cell::default(),
                    report: RefCell::new(report),
                };
                fetch.run().await?;
                fetched = fetch.fetched.get();
            }
            // Last, so that the old commit of a branch stays usable until the new one is complete.
            cache.remember(revision, &commit);
            Ok(found(&commit, fetched))
        })
    }
}

/// The download of a snapshot.
struct Fetch<'a> {
    api: &'a Api<'a>,
    cache: &'a Cache,
    id: &'a HubId,
    wanted: Wanted,
    listing: &'a Listing,
    progress: Cell<FetchProgress>,
    fetched: Cell<u64>,
    report: RefCell<&'a mut Report<'a>>,
}

impl Fetch<'_> {
    async fn run(&self) -> Result<()> {
        let mut names = Vec::new();
        let mut absent = Vec::new();
        for name in self.wanted.names() {
            match self.has(name) {
                true => names.push(self.path(name)),
                false => absent.push(self.path(name)),
            }
        }
        let is_adapter = self.is_adapter();
        self.check()?;
        if is_adapter {
            names.push(self.path(PEFT_CONFIG));
        }
        // As transformers: one file comes before an index, which was left by an earlier save then.
        let is_sharded = self.wanted.weights && self.has(INDEX) && !self.has(SINGLE);
        if is_sharded {
            names.push(self.path(INDEX));
        }
        self.files(&names, SMALL_AT_ONCE).await?;
        if self.wanted.config && !is_adapter {
            // Before gigabytes are downloaded.
            ModelConfig::from_hf_file(&self.local(CONFIG))?;
        }
        if self.wanted.weights {
            let weights = match is_sharded {
                false if is_adapter => vec![self.path(ADAPTER)],
                false => vec![self.path(SINGLE)],
                true => {
                    let index = self.local(INDEX);
                    let text = fs::read_to_string(&index).map_err(io("read", &index))?;
                    let names =
                        shards(&text).ok_or_else(|| self.lacks(format!("has a malformed {INDEX}")))?;
                    names.iter().map(|name| self.path(name)).collect()
                }
            };
            if let Some(name) = weights.iter().find(|name| !self.listing.names.contains(name)) {
                return Err(self.lacks(format!("has no {name}, which its {INDEX} names")));
            }
            self.files(&weights, LARGE_AT_ONCE).await?;
        }
        absent
            .iter()
            .for_each(|name| self.cache.mark_absent(&self.listing.commit, name));
        Ok(())
    }

    /// Downloads files of the commit into the cache, several at a time.
    async fn files(&self, names: &[String], at_once: usize) -> Result<()> {
        let missing: Vec<&String> = names
            .iter()
            .filter(|name| !self.cache.snapshot(&self.listing.commit).join(name).exists())
            .collect();
        let infos: Vec<FileInfo> = stream::iter(missing)
            .map(|name| self.api.info(&self.listing.commit, name))
            .buffer_unordered(SMALL_AT_ONCE)
            .try_collect()
            .await?;
        let mut progress = self.progress.get();
        progress.of_files += infos.len() as u64;
        progress.of_bytes += infos.iter().map(|info| info.bytes).sum::<u64>();
        self.progress.set(progress);
        let kept = |bytes| {
            let mut progress = self.progress.get();
            progress.bytes += bytes;
            self.progress.set(progress);
            (self.report.borrow_mut())(progress)
        };
        stream::iter(&infos)
            .map(|info| async move {
                let came = blob::fetch(self.api, self.cache, info, &kept).await?;
                self.cache.link(&self.listing.commit, &info.name, &info.etag)?;
                let mut progress = self.progress.get();
                progress.files += 1;
                self.progress.set(progress);
                self.fetched.set(self.fetched.get() + came);
                Ok(())
            })
            .buffer_unordered(at_once)
            .try_collect()
            .await
    }

    /// Whether it is a PEFT adapter, whose base is another model.
    fn is_adapter(&self) -> bool {
        let model = self.wanted.config || self.wanted.weights;
        model && self.has(PEFT_CONFIG) && !self.has(SINGLE) && !self.has(INDEX)
    }

    /// Checks that indispensable files are there.
    fn check(&self) -> Result<()> {
        if self.is_adapter() {
            return match !self.wanted.weights || self.has(ADAPTER) {
                true => Ok(()),
                false => Err(self.lacks(format!(
                    "is an adapter without {ADAPTER}; save it again with a newer PEFT, which writes safetensors"
                ))),
            };
        }
        if self.wanted.config && !self.has(CONFIG) {
            return Err(self.lacks(format!(
                "has no {CONFIG}: it is not a checkpoint that transformers can load"
            )));
        }
        if self.wanted == Wanted::TOKENIZER && !self.has(TOKENIZER) {
            return Err(self.lacks(format!("has no {TOKENIZER}")));
        }
        if self.wanted.weights && !self.has(INDEX) && !self.has(SINGLE) {
            let ends = |end: &str| self.listing.names.iter().any(|name| name.ends_with(end));
            let others = match (ends(".bin"), ends(".gguf")) {
                (true, _) => " but .bin files",
                (false, true) => " but GGUF files",
                _ => "",
            };
            return Err(self.lacks(format!(
                "has no weights as safetensors{others}; convert it (transformers: \
                 AutoModelForCausalLM.from_pretrained(\"{}\").save_pretrained(\"folder\")) and name that folder",
                self.id.repository
            )));
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.listing.names.contains(&self.path(name))
    }

    fn path(&self, name: &str) -> String {
        inside(&self.id.folder, name)
    }

    fn local(&self, name: &str) -> PathBuf {
        self.cache.snapshot(&self.listing.commit).join(self.path(name))
    }

    fn lacks(&self, problem: String) -> HubError {
        HubError::Content {
            repository: self.id.to_string(),
            problem,
        }
    }
}
