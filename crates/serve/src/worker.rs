//! The thread that runs the model: one request at a time, in batches that fit the memory, sending each token.
//!
//! It never waits for a client: events go to an unbounded channel, which holds at most the tokens of one request.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use smollm3_inference::{Continuation, End, Growing, Result, TextModel, TokenScore, score};
use tokio::sync::mpsc::UnboundedSender;

use crate::Limits;
use crate::batches::{Budget, batches};
use crate::queue::{Place, Queue};
use crate::wire::Refusal;

/// What to compute for a request.
#[derive(Debug, Clone)]
pub(crate) struct GenerationRequest {
    /// Token ids.
    pub prompts: Vec<Vec<u32>>,
    /// Continuations of each prompt; number `i` of prompt `p` is row `p · n + i`.
    pub n: usize,
    /// Length, stop texts and sampling.
    pub how: Continuation,
    /// Whether to score the prompts' own tokens.
    pub score_prompts: bool,
    /// Score new tokens, with this many of the most probable.
    pub log_probs: Option<usize>,
}

/// Work, and the channel for its events.
#[derive(Debug)]
pub(crate) struct Job {
    pub work: GenerationRequest,
    pub events: UnboundedSender<Event>,
    /// Freed once the job is done, even if the client has not read all of it.
    pub place: Place,
}

/// A result of the model.
#[derive(Debug)]
pub(crate) enum Event {
    /// The scores of a prompt's tokens but the first.
    Prompt { prompt: usize, scores: Vec<TokenScore> },
    /// The next token of a row.
    Token {
        row: usize,
        token: u32,
        piece: String,
        score: Option<TokenScore>,
    },
    /// A row's end.
    End { row: usize, end: End },
    /// Everything was computed.
    Done,
    /// The computation failed.
    Failed(Refusal),
}

impl Job {
    /// Whether the client is still connected.
    pub fn is_wanted(&self) -> bool {
        !self.events.is_closed()
    }

    /// [`Job::is_wanted`] detects clients that have left.
    fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

/// Maximum number of scores in memory, 64 MB of `f32`, twice; a single row may exceed it.
const SCORES: usize = 1 << 24;

/// Processes the queue until it is closed. `stop` interrupts the current request.
pub(crate) fn work(model: &TextModel, limits: &Limits, queue: &Queue<Job>, stop: &AtomicBool) {
    let budget = Budget {
        rows: (SCORES / model.config.vocab_size.max(1)).max(1),
        tokens: limits.batch_tokens,
    };
    while let Some(job) = queue.pop() {
        // A panic in the model must not end the server.
        let outcome = catch_unwind(AssertUnwindSafe(|| compute(model, &job, budget, stop)));
        job.send(match outcome {
            Ok(Ok(())) if stop.load(Ordering::Relaxed) => Event::Failed(Refusal::stopping()),
            Ok(Ok(())) => Event::Done,
            Ok(Err(error)) => Event::Failed(Refusal::internal(error.to_string())),
            Err(_) => Event::Failed(Refusal::internal("the model failed on this request")),
        });
        drop(job.place);
    }
}

fn compute(model: &TextModel, job: &Job, budget: Budget, stop: &AtomicBool) -> Result<()> {
    let GenerationRequest { prompts, how, .. } = &job.work;
    let go_on = || match job.is_wanted() && !stop.load(Ordering::Relaxed) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    };
    if go_on().is_break() {
        return Ok(());
    }
    if job.work.score_prompts {
        let top = job.work.log_probs.unwrap_or(0);
        let mut chosen = Ok(());
        score(&model.model, prompts, top, |prompt, scored| {
            job.send(Event::Prompt {
                prompt,
                scores: scored.tokens,
            });
            // The scores of one new token are there already, and a log-likelihood needs no more.
            if how.max_new_tokens == 1 {
                chosen = next_tokens(model, job, prompt, &scored.next);
            }
            match chosen.is_ok() {
                true => go_on(),
                false => ControlFlow::Break(()),
            }
        })?;
        chosen?;
    }
    if how.max_new_tokens == 0 {
        for row in 0..prompts.len() * job.work.n {
            job.send(Event::End {
                row,
                end: End::Length,
            });
        }
    } else if !(job.work.score_prompts && how.max_new_tokens == 1) {
        let prompt = |row: usize| &prompts[row / job.work.n];
        let lengths: Vec<usize> = (0..prompts.len() * job.work.n)
            .map(|row| prompt(row).len())
            .collect();
        for rows in batches(&lengths, how.max_new_tokens, budget) {
            if go_on().is_break() {
                return Ok(());
            }
            let batch: Vec<Vec<u32>> = rows.iter().map(|row| prompt(*row).clone()).collect();
            // The random numbers of a row depend on its place in the request.
            let streams: Vec<u64> = rows.iter().map(|row| *row as u64).collect();
            model.continue_texts(&batch, &streams, how, |step| {
                let row = rows[step.row];
                send_token(job, row, step.token, (step.piece, step.end), step.scores);
                go_on()
            })?;
        }
    }
    Ok(())
}

/// The only new token of each row of a prompt, sampled from `scores`.
fn next_tokens(model: &TextModel, job: &Job, prompt: usize, scores: &[f32]) -> Result<()> {
    let Some(ids) = job.work.prompts.get(prompt) else {
        return Ok(());
    };
    let how = &job.work.how;
    let end_tokens = model.end_tokens();
    for row in prompt * job.work.n..(prompt + 1) * job.work.n {
        let token = how
            .sampling
            .choose(scores, ids, &mut how.sampling.rng(row as u64))?;
        let added = Growing::new(model, ids.len(), how, &end_tokens).push(token);
        send_token(job, row, token, added, scores);
    }
    Ok(())
}

fn send_token(job: &Job, row: usize, token: u32, (piece, end): (String, Option<End>), scores: &[f32]) {
    let score = job.work.log_probs.map(|top| TokenScore::of(token, scores, top));
    job.send(Event::Token {
        row,
        token,
        piece,
        score,
    });
    if let Some(end) = end {
        job.send(Event::End { row, end });
    }
}
