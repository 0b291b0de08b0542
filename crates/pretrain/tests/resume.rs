//! A run that was stopped anywhere ends in the same bits as one that was not.

#[path = "../../model/tests/fixture/mod.rs"]
mod fixture;
#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use fixture::devices;
use smollm3_engine::{EngineError, Result, Run, checkpoint};
use smollm3_files::FileHashes;
use smollm3_pretrain::pretrain;
use smollm3_records::{
    Event, IncidentKind, Listener, Listeners, Metrics, Record, read_incidents, read_metrics,
};
use support::{Recorder, STEPS, recipe};

/// Asks for a stop after one step.
struct StopAfter<'a>(u64, &'a AtomicBool);

impl Listener for StopAfter<'_> {
    fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
        if matches!(event, Event::Step(record) if record.step == self.0) {
            self.1.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Runs until the end, or until a stop after step `stop_after`.
fn run(folder: &Path, backend: &str, stop_after: u64) -> Result<()> {
    run_with(&[], folder, backend, stop_after)
}

fn run_with(overrides: &[&str], folder: &Path, backend: &str, stop_after: u64) -> Result<()> {
    let stop = AtomicBool::new(false);
    let mut metrics = Metrics::default();
    let mut stopper = StopAfter(stop_after, &stop);
    let mut both = |event: &Event| -> smollm3_records::Result<()> {
        metrics.on(event)?;
        stopper.on(event)
    };
    struct Call<F>(F);
    impl<F: FnMut(&Event) -> smollm3_records::Result<()>> Listener for Call<F> {
        fn on(&mut self, event: &Event) -> smollm3_records::Result<()> {
            (self.0)(event)
        }
    }
    let mut listener = Call(&mut both);
    let run = Run::open(recipe(folder, backend, overrides), &mut listener)?;
    pretrain(&run, &run.recipe.stages[0], &stop, &mut listener)
}

/// File contents by name.
type Files = BTreeMap<String, Vec<u8>>;
/// Step and two numbers of a metrics record, as bits.
type Numbers = (u64, u64, u64);

/// Every file of the last checkpoint, by name, and what the metrics say without times.
fn outcome(folder: &Path) -> (Files, Vec<Numbers>) {
    let stage = folder.join("out/pretrain");
    let last = stage.join(checkpoint::folder_name(STEPS));
    let files = fs::read_dir(&last)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (
                path.file_name().unwrap().to_str().unwrap().to_owned(),
                fs::read(&path).unwrap(),
            )
        })
        .collect();
    let steps = read_metrics(&stage)
        .unwrap()
        .into_iter()
        .map(|record| match record {
            Record::Step(step) => (step.step, step.loss.to_bits(), step.grad_norm.to_bits()),
            Record::HeldOut(held_out) => (held_out.step, held_out.nats_per_token.to_bits(), held_out.tokens),
            Record::Measured(measured) => (measured.step, measured.value.to_bits(), measured.items),
        })
        .collect();
    (files, steps)
}

#[test]
fn a_stopped_run_ends_in_the_same_bits() {
    for (backend, _) in devices() {
        let whole = tempfile::tempdir().unwrap();
        run(whole.path(), backend, u64::MAX).unwrap();
        let expected = outcome(whole.path());
        assert!(expected.0.contains_key("optimizer.safetensors"));
        // Six steps, and two categories at the end of each of two phases.
        assert_eq!(expected.1.len(), STEPS as usize + 4);
        for at in 1..STEPS {
            let broken = tempfile::tempdir().unwrap();
            let error = run(broken.path(), backend, at).unwrap_err();
            assert!(
                matches!(error, EngineError::Interrupted { step, .. } if step == at),
                "{error}"
            );
            run(broken.path(), backend, u64::MAX).unwrap();
            assert!(
                outcome(broken.path()) == expected,
                "{backend}: stopped after step {at}"
            );
        }
    }
}

/// One source a category: the loss of a category is measured on the rows of one source.
#[test]
fn held_out_loss_is_measured_on_as_many_rows_as_asked_for() {
    let measured = |rows: &str| -> Vec<u64> {
        let folder = tempfile::tempdir().unwrap();
        run_with(&[rows], folder.path(), "flex", u64::MAX).unwrap();
        let records = read_metrics(&folder.path().join("out/pretrain"))
            .unwrap()
            .into_iter();
        let tokens = records.filter_map(|record| match record {
            Record::HeldOut(record) => Some(record.tokens),
            _ => None,
        });
        tokens.collect()
    };
    // A row of 64 tokens, of which the first of each document has nothing before it.
    let one = measured("data.held_out_rows=1");
    assert!(
        one.len() == 4 && one.iter().all(|tokens| (32..=64).contains(tokens)),
        "{one:?}"
    );
    let two = measured("data.held_out_rows=2");
    assert!(
        two.iter().zip(&one).all(|(two, one)| two > one),
        "{one:?} {two:?}"
    );
    assert_eq!(measured("data.held_out_rows=0"), [0; 0]);
}

#[test]
fn a_damaged_checkpoint_is_named_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "flex", u64::MAX).unwrap();
    let expected = outcome(folder.path());
    let stage = folder.path().join("out/pretrain");
    type Damage = fn(&Path);
    let damage: [(&str, Damage); 4] = [
        ("model.safetensors", |file| fs::write(file, b"short").unwrap()),
        ("optimizer.safetensors", |file| {
            // One bit, the length stays.
            let mut bytes = fs::read(file).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(file, bytes).unwrap();
        }),
        ("state.json", |file| fs::remove_file(file).unwrap()),
        ("manifest.json", |file| fs::write(file, b"{").unwrap()),
    ];
    for (file, damage) in damage {
        let last = stage.join(checkpoint::folder_name(STEPS));
        damage(&last.join(file));
        let (found, damaged) = checkpoint::newest(&stage, &FileHashes::default(), |_| true).unwrap();
        assert_eq!(found.unwrap().0.step, STEPS - 1);
        assert!(
            damaged.len() == 1 && damaged[0].contains(file) && damaged[0].contains("step-"),
            "{damaged:?}"
        );
        run(folder.path(), "flex", u64::MAX).unwrap();
        assert!(outcome(folder.path()) == expected, "after damage to {file}");
        let told = read_incidents(&stage).unwrap();
        let last = &told.last().unwrap().kind;
        assert!(
            matches!(last, IncidentKind::Damaged { fault } if fault.contains(file)),
            "{told:?}"
        );
    }
}

fn checkpoints(stage: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(stage)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path: &PathBuf| path.is_dir())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn the_newest_and_the_phase_ends_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "flex", u64::MAX).unwrap();
    // `keep = 2` passing ones: 3 and 5; the ends of the phases, 4 and 6, stay for ever.
    let expected = ["step-00000003", "step-00000004", "step-00000005", "step-00000006"];
    assert_eq!(checkpoints(&folder.path().join("out/pretrain")), expected);
}

#[test]
fn a_folder_of_another_recipe_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), "flex", 2).unwrap_err();
    let changed = recipe(
        folder.path(),
        "flex",
        &["stage.pretrain.optimizer.learning_rate=0.5"],
    );
    let mut listener = Recorder::default();
    let message = Run::open(changed, &mut listener).err().unwrap().to_string();
    assert!(
        message.contains("optimizer.learning_rate") && message.contains("0.5"),
        "{message}"
    );

    let foreign = tempfile::tempdir().unwrap();
    fs::create_dir_all(foreign.path().join("out")).unwrap();
    fs::write(foreign.path().join("out/thesis.tex"), "ten years of work").unwrap();
    let message = run(foreign.path(), "flex", 1).unwrap_err().to_string();
    assert!(message.contains("not empty"), "{message}");
    assert_eq!(fs::read_dir(foreign.path().join("out")).unwrap().count(), 1);
}

/// What is deterministic is no other run: it goes on, and says from which step on it cannot be repeated.
#[test]
fn another_determinism_goes_on_and_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let stage = folder.path().join("out/pretrain");
    run(folder.path(), "flex", 2).unwrap_err();
    let state = stage.join(checkpoint::folder_name(2)).join("state.json");
    assert!(
        fs::read_to_string(&state)
            .unwrap()
            .contains("\"deterministic\": true")
    );

    let other = |until| run_with(&["run.deterministic=false"], folder.path(), "flex", until);
    other(3).unwrap_err();
    let incidents = read_incidents(&stage).unwrap();
    let [incident] = incidents.as_slice() else {
        panic!("{incidents:?}");
    };
    assert_eq!(incident.step, 2);
    assert_eq!(incident.kind, IncidentKind::Determinism { deterministic: false });
    // From its own checkpoint it goes on without another word.
    let state = stage.join(checkpoint::folder_name(3)).join("state.json");
    assert!(
        fs::read_to_string(&state)
            .unwrap()
            .contains("\"deterministic\": false")
    );
    other(4).unwrap_err();
    assert_eq!(read_incidents(&stage).unwrap().len(), 1);
}

#[test]
fn one_process_at_a_time_works_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("out")).unwrap();
    // A process was killed before it had made the folder its own.
    fs::write(folder.path().join("out/.recipe.json.partial"), "{").unwrap();
    let open = || Run::open(recipe(folder.path(), "flex", &[]), &mut Recorder::default());
    let first = open().unwrap();
    let message = open().err().unwrap().to_string();
    assert!(
        message.contains(&format!("(pid {})", std::process::id())),
        "{message}"
    );
    drop(first);
    open().unwrap();
}

#[test]
fn losses_fall_and_events_come_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::default();
    let events = std::rc::Rc::clone(&recorder.0);
    let mut listeners = Listeners::default().with(recorder);
    let run = Run::open(recipe(folder.path(), "flex", &[]), &mut listeners).unwrap();
    pretrain(
        &run,
        &run.recipe.stages[0],
        &AtomicBool::new(false),
        &mut listeners,
    )
    .unwrap();
    let losses: Vec<f64> = events
        .borrow()
        .iter()
        .filter_map(|event| match event {
            Event::Step(record) => Some(record.loss),
            _ => None,
        })
        .collect();
    assert_eq!(losses.len(), STEPS as usize);
    assert!(
        (losses[0] - 320f64.ln()).abs() < 0.2,
        "a fresh model is undecided: {}",
        losses[0]
    );
    assert!(losses[5] < losses[0] - 0.5, "{losses:?}");
    let rates: Vec<f64> = events
        .borrow()
        .iter()
        .filter_map(|event| match event {
            Event::Step(record) => Some(record.learning_rate),
            _ => None,
        })
        .collect();
    assert_eq!(rates, [0.0, 5e-3, 1e-2, 1e-2, 1e-2, 5e-3]);
}
