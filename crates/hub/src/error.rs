//! Errors of downloads from the Hub and uploads to it.

use std::path::PathBuf;

use smollm3_corpus::CorpusError;

/// A download or an upload failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Neither a folder nor a model on the Hub.
    #[error("`{text}`: there is no folder {folder}; read as a Hub id: {cause}", folder = .folder.display())]
    Neither {
        /// As it was typed.
        text: String,
        /// The folder it would be.
        folder: PathBuf,
        /// Why the Hub has no such model.
        cause: Box<HubError>,
    },
    /// A model that a recipe names.
    #[error("`{key}`: {cause}")]
    Recipe {
        /// The key that names it.
        key: String,
        /// Why.
        cause: Box<HubError>,
    },
    /// 404, or 401 without a token: the Hub does not distinguish private repositories from missing ones.
    #[error(
        "there is no model {repository} at {endpoint}, or it is private; check the spelling, or set HF_TOKEN to a token \
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
    /// Access must be requested first.
    #[error("{repository} is gated; request access at {endpoint}/{repository}, {then}")]
    Gated {
        /// `owner/name`.
        repository: String,
        /// The Hub.
        endpoint: String,
        /// What to do about the token.
        then: String,
    },
    /// The token is invalid or may not read this.
    #[error(
        "{endpoint} answered {status} for {repository}: the token ({token}) is not valid or may not read it; make one at \
         {endpoint}/settings/tokens"
    )]
    Token {
        /// `owner/name`.
        repository: String,
        /// The Hub.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// Where the token comes from.
        token: &'static str,
    },
    /// `HF_HUB_OFFLINE`, and the cache does not have it.
    #[error("{id} is not in {cache} ({missing}), and HF_HUB_OFFLINE is set; unset it, or fetch the model first", cache = .cache.display())]
    Offline {
        /// The id.
        id: String,
        /// Its folder in the cache.
        cache: PathBuf,
        /// What is missing.
        missing: String,
    },
    /// A request failed for good.
    #[error("{0}")]
    Request(String),
    /// The repository lacks what is needed.
    #[error("{repository} {problem}")]
    Content {
        /// `owner/name`, with its folder.
        repository: String,
        /// What it lacks, and what to do.
        problem: String,
    },
    /// The bytes are not those that the Hub announced.
    #[error("{file}: {problem}; it was deleted")]
    Damaged {
        /// The file.
        file: String,
        /// What differs.
        problem: String,
    },
    /// There is no folder for the cache.
    #[error("there is no home folder to store models in; set HF_HOME")]
    NoHome,
    /// `config.json` is not of an architecture that this project implements.
    #[error(transparent)]
    Architecture(#[from] smollm3_recipe::ModelConfigError),
    /// `adapter_config.json` is not of an adapter that can be used.
    #[error(transparent)]
    Adapter(#[from] smollm3_recipe::PeftError),
    /// A file or folder cannot be read or written.
    #[error(transparent)]
    Files(#[from] smollm3_files::FilesError),
    /// HTTP cannot be set up.
    #[error(transparent)]
    Client(#[from] CorpusError),
    /// Not a branch of a model.
    #[error(
        "`{0}`: uploads go to a branch of a model; write owner/name, and --revision for a branch other than main"
    )]
    Destination(String),
    /// `HF_HUB_OFFLINE` is set.
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
    /// The token is invalid or may not write here.
    #[error(
        "{endpoint} answered {status}{} to an upload to {repository}: the token ({token}) is not valid or has no write \
         permission there; make one that has at {endpoint}/settings/tokens", in_brackets(.message)
    )]
    MayNotWrite {
        /// `owner/name`.
        repository: String,
        /// The Hub.
        endpoint: String,
        /// The HTTP status.
        status: u16,
        /// Where the token comes from.
        token: &'static str,
        /// What the Hub says.
        message: String,
    },
    /// The storage quota is used up.
    #[error(
        "{repository}: the Hub has no space left for it{}; remove files, or see {endpoint}/settings/billing",
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
    /// The name is taken by something that the token cannot see as a model.
    #[error(
        "{endpoint} refuses to create the model {repository}{}: the name is taken, perhaps by a model that the token may not \
         see; choose another", in_brackets(.message)
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
    #[error("{folder} is not a checkpoint: {problem}", folder = .folder.display())]
    NoCheckpoint {
        /// The folder.
        folder: PathBuf,
        /// What is missing, and what to do.
        problem: String,
    },
    /// The report of an upload stopped it.
    #[error("stopped; the same command uploads the rest")]
    UploadInterrupted,
    /// The report of a download stopped it.
    #[error("stopped; what was fetched is kept, and the same command continues from there")]
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
