//! Which choice a model finds most probable, by four measures of length.
//!
//! lm-evaluation-harness (`process_results` of `ConfigurableTask` in `lm_eval/api/task.py`) divides the summed
//! log-likelihood by nothing (`acc`), by the characters of the choice (`acc_norm`) and by its bytes (`acc_bytes`), the space
//! before it not counted; ties go to the first. By tokens is how lighteval's `LogProbTokenNorm` counts.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use smollm3_corpus::Tokenizer;
use smollm3_inference::TextModel;

use super::{Item, Prompts, Question};
use crate::Result;
use crate::error::finite;
use crate::estimate::Estimate;
use crate::item_log::ItemLog;
use crate::likelihood::{Request, at_once, log_likelihoods, prefix_token};

/// Items that are tokenised between two calls of `progress`.
const ASKED_AT_ONCE: usize = 1024;

/// One choice and its score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScoredChoice {
    /// The context, where choices differ in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The scored text.
    pub continuation: String,
    /// Σ ln p, nats.
    pub log_likelihood: f64,
    /// Tokens of the continuation.
    pub tokens: usize,
    /// Whether greedy decoding would produce it.
    pub greedy: bool,
}

/// The index of the chosen choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choices {
    /// By log-likelihood.
    pub raw: usize,
    /// By log-likelihood a character.
    pub per_character: usize,
    /// By log-likelihood a byte.
    pub per_byte: usize,
    /// By log-likelihood a token.
    pub per_token: usize,
}

/// The result of an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceRecord {
    /// Where the item is from.
    pub place: String,
    /// Its subject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The context, where all choices share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The choices.
    pub choices: Vec<ScoredChoice>,
    /// The right one.
    pub gold: usize,
    /// The chosen ones.
    pub chosen: Choices,
    /// Whether the beginning of the context did not fit the model.
    pub cut: bool,
}

/// Accuracies on a set or a part of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChoiceScore {
    /// Items.
    pub items: usize,
    /// Accuracy of guessing.
    pub chance: f64,
    /// By log-likelihood; lm-evaluation-harness's `acc`.
    pub raw: Estimate,
    /// By log-likelihood a character; `acc_norm`.
    pub per_character: Estimate,
    /// By log-likelihood a byte; `acc_bytes`.
    pub per_byte: Estimate,
    /// By log-likelihood a token.
    pub per_token: Estimate,
    /// Items whose context was cut to fit the model.
    pub cut: usize,
}

/// An item on its way to the model.
struct Asked {
    item: usize,
    questions: Vec<Question>,
    requests: Vec<Request>,
    /// Tokens that are read for it.
    tokens: usize,
}

/// Scores the items that are not in `log` yet, about `tokens_at_once` tokens at a time, the longest first. `progress` gets the
/// number of items done and the total.
///
/// # Errors
/// An item cannot be asked, the log cannot be written, or `progress` ends the work.
pub fn choose(
    model: &TextModel,
    items: &[Item],
    prompts: &Prompts,
    tokens_at_once: usize,
    log: &mut ItemLog<ChoiceRecord>,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    let total = items.len() as u64;
    let mut asked: Vec<Asked> = Vec::with_capacity(items.len());
    let prefix = prefix_token(&model.config, &model.tokenizer);
    let ask = |index: usize| {
        ask(&model.tokenizer, prefix, prompts, &items[index], index)
            .map_err(|error| error.at(&items[index].place))
    };
    for from in (0..items.len()).step_by(ASKED_AT_ONCE) {
        progress(log.records().len() as u64, total)?;
        let some = (from..items.len().min(from + ASKED_AT_ONCE))
            .into_par_iter()
            .map(ask);
        asked.extend(some.collect::<Result<Vec<_>>>()?);
    }
    asked.sort_by(|a, b| b.tokens.cmp(&a.tokens).then(a.item.cmp(&b.item)));
    let mut left = asked.as_slice();
    while !left.is_empty() {
        let (batch, rest) = left.split_at(at_once(left, tokens_at_once, |asked| asked.tokens));
        left = rest;
        progress(log.records().len() as u64, total)?;
        // Batches do not depend on what was done before, so that repeating one gives the same bits.
        if !batch.iter().all(|asked| log.has(asked.item as u64)) {
            log.add(scored(model, items, batch, tokens_at_once)?)?;
        }
    }
    progress(total, total)
}

fn ask(tokenizer: &Tokenizer, prefix: u32, prompts: &Prompts, item: &Item, index: usize) -> Result<Asked> {
    let questions = prompts.questions(item)?;
    let request =
        |question: &Question| Request::new(tokenizer, &question.context, &question.continuation, prefix);
    let requests: Vec<Request> = questions.iter().map(request).collect::<Result<_>>()?;
    let mut inputs: Vec<Vec<u32>> = requests
        .iter()
        .map(|request| request.inputs().collect())
        .collect();
    inputs.sort_unstable();
    inputs.dedup();
    Ok(Asked {
        item: index,
        questions,
        requests,
        tokens: inputs.iter().map(Vec::len).sum(),
    })
}

/// The records of a batch.
fn scored(
    model: &TextModel,
    items: &[Item],
    batch: &[Asked],
    tokens_at_once: usize,
) -> Result<Vec<(u64, ChoiceRecord)>> {
    let requests: Vec<Request> = batch
        .iter()
        .flat_map(|asked| asked.requests.iter().cloned())
        .collect();
    let found = log_likelihoods(&model.model, &requests, tokens_at_once, &mut |_, _| Ok(()))?;
    let mut found = found.into_iter();
    let mut records = Vec::with_capacity(batch.len());
    for asked in batch {
        let item = &items[asked.item];
        let mut cut = false;
        let mut choices = Vec::with_capacity(asked.questions.len());
        for (question, found) in asked.questions.iter().zip(&mut found) {
            let figure = || format!("the log-likelihood of {:?}", question.continuation);
            let log_likelihood = finite(found.sum, figure).map_err(|error| error.at(&item.place))?;
            cut |= found.cut;
            choices.push(ScoredChoice {
                context: Some(question.context.clone()),
                continuation: question.continuation.clone(),
                log_likelihood,
                tokens: found.tokens,
                greedy: found.greedy,
            });
        }
        records.push((asked.item as u64, record(item, choices, cut)));
    }
    Ok(records)
}

fn record(item: &Item, mut choices: Vec<ScoredChoice>, cut: bool) -> ChoiceRecord {
    let mut context = None;
    if choices.windows(2).all(|pair| pair[0].context == pair[1].context) {
        for choice in &mut choices {
            context = choice.context.take();
        }
    }
    let scored = |choice: &ScoredChoice| {
        let text = choice.continuation.as_str();
        text.strip_prefix(' ').unwrap_or(text).to_owned()
    };
    let best = |length: &dyn Fn(&ScoredChoice) -> usize| {
        let score = |choice: &ScoredChoice| choice.log_likelihood / length(choice).max(1) as f64;
        let scores = choices.iter().map(score).enumerate();
        let first_of_best =
            |best: (usize, f64), next: (usize, f64)| if next.1 > best.1 { next } else { best };
        scores.reduce(first_of_best).map_or(0, |(index, _)| index)
    };
    let chosen = Choices {
        raw: best(&|_| 1),
        per_character: best(&|choice| scored(choice).chars().count()),
        per_byte: best(&|choice| scored(choice).len()),
        per_token: best(&|choice| choice.tokens),
    };
    ChoiceRecord {
        place: item.place.clone(),
        subject: item.subject.clone(),
        context,
        choices,
        gold: item.gold,
        chosen,
        cut,
    }
}

/// The scores of all records, and of each subject where there are some.
pub fn choice_score<'r>(
    records: impl IntoIterator<Item = &'r ChoiceRecord>,
) -> (ChoiceScore, BTreeMap<String, ChoiceScore>) {
    let records: Vec<&ChoiceRecord> = records.into_iter().collect();
    let mut subjects: BTreeMap<String, Vec<&ChoiceRecord>> = BTreeMap::new();
    for record in &records {
        if let Some(subject) = &record.subject {
            subjects.entry(subject.clone()).or_default().push(record);
        }
    }
    let subjects = subjects
        .into_iter()
        .map(|(subject, records)| (subject, ChoiceScore::of(&records)));
    (ChoiceScore::of(&records), subjects.collect())
}

impl ChoiceScore {
    fn of(records: &[&ChoiceRecord]) -> Self {
        let right = |chosen: fn(&Choices) -> usize| {
            Estimate::share(records.iter().map(|record| chosen(&record.chosen) == record.gold))
        };
        let chance = |record: &&ChoiceRecord| 1.0 / record.choices.len().max(1) as f64;
        Self {
            items: records.len(),
            chance: Estimate::mean(records.iter().map(chance)).value,
            raw: right(|chosen| chosen.raw),
            per_character: right(|chosen| chosen.per_character),
            per_byte: right(|chosen| chosen.per_byte),
            per_token: right(|chosen| chosen.per_token),
            cut: records.iter().filter(|record| record.cut).count(),
        }
    }
}
