//! One process, one handle.

use std::io::{Read, Write};

use smollm3_files::locked_file::{open_locked, open_shared, wait_locked};

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

#[test]
fn readers_share_a_lock_and_keep_others_out() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let readers = [(); 2].map(|()| open_shared(&path).unwrap().unwrap());
    assert!(open_locked(&path).unwrap().is_none());
    drop(readers);
    let alone = open_locked(&path).unwrap().unwrap();
    assert!(open_shared(&path).unwrap().is_none());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wait_locked(&path).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(alone);
        waiting.join().unwrap();
    });
}
