//! `smollm3 data explain`: what becomes of one row of conversations.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use smollm3_chat::{encode, explain};
use smollm3_corpus::Tokenizer;
use smollm3_corpus::remote::RetryPolicy;
use smollm3_corpus::shards::CacheOptions;
use smollm3_recipe::{Recipe, Stage, Tokenizer as TokenizerSpec};
use smollm3_sft::{ChatSetup, RowBatch, Rows, conversation};

use crate::args::ExplainArgs;

/// Learned tokens are green, the others grey.
const LEARNED: &str = "\u{1b}[32m";
const SHOWN: &str = "\u{1b}[90m";
const PLAIN: &str = "\u{1b}[0m";

/// `smollm3 data explain`.
pub fn explain(args: &ExplainArgs) -> Result<ExitCode> {
    let recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    let talking = |stage: &&Stage| stage.fine_tuning().is_some();
    let stage = match &args.stage {
        Some(name) => recipe.stage(name)?,
        None => recipe
            .stages
            .iter()
            .rfind(talking)
            .context("the recipe has no stage on conversations")?,
    };
    let fine_tuning = stage
        .fine_tuning()
        .with_context(|| format!("stage \"{}\" is not one on conversations", stage.name))?;
    let data = match &args.data {
        None => fine_tuning.data.first(),
        Some(name) => fine_tuning.data.iter().find(|data| data.name == *name),
    };
    let data = data.with_context(|| {
        let names: Vec<&str> = fine_tuning.data.iter().map(|data| data.name.as_str()).collect();
        format!("the stage's data are {}", names.join(", "))
    })?;
    let tokenizer = tokenizer(&recipe)?;
    let setup = ChatSetup::of(&recipe, &tokenizer, stage, fine_tuning)?;
    let cache = CacheOptions {
        folder: recipe
            .data
            .cache
            .clone()
            .unwrap_or_else(|| recipe.run.output.join("cache")),
        bytes: recipe.data.cache_size.0,
        retry: RetryPolicy::default(),
    };
    let (batch, index) = nth(&Rows::open(&recipe, data, &cache)?, args.row)?;
    let place = batch.place(index);
    let talk = conversation(&batch, index)?;
    let rendered = setup
        .template
        .render(&talk, &setup.render)
        .with_context(|| place.clone())?;
    let encoded = encode(&tokenizer, &rendered)?;
    let mask = setup.template.mask(&encoded, setup.learned)?;
    let tokens = explain::tokens(&encoded, &rendered, &mask);
    if args.json {
        for token in &tokens {
            println!("{}", serde_json::to_string(token)?);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let learned = tokens.iter().filter(|token| token.learned).count();
    println!("{place}: {} tokens, {learned} of them learned\n", tokens.len());
    let colours = stdout().is_terminal();
    println!("{:>8}  {:<10} {:<8} text", "id", "role", "loss");
    for token in tokens {
        let (on, off) = match (colours, token.learned) {
            (false, _) => ("", ""),
            (true, true) => (LEARNED, PLAIN),
            (true, false) => (SHOWN, PLAIN),
        };
        println!(
            "{on}{:>8}  {:<10} {:<8} {:?}{off}",
            token.id,
            token.role.as_deref().unwrap_or(""),
            if token.learned { "yes" } else { "" },
            token.text
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The run's own tokenizer where it has been prepared, else that of a file.
fn tokenizer(recipe: &Recipe) -> Result<Tokenizer> {
    let prepared = recipe.run.output.join("tokenizer/tokenizer.json");
    if prepared.is_file() {
        return Ok(Tokenizer::load(prepared)?);
    }
    match &recipe.tokenizer {
        TokenizerSpec::File(file) => Ok(Tokenizer::load(recipe.resolve(file))?),
        _ => bail!(
            "the tokenizer is not there yet; run `smollm3 data prepare {}` first",
            recipe.directory.display()
        ),
    }
}

/// Row `number`, from 1.
fn nth(rows: &Rows, number: u64) -> Result<(RowBatch, usize)> {
    let mut found = None;
    let mut before = 0;
    // The rest is not read: an error ends the walk.
    let walked = rows.each(|batch| {
        let count = batch.rows().len() as u64;
        if number <= before + count {
            found = Some((batch, (number - before - 1) as usize));
            return Err(smollm3_sft::SftError::Refused(String::new()));
        }
        before += count;
        Ok(())
    });
    match (found, walked) {
        (Some(found), _) => Ok(found),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => bail!("there are {before} rows; write a smaller --row"),
    }
}
