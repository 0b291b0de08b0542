//! Cuts documents into pieces that fit a row.
//!
//! One pass in document order, 12 bytes a piece. Passing only lengths to the packers would save the array, but each would
//! need its own rule for long documents.

use crate::choices::TooLong;
use crate::error::{PackError, Result};
use crate::ledger::Ledger;
use crate::row_plan::Fragment;
use crate::settings::Settings;

/// The pieces of documents `first..`, none longer than a row and none empty; the ledger counts kept and lost tokens.
pub(crate) fn cut(
    first: u32,
    lengths: &[u32],
    settings: &Settings,
    ledger: &mut Ledger,
    pieces: &mut Vec<Fragment>,
) -> Result<()> {
    let row = settings.row;
    for (document, &length) in (first..).zip(lengths) {
        let whole = Fragment {
            document,
            start: 0,
            length,
        };
        if length <= row {
            ledger.kept += u64::from(length);
            ledger.empty_documents += u64::from(length == 0);
            pieces.extend((length > 0).then_some(whole));
            continue;
        }
        match settings.too_long {
            TooLong::Truncate => {
                ledger.truncated_documents += 1;
                ledger.kept += u64::from(row);
                ledger.truncated += u64::from(length - row);
                pieces.push(Fragment { length: row, ..whole });
            }
            TooLong::Split => {
                ledger.split_documents += 1;
                ledger.kept += u64::from(length);
                pieces.extend((0..length).step_by(row as usize).map(|start| Fragment {
                    document,
                    start,
                    length: row.min(length - start),
                }));
            }
            TooLong::Drop => {
                ledger.dropped_documents += 1;
                ledger.dropped += u64::from(length);
            }
            TooLong::Error => {
                return Err(PackError::TooLong {
                    document,
                    length,
                    row,
                    packing: settings.packing,
                });
            }
        }
    }
    Ok(())
}
