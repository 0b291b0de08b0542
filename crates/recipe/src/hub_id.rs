//! Names of models on the Hugging Face Hub.
//!
//! | written | means |
//! | --- | --- |
//! | `owner/name` | the branch `main` |
//! | `owner/name@revision` | a branch, a tag, or a commit |
//! | `hf://owner/name@revision/folder` | a folder inside it; a `/` in the revision is written `%2F` here |
//!
//! Only names are read here; `smollm3-hub` finds and fetches the files.

use std::fmt;

/// The files of a folder that hold its tokenizer and chat template; a folder has some of them.
pub const TOKENIZER_FILES: [&str; 8] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
];

/// The longest name that the Hub gives a repository.
const LONGEST_NAME: usize = 96;

/// A model on the Hub, at one of its revisions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HubId {
    /// `owner/name`.
    pub repository: String,
    /// A branch, a tag or a commit; `main` where it is not written.
    pub revision: String,
    /// The folder inside the repository; empty for the repository itself.
    pub folder: String,
}

impl HubId {
    /// Reads a name; `None` where the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (place, revision, folder) = match text.strip_prefix("hf://") {
            Some(rest) => {
                let rest = rest.strip_prefix("models/").unwrap_or(rest);
                let (owner, rest) = rest.split_once('/')?;
                if matches!(owner, "datasets" | "spaces") {
                    return None;
                }
                let (name, folder) = rest.split_once('/').unwrap_or((rest, ""));
                let (name, revision) = split_revision(name);
                (format!("{owner}/{name}"), revision, folder.trim_end_matches('/'))
            }
            None => {
                let (place, revision) = split_revision(text);
                (place.to_owned(), revision, "")
            }
        };
        let revision = revision.replace("%2F", "/").replace("%2f", "/");
        let (owner, name) = place.split_once('/')?;
        let well_formed = is_name(owner)
            && is_name(name)
            && is_relative(&revision)
            && (folder.is_empty() || is_relative(folder));
        well_formed.then(|| Self {
            repository: place.clone(),
            revision,
            folder: folder.to_owned(),
        })
    }

    /// The repository and its revision, however they were written: all folders of it are of one commit.
    pub fn model(&self) -> String {
        match self.revision.as_str() {
            "main" => self.repository.clone(),
            revision => format!("{}@{revision}", self.repository),
        }
    }

    /// Whether the text can mean nothing else.
    pub fn is_explicit(text: &str) -> bool {
        text.starts_with("hf://")
    }
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.model())?;
        match self.folder.as_str() {
            "" => Ok(()),
            folder => write!(f, "/{folder}"),
        }
    }
}

fn split_revision(text: &str) -> (&str, &str) {
    text.split_once('@').unwrap_or((text, "main"))
}

/// The Hub's own rule for owners and names.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let ends = |end: char| name.starts_with(end) || name.ends_with(end);
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(plain)
        && !(ends('.') || ends('-') || name.contains("--") || name.contains(".."))
}

/// Whether a path stays inside the folder that it is joined to: the cache has files of these names.
fn is_relative(path: &str) -> bool {
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0', '\n', ':']);
    path.split('/').all(plain)
}
