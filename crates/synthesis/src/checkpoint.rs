//! Answers of a checkpoint, in batches.
//!
//! The prompts of a window are sorted by length and cut into batches, so that there is little padding. Which rows share a
//! batch depends on the prompts alone, not on earlier answers: matrix products may round differently in another batch, and a
//! resumed run must give the same bits. A batch with any missing answer is therefore computed whole.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use burn::tensor::{DType, Device};
use smollm3_chat::NaiveDate;
use smollm3_inference::{InferenceError, TextModel, checkpoint_hash};
use smollm3_model::{Generation, generate_streams};

use crate::answer::with_thought;
use crate::prompt::Prompt;
use crate::worker::Worker;
use crate::{Answer, Finish, Result, SynthesisError};

/// Number of prompts that are sorted together.
const WINDOW: usize = 256;

/// A checkpoint that generates answers.
#[derive(Debug, Clone)]
pub struct CheckpointModel {
    /// The folder.
    pub folder: PathBuf,
    /// Hash of what determines its answers: weights, architecture, tokenizer, template.
    pub files: String,
    /// Type of its weights and matrix products.
    pub precision: DType,
    /// Its device.
    pub device: Device,
    /// Number of answers generated at once; each takes the memory of a row of prompt and answer.
    pub batch: usize,
    /// The current date for its template.
    pub date: NaiveDate,
}

/// An answer to generate.
struct Row<'a> {
    prompt: &'a Prompt,
    tokens: &'a Vec<u32>,
    sample: u32,
}

impl CheckpointModel {
    /// Hashes the files of a checkpoint, which is loaded when the first answer is missing.
    ///
    /// # Errors
    /// A file cannot be read, or there is no model.
    pub fn new(
        folder: &Path,
        precision: DType,
        device: &Device,
        batch: usize,
        date: NaiveDate,
    ) -> Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            files: checkpoint_hash(folder)?,
            precision,
            device: device.clone(),
            batch: batch.max(1),
            date,
        })
    }

    pub(crate) fn answer(&self, worker: &Worker<'_>) -> Result<()> {
        let mut prompts = worker.prompts.iter();
        let mut model = None;
        loop {
            let window: Vec<Prompt> = prompts.by_ref().take(WINDOW).collect::<Result<_>>()?;
            if window.is_empty() {
                return Ok(());
            }
            let missing = |prompt: &Prompt| (0..worker.samples).any(|sample| !worker.is_done(prompt, sample));
            if !window.iter().any(missing) {
                continue;
            }
            let model = match &mut model {
                Some(model) => model,
                empty => empty.insert(TextModel::open(&self.folder, self.precision, &self.device)?),
            };
            self.answer_window(model, &window, worker)?;
        }
    }

    fn answer_window(&self, model: &TextModel, window: &[Prompt], worker: &Worker<'_>) -> Result<()> {
        let mut encoded = Vec::with_capacity(window.len());
        for prompt in window {
            match self.encode(model, prompt)? {
                Ok(tokens) => encoded.push((prompt, tokens)),
                Err(problem) => {
                    let answer = worker.refused(prompt, problem)?;
                    for sample in (0..worker.samples).filter(|sample| !worker.is_done(prompt, *sample)) {
                        worker.send(prompt, sample, answer.clone())?;
                    }
                }
            }
        }
        let mut rows: Vec<Row<'_>> = encoded
            .iter()
            .flat_map(|(prompt, tokens)| (0..worker.samples).map(move |sample| (prompt, tokens, sample)))
            .map(|(prompt, tokens, sample)| Row {
                prompt,
                tokens,
                sample,
            })
            .collect();
        rows.sort_by_key(|row| (row.tokens.len(), row.prompt.index, row.sample));
        for batch in rows.chunks(self.batch) {
            if batch.iter().any(|row| !worker.is_done(row.prompt, row.sample)) {
                answer_batch(model, batch, worker)?;
            }
        }
        Ok(())
    }

    /// A prompt as tokens, or why it cannot be processed.
    fn encode(&self, model: &TextModel, prompt: &Prompt) -> Result<Result<Vec<u32>, String>> {
        let context = model.config.max_position_embeddings;
        match model.prompt(&prompt.conversation, Some(self.date)) {
            Ok(tokens) if tokens.len() >= context => Ok(Err(format!(
                "the prompt has {} tokens, the model's context is {context}",
                tokens.len()
            ))),
            Ok(tokens) => Ok(Ok(tokens)),
            Err(InferenceError::Chat(error)) => Ok(Err(error.to_string())),
            Err(error) => Err(error.into()),
        }
    }
}

fn answer_batch(model: &TextModel, batch: &[Row<'_>], worker: &Worker<'_>) -> Result<()> {
    let prompts: Vec<Vec<u32>> = batch.iter().map(|row| row.tokens.clone()).collect();
    let stream = |row: &Row<'_>| worker.place(row.prompt, row.sample).stream();
    let streams: Vec<u64> = batch.iter().map(stream).collect();
    let settings = Generation {
        max_new_tokens: worker.max_new_tokens,
        stop: model.end_tokens(),
        sampling: worker.sampling.clone(),
    };
    let answers = generate_streams(&model.model, &prompts, &streams, &settings, |_, _| {
        worker.tokens.fetch_add(1, Ordering::Relaxed);
        match worker.halted() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    let answers = answers.map_err(InferenceError::from)?;
    // Answers that were cut off by a stop are discarded.
    if worker.halted() {
        return Err(SynthesisError::Interrupted);
    }
    for (row, tokens) in batch.iter().zip(answers) {
        let ended = tokens.last().is_some_and(|token| settings.stop.contains(token));
        let said = tokens
            .get(..tokens.len() - usize::from(ended))
            .unwrap_or_default();
        let text = model.tokenizer.decode(said, true)?;
        let answer = Answer {
            text: with_thought(None, &text),
            finish: if ended { Finish::Stop } else { Finish::Length },
            tokens: tokens.len() as u64,
        };
        worker.send(row.prompt, row.sample, answer)?;
    }
    Ok(())
}
