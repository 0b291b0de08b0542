//! The files of a stage's folder, damaged ones too.

use std::fs;

use smollm3_files::line;
use smollm3_records::{Incident, IncidentKind, read_incidents};

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
