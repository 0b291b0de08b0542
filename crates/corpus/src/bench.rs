//! Throughput of tokenisation by kind of file and by step: `bench tokenize`.
//!
//! The whole pipeline (read, parse, encode, write, hash, sync) is timed on all threads, for JSON lines, JSON lines in
//! Zstandard and Parquet in Zstandard; its steps are timed separately on one. `tokenizers` 0.22 alone encodes a part of the
//! same texts from memory, and its ids are compared with the pipeline's. All run in turn, so that other load on the machine
//! affects each; speeds are those of the best round. Nothing here asserts a time.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde::Serialize;
use smollm3_files::atomic_file::AtomicFile;
use smollm3_files::io;

use crate::error::{CorpusError, Result};
use crate::read::{self, Position};
use crate::shards::LocalShards;
use crate::store::StoreWriter;
use crate::tokenize::{FilesOptions, tokenize_files};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// Bytes of text for 0.22, which encodes a few megabytes a second into some hundred bytes per token.
const SLOW_BYTES: usize = 4_000_000;

/// Rows of a row group of the Parquet file.
const ROW_GROUP: usize = 10_000;

const COLUMN: &str = "text";

/// The measurements, in 10⁶ bytes of text a second.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TokenizeBench {
    /// Threads of the whole pipeline and of 0.22.
    pub threads: usize,
    /// Rounds of each.
    pub rounds: usize,
    /// Documents a round.
    pub documents: u64,
    /// Bytes of text a round.
    pub text_bytes: u64,
    /// Tokens a round, ends of text included.
    pub tokens: u64,
    /// The component for which the pipeline uses 0.22, too.
    pub slow_because: Option<String>,
    /// By kind of file.
    pub files: Vec<FileBench>,
    /// From text in memory to tokens in memory, on one thread.
    pub encode: f64,
    /// From tokens in memory to a synced token store.
    pub write: f64,
    /// `tokenizers` 0.22 alone, from memory to nowhere.
    pub slow_alone: f64,
    /// From JSON lines to a token store over 0.22 alone; the median of the rounds.
    pub ratio: f64,
}

/// The figures of one kind of file.
#[derive(Debug, Clone, Default, Serialize)]
pub struct FileBench {
    /// The ending of its name.
    pub kind: &'static str,
    /// Its size.
    pub bytes: u64,
    /// From the file to a synced token store, on all threads.
    pub whole: f64,
    /// From the file to batches of rows: reading and unpacking, on a separate thread (a few for Parquet).
    pub read: f64,
    /// From batches of rows to text, on one thread.
    pub parse: f64,
}

/// Measures `texts` in a temporary subfolder of `folder`.
///
/// # Errors
/// No texts, a tokenizer that fails, a full disk.
pub fn tokenize(
    texts: &[String],
    tokenizer: &Tokenizer,
    rounds: usize,
    folder: &Path,
) -> Result<TokenizeBench> {
    let work = folder.join(format!("bench-tokenize-{}", std::process::id()));
    let measured = Bench {
        texts,
        tokenizer,
        work: &work,
        megabytes: texts.iter().map(String::len).sum::<usize>() as f64 / 1e6,
    }
    .measure(rounds.max(1));
    let _ = fs::remove_dir_all(&work);
    measured
}

struct Bench<'a> {
    texts: &'a [String],
    tokenizer: &'a Tokenizer,
    work: &'a Path,
    megabytes: f64,
}

/// The seconds that `work` takes, and its result.
fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    let started = Instant::now();
    let done = work()?;
    Ok((started.elapsed().as_secs_f64(), done))
}

impl Bench<'_> {
    fn measure(&self, rounds: usize) -> Result<TokenizeBench> {
        let mut slow = self.tokenizer.inner().clone();
        slow.set_encode_special_tokens(true);
        let slow_texts = self.slow_texts();
        let slow_megabytes = slow_texts.iter().map(|text| text.len()).sum::<usize>() as f64 / 1e6;
        let mut bench = TokenizeBench {
            threads: rayon::current_num_threads(),
            rounds,
            text_bytes: self.texts.iter().map(|text| text.len() as u64).sum(),
            slow_because: self.tokenizer.slow_because().map(str::to_owned),
            ..TokenizeBench::default()
        };
        let paths = [self.json_lines()?, self.zstd()?, self.parquet()?];
        for (path, kind) in paths.iter().zip([".jsonl", ".jsonl.zst", ".parquet (zstd)"]) {
            bench.files.push(FileBench {
                kind,
                bytes: fs::metadata(path).map_err(io("read", path))?.len(),
                ..FileBench::default()
            });
        }
        let encoder = self.tokenizer.documents(SpecialTokens::Text);
        let mut ratios = Vec::with_capacity(rounds);
        for round in 0..rounds {
            let (seconds, expected) = timed(|| {
                let encoded = slow.encode_batch_fast(slow_texts.clone(), false);
                let encoded = encoded.map_err(|error| self.failed(error.to_string()))?;
                let ids = encoded.iter().map(|encoding| encoding.get_ids().to_vec());
                Ok(ids.collect::<Vec<_>>())
            })?;
            let slow_alone = slow_megabytes / seconds;
            bench.slow_alone = bench.slow_alone.max(slow_alone);

            for (path, file) in paths.iter().zip(&mut bench.files) {
                let output = self.work.join(format!("out-{round}"));
                let shards = LocalShards::find("bench", &[path.to_string_lossy()])?;
                let options = FilesOptions::default();
                let (seconds, report) =
                    timed(|| tokenize_files(&shards, self.tokenizer, &output, &options, &mut |_| true))?;
                fs::remove_dir_all(&output).map_err(io("remove", &output))?;
                let whole = self.megabytes / seconds;
                file.whole = file.whole.max(whole);
                (bench.documents, bench.tokens) = (report.train.documents, report.train.tokens);
                if file.kind == ".jsonl" {
                    ratios.push(whole / slow_alone);
                }
                let open = || read::open(path, &path.to_string_lossy(), COLUMN, Position::default());
                let (seconds, batches) = timed(|| open()?.collect::<Result<Vec<_>>>())?;
                file.read = file.read.max(self.megabytes / seconds);
                let (seconds, _) = timed(|| {
                    let rows = batches
                        .iter()
                        .flat_map(|batch| (0..batch.len()).map(move |row| batch.text(row)));
                    Ok(rows.flatten().flatten().map(|text| text.len()).sum::<usize>())
                })?;
                file.parse = file.parse.max(self.megabytes / seconds);
            }

            let encode = || self.texts.iter().map(|text| encoder.encode(text)).collect();
            let (seconds, encoded): (f64, Vec<Vec<u32>>) = timed(encode)?;
            bench.encode = bench.encode.max(self.megabytes / seconds);
            let mut pairs = encoded.iter().zip(&expected);
            let same = pairs.all(|(ids, expected)| ids.split_last().is_some_and(|(_, ids)| ids == expected));
            if !same || encoded.iter().map(|ids| ids.len() as u64).sum::<u64>() != bench.tokens {
                return Err(self.failed("0.22 gives other tokens".to_owned()));
            }
            let (seconds, ()) = timed(|| self.write(&encoded))?;
            bench.write = bench.write.max(self.megabytes / seconds);
        }
        ratios.sort_by(f64::total_cmp);
        bench.ratio = ratios.get(rounds / 2).copied().unwrap_or_default();
        Ok(bench)
    }

    fn failed(&self, problem: String) -> CorpusError {
        CorpusError::tokenizer(self.tokenizer.name(), problem)
    }

    fn slow_texts(&self) -> Vec<&str> {
        let mut bytes = 0;
        let few = self.texts.iter().take_while(|text| {
            let taken = bytes < SLOW_BYTES;
            bytes += text.len();
            taken
        });
        few.map(String::as_str).collect()
    }

    fn write(&self, documents: &[Vec<u32>]) -> Result<()> {
        let folder = self.work.join("written");
        let vocab_size = u64::from(self.tokenizer.info().vocab_size);
        let mut writer = StoreWriter::create(folder.join("tokens.ds"), "bench", vocab_size)?;
        documents
            .iter()
            .try_for_each(|tokens| writer.push_document(tokens))?;
        writer.finish()?;
        Ok(fs::remove_dir_all(&folder).map_err(io("remove", &folder))?)
    }

    fn json_lines(&self) -> Result<PathBuf> {
        let path = self.work.join("in.jsonl");
        let mut lines = AtomicFile::create(&path)?;
        for text in self.texts {
            let row = serde_json::json!({ COLUMN: text });
            lines.write(format!("{row}\n").as_bytes())?;
        }
        lines.commit()?;
        Ok(path)
    }

    fn zstd(&self) -> Result<PathBuf> {
        let (plain, path) = (self.work.join("in.jsonl"), self.work.join("in.jsonl.zst"));
        let packed =
            File::open(&plain).and_then(|lines| zstd::stream::copy_encode(lines, File::create(&path)?, 3));
        packed.map_err(io("write", &path))?;
        Ok(path)
    }

    fn parquet(&self) -> Result<PathBuf> {
        let path = self.work.join("in.parquet");
        let file = File::create(&path).map_err(io("create", &path))?;
        self.write_parquet(file)
            .map_err(|error| CorpusError::source("bench", error.to_string()))?;
        Ok(path)
    }

    fn write_parquet(&self, file: File) -> parquet::errors::Result<()> {
        let column = |texts: &[String]| -> ArrayRef { Arc::new(StringArray::from_iter_values(texts)) };
        let rows = |texts| RecordBatch::try_from_iter([(COLUMN, column(texts))]);
        let options = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .build();
        let mut writer = ArrowWriter::try_new(file, rows(&[])?.schema(), Some(options))?;
        for texts in self.texts.chunks(ROW_GROUP) {
            writer.write(&rows(texts)?)?;
            writer.flush()?;
        }
        writer.close()?;
        Ok(())
    }
}
