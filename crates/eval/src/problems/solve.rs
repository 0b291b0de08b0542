//! Solutions from a model, several problems and several samples of each at once.

use std::ops::ControlFlow;

use serde_json::json;
use smollm3_chat::Conversation;
use smollm3_inference::{Pieces, TextModel};
use smollm3_model::{GenerateError, Generation, Sampling, generate_streams};
use smollm3_records::Mode;

use super::score::solution;
use super::{Problem, ProblemRecord, ProblemTask, Solution};
use crate::date::any_date;
use crate::item_log::ItemLog;
use crate::likelihood::encode;
use crate::{EvalError, Result};

/// The default instruction after a question to a chat model.
pub const INSTRUCTION: &str = "Put the final answer in \\boxed{}.";

/// How problems are posed, and how solutions are generated.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The set.
    pub task: ProblemTask,
    /// Plain text, or a conversation with or without thinking.
    pub mode: Mode,
    /// The text after each question of a conversation.
    pub instruction: String,
    /// Solved problems before each.
    pub shots: usize,
    /// Problems from which these are taken in order.
    pub examples: Vec<Problem>,
    /// Solutions of each problem.
    pub samples: usize,
    /// Tokens that a solution may have.
    pub max_new_tokens: usize,
    /// How each token is chosen.
    pub sampling: Sampling,
}

/// A problem as the model gets it.
struct Asked {
    item: usize,
    ids: Vec<u32>,
    text: String,
    /// Whether the prompt ends inside the thinking.
    thinking: bool,
}

/// Solves the problems that are not in `log` yet. Prompts of similar length are continued together, about `tokens_at_once` tokens
/// including the longest continuations, the longest first. `progress` gets the number of problems done and the total.
///
/// # Errors
/// A problem cannot be put to the model, the log cannot be written, or `progress` ends the work.
pub fn solve(
    model: &TextModel,
    problems: &[Problem],
    asking: &Asking,
    tokens_at_once: usize,
    log: &mut ItemLog<ProblemRecord>,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<()> {
    let total = problems.len() as u64;
    let mut asked = Vec::with_capacity(problems.len());
    for (item, problem) in problems.iter().enumerate() {
        asked.push(ask(model, asking, problem, item).map_err(|error| error.at(&problem.place))?);
    }
    asked.sort_by(|a, b| b.ids.len().cmp(&a.ids.len()).then(a.item.cmp(&b.item)));
    let mut left = asked.as_slice();
    while let Some(longest) = left.first() {
        let row = longest.ids.len().saturating_add(asking.max_new_tokens);
        let tokens = row.saturating_mul(asking.samples.max(1));
        let at_once = (tokens_at_once / tokens.max(1)).clamp(1, left.len());
        let (batch, rest) = left.split_at(at_once);
        left = rest;
        let done = log.records().len() as u64;
        progress(done, total)?;
        // Batches do not depend on what was done before: in another batch, matrix products may round differently.
        if batch.iter().all(|asked| log.has(asked.item as u64)) {
            continue;
        }
        let found = solve_batch(model, problems, asking, batch, &mut || progress(done, total))?;
        log.add(batch.iter().zip(found).map(|(asked, solutions)| {
            let record = ProblemRecord::new(&problems[asked.item], asked.text.clone(), solutions);
            (asked.item as u64, record)
        }))?;
    }
    progress(total, total)
}

/// The solutions of each problem of a batch.
fn solve_batch(
    model: &TextModel,
    problems: &[Problem],
    asking: &Asking,
    batch: &[Asked],
    go_on: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<Vec<Solution>>> {
    let samples = asking.samples.max(1);
    let rows: Vec<&Asked> = batch
        .iter()
        .flat_map(|asked| std::iter::repeat_n(asked, samples))
        .collect();
    let prompts: Vec<Vec<u32>> = rows.iter().map(|asked| asked.ids.clone()).collect();
    // The random numbers of a solution do not depend on its batch.
    let streams: Vec<u64> = batch
        .iter()
        .flat_map(|asked| (0..samples).map(move |sample| (asked.item * samples + sample) as u64))
        .collect();
    let ends = model.end_tokens();
    let settings = Generation {
        max_new_tokens: asking.max_new_tokens,
        stop: ends.clone(),
        sampling: asking.sampling.clone(),
    };
    let stop = match asking.mode {
        Mode::Plain => vec![asking.task.stop().to_owned()],
        Mode::NoThink | Mode::Think => Vec::new(),
    };
    let mut pieces: Vec<Pieces<'_>> = rows
        .iter()
        .map(|_| Pieces::new(&model.tokenizer, &stop))
        .collect();
    let mut ended = Ok(());
    let written = generate_streams(&model.model, &prompts, &streams, &settings, |row, token| {
        if ended.is_ok() {
            ended = go_on();
        }
        // Looking for a stop text means decoding at each token, so it is done only where there is one.
        let over = pieces
            .get_mut(row)
            .filter(|_| !stop.is_empty())
            .is_some_and(|pieces| {
                pieces.push(token);
                pieces.stopped()
            });
        match over || ended.is_err() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    })?;
    ended?;
    let mut solutions = Vec::with_capacity(rows.len());
    for ((asked, ids), pieces) in rows.iter().zip(&written).zip(&pieces) {
        let text = match pieces.stopped() {
            true => pieces.text().to_owned(),
            false => model.tokenizer.decode(ids, true)?,
        };
        let finished = pieces.stopped() || ids.last().is_some_and(|last| ends.contains(last));
        let problem = &problems[asked.item];
        let length = (ids.len(), finished);
        solutions.push(solution(asking.task, problem, text, asked.thinking, length));
    }
    Ok(solutions.chunks(samples).map(<[Solution]>::to_vec).collect())
}

fn ask(model: &TextModel, asking: &Asking, problem: &Problem, item: usize) -> Result<Asked> {
    let examples = asking
        .examples
        .iter()
        .filter(|example| example.question != problem.question);
    let examples: Vec<&Problem> = examples.take(asking.shots).collect();
    if examples.len() < asking.shots {
        return Err(EvalError::Shots {
            asked: asking.shots,
            of: String::new(),
            found: examples.len(),
        });
    }
    let ids = match asking.mode {
        Mode::Plain => {
            let solved = examples.iter().map(|example| {
                format!(
                    "{} {}\n\n",
                    asking.task.plain(&example.question),
                    example.solution
                )
            });
            let text: String = solved.chain([asking.task.plain(&problem.question)]).collect();
            encode(&model.tokenizer, &text)?
        }
        Mode::NoThink | Mode::Think => model.prompt(&conversation(asking, &examples, problem), any_date())?,
    };
    let context = model.model.max_positions();
    if ids.len() > context {
        return Err(GenerateError::Context {
            prompt: ids.len(),
            context,
        }
        .into());
    }
    let text = model.tokenizer.decode(&ids, false)?;
    Ok(Asked {
        item,
        ids,
        thinking: text.rfind("<think>") > text.rfind("</think>"),
        text,
    })
}

fn conversation(asking: &Asking, examples: &[&Problem], problem: &Problem) -> Conversation {
    let asked = |problem: &Problem| match asking.instruction.is_empty() {
        true => json!({"role": "user", "content": problem.question}),
        false => {
            json!({"role": "user", "content": format!("{}\n\n{}", problem.question, asking.instruction)})
        }
    };
    let solved = |example: &Problem| json!({"role": "assistant", "content": example.solution});
    let before = examples
        .iter()
        .flat_map(|example| [asked(example), solved(example)]);
    Conversation::thinking(
        asking.mode == Mode::Think,
        before.chain([asked(problem)]).collect(),
    )
}
