//! Which window of which source each sequence of each step is.
//!
//! One [`Mixer`] orders one stage: phases with their own weights, cut into steps of `global_batch` sequences. There is no
//! state between steps, so resuming needs only the step's number, and the batch does not depend on ranks or workers, which
//! take slices of it.
//!
//! Each phase starts its blend anew, as in the original, but the windows of a source are counted through all phases, so that
//! nothing repeats before an epoch is complete. Window `c` of a source (counted over the stage) belongs to epoch
//! `c / windows`, and each epoch has its own keyed permutation. Whether the data suffice for the whole stage is checked when
//! the mixer is built.
//!
//! Cost: that of the blend, see [`crate::interleave`] and [`crate::greedy`], and about 100 ns a sequence for the
//! permutation. Consecutive steps ([`Mixer::sequences`], or [`Mixer::batch`] step after step) pay for addressing once.

use std::ops::Range;
use std::sync::OnceLock;

use crate::blend::{Blend, BlendPicks};
use crate::config::{MixerConfig, PhaseWeights, Pick, SourceInfo, SourceWindow, WindowOrder, Windows};
use crate::epoch::EpochOrder;
use crate::error::{MixError, Result};
use crate::slice::slice_batch;

/// The order of one stage; see the [module documentation](self).
#[derive(Debug)]
pub struct Mixer {
    config: MixerConfig,
    phases: Vec<Phase>,
    /// Keys of the sources' permutations.
    keys: Vec<[u8; 32]>,
    /// Windows of each source, where they are known.
    windows: Vec<Option<u64>>,
    sequences: u64,
}

#[derive(Debug)]
struct Phase {
    /// Sequences of the stage before this phase, and at its end.
    range: Range<u64>,
    /// Stage-wide index of each of the blend's sources.
    sources: Vec<usize>,
    blend: Blend,
    /// Sequences of each of the stage's sources before this phase; computed when first asked for,
    /// as a greedy blend has to replay them.
    before: OnceLock<Vec<u64>>,
}

impl Mixer {
    /// Builds the order and, for sources whose number of windows is given, checks that the data suffice.
    ///
    /// # Errors
    /// Any [`MixError`] about weights, phases, epochs or [`MixError::TooLittleData`].
    pub fn new(config: MixerConfig) -> Result<Self> {
        for (what, quantity) in [
            ("the global batch", config.global_batch),
            ("the sequence length", config.sequence_length),
            ("the number of phases", config.phases.len() as u64),
        ] {
            if quantity == 0 {
                return Err(MixError::Zero { what });
            }
        }
        for (index, source) in config.sources.iter().enumerate() {
            let (name, epochs) = (source.name.clone(), source.max_epochs);
            if !(epochs.is_finite() && epochs > 0.0) {
                return Err(MixError::Epochs { name, epochs });
            }
            if config
                .sources
                .iter()
                .take(index)
                .any(|earlier| earlier.name == name)
            {
                return Err(MixError::SourceName { name });
            }
        }
        let mut phases = Vec::with_capacity(config.phases.len());
        let mut end = 0u64;
        for (index, weights) in config.phases.iter().enumerate() {
            let start = end;
            end = start
                .checked_add(weights.sequences)
                .filter(|&end| end <= 1 << 62)
                .ok_or(MixError::TooLong)?;
            let (sources, blend) = blend(&config, weights).map_err(|error| MixError::Phase {
                phase: index,
                error: Box::new(error),
            })?;
            phases.push(Phase {
                range: start..end,
                sources,
                blend,
                before: OnceLock::new(),
            });
        }
        let key = |source: &SourceInfo| permutation_key(config.seed, &source.name);
        let count = |source: &SourceInfo| source.windows.as_ref().map(Windows::count);
        let mixer = Self {
            keys: config.sources.iter().map(key).collect(),
            windows: config.sources.iter().map(count).collect(),
            config,
            phases,
            sequences: end,
        };
        mixer.check()?;
        Ok(mixer)
    }

    /// What the mixer was built from.
    pub fn config(&self) -> &MixerConfig {
        &self.config
    }

    /// Number of whole steps; they are counted from 1 to this.
    pub fn steps(&self) -> u64 {
        self.sequences / self.config.global_batch
    }

    /// Sequences each source gives before `phase`, or in all if `phase` is the number of phases.
    /// Indexed like the configuration's sources.
    pub fn counts_before_phase(&self, phase: usize) -> Vec<u64> {
        match (self.phases.get(phase), self.phases.last()) {
            (Some(_), _) => self.before(phase).to_vec(),
            (None, Some(last)) => {
                let mut counts = self.before(self.phases.len() - 1).to_vec();
                last.add_counts(&mut counts);
                counts
            }
            (None, None) => vec![0; self.config.sources.len()],
        }
    }

    /// The sequences of a step in batch order. Steps are counted from 1, as the original counts them.
    ///
    /// # Errors
    /// [`MixError::Step`] outside `1..=steps()`.
    pub fn batch(&self, step: u64) -> Result<Vec<Pick>> {
        let start = self.step_start(step)?;
        Ok(self.sequences(start..start + self.config.global_batch).collect())
    }

    /// What `rank` of `world` trains on in a step, a micro-batch for each accumulation step; see
    /// [`slice_batch`].
    ///
    /// # Errors
    /// A step or rank out of range, or a batch that `world · micro_batch` does not divide.
    pub fn slice(&self, step: u64, rank: u64, world: u64, micro_batch: u64) -> Result<Vec<Vec<Pick>>> {
        slice_batch(&self.batch(step)?, rank, world, micro_batch)
    }

    /// The sequences from `range.start` on, counted over the whole stage from 0, ending at
    /// `range.end` or with the stage. Step `k` is `(k − 1)·global_batch .. k·global_batch`.
    pub fn sequences(&self, range: Range<u64>) -> Sequences<'_> {
        let end = range.end.min(self.sequences);
        let phase = self
            .phases
            .partition_point(|phase| phase.range.end <= range.start);
        Sequences {
            mixer: self,
            range: range.start.min(end)..end,
            phase,
            picks: None,
            epochs: vec![None; self.keys.len()],
        }
    }

    /// The batches from `step` on, without addressing each anew.
    ///
    /// # Errors
    /// [`MixError::Step`] outside `1..=steps()`.
    pub fn batches(&self, step: u64) -> Result<impl Iterator<Item = Vec<Pick>> + '_> {
        let batch = self.config.global_batch;
        let steps = self.steps();
        let mut sequences = self.sequences(self.step_start(step)?..steps * batch);
        Ok((step..=steps).map(move |_| sequences.by_ref().take(batch as usize).collect()))
    }

    /// Picks that greedy blends have computed so far, including those only replayed; even blends never replay.
    pub fn picks_computed(&self) -> u64 {
        self.phases.iter().map(|phase| phase.blend.computed()).sum()
    }

    fn step_start(&self, step: u64) -> Result<u64> {
        let last = self.steps();
        if !(1..=last).contains(&step) {
            return Err(MixError::Step { step, last });
        }
        Ok((step - 1) * self.config.global_batch)
    }

    fn before(&self, phase: usize) -> &[u64] {
        self.phases[phase].before.get_or_init(|| {
            let Some(previous) = phase.checked_sub(1) else {
                return vec![0; self.config.sources.len()];
            };
            let mut counts = self.before(previous).to_vec();
            self.phases[previous].add_counts(&mut counts);
            counts
        })
    }

    /// Compares what the stage reads of each source with what it has.
    fn check(&self) -> Result<()> {
        // 1.15 epochs of 20 windows are 23, though 1.15 has no exact double: hence the last factor.
        // Saturates for absurd epochs, which is as good as no limit.
        let allowed =
            |windows: u64, epochs: f64| (windows as f64 * epochs * (1.0 + f64::EPSILON)).floor() as u64;
        let mut at_most = vec![0u64; self.config.sources.len()];
        for phase in &self.phases {
            for (&source, count) in phase.sources.iter().zip(phase.blend.at_most(phase.len())) {
                at_most[source] += count;
            }
        }
        let short_of = |counts: Vec<u64>| {
            let known = self.config.sources.iter().zip(&self.windows).zip(counts);
            let mut known = known.filter_map(|((source, windows), count)| Some((source, (*windows)?, count)));
            known.find(|(source, windows, count)| *count > allowed(*windows, source.max_epochs))
        };
        if short_of(at_most).is_none() {
            return Ok(());
        }
        let Some((source, windows, count)) = short_of(self.counts_before_phase(self.phases.len())) else {
            return Ok(());
        };
        let name = source.name.clone();
        let tokens = |sequences: u64| u128::from(sequences) * u128::from(self.config.sequence_length);
        Err(match windows {
            0 => MixError::NoData {
                name,
                needed: tokens(count),
            },
            _ => MixError::TooLittleData {
                name,
                needed: tokens(count),
                there: tokens(windows),
                epochs: source.max_epochs,
                // Written into the recipe, this number is enough.
                epochs_needed: (count as f64 / windows as f64 * 100.0).ceil() / 100.0,
            },
        })
    }
}

impl Phase {
    /// In sequences.
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn add_counts(&self, counts: &mut [u64]) {
        for (&source, count) in self.sources.iter().zip(self.blend.counts(self.len())) {
            counts[source] += count;
        }
    }
}

/// The stage-wide indices and the blend of a phase's sources with a weight other than 0.
fn blend(config: &MixerConfig, phase: &PhaseWeights) -> Result<(Vec<usize>, Blend)> {
    let sources = config.sources.len();
    let mut named = vec![false; sources];
    for &(source_index, weight) in &phase.weights {
        let Some(source) = config.sources.get(source_index) else {
            return Err(MixError::UnknownSource {
                source_index,
                sources,
            });
        };
        let name = source.name.clone();
        if std::mem::replace(&mut named[source_index], true) {
            return Err(MixError::DuplicateSource { name });
        }
        if !(weight.is_finite() && weight >= 0.0) {
            return Err(MixError::SourceWeight { name, weight });
        }
    }
    let used = phase.weights.iter().filter(|(_, weight)| *weight > 0.0);
    let (sources, weights): (Vec<usize>, Vec<f64>) = used.copied().unzip();
    let blend = Blend::new(config.order, &weights).map_err(|error| match error {
        MixError::TinyShare { source_index, share } => MixError::SourceShare {
            name: config.sources[sources[source_index]].name.clone(),
            share,
        },
        other => other,
    })?;
    Ok((sources, blend))
}

fn permutation_key(seed: u64, name: &str) -> [u8; 32] {
    let mut hash = blake3::Hasher::new_derive_key("smollm3 mixer: window permutation of a source, version 1");
    hash.update(&seed.to_le_bytes());
    hash.update(name.as_bytes());
    *hash.finalize().as_bytes()
}

/// Iterator over the sequences of a stage.
#[derive(Debug)]
pub struct Sequences<'a> {
    mixer: &'a Mixer,
    range: Range<u64>,
    phase: usize,
    picks: Option<BlendPicks<'a>>,
    /// Per source the epoch and its order, as successive windows mostly share them.
    epochs: Vec<Option<(u64, EpochOrder)>>,
}

impl Sequences<'_> {
    fn place(&mut self, source: usize, ordinal: u64) -> Option<SourceWindow> {
        let config = &self.mixer.config;
        let windows = config.sources[source].windows.as_ref()?;
        // A source without windows cannot be drawn from: the mixer refuses it when it is built.
        let count = self.mixer.windows[source].filter(|&count| count > 0)?;
        let (epoch, index) = (ordinal / count, ordinal % count);
        if config.windows == WindowOrder::Stored {
            return Some(SourceWindow { epoch, window: index });
        }
        let cached = &mut self.epochs[source];
        if cached.as_ref().is_none_or(|&(number, _)| number != epoch) {
            *cached = Some((epoch, EpochOrder::new(windows, &self.mixer.keys[source], epoch)));
        }
        let window = cached.as_mut().and_then(|(_, order)| order.get(index))?;
        Some(SourceWindow { epoch, window })
    }
}

impl Iterator for Sequences<'_> {
    type Item = Pick;

    fn next(&mut self) -> Option<Pick> {
        let at = self.range.next()?;
        let mixer = self.mixer;
        while at >= mixer.phases.get(self.phase)?.range.end {
            self.phase += 1;
            self.picks = None;
        }
        let phase = mixer.phases.get(self.phase)?;
        let offset = phase.range.start;
        let rest = at - offset..phase.range.end - offset;
        let picks = self.picks.get_or_insert_with(|| phase.blend.picks(rest));
        let (source, ordinal) = picks.next()?;
        let source = phase.sources[source];
        let ordinal = mixer.before(self.phase)[source] + ordinal;
        Some(Pick {
            source,
            ordinal,
            place: self.place(source, ordinal),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}
