use std::collections::HashSet;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use smollm3_corpus::text::arithmetic::{Kind, Level, problem};
use smollm3_corpus::text::{Arithmetic, DocumentSource};

/// The value of `1 + 2`, `3 * 4`, `9 - 2`, `8 / 2`, `5`, read from the left with products first.
fn value(expression: &str) -> Option<i64> {
    let mut sum = 0;
    let mut sign = 1;
    let mut product: Option<i64> = None;
    let mut operator = "*";
    for word in expression.split_whitespace() {
        match (word.parse::<i64>(), product) {
            (Ok(number), None) => product = Some(number),
            (Ok(number), Some(left)) if operator == "*" => product = Some(left * number),
            (Ok(number), Some(left)) if operator == "/" && left % number == 0 => {
                product = Some(left / number)
            }
            (Err(_), Some(left)) if word == "+" || word == "-" => {
                sum += sign * left;
                sign = if word == "+" { 1 } else { -1 };
                product = None;
                operator = "*";
            }
            (Err(_), Some(_)) if word == "*" || word == "/" => operator = word,
            _ => return None,
        }
    }
    product.map(|last| sum + sign * last)
}

#[test]
fn the_checker_itself_is_right() {
    assert_eq!(value("3 + 4 * 2 - 10 / 5"), Some(9));
    assert_eq!(value("7 / 2"), None);
    assert_eq!(value("x + 2"), None);
}

/// Checks every `a = b`, `a < b`, `a > b` after the question whose sides are numbers, and counts them.
fn check_statements(text: &str) -> usize {
    let mut checked = 0;
    let (_question, steps) = text.split_once('\n').unwrap();
    for clause in steps.split(['\n', ',', '.', ':']) {
        for (sign, holds) in [
            (" = ", i64::eq as fn(&i64, &i64) -> bool),
            (" < ", i64::lt),
            (" > ", i64::gt),
        ] {
            let sides: Vec<_> = clause.split(sign).collect();
            for pair in sides.windows(2) {
                // A word before a sum (`Rosa has 14 + 75 = 89`) is not part of it.
                let left = pair[0].trim_start_matches(|c: char| !c.is_ascii_digit());
                if let (Some(left), Some(right)) = (value(left), value(pair[1])) {
                    assert!(holds(&left, &right), "`{clause}` is wrong in\n{text}");
                    checked += 1;
                }
            }
        }
    }
    checked
}

fn numbers(text: &str) -> Vec<i64> {
    text.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// The answer, worked out from the question alone, where its form is fixed enough.
fn expected(kind: Kind, question: &str) -> String {
    let n = numbers(question);
    match kind {
        Kind::Addition => (n[0] + n[1]).to_string(),
        Kind::Subtraction if question.starts_with("Subtract") => (n[1] - n[0]).to_string(),
        Kind::Subtraction => (n[0] - n[1]).to_string(),
        Kind::Multiplication => (n[0] * n[1]).to_string(),
        Kind::Division => {
            let (a, b) = if question.starts_with("How") {
                (n[1], n[0])
            } else {
                (n[0], n[1])
            };
            if a % b == 0 {
                (a / b).to_string()
            } else {
                format!("{} remainder {}", a / b, a % b)
            }
        }
        Kind::Sequence => {
            let step = n[1] - n[0];
            let constant = n.windows(2).all(|pair| pair[1] - pair[0] == step);
            assert!(
                constant || n.windows(2).all(|pair| pair[1] == 2 * pair[0]),
                "{question}"
            );
            (if constant { n[3] + step } else { 2 * n[3] }).to_string()
        }
        Kind::Comparison if n[0] == n[1] => "neither".to_owned(),
        Kind::Comparison if question.contains("larger") => n[0].max(n[1]).to_string(),
        Kind::Comparison => n[0].min(n[1]).to_string(),
        Kind::Equation => {
            let unknown = ["x", "y", "n"]
                .into_iter()
                .find(|u| question.contains(&format!("{u} ")));
            let solution = match (
                question.contains('*'),
                question.contains('+'),
                question.contains(" - "),
            ) {
                (true, true, _) => (n[2] - n[1]) / n[0],
                (true, false, _) => n[1] / n[0],
                (false, true, _) => n[1] - n[0],
                (false, false, true) => n[1] + n[0],
                _ => panic!("unknown form: {question}"),
            };
            format!("{} = {solution}", unknown.unwrap())
        }
        Kind::Story if question.contains(" more. How many") => (n[0] + n[1]).to_string(),
        Kind::Story if question.contains(" gave ") => (n[0] - n[1]).to_string(),
        Kind::Story if question.contains("on the floor") => (n[0] * n[1] + n[2]).to_string(),
        Kind::Story if question.contains(" in each.") => (n[0] * n[1]).to_string(),
        Kind::Story if question.contains(" shares ") => format!("{} each, {} left", n[0] / n[1], n[0] % n[1]),
        Kind::Story if question.contains("together?") => (2 * n[0] + n[1]).to_string(),
        Kind::Story if question.contains(" cents each") => format!("{} cents", n[2] - n[0] * n[1]),
        Kind::Story => panic!("unknown story: {question}"),
    }
}

#[test]
fn every_answer_follows_from_its_question_and_every_step_is_true() {
    let mut statements = 0;
    for kind in Kind::ALL {
        for level in Level::ALL {
            let mut rng = ChaCha8Rng::seed_from_u64(level as u64);
            for _ in 0..2_000 {
                let problem = problem(kind, level, &mut rng);
                let question = problem.text.lines().next().unwrap();
                assert_eq!(problem.answer, expected(kind, question), "{}", problem.text);
                assert!(problem.text.ends_with(&format!("\nAnswer: {}\n", problem.answer)));
                statements += check_statements(&problem.text);
            }
        }
    }
    assert!(statements > 100_000, "only {statements} statements were checked");
}

#[test]
fn written_digits_spell_the_result() {
    for kind in [Kind::Addition, Kind::Subtraction] {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..1_000 {
            let problem = problem(kind, Level::Fourth, &mut rng);
            let written: Vec<&str> = problem
                .text
                .lines()
                .filter_map(|line| line.split("write ").nth(1))
                .map(|rest| &rest[..1])
                .collect();
            let digits: String = written.into_iter().rev().collect();
            let digits = digits.trim_start_matches('0');
            if problem.text.contains("write") {
                assert_eq!(digits, problem.answer.trim_start_matches('0'), "{}", problem.text);
            }
        }
    }
}

#[test]
fn documents_depend_on_seed_and_index_alone() {
    let one = Arithmetic::new(11, 10);
    let backwards: Vec<_> = (0..10).rev().map(|index| one.text(index)).collect();
    let forwards: Vec<_> = (0..10)
        .map(|index| Arithmetic::new(11, 1000).text(index))
        .collect();
    assert_eq!(backwards.into_iter().rev().collect::<Vec<_>>(), forwards);
    assert_ne!(one.text(0), Arithmetic::new(12, 10).text(0));
    assert_ne!(one.fingerprint(), Arithmetic::new(12, 10).fingerprint());
    assert_ne!(one.fingerprint(), Arithmetic::new(11, 11).fingerprint());
}

#[test]
fn documents_have_the_promised_size_and_hardly_repeat() {
    let source = Arithmetic::new(3, 5_000);
    let texts: Vec<_> = (0..5_000).map(|index| source.text(index)).collect();
    assert!(texts.iter().all(|text| (200..1_200).contains(&text.len())));
    assert_eq!(texts.iter().collect::<HashSet<_>>().len(), texts.len());
}

/// The generator is part of a recipe's data: this text must not change unnoticed.
#[test]
fn a_known_document_stays_the_same() {
    let text = Arithmetic::new(42, 1).text(0);
    assert_eq!(
        blake3::hash(text.as_bytes()).to_hex().as_str(),
        "faf8a2d619341c674d8464a1d0ae016a5468046b04d9009f0441af1deda458d1",
        "{text}"
    );
}
