//! The files of a stage's folder, damaged ones too.

use std::fs;

use smollm3_files::line;
use smollm3_records::{Event, Incident, IncidentKind, Listener, Metrics, StageInfo, read_incidents};

#[test]
fn a_line_that_was_cut_off_within_a_character_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let incident = |step| Incident {
        time: 1,
        step,
        kind: IncidentKind::Damaged {
            fault: "step-00000001: é".to_owned(),
        },
    };
    let (first, second) = (line(&incident(1)), line(&incident(2)));
    let cut = second.find('é').unwrap() + 1;
    let bytes = [first.as_bytes(), &second.as_bytes()[..cut]].concat();
    fs::write(folder.path().join("incidents.jsonl"), bytes).unwrap();
    assert_eq!(read_incidents(folder.path()).unwrap(), [incident(1)]);
}

#[test]
fn what_is_not_pushed_of_the_stage_that_runs_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let stage = StageInfo {
        name: "sft".to_owned(),
        folder: folder.path().to_owned(),
        steps: 1,
        tokens_per_step: 1,
        sequence_length: 1,
        rope_theta: 1e4,
        flops_per_token: 1.0,
        peak_flops: None,
        loss_unit: String::new(),
        sources: Vec::new(),
        phases: Vec::new(),
    };
    let mut metrics = Metrics::default();
    metrics.on(&Event::StageStarted { stage, done: 0 }).unwrap();
    for (step, stage) in [(1, "pretrain"), (2, "sft")] {
        let kind = IncidentKind::NotPushed {
            stage: stage.to_owned(),
            error: "no network".to_owned(),
        };
        metrics.on(&Event::Incident { step, kind }).unwrap();
    }
    let incidents = read_incidents(folder.path()).unwrap();
    let steps: Vec<u64> = incidents.iter().map(|incident| incident.step).collect();
    assert_eq!(steps, [2]);
}
