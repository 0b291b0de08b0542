//! From a recipe to its numbers.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::checks::{self, Rope};
use super::{
    AdaptersPlan, ConversationPlan, DataPlan, Facts, Landmark, MergePlan, PhasePlan, Plan, PlanError,
    RowsPlan, SourcePlan, StagePlan,
};
use crate::chat_rows::{ChatRows, Duration, TemplateChoice};
use crate::conversations::Conversations;
use crate::lora::Lora;
use crate::merging::Merging;
use crate::model_config::ModelConfig;
use crate::recipe::Recipe;
use crate::schedule::{AfterWarmup, Schedule};
use crate::source::Source;
use crate::stage::{Stage, StageData};
use crate::start::Start;
use crate::training::{Phase, Training};

pub(super) fn plan(recipe: &Recipe, facts: &Facts) -> Result<Plan, PlanError> {
    let config = facts.architecture_of(recipe)?;
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
        let planned = facts.planned(stage);
        if let (Some(chat), Some(optimisation), Some(rows)) =
            (stage.chat(), &stage.optimisation, RowsPlan::of(stage))
        {
            if planned.is_none()
                && let Some(training) = facts.trained(stage)
            {
                // Its batch can be checked before its steps are known.
                stage.micro_batches(&training, recipe.plan.devices_of(&stage.name))?;
            }
            conversations.push(ConversationPlan {
                name: stage.name.clone(),
                kind: stage.kind_name().to_owned(),
                from: in_words(&stage.from),
                sequence_length: optimisation.sequence_length.0,
                global_batch: optimisation.global_batch.to_string(),
                duration: duration(chat.duration),
                template: chat.template.clone().into(),
                rows,
                data: chat.data.iter().map(DataPlan::of).collect(),
                validation: optimisation.validation.clone(),
                adapters: stage.lora().map(|lora| AdaptersPlan::of(lora, &config)),
                pending: planned.is_none().then(|| pending(stage, chat)),
            });
        }
        if let StageData::Merge(merging) = &stage.data {
            merges.push(MergePlan::of(stage, merging));
        }
        let Some(training) = planned else {
            continue;
        };
        let planned = plan_stage(recipe, facts, stage, &training, rope, total_tokens)?;
        total_tokens = total_tokens.checked_add(planned.tokens).ok_or_else(|| {
            let message = "all stages together have more tokens than can be counted (2^64); shorten them";
            PlanError::refuse(format!("stage.{}", stage.name), message.to_owned())
        })?;
        stages.push(planned);
    }
    Ok(Plan {
        name: recipe.run.name.clone(),
        fingerprint: recipe.fingerprint(),
        parameters: config.parameters(),
        total_tokens,
        stages,
        conversations,
        merges,
    })
}

/// How the steps of a stage become known.
fn pending(stage: &Stage, chat: &ChatRows) -> String {
    match (&chat.template, &stage.from) {
        (TemplateChoice::Checkpoint, Start::Stage(earlier)) => {
            format!("known once `smollm3 run` has come to it, for its template is that of {earlier}")
        }
        _ => "known once `smollm3 data prepare` has tokenised its rows".to_owned(),
    }
}

fn plan_stage(
    recipe: &Recipe,
    facts: &Facts,
    stage: &Stage,
    training: &Training,
    rope: Rope,
    tokens_before: u64,
) -> Result<StagePlan, PlanError> {
    let devices = recipe.plan.devices_of(&stage.name);
    let (micro_batch, accumulation) = stage.micro_batches(training, devices)?;
    let steps = training.total_steps();
    let tokens_per_step = training.tokens_per_step();
    // The product fits: it was checked when the recipe was read.
    let tokens = steps.saturating_mul(tokens_per_step);
    let phases = training
        .phases
        .iter()
        .zip(training.phase_steps())
        .map(|(phase, steps)| plan_phase(recipe, training, phase, steps, facts))
        .collect();
    Ok(StagePlan {
        name: stage.name.clone(),
        kind: stage.kind_name().to_owned(),
        from: in_words(&stage.from),
        steps,
        tokens,
        tokens_before,
        sequence_length: training.sequence_length.0,
        sequences_per_step: training.sequences_per_step(),
        tokens_per_step,
        micro_batch,
        accumulation,
        rope_theta: rope.theta,
        context: rope.context,
        learning_rate: landmarks(&training.schedule()?, training),
        devices,
        phases,
    })
}

impl MergePlan {
    fn of(stage: &Stage, merging: &Merging) -> Self {
        let sum = match merging.normalise {
            true => merging.models.iter().map(|model| model.weight).sum(),
            false => 1.0,
        };
        let models = merging.models.iter().map(|model| {
            let checkpoint = in_words(&model.checkpoint);
            let name = match model.last {
                1 => checkpoint,
                last => format!("the newest {last} checkpoints of {checkpoint}"),
            };
            (name, model.weight / sum)
        });
        Self {
            name: stage.name.clone(),
            from: in_words(&stage.from),
            models: models.collect(),
        }
    }
}

fn in_words(start: &Start) -> String {
    match start {
        Start::Random => "random initialisation".to_owned(),
        Start::Stage(name) => format!("stage {name}"),
        Start::Folder(folder) => folder.display().to_string(),
        Start::Hub(id) => format!("{id} on the Hub"),
    }
}

impl AdaptersPlan {
    fn of(lora: &Lora, config: &ModelConfig) -> Self {
        Self {
            rank: lora.rank,
            alpha: lora.alpha,
            targets: lora.targets.clone(),
            parameters: config.num_hidden_layers as u64 * lora.layer_parameters(config),
        }
    }
}

impl RowsPlan {
    fn of(stage: &Stage) -> Option<Self> {
        match &stage.data {
            StageData::MidTrain(tuning) | StageData::Sft(tuning) => Some(Self::Packed {
                learned: tuning.learned,
                packing: tuning.packing,
                too_long: tuning.too_long,
            }),
            StageData::Apo(pairs) => Some(Self::Pairs {
                loss: pairs.loss,
                reference: pairs.reference,
                too_long: pairs.too_long,
            }),
            _ => None,
        }
    }
}

impl DataPlan {
    fn of(data: &Conversations) -> Self {
        Self {
            name: data.name.clone(),
            fraction: data.weight,
            rows: data.rows,
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
            let dataset = recipe.sources.get(&part.source).and_then(Source::dataset);
            let windows = facts
                .stores
                .get(&part.source)
                .map(|tokens| checks::windows(*tokens, sequence_length));
            SourcePlan {
                name: part.source.clone(),
                category: part.category.clone(),
                dataset: dataset.map(str::to_owned),
                weight: part.weight,
                sequences,
                tokens: sequences * sequence_length,
                epochs: windows.map(|windows| sequences as f64 / windows as f64),
            }
        });
    let sources = sources.collect();
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
    let landmark = |(step, names): (u64, Vec<String>)| Landmark {
        name: names.join(", "),
        step,
        learning_rate: schedule.learning_rate(step),
    };
    steps.into_iter().map(landmark).collect()
}
