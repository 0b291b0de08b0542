//! What reports are made of: one HTML page with its style, script, tables and charts inside, so that it needs no network.
//!
//! Apart from `monitor`, because a sweep draws pages too and needs no device for it. Charts are SVG with HTML around it,
//! drawn here: a plot stretches with the page while its labels keep their size, colours are the page's and change with
//! its theme, and the values are in the markup, from where a short script shows them under the pointer.

mod axis;
mod chart;
mod html;

pub use chart::{Chart, Line, Mark};
pub use html::{card, escape, html_table, live_page, page, table};
