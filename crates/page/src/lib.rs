//! The parts of reports: an HTML page with its style, script, tables and charts inside, so that it needs no network.
//!
//! Charts are SVG inside HTML: a plot stretches with the page while its labels keep their size, its colours are the page's
//! and change with the theme, and a short script shows the values, which are in the markup, under the pointer.

mod axis;
mod chart;
mod html;

pub use chart::{Chart, Line, Mark};
pub use html::{card, escape, html_table, live_page, page, table};
