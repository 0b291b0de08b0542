//! A run on so many devices of a kind: time of a step by its parts, memory, tokens a second, days.
//!
//! [`Recipe::estimate`] asks of each stage how many of the devices its rows can be divided among, and what a step costs
//! then ([`StepTime`]). It says what the program would do as it is, next to what sums between devices would save. What a
//! rank sends is exact ([`StepTraffic`]), so that a small run of one's own checks the rest.

use std::borrow::Cow;

use serde::Serialize;

use super::cost::Memory;
use super::step_time::{StepTime, Work};
use super::traffic::{StepTraffic, Trained};
use super::{Facts, PlanError, PreparedData, checks};
use crate::device::Device;
use crate::lora::Lora;
use crate::model_config::ModelConfig;
use crate::recipe::Recipe;
use crate::run::Sharding;
use crate::stage::Stage;
use crate::training::{Recompute, Training};

const SECONDS_PER_DAY: f64 = 86_400.0;
/// Devices that are counted with.
const MOST_DEVICES: u64 = 1_000_000;
/// Figures that a step on pairs records beside its loss (`crates/apo/src/objective.rs`).
const OBSERVED_ON_PAIRS: u64 = 7;

/// A run on devices of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Estimate {
    /// The run's name.
    pub name: String,
    /// The recipe's fingerprint.
    pub fingerprint: String,
    /// Numbers in the model.
    pub parameters: u64,
    /// Devices there are.
    pub devices: u64,
    /// What they are taken to do.
    pub device: Device,
    /// Peak of one in the run's precision.
    pub peak_flops_per_second: f64,
    /// Tokens of the stages whose steps are known.
    pub tokens: u64,
    /// Model FLOPs of them.
    pub flops: f64,
    /// Days of them.
    pub days: f64,
    /// Days of them if devices summed among themselves (NCCL).
    pub between_devices_days: f64,
    /// The same at best, all of it while the backward pass goes on.
    pub overlapped_days: f64,
    /// The stages that train, in order.
    pub stages: Vec<StageEstimate>,
    /// The run that the recipe follows, where the recipe says what it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalEstimate>,
}

/// The run that a recipe follows beside its estimate, over the stages on text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OriginalEstimate {
    /// Its devices.
    pub devices: u64,
    /// Their kind.
    pub device: String,
    /// Its days.
    pub days: f64,
    /// Model FLOPs of the recipe's stages on text, a second and device, as a part of the peak.
    pub mfu: f64,
    /// Days of these stages on the devices that are estimated.
    pub our_days: f64,
    /// The part of the peak of all these devices, idle ones included.
    pub our_mfu: f64,
}

/// A stage on devices of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageEstimate {
    /// Its name.
    pub name: String,
    /// `pretrain`, `long-context`, `mid-train`, `sft` or `apo`.
    pub kind: String,
    /// Devices that compute, each one rank: the most that rows can be divided among.
    pub devices: u64,
    /// The next larger number of devices that they can be divided among, where some are idle and there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_devices: Option<u64>,
    /// Rows of a step, or pairs.
    pub sequences_per_step: u64,
    /// Tokens of a row, where all have as many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence_length: Option<u64>,
    /// Rows that a device computes at once.
    pub micro_batch: u64,
    /// Micro-batches of a device in a step.
    pub accumulation: u64,
    /// Steps, where they do not depend on data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Where the time of a step goes; of a step on pairs that are not prepared, what the ranks do together.
    pub step_seconds: StepTime,
    /// What can be said of a step as a whole; nothing of one on pairs that are not prepared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<WholeStep>,
    /// What rank 0 sends in a step.
    pub sent: StepTraffic,
    /// Memory of a device.
    pub memory_bytes: Memory,
    /// What to do where it is more than the device has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub too_much: Option<TooMuchMemory>,
    /// Days of the stage, where its steps are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<f64>,
}

/// A step as a whole.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WholeStep {
    /// Its seconds.
    pub seconds: f64,
    /// What most of them are spent on.
    pub dominant: &'static str,
    /// Tokens a second, of all devices.
    pub tokens_per_second: f64,
    /// Model FLOPs a second as a part of the peak of the devices that compute.
    pub mfu: f64,
    /// Its seconds if devices summed among themselves (NCCL), where there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub between_devices_seconds: Option<f64>,
    /// The same at best, all of it while the backward pass goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlapped_seconds: Option<f64>,
}

/// More memory than a device has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TooMuchMemory {
    /// By how much.
    pub over_bytes: u64,
    /// What could be written instead, and the memory it takes then.
    pub instead: Vec<(String, u64)>,
}

impl Recipe {
    /// The run on at most `devices` devices of a kind.
    ///
    /// # Errors
    /// As [`Recipe::plan`]; a number of devices that is none.
    pub fn estimate(&self, facts: &Facts, devices: u64, device: &Device) -> Result<Estimate, PlanError> {
        if !(1..=MOST_DEVICES).contains(&devices) {
            let message = format!("{devices} devices cannot be counted with; write 1 to {MOST_DEVICES}");
            return Err(PlanError::refuse("plan.devices", message));
        }
        let config = match &facts.architecture {
            Some(config) => config.clone(),
            None => self.architecture()?,
        };
        let mut recipe = self.clone();
        let mut stages = Vec::new();
        for stage in &self.stages {
            let Some(training) = trained(stage, facts) else {
                continue;
            };
            let steps = planned(stage, facts).map(|training| training.total_steps());
            let estimate = StageEstimate::of(self, &config, stage, &training, steps, devices, device)?;
            recipe
                .plan
                .stage_devices
                .insert(stage.name.clone(), estimate.devices);
            stages.push(estimate);
        }
        // All that is refused without devices is refused with them.
        let plan = recipe.plan(facts)?;
        let original = self.plan.original.as_ref().and_then(|original| {
            let on_text = |stage: &Stage| stage.training().is_some();
            let names: Vec<&str> = self
                .stages
                .iter()
                .filter(|stage| on_text(stage))
                .map(|stage| stage.name.as_str())
                .collect();
            let flops: f64 = plan
                .stages
                .iter()
                .filter(|stage| names.contains(&stage.name.as_str()))
                .map(|stage| stage.flops)
                .sum();
            let our_days: f64 = stages
                .iter()
                .filter(|stage| names.contains(&stage.name.as_str()))
                .filter_map(|stage| stage.days)
                .sum();
            let mfu =
                |peak: f64, devices: u64, days: f64| flops / (peak * devices as f64 * days * SECONDS_PER_DAY);
            let theirs = Device::named(&original.device)?.flops_per_second(self.run.precision);
            let ours = device.flops_per_second(self.run.precision);
            Some(OriginalEstimate {
                devices: original.devices,
                device: original.device.clone(),
                days: original.days,
                mfu: mfu(theirs, original.devices, original.days),
                our_days,
                our_mfu: mfu(ours, devices, our_days),
            })
        });
        let days_by = |seconds: fn(&WholeStep) -> f64| {
            let of_stage = |stage: &StageEstimate| {
                Some(seconds(stage.whole.as_ref()?) * stage.steps? as f64 / SECONDS_PER_DAY)
            };
            stages.iter().filter_map(of_stage).sum()
        };
        Ok(Estimate {
            name: self.run.name.clone(),
            fingerprint: self.fingerprint(),
            parameters: config.parameters(),
            devices,
            device: device.clone(),
            peak_flops_per_second: device.flops_per_second(self.run.precision),
            tokens: plan.total_tokens,
            flops: plan.flops,
            days: days_by(|step| step.seconds),
            between_devices_days: days_by(|step| step.between_devices_seconds.unwrap_or(step.seconds)),
            overlapped_days: days_by(|step| step.overlapped_seconds.unwrap_or(step.seconds)),
            stages,
            original,
        })
    }
}

/// The optimisation of a stage whose steps are known, from the recipe or from the data.
pub(super) fn planned<'s>(stage: &'s Stage, facts: &Facts) -> Option<Cow<'s, Training>> {
    let Some(PreparedData { rows, tokens }) = facts.prepared.get(&stage.name) else {
        return stage.planned();
    };
    let fine_tuned = || Some(stage.fine_tuning()?.training(&stage.name, *rows));
    let preferred = || Some(stage.preference()?.training(&stage.name, *rows, *tokens));
    let known = fine_tuned().or_else(preferred).map(Cow::Owned);
    known.or_else(|| stage.planned())
}

/// The optimisation of a stage, with or without its number of steps.
pub(super) fn trained<'s>(stage: &'s Stage, facts: &Facts) -> Option<Cow<'s, Training>> {
    let without_steps = || match (stage.fine_tuning(), stage.preference()) {
        (Some(fine_tuning), _) => Some(fine_tuning.training(&stage.name, 0)),
        (_, Some(preference)) => Some(preference.training(&stage.name, 0, 0)),
        (None, None) => None,
    };
    planned(stage, facts).or_else(|| without_steps().map(Cow::Owned))
}

/// Numbers in the adapters of a model: `rank · (out + in)` for each of their matrices.
pub(super) fn adapters(lora: &Lora, config: &ModelConfig) -> Trained {
    let shapes = config.parameter_shapes();
    let sides = shapes.iter().filter_map(|(name, shape)| {
        let matrix = name.strip_suffix(".weight")?.rsplit('.').next()?;
        let is_target = lora.targets.iter().any(|target| target == matrix);
        (is_target && shape.len() == 2).then(|| shape.iter().sum::<usize>())
    });
    let layers = config.num_hidden_layers;
    Trained {
        layers: layers as u64,
        of_layer: (lora.rank * sides.sum::<usize>() / layers.max(1)) as u64,
        rest: 0,
    }
}

/// How the rows of a step are divided.
struct Division {
    devices: u64,
    micro_batch: u64,
    accumulation: u64,
    /// The next larger number of devices than there are that would do.
    next: Option<u64>,
}

impl Division {
    /// Among the most of `devices` that can share them.
    fn of(stage: &Stage, training: &Training, devices: u64) -> Result<Self, PlanError> {
        let rows = training.sequences_per_step();
        // Of counts that divide the rows only; what is wrong with the others is not asked for.
        let fits = |count: u64| match rows.is_multiple_of(count) {
            true => checks::ranks(stage, training, count).ok(),
            false => None,
        };
        let most = devices.min(rows);
        let used = (1..=most).rev().find(|count| fits(*count).is_some()).unwrap_or(1);
        let next = (devices + 1..=rows.min(MOST_DEVICES)).find(|count| fits(*count).is_some());
        // If not even one device can, their number is not what is wrong.
        let (micro_batch, accumulation) = checks::ranks(stage, training, used)?;
        Ok(Self {
            devices: used,
            micro_batch,
            accumulation,
            next: next.filter(|_| used < devices),
        })
    }
}

impl StageEstimate {
    fn of(
        recipe: &Recipe,
        config: &ModelConfig,
        stage: &Stage,
        training: &Training,
        steps: Option<u64>,
        devices: u64,
        device: &Device,
    ) -> Result<Self, PlanError> {
        let Division {
            devices: used,
            micro_batch,
            accumulation,
            next: next_devices,
        } = Division::of(stage, training, devices)?;
        let pairs = stage.preference();
        let work = Work::of(recipe, config, stage, training, [micro_batch, accumulation], used);
        let (trained, row) = (work.trained, work.sequence_length);
        // Pairs are of all lengths; known ones take the time of as many of their mean.
        let timed = match (pairs, steps) {
            (None, _) => Some(work),
            (Some(_), Some(_)) => Some(Work {
                sequence_length: training.sequence_length.0,
                ..work
            }),
            (Some(_), None) => None,
        };
        let step_seconds = match &timed {
            Some(work) => StepTime::of(work, device),
            None => StepTime::of_sums(&work, device),
        };
        let whole = timed.map(|work| WholeStep::of(&work, device, &step_seconds));
        let days = whole.as_ref().zip(steps);
        let memory = work.memory();
        Ok(Self {
            name: stage.name.clone(),
            kind: stage.kind_name().to_owned(),
            devices: used,
            next_devices,
            sequences_per_step: training.sequences_per_step(),
            sequence_length: pairs.is_none().then_some(row),
            micro_batch,
            accumulation,
            steps,
            step_seconds,
            days: days.map(|(whole, steps)| whole.seconds * steps as f64 / SECONDS_PER_DAY),
            whole,
            sent: StepTraffic::of_first_rank(
                trained,
                used,
                if pairs.is_some() { OBSERVED_ON_PAIRS } else { 0 },
                work.rounds(),
            ),
            memory_bytes: memory,
            too_much: TooMuchMemory::of(&work, memory, device, pairs.is_some()),
        })
    }
}

impl<'a> Work<'a> {
    /// What one of `ranks` does in a step of a stage, in micro-batches of so many rows and as many of them.
    pub(super) fn of(
        recipe: &Recipe,
        config: &'a ModelConfig,
        stage: &Stage,
        training: &Training,
        [micro_batch, accumulation]: [u64; 2],
        ranks: u64,
    ) -> Self {
        Self {
            config,
            precision: recipe.run.precision,
            // Pairs share rows, one of which is computed at once.
            sequence_length: stage
                .preference()
                .map_or(training.sequence_length.0, |pairs| pairs.row_length.0),
            micro_batch,
            accumulation,
            recompute: stage.recompute() == Recompute::Layers,
            trained: stage
                .lora()
                .map_or_else(|| Trained::all(config), |lora| adapters(lora, config)),
            sharding: recipe.run.shard,
            ranks,
            checkpoint_every: training.checkpoint.every.map(|every| every.0),
        }
    }

    pub(super) fn memory(&self) -> Memory {
        let memory = Memory::of_device(
            self.config,
            self.precision,
            self.sequence_length,
            self.micro_batch,
            self.recompute,
            self.ranks,
        );
        let memory = match self.is_adapted() {
            true => memory.with_adapters(self.trained.total(), self.precision, self.ranks),
            false => memory,
        };
        match self.sharding {
            Sharding::Gradients if self.recompute && self.ranks > 1 => {
                let Trained { of_layer, rest, .. } = self.trained;
                memory.with_sharded_gradients(self.trained.total(), of_layer, rest, self.ranks)
            }
            _ => memory,
        }
    }
}

impl WholeStep {
    fn of(work: &Work<'_>, device: &Device, step: &StepTime) -> Self {
        let seconds = step.total();
        let tokens = (work.micro_batch * work.accumulation * work.ranks) as f64 * work.sequence_length as f64;
        let flops = tokens * work.flops_per_token(work.sequence_length);
        let peak = device.flops_per_second(work.precision) * work.ranks as f64;
        let instead = (work.ranks > 1).then(|| step.between_devices(work, device));
        Self {
            seconds,
            dominant: step.dominant(),
            tokens_per_second: tokens / seconds,
            mfu: flops / (peak * seconds),
            between_devices_seconds: instead.map(|[plain, _]| plain),
            overlapped_seconds: instead.map(|[_, overlapped]| overlapped),
        }
    }
}

impl TooMuchMemory {
    fn of(work: &Work<'_>, memory: Memory, device: &Device, pairs: bool) -> Option<Self> {
        let over_bytes = memory
            .total
            .checked_sub(device.memory_bytes)
            .filter(|over| *over > 0)?;
        let mut instead = Vec::new();
        let recomputed = Work {
            recompute: true,
            ..*work
        };
        if !work.recompute {
            instead.push(("recompute = \"layers\"".to_owned(), recomputed.memory().total));
        }
        // Half as many rows at once, down to one, until they fit.
        let mut rows = work.micro_batch;
        while rows > 1 {
            rows = (1..rows)
                .rev()
                .find(|fewer| work.micro_batch.is_multiple_of(*fewer))
                .unwrap_or(1);
            let total = Work {
                micro_batch: rows,
                ..*work
            }
            .memory()
            .total;
            if total <= device.memory_bytes || rows == 1 {
                let plural = if rows == 1 { "" } else { "s" };
                instead.push((format!("micro_batch = \"{rows} sequence{plural}\""), total));
                break;
            }
        }
        if work.sharding == Sharding::Optimizer && work.ranks > 1 {
            let sharded = Work {
                sharding: Sharding::Gradients,
                ..recomputed
            };
            instead.push((
                "run.shard = \"gradients\" with it".to_owned(),
                sharded.memory().total,
            ));
        }
        // More devices leave each less of the moments, and nothing less of the rest.
        if memory.total - memory.moments <= device.memory_bytes {
            instead.push(("ever more devices".to_owned(), memory.total - memory.moments));
        }
        if instead.is_empty() {
            let shorter = Work {
                sequence_length: work.sequence_length / 2,
                ..*work
            };
            let key = if pairs { "row_length" } else { "sequence_length" };
            instead.push((
                format!("{key} = {}", shorter.sequence_length),
                shorter.memory().total,
            ));
        }
        Some(Self { over_bytes, instead })
    }
}
