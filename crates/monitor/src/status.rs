//! The progress of a run, the time left, its checkpoints and incidents: a few lines of text.

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
    let name = &info.name;
    match info.steps {
        // A merge.
        0 => writeln!(text, "\n{name}: no steps")?,
        steps => {
            let part = 100.0 * done as f64 / steps as f64;
            writeln!(text, "\n{name}: step {done} of {steps} ({part:.1} %)")?;
        }
    }
    if let Some(step) = stage.steps.last() {
        let (loss, norm, rate) = (step.loss, step.grad_norm, step.learning_rate);
        let (phase, tokens) = (&step.phase, tokens(step.tokens));
        writeln!(
            text,
            "  {phase}: loss {loss:.3}, gradient norm {norm:.2}, learning rate {rate:.2e}, {tokens} tokens"
        )?;
    }
    if let (Some(rate), Some(left)) = (stage.tokens_per_second(), stage.seconds_left()) {
        write!(text, "  {rate:.0} tokens/s")?;
        if let Some(mfu) = stage.mfu_percent() {
            write!(text, ", MFU {mfu:.1} %")?;
        }
        match done < info.steps {
            false => writeln!(text, "; complete")?,
            true => writeln!(text, "; {} of computing left", duration(left))?,
        }
    }
    let last = stage.held_out.last().map(|record| record.step);
    for record in stage.held_out.iter().filter(|record| Some(record.step) == last) {
        let (phase, category) = (&record.phase, &record.category);
        let (nats, bits) = (record.nats_per_token, record.bits_per_byte);
        writeln!(
            text,
            "  held out after {phase}: {category} {nats:.3} nats/token, {bits:.3} bits/byte"
        )?;
    }
    let last = stage.measured.last().map(|record| record.step);
    for record in stage.measured.iter().filter(|record| Some(record.step) == last) {
        let (phase, name) = (&record.phase, &record.name);
        let (value, error) = (record.value, record.standard_error);
        writeln!(text, "  held out after {phase}: {name} {value:.3} ± {error:.3}")?;
    }
    match stage.checkpoints.last() {
        None => writeln!(text, "  no checkpoint yet")?,
        Some((_, newest)) => {
            let steps = stage.checkpoints.iter().map(|(step, _)| step.to_string());
            let steps: Vec<String> = steps.collect();
            writeln!(text, "  checkpoints after steps {}", steps.join(", "))?;
            writeln!(text, "  newest: {}", newest.display())?;
            let best = stage
                .checkpoints
                .iter()
                .find(|(step, _)| Some(*step) == stage.best);
            if let Some((_, best)) = best {
                writeln!(text, "  best, which stands for the stage: {}", best.display())?;
            }
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

/// `1.97M`, `8.20B`, `11.100T`.
pub(crate) fn tokens(count: u64) -> String {
    match count as f64 {
        count @ ..1e6 => format!("{count}"),
        // Up to where rounding would make 1000 of it.
        count @ ..999.995e6 => format!("{:.2}M", count / 1e6),
        count @ ..999.995e9 => format!("{:.2}B", count / 1e9),
        count => format!("{:.3}T", count / 1e12),
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

#[cfg(test)]
mod tests {
    use super::tokens;

    #[test]
    fn the_unit_is_that_of_the_rounded_number() {
        for (count, text) in [
            (999_999, "999999"),
            (1_970_000, "1.97M"),
            (999_994_999, "999.99M"),
            (999_995_000, "1.00B"),
            (999_999_999, "1.00B"),
            (999_994_999_999, "999.99B"),
            (999_995_000_000, "1.000T"),
            (11_100_000_000_000, "11.100T"),
        ] {
            assert_eq!(tokens(count), text);
        }
    }
}
