//! All models at work until every prompt has its answers.
//!
//! Endpoints answer side by side, each in a thread that only waits; checkpoints one after another beside them, because
//! two would share the same cores or the same card. One thread writes what comes.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::work::{Found, Work};
use crate::{Asked, Journal, Model, Place, Prompts, Result, Survey, SynthesisError};

/// How often those who watch are told.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// How often answers are brought to the disk: what a power failure can cost.
const SYNC_EVERY: Duration = Duration::from_secs(10);

/// How far the work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Answers that are there.
    pub answers: u64,
    /// Answers that there will be.
    pub total: u64,
    /// Those of them that this call brought.
    pub new_answers: u64,
    /// Tokens that this call brought; an endpoint's count when their answer is there.
    pub new_tokens: u64,
}

/// Asks each of `models` for `samples` answers to every prompt that `survey` counted and that `journal` lacks.
///
/// # Errors
/// [`SynthesisError::Interrupted`] once `stop` is set; a prompt, a model or the journal fails. The answers so far are
/// kept in any case.
pub fn answer_all(
    prompts: &Prompts,
    survey: &Survey,
    models: &[Asked],
    samples: u32,
    journal: &mut Journal,
    stop: &AtomicBool,
    show: &mut dyn FnMut(Progress),
) -> Result<()> {
    let done: HashSet<Place> = journal.places().collect();
    let counts = |place: &Place| usize::from(place.model) < models.len() && place.sample < samples;
    let within = |place: &Place| prompts.asking.limit.is_none_or(|limit| place.prompt < limit);
    let before = done.iter().filter(|place| counts(place) && within(place)).count() as u64;
    let total = survey.prompts * u64::from(samples) * models.len() as u64;
    let (failed, tokens) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut outcome = Ok(());
    thread::scope(|scope| {
        let (found, answers) = sync_channel::<Found>(256);
        let (here, elsewhere): (Vec<_>, Vec<_>) = (0u8..)
            .zip(models)
            .map(|(number, asked)| {
                let work = Work {
                    number,
                    name: asked.name,
                    sampling: &asked.sampling,
                    max_new_tokens: asked.max_new_tokens,
                    prompts,
                    samples,
                    done: &done,
                    halts: [stop, &failed],
                    tokens: &tokens,
                    found: found.clone(),
                };
                (&asked.model, work)
            })
            .partition(|(model, _)| matches!(model, Model::Checkpoint(_)));
        drop(found);
        let in_turn = |works: Vec<(&Model, Work<'_>)>| works.iter().try_for_each(answer_one);
        let workers: Vec<_> = elsewhere
            .into_iter()
            .map(|work| vec![work])
            .chain([here])
            .filter(|works| !works.is_empty())
            .map(|works| {
                let failed = &failed;
                scope.spawn(move || {
                    let outcome = in_turn(works);
                    if outcome.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    outcome
                })
            })
            .collect();

        let mut new_answers = 0;
        let mut tell = |new_answers: u64| {
            show(Progress {
                answers: before + new_answers,
                total,
                new_answers,
                new_tokens: tokens.load(Ordering::Relaxed),
            });
        };
        tell(0);
        let (mut shown, mut synced) = (Instant::now(), Instant::now());
        loop {
            match answers.recv_timeout(SHOW_EVERY) {
                Ok(Found { place, asked, answer }) => {
                    outcome = journal.add(place, asked, answer);
                    new_answers += 1;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if outcome.is_ok() && synced.elapsed() >= SYNC_EVERY {
                outcome = journal.sync();
                synced = Instant::now();
            }
            if outcome.is_err() {
                failed.store(true, Ordering::Relaxed);
                break;
            }
            if shown.elapsed() >= SHOW_EVERY {
                shown = Instant::now();
                tell(new_answers);
            }
        }
        tell(new_answers);
        // Those who still have something to say end when they find nobody listening.
        drop(answers);
        for worker in workers {
            let ended = worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // What failed first made the others stop.
            let earlier_counts = !matches!(outcome, Ok(()) | Err(SynthesisError::Interrupted));
            if ended.is_err() && !earlier_counts {
                outcome = ended;
            }
        }
    });
    let synced = journal.sync();
    outcome.and(synced)
}

fn answer_one((model, work): &(&Model, Work<'_>)) -> Result<()> {
    match model {
        Model::Checkpoint(checkpoint) => checkpoint.answer(work),
        Model::Endpoint(endpoint) => endpoint.answer(work),
    }
}
