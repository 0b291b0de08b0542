//! Long-context probes after RULER (Hsieh et al. 2024, arXiv 2404.06654): a text of any length that holds what is asked
//! for at its end.
//!
//! The tasks and their scoring are RULER's; texts, words and generators are this project's own. A probe is a function
//! of task, length, seed and index. It fills its length by as many sentences (or words) as fit, found by bisection
//! on the tokenizer's own count, so that it works with any tokenizer. All answers are right by construction.

mod sentences;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use smollm3_corpus::Tokenizer;
pub use smollm3_recipe::ProbeTask as Task;

use self::sentences::{THINGS, fact, number, plain_sentence, question, thing, things};
use crate::{EvalError, Result};

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// What the model is to continue.
    pub prompt: String,
    /// What must stand in the continuation.
    pub answers: Vec<String>,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens the model may write.
    pub max_new_tokens: usize,
}

impl Probe {
    /// Probe `index` of a task, at most `length` tokens with what the model may write.
    ///
    /// # Errors
    /// The task does not fit `length`.
    pub fn new(task: Task, length: usize, tokenizer: &Tokenizer, seed: u64, index: u64) -> Result<Self> {
        let written = |fill: usize| -> Result<(Text, usize, usize)> {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(index);
            let text = Text::of(task, length, fill, &mut rng);
            let prompt = tokenizer.encode(&text.prompt)?.len();
            // Room to write the answers in twice as many words.
            let answer = 2 * tokenizer.encode(&text.answers.join(", "))?.len() + 8;
            Ok((text, prompt, answer))
        };
        let fits = |(_, prompt, answer): &(Text, usize, usize)| prompt + answer <= length;
        let least = written(0)?;
        if !fits(&least) {
            return Err(EvalError::TooShort {
                task,
                length,
                least: least.1 + least.2,
            });
        }
        // A unit of filling is one token at least.
        let (mut fill, mut too_much) = (0, length);
        let mut best = least;
        while fill + 1 < too_much {
            let middle = fill + (too_much - fill) / 2;
            let found = written(middle)?;
            if fits(&found) {
                (fill, best) = (middle, found);
            } else {
                too_much = middle;
            }
        }
        let (Text { prompt, answers }, prompt_tokens, max_new_tokens) = best;
        Ok(Self {
            prompt,
            answers,
            prompt_tokens,
            max_new_tokens,
        })
    }

    /// The part of the answers that stand in `continuation`, upper and lower case alike.
    pub fn score(&self, continuation: &str) -> f64 {
        let text = continuation.to_lowercase();
        let found = |answer: &&String| text.contains(&answer.to_lowercase());
        self.answers.iter().filter(found).count() as f64 / self.answers.len().max(1) as f64
    }
}

/// A probe's text.
struct Text {
    prompt: String,
    answers: Vec<String>,
}

impl Text {
    /// The text of a task with `fill` sentences or words besides what it needs.
    fn of(task: Task, length: usize, fill: usize, rng: &mut impl Rng) -> Self {
        match task {
            Task::Single => needles(1, 1, 1, fill, rng),
            Task::MultiKey => needles(4, 1, 1, fill, rng),
            Task::MultiValue => needles(1, 4, 1, fill, rng),
            Task::MultiQuery => needles(4, 1, 4, fill, rng),
            Task::VariableTracking => variables(fill, rng),
            Task::CommonWords => common_words(length, fill, rng),
            Task::FrequentWords => frequent_words(fill, rng),
        }
    }
}

/// `keys` things with `values` numbers each among plain sentences; the first `asked` are asked for.
fn needles(keys: usize, values: usize, asked: usize, fill: usize, rng: &mut impl Rng) -> Text {
    let facts: Vec<(String, Vec<String>)> = things(keys, rng)
        .into_iter()
        .map(|thing| (thing, (0..values).map(|_| number(rng)).collect()))
        .collect();
    let sentences = facts
        .iter()
        .flat_map(|(thing, numbers)| numbers.iter().map(move |number| fact(thing, number)))
        .collect();
    let asks = match &facts[..asked.min(facts.len())] {
        [(one, numbers)] if numbers.len() == 1 => question(one),
        [(one, _)] => {
            format!("Question: What are all the numbers of the {one}?\nAnswer: The numbers of the {one} are")
        }
        several => {
            let names: Vec<String> = several.iter().map(|(thing, _)| format!("the {thing}")).collect();
            let names = names.join(", ");
            format!("Question: What are the numbers of {names}?\nAnswer: The numbers of {names} are")
        }
    };
    Text {
        prompt: format!("{}\n\n{asks}", among_plain(sentences, fill, rng)),
        answers: facts
            .into_iter()
            .take(asked)
            .flat_map(|(_, numbers)| numbers)
            .collect(),
    }
}

/// A number that is handed on through a chain of variables.
fn variables(fill: usize, rng: &mut impl Rng) -> Text {
    const CHAIN: usize = 5;
    let value = number(rng);
    let mut names: Vec<String> = Vec::new();
    while names.len() < CHAIN {
        let name: String = (0..5).map(|_| rng.random_range(b'A'..=b'Z') as char).collect();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut given = value.clone();
    let sentences = names.iter().map(|name| {
        let line = format!("VAR {name} = {given}.");
        given = format!("VAR {name}");
        line
    });
    let sentences = sentences.collect();
    Text {
        prompt: format!(
            "{}\n\nQuestion: Which variables have the value {value}?\nAnswer: The variables with the value {value} are",
            among_plain(sentences, fill, rng)
        ),
        answers: names,
    }
}

/// `fill` plain sentences with `sentences` among them, in their order.
fn among_plain(sentences: Vec<String>, fill: usize, rng: &mut impl Rng) -> String {
    let mut places: Vec<usize> = sentences.iter().map(|_| rng.random_range(0..=fill)).collect();
    places.sort_unstable();
    let mut all = Vec::with_capacity(fill + sentences.len());
    let mut waiting = places.into_iter().zip(sentences).peekable();
    for at in 0..=fill {
        while let Some((_, sentence)) = waiting.next_if(|(place, _)| *place == at) {
            all.push(sentence);
        }
        if at < fill {
            all.push(plain_sentence(rng));
        }
    }
    all.join(" ")
}

/// A list of words, a few of them much more often than the others.
fn common_words(length: usize, fill: usize, rng: &mut impl Rng) -> Text {
    // RULER's ten words thirty times against three need some 2,000 tokens.
    let (common, often, seldom) = match length {
        0..1_024 => (3, 6, 1),
        1_024..4_096 => (5, 12, 2),
        _ => (10, 30, 3),
    };
    let order = rand::seq::index::sample(rng, THINGS, THINGS).into_vec();
    let (frequent, others) = order.split_at(common);
    // A long list goes through the other words several times, and the common ones stay four times as common.
    let often = often.max(4 * fill.div_ceil(others.len()));
    let words = frequent
        .iter()
        .flat_map(|word| std::iter::repeat_n(*word, often))
        .chain(
            others
                .iter()
                .flat_map(|word| std::iter::repeat_n(*word, seldom))
                .cycle()
                .take(fill),
        );
    let mut words: Vec<String> = words.map(thing).collect();
    words.shuffle(rng);
    let list: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(at, word)| format!("{}. {word}", at + 1))
        .collect();
    Text {
        prompt: format!(
            "{}\n\nQuestion: What are the {common} most common entries of the list?\nAnswer: The {common} most common \
             entries are:",
            list.join(" ")
        ),
        answers: frequent.iter().map(|word| thing(*word)).collect(),
    }
}

/// Coded words of which the k-th is about 1/k² as frequent as the first.
fn frequent_words(fill: usize, rng: &mut impl Rng) -> Text {
    const ASKED: usize = 3;
    // Six, three and two at least, so that there is an answer whatever the length.
    let total = (fill + 11) as f64;
    let most = total * 6.0 / std::f64::consts::PI.powi(2);
    let mut words: Vec<(String, usize)> = Vec::new();
    let mut left = fill + 11;
    while left > 0 {
        let word: String = (0..6).map(|_| rng.random_range(b'a'..=b'z') as char).collect();
        if words.iter().any(|(known, _)| *known == word) {
            continue;
        }
        let rank = words.len() + 1;
        let at_least = [6, 3, 2].get(rank - 1).copied().unwrap_or(1);
        let count = ((most / (rank * rank) as f64) as usize).max(at_least).min(left);
        left -= count;
        words.push((word, count));
    }
    let answers = words.iter().take(ASKED).map(|(word, _)| word.clone()).collect();
    let mut all: Vec<&str> = words
        .iter()
        .flat_map(|(word, count)| std::iter::repeat_n(word.as_str(), *count))
        .collect();
    all.shuffle(rng);
    Text {
        prompt: format!(
            "{}\n\nQuestion: What are the three most frequent words?\nAnswer: The three most frequent words are",
            all.join(" ")
        ),
        answers,
    }
}
