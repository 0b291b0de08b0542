//! One stream of tokens, cut at every row.
//!
//! Documents are concatenated in order, and every row but the last of a group is full. One pass, one fragment a document and
//! one more per row end inside it. A row never holds two fragments of one document, which is only cut at row ends.

use crate::row_plan::{Fragment, RowPlan};

/// Adds the documents `first..` as one stream to `rows`, from a fresh row on.
pub(crate) fn wrap(first: u32, lengths: &[u32], row: u32, rows: &mut RowPlan) {
    let mut space = row;
    for (document, &length) in (first..).zip(lengths) {
        rows.ledger.kept += u64::from(length);
        rows.ledger.empty_documents += u64::from(length == 0);
        rows.ledger.split_documents += u64::from(length > space);
        let mut start = 0;
        while start < length {
            let taken = space.min(length - start);
            rows.fragments.push(Fragment {
                document,
                start,
                length: taken,
            });
            start += taken;
            space -= taken;
            if space == 0 {
                rows.row_ends.push(rows.fragments.len());
                space = row;
            }
        }
    }
    if space < row {
        rows.row_ends.push(rows.fragments.len());
    }
}
