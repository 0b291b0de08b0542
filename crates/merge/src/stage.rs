//! A merge as a stage of a run: checkpoints of earlier stages in, one checkpoint out.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use smollm3_engine::checkpoint::{self, Progress};
use smollm3_engine::{EngineError, Retention, Run};
use smollm3_files::io;
use smollm3_model::hf::FileDtype;
use smollm3_recipe::{BestCheckpoint, MergedModel, Merging, NumberFormat, Stage, Start};
use smollm3_records::{Event, GuardState, Listener, StageInfo};

use crate::{MergeError, MergeSettings, TokenizerFrom, merge};

/// The step of a merged checkpoint, which has none.
const STEP: u64 = 0;

/// Merges a stage's checkpoints, unless that has been done with the same ones.
///
/// # Errors
/// A checkpoint does not exist, or they cannot be merged; [`EngineError::Interrupted`] if it was stopped.
pub fn merge_stage(
    run: &Run,
    stage: &Stage,
    merging: &Merging,
    stop: &AtomicBool,
    listener: &mut dyn Listener,
) -> smollm3_engine::Result<()> {
    let mut parents: Vec<(PathBuf, f64)> = Vec::new();
    let mut names = Vec::new();
    for model in &merging.models {
        let folders = folders(run, stage, model)?;
        let weight = model.weight / folders.len() as f64;
        for folder in folders {
            names.push(name_of(parents.len(), run, model, &folder, weight));
            parents.push((folder, weight));
        }
    }
    let folder = run.stage_folder(&stage.name);
    if let Some((done, _)) = checkpoint::last(&folder)?
        && is_of(&done, &parents, &names)?
    {
        return Ok(listener.on(&Event::Note(format!("{}: merged already", stage.name)))?);
    }
    let mut data = BTreeMap::new();
    for ((folder, _), name) in parents.iter().zip(names) {
        run.check_whole(stage, folder)?;
        data.insert(name, run.identity(folder)?);
    }
    let start = run.checkpoint_of(stage, &stage.from)?;
    run.check_whole(stage, &start)?;
    let progress = Progress {
        stage: stage.name.clone(),
        step: STEP,
        steps: STEP,
        tokens: 0,
        updates: 0,
        recipe: run.recipe.fingerprint(),
        data,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        deterministic: None,
        guard: GuardState::default(),
        validation: None,
    };
    listener.on(&Event::StageStarted {
        stage: stage_info(run, stage)?,
        done: STEP,
    })?;
    checkpoint::sweep(&folder)?;
    let settings = MergeSettings {
        normalise: merging.normalise,
        dtype: merging.dtype.map(|format| match format {
            NumberFormat::F32 => FileDtype::F32,
            NumberFormat::Bf16 => FileDtype::Bf16,
            NumberFormat::F16 => FileDtype::F16,
        }),
        tokenizer_from: TokenizerFrom::Folder(start),
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
        // Its title is the stage's name, not the draft's.
        let card = draft.join("README.md");
        Ok(fs::write(&card, report.model_card(&folder)).map_err(io("write", &card))?)
    })?;
    listener.on(&Event::Note(format!(
        "{}: merged into {}",
        stage.name,
        made.display()
    )))?;
    Ok(listener.on(&Event::StageEnded {
        stage: stage.name.clone(),
    })?)
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

/// What a parent is called in `state.json`: its number, its place and its weight. The place stays the same when the run's folder
/// is moved: it begins there, or is what the recipe says.
fn name_of(number: usize, run: &Run, model: &MergedModel, folder: &Path, weight: f64) -> String {
    let own = folder.strip_prefix(&run.output).unwrap_or(folder);
    let place = match model.checkpoint.outside() {
        Some(outside) => outside.to_owned(),
        None => own.display().to_string(),
    };
    format!("{number}: {place} × {weight}")
}

/// Whether a merged checkpoint was made from these parents. Only their manifests are read; a parent without one is identified
/// by its folder, as in every finished stage.
fn is_of(done: &Progress, parents: &[(PathBuf, f64)], names: &[String]) -> smollm3_engine::Result<bool> {
    for ((folder, _), name) in parents.iter().zip(names) {
        let known = done.data.get(name);
        let identity = checkpoint::identity(folder)?;
        if known.is_none() || identity.is_some() && identity.as_ref() != known {
            return Ok(false);
        }
    }
    Ok(done.data.len() == parents.len())
}

/// The checkpoints of one `[[stage.model]]`.
fn folders(run: &Run, stage: &Stage, model: &MergedModel) -> smollm3_engine::Result<Vec<PathBuf>> {
    let newest = run.checkpoint_of(stage, &model.checkpoint)?;
    let Start::Stage(earlier) = &model.checkpoint else {
        return Ok(vec![newest]);
    };
    let Some(retention) = Retention::of(run.recipe.stage(earlier)?) else {
        // A merge has one.
        return Ok(vec![newest]);
    };
    let loads_best = run.recipe.stage(earlier)?.validation();
    if loads_best.is_some_and(|settings| settings.best == BestCheckpoint::Load) && model.last == 1 {
        return Ok(vec![newest]);
    }
    let found = retention.newest_regular(&run.stage_folder(earlier), model.last as usize)?;
    if found.len() < model.last as usize {
        return Err(EngineError::Refused(format!(
            "stage \"{}\": the newest {} checkpoints of \"{earlier}\" are to be averaged, but there are {} besides those \
             that stops have left; raise its checkpoint.keep, or write a smaller last",
            stage.name,
            model.last,
            found.len()
        )));
    }
    Ok(found)
}
