//! Figures as the pages of plan and estimate write them, at most 100 columns wide.

use std::fmt;

use crate::memory::Memory;

const WIDTH: usize = 100;

/// A heading that fills the line.
pub(crate) fn write_title(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let title = format!("── {text} ");
    let rule = "─".repeat(WIDTH.saturating_sub(title.chars().count()));
    writeln!(f, "\n{title}{rule}")
}

/// A warning where a tenth of the device's memory or less is left.
pub(crate) fn write_close(f: &mut fmt::Formatter<'_>, memory: &Memory, device: u64) -> fmt::Result {
    let part = memory.total as f64 / device.max(1) as f64;
    if part <= 0.9 {
        return Ok(());
    }
    let text = format!(
        "{:.0} % of the device's {}: allocators take some 10 to 20 % more than this",
        100.0 * part,
        gigabytes(device)
    );
    writeln!(f, "  {:<15}{text}", "CLOSE")
}

/// A count with three decimals and its multiple: `8.140T`.
pub(crate) fn short(count: u64) -> String {
    for (unit, size) in [("T", 1e12), ("B", 1e9), ("M", 1e6)] {
        if count as f64 >= size {
            return format!("{:.3}{unit}", count as f64 / size);
        }
    }
    grouped(count)
}

/// A count with its thousands apart: `4,704,793`.
pub(crate) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in GB, or in MB below a tenth of one.
pub(crate) fn gigabytes(bytes: u64) -> String {
    match bytes as f64 / 1e9 {
        large if large >= 0.1 => format!("{large:.1} GB"),
        small => format!("{:.1} MB", small * 1e3),
    }
}

/// `text` in at most `width` characters; `…` marks the omission.
pub(crate) fn clipped(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}
