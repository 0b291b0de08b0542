//! The date that chat templates tell.

use anyhow::{Context, Result};
use smollm3_chat::NaiveDate;

/// The one given, or today.
pub fn date(given: Option<&str>) -> Result<NaiveDate> {
    match given {
        Some(text) => NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .with_context(|| format!("--date {text}: write it as 2025-07-08")),
        None => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
            let days = i32::try_from(now.as_secs() / 86_400)?;
            NaiveDate::from_epoch_days(days).context("the clock is out of range")
        }
    }
}
