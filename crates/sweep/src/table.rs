//! `table.md`: parameters, means with their spread, differences with their errors, and what they say.

use std::fmt::Write;

use crate::findings::findings;
use crate::{Measured, Results, Row, Value};

impl Results {
    /// The page in Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n", self.name);
        let (head, rows) = self.sizes();
        text.push_str(&markdown(&head, &rows));
        for stage in self.stages() {
            let (head, rows) = self.means(stage);
            let _ = write!(text, "\n## {stage}\n\n{MEANS}\n\n{}", markdown(&head, &rows));
            let (head, rows) = self.changes(stage);
            if !rows.is_empty() {
                let _ = write!(text, "\n{CHANGES}\n\n{}", markdown(&head, &rows));
            }
        }
        text.push_str("\n## What this says\n\n");
        for line in findings(self) {
            let _ = writeln!(text, "- {line}");
        }
        text
    }

    /// A row a variation: what it changes and how large it is.
    pub(crate) fn sizes(&self) -> Table {
        let head = [
            "variation",
            "changes",
            "parameters",
            "to its reference",
            "tokens",
            "seeds",
        ];
        let rows = self.rows.iter().map(|row| {
            let relative = match row.is_reference() {
                true => NONE.to_owned(),
                false => format!("{:+.2} %", 100.0 * row.parameters_relative),
            };
            vec![
                row.variation.clone(),
                row.settings.join(" "),
                row.parameters.to_string(),
                relative,
                row.tokens.to_string(),
                format!("{} of {}", row.seeds.len(), self.seeds.len()),
            ]
        });
        (head.map(str::to_owned).to_vec(), rows.collect())
    }

    /// A row a variation, a column a measure: mean ± standard deviation.
    pub(crate) fn means(&self, stage: &str) -> Table {
        let cell = |measured: &Measured, value: &Value| {
            let digits = measured.digits();
            let spread = value.spread;
            match spread.deviation {
                Some(deviation) => format!("{:.digits$} ± {deviation:.digits$}", spread.mean),
                None => format!("{:.digits$} (one seed)", spread.mean),
            }
        };
        self.cells(stage, self.rows.iter().collect(), &|measured, value| {
            Some(cell(measured, value))
        })
    }

    /// A row a variation that is compared, a column a measure: difference ± standard error, `*` where it exceeds twice that.
    pub(crate) fn changes(&self, stage: &str) -> Table {
        let cell = |measured: &Measured, value: &Value| {
            let (digits, change) = (measured.digits(), value.change?);
            Some(match change.standard_error {
                Some(error) => {
                    let mark = if value.exceeds_twice_its_error == Some(true) {
                        " *"
                    } else {
                        ""
                    };
                    format!("{:+.digits$} ± {error:.digits$}{mark}", change.mean)
                }
                None => format!("{:+.digits$} (one seed)", change.mean),
            })
        };
        let compared = self.rows.iter().filter(|row| !row.is_reference());
        self.cells(stage, compared.collect(), &cell)
    }

    fn cells(
        &self,
        stage: &str,
        rows: Vec<&Row>,
        cell: &dyn Fn(&Measured, &Value) -> Option<String>,
    ) -> Table {
        let measures = self.measures_of(stage);
        let names = measures
            .iter()
            .map(|(_, measured)| format!("{}, {}", measured.name, measured.unit()));
        let head = ["variation".to_owned()].into_iter().chain(names).collect();
        let rows = rows.into_iter().map(|row| {
            let cells = measures.iter().map(|(index, measured)| {
                let value = row.values.get(*index).and_then(Option::as_ref);
                value
                    .and_then(|value| cell(measured, value))
                    .unwrap_or_else(|| NONE.to_owned())
            });
            [row.variation.clone()].into_iter().chain(cells).collect()
        });
        (head, rows.collect())
    }
}

const NONE: &str = "–";

pub(crate) const MEANS: &str = "Mean ± standard deviation over seeds (n − 1):";

pub(crate) const CHANGES: &str = "Difference to the reference, paired by seed, ± its standard error; `*` where it is larger than \
                                  twice that:";

/// A head and rows as wide.
pub(crate) type Table = (Vec<String>, Vec<Vec<String>>);

fn markdown(head: &[String], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = line(head);
    let marks = (0..head.len()).map(|index| if index == 0 { "---" } else { "---:" });
    let _ = writeln!(text, "| {} |", marks.collect::<Vec<_>>().join(" | "));
    rows.iter().for_each(|row| text.push_str(&line(row)));
    text
}
