//! Which checkpoints stay: the newest and the newest good one always, and of the others the same ones whether a run was
//! stopped or not.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use smollm3_engine::Retention;
use smollm3_engine::checkpoint::{self, Progress};
use smollm3_recipe::Stage;
use smollm3_records::GuardState;
use support::recipe;

const STEPS: u64 = 24;

/// A stage of two phases that saves every third step.
fn stage(folder: &Path, keep: u32) -> Stage {
    let overrides = [
        "stage.pretrain.phase.one.until=10 steps".to_owned(),
        format!("stage.pretrain.phase.two.until={STEPS} steps"),
        "stage.pretrain.checkpoint.every=3 steps".to_owned(),
        format!("stage.pretrain.checkpoint.keep={keep}"),
    ];
    let overrides: Vec<&str> = overrides.iter().map(String::as_str).collect();
    recipe(folder, "flex", &overrides).stages.remove(0)
}

fn save(folder: &Path, step: u64, bad: u64, steps: u64) {
    let progress = Progress {
        stage: "pretrain".to_owned(),
        step,
        steps,
        tokens: 0,
        updates: 0,
        recipe: String::new(),
        data: BTreeMap::new(),
        version: String::new(),
        deterministic: None,
        guard: GuardState {
            bad,
            ..GuardState::default()
        },
        validation: None,
    };
    checkpoint::publish(folder, &progress, |draft| {
        fs::create_dir(draft).unwrap();
        Ok(())
    })
    .unwrap();
}

fn steps(folder: &Path) -> Vec<u64> {
    let found = checkpoint::list(folder).unwrap();
    found.into_iter().map(|(step, _)| step).collect()
}

/// A stage in which the last step of each of these numbers had no update; with a checkpoint after each step of `stops` too.
fn train(folder: &Path, stage: &Stage, bad: &[bool], stops: &[u64]) -> Result<(), TestCaseError> {
    let retention = Retention::of(stage).unwrap();
    let (mut streak, mut last_good) = (0, None);
    for step in 1..=STEPS {
        streak = if bad[step as usize - 1] { streak + 1 } else { 0 };
        let regular = step == 10 || step == STEPS || streak == 0 && step % 3 == 0;
        if !regular && !stops.contains(&step) {
            continue;
        }
        save(folder, step, streak, STEPS);
        if streak == 0 {
            last_good = Some(step);
        }
        retention.prune(folder).unwrap();
        let left = steps(folder);
        prop_assert_eq!(left.last(), Some(&step));
        prop_assert!(
            last_good.is_none_or(|good| left.contains(&good)),
            "{} of {:?}",
            step,
            left
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn stops_leave_the_same_regular_checkpoints(
        keep in 1..5_u32,
        bad in prop::collection::vec(prop::bool::weighted(0.4), STEPS as usize),
        stops in prop::collection::vec(1..STEPS, 0..12),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let stage = stage(folder.path(), keep);
        let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
        train(&whole, &stage, &bad, &[])?;
        train(&stopped, &stage, &bad, &stops)?;
        let retention = Retention::of(&stage).unwrap();
        let regular = |folder: &Path| -> Vec<String> {
            let found = retention.newest_regular(folder, usize::MAX).unwrap();
            found.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
        };
        prop_assert_eq!(regular(&whole), regular(&stopped));
        let passing: Vec<u64> = steps(&whole).into_iter().filter(|step| ![10, STEPS].contains(step)).collect();
        prop_assert!(passing.len() <= keep as usize + 1, "{:?}", passing);
    }
}

#[test]
fn the_last_good_checkpoint_outlives_stops_among_steps_without_an_update() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path(), 1);
    let retention = Retention::of(&stage).unwrap();
    let folder = folder.path().join("stage");
    for (step, bad, left) in [
        (3, 0, vec![3]),
        // Stops among bad steps: the newest, and what the run would go back to.
        (4, 1, vec![3, 4]),
        (5, 2, vec![3, 5]),
        // The end of a phase stays, good or not.
        (10, 3, vec![3, 10]),
        (12, 0, vec![10, 12]),
        // A stop after a good step takes no place of a regular one.
        (13, 0, vec![10, 12, 13]),
        (14, 1, vec![10, 12, 13, 14]),
        (15, 0, vec![10, 15]),
    ] {
        save(&folder, step, bad, STEPS);
        retention.prune(&folder).unwrap();
        assert_eq!(steps(&folder), left, "after step {step}");
    }
}

#[test]
fn checkpoints_of_earlier_versions_are_regular_by_the_recipes_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let stage = stage(folder.path(), 9);
    let retention = Retention::of(&stage).unwrap();
    let folder = folder.path().join("stage");
    for step in [3, 5, 6, 10, 11, STEPS] {
        save(&folder, step, 0, 0);
        // They did not write the length of the stage.
        let state = folder.join(checkpoint::folder_name(step)).join("state.json");
        let text = fs::read_to_string(&state).unwrap();
        let without = text.replace("\n  \"steps\": 0,", "");
        assert_ne!(text, without);
        fs::write(&state, without).unwrap();
    }
    let found: Vec<_> = retention.newest_regular(&folder, 4).unwrap();
    let expected: Vec<_> = [3, 6, 10, STEPS]
        .map(|step| folder.join(checkpoint::folder_name(step)))
        .into();
    assert_eq!(found, expected);
}
