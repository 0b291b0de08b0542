//! What changes from step to step.

use smollm3_model::SmolLm3;

use super::adamw::AdamW;

/// Model and optimizer.
#[derive(Debug, Clone)]
pub struct TrainState {
    /// The model, on a device with autodiff.
    pub model: SmolLm3,
    /// The optimizer.
    pub optimizer: AdamW,
}
