//! The crate's error; each message says what to change in the settings.

use thiserror::Error;

use crate::choices::{MAX_ROW, Packing, TooLong};

/// Why documents cannot be packed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PackError {
    /// Rows without tokens, or longer than [`MAX_ROW`].
    #[error("rows of {row} tokens: write a length from 1 to {MAX_ROW}")]
    Row {
        /// The capacity as given.
        row: u32,
    },

    /// `bfd` with `split`.
    #[error(
        "packing = \"bfd\" keeps documents whole, which contradicts too_long = \"split\": write packing = \
         \"bfd-split\", or too_long = \"truncate\", \"drop\" or \"error\""
    )]
    KeepsWhole,

    /// A packing that splits, with another treatment.
    #[error(
        "packing = \"{packing}\" splits long documents, which contradicts too_long = \"{too_long}\": write \
         too_long = \"split\" or leave it out, or write packing = \"bfd\" to keep too_long = \"{too_long}\""
    )]
    AlwaysSplits {
        /// The packing as given.
        packing: Packing,
        /// The treatment as given.
        too_long: TooLong,
    },

    /// Groups without documents.
    #[error("groups of 0 documents: write a number of at least 1, or leave it out to pack all together")]
    EmptyGroup,

    /// Groups where nothing is packed.
    #[error(
        "packing = \"none\" gives every document its own row, so groups of {group} change nothing: leave it out"
    )]
    GroupOfNone {
        /// Documents in a group, as given.
        group: usize,
    },

    /// A document longer than a row, with [`TooLong::Error`].
    #[error(
        "document {document} has {length} tokens, a row has {row}: write too_long = \"truncate\" to cut it, \
         too_long = \"drop\" to leave it out, {} to keep all of it in pieces, or rows of at least {length} tokens",
        match packing {
            Packing::None => "too_long = \"split\"",
            _ => "packing = \"bfd-split\"",
        }
    )]
    TooLong {
        /// Which document, counted from 0.
        document: u32,
        /// Its tokens.
        length: u32,
        /// Tokens of a row.
        row: u32,
        /// The packing, on which the remedy depends.
        packing: Packing,
    },

    /// More fragments than 32 bits can number.
    #[error(
        "{fragments} fragments are more than 2^32 - 1: pack fewer documents at once, or into longer rows"
    )]
    TooMany {
        /// An upper bound of the number of fragments.
        fragments: u64,
    },
}

/// Shorthand for results of this crate.
pub type Result<T> = std::result::Result<T, PackError>;
