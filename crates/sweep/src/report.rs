//! The same as `table.md`, with curves, as one HTML page.

use std::fmt::Write;

use smollm3_page::{Chart, Line, card, escape, page, table};

use crate::Results;
use crate::curves::{by_position, difference, mean};
use crate::findings::findings;
use crate::table::{CHANGES, MEANS, Table};

impl Results {
    /// The page.
    pub fn html(&self) -> String {
        let mut body = String::from("<h2>What this says</h2>\n<ul class=\"says\">\n");
        for line in findings(self) {
            let _ = writeln!(body, "<li>{}</li>", escape(&line));
        }
        body.push_str("</ul>\n");
        overview(&mut body, "Variations", self.sizes());
        for stage in self.stages() {
            let _ = writeln!(body, "<h2>{}</h2>", escape(stage));
            self.charts(&mut body, stage);
            overview(&mut body, MEANS.trim_end_matches(':'), self.means(stage));
            let changes = self.changes(stage);
            if !changes.1.is_empty() {
                overview(&mut body, CHANGES.trim_end_matches(':'), changes);
            }
        }
        page(&self.name, &body)
    }

    fn charts(&self, body: &mut String, stage: &str) {
        body.push_str("<div class=\"grid\">\n");
        let lines: Vec<Line> = self.rows.iter().map(|row| mean(row, stage)).collect();
        card(
            body,
            "Training loss, mean and standard deviation over seeds",
            &Chart::over_steps("nats/token", lines).html(),
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
        card(
            body,
            "Training loss less the reference's, mean and standard error",
            &Chart::over_steps("nats/token", lines).html(),
        );
        let lines: Vec<Line> = self.rows.iter().map(|row| by_position(row, stage)).collect();
        card(
            body,
            "Loss by position, mean and standard deviation over seeds",
            &Chart::over("position", "nats/token", lines).html(),
        );
        body.push_str("</div>\n");
    }
}

fn overview(body: &mut String, title: &str, (head, rows): Table) {
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    body.push_str("<div class=\"overview\">\n");
    card(body, title, &table(&head, rows));
    body.push_str("</div>\n");
}
