//! From a recipe to its numbers.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::checks::{self, Rope};
use super::cost::{days, measured_days};
use super::estimate::{adapters, planned, trained};
use super::step_time::Work;
use super::{
    AdaptersPlan, ConversationPlan, DataPlan, Facts, Landmark, MergePlan, PhasePlan, Plan, PlanError,
    Preparation, RowsPlan, SourcePlan, StagePlan, Unplanned,
};
use crate::conversations::{Conversations, Duration, TemplateChoice};
use crate::fine_tuning::FineTuning;
use crate::merging::{MergedModel, Merging};
use crate::model_config::ModelConfig;
use crate::preference::Preference;
use crate::recipe::Recipe;
use crate::schedule::{AfterWarmup, Schedule};
use crate::source::Source;
use crate::stage::{Stage, StageKind};
use crate::start::Start;
use crate::training::{Phase, Training};

pub(super) fn plan(recipe: &Recipe, facts: &Facts) -> Result<Plan, PlanError> {
    let config = match &facts.architecture {
        Some(config) => config.clone(),
        None => recipe.architecture()?,
    };
    checks::tokenizers(recipe, facts, &config)?;
    checks::epochs(recipe, &facts.stores)?;
    let mut ropes: BTreeMap<&str, Rope> = BTreeMap::new();
    let mut stages: Vec<StagePlan> = Vec::new();
    let (mut conversations, mut merges) = (Vec::new(), Vec::new());
    let mut total_tokens: u64 = 0;
    for stage in &recipe.stages {
        let rope_of = |start: &Start| -> Result<Rope, PlanError> {
            let known = match start {
                Start::Stage(name) => ropes.get(name.as_str()).copied(),
                _ => recipe.checkpoint_architecture(start)?.as_ref().map(Rope::of),
            };
            Ok(known.unwrap_or_else(|| Rope::of(&config)))
        };
        let before = rope_of(&stage.from)?;
        let rows = stage.sequence_length().map_or(0, |length| length.0);
        if let Some(reference) = stage.preference().and_then(|pairs| pairs.reference_from.as_ref()) {
            checks::reference_context(stage, rows, rope_of(reference)?)?;
        }
        let rope = checks::context(stage, rows, before, &config)?;
        ropes.insert(&stage.name, rope);
        let of_rows = stage
            .fine_tuning()
            .map(|settings| ConversationPlan::of(stage, settings));
        let of_pairs = || {
            stage
                .preference()
                .map(|pairs| ConversationPlan::of_pairs(stage, pairs))
        };
        if let Some(mut conversation) = of_rows.or_else(of_pairs) {
            conversation.adapters = stage.lora().map(|lora| AdaptersPlan {
                rank: lora.rank,
                alpha: lora.alpha,
                targets: lora.targets.clone(),
                parameters: adapters(lora, &config).total(),
            });
            conversation.unplanned = unplanned(recipe, facts, &config, stage)?;
            conversations.push(conversation);
        }
        if let StageKind::Merge(merging) = &stage.kind {
            merges.push(MergePlan::of(stage, merging));
        }
        let Some(training) = planned(stage, facts) else {
            continue;
        };
        let planned = plan_stage(recipe, facts, &config, stage, &training, rope, total_tokens)?;
        total_tokens = total_tokens.checked_add(planned.tokens).ok_or_else(|| {
            let message = "all stages together have more tokens than can be counted (2^64); shorten them";
            PlanError::refuse(format!("stage.{}", stage.name), message.to_owned())
        })?;
        stages.push(planned);
    }
    // The sum of none would be −0.
    let flops = stages.iter().fold(0.0, |sum, stage| sum + stage.flops);
    Ok(Plan {
        name: recipe.run.name.clone(),
        fingerprint: recipe.fingerprint(),
        parameters: config.parameters(),
        total_tokens,
        flops,
        days: stages.iter().map(|stage| stage.days).sum(),
        cluster: recipe.plan.clone(),
        preparation: Preparation::of(&stages, facts, config.vocab_size),
        stages,
        conversations,
        merges,
    })
}

/// What is known of a stage that trains, where its steps are not.
fn unplanned(
    recipe: &Recipe,
    facts: &Facts,
    config: &ModelConfig,
    stage: &Stage,
) -> Result<Option<Unplanned>, PlanError> {
    let (None, Some(training)) = (planned(stage, facts), trained(stage, facts)) else {
        return Ok(None);
    };
    let devices = recipe.plan.devices_of(&stage.name);
    let (micro_batch, accumulation) = checks::ranks(stage, &training, devices)?;
    let template = match (stage.fine_tuning(), stage.preference()) {
        (Some(fine_tuning), _) => Some(&fine_tuning.template),
        (_, Some(preference)) => Some(&preference.template),
        (None, None) => None,
    };
    let how = match (template, &stage.from) {
        (Some(TemplateChoice::Checkpoint), Start::Stage(earlier)) => {
            format!("known once `smollm3 run` has come to it, for its template is that of {earlier}")
        }
        _ => "known once `smollm3 data prepare` has tokenised its rows".to_owned(),
    };
    let work = Work::of(
        recipe,
        config,
        stage,
        &training,
        [micro_batch, accumulation],
        devices,
    );
    Ok(Some(Unplanned {
        missing: "steps, tokens and time",
        how,
        tokens_per_second: facts
            .measured
            .get(&stage.name)
            .map(|rate| rate.flops_per_second * devices as f64 / work.flops_per_token(work.sequence_length)),
        devices,
        memory: work.memory(),
    }))
}

fn plan_stage(
    recipe: &Recipe,
    facts: &Facts,
    config: &ModelConfig,
    stage: &Stage,
    training: &Training,
    rope: Rope,
    tokens_before: u64,
) -> Result<StagePlan, PlanError> {
    let devices = recipe.plan.devices_of(&stage.name);
    let (micro_batch, accumulation) = checks::ranks(stage, training, devices)?;
    let steps = training.total_steps();
    let tokens_per_step = training.tokens_per_step();
    // Checked when the recipe was read: the product fits.
    let tokens = steps.saturating_mul(tokens_per_step);
    let sequence_length = training.sequence_length.0;
    let work = Work::of(
        recipe,
        config,
        stage,
        training,
        [micro_batch, accumulation],
        devices,
    );
    let flops_per_token = work.flops_per_token(sequence_length);
    let flops = flops_per_token * tokens as f64;
    let measured = facts.measured.get(&stage.name).cloned();
    let measured_days = measured.as_ref().map(|rate| measured_days(flops, rate, devices));
    let phases = training
        .phases
        .iter()
        .zip(training.phase_steps())
        .map(|(phase, steps)| plan_phase(recipe, training, phase, steps, facts))
        .collect();
    Ok(StagePlan {
        name: stage.name.clone(),
        kind: stage.kind_name().to_owned(),
        from: from(stage),
        steps,
        tokens,
        tokens_before,
        sequence_length,
        sequences_per_step: training.sequences_per_step(),
        tokens_per_step,
        micro_batch,
        accumulation,
        rope_theta: rope.theta,
        context: rope.context,
        learning_rate: landmarks(&training.schedule()?, training),
        flops_per_token,
        flops,
        days: measured_days.or_else(|| days(flops, &recipe.plan, devices)),
        measured,
        devices,
        memory: work.memory(),
        phases,
    })
}

impl MergePlan {
    fn of(stage: &Stage, merging: &Merging) -> Self {
        let sum: f64 = merging.models.iter().map(|model| model.weight).sum();
        let model = |model: &MergedModel| {
            let name = match model.last {
                1 => in_words(&model.checkpoint),
                last => format!("the newest {last} checkpoints of {}", in_words(&model.checkpoint)),
            };
            (name, model.weight / if merging.normalise { sum } else { 1.0 })
        };
        Self {
            name: stage.name.clone(),
            from: from(stage),
            models: merging.models.iter().map(model).collect(),
        }
    }
}

fn from(stage: &Stage) -> String {
    in_words(&stage.from)
}

fn in_words(start: &Start) -> String {
    match start {
        Start::Random => "random initialisation".to_owned(),
        Start::Stage(name) => format!("stage {name}"),
        Start::Folder(folder) => folder.display().to_string(),
        Start::Hub(id) => format!("{id} on the Hub"),
    }
}

impl ConversationPlan {
    fn of(stage: &Stage, fine_tuning: &FineTuning) -> Self {
        Self {
            name: stage.name.clone(),
            kind: stage.kind_name().to_owned(),
            from: from(stage),
            sequence_length: fine_tuning.sequence_length.0,
            global_batch: fine_tuning.global_batch.to_string(),
            duration: duration(fine_tuning.duration),
            template: fine_tuning.template.clone().into(),
            rows: RowsPlan::Packed {
                learned: fine_tuning.learned,
                packing: fine_tuning.packing,
                too_long: fine_tuning.too_long,
            },
            data: kept(&fine_tuning.data),
            validation: fine_tuning.validation.clone(),
            adapters: None,
            unplanned: None,
        }
    }

    fn of_pairs(stage: &Stage, preference: &Preference) -> Self {
        Self {
            name: stage.name.clone(),
            kind: stage.kind_name().to_owned(),
            from: from(stage),
            sequence_length: preference.sequence_length.0,
            global_batch: preference.global_batch.to_string(),
            duration: duration(preference.duration),
            template: preference.template.clone().into(),
            rows: RowsPlan::Pairs {
                loss: preference.loss,
                reference: preference.reference,
                too_long: preference.too_long,
            },
            data: kept(&preference.data),
            validation: preference.validation.clone(),
            adapters: None,
            unplanned: None,
        }
    }
}

fn duration(duration: Duration) -> String {
    match duration {
        Duration::Epochs(epochs) => {
            let plural = if epochs == 1.0 { "" } else { "s" };
            format!("{epochs} epoch{plural}")
        }
        Duration::Until(until) => format!("until {until}"),
    }
}

fn kept(data: &[Conversations]) -> Vec<DataPlan> {
    let plan = |data: &Conversations| DataPlan {
        name: data.name.clone(),
        fraction: data.weight,
        rows: data.rows,
    };
    data.iter().map(plan).collect()
}

fn plan_phase(
    recipe: &Recipe,
    training: &Training,
    phase: &Phase,
    steps: RangeInclusive<u64>,
    facts: &Facts,
) -> PhasePlan {
    let (start_step, end_step) = steps.into_inner();
    let rows = (end_step + 1 - start_step) * training.sequences_per_step();
    let parts = phase.mixture.parts();
    let sequence_length = training.sequence_length.0;
    let mut shares: BTreeMap<String, f64> = BTreeMap::new();
    let sources = parts
        .iter()
        .zip(phase.mixture.apportion(rows))
        .map(|(part, sequences)| {
            *shares.entry(part.category.clone()).or_default() += sequences as f64 / rows as f64;
            SourcePlan {
                name: part.source.clone(),
                category: part.category.clone(),
                dataset: recipe
                    .sources
                    .get(&part.source)
                    .and_then(Source::dataset)
                    .map(str::to_owned),
                weight: part.weight,
                sequences,
                tokens: sequences * sequence_length,
                epochs: facts
                    .stores
                    .get(&part.source)
                    .map(|tokens| sequences as f64 / checks::windows(*tokens, sequence_length) as f64),
            }
        })
        .collect();
    PhasePlan {
        name: phase.name.clone(),
        until: phase.until.to_string(),
        start_step,
        end_step,
        start_token: (start_step - 1) * training.tokens_per_step(),
        end_token: end_step * training.tokens_per_step(),
        shares_asked: phase.mixture.category_shares(),
        shares,
        sources,
    }
}

/// The steps at which the schedule or the mixture turns.
fn landmarks(schedule: &Schedule, training: &Training) -> Vec<Landmark> {
    let total = training.total_steps();
    let mut steps: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let mut mark = |step: u64, name: &str| {
        if (1..=total).contains(&step) {
            steps.entry(step).or_default().push(name.to_owned());
        }
    };
    mark(1, "first");
    // Step k uses the index k − 1.
    if schedule.warmup > 0 {
        mark(schedule.warmup + 1, "warm-up ends");
    }
    match schedule.after_warmup {
        AfterWarmup::Constant => {}
        AfterWarmup::Cosine { .. } => mark(schedule.warmup + 2, "decay begins"),
        AfterWarmup::Decay { start, steps, .. } => {
            mark(start + 2, "decay begins");
            mark(start + 2 + steps / 2, "halfway down");
        }
    }
    for (phase, steps) in training.phases.iter().zip(training.phase_steps()).skip(1) {
        mark(*steps.start(), &format!("{} begins", phase.name));
    }
    mark(total, "last");
    steps
        .into_iter()
        .map(|(step, names)| Landmark {
            name: names.join(", "),
            step,
            learning_rate: schedule.learning_rate(step),
        })
        .collect()
}
