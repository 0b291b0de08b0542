//! The plan layer's centre: what a run is to do, as data. Recipes, quantities with units, learning-rate
//! schedules, mixtures, the architecture of the model, and the plan that follows from them. Nothing here
//! touches a device.

mod document;
mod error;
mod fingerprint;
mod hf_config;
mod key_path;
mod mixture;
mod model_config;
mod optimizer;
mod overrides;
mod plan;
mod recipe;
mod run;
mod schedule;
mod section;
mod source;
mod stage;
mod training;
mod units;

pub use error::{Place, RecipeError};
pub use fingerprint::Difference;
pub use hf_config::Spelling;
pub use mixture::{Mixture, MixturePart};
pub use model_config::{ModelConfig, ModelConfigError, ModelType, Yarn};
pub use optimizer::Optimizer;
pub use plan::{
    Facts, Landmark, Memory, PhasePlan, Plan, PlanError, SourcePlan, StagePlan, TokenizerFacts, cost,
};
pub use recipe::{Model, Recipe};
pub use run::{Backend, Cluster, Data, Order, Precision, Run, Tokenizer, TrainTokenizer};
pub use schedule::{AfterWarmup, DecayShape, Schedule, ScheduleKind, ScheduleSettings};
pub use source::{Arithmetic, HubDataset, Source, SourceKind, Table, TokenFolder};
pub use stage::{LongContext, Stage, StageKind, Start};
pub use training::{Checkpoints, Loss, LossAverage, OptimizerState, Phase, Training};
pub use units::{BatchSize, Bytes, ContextLength, Percent, Sequences, Span, Steps, Tokens, UnitError};
