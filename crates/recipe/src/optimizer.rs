//! AdamW's settings (Loshchilov & Hutter 2019, arXiv:1711.05101) as SmolLM3 sets them.
//!
//! A number that is not written has SmolLM3's value: the defaults of optimizer libraries differ from it (epsilon, beta2),
//! which would go unnoticed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Problem, ensure};
use crate::keys::NumberOrFalse;

/// AdamW with decoupled weight decay and a clip of the global gradient norm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// The peak learning rate; the schedule scales it.
    pub learning_rate: f64,
    /// Decay of the first and of the second moment.
    #[serde(default = "Optimizer::default_betas")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[serde(default = "Optimizer::default_epsilon")]
    pub epsilon: f64,
    /// Each step shrinks a decayed parameter by `learning_rate · weight_decay` of itself.
    #[serde(default = "Optimizer::default_weight_decay")]
    pub weight_decay: f64,
    /// Parameters without weight decay, by Hugging Face name; `*` stands for any run of characters.
    #[serde(default = "Optimizer::default_no_decay")]
    pub no_decay: Vec<String>,
    /// The largest global gradient norm; `false` disables clipping.
    #[serde(default = "Optimizer::default_clip", with = "clip")]
    #[schemars(with = "NumberOrFalse")]
    pub clip: Option<f64>,
}

// The defaults are the values of huggingface/smollm text/pretraining/smollm3/stage1_8T.yaml (a041759).
impl Optimizer {
    /// SmolLM3's settings at this learning rate.
    pub fn new(learning_rate: f64) -> Self {
        Self {
            learning_rate,
            betas: Self::default_betas(),
            epsilon: Self::default_epsilon(),
            weight_decay: Self::default_weight_decay(),
            no_decay: Self::default_no_decay(),
            clip: Self::default_clip(),
        }
    }

    fn default_betas() -> [f64; 2] {
        [0.9, 0.95]
    }

    fn default_epsilon() -> f64 {
        1e-8
    }

    fn default_weight_decay() -> f64 {
        0.1
    }

    fn default_no_decay() -> Vec<String> {
        vec!["model.embed_tokens.weight".to_owned()]
    }

    fn default_clip() -> Option<f64> {
        Some(1.0)
    }

    /// Whether weight decay applies to the parameter of this name.
    pub fn decays(&self, parameter: &str) -> bool {
        !self.no_decay.iter().any(|pattern| matches(pattern, parameter))
    }

    pub(crate) fn check(&self) -> Result<(), Problem> {
        let (betas, decay) = (self.betas, self.weight_decay);
        for (key, value) in [
            ("learning_rate", self.learning_rate),
            ("epsilon", self.epsilon),
            ("clip", self.clip.unwrap_or(1.0)),
        ] {
            let is_positive = value.is_finite() && value > 0.0;
            ensure!(
                is_positive,
                key,
                "{value} is not a valid {key}; write a positive number"
            );
        }
        ensure!(
            betas.iter().all(|beta| (0.0..1.0).contains(beta)),
            "betas",
            "{betas:?} are not decay rates; each must be at least 0 and less than 1"
        );
        let is_decay = decay.is_finite() && decay >= 0.0;
        ensure!(
            is_decay,
            "weight_decay",
            "{decay} is not a weight decay; write 0 or a positive number"
        );
        Ok(())
    }
}

/// The defaults of fine-tuning, instead of those of pretraining: transformers' AdamW, and the original's clip of 0.2.
pub(crate) fn tuned() -> toml::Table {
    toml::toml! {
        betas = [0.9, 0.999]
        weight_decay = 0.0
        no_decay = []
        clip = 0.2
    }
}

/// Whether `text` matches `pattern`, where `*` stands for any run of characters, including none.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(head) else {
        return false;
    };
    (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|end| matches(tail, end)))
}

/// `clip` is a number, or `false`.
pub(crate) mod clip {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Clip {
        Norm(f64),
        Switch(bool),
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        match Clip::deserialize(deserializer) {
            Ok(Clip::Norm(norm)) => Ok(Some(norm)),
            Ok(Clip::Switch(false)) => Ok(None),
            _ => Err(D::Error::custom(
                "clip is the largest gradient norm, such as 1.0, or false",
            )),
        }
    }

    pub(crate) fn serialize<S: Serializer>(clip: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        match clip {
            Some(norm) => norm.serialize(serializer),
            None => false.serialize(serializer),
        }
    }
}
