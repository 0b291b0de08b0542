//! The plan as a page to read, at most 100 columns wide.

use std::fmt;

use smollm3_recipe::{BestCheckpoint, Learned, MergePlan, RowsPlan, Validation};

use crate::figures::{clipped, gigabytes, grouped, short, write_close, write_title};
use crate::memory::Memory;
use crate::phases_text::write_phases;
use crate::plan::{ConversationCost, RunCost, StageCost};

impl fmt::Display for RunCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} parameters, {} tokens, {:.3e} FLOPs",
            self.name,
            short(self.parameters),
            short(self.total_tokens),
            self.flops
        )?;
        let is_measured = self.stages.iter().any(|stage| stage.measured.is_some());
        match (self.days, self.cluster.peak_tflops) {
            (Some(days), _) if is_measured => {
                writeln!(
                    f,
                    "{} at the rate that `smollm3 bench step` measured here{}",
                    time(days),
                    self.without()
                )?;
            }
            (Some(days), Some(peak)) => {
                let mfu = (self.cluster.mfu * 1000.0).round() / 10.0;
                writeln!(
                    f,
                    "{days:.1} days at {mfu} % of {peak} TFLOP/s a device{}",
                    self.without()
                )?;
            }
            _ => writeln!(
                f,
                "no time: run `smollm3 bench step` once, or write the devices' plan.peak_tflops"
            )?,
        }
        if let Some(preparation) = &self.preparation {
            writeln!(f, "{preparation}")?;
        }
        writeln!(f, "recipe {}", self.fingerprint)?;
        let device = self.cluster.memory.map(|memory| memory.0);
        self.stages
            .iter()
            .try_for_each(|stage| write_stage(f, stage, device))?;
        self.conversations
            .iter()
            .try_for_each(|stage| write_conversations(f, stage, device))?;
        self.merges.iter().try_for_each(|stage| write_merge(f, stage))
    }
}

impl RunCost {
    /// The stages that the totals leave out.
    fn without(&self) -> String {
        let unplanned = self
            .conversations
            .iter()
            .filter(|stage| stage.unplanned.is_some());
        let names: Vec<&str> = unplanned.map(|stage| stage.plan.name.as_str()).collect();
        match names.as_slice() {
            [] => String::new(),
            names => format!(", without {}", names.join(", ")),
        }
    }
}

fn write_merge(f: &mut fmt::Formatter<'_>, stage: &MergePlan) -> fmt::Result {
    write_title(f, &format!("{} (merge)", stage.name))?;
    writeln!(f, "  {:<15}tokenizer and template of {}", "from", stage.from)?;
    for (index, (name, part)) in stage.models.iter().enumerate() {
        let title = if index == 0 { "mean of" } else { "" };
        writeln!(f, "  {title:<15}{part:.3} × {name}")?;
    }
    Ok(())
}

fn write_conversations(
    f: &mut fmt::Formatter<'_>,
    cost: &ConversationCost,
    device: Option<u64>,
) -> fmt::Result {
    let stage = &cost.plan;
    let what = match stage.rows {
        RowsPlan::Packed { .. } => "conversations",
        RowsPlan::Pairs { .. } => "pairs of answers",
    };
    write_title(f, &format!("{} ({}): {what}", stage.name, stage.kind))?;
    let mut line = |name: &str, text: String| writeln!(f, "  {name:<15}{text}");
    line("from", stage.from.clone())?;
    line("length", stage.duration.clone())?;
    let length = grouped(stage.sequence_length);
    let rows = match stage.rows {
        RowsPlan::Packed { .. } => format!("rows of {length}"),
        RowsPlan::Pairs { .. } => format!("an answer with its prompt at most {length}"),
    };
    line("step", format!("{}, {rows}", stage.global_batch))?;
    match &stage.rows {
        RowsPlan::Packed {
            learned,
            packing,
            too_long,
        } => {
            line("packing", format!("{packing}; longer than a row: {too_long}"))?;
            let learned = match learned {
                Learned::Assistant => "loss on the assistant's tokens",
                Learned::All => "loss on all tokens",
                Learned::LastTurn => "loss on the last answer",
            };
            line("template", format!("{}; {learned}", stage.template))?;
        }
        RowsPlan::Pairs {
            loss,
            reference,
            too_long,
        } => {
            line("loss", format!("{}, beta {}", loss.kind, loss.beta))?;
            line("reference", reference.to_string())?;
            line("template", format!("{}; longer: {too_long}", stage.template))?;
        }
    }
    for (index, data) in stage.data.iter().enumerate() {
        let kept = match (data.rows, data.fraction) {
            (Some(rows), _) => format!(" ({} rows)", grouped(rows)),
            (None, 1.0) => String::new(),
            (None, part) => format!(" ({} % of the rows)", (part * 1e4).round() / 1e2),
        };
        let title = if index == 0 { "data" } else { "" };
        line(title, format!("{}{kept}", clipped(&data.name, 58)))?;
    }
    if let Some(validation) = &stage.validation {
        let [of, then] = in_words(validation);
        line("validation", of)?;
        if !then.is_empty() {
            line("", then)?;
        }
    }
    if let Some(adapters) = &stage.adapters {
        let parameters = short(adapters.parameters);
        let rank = format!("rank {}, alpha {}", adapters.rank, adapters.alpha);
        line(
            "adapters",
            format!("{rank}: {parameters} numbers are trained, of"),
        )?;
        line("", adapters.targets.join(", "))?;
    }
    if let Some(unplanned) = &cost.unplanned {
        line("missing", format!("{}:", unplanned.missing))?;
        line("", clipped(&unplanned.how, 83))?;
        if let Some(rate) = unplanned.tokens_per_second {
            let tokens = grouped(rate as u64);
            line(
                "rate",
                format!("about {tokens} tokens a second, from what `smollm3 bench step` measured here"),
            )?;
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
        let plural = if stop.patience == 1 { "" } else { "s" };
        format!(
            "may end early, after {} measurement{plural} without gain",
            stop.patience
        )
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
    let mut line = |name: &str, text: String| writeln!(f, "  {name:<15}{text}");
    line("memory", format!("{} a device", gigabytes(memory.total)))?;
    for (name, bytes) in [
        ("weights", memory.weights),
        ("masters", memory.masters),
        ("gradients", memory.gradients),
        ("Adam moments", memory.moments),
        ("activations", memory.activations),
        ("logits", memory.logits),
    ] {
        if bytes > 0 {
            line("", format!("{:>12}  {name}", gigabytes(bytes)))?;
        }
    }
    match device {
        Some(device) if memory.total > device => {
            let over = gigabytes(memory.total - device);
            line("TOO MUCH", format!("{over} more than the device has"))
        }
        Some(device) => write_close(f, memory, device),
        None => Ok(()),
    }
}

fn write_stage(f: &mut fmt::Formatter<'_>, cost: &StageCost, device: Option<u64>) -> fmt::Result {
    let stage = &cost.plan;
    write_title(f, &format!("{} ({})", stage.name, stage.kind))?;
    let mut line = |name: &str, text: String| writeln!(f, "  {name:<15}{text}");
    line("from", stage.from.clone())?;
    line(
        "length",
        format!(
            "{} steps, {} tokens; {} when it ends",
            grouped(stage.steps),
            short(stage.tokens),
            short(stage.tokens_before + stage.tokens)
        ),
    )?;
    let (rows, of) = match stage.kind.as_str() {
        "apo" => ("pairs", "of about"),
        _ => ("rows", "of"),
    };
    line(
        "step",
        format!(
            "{} {rows} {of} {} = {} tokens; {} device{} with {} × {} {rows}",
            grouped(stage.sequences_per_step),
            grouped(stage.sequence_length),
            grouped(stage.tokens_per_step),
            grouped(stage.devices),
            if stage.devices == 1 { "" } else { "s" },
            grouped(stage.accumulation),
            grouped(stage.micro_batch),
        ),
    )?;
    line(
        "positions",
        format!(
            "theta {}, context {}",
            grouped(stage.rope_theta as u64),
            grouped(stage.context)
        ),
    )?;
    let days = match (cost.days, &cost.measured) {
        (Some(days), Some(_)) => format!(", {}", time(days)),
        (Some(days), None) => format!(", {days:.1} days"),
        (None, _) => String::new(),
    };
    line(
        "compute",
        format!(
            "{:.3e} FLOPs a token, {:.3e} in all{days}",
            cost.flops_per_token, cost.flops
        ),
    )?;
    if let Some(rate) = &cost.measured {
        let length = grouped(rate.sequence_length);
        let tokens = grouped(rate.tokens_per_second as u64);
        line(
            "rate",
            format!(
                "{tokens} tokens/s with all weights trained, rows of {length}: measured {}",
                rate.date
            ),
        )?;
    }
    write_memory(f, &cost.memory, device)?;
    let mut line = |name: &str, text: String| writeln!(f, "  {name:<15}{text}");
    for (index, landmark) in stage.learning_rate.iter().enumerate() {
        let title = if index == 0 { "learning rate" } else { "" };
        line(
            title,
            format!(
                "{:>12}  at step {}: {}",
                rate(landmark.learning_rate),
                grouped(landmark.step),
                landmark.name
            ),
        )?;
    }
    // The only phase of a stage on conversations is the stage itself.
    if stage.phases.iter().all(|phase| phase.sources.is_empty()) {
        return Ok(());
    }
    write_phases(f, &stage.phases)
}

/// A time in a readable unit.
fn time(days: f64) -> String {
    match days * 1_440.0 {
        minutes if minutes < 90.0 => format!("{minutes:.0} minutes"),
        minutes if minutes < 2_880.0 => format!("{:.1} hours", minutes / 60.0),
        _ => format!("{days:.1} days"),
    }
}

fn rate(rate: f64) -> String {
    if rate == 0.0 {
        "0".to_owned()
    } else {
        format!("{rate:.3e}")
    }
}
