//! Whether a stage resumes on what its newest checkpoint was trained on. Its later steps would otherwise read other rows than
//! the earlier ones, or rows that were trained on before.

use std::collections::BTreeMap;
use std::path::Path;

use smollm3_records::checkpoint::{Progress, last};

use crate::{EngineError, Result};

/// The name, among the fingerprints of a stage's data, of the weights under the adapters that it trains. No stage and no source
/// can have it.
pub const FROZEN: &str = "frozen weights";

/// Refuses `data` other than those that an unfinished stage has been trained on. Only `state.json` of its newest checkpoint is
/// read.
///
/// # Errors
/// Data have changed, or the folder cannot be listed.
pub fn check_data(stage_folder: &Path, data: &BTreeMap<String, String>) -> Result<()> {
    match last(stage_folder)? {
        Some((progress, _)) if !progress.is_end() => check_same(stage_folder, &progress, data),
        _ => Ok(()),
    }
}

/// Refuses to resume a stage of `steps` steps from `progress` on these data.
///
/// # Errors
/// Data have changed, or the checkpoint is from beyond the stage's end.
pub(crate) fn check_resumable(
    stage_folder: &Path,
    progress: &Progress,
    data: &BTreeMap<String, String>,
    steps: u64,
) -> Result<()> {
    check_same(stage_folder, progress, data)?;
    match progress.step > steps {
        true => Err(refused(stage_folder, progress, &format!("it has {steps} steps"))),
        false => Ok(()),
    }
}

/// Checkpoints of earlier versions do not name everything.
fn check_same(stage_folder: &Path, progress: &Progress, data: &BTreeMap<String, String>) -> Result<()> {
    let is_other = |(name, fingerprint): &(&String, &String)| {
        let known = progress.data.get(*name);
        known.is_some_and(|known| known != *fingerprint)
    };
    let shown = |(name, _): (&String, &String)| match *name == progress.stage {
        true => "its data".to_owned(),
        false => format!("\"{name}\""),
    };
    let changed: Vec<String> = data.iter().filter(is_other).map(shown).collect();
    match changed.is_empty() {
        true => Ok(()),
        false => {
            let changed = changed.join(", ");
            let problem = format!(
                "{changed} changed since then, or an earlier version of this program read them otherwise"
            );
            Err(refused(stage_folder, progress, &problem))
        }
    }
}

fn refused(stage_folder: &Path, progress: &Progress, problem: &str) -> EngineError {
    EngineError::Refused(format!(
        "stage \"{}\" cannot resume after step {}: {problem}; restore what it was trained on, write another folder with \
         `--set run.output=…`, or remove {} to train the stage from its beginning",
        progress.stage,
        progress.step,
        stage_folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_stage_resumes_on_the_same_data_within_its_steps() {
        let state = json!({
            "stage": "sft", "step": 117, "tokens": 0, "updates": 0, "recipe": "", "version": "",
            "data": { "sft": "1", "unused": "2" },
        });
        let progress: Progress = serde_json::from_value(state).unwrap();
        let check = |data: &[(&str, &str)], steps| {
            let owned = |(name, hash): &(&str, &str)| ((*name).to_owned(), (*hash).to_owned());
            let data = data.iter().map(owned).collect();
            let checked = check_resumable(Path::new("out/sft"), &progress, &data, steps);
            checked.map_err(|error| error.to_string())
        };
        // An earlier version did not record the weights under adapters.
        assert_eq!(check(&[("sft", "1"), (FROZEN, "3")], 117), Ok(()));
        for (data, steps, words) in [
            ([("sft", "2"), (FROZEN, "3")], 382, "its data changed"),
            ([("sft", "1"), ("unused", "3")], 382, "\"unused\" changed"),
            ([("sft", "1"), (FROZEN, "3")], 97, "it has 97 steps"),
        ] {
            let message = check(&data, steps).unwrap_err();
            assert!(
                message.contains("\"sft\" cannot resume after step 117") && message.contains(words),
                "{message}"
            );
        }
    }
}
