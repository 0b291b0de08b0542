//! One process, one handle.

use std::io::{Read, Write};

use smollm3_corpus::locked_file::open_locked;

#[test]
fn a_file_is_had_once_and_keeps_what_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let mut file = open_locked(&path).unwrap().unwrap();
    file.write_all(b"kept").unwrap();
    assert!(open_locked(&path).unwrap().is_none());
    drop(file);
    let mut text = String::new();
    open_locked(&path)
        .unwrap()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "kept");
    assert!(open_locked(&folder.path().join("none/file")).is_err());
}
