//! A fake Hub, and the store on another host to which it redirects for large files.

// Tests of other crates use it too, each what it needs.
#![allow(dead_code)]

#[path = "../../../corpus/tests/corpus/server.rs"]
mod server;
#[path = "fake_uploads.rs"]
mod uploads;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use ring::digest::{Algorithm, Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

pub use server::{Answer, Request, Server};

/// Names and contents.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Takes an answer's place; `None` leaves it.
pub type Intercept = dyn Fn(&Request, usize) -> Option<Answer> + Send + Sync;

#[derive(Default)]
struct Repository {
    branches: HashMap<String, String>,
    commits: HashMap<String, Files>,
    /// Messages of commits that were uploaded, with their branches.
    messages: Vec<(String, String)>,
    is_private: bool,
    /// What the store has taken, by SHA-256.
    objects: Files,
    /// Parts that it has taken, by SHA-256 and number.
    parts: BTreeMap<(String, usize), Vec<u8>>,
    /// Larger files go in parts of this size.
    part_size: Option<usize>,
}

/// The model `owner/name` at both servers.
pub struct FakeHub {
    pub hub: Server,
    pub store: Server,
    repository: Arc<Mutex<Repository>>,
}

impl FakeHub {
    /// The token that may write.
    pub const TOKEN: &str = uploads::TOKEN;

    pub fn start(files: Files) -> Self {
        Self::intercepted(files, |_, _| None, |_, _| None)
    }

    /// With other answers of the Hub, or of the store.
    pub fn intercepted(
        files: Files,
        hub: impl Fn(&Request, usize) -> Option<Answer> + Send + Sync + 'static,
        store: impl Fn(&Request, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let repository: Arc<Mutex<Repository>> = Arc::default();
        let kept = Arc::clone(&repository);
        let stored = Server::start(move |request, before| {
            store(request, before).unwrap_or_else(|| {
                if request.method == "PUT" {
                    return uploads::take(&mut kept.lock().unwrap(), request);
                }
                let hash = request
                    .path
                    .trim_start_matches("/sha256/")
                    .split('?')
                    .next()
                    .unwrap();
                let kept = kept.lock().unwrap();
                let file = kept
                    .commits
                    .values()
                    .flat_map(Files::values)
                    .find(|bytes| sha256(bytes) == hash);
                file.map_or_else(|| Answer::status(404), |bytes| ranged(bytes, request))
            })
        });
        let (kept, address) = (Arc::clone(&repository), stored.address.clone());
        let server = Server::start(move |request, before| {
            hub(request, before).unwrap_or_else(|| {
                let repository = &mut kept.lock().unwrap();
                match request.method.as_str() {
                    "POST" => uploads::answer(repository, &address, request),
                    _ => answer(repository, &address, request),
                }
            })
        });
        let fake = Self {
            hub: server,
            store: stored,
            repository,
        };
        fake.commit("main", files);
        fake
    }

    /// A Hub without any repository.
    pub fn empty() -> Self {
        Self::empty_intercepted(|_, _| None, |_, _| None)
    }

    /// [`empty`](Self::empty) with other answers.
    pub fn empty_intercepted(
        hub: impl Fn(&Request, usize) -> Option<Answer> + Send + Sync + 'static,
        store: impl Fn(&Request, usize) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let fake = Self::intercepted(Files::new(), hub, store);
        *fake.repository.lock().unwrap() = Repository::default();
        fake
    }

    /// Makes files larger than this go in parts of this size.
    pub fn in_parts_of(self, bytes: usize) -> Self {
        self.repository.lock().unwrap().part_size = Some(bytes);
        self
    }

    /// What a branch has.
    pub fn files(&self, branch: &str) -> Files {
        let repository = self.repository.lock().unwrap();
        repository.commits[&repository.branches[branch]].clone()
    }

    /// The commit that a branch stands for, if it is there.
    pub fn head(&self, branch: &str) -> Option<String> {
        self.repository.lock().unwrap().branches.get(branch).cloned()
    }

    /// Branches and messages of the commits that were uploaded.
    pub fn messages(&self) -> Vec<(String, String)> {
        self.repository.lock().unwrap().messages.clone()
    }

    pub fn is_private(&self) -> bool {
        self.repository.lock().unwrap().is_private
    }

    /// A new commit, to which the branch moves.
    pub fn commit(&self, branch: &str, files: Files) -> String {
        uploads::add_commit(&mut self.repository.lock().unwrap(), branch, files)
    }

    /// Paths asked for so far, with their methods.
    pub fn asked(&self) -> Vec<String> {
        let requests = self.hub.requests().into_iter();
        requests
            .map(|request| format!("{} {}", request.method, request.path))
            .collect()
    }
}

fn answer(repository: &Repository, store: &str, request: &Request) -> Answer {
    let not_found = |code: &str| Answer::status(404).header("X-Error-Code", code);
    if let Some(revision) = request.path.strip_prefix("/api/models/owner/name/revision/")
        && !repository.branches.is_empty()
    {
        let revision = revision.replace("%2F", "/");
        let commit = repository.branches.get(&revision).unwrap_or(&revision);
        let Some(files) = repository.commits.get(commit) else {
            return not_found("RevisionNotFound");
        };
        let siblings: Vec<String> = files
            .keys()
            .map(|name| format!(r#"{{"rfilename": "{name}"}}"#))
            .collect();
        return Answer::body(format!(
            r#"{{"id": "owner/name", "sha": "{commit}", "siblings": [{}]}}"#,
            siblings.join(", ")
        ));
    }
    if request.path == "/api/models/owner/name" && !repository.branches.is_empty() {
        return Answer::body(format!(
            r#"{{"id": "owner/name", "private": {}}}"#,
            repository.is_private
        ));
    }
    let Some((commit, name)) = request
        .path
        .strip_prefix("/owner/name/resolve/")
        .and_then(|path| path.split_once('/'))
    else {
        return Answer::status(401).header("X-Error-Code", "RepoNotFound");
    };
    let commit = repository.branches.get(commit).map_or(commit, String::as_str);
    let Some(bytes) = repository.commits.get(commit).and_then(|files| files.get(name)) else {
        return not_found("EntryNotFound").header("X-Repo-Commit", commit);
    };
    let answer = match is_large(name) {
        true => {
            let hash = sha256(bytes);
            Answer::status(302)
                .header("Location", format!("{store}/sha256/{hash}?signature=secret"))
                .header("X-Linked-Size", bytes.len().to_string())
                .header("X-Linked-Etag", format!("\"{hash}\""))
                .header("ETag", "\"the redirect's own\"")
        }
        false => ranged(bytes, request).header("ETag", format!("\"{}\"", git_hash(bytes))),
    };
    answer.header("X-Repo-Commit", commit)
}

/// Files that the Hub keeps elsewhere.
pub fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

/// The bytes that were asked for.
pub fn ranged(whole: &[u8], request: &Request) -> Answer {
    let Some(range) = request.headers.get("range") else {
        return Answer::body(whole);
    };
    let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to = to.parse().unwrap_or(whole.len() - 1).min(whole.len() - 1);
    if from > to {
        return Answer::status(416);
    }
    let range = format!("bytes {from}-{to}/{}", whole.len());
    Answer {
        status: 206,
        ..Answer::body(&whole[from..=to])
    }
    .header("Content-Range", range)
}

pub fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, &[bytes])
}

/// The name that git gives a file's contents.
pub fn git_hash(bytes: &[u8]) -> String {
    digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        &[format!("blob {}\0", bytes.len()).as_bytes(), bytes],
    )
}

fn digest(algorithm: &'static Algorithm, parts: &[&[u8]]) -> String {
    let mut context = Context::new(algorithm);
    parts.iter().for_each(|part| context.update(part));
    let digest = context.finish();
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
