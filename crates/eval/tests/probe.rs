//! Probes fit their length, hold what they ask for, and are the same each time.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::prelude::*;
use smollm3_corpus::Tokenizer;
use smollm3_corpus::text::Arithmetic;
use smollm3_eval::{EvalError, Probe, Task};

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let texts = Arithmetic::new(1, 300);
    Tokenizer::train((0..300).map(|index| texts.text(index)), 600).unwrap()
});

fn probe(task: Task, length: usize, seed: u64, index: u64) -> Probe {
    Probe::new(task, length, &TOKENIZER, seed, index).unwrap()
}

/// What stands before the question.
fn body(probe: &Probe) -> &str {
    probe.prompt.rsplit_once("\n\nQuestion: ").unwrap().0
}

#[test]
fn each_task_has_its_answers_in_the_text() {
    let find = |task| probe(task, 2_048, 5, 0);
    let single = find(Task::Single);
    assert_eq!(single.answers.len(), 1);
    assert_eq!(body(&single).matches("The number of the ").count(), 1);
    let multi_key = find(Task::MultiKey);
    assert_eq!(multi_key.answers.len(), 1);
    assert_eq!(body(&multi_key).matches("The number of the ").count(), 4);
    let asked = multi_key.prompt.rsplit_once("Answer: ").unwrap().1;
    assert!(body(&multi_key).contains(&format!("{asked} {}.", multi_key.answers[0])));
    let multi_value = find(Task::MultiValue);
    assert_eq!(multi_value.answers.len(), 4);
    let multi_query = find(Task::MultiQuery);
    for probe in [&multi_value, &multi_query] {
        assert!(probe.answers.iter().all(|answer| body(probe).contains(answer)));
    }
    assert_eq!(
        multi_query
            .prompt
            .rsplit_once("Answer: ")
            .unwrap()
            .1
            .matches("the ")
            .count(),
        4
    );
}

#[test]
fn variables_are_handed_on_in_order() {
    let probe = probe(Task::VariableTracking, 1_000, 3, 1);
    let value = probe
        .prompt
        .rsplit_once("the value ")
        .unwrap()
        .1
        .split(' ')
        .next()
        .unwrap();
    let mut given = value.to_owned();
    let mut rest = body(&probe);
    for name in &probe.answers {
        let line = format!("VAR {name} = {given}.");
        rest = rest
            .split_once(&line)
            .unwrap_or_else(|| panic!("{line} is missing or too early"))
            .1;
        given = format!("VAR {name}");
    }
}

/// How often each word of a text stands in it, the most frequent first.
fn counts<'t>(words: impl Iterator<Item = &'t str>) -> Vec<(usize, &'t str)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    words.for_each(|word| *counts.entry(word).or_default() += 1);
    let mut counts: Vec<(usize, &str)> = counts.into_iter().map(|(word, count)| (count, word)).collect();
    counts.sort_by(|a, b| b.cmp(a));
    counts
}

#[test]
fn common_words_are_more_common_than_all_others_at_any_length() {
    for length in [350, 1_024, 5_000, 60_000] {
        let probe = probe(Task::CommonWords, length, 9, 0);
        let text = format!(" {}", body(&probe));
        let entries: Vec<String> = text
            .split(". ")
            .skip(1)
            .map(|entry| {
                entry
                    .trim_end_matches(|c: char| c.is_ascii_digit())
                    .trim()
                    .to_owned()
            })
            .collect();
        let counts = counts(entries.iter().map(String::as_str));
        let common = probe.answers.len();
        let mut most: Vec<&str> = counts[..common].iter().map(|(_, word)| *word).collect();
        let mut answers: Vec<&str> = probe.answers.iter().map(String::as_str).collect();
        most.sort_unstable();
        answers.sort_unstable();
        assert_eq!(most, answers, "{length}");
        assert!(
            counts[common - 1].0 >= 3 * counts.get(common).map_or(1, |other| other.0),
            "{length}"
        );
    }
}

#[test]
fn the_three_most_frequent_words_are_no_tie() {
    for length in (220..3_000).step_by(97) {
        let probe = probe(Task::FrequentWords, length, 2, length as u64);
        let counts = counts(body(&probe).split(' '));
        let most: Vec<&str> = counts[..3].iter().map(|(_, word)| *word).collect();
        assert_eq!(most, probe.answers, "{length}");
        assert!(counts[0].0 > counts[1].0 && counts[1].0 > counts[2].0, "{length}");
        assert!(
            counts.get(3).is_none_or(|fourth| fourth.0 < counts[2].0),
            "{length}"
        );
    }
}

#[test]
fn a_length_without_room_is_refused() {
    let error = Probe::new(Task::MultiQuery, 60, &TOKENIZER, 0, 0).unwrap_err();
    let EvalError::TooShort { least, .. } = error else {
        panic!("{error}")
    };
    assert!(Probe::new(Task::MultiQuery, least, &TOKENIZER, 0, 0).is_ok());
    assert!(Probe::new(Task::MultiQuery, least - 1, &TOKENIZER, 0, 0).is_err());
}

#[test]
fn a_score_is_the_part_of_the_answers_that_are_there() {
    let probe = Probe {
        prompt: String::new(),
        answers: vec!["ABCDE".to_owned(), "123456".to_owned()],
        prompt_tokens: 0,
        max_new_tokens: 0,
    };
    assert_eq!(probe.score(" abcde and 12345"), 0.5);
    assert_eq!(probe.score("123456, Abcde"), 1.0);
    assert_eq!(probe.score(""), 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn probes_fill_their_length_and_no_more(task in 0..Task::ALL.len(), length in 450usize..3_000, seed: u64, index in 0u64..99) {
        let task = Task::ALL[task];
        let probe = probe(task, length, seed, index);
        prop_assert_eq!(&probe, &self::probe(task, length, seed, index));
        prop_assert_ne!(&probe, &self::probe(task, length, seed, index + 1));
        let used = TOKENIZER.encode(&probe.prompt).unwrap().len();
        prop_assert_eq!(used, probe.prompt_tokens);
        prop_assert!(used + probe.max_new_tokens <= length);
        // One more sentence or word would not fit; the longest sentence has some thirty tokens here.
        prop_assert!(used + probe.max_new_tokens + 60 >= length, "{} + {}", used, probe.max_new_tokens);
    }
}
