//! The thread that computes: one request at a time, in batches that fit the memory, token by token to whoever asked.
//!
//! It never waits for a client: what it finds goes into a channel without bound, which holds one request's tokens at most.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use smollm3_inference::{Continuation, End, Growing, Result, TextModel, TokenScore, score};
use tokio::sync::mpsc::UnboundedSender;

use crate::Limits;
use crate::batches::{Budget, batches};
use crate::queue::Queue;
use crate::wire::Refusal;

/// What is to be computed.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    /// Tokens to continue.
    pub prompts: Vec<Vec<u32>>,
    /// Continuations of each; number `i` of prompt `p` is row `p · n + i`.
    pub n: usize,
    /// How they go on.
    pub how: Continuation,
    /// Ask how probable the prompts' own tokens are.
    pub score_prompts: bool,
    /// Ask how probable new tokens are, with so many of the most probable.
    pub log_probs: Option<usize>,
}

/// Work, and where what is found goes.
#[derive(Debug)]
pub(crate) struct Job {
    pub work: Work,
    pub events: UnboundedSender<Event>,
}

/// What is found.
#[derive(Debug)]
pub(crate) enum Event {
    /// How probable a prompt's tokens are, the first left out.
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
    /// All of it was found.
    Done,
    /// It was not.
    Failed(Refusal),
}

impl Job {
    /// Whether somebody still listens.
    pub fn is_wanted(&self) -> bool {
        !self.events.is_closed()
    }

    /// Who no longer listens is noticed by [`Job::is_wanted`].
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

/// Numbers of the scores that exist at once, 64 MB of `f32`, twice; a single row may have more.
const SCORES: usize = 1 << 24;

/// Computes what comes until the queue is closed. `stop` cuts what is being computed.
pub(crate) fn work(model: &TextModel, limits: &Limits, queue: &Queue<Job>, stop: &AtomicBool) {
    let budget = Budget {
        rows: (SCORES / model.config.vocab_size.max(1)).max(1),
        tokens: limits.batch_tokens,
    };
    while let Some(job) = queue.pop() {
        // A request that brings the model down must not take the server with it.
        let outcome = catch_unwind(AssertUnwindSafe(|| compute(model, &job, budget, stop)));
        job.tell(match outcome {
            Ok(Ok(())) if stop.load(Ordering::Relaxed) => Event::Failed(Refusal::stopping()),
            Ok(Ok(())) => Event::Done,
            Ok(Err(error)) => Event::Failed(Refusal::internal(error.to_string())),
            Err(_) => Event::Failed(Refusal::internal("the model failed on this request")),
        });
    }
}

fn compute(model: &TextModel, job: &Job, budget: Budget, stop: &AtomicBool) -> Result<()> {
    let Work { prompts, how, .. } = &job.work;
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
            job.tell(Event::Prompt {
                prompt,
                scores: scored.tokens,
            });
            // One more token is known already, and a log-likelihood asks for no more.
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
            let end = End::Length;
            job.tell(Event::End { row, end });
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
            // Random numbers are those of a row's place in the request.
            let streams: Vec<u64> = rows.iter().map(|row| *row as u64).collect();
            model.continue_texts(&batch, &streams, how, |step| {
                let row = rows[step.row];
                tell_token(job, row, step.token, (step.piece, step.end), step.scores);
                go_on()
            })?;
        }
    }
    Ok(())
}

/// The only new token of each of a prompt's rows, chosen from `scores`.
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
        tell_token(job, row, token, added, scores);
    }
    Ok(())
}

fn tell_token(job: &Job, row: usize, token: u32, (piece, end): (String, Option<End>), scores: &[f32]) {
    let score = job.work.log_probs.map(|top| TokenScore::of(token, scores, top));
    job.tell(Event::Token {
        row,
        token,
        piece,
        score,
    });
    if let Some(end) = end {
        job.tell(Event::End { row, end });
    }
}
