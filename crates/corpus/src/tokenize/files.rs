//! Files of rows, of any size, to one token store.
//!
//! The stages run concurrently: one thread reads batches, all cores parse and tokenise a few of them at a time, one thread
//! writes, another syncs finished pieces. Rows keep their order, so the output does not depend on the number of threads;
//! memory is a handful of batches of a few megabytes. Pieces (see `pieces.rs`) make it resumable.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::job::{FilesJob, Job};
use super::pieces::{Piece, PieceKey, PieceWriter};
use super::report::{PieceReport, TokenizeReport, finished, withdraw};
use super::worker::Worker;
use super::{FORMAT, check_share, is_held_out};
use crate::error::{CorpusError, Result};
use crate::read::{self, Batch, Position, RowProblem};
use crate::shards::Shards;
use crate::tokenizer::{DocumentEncoder, SpecialTokens, Tokenizer};

/// Batches being tokenised or waiting for the writer.
const BATCHES_AHEAD: usize = 3;

/// How rows without usable text are treated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BadRows {
    /// The first one is an error that names its file and line.
    #[default]
    Stop,
    /// They are left out, counted by reason, and the first few quoted in the report.
    Skip,
}

/// How files are tokenised.
#[derive(Debug, Clone)]
pub struct FilesOptions {
    /// The column or field that holds the text.
    pub column: String,
    /// Share of the documents kept out of training, in `[0, 1)`.
    pub held_out: f64,
    /// How special tokens spelt out in a document are treated.
    pub special_tokens: SpecialTokens,
    /// How bad rows are treated.
    pub bad_rows: BadRows,
    /// Bytes of text per piece; a killed job repeats at most twice this much.
    pub piece_bytes: u64,
    /// Which worker this is, if several share the files; `None`: all files.
    pub worker: Option<Worker>,
    /// Threads that tokenise; `None`: `RAYON_NUM_THREADS`, else one per core. They do not change the output.
    pub threads: Option<usize>,
}

impl Default for FilesOptions {
    fn default() -> Self {
        FilesOptions {
            column: "text".to_owned(),
            held_out: 0.0,
            special_tokens: SpecialTokens::Text,
            bad_rows: BadRows::Stop,
            piece_bytes: 256 << 20,
            worker: None,
            threads: None,
        }
    }
}

/// Progress of a tokenisation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilesProgress {
    /// Input files finished.
    pub files: u64,
    /// Input files in all.
    pub of_files: u64,
    /// Bytes of the input files, as stored, done.
    pub file_bytes: u64,
    /// Bytes of all input files.
    pub of_file_bytes: u64,
    /// Bytes of the input files that were done before this call.
    pub file_bytes_before: u64,
    /// Documents written.
    pub documents: u64,
    /// Bytes of their text.
    pub text_bytes: u64,
    /// Tokens written.
    pub tokens: u64,
    /// Rows that gave no document.
    pub skipped: u64,
}

impl FilesProgress {
    /// The time left, estimated from the bytes read in `elapsed` since the call began.
    pub fn time_left(&self, elapsed: Duration) -> Option<Duration> {
        let done = self.file_bytes.checked_sub(self.file_bytes_before);
        let done = done.filter(|bytes| *bytes > 0)?;
        let left = self.of_file_bytes.saturating_sub(self.file_bytes);
        Duration::try_from_secs_f64(elapsed.as_secs_f64() * left as f64 / done as f64).ok()
    }

    fn add(&mut self, piece: &PieceReport) {
        self.documents += piece.train.documents + piece.held_out.documents;
        self.text_bytes += piece.train.bytes + piece.held_out.bytes;
        self.tokens += piece.train.tokens + piece.held_out.tokens;
        self.skipped += piece.skipped.total();
    }
}

/// Tokenises the files of `shards` into `folder`, or resumes an earlier call. `progress` is called a few times a second;
/// if it returns `false`, the work stops.
///
/// # Errors
/// A file that cannot be read or lacks the column; a bad row under [`BadRows::Stop`]; a folder with other contents; a full
/// disk; [`CorpusError::Interrupted`]. Finished pieces stay, and the same call resumes from them.
pub fn tokenize_files(
    shards: &dyn Shards,
    tokenizer: &Tokenizer,
    folder: &Path,
    options: &FilesOptions,
    progress: &mut (dyn FnMut(FilesProgress) -> bool + Send),
) -> Result<TokenizeReport> {
    check_share(options.held_out)?;
    if options.piece_bytes == 0 {
        return Err(CorpusError::argument("piece_bytes", "must be at least 1"));
    }
    let job = FilesJob {
        format: FORMAT,
        source: shards.name().to_owned(),
        column: options.column.clone(),
        held_out: options.held_out,
        parse_special_tokens: options.special_tokens == SpecialTokens::Parsed,
        skip_bad_rows: options.bad_rows == BadRows::Skip,
        piece_bytes: options.piece_bytes,
        tokenizer: tokenizer.fingerprint()?,
        worker: options.worker,
        files: shards.shards().to_vec(),
    };
    let inputs = job.inputs()?;
    if let Some(report) = finished(folder, inputs) {
        return Ok(report);
    }
    Job::start_files(folder, &job)?;
    withdraw(folder)?;

    let files = match options.worker {
        Some(worker) => worker.files(&job.files),
        None => (0..job.files.len()).collect(),
    };
    let threads = ThreadPoolBuilder::new()
        .num_threads(options.threads.unwrap_or(0))
        .build()
        .map_err(|error| CorpusError::source(shards.name(), format!("no threads to tokenise: {error}")))?;
    let file_bytes = files.iter().filter_map(|file| Some(job.files.get(*file)?.bytes));
    let (to_finisher, written) = sync_channel(0);
    let mut work = FileTokenizer {
        shards,
        folder,
        options,
        encoder: tokenizer.documents(options.special_tokens),
        tokenizer,
        done: FilesProgress {
            of_files: files.len() as u64,
            of_file_bytes: file_bytes.sum(),
            ..FilesProgress::default()
        },
        pieces: BTreeMap::new(),
        to_finisher,
        progress,
        threads,
    };
    let pieces = thread::scope(|scope| {
        let finisher = scope.spawn(move || finish(written));
        let worked = files
            .iter()
            .enumerate()
            .try_for_each(|(at, file)| work.file(*file, files.get(at + 1).copied()));
        let FileTokenizer {
            mut pieces,
            to_finisher,
            ..
        } = work;
        // The finisher ends when its channel closes.
        drop(to_finisher);
        let finished = finisher.join().unwrap_or_else(|panic| resume_unwind(panic));
        // An error of the finisher also ended the work, so it comes first.
        pieces.extend(finished?);
        worked.map(|()| pieces)
    })?;
    let mut report = TokenizeReport::new(&job.source, inputs, tokenizer);
    pieces.values().for_each(|piece| report.add(piece));
    if options.worker.is_none() {
        report.check(options.held_out)?;
    }
    report.save(folder)?;
    Ok(report)
}

/// Finishes pieces, which syncs them, while the next one is being written.
fn finish(written: Receiver<(PieceWriter<'_>, bool)>) -> Result<Vec<(PieceKey, PieceReport)>> {
    let finish = |(writer, last): (PieceWriter<'_>, bool)| Ok((writer.key(), writer.finish(last)?));
    written.into_iter().map(finish).collect()
}

/// One row after tokenising.
enum Row {
    Blank,
    Empty,
    Bad(RowProblem),
    Document {
        bytes: u64,
        held_out: bool,
        tokens: Vec<u32>,
        /// Whether halves of surrogate pairs were replaced.
        replaced: bool,
    },
}

/// A batch with its rows tokenised.
struct Encoded {
    batch: Batch,
    rows: Vec<Row>,
}

struct FileTokenizer<'a> {
    shards: &'a dyn Shards,
    folder: &'a Path,
    options: &'a FilesOptions,
    encoder: DocumentEncoder,
    tokenizer: &'a Tokenizer,
    done: FilesProgress,
    /// What was finished before this call.
    pieces: BTreeMap<PieceKey, PieceReport>,
    to_finisher: SyncSender<(PieceWriter<'a>, bool)>,
    progress: &'a mut (dyn FnMut(FilesProgress) -> bool + Send),
    /// A separate pool: the calling thread waits for it, which would deadlock inside a caller's pool of one thread.
    threads: ThreadPool,
}

impl FileTokenizer<'_> {
    /// Adds the finished pieces of a file, then does the rest. `next` is the file after it.
    fn file(&mut self, file: usize, next: Option<usize>) -> Result<()> {
        let finished = Piece::finished_of(self.folder, file)?;
        let number = finished.len();
        let (from, last) = finished
            .last()
            .map(|piece| (piece.end, piece.last))
            .unwrap_or_default();
        for (number, piece) in finished.into_iter().enumerate() {
            self.done.add(&piece);
            self.pieces.insert((file, number), piece);
        }
        let end = self.done.file_bytes + self.shards.shards().get(file).map_or(0, |shard| shard.bytes);
        match last {
            true => self.done.file_bytes_before = end,
            false => self.rest_of_file(file, number, from, next)?,
        }
        self.done.files += 1;
        self.done.file_bytes = end;
        Ok(())
    }

    fn rest_of_file(
        &mut self,
        file: usize,
        number: usize,
        from: Position,
        next: Option<usize>,
    ) -> Result<()> {
        // A remote file is fetched while this one is processed.
        if let Some(next) = next {
            self.shards.prefetch(next);
        }
        let shard = self.shards.open(file)?;
        let name = self
            .shards
            .shards()
            .get(file)
            .map_or("", |shard| shard.name.as_str());
        let batches = read::open(shard.path(), name, &self.options.column, from)?;

        let (to_encoder, from_reader) = sync_channel::<Result<Batch>>(1);
        // The writer receives promises in order: while it waits for the first batch, the next ones are being tokenised,
        // so no core idles over the last long document of a batch.
        let (to_writer, promised) = sync_channel::<Receiver<Result<Encoded>>>(BATCHES_AHEAD);
        let (encoder, share) = (&self.encoder, self.options.held_out);
        let writer = Writer {
            piece: Piece {
                folder: self.folder,
                file,
                number,
            },
            from,
            source: self.shards.name(),
            name,
            options: self.options,
            tokenizer: self.tokenizer,
            file_bytes: self.done.file_bytes,
            done: self.done,
            to_finisher: self.to_finisher.clone(),
            progress: &mut *self.progress,
        };
        let threads = &self.threads;
        self.done = thread::scope(|scope| {
            scope.spawn(move || {
                for batch in batches {
                    if to_encoder.send(batch).is_err() {
                        return;
                    }
                }
            });
            let writer = scope.spawn(move || writer.run(promised));
            threads.in_place_scope_fifo(|tasks| {
                for batch in from_reader {
                    let (done, promise) = sync_channel(1);
                    if to_writer.send(promise).is_err() {
                        break;
                    }
                    tasks.spawn_fifo(move |_| {
                        // The writer is gone after an error.
                        let _ = done.send(batch.and_then(|batch| encode(encoder, share, batch)));
                    });
                }
            });
            drop(to_writer);
            writer.join().unwrap_or_else(|panic| resume_unwind(panic))
        })?;
        Ok(())
    }
}

/// Tokenises the rows of a batch; `share` of them are held out.
fn encode(encoder: &DocumentEncoder, share: f64, batch: Batch) -> Result<Encoded> {
    let row = |row| {
        Ok(match batch.text(row) {
            Ok(None) => Row::Blank,
            Ok(Some(text)) if text.is_empty() => Row::Empty,
            Ok(Some(text)) => Row::Document {
                bytes: text.len() as u64,
                held_out: share > 0.0 && is_held_out(&text, share),
                tokens: encoder.encode(&text)?,
                replaced: text.lone_surrogates > 0,
            },
            Err(problem) => Row::Bad(problem),
        })
    };
    let rows = (0..batch.len()).into_par_iter().map(row).collect::<Result<_>>()?;
    Ok(Encoded { batch, rows })
}

struct Writer<'a, 'p> {
    piece: Piece<'a>,
    from: Position,
    source: &'a str,
    /// The input file's name.
    name: &'a str,
    options: &'a FilesOptions,
    tokenizer: &'a Tokenizer,
    /// Bytes of the files before this one.
    file_bytes: u64,
    done: FilesProgress,
    to_finisher: SyncSender<(PieceWriter<'a>, bool)>,
    progress: &'p mut (dyn FnMut(FilesProgress) -> bool + Send),
}

impl<'a> Writer<'a, '_> {
    /// Writes all pieces of the rest of a file.
    fn run(mut self, promised: Receiver<Receiver<Result<Encoded>>>) -> Result<FilesProgress> {
        let mut writer = self.open(self.from);
        for promise in promised {
            // A promise is broken only if the tokenizer panicked; the panic is raised on its own thread.
            let Ok(encoded) = promise.recv() else {
                return Err(CorpusError::Interrupted);
            };
            let Encoded { batch, rows } = encoded?;
            for (index, row) in rows.into_iter().enumerate() {
                self.row(&mut writer, &batch, index, row)?;
                writer.report.end = batch.position_after(index);
                if writer.bytes() >= self.options.piece_bytes {
                    let end = writer.report.end;
                    self.piece.number += 1;
                    let written = std::mem::replace(&mut writer, self.open(end));
                    self.finish(written, false)?;
                }
            }
            self.done.file_bytes = self.file_bytes + batch.file_bytes;
            if !(self.progress)(self.done) {
                return Err(CorpusError::Interrupted);
            }
        }
        self.finish(writer, true)?;
        Ok(self.done)
    }

    /// Sends a piece to the finisher. If it is gone, its own error is reported instead of this one.
    fn finish(&self, written: PieceWriter<'a>, last: bool) -> Result<()> {
        let sent = self.to_finisher.send((written, last));
        sent.map_err(|_| CorpusError::Interrupted)
    }

    fn open(&self, start: Position) -> PieceWriter<'a> {
        let vocab_size = u64::from(self.tokenizer.info().vocab_size);
        PieceWriter::new(self.piece, start, self.tokenizer.name(), vocab_size)
    }

    fn row(&mut self, writer: &mut PieceWriter<'_>, batch: &Batch, index: usize, row: Row) -> Result<()> {
        match row {
            Row::Document {
                bytes,
                held_out,
                tokens,
                replaced,
            } => {
                if replaced {
                    writer.report.count_replaced();
                }
                self.done.documents += 1;
                self.done.text_bytes += bytes;
                self.done.tokens += tokens.len() as u64;
                writer.push(held_out, bytes, &tokens)?;
            }
            Row::Blank => {}
            Row::Empty => {
                self.done.skipped += 1;
                writer.report.skipped.count("empty");
            }
            Row::Bad(problem) => {
                self.done.skipped += 1;
                let place = format!("{} of `{}`", batch.place(index), self.name);
                let what = problem.describe(&self.options.column);
                if self.options.bad_rows == BadRows::Stop {
                    let problem = format!("{place} {what}; mend it, or say that bad rows are to be skipped");
                    return Err(CorpusError::source(self.source, problem));
                }
                writer.report.skipped.count(problem.kind());
                writer.report.skipped.quote(format!("{place} {what}"));
            }
        }
        Ok(())
    }
}
