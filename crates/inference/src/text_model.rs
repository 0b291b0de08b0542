//! A checkpoint ready for text generation.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use smollm3_chat::tokens::check_tokens;
use smollm3_chat::{Conversation, NaiveDate, Template, encode_prompt};
use smollm3_corpus::Tokenizer;
use smollm3_model::hf::{Checkpoint, CheckpointError, GenerationConfig};
use smollm3_model::{ModelConfig, Sampling, SmolLm3};

use crate::{InferenceError, Result};

/// A checkpoint's model, tokenizer and template.
#[derive(Debug)]
pub struct TextModel {
    /// The checkpoint.
    pub folder: PathBuf,
    /// The architecture.
    pub config: ModelConfig,
    /// The weights.
    pub model: SmolLm3,
    /// What turns text into tokens.
    pub tokenizer: Tokenizer,
    /// What turns conversations into text, if the checkpoint brings one along.
    pub template: Option<Template>,
    /// How the checkpoint is meant to be continued.
    pub generation: GenerationConfig,
}

/// Refuses a checkpoint whose tokenizer has ids that its embedding has no rows for.
///
/// # Errors
/// It is one.
pub fn check_vocabulary(folder: &Path, tokenizer: &Tokenizer, config: &ModelConfig) -> Result<()> {
    let (entries, rows) = (tokenizer.info().vocab_size as usize, config.vocab_size);
    match entries > rows {
        true => Err(InferenceError::Vocabulary {
            folder: folder.to_owned(),
            entries,
            rows,
        }),
        false => Ok(()),
    }
}

/// How a text is continued.
#[derive(Debug, Clone, Default)]
pub struct Continuation {
    /// Stop after this many tokens.
    pub max_new_tokens: usize,
    /// Stop at one of these texts, which is left out.
    pub stop: Vec<String>,
    /// How each token is chosen.
    pub sampling: Sampling,
}

impl TextModel {
    /// Opens a checkpoint for use, its matrices in `precision`.
    ///
    /// # Errors
    /// A file is missing or damaged, or the tokenizer has ids that the embedding has no rows for.
    pub fn open(folder: &Path, precision: DType, device: &Device) -> Result<Self> {
        let checkpoint = Checkpoint::open(folder)?;
        let tokenizer =
            Tokenizer::load(folder.join("tokenizer.json")).map_err(|source| InferenceError::Tokenizer {
                folder: folder.to_owned(),
                source,
            })?;
        check_vocabulary(folder, &tokenizer, &checkpoint.config)?;
        let template = Template::of_checkpoint(folder)?;
        let generation = GenerationConfig::of_checkpoint(folder).map_err(CheckpointError::from)?;
        let model = checkpoint.model_in(precision, device)?;
        Ok(Self {
            folder: folder.to_owned(),
            config: checkpoint.config,
            model,
            tokenizer,
            template,
            generation,
        })
    }

    /// The tokens that end a text: the checkpoint's own, and the end of a turn where the tokenizer has one.
    pub fn end_tokens(&self) -> Vec<u32> {
        let turn = check_tokens(&self.tokenizer).ok().map(|tokens| tokens.im_end);
        let mut ends = self.generation.end_tokens.clone();
        ends.extend(turn.filter(|turn| !ends.contains(turn)));
        ends
    }

    /// A conversation as the tokens that the assistant's next turn follows.
    ///
    /// # Errors
    /// There is no template, or it refuses the conversation.
    pub fn prompt(&self, conversation: &Conversation, date: Option<NaiveDate>) -> Result<Vec<u32>> {
        let template = self.template.as_ref().ok_or_else(|| InferenceError::NoTemplate {
            folder: self.folder.clone(),
        })?;
        Ok(encode_prompt(&self.tokenizer, template, conversation, date)?)
    }

    /// Continues the tokens of `prompt`; `on_text` gets each new piece of text once it is whole and can no longer become a
    /// stop text.
    ///
    /// # Errors
    /// The prompt cannot be continued, or `on_text` fails.
    pub fn continue_text(
        &self,
        prompt: &[u32],
        how: &Continuation,
        mut on_text: impl FnMut(&str) -> io::Result<()>,
    ) -> Result<String> {
        let mut written = Ok(());
        let texts = self.continue_texts(&[prompt.to_vec()], &[], how, |step| {
            if !step.piece.is_empty() {
                written = on_text(&step.piece);
            }
            match written.is_ok() {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        })?;
        written?;
        Ok(texts.concat())
    }
}
