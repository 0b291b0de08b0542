//! Generated sums are right, in every line.

use proptest::prelude::*;
use smollm3_conversations::{sum, sum_conversation};

/// `a + b` or `a + b + 1`.
fn value(terms: &str) -> u32 {
    terms.split(" + ").map(|term| term.parse::<u32>().unwrap()).sum()
}

proptest! {
    #[test]
    fn question_thought_and_answer_agree(seed: u64, index in 0u64..100_000) {
        let problem = sum(seed, index);
        let asked = problem.question.trim_start_matches("What is ").trim_end_matches('?');
        let answer: u32 = problem.answer.parse().unwrap();
        prop_assert_eq!(value(asked), answer);
        let columns: Vec<u32> = problem
            .thought
            .lines()
            .map(|line| {
                let (terms, result) = line.split_once(": ").unwrap().1.split_once(" = ").unwrap();
                assert_eq!(value(terms), result.parse::<u32>().unwrap(), "{line}");
                result.parse().unwrap()
            })
            .collect();
        prop_assert_eq!(columns[1] * 10 + columns[0] % 10, answer);
        for (think, sentence) in [(true, false), (false, false), (true, true), (false, true)] {
            let talk = sum_conversation(&problem, think, sentence);
            let said = talk.messages[1]["content"].as_str().unwrap();
            prop_assert_eq!(said.contains(&problem.thought), think);
            let answer = said.rsplit('\n').next().unwrap();
            let expected = if sentence { problem.sentence() } else { problem.answer.clone() };
            prop_assert_eq!(answer, expected);
            prop_assert_eq!(&talk.template_kwargs["enable_thinking"], &serde_json::json!(think));
        }
    }
}
