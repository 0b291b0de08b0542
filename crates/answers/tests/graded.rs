//! Answers in the many shapes in which models write them are graded as lm-evaluation-harness grades them, or for a reason.
//!
//! `scripts/verify/grading.py` has written the file: `right` is the verdict that is wanted, `harness` holds the verdicts of
//! the harness, `why` says why one of them is another.

use serde_json::Value;
use smollm3_answers::{extract, extract_number, is_right, normalise};

#[test]
fn answers_are_graded_as_the_harness_does_or_for_a_reason() {
    let rows: Vec<Value> = serde_json::from_str(include_str!("graded.json")).unwrap();
    let mut differ = Vec::new();
    let mut counts = std::collections::BTreeMap::new();
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap();
        let (said, gold, wanted) = (text("said"), text("gold"), row["right"].as_bool().unwrap());
        let found = match text("kind") {
            "gsm8k" => extract_number(said).is_some_and(|found| normalise(&found.text) == normalise(gold)),
            "math" => extract(said).is_some_and(|found| normalise(&found.text) == normalise(gold)),
            _ => is_right(said, gold),
        };
        // The judge of what is kept to train on agrees with the one of what is measured.
        if found != wanted || is_right(said, gold) != wanted {
            differ.push(row.to_string());
        }
        let agree = row["harness"]
            .as_object()
            .unwrap()
            .values()
            .all(|verdict| *verdict == wanted);
        assert_eq!(agree, row.get("why").is_none(), "{row}");
        assert_ne!(row.get("why"), Some(&"OPEN".into()), "{row}");
        *counts.entry(text("kind")).or_insert(0) += 1;
    }
    assert!(
        counts.len() == 3 && counts.values().all(|count| *count >= 200),
        "{counts:?}"
    );
}
