//! Pieces: the unit in which the tokenisation of files is finished and resumed.
//!
//! Each input file becomes one or more pieces of a fixed amount of text. A piece is one `.ds` per part (training, held
//! out) and a small report of where in the input it ends; the report is renamed into place after the stores, so a piece
//! counts only if it is complete. Where a piece ends depends on the rows alone. So a killed job repeats at most two pieces,
//! the one being synced and the one being written, and gives the same bytes.

use std::path::{Path, PathBuf};

use smollm3_files::atomic_file::write_json;
use smollm3_files::read_if_present;

use super::report::{PartReport, PieceReport, held_out_folder, train_folder};
use crate::error::{CorpusError, Result};
use crate::read::Position;
use crate::store::StoreWriter;

/// The number of the file and that of the piece in it.
pub(super) type PieceKey = (usize, usize);

/// Where a piece's files are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece<'a> {
    pub(super) folder: &'a Path,
    pub(super) file: usize,
    pub(super) number: usize,
}

/// Where the reports of pieces are.
pub(super) fn pieces_folder(folder: &Path) -> PathBuf {
    folder.join("parts")
}

impl<'a> Piece<'a> {
    /// The reports of the finished pieces of a file, from the first on.
    pub(super) fn finished_of(folder: &'a Path, file: usize) -> Result<Vec<PieceReport>> {
        let mut pieces: Vec<PieceReport> = Vec::new();
        while pieces.last().is_none_or(|piece| !piece.last)
            && let Some(piece) = (Piece {
                folder,
                file,
                number: pieces.len(),
            })
            .finished()?
        {
            pieces.push(piece);
        }
        Ok(pieces)
    }

    fn stem(&self) -> String {
        format!("{:05}-{:05}", self.file, self.number)
    }

    fn report_path(&self) -> PathBuf {
        pieces_folder(self.folder).join(format!("{}.json", self.stem()))
    }

    /// Its report, if it is finished.
    fn finished(&self) -> Result<Option<PieceReport>> {
        let path = self.report_path();
        let Some(text) = read_if_present(&path)? else {
            return Ok(None);
        };
        let report: PieceReport = serde_json::from_str(&text)
            .map_err(|error| CorpusError::store(&path, format!("it cannot be read: {error}; delete it")))?;
        let there = |part: PathBuf, held: &PartReport| {
            held.documents == 0 || part.join(format!("{}.ds", self.stem())).is_file()
        };
        let whole = there(train_folder(self.folder), &report.train)
            && there(held_out_folder(self.folder), &report.held_out);
        Ok(whole.then_some(report))
    }
}

/// A piece being written.
pub(super) struct PieceWriter<'a> {
    piece: Piece<'a>,
    tokenizer: &'a str,
    vocab_size: u64,
    train: Option<StoreWriter>,
    held_out: Option<StoreWriter>,
    pub(super) report: PieceReport,
}

impl<'a> PieceWriter<'a> {
    pub(super) fn new(piece: Piece<'a>, start: Position, tokenizer: &'a str, vocab_size: u64) -> Self {
        let report = PieceReport {
            end: start,
            ..PieceReport::default()
        };
        PieceWriter {
            piece,
            tokenizer,
            vocab_size,
            train: None,
            held_out: None,
            report,
        }
    }

    pub(super) fn key(&self) -> PieceKey {
        (self.piece.file, self.piece.number)
    }

    /// Text taken so far.
    pub(super) fn bytes(&self) -> u64 {
        self.report.train.bytes + self.report.held_out.bytes
    }

    /// Appends a document. Files appear with their first document: a piece may have none for a part.
    pub(super) fn push(&mut self, held_out: bool, bytes: u64, tokens: &[u32]) -> Result<()> {
        let (part, counts, folder): (_, _, fn(&Path) -> PathBuf) = match held_out {
            true => (&mut self.held_out, &mut self.report.held_out, held_out_folder),
            false => (&mut self.train, &mut self.report.train, train_folder),
        };
        let writer = match part {
            Some(writer) => writer,
            None => {
                let path = folder(self.piece.folder).join(format!("{}.ds", self.piece.stem()));
                part.insert(StoreWriter::create(path, self.tokenizer, self.vocab_size)?)
            }
        };
        counts.count(bytes, tokens.len() as u64);
        writer.push_document(tokens)
    }

    /// Finishes the stores, then the report.
    pub(super) fn finish(mut self, last: bool) -> Result<PieceReport> {
        self.report.last = last;
        for writer in [self.train, self.held_out].into_iter().flatten() {
            writer.finish()?;
        }
        write_json(&self.piece.report_path(), &self.report)?;
        Ok(self.report)
    }
}
