use std::borrow::Cow;
use std::fs;

use smollm3_corpus::store::Fingerprint;
use smollm3_corpus::text::{Arithmetic, DocumentSource, shuffled};
use smollm3_corpus::tokenize::{TokenizeOptions, held_out_folder, is_held_out, tokenize, train_folder};
use smollm3_corpus::{CorpusError, TokenStore};

use super::files;
use crate::fixtures::tokenizer;

/// Documents given as they are.
struct Given(Vec<&'static str>);

impl DocumentSource for Given {
    fn name(&self) -> &str {
        "given"
    }
    fn documents(&self) -> u64 {
        self.0.len() as u64
    }
    fn document(&self, index: u64) -> smollm3_corpus::Result<Cow<'_, str>> {
        Ok(Cow::Borrowed(self.0[index as usize]))
    }
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::try_from("0".repeat(64)).unwrap()
    }
}

#[test]
fn every_document_lands_in_its_part_in_shuffled_order() {
    let folder = tempfile::tempdir().unwrap();
    let (source, tokenizer) = (Arithmetic::new(2, 1_500), tokenizer());
    let options = TokenizeOptions {
        seed: 9,
        held_out: 0.1,
        ..TokenizeOptions::default()
    };
    let mut calls = Vec::new();
    let report = tokenize(&source, &tokenizer, folder.path(), &options, &mut |progress| {
        calls.push(progress);
        true
    })
    .unwrap();

    let train = TokenStore::open(train_folder(folder.path())).unwrap();
    let held_out = TokenStore::open(held_out_folder(folder.path())).unwrap();
    assert_eq!(
        (train.documents(), train.len_tokens()),
        (Some(report.train.documents), report.train.tokens)
    );
    assert_eq!(held_out.documents(), Some(report.held_out.documents));
    assert!(
        (100..200).contains(&report.held_out.documents),
        "{}",
        report.held_out.documents
    );

    let (mut next, mut bytes) = ([0, 0], [0, 0]);
    for document in shuffled(1_500, 9) {
        let text = source.text(document);
        let part = usize::from(is_held_out(&text, 0.1));
        let tokens = [&train, &held_out][part].document(next[part]).unwrap().to_vec();
        let (end, body) = tokens.split_last().unwrap();
        assert_eq!(*end, tokenizer.info().end_of_text);
        assert_eq!(tokenizer.decode(body, false).unwrap(), text);
        next[part] += 1;
        bytes[part] += text.len() as u64;
    }
    assert_eq!(bytes, [report.train.bytes, report.held_out.bytes]);
    assert_eq!(
        report.train.bytes_per_token(),
        bytes[0] as f64 / train.len_tokens() as f64
    );

    let last = calls.last().unwrap();
    assert_eq!((last.documents, last.of_documents), (1_500, 1_500));
    assert_eq!(last.tokens, train.len_tokens() + held_out.len_tokens());
    assert!(calls.len() > 1 && calls.is_sorted_by(|one, two| one.documents < two.documents));
}

#[test]
fn any_number_of_threads_writes_the_same_bytes() {
    let (source, tokenizer) = (Arithmetic::new(2, 1_100), tokenizer());
    let options = TokenizeOptions {
        seed: 1,
        held_out: 0.05,
        max_bytes: Some(300_000),
        ..Default::default()
    };
    let written: Vec<_> = [1, 2, 7]
        .map(|threads| {
            let folder = tempfile::tempdir().unwrap();
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| tokenize(&source, &tokenizer, folder.path(), &options, &mut |_| true))
                .unwrap();
            files(folder.path())
        })
        .into_iter()
        .collect();
    assert_eq!(written[0].len(), 6);
    assert!(written[0] == written[1] && written[0] == written[2]);
}

#[test]
fn it_is_done_once_and_anew_when_anything_differs() {
    let folder = tempfile::tempdir().unwrap();
    let (source, tokenizer) = (Arithmetic::new(2, 50), tokenizer());
    let mut calls = 0;
    let mut run = |source: &Arithmetic, options: &TokenizeOptions| {
        let before = calls;
        let report = tokenize(source, &tokenizer, folder.path(), options, &mut |_| {
            calls += 1;
            true
        })
        .unwrap();
        (report, calls > before)
    };
    let options = TokenizeOptions {
        seed: 1,
        held_out: 0.2,
        ..Default::default()
    };
    let (first, worked) = run(&source, &options);
    assert!(worked);
    assert_eq!(run(&source, &options), (first.clone(), false));
    fs::remove_file(train_folder(folder.path()).join("00000.ds")).unwrap();
    assert_eq!(run(&source, &options), (first.clone(), true));
    assert!(run(&Arithmetic::new(3, 50), &options).1);
    let (report, worked) = run(
        &source,
        &TokenizeOptions {
            held_out: 0.0,
            ..options
        },
    );
    assert!(worked);
    assert_eq!((report.train.documents, report.held_out.documents), (50, 0));
    assert!(
        !held_out_folder(folder.path()).join("00000.ds").exists(),
        "the old held-out part is gone"
    );
}

#[test]
fn the_byte_limit_takes_a_prefix_of_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let source = Arithmetic::new(2, 2_000);
    let options = TokenizeOptions {
        seed: 4,
        max_bytes: Some(20_000),
        ..Default::default()
    };
    let report = tokenize(&source, &tokenizer(), folder.path(), &options, &mut |_| true).unwrap();
    let (mut bytes, mut documents) = (0, 0);
    for document in shuffled(2_000, 4) {
        if bytes >= 20_000 {
            break;
        }
        bytes += source.text(document).len() as u64;
        documents += 1;
    }
    assert_eq!((report.train.bytes, report.train.documents), (bytes, documents));
}

#[test]
fn stopping_leaves_no_store() {
    let folder = tempfile::tempdir().unwrap();
    let stopped = tokenize(
        &Arithmetic::new(2, 2_000),
        &tokenizer(),
        folder.path(),
        &TokenizeOptions::default(),
        &mut |progress| progress.documents < 600,
    );
    assert!(matches!(stopped, Err(CorpusError::Interrupted)));
    assert!(files(folder.path()).is_empty());
}

#[test]
fn empty_documents_are_skipped_and_counted_and_empty_sources_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = |documents: &[&'static str], held_out: f64| {
        let options = TokenizeOptions {
            held_out,
            ..Default::default()
        };
        tokenize(
            &Given(documents.to_vec()),
            &tokenizer(),
            folder.path(),
            &options,
            &mut |_| true,
        )
    };
    let report = run(&["one", "", "two", ""], 0.0).unwrap();
    assert_eq!((report.skipped.rows["empty"], report.train.documents), (2, 2));
    fs::remove_file(folder.path().join("report.json")).unwrap();
    let error = run(&[""], 0.0).unwrap_err().to_string();
    assert!(
        error.contains("source `given`: no document is left for training"),
        "{error}"
    );
    let error = run(&["one", "two"], 1e-9).unwrap_err().to_string();
    assert!(error.contains("held-out part"), "{error}");
    for share in [1.0, -0.1, f64::NAN] {
        assert!(
            run(&["one"], share)
                .unwrap_err()
                .to_string()
                .contains("`held_out` must lie in [0, 1)")
        );
    }
}

#[test]
fn token_files_of_others_are_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let theirs = train_folder(folder.path()).join("00000.ds");
    fs::create_dir_all(train_folder(folder.path())).unwrap();
    fs::write(&theirs, b"mine").unwrap();
    let source = Arithmetic::new(2, 5);
    let run = || {
        tokenize(
            &source,
            &tokenizer(),
            folder.path(),
            &TokenizeOptions::default(),
            &mut |_| true,
        )
    };
    let error = run().unwrap_err().to_string();
    assert!(error.contains("token files of unknown origin"), "{error}");
    assert_eq!(fs::read(&theirs).unwrap(), b"mine");
    fs::remove_file(&theirs).unwrap();
    run().unwrap();
}
