//! Timings of this crate's hot paths, for `bench mixer`.
//!
//! Plain wall-clock loops: milliseconds a step and gigabytes a second are far above a clock's resolution. Nothing here
//! asserts a time.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::mixer::Mixer;
use crate::permutation::Permutation;
use crate::windows::{Sequence, WindowError, WindowReader};

/// The time to address one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addressing {
    /// The step.
    pub step: u64,
    /// Median over the repetitions.
    pub median: Duration,
    /// Longest over the repetitions.
    pub longest: Duration,
}

/// Addresses each of `steps` separately, `repetitions` times (at least once). A greedy blend caches its state: the first
/// repetition, usually the longest, is the cost of a jump.
///
/// # Errors
/// A step outside the stage.
pub fn addressing(mixer: &Mixer, steps: &[u64], repetitions: usize) -> Result<Vec<Addressing>> {
    // The counts at the starts of phases are computed once per mixer and belong to building it.
    mixer.counts_before_phase(mixer.config().phases.len());
    steps
        .iter()
        .map(|&step| {
            let mut times = Vec::new();
            for _ in 0..repetitions.max(1) {
                let start = Instant::now();
                black_box(mixer.batch(step)?);
                times.push(start.elapsed());
            }
            times.sort_unstable();
            let longest = times.last().copied().unwrap_or_default();
            let median = times.get(times.len() / 2).copied().unwrap_or(longest);
            Ok(Addressing {
                step,
                median,
                longest,
            })
        })
        .collect()
}

/// Work done and the time it took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throughput {
    /// Sequences or windows.
    pub sequences: u64,
    /// Bytes read from the store, 0 where none are.
    pub bytes: u64,
    /// Seconds it took.
    pub seconds: f64,
}

impl Throughput {
    /// Sequences a second.
    pub fn sequences_per_second(&self) -> f64 {
        self.sequences as f64 / self.seconds
    }

    /// Bytes a second.
    pub fn bytes_per_second(&self) -> f64 {
        self.bytes as f64 / self.seconds
    }
}

/// Orders steps one after another from `step` for about `duration`, on one core.
///
/// # Errors
/// A step outside the stage.
pub fn ordering(mixer: &Mixer, step: u64, duration: Duration) -> Result<Throughput> {
    let start = Instant::now();
    let mut sequences = 0;
    let mut batches = mixer.batches(step)?;
    while start.elapsed() < duration
        && let Some(batch) = batches.next()
    {
        sequences += black_box(batch).len() as u64;
    }
    Ok(Throughput {
        sequences,
        bytes: 0,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// Reads windows in permuted order for about `duration`, on one core, with their targets and document starts, as a training
/// step does. An untimed pass first brings the store into the page cache, as far as it fits.
///
/// # Errors
/// Whatever reading a window reports.
pub fn serving(reader: &WindowReader, duration: Duration) -> std::result::Result<Throughput, WindowError> {
    let mut sequence = Sequence::default();
    for window in 0..reader.windows() {
        reader.read_into(window, &mut sequence)?;
    }
    let width = reader.store().width().bytes();
    let start = Instant::now();
    let (mut sequences, mut bytes) = (0, 0);
    let order = Permutation::new(reader.windows(), &[0; 32], 0);
    let windows = (0..reader.windows()).filter_map(|index| order.get(index)).cycle();
    for window in windows.take_while(|_| start.elapsed() < duration) {
        reader.read_into(window, &mut sequence)?;
        black_box((sequence.targets(), sequence.document_starts()));
        bytes += black_box(&sequence).tokens().len() as u64 * width;
        sequences += 1;
    }
    Ok(Throughput {
        sequences,
        bytes,
        seconds: start.elapsed().as_secs_f64(),
    })
}
