//! `merge`: the weighted mean of checkpoints, with the tokenizer and chat template of one of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::defaults::{whole_number, yes};
use crate::error::RecipeError;
use crate::section::Section;
use crate::start::Start;

/// A mean of checkpoints. The checkpoint that the stage starts from gives the tokenizer and the template.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Merging {
    /// `[[stage.model]]`: the checkpoints.
    #[serde(rename = "model")]
    pub models: Vec<MergedModel>,
    /// Whether weights are divided by their sum.
    #[schemars(default = "yes")]
    pub normalise: bool,
    /// The number format of the result; by default that of the first checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dtype: Option<NumberFormat>,
}

/// A checkpoint, or the newest few of a stage, with a weight.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct MergedModel {
    /// The stage, the folder or the model on the Hub.
    pub checkpoint: Start,
    /// Its weight.
    pub weight: f64,
    /// The number of the stage's newest checkpoints to average.
    #[schemars(default = "whole_number::<u32, 1>")]
    pub last: u32,
}

/// The number format of files of weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NumberFormat {
    /// 32 bits.
    F32,
    /// 16 bits, the exponent of `f32`.
    Bf16,
    /// 16 bits, IEEE 754.
    F16,
}

impl Merging {
    pub(crate) fn read(section: &mut Section<'_>, earlier: &[String]) -> Result<Self, RecipeError> {
        let mut models = Vec::new();
        for mut model in section.sections("model")? {
            let text: String = model.required(
                "checkpoint",
                "an earlier stage, a folder or a Hub id, such as checkpoint = \"apo\"",
            )?;
            let checkpoint =
                Start::parse(&text, earlier).map_err(|message| model.error("checkpoint", message))?;
            let weight: f64 = model.required("weight", "its part of the mean, such as weight = 0.9")?;
            if !weight.is_finite() {
                let message = format!("{weight} is not a weight; write a number such as 0.9");
                return Err(model.error("weight", message));
            }
            let last: u32 = model.optional("last")?.unwrap_or(1);
            if last == 0 || (last > 1 && !matches!(checkpoint, Start::Stage(_))) {
                let message = "only the newest checkpoints of an earlier stage are averaged; write 1 or more of a stage";
                return Err(model.error("last", message));
            }
            model.finish()?;
            models.push(MergedModel {
                checkpoint,
                weight,
                last,
            });
        }
        if models.is_empty() {
            let message = "there is nothing to merge; write [[stage.model]] with checkpoint and weight";
            return Err(section.error("model", message));
        }
        let normalise = section.optional("normalise")?.unwrap_or(true);
        if normalise && models.iter().map(|model| model.weight).sum::<f64>() == 0.0 {
            let message =
                "the weights add up to 0 and cannot be divided by it; change one, or write normalise = false";
            return Err(section.error("model", message));
        }
        let merging = Self {
            models,
            normalise,
            dtype: section.optional("dtype")?,
        };
        section.finish()?;
        Ok(merging)
    }
}
