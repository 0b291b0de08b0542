//! Tokenises files of rows and says how long it took: `tokenize TOKENIZER OUTPUT ADDRESS...`
//!
//! The smallest complete use of the crate. Running it again goes on where it stopped.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use smollm3_corpus::Tokenizer;
use smollm3_corpus::remote::RetryPolicy;
use smollm3_corpus::shards::{CacheOptions, open_rows};
use smollm3_corpus::tokenize::{FilesOptions, tokenize_files};
use smollm3_corpus::tokenizer::SpecialTokens;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(tokenizer), Some(output)) = (arguments.next(), arguments.next().map(PathBuf::from)) else {
        return Err("usage: tokenize TOKENIZER OUTPUT ADDRESS...".into());
    };
    let addresses: Vec<String> = arguments.collect();
    let tokenizer = Tokenizer::load(&tokenizer)?;
    let cache = CacheOptions {
        folder: output.join("cache"),
        bytes: 20_000_000_000,
        retry: RetryPolicy::default(),
    };
    let shards = open_rows("example", &addresses, &cache)?;
    // As datatrove has it, so that the two can be compared token by token.
    let options = FilesOptions {
        special_tokens: SpecialTokens::Parsed,
        ..FilesOptions::default()
    };

    let (started, mut shown) = (Instant::now(), Duration::ZERO);
    let report = tokenize_files(&*shards, &tokenizer, &output, &options, &mut |progress| {
        let elapsed = started.elapsed();
        if elapsed > shown + Duration::from_secs(1) {
            shown = elapsed;
            let left = progress.time_left(elapsed).unwrap_or_default().as_secs();
            eprintln!(
                "{} documents, {} tokens, {left} s left",
                progress.documents, progress.tokens
            );
        }
        true
    })?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({ "seconds": seconds, "report": report }));
    Ok(())
}
