//! Questions about sums, answered in `/think` and in `/no_think` mode: what is said after the thinking is right or wrong.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use serde_json::json;
use smollm3_chat::{Conversation, Render, Template, encode};
use smollm3_corpus::Tokenizer;
use smollm3_model::{Generation, SmolLm3, generate};
use smollm3_recipe::ExactMatch;
use smollm3_sft::sum;

use crate::Result;

/// Tokens that an answer may take, its thinking included.
const LONGEST: usize = 96;
/// Questions that are answered at once.
const AT_ONCE: usize = 50;

/// How many questions were answered right in one mode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExactScore {
    /// Whether it was asked to think first.
    pub think: bool,
    /// Questions.
    pub items: u32,
    /// The part answered right, 0 to 1.
    pub score: f64,
    /// Standard error of it.
    pub standard_error: f64,
}

/// Both modes' scores; the most probable token is taken each time. A turn ends with `stop`.
///
/// # Errors
/// The template refuses the questions, or `progress` ends the work.
pub fn exact_match(
    model: &SmolLm3,
    tokenizer: &Tokenizer,
    template: &Template,
    stop: u32,
    asked: &ExactMatch,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Vec<ExactScore>> {
    let settings = Generation {
        max_new_tokens: LONGEST,
        stop: vec![stop],
        ..Generation::default()
    };
    let total = 2 * u64::from(asked.items);
    let (mut done, mut scores) = (0, Vec::new());
    for think in [true, false] {
        let mut right = 0u32;
        let indices: Vec<u64> = (0..u64::from(asked.items)).collect();
        for indices in indices.chunks(AT_ONCE) {
            progress(done, total)?;
            let problems: Vec<_> = indices.iter().map(|index| sum(asked.seed, *index)).collect();
            let prompts: Vec<Vec<u32>> = problems
                .iter()
                .map(|problem| prompt(tokenizer, template, &problem.question, think))
                .collect::<Result<_>>()?;
            let answers = generate(model, &prompts, &settings, |_, _| ControlFlow::Continue(()))?;
            for (problem, ids) in problems.iter().zip(answers) {
                right += u32::from(answer(&tokenizer.decode(&ids, true)?) == problem.answer);
            }
            done += indices.len() as u64;
        }
        let items = f64::from(asked.items.max(1));
        let score = f64::from(right) / items;
        scores.push(ExactScore {
            think,
            items: asked.items,
            score,
            standard_error: (score * (1.0 - score) / items).sqrt(),
        });
    }
    progress(done, total)?;
    Ok(scores)
}

fn prompt(tokenizer: &Tokenizer, template: &Template, question: &str, think: bool) -> Result<Vec<u32>> {
    let mut template_kwargs = serde_json::Map::new();
    template_kwargs.insert("enable_thinking".to_owned(), json!(think));
    let conversation = Conversation {
        messages: vec![json!({"role": "user", "content": question})],
        tools: None,
        template_kwargs,
    };
    let render = Render {
        add_generation_prompt: true,
        // Any will do: the questions are not about the date.
        date: smollm3_chat::NaiveDate::from_ymd_opt(2025, 7, 8),
        ..Render::default()
    };
    let rendered = template.render(&conversation, &render)?;
    Ok(encode(tokenizer, &rendered)?.ids)
}

/// What is said after the thinking.
fn answer(text: &str) -> &str {
    text.rsplit("</think>").next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn the_answer_is_what_follows_the_thinking() {
        for (text, expected) in [
            ("<think>\n1 + 2 = 3\n</think>\n3", "3"),
            (" 42 \n", "42"),
            ("<think>\nnever ends 42", "<think>\nnever ends 42"),
            ("<think></think>", ""),
        ] {
            assert_eq!(answer(text), expected);
        }
    }
}
