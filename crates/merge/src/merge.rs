//! From folders to a folder.
//!
//! The tensors of the result are cut into chunks, and waves of chunks are computed by all threads: each thread maps
//! its chunk of every parent, sums, and writes the result to its place. Meanwhile the parents' files are hashed as far as
//! the wave goes, and what has been written is synced. Between waves the caller gets the progress and may stop. Neither the
//! number of threads nor the order in which they finish changes a bit of the result, and of several errors the first in
//! file order is returned.

use std::fs::File;
use std::ops::ControlFlow;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;

use rayon::prelude::*;
use safetensors::Dtype;
use smollm3_files::atomic_folder::{AtomicFolder, refuse_existing};
use smollm3_files::io;
use smollm3_hub::{Origin, Pins, commits_of, write_pins};
use smollm3_model::hf::FileDtype;

use crate::agreement::{same_architecture, same_vocabulary};
use crate::coefficients::Coefficients;
use crate::companions::Companions;
use crate::fingerprint::Fingerprint;
use crate::layout::{Layout, Target};
use crate::parent::Parent;
use crate::positioned::write_at;
use crate::report::{MergeReport, MergedParent};
use crate::{HashedFile, MergeError, MergeSettings, Result, arithmetic};

/// Numbers that a thread maps and writes at once.
const CHUNK: u64 = 1 << 18;

/// Numbers whose sums it keeps at once.
const BLOCK: usize = 1 << 13;

/// Chunks between two reports of progress.
const WAVE: usize = 128;

/// Writes the weighted mean of `parents` into the new folder `out`; [`arithmetic`] says what is computed.
///
/// `progress` regularly gets the bytes of weights done and their total, and may stop the merge. The folder appears complete
/// or not at all.
///
/// # Errors
/// The parents differ in architecture or vocabulary, are damaged or not there, the weights cannot be used, `out`
/// exists, or a file operation fails; see [`MergeError`].
pub fn merge(
    parents: &[(PathBuf, f64)],
    settings: &MergeSettings,
    out: &Path,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<MergeReport> {
    let weights = Coefficients::new(parents, settings.normalise)?;
    refuse_existing(out)?;
    let opened = parents.iter().map(|(folder, _)| Parent::open(folder));
    let opened = opened.collect::<Result<Vec<_>>>()?;
    let Some((first, others)) = opened.split_first() else {
        return Err(MergeError::NoParents);
    };
    for other in others {
        same_architecture((&first.folder, &first.config), (&other.folder, &other.config))?;
    }
    let companions = Companions::choose(&settings.tokenizer_from, &opened, &weights)?;
    let folders = opened.iter().map(|parent| parent.folder.as_path());
    let folders = folders.chain([companions.tokenizer.as_path()]);
    same_vocabulary(folders, first.config.vocab_size)?;

    let tensors = first.config.parameter_shapes();
    let formats = (0..tensors.len()).map(|number| settings.dtype.unwrap_or(kept(first.format(number))));
    let named = tensors.into_iter().zip(formats.clone());
    let layout = Layout::new(
        named.map(|((name, shape), dtype)| (name, shape, dtype)).collect(),
        settings.shard_bytes,
    )?;
    // The embedding comes first and is the largest.
    let dtype = formats.clone().next().unwrap_or_default();

    let draft = AtomicFolder::create(out)?;
    let job = Job {
        parents: &opened,
        weights: &weights,
        round: settings.parents_as,
        files: create(&draft, &layout)?,
    };
    let hashes = job.run(&layout, progress)?;
    if let Some(index) = layout.index() {
        draft.write("model.safetensors.index.json", index.as_bytes())?;
    }
    companions.copy(&draft, dtype)?;
    let merged = opened.iter().zip(parents).zip(&weights.shares).zip(hashes);
    let report = MergeReport {
        program: concat!("smollm3 ", env!("CARGO_PKG_VERSION")).to_owned(),
        method: "linear".to_owned(),
        normalised: settings.normalise,
        dtype: dtype.name().to_owned(),
        parents_as: settings.parents_as.map(|dtype| dtype.name().to_owned()),
        parents: merged
            .map(|(((parent, (_, weight)), share), files)| MergedParent {
                folder: parent.folder.clone(),
                commit: Origin::of(&parent.folder).map(|origin| origin.commit),
                weight: *weight,
                share: *share,
                dtype: kept(parent.format(0)).name().to_owned(),
                files,
            })
            .collect(),
        tokenizer_from: companions.tokenizer,
        tensors: layout.targets.len(),
        parameters: layout.targets.iter().map(Target::elements).sum(),
        bytes: layout.bytes(),
        files: layout.shards.iter().map(|shard| shard.name.clone()).collect(),
    };
    draft.write("merge.json", report.to_json().as_bytes())?;
    let mut commits = Pins::new();
    for (folder, _) in parents {
        commits.extend(commits_of(folder)?);
    }
    write_pins(draft.path(), &commits)?;
    draft.write("README.md", report.model_card(out).as_bytes())?;
    draft.commit()?;
    Ok(report)
}

/// The format that a tensor keeps if none is chosen.
fn kept(format: Option<Dtype>) -> FileDtype {
    match format {
        Some(Dtype::BF16) => FileDtype::Bf16,
        Some(Dtype::F16) => FileDtype::F16,
        _ => FileDtype::F32,
    }
}

/// Creates the files of weights at their full length, with their headers.
fn create(draft: &AtomicFolder, layout: &Layout) -> Result<Vec<(PathBuf, File)>> {
    let file = |shard: &crate::layout::Shard| {
        let path = draft.path().join(&shard.name);
        let file = File::create(&path).map_err(io("create", &path))?;
        file.set_len(shard.bytes)
            .and_then(|()| write_at(&file, &shard.header, 0))
            .map_err(io("write", &path))?;
        Ok((path, file))
    };
    layout.shards.iter().map(file).collect()
}

/// What every thread needs.
struct Job<'a> {
    parents: &'a [Parent],
    weights: &'a Coefficients,
    round: Option<FileDtype>,
    files: Vec<(PathBuf, File)>,
}

/// A part of a tensor.
struct Chunk<'a> {
    target: &'a Target,
    start: u64,
    count: usize,
}

impl Job<'_> {
    /// All chunks, and the hashes of the parents' files.
    fn run(
        &self,
        layout: &Layout,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Vec<Vec<HashedFile>>> {
        let fingerprints = self.parents.iter().map(Parent::fingerprint);
        let mut fingerprints = fingerprints.collect::<Result<Vec<_>>>()?;
        thread::scope(|scope| {
            let (more, asked) = mpsc::sync_channel(1);
            let flusher = scope.spawn(|| self.flush(asked));
            let added = self.waves(layout, &mut fingerprints, &more, progress);
            drop(more);
            let flushed = flusher.join().unwrap_or_else(|panic| resume_unwind(panic));
            added.and(flushed)
        })?;
        fingerprints.into_par_iter().map(Fingerprint::finish).collect()
    }

    /// Chunks and hashes in step; asks for a flush after every wave.
    fn waves(
        &self,
        layout: &Layout,
        fingerprints: &mut [Fingerprint],
        more: &SyncSender<()>,
        progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<()> {
        let chunks: Vec<Chunk<'_>> = layout.targets.iter().flat_map(cut).collect();
        let (mut done, total) = (0, layout.bytes());
        for wave in chunks.chunks(WAVE) {
            let bytes: u64 = wave.iter().map(Chunk::bytes).sum();
            let hash = || {
                fingerprints.par_iter_mut().try_for_each(|print| {
                    let part = u128::from(print.bytes()) * u128::from(bytes) / u128::from(total);
                    print.advance(part as u64)
                })
            };
            let add = || {
                let chunks = wave.par_iter().with_min_len(4);
                chunks
                    .map_init(Vec::new, |bytes, chunk| self.chunk(chunk, bytes))
                    .collect::<Vec<Result<()>>>()
            };
            let (hashed, added) = rayon::join(hash, add);
            added.into_iter().collect::<Result<()>>()?;
            hashed?;
            done += bytes;
            // If it is still busy with the flush before, that covers these bytes too.
            let _ = more.try_send(());
            if progress(done, total).is_break() {
                return Err(MergeError::Stopped);
            }
        }
        Ok(())
    }

    /// Syncs what has been written whenever asked, so that little is left to sync at the end.
    fn flush(&self, asked: Receiver<()>) -> Result<()> {
        for () in asked {
            for (path, file) in &self.files {
                file.sync_data().map_err(io("write", path))?;
            }
        }
        Ok(())
    }

    fn chunk(&self, chunk: &Chunk<'_>, bytes: &mut Vec<u8>) -> Result<()> {
        let Chunk { target, start, count } = *chunk;
        let windows = self
            .parents
            .iter()
            .map(|parent| parent.window(target.number, start, count));
        let windows = windows.collect::<Result<Vec<_>>>()?;
        bytes.resize(count * target.dtype.bytes(), 0);
        let mut sums = [0.0; BLOCK];
        for (block, bytes) in bytes.chunks_mut(BLOCK * target.dtype.bytes()).enumerate() {
            let first = block * BLOCK;
            let sum = &mut sums[..bytes.len() / target.dtype.bytes()];
            let (tensor, dtype) = (&target.name, target.dtype);
            let index = |element: usize| target.index(start + (first + element) as u64);
            sum.fill(-0.0);
            let parents = self.parents.iter().zip(&self.weights.factors).zip(&windows);
            for ((parent, factor), (format, window)) in parents {
                let part = window.get(first * format.bitsize() / 8..).unwrap_or_default();
                let added = arithmetic::add(sum, *format, part, self.round, *factor);
                added.map_err(|(element, value)| MergeError::NotFinite {
                    folder: parent.folder.clone(),
                    tensor: tensor.clone(),
                    index: index(element),
                    value,
                })?;
            }
            let finished = arithmetic::finish(sum, self.weights.divisor, dtype, bytes);
            finished.map_err(|(element, value)| MergeError::Overflow {
                tensor: tensor.clone(),
                index: index(element),
                value,
                dtype: dtype.name(),
            })?;
        }
        let Some((path, file)) = self.files.get(target.file) else {
            unreachable!("a tensor's file is one of the layout");
        };
        let offset = target.offset + start * target.dtype.bytes() as u64;
        Ok(write_at(file, bytes, offset).map_err(io("write", path))?)
    }
}

impl Chunk<'_> {
    fn bytes(&self) -> u64 {
        (self.count * self.target.dtype.bytes()) as u64
    }
}

fn cut(target: &Target) -> impl Iterator<Item = Chunk<'_>> {
    let elements = target.elements();
    (0..elements.div_ceil(CHUNK)).map(move |number| {
        let start = number * CHUNK;
        Chunk {
            target,
            start,
            count: CHUNK.min(elements - start) as usize,
        }
    })
}
