//! Runs as child processes: order, sharing, resuming, failing, stopping.
#![cfg(unix)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use smollm3_sweep::{Progress, Request, Slot, Sweep, SweepError};
use support::Stage;

fn device(name: &str) -> Slot {
    Slot {
        device: Some(name.to_owned()),
    }
}

#[test]
fn all_are_run_once_and_share_their_tokens() {
    let stage = Stage::new();
    let sweep = Sweep::plan(&stage.request(&["base", "mha"], &[1, 2])).unwrap();
    let outcome = stage.run(&sweep, &[Slot::default()]).unwrap();
    assert_eq!(outcome.finished, ["base-1", "mha-1", "base-2", "mha-2"]);
    assert!(outcome.failed.is_empty() && outcome.stopped.is_empty());
    // Once a seed, though two variations read them.
    assert_eq!((stage.calls_of("data"), stage.calls_of("run")), (2, 4));
    let inode = |run: &str| {
        let file = stage.path("out").join(run).join("data/rust/train/rust.ds");
        fs::metadata(file).unwrap().ino()
    };
    assert_eq!(inode("base-1"), inode("mha-1"));
    assert_ne!(inode("base-1"), inode("base-2"));
    let recipe = fs::read_to_string(stage.path("out/mha-1/recipe.json")).unwrap();
    assert_eq!(
        recipe,
        sweep.run_of("mha", 1).unwrap().recipe.canonical().to_string()
    );

    let again = stage.run(&sweep, &[Slot::default()]).unwrap();
    assert_eq!(again.finished.len(), 4);
    assert_eq!((stage.calls_of("data"), stage.calls_of("run")), (2, 4));

    // A variation that comes later finds the tokens prepared.
    let later = Sweep::plan(&stage.request(&["theta-kept"], &[1])).unwrap();
    stage.run(&later, &[Slot::default()]).unwrap();
    assert_eq!((stage.calls_of("data"), stage.calls_of("run")), (2, 5));
    assert_eq!(inode("theta-kept-1"), inode("base-1"));
}

#[test]
fn what_fails_or_is_killed_ends_no_other_and_is_run_again() {
    let stage = Stage::new();
    stage.mark("fail-base-1");
    stage.mark("die-mha-1");
    let sweep = Sweep::plan(&stage.request(&["base", "mha", "theta-kept"], &[1])).unwrap();
    let outcome = stage.run(&sweep, &[Slot::default()]).unwrap();
    assert_eq!(outcome.finished, ["theta-kept-1"]);
    let [(failed, reason), (died, how)] = outcome.failed.as_slice() else {
        panic!("{outcome:?}")
    };
    assert_eq!((failed.as_str(), reason.as_str()), ("base-1", "out of luck"));
    assert_eq!(died, "mha-1");
    assert!(how.contains("signal: 9"), "{how}");
    let log = fs::read_to_string(stage.path("out/logs/base-1.log")).unwrap();
    assert!(log.contains("a line"), "{log}");

    stage.unmark("fail-base-1");
    stage.unmark("die-mha-1");
    let mut goes_on = Vec::new();
    let outcome = stage.run_until(
        &sweep,
        &[Slot::default()],
        &AtomicBool::new(false),
        &mut |progress| {
            if let Progress::Started {
                run, goes_on: true, ..
            } = progress
            {
                goes_on.push(run.clone());
            }
        },
    );
    assert_eq!(outcome.unwrap().finished, ["theta-kept-1", "base-1", "mha-1"]);
    assert_eq!(goes_on, ["base-1", "mha-1"]);
    assert_eq!((stage.calls_of("data"), stage.calls_of("run")), (1, 5));
}

#[test]
fn data_that_cannot_be_prepared_fail_their_runs() {
    let stage = Stage::new();
    stage.mark("fail-data");
    let sweep = Sweep::plan(&stage.request(&["base", "mha"], &[1])).unwrap();
    let outcome = stage.run(&sweep, &[Slot::default()]).unwrap();
    assert_eq!(outcome.failed.len(), 2);
    assert!(outcome.failed[0].1.contains("no text"), "{outcome:?}");
    assert_eq!(stage.calls_of("run"), 0);
    assert!(!stage.path("out/base-1").exists());
    stage.unmark("fail-data");
    assert_eq!(stage.run(&sweep, &[Slot::default()]).unwrap().finished.len(), 2);
}

#[test]
fn a_stop_lets_children_save_and_begins_no_other() {
    let stage = Stage::new();
    stage.mark("slow");
    let sweep = Sweep::plan(&stage.request(&["base", "mha"], &[1])).unwrap();
    let stop = AtomicBool::new(false);
    let mut locked = None;
    let outcome = stage.run_until(&sweep, &[Slot::default()], &stop, &mut |progress| {
        if matches!(progress, Progress::Started { .. }) {
            locked = Some(stage.run(&sweep, &[Slot::default()]));
            // The shell must have set its trap.
            std::thread::sleep(Duration::from_millis(400));
            stop.store(true, Ordering::Relaxed);
        }
    });
    let outcome = outcome.unwrap();
    assert!(
        matches!(locked, Some(Err(SweepError::Locked { .. }))),
        "{locked:?}"
    );
    assert_eq!(outcome.stopped, ["base-1", "mha-1"]);
    assert!(outcome.failed.is_empty() && outcome.finished.is_empty());
    assert!(stage.path("out/base-1/saved").exists());
    assert!(!stage.path("out/mha-1").exists());

    stage.unmark("slow");
    let outcome = stage.run(&sweep, &[Slot::default()]).unwrap();
    assert_eq!(outcome.finished, ["base-1", "mha-1"]);
}

/// It cannot ask its runs to end; they do all the same, and can go on.
#[cfg(target_os = "linux")]
#[test]
fn a_sweep_that_is_killed_takes_its_runs_along() {
    const FOLDER: &str = "FOLDER_OF_A_SWEEP_TO_KILL";
    if let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) {
        let request = Request {
            path: support::ablations(),
            seeds: vec![1],
            only: vec!["base".to_owned()],
            output: Some(folder.join("out")),
            ..Request::default()
        };
        let sweep = Sweep::plan(&request).unwrap();
        let stop = AtomicBool::new(false);
        let slots = [Slot::default()];
        smollm3_sweep::run(&sweep, &folder.join("smollm3"), &slots, &stop, &mut |_| {}).unwrap();
        return;
    }
    let wait_for = |what: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !what() {
            assert!(begin.elapsed() < Duration::from_secs(15));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let stage = Stage::new();
    stage.mark("slow");
    let mut sweep = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_sweep_that_is_killed_takes_its_runs_along"])
        .env(FOLDER, stage.folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(&|| stage.calls_of("run") == 1);
    // The shell must have set its trap.
    std::thread::sleep(Duration::from_millis(400));
    sweep.kill().unwrap();
    sweep.wait().unwrap();
    wait_for(&|| stage.path("out/base-1/saved").exists());
}

#[test]
fn each_device_has_one_run_at_a_time() {
    let stage = Stage::new();
    stage.mark("brief");
    let sweep = Sweep::plan(&stage.request(&["base", "mha"], &[1, 2, 3])).unwrap();
    let outcome = stage.run(&sweep, &[device("cuda:0"), device("cuda:1")]).unwrap();
    assert_eq!(outcome.finished.len(), 6);
    let mut busy: BTreeMap<String, i32> = BTreeMap::new();
    let mut both = false;
    for line in stage.calls() {
        let mut words = line.split(' ');
        let (what, device) = (words.next().unwrap(), words.nth(1).unwrap());
        let change = match what {
            "run" => 1,
            "end" => -1,
            _ => continue,
        };
        let now = busy.entry(device.to_owned()).or_default();
        *now += change;
        assert!((0..=1).contains(now), "{line}");
        both |= busy.values().sum::<i32>() == 2;
    }
    assert_eq!(busy.keys().collect::<Vec<_>>(), ["cuda:0", "cuda:1"]);
    assert!(both, "the two were never busy together");
}

#[test]
fn a_changed_recipe_is_refused_before_anything_runs() {
    let stage = Stage::new();
    let request = stage.request(&["base"], &[1]);
    let sweep = Sweep::plan(&request).unwrap();
    stage.run(&sweep, &[Slot::default()]).unwrap();
    let changed = Request {
        settings: vec!["stage.short.optimizer.learning_rate=1e-3".to_owned()],
        seeds: vec![2, 1],
        ..request
    };
    let sweep = Sweep::plan(&changed).unwrap();
    let error = stage.run(&sweep, &[Slot::default()]).unwrap_err().to_string();
    for part in [
        "base-1",
        "stage.short.optimizer.learning_rate",
        "0.001 now, 0.002 there",
        "--output",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert_eq!(stage.calls_of("run"), 1);
    assert!(sweep.overview().is_err());
}

#[test]
fn other_questions_of_the_same_run_are_asked_without_another_folder() {
    let stage = Stage::new();
    let request = stage.request(&["base"], &[1]);
    stage
        .run(&Sweep::plan(&request).unwrap(), &[Slot::default()])
        .unwrap();
    let asked = Request {
        settings: vec!["evaluation.long_context.items=30".to_owned()],
        ..request
    };
    let outcome = stage
        .run(&Sweep::plan(&asked).unwrap(), &[Slot::default()])
        .unwrap();
    assert_eq!(outcome.finished, ["base-1"]);
    assert_eq!(stage.calls_of("run"), 2);
}

#[test]
fn the_folder_of_a_run_is_no_sweeps() {
    let stage = Stage::new();
    fs::create_dir(stage.path("out")).unwrap();
    fs::write(stage.path("out/recipe.json"), "{}").unwrap();
    let sweep = Sweep::plan(&stage.request(&["base"], &[1])).unwrap();
    let error = stage.run(&sweep, &[Slot::default()]).unwrap_err().to_string();
    assert!(error.contains("--output"), "{error}");
    assert!(stage.calls().is_empty());
}

#[test]
fn a_program_that_is_not_there_is_said() {
    let stage = Stage::new();
    let sweep = Sweep::plan(&stage.request(&["base"], &[1])).unwrap();
    fs::remove_file(stage.path("smollm3")).unwrap();
    let outcome = stage.run(&sweep, &[Slot::default()]).unwrap();
    assert!(outcome.failed[0].1.contains("cannot be started"), "{outcome:?}");
}
