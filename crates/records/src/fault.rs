//! What can be wrong with a step, and what the guard remembers of the steps before.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// What is wrong with a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Fault {
    /// The loss or the gradient norm is not finite.
    NotFinite,
    /// The loss is far above those of the steps before.
    LossSpike {
        /// Robust standard deviations above the median.
        sigma: f64,
    },
    /// The gradient norm is far above those of the steps before.
    NormSpike {
        /// Robust standard deviations above the median.
        sigma: f64,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFinite => f.write_str("the loss or the gradient norm is not finite"),
            Self::LossSpike { sigma } => write!(f, "the loss is {sigma:.1} sigma above the median"),
            Self::NormSpike { sigma } => write!(f, "the gradient norm is {sigma:.1} sigma above the median"),
        }
    }
}

/// What the guard remembers, as a checkpoint keeps it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GuardState {
    /// Losses of the steps before, the newest last.
    pub losses: VecDeque<f64>,
    /// Their gradient norms.
    pub grad_norms: VecDeque<f64>,
    /// Steps without an update in a row.
    pub bad: u64,
    /// First and last steps whose data was skipped after going back.
    pub left_out: Vec<(u64, u64)>,
}
