//! A recipe from its first stage to its last.
//!
//! [`run`] does all of it in one process: data, stages, evaluations. It reports events to a listener; `stop` ends it at
//! the next safe point, and the same call resumes from there.
//!
//! ```no_run
//! use std::path::Path;
//! use std::sync::atomic::AtomicBool;
//!
//! use smollm3_recipe::Recipe;
//! use smollm3_records::{Listeners, Metrics};
//!
//! let recipe = Recipe::load(Path::new("recipes/demo"), &[])?;
//! let mut listeners = Listeners::default().with(Metrics::default());
//! let run = smollm3_pipeline::run(recipe, &AtomicBool::new(false), &mut listeners)?;
//! println!("trained in {}", run.output.display());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A job of several ranks opens its run by [`open_as`] and gives it to [`run_stages`] on each of them.

mod error;
mod explain;
mod facts;
mod prepare;
mod push;
mod run;
mod uploader;

pub use error::{PipelineError, Result};
pub use explain::{ExplainedRow, explain_row};
pub use facts::{facts, found_data};
pub use prepare::prepare;
pub use run::{open_as, run, run_stages};
