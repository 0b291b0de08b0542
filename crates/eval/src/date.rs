//! The date that a model is asked on.

use smollm3_chat::NaiveDate;

/// What a template may tell: the same tomorrow as today. No question is about the date.
pub(crate) fn any_date() -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(2025, 7, 8)
}
