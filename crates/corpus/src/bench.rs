//! How fast text becomes tokens on disk, against the `tokenizers` crate alone: `bench tokenize`.
//!
//! Both sides do the same texts with the same tokenizer on the same threads, in turn. The crate alone
//! gets its texts in memory and drops what it makes; the engine reads JSON lines, parses
//! them, writes, hashes and syncs a token store. The speeds are those of the best round, the ratio
//! is the median over the rounds, each side against the other a moment later: what else a shared machine
//! does then weighs least. Nothing here asserts a time.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::atomic_file::AtomicFile;
use crate::error::{CorpusError, Result};
use crate::shards::LocalShards;
use crate::tokenize::{FilesOptions, tokenize_files};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// Documents given to the crate at once: its results take some hundred bytes a token.
const CHUNK: usize = 1000;

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct TokenizeBench {
    /// Threads both sides used.
    pub threads: usize,
    /// Rounds of each side.
    pub rounds: usize,
    /// Documents a round.
    pub documents: u64,
    /// Bytes of text a round.
    pub text_bytes: u64,
    /// Tokens a round, ends of text included.
    pub tokens: u64,
    /// 10⁶ bytes of text a second, from JSON lines to a synced token store.
    pub engine_megabytes_per_second: f64,
    /// The same for `encode_batch_fast` alone, from memory to nowhere.
    pub crate_alone_megabytes_per_second: f64,
    /// Engine over crate alone, round by round; the median.
    pub ratio: f64,
}

/// Measures `texts` in a fresh subfolder of `folder`, which is removed again.
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
    let measured = measure(texts, tokenizer, rounds.max(1), &work);
    let _ = fs::remove_dir_all(&work);
    measured
}

fn measure(texts: &[String], tokenizer: &Tokenizer, rounds: usize, work: &Path) -> Result<TokenizeBench> {
    let input = work.join("in.jsonl");
    let mut lines = AtomicFile::create(&input)?;
    for text in texts {
        let row = serde_json::json!({ "text": text });
        lines.write(format!("{row}\n").as_bytes())?;
    }
    lines.commit()?;
    let shards = LocalShards::find("bench", &[input.to_string_lossy()])?;
    let alone = {
        let mut alone = tokenizer.inner().clone();
        alone.set_encode_special_tokens(true);
        alone
    };
    let options = FilesOptions {
        special_tokens: SpecialTokens::Text,
        ..FilesOptions::default()
    };

    let text_bytes: u64 = texts.iter().map(|text| text.len() as u64).sum();
    let (mut best_engine, mut best_alone) = (f64::INFINITY, f64::INFINITY);
    let (mut documents, mut tokens) = (0, 0);
    let mut ratios = Vec::with_capacity(rounds);
    for round in 0..rounds {
        let started = Instant::now();
        let mut tokens_alone = 0;
        for chunk in texts.chunks(CHUNK) {
            let inputs: Vec<&str> = chunk.iter().map(String::as_str).collect();
            let encoded = alone
                .encode_batch_fast(inputs, false)
                .map_err(|error| CorpusError::Tokenizer {
                    name: tokenizer.name().to_owned(),
                    problem: error.to_string(),
                })?;
            tokens_alone += encoded.iter().map(|encoding| encoding.len() as u64).sum::<u64>();
        }
        let seconds_alone = started.elapsed().as_secs_f64();

        let output = work.join(format!("out-{round}"));
        let started = Instant::now();
        let report = tokenize_files(&shards, tokenizer, &output, &options, &mut |_| true)?;
        let seconds = started.elapsed().as_secs_f64();
        best_alone = best_alone.min(seconds_alone);
        best_engine = best_engine.min(seconds);
        ratios.push(seconds_alone / seconds);
        fs::remove_dir_all(&output).map_err(CorpusError::io("remove", &output))?;

        (documents, tokens) = (report.train.documents, report.train.tokens);
        if tokens != tokens_alone + documents {
            let problem = format!("the sides disagree: {tokens} tokens against {tokens_alone} + {documents}");
            return Err(CorpusError::Tokenizer {
                name: tokenizer.name().to_owned(),
                problem,
            });
        }
    }
    ratios.sort_by(f64::total_cmp);
    let megabytes = text_bytes as f64 / 1e6;
    Ok(TokenizeBench {
        threads: rayon::current_num_threads(),
        rounds,
        documents,
        text_bytes,
        tokens,
        engine_megabytes_per_second: megabytes / best_engine,
        crate_alone_megabytes_per_second: megabytes / best_alone,
        ratio: ratios.get(rounds / 2).copied().unwrap_or_default(),
    })
}
