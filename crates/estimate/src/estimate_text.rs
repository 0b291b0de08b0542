//! The estimate as a page to read, at most 100 columns wide.

use std::fmt;

use crate::device::Device;
use crate::estimate::{Estimate, StageEstimate, WholeStep};
use crate::figures::{gigabytes, grouped, plural, short, write_close, write_line, write_title};

/// When unknown figures become known.
const LATER: &str = "known once the data are prepared";

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name, device, flops, ..
        } = self;
        let [parameters, tokens] = [self.parameters, self.tokens].map(short);
        let devices = format!("{} × {}", grouped(self.devices), device.name);
        writeln!(
            f,
            "{name} on {devices}: {parameters} parameters, {tokens} tokens, {flops:.3e} FLOPs"
        )?;
        let unknown = self.stages.iter().filter(|stage| stage.days.is_none());
        let unknown: Vec<&str> = unknown.map(|stage| stage.name.as_str()).collect();
        let days = span(self.days);
        match unknown.as_slice() {
            [] => writeln!(f, "{days}")?,
            names => writeln!(f, "{days} without {}: {LATER}", names.join(", "))?,
        }
        if device.bus_bytes_per_second.is_some() && self.between_devices_days < self.days {
            let [plain, best] = [self.between_devices_days, self.overlapped_days].map(span);
            writeln!(
                f,
                "With sums between devices (`--features nccl`) {plain}, {best} at best"
            )?;
        }
        if let Some(original) = &self.original {
            let (days, theirs) = (original.days, grouped(original.devices));
            let (kind, ours) = (&original.device, span(original.our_days));
            let [mfu, our_mfu] = [original.mfu, original.our_mfu].map(percent);
            writeln!(
                f,
                "The original: {days} days on {theirs} × {kind} for the stages on text, {mfu} of the peak (MFU);\n  \
                 here {ours}, {our_mfu}"
            )?;
        }
        write_assumed(f, device, self.peak_flops_per_second)?;
        writeln!(
            f,
            "modelled: the program as it is, with sums over the hosts (`--features mpi`)"
        )?;
        writeln!(f, "recipe {}", self.fingerprint)?;
        self.stages
            .iter()
            .try_for_each(|stage| write_stage(f, stage, self.devices, device.memory_bytes))
    }
}

fn write_assumed(f: &mut fmt::Formatter<'_>, device: &Device, peak: f64) -> fmt::Result {
    let fractions = [
        device.products_reach,
        device.attention_reaches,
        device.transfers_reach,
    ];
    let ([products, attention, transfers], peak) = (fractions.map(percent), figure(peak / 1e12));
    writeln!(
        f,
        "assumed, not measured: products reach {products} of {peak} TFLOP/s, attention {attention}; transfers {transfers} of"
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
    let [rows, at_once, times] =
        [stage.sequences_per_step, stage.micro_batch, stage.accumulation].map(grouped);
    let (what, each) = match (stage.sequence_length, stage.accumulation * stage.micro_batch) {
        (Some(length), _) => (
            format!("{rows} rows of {}", grouped(length)),
            format!("{times} × {at_once} rows"),
        ),
        (None, pairs) => (
            format!("{rows} pairs"),
            format!("{} pair{}", grouped(pairs), plural(pairs)),
        ),
    };
    let (devices, end) = (grouped(stage.devices), plural(stage.devices));
    write_line(f, "step", format!("{what}; {devices} device{end} with {each}"))?;
    if stage.devices < asked {
        let next = stage
            .next_devices
            .map(|next| format!(", or by {}", grouped(next)));
        let (next, [idle, asked]) = (
            next.unwrap_or_default(),
            [asked - stage.devices, asked].map(grouped),
        );
        write_line(
            f,
            "idle",
            format!("{idle} of {asked} devices: a step can be divided by {devices}{next}"),
        )?;
    }
    match &stage.whole {
        Some(whole) => write_whole(f, stage, whole)?,
        None => {
            write_line(f, "time", format!("{LATER}: pairs are of all lengths; of it"))?;
            write_terms(f, stage, None)?;
        }
    }
    if stage.devices > 1 {
        let [sent, more] = [stage.sent.total_bytes, stage.sent.each_further_source_bytes].map(grouped);
        let text = format!("{sent} bytes by rank 0 in a step, {more} more for each further source in it");
        write_line(f, "sent", text)?;
    }
    let memory = &stage.memory_bytes;
    let [total, moments] = [memory.total, memory.moments].map(gigabytes);
    write_line(f, "memory", format!("{total} a device, {moments} of it moments"))?;
    let Some(too_much) = &stage.too_much else {
        return write_close(f, memory, device_bytes);
    };
    let over = gigabytes(too_much.over_bytes);
    write_line(f, "TOO MUCH", format!("{over} more than the device has"))?;
    too_much.instead.iter().try_for_each(|(change, bytes)| {
        write_line(f, "", format!("{:>12}  with {change}", gigabytes(*bytes)))
    })
}

fn write_whole(f: &mut fmt::Formatter<'_>, stage: &StageEstimate, whole: &WholeStep) -> fmt::Result {
    let length = match (stage.steps, stage.days) {
        (Some(steps), Some(days)) => format!("{} steps, {}", grouped(steps), span(days)),
        _ => format!("steps and days: {LATER}"),
    };
    write_line(f, "length", length)?;
    let time = format!("{} a step, most of it {}", seconds(whole.seconds), whole.dominant);
    write_line(f, "time", time)?;
    write_terms(f, stage, Some(whole.seconds))?;
    let (rate, mfu) = (grouped(whole.tokens_per_second as u64), percent(whole.mfu));
    write_line(f, "speed", format!("{rate} tokens/s, {mfu} of the peak (MFU)"))?;
    if let (Some(plain), Some(overlapped)) = (whole.between_devices_seconds, whole.overlapped_seconds)
        && stage.step_seconds.bus > 0.0
    {
        let [plain, best] = [plain, overlapped].map(seconds);
        let text = format!("{plain} with sums between devices (`--features nccl`), {best} at best");
        write_line(f, "it would take", text)?;
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
            write_line(f, "", format!("{:>12}{part}  {name}", seconds(time)))?;
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
