//! What a kill leaves behind is nobody's work.

use std::fs;

use smollm3_files::atomic_file::{AtomicFile, is_vacant, write_atomically};

#[test]
fn a_folder_is_vacant_until_a_file_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    assert!(is_vacant(&out).unwrap());
    let mut file = AtomicFile::create(&out.join("settings.json")).unwrap();
    file.write(b"half").unwrap();
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    assert!(is_vacant(&out).unwrap());
    // As a kill does it: nothing is tidied up.
    std::mem::forget(file);
    assert!(is_vacant(&out).unwrap());
    write_atomically(&out.join("settings.json"), b"whole").unwrap();
    assert!(!is_vacant(&out).unwrap());
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
    assert!(is_vacant(&out.join("settings.json")).is_err());
}

#[test]
fn hidden_files_of_others_count() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(".gitignore"), "*").unwrap();
    assert!(!is_vacant(folder.path()).unwrap());
}
