//! The centre of the plan layer: what a run does, as data. Recipes, quantities with units, learning-rate
//! schedules, mixtures, the architecture of the model, and the plan that follows from them. Nothing here
//! touches a device.
//!
//! ```text
//! recipe.toml + mixtures + sources ─ Recipe::load ─ Recipe ─┬─ Recipe::plan ─ Plan
//!                      --set key=value ─┘                   ├─ Training::schedule ─ Schedule::learning_rate(step)
//!                                                           ├─ Mixture::weights
//!                                                           └─ Recipe::canonical ─ fingerprint, differences
//! ```
//!
//! ```
//! use smollm3_recipe::{Facts, Recipe};
//!
//! let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../recipes/smollm3-3b");
//! let recipe = Recipe::load(folder.as_ref(), &["run.seed=7".to_owned()])?;
//! let plan = recipe.plan(&Facts::default())?;
//! assert_eq!(plan.stages[0].phases[0].end_step, 3_390_842);
//!
//! let schedule = recipe.stages[0].training().ok_or("no training")?.schedule()?;
//! assert_eq!(schedule.learning_rate(2_001), 2e-4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chat_rows;
mod conversations;
mod defaults;
mod document;
mod error;
mod evaluation;
mod fine_tuning;
mod fingerprint;
mod flops;
mod hf_config;
mod hub_id;
mod key_path;
mod keys;
mod lora;
mod merging;
mod mixture;
mod model_config;
mod optimisation;
mod optimizer;
mod overrides;
mod peft_config;
mod plan;
mod preference;
mod push;
mod recipe;
mod reference;
mod run;
mod schedule;
mod schema;
mod section;
mod source;
mod stage;
mod start;
mod training;
mod units;
mod validation;
mod yarn;

pub use chat_rows::{ChatRows, ChatText, Duration, SpecialTokens, TemplateChoice, TemplateDrops};
pub use conversations::{Conversations, Passages, SumAnswers, Sums};
pub use error::{KeyLocation, RecipeError};
pub use evaluation::{Evaluation, ExactMatch, HeldOutText, LongContextProbes, PreferencePairs, ProbeTask};
pub use fine_tuning::{FineTuning, Learned};
pub use fingerprint::{Canonical, Difference};
pub use flops::training_flops_per_token;
pub use hf_config::{Spelling, TokenIds};
pub use hub_id::{HubId, TOKENIZER_FILES};
pub use lora::{Lora, LoraInit};
pub use merging::{MergedModel, Merging, NumberFormat};
pub use mixture::{Mixture, MixturePart};
pub use model_config::{ModelConfig, ModelConfigError, ModelType};
pub use optimisation::{Checkpoints, Guards, Optimisation, OptimizerState, Recompute, Spikes};
pub use optimizer::Optimizer;
pub use peft_config::{ADAPTER_FOLDER, PEFT_CONFIG, PeftConfig, PeftError};
pub use plan::{
    AdaptersPlan, ConversationPlan, DataPlan, Facts, Landmark, MergePlan, PhasePlan, Plan, PlanError,
    RowsPlan, SourcePlan, StagePlan, TokenizerFacts,
};
pub use preference::{Preference, PreferenceKind, PreferenceLoss, Reference, TemplateKwargs, TooLongPair};
pub use push::{Push, PushEvery, is_license};
pub use recipe::{AdapterFolders, Model, Recipe};
pub use reference::reference;
pub use run::{
    Backend, BadRows, Cluster, DEVICES, Data, DocumentStarts, Order, OriginalRun, Precision, Run, Sharding,
    Tokenizer, TrainTokenizer,
};
pub use schedule::{AfterWarmup, DecayShape, Schedule, ScheduleKind, ScheduleSettings};
pub use schema::schema;
pub use section::unknown;
pub use smollm3_packing::{Packing, TooLong};
pub use source::{Arithmetic, HubDataset, Source, SourceKind, Table, TokenFolder};
pub use stage::{LongContext, Stage, StageData, Text};
pub use start::Start;
pub use training::{Loss, LossAverage, Phase, PreparedData, Training};
pub use units::{BatchSize, Bytes, ContextLength, Pairs, Percent, Sequences, Span, Steps, Tokens, UnitError};
pub use validation::{BestCheckpoint, StopEarly, VALIDATION, Validation};
pub use yarn::Yarn;
