//! A merge as a stage of a run: checkpoints of earlier stages in, one checkpoint out.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use smollm3_engine::checkpoint::{self, Progress};
use smollm3_engine::guard::GuardState;
use smollm3_engine::{EngineError, Event, Listener, Run, StageInfo};
use smollm3_model::hf::FileDtype;
use smollm3_recipe::{MergedModel, Merging, NumberFormat, Stage, Start};

use crate::{MergeError, MergeSettings, TokenizerFrom, merge};

/// The step that a merged checkpoint is called after: there are none.
const STEP: u64 = 0;

/// Merges what a stage asks for, unless that has been done of the same checkpoints.
///
/// # Errors
/// A checkpoint is not there, or they do not go together; [`EngineError::Interrupted`] if it was stopped.
pub fn merge_stage(
    run: &Run,
    stage: &Stage,
    merging: &Merging,
    stop: &AtomicBool,
    listener: &mut dyn Listener,
) -> smollm3_engine::Result<()> {
    let mut parents: Vec<(PathBuf, f64)> = Vec::new();
    for model in &merging.models {
        let folders = folders(run, stage, model)?;
        let weight = model.weight / folders.len() as f64;
        parents.extend(folders.into_iter().map(|folder| (folder, weight)));
    }
    let mut data = BTreeMap::new();
    for (folder, weight) in &parents {
        let name = format!("{} × {weight}", folder.display());
        data.insert(name, run.hashes().weights(folder)?);
    }
    let progress = Progress {
        stage: stage.name.clone(),
        step: STEP,
        tokens: 0,
        updates: 0,
        recipe: run.recipe.fingerprint(),
        data,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        guard: GuardState::default(),
    };
    let folder = run.stage_folder(&stage.name);
    listener.on(&Event::StageStarted {
        stage: stage_info(run, stage)?,
        done: STEP,
    })?;
    checkpoint::sweep(&folder)?;
    if let (Some((done, _)), _) = run.newest(&stage.name)?
        && done.data == progress.data
    {
        return listener.on(&Event::Note(format!("{}: merged already", stage.name)));
    }
    let settings = MergeSettings {
        normalise: merging.normalise,
        dtype: merging.dtype.map(|format| match format {
            NumberFormat::F32 => FileDtype::F32,
            NumberFormat::Bf16 => FileDtype::Bf16,
            NumberFormat::F16 => FileDtype::F16,
        }),
        tokenizer_from: TokenizerFrom::Folder(run.checkpoint_of(stage, &stage.from)?),
        ..MergeSettings::default()
    };
    let made = checkpoint::publish(&folder, &progress, |draft| {
        let mut trouble = Ok(());
        let merged = merge(&parents, &settings, draft, &mut |done, total| {
            let what = format!("merging {} checkpoints", parents.len());
            trouble = listener.on(&Event::Preparing { what, done, total });
            match trouble.is_err() || stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        trouble?;
        let report = merged.map_err(|error| match error {
            MergeError::Stopped => EngineError::Interrupted {
                stage: stage.name.clone(),
                step: STEP,
            },
            error => EngineError::Refused(format!("stage \"{}\": {error}", stage.name)),
        })?;
        // Named after the stage, not after the draft.
        let card = draft.join("README.md");
        fs::write(&card, report.model_card(&folder)).map_err(|source| EngineError::Io {
            action: "write",
            path: card.clone(),
            source,
        })
    })?;
    listener.on(&Event::Note(format!(
        "{}: merged into {}",
        stage.name,
        made.display()
    )))?;
    listener.on(&Event::StageEnded {
        stage: stage.name.clone(),
    })
}

/// A stage without steps.
fn stage_info(run: &Run, stage: &Stage) -> smollm3_engine::Result<StageInfo> {
    let config = run.stage_config(stage)?;
    Ok(StageInfo {
        name: stage.name.clone(),
        folder: run.stage_folder(&stage.name),
        steps: STEP,
        tokens_per_step: 0,
        sequence_length: config.max_position_embeddings as u64,
        rope_theta: config.rope_theta,
        flops_per_token: 0.0,
        peak_flops: None,
        loss_unit: String::new(),
        sources: Vec::new(),
        phases: Vec::new(),
    })
}

/// The checkpoints of one `[[stage.model]]`.
fn folders(run: &Run, stage: &Stage, model: &MergedModel) -> smollm3_engine::Result<Vec<PathBuf>> {
    let newest = run.checkpoint_of(stage, &model.checkpoint)?;
    let (Start::Stage(earlier), 2..) = (&model.checkpoint, model.last) else {
        return Ok(vec![newest]);
    };
    let mut all = checkpoint::list(&run.stage_folder(earlier))?;
    let wanted = model.last as usize;
    if all.len() < wanted {
        return Err(EngineError::Refused(format!(
            "stage \"{}\": the newest {wanted} checkpoints of \"{earlier}\" are to be averaged, but there are {}; raise its \
             checkpoint.keep, or write a smaller last",
            stage.name,
            all.len()
        )));
    }
    Ok(all
        .split_off(all.len() - wanted)
        .into_iter()
        .map(|(_, folder)| folder)
        .collect())
}
