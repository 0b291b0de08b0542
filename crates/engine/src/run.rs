//! A run: a recipe, its output folder, its data, its device; and the pretraining stage on top of the loop.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use smollm3_model::{Init, ModelConfig, SmolLm3, hf};
use smollm3_recipe::{OptimizerState, Precision, Recipe, Stage, StageKind, Start, Training};

use crate::checkpoint::{self, Progress};
use crate::error::io;
use crate::held_out::{HeldOut, held_out_loss, token_bytes};
use crate::pretrain::{MixedRows, reader};
use crate::trainer::{Hooks, LoopSettings, train};
use crate::{
    AdamW, CrossEntropy, Data, EngineError, Event, HeldOutRecord, Listener, MicroBatch, Result, TrainState,
};

const RECIPE: &str = "recipe.json";
/// Rows of held-out text a source that are evaluated at the end of a phase.
const HELD_OUT_ROWS: u64 = 64;

/// A recipe on a device, with its data prepared.
pub struct Run {
    /// The recipe.
    pub recipe: Recipe,
    /// The architecture, its token ids those of the tokenizer.
    pub config: ModelConfig,
    /// Tokenizer and token stores.
    pub data: Data,
    /// The device, without autodiff.
    pub device: Device,
    /// The output folder.
    pub output: PathBuf,
}

impl Run {
    /// Opens or creates the output folder and prepares tokenizer and data.
    ///
    /// # Errors
    /// The folder belongs to another recipe, the device or the precision cannot be had, or the data cannot be
    /// prepared.
    pub fn open(recipe: Recipe, listener: &mut dyn Listener) -> Result<Self> {
        let device = smollm3_kernels::device(recipe.run.backend.name(), recipe.run.device.as_deref())?;
        if recipe.run.precision != Precision::F32 {
            return Err(EngineError::Refused(
                "run.precision = \"bf16\" is not supported; write precision = \"f32\"".to_owned(),
            ));
        }
        let config = recipe.architecture()?;
        check_rows(&recipe, &config)?;
        let output = recipe.run.output.clone();
        claim(&recipe, &output)?;
        let data = Data::prepare(&recipe, &output, listener)?;
        let config = with_token_ids(config, &data)?;
        Ok(Self {
            recipe,
            config,
            data,
            device,
            output,
        })
    }

    /// The folder of a stage.
    pub fn stage_folder(&self, stage: &str) -> PathBuf {
        self.output.join(stage)
    }

    /// Runs one stage to its end, from its newest checkpoint if it has one.
    ///
    /// # Errors
    /// See [`train`].
    pub fn stage(&self, stage: &Stage, stop: &AtomicBool, listener: &mut dyn Listener) -> Result<()> {
        match &stage.kind {
            StageKind::Pretrain(training) => self.pretrain(stage, training, stop, listener),
            other => Err(EngineError::Refused(format!(
                "stage \"{}\": {} stages cannot be run by this version",
                stage.name,
                kind_name(other)
            ))),
        }
    }

    fn pretrain(
        &self,
        stage: &Stage,
        training: &Training,
        stop: &AtomicBool,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        let folder = self.stage_folder(&stage.name);
        let (found, damaged) = checkpoint::newest(&folder)?;
        for fault in damaged {
            listener.on(&Event::Note(format!("passed over a damaged checkpoint: {fault}")))?;
        }
        let (state, done) = match found {
            Some((progress, path)) => {
                let optimizer = &training.optimizer;
                (
                    checkpoint::load(&path, &self.config, &progress, optimizer, &self.device)?,
                    progress.step,
                )
            }
            None => (self.start(stage, training)?, 0),
        };
        let rows = MixedRows::new(&self.recipe, training, &self.data)?;
        let settings = LoopSettings {
            stage: &stage.name,
            folder: folder.clone(),
            training,
            schedule: training.schedule()?,
            stop,
        };
        let mut hooks = PretrainHooks {
            run: self,
            stage: &stage.name,
            training,
            folder,
            bytes: token_bytes(&self.data.tokenizer),
        };
        let rows_at_once = training.micro_batch.0 as usize;
        let to_device = |rows: Vec<crate::Row>| -> Result<Vec<MicroBatch>> {
            rows.chunks(rows_at_once.max(1))
                .map(|rows| Ok(MicroBatch::new(rows, &self.device)?))
                .collect()
        };
        let host = |step| rows.rows(step);
        train(
            &settings,
            state,
            done,
            &CrossEntropy,
            host,
            to_device,
            &mut hooks,
            listener,
        )?;
        Ok(())
    }

    /// The state that a stage begins with.
    fn start(&self, stage: &Stage, training: &Training) -> Result<TrainState> {
        let device = self.device.clone().autodiff();
        let model = match &stage.from {
            Start::Random => SmolLm3::new(
                &self.config,
                &Init::new(&self.config, self.recipe.run.seed),
                &device,
            )?,
            Start::Stage(earlier) => {
                let folder = self.stage_folder(earlier);
                let (found, _) = checkpoint::newest(&folder)?;
                let (_, path) = found.ok_or_else(|| {
                    EngineError::Refused(format!(
                        "stage \"{}\" starts from \"{earlier}\", which has no checkpoint in {}; run it first",
                        stage.name,
                        folder.display()
                    ))
                })?;
                hf::Checkpoint::open(&path)?.model(&device)?
            }
            Start::Folder(path) => hf::Checkpoint::open(&self.recipe.resolve(path))?.model(&device)?,
            Start::Hub(repository) => {
                return Err(EngineError::Refused(format!(
                    "stage \"{}\": download {repository} and write its folder in `from`",
                    stage.name
                )));
            }
        };
        Ok(TrainState {
            model,
            optimizer: AdamW::new(training.optimizer.clone()),
        })
    }
}

struct PretrainHooks<'a> {
    run: &'a Run,
    stage: &'a str,
    training: &'a Training,
    folder: PathBuf,
    bytes: Vec<u32>,
}

impl Hooks for PretrainHooks<'_> {
    fn save(&mut self, state: &TrainState, step: u64) -> Result<PathBuf> {
        let fingerprint =
            |(name, store): (&String, &crate::SourceStore)| (name.clone(), store.fingerprint.clone());
        let progress = Progress {
            stage: self.stage.to_owned(),
            step,
            tokens: step * self.training.tokens_per_step(),
            updates: state.optimizer.updates(),
            recipe: self.run.recipe.fingerprint(),
            data: self.run.data.stores.iter().map(fingerprint).collect(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let tokenizer = &self.run.data.tokenizer_folder;
        let saved = checkpoint::save(&self.folder, state, &self.run.config, &progress, tokenizer)?;
        let ends: Vec<u64> = self
            .training
            .phases
            .iter()
            .map(|phase| self.training.end_step(phase))
            .collect();
        let permanent = self.training.checkpoint.permanent;
        let kept = |step| ends.contains(&step) || permanent.is_some_and(|every| step % every.0 == 0);
        checkpoint::prune(&self.folder, self.training.checkpoint.keep as usize, kept)?;
        Ok(saved)
    }

    fn phase_ended(
        &mut self,
        state: &TrainState,
        step: u64,
        phase: &str,
        listener: &mut dyn Listener,
    ) -> Result<()> {
        let mut by_category: BTreeMap<&str, HeldOut> = BTreeMap::new();
        for (name, store) in &self.run.data.stores {
            let (Some(held_out), Some(source)) = (&store.held_out, self.run.recipe.sources.get(name)) else {
                continue;
            };
            let reader = reader(held_out, self.training.sequence_length.0, &self.run.data)?;
            *by_category.entry(&source.category).or_default() += held_out_loss(
                &state.model,
                &reader,
                &self.bytes,
                HELD_OUT_ROWS,
                self.training.micro_batch.0 as usize,
                &self.run.device,
            )?;
        }
        for (category, loss) in by_category.into_iter().filter(|(_, loss)| loss.tokens > 0) {
            listener.on(&Event::HeldOut(HeldOutRecord {
                step,
                phase: phase.to_owned(),
                category: category.to_owned(),
                nats_per_token: loss.nats_per_token(),
                bits_per_byte: loss.bits_per_byte(),
                tokens: loss.tokens,
            }))?;
        }
        Ok(())
    }
}

/// Makes sure that `output` is this recipe's: writes its canonical form there, or compares with the one found.
fn claim(recipe: &Recipe, output: &Path) -> Result<()> {
    let path = output.join(RECIPE);
    if !path.exists() {
        if output.is_dir() && fs::read_dir(output).map_err(io("list", output))?.next().is_some() {
            return Err(EngineError::Refused(format!(
                "{} exists, is not empty and is no run's folder; write another run.output",
                output.display()
            )));
        }
        fs::create_dir_all(output).map_err(io("create", output))?;
        let draft = output.join(format!(".{RECIPE}.part"));
        fs::write(&draft, recipe.canonical().to_string()).map_err(io("write", &draft))?;
        return fs::rename(&draft, &path).map_err(io("rename", &draft));
    }
    let found = fs::read_to_string(&path).map_err(io("read", &path))?;
    let differences = recipe.differences(&found)?;
    if differences.is_empty() {
        return Ok(());
    }
    let absent = "(absent)".to_owned();
    let line = |d: &smollm3_recipe::Difference| {
        format!(
            "  {}: {} here, {} there",
            d.key,
            d.ours.as_ref().unwrap_or(&absent),
            d.theirs.as_ref().unwrap_or(&absent)
        )
    };
    let differences = differences.iter().map(line).collect::<Vec<_>>().join("\n");
    Err(EngineError::OtherRecipe {
        path: output.to_owned(),
        differences,
    })
}

/// Rows must fit the positions that RoPE is set for.
fn check_rows(recipe: &Recipe, config: &ModelConfig) -> Result<()> {
    for stage in &recipe.stages {
        let Some(training) = stage.training() else {
            continue;
        };
        let (rows, most) = (training.sequence_length.0, config.max_position_embeddings as u64);
        if matches!(stage.kind, StageKind::Pretrain(_)) && rows > most {
            return Err(EngineError::Refused(format!(
                "stage \"{}\": sequence_length = {rows} is longer than the model's max_position_embeddings = {most}",
                stage.name
            )));
        }
        for (key, unsupported) in [
            ("recompute", training.recompute),
            (
                "optimizer_state = \"keep\"",
                training.optimizer_state == OptimizerState::Keep,
            ),
        ] {
            if unsupported {
                return Err(EngineError::Refused(format!(
                    "stage \"{}\": {key} is not supported by this version; remove the key",
                    stage.name
                )));
            }
        }
    }
    Ok(())
}

/// The architecture with the tokenizer's ids, if the two go together.
fn with_token_ids(mut config: ModelConfig, data: &Data) -> Result<ModelConfig> {
    let info = data.tokenizer.info();
    if info.vocab_size as usize > config.vocab_size {
        return Err(EngineError::Refused(format!(
            "the tokenizer has {} entries, but the model's vocab_size is {}; raise vocab_size",
            info.vocab_size, config.vocab_size
        )));
    }
    if let Some(eos) = config.eos_token_id.filter(|eos| *eos != info.end_of_text) {
        return Err(EngineError::Refused(format!(
            "the model's eos_token_id is {eos}, but the tokenizer ends documents with {}; they must agree",
            info.end_of_text
        )));
    }
    config.eos_token_id = Some(info.end_of_text);
    config.bos_token_id = config.bos_token_id.or(info.begin_of_text);
    Ok(config)
}

fn kind_name(kind: &StageKind) -> &'static str {
    match kind {
        StageKind::Pretrain(_) => "pretrain",
        StageKind::LongContext(_) => "long-context",
    }
}
