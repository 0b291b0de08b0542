//! Splits the rows of a request into batches of bounded size with little padding.
//!
//! The rows of a batch are padded to the longest prompt and kept until the last token, so a batch costs its number of rows
//! times its longest row. Rows are sorted by length and added until the next one would exceed the budget.

/// The limits of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    /// Rows.
    pub rows: usize,
    /// Rows times the longest of them, prompt and new tokens; a single row may exceed it.
    pub tokens: usize,
}

/// Batches of rows with prompts of these `lengths`, to which `new_tokens` are added. At most half of the prompt tokens of a
/// batch are padding.
pub(crate) fn batches(lengths: &[usize], new_tokens: usize, budget: Budget) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|row| lengths[*row]);
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut prompts = 0;
    for row in order {
        // The longest so far.
        let length = lengths[row];
        let fits = |batch: &&mut Vec<usize>| {
            let rows = batch.len() + 1;
            rows <= budget.rows
                && rows.saturating_mul(length.saturating_add(new_tokens)) <= budget.tokens
                && rows * length <= 2 * (prompts + length)
        };
        match batches.last_mut().filter(fits) {
            Some(batch) => {
                batch.push(row);
                prompts += length;
            }
            None => {
                batches.push(vec![row]);
                prompts = length;
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_long_row_is_not_padded_to() {
        let lengths: Vec<usize> = [vec![1; 511], vec![1000]].concat();
        let budget = Budget {
            rows: 600,
            tokens: 65_536,
        };
        let found = batches(&lengths, 1, budget);
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [511, 1]);
        // Nor where there is room for it.
        assert_eq!(batches(&[1000, 1, 1, 1], 1, budget), [vec![1, 2, 3], vec![0]]);
        // Equal rows stay in their order.
        assert_eq!(batches(&[7; 4], 20, budget), [[0, 1, 2, 3]]);
        assert!(batches(&[], 5, budget).is_empty());
    }

    proptest! {
        #[test]
        fn each_row_is_in_one_batch_and_none_is_too_large(
            lengths in prop::collection::vec(prop_oneof![3 => 1usize..20, 1 => 1usize..2000], 0..200),
            new_tokens in 0usize..300,
            rows in 1usize..50,
            tokens in 1usize..5000,
        ) {
            let found = batches(&lengths, new_tokens, Budget { rows, tokens });
            let mut all = found.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            for batch in &found {
                let longest = batch.iter().map(|row| lengths[*row]).max().unwrap();
                let own: usize = batch.iter().map(|row| lengths[*row]).sum();
                prop_assert!(batch.len() <= rows);
                prop_assert!(batch.len() == 1 || batch.len() * (longest + new_tokens) <= tokens);
                prop_assert!(batch.len() * longest <= 2 * own);
            }
        }
    }
}
