//! `[stage.lora]`: adapters to train instead of the weights (`crates/model/src/lora.rs`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults::is_default;
use crate::error::{Problem, ensure};
use crate::model_config::ModelConfig;
use crate::section::unknown;

/// `[stage.lora]`: low-rank adapters of matrices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Their rank.
    pub rank: usize,
    /// The product of an adapter's matrices is scaled by `alpha / rank`, with `rslora` by `alpha / √rank`.
    pub alpha: f64,
    /// The matrices of each layer that have one.
    #[serde(default = "Lora::all_matrices")]
    pub targets: Vec<String>,
    /// Rank-stabilised: the scale is `alpha / √rank` (Kalajdzievski 2023, arXiv:2312.03732).
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = false))]
    pub rslora: bool,
    /// Their initial values.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "fresh"))]
    pub init: LoraInit,
}

/// The initial values of a stage's adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoraInit {
    /// `A` random, `B` zero. An adapter that the stage starts from is merged into the weights first.
    #[default]
    Fresh,
    /// Those of the adapter that the stage starts from.
    Adapter,
}

/// Larger than any side of a model's matrices, and small enough for products with them not to overflow.
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

/// The scale of the product of an adapter's matrices.
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
        let layer = config.parameter_shapes().into_iter();
        let layer = layer.filter(|(name, _)| name.starts_with("model.layers.0."));
        let sides = layer.filter_map(|(name, shape)| {
            let matrix = name.strip_suffix(".weight")?.rsplit('.').next()?;
            let is_target = self.targets.iter().any(|target| target == matrix);
            (is_target && shape.len() == 2).then(|| shape.iter().sum::<usize>())
        });
        (self.rank * sides.sum::<usize>()) as u64
    }

    /// The scale of the product of an adapter's matrices.
    pub fn scale(&self) -> f64 {
        scale(self.rank, self.alpha, self.rslora)
    }

    pub(crate) fn check(&self) -> Result<(), Problem> {
        let (rank, alpha) = (self.rank, self.alpha);
        ensure!(rank > 0, "rank", "an adapter cannot have rank 0; write rank = 16");
        ensure!(
            rank <= MOST_RANK,
            "rank",
            "{rank} is more than any matrix has; write rank = 16"
        );
        ensure!(
            alpha.is_finite() && alpha > 0.0,
            "alpha",
            "{alpha} is not a scale; write alpha = 32"
        );
        let known = |target: &&String| MATRICES.contains(&target.as_str());
        if let Some(other) = self.targets.iter().find(|target| !known(target)) {
            return Err(Problem::at("targets", unknown("matrix", other, &MATRICES)));
        }
        ensure!(
            !self.targets.is_empty(),
            "targets",
            "nothing would be trained; write targets = [\"q_proj\", \"v_proj\"], or leave it out for all"
        );
        Ok(())
    }
}
