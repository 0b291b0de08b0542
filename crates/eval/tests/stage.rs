//! The evaluation of a stage's checkpoint: beyond its context, kept, and made again when it is no longer true.

#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::fs;
use std::sync::atomic::AtomicBool;

use smollm3_engine::Run;
use smollm3_eval::evaluate_stage;
use smollm3_pretrain::pretrain;
use smollm3_recipe::ProbeTask;
use smollm3_records::{Listeners, RecordError, read_evaluation};
use support::{STEPS, recipe};

#[test]
fn a_stage_is_evaluated_once_for_each_question() {
    let folder = tempfile::tempdir().unwrap();
    let asks = [
        "evaluation.long_context.lengths=[256, 400]",
        "evaluation.long_context.tasks=[\"single\", \"multi-key\"]",
        "evaluation.long_context.items=2",
    ];
    let open =
        |asks: &[&str]| Run::open(recipe(folder.path(), "flex", asks), &mut Listeners::default()).unwrap();
    let run = open(&asks);
    let stage = &run.recipe.stages[0];
    let no_checkpoint = evaluate_stage(&run, stage, &mut Listeners::default()).unwrap();
    assert_eq!(no_checkpoint, None);
    pretrain(&run, stage, &AtomicBool::new(false), &mut Listeners::default()).unwrap();

    let found = evaluate_stage(&run, stage, &mut Listeners::default())
        .unwrap()
        .unwrap();
    assert_eq!(found.step, STEPS);
    let asked: Vec<_> = found
        .long_context
        .iter()
        .map(|score| (score.length, score.task, score.items))
        .collect();
    let (single, multi_key) = (ProbeTask::Single, ProbeTask::MultiKey);
    assert_eq!(
        asked,
        [
            (256, single, 2),
            (256, multi_key, 2),
            (400, single, 2),
            (400, multi_key, 2)
        ]
    );

    // What is there is taken as it is, as long as the same is asked of the same checkpoint.
    let file = run.stage_folder("pretrain").join("evaluation.json");
    let marked = fs::read_to_string(&file)
        .unwrap()
        .replacen("\"score\": 0.0", "\"score\": 0.125", 1);
    fs::write(&file, &marked).unwrap();
    let again = evaluate_stage(&run, stage, &mut Listeners::default())
        .unwrap()
        .unwrap();
    assert_eq!(again.long_context[0].score, 0.125);
    drop(run);
    let other = open(&[asks[0], asks[1], "evaluation.long_context.items=3"]);
    let anew = evaluate_stage(&other, &other.recipe.stages[0], &mut Listeners::default())
        .unwrap()
        .unwrap();
    assert_eq!((anew.long_context[0].items, anew.long_context[0].score), (3, 0.0));
    drop(other);

    // All held-out documents that are long enough, or as many as asked for.
    let documents = |asked: &[&str]| {
        let run = open(&[&["evaluation.long_context.lengths=[8, 16]", asks[2]], asked].concat());
        let found = evaluate_stage(&run, &run.recipe.stages[0], &mut Listeners::default());
        let found = found.unwrap().unwrap().loss_by_position;
        found
            .iter()
            .map(|part| (part.to, part.documents))
            .collect::<Vec<_>>()
    };
    let all = documents(&["evaluation.long_context.tasks=[]"]);
    assert!(all[0].1 > 1 && all[0].1 == all[1].1, "{all:?}");
    let one = documents(&[
        "evaluation.long_context.tasks=[]",
        "evaluation.long_context.documents=1",
    ]);
    assert_eq!(one, [(8, 1), (16, 1)]);

    // Rows of held-out text beyond the model's context.
    let run = open(&["evaluation.held_out={ rows = 2, sequence_length = 128 }"]);
    let found = evaluate_stage(&run, &run.recipe.stages[0], &mut Listeners::default());
    let losses = found.unwrap().unwrap().held_out;
    let tokens: Vec<u64> = losses.values().map(|loss| loss.tokens).collect();
    assert!(!tokens.is_empty() && tokens.iter().all(|tokens| *tokens > 64));
    drop(run);

    fs::write(&file, "{").unwrap();
    let broken = read_evaluation(file.parent().unwrap()).unwrap_err();
    assert!(matches!(broken, RecordError::Content { .. }), "{broken}");
}
