//! Problems solved by a small model.

mod checkpoint;

use std::fs;

use checkpoint::{checkpoint, open};
use serde_json::{Value, json};
use smollm3_eval::{
    Asking, DataRow, EvalError, INSTRUCTION, ItemLog, Problem, ProblemRecord, ProblemTask, problem_score,
    solve,
};
use smollm3_model::Sampling;
use smollm3_records::Mode;

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
