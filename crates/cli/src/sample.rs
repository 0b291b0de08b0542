//! Text from a model, as it appears.

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anyhow::Result;
use smollm3_corpus::Tokenizer;
use smollm3_engine::{Run, checkpoint};
use smollm3_model::hf::Checkpoint;
use smollm3_model::{Generation, ModelConfig, Sampling, SmolLm3, generate};
use smollm3_recipe::Stage;

use crate::args::SamplingArgs;

/// What a run's last checkpoint is asked to continue: a sum and a piece of documentation.
const PROMPTS: [&str; 2] = ["Question: What is 27 + 15?\n", "# Installation\n\n"];

/// How a text is continued.
#[derive(Debug, Default)]
pub struct Continuation {
    /// Stop after so many tokens.
    pub max_new_tokens: usize,
    /// Stop at one of these texts, which is left out.
    pub stop: Vec<String>,
    /// Stop after one of these tokens, besides the model's own end.
    pub stop_tokens: Vec<u32>,
    /// How each token is chosen.
    pub sampling: Sampling,
}

impl From<&SamplingArgs> for Sampling {
    fn from(wanted: &SamplingArgs) -> Self {
        Self {
            temperature: wanted.temperature,
            top_k: wanted.top_k,
            top_p: wanted.top_p,
            min_p: wanted.min_p,
            repetition_penalty: wanted.repetition_penalty,
            seed: wanted.seed,
        }
    }
}

/// Continues `prompt`; `on_text` gets each new piece of text once it is whole and can no longer become a stop text.
pub fn continue_text(
    model: &SmolLm3,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    prompt: &str,
    how: &Continuation,
    mut on_text: impl FnMut(&str) -> io::Result<()>,
) -> Result<String> {
    let settings = Generation {
        max_new_tokens: how.max_new_tokens,
        stop: config
            .eos_token_id
            .into_iter()
            .chain(how.stop_tokens.iter().copied())
            .collect(),
        sampling: how.sampling.clone(),
    };
    let mut new = Vec::new();
    let mut text = String::new();
    let mut shown = 0;
    let mut trouble = Ok(());
    let mut show = |text: &str, to: usize| {
        if let Some(piece) = text.get(shown..to).filter(|piece| !piece.is_empty()) {
            trouble = on_text(piece);
            shown = to;
        }
        trouble.is_ok()
    };
    generate(model, &[tokenizer.encode(prompt)?], &settings, |_, token| {
        new.push(token);
        // A character may be spread over tokens: what is not whole yet is left for later.
        let Ok(decoded) = tokenizer.decode(&new, true) else {
            return ControlFlow::Continue(());
        };
        text = decoded.trim_end_matches('\u{fffd}').to_owned();
        if let Some(end) = how.stop.iter().filter_map(|stop| text.find(stop.as_str())).min() {
            text.truncate(end);
            return ControlFlow::Break(());
        }
        match show(&text, text.len() - held_back(&text, &how.stop)) {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    show(&text, text.len());
    trouble?;
    Ok(text)
}

/// How many bytes at the end of `text` may be the beginning of a stop text.
fn held_back(text: &str, stop: &[String]) -> usize {
    let begins = |stop: &String| {
        (1..stop.len())
            .rev()
            .filter(|length| stop.is_char_boundary(*length))
            .find(|length| text.ends_with(&stop[..*length]))
    };
    stop.iter().filter_map(begins).max().unwrap_or(0)
}

/// What the run's last checkpoint of plain text makes of a few prompts, and how to use the last of all.
pub fn closing_sample(run: &Run) -> Result<String> {
    let newest = |stage: &Stage| -> Result<Option<PathBuf>> {
        let (found, _) = checkpoint::newest(&run.stage_folder(&stage.name))?;
        Ok(found.map(|(_, folder)| folder))
    };
    let mut text = String::new();
    let stages = &run.recipe.stages;
    if let Some(stage) = stages.iter().rfind(|stage| stage.fine_tuning().is_none())
        && let Some(folder) = newest(stage)?
    {
        let found = Checkpoint::open(&folder)?;
        let model = found.model(&run.device)?;
        text.push_str(&format!("\nText continued after {}:\n", stage.name));
        for prompt in PROMPTS {
            let how = Continuation {
                max_new_tokens: 60,
                ..Continuation::default()
            };
            let continued = continue_text(&model, &found.config, &run.data.tokenizer, prompt, &how, |_| {
                Ok(())
            })?;
            text.push_str(&format!("\n{prompt}{}\n", continued.trim_end()));
        }
    }
    if let Some(stage) = stages.last()
        && let Some(folder) = newest(stage)?
    {
        let folder = folder.display();
        text.push_str(&format!("\nCheckpoint: {folder}\n"));
        text.push_str(&match stage.fine_tuning() {
            Some(_) => format!("Try: smollm3 chat {folder}\n"),
            None => format!("Try: smollm3 generate {folder} --prompt \"…\"\n"),
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_become_a_stop_text_is_held_back() {
        let stop = ["<end>".to_owned(), "\n\n".to_owned(), "é!".to_owned()];
        for (text, held) in [
            ("a", 0),
            ("a<", 1),
            ("a<en", 3),
            ("a\n", 1),
            ("<end", 4),
            ("é", 2),
            ("", 0),
        ] {
            assert_eq!(held_back(text, &stop), held, "{text}");
        }
    }
}
