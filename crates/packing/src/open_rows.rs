//! Rows with space left, indexed by that space.
//!
//! Best fit needs the row with the least space that fits a piece. The spaces in use are the bits of a set; each level above
//! has one bit per nonzero word of the level below, so the next space in use is found in one or two words per level: three
//! levels for rows of up to 262,144 tokens, four for 16 million. Rows with equal space form a queue in the order in which
//! they reached it; as a row is in at most one queue, one link per row suffices.
//!
//! Cost: a few word operations a look-up, ⅛ byte and eight bytes per possible space, four bytes a row. A binary tree of
//! maxima takes ⌈log₂ row⌉ dependent steps to search and to update; a `BTreeMap` of queues needs no table, but walks and
//! rebalances a tree for every piece.

/// Rows with space left; see the [module documentation](self).
pub(crate) struct OpenRows {
    /// Bit `s` of the first level: some row has space `s`. Bit `w` of another level: word `w` of the level
    /// below is not zero. The last level is one word.
    levels: Vec<Vec<u64>>,
    /// First and last row with each space; meaningless if its bit is not set.
    queues: Vec<(u32, u32)>,
    /// The row after each row in its queue; meaningless for the last.
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

    /// Numbers a new row, which is in no queue yet.
    pub fn add(&mut self) -> u32 {
        self.behind.push(0);
        (self.behind.len() - 1) as u32
    }

    /// Queues `row` with `space` tokens left.
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

    /// Removes and returns the row with the least space of at least `length` (of equals the first in its queue), and its
    /// space.
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
