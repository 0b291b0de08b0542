//! How several workers share the files of a source.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::shards::Shard;

/// One of the workers that share the files of a source, such as 3/64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Worker {
    /// From 1.
    pub(super) number: u32,
    /// How many there are.
    pub(super) of: u32,
}

impl Worker {
    /// The indices of its files, ascending. The largest files are assigned first, each to the worker with the fewest bytes
    /// so far (longest processing time first): no worker gets more than 4/3 of the optimal maximum.
    pub(super) fn files(self, files: &[Shard]) -> Vec<usize> {
        let mut largest: Vec<(usize, u64)> = files.iter().map(|file| file.bytes).enumerate().collect();
        largest.sort_by_key(|(index, bytes)| (Reverse(*bytes), *index));
        let mut workers: BinaryHeap<Reverse<(u64, u32)>> =
            (1..=self.of).map(|number| Reverse((0, number))).collect();
        let mut own = Vec::new();
        for (index, bytes) in largest {
            let Some(Reverse((load, number))) = workers.pop() else {
                break;
            };
            if number == self.number {
                own.push(index);
            }
            // Opening a file takes time, so empty ones are spread too.
            workers.push(Reverse((load.saturating_add(bytes.max(1)), number)));
        }
        own.sort_unstable();
        own
    }
}

impl FromStr for Worker {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        /// A larger number is taken for a typing error.
        const MOST: u32 = 1 << 20;
        let numbers = text.split_once('/');
        let numbers = numbers.and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) && of <= MOST => Ok(Worker { number, of }),
            _ => Err(format!(
                "must be a number and how many there are, such as 3/64 (from 1/64 to 64/64), got {text:?}"
            )),
        }
    }
}

impl TryFrom<String> for Worker {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Worker> for String {
    fn from(worker: Worker) -> String {
        worker.to_string()
    }
}

impl fmt::Display for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(sizes: &[u64]) -> Vec<Shard> {
        let file = |bytes: &u64| Shard {
            name: bytes.to_string(),
            bytes: *bytes,
            version: String::new(),
        };
        sizes.iter().map(file).collect()
    }

    #[test]
    fn files_are_shared_by_size() {
        let files = files(&[5, 1, 9, 1, 5, 3, 0, 0]);
        let own = |number| Worker { number, of: 3 }.files(&files);
        assert_eq!(
            [own(1), own(2), own(3)],
            [vec![2], vec![0, 5, 7], vec![1, 3, 4, 6]]
        );
        // More workers than files: some have nothing to do.
        assert!(Worker { number: 9, of: 9 }.files(&files).is_empty());
    }

    #[test]
    fn a_worker_is_written_as_a_fraction() {
        let worker: Worker = "3/64".parse().unwrap();
        assert_eq!(
            (worker.number, worker.of, worker.to_string().as_str()),
            (3, 64, "3/64")
        );
        for wrong in ["0/4", "5/4", "3", "/", "a/4", "1/0", "-1/4", "1/9999999"] {
            assert!(
                wrong.parse::<Worker>().unwrap_err().contains("such as 3/64"),
                "{wrong}"
            );
        }
    }
}
