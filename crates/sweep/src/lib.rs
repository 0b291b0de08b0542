//! A recipe with variations, each run with several seeds, and what the differences between them are worth.
//!
//! ```text
//! sweep.toml ─ SweepFile ─ expand ─ Variations ─┐
//!                     base recipe, seeds ───────┴─ Sweep ─ run ─ child processes `smollm3 run`
//!                                                    └──── Results ─ table.md, sweep.json, report.html
//! ```
//!
//! Every run is a process of its own and an ordinary run with an ordinary folder: it can be inspected, stopped and resumed
//! like any other, and a failed run takes no other with it. So this crate needs no device; all that it knows of a run is
//! what the run has written.

mod child;
mod curves;
mod error;
mod expand;
mod figures;
mod file;
mod findings;
mod folder;
mod grid;
mod measure;
mod planned_run;
mod prepared;
mod report;
mod results;
mod run;
mod statistics;
mod sweep;
mod table;

pub use error::SweepError;
pub use expand::{BASE, Variation, expand};
pub use figures::{RunFigures, StageFigures};
pub use file::{SweepFile, Varied};
pub use grid::Axis;
pub use measure::{Measure, Measured};
pub use planned_run::PlannedRun;
pub use results::{Results, Row, Value};
pub use run::{Outcome, Progress, Slot, run};
pub use statistics::{Change, Spread, exceeded_by_chance};
pub use sweep::{Request, Sweep};

/// The result of most functions here.
pub type Result<T> = std::result::Result<T, SweepError>;
