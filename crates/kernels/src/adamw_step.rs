//! The numbers of one update by AdamW.

/// The numbers of one update.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Decay rates of the moments.
    pub betas: [f32; 2],
    /// Gradients are multiplied by this first.
    pub scale: f32,
    /// The parameter is multiplied by this: 1 − learning rate · weight decay.
    pub decay_factor: f32,
    /// Learning rate over the bias correction of the first moment.
    pub step_size: f32,
    /// Square root of the bias correction of the second moment.
    pub second_correction: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
}
