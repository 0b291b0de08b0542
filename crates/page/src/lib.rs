//! What reports are made of: one HTML page with its style, tables and charts inside, so that it needs no network.
//!
//! Apart from `monitor`, because a sweep draws pages too and needs no device for it.

mod chart;
mod html;

pub use chart::{Line, chart, chart_over};
pub use html::{card, escape, page, table};
