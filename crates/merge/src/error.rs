//! Why a merge was refused or failed.

use std::path::PathBuf;

use smollm3_model::hf::CheckpointError;

/// Checkpoints cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// Nothing to merge.
    #[error("no checkpoints to merge; name at least one with its weight")]
    NoParents,
    /// A parent's folder does not exist.
    #[error("{}: no such folder", .0.display())]
    ParentMissing(PathBuf),
    /// The weight of a parent is NaN, infinite, or infinite as `f32`.
    #[error("{path}: weight {1} is not a finite 32-bit number", path = .0.display())]
    Weight(PathBuf, f64),
    /// The weights, as given, cannot be divided by their sum.
    #[error(
        "the weights {0} sum to {1}, which is zero to 32 bits; change them, or take them as given: --as-given, or normalize: false in a mergekit file"
    )]
    ZeroSum(String, f64),
    /// A parent is not a checkpoint that this project reads.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Two parents have different architectures.
    #[error(
        "{field} differs: {first_value} in {first}, {other_value} in {other}; only checkpoints of one architecture \
         can be merged",
        first = .first.display(), other = .other.display()
    )]
    ConfigDiffers {
        /// The first field that differs, as `config.json` spells it.
        field: String,
        /// The first parent.
        first: PathBuf,
        /// Its value.
        first_value: String,
        /// The parent that differs.
        other: PathBuf,
        /// Its value.
        other_value: String,
    },
    /// Two tokenizers give an id to different tokens.
    #[error(
        "token id {id} is {first_token} in {first} and {other_token} in {other}, so rows of the embedding mean \
         different tokens; if they mean the same, put one tokenizer.json into both folders",
        first = .first.display(), other = .other.display()
    )]
    VocabularyDiffers {
        /// The smallest id that differs.
        id: u64,
        /// The first tokenizer.
        first: PathBuf,
        /// Its token in quotes, or `nothing`.
        first_token: String,
        /// The other tokenizer.
        other: PathBuf,
        /// Its token in quotes, or `nothing`.
        other_token: String,
    },
    /// A tokenizer has ids past the rows of the embedding.
    #[error(
        "{path} has ids up to {highest}, but the embedding has {rows} rows; the tokenizer is another model's, or tokens were \
         added to it alone",
        path = .path.display()
    )]
    Vocabulary {
        /// The tokenizer.
        path: PathBuf,
        /// Its highest id.
        highest: u64,
        /// Rows of the embedding.
        rows: usize,
    },
    /// A tensor does not hold floats.
    #[error(
        "{folder}: tensor \"{tensor}\" has format {format}; F32, BF16, F16 and F64 can be merged",
        folder = .folder.display()
    )]
    Format {
        /// The parent.
        folder: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its format as safetensors names it.
        format: String,
    },
    /// A parent has a NaN or an infinity.
    #[error("{folder}: tensor \"{tensor}\" is {value} at {index:?}; this checkpoint is damaged", folder = .folder.display())]
    NotFinite {
        /// The parent.
        folder: PathBuf,
        /// The tensor.
        tensor: String,
        /// The first such element, one number a dimension.
        index: Vec<u64>,
        /// Its value.
        value: f32,
    },
    /// The result does not fit its format.
    #[error("tensor \"{tensor}\": the result {value} at {index:?} is beyond {dtype}; write a wider format")]
    Overflow {
        /// The tensor.
        tensor: String,
        /// The first such element, one number a dimension.
        index: Vec<u64>,
        /// Its value as `f32`.
        value: f32,
        /// The result's format as `config.json` names it.
        dtype: &'static str,
    },
    /// The parent whose tokenizer was asked for does not exist.
    #[error(
        "the tokenizer is to come from parent number {number}, counted from 0, but there are {parents} parents"
    )]
    NoSuchParent {
        /// The number asked for.
        number: usize,
        /// How many there are.
        parents: usize,
    },
    /// A text file is not what its name says: the file, and what is wrong.
    #[error("{path}: {1}", path = .0.display())]
    Content(PathBuf, String),
    /// A file cannot be read or written.
    #[error(transparent)]
    Files(#[from] smollm3_files::FilesError),
    /// The commits that parents were made from cannot be read or written.
    #[error(transparent)]
    Hub(#[from] smollm3_hub::HubError),
    /// The caller's progress function stopped the merge. Nothing is left behind.
    #[error("the merge was stopped")]
    Stopped,
}

/// The result of most functions here.
pub type Result<T> = std::result::Result<T, MergeError>;
