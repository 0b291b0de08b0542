//! Pairs of a good and a bad answer to a sum: how often is the good one likelier to the model, without any reference?

use burn::tensor::Device;
use smollm3_apo::{PairLimits, answer_log_probs, pack_pairs, sum_pair};
use smollm3_chat::{Pair, Render, Template, render_pair};
use smollm3_conversations::Document;
use smollm3_corpus::Tokenizer;
use smollm3_model::SmolLm3;
use smollm3_recipe::{PreferencePairs, TooLongPair};
use smollm3_records::ModeScore;

use crate::Result;
use crate::date::any_date;
use crate::error::finite;

/// Tokens that are computed at once.
const ROW: u64 = 4096;

/// In both modes, the part of the pairs whose good answer is likelier.
///
/// # Errors
/// The template refuses the pairs, a log-probability is no number, or `progress` ends the work.
pub fn preference(
    model: &SmolLm3,
    tokenizer: &Tokenizer,
    template: &Template,
    asked: &PreferencePairs,
    device: &Device,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Vec<ModeScore>> {
    let render = Render {
        date: any_date(),
        ..Render::default()
    };
    let limits = PairLimits {
        length: (ROW / 2) as usize,
        prompt: None,
        too_long: TooLongPair::Error,
    };
    let documents = |index: u64, think: bool| -> Result<Option<[Document; 2]>> {
        let pair = Pair::from_row(&sum_pair(asked.seed, index, think, asked.answers))?;
        let pair = render_pair(tokenizer, template, &pair, &render)?;
        let answers = [pair.chosen.encode(tokenizer)?, pair.rejected.encode(tokenizer)?];
        Ok(limits.cut(pair.prompt.encode(tokenizer)?, answers)?.ok())
    };
    let total = 2 * u64::from(asked.items);
    let (mut done, mut scores) = (0, Vec::new());
    for think in [true, false] {
        let mut pairs = Vec::new();
        for index in 0..u64::from(asked.items) {
            pairs.extend(documents(index, think)?.map(|documents| (index, 0, documents)));
        }
        let mut right = 0u32;
        for row in pack_pairs(&pairs, ROW)? {
            progress(done, total)?;
            done += row.pairs.len() as u64;
            let found = answer_log_probs(model, row, device)?;
            for value in found.iter().flatten() {
                finite(*value, || "the log-probability of an answer".to_owned())?;
            }
            right += found
                .iter()
                .map(|[right, wrong]| u32::from(right > wrong))
                .sum::<u32>();
        }
        scores.push(ModeScore::new(think, asked.items, right));
    }
    progress(total, total)?;
    Ok(scores)
}
