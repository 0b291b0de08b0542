//! Questions about sums in `/think` and in `/no_think` mode: the text after the thinking must be the right number or say it in a sentence.

use std::ops::ControlFlow;

use serde_json::json;
use smollm3_chat::{Conversation, Template, encode_prompt, spoken};
use smollm3_conversations::{Problem, sum};
use smollm3_corpus::Tokenizer;
use smollm3_model::{Generation, SmolLm3, generate};
use smollm3_recipe::ExactMatch;
use smollm3_records::ModeScore;

use crate::Result;
use crate::date::any_date;

/// Tokens that an answer may take, its thinking included.
const LONGEST: usize = 96;
/// Questions that are answered at once.
const AT_ONCE: usize = 50;

/// In both modes, the share of questions answered right by greedy decoding. Any of `stop` ends a turn.
///
/// # Errors
/// The template refuses the questions, or `progress` ends the work.
pub fn exact_match(
    model: &SmolLm3,
    tokenizer: &Tokenizer,
    template: &Template,
    stop: &[u32],
    asked: &ExactMatch,
    progress: &mut dyn FnMut(u64, u64) -> Result<()>,
) -> Result<Vec<ModeScore>> {
    let settings = Generation {
        max_new_tokens: LONGEST,
        stop: stop.to_vec(),
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
                let text = tokenizer.decode(&ids, true)?;
                right += u32::from(spoken(&text).is_some_and(|answer| is_right(problem, answer)));
            }
            done += indices.len() as u64;
        }
        scores.push(ModeScore::new(think, asked.items, right));
    }
    progress(done, total)?;
    Ok(scores)
}

fn is_right(problem: &Problem, answer: &str) -> bool {
    let answer = answer.trim();
    answer == problem.answer || answer == problem.sentence()
}

fn prompt(tokenizer: &Tokenizer, template: &Template, question: &str, think: bool) -> Result<Vec<u32>> {
    let conversation = Conversation::thinking(think, vec![json!({"role": "user", "content": question})]);
    Ok(encode_prompt(tokenizer, template, &conversation, any_date())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_and_its_sentence_are_right() {
        let problem = Problem {
            question: "What is 47 + 36?".to_owned(),
            thought: String::new(),
            answer: "83".to_owned(),
        };
        for (answer, right) in [
            ("83", true),
            ("\n83 ", true),
            ("The sum is 83.", true),
            ("The sum is 83", false),
            ("The sum is 84.", false),
            ("The sum is 183.", false),
            ("183", false),
            ("83 83", false),
            ("", false),
        ] {
            assert_eq!(is_right(&problem, answer), right, "{answer}");
        }
    }
}
