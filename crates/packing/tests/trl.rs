//! The rows of TRL, fragment by fragment: fixtures made by running its released versions.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use smollm3_packing::{Fragment, Packing, Settings, pack};

#[derive(Deserialize)]
struct Small {
    cases: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
struct Case {
    lengths: Vec<u32>,
    max_length: u32,
    map_batch_size: usize,
    results: BTreeMap<String, Run>,
    outputs: BTreeMap<String, Output>,
}

#[derive(Deserialize)]
struct Run {
    output: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Output {
    Raised {
        #[allow(dead_code)]
        error: String,
    },
    RowPlan {
        bin_sizes: Vec<usize>,
        doc: Vec<u32>,
        start: Vec<u32>,
        len: Vec<u32>,
    },
}

const VERSIONS: [(&str, Packing); 4] = [
    ("0.24.0:bfd", Packing::Bfd),
    ("1.16.0:bfd", Packing::Bfd),
    ("1.16.0:bfd_split", Packing::BfdSplit),
    ("1.16.0:wrapped", Packing::Wrapped),
];

fn read(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/packing");
    std::fs::read_to_string(folder.join(file)).unwrap()
}

/// Compares one case and returns the versions that raise where we pack.
fn check(name: &str, case: &Case) -> Vec<String> {
    let mut raised = Vec::new();
    for (version, packing) in VERSIONS {
        let settings = Settings {
            group: Some(case.map_batch_size),
            ..Settings::new(case.max_length, packing)
        };
        let rows = pack(&case.lengths, &settings).unwrap();
        match &case.outputs[&case.results[version].output] {
            Output::Raised { .. } => {
                // TRL stumbles over empty documents and empty sets.
                assert!(case.lengths.is_empty() || case.lengths.contains(&0), "{name}");
                raised.push(format!("{name} {version}"));
            }
            Output::RowPlan {
                bin_sizes,
                doc,
                start,
                len,
            } => {
                let theirs: Vec<Fragment> = (0..doc.len())
                    .map(|i| Fragment {
                        document: doc[i],
                        start: start[i],
                        length: len[i],
                    })
                    .collect();
                assert_eq!(rows.fragments(), theirs, "{name} {version}");
                let sizes: Vec<usize> = rows.iter().map(<[_]>::len).collect();
                assert_eq!(&sizes, bin_sizes, "{name} {version}");
            }
        }
    }
    raised
}

#[test]
fn small_cases() {
    let small: Small = serde_json::from_str(&read("packing.json")).unwrap();
    let mut raised = Vec::new();
    let mut checked = 0;
    for (name, case) in small.cases {
        // The big cases lie in files of their own.
        if case.get("file").is_none() {
            raised.extend(check(&name, &serde_json::from_value(case).unwrap()));
            checked += 1;
        }
    }
    assert_eq!(checked, 19);
    assert_eq!(
        raised,
        [
            "all_empty 0.24.0:bfd",
            "all_empty 1.16.0:bfd",
            "all_empty 1.16.0:bfd_split",
            "no_rows 1.16.0:bfd",
            "no_rows 1.16.0:bfd_split",
            "with_empty 0.24.0:bfd",
        ]
    );
}

#[test]
fn five_thousand_documents() {
    for group in [1000, 5000] {
        let name = format!("packing_n5000_L2048_mapbatch{group}.json");
        let case: Case = serde_json::from_str(&read(&name)).unwrap();
        assert_eq!((case.lengths.len(), case.map_batch_size), (5000, group));
        assert_eq!(check(&name, &case), [""; 0]);
    }
}
