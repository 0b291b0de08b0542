//! What a run will cost: FLOPs, memory, time and traffic, by formula, with the constants of the engine, the kernels and the
//! collective operations themselves.
//!
//! ```text
//! Recipe, Facts ─┬─ plan ───── steps and phases of the recipe's plan, with FLOPs, memory, days at a measured rate
//!                └─ estimate ─ the same on a number of devices: the time of a step by its parts, what ranks send
//! ```
//!
//! The formulas carry their sources. They say what size of machine a run needs, not what it will measure.

mod device;
mod estimate;
mod estimate_text;
mod figures;
mod memory;
mod phases_text;
mod plan;
mod plan_text;
mod preparation;
mod rates;
mod step_time;
mod step_work;
mod time_text;
mod too_much;
mod traffic;

pub use device::{Device, DeviceError};
pub use estimate::{Estimate, OriginalEstimate, StageEstimate, WholeStep, estimate};
pub use memory::Memory;
pub use plan::{ConversationCost, Machine, MeasuredRate, RunCost, StageCost, Unplanned, plan};
pub use preparation::Preparation;
pub use rates::store_rate;
pub use step_time::StepTime;
pub use too_much::TooMuchMemory;
pub use traffic::{StepTraffic, Trained};
