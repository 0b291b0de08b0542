//! What can go wrong between ranks.

use std::time::Duration;

use crate::{Disagreement, LaunchError};

/// Ranks could not start, or could not do something together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectiveError {
    /// The launcher's variables are invalid.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// Ranks were started with different things.
    #[error(transparent)]
    Disagreement(#[from] Disagreement),
    /// Several ranks, and a program that can only be one.
    #[error(
        "{launcher} started {world} ranks, but this program was built without MPI, so each would work alone; build \
         it with `--features mpi`, or start it once"
    )]
    WithoutMpi {
        /// What started them.
        launcher: String,
        /// How many.
        world: usize,
    },
    /// The launcher and the MPI library do not know each other.
    #[error(
        "{launcher} started rank {rank} of {world}, but the MPI library of this program ({library}) sees rank \
         {mpi_rank} of {mpi_world}; start it with the mpirun of that library, or with `srun --mpi=pmix`"
    )]
    OtherMpi {
        /// What started it.
        launcher: String,
        /// The rank as the launcher says.
        rank: usize,
        /// The world as the launcher says.
        world: usize,
        /// The library's name for itself.
        library: String,
        /// The rank as the library says.
        mpi_rank: usize,
        /// The world as the library says.
        mpi_world: usize,
    },
    /// The MPI library cannot be used.
    #[error("MPI cannot be used: {problem}")]
    Mpi {
        /// Why.
        problem: String,
    },
    /// Ranks did not arrive in time.
    #[error("{} not arrived within {limit:?} at exchange {number}, part of {operation}", who(.ranks))]
    Late {
        /// The operation's name.
        operation: &'static str,
        /// The exchange, counted from 1 over the whole job.
        number: u64,
        /// The time limit.
        limit: Duration,
        /// Which ranks, with their places.
        ranks: Vec<(usize, String)>,
    },
    /// A rank is gone.
    #[error("rank {rank} ({place}) ended while others waited for it in {operation}")]
    Ended {
        /// The operation's name.
        operation: &'static str,
        /// The rank.
        rank: usize,
        /// Where it ran.
        place: String,
    },
    /// Ranks do not do the same.
    #[error(
        "rank {rank} ({place}) sent {sent} bytes in {operation} where {expected} were expected: the ranks do not do the \
         same, or not with values of the same length"
    )]
    Length {
        /// The operation's name.
        operation: &'static str,
        /// The rank.
        rank: usize,
        /// Where it runs.
        place: String,
        /// What it sent.
        sent: usize,
        /// What this rank expected.
        expected: usize,
    },
    /// The shards are not those of the values.
    #[error(
        "{operation}: shards of {counts:?} elements for {world} ranks do not make up the {length} elements given"
    )]
    Counts {
        /// The operation's name.
        operation: &'static str,
        /// How many ranks there are.
        world: usize,
        /// How many elements were given.
        length: usize,
        /// Elements of each rank as given.
        counts: Vec<usize>,
    },
    /// A rank outside of the world was named.
    #[error("{operation}: there is no rank {rank} among {world}, which are counted from 0")]
    NoSuchRank {
        /// The operation's name.
        operation: &'static str,
        /// The rank named.
        rank: usize,
        /// How many there are.
        world: usize,
    },
    /// A rank sent what cannot be read.
    #[error(
        "rank {rank} ({place}) sent what cannot be read: {problem}; is it another version of the program?"
    )]
    Unreadable {
        /// The rank.
        rank: usize,
        /// Where it runs.
        place: String,
        /// Why.
        problem: String,
    },
    /// NCCL refused.
    #[error("NCCL cannot {action}: {problem}")]
    Nccl {
        /// What was tried.
        action: &'static str,
        /// NCCL's or the loader's answer.
        problem: String,
    },
}

/// The result of most functions here.
pub type Result<T> = std::result::Result<T, CollectiveError>;

/// `rank 2 (host a, process 7) has`, `rank 2 (…), rank 3 (…) have`.
fn who(ranks: &[(usize, String)]) -> String {
    let names: Vec<String> = ranks
        .iter()
        .map(|(rank, place)| format!("rank {rank} ({place})"))
        .collect();
    let verb = if ranks.len() == 1 { "has" } else { "have" };
    format!("{} {verb}", names.join(", "))
}
