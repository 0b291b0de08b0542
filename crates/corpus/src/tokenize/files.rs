//! Files of rows, of any size, to one token store.
//!
//! Three stages run at once: one thread reads batches, all cores parse and tokenise a few of them at a
//! time, one thread writes. Rows come out in the order they went in, so the output does not
//! depend on the number of threads; memory is a handful of batches of a few megabytes. Pieces
//! (see `pieces.rs`) make it resumable.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use super::job::{FilesJob, Job};
use super::pieces::{Piece, PieceReport, PieceWriter};
use super::report::{PartReport, Skipped, TokenizeReport, add_counts, finished, withdraw};
use super::{FORMAT, check_share, is_held_out};
use crate::error::{CorpusError, Result};
use crate::read::{self, Batch, Position, RowProblem};
use crate::shards::Shards;
use crate::tokenizer::{DocumentEncoder, SpecialTokens, Tokenizer};

/// Batches being tokenised, or done and waiting for the writer.
const BATCHES_AHEAD: usize = 3;

/// What becomes of a row without usable text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BadRows {
    /// The first one ends the work with its file and line.
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
    /// What special tokens spelt out in a document become.
    pub special_tokens: SpecialTokens,
    /// What becomes of bad rows.
    pub bad_rows: BadRows,
    /// Text a piece holds: at most this much is done again after a kill.
    pub piece_bytes: u64,
    /// Threads that tokenise; `None`: one a core, or what `RAYON_NUM_THREADS` says. Not part of the
    /// job: the output is the same.
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
            threads: None,
        }
    }
}

/// How far a tokenisation is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FilesProgress {
    /// Input files finished.
    pub files: u64,
    /// Input files in all.
    pub of_files: u64,
    /// Bytes of the input files (as they lie on disk) done.
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
    /// Time left, judged by the bytes read in `elapsed` since this call began.
    pub fn time_left(&self, elapsed: Duration) -> Option<Duration> {
        let done = self
            .file_bytes
            .checked_sub(self.file_bytes_before)
            .filter(|bytes| *bytes > 0)?;
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

/// Tokenises the files of `shards` into `folder`, or goes on where an earlier call stopped. `progress`
/// is called a few times a second; `false` from it stops.
///
/// # Errors
/// A file that cannot be read or has no such column; a bad row under [`BadRows::Stop`]; a folder with
/// other contents; a full disk; [`CorpusError::Interrupted`]. What is finished then stays, and the same
/// call goes on from there.
pub fn tokenize_files(
    shards: &dyn Shards,
    tokenizer: &Tokenizer,
    folder: &Path,
    options: &FilesOptions,
    progress: &mut (dyn FnMut(FilesProgress) -> bool + Send),
) -> Result<TokenizeReport> {
    check_share(options.held_out)?;
    if options.piece_bytes == 0 {
        let problem = "must be at least 1".to_owned();
        return Err(CorpusError::Argument {
            name: "piece_bytes",
            problem,
        });
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
        files: shards.shards().to_vec(),
    };
    let inputs = job.inputs()?;
    if let Some(report) = finished(folder, inputs) {
        return Ok(report);
    }
    Job::start_files(folder, &job)?;
    withdraw(folder)?;

    let mut work = Work {
        shards,
        folder,
        options,
        encoder: tokenizer.documents(options.special_tokens),
        tokenizer,
        report: TokenizeReport {
            source: job.source.clone(),
            inputs,
            train: PartReport::default(),
            held_out: PartReport::default(),
            replaced: BTreeMap::new(),
            skipped: Skipped::default(),
        },
        done: FilesProgress {
            of_files: job.files.len() as u64,
            of_file_bytes: job.files.iter().map(|file| file.bytes).sum(),
            ..FilesProgress::default()
        },
        progress,
        threads: ThreadPoolBuilder::new()
            .num_threads(options.threads.unwrap_or(0))
            .build()
            .map_err(|error| {
                CorpusError::source(shards.name(), format!("no threads to tokenise: {error}"))
            })?,
    };
    for file in 0..job.files.len() {
        work.file(file)?;
    }
    work.report.check(options.held_out)?;
    work.report.save(folder)?;
    Ok(work.report)
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

struct Work<'a> {
    shards: &'a dyn Shards,
    folder: &'a Path,
    options: &'a FilesOptions,
    encoder: DocumentEncoder,
    tokenizer: &'a Tokenizer,
    report: TokenizeReport,
    done: FilesProgress,
    progress: &'a mut (dyn FnMut(FilesProgress) -> bool + Send),
    /// A pool of its own: the calling thread waits for it, and waiting inside a caller's pool of one
    /// thread would never end.
    threads: ThreadPool,
}

impl Work<'_> {
    /// Adds what is finished of a file, then does the rest.
    fn file(&mut self, file: usize) -> Result<()> {
        let mut number = 0;
        let mut from = Position::default();
        let mut last = false;
        while !last
            && let Some(piece) = (Piece {
                folder: self.folder,
                file,
                number,
            })
            .finished()?
        {
            number += 1;
            (from, last) = (piece.end, piece.last);
            self.add(&piece);
        }
        let bytes_before: u64 = self
            .shards
            .shards()
            .iter()
            .take(file)
            .map(|shard| shard.bytes)
            .sum();
        let bytes = self.shards.shards().get(file).map_or(0, |shard| shard.bytes);
        if last {
            self.done.file_bytes_before = bytes_before + bytes;
        } else {
            self.done.file_bytes = bytes_before;
            self.rest_of_file(file, number, from)?;
        }
        self.done.files += 1;
        self.done.file_bytes = bytes_before + bytes;
        Ok(())
    }

    fn add(&mut self, piece: &PieceReport) {
        self.report.train.add(&piece.train);
        self.report.held_out.add(&piece.held_out);
        self.report.skipped.add(&piece.skipped);
        add_counts(&mut self.report.replaced, &piece.replaced);
        self.done.add(piece);
    }

    fn rest_of_file(&mut self, file: usize, number: usize, from: Position) -> Result<()> {
        // The next file may come from afar while this one is worked on.
        if file + 1 < self.shards.shards().len() {
            self.shards.prefetch(file + 1);
        }
        let shard = self.shards.open(file)?;
        let name = self
            .shards
            .shards()
            .get(file)
            .map_or("", |shard| shard.name.as_str());
        let batches = read::open(shard.path(), name, &self.options.column, from)?;

        let (to_encoder, from_reader) = sync_channel::<Result<Batch>>(1);
        // What the writer gets are promises, in order: while it waits for the first batch, the next ones
        // are already being worked on, and no core idles over the last long document of a batch.
        let (to_writer, promised) = sync_channel::<Receiver<Result<Encoded>>>(BATCHES_AHEAD);
        let encoder = Encoder {
            encoder: &self.encoder,
            held_out: self.options.held_out,
        };
        let encoder = &encoder;
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
            progress: &mut *self.progress,
        };
        let threads = &self.threads;
        let pieces = thread::scope(|scope| {
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
                        // The writer may be gone, after an error of its own.
                        let _ = done.send(batch.and_then(|batch| encoder.encode(batch)));
                    });
                }
            });
            drop(to_writer);
            writer
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        for piece in &pieces {
            self.add(piece);
        }
        Ok(())
    }
}

struct Encoder<'a> {
    encoder: &'a DocumentEncoder,
    held_out: f64,
}

impl Encoder<'_> {
    fn encode(&self, batch: Batch) -> Result<Encoded> {
        let rows = (0..batch.len())
            .into_par_iter()
            .map(|row| self.row(&batch, row))
            .collect::<Result<_>>()?;
        Ok(Encoded { batch, rows })
    }

    fn row(&self, batch: &Batch, row: usize) -> Result<Row> {
        Ok(match batch.text(row) {
            Ok(None) => Row::Blank,
            Ok(Some(text)) if text.is_empty() => Row::Empty,
            Ok(Some(text)) => Row::Document {
                bytes: text.len() as u64,
                held_out: self.held_out > 0.0 && is_held_out(&text, self.held_out),
                tokens: self.encoder.encode(&text)?,
                replaced: text.lone_surrogates > 0,
            },
            Err(problem) => Row::Bad(problem),
        })
    }
}

struct Writer<'a> {
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
    progress: &'a mut (dyn FnMut(FilesProgress) -> bool + Send),
}

impl<'a> Writer<'a> {
    /// Writes all pieces of the rest of a file.
    fn run(mut self, promised: Receiver<Receiver<Result<Encoded>>>) -> Result<Vec<PieceReport>> {
        let mut pieces = Vec::new();
        let mut writer = self.open(self.from);
        for promise in promised {
            // A promise is broken only when the tokenizer panicked; that panic is raised where it happened.
            let Ok(encoded) = promise.recv() else {
                return Err(CorpusError::Interrupted);
            };
            let Encoded { batch, rows } = encoded?;
            for (index, row) in rows.into_iter().enumerate() {
                self.row(&mut writer, &batch, index, row)?;
                writer.report.end = batch.position_after(index);
                if writer.bytes() >= self.options.piece_bytes {
                    let end = writer.report.end;
                    pieces.push(writer.finish(false)?);
                    self.piece.number += 1;
                    writer = self.open(end);
                }
            }
            self.done.file_bytes = self.file_bytes + batch.file_bytes;
            if !(self.progress)(self.done) {
                return Err(CorpusError::Interrupted);
            }
        }
        pieces.push(writer.finish(true)?);
        Ok(pieces)
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
