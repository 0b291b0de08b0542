//! Where a run is, when it ends, its checkpoints, its incidents: a few lines of text.

use std::fmt::Write;
use std::time::Duration;

use crate::{RunFiles, StageFiles};

/// Incidents that are shown; the file has all.
const INCIDENTS: usize = 5;

/// The text of `smollm3 status`.
pub fn status(run: &RunFiles) -> String {
    let mut text = format!("{}\n", run.folder.display());
    for stage in &run.stages {
        // Writing to a string does not fail.
        let _ = describe(&mut text, stage);
    }
    text
}

fn describe(text: &mut String, stage: &StageFiles) -> std::fmt::Result {
    let (info, done) = (&stage.info, stage.done());
    let part = 100.0 * done as f64 / info.steps.max(1) as f64;
    match info.steps {
        // A merge.
        0 => writeln!(text, "\n{}: no steps", info.name)?,
        steps => writeln!(text, "\n{}: step {done} of {steps} ({part:.1} %)", info.name)?,
    }
    if let Some(step) = stage.steps.last() {
        writeln!(
            text,
            "  {}: loss {:.3}, gradient norm {:.2}, learning rate {:.2e}, {} tokens",
            step.phase,
            step.loss,
            step.grad_norm,
            step.learning_rate,
            tokens(step.tokens)
        )?;
    }
    if let (Some(rate), Some(seconds)) = (stage.tokens_per_second(), stage.seconds_per_step()) {
        write!(text, "  {rate:.0} tokens/s")?;
        if let Some(peak) = info.peak_flops {
            write!(text, ", MFU {:.1} %", 100.0 * rate * info.flops_per_token / peak)?;
        }
        match info.steps.saturating_sub(done) {
            0 => writeln!(text, "; complete")?,
            left => writeln!(text, "; {} of computing left", duration(left as f64 * seconds))?,
        }
    }
    for record in stage
        .held_out
        .iter()
        .filter(|record| Some(record.step) == stage.held_out.last().map(|last| last.step))
    {
        writeln!(
            text,
            "  held out after {}: {} {:.3} nats/token, {:.3} bits/byte",
            record.phase, record.category, record.nats_per_token, record.bits_per_byte
        )?;
    }
    for record in stage
        .measured
        .iter()
        .filter(|record| Some(record.step) == stage.measured.last().map(|last| last.step))
    {
        writeln!(
            text,
            "  held out after {}: {} {:.3} ± {:.3}",
            record.phase, record.name, record.value, record.standard_error
        )?;
    }
    match stage.checkpoints.last() {
        None => writeln!(text, "  no checkpoint yet")?,
        Some((_, newest)) => {
            let steps: Vec<String> = stage
                .checkpoints
                .iter()
                .map(|(step, _)| step.to_string())
                .collect();
            writeln!(text, "  checkpoints after steps {}", steps.join(", "))?;
            writeln!(text, "  newest: {}", newest.display())?;
        }
    }
    match stage.incidents.len() {
        0 => writeln!(text, "  no incidents")?,
        1 => writeln!(text, "  one incident:")?,
        count => writeln!(text, "  {count} incidents, the last:")?,
    }
    let first = stage.incidents.len().saturating_sub(INCIDENTS);
    for incident in &stage.incidents[first..] {
        writeln!(text, "    step {}: {}", incident.step, incident.kind)?;
    }
    Ok(())
}

/// `1.97M`, `8.20B`, `11.10T`.
pub(crate) fn tokens(count: u64) -> String {
    let count = count as f64;
    match count {
        _ if count < 1e6 => format!("{count}"),
        _ if count < 1e9 => format!("{:.2}M", count / 1e6),
        _ if count < 1e12 => format!("{:.2}B", count / 1e9),
        _ => format!("{:.3}T", count / 1e12),
    }
}

/// `3 d 4 h`, `4 h 05 min`, `5 min 06 s`.
pub(crate) fn duration(seconds: f64) -> String {
    let seconds = Duration::try_from_secs_f64(seconds)
        .unwrap_or(Duration::MAX)
        .as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {:02} s", seconds % 60),
        (0, _) => format!("{hours} h {minutes:02} min"),
        _ => format!("{days} d {hours} h"),
    }
}
