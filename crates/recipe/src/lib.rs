//! The plan layer's centre: what a run is to do, as data. Recipes, quantities with units, learning-rate
//! schedules, mixtures, the architecture of the model, and the plan that follows from them. Nothing here
//! touches a device.

mod hf_config;
mod model_config;

pub use hf_config::Spelling;
pub use model_config::{ModelConfig, ModelConfigError, ModelType, Yarn};
