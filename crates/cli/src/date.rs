//! Dates on the command line.

use anyhow::{Context, Result};
use smollm3_chat::NaiveDate;

/// Reads YYYY-MM-DD.
///
/// # Errors
/// It is not a date.
pub fn parse(text: &str) -> Result<NaiveDate, &'static str> {
    NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| "write it as 2025-07-08")
}

/// The date given, or today.
///
/// # Errors
/// The clock is out of range.
pub fn or_today(given: Option<NaiveDate>) -> Result<NaiveDate> {
    let today = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let days = i32::try_from(now.ok()?.as_secs() / 86_400).ok()?;
        NaiveDate::from_epoch_days(days)
    };
    given.or_else(today).context("the clock is out of range")
}
