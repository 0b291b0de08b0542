//! A checkpoint's answers depend on seed and place, not on earlier answers.

mod support;

use std::collections::HashSet;
use std::fs;
use std::sync::atomic::AtomicBool;

use serde_json::{Value, json};
use smollm3_chat::Pair;
use smollm3_synthesis::{BadRows, Form, LeftOut, SynthesisError};
use support::{Bench, checkpoint, checkpoint_folder};

const ALL: [LeftOut; 3] = [LeftOut::CutOff, LeftOut::Empty, LeftOut::Equal];

fn bench() -> Bench {
    let words = ["What is", "2", "+ 3?", "Add", "all of these:", "14", "and"];
    let prompt = |number: usize| {
        (0..=number % 5)
            .map(|i| words[(number * 3 + i) % 7])
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut bench = Bench::new(
        &(0..10)
            .map(|number| json!({"prompt": prompt(number)}))
            .collect::<Vec<_>>(),
    );
    bench.samples = 2;
    bench.keep = ALL.to_vec();
    bench
}

#[test]
fn stopped_anywhere_it_ends_in_the_same_bytes() {
    let files = tempfile::tempdir().unwrap();
    let folder = checkpoint_folder(files.path());
    let models = || [checkpoint("model", &folder, 4, 1.0)];
    let whole = bench();
    let written = whole.done(&models());
    assert_eq!(written.rows, 20);
    let rows = fs::read(whole.out()).unwrap();
    let answers = fs::read_to_string(whole.answers()).unwrap();
    let said: HashSet<&str> = answers
        .lines()
        .skip(1)
        .map(|line| line.split_once("\"text\":").unwrap().1)
        .collect();
    assert!(said.len() >= 18, "samples differ: {}", said.len());
    let ends = |finish: &str| answers.matches(&format!("\"finish\":\"{finish}\"")).count();
    assert!(ends("stop") > 0 && ends("length") > 0, "{answers}");

    // Killed after any number of answers, and in the middle of one.
    let lines: Vec<&str> = answers.split_inclusive('\n').collect();
    for kept in [0, 1, 2, 6, 13, 20] {
        let again = bench();
        let torn = lines.get(kept + 1).map_or("", |line| &line[..line.len() / 2]);
        fs::write(again.answers(), lines[..=kept].concat() + torn).unwrap();
        again.done(&models());
        assert_eq!(fs::read(again.out()).unwrap(), rows, "{kept} answers kept");
    }
    // Nor does it matter that some of a batch were there and others not.
    let again = bench();
    let odd: String = lines
        .iter()
        .enumerate()
        .filter(|(at, _)| at % 3 == 0)
        .map(|(_, line)| *line)
        .collect();
    fs::write(again.answers(), odd).unwrap();
    again.done(&models());
    assert_eq!(fs::read(again.out()).unwrap(), rows);
}

#[test]
fn a_wish_to_stop_is_heeded_within_an_answer() {
    let files = tempfile::tempdir().unwrap();
    let folder = checkpoint_folder(files.path());
    let stopped = bench();
    let outcome = stopped.run(
        &[checkpoint("model", &folder, 2, 1.0)],
        &AtomicBool::new(true),
        &mut |_| (),
    );
    assert!(matches!(outcome, Err(SynthesisError::Interrupted)), "{outcome:?}");
    // An interrupted answer is not recorded.
    assert!(!stopped.answers().exists());
}

#[test]
fn one_model_at_two_temperatures_makes_pairs() {
    let files = tempfile::tempdir().unwrap();
    let folder = checkpoint_folder(files.path());
    let mut bench = bench();
    bench.form = Form::StrongOverWeak;
    bench.samples = 1;
    bench.asking.think = Some(false);
    let written = bench.done(&[
        checkpoint("strong", &folder, 4, 0.0),
        checkpoint("weak", &folder, 4, 1.0),
    ]);
    assert_eq!(written.rows, 10);
    for row in bench.rows() {
        let columns: Vec<&String> = row.as_object().unwrap().keys().collect();
        assert_eq!(columns, ["prompt", "chosen", "rejected", "chat_template_kwargs"]);
        let pair = Pair::from_row(&row).unwrap();
        assert_eq!(
            (pair.prompt.len(), pair.chosen.len(), pair.rejected.len()),
            (1, 1, 1)
        );
        assert_ne!(pair.chosen, pair.rejected);
        assert_eq!(pair.template_kwargs["enable_thinking"], false);
    }
    // The first is greedy: asked twice it says the same.
    let text = fs::read_to_string(bench.answers()).unwrap();
    let settings: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(settings["settings"]["strong.temperature"], 0.0);
    assert_eq!(settings["settings"]["weak.temperature"], 1.0);
    assert_eq!(settings["settings"]["weak.files"].as_str().unwrap().len(), 64);
}

#[test]
fn weights_that_changed_are_another_model() {
    let files = tempfile::tempdir().unwrap();
    let folder = checkpoint_folder(files.path());
    let bench = bench();
    bench.done(&[checkpoint("model", &folder, 4, 1.0)]);
    // A batch is a circumstance.
    bench.done(&[checkpoint("model", &folder, 3, 1.0)]);
    bench.refused(
        &[checkpoint("model", &folder, 4, 0.5)],
        &["model.temperature: 1.0 there, 0.5 now", "--out"],
    );
    let mut template = fs::read_to_string(folder.join("chat_template.jinja")).unwrap();
    template.push('!');
    fs::write(folder.join("chat_template.jinja"), template).unwrap();
    bench.refused(&[checkpoint("model", &folder, 4, 1.0)], &["model.files"]);
}

#[test]
fn what_does_not_fit_the_context_stops_or_is_left_out() {
    let files = tempfile::tempdir().unwrap();
    let folder = checkpoint_folder(files.path());
    let long = "2 + 3 = 5 ".repeat(60);
    let mut bench = Bench::new(&[json!({"prompt": "2 + 3"}), json!({"prompt": long})]);
    bench.keep = ALL.to_vec();
    let models = [checkpoint("model", &folder, 4, 1.0)];
    bench.refused(&models, &["line 2", "context is 128", "--bad-rows skip"]);
    bench.asking.bad_rows = BadRows::Skip;
    let written = bench.done(&models);
    assert_eq!((written.rows, written.left_out[&LeftOut::Refused]), (1, 1));

    fs::remove_file(folder.join("chat_template.jinja")).unwrap();
    Bench::of_numbers(1).refused(&[checkpoint("model", &folder, 4, 1.0)], &["no chat template"]);
}
