//! Documents of known lengths into rows of fixed capacity.
//!
//! ```text
//!                          ┌ bfd, bfd-split: cut ── best fit ┐
//! lengths ── groups ───────┼ wrapped:        wrap ───────────┼─ rows of fragments, ledger
//!                          └ none:           cut ────────────┘
//! ```
//!
//! * [`settings`]: the settings, and their contradictions.
//! * `cut`: documents longer than a row.
//! * `best_fit`: whole pieces into the fullest row with room; `open_rows` finds that row.
//! * `wrap`: one stream of tokens, cut at every row.
//! * [`row_plan`]: the result, fragment by fragment; [`ledger`]: the account of all tokens.
//!
//! Only lengths matter, never tokens, so a data set of any size is planned before it is read, and the same lengths give the
//! same rows on every machine.
//!
//! ```
//! use smollm3_packing::{Fragment, Packing, Settings, TooLong, pack};
//!
//! let rows = pack(&[5, 2, 3, 1], &Settings::new(4, Packing::Bfd))?;
//! let piece = |document, length| Fragment { document, start: 0, length };
//! // The longest first, each into the fullest row that holds it; the fifth token of document 0 is lost.
//! assert_eq!(
//!     rows.iter().collect::<Vec<_>>(),
//!     [&[piece(0, 4)][..], &[piece(2, 3), piece(3, 1)], &[piece(1, 2)]]
//! );
//! assert_eq!(rows.ledger().input, 11);
//! assert_eq!(rows.ledger().truncated, 1);
//!
//! // To learn of such a document rather than cut it:
//! let strict = Settings { too_long: TooLong::Error, ..Settings::new(4, Packing::Bfd) };
//! assert!(pack(&[5, 2, 3, 1], &strict).unwrap_err().to_string().starts_with("document 0 has 5 tokens"));
//! # Ok::<(), smollm3_packing::PackError>(())
//! ```

mod best_fit;
mod choices;
mod cut;
pub mod error;
pub mod ledger;
mod open_rows;
mod pack;
pub mod row_plan;
pub mod settings;
mod wrap;

pub use choices::{MAX_ROW, Packing, TooLong};
pub use error::{PackError, Result};
pub use ledger::Ledger;
pub use pack::pack;
pub use row_plan::{Fragment, RowPlan};
pub use settings::Settings;
