//! The stores of several workers as the one that a single machine would have written, byte for byte.
//!
//! Pieces are numbered by the files of the whole source, so those of different workers never share a name, and merging
//! is giving each file a second name: nothing is read, and nothing takes room twice. Across file systems they are copied.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use smollm3_files::atomic_file::sync_parent;

use super::job::{FilesJob, Job, token_files};
use super::pieces::{Piece, pieces_folder};
use super::report::{TokenizeReport, held_out_folder, report, train_folder, withdraw};
use crate::error::{CorpusError, Result};

/// Makes the store in `out` of those of all workers, which stay as they are. A call that was killed can be made again.
///
/// # Errors
/// A folder that is no worker's or not finished, workers of different jobs or twice the same, one that is missing; an `out`
/// with other contents; a full disk.
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
        let Some(report) =
            report(folder)?.filter(|report| job.inputs().is_ok_and(|inputs| inputs == report.inputs))
        else {
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
                return refuse(format!(
                    "it does not belong to `{}`: {what}",
                    other_folder.display()
                ));
            }
        }
        if let Some((other, ..)) = workers.insert(worker.number, (folder, job, report)) {
            return refuse(format!("shard {worker} is also in `{}`", other.display()));
        }
    }
    let Some((job, of, slow_because)) = workers
        .values()
        .next()
        .and_then(|(_, job, report)| Some((job.clone(), job.worker?.of, report.slow_because.clone())))
    else {
        return Err(CorpusError::store(out, "there are no stores to merge"));
    };
    if let Some(missing) = (1..=of).find(|number| !workers.contains_key(number)) {
        let missing = format!(
            "shard {missing}/{of} is missing ({} of {of} were given)",
            workers.len()
        );
        return Err(CorpusError::store(out, missing));
    }

    let whole = FilesJob { worker: None, ..job };
    Job::start_files(out, &whole)?;
    withdraw(out)?;
    for (folder, ..) in workers.values() {
        for part in [train_folder, held_out_folder] {
            give_names(&token_files(&part(folder))?, &part(out))?;
        }
        give_names(&reports(folder)?, &pieces_folder(out))?;
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

/// The reports of a worker's pieces.
fn reports(folder: &Path) -> Result<Vec<PathBuf>> {
    let folder = pieces_folder(folder);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(CorpusError::io("list", &folder))?,
    };
    let path =
        |entry: std::io::Result<fs::DirEntry>| Ok(entry.map_err(CorpusError::io("list", &folder))?.path());
    let paths = entries.map(path).collect::<Result<Vec<PathBuf>>>()?;
    let is_report = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
    Ok(paths.into_iter().filter(is_report).collect())
}

/// Gives each of `files` its name in `folder` too.
fn give_names(files: &[PathBuf], folder: &Path) -> Result<()> {
    let Some(first) = files.first() else {
        return Ok(());
    };
    fs::create_dir_all(folder).map_err(CorpusError::io("create", folder))?;
    for file in files {
        let target = folder.join(file.file_name().unwrap_or_default());
        match fs::hard_link(file, &target) {
            Ok(()) => {}
            // Of an earlier call.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(_) => copy(file, &target)?,
        }
    }
    Ok(sync_parent(&folder.join(first.file_name().unwrap_or_default()))?)
}

/// A copy with the time of its original, by which its hash is known to hold.
fn copy(file: &Path, target: &Path) -> Result<()> {
    let partial = smollm3_files::atomic_file::partial_name(target)?;
    let time = fs::metadata(file).and_then(|metadata| metadata.modified());
    let time = time.map_err(CorpusError::io("read", file))?;
    fs::copy(file, &partial).map_err(CorpusError::io("copy", file))?;
    let copied = File::options().write(true).open(&partial).and_then(|copy| {
        copy.set_modified(time)?;
        copy.sync_all()
    });
    copied.map_err(CorpusError::io("write", &partial))?;
    fs::rename(&partial, target).map_err(CorpusError::io("write", target))
}
