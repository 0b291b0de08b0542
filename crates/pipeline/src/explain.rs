//! One row of a stage's conversations or pairs as tokens, as the stage trains on it.

use std::collections::BTreeSet;

use serde_json::Value;
use smollm3_apo::PairEncoder;
use smollm3_chat::ChatError;
use smollm3_chat::explain::{self, ExplainedToken};
use smollm3_conversations::{
    ConversationEncoder, ConversationsError, RowBatch, RowEncoder, SourceRows, conversation,
};
use smollm3_corpus::Tokenizer;
use smollm3_corpus::read::Columns;
use smollm3_corpus::remote::RetryPolicy;
use smollm3_corpus::shards::CacheOptions;
use smollm3_recipe::{Conversations, Recipe, Stage, StageData, Tokenizer as TokenizerChoice};

type Result<T> = std::result::Result<T, ConversationsError>;

/// A row as tokens.
#[derive(Debug)]
pub struct ExplainedRow {
    /// File and row.
    pub place: String,
    /// Its tokens; of a pair, both documents, with the part of the pair as the role.
    pub tokens: Vec<ExplainedToken>,
    /// What the template leaves out.
    pub dropped: BTreeSet<&'static str>,
}

/// Explains row `number`, from 1, of a stage's `data`.
///
/// # Errors
/// There is no such row, it cannot be encoded, or the tokenizer is not there yet.
pub fn explain_row(
    recipe: &Recipe,
    stage: &Stage,
    data: &Conversations,
    number: u64,
) -> Result<ExplainedRow> {
    let tokenizer = tokenizer(recipe)?;
    let row = |encoder: &dyn RowEncoder| nth(recipe, data, encoder, number);
    match &stage.data {
        StageData::MidTrain(tuning) | StageData::Sft(tuning) => {
            let encoder = ConversationEncoder::of(recipe, &tokenizer, stage, tuning)?;
            let (batch, index) = row(&encoder)?;
            let talk = conversation(&batch, index)?;
            let encoded = encoder.tokens(&tokenizer, &talk);
            let (rendered, encoded, dropped) = encoded.map_err(at(&batch, index))?;
            let mask = encoder.setup.template.mask(&encoded, encoder.learned)?;
            Ok(ExplainedRow {
                place: batch.place(index),
                tokens: explain::tokens(&encoded, &rendered, &mask),
                dropped,
            })
        }
        StageData::Apo(preference) => {
            let encoder = PairEncoder::of(recipe, &tokenizer, stage, preference)?;
            let (batch, index) = row(&encoder)?;
            pair(&encoder, &tokenizer, &batch, index)
        }
        StageData::Pretrain(_) | StageData::LongContext(_) | StageData::Merge(_) => {
            let problem = format!(
                "stage \"{}\" does not train on conversations or pairs",
                stage.name
            );
            Err(ConversationsError::Refused(problem))
        }
    }
}

fn at(batch: &RowBatch, index: usize) -> impl FnOnce(ChatError) -> ConversationsError {
    let place = batch.place(index);
    move |source| ConversationsError::Row { place, source }
}

/// Both documents of a pair, one after the other.
fn pair(
    encoder: &PairEncoder,
    tokenizer: &Tokenizer,
    batch: &RowBatch,
    index: usize,
) -> Result<ExplainedRow> {
    let place = batch.place(index);
    let row = batch.rows().get(index).unwrap_or(&Value::Null);
    let (rendered, dropped) = encoder.render(tokenizer, row).map_err(at(batch, index))?;
    let refused = |problem: String| ConversationsError::Refused(format!("{place}: {problem}"));
    let documents = encoder
        .documents(tokenizer, &rendered)
        .map_err(|error| refused(error.to_string()))?
        .map_err(|reason| refused(format!("it is one of the rows {reason}, which are left out")))?;
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
    Ok(ExplainedRow {
        place,
        tokens,
        dropped,
    })
}

/// The run's tokenizer if it has been prepared, else one in a file.
fn tokenizer(recipe: &Recipe) -> Result<Tokenizer> {
    let prepared = recipe.run.output.join("tokenizer/tokenizer.json");
    let file = match &recipe.tokenizer {
        _ if prepared.is_file() => Some(prepared),
        TokenizerChoice::File(file) => Some(recipe.tokenizer_file(file)),
        TokenizerChoice::Pretrained(id) => recipe.hub_folders.get(id).cloned(),
        _ => None,
    };
    let missing = || {
        let folder = recipe.directory.display();
        let problem = format!("the tokenizer is not there yet; run `smollm3 data prepare {folder}` first");
        ConversationsError::Refused(problem)
    };
    Ok(Tokenizer::load(file.ok_or_else(missing)?)?)
}

/// Row `number`, from 1.
fn nth(
    recipe: &Recipe,
    data: &Conversations,
    encoder: &dyn RowEncoder,
    number: u64,
) -> Result<(RowBatch, usize)> {
    let cache = CacheOptions {
        folder: recipe
            .data
            .cache
            .clone()
            .unwrap_or_else(|| recipe.run.output.join("cache")),
        bytes: recipe.data.cache_size.0,
        retry: RetryPolicy::default(),
    };
    let rows = SourceRows::open(recipe, data, &cache, encoder.generator())?;
    let columns: Columns = encoder.columns();
    let mut found = None;
    let mut before = 0;
    // Ends the iteration by an error, so that the rest is not read.
    let done = rows.each(&columns, |batch| {
        let count = batch.rows().len() as u64;
        if number <= before + count {
            found = Some((batch, (number - before - 1) as usize));
            return Err(ConversationsError::Refused(String::new()));
        }
        before += count;
        Ok(())
    });
    match found {
        Some(found) => Ok(found),
        None => {
            done?;
            let problem = format!("there are {before} rows; write a smaller --row");
            Err(ConversationsError::Refused(problem))
        }
    }
}
