//! From what runs have written to the table, the file and the page.
#![cfg(unix)]

mod support;

use std::fmt::Write;
use std::fs;

use smollm3_sweep::{Results, RunFigures, Slot, Sweep};
use support::Stage;

/// A run's metrics: ten steps, then held-out loss of two categories.
fn metrics(loss: f64) -> String {
    let mut text = String::new();
    for step in 1..=10 {
        let _ = writeln!(
            text,
            r#"{{"kind":"step","step":{step},"phase":"short","tokens":0,"loss":{},"learning_rate":0.1,"grad_norm":1.0,"seconds":{},"data_seconds":0.0}}"#,
            loss + 1.0 / f64::from(step),
            if step == 1 { 9.0 } else { 2.0 }
        );
    }
    for (category, above, tokens) in [("code", 1.0, 100), ("web", 0.0, 300)] {
        for earlier in [0.5, 0.0] {
            let _ = writeln!(
                text,
                r#"{{"kind":"held-out","step":10,"phase":"short","category":"{category}","nats_per_token":{},"bits_per_byte":1.0,"tokens":{tokens}}}"#,
                loss + above + earlier
            );
        }
    }
    text
}

/// Base and mha on three seeds: differences 0.10, 0.12, 0.11 in all losses; theta-kept not run.
fn finished() -> (Stage, Sweep) {
    let stage = Stage::new();
    for (run, loss) in [
        ("base-1", 3.0),
        ("base-2", 3.2),
        ("base-3", 2.8),
        ("mha-1", 3.1),
        ("mha-2", 3.32),
        ("mha-3", 2.91),
        ("rope-everywhere-1", 3.3),
    ] {
        fs::write(stage.path(&format!("metrics-{run}")), metrics(loss)).unwrap();
    }
    let sweep = Sweep::plan(&stage.request(&["base", "mha"], &[1, 2, 3])).unwrap();
    stage.run(&sweep, &[Slot::default()]).unwrap();
    (stage, sweep)
}

#[test]
fn a_run_is_read_as_it_is_written() {
    let (stage, _sweep) = finished();
    let found = RunFigures::read(&stage.path("out/base-1"), ["short", "long"]).unwrap();
    let [short] = found.stages.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(short.losses.len(), 10);
    assert_eq!(short.losses[9], (10, 3.1));
    // 4,096 tokens in the median two seconds.
    assert_eq!(short.tokens_per_second, Some(2_048.0));
    // The last of each category: (4·100 + 3·300)/400.
    assert_eq!(short.held_out["code"], (4.0, 100));
    assert_eq!(short.held_out_overall(), Some(3.25));
}

#[test]
fn evaluations_are_read_too() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("long")).unwrap();
    let text = r#"{"checkpoint":"x","step":3,"asked":{},"loss_by_position":[{"from":0,"to":256,"loss":4.5,"standard_error":0.1,"documents":3}],
        "long_context":[{"task":"single","length":512,"items":20,"score":0.25,"standard_error":0.1}],
        "held_out":{"web":{"nats_per_token":2.5,"bits_per_byte":1.0,"tokens":10}},"exact_match":[],"preference":[]}"#;
    fs::write(folder.path().join("long/evaluation.json"), text).unwrap();
    let found = RunFigures::read(folder.path(), ["long"]).unwrap();
    let long = &found.stages[0];
    assert_eq!((long.positions[0].to, long.positions[0].loss), (256, 4.5));
    assert_eq!((long.retrieval[0].length, long.retrieval[0].score), (512, 0.25));
    assert_eq!(long.held_out_overall(), Some(2.5));
    fs::write(folder.path().join("long/evaluation.json"), "{").unwrap();
    let error = RunFigures::read(folder.path(), ["long"]).unwrap_err().to_string();
    assert!(error.contains("evaluation.json"), "{error}");
}

#[test]
fn differences_are_paired_and_told_as_they_are() {
    let (_stage, sweep) = finished();
    let results = Results::read(&sweep).unwrap();
    let names: Vec<&str> = results.measures.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["held-out loss", "held-out code", "held-out web", "speed"]);
    let mha = results.rows.iter().find(|row| row.variation == "mha").unwrap();
    let value = mha.values[0].as_ref().unwrap();
    let change = value.change.unwrap();
    // Mean 0.11, deviation 0.01.
    assert!((change.mean - 0.11).abs() < 1e-9);
    assert!((change.standard_error.unwrap() - 0.01 / 3_f64.sqrt()).abs() < 1e-9);
    assert_eq!(value.exceeds_twice_its_error, Some(true));
    assert!((value.spread.mean - 3.36).abs() < 1e-9);
    let base = &results.rows[0];
    assert!(base.values[0].as_ref().unwrap().change.is_none());

    let page = results.markdown();
    for part in [
        "| base | 3.2500 ± 0.2000 |",
        "| mha | +0.1100 ± 0.0058 * |",
        "mha against base. Larger than twice the standard error: held-out loss of short: +0.1100 ± 0.0058 nats/token",
        "theta-kept: nothing to compare with base yet.",
        "With 3 seeds, 18 % of the differences",
        "0.6 of these 3 (of 1 variations); 3 are",
        "Not all runs are finished",
        "+0.03 %",
        "3 of 3",
    ] {
        assert!(page.contains(part), "{part} in\n{page}");
    }
    let written = results.write(&sweep).unwrap();
    let html = fs::read_to_string(written).unwrap();
    // A mean with its band for two variations; the difference with its own.
    assert_eq!(html.matches("class=\"band\"").count(), 3);
    assert!(html.contains("mha against base") && !html.contains("src="));
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(sweep.output.join("sweep.json")).unwrap()).unwrap();
    assert_eq!(json["rows"][1]["values"][0]["by_seed"]["2"], 3.57);
    assert_eq!(json["rows"][1]["values"][0]["exceeds_twice_its_error"], true);
    assert_eq!(fs::read_to_string(sweep.output.join("table.md")).unwrap(), page);
}

#[test]
fn one_seed_gives_no_spread() {
    let (stage, _) = finished();
    let sweep = Sweep::plan(&stage.request(&["base", "rope-everywhere"], &[1])).unwrap();
    stage.run(&sweep, &[Slot::default()]).unwrap();
    let page = Results::read(&sweep).unwrap().markdown();
    for part in [
        "3.2500 (one seed)",
        "+0.3000 (one seed)",
        "One seed gives no spread",
        "is not known",
    ] {
        assert!(page.contains(part), "{part} in\n{page}");
    }
    assert!(!page.contains(" * |"));
}

#[test]
fn nothing_finished_is_no_error() {
    let stage = Stage::new();
    let sweep = Sweep::plan(&stage.request(&[], &[1])).unwrap();
    let results = Results::read(&sweep).unwrap();
    assert!(results.markdown().contains("nothing to compare"));
    assert!(results.html().contains("theta-kept"));
}

#[test]
fn what_is_the_same_in_every_seed_is_no_difference() {
    let stage = Stage::new();
    for run in ["base-1", "base-2", "theta-kept-1", "theta-kept-2"] {
        fs::write(stage.path(&format!("metrics-{run}")), metrics(3.0)).unwrap();
    }
    let sweep = Sweep::plan(&stage.request(&["base", "theta-kept"], &[1, 2])).unwrap();
    stage.run(&sweep, &[Slot::default()]).unwrap();
    let page = Results::read(&sweep).unwrap().markdown();
    assert!(
        page.contains("theta-kept against base. The same in every seed: 3 of 3.\n"),
        "{page}"
    );
    assert!(!page.contains("of these"), "{page}");
    assert!(!page.contains("Not larger"), "{page}");
}
