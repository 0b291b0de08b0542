//! `smollm3 data explain`: what becomes of one row of conversations, or of one pair.

use std::collections::BTreeSet;
use std::io::{IsTerminal, stdout};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use smollm3_apo::PairEncoder;
use smollm3_chat::explain;
use smollm3_chat::explain::ExplainedToken;
use smollm3_conversations::{ConversationEncoder, RowBatch, RowEncoder, Rows, conversation};
use smollm3_corpus::Tokenizer;
use smollm3_corpus::read::Columns;
use smollm3_corpus::remote::RetryPolicy;
use smollm3_corpus::shards::CacheOptions;
use smollm3_hub::Depth;
use smollm3_recipe::{Recipe, StageData, Tokenizer as TokenizerSpec};

use crate::args::ExplainArgs;
use crate::hub::locate;

/// Learned tokens are green, the others grey.
const LEARNED: &str = "\u{1b}[32m";
const SHOWN: &str = "\u{1b}[90m";
const PLAIN: &str = "\u{1b}[0m";

/// `smollm3 data explain`.
pub fn explain(args: &ExplainArgs) -> Result<ExitCode> {
    let mut recipe = Recipe::load(&args.recipe.recipe, &args.recipe.overrides)?;
    locate(&mut recipe, Depth::Text)?;
    let stage = match &args.stage {
        Some(name) => recipe.stage(name)?,
        None => recipe
            .stages
            .iter()
            .rfind(|stage| !stage.rows().is_empty())
            .context("the recipe has no stage on conversations")?,
    };
    let data = match &args.data {
        None => stage.rows().first(),
        Some(name) => stage.rows().iter().find(|data| data.name == *name),
    };
    let data = data.with_context(|| {
        let names: Vec<&str> = stage.rows().iter().map(|data| data.name.as_str()).collect();
        match names.is_empty() {
            true => format!("stage \"{}\" is not one on conversations or pairs", stage.name),
            false => format!("the stage's data are {}", names.join(", ")),
        }
    })?;
    let tokenizer = tokenizer(&recipe)?;
    let cache = CacheOptions {
        folder: recipe
            .data
            .cache
            .clone()
            .unwrap_or_else(|| recipe.run.output.join("cache")),
        bytes: recipe.data.cache_size.0,
        retry: RetryPolicy::default(),
    };
    let row = |encoder: &dyn RowEncoder| {
        let rows = Rows::open(&recipe, data, &cache, encoder.generator())?;
        nth(&rows, &encoder.columns(), args.row)
    };
    let (place, tokens) = match &stage.data {
        StageData::MidTrain(tuning) | StageData::Sft(tuning) => {
            let encoder = ConversationEncoder::of(&recipe, &tokenizer, stage, tuning)?;
            let (batch, index) = row(&encoder)?;
            (
                batch.place(index),
                conversation_tokens(&encoder, &tokenizer, &batch, index)?,
            )
        }
        StageData::Apo(preference) => {
            let encoder = PairEncoder::of(&recipe, &tokenizer, stage, preference)?;
            let (batch, index) = row(&encoder)?;
            (
                batch.place(index),
                pair_tokens(&encoder, &tokenizer, &batch, index)?,
            )
        }
        StageData::Pretrain(_) | StageData::LongContext(_) | StageData::Merge(_) => {
            unreachable!("they read no rows")
        }
    };
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

fn conversation_tokens(
    encoder: &ConversationEncoder,
    tokenizer: &Tokenizer,
    batch: &RowBatch,
    index: usize,
) -> Result<Vec<ExplainedToken>> {
    let talk = conversation(batch, index)?;
    let tokens = encoder.tokens(tokenizer, &talk);
    let (rendered, encoded, dropped) = tokens.with_context(|| batch.place(index))?;
    tell_drops(&dropped);
    let mask = encoder.setup.template.mask(&encoded, encoder.learned)?;
    Ok(explain::tokens(&encoded, &rendered, &mask))
}

/// Says what the template leaves out, where that is not refused.
fn tell_drops(dropped: &BTreeSet<&'static str>) {
    for kind in dropped {
        eprintln!("note: the template does not write {kind}");
    }
}

/// Both documents of a pair, one after the other. The role is the part that a token is of.
fn pair_tokens(
    encoder: &PairEncoder,
    tokenizer: &Tokenizer,
    batch: &RowBatch,
    index: usize,
) -> Result<Vec<ExplainedToken>> {
    let row = batch.rows().get(index).unwrap_or(&Value::Null);
    let rendered = encoder.render(tokenizer, row);
    let (pair, dropped) = rendered.with_context(|| batch.place(index))?;
    tell_drops(&dropped);
    let documents = encoder
        .documents(tokenizer, &pair)
        .with_context(|| batch.place(index))?;
    let documents = documents.map_err(|reason| {
        anyhow!(
            "{}: it is one of the rows {reason}, which are left out",
            batch.place(index)
        )
    })?;
    let mut tokens = Vec::new();
    for (document, answer) in documents.into_iter().zip(["chosen", "rejected"]) {
        for (id, learned) in document.ids.into_iter().zip(document.learned) {
            tokens.push(ExplainedToken {
                text: tokenizer.decode(&[id], false)?,
                role: Some(if learned { answer } else { "prompt" }.to_owned()),
                id,
                learned,
            });
        }
    }
    Ok(tokens)
}

/// The run's own tokenizer where it has been prepared, else that of a file.
fn tokenizer(recipe: &Recipe) -> Result<Tokenizer> {
    let prepared = recipe.run.output.join("tokenizer/tokenizer.json");
    if prepared.is_file() {
        return Ok(Tokenizer::load(prepared)?);
    }
    match &recipe.tokenizer {
        TokenizerSpec::File(file) => Ok(Tokenizer::load(recipe.tokenizer_file(file))?),
        TokenizerSpec::Pretrained(id) if recipe.hub_folders.contains_key(id) => {
            Ok(Tokenizer::load(&recipe.hub_folders[id])?)
        }
        _ => bail!(
            "the tokenizer is not there yet; run `smollm3 data prepare {}` first",
            recipe.directory.display()
        ),
    }
}

/// Row `number`, from 1.
fn nth(rows: &Rows, columns: &Columns, number: u64) -> Result<(RowBatch, usize)> {
    let mut found = None;
    let mut before = 0;
    // The rest is not read: an error ends the walk.
    let walked = rows.each(columns, |batch| {
        let count = batch.rows().len() as u64;
        if number <= before + count {
            found = Some((batch, (number - before - 1) as usize));
            return Err(smollm3_conversations::ConversationsError::Refused(String::new()));
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
