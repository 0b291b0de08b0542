//! A folder has its name when all of it is there.

use std::fs;
use std::path::Path;

use smollm3_files::atomic_folder::AtomicFolder;
use smollm3_files::{FilesError, list};

fn names(folder: &Path) -> Vec<String> {
    let paths = list(folder).unwrap();
    let name = |path: &std::path::PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(name).collect()
}

#[test]
fn it_appears_whole_or_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    let draft = AtomicFolder::create(&target).unwrap();
    draft.write("a", b"1").unwrap();
    assert!(!target.exists());
    drop(draft);
    assert!(names(folder.path()).is_empty());

    let draft = AtomicFolder::create(&target).unwrap();
    draft.write("a", b"1").unwrap();
    fs::create_dir(draft.path().join("inner")).unwrap();
    draft.commit().unwrap();
    assert_eq!(names(folder.path()), ["out"]);
    assert_eq!(fs::read(target.join("a")).unwrap(), b"1");
    assert!(target.join("inner").is_dir());
}

#[test]
fn what_a_kill_left_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    let draft = AtomicFolder::create(&target).unwrap();
    draft.write("stale", b"").unwrap();
    // As a kill does it: nothing is tidied up.
    std::mem::forget(draft);
    AtomicFolder::create(&target).unwrap().commit().unwrap();
    assert!(names(&target).is_empty());
    assert_eq!(names(folder.path()), ["out"]);
}

#[test]
fn a_target_that_exists_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    let draft = AtomicFolder::create(&target).unwrap();
    fs::write(&target, "a file").unwrap();
    assert!(matches!(draft.commit(), Err(FilesError::Exists { .. })));
    assert!(matches!(
        AtomicFolder::create(&target),
        Err(FilesError::Exists { .. })
    ));
    assert_eq!(names(folder.path()), ["out"]);
    assert_eq!(fs::read(&target).unwrap(), b"a file");
    assert!(matches!(
        AtomicFolder::create(&folder.path().join("none/..")),
        Err(FilesError::NoName { .. })
    ));
}
