//! The same as `table.md`, with curves, as one HTML page.

use std::fmt::Write;

use smollm3_page::{Line, card, chart, chart_over, escape, page, table};

use crate::curves::{by_position, difference, mean};
use crate::findings::findings;
use crate::table::{CHANGES, MEANS, Table};
use crate::{Result, Results, SweepError};

impl Results {
    /// The page.
    ///
    /// # Errors
    /// A chart cannot be drawn.
    pub fn html(&self) -> Result<String> {
        let mut body = String::from("<h2>What this says</h2>\n<ul>\n");
        for line in findings(self) {
            let _ = writeln!(body, "<li>{}</li>", escape(&line));
        }
        body.push_str("</ul>\n");
        overview(&mut body, "Variations", self.sizes());
        for stage in self.stages() {
            let _ = writeln!(body, "<h2>{}</h2>", escape(stage));
            self.charts(&mut body, stage).map_err(|error| {
                SweepError::Refused(format!("the report of stage {stage} cannot be drawn: {error}"))
            })?;
            overview(&mut body, MEANS.trim_end_matches(':'), self.means(stage));
            let changes = self.changes(stage);
            if !changes.1.is_empty() {
                overview(&mut body, CHANGES.trim_end_matches(':'), changes);
            }
        }
        Ok(page(&self.name, &body))
    }

    fn charts(&self, body: &mut String, stage: &str) -> std::result::Result<(), String> {
        body.push_str("<div class=\"grid\">\n");
        let lines: Vec<Line> = self.rows.iter().map(|row| mean(row, stage)).collect();
        drawn(
            body,
            "Training loss, mean and standard deviation over seeds",
            &chart("nats/token", &lines, &[])?,
        );
        // References have an empty line, so that colours mean the same in all charts.
        let lines: Vec<Line> = self
            .rows
            .iter()
            .map(|row| {
                let mut others = self.rows.iter().filter(|_| !row.is_reference());
                match others.find(|other| other.variation == row.reference) {
                    Some(reference) => difference(row, reference, stage),
                    None => Line::default(),
                }
            })
            .collect();
        drawn(
            body,
            "Training loss less the reference's, mean and standard error",
            &chart("nats/token", &lines, &[])?,
        );
        let lines: Vec<Line> = self.rows.iter().map(|row| by_position(row, stage)).collect();
        drawn(
            body,
            "Loss by position, mean and standard deviation over seeds",
            &chart_over("position", "nats/token", &lines, &[])?,
        );
        body.push_str("</div>\n");
        Ok(())
    }
}

/// A chart without a line is none.
fn drawn(body: &mut String, title: &str, svg: &str) {
    if !svg.is_empty() {
        card(body, title, svg);
    }
}

fn overview(body: &mut String, title: &str, (head, rows): Table) {
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    body.push_str("<div class=\"overview\">\n");
    card(body, title, &table(&head, rows));
    body.push_str("</div>\n");
}
