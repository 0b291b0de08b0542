//! A run on a number of devices of one kind: time of a step by its parts, memory, tokens a second, days.
//!
//! [`estimate`] determines for each stage how many of the devices its rows can be divided among, and what a step costs
//! then ([`StepTime`]). It models the program as it is, next to what communication between devices would save. What a
//! rank sends is exact ([`StepTraffic`]), so a small run checks the rest.

use serde::Serialize;
use smollm3_apo::Preferred;
use smollm3_engine::Objective;
use smollm3_recipe::{Facts, ModelConfig, PlanError, Recipe, Stage, Training};

use crate::device::Device;
use crate::memory::Memory;
use crate::plan::{Machine, SECONDS_PER_DAY, plan};
use crate::step_time::StepTime;
use crate::step_work::StepWork;
use crate::too_much::TooMuchMemory;
use crate::traffic::StepTraffic;

/// The largest number of devices.
const MOST_DEVICES: u64 = 1_000_000;

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
    /// Their assumed figures.
    pub device: Device,
    /// Peak of one in the run's precision.
    pub peak_flops_per_second: f64,
    /// Tokens of the stages whose steps are known.
    pub tokens: u64,
    /// Model FLOPs of them.
    pub flops: f64,
    /// Days of them.
    pub days: f64,
    /// Days of them with reductions between devices (NCCL).
    pub between_devices_days: f64,
    /// The same at best, if all communication overlapped with computation.
    pub overlapped_days: f64,
    /// The stages that train, in order.
    pub stages: Vec<StageEstimate>,
    /// The original run, where the recipe states its cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<OriginalEstimate>,
}

/// The original run next to the estimate, over the stages on text.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OriginalEstimate {
    /// Its devices.
    pub devices: u64,
    /// Their kind.
    pub device: String,
    /// Its days.
    pub days: f64,
    /// Model FLOPs per second and device of the recipe's stages on text, as a fraction of the peak.
    pub mfu: f64,
    /// Days of these stages on the devices that are estimated.
    pub our_days: f64,
    /// The fraction of the peak of all these devices, idle ones included.
    pub our_mfu: f64,
}

/// A stage on devices of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageEstimate {
    /// Its name.
    pub name: String,
    /// `pretrain`, `long-context`, `mid-train`, `sft` or `apo`.
    pub kind: String,
    /// Devices that compute, one rank each: the most that the rows can be divided among.
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
    /// The time of a step by its parts; of a step on pairs that are not prepared, communication only.
    pub step_seconds: StepTime,
    /// The step as a whole; unknown for pairs that are not prepared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<WholeStep>,
    /// The bytes that rank 0 sends in a step.
    pub sent: StepTraffic,
    /// Memory of a device.
    pub memory_bytes: Memory,
    /// By how much that exceeds the device's memory, and what would help.
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
    /// The part of the step that takes longest.
    pub dominant: &'static str,
    /// Tokens a second, of all devices.
    pub tokens_per_second: f64,
    /// Model FLOPs a second as a fraction of the peak of the devices that compute.
    pub mfu: f64,
    /// Its seconds with reductions between devices (NCCL), if there are several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub between_devices_seconds: Option<f64>,
    /// The same at best, if all communication overlapped with computation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlapped_seconds: Option<f64>,
}

/// The run on at most `devices` devices of a kind.
///
/// # Errors
/// As [`Recipe::plan`]; a number of devices outside 1 to 1,000,000.
pub fn estimate(
    recipe: &Recipe,
    facts: &Facts,
    devices: u64,
    device: &Device,
) -> Result<Estimate, PlanError> {
    if !(1..=MOST_DEVICES).contains(&devices) {
        return Err(PlanError::Refused {
            key: "plan.devices".to_owned(),
            message: format!("{devices} devices cannot be estimated; write 1 to {MOST_DEVICES}"),
        });
    }
    let config = facts.architecture_of(recipe)?;
    let mut on_devices = recipe.clone();
    let mut stages = Vec::new();
    for stage in &recipe.stages {
        let Some(training) = facts.trained(stage) else {
            continue;
        };
        let steps = facts.planned(stage).map(|training| training.total_steps());
        let estimate = StageEstimate::of(recipe, &config, stage, &training, steps, devices, device)?;
        let of_stage = (stage.name.clone(), estimate.devices);
        on_devices.plan.stage_devices.extend([of_stage]);
        stages.push(estimate);
    }
    // What is refused without devices is refused with them.
    let plan = plan(&on_devices, facts, &Machine::default())?;
    let peak = device.flops_per_second(recipe.run.precision);
    let original = recipe.plan.original.as_ref().and_then(|original| {
        let on_text = |name: &str| recipe.stage(name).is_ok_and(|stage| !stage.phases().is_empty());
        let planned = plan.stages.iter().filter(|stage| on_text(&stage.plan.name));
        let flops: f64 = planned.map(|stage| stage.flops).sum();
        let ours = stages.iter().filter(|stage| on_text(&stage.name));
        let our_days: f64 = ours.filter_map(|stage| stage.days).sum();
        let mfu =
            |peak: f64, devices: u64, days: f64| flops / (peak * devices as f64 * days * SECONDS_PER_DAY);
        let theirs = Device::named(&original.device)?.flops_per_second(recipe.run.precision);
        Some(OriginalEstimate {
            devices: original.devices,
            device: original.device.clone(),
            days: original.days,
            mfu: mfu(theirs, original.devices, original.days),
            our_days,
            our_mfu: mfu(peak, devices, our_days),
        })
    });
    let days_by = |seconds: fn(&WholeStep) -> f64| {
        let of_stage = |stage: &StageEstimate| {
            Some(seconds(stage.whole.as_ref()?) * stage.steps? as f64 / SECONDS_PER_DAY)
        };
        stages.iter().filter_map(of_stage).sum()
    };
    Ok(Estimate {
        name: recipe.run.name.clone(),
        fingerprint: recipe.fingerprint(),
        parameters: config.parameters(),
        devices,
        device: device.clone(),
        peak_flops_per_second: peak,
        tokens: plan.total_tokens,
        flops: plan.flops,
        days: days_by(|step| step.seconds),
        between_devices_days: days_by(|step| step.between_devices_seconds.unwrap_or(step.seconds)),
        overlapped_days: days_by(|step| step.overlapped_seconds.unwrap_or(step.seconds)),
        stages,
        original,
    })
}

/// As many of `devices` as the rows of a step can be divided among, each one's micro-batch and number of micro-batches, and
/// the next larger number of devices where some are idle.
fn divide(
    stage: &Stage,
    training: &Training,
    devices: u64,
) -> Result<(u64, [u64; 2], Option<u64>), PlanError> {
    let rows = training.sequences_per_step();
    // Only counts that divide the rows are tried: an error for each of the others would cost time.
    let fits = |count: &u64| rows.is_multiple_of(*count) && stage.micro_batches(training, *count).is_ok();
    let used = (1..=devices.min(rows)).rev().find(fits).unwrap_or(1);
    let next = (devices + 1..=rows.min(MOST_DEVICES)).find(fits);
    // If not even one device fits, this is the error of another setting.
    let (micro_batch, accumulation) = stage.micro_batches(training, used)?;
    Ok((used, [micro_batch, accumulation], next.filter(|_| used < devices)))
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
        let (used, division, next_devices) = divide(stage, training, devices)?;
        let pairs = stage.preference();
        let work = StepWork::of(recipe, config, stage, training, division, used);
        // Pairs differ in length; prepared ones take the time of as many pairs of mean length.
        let timed = match (pairs, steps) {
            (None, _) => Some(work),
            (Some(_), Some(_)) => Some(StepWork {
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
        let observed = pairs.map_or(0, |_| Preferred::OBSERVED.len());
        Ok(Self {
            name: stage.name.clone(),
            kind: stage.kind_name().to_owned(),
            devices: used,
            next_devices,
            sequences_per_step: training.sequences_per_step(),
            sequence_length: pairs.is_none().then_some(work.sequence_length),
            micro_batch: work.micro_batch,
            accumulation: work.accumulation,
            steps,
            step_seconds,
            days: days.map(|(whole, steps)| whole.seconds * steps as f64 / SECONDS_PER_DAY),
            whole,
            sent: StepTraffic::of_first_rank(work.trained, used, observed as u64, work.rounds()),
            memory_bytes: memory,
            too_much: TooMuchMemory::of(&work, memory, device, pairs.is_some()),
        })
    }
}

impl WholeStep {
    fn of(work: &StepWork<'_>, device: &Device, step: &StepTime) -> Self {
        let seconds = step.total();
        let tokens = (work.micro_batch * work.accumulation * work.ranks) as f64 * work.sequence_length as f64;
        let flops = tokens * work.flops_per_token(work.sequence_length);
        let peak = device.flops_per_second(work.precision) * work.ranks as f64;
        let instead = (work.ranks > 1).then(|| step.device_sums(work, device));
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
