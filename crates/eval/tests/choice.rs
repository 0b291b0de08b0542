//! Multiple choice: rows of the public sets as text, and choosing.

mod checkpoint;

use checkpoint::{checkpoint, damage, open};
use serde_json::{Value, json};
use smollm3_eval::{
    ChoiceRecord, ChoiceTask, DataRow, EvalError, Form, Item, ItemLog, Prompts, Question, Request,
    choice_score, choose, log_likelihoods,
};
use smollm3_kernels::compiled_backends;

fn row(columns: Value) -> DataRow {
    DataRow {
        place: "line 1 of `a.jsonl`".to_owned(),
        columns,
    }
}

fn item(task: ChoiceTask, columns: Value) -> Item {
    task.item(&row(columns)).unwrap()
}

fn prompts(task: ChoiceTask, form: Form) -> Prompts {
    Prompts {
        task,
        form,
        shots: 0,
        examples: Vec::new(),
    }
}

fn asked(task: ChoiceTask, form: Form, columns: Value) -> (Vec<(String, String)>, usize) {
    let item = item(task, columns);
    let questions = prompts(task, form).questions(&item).unwrap();
    let pairs = questions.into_iter().map(
        |Question {
             context,
             continuation,
         }| (context, continuation),
    );
    (pairs.collect(), item.gold)
}

fn arc() -> Value {
    json!({"id": "x", "question": "What is wet?", "choices": {"text": ["sand", "water"], "label": ["1", "2"]},
        "answerKey": "2"})
}

/// Contexts and continuations as lm-evaluation-harness 0.4.13 makes them, read off its task files; `scripts/verify/harness.py`
/// compares them with the harness itself.
#[test]
fn questions_are_worded_as_the_harness_words_them() {
    let same = |context: &str, continuations: &[&str]| -> Vec<(String, String)> {
        let pair = |continuation: &&str| (context.to_owned(), (*continuation).to_owned());
        continuations.iter().map(pair).collect()
    };
    let cases = [
        (
            ChoiceTask::HellaSwag,
            json!({"activity_label": "Roof", "ctx_a": "A man is on a roof. [title] Tools", "ctx_b": "he Starts",
                "endings": ["[step] to work.", "a  b"], "label": "1"}),
            same(
                "Roof: A man is on a roof.. Tools He starts",
                &["  to work.", " a b"],
            ),
            1,
        ),
        (
            ChoiceTask::ArcEasy,
            arc(),
            same("Question: What is wet?\nAnswer:", &[" sand", " water"]),
            1,
        ),
        (
            ChoiceTask::Mmlu,
            json!({"question": " 1+1? ", "subject": "abstract_algebra", "choices": ["1", "2"], "answer": 1}),
            same(
                "The following are multiple choice questions (with answers) about abstract algebra.\n\n1+1?\nA. 1\n\
                 B. 2\nAnswer:",
                &[" A", " B"],
            ),
            1,
        ),
        (
            ChoiceTask::Piqa,
            json!({"goal": "Dry a cup.", "sol1": "Use a towel.", "sol2": "Use soup.", "label": 0}),
            same("Question: Dry a cup.\nAnswer:", &[" Use a towel.", " Use soup."]),
            0,
        ),
        (
            ChoiceTask::WinoGrande,
            json!({"sentence": "The cup broke as the _ fell.", "option1": "cup", "option2": "rain", "answer": "1"}),
            vec![
                ("The cup broke as the cup".to_owned(), " fell.".to_owned()),
                ("The cup broke as the rain".to_owned(), " fell.".to_owned()),
            ],
            0,
        ),
        (
            ChoiceTask::OpenBookQa,
            json!({"question_stem": "The sun is", "choices": {"text": ["a star", "a dog"], "label": ["A", "B"]},
                "answerKey": "A"}),
            same("The sun is", &[" a star", " a dog"]),
            0,
        ),
        (
            ChoiceTask::CommonsenseQa,
            json!({"question": "Where is soup? ", "choices": {"label": ["A", "B"], "text": ["bowl", "sky"]},
                "answerKey": "A"}),
            same(
                "Question: Where is soup?\nA. bowl\nB. sky\nAnswer:",
                &[" A", " B"],
            ),
            0,
        ),
        (
            ChoiceTask::BoolQ,
            json!({"passage": "Ice is cold.", "question": "is ice cold", "label": 1}),
            same("Ice is cold.\nQuestion: is ice cold?\nAnswer:", &[" no", " yes"]),
            1,
        ),
        (
            ChoiceTask::BoolQ,
            json!({"passage": "Ice is cold.", "question": "is ice hot", "answer": false}),
            same("Ice is cold.\nQuestion: is ice hot?\nAnswer:", &[" no", " yes"]),
            0,
        ),
    ];
    for (task, columns, expected, gold) in cases {
        assert_eq!(
            asked(task, task.usual_form(), columns),
            (expected, gold),
            "{task:?}"
        );
    }
}

#[test]
fn every_set_can_be_asked_in_both_forms() {
    let (lettered, _) = asked(ChoiceTask::ArcEasy, Form::Lettered, arc());
    assert_eq!(
        lettered[1].0,
        "Question: What is wet?\nA. sand\nB. water\nAnswer:"
    );
    assert_eq!(lettered[1].1, " B");
    let exam =
        json!({"question": "1+1?", "subject": "high_school_physics", "choices": ["1", "2"], "answer": "B"});
    let (cloze, gold) = asked(ChoiceTask::Mmlu, Form::Cloze, exam);
    let begin = "The following are questions (with answers) about high school physics.\n\n";
    assert_eq!(
        cloze[0],
        (format!("{begin}Question: 1+1?\nAnswer:"), " 1".to_owned())
    );
    assert_eq!(gold, 1);
    let gap = json!({"sentence": "A _ B", "option1": "x", "option2": "y", "answer": "2"});
    let (lettered, _) = asked(ChoiceTask::WinoGrande, Form::Lettered, gap);
    assert_eq!(
        lettered[0],
        ("Question: A _ B\nA. x\nB. y\nAnswer:".to_owned(), " A".to_owned())
    );
}

#[test]
fn examples_are_the_first_of_the_subject_and_never_the_item() {
    let exam = |question: &str, subject: &str, answer: u32| {
        let columns =
            json!({"question": question, "subject": subject, "choices": ["x", "y"], "answer": answer});
        item(ChoiceTask::Mmlu, columns)
    };
    let all = [
        exam("a?", "law", 0),
        exam("b?", "art", 1),
        exam("c?", "law", 1),
        exam("d?", "law", 0),
    ];
    let mut prompts = prompts(ChoiceTask::Mmlu, Form::Lettered);
    (prompts.shots, prompts.examples) = (2, all.to_vec());
    let first = &prompts.questions(&all[0]).unwrap()[0];
    assert_eq!(
        first.context,
        "The following are multiple choice questions (with answers) about law.\n\n\
         c?\nA. x\nB. y\nAnswer: B\n\nd?\nA. x\nB. y\nAnswer: A\n\na?\nA. x\nB. y\nAnswer:"
    );
    let alone = prompts.questions(&all[1]).unwrap_err();
    assert!(
        matches!(
            alone,
            EvalError::Shots {
                asked: 2,
                found: 0,
                ..
            }
        ),
        "{alone}"
    );
    // With a gap, an example is the whole sentence with the right noun.
    let gap = |sentence: &str| {
        item(
            ChoiceTask::WinoGrande,
            json!({"sentence": sentence, "option1": "x", "option2": "y", "answer": "2"}),
        )
    };
    let mut prompts = self::prompts(ChoiceTask::WinoGrande, Form::Cloze);
    (prompts.shots, prompts.examples) = (1, vec![gap("A _ b."), gap("C _ d.")]);
    let second = &prompts.questions(&gap("C _ d.")).unwrap()[0];
    assert_eq!(
        (second.context.as_str(), second.continuation.as_str()),
        ("A y b.\n\nC x", " d.")
    );
}

#[test]
fn rows_of_other_sets_and_rows_without_answers_are_refused() {
    let refused = |task: ChoiceTask, columns: Value, words: &[&str]| {
        let error = task.item(&row(columns)).unwrap_err().to_string();
        for word in ["line 1 of `a.jsonl`"].iter().chain(words) {
            assert!(error.contains(word), "{word} is missing: {error}");
        }
    };
    refused(
        ChoiceTask::HellaSwag,
        arc(),
        &[
            "hellaswag",
            "endings",
            "there are id, question, choices, answerKey",
        ],
    );
    refused(
        ChoiceTask::Piqa,
        json!({"goal": "a", "sol1": "b", "sol2": "c", "label": -1}),
        &["label", "-1"],
    );
    refused(
        ChoiceTask::Piqa,
        json!({"goal": 3, "sol1": "b", "sol2": "c", "label": 1}),
        &["goal", "text"],
    );
    refused(
        ChoiceTask::Piqa,
        json!({"goal": "a", "sol1": "b", "sol2": "c", "label": 2}),
        &["3 of 2"],
    );
    let mut row = arc();
    row["answerKey"] = json!("");
    refused(
        ChoiceTask::ArcChallenge,
        row.clone(),
        &["answerKey", "names no choice"],
    );
    row["choices"] = json!(["sand", "water"]);
    refused(
        ChoiceTask::ArcChallenge,
        row.clone(),
        &["choices.label", "list of texts"],
    );
    row["choices"] = json!({"text": ["a", " "], "label": ["A", "B"]});
    row["answerKey"] = json!("A");
    refused(ChoiceTask::ArcChallenge, row, &["choices.text", "not empty"]);
    let sentence = json!({"sentence": "no gap", "option1": "x", "option2": "y", "answer": "1"});
    refused(ChoiceTask::WinoGrande, sentence, &["sentence", "gap"]);
}

/// Items with choices of many lengths, in other letters too.
fn items() -> Vec<Item> {
    let words = [
        "1",
        "12 + 30",
        "ééé",
        "the carry is one and the tens are two",
        "42",
    ];
    let row = |index: usize| {
        json!({"question": format!("What is {index} + 3?"), "choices": {"label": ["A", "B", "C"],
            "text": (0..3).map(|i| words[(index + i * (1 + index % 2)) % 5]).collect::<Vec<_>>()}, "answerKey": "B"})
    };
    (0..12)
        .map(|index| item(ChoiceTask::ArcEasy, row(index)))
        .collect()
}

#[test]
fn a_model_with_a_nan_chooses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path());
    damage(&path);
    for backend in compiled_backends() {
        let model = open(&path, backend);
        let mut log = ItemLog::in_memory();
        let prompts = prompts(ChoiceTask::ArcEasy, Form::Cloze);
        let refused = choose(&model, &items(), &prompts, 60, &mut log, &mut |_, _| Ok(())).unwrap_err();
        assert!(refused.to_string().contains("is NaN"), "{refused}");
        assert!(log.records().is_empty());
    }
}

#[test]
fn choices_are_those_of_the_log_likelihoods_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = checkpoint(folder.path());
    let items = items();
    let prompts = prompts(ChoiceTask::ArcEasy, Form::Cloze);
    for backend in compiled_backends() {
        let model = open(&path, backend);
        let mut log = ItemLog::in_memory();
        choose(&model, &items, &prompts, 60, &mut log, &mut |_, _| Ok(())).unwrap();
        let (mut raw, mut per_token) = (0, 0);
        for (index, record) in log.records() {
            let item = &items[*index as usize];
            let mut best: [(f64, usize); 4] = [(f64::NEG_INFINITY, 0); 4];
            for (choice, text) in item.choices.iter().enumerate() {
                let request = Request::new(&model.tokenizer, &item.cloze, &format!(" {text}"), 0).unwrap();
                let alone =
                    log_likelihoods(
                        &model.model,
                        std::slice::from_ref(&request),
                        1,
                        &mut |_, _| Ok(()),
                    );
                let sum = alone.unwrap()[0].sum;
                let found = &record.choices[choice];
                assert!((found.log_likelihood - sum).abs() < 1e-4, "{found:?} {sum}");
                let lengths = [1, text.chars().count(), text.len(), request.continuation.len()];
                for (best, length) in best.iter_mut().zip(lengths) {
                    let score = sum / length as f64;
                    if score > best.0 {
                        *best = (score, choice);
                    }
                }
            }
            let chosen = record.chosen;
            let found = [
                chosen.raw,
                chosen.per_character,
                chosen.per_byte,
                chosen.per_token,
            ];
            assert_eq!(found, best.map(|(_, choice)| choice), "{record:?}");
            assert_eq!(record.context.as_deref(), Some(item.cloze.as_str()));
            raw += usize::from(chosen.raw == item.gold);
            per_token += usize::from(chosen.per_token == item.gold);
        }
        let (score, subjects) = choice_score(log.records().values());
        assert_eq!((score.items, score.cut, subjects.len()), (12, 0, 0));
        assert_eq!(score.raw.value, raw as f64 / 12.0);
        assert_eq!(score.per_token.value, per_token as f64 / 12.0);
        assert!((score.chance - 1.0 / 3.0).abs() < 1e-12);
    }
}

#[test]
fn measures_of_length_disagree_where_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let model = open(&checkpoint(folder.path()), "flex");
    let mut log: ItemLog<ChoiceRecord> = ItemLog::in_memory();
    let prompts = prompts(ChoiceTask::ArcEasy, Form::Cloze);
    choose(&model, &items(), &prompts, 1000, &mut log, &mut |_, _| Ok(())).unwrap();
    // Otherwise the test above could not tell them apart.
    assert!(
        log.records()
            .values()
            .any(|record| record.chosen.raw != record.chosen.per_character)
    );
    assert!(
        log.records()
            .values()
            .any(|record| record.chosen.per_token != record.chosen.per_byte)
    );
}

#[test]
fn a_stopped_evaluation_goes_on_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let model = open(&checkpoint(folder.path()), "flex");
    let (items, prompts) = (items(), prompts(ChoiceTask::ArcEasy, Form::Cloze));
    let settings = json!({"a": 1}).as_object().unwrap().clone();
    let run = |name: &str, most: u64| {
        let mut log: ItemLog<ChoiceRecord> = ItemLog::open(&folder.path().join(name), &settings).unwrap();
        let done = choose(
            &model,
            &items,
            &prompts,
            60,
            &mut log,
            &mut |done, _| match done < most {
                true => Ok(()),
                false => Err(EvalError::Interrupted { kept: true }),
            },
        );
        (done, log.records().clone())
    };
    let (done, whole) = run("whole", 100);
    done.unwrap();
    let (stopped, part) = run("part", 5);
    assert!(matches!(stopped, Err(EvalError::Interrupted { .. })));
    assert!((5..12).contains(&part.len()), "{}", part.len());
    let (done, resumed) = run("part", 100);
    done.unwrap();
    assert_eq!(resumed, whole);
}
