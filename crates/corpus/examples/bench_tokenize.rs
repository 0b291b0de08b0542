//! Prints the figures of [`smollm3_corpus::bench`] for the Rust and Markdown files of the locked crates:
//! `bench_tokenize TOKENIZER [MEGABYTES [ROUNDS]]`.

use std::error::Error;
use std::path::Path;

use smollm3_corpus::text::{CargoSources, CargoText, sample};
use smollm3_corpus::{Tokenizer, bench};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let tokenizer = arguments
        .next()
        .ok_or("usage: bench_tokenize TOKENIZER [MEGABYTES [ROUNDS]]")?;
    let megabytes: u64 = arguments.next().as_deref().unwrap_or("32").parse()?;
    let rounds: usize = arguments.next().as_deref().unwrap_or("3").parse()?;

    let tokenizer = Tokenizer::load(tokenizer)?;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let mut texts = Vec::new();
    for (kind, share) in [
        (CargoText::Markdown, 6),
        (CargoText::Rust, megabytes.saturating_sub(6).max(1)),
    ] {
        texts.extend(sample(
            &CargoSources::find(&manifest, kind)?,
            share * 1_000_000,
            1,
        )?);
    }
    let folder = std::env::temp_dir();
    let measured = bench::tokenize(&texts, &tokenizer, rounds, &folder)?;
    println!("{}", serde_json::to_string_pretty(&measured)?);
    Ok(())
}
