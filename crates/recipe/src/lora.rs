//! `[stage.lora]`: adapters that are trained in the place of the weights (`crates/model/src/lora.rs`).

use serde::{Deserialize, Serialize};

use crate::conversations::is_default;
use crate::error::Problem;
use crate::model_config::ModelConfig;
use crate::section::unknown;

/// `[stage.lora]`: low-rank adapters of matrices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Their rank.
    pub rank: usize,
    /// They are multiplied by `alpha / rank`, with `rslora` by `alpha / √rank`.
    pub alpha: f64,
    /// The matrices of each layer that get one.
    #[serde(default = "Lora::all_matrices")]
    pub targets: Vec<String>,
    /// Rank-stabilised: the scale is `alpha / √rank` (Kalajdzievski 2023, arXiv:2312.03732).
    #[serde(default, skip_serializing_if = "is_default")]
    pub rslora: bool,
    /// The values that they begin with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub init: LoraInit,
}

/// The values that the adapters of a stage begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoraInit {
    /// `A` at random, `B` zero. An adapter that the stage starts from is merged into the weights first.
    #[default]
    Fresh,
    /// Those of the adapter that the stage starts from, which is trained on.
    Adapter,
}

/// Larger than the sides of any model's matrices, and small enough to be multiplied by them.
const MOST_RANK: usize = 1 << 20;

/// The matrices of a layer.
const MATRICES: [&str; 7] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

/// What the product of an adapter's matrices is multiplied by.
pub(crate) fn scale(rank: usize, alpha: f64, rslora: bool) -> f64 {
    let rank = rank as f64;
    alpha / if rslora { rank.sqrt() } else { rank }
}

impl Lora {
    fn all_matrices() -> Vec<String> {
        MATRICES.map(str::to_owned).to_vec()
    }

    /// Numbers in the adapters of one layer: `rank · (out + in)` for each of its matrices.
    pub fn layer_parameters(&self, config: &ModelConfig) -> u64 {
        let of_layer = config.parameter_shapes().into_iter();
        let of_layer = of_layer.filter(|(name, _)| name.starts_with("model.layers.0."));
        let sides = of_layer.filter_map(|(name, shape)| {
            let matrix = name.strip_suffix(".weight")?.rsplit('.').next()?;
            let is_target = self.targets.iter().any(|target| target == matrix);
            (is_target && shape.len() == 2).then(|| shape.iter().sum::<usize>())
        });
        (self.rank * sides.sum::<usize>()) as u64
    }

    /// What the product of an adapter's matrices is multiplied by.
    pub fn scale(&self) -> f64 {
        scale(self.rank, self.alpha, self.rslora)
    }

    pub(crate) fn check(&self) -> Result<(), Problem> {
        if self.rank == 0 {
            return Err(Problem::at(
                "rank",
                "adapters of rank 0 are none; write rank = 16".to_owned(),
            ));
        }
        if self.rank > MOST_RANK {
            let message = format!("{} is more than any matrix has; write rank = 16", self.rank);
            return Err(Problem::at("rank", message));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(Problem::at(
                "alpha",
                format!("{} is no scale; write alpha = 32", self.alpha),
            ));
        }
        if let Some(other) = self
            .targets
            .iter()
            .find(|target| !MATRICES.contains(&target.as_str()))
        {
            return Err(Problem::at("targets", unknown("matrix", other, &MATRICES)));
        }
        if self.targets.is_empty() {
            let message =
                "nothing would be trained; write targets = [\"q_proj\", \"v_proj\"], or leave it out for all";
            return Err(Problem::at("targets", message.to_owned()));
        }
        Ok(())
    }
}
