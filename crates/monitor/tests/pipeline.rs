//! A run of several stages as the end of the command and the report's first screen show it.

use std::fs;
use std::path::Path;

use smollm3_monitor::{RunFiles, closing_table, findings, report};

const RECIPE: &str = r#"{
"stage.pretrain.kind": "pretrain", "stage.pretrain.from": "random",
"stage.pretrain.phase.phase-1.until": "10 steps", "stage.pretrain.phase.phase-2.until": "20 steps",
"stage.sft.kind": "sft", "stage.sft.from.stage": "pretrain", "stage.sft.until": "30 steps",
"stage.apo.kind": "apo", "stage.apo.from.stage": "sft", "stage.apo.until": "40 steps",
"stage.merged.kind": "merge", "stage.merged.from.stage": "apo",
"stage.merged.model.0.checkpoint.stage": "apo", "stage.merged.model.0.weight": 0.9,
"stage.merged.model.1.checkpoint.stage": "pretrain", "stage.merged.model.1.weight": 0.1
}"#;

/// What was measured of a stage: math, the late loss; and in chats, sums in both modes and pairs.
struct Measured {
    math: f64,
    late: f64,
    chat: Option<[f64; 3]>,
}

/// A stage with all of its steps done.
fn stage(folder: &Path, name: &str, steps: u64, measured: &Measured) {
    let folder = folder.join(name);
    fs::create_dir_all(folder.join(format!("step-{steps:08}"))).unwrap();
    let info = format!(
        r#"{{"name": "{name}", "steps": {steps}, "tokens_per_step": 100, "sequence_length": 10, "rope_theta": 5e4,
        "flops_per_token": 1e6, "peak_flops": null, "sources": [{{"name": "sums", "category": "math"}},
        {{"name": "books", "category": "web"}}], "phases": [
        {{"name": "phase-1", "first": 1, "last": 10, "shares": {{"sums": 0.03, "books": 0.97}}}},
        {{"name": "phase-2", "first": 11, "last": 20, "shares": {{"sums": 0.13, "books": 0.87}}}}]}}"#
    );
    fs::write(folder.join("stage.json"), info).unwrap();
    let mut lines = String::new();
    for step in 1..=steps {
        lines.push_str(&format!(
            r#"{{"kind": "step", "step": {step}, "phase": "phase-1", "tokens": {}, "loss": 3.5, "learning_rate": 1e-3,
            "grad_norm": null, "seconds": 1.5, "data_seconds": 0.0}}"#,
            step * 100
        ).replace('\n', " "));
        lines.push('\n');
    }
    if name == "pretrain" {
        for (step, phase, category, loss) in [
            (0, "start", "math", 9.0),
            (10, "phase-1", "math", 2.0),
            (10, "phase-1", "web", 4.0),
            (20, "phase-2", "math", 1.5),
            (20, "phase-2", "web", 3.75),
        ] {
            lines.push_str(&format!(
                "{{\"kind\": \"held-out\", \"step\": {step}, \"phase\": \"{phase}\", \"category\": \"{category}\", \
                 \"nats_per_token\": {loss}, \"bits_per_byte\": 1.0, \"tokens\": 100}}\n"
            ));
        }
    }
    fs::write(folder.join("metrics.jsonl"), lines).unwrap();
    let score = |think: bool, score: f64, error: f64| {
        format!(r#"{{"think": {think}, "items": 100, "score": {score}, "standard_error": {error}}}"#)
    };
    let (sums, pairs) = match measured.chat {
        None => (String::new(), String::new()),
        Some([think, no_think, pairs]) => (
            format!("{}, {}", score(true, think, 0.05), score(false, no_think, 0.05)),
            format!("{}, {}", score(true, pairs, 0.04), score(false, pairs, 0.04)),
        ),
    };
    let evaluation = format!(
        r#"{{"checkpoint": "", "step": {steps}, "asked": {{}}, "long_context":
        [{{"task": "single", "length": 1024, "items": 20, "score": 0.0, "standard_error": 0.0}}],
        "loss_by_position": [{{"from": 0, "to": 512, "loss": 4.5, "standard_error": 0.01, "documents": 9}},
        {{"from": 512, "to": 1024, "loss": {}, "standard_error": 0.01, "documents": 9}}],
        "exact_match": [{sums}], "preference": [{pairs}],
        "held_out": {{"math": {{"nats_per_token": {}, "bits_per_byte": 1.0, "tokens": 100}}}}}}"#,
        measured.late, measured.math
    );
    fs::write(folder.join("evaluation.json"), evaluation).unwrap();
}

fn whole(folder: &Path) -> RunFiles {
    let measured = |math, late, chat| Measured { math, late, chat };
    fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    // Not in the order in which they come.
    stage(
        folder,
        "merged",
        0,
        &measured(1.65, 4.05, Some([0.55, 0.1, 0.85])),
    );
    stage(folder, "pretrain", 20, &measured(1.5, 3.9, None));
    stage(folder, "apo", 40, &measured(1.7, 4.2, Some([0.57, 0.07, 0.9])));
    stage(folder, "sft", 30, &measured(1.6, 4.0, Some([0.6, 0.05, 0.5])));
    RunFiles::read(folder).unwrap()
}

#[test]
fn three_sentences_say_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let run = whole(folder.path());
    let said = [
        "From the end of phase-1 to the end of phase-2, math improved most: the loss on text kept out of training fell from 2.00 \
         to 1.50 nats a token, while its share of the data went from 3 to 13 %; web went from 4.00 to 3.75.",
        "Asked to think first (/think), the model after sft gets 60 ± 5 % of 100 sums right; asked to answer at once (/no_think), \
         5 ± 5 %.",
        "Preference training (apo) took preferred answers judged likelier than the others from 50 ± 3 % to 90 ± 3 %, sums right with \
         /think from 60 ± 5 % to 57 ± 5 % (no clear change) and the loss late in long texts from 4.00 ± 0.01 to 4.20 ± 0.01; after \
         the merge they are 85 ± 3 %, 55 ± 5 % and 4.05 ± 0.01 (75 % of the rise in loss taken back).",
    ];
    assert_eq!(findings(&run), said);
}

#[test]
fn what_was_not_measured_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    whole(folder.path());
    fs::remove_dir_all(folder.path().join("merged")).unwrap();
    let found = findings(&RunFiles::read(folder.path()).unwrap());
    assert!(
        !found[2].contains("merge") && found[2].ends_with("4.20 ± 0.01."),
        "{found:?}"
    );
    // Its weights are there, its figures are not.
    stage(
        folder.path(),
        "merged",
        0,
        &Measured {
            math: 1.0,
            late: 4.0,
            chat: None,
        },
    );
    let found = findings(&RunFiles::read(folder.path()).unwrap());
    let only = "; after the merge only the loss late in long texts was measured: 4.00 ± 0.01 (100 % of the rise in loss taken back).";
    assert!(found[2].ends_with(only), "{found:?}");
    fs::remove_file(folder.path().join("merged/evaluation.json")).unwrap();
    let found = findings(&RunFiles::read(folder.path()).unwrap());
    assert!(found[2].ends_with("; the merge was not measured."), "{found:?}");
    for stage in ["sft", "apo", "merged"] {
        fs::remove_dir_all(folder.path().join(stage)).unwrap();
    }
    assert_eq!(findings(&RunFiles::read(folder.path()).unwrap()).len(), 1);
    fs::remove_file(folder.path().join("pretrain/metrics.jsonl")).unwrap();
    assert!(findings(&RunFiles::read(folder.path()).unwrap()).is_empty());
    // Held-out losses of the evaluation alone are a table.
    assert!(closing_table(&RunFiles::read(folder.path()).unwrap()).contains("pretrain  1.500"));
    fs::remove_file(folder.path().join("pretrain/evaluation.json")).unwrap();
    assert_eq!(closing_table(&RunFiles::read(folder.path()).unwrap()), "");
}

#[test]
fn the_closing_table_fits_a_screen() {
    let folder = tempfile::tempdir().unwrap();
    let text = closing_table(&whole(folder.path()));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() <= 24, "{text}");
    assert!(lines.iter().all(|line| line.chars().count() <= 100), "{text}");
    assert_eq!(
        lines[2..7],
        [
            "  stage      math         late  /think  /no_think   pairs",
            "  pretrain  1.500  3.90 ± 0.01       -          -       -",
            "  sft       1.600  4.00 ± 0.01  60 ± 5      5 ± 5  50 ± 3",
            "  apo       1.700  4.20 ± 0.01  57 ± 5      7 ± 5  90 ± 3",
            "  merged    1.650  4.05 ± 0.01  55 ± 5     10 ± 5  85 ± 3",
        ]
    );
    assert!(text.contains("none was found after any stage"));
    // More stages and longer names than a screen has room for.
    for number in 0..20 {
        let name = format!("{number:02}-{}", "x".repeat(90));
        let measured = Measured {
            math: 1.0,
            late: 4.0,
            chat: None,
        };
        stage(folder.path(), &name, 1, &measured);
    }
    let text = closing_table(&RunFiles::read(folder.path()).unwrap());
    assert!(
        text.lines().count() <= 28 && text.contains("The report has"),
        "{text}"
    );
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

#[test]
fn the_report_opens_with_the_stages_and_what_each_changed() {
    let folder = tempfile::tempdir().unwrap();
    let run = whole(folder.path());
    let page = report::report(&[run]);
    let order: Vec<usize> = [
        "<ol class=\"pipeline\">",
        "fine-tuning</div><div class=\"name\">sft",
        "What each stage changed",
        "What this says",
        "<h2>pretrain</h2>",
    ]
    .iter()
    .map(|part| page.find(part).unwrap_or_else(|| panic!("no `{part}`")))
    .collect();
    assert!(order.is_sorted(), "{order:?}");
    for part in [
        "done · 20 steps",
        "<dt>apo</dt><dd>× 0.9</dd>",
        // Better, worse, and within the error.
        "90 ± 3<br><small class=\"good\">+40</small>",
        "4.20 ± 0.01<br><small class=\"bad\">+0.20</small>",
        "57 ± 5<br><small class=\"soft\">−3</small>",
        "1.650<br><small class=\"good\">−0.050</small>",
        "from apo",
    ] {
        assert!(page.contains(part), "no `{part}`");
    }
    assert!(!page.contains("NaN"));
}

#[test]
fn stages_that_have_not_begun_or_ended_are_in_the_row() {
    let folder = tempfile::tempdir().unwrap();
    whole(folder.path());
    for stage in ["apo", "merged"] {
        fs::remove_dir_all(folder.path().join(stage)).unwrap();
    }
    let metrics = folder.path().join("sft/metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    let half: Vec<&str> = text.lines().take(15).collect();
    fs::write(&metrics, half.join("\n")).unwrap();
    let page = report::report(&[RunFiles::read(folder.path()).unwrap()]);
    for part in [
        "waiting · 40 steps",
        "step 15 of 30",
        "<progress max=\"30\" value=\"15\">",
        "time left",
    ] {
        assert!(page.contains(part), "no `{part}`");
    }
}
