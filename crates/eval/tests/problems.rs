//! Answers found in texts, in one spelling, and problems solved by a small model.

mod checkpoint;

use std::fs;

use checkpoint::{checkpoint, open};
use proptest::prelude::*;
use serde_json::{Value, json};
use smollm3_eval::{
    Asking, DataRow, EvalError, INSTRUCTION, ItemLog, Mode, Problem, ProblemRecord, ProblemTask, extract,
    normalise, problem_score, solve,
};
use smollm3_model::Sampling;

#[test]
fn answers_are_found_where_they_are_marked() {
    for (text, answer, marked) in [
        ("so \\boxed{42}.", "42", true),
        ("\\boxed{1} or rather \\boxed{\\frac{1}{2}}", "\\frac{1}{2}", true),
        ("\\boxed{\\{1,2\\}} then", "\\{1,2\\}", true),
        ("\\boxed{7} and \\boxed{never closed", "7", true),
        ("$\\boxed 5$ it is", "5", true),
        ("\\fbox{x+1}", "x+1", true),
        ("6 + 1 = 7\n#### 1,234 \n\nQuestion: more\n#### 9", "1,234", true),
        (
            "Final Answer: The final answer is $2x$. I hope it is correct.",
            "$2x$",
            true,
        ),
        ("The final answer is: 12.\nBye", "12", true),
        ("She pays $3 and then $1,250.50.", "$1,250.50", false),
        ("it is -7 degrees", "-7", false),
        ("about .5", ".5", false),
        ("\\boxed{} is 3", "3", false),
    ] {
        let found = extract(text).unwrap_or_else(|| panic!("nothing in {text}"));
        assert_eq!((found.text.as_str(), found.marked), (answer, marked), "{text}");
    }
    for text in ["", "no number", "\\boxed{", "####"] {
        assert_eq!(extract(text), None, "{text}");
    }
}

#[test]
fn answers_to_word_problems_are_numbers() {
    for (text, answer, marked) in [
        ("#### 18 dollars", "18", true),
        ("\\boxed{\\$1,018.50 in all}", "2037/2", true),
        ("The final answer is 3 + 4 = 7 cups.", "7", true),
        ("#### nothing", "nothing", true),
        ("it is $5.", "5", false),
    ] {
        let found = ProblemTask::Gsm8k.answer(text).unwrap();
        assert_eq!((found.text.as_str(), found.marked), (answer, marked), "{text}");
    }
    // In mathematics this would be another answer.
    assert_eq!(
        ProblemTask::Math.answer("\\boxed{x \\le 5}").unwrap().text,
        "x\\le5"
    );
}

#[test]
fn equal_answers_have_one_spelling() {
    let alike: [&[&str]; 14] = [
        &[
            "1234",
            "1,234",
            "$1,234",
            "\\$1,234.00",
            "1234.",
            " 1234 ",
            "+1234",
            "1{,}234",
            "01234",
            "$1{,}234$",
        ],
        &[
            "1/2",
            "\\frac12",
            "\\frac{1}{2}",
            "\\dfrac{1}{2}",
            "\\tfrac 1 2",
            "0.5",
            ".5",
            "0.50",
            "2/4",
            "-\\frac{-1}{2}",
        ],
        &["-3/4", "-\\frac{3}{4}", "\\frac{-3}{4}", "\\frac{3}{-4}", "-0.75"],
        &[
            "50",
            "50\\%",
            "50%",
            "50^\\circ",
            "50^{\\circ}",
            "50°",
            "50\\text{ cm}",
            "50 \\mathrm{cm}",
            "x=50",
            "x = 50",
        ],
        &["\\sqrt{2}", "\\sqrt2", "\\sqrt 2"],
        &["(1,2)", "\\left(1, 2\\right)", "( 1,2 )"],
        &["Tuesday", "\\text{Tuesday}", "\\text{ Tuesday }."],
        &["x^2+1", "x^2 + 1", "$x^2+1$", "\\(x^2+1\\)", "\\[x^2+1\\]"],
        &["\\frac{\\pi}{3}", "\\dfrac{\\pi}{3}"],
        &["\\frac{a}{2}", "\\frac{a}2"],
        &["0", "-0", "0.0", "0/7"],
        &["1/3", "\\frac{2}{6}"],
        &["\\leftarrow"],
        &["3/0"],
    ];
    let spellings: Vec<Vec<String>> = alike
        .iter()
        .map(|group| group.iter().map(|text| normalise(text)).collect())
        .collect();
    for (group, spelt) in alike.iter().zip(&spellings) {
        assert!(
            spelt.windows(2).all(|pair| pair[0] == pair[1]),
            "{group:?} became {spelt:?}"
        );
    }
    for (index, group) in spellings.iter().enumerate() {
        assert!(
            spellings[..index].iter().all(|other| other[0] != group[0]),
            "{group:?}"
        );
    }
    // What only looks alike.
    for (one, other) in [
        ("0.333", "1/3"),
        ("(1,234)", "1234"),
        ("1,23", "123"),
        ("x+1", "1+x"),
        ("2x", "2"),
    ] {
        assert_ne!(normalise(one), normalise(other));
    }
}

proptest! {
    #[test]
    fn a_spelling_is_final(text in r"[ $\\{}()\[\]0-9.,/+=a-z%^-]{0,40}") {
        let once = normalise(&text);
        prop_assert_eq!(normalise(&once), once);
    }

    #[test]
    fn any_text_has_one(text: String) {
        normalise(&text);
        extract(&text);
    }

    #[test]
    fn numbers_are_exact(whole in 0u64..10_000_000, cents in 0u64..100) {
        let mut grouped = whole.to_string();
        for at in (1..grouped.len()).rev().filter(|at| (grouped.len() - at) % 3 == 0).collect::<Vec<_>>() {
            grouped.insert(at, ',');
        }
        let fraction = format!("\\frac{{{}}}{{100}}", whole * 100 + cents);
        prop_assert_eq!(normalise(&format!("${grouped}.{cents:02}")), normalise(&fraction));
        prop_assert_ne!(normalise(&fraction), normalise(&format!("\\frac{{{}}}{{100}}", whole * 100 + cents + 1)));
    }

    #[test]
    fn what_is_boxed_is_found(inside in r"[0-9a-z][0-9a-z ]{0,4}(\{[0-9a-z ]{0,5}\}){0,2}", around in "[a-z $.]{0,20}") {
        let found = extract(&format!("{around}\\boxed{{{inside}}}{around}")).unwrap();
        prop_assert_eq!(found.text.trim(), inside.trim());
    }
}

fn problem(task: ProblemTask, columns: Value) -> Result<Problem, EvalError> {
    task.problem(&DataRow {
        place: "row 1".to_owned(),
        columns,
    })
}

#[test]
fn problems_come_in_the_columns_of_the_public_sets() {
    for (task, columns, answer) in [
        (
            ProblemTask::Gsm8k,
            json!({"question": "q", "answer": "1+1=<<1+1=2>>2\n#### 1,002"}),
            "1002",
        ),
        (
            ProblemTask::Math,
            json!({"problem": "q", "solution": "so $\\boxed{\\frac12}$", "level": "Level 1"}),
            "1/2",
        ),
        (
            ProblemTask::Math,
            json!({"problem": "q", "solution": "…", "answer": "\\left( 3, \\pi \\right)"}),
            "(3,\\pi)",
        ),
        (
            ProblemTask::Math,
            json!({"question": "q", "answer": "\\boxed{7}"}),
            "7",
        ),
        (ProblemTask::Math, json!({"problem": "q", "answer": "073"}), "73"),
    ] {
        assert_eq!(problem(task, columns).unwrap().answer, answer);
    }
    for (task, columns, words) in [
        (
            ProblemTask::Gsm8k,
            json!({"text": "q"}),
            ["question, answer", "there are text"],
        ),
        (
            ProblemTask::Gsm8k,
            json!({"question": "q", "answer": "it is 7"}),
            ["row 1", "####"],
        ),
        (
            ProblemTask::Math,
            json!({"problem": "q", "solution": "so 5"}),
            ["solution", "boxed"],
        ),
        (
            ProblemTask::Math,
            json!({"problem": "q", "answer": 5}),
            ["answer", "text"],
        ),
    ] {
        let error = problem(task, columns).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
    <|im_start|>assistant\n{% if enable_thinking %}<think>\n{% else %}<think></think>\n{% endif %}";

fn asking(mode: Mode) -> Asking {
    Asking {
        task: ProblemTask::Gsm8k,
        mode,
        instruction: INSTRUCTION.to_owned(),
        shots: 1,
        examples: problems(),
        samples: 2,
        max_new_tokens: 6,
        sampling: Sampling {
            temperature: 1.0,
            seed: 3,
            ..Sampling::default()
        },
    }
}

fn problems() -> Vec<Problem> {
    let row =
        |i: u32| json!({"question": format!("What is {i} + {i}?"), "answer": format!("#### {}", 2 * i)});
    (0..5)
        .map(|i| problem(ProblemTask::Gsm8k, row(i)).unwrap())
        .collect()
}

#[test]
fn prompts_are_text_or_conversations() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path());
    fs::write(path.join("chat_template.jinja"), TEMPLATE).unwrap();
    let model = open(&path, "flex");
    for (mode, expected) in [
        (
            Mode::Plain,
            "Question: What is 1 + 1?\nAnswer: #### 2\n\nQuestion: What is 0 + 0?\nAnswer:".to_owned(),
        ),
        (
            Mode::Think,
            format!(
                "<|im_start|>user\nWhat is 1 + 1?\n\n{INSTRUCTION}<|im_end|>\n<|im_start|>assistant\n#### 2<|im_end|>\n\
                 <|im_start|>user\nWhat is 0 + 0?\n\n{INSTRUCTION}<|im_end|>\n<|im_start|>assistant\n<think>\n"
            ),
        ),
    ] {
        let mut log: ItemLog<ProblemRecord> = ItemLog::in_memory();
        solve(&model, &problems(), &asking(mode), 1000, &mut log, &mut |_, _| {
            Ok(())
        })
        .unwrap();
        let first = &log.records()[&0];
        assert_eq!(first.prompt, expected);
        assert_eq!((first.gold.as_str(), first.solutions.len()), ("0", 2));
        for record in log.records().values() {
            for solution in &record.solutions {
                assert!((1..=6).contains(&solution.tokens));
                // Nothing counts before the thoughts have ended.
                let ended = mode == Mode::Plain || solution.text.contains("</think>");
                assert!(ended || solution.answer.is_none(), "{solution:?}");
            }
        }
        let score = problem_score(log.records().values());
        assert_eq!((score.items, score.samples), (5, 2));
        assert!(score.majority.is_some());
    }
}

#[test]
fn samples_are_the_same_after_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let model = open(&checkpoint(folder.path()), "flex");
    let settings = json!({}).as_object().unwrap().clone();
    let run = |name: &str, most: u64| {
        let mut log: ItemLog<ProblemRecord> = ItemLog::open(&folder.path().join(name), &settings).unwrap();
        // Two problems of two samples at once.
        let done = solve(
            &model,
            &problems(),
            &asking(Mode::Plain),
            200,
            &mut log,
            &mut |done, _| match done < most {
                true => Ok(()),
                false => Err(EvalError::Interrupted { kept: true }),
            },
        );
        (done.is_ok(), log.records().clone())
    };
    let (done, whole) = run("whole", 100);
    assert!(done);
    assert!(
        whole
            .values()
            .any(|record| record.solutions[0] != record.solutions[1])
    );
    let (done, part) = run("part", 1);
    assert!(!done && (1..5).contains(&part.len()), "{}", part.len());
    assert_eq!(run("part", 100), (true, whole));
}

#[test]
fn what_cannot_be_put_to_the_model_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let model = open(&checkpoint(folder.path()), "flex");
    let mut log: ItemLog<ProblemRecord> = ItemLog::in_memory();
    let mut problems = problems();
    let few = Asking {
        shots: 9,
        ..asking(Mode::Plain)
    };
    let error = solve(&model, &problems, &few, 200, &mut log, &mut |_, _| Ok(()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("--shots 4"), "{error}");
    let error = solve(
        &model,
        &problems,
        &asking(Mode::Think),
        200,
        &mut log,
        &mut |_, _| Ok(()),
    )
    .unwrap_err();
    assert!(error.to_string().contains("chat template"), "{error}");
    problems[4].question = "What is 7 + 8? ".repeat(60);
    problems[4].place = "row 5".to_owned();
    let error = solve(
        &model,
        &problems,
        &asking(Mode::Plain),
        200,
        &mut log,
        &mut |_, _| Ok(()),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("row 5") && error.to_string().contains("context"),
        "{error}"
    );
    assert!(log.records().is_empty());
}
