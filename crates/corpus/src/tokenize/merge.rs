//! Merges the stores of several workers into the one that a single machine would have written, byte for byte.
//!
//! Pieces are numbered by the files of the whole source, so those of different workers never share a name. Merging
//! hard-links each file: nothing is read, and nothing takes space twice. Across file systems files are copied.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use smollm3_files::atomic_file::{partial_name, sync_folder};
use smollm3_files::io;

use super::job::{FilesJob, Job, files_named, token_files};
use super::pieces::{Piece, pieces_folder};
use super::report::{TokenizeReport, held_out_folder, report, train_folder, withdraw};
use crate::error::{CorpusError, Result};

/// Merges the stores of all workers, which stay unchanged, into `out`. A killed call can be repeated.
///
/// # Errors
/// A folder that is not a worker's or not finished; workers of different jobs; a worker given twice or missing; an `out` with
/// other contents; a full disk.
pub fn merge_stores(folders: &[PathBuf], out: &Path) -> Result<TokenizeReport> {
    let mut workers: BTreeMap<u32, (&Path, FilesJob, TokenizeReport)> = BTreeMap::new();
    for folder in folders {
        let refuse = |problem: String| Err(CorpusError::store(folder, problem));
        let Some(Job::Files(job)) = Job::read(folder)? else {
            return refuse("it is not the output of `data tokenize --shard`".to_owned());
        };
        let Some(worker) = job.worker else {
            return refuse("it was made without --shard: it is whole".to_owned());
        };
        let inputs = job.inputs()?;
        let Some(report) = report(folder)?.filter(|report| report.inputs == inputs) else {
            return refuse(format!("shard {worker} is not finished; run its command again"));
        };
        if let Some((other_folder, other, _)) = workers.values().next() {
            let alike = FilesJob {
                worker: other.worker,
                ..job.clone()
            };
            let of = other.worker.map_or(0, |other| other.of);
            if alike != *other || worker.of != of {
                let what = match alike == *other {
                    true => format!("it is one of {} shards, not of {of}", worker.of),
                    false => alike.difference(other),
                };
                let other = other_folder.display();
                return refuse(format!("it does not belong to `{other}`: {what}"));
            }
        }
        if let Some((other, ..)) = workers.insert(worker.number, (folder, job, report)) {
            return refuse(format!("shard {worker} is also in `{}`", other.display()));
        }
    }
    let first = workers.values().next();
    let first =
        first.and_then(|(_, job, report)| Some((job.clone(), job.worker?.of, report.slow_because.clone())));
    let Some((job, of, slow_because)) = first else {
        return Err(CorpusError::store(out, "there are no stores to merge"));
    };
    if let Some(missing) = (1..=of).find(|number| !workers.contains_key(number)) {
        let given = workers.len();
        let missing = format!("shard {missing}/{of} is missing ({given} of {of} were given)");
        return Err(CorpusError::store(out, missing));
    }

    let whole = FilesJob { worker: None, ..job };
    Job::start_files(out, &whole)?;
    withdraw(out)?;
    for (folder, ..) in workers.values() {
        for part in [train_folder, held_out_folder] {
            link_files(&token_files(&part(folder))?, &part(out))?;
        }
        let reports = files_named(&pieces_folder(folder), |name| name.ends_with(".json"))?;
        link_files(&reports, &pieces_folder(out))?;
    }

    let mut merged = TokenizeReport::empty(&whole.source, whole.inputs()?, slow_because);
    for (file, shard) in whole.files.iter().enumerate() {
        let pieces = Piece::finished_of(out, file)?;
        if pieces.last().is_none_or(|piece| !piece.last) {
            let problem = format!(
                "the tokens of `{}` are not whole; run the command of its shard again",
                shard.name
            );
            return Err(CorpusError::store(out, problem));
        }
        pieces.iter().for_each(|piece| merged.add(piece));
    }
    merged.check(whole.held_out)?;
    merged.save(out)?;
    Ok(merged)
}

/// Hard-links `files` into `folder`.
fn link_files(files: &[PathBuf], folder: &Path) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(io("create", folder))?;
    for file in files {
        let target = folder.join(file.file_name().unwrap_or_default());
        match fs::hard_link(file, &target) {
            Ok(()) => {}
            // From an earlier call.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(_) => copy(file, &target)?,
        }
    }
    Ok(sync_folder(folder)?)
}

/// Copies a file with its modification time, by which its cached hash stays valid.
fn copy(file: &Path, target: &Path) -> Result<()> {
    let partial = partial_name(target)?;
    let time = fs::metadata(file).and_then(|metadata| metadata.modified());
    let time = time.map_err(io("read", file))?;
    fs::copy(file, &partial).map_err(io("copy", file))?;
    let copied = File::options().write(true).open(&partial).and_then(|copy| {
        copy.set_modified(time)?;
        copy.sync_all()
    });
    copied.map_err(io("write", &partial))?;
    Ok(fs::rename(&partial, target).map_err(io("write", target))?)
}
