//! The plan of a run with its costs: FLOPs, memory, and days at a rate that was measured or is assumed.

use std::collections::BTreeMap;

use serde::Serialize;
use smollm3_recipe::{
    Cluster, ConversationPlan, Facts, MergePlan, ModelConfig, PlanError, Recipe, Recompute, Stage, StagePlan,
    Training,
};

use crate::memory::Memory;
use crate::preparation::Preparation;
use crate::step_work::StepWork;

pub(crate) const SECONDS_PER_DAY: f64 = 86_400.0;

/// What is known of this machine; all of it is optional.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Machine {
    /// Its cores, which prepare data.
    pub cores: Option<u64>,
    /// The rate of a stage's training, by the stage's name.
    pub rates: BTreeMap<String, MeasuredRate>,
}

/// What `smollm3 bench step` measured of a model on a machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasuredRate {
    /// Model FLOPs a second.
    pub flops_per_second: f64,
    /// Tokens a second, all weights trained.
    pub tokens_per_second: f64,
    /// Tokens of its rows.
    pub sequence_length: u64,
    /// The day, `YYYY-MM-DD`.
    pub date: String,
}

/// A run and its cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunCost {
    /// The run's name.
    pub name: String,
    /// The recipe's fingerprint.
    pub fingerprint: String,
    /// Numbers in the model, a tied head counted once.
    pub parameters: u64,
    /// Tokens of all stages.
    pub total_tokens: u64,
    /// Model FLOPs of all stages.
    pub flops: f64,
    /// Days of all stages, where the peak rate of the devices is stated.
    pub days: Option<f64>,
    /// What days and memory assume.
    pub cluster: Cluster,
    /// The text that is to be tokenised first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preparation: Option<Preparation>,
    /// The stages in order, without those whose steps depend on data that are not prepared.
    pub stages: Vec<StageCost>,
    /// The stages on conversations and on pairs.
    pub conversations: Vec<ConversationCost>,
    /// The merges.
    pub merges: Vec<MergePlan>,
}

/// A stage and its cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageCost {
    /// The stage.
    #[serde(flatten)]
    pub plan: StagePlan,
    /// Model FLOPs of one token, forward and backward.
    pub flops_per_token: f64,
    /// Model FLOPs of the stage.
    pub flops: f64,
    /// Days of the stage, where the rate of the devices was measured, or their peak is stated.
    pub days: Option<f64>,
    /// Whether validation may end it before its last step.
    pub may_end_early: bool,
    /// What it computes twice; a rate is measured with the same.
    pub recompute: Recompute,
    /// The rate that the days are computed from, if it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<MeasuredRate>,
    /// Memory of one device.
    pub memory: Memory,
}

/// What a stage on conversations or on pairs reads, and its cost while its steps are not known.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConversationCost {
    /// The stage.
    #[serde(flatten)]
    pub plan: ConversationPlan,
    /// Its cost as far as it is known without steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unplanned: Option<Unplanned>,
}

/// A stage whose steps depend on data that are not prepared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unplanned {
    /// What is not known.
    pub missing: &'static str,
    /// How that becomes known.
    pub how: String,
    /// Tokens a second, about, where a rate was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// The devices of the stage, each one rank.
    pub devices: u64,
    /// Memory of one device.
    pub memory: Memory,
}

/// The run in numbers, with its cost, if it can be run.
///
/// # Errors
/// As [`Recipe::plan`].
pub fn plan(recipe: &Recipe, facts: &Facts, machine: &Machine) -> Result<RunCost, PlanError> {
    let plan = recipe.plan(facts)?;
    let config = facts.architecture_of(recipe)?;
    let costs = Costs {
        recipe,
        config: &config,
        machine,
    };
    let preparation = Preparation::of(&plan.stages, facts, config.vocab_size, machine.cores);
    let mut stages = Vec::new();
    for plan in plan.stages {
        let stage = recipe.stage(&plan.name)?;
        if let Some(training) = facts.planned(stage) {
            stages.push(costs.stage(stage, &training, plan));
        }
    }
    let mut conversations = Vec::new();
    for plan in plan.conversations {
        let stage = recipe.stage(&plan.name)?;
        let unplanned = match (&plan.pending, facts.trained(stage)) {
            (Some(how), Some(training)) => Some(costs.unplanned(stage, &training, how)?),
            _ => None,
        };
        conversations.push(ConversationCost { plan, unplanned });
    }
    Ok(RunCost {
        name: plan.name,
        fingerprint: plan.fingerprint,
        parameters: plan.parameters,
        total_tokens: plan.total_tokens,
        // An empty `sum` would be −0.
        flops: stages.iter().fold(0.0, |sum, stage| sum + stage.flops),
        days: stages.iter().try_fold(0.0, |sum, stage| Some(sum + stage.days?)),
        cluster: recipe.plan.clone(),
        preparation,
        stages,
        conversations,
        merges: plan.merges,
    })
}

/// What determines the costs of all stages.
struct Costs<'r> {
    recipe: &'r Recipe,
    config: &'r ModelConfig,
    machine: &'r Machine,
}

impl Costs<'_> {
    fn stage(&self, stage: &Stage, training: &Training, plan: StagePlan) -> StageCost {
        let (division, devices) = ([plan.micro_batch, plan.accumulation], plan.devices);
        let work = StepWork::of(self.recipe, self.config, stage, training, division, devices);
        let flops_per_token = work.flops_per_token(plan.sequence_length);
        let flops = flops_per_token * plan.tokens as f64;
        let measured = self.machine.rates.get(&plan.name).cloned();
        let cluster = &self.recipe.plan;
        let peak = cluster.peak_tflops.map(|peak| peak * 1e12 * cluster.mfu);
        let rate = measured.as_ref().map(|rate| rate.flops_per_second).or(peak);
        let validation = stage.validation();
        StageCost {
            flops_per_token,
            flops,
            days: rate.map(|rate| flops / (rate * devices as f64) / SECONDS_PER_DAY),
            may_end_early: validation.is_some_and(|validation| validation.stop_early.is_some()),
            recompute: stage.recompute(),
            measured,
            memory: work.memory(),
            plan,
        }
    }

    fn unplanned(&self, stage: &Stage, training: &Training, how: &str) -> Result<Unplanned, PlanError> {
        let devices = self.recipe.plan.devices_of(&stage.name);
        let (micro_batch, accumulation) = stage.micro_batches(training, devices)?;
        let division = [micro_batch, accumulation];
        let work = StepWork::of(self.recipe, self.config, stage, training, division, devices);
        let rate = self.machine.rates.get(&stage.name);
        let flops = work.flops_per_token(work.sequence_length);
        Ok(Unplanned {
            missing: "steps, tokens and time",
            how: how.to_owned(),
            tokens_per_second: rate.map(|rate| rate.flops_per_second * devices as f64 / flops),
            devices,
            memory: work.memory(),
        })
    }
}
