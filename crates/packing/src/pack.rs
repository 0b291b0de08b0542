//! The entry point: checks, groups, and a packer for each group.

use crate::best_fit::best_fit;
use crate::choices::{Packing, TooLong};
use crate::cut::cut;
use crate::error::{PackError, Result};
use crate::ledger::Ledger;
use crate::open_rows::OpenRows;
use crate::row_plan::RowPlan;
use crate::settings::Settings;
use crate::wrap::wrap;

/// Packs documents of these lengths (in tokens) into rows.
///
/// Documents without tokens give no fragment. Rows are in the order of groups. Takes at most about 50 bytes a fragment, of
/// which the result keeps 20.
///
/// # Errors
/// [`PackError`]: contradictory settings, a document longer than a row under [`TooLong::Error`], or more fragments than 32
/// bits can number.
pub fn pack(lengths: &[u32], settings: &Settings) -> Result<RowPlan> {
    settings.check()?;
    let input = lengths.iter().map(|&length| u64::from(length)).sum();
    check_count(lengths.len() as u64, input, settings)?;

    let mut rows = RowPlan {
        fragments: Vec::with_capacity(lengths.len()),
        row_ends: Vec::new(),
        ledger: Ledger {
            documents: lengths.len() as u64,
            input,
            row: settings.row,
            ..Ledger::default()
        },
    };
    match settings.packing {
        Packing::Wrapped => {
            for (first, group) in groups(lengths, settings) {
                wrap(first, group, settings.row, &mut rows);
            }
        }
        Packing::None => {
            cut(0, lengths, settings, &mut rows.ledger, &mut rows.fragments)?;
            rows.row_ends.extend(1..=rows.fragments.len());
        }
        Packing::Bfd | Packing::BfdSplit => {
            let mut open = OpenRows::new(settings.row);
            let mut pieces = Vec::new();
            for (first, group) in groups(lengths, settings) {
                pieces.clear();
                cut(first, group, settings, &mut rows.ledger, &mut pieces)?;
                best_fit(&pieces, settings.row, &mut open, &mut rows);
            }
        }
    }
    rows.ledger.rows = rows.len() as u64;
    Ok(rows)
}

/// The groups, each with the number of its first document.
fn groups<'a>(lengths: &'a [u32], settings: &Settings) -> impl Iterator<Item = (u32, &'a [u32])> {
    let size = settings.group.unwrap_or(lengths.len()).max(1);
    let mut first = 0;
    lengths.chunks(size).map(move |group| {
        let number = first;
        first += group.len() as u32;
        (number, group)
    })
}

/// Each document is one fragment, and one more per whole row of tokens if documents are split.
fn check_count(documents: u64, input: u64, settings: &Settings) -> Result<()> {
    let cuts = match settings.too_long {
        TooLong::Split => input / u64::from(settings.row),
        TooLong::Truncate | TooLong::Drop | TooLong::Error => 0,
    };
    match documents.saturating_add(cuts) {
        fragments if fragments > u64::from(u32::MAX) => Err(PackError::TooMany { fragments }),
        _ => Ok(()),
    }
}
