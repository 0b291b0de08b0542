//! The reference's log-probabilities of all answers, computed once and kept beside the tokens.
//!
//! `reference-HASH.f64` holds two numbers a pair, in nats; the hash stands for the pairs, the reference and the precision.
//! What a run that was stopped has computed is used again.

use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use smollm3_engine::{Event, Listener};
use smollm3_sft::{Result, SftError};

use crate::PairRow;

/// Pairs that are computed between two writes.
const GROUP: u64 = 64;
const BYTES: usize = 16;

/// Log-probabilities of each pair's answers to the reference.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ReferenceLogProbs(Vec<[f64; 2]>);

fn trouble(path: &Path) -> impl FnOnce(std::io::Error) -> SftError {
    let path = path.to_owned();
    move |error| SftError::File {
        path,
        problem: error.to_string(),
    }
}

impl ReferenceLogProbs {
    /// What is kept in `folder` under `identity`, completed by `compute` for the pairs that are missing. `compute` gets
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
        let path = Self::path(folder, identity);
        let mut known = read(&path, pairs)?;
        if known.len() as u64 == pairs {
            return Ok(Self(known));
        }
        // Groups begin where they would have begun: a sum depends on what it is computed beside.
        known.truncate(known.len() / GROUP as usize * GROUP as usize);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(trouble(&path))?;
        file.set_len((known.len() * BYTES) as u64)
            .map_err(trouble(&path))?;
        file.seek(SeekFrom::End(0)).map_err(trouble(&path))?;
        while (known.len() as u64) < pairs {
            let done = known.len() as u64;
            told(listener, done, pairs)?;
            let group: Vec<u64> = (done..pairs.min(done + GROUP)).collect();
            let found = compute(&group)?;
            let bytes: Vec<u8> = found
                .iter()
                .flatten()
                .flat_map(|number| number.to_le_bytes())
                .collect();
            file.write_all(&bytes).map_err(trouble(&path))?;
            known.extend(found);
        }
        file.sync_all().map_err(trouble(&path))?;
        told(listener, pairs, pairs)?;
        Ok(Self(known))
    }

    fn path(folder: &Path, identity: &str) -> PathBuf {
        let hash = blake3::hash(identity.as_bytes()).to_hex();
        folder.join(format!("reference-{}.f64", &hash[..16]))
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

fn told(listener: &mut dyn Listener, done: u64, total: u64) -> Result<()> {
    let what = "reference log-probabilities".to_owned();
    Ok(listener.on(&Event::Preparing { what, done, total })?)
}

/// Whole pairs of the file, at most as many as there are; none if it is not there.
fn read(path: &Path, pairs: u64) -> Result<Vec<[f64; 2]>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = fs::read(path).map_err(trouble(path))?;
    let number = |bytes: &[u8]| bytes.try_into().map_or(f64::NAN, f64::from_le_bytes);
    let pair = |bytes: &[u8]| [number(&bytes[..8]), number(&bytes[8..])];
    Ok(bytes.chunks_exact(BYTES).take(pairs as usize).map(pair).collect())
}
