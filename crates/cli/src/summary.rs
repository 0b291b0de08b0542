//! The table at the end of a run: held-out loss by category after each phase.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use smollm3_engine::{HeldOutRecord, Record, Run, read_metrics};

/// Held-out loss of every stage that measured it.
pub fn closing_table(run: &Run) -> Result<String> {
    let mut text = String::new();
    for stage in &run.recipe.stages {
        let records: Vec<HeldOutRecord> = read_metrics(&run.stage_folder(&stage.name))?
            .into_iter()
            .filter_map(|record| match record {
                Record::HeldOut(record) => Some(record),
                Record::Step(_) => None,
            })
            .collect();
        if !records.is_empty() {
            writeln!(
                text,
                "\nHeld-out loss after each phase of {}, nats/token (bits/byte)\n",
                stage.name
            )?;
            text.push_str(&table(&records)?);
        }
    }
    Ok(text)
}

fn table(records: &[HeldOutRecord]) -> Result<String> {
    let mut phases: Vec<&str> = Vec::new();
    let mut rows: BTreeMap<&str, Vec<&HeldOutRecord>> = BTreeMap::new();
    for record in records {
        if !phases.contains(&record.phase.as_str()) {
            phases.push(&record.phase);
        }
        rows.entry(&record.category).or_default().push(record);
    }
    let mut text = format!("  {:<12}", "");
    for phase in &phases {
        write!(text, "{phase:>18}")?;
    }
    text.push('\n');
    for (category, records) in rows {
        write!(text, "  {category:<12}")?;
        for phase in &phases {
            let cell = records
                .iter()
                .find(|record| record.phase == **phase)
                .map_or("-".to_owned(), |record| {
                    format!("{:.3} ({:.3})", record.nats_per_token, record.bits_per_byte)
                });
            write!(text, "{cell:>18}")?;
        }
        text.push('\n');
    }
    Ok(text)
}
