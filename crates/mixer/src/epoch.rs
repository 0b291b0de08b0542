//! The order of one source's windows in one epoch.

use crate::config::Windows;
use crate::permutation::Permutation;

/// The window at each place of an epoch.
#[derive(Debug, Clone)]
pub(crate) enum EpochOrder {
    Whole(Permutation),
    Files(FileByFile),
}

impl EpochOrder {
    /// The order that `key` names for `epoch`.
    pub(crate) fn new(windows: &Windows, key: &[u8; 32], epoch: u64) -> Self {
        match windows {
            Windows::Whole(count) => Self::Whole(Permutation::new(*count, key, epoch)),
            Windows::Files(files) => Self::Files(FileByFile::new(files, key, epoch)),
        }
    }

    /// The window at place `index`; `None` past the end.
    pub(crate) fn get(&mut self, index: u64) -> Option<u64> {
        match self {
            Self::Whole(permutation) => permutation.get(index),
            Self::Files(files) => files.get(index),
        }
    }
}

/// Files in a permuted order, and the windows of each in another. Twenty bytes a file.
#[derive(Debug, Clone)]
pub(crate) struct FileByFile {
    key: [u8; 32],
    /// In the order of the epoch: the epoch's windows before the file, its first window in the store, its index.
    visits: Vec<(u64, u64, u32)>,
    windows: u64,
    /// The latest visit, and its permutation.
    current: Option<(usize, Permutation)>,
}

impl FileByFile {
    fn new(files: &[u64], key: &[u8; 32], epoch: u64) -> Self {
        let mut hash = blake3::Hasher::new_keyed(key);
        hash.update(b"files").update(&epoch.to_le_bytes());
        let key = *hash.finalize().as_bytes();
        let (mut starts, mut end) = (Vec::with_capacity(files.len()), 0);
        for windows in files {
            starts.push(end);
            end += windows;
        }
        // Number 0 orders the files, 1 + f the windows of file f.
        let order = Permutation::new(files.len() as u64, &key, 0);
        let mut windows = 0;
        let mut visits = Vec::with_capacity(files.len());
        for file in (0..files.len() as u64).filter_map(|place| order.get(place)) {
            let number = file as usize;
            visits.push((windows, starts[number], number as u32));
            windows += files[number];
        }
        Self {
            key,
            visits,
            windows,
            current: None,
        }
    }

    fn get(&mut self, index: u64) -> Option<u64> {
        if index >= self.windows {
            return None;
        }
        // The last visit that begins at or before `index` is not one of an empty file.
        let at = self
            .visits
            .partition_point(|visit| visit.0 <= index)
            .checked_sub(1)?;
        let (before, start, file) = *self.visits.get(at)?;
        let end = self.visits.get(at + 1).map_or(self.windows, |next| next.0);
        if self.current.as_ref().is_none_or(|(visit, _)| *visit != at) {
            let permutation = Permutation::new(end - before, &self.key, 1 + u64::from(file));
            self.current = Some((at, permutation));
        }
        let (_, permutation) = self.current.as_ref()?;
        Some(start + permutation.get(index - before)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn file_by_file_is_a_permutation_that_visits_each_file_once(
            files in prop::collection::vec(0u64..40, 1..30), key: [u8; 32], epoch in 0u64..5,
        ) {
            let total: u64 = files.iter().sum();
            let mut order = FileByFile::new(&files, &key, epoch);
            let windows: Vec<u64> = (0..total).map_while(|index| order.get(index)).collect();
            prop_assert_eq!(order.get(total), None);
            let mut sorted = windows.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..total).collect::<Vec<_>>());

            let file_of = |window: u64| {
                files.iter().scan(0, |end, n| { *end += n; Some(*end) }).position(|end| window < end)
            };
            let mut visited: Vec<_> = windows.iter().map(|window| file_of(*window)).collect();
            visited.dedup();
            let visits = visited.len();
            visited.sort_unstable();
            visited.dedup();
            prop_assert_eq!(visits, visited.len());

            // Any place at once, in any order.
            let mut backwards = FileByFile::new(&files, &key, epoch);
            for index in (0..total).rev() {
                prop_assert_eq!(backwards.get(index), windows.get(index as usize).copied());
            }
        }

        #[test]
        fn epochs_differ(key: [u8; 32]) {
            let files = [50u64; 20];
            let take = |epoch| {
                let mut order = FileByFile::new(&files, &key, epoch);
                (0..1000).map_while(|index| order.get(index)).collect::<Vec<_>>()
            };
            prop_assert_ne!(take(0), take(1));
        }
    }
}
