//! Generated pairs about sums, for demonstrations: the right number is preferred to a wrong one, or a sentence to the bare
//! number.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use smollm3_recipe::SumAnswers;

use crate::sums::{Problem, sum, sum_conversation};

/// Pair `index` of a seed. With `think`, the thoughts before both answers are right, as they are where a model slips at the
/// end.
pub fn sum_pair(seed: u64, index: u64, think: bool, answers: SumAnswers) -> Value {
    let right = sum(seed, index);
    let sentence = answers != SumAnswers::Number;
    let chosen = sum_conversation(&right, think, sentence);
    let rejected = match sentence {
        true => sum_conversation(&right, think, false),
        false => sum_conversation(&with_a_wrong_digit(right, seed, index), think, false),
    };
    json!({
        "prompt": chosen.messages[..1],
        "chosen": chosen.messages[1..],
        "rejected": rejected.messages[1..],
        "chat_template_kwargs": chosen.template_kwargs,
    })
}

/// The same problem; one digit of its answer is another.
fn with_a_wrong_digit(problem: Problem, seed: u64, index: u64) -> Problem {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    rng.set_stream(index);
    let mut digits = problem.answer.into_bytes();
    let at = rng.random_range(0..digits.len());
    let other = rng.random_range(1..10u8);
    digits[at] = b'0' + (digits[at] - b'0' + other) % 10;
    Problem {
        answer: digits.iter().map(|digit| char::from(*digit)).collect(),
        ..problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text after the thinking.
    fn answer(pair: &Value, which: &str) -> String {
        let said = pair[which][0]["content"].as_str().unwrap();
        said.rsplit('\n').next().unwrap().to_owned()
    }

    #[test]
    fn what_is_preferred_is_right_and_put_as_asked() {
        for (index, think) in (0..200).zip([true, false].into_iter().cycle()) {
            let right = sum(9, index);
            let pair = sum_pair(9, index, think, SumAnswers::Number);
            let rejected = answer(&pair, "rejected");
            assert_eq!(answer(&pair, "chosen"), right.answer);
            assert!(rejected != right.answer && rejected.len() == right.answer.len());
            assert_eq!(
                pair["chosen"][0]["content"]
                    .as_str()
                    .unwrap()
                    .contains(&right.thought),
                think
            );

            let pair = sum_pair(9, index, think, SumAnswers::Sentence);
            assert_eq!(answer(&pair, "chosen"), right.sentence());
            assert_eq!(answer(&pair, "rejected"), right.answer);
        }
    }
}
