//! YaRN's settings: a context longer than the model was trained for.

use serde::{Deserialize, Serialize};

/// YaRN (Peng et al. 2023, arXiv:2309.00071), with the names and defaults of transformers'
/// `modeling_rope_utils.py`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Yarn {
    /// The context's length over the original one.
    pub factor: f64,
    /// The length that the model was trained for.
    pub original_max_position_embeddings: usize,
    /// Rotations over the original length above which a dimension is left as it is.
    #[serde(default = "Yarn::default_beta_fast")]
    pub beta_fast: f64,
    /// Rotations over the original length below which a dimension is divided by `factor`.
    #[serde(default = "Yarn::default_beta_slow")]
    pub beta_slow: f64,
    /// The factor of cosine and sine; computed from the other keys when absent, see
    /// [`Yarn::attention_scaling`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attention_factor: Option<f64>,
    /// Weight of `ln(factor)` in the numerator of the attention factor; takes effect together with `mscale_all_dim`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mscale: Option<f64>,
    /// Weight of `ln(factor)` in its denominator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mscale_all_dim: Option<f64>,
    /// Whether the ends of the ramp are rounded outwards to whole dimensions; they are when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncate: Option<bool>,
}

impl Yarn {
    fn default_beta_fast() -> f64 {
        32.0
    }

    fn default_beta_slow() -> f64 {
        1.0
    }

    /// YaRN with the paper's ramp (32, 1) and its attention factor.
    pub fn new(factor: f64, original_max_position_embeddings: usize) -> Self {
        Self {
            factor,
            original_max_position_embeddings,
            beta_fast: Self::default_beta_fast(),
            beta_slow: Self::default_beta_slow(),
            attention_factor: None,
            mscale: None,
            mscale_all_dim: None,
            truncate: None,
        }
    }

    /// The factor of cosine and sine: `attention_factor`, else `m(mscale) / m(mscale_all_dim)` if both are given
    /// and not 0, else `m(1)`, with `m(w) = 0.1·w·ln(factor) + 1` (transformers, `_compute_yarn_parameters`).
    pub fn attention_scaling(&self) -> f64 {
        let m = |weight: f64| match self.factor <= 1.0 {
            true => 1.0,
            false => 0.1 * weight * self.factor.ln() + 1.0,
        };
        let given = |weight: Option<f64>| weight.filter(|weight| *weight != 0.0);
        match (
            self.attention_factor,
            given(self.mscale),
            given(self.mscale_all_dim),
        ) {
            (Some(factor), _, _) => factor,
            (None, Some(mscale), Some(all_dim)) => m(mscale) / m(all_dim),
            (None, _, _) => m(1.0),
        }
    }

    /// The first number that is impossible, and what it has to be.
    pub(crate) fn problem(&self) -> Option<String> {
        if !(self.factor.is_finite() && self.factor >= 1.0) {
            return Some(format!(
                "rope_scaling.factor = {}; it must be at least 1",
                self.factor
            ));
        }
        if self.original_max_position_embeddings == 0 {
            return Some(
                "rope_scaling.original_max_position_embeddings is 0; write the trained length".to_owned(),
            );
        }
        let ramp = [self.beta_fast, self.beta_slow];
        if ramp.iter().any(|beta| !(beta.is_finite() && *beta > 0.0)) || self.beta_fast <= self.beta_slow {
            return Some(format!(
                "rope_scaling.beta_fast = {} and beta_slow = {}; beta_fast must be larger, both positive",
                self.beta_fast, self.beta_slow
            ));
        }
        // Computed from mscale, it can be 0, negative or infinite too.
        let scaling = self.attention_scaling();
        (!(scaling.is_finite() && scaling > 0.0)).then(|| {
            format!(
                "rope_scaling: attention_factor = {scaling}, as given or from mscale and mscale_all_dim; it must be a \
                 positive number"
            )
        })
    }
}
