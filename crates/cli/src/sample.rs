//! Text from a model, as it appears.

use std::io;

use anyhow::Result;
use smollm3_corpus::Tokenizer;
use smollm3_engine::{Run, checkpoint};
use smollm3_model::hf::Checkpoint;
use smollm3_model::{Generation, ModelConfig, SmolLm3, greedy};

/// What a run's last checkpoint is asked to continue: a sum and a piece of documentation.
const PROMPTS: [&str; 2] = ["Question: What is 27 + 15?\n", "# Installation\n\n"];

/// The backend used when none is named: the first compiled in.
pub fn default_backend() -> &'static str {
    smollm3_kernels::compiled_backends()
        .first()
        .copied()
        .unwrap_or("flex")
}

/// Continues `prompt` greedily; `on_text` gets each new piece of text once it is whole.
pub fn continue_text(
    model: &SmolLm3,
    config: &ModelConfig,
    tokenizer: &Tokenizer,
    prompt: &str,
    max_new_tokens: usize,
    mut on_text: impl FnMut(&str) -> io::Result<()>,
) -> Result<String> {
    let ids = tokenizer.encode(prompt)?;
    let stop = config.eos_token_id.into_iter().collect();
    let mut new = Vec::new();
    let mut shown = String::new();
    let mut trouble = Ok(());
    greedy(model, &ids, &Generation { max_new_tokens, stop }, |token| {
        new.push(token);
        // A character may be spread over tokens: text is shown up to the last whole one.
        let Ok(text) = tokenizer.decode(&new, true) else {
            return;
        };
        if let Some(piece) = text.trim_end_matches('\u{fffd}').strip_prefix(shown.as_str())
            && trouble.is_ok()
        {
            trouble = on_text(piece);
            shown.push_str(piece);
        }
    })?;
    trouble?;
    Ok(shown)
}

/// What the last stage's checkpoint makes of a few prompts.
pub fn closing_sample(run: &Run) -> Result<String> {
    let Some(stage) = run.recipe.stages.last() else {
        return Ok(String::new());
    };
    let (Some((_, folder)), _) = checkpoint::newest(&run.stage_folder(&stage.name))? else {
        return Ok(String::new());
    };
    let found = Checkpoint::open(&folder)?;
    let model = found.model(&run.device)?;
    let mut text = String::new();
    for prompt in PROMPTS {
        let continued = continue_text(&model, &found.config, &run.data.tokenizer, prompt, 60, |_| Ok(()))?;
        text.push_str(&format!("\n{prompt}{}\n", continued.trim_end()));
    }
    text.push_str(&format!("\nCheckpoint: {}\n", folder.display()));
    text.push_str(&format!(
        "Try: smollm3 generate {} --prompt \"…\"\n",
        folder.display()
    ));
    Ok(text)
}
