//! Solutions as right or wrong, one at a time and by vote.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use smollm3_chat::spoken;

use super::{Problem, ProblemTask};
use crate::estimate::Estimate;

/// One solution that the model wrote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Solution {
    /// All of it, thinking included.
    pub text: String,
    /// The answer found in it, normalised.
    pub answer: Option<String>,
    /// Whether the text says that this is the answer.
    pub marked: bool,
    /// Whether it is right.
    pub right: bool,
    /// Tokens of the text.
    pub tokens: usize,
    /// Whether it ended by itself, not at the limit.
    pub finished: bool,
}

/// The answer that most solutions have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Majority {
    /// The answer; the first of equals.
    pub answer: Option<String>,
    /// Whether it is right.
    pub right: bool,
}

/// The result of a problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProblemRecord {
    /// Where the problem is from.
    pub place: String,
    /// The prompt.
    pub prompt: String,
    /// The right answer, normalised.
    pub gold: String,
    /// The model's solutions.
    pub solutions: Vec<Solution>,
    /// The most frequent answer.
    pub majority: Majority,
}

/// The score on a set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProblemScore {
    /// Problems.
    pub items: usize,
    /// Solutions of each.
    pub samples: usize,
    /// The part of the solutions that is right, with its standard error over problems.
    pub pass_at_1: Estimate,
    /// The same with marked answers only (`\boxed{…}`, `#### …`).
    pub pass_at_1_marked: Estimate,
    /// The part of the problems whose most frequent answer is right, of several samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub majority: Option<Estimate>,
    /// The part of the solutions that ended by themselves.
    pub finished: Estimate,
    /// Tokens of a solution.
    pub tokens: Estimate,
}

/// The model's text as a solution to `problem`; `thinking` if the prompt ends inside the thinking.
pub(super) fn solution(
    task: ProblemTask,
    problem: &Problem,
    text: String,
    thinking: bool,
    (tokens, finished): (usize, bool),
) -> Solution {
    let ended = !thinking || text.contains("</think>");
    let found = spoken(&text).filter(|_| ended).and_then(|text| task.answer(text));
    let marked = found.as_ref().is_some_and(|found| found.marked);
    let answer = found.map(|found| found.text);
    Solution {
        right: answer.as_ref() == Some(&problem.answer),
        answer,
        marked,
        text,
        tokens,
        finished,
    }
}

impl ProblemRecord {
    pub(super) fn new(problem: &Problem, prompt: String, solutions: Vec<Solution>) -> Self {
        let answer = majority(solutions.iter().filter_map(|solution| solution.answer.as_deref()));
        Self {
            place: problem.place.clone(),
            prompt,
            gold: problem.answer.clone(),
            majority: Majority {
                right: answer == Some(problem.answer.as_str()),
                answer: answer.map(str::to_owned),
            },
            solutions,
        }
    }
}

/// The most frequent answer, the first of equals.
fn majority<'a>(answers: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut votes: HashMap<&str, (usize, usize)> = HashMap::new();
    for (order, answer) in answers.enumerate() {
        votes.entry(answer).or_insert((0, order)).0 += 1;
    }
    let winner = votes
        .into_iter()
        .max_by_key(|(_, (votes, order))| (*votes, std::cmp::Reverse(*order)));
    winner.map(|(answer, _)| answer)
}

/// The scores of all records.
pub fn problem_score<'r>(records: impl IntoIterator<Item = &'r ProblemRecord>) -> ProblemScore {
    let records: Vec<&ProblemRecord> = records.into_iter().collect();
    let samples = records
        .iter()
        .map(|record| record.solutions.len())
        .max()
        .unwrap_or(0);
    // Solutions of one problem are not independent: its mean is one observation.
    let mean = |of: &dyn Fn(&Solution) -> f64| {
        Estimate::mean(records.iter().map(|record| {
            record.solutions.iter().map(of).sum::<f64>() / record.solutions.len().max(1) as f64
        }))
    };
    let share = |of: fn(&Solution) -> bool| mean(&|solution| f64::from(u8::from(of(solution))));
    ProblemScore {
        items: records.len(),
        samples,
        pass_at_1: share(|solution| solution.right),
        pass_at_1_marked: share(|solution| solution.right && solution.marked),
        majority: (samples > 1).then(|| Estimate::share(records.iter().map(|record| record.majority.right))),
        finished: share(|solution| solution.finished),
        tokens: mean(&|solution| solution.tokens as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_frequent_answer_wins_and_the_first_of_equals() {
        for (answers, expected) in [
            (vec!["1", "2", "2"], Some("2")),
            (vec!["3", "1", "1", "3"], Some("3")),
            (vec![], None),
        ] {
            assert_eq!(majority(answers.into_iter()), expected);
        }
    }

    #[test]
    fn an_answer_counts_once_the_thinking_has_ended() {
        let problem = Problem {
            place: String::new(),
            question: String::new(),
            solution: String::new(),
            answer: "8".to_owned(),
        };
        for (text, thinking, expected) in [
            ("<think>it is 7</think>\n8", false, Some("8")),
            ("it is 7</think>8", true, Some("8")),
            ("<think>it is 7", false, None),
            ("it is 7", true, None),
            ("7", false, Some("7")),
        ] {
            let found = solution(ProblemTask::Gsm8k, &problem, text.to_owned(), thinking, (1, true));
            assert_eq!(found.answer.as_deref(), expected);
            assert_eq!(found.right, expected == Some("8"));
        }
    }
}
