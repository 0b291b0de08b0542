use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use parquet::basic::Compression;
use proptest::prelude::*;
use smollm3_corpus::shards::{LocalShards, Shards};
use smollm3_corpus::text::Arithmetic;
use smollm3_corpus::tokenize::{
    BadRows, FilesOptions, FilesProgress, TokenizeReport, held_out_folder, is_held_out, report,
    tokenize_files, train_folder,
};
use smollm3_corpus::tokenizer::SpecialTokens;
use smollm3_corpus::{CorpusError, TokenStore};

use super::files;
use crate::fixtures::tokenizer;
use crate::rows::{STRING, gzip, json_lines, parquet, present, zstd};

pub fn texts(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|index| Arithmetic::new(21, 0).text(index)).collect()
}

/// Four files in four formats, 0..`each` in the first and so on; returns all texts in their order.
pub fn corpus(folder: &Path, each: u64) -> Vec<String> {
    let part = |k: u64| texts(k * each..(k + 1) * each);
    let half = (each / 2) as usize;
    let groups = [present(&part(0)[..half]), present(&part(0)[half..])];
    parquet(&folder.join("0.parquet"), STRING, Compression::SNAPPY, &groups);
    fs::write(folder.join("1.jsonl"), json_lines(&part(1))).unwrap();
    fs::write(folder.join("2.jsonl.gz"), gzip(&json_lines(&part(2)))).unwrap();
    fs::write(folder.join("3.jsonl.zst"), zstd(&json_lines(&part(3)))).unwrap();
    texts(0..4 * each)
}

fn find(folder: &Path) -> LocalShards {
    LocalShards::find("web", &[folder.to_str().unwrap()]).unwrap()
}

pub fn run(
    input: &Path,
    output: &Path,
    options: &FilesOptions,
    progress: impl FnMut(FilesProgress) -> bool + Send,
) -> smollm3_corpus::Result<TokenizeReport> {
    let mut progress = progress;
    tokenize_files(&find(input), &tokenizer(), output, options, &mut progress)
}

fn decoded(part: PathBuf) -> Vec<String> {
    let (store, tokenizer) = (TokenStore::open(part).unwrap(), tokenizer());
    (0..store.documents().unwrap())
        .map(|document| {
            let tokens = store.document(document).unwrap().to_vec();
            let (end, body) = tokens.split_last().unwrap();
            assert_eq!(*end, tokenizer.info().end_of_text);
            tokenizer.decode(body, false).unwrap()
        })
        .collect()
}

#[test]
fn every_document_of_every_format_arrives_in_order() {
    let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = corpus(input.path(), 150);
    let options = FilesOptions {
        held_out: 0.1,
        piece_bytes: 20_000,
        ..FilesOptions::default()
    };
    let mut last = FilesProgress::default();
    let report = run(input.path(), output.path(), &options, |progress| {
        last = progress;
        true
    })
    .unwrap();

    let of = |held_out| -> Vec<String> {
        expected
            .iter()
            .filter(|text| is_held_out(text, 0.1) == held_out)
            .cloned()
            .collect()
    };
    assert_eq!(decoded(train_folder(output.path())), of(false));
    assert_eq!(decoded(held_out_folder(output.path())), of(true));
    assert!(
        TokenStore::open(train_folder(output.path()))
            .unwrap()
            .files()
            .len()
            > 8,
        "several pieces a file"
    );

    let bytes = |texts: Vec<String>| texts.iter().map(|text| text.len() as u64).sum::<u64>();
    assert_eq!(
        (report.train.bytes, report.held_out.bytes),
        (bytes(of(false)), bytes(of(true)))
    );
    assert_eq!(report.train.documents + report.held_out.documents, 600);
    assert_eq!(report.skipped.total(), 0);
    assert_eq!((last.documents, last.of_files, last.files), (600, 4, 3));
    assert_eq!((last.file_bytes, last.file_bytes_before), (last.of_file_bytes, 0));
    assert_eq!(last.time_left(Duration::from_secs(9)), Some(Duration::ZERO));
    assert_eq!(report_of(output.path()), report);
}

/// `report` under a name that does not clash with local variables.
fn report_of(folder: &Path) -> TokenizeReport {
    report(folder).unwrap().unwrap()
}

#[test]
fn any_number_of_threads_writes_the_same_bytes() {
    let input = tempfile::tempdir().unwrap();
    corpus(input.path(), 100);
    let written = [1, 2, 5].map(|threads| {
        let output = tempfile::tempdir().unwrap();
        let options = FilesOptions {
            held_out: 0.2,
            piece_bytes: 30_000,
            threads: Some(threads),
            ..FilesOptions::default()
        };
        // Called from a thread of a pool of one, it must not wait for itself.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| run(input.path(), output.path(), &options, |_| true))
            .unwrap();
        files(output.path())
    });
    assert!(written[0].len() > 15);
    assert!(written[0] == written[1] && written[0] == written[2]);
}

#[test]
fn the_documents_do_not_depend_on_the_size_of_pieces() {
    let input = tempfile::tempdir().unwrap();
    let expected = corpus(input.path(), 6);
    for piece_bytes in [1, 997, 4_000, u64::MAX] {
        let output = tempfile::tempdir().unwrap();
        let options = FilesOptions {
            piece_bytes,
            ..FilesOptions::default()
        };
        run(input.path(), output.path(), &options, |_| true).unwrap();
        assert_eq!(decoded(train_folder(output.path())), expected, "{piece_bytes}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Stopped again and again at random moments, it ends in the bytes of one undisturbed run.
    #[test]
    fn stopping_and_going_on_equals_one_run(stops in prop::collection::vec(1usize..4, 1..6), piece_bytes in 6_000u64..60_000) {
        let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        corpus(input.path(), 40);
        let options = FilesOptions { held_out: 0.1, piece_bytes, ..FilesOptions::default() };
        let whole = tempfile::tempdir().unwrap();
        let undisturbed = run(input.path(), whole.path(), &options, |_| true).unwrap();
        for stop in stops {
            let mut calls = 0;
            let stopped = run(input.path(), output.path(), &options, |_| {
                calls += 1;
                calls < stop
            });
            prop_assert!(matches!(stopped, Err(CorpusError::Interrupted)) || stopped.is_ok());
        }
        let resumed = run(input.path(), output.path(), &options, |_| true).unwrap();
        prop_assert_eq!(resumed, undisturbed);
        prop_assert!(files(output.path()) == files(whole.path()));
    }
}

const KILLED_INPUT: &str = "SMOLLM3_TEST_KILLED_INPUT";
const KILLED_OUTPUT: &str = "SMOLLM3_TEST_KILLED_OUTPUT";

fn killed_options() -> FilesOptions {
    FilesOptions {
        held_out: 0.05,
        piece_bytes: 30_000,
        ..FilesOptions::default()
    }
}

/// What [`a_killed_process_loses_and_repeats_nothing`] starts; does nothing by itself.
#[test]
fn child_that_is_killed() {
    let (Some(input), Some(output)) = (std::env::var_os(KILLED_INPUT), std::env::var_os(KILLED_OUTPUT))
    else {
        return;
    };
    run(Path::new(&input), Path::new(&output), &killed_options(), |_| true).unwrap();
}

#[test]
fn a_killed_process_loses_and_repeats_nothing() {
    let (input, whole, output) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
    );
    corpus(input.path(), 1_500);
    let undisturbed = run(input.path(), whole.path(), &killed_options(), |_| true).unwrap();

    let pieces = || fs::read_dir(output.path().join("parts")).map_or(0, Iterator::count);
    let (mut kills, mut seen) = (0, 0);
    while kills < 3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tokenize::files::child_that_is_killed"])
            .env(KILLED_INPUT, input.path())
            .env(KILLED_OUTPUT, output.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        // Killed somewhere inside the second piece it makes.
        while pieces() < seen + 2 && started.elapsed() < Duration::from_secs(60) {
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        seen = pieces();
    }
    assert!(seen >= 6, "{seen} pieces after {kills} kills");
    assert!(
        report(output.path()).unwrap().is_none(),
        "it was killed before its end"
    );
    let resumed = run(input.path(), output.path(), &killed_options(), |_| true).unwrap();
    assert_eq!(resumed, undisturbed);
    assert!(files(output.path()) == files(whole.path()));
}

#[test]
fn what_is_finished_is_not_done_again() {
    let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    corpus(input.path(), 30);
    let options = FilesOptions::default();
    let first = run(input.path(), output.path(), &options, |_| true).unwrap();
    assert_eq!(
        run(input.path(), output.path(), &options, |_| panic!("worked again")).unwrap(),
        first
    );
    // Without the final report only the pieces are counted again.
    fs::remove_file(output.path().join("report.json")).unwrap();
    assert_eq!(
        run(input.path(), output.path(), &options, |_| panic!("worked again")).unwrap(),
        first
    );
    assert_eq!(report_of(output.path()), first);
}

#[test]
fn another_job_is_refused_with_what_differs() {
    let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    corpus(input.path(), 10);
    let base = FilesOptions::default();
    run(input.path(), output.path(), &base, |_| true).unwrap();
    let before = files(output.path());
    let error = |options: &FilesOptions| {
        run(input.path(), output.path(), options, |_| true)
            .unwrap_err()
            .to_string()
    };
    for (options, what) in [
        (
            FilesOptions {
                held_out: 0.3,
                ..base.clone()
            },
            "held_out differs",
        ),
        (
            FilesOptions {
                piece_bytes: 5,
                ..base.clone()
            },
            "the size of pieces differs",
        ),
        (
            FilesOptions {
                column: "url".into(),
                ..base.clone()
            },
            "column differs",
        ),
        (
            FilesOptions {
                bad_rows: BadRows::Skip,
                ..base.clone()
            },
            "bad rows differs",
        ),
        (
            FilesOptions {
                special_tokens: SpecialTokens::Parsed,
                ..base.clone()
            },
            "special tokens differs",
        ),
    ] {
        let error = error(&options);
        assert!(
            error.contains(what) && error.contains("choose another folder"),
            "{what}: {error}"
        );
    }
    std::thread::sleep(Duration::from_millis(20));
    fs::write(input.path().join("1.jsonl"), json_lines(&texts(0..10))).unwrap();
    let changed = error(&base);
    assert!(changed.contains("1.jsonl` changed"), "{changed}");
    fs::remove_file(input.path().join("1.jsonl")).unwrap();
    assert!(error(&base).contains("the source has 3 files, it had 4"));
    assert!(files(output.path()) == before, "nothing was touched");
}

/// A misspelt column ends the job before it has made anything; the folder is free for the mended one.
#[test]
fn a_job_that_made_no_token_gives_way_to_another() {
    let (input, whole) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    corpus(input.path(), 10);
    let options = FilesOptions::default();
    let expected = run(input.path(), whole.path(), &options, |_| true).unwrap();
    for bad_rows in [BadRows::Stop, BadRows::Skip] {
        let output = tempfile::tempdir().unwrap();
        let misspelt = FilesOptions {
            column: "txet".into(),
            bad_rows,
            ..options.clone()
        };
        run(input.path(), output.path(), &misspelt, |_| true).unwrap_err();
        let mended = run(input.path(), output.path(), &options, |_| true).unwrap();
        assert_eq!(mended, expected);
        assert!(files(output.path()) == files(whole.path()));
    }
}

fn bad_lines(folder: &Path) {
    let lines = [
        r#"{"text": "good 1"}"#,
        r#"{"text": "cut"#,
        r#"{"body": "x"}"#,
        "",
        r#"{"text": ""}"#,
        r#"{"text": null}"#,
        r#"{"text": 5}"#,
        r#"{"text": "good 2"}"#,
    ];
    fs::write(folder.join("a.jsonl"), lines.join("\n")).unwrap();
}

#[test]
fn bad_rows_stop_the_work_with_file_and_line() {
    let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    bad_lines(input.path());
    let error = run(input.path(), output.path(), &FilesOptions::default(), |_| true)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 2 of `") && error.contains("a.jsonl` is not one JSON object"),
        "{error}"
    );
    assert!(error.contains("source `web`"), "{error}");
    assert!(files(output.path()).is_empty());
}

#[test]
fn bad_rows_are_skipped_counted_and_quoted_on_request() {
    let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    bad_lines(input.path());
    let options = FilesOptions {
        bad_rows: BadRows::Skip,
        ..FilesOptions::default()
    };
    let report = run(input.path(), output.path(), &options, |_| true).unwrap();
    let expected: BTreeMap<String, u64> = [
        ("broken JSON", 1),
        ("no text field", 1),
        ("empty", 1),
        ("null text", 1),
        ("text of another type", 1),
    ]
    .map(|(reason, rows)| (reason.to_owned(), rows))
    .into();
    assert_eq!(report.skipped.rows, expected);
    assert_eq!(report.skipped.examples.len(), 4);
    assert!(
        report.skipped.examples[1].contains("line 3 of `"),
        "{:?}",
        report.skipped.examples
    );
    assert!(report.skipped.examples[3].contains("has a number for `text`, not text"));
    assert_eq!(decoded(train_folder(output.path())), ["good 1", "good 2"]);
}

#[test]
fn a_source_without_a_document_is_refused() {
    let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(input.path().join("a.jsonl"), "\n\n{\"text\": \"\"}\n").unwrap();
    let error = run(input.path(), output.path(), &FilesOptions::default(), |_| true)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no document is left for training (1 rows were skipped: 1 empty)"),
        "{error}"
    );
    let options = FilesOptions {
        piece_bytes: 0,
        ..FilesOptions::default()
    };
    let error = run(input.path(), output.path(), &options, |_| true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`piece_bytes` must be at least 1"), "{error}");
}

#[test]
fn a_damaged_file_stops_the_work_and_what_was_whole_stays() {
    let (input, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    corpus(input.path(), 30);
    let damaged = input.path().join("2.jsonl.gz");
    let whole = fs::read(&damaged).unwrap();
    fs::write(&damaged, &whole[..whole.len() - 9]).unwrap();
    let error = run(input.path(), output.path(), &FilesOptions::default(), |_| true)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("2.jsonl.gz") && error.contains("cut short"),
        "{error}"
    );
    assert_eq!(decoded(train_folder(output.path())), texts(0..60));
    assert!(!find(input.path()).shards().is_empty());
}
