//! The date in prompts.

use smollm3_chat::NaiveDate;

/// A fixed date, so that prompts stay the same. No question is about the date.
pub(crate) fn any_date() -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(2025, 7, 8)
}
