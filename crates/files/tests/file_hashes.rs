//! Hashes follow the contents of files, and each file is read once.

use std::fs;
use std::time::SystemTime;

use smollm3_files::{FileHash, FileHashes};

#[test]
fn weights_are_weights_and_architecture_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        FileHashes::default().weights(folder.path()).unwrap()
    };
    let whole = write("config.json", "{}");
    let one = write("model-00001-of-00002.safetensors", "a");
    let two = write("model-00002-of-00002.safetensors", "b");
    assert!(whole != one && one != two);
    // A shard may change under an index that says the same.
    assert_ne!(write("model-00002-of-00002.safetensors", "c"), two);
    assert_eq!(write("model-00002-of-00002.safetensors", "b"), two);
    assert_eq!(write("optimizer.safetensors", "moments"), two);
    assert_eq!(write("README.md", "a card"), two);
    let missing = folder.path().join("missing");
    assert!(FileHashes::default().weights(&missing).is_err());
}

#[test]
fn a_file_is_read_once_while_it_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let hashes = FileHashes::default();
    let write = |text: &str, at: u64| {
        fs::write(&path, text).unwrap();
        let at = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(at);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(at)
            .unwrap();
    };
    for (text, at, read) in [("a", 1, 1), ("a", 1, 1), ("b", 2, 2), ("bc", 2, 3), ("bc", 2, 3)] {
        write(text, at);
        assert_eq!(hashes.get(&path).unwrap(), FileHash::of(&path).unwrap());
        assert_eq!(hashes.files_read(), read, "{text} at {at}");
    }
    fs::remove_file(&path).unwrap();
    assert!(hashes.get(&path).is_err());
}
