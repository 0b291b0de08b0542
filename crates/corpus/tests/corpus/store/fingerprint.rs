use std::fs;

use smollm3_corpus::TokenStore;
use smollm3_corpus::store::Fingerprint;

use super::write;

fn fingerprint(path: &std::path::Path) -> Fingerprint {
    TokenStore::open(path).unwrap().fingerprint().unwrap()
}

#[test]
fn it_stands_for_tokens_document_ends_and_order() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let one = fingerprint(&write(&path("1"), "a.ds", 100, &[vec![1, 2], vec![3]]));
    let renamed = fingerprint(&write(&path("2"), "b.ds", 100, &[vec![1, 2], vec![3]]));
    let other_ends = fingerprint(&write(&path("3"), "a.ds", 100, &[vec![1], vec![2, 3]]));
    let other_token = fingerprint(&write(&path("4"), "a.ds", 100, &[vec![1, 2], vec![4]]));
    let wider = fingerprint(&write(&path("5"), "a.ds", 70_000, &[vec![1, 2], vec![3]]));
    assert_eq!(one, renamed);
    assert!(one != other_ends && one != other_token && one != wider);
}

#[test]
fn the_writers_record_equals_reading_and_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.ds", 100, &[vec![1, 2], vec![3]]);
    let recorded = fingerprint(&path);
    let record = folder.path().join("a.ds.blake3");
    let text = fs::read_to_string(&record).unwrap();
    fs::remove_file(&record).unwrap();
    assert_eq!(fingerprint(&path), recorded);
    assert_eq!(
        fs::read_to_string(&record).unwrap(),
        text,
        "reading leaves the same record"
    );

    // Proof that the record is what is read: a false one shows.
    let digits = text.split('"').find(|part| part.len() == 64).unwrap().to_owned();
    fs::write(&record, text.replacen(&digits, &"0".repeat(64), 1)).unwrap();
    assert_ne!(fingerprint(&path), recorded);
    fs::write(&record, "{}").unwrap();
    assert_eq!(fingerprint(&path), recorded, "an unreadable record is replaced");
}

#[test]
fn a_changed_file_under_an_old_fingerprint_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.ds", 100, &[vec![1, 2], vec![3]]);
    let old = fingerprint(&path);
    assert_eq!(fingerprint(&path), old);
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::write(&path, [1, 0, 2, 0, 9, 0]).unwrap();
    assert_ne!(fingerprint(&path), old);
}

#[test]
fn hexadecimal_digits_go_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let one = fingerprint(&write(folder.path(), "a.ds", 100, &[vec![1]]));
    assert_eq!(Fingerprint::try_from(one.to_hex()).unwrap(), one);
    assert_eq!(serde_json::to_string(&one).unwrap(), format!("\"{one}\""));
    assert!(Fingerprint::try_from("abc".to_owned()).is_err());
}
