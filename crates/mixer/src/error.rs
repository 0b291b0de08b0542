//! The crate's error; each message says what to change in the recipe.

use thiserror::Error;

/// Why a mixture cannot be ordered, or a batch cannot be given.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum MixError {
    /// A mixture without a single source.
    #[error("the mixture has no source with a weight above 0: give at least one source a positive weight")]
    Empty,

    /// A weight that is not positive and finite, by position in a bare list.
    #[error("weight {source_index} is {weight}: write a finite number above 0")]
    Weight {
        /// Position in the list of weights.
        source_index: usize,
        /// The weight as given.
        weight: f64,
    },

    /// A negative or infinite weight of a named source.
    #[error("source \"{name}\" has weight {weight}: write a finite number, 0 or above")]
    SourceWeight {
        /// Name of the source.
        name: String,
        /// The weight as given.
        weight: f64,
    },

    /// Weights whose sum leaves the range of a 64-bit float.
    #[error("the weights add up to more than a 64-bit float holds: scale them down, only their ratios count")]
    WeightSum,

    /// A share so small that addressing one step would replay billions of picks.
    #[error("weight {source_index} is a share of {share:e}, under 2^-30: raise it or leave the source out")]
    TinyShare {
        /// Position in the list of weights.
        source_index: usize,
        /// The weight divided by the sum of all weights.
        share: f64,
    },

    /// [`MixError::TinyShare`] of a named source.
    #[error(
        "source \"{name}\" has a share of {share:e}, under 2^-30 (one sequence in a billion): raise its weight \
         or leave the source out"
    )]
    SourceShare {
        /// Name of the source.
        name: String,
        /// The weight divided by the sum of all weights.
        share: f64,
    },

    /// More sources than an index holds.
    #[error("a mixture of {count} sources is too large: at most {max} can be blended")]
    TooManySources {
        /// Sources given.
        count: usize,
        /// Sources allowed.
        max: usize,
    },

    /// A reference to a source that is not listed.
    #[error(
        "source number {source_index} is weighted, but only {sources} sources are listed (counted from 0)"
    )]
    UnknownSource {
        /// The index named.
        source_index: usize,
        /// Number of sources listed.
        sources: usize,
    },

    /// A source weighted twice in one phase.
    #[error("source \"{name}\" is weighted twice: add its two weights into one entry")]
    DuplicateSource {
        /// Name of the source.
        name: String,
    },

    /// Two sources of one name, which would share their permutations.
    #[error("two sources are named \"{name}\": give each source its own name")]
    SourceName {
        /// The name.
        name: String,
    },

    /// Something wrong with the mixture of one phase.
    #[error("phase {}: {error}", .phase + 1)]
    Phase {
        /// Phase, counted from 0 (the message counts from 1).
        phase: usize,
        /// What is wrong.
        error: Box<MixError>,
    },

    /// A quantity that must be positive is zero.
    #[error("{what} is 0: write a number of at least 1")]
    Zero {
        /// The quantity in words.
        what: &'static str,
    },

    /// A stage too long to count.
    #[error("the phases add up to more than 2^62 sequences: shorten them")]
    TooLong,

    /// A step before the first or after the last.
    #[error("step {step} is outside this stage: its steps run from 1 to {last}")]
    Step {
        /// The step asked for.
        step: u64,
        /// The last whole step of the stage.
        last: u64,
    },

    /// A number of allowed epochs that is not positive and finite.
    #[error("source \"{name}\" allows {epochs} epochs: write a finite number above 0")]
    Epochs {
        /// Name of the source.
        name: String,
        /// Epochs as given.
        epochs: f64,
    },

    /// The stage reads more of a source than its data and its epochs allow.
    #[error(
        "source \"{name}\" must give {needed} tokens, but it holds {there} and may be read {epochs} times: lower \
         its weight, shorten the stage, add data, or allow {epochs_needed:.2} epochs"
    )]
    TooLittleData {
        /// Name of the source.
        name: String,
        /// Tokens the stage reads.
        needed: u128,
        /// Tokens in whole windows of the source.
        there: u128,
        /// Epochs allowed.
        epochs: f64,
        /// Epochs that would be enough, rounded up to hundredths.
        epochs_needed: f64,
    },

    /// A source in use that has not one whole window.
    #[error(
        "source \"{name}\" must give {needed} tokens, but it is shorter than one sequence: add data or leave it out"
    )]
    NoData {
        /// Name of the source.
        name: String,
        /// Tokens the stage reads.
        needed: u128,
    },

    /// Ranks and micro-batches that do not divide the global batch.
    #[error(
        "a global batch of {global_batch} sequences cannot be shared by {world} ranks in micro-batches of \
         {micro_batch}: write a global batch that is a multiple of {}",
        u128::from(*.world) * u128::from(*.micro_batch)
    )]
    Split {
        /// Sequences in a step.
        global_batch: u64,
        /// Number of ranks.
        world: u64,
        /// Sequences a rank takes at once.
        micro_batch: u64,
    },

    /// A rank that the world does not have.
    #[error("rank {rank} does not exist in a world of {world}: ranks are counted from 0")]
    Rank {
        /// The rank asked for.
        rank: u64,
        /// Number of ranks.
        world: u64,
    },
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, MixError>;
