//! Figures and lines of the plan and the estimate, at most 100 columns wide.

use std::fmt;

use crate::memory::Memory;

const WIDTH: usize = 100;

/// A heading that fills the line.
pub(crate) fn write_title(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let title = format!("── {text} ");
    let rule = "─".repeat(WIDTH.saturating_sub(title.chars().count()));
    writeln!(f, "\n{title}{rule}")
}

/// A line with its name in the first column.
pub(crate) fn write_line(f: &mut fmt::Formatter<'_>, name: &str, text: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {name:<15}{text}")
}

/// A warning where a tenth of the device's memory or less is left.
pub(crate) fn write_close(f: &mut fmt::Formatter<'_>, memory: &Memory, device: u64) -> fmt::Result {
    let percent = 100.0 * memory.total as f64 / device.max(1) as f64;
    let all = gigabytes(device);
    match percent {
        ..=90.0 => Ok(()),
        _ => {
            let more = "allocators take some 10 to 20 % more than this";
            write_line(
                f,
                "CLOSE",
                format!("{percent:.0} % of the device's {all}: {more}"),
            )
        }
    }
}

/// The ending of a noun after `count`.
pub(crate) fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// A count with three decimals and its multiple: `8.140T`.
pub(crate) fn short(count: u64) -> String {
    match count as f64 {
        large if large >= 1e12 => format!("{:.3}T", large / 1e12),
        large if large >= 1e9 => format!("{:.3}B", large / 1e9),
        large if large >= 1e6 => format!("{:.3}M", large / 1e6),
        _ => grouped(count),
    }
}

/// A count with its thousands apart: `4,704,793`.
pub(crate) fn grouped(count: u64) -> String {
    match count {
        ..1000 => count.to_string(),
        _ => format!("{},{:03}", grouped(count / 1000), count % 1000),
    }
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
