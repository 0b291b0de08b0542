//! The plan as a page to read, at most 100 columns wide.

use std::fmt;

use smollm3_recipe::{BestCheckpoint, Learned, MergePlan, RowsPlan, Validation};

use crate::figures::{clipped, gigabytes, grouped, plural, short, write_close, write_line, write_title};
use crate::memory::Memory;
use crate::phases_text::write_phases;
use crate::plan::{ConversationCost, RunCost, StageCost};
use crate::time_text::{at_most, time, write_time};

impl fmt::Display for RunCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [parameters, tokens] = [self.parameters, self.total_tokens].map(short);
        let (name, flops) = (&self.name, self.flops);
        let most = at_most(self.stages.iter().any(|stage| stage.may_end_early));
        writeln!(
            f,
            "{name}: {parameters} parameters, {most}{tokens} tokens, {flops:.3e} FLOPs"
        )?;
        write_time(f, self)?;
        if let Some(preparation) = &self.preparation {
            writeln!(f, "{preparation}")?;
        }
        writeln!(f, "recipe {}", self.fingerprint)?;
        let device = self.cluster.memory.map(|memory| memory.0);
        for stage in &self.stages {
            write_stage(f, stage, device)?;
        }
        for stage in &self.conversations {
            write_conversations(f, stage, device)?;
        }
        self.merges.iter().try_for_each(|stage| write_merge(f, stage))
    }
}

fn write_merge(f: &mut fmt::Formatter<'_>, stage: &MergePlan) -> fmt::Result {
    write_title(f, &format!("{} (merge)", stage.name))?;
    write_line(f, "from", format!("tokenizer and template of {}", stage.from))?;
    let parts = stage
        .models
        .iter()
        .map(|(name, part)| format!("{part:.3} × {name}"));
    write_list(f, "mean of", parts)
}

/// A line for each text, the first of which has the name.
fn write_list(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    mut texts: impl Iterator<Item = String>,
) -> fmt::Result {
    if let Some(first) = texts.next() {
        write_line(f, name, first)?;
    }
    texts.try_for_each(|text| write_line(f, "", text))
}

fn write_conversations(
    f: &mut fmt::Formatter<'_>,
    cost: &ConversationCost,
    device: Option<u64>,
) -> fmt::Result {
    let stage = &cost.plan;
    let length = grouped(stage.sequence_length);
    let (what, rows) = match stage.rows {
        RowsPlan::Packed { .. } => ("conversations", format!("rows of {length}")),
        RowsPlan::Pairs { .. } => (
            "pairs of answers",
            format!("an answer with its prompt at most {length}"),
        ),
    };
    write_title(f, &format!("{} ({}): {what}", stage.name, stage.kind))?;
    write_line(f, "from", &stage.from)?;
    write_line(f, "length", &stage.duration)?;
    write_line(f, "step", format!("{}, {rows}", stage.global_batch))?;
    match &stage.rows {
        RowsPlan::Packed {
            learned,
            packing,
            too_long,
        } => {
            write_line(f, "packing", format!("{packing}; longer than a row: {too_long}"))?;
            let learned = match learned {
                Learned::Assistant => "loss on the assistant's tokens",
                Learned::All => "loss on all tokens",
                Learned::LastTurn => "loss on the last answer",
            };
            write_line(f, "template", format!("{}; {learned}", stage.template))?;
        }
        RowsPlan::Pairs {
            loss,
            reference,
            too_long,
        } => {
            write_line(f, "loss", format!("{}, beta {}", loss.kind, loss.beta))?;
            write_line(f, "reference", reference)?;
            write_line(f, "template", format!("{}; longer: {too_long}", stage.template))?;
        }
    }
    let data = stage.data.iter().map(|data| {
        let name = clipped(&data.name, 58);
        match (data.rows, data.fraction) {
            (Some(rows), _) => format!("{name} ({} rows)", grouped(rows)),
            (None, 1.0) => name,
            (None, part) => format!("{name} ({} % of the rows)", (part * 1e4).round() / 1e2),
        }
    });
    write_list(f, "data", data)?;
    if let Some(validation) = &stage.validation {
        let lines = in_words(validation).into_iter().filter(|line| !line.is_empty());
        write_list(f, "validation", lines)?;
    }
    if let Some(adapters) = &stage.adapters {
        let (rank, alpha) = (adapters.rank, adapters.alpha);
        let parameters = short(adapters.parameters);
        let text = format!("rank {rank}, alpha {alpha}: {parameters} numbers are trained, of");
        write_line(f, "adapters", text)?;
        write_line(f, "", adapters.targets.join(", "))?;
    }
    if let Some(unplanned) = &cost.unplanned {
        write_line(f, "missing", format!("{}:", unplanned.missing))?;
        write_line(f, "", clipped(&unplanned.how, 83))?;
        if let Some(rate) = unplanned.tokens_per_second {
            let tokens = grouped(rate as u64);
            let text =
                format!("about {tokens} tokens a second, from what `smollm3 bench step` measured here");
            write_line(f, "rate", text)?;
        }
        write_memory(f, &unplanned.memory, device)?;
    }
    Ok(())
}

/// What a stage is measured on and when; the consequences.
fn in_words(validation: &Validation) -> [String; 2] {
    let of = match validation.paths.as_slice() {
        [] => "what [data] held_out keeps back".to_owned(),
        paths => clipped(&paths.join(", "), 40),
    };
    let every = validation.every.map(|every| format!(", every {every}"));
    let stop = validation.stop_early.as_ref().map(|stop| {
        let (count, end) = (stop.patience, plural(stop.patience.into()));
        format!("may end early, after {count} measurement{end} without gain")
    });
    let best = match validation.best {
        BestCheckpoint::None => None,
        BestCheckpoint::Keep => Some("the best checkpoint is kept".to_owned()),
        BestCheckpoint::Load => Some("later stages start from the best checkpoint".to_owned()),
    };
    let then: Vec<String> = stop.into_iter().chain(best).collect();
    [of + &every.unwrap_or_default(), then.join("; ")]
}

fn write_memory(f: &mut fmt::Formatter<'_>, memory: &Memory, device: Option<u64>) -> fmt::Result {
    write_line(f, "memory", format!("{} a device", gigabytes(memory.total)))?;
    for (name, bytes) in [
        ("weights", memory.weights),
        ("masters", memory.masters),
        ("gradients", memory.gradients),
        ("Adam moments", memory.moments),
        ("activations", memory.activations),
        ("logits", memory.logits),
    ] {
        if bytes > 0 {
            write_line(f, "", format!("{:>12}  {name}", gigabytes(bytes)))?;
        }
    }
    match device {
        Some(device) if memory.total > device => {
            let over = gigabytes(memory.total - device);
            write_line(f, "TOO MUCH", format!("{over} more than the device has"))
        }
        Some(device) => write_close(f, memory, device),
        None => Ok(()),
    }
}

fn write_stage(f: &mut fmt::Formatter<'_>, cost: &StageCost, device: Option<u64>) -> fmt::Result {
    let stage = &cost.plan;
    write_title(f, &format!("{} ({})", stage.name, stage.kind))?;
    write_line(f, "from", &stage.from)?;
    let [tokens, end] = [stage.tokens, stage.tokens_before + stage.tokens].map(short);
    let (steps, most) = (grouped(stage.steps), at_most(cost.may_end_early));
    write_line(
        f,
        "length",
        format!("{most}{steps} steps, {tokens} tokens; {end} when it ends"),
    )?;
    let (rows, of) = match stage.kind.as_str() {
        "apo" => ("pairs", "of about"),
        _ => ("rows", "of"),
    };
    let [count, length, tokens] = [
        stage.sequences_per_step,
        stage.sequence_length,
        stage.tokens_per_step,
    ]
    .map(grouped);
    let [devices, times, at_once] = [stage.devices, stage.accumulation, stage.micro_batch].map(grouped);
    let end = plural(stage.devices);
    let step = format!("{count} {rows} {of} {length} = {tokens} tokens");
    write_line(
        f,
        "step",
        format!("{step}; {devices} device{end} with {times} × {at_once} {rows}"),
    )?;
    let [theta, context] = [stage.rope_theta as u64, stage.context].map(grouped);
    write_line(f, "positions", format!("theta {theta}, context {context}"))?;
    let days = match (cost.days, &cost.measured) {
        (Some(days), Some(_)) => format!(", {most}{}", time(days)),
        (Some(days), None) => format!(", {most}{days:.1} days"),
        (None, _) => String::new(),
    };
    let (each, all) = (cost.flops_per_token, cost.flops);
    write_line(
        f,
        "compute",
        format!("{each:.3e} FLOPs a token, {all:.3e} in all{days}"),
    )?;
    if let Some(rate) = &cost.measured {
        let [length, tokens] = [rate.sequence_length, rate.tokens_per_second as u64].map(grouped);
        let text = format!(
            "{tokens} tokens/s with all weights trained, rows of {length}: measured {}",
            rate.date
        );
        write_line(f, "rate", text)?;
    }
    write_memory(f, &cost.memory, device)?;
    let landmarks = stage.learning_rate.iter().map(|landmark| {
        let (step, name) = (grouped(landmark.step), &landmark.name);
        format!("{:>12}  at step {step}: {name}", rate(landmark.learning_rate))
    });
    write_list(f, "learning rate", landmarks)?;
    // The only phase of a stage on conversations is the stage itself.
    if stage.phases.iter().all(|phase| phase.sources.is_empty()) {
        return Ok(());
    }
    write_phases(f, &stage.phases)
}

fn rate(rate: f64) -> String {
    if rate == 0.0 {
        "0".to_owned()
    } else {
        format!("{rate:.3e}")
    }
}
