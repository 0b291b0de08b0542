//! What a run's folder says, as data: training writes it; what shows or compares runs reads it. No tensors.
//!
//! | file | type |
//! | --- | --- |
//! | `recipe.json` | [`read_recipe`] |
//! | `STAGE/stage.json` | [`StageInfo`] |
//! | `STAGE/metrics.jsonl` | [`Record`] |
//! | `STAGE/incidents.jsonl` | [`Incident`] |
//! | `STAGE/ledger.json` | [`Ledger`] |
//! | `STAGE/validation.json` | [`ValidationState`] |
//! | `STAGE/evaluation.json` | [`Evaluation`] |
//! | `STAGE/step-…/state.json`, `manifest.json` | [`checkpoint`] |
//!
//! The files are written from [`Event`]s: a [`Listener`] gets each, and [`Metrics`] is the one that writes.

pub mod checkpoint;
mod error;
mod evaluation;
mod events;
mod fault;
mod ledger;
mod listener;
mod metrics;
mod mode;
mod run_recipe;
mod validation;
mod validation_state;

pub use error::{RecordError, Result};
pub use evaluation::{Evaluation, PositionLoss, ProbeScore, TextLoss, read_evaluation, write_evaluation};
pub use events::{
    CollectiveRecord, HeldOutRecord, IncidentKind, MeasureRecord, NATS_PER_TOKEN, PhaseInfo, RowRef,
    SourceName, SourceRecord, StageInfo, StepRecord,
};
pub use fault::{Fault, GuardState};
pub use ledger::{Ledger, read_ledger, write_ledger};
pub use listener::{Event, Listener, Listeners, ended_early};
pub use metrics::{Incident, Metrics, Record, add_incident, read_incidents, read_metrics, read_stage};
pub use mode::{Mode, ModeScore};
pub use run_recipe::{RECIPE, WRITTEN_RECIPE, belongs, read_recipe};
pub use validation::{best_step, stage_result, write_validation};
pub use validation_state::{BestLoss, ValidationState};
