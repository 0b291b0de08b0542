//! The reference's log-probabilities of all answers, computed once and kept in the folder of the tokens.
//!
//! `reference-HASH.f64` holds two numbers a pair, in nats, and after each group of pairs the blake3 of the file's name, the
//! group's number and its numbers; HASH identifies the pairs, the reference and the precision. A run that resumes uses the
//! numbers up to the first incomplete group.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use blake3::{Hash, Hasher, OUT_LEN};
use smollm3_conversations::Result;
use smollm3_engine::EngineError;
use smollm3_files::io;
use smollm3_records::{Event, Listener};

use crate::pair_rows::PairRow;

/// Pairs that are computed between two writes.
const GROUP: u64 = 64;
/// Bytes of a pair.
const BYTES: usize = 16;

/// Log-probabilities of each pair's answers to the reference.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReferenceLogProbs(Vec<[f64; 2]>);

impl ReferenceLogProbs {
    /// The log-probabilities kept in `folder` under `identity`, completed by `compute` for the pairs that are missing. `compute` gets
    /// the numbers of some pairs and returns their log-probabilities in the same order.
    ///
    /// # Errors
    /// The file cannot be read or written, `compute` fails, or the listener ends the work.
    pub fn complete(
        folder: &Path,
        identity: &str,
        pairs: u64,
        mut compute: impl FnMut(&[u64]) -> Result<Vec<[f64; 2]>>,
        listener: &mut dyn Listener,
    ) -> Result<Self> {
        let hash = blake3::hash(identity.as_bytes());
        let path = folder.join(format!("reference-{}.f64", &hash.to_hex()[..16]));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io("open", &path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("read", &path))?;
        let (mut known, whole) = read(&bytes, &hash, pairs);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(io("write", &path))?;
            file.seek(SeekFrom::End(0)).map_err(io("write", &path))?;
        }
        if known.len() as u64 == pairs {
            return Ok(Self(known));
        }
        while (known.len() as u64) < pairs {
            let done = known.len() as u64;
            report_progress(listener, done, pairs)?;
            let group: Vec<u64> = (done..pairs.min(done + GROUP)).collect();
            let log_probs = compute(&group)?;
            let numbers = log_probs.iter().flatten().flat_map(|number| number.to_le_bytes());
            let mut bytes: Vec<u8> = numbers.collect();
            bytes.extend(seal(&hash, done / GROUP, &bytes));
            file.write_all(&bytes).map_err(io("write", &path))?;
            known.extend(log_probs);
        }
        file.sync_all().map_err(io("write", &path))?;
        report_progress(listener, pairs, pairs)?;
        Ok(Self(known))
    }

    /// Those of a pair; no numbers if there is no such pair.
    pub fn pair(&self, number: u64) -> [f64; 2] {
        self.0.get(number as usize).copied().unwrap_or([f64::NAN; 2])
    }

    /// Those of the pairs in a row.
    pub fn of(&self, row: &PairRow) -> Vec<[f64; 2]> {
        row.pairs.iter().map(|span| self.pair(span.pair)).collect()
    }
}

fn report_progress(listener: &mut dyn Listener, done: u64, total: u64) -> Result<()> {
    let what = "reference log-probabilities".to_owned();
    Ok(listener.on(&Event::Preparing { what, done, total })?)
}

/// Returns a reference's log-probabilities if all are finite: no pair can be learned from others.
pub(crate) fn finite(log_probs: Vec<[f64; 2]>) -> std::result::Result<Vec<[f64; 2]>, EngineError> {
    match log_probs.iter().flatten().find(|value| !value.is_finite()) {
        None => Ok(log_probs),
        Some(value) => Err(EngineError::Refused(format!(
            "the reference's log-probability of an answer is {value}: its weights are damaged, or its numbers overflow in \
             this precision; name another checkpoint in reference_from, or write run.precision = \"f32\""
        ))),
    }
}

/// The seal of a group: a hash of its numbers, their place and their identity.
fn seal(identity: &Hash, group: u64, numbers: &[u8]) -> [u8; OUT_LEN] {
    let mut hasher = Hasher::new();
    hasher.update(identity.as_bytes());
    hasher.update(&group.to_le_bytes());
    hasher.update(numbers);
    hasher.finalize().into()
}

/// The pairs of the whole groups, of `pairs` in all, and the bytes of those groups.
fn read(bytes: &[u8], identity: &Hash, pairs: u64) -> (Vec<[f64; 2]>, usize) {
    let number = |bytes: &[u8]| bytes.try_into().map_or(f64::NAN, f64::from_le_bytes);
    let mut known = Vec::new();
    let mut whole = 0;
    for group in 0..pairs.div_ceil(GROUP) {
        let length = (pairs - group * GROUP).min(GROUP) as usize * BYTES;
        let found = bytes.get(whole..whole + length + OUT_LEN);
        let Some((numbers, hash)) = found.and_then(|found| found.split_at_checked(length)) else {
            break;
        };
        if *hash != seal(identity, group, numbers) {
            break;
        }
        known.extend(
            numbers
                .chunks_exact(BYTES)
                .map(|pair| [number(&pair[..8]), number(&pair[8..])]),
        );
        whole += length + OUT_LEN;
    }
    (known, whole)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;
    use smollm3_records::Listeners;

    use super::*;

    /// What `complete` gives, and the pairs that it had to compute.
    fn complete(folder: &Path, identity: &str, pairs: u64) -> (ReferenceLogProbs, Vec<u64>) {
        let mut computed = Vec::new();
        let compute = |group: &[u64]| {
            computed.extend(group);
            let value = |pair: &u64| [-(*pair as f64) - 0.1, -2.0 * *pair as f64 / 3.0];
            Ok(group.iter().map(value).collect())
        };
        let found = ReferenceLogProbs::complete(folder, identity, pairs, compute, &mut Listeners::default());
        (found.unwrap(), computed)
    }

    proptest! {
        /// Whatever a kill or a disk leaves of the file, the numbers are right, and whole groups before it are not computed again.
        #[test]
        fn a_damaged_file_gives_the_same_numbers(
            pairs in 1..300_u64,
            at in any::<prop::sample::Index>(),
            cut in any::<bool>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (expected, computed) = complete(folder.path(), "one", pairs);
            prop_assert_eq!(computed, (0..pairs).collect::<Vec<_>>());
            prop_assert_eq!(complete(folder.path(), "one", pairs), (expected.clone(), vec![]));
            let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
            let mut bytes = fs::read(&file).unwrap();
            let at = at.index(bytes.len());
            match cut {
                true => bytes.truncate(at),
                false => bytes[at] ^= 1,
            }
            fs::write(&file, bytes).unwrap();
            let whole = at as u64 / (GROUP * BYTES as u64 + OUT_LEN as u64) * GROUP;
            let (found, computed) = complete(folder.path(), "one", pairs);
            prop_assert_eq!(&found, &expected);
            prop_assert_eq!(computed, (whole..pairs).collect::<Vec<_>>());
            prop_assert_eq!(complete(folder.path(), "one", pairs), (expected, vec![]));
        }
    }

    #[test]
    fn a_file_of_numbers_only_is_computed_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (expected, _) = complete(folder.path(), "one", 100);
        let file = fs::read_dir(folder.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        // As an earlier version wrote it, and one of another identity.
        fs::write(&file, vec![0; 100 * BYTES]).unwrap();
        assert_eq!(complete(folder.path(), "one", 100).0, expected);
        let other = folder.path().join("other");
        fs::create_dir(&other).unwrap();
        complete(&other, "two", 100);
        let two = fs::read_dir(&other).unwrap().next().unwrap().unwrap().path();
        fs::copy(two, &file).unwrap();
        assert_eq!(complete(folder.path(), "one", 100).1.len(), 100);
    }
}
