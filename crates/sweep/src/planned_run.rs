//! One run of a sweep, before it is run.

use std::path::{Path, PathBuf};

use smollm3_hub::{Depth, Hub, Located, locate, read_pins};
use smollm3_recipe::{Facts, PlanError, Recipe};

use crate::Result;
use crate::error::SweepError;
use crate::expand::Variation;

/// One recipe with one seed.
#[derive(Debug)]
pub struct PlannedRun {
    /// `VARIATION-SEED`, also the name of its folder.
    pub name: String,
    /// The variation's name.
    pub variation: String,
    /// The seed.
    pub seed: u64,
    /// All its settings, `KEY=VALUE`.
    pub settings: Vec<String>,
    /// Its folder.
    pub folder: PathBuf,
    /// The recipe with the settings.
    pub recipe: Recipe,
    /// Numbers in the model.
    pub parameters: u64,
    /// Tokens of all stages whose length is known beforehand.
    pub tokens: u64,
    /// Their steps.
    pub steps: u64,
    /// Hash of the recipe and of what is measured.
    pub(crate) hash: String,
}

impl PlannedRun {
    /// The recipe `base` with the settings of a variation.
    ///
    /// # Errors
    /// The recipe cannot be used, or its plan does not work out.
    pub(crate) fn new(
        base: &Path,
        common: &[String],
        variation: &Variation,
        seed: u64,
        output: &Path,
    ) -> Result<Self> {
        let name = format!("{}-{seed}", variation.name);
        let folder = output.join(&name);
        let mut settings = common.to_vec();
        settings.extend(variation.settings.iter().cloned());
        let quoted = |text: &str| toml::Value::from(text);
        settings.push(format!("run.seed={seed}"));
        settings.push(format!("run.name={}", quoted(&name)));
        settings.push(format!("run.output={}", quoted(&folder.to_string_lossy())));
        let recipe = load(base, &variation.name, &settings)?;
        let refuse = |source: PlanError| SweepError::Plan(variation.name.clone(), source.into());
        let plan = recipe.plan(&Facts::default()).map_err(refuse)?;
        Ok(Self {
            variation: variation.name.clone(),
            seed,
            settings,
            parameters: plan.parameters,
            tokens: plan.total_tokens,
            steps: plan.stages.iter().map(|stage| stage.steps).sum(),
            hash: hash(&recipe),
            name,
            folder,
            recipe,
        })
    }

    /// How many more parameters it has than `reference`, as a fraction of those.
    pub fn parameters_relative_to(&self, reference: &Self) -> f64 {
        self.parameters as f64 / reference.parameters.max(1) as f64 - 1.0
    }
}

/// The settings that a sweep gives each of its runs.
const OWN: [&str; 3] = ["run.seed", "run.name", "run.output"];

/// Which of them `setting`, a `KEY=VALUE`, is for.
pub(crate) fn own_setting(setting: &str) -> Option<&'static str> {
    let key = setting.split('=').next()?;
    let plain = |part: &str| part.trim().trim_matches(['"', '\'']).to_owned();
    let key = key.split('.').map(plain).collect::<Vec<_>>().join(".");
    OWN.into_iter().find(|own| *own == key)
}

/// The recipe of a variation, with the configurations of models on the Hub.
pub(crate) fn load(base: &Path, variation: &str, settings: &[String]) -> Result<Recipe> {
    let mut recipe = Recipe::load(base, settings)
        .map_err(|source| SweepError::Recipe(variation.to_owned(), source.into()))?;
    if recipe.run.push.is_some() {
        let message = "run.push: all runs of a sweep would go to one model; remove it from the recipe";
        return Err(SweepError::Refused(message.to_owned()));
    }
    let silent = (&mut |_: &str, _| true, &mut |_: &str, _: &Located| ());
    read_pins(&recipe.run.output)
        .and_then(|pins| locate(&mut recipe, Depth::Config, &pins, &Hub::new, silent.0, silent.1))
        .map_err(|source| SweepError::Hub(variation.to_owned(), source.into()))?;
    Ok(recipe)
}

/// Hash of a recipe and of what is measured, which is not in the recipe's own fingerprint.
fn hash(recipe: &Recipe) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(recipe.fingerprint().as_bytes());
    // Fails only for maps whose keys are no strings, and there are none.
    hasher.update(&serde_json::to_vec(&recipe.evaluation).unwrap_or_default());
    hasher.finalize().to_hex().to_string()
}
