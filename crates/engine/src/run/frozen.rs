//! The weights that stay frozen while a stage trains adapters, and the adapter that it trains on.

use std::fs;
use std::path::{Component, Path, PathBuf};

use smollm3_hub::Origin;
use smollm3_model::ModelConfig;
use smollm3_model::hf::{AdapterFiles, CheckpointError};
use smollm3_recipe::{ADAPTER_FOLDER, AdapterFolders, Lora, LoraInit, PEFT_CONFIG, PeftError, Stage, Start};

use crate::ranks::from_rank_zero;
use crate::{EngineError, Result, Run};

impl Run {
    /// The folder of the weights that stay frozen while a stage trains adapters, and that of the adapter that it trains on, if
    /// it begins with one.
    ///
    /// # Errors
    /// The stage is to train an adapter on and starts from none.
    pub(crate) fn frozen(&self, stage: &Stage, lora: &Lora) -> Result<(PathBuf, Option<PathBuf>)> {
        if lora.init == LoraInit::Fresh {
            return Ok((self.checkpoint_of(stage, &stage.from)?, None));
        }
        let refuse = |what: String| {
            Err(EngineError::Refused(format!(
                "stage \"{}\": lora.init = \"adapter\" trains an adapter on, but {what}; write another `from`, or leave out init",
                stage.name
            )))
        };
        match &stage.from {
            Start::Stage(earlier) => {
                let adapter = self.last_checkpoint(stage, earlier)?.join(ADAPTER_FOLDER);
                let before = self.recipe.stage(earlier)?;
                let trained = before.lora().filter(|_| adapter.join(PEFT_CONFIG).is_file());
                let Some(before_lora) = trained else {
                    return refuse(format!("the stage \"{earlier}\" trains none"));
                };
                Ok((self.frozen(before, before_lora)?.0, Some(adapter)))
            }
            start => match start.outside().and_then(|text| self.recipe.adapters.get(text)) {
                Some(AdapterFolders { adapter, base }) => Ok((base.clone(), Some(adapter.clone()))),
                None => refuse(format!(
                    "`from` = \"{}\" is none",
                    start.outside().unwrap_or_default()
                )),
            },
        }
    }

    /// The [`weights_identity`](Self::weights_identity) of the weights under the adapters that a stage trains, if it trains
    /// any. All ranks call it, rank 0 reads.
    ///
    /// # Errors
    /// They are not there or cannot be read.
    pub fn frozen_identity(&self, stage: &Stage) -> Result<Option<String>> {
        let Some(lora) = stage.lora() else {
            return Ok(None);
        };
        let (frozen, _) = self.frozen(stage, lora)?;
        from_rank_zero(&*self.ranks, || self.weights_identity(&frozen)).map(Some)
    }
}

/// Opens the adapter that a stage continues to train, which must have the rank, scale and matrices that the stage states.
///
/// # Errors
/// It is not there, does not fit the model, or is of another rank, scale or other matrices.
pub(crate) fn open_same(
    folder: &Path,
    lora: &Lora,
    config: &ModelConfig,
    stage: &str,
) -> Result<AdapterFiles> {
    let files = AdapterFiles::open(folder, config)?;
    let found = files.lora(config).map_err(|message| {
        let path = folder.join(PEFT_CONFIG);
        CheckpointError::from(PeftError { path, message })
    })?;
    let sorted = |lora: &Lora| {
        let mut targets = lora.targets.clone();
        targets.sort_unstable();
        (lora.rank, lora.alpha.to_bits(), lora.rslora, targets)
    };
    if sorted(&found) == sorted(lora) {
        return Ok(files);
    }
    let rslora = if found.rslora { ", rslora = true" } else { "" };
    Err(EngineError::Refused(format!(
        "stage \"{stage}\": the adapter {} is another than `lora` says; to train it on write lora = {{ rank = {}, alpha = {}, \
         targets = {:?}{rslora}, init = \"adapter\" }}",
        folder.display(),
        found.rank,
        found.alpha,
        found.targets
    )))
}

/// How `adapter_config.json` in a checkpoint of `stage_folder` names the weights in the folder `frozen`: a model of the Hub
/// with its commit; for weights of the same run, a path from the adapter's folder, which stays right when the run's folder is
/// moved; else the whole path, which is right for Python wherever it runs.
pub(crate) fn base_name(frozen: &Path, stage_folder: &Path) -> (String, Option<String>) {
    if let Some(Origin { repository, commit }) = Origin::of(frozen) {
        let whole = fs::canonicalize(frozen).unwrap_or_else(|_| frozen.to_owned());
        let inside: Vec<String> = whole
            .components()
            .skip_while(|part| part.as_os_str() != commit.as_str())
            .skip(1)
            .map(|part| part.as_os_str().to_string_lossy().into_owned())
            .collect();
        return match inside.is_empty() {
            true => (repository, Some(commit)),
            false => (format!("hf://{repository}@{commit}/{}", inside.join("/")), None),
        };
    }
    let whole = |path: &Path| fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    let (Ok(to), Ok(from)) = (whole(frozen), whole(stage_folder)) else {
        return (frozen.display().to_string(), None);
    };
    if !from.parent().is_some_and(|run| to.starts_with(run)) {
        return (to.display().to_string(), None);
    }
    let to: Vec<Component<'_>> = to.components().collect();
    let from: Vec<Component<'_>> = from.components().collect();
    let common = to.iter().zip(&from).take_while(|(a, b)| a == b).count();
    // From `step-…/adapter` in that folder.
    let up = std::iter::repeat_n(Component::ParentDir, from.len() - common + 2);
    let path: PathBuf = up.chain(to.into_iter().skip(common)).collect();
    (path.display().to_string(), None)
}
