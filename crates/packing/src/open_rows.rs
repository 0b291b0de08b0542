//! Rows that still have space, found by the space they have left.
//!
//! Best fit asks for the row with the least space that holds a piece. The spaces in use are bits of a
//! set; above it each level has one bit for each word of the level below that is not zero, so the next
//! space in use is found in one or two words a level: three levels up to rows of 262,144 tokens, four up
//! to 16 million. Rows with the same space wait in a queue, the one that got this space first in front; as
//! a row is in at most one queue, one link a row holds them all.
//!
//! Cost: a handful of word operations a look-up, ⅛ byte and eight bytes a possible space, four bytes a
//! row. A binary tree of maxima over the spaces takes ⌈log₂ row⌉ dependent steps to search and as many to
//! update; a `BTreeMap` of queues needs no table, but walks and rebalances a tree for every piece.

/// Rows with space left; see the [module documentation](self).
pub(crate) struct OpenRows {
    /// Bit `s` of the first level: some row has space `s`. Bit `w` of another level: word `w` of the level
    /// below is not zero. The last level is one word.
    levels: Vec<Vec<u64>>,
    /// First and last row waiting with each space; without meaning where its bit is not set.
    queues: Vec<(u32, u32)>,
    /// The row behind each row in its queue; without meaning for the last.
    behind: Vec<u32>,
}

impl OpenRows {
    /// No rows yet; spaces below `row`, as a row that waits holds something.
    pub fn new(row: u32) -> Self {
        let spaces = row as usize;
        let mut levels = vec![vec![0; spaces.div_ceil(64)]];
        while let Some(below) = levels.last().map(Vec::len).filter(|&words| words > 1) {
            levels.push(vec![0; below.div_ceil(64)]);
        }
        Self {
            levels,
            queues: vec![(0, 0); spaces],
            behind: Vec::new(),
        }
    }

    /// Forgets all rows.
    pub fn clear(&mut self) {
        self.levels.iter_mut().for_each(|level| level.fill(0));
        self.behind.clear();
    }

    /// Numbers a new row, which waits nowhere yet.
    pub fn add(&mut self) -> u32 {
        self.behind.push(0);
        (self.behind.len() - 1) as u32
    }

    /// Lets `row` wait with `space` tokens left.
    pub fn put(&mut self, row: u32, space: u32) {
        let space = space as usize;
        let queue = &mut self.queues[space];
        if self.levels[0][space / 64] >> (space % 64) & 1 == 1 {
            self.behind[queue.1 as usize] = row;
            queue.1 = row;
            return;
        }
        *queue = (row, row);
        let mut position = space;
        for level in &mut self.levels {
            level[position / 64] |= 1 << (position % 64);
            position /= 64;
        }
    }

    /// Takes out the row with the least space of at least `length`, of equals the one that has waited
    /// longest, and says how much space it has.
    pub fn take(&mut self, length: u32) -> Option<(u32, u32)> {
        let space = self.at_least(length as usize)?;
        let (row, last) = self.queues[space];
        if row == last {
            self.unset(space);
        } else {
            self.queues[space].0 = self.behind[row as usize];
        }
        Some((row, space as u32))
    }

    /// The least space in use from `space` on.
    fn at_least(&self, space: usize) -> Option<usize> {
        let mut position = space;
        for (height, level) in self.levels.iter().enumerate() {
            let word = level.get(position / 64)? & (u64::MAX << (position % 64));
            if word != 0 {
                let found = position / 64 * 64 + word.trailing_zeros() as usize;
                let below = self.levels[..height].iter().rev();
                return Some(below.fold(found, |at, level| at * 64 + level[at].trailing_zeros() as usize));
            }
            // The words after this one, as bits of the level above.
            position = position / 64 + 1;
        }
        None
    }

    fn unset(&mut self, space: usize) {
        let mut position = space;
        for level in &mut self.levels {
            let word = &mut level[position / 64];
            *word &= !(1 << (position % 64));
            if *word != 0 {
                return;
            }
            position /= 64;
        }
    }
}
