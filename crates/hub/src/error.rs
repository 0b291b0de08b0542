//! Why a model of the Hub is not at hand, or a folder not on the Hub.

use std::io;
use std::path::{Path, PathBuf};

use smollm3_corpus::CorpusError;

/// What can go wrong between a Hub id and a folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Neither reading of a text leads anywhere.
    #[error("`{text}`: there is no folder {folder}; taken for a Hub id: {cause}", folder = .folder.display())]
    Neither {
        /// As it was typed.
        text: String,
        /// Where a folder was looked for.
        folder: PathBuf,
        /// What the Hub had to say.
        cause: Box<HubError>,
    },
    /// In a recipe.
    #[error("`{key}`: {cause}")]
    Recipe {
        /// The key that names it.
        key: String,
        /// Why.
        cause: Box<HubError>,
    },
    /// 404, or 401 without a token: the Hub does not tell private repositories from missing ones.
    #[error(
        "there is no model {repository} at {endpoint}, or it is private; compare the spelling, or set HF_TOKEN to a token \
         that may read it"
    )]
    NoRepository {
        /// `owner/name`.
        repository: String,
        /// The Hub.
        endpoint: String,
    },
    /// No such branch, tag or commit.
    #[error(
        "{repository} has no revision `{revision}`; {endpoint}/{repository}/tree/main lists branches and tags"
    )]
    NoRevision {
        /// `owner/name`.
        repository: String,
        /// The revision.
        revision: String,
        /// The Hub.
        endpoint: String,
    },
    /// Access has to be asked for.
    #[error("{repository} is gated; ask for access at {endpoint}/{repository}, {then}")]
    Gated {
        /// `owner/name`.
        repository: String,
        /// The Hub.
        endpoint: String,
        /// What to do about the token.
        then: String,
    },
    /// A token that is wrong, or may not read this.
    #[error(
        "{endpoint} answered {status} for {repository}: the token ({token}) is not valid or may not read it; make one at \
         {endpoint}/settings/tokens"
    )]
    Token {
        /// `owner/name`.
        repository: String,
        /// The Hub.
        endpoint: String,
        /// Its answer.
        status: u16,
        /// Where the token is from.
        token: &'static str,
    },
    /// `HF_HUB_OFFLINE`, and the cache does not have it.
    #[error("{id} is not in {cache} ({missing}), and HF_HUB_OFFLINE is set; unset it, or fetch the model first", cache = .cache.display())]
    Offline {
        /// The id.
        id: String,
        /// Where it was looked for.
        cache: PathBuf,
        /// What is not there.
        missing: String,
    },
    /// A request failed for good.
    #[error("{0}")]
    Request(String),
    /// The repository has not what is needed.
    #[error("{repository} {problem}")]
    Content {
        /// `owner/name`, with its folder.
        repository: String,
        /// What it has not, and what to do.
        problem: String,
    },
    /// The bytes are not those that the Hub announced.
    #[error("{file}: {problem}; nothing is kept of it")]
    Damaged {
        /// The file.
        file: String,
        /// What differs.
        problem: String,
    },
    /// There is nowhere to put files.
    #[error("no home folder to keep models in; set HF_HOME")]
    NoHome,
    /// `config.json` is not that of a model which this project has.
    #[error(transparent)]
    Architecture(#[from] smollm3_recipe::ModelConfigError),
    /// `adapter_config.json` is not that of an adapter that can be used.
    #[error(transparent)]
    Adapter(#[from] smollm3_recipe::PeftError),
    /// The disk.
    #[error("{path}: cannot {action}: {source}", path = .path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file that is written whole, locked or hashed.
    #[error(transparent)]
    Files(#[from] smollm3_files::FilesError),
    /// The client could not be set up.
    #[error(transparent)]
    Client(#[from] CorpusError),
    /// A place on the Hub that nothing can be uploaded to.
    #[error(
        "`{0}`: an upload goes to a branch of a model: write owner/name, and --revision for another branch than main"
    )]
    Destination(String),
    /// `HF_HUB_OFFLINE`, and something is to be uploaded.
    #[error("HF_HUB_OFFLINE is set; unset it to upload")]
    UploadOffline,
    /// No token.
    #[error(
        "an upload needs a token; make one with write permission at {endpoint}/settings/tokens and set HF_TOKEN, or run \
         `hf auth login`"
    )]
    NoToken {
        /// The Hub.
        endpoint: String,
    },
    /// A token that is wrong, or may not write here.
    #[error(
        "{endpoint} answered {status}{} to an upload to {repository}: the token ({token}) is not valid or has no write \
         permission there; make one that has at {endpoint}/settings/tokens", in_brackets(.message)
    )]
    MayNotWrite {
        /// `owner/name`.
        repository: String,
        /// The Hub.
        endpoint: String,
        /// Its answer.
        status: u16,
        /// Where the token is from.
        token: &'static str,
        /// What the Hub says besides.
        message: String,
    },
    /// The account has no space left.
    #[error(
        "{repository}: the Hub takes no more{}; remove what is not needed, or see {endpoint}/settings/billing",
        in_brackets(.message)
    )]
    NoSpace {
        /// `owner/name`.
        repository: String,
        /// The Hub.
        endpoint: String,
        /// What the Hub says.
        message: String,
    },
    /// A private upload to a public repository.
    #[error(
        "{repository} is public; make it private at {endpoint}/{repository}/settings, or upload without --private; in run.push \
         write private = false"
    )]
    IsPublic {
        /// `owner/name`.
        repository: String,
        /// The Hub.
        endpoint: String,
    },
    /// The name belongs to something that this token does not see as a model.
    #[error(
        "{endpoint} does not create the model {repository}{}: something else has this name, or a model that the token may \
         not see; take another name", in_brackets(.message)
    )]
    Taken {
        /// `owner/name`.
        repository: String,
        /// The Hub.
        endpoint: String,
        /// What the Hub says.
        message: String,
    },
    /// A folder that cannot be uploaded as a model.
    #[error("{folder} is no checkpoint: {problem}", folder = .folder.display())]
    NoCheckpoint {
        /// The folder.
        folder: PathBuf,
        /// What is missing, and what to do.
        problem: String,
    },
    /// Progress of an upload said stop.
    #[error("stopped; the same command sends what is missing")]
    UploadInterrupted,
    /// Progress said stop.
    #[error("stopped; what has come is kept, and the same command goes on from there")]
    Interrupted,
}

/// The result of most functions here.
pub type Result<T> = std::result::Result<T, HubError>;

/// ` (message)`, or nothing.
pub(crate) fn in_brackets(message: &str) -> String {
    match message {
        "" => String::new(),
        message => format!(" ({message})"),
    }
}

/// For `map_err` on file operations.
pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| HubError::Io { action, path, source }
}
