//! The estimate as a page to read, at most 100 columns wide.

use std::fmt;

use crate::device::Device;
use crate::estimate::{Estimate, StageEstimate, WholeStep};
use crate::figures::{gigabytes, grouped, short, write_close, write_title};

/// When unknown figures become known.
const LATER: &str = "known once the data are prepared";

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} on {} × {}: {} parameters, {} tokens, {:.3e} FLOPs",
            self.name,
            grouped(self.devices),
            self.device.name,
            short(self.parameters),
            short(self.tokens),
            self.flops
        )?;
        let unknown: Vec<&str> = self
            .stages
            .iter()
            .filter(|stage| stage.days.is_none())
            .map(|stage| stage.name.as_str())
            .collect();
        match unknown.as_slice() {
            [] => writeln!(f, "{}", span(self.days))?,
            names => writeln!(f, "{} without {}: {LATER}", span(self.days), names.join(", "))?,
        }
        if self.device.bus_bytes_per_second.is_some() && self.between_devices_days < self.days {
            writeln!(
                f,
                "With sums between devices (`--features nccl`) {}, {} at best",
                span(self.between_devices_days),
                span(self.overlapped_days)
            )?;
        }
        if let Some(original) = &self.original {
            writeln!(
                f,
                "The original: {} days on {} × {} for the stages on text, {} of the peak (MFU);\n  \
                 here {}, {}",
                original.days,
                grouped(original.devices),
                original.device,
                percent(original.mfu),
                span(original.our_days),
                percent(original.our_mfu),
            )?;
        }
        write_assumed(f, &self.device, self.peak_flops_per_second)?;
        writeln!(
            f,
            "modelled: the program as it is, with sums over the hosts (`--features mpi`)"
        )?;
        writeln!(f, "recipe {}", self.fingerprint)?;
        self.stages
            .iter()
            .try_for_each(|stage| write_stage(f, stage, self.devices, self.device.memory_bytes))
    }
}

fn write_assumed(f: &mut fmt::Formatter<'_>, device: &Device, peak: f64) -> fmt::Result {
    writeln!(
        f,
        "assumed, not measured: products reach {} of {} TFLOP/s, attention {}; transfers {} of",
        percent(device.products_reach),
        figure(peak / 1e12),
        percent(device.attention_reaches),
        percent(device.transfers_reach),
    )?;
    let gigabytes = |name: &str, rate: f64| format!("{name} {} GB/s", figure(rate / 1e9));
    let mut rates = vec![gigabytes("memory", device.memory_bytes_per_second)];
    rates.extend(
        device
            .bus_bytes_per_second
            .map(|bus| gigabytes("to the host", bus)),
    );
    if device.devices_per_node < u64::MAX {
        rates.push(gigabytes("network", device.network_bytes_per_second));
    }
    let host = gigabytes("a rank's copies on the host", device.host_bytes_per_second);
    writeln!(f, "  {}; {host}", rates.join(", "))
}

fn write_stage(
    f: &mut fmt::Formatter<'_>,
    stage: &StageEstimate,
    asked: u64,
    device_bytes: u64,
) -> fmt::Result {
    write_title(f, &format!("{} ({})", stage.name, stage.kind))?;
    let mut line = |name: &str, text: String| writeln!(f, "  {name:<15}{text}");
    let what = match stage.sequence_length {
        Some(length) => format!(
            "{} rows of {}",
            grouped(stage.sequences_per_step),
            grouped(length)
        ),
        None => format!("{} pairs", grouped(stage.sequences_per_step)),
    };
    let each = match stage.sequence_length {
        Some(_) => format!(
            "{} × {} rows",
            grouped(stage.accumulation),
            grouped(stage.micro_batch)
        ),
        None => match stage.accumulation * stage.micro_batch {
            1 => "1 pair".to_owned(),
            pairs => format!("{} pairs", grouped(pairs)),
        },
    };
    let plural = if stage.devices == 1 { "" } else { "s" };
    line(
        "step",
        format!("{what}; {} device{plural} with {each}", grouped(stage.devices)),
    )?;
    if stage.devices < asked {
        let next = stage
            .next_devices
            .map_or_else(String::new, |next| format!(", or by {}", grouped(next)));
        line(
            "idle",
            format!(
                "{} of {} devices: a step can be divided by {}{next}",
                grouped(asked - stage.devices),
                grouped(asked),
                grouped(stage.devices)
            ),
        )?;
    }
    match &stage.whole {
        Some(whole) => write_whole(f, stage, whole)?,
        None => {
            writeln!(f, "  {:<15}{LATER}: pairs are of all lengths; of it", "time")?;
            write_terms(f, stage, None)?;
        }
    }
    let mut line = |name: &str, text: String| writeln!(f, "  {name:<15}{text}");
    if stage.devices > 1 {
        let sent = &stage.sent;
        line(
            "sent",
            format!(
                "{} bytes by rank 0 in a step, {} more for each further source in it",
                grouped(sent.total_bytes),
                grouped(sent.each_further_source_bytes)
            ),
        )?;
    }
    let memory = &stage.memory_bytes;
    line(
        "memory",
        format!(
            "{} a device, {} of it moments",
            gigabytes(memory.total),
            gigabytes(memory.moments)
        ),
    )?;
    if let Some(too_much) = &stage.too_much {
        line(
            "TOO MUCH",
            format!("{} more than the device has", gigabytes(too_much.over_bytes)),
        )?;
        for (change, bytes) in &too_much.instead {
            line("", format!("{:>12}  with {change}", gigabytes(*bytes)))?;
        }
        return Ok(());
    }
    write_close(f, memory, device_bytes)
}

fn write_whole(f: &mut fmt::Formatter<'_>, stage: &StageEstimate, whole: &WholeStep) -> fmt::Result {
    let mut line = |name: &str, text: String| writeln!(f, "  {name:<15}{text}");
    let length = match (stage.steps, stage.days) {
        (Some(steps), Some(days)) => format!("{} steps, {}", grouped(steps), span(days)),
        _ => format!("steps and days: {LATER}"),
    };
    line("length", length)?;
    line(
        "time",
        format!("{} a step, most of it {}", seconds(whole.seconds), whole.dominant),
    )?;
    write_terms(f, stage, Some(whole.seconds))?;
    let mut line = |name: &str, text: String| writeln!(f, "  {name:<15}{text}");
    line(
        "speed",
        format!(
            "{} tokens/s, {} of the peak (MFU)",
            grouped(whole.tokens_per_second as u64),
            percent(whole.mfu)
        ),
    )?;
    if let (Some(plain), Some(overlapped)) = (whole.between_devices_seconds, whole.overlapped_seconds)
        && stage.step_seconds.bus > 0.0
    {
        line(
            "it would take",
            format!(
                "{} with sums between devices (`--features nccl`), {} at best",
                seconds(plain),
                seconds(overlapped)
            ),
        )?;
    }
    Ok(())
}

fn write_terms(f: &mut fmt::Formatter<'_>, stage: &StageEstimate, whole: Option<f64>) -> fmt::Result {
    let hidden = (
        "of the sums, beside the backward pass",
        -stage.step_seconds.hidden,
    );
    for (name, time) in stage.step_seconds.terms().into_iter().chain([hidden]) {
        if time != 0.0 {
            let part = whole.map_or_else(String::new, |whole| format!("{:>8}", percent(time / whole)));
            writeln!(f, "  {:<15}{:>12}{part}  {name}", "", seconds(time))?;
        }
    }
    Ok(())
}

fn span(days: f64) -> String {
    match days * 24.0 {
        long if long >= 24.0 => format!("{days:.1} days"),
        hours if hours >= 1.0 => format!("{hours:.1} hours"),
        hours => format!("{:.1} minutes", hours * 60.0),
    }
}

fn seconds(seconds: f64) -> String {
    match seconds.abs() {
        1.0.. => format!("{seconds:.2} s"),
        1e-3.. => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{:.1} µs", seconds * 1e6),
    }
}

/// Rounded to three decimals.
fn figure(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

/// In per cent, rounded to one decimal.
fn percent(part: f64) -> String {
    format!("{} %", (part * 1e3).round() / 10.0)
}
