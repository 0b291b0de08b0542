//! Generated conversations about sums, for demonstrations: the same question is answered directly or after thinking.
//!
//! A model trained on them answers in the requested mode, so that `/think` and `/no_think` have a visible effect at any
//! size.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use smollm3_chat::Conversation;

/// A question about a sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The user's question.
    pub question: String,
    /// The text before the answer in `/think` mode.
    pub thought: String,
    /// The answer.
    pub answer: String,
}

impl Problem {
    /// The answer in a sentence.
    pub fn sentence(&self) -> String {
        format!("The sum is {}.", self.answer)
    }
}

/// Problem `index` of a seed: two numbers below 100, added column by column.
pub fn sum(seed: u64, index: u64) -> Problem {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(index);
    let (a, b) = (rng.random_range(0..100u32), rng.random_range(0..100u32));
    let ones = a % 10 + b % 10;
    let carry = ones / 10;
    let tens = a / 10 + b / 10 + carry;
    let carried = if carry > 0 { " + 1" } else { "" };
    Problem {
        question: format!("What is {a} + {b}?"),
        thought: format!(
            "ones: {} + {} = {ones}\ntens: {} + {}{carried} = {tens}",
            a % 10,
            b % 10,
            a / 10,
            b / 10
        ),
        answer: (a + b).to_string(),
    }
}

/// The conversation about it; the answer is a sentence or the bare number.
pub fn sum_conversation(problem: &Problem, think: bool, sentence: bool) -> Conversation {
    let Problem {
        question,
        thought,
        answer,
    } = problem;
    let answer = match sentence {
        true => problem.sentence(),
        false => answer.clone(),
    };
    let said = match think {
        true => format!("<think>\n{thought}\n</think>\n{answer}"),
        false => answer,
    };
    let messages = vec![
        json!({"role": "user", "content": question}),
        json!({"role": "assistant", "content": said}),
    ];
    Conversation::thinking(think, messages)
}
