//! Pairs of a good and a bad answer to a sum: how often the model finds the good one more probable, without a reference.

use smollm3_chat::{Pair, Render, Template, render_pair};
use smollm3_conversations::sum_pair;
use smollm3_corpus::Tokenizer;
use smollm3_model::SmolLm3;
use smollm3_recipe::PreferencePairs;
use smollm3_records::ModeScore;

use crate::date::any_date;
use crate::error::finite;
use crate::{Request, Result, log_likelihoods};

/// Tokens that are computed at once.
const TOKENS_AT_ONCE: usize = 4096;

/// In both modes, the share of pairs whose good answer is more probable.
///
/// # Errors
/// The template refuses the pairs, a log-probability is no number, or `progress` ends the work.
pub fn preference(
    model: &SmolLm3,
    tokenizer: &Tokenizer,
    template: &Template,
    asked: &PreferencePairs,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Vec<ModeScore>> {
    let render = Render {
        date: any_date(),
        ..Render::default()
    };
    let (items, mut done, mut scores) = (u64::from(asked.items), 0, Vec::new());
    for think in [true, false] {
        let mut requests = Vec::new();
        for index in 0..items {
            let pair = Pair::from_row(&sum_pair(asked.seed, index, think, asked.answers))?;
            let pair = render_pair(tokenizer, template, &pair, &render)?;
            let context = pair.prompt.encode(tokenizer)?;
            for answer in [&pair.chosen, &pair.rejected] {
                requests.push(Request {
                    context: context.clone(),
                    continuation: answer.encode(tokenizer)?,
                });
            }
        }
        let found = log_likelihoods(model, &requests, TOKENS_AT_ONCE, &mut |requests, _| {
            progress(done + requests / 2, 2 * items)
        })?;
        done += items;
        let mut right = 0;
        for [chosen, rejected] in found.as_chunks().0 {
            let known = |sum: f64| finite(sum, || "the log-probability of an answer".to_owned());
            right += u32::from(known(chosen.sum)? > known(rejected.sum)?);
        }
        scores.push(ModeScore::new(think, asked.items, right));
    }
    Ok(scores)
}
