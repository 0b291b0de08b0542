use std::fs;
use std::path::{Path, PathBuf};

use smollm3_corpus::tokenize::{FilesOptions, TokenizeReport, merge_stores, report};
use smollm3_corpus::{CorpusError, TokenStore};
use tempfile::TempDir;

use super::files;
use super::files::{corpus, run};

fn options(shard: Option<&str>) -> FilesOptions {
    FilesOptions {
        held_out: 0.1,
        piece_bytes: 20_000,
        worker: shard.map(|shard| shard.parse().unwrap()),
        ..FilesOptions::default()
    }
}

fn run_shard(input: &Path, folder: &Path, shard: &str) -> TokenizeReport {
    run(input, folder, &options(Some(shard)), |_| true).unwrap()
}

/// A source and the outputs of its shards.
fn shards(of: usize) -> (TempDir, TempDir, Vec<PathBuf>) {
    let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    corpus(input.path(), 100);
    let folder = |number: usize| {
        let folder = output.path().join(format!("shard-{number}"));
        run_shard(input.path(), &folder, &format!("{number}/{of}"));
        folder
    };
    let folders = (1..=of).map(folder).collect();
    (input, output, folders)
}

#[test]
fn shards_make_the_store_of_one_machine() {
    for of in [1, 3, 6] {
        let (input, output, mut folders) = shards(of);
        let whole = output.path().join("whole");
        let expected = run(input.path(), &whole, &options(None), |_| true).unwrap();
        // In any order.
        folders.reverse();
        let merged = output.path().join("merged");
        assert_eq!(merge_stores(&folders, &merged).unwrap(), expected);
        assert_eq!(report(&merged).unwrap().unwrap(), expected);
        assert!(files(&merged) == files(&whole));
        let fingerprint = |folder: &Path| {
            TokenStore::open(folder.join("train"))
                .unwrap()
                .fingerprint()
                .unwrap()
        };
        assert_eq!(fingerprint(&merged), fingerprint(&whole));
        // It takes no room, and the stores of the shards may go.
        for folder in &folders {
            fs::remove_dir_all(folder).unwrap();
        }
        assert!(files(&merged) == files(&whole));
        // To one machine, the work is done.
        let mut asked = false;
        let again = run(input.path(), &merged, &options(None), |_| {
            asked = true;
            true
        });
        assert_eq!((again.unwrap(), asked), (expected, false));
    }
}

#[test]
fn a_shard_and_a_merge_go_on_where_they_stopped() {
    let (input, output, folders) = shards(2);
    let stopped = output.path().join("stopped");
    let mut files_of_shard = 0;
    let error = run(input.path(), &stopped, &options(Some("1/2")), |progress| {
        files_of_shard = progress.of_files;
        false
    });
    assert!(matches!(error, Err(CorpusError::Interrupted)));
    assert!((1..4).contains(&files_of_shard));
    assert!(!files(&stopped).is_empty(), "some pieces are whole");
    let report = run_shard(input.path(), &stopped, "1/2");
    assert_eq!(report, run_shard(input.path(), &folders[0], "1/2"));
    assert!(files(&stopped) == files(&folders[0]));

    let merged = output.path().join("merged");
    let expected = merge_stores(&folders, &merged).unwrap();
    // A merge that was killed lacks names and the report.
    fs::remove_file(merged.join("report.json")).unwrap();
    let pieces = fs::read_dir(merged.join("train")).unwrap();
    for entry in pieces.step_by(3) {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert_eq!(merge_stores(&folders, &merged).unwrap(), expected);
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (input, output, folders) = shards(3);
    let merged = output.path().join("merged");
    let refused = |folders: &[PathBuf], text: &str| {
        let error = merge_stores(folders, &merged).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
        assert!(!merged.exists());
    };
    let with = |folder: &Path| [&folders[..2], &[folder.to_owned()]].concat();
    refused(&folders[..2], "shard 3/3 is missing (2 of 3 were given)");
    refused(&with(&folders[1]), "shard 2/3 is also in");
    refused(
        &with(output.path()),
        "is not the output of `data tokenize --shard`",
    );
    refused(&[], "there are no stores to merge");

    let other = output.path().join("other");
    run(input.path(), &other, &options(None), |_| true).unwrap();
    refused(&with(&other), "without --shard");
    let other = output.path().join("other-number");
    run_shard(input.path(), &other, "3/4");
    refused(&with(&other), "it is one of 4 shards, not of 3");
    let other = output.path().join("other-options");
    let changed = FilesOptions {
        held_out: 0.2,
        ..options(Some("3/3"))
    };
    run(input.path(), &other, &changed, |_| true).unwrap();
    refused(&with(&other), "held_out differs");
    fs::remove_file(folders[2].join("report.json")).unwrap();
    refused(&folders, "shard 3/3 is not finished");

    // Another shard does not go on in a shard's folder.
    let error = run(input.path(), &folders[0], &options(Some("2/3")), |_| true).unwrap_err();
    assert!(error.to_string().contains("the shard differs"), "{error}");
}
